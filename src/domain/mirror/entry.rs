//! What the mirror remembers of one user, and of the batch in flight.

use super::Record;
use super::recheck::Doubt;
use crate::domain::ids::UserId;
use std::time::Instant;

/// A place in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// The order of becoming dirty.
    pub(super) rank: u64,
    pub(super) since: Instant,
    /// Whether a transition waits for this write; corrections are written without one.
    pub(super) owed: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Nothing to write, or all of it in flight.
    Settled,
    Queued(Ticket),
    /// The database refuses this user's record; a newer one gets a new chance.
    Parked {
        owed: bool,
    },
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) wanted: Record,
    /// `None`: unknown, so anything wanted is written.
    pub(super) confirmed: Option<Record>,
    pub(super) place: Place,
    pub(super) in_flight: bool,
    /// Counts this user's writes: tells a read from before a write from one after it.
    pub(super) sends: u32,
    /// Present while an ambiguous write of this user may still land.
    pub(super) doubt: Option<Box<Doubt>>,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) items: Vec<Item>,
    /// Part of a search for a poisonous record.
    pub(super) search: bool,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) user: UserId,
    pub(super) record: Record,
    pub(super) ticket: Ticket,
}
