//! Which messages were relayed already.

use crate::domain::ids::{ChatId, UserId};
use crate::domain::message::{ClientMessageId, RecentMessages, Verdict};
use crate::domain::time::Moment;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a `clientMessageId` is remembered.
const MEMORY: Duration = Duration::from_mins(5);
/// How many are remembered; when full, the oldest is forgotten first.
const CAPACITY: usize = 100_000;

/// One memory for all sessions, since a repeat may come over another connection of the user.
pub struct Messages {
    recent: Mutex<RecentMessages>,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            recent: Mutex::new(RecentMessages::new(CAPACITY, MEMORY)),
        }
    }
}

impl Messages {
    pub fn accept(
        &self,
        user: &UserId,
        chat: &ChatId,
        id: &ClientMessageId,
        now: Moment,
    ) -> Verdict {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .accept(user, chat, id, now)
    }
}
