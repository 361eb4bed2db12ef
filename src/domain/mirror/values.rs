//! The values that go in and out of the mirror.

use crate::domain::ids::UserId;
use crate::domain::time::UnixMillis;
use std::time::Duration;

/// What `/presence/{key}` should say of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub online: bool,
    /// When the user came, or when the last connection closed.
    pub last_seen: UnixMillis,
}

impl Record {
    /// Whether a reader learns the same from both. Of somebody online it matters that, not since
    /// when; of somebody offline it matters since when.
    pub fn agrees(self, other: Self) -> bool {
        self.online == other.online && (self.online || self.last_seen == other.last_seen)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most users in one batch. Cloud Functions on `/presence/{key}` allow 500 to 1,000 events a write.
    pub batch_users: usize,
    /// How long the first change of a batch waits for company.
    pub flush_interval: Duration,
    /// First and longest wait after a failure; it doubles from one to the other.
    pub backoff: (Duration, Duration),
    /// The wait after a refusal that only a person can cure.
    pub denied_pause: Duration,
    /// When the users of an ambiguous write are read again, counted from the ambiguity.
    pub recheck_after: [Duration; 2],
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_users: 400,
            flush_interval: Duration::from_millis(250),
            backoff: (Duration::from_millis(500), Duration::from_secs(9)),
            denied_pause: Duration::from_mins(1),
            recheck_after: [Duration::from_secs(5), Duration::from_secs(30)],
        }
    }
}

/// The records of one request, oldest change first; each user once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub records: Vec<(UserId, Record)>,
}

/// What became of the batch in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Written,
    /// Surely without effect.
    NotSent,
    /// It may have landed, may land later, or never.
    Ambiguous,
    /// It may have landed, or will not: the fence bars it before the next batch is sent.
    Barred,
    /// Surely without effect, and the database names the pause it wants.
    Busy {
        retry_after: Option<Duration>,
    },
    /// Some record in it is poison; nothing was written.
    BadData,
    /// Nothing was written, and nothing will be until a person changes a setting.
    Denied,
}

/// Where all transitions went; the first equals the sum of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Balance {
    pub accepted: u64,
    pub written: u64,
    /// Made needless by a later transition, or by the database saying so already.
    pub coalesced: u64,
    pub pending: u64,
    pub parked: u64,
}

impl Balance {
    pub(super) fn accept(&mut self) {
        self.accepted += 1;
        self.pending += 1;
    }

    pub(super) fn write(&mut self, owed: bool) {
        self.pending -= u64::from(owed);
        self.written += u64::from(owed);
    }

    pub(super) fn coalesce(&mut self, owed: bool) {
        self.pending -= u64::from(owed);
        self.coalesced += u64::from(owed);
    }

    pub(super) fn park(&mut self, owed: bool) {
        self.pending -= u64::from(owed);
        self.parked += u64::from(owed);
    }

    pub(super) fn unpark(&mut self, owed: bool) {
        self.parked -= u64::from(owed);
        self.pending += u64::from(owed);
    }
}
