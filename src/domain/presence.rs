//! Who is online: one machine for each user over all connections of this process.
//!
//! ```text
//!             first connection opened: Transition::Online
//!   Offline ────────────────────────────────────▶ Online ◀─┐ reconnected in time:
//!      ▲                                            │       │ absorbed, no transition
//!      │ grace over: Transition::Offline            ▼       │
//!      └──────────────────────────────────────── Lingering ─┘
//!                                                   ▲ last connection closed, or
//!                                                     adopted from the database at start
//! ```
//!
//! Offline users are not known here at all. One task owns the book and feeds it facts; when
//! [`PresenceBook::next_deadline`] has come, it calls [`PresenceBook::expire`].

use super::ids::{ConnectionId, UserId};
use super::time::{Moment, UnixMillis};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// A change of presence worth telling.
///
/// Invariant: one user's transitions alternate, Online first; only an adopted user, whom the
/// database called online before, starts with Offline (test: `transitions_of_a_user_alternate`).
/// Invariant: no Offline while a connection is open (test: `nobody_with_an_open_connection_goes_offline`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub user: UserId,
    pub kind: TransitionKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransitionKind {
    Online {
        since: UnixMillis,
    },
    /// `last_seen` is when the last connection closed, not when the grace ended.
    Offline {
        last_seen: UnixMillis,
    },
}

/// What opening a connection meant for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connected {
    /// The user was offline.
    First(Transition),
    /// The user was online by another connection.
    Another,
    /// The user was lingering: the others have noticed nothing.
    Absorbed,
}

/// How a user known to the book stands. Others see both as online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Online {
        since: UnixMillis,
    },
    Lingering {
        since: UnixMillis,
        last_seen: UnixMillis,
    },
}

/// Everybody whom this process holds online.
pub struct PresenceBook {
    grace: Duration,
    users: HashMap<UserId, Entry>,
    /// One for each lingering user, the earliest first.
    deadlines: BTreeSet<(Instant, UserId)>,
    /// When the process could hear again after it last stood still.
    awake_since: Option<Instant>,
}

struct Entry {
    since: UnixMillis,
    state: State,
}

enum State {
    /// Never empty, no connection twice; nearly always one.
    Online(Vec<ConnectionId>),
    Lingering {
        last_seen: UnixMillis,
        until: Instant,
    },
}

impl PresenceBook {
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            users: HashMap::new(),
            deadlines: BTreeSet::new(),
            awake_since: None,
        }
    }

    /// A connection opened. A lingering user counts as lingering until [`PresenceBook::expire`]
    /// has said otherwise, even if the deadline is over: nobody was told of an Offline.
    pub fn connected(&mut self, user: &UserId, connection: ConnectionId, now: Moment) -> Connected {
        let Some(entry) = self.users.get_mut(user) else {
            let entry = Entry {
                since: now.unix,
                state: State::Online(vec![connection]),
            };
            self.users.insert(user.clone(), entry);
            return Connected::First(Transition {
                user: user.clone(),
                kind: TransitionKind::Online { since: now.unix },
            });
        };
        match &mut entry.state {
            State::Online(connections) => {
                if !connections.contains(&connection) {
                    connections.push(connection);
                }
                Connected::Another
            }
            State::Lingering { until, .. } => {
                self.deadlines.remove(&(*until, user.clone()));
                entry.state = State::Online(vec![connection]);
                Connected::Absorbed
            }
        }
    }

    /// A connection closed; an unknown or repeated close changes nothing. The caller reports a
    /// connection's opening before its close.
    ///
    /// Invariant: `last_seen` is never before `since`, even if the wall clock jumped back
    /// (test: `offline_is_never_dated_before_online`).
    pub fn disconnected(&mut self, user: &UserId, connection: ConnectionId, now: Moment) {
        let Some(entry) = self.users.get_mut(user) else {
            return;
        };
        let State::Online(connections) = &mut entry.state else {
            return;
        };
        connections.retain(|open| *open != connection);
        if connections.is_empty() {
            // Closed before the process stood still, and heard of only now: the grace begins now.
            let heard = self
                .awake_since
                .map_or(now.instant, |awake| awake.max(now.instant));
            let until = heard + self.grace;
            entry.state = State::Lingering {
                last_seen: now.unix.max(entry.since),
                until,
            };
            self.deadlines.insert((until, user.clone()));
        }
    }

    /// A user whom the database believed online at start lingers until `until` and goes offline
    /// then as of `last_seen`. There is no transition: the others see this user online already.
    /// Who is known here is left alone. Online again, the user counts as online since `last_seen`.
    pub fn adopted(&mut self, user: &UserId, last_seen: UnixMillis, until: Instant) {
        if self.users.contains_key(user) {
            return;
        }
        let entry = Entry {
            since: last_seen,
            state: State::Lingering { last_seen, until },
        };
        self.users.insert(user.clone(), entry);
        self.deadlines.insert((until, user.clone()));
    }

    /// For so `long`, until `now`, nobody could be heard: whoever lingers gets that time back.
    ///
    /// Invariant: what happens after a standstill is what would have happened without it, that
    /// much earlier (test: `time_lost_in_a_standstill_is_given_back_and_no_more`).
    pub fn stood_still(&mut self, long: Duration, now: Instant) {
        self.awake_since = Some(now);
        let deadlines = std::mem::take(&mut self.deadlines).into_iter();
        self.deadlines = deadlines
            .map(|(until, user)| (until + long, user))
            .collect();
        for entry in self.users.values_mut() {
            if let State::Lingering { until, .. } = &mut entry.state {
                *until += long;
            }
        }
    }

    /// Everybody whose grace is over, oldest deadline first.
    pub fn expire(&mut self, now: Instant) -> Vec<Transition> {
        let mut transitions = Vec::new();
        while self.next_deadline().is_some_and(|until| until <= now) {
            let Some((_, user)) = self.deadlines.pop_first() else {
                break;
            };
            if let Some(Entry {
                state: State::Lingering { last_seen, .. },
                ..
            }) = self.users.remove(&user)
            {
                let kind = TransitionKind::Offline { last_seen };
                transitions.push(Transition { user, kind });
            }
        }
        self.release();
        transitions
    }

    /// Gives the table's memory back after a crowd has gone. Half of it stays free, so that
    /// the next few arrivals need no new one.
    fn release(&mut self) {
        if self.users.len() <= self.users.capacity() / 8 {
            self.users.shrink_to(self.users.len() * 2);
        }
    }

    /// When [`PresenceBook::expire`] has something to say, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// What others may see: true for an online and for a lingering user.
    pub fn is_online(&self, user: &UserId) -> bool {
        self.users.contains_key(user)
    }

    /// `None` for an offline user.
    pub fn presence(&self, user: &UserId) -> Option<Presence> {
        self.users.get(user).map(Entry::presence)
    }

    /// Everybody known, in no order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&UserId, Presence)> {
        self.users
            .iter()
            .map(|(user, entry)| (user, entry.presence()))
    }

    /// The number of users with an open connection.
    pub fn online(&self) -> usize {
        self.users.len() - self.deadlines.len()
    }

    /// The number of users in their grace.
    pub fn lingering(&self) -> usize {
        self.deadlines.len()
    }

    /// Nobody is online or lingering.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

impl Entry {
    fn presence(&self) -> Presence {
        let since = self.since;
        match self.state {
            State::Online(_) => Presence::Online { since },
            State::Lingering { last_seen, .. } => Presence::Lingering { since, last_seen },
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
