//! The search for the one record that makes the database refuse a whole batch.

use super::{Item, Mirror, Place};
use crate::domain::ids::UserId;

/// Users among whom at least one is poison. Halved by each answer; the half that is not accused
/// goes on as usual, so everybody else lands.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    users: Vec<UserId>,
    /// Nobody's record changed since the accusation: whoever is left alone is guilty without trial.
    certain: bool,
}

impl Suspects {
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The part to try next.
    pub(super) fn half(&self) -> &[UserId] {
        let (first, _) = self.users.split_at(self.users.len().div_ceil(2));
        first
    }

    /// The first `count` were written: the poison is among the others.
    pub(super) fn acquit(&mut self, count: usize) {
        self.users.drain(..count.min(self.users.len()));
    }

    /// A suspect's record changed, which may have cured it.
    pub(super) fn changed(&mut self, user: &UserId) {
        if self.certain && self.users.contains(user) {
            self.certain = false;
        }
    }

    /// A suspect needs no write any more. That was a change, of which it was told before.
    pub(super) fn withdraw(&mut self, user: &UserId) {
        self.users.retain(|u| u != user);
    }
}

impl Mirror {
    /// The batch in flight was refused as bad data.
    pub(super) fn accuse(&mut self, items: &[Item]) {
        let mut certain = true;
        self.suspects = Suspects::default();
        for item in items {
            certain &= self
                .users
                .get(&item.user)
                .is_some_and(|e| e.wanted == item.record);
            self.give_back(item);
        }
        let queued = |u: &UserId| {
            let place = self.users.get(u).map(|e| e.place);
            matches!(place, Some(Place::Queued(_)))
        };
        let users: Vec<UserId> = items
            .iter()
            .map(|i| i.user.clone())
            .filter(queued)
            .collect();
        self.suspects = Suspects { users, certain };
        self.park_the_last();
    }

    /// Parks the suspect who is left alone and surely guilty.
    pub(super) fn park_the_last(&mut self) {
        let (true, [user]) = (self.suspects.certain, self.suspects.users.as_slice()) else {
            return;
        };
        if let Some(entry) = self.users.get_mut(user)
            && let Place::Queued(ticket) = entry.place
        {
            self.queue.remove(&ticket.rank);
            self.balance.park(ticket.owed);
            entry.place = Place::Parked { owed: ticket.owed };
            // What is refused cannot have landed, nor will it.
            if let Some(due) = entry.doubt.take().and_then(|d| d.due()) {
                self.rechecks.remove(&(due, user.clone()));
            }
        }
        self.suspects = Suspects::default();
    }
}
