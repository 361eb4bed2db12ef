//! Late landings: an ambiguous write may commit after a newer one. The users of such a write are
//! read again a little later, and again much later; if our own old record is found, it is put right.

use super::{Item, Limits, Mirror, Place, Record};
use crate::domain::ids::UserId;
use std::time::{Duration, Instant};

/// Ambiguous records remembered of one user; older ones are left to the sweep.
const MAX_DOUBTS: usize = 8;

#[derive(Debug)]
pub(super) struct Doubt {
    /// What may still land.
    sent: Vec<Record>,
    /// The last ambiguity.
    since: Instant,
    /// Which of [`Limits::recheck_after`] comes next.
    step: usize,
    /// `None` while the read is under way.
    due: Option<Instant>,
}

/// One user to read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recheck {
    pub user: UserId,
    sends: u32,
}

/// What such a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Record(Record),
    Nothing,
    /// The read failed.
    Unknown,
}

impl Mirror {
    /// When to call [`Mirror::next_rechecks`].
    pub fn recheck_deadline(&self) -> Option<Instant> {
        self.rechecks.first().map(|(due, _)| *due)
    }

    /// At most `most` users whose time to be read again has come. Each is to be [observed](Mirror::observe).
    pub fn next_rechecks(&mut self, now: Instant, most: usize) -> Vec<Recheck> {
        let mut chosen = Vec::new();
        while chosen.len() < most && self.recheck_deadline().is_some_and(|due| due <= now) {
            let Some((_, user)) = self.rechecks.pop_first() else {
                break;
            };
            let Some(entry) = self.users.get_mut(&user) else {
                continue;
            };
            let quiet = !entry.in_flight && matches!(entry.place, Place::Settled);
            if quiet {
                if let Some(doubt) = &mut entry.doubt {
                    doubt.due = None;
                }
                let sends = entry.sends;
                chosen.push(Recheck { user, sends });
            } else {
                // About to be written: reading tells nothing yet.
                self.read_again_at(&user, now + self.patience());
            }
        }
        chosen
    }

    /// What the read of a [`Recheck`] found. Returns whether an old record of ours had landed late.
    pub fn observe(&mut self, recheck: &Recheck, found: Found, now: Instant) -> bool {
        let again = now + self.patience();
        let limits = self.limits;
        let Some(entry) = self.users.get_mut(&recheck.user) else {
            return false;
        };
        let untouched = !entry.in_flight
            && matches!(entry.place, Place::Settled)
            && entry.sends == recheck.sends;
        let Some(doubt) = entry.doubt.as_mut().filter(|d| d.due.is_none()) else {
            return false;
        };
        if !untouched || found == Found::Unknown {
            self.read_again_at(&recheck.user, again);
            return false;
        }
        if let Found::Record(record) = found
            && !record.agrees(entry.wanted)
            && doubt.sent.contains(&record)
        {
            entry.confirmed = Some(record);
            doubt.since = now;
            doubt.step = 0;
            let ticket = self.ticket(now, false);
            self.enqueue(&recheck.user, ticket);
            self.read_again_at(&recheck.user, again);
            return true;
        }
        doubt.step += 1;
        if let Some(due) = doubt.next(&limits) {
            self.read_again_at(&recheck.user, due.max(now));
        } else {
            entry.doubt = None;
            self.reconsider(&recheck.user);
        }
        false
    }

    /// The record in flight may or may not be there, now or later.
    pub(super) fn suspect_late_landing(&mut self, item: &Item, now: Instant) {
        let limits = self.limits;
        let Some(entry) = self.users.get_mut(&item.user) else {
            return;
        };
        entry.confirmed = None;
        let doubt = entry.doubt.get_or_insert_with(|| {
            Box::new(Doubt {
                sent: Vec::new(),
                since: now,
                step: 0,
                due: None,
            })
        });
        if !doubt.sent.contains(&item.record) {
            if doubt.sent.len() == MAX_DOUBTS {
                doubt.sent.remove(0);
            }
            doubt.sent.push(item.record);
        }
        doubt.since = now;
        doubt.step = 0;
        if let Some(due) = doubt.next(&limits) {
            self.read_again_at(&item.user, due);
        }
    }

    fn patience(&self) -> Duration {
        let [first, _] = self.limits.recheck_after;
        first
    }

    fn read_again_at(&mut self, user: &UserId, due: Instant) {
        let Some(doubt) = self.users.get_mut(user).and_then(|e| e.doubt.as_mut()) else {
            return;
        };
        if let Some(old) = doubt.due.replace(due) {
            self.rechecks.remove(&(old, user.clone()));
        }
        self.rechecks.insert((due, user.clone()));
    }
}

impl Doubt {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn next(&self, limits: &Limits) -> Option<Instant> {
        let after = limits.recheck_after.get(self.step)?;
        Some(self.since + *after)
    }
}
