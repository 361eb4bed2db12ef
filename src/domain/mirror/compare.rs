//! Somebody else's hand: another process of this node may write a user offline whom we hold, when
//! its own last connection of that user closed.

use super::{Mirror, Place};
use crate::domain::ids::UserId;
use std::collections::HashSet;
use std::time::Instant;

impl Mirror {
    /// Whom the mirror believes to be confirmed online, against everybody the database calls
    /// online. Whoever is missing there is written again, but for `touched`, of whom the answer
    /// may be older than the last write. Who waits for a write anyway cannot do without it any
    /// more. Returns how many were missing.
    pub fn compare(
        &mut self,
        online: &HashSet<UserId>,
        touched: &HashSet<UserId>,
        now: Instant,
    ) -> usize {
        let believed = self.users.iter().filter(|(_, entry)| {
            !entry.in_flight && entry.confirmed.is_some_and(|record| record.online)
        });
        let mut missing: Vec<UserId> = believed
            .map(|(user, _)| user)
            .filter(|user| !online.contains(*user) && !touched.contains(*user))
            .cloned()
            .collect();
        // A seed must tell the same history again.
        missing.sort_unstable();
        for user in &missing {
            let Some(entry) = self.users.get_mut(user) else {
                continue;
            };
            entry.confirmed = None;
            if matches!(entry.place, Place::Settled) {
                let ticket = self.ticket(now, false);
                self.enqueue(user, ticket);
            }
        }
        missing.len()
    }
}
