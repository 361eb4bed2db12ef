//! What operators see of the mirror.

use crate::domain::mirror::{Balance, Mirror};
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;
use std::time::Instant;

/// Moves the metrics to what the mirror says, by the difference to what was published before.
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
        let m = &self.metrics;
        m.mirror_accepted.inc_by(new.accepted - old.accepted);
        m.mirror_written.inc_by(new.written - old.written);
        m.mirror_coalesced.inc_by(new.coalesced - old.coalesced);
        m.mirror_pending.set(gauge(new.pending));
        m.mirror_parked.set(gauge(new.parked));
        let age = mirror
            .oldest()
            .map(|since| now.saturating_duration_since(since));
        m.mirror_oldest_age_seconds
            .set(gauge(age.unwrap_or_default().as_secs()));
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
