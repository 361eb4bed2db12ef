//! This node's live connections, by user.

use crate::domain::ids::{ConnectionId, UserId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `H` is whatever ends a connection; the store only hands it back.
pub struct Connections<H> {
    limit_per_user: usize,
    users: Mutex<HashMap<UserId, Vec<(ConnectionId, H)>>>,
}

/// What a new connection of a user found.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<H> {
    /// The oldest one, which has to give way.
    pub evicted: Option<H>,
    /// The user's other connections.
    pub others: Vec<H>,
}

impl<H: Clone> Connections<H> {
    pub fn new(limit_per_user: usize) -> Self {
        Self {
            limit_per_user,
            users: Mutex::default(),
        }
    }

    /// Registers a connection. When the user has too many, the oldest is unregistered.
    pub fn open(&self, user: &UserId, connection: ConnectionId, handle: H) -> Opened<H> {
        let mut users = self.lock();
        let open = users
            .entry(user.clone())
            .or_insert_with(|| Vec::with_capacity(1));
        let evicted = (open.len() >= self.limit_per_user).then(|| open.remove(0).1);
        let others = open.iter().map(|(_, other)| other.clone()).collect();
        open.push((connection, handle));
        Opened { evicted, others }
    }

    /// One of the user's connections, if there is any.
    pub fn any(&self, user: &UserId) -> Option<H> {
        let users = self.lock();
        users.get(user)?.first().map(|(_, handle)| handle.clone())
    }

    /// Unregisters a connection; a second time changes nothing. `true`: the user has none left.
    pub fn close(&self, user: &UserId, connection: ConnectionId) -> bool {
        let mut users = self.lock();
        let Some(open) = users.get_mut(user) else {
            return true;
        };
        open.retain(|(id, _)| *id != connection);
        let last = open.is_empty();
        if last {
            users.remove(user);
        }
        last
    }

    pub fn users(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Vec<(ConnectionId, H)>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> UserId {
        UserId::parse("ann").unwrap()
    }

    #[test]
    fn the_oldest_connection_gives_way() {
        let connections = Connections::new(2);
        let open = |id, name| connections.open(&ann(), ConnectionId(id), name);
        let opened = |evicted, others: &[&'static str]| Opened {
            evicted,
            others: others.to_vec(),
        };
        assert_eq!(open(1, "phone"), opened(None, &[]));
        assert_eq!(open(2, "tablet"), opened(None, &["phone"]));
        assert_eq!(open(3, "laptop"), opened(Some("phone"), &["tablet"]));
        assert_eq!(connections.any(&ann()), Some("tablet"));
        assert!(
            !connections.close(&ann(), ConnectionId(1)),
            "the evicted one is not the last"
        );
        assert!(!connections.close(&ann(), ConnectionId(2)));
        assert!(connections.close(&ann(), ConnectionId(3)));
        assert_eq!(connections.users(), 0);
    }

    #[test]
    fn a_repeated_close_changes_nothing() {
        let connections = Connections::new(2);
        connections.open(&ann(), ConnectionId(1), ());
        connections.open(&ann(), ConnectionId(2), ());
        assert!(!connections.close(&ann(), ConnectionId(1)));
        assert!(!connections.close(&ann(), ConnectionId(1)));
        assert!(connections.close(&ann(), ConnectionId(2)));
    }
}
