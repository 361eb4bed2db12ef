//! What may be said about messages: the names clients give them, and which were relayed already.
//! The messages themselves pass through unread.

use super::ids::{ChatId, UserId};
use super::time::{Moment, UnixMillis};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A UUID has 36 characters; room enough for any scheme, and small enough to remember.
pub const MAX_CLIENT_MESSAGE_ID_CHARS: usize = 128;
/// Database keys name messages, and a push id has 20 characters.
pub const MAX_MESSAGE_ID_CHARS: usize = 128;
/// One screen of unread messages is one receipt; a long backlog is a few.
pub const MAX_MESSAGE_IDS: usize = 100;
/// A word or two of the app's own, such as `member_added`.
pub const MAX_GROUP_EVENT_TYPE_CHARS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {max} characters")]
    TooLong { max: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageIdsError {
    #[error("must name a message")]
    None,
    #[error("must name at most {MAX_MESSAGE_IDS} messages")]
    TooMany,
    #[error("{0}, each of them")]
    BadId(TextError),
}

/// The sender's own name for a message, unique for this user in this chat: 1 to 128 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientMessageId(Box<str>);

impl ClientMessageId {
    pub fn parse(text: &str) -> Result<Self, TextError> {
        check_length(text, MAX_CLIENT_MESSAGE_ID_CHARS)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The messages of one receipt: 1 to 100 ids of 1 to 128 characters, as the client ordered them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageIds(Vec<String>);

impl MessageIds {
    pub fn parse(ids: Vec<String>) -> Result<Self, MessageIdsError> {
        match ids.len() {
            0 => return Err(MessageIdsError::None),
            1..=MAX_MESSAGE_IDS => {}
            _ => return Err(MessageIdsError::TooMany),
        }
        for id in &ids {
            check_length(id, MAX_MESSAGE_ID_CHARS).map_err(MessageIdsError::BadId)?;
        }
        Ok(Self(ids))
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

/// The `type` of a group event, which is the app's own word: 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEventType(Box<str>);

impl GroupEventType {
    pub fn parse(text: &str) -> Result<Self, TextError> {
        check_length(text, MAX_GROUP_EVENT_TYPE_CHARS)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_length(text: &str, max: usize) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.chars().nth(max).is_some() {
        return Err(TextError::TooLong { max });
    }
    Ok(())
}

/// Whether a message is to be relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen lately, and remembered from now on.
    New,
    /// Relayed at that time already; the sender has missed the answer.
    Duplicate { delivered_at: UnixMillis },
}

/// The named messages of late, so that a repeat is not relayed twice.
///
/// Whole names are kept, not hashes of them: a collision would swallow a message.
pub struct RecentMessages {
    capacity: usize,
    memory: Duration,
    delivered: HashMap<Arc<Name>, UnixMillis>,
    /// The same names, the oldest first, and when they came.
    order: VecDeque<(Instant, Arc<Name>)>,
}

#[derive(PartialEq, Eq, Hash)]
struct Name {
    user: UserId,
    chat: ChatId,
    id: ClientMessageId,
}

impl RecentMessages {
    /// Remembers at most `capacity` messages, but at least one, each for `memory`.
    pub fn new(capacity: usize, memory: Duration) -> Self {
        Self {
            capacity: capacity.max(1),
            memory,
            delivered: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Decides on a message that is about to be relayed: ask after every other check, for what
    /// is accepted here counts as delivered at `now`. A repeat does not prolong the memory.
    /// When full, the oldest is forgotten first.
    pub fn accept(
        &mut self,
        user: &UserId,
        chat: &ChatId,
        id: &ClientMessageId,
        now: Moment,
    ) -> Verdict {
        self.forget_old(now.instant);
        let name = Name {
            user: user.clone(),
            chat: chat.clone(),
            id: id.clone(),
        };
        if let Some(delivered_at) = self.delivered.get(&name) {
            let delivered_at = *delivered_at;
            return Verdict::Duplicate { delivered_at };
        }
        if self.len() >= self.capacity
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.delivered.remove(&oldest);
        }
        let name = Arc::new(name);
        self.order.push_back((now.instant, Arc::clone(&name)));
        self.delivered.insert(name, now.unix);
        Verdict::New
    }

    /// Forgets whatever is older than the memory; [`RecentMessages::accept`] does so by itself.
    pub fn forget_old(&mut self, now: Instant) {
        let over = |(since, _): &mut (Instant, Arc<Name>)| {
            now.saturating_duration_since(*since) >= self.memory
        };
        while let Some((_, name)) = self.order.pop_front_if(over) {
            self.delivered.remove(&name);
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests;
