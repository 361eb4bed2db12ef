//! How often a connection may speak: a token bucket as a value of 16 bytes.
//!
//! The bucket is kept as one point in time, at which it will be full again (the "theoretical
//! arrival time" of GCRA, ITU-T I.371). Taking moves that point by one interval; a take that
//! would move it further than a whole burst ahead is refused and costs nothing.

use std::time::{Duration, Instant};

/// A rate for the long run and the burst that is forgiven. Zero counts as one in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub per_second: u32,
    /// So many at once from a full bucket.
    pub burst: u32,
}

/// One connection's use of a [`Quota`]; a new bucket is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one; refused, it says after how long the next take will succeed.
    pub fn take(&mut self, quota: &Quota, now: Instant) -> Result<(), Duration> {
        let interval = quota.interval();
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let missing = full_at.saturating_duration_since(now);
        let forgiven = interval * (quota.burst.max(1) - 1);
        match missing.checked_sub(forgiven) {
            Some(wait) if !wait.is_zero() => Err(wait),
            Some(_) | None => {
                self.full_at = Some(full_at + interval);
                Ok(())
            }
        }
    }
}

impl Quota {
    /// The time in which one take is earned back, rounded down to nanoseconds.
    fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }
}

#[cfg(test)]
mod tests;
