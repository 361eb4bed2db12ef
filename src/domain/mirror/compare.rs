//! Somebody else's hand: another process of this node may write a user offline whom we hold, when
//! its own last connection of that user closed.

use super::{Mirror, Place};
use crate::domain::ids::UserId;
use std::collections::HashSet;
use std::time::Instant;

impl Mirror {
    /// Whom the mirror believes to be confirmed online, against everybody the database calls
    /// online. Whoever is missing there is written again, but for `touched`, of whom the answer
    /// may be older than the last write. Returns how many.
    pub fn compare(
        &mut self,
        online: &HashSet<UserId>,
        touched: &HashSet<UserId>,
        now: Instant,
    ) -> usize {
        let believed = self.users.iter().filter(|(_, entry)| {
            let settled = !entry.in_flight && matches!(entry.place, Place::Settled);
            settled && entry.confirmed.is_some_and(|record| record.online)
        });
        let mut missing: Vec<UserId> = believed
            .map(|(user, _)| user)
            .filter(|user| !online.contains(*user) && !touched.contains(*user))
            .cloned()
            .collect();
        // A seed must tell the same history again.
        missing.sort_unstable();
        for user in &missing {
            if let Some(entry) = self.users.get_mut(user) {
                entry.confirmed = None;
            }
            let ticket = self.ticket(now, false);
            self.enqueue(user, ticket);
        }
        missing.len()
    }
}
