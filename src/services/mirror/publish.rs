//! What operators see of the mirror.

use crate::domain::mirror::{Balance, Mirror};
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;
use std::time::Instant;

/// Moves the metrics to what the mirror says, by the difference to what was published before.
///
/// Invariant: accepted = written + coalesced + pending + parked at every scrape (test: `every_scrape_balances`).
pub(super) struct Publisher {
    metrics: Arc<Metrics>,
    published: Balance,
}

impl Publisher {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            published: Balance::default(),
        }
    }

    pub(super) fn publish(&mut self, mirror: &Mirror, now: Instant) {
        let new = mirror.balance();
        let old = std::mem::replace(&mut self.published, new);
        let age = mirror
            .oldest()
            .map(|since| now.saturating_duration_since(since));
        self.metrics.together(|m| {
            m.mirror_accepted.inc_by(new.accepted - old.accepted);
            m.mirror_written.inc_by(new.written - old.written);
            m.mirror_coalesced.inc_by(new.coalesced - old.coalesced);
            m.mirror_pending.set(gauge(new.pending));
            m.mirror_parked.set(gauge(new.parked));
            m.mirror_oldest_age_seconds
                .set(gauge(age.unwrap_or_default().as_secs()));
        });
    }

    pub(super) fn sent(&self, records: usize) {
        self.metrics
            .mirror_records
            .inc_by(u64::try_from(records).unwrap_or(u64::MAX));
    }

    /// The epoch that batches carry; 0 without one.
    pub(super) fn epoch(&self, epoch: u64) {
        self.metrics.fence_epoch.set(gauge(epoch));
    }

    pub(super) fn corrected(&self, users: usize) {
        self.metrics
            .sweep_corrections
            .inc_by(u64::try_from(users).unwrap_or(u64::MAX));
    }

    pub(super) fn adopted(&self, users: usize) {
        self.metrics
            .presence_adopted
            .inc_by(u64::try_from(users).unwrap_or(u64::MAX));
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;
    use crate::domain::mirror::{Limits, Outcome, Record};
    use crate::domain::time::UnixMillis;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    use std::time::Duration;

    const CHANGES: u64 = 20_000;

    fn value(page: &str, name: &str) -> u64 {
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    /// Scrapes until the writer is done; returns how many different states it saw.
    fn scrape(metrics: &Metrics, writer: &std::thread::JoinHandle<()>) -> usize {
        let mut seen = std::collections::BTreeSet::new();
        while !writer.is_finished() {
            let page = metrics.encode().unwrap();
            let accepted = value(&page, "bridge_mirror_accepted_total");
            let parts = ["written_total", "coalesced_total", "pending", "parked"];
            let parts = parts.map(|part| value(&page, &format!("bridge_mirror_{part}")));
            assert_eq!(
                accepted,
                parts.iter().sum::<u64>(),
                "{accepted} is not {parts:?}"
            );
            seen.insert(accepted);
        }
        seen.len()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "some instant must be the first")]
    fn every_scrape_balances() {
        let metrics = Arc::new(Metrics::new());
        let mut publisher = Publisher::new(Arc::clone(&metrics));
        let mut now = Instant::now();
        let writer = std::thread::spawn(move || {
            let mut rng = StdRng::seed_from_u64(1);
            let mut mirror = Mirror::new(Limits::default());
            for n in 0..CHANGES {
                now += Duration::from_millis(100);
                let user = UserId::parse(&format!("u{}", rng.random_range(0..50))).unwrap();
                let record = Record {
                    online: rng.random(),
                    last_seen: UnixMillis(n),
                };
                mirror.want(&user, record, now);
                if mirror.next_batch(now).is_some() {
                    mirror.settle(Outcome::Written, now, 0.5);
                }
                publisher.publish(&mirror, now);
            }
        });
        let seen = scrape(&metrics, &writer);
        writer.join().unwrap();
        assert!(seen > 10, "the scrapes were concurrent: {seen}");
    }
}
