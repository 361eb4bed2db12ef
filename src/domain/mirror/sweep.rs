//! The sweep: the database is compared with the truth, a stretch of keys at a time and no more
//! than a budget of bytes in an interval. It puts right what somebody else has changed; in a
//! healthy run it finds nothing.

use super::{Mirror, Place, Record};
use crate::domain::ids::UserId;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Bytes read in a minute, on average.
const BYTES_PER_MINUTE: u64 = 200_000;
/// Records asked for at once.
const RECORDS: (usize, usize) = (50, 1_000);
/// Bytes of a record with its key, until some were seen.
const RECORD_BYTES: usize = 100;

/// When which part of the records is read next.
#[derive(Debug)]
pub struct Sweep {
    interval: Duration,
    budget_bytes: usize,
    /// When the interval under way began, and what was read in it.
    begun: Instant,
    spent_bytes: usize,
    /// Until then nothing is read; then a new interval begins if this one is over.
    due: Instant,
    resting: bool,
    /// The last key read; `None`: begin at the first.
    after: Option<String>,
    record_bytes: usize,
}

/// A part of the records to be read, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The key before the first; `None`: from the beginning.
    pub after: Option<String>,
    /// Records to ask for.
    pub most: usize,
}

/// What was read of a stretch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Passage {
    /// As in its [`Stretch`].
    pub after: Option<String>,
    /// The last key of the stretch; `None`: it reaches to the end.
    pub through: Option<String>,
    pub records: HashMap<UserId, Record>,
}

impl Sweep {
    pub fn new(interval: Duration, start: Instant) -> Self {
        let budget = BYTES_PER_MINUTE.saturating_mul(interval.as_secs()) / 60;
        Self {
            interval,
            budget_bytes: usize::try_from(budget).unwrap_or(usize::MAX).max(1),
            begun: start,
            spent_bytes: 0,
            due: start + interval,
            resting: true,
            after: None,
            record_bytes: RECORD_BYTES,
        }
    }

    /// When to call [`Sweep::next`].
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The stretch whose time has come. Each is to be answered by [`Sweep::passed`] or [`Sweep::failed`].
    pub fn next(&mut self, now: Instant) -> Option<Stretch> {
        if self.due > now {
            return None;
        }
        if self.resting {
            self.resting = false;
            self.begun = now;
            self.spent_bytes = 0;
        }
        let left = self.budget_bytes.saturating_sub(self.spent_bytes);
        let (least, most) = RECORDS;
        Some(Stretch {
            after: self.after.clone(),
            most: (left / self.record_bytes).clamp(least, most),
        })
    }

    /// The stretch was read: so many children, in so many bytes, up to `through`.
    pub fn passed(&mut self, children: usize, bytes: usize, through: Option<String>, now: Instant) {
        self.spent_bytes = self.spent_bytes.saturating_add(bytes);
        if let Some(each) = bytes.checked_div(children) {
            self.record_bytes = each.max(1);
        }
        if through.is_none() || self.spent_bytes >= self.budget_bytes {
            self.rest();
        } else {
            self.due = now;
        }
        self.after = through;
    }

    /// The stretch could not be read; it is tried again in the next interval.
    pub fn failed(&mut self) {
        self.rest();
    }

    /// What was read too much is waited off.
    fn rest(&mut self) {
        self.resting = true;
        let over = self.spent_bytes.saturating_sub(1) / self.budget_bytes;
        let intervals = u32::try_from(over).unwrap_or(u32::MAX).saturating_add(1);
        self.due = self.begun + self.interval.saturating_mul(intervals.min(1_000));
    }
}

impl Mirror {
    /// Compares a passage with what the mirror wants, and queues what has to be put right: whoever
    /// should be online there and is not; and, while no other process lives (`alone`), whoever is
    /// online there and unknown here, whose `lastSeen` is then the record's. Left out are `touched`
    /// users, of whom the passage may be older than the last write, and those in doubt, who are
    /// read again anyway. Returns how many.
    pub fn sweep(
        &mut self,
        passage: &Passage,
        touched: &HashSet<UserId>,
        alone: bool,
        now: Instant,
    ) -> usize {
        let (after, through) = (passage.after.as_deref(), passage.through.as_deref());
        let mut wrong: Vec<(UserId, Option<Record>)> = Vec::new();
        for (user, entry) in &self.users {
            let quiet = !entry.in_flight
                && entry.doubt.is_none()
                && matches!(entry.place, Place::Settled)
                && !touched.contains(user);
            if !quiet {
                continue;
            }
            match passage.records.get(user) {
                Some(found) if found.agrees(entry.wanted) => {}
                Some(found) => wrong.push((user.clone(), Some(*found))),
                None if is_within(&user.to_key(), after, through) => {
                    wrong.push((user.clone(), None));
                }
                None => {}
            }
        }
        // A seed must tell the same history again.
        wrong.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (user, found) in &wrong {
            if let Some(entry) = self.users.get_mut(user) {
                entry.confirmed = *found;
            }
            self.correct(user, now);
        }
        let strangers = passage.records.iter().filter(|(user, found)| {
            alone && found.online && !touched.contains(*user) && !self.users.contains_key(*user)
        });
        let mut strangers: Vec<(UserId, Record)> = strangers
            .map(|(user, found)| (user.clone(), *found))
            .collect();
        strangers.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (user, found) in &strangers {
            let offline = Record {
                online: false,
                ..*found
            };
            self.enter(user, offline, Some(*found));
            self.correct(user, now);
        }
        wrong.len() + strangers.len()
    }

    /// Gives those whose record was refused another chance. Returns how many.
    pub fn retry_parked(&mut self, now: Instant) -> usize {
        let parked = self
            .users
            .iter()
            .filter_map(|(user, entry)| match entry.place {
                Place::Parked { owed } => Some((user.clone(), owed)),
                Place::Settled | Place::Queued(_) => None,
            });
        let parked: Vec<(UserId, bool)> = parked.collect();
        for (user, owed) in &parked {
            self.balance.unpark(*owed);
            let ticket = self.ticket(now, *owed);
            self.enqueue(user, ticket);
        }
        parked.len()
    }

    /// The users of the batch in flight: what is read now may be older than it.
    pub fn flying(&self) -> impl Iterator<Item = &UserId> {
        self.flight
            .iter()
            .flat_map(|flight| flight.items.iter().map(|item| &item.user))
    }

    fn correct(&mut self, user: &UserId, now: Instant) {
        let ticket = self.ticket(now, false);
        self.enqueue(user, ticket);
    }
}

fn is_within(key: &str, after: Option<&str>, through: Option<&str>) -> bool {
    after.is_none_or(|after| compare_keys(key, after) == Ordering::Greater)
        && through.is_none_or(|through| compare_keys(key, through) != Ordering::Greater)
}

/// The database's order of keys: those that are 32-bit integers first, by number; then the
/// others, by their characters (firebase.google.com/docs/database/rest/retrieve-data, `orderBy="$key"`).
pub fn compare_keys(a: &str, b: &str) -> Ordering {
    match (integer(a), integer(b)) {
        (Some(x), Some(y)) => x.cmp(&y).then(a.len().cmp(&b.len())),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

fn integer(key: &str) -> Option<i32> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    key.parse().ok().filter(|_| plain)
}
