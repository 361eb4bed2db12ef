//! Who is joined to which chat on this node.
//!
//! A user whose last connection closed keeps the seat while lingering: the others still see the user
//! online there, a return in time is silent, and the end of the grace is told exactly where it was kept.

use crate::domain::ids::{ChatId, UserId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after its time a seat is kept for [`Chats::depart`] to find.
const SLACK: Duration = Duration::from_secs(30);

#[derive(Default)]
pub struct Chats {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    chats: HashMap<ChatId, Chat>,
    /// Where each lingering user was joined when the last connection closed.
    lingering: HashMap<UserId, Vec<ChatId>>,
}

#[derive(Default)]
struct Chat {
    seats: HashMap<UserId, Seat>,
    /// Joined connections of all users.
    connections: usize,
}

struct Seat {
    connections: usize,
    /// With no connection left: until when the user counts as present.
    until: Option<Instant>,
}

/// What a join found.
#[derive(Debug, PartialEq, Eq)]
pub struct Joined {
    /// The others did not see this user here until now.
    pub arrived: bool,
    /// The other users present, lingering ones included; at most as many as asked for.
    pub others: Vec<UserId>,
    /// Joined connections, this one included.
    pub connections: usize,
}

impl Chats {
    /// One more connection of `user` listens to `chat`.
    pub fn join(&self, user: &UserId, chat: &ChatId, now: Instant, most_others: usize) -> Joined {
        let mut inner = self.lock();
        let here = inner.chats.entry(chat.clone()).or_default();
        let seat = here.seats.entry(user.clone()).or_insert(Seat {
            connections: 0,
            until: None,
        });
        let arrived = seat.connections == 0 && seat.until.is_none_or(|until| until <= now);
        seat.connections += 1;
        seat.until = None;
        here.connections += 1;
        let present =
            |seat: &Seat| seat.connections > 0 || seat.until.is_some_and(|until| until > now);
        let others = here
            .seats
            .iter()
            .filter(|(other, seat)| *other != user && present(seat))
            .map(|(other, _)| other.clone())
            .take(most_others)
            .collect();
        Joined {
            arrived,
            others,
            connections: here.connections,
        }
    }

    /// One connection less; nobody is told.
    pub fn leave(&self, user: &UserId, chat: &ChatId) {
        self.lock().rise(user, chat, None);
    }

    /// The user's last connection closed: the seats in `chats` are kept until `until`.
    pub fn linger(&self, user: &UserId, chats: Vec<ChatId>, until: Instant) {
        let mut inner = self.lock();
        for chat in &chats {
            inner.rise(user, chat, Some(until));
        }
        let before = if chats.is_empty() {
            inner.lingering.remove(user)
        } else {
            inner.lingering.insert(user.clone(), chats)
        };
        for chat in before.unwrap_or_default() {
            inner.clear(user, &chat, |seat_until| seat_until < until);
        }
    }

    /// The user is offline now: gives up the kept seats and returns those chats with their size in connections.
    pub fn depart(&self, user: &UserId) -> Vec<(ChatId, usize)> {
        let mut inner = self.lock();
        let chats = inner.lingering.remove(user).unwrap_or_default();
        chats
            .into_iter()
            .filter_map(|chat| {
                let connections = inner.chats.get(&chat).map_or(0, |here| here.connections);
                inner
                    .clear(user, &chat, |_| true)
                    .then_some((chat, connections))
            })
            .collect()
    }

    /// For so `long` nobody could come back: the kept seats are kept that much longer.
    pub fn stood_still(&self, long: Duration) {
        let mut inner = self.lock();
        let seats = inner
            .chats
            .values_mut()
            .flat_map(|here| here.seats.values_mut());
        for until in seats.filter_map(|seat| seat.until.as_mut()) {
            *until += long;
        }
    }

    /// Drops seats kept for users who came back but not to these chats.
    pub fn sweep(&self, now: Instant) {
        let mut inner = self.lock();
        let Inner { chats, lingering } = &mut *inner;
        lingering.retain(|user, kept| {
            kept.retain(|chat| {
                let Some(here) = chats.get_mut(chat) else {
                    return false;
                };
                let over = here
                    .seats
                    .get(user)
                    .is_none_or(|seat| seat.until.is_none_or(|until| until + SLACK <= now));
                if over
                    && here
                        .seats
                        .get(user)
                        .is_some_and(|seat| seat.connections == 0)
                {
                    here.seats.remove(user);
                }
                !over
            });
            !kept.is_empty()
        });
        chats.retain(|_, here| !here.seats.is_empty());
    }

    /// Chats with somebody in them.
    pub fn len(&self) -> usize {
        self.lock().chats.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// One connection leaves its seat; an empty seat is kept until `until` or cleared.
    fn rise(&mut self, user: &UserId, chat: &ChatId, until: Option<Instant>) {
        let Some(here) = self.chats.get_mut(chat) else {
            return;
        };
        let Some(seat) = here.seats.get_mut(user) else {
            return;
        };
        if seat.connections == 0 {
            return;
        }
        seat.connections -= 1;
        here.connections -= 1;
        if seat.connections == 0 {
            seat.until = until;
            if until.is_none() {
                self.clear(user, chat, |_| true);
            }
        }
    }

    /// Removes an empty seat whose time `over` accepts; tells whether it did.
    fn clear(&mut self, user: &UserId, chat: &ChatId, over: impl Fn(Instant) -> bool) -> bool {
        let Some(here) = self.chats.get_mut(chat) else {
            return false;
        };
        let empty = here
            .seats
            .get(user)
            .is_some_and(|seat| seat.connections == 0 && seat.until.is_none_or(over));
        if empty {
            here.seats.remove(user);
            if here.seats.is_empty() {
                self.chats.remove(chat);
            }
        }
        empty
    }
}

#[cfg(test)]
#[path = "chats_tests.rs"]
mod tests;
