//! Presence and the ends of typing, told to the sockets that may know.

use super::events::{PresenceNotice, ServerEvent, TypingNotice};
use super::mailbox::Mailbox;
use super::rooms::{self, Rooms};
use crate::domain::ids::{ChatId, UserId};
use crate::services::ports::{Announce, Visible};
use crate::store::connections::Connections;
use crate::telemetry::metrics::{Metrics, Volatile};
use socketioxide::SocketIo;
use socketioxide::operators::BroadcastOperators;
use socketioxide_core::adapter::Room;
use std::sync::Arc;

pub struct Announcer {
    pub io: SocketIo<Rooms>,
    pub connections: Arc<Connections<Arc<Mailbox>>>,
    pub metrics: Arc<Metrics>,
}

impl Announcer {
    /// Everybody in `rooms` but the user's own connections.
    fn others(&self, rooms: Vec<Room>, user: &UserId) -> BroadcastOperators<Rooms> {
        let own = self.connections.any(user);
        let to = match own.and_then(|mailbox| self.io.get_socket(mailbox.sid)) {
            Some(own) => own.to(rooms),
            None => self.io.to(rooms),
        };
        to.except(rooms::user(user))
    }
}

impl Announce for Announcer {
    fn presence(&self, user: &UserId, visible: Visible, chats: &[ChatId]) {
        // One emit for all rooms: the adapter reaches a socket once however many it is in.
        let mut hearers: Vec<_> = chats.iter().map(rooms::chat).collect();
        hearers.push(rooms::watchers(user));
        let to = self.others(hearers, user);
        rooms::relay_volatile(
            to,
            (ServerEvent::Presence, Volatile::Presence),
            &notice(user, visible),
            &self.metrics,
        );
    }

    fn stop_typing(&self, chat: &ChatId, user: &UserId) {
        let to = self.others(vec![rooms::chat(chat)], user);
        let payload = TypingNotice {
            chat_id: chat.as_str(),
            user_id: user.as_str(),
        };
        rooms::relay_volatile(
            to,
            (ServerEvent::StopTyping, Volatile::Typing),
            &payload,
            &self.metrics,
        );
    }
}

/// One user's presence as it stands on the wire.
pub(super) fn notice(user: &UserId, visible: Visible) -> PresenceNotice<'_> {
    let last_seen = match visible {
        Visible::Online => None,
        Visible::Offline { last_seen } => last_seen.map(|at| at.0),
    };
    PresenceNotice {
        user_id: user.as_str(),
        online: Some(visible == Visible::Online),
        last_seen,
        error: None,
    }
}
