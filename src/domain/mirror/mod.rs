//! What `/presence` should say of each user against what it is confirmed to say; the difference
//! comes out as batches. Level-triggered: it remembers states, never a log of changes, so its
//! memory is bounded by the number of users, however long the database is away.
//!
//! ```text
//!            want()                 next_batch()             settle(Written)
//!  settled ─────────▶ queued ─────────────────▶ in flight ─────────────────▶ settled
//!     ▲                 │  ▲                        │
//!     └─────────────────┘  └────────────────────────┤ settle(NotSent | Ambiguous | Barred | Busy | Denied)
//!      back at what is                              │ settle(BadData), alone
//!      confirmed: no write            parked ◀──────┘
//! ```
//!
//! Invariant: at most one batch is in flight, so nothing newer is overtaken by something older (test: `whatever_happens_the_database_ends_at_the_last_wanted_state`).
//! Invariant: accepted = written + coalesced + pending + parked after every step (test: `whatever_happens_the_database_ends_at_the_last_wanted_state`).
//! Invariant: a user who is back at the confirmed state within the flush window costs no write (test: `a_flap_within_the_window_costs_nothing`).

mod backoff;
mod bisect;
mod compare;
mod entry;
mod pace;
mod recheck;
mod sweep;
mod values;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use crate::domain::ids::UserId;
use backoff::Backoff;
use bisect::Suspects;
use entry::{Entry, Flight, Item, Place, Ticket};
use pace::Pace;
pub use recheck::{Found, Recheck};

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;
pub use sweep::{Passage, Stretch, Sweep, compare_keys};
pub use values::{Balance, Batch, Limits, Outcome, Record};

/// Desired and confirmed state of every user who is online, dirty or in doubt.
#[derive(Debug)]
pub struct Mirror {
    limits: Limits,
    users: HashMap<UserId, Entry>,
    queue: BTreeMap<u64, UserId>,
    next_rank: u64,
    flight: Option<Flight>,
    suspects: Suspects,
    backoff: Backoff,
    pace: Pace,
    rechecks: BTreeSet<(Instant, UserId)>,
    balance: Balance,
    hurried: bool,
}

impl Mirror {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            users: HashMap::new(),
            queue: BTreeMap::new(),
            next_rank: 0,
            flight: None,
            suspects: Suspects::default(),
            backoff: Backoff::default(),
            pace: Pace::default(),
            rechecks: BTreeSet::new(),
            balance: Balance::default(),
            hurried: false,
        }
    }

    /// One transition: from now on the database should say `record` of `user`.
    pub fn want(&mut self, user: &UserId, record: Record, now: Instant) {
        self.balance.accept();
        let place = match self.users.get_mut(user) {
            Some(entry) => {
                entry.wanted = record;
                std::mem::replace(&mut entry.place, Place::Settled)
            }
            None => self.enter(user, record, None),
        };
        let since = match place {
            Place::Queued(ticket) => {
                self.balance.coalesce(ticket.owed);
                Some(ticket)
            }
            Place::Parked { owed } => {
                self.balance.unpark(owed);
                self.balance.coalesce(owed);
                None
            }
            Place::Settled => None,
        };
        let ticket = match since {
            Some(earlier) => Ticket {
                owed: true,
                ..earlier
            },
            None => self.ticket(now, true),
        };
        self.suspects.changed(user);
        self.enqueue(user, ticket);
        self.reconsider(user);
    }

    /// A user found in the database as `record`, which needs no write. Says whether it was taken:
    /// whom the mirror knows already, it knows better.
    pub fn adopt(&mut self, user: &UserId, record: Record) -> bool {
        if let Some(entry) = self.users.get_mut(user) {
            // Never written by us: what was found is what is there, and may be just what is wanted.
            if entry.confirmed.is_none() && entry.sends == 0 {
                entry.confirmed = Some(record);
                self.reconsider(user);
            }
            return false;
        }
        self.enter(user, record, Some(record));
        self.reconsider(user);
        true
    }

    /// Like [`Mirror::adopt`] for a record that another node has signed: it is written anew.
    pub fn claim(&mut self, user: &UserId, record: Record, now: Instant) -> bool {
        if self.users.contains_key(user) {
            return false;
        }
        self.enter(user, record, None);
        let ticket = self.ticket(now, false);
        self.enqueue(user, ticket);
        true
    }

    /// When to call [`Mirror::next_batch`]. `None` while there is nothing to do or a batch is in flight.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.flight.is_some() {
            return None;
        }
        let oldest = self.oldest_queued()?;
        let due = if self.hurried || !self.suspects.is_empty() {
            oldest
        } else {
            oldest + self.limits.flush_interval
        };
        let paced = self.pace.earliest(self.limits.flush_interval);
        let paced = paced.filter(|_| !self.hurried);
        Some(due.max(self.backoff.until().max(paced).unwrap_or(due)))
    }

    /// The next request's records, if its time has come. Each batch must be [settled](Mirror::settle).
    pub fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        if self.next_deadline().is_none_or(|due| due > now) {
            return None;
        }
        let search = !self.suspects.is_empty();
        let users: Vec<UserId> = if search {
            self.suspects.half().to_vec()
        } else {
            let most = self.limits.batch_users.max(1);
            self.queue.values().take(most).cloned().collect()
        };
        let items: Vec<Item> = users.into_iter().filter_map(|u| self.send(u)).collect();
        let records = items.iter().map(|i| (i.user.clone(), i.record)).collect();
        self.flight = Some(Flight { items, search });
        self.pace.sent(now);
        Some(Batch { records })
    }

    /// Ends the flight. `jitter` is from 0 to 1 and spreads the retries of many processes.
    pub fn settle(&mut self, outcome: Outcome, now: Instant, jitter: f64) {
        let Some(Flight { items, search }) = self.flight.take() else {
            return;
        };
        if matches!(outcome, Outcome::Busy { .. }) {
            self.pace.halve(now);
        }
        match outcome {
            Outcome::Written => {
                self.backoff.written(now);
                if search {
                    self.suspects.acquit(items.len());
                }
                for item in items {
                    self.land(&item);
                }
                self.park_the_last();
            }
            Outcome::BadData => {
                let most = self.limits.batch_users;
                self.backoff.refused(most, now, &self.limits, jitter);
                self.accuse(&items);
            }
            Outcome::NotSent | Outcome::Busy { .. } | Outcome::Denied => {
                self.backoff.failed(outcome, now, &self.limits, jitter);
                for item in items {
                    self.give_back(&item);
                }
            }
            Outcome::Barred => {
                self.backoff.failed(outcome, now, &self.limits, jitter);
                for item in items {
                    if let Some(entry) = self.users.get_mut(&item.user) {
                        entry.confirmed = None;
                    }
                    self.give_back(&item);
                }
            }
            Outcome::Ambiguous => {
                self.backoff.failed(outcome, now, &self.limits, jitter);
                for item in items {
                    self.suspect_late_landing(&item, now);
                    self.give_back(&item);
                }
            }
        }
    }

    /// Another request reached the database: a back-off ends early, a pause it asked for does not.
    pub fn reached(&mut self, now: Instant) {
        self.backoff.reached(now);
    }

    /// Another request failed: nobody knocks again before the back-off is over.
    pub fn missed(&mut self, outcome: Outcome, now: Instant, jitter: f64) {
        self.backoff.missed(outcome, now, &self.limits, jitter);
    }

    /// The end of the back-off or pause. While there is one, one request at a time is enough.
    pub fn blocked_until(&self) -> Option<Instant> {
        self.backoff.until()
    }

    /// Whether the last that was heard of the database was bad.
    pub fn degraded(&self) -> bool {
        self.backoff.degraded()
    }

    /// From now on nothing waits for company; failures are still spaced.
    pub fn hurry(&mut self) {
        self.hurried = true;
    }

    pub fn balance(&self) -> Balance {
        self.balance
    }

    /// When the oldest transition that still waits or flies became dirty.
    pub fn oldest(&self) -> Option<Instant> {
        let flying = self
            .flight
            .iter()
            .flat_map(|f| f.items.iter().map(|i| i.ticket.since));
        flying.chain(self.oldest_queued()).min()
    }

    /// Users whose record is not confirmed to be as wanted; parked ones among them.
    pub fn unwritten(&self) -> usize {
        let open = |e: &&Entry| e.in_flight || !matches!(e.place, Place::Settled);
        self.users.values().filter(open).count()
    }

    /// Users in memory.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn enter(&mut self, user: &UserId, wanted: Record, confirmed: Option<Record>) -> Place {
        let entry = Entry {
            wanted,
            confirmed,
            place: Place::Settled,
            in_flight: false,
            sends: 0,
            doubt: None,
        };
        self.users.insert(user.clone(), entry);
        Place::Settled
    }

    fn ticket(&mut self, since: Instant, owed: bool) -> Ticket {
        self.next_rank += 1;
        Ticket {
            rank: self.next_rank,
            since,
            owed,
        }
    }

    fn enqueue(&mut self, user: &UserId, ticket: Ticket) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.place = Place::Queued(ticket);
            self.queue.insert(ticket.rank, user.clone());
        }
    }

    fn oldest_queued(&self) -> Option<Instant> {
        let (_, user) = self.queue.first_key_value()?;
        match self.users.get(user)?.place {
            Place::Queued(ticket) => Some(ticket.since),
            Place::Settled | Place::Parked { .. } => None,
        }
    }

    fn send(&mut self, user: UserId) -> Option<Item> {
        let entry = self.users.get_mut(&user)?;
        let Place::Queued(ticket) = entry.place else {
            return None;
        };
        self.queue.remove(&ticket.rank);
        entry.place = Place::Settled;
        entry.in_flight = true;
        entry.sends = entry.sends.wrapping_add(1);
        let record = entry.wanted;
        Some(Item {
            user,
            record,
            ticket,
        })
    }

    fn land(&mut self, item: &Item) {
        self.balance.write(item.ticket.owed);
        if let Some(entry) = self.users.get_mut(&item.user) {
            entry.in_flight = false;
            entry.confirmed = Some(item.record);
        }
        self.reconsider(&item.user);
    }

    /// Back to its old place in the queue, with the latest state.
    fn give_back(&mut self, item: &Item) {
        let Some(entry) = self.users.get_mut(&item.user) else {
            return;
        };
        entry.in_flight = false;
        let mut ticket = item.ticket;
        if let Place::Queued(newer) = entry.place {
            self.queue.remove(&newer.rank);
            self.balance.coalesce(item.ticket.owed);
            ticket.owed = newer.owed;
        }
        self.enqueue(&item.user, ticket);
        self.reconsider(&item.user);
    }

    /// Takes a user off the queue who is back at what is confirmed, and forgets whoever is
    /// confirmed offline.
    fn reconsider(&mut self, user: &UserId) {
        let Some(entry) = self.users.get_mut(user) else {
            return;
        };
        if entry.in_flight || !entry.confirmed.is_some_and(|c| c.agrees(entry.wanted)) {
            return;
        }
        if let Place::Queued(ticket) = entry.place {
            self.queue.remove(&ticket.rank);
            self.balance.coalesce(ticket.owed);
            entry.place = Place::Settled;
            self.suspects.withdraw(user);
        }
        if !entry.wanted.online && entry.doubt.is_none() && matches!(entry.place, Place::Settled) {
            self.users.remove(user);
        }
    }
}
