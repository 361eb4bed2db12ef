//! Who is typing where. Typing is a lease of one connection in one chat; a user types in a chat
//! while any of the user's connections holds a lease there.
//!
//! ```text
//!            start: true, relay `typing`
//!   Silent ────────────────────────────────▶ Typing ◀─┐ start: false, the lease is renewed
//!      ▲                                      │  │  └──┘
//!      └──────────────────────────────────────┘  │
//!        last lease stopped (stop: true) or over (expire): relay `stop_typing`
//! ```
//!
//! A lease that is over is still held until [`TypingBook::expire`] has collected it: whoever
//! starts again before that was never seen to stop, so nothing is relayed.

use super::ids::{ChatId, ConnectionId, UserId};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// A user who types, or typed until now, in a chat.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Typist {
    pub chat: ChatId,
    pub user: UserId,
}

/// All typing leases of this process.
///
/// Invariant: for one typist, begin (`start` is true) and end (`stop` is true, or reported by
/// `expire`) alternate, begin first (test: `begin_and_end_of_a_typist_alternate`).
pub struct TypingBook {
    ttl: Duration,
    /// Never an empty list, no connection twice; nearly always one.
    typists: HashMap<Typist, Vec<Lease>>,
    /// One for each lease, the earliest first.
    deadlines: BTreeSet<(Instant, Typist, ConnectionId)>,
}

#[derive(Clone, Copy)]
struct Lease {
    connection: ConnectionId,
    until: Instant,
}

impl TypingBook {
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            typists: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// True if the user began to type in the chat; a lease that is held already is renewed.
    pub fn start(
        &mut self,
        chat: &ChatId,
        user: &UserId,
        connection: ConnectionId,
        now: Instant,
    ) -> bool {
        let typist = Typist::new(chat, user);
        let until = now + self.ttl;
        let lease = Lease { connection, until };
        let leases = self.typists.entry(typist.clone()).or_default();
        let began = leases.is_empty();
        match leases.iter_mut().find(|held| held.connection == connection) {
            Some(held) => {
                let over = (held.until, typist.clone(), connection);
                self.deadlines.remove(&over);
                *held = lease;
            }
            None => leases.push(lease),
        }
        self.deadlines.insert((until, typist, connection));
        began
    }

    /// True if this was the user's last lease in the chat; without a lease nothing happens.
    pub fn stop(&mut self, chat: &ChatId, user: &UserId, connection: ConnectionId) -> bool {
        if self.typists.is_empty() {
            return false;
        }
        let typist = Typist::new(chat, user);
        let Some(leases) = self.typists.get(&typist) else {
            return false;
        };
        let Some(held) = leases.iter().find(|held| held.connection == connection) else {
            return false;
        };
        let deadline = (held.until, typist.clone(), connection);
        self.deadlines.remove(&deadline);
        self.release(&typist, connection)
    }

    /// Those whose last lease is over, in the order of its deadline.
    pub fn expire(&mut self, now: Instant) -> Vec<Typist> {
        let mut ended = Vec::new();
        while self.next_deadline().is_some_and(|until| until <= now) {
            let Some((_, typist, connection)) = self.deadlines.pop_first() else {
                break;
            };
            if self.release(&typist, connection) {
                ended.push(typist);
            }
        }
        ended
    }

    /// Takes a lease, whose deadline is gone already, off its typist. True if it was the last.
    fn release(&mut self, typist: &Typist, connection: ConnectionId) -> bool {
        let Some(leases) = self.typists.get_mut(typist) else {
            return false;
        };
        leases.retain(|held| held.connection != connection);
        let ended = leases.is_empty();
        if ended {
            self.typists.remove(typist);
        }
        ended
    }

    /// When [`TypingBook::expire`] has something to do, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, ..)| *until)
    }

    /// The number of typists: a user who types in two chats counts twice.
    pub fn active(&self) -> usize {
        self.typists.len()
    }
}

impl Typist {
    fn new(chat: &ChatId, user: &UserId) -> Self {
        Self {
            chat: chat.clone(),
            user: user.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
