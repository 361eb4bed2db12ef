//! How fast batches follow each other: half as fast each time the database asks for a rest, and
//! slowly faster again while it does not.

use std::time::{Duration, Instant};

/// Thirty-two times the flush interval, which is eight seconds by default.
const MOST_HALVINGS: u32 = 5;
/// Each halving is taken back after this long without another, so that none is left after a minute.
const EASE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Pace {
    halvings: u32,
    /// When the number of halvings last changed.
    changed: Option<Instant>,
    sent: Option<Instant>,
}

impl Pace {
    pub(super) fn sent(&mut self, now: Instant) {
        self.ease(now);
        self.sent = Some(now);
    }

    pub(super) fn halve(&mut self, now: Instant) {
        self.ease(now);
        self.halvings = (self.halvings + 1).min(MOST_HALVINGS);
        self.changed = Some(now);
    }

    /// No batch is sent before; `None` at full speed.
    pub(super) fn earliest(&self, interval: Duration) -> Option<Instant> {
        let pause = interval.saturating_mul(1 << self.halvings);
        self.sent
            .filter(|_| self.halvings > 0)
            .map(|sent| sent + pause)
    }

    fn ease(&mut self, now: Instant) {
        while self.halvings > 0
            && let Some(changed) = self.changed.filter(|changed| *changed + EASE <= now)
        {
            self.halvings -= 1;
            self.changed = Some(changed + EASE);
        }
    }
}
