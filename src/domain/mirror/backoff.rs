//! When the database may be asked again.

use super::{Limits, Outcome};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Failures in a row, of any request.
    failures: u32,
    /// Failures in a row, of batches. Only a written batch resets them: a database that answers
    /// heartbeats and refuses batches is not asked more often for it.
    batch_failures: u32,
    /// Batches refused as bad data in a row.
    refusals: u32,
    until: Option<Instant>,
    /// The wait was asked for, or is for a person: reaching the database does not end it.
    firm: bool,
}

impl Backoff {
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn degraded(&self) -> bool {
        self.until.is_some() || self.batch_failures > 0
    }

    pub(super) fn written(&mut self, now: Instant) {
        self.refusals = 0;
        self.answered(now);
    }

    pub(super) fn reached(&mut self, now: Instant) {
        self.failures = self.batch_failures;
        self.release(now);
    }

    pub(super) fn failed(&mut self, outcome: Outcome, now: Instant, limits: &Limits, jitter: f64) {
        self.postpone(outcome, now, limits, jitter);
        self.batch_failures = self.failures;
        self.refusals = 0;
    }

    pub(super) fn missed(&mut self, outcome: Outcome, now: Instant, limits: &Limits, jitter: f64) {
        self.postpone(outcome, now, limits, jitter);
    }

    /// A batch was refused as bad data. That is an answer, hence no failure; but when not even
    /// the search for one poisonous record finds a good one, everything is refused, and asking on
    /// at full speed would be a storm.
    pub(super) fn refused(&mut self, most: usize, now: Instant, limits: &Limits, jitter: f64) {
        self.refusals += 1;
        let longest_search = most.max(1).ilog2() + 2;
        if self.refusals > longest_search {
            self.postpone(Outcome::BadData, now, limits, jitter);
            self.batch_failures = self.failures;
        } else {
            self.answered(now);
        }
    }

    /// A batch got an answer that proves the database well.
    fn answered(&mut self, now: Instant) {
        self.failures = 0;
        self.batch_failures = 0;
        self.release(now);
    }

    /// Ends the wait, unless it is a pause that still lasts.
    fn release(&mut self, now: Instant) {
        if self.firm && self.until.is_some_and(|until| until > now) {
            return;
        }
        self.until = None;
        self.firm = false;
    }

    fn postpone(&mut self, outcome: Outcome, now: Instant, limits: &Limits, jitter: f64) {
        self.failures = self.failures.saturating_add(1);
        let delay = self.delay(limits, jitter);
        let (wait, firm) = match outcome {
            Outcome::Busy { retry_after } => (
                retry_after.unwrap_or_default().max(delay),
                retry_after.is_some(),
            ),
            Outcome::Denied => (limits.denied_pause, true),
            Outcome::Written
            | Outcome::NotSent
            | Outcome::Ambiguous
            | Outcome::Barred
            | Outcome::BadData => (delay, false),
        };
        let until = now + wait;
        // A pause that was asked for outlasts the wait of another failure that ends no later.
        if self.firm && self.until.is_some_and(|held| held >= until) {
            return;
        }
        self.until = Some(until);
        self.firm = firm;
    }

    /// A fifth of the wait is chance, which parts the few processes of one database. With more, a
    /// minute without the database would cost more than twelve requests, or finding it back more
    /// than ten seconds.
    fn delay(&self, limits: &Limits, jitter: f64) -> Duration {
        let (first, longest) = limits.backoff;
        let doublings = self.failures.saturating_sub(1).min(31);
        let whole = first.saturating_mul(1 << doublings).min(longest);
        whole * 4 / 5 + (whole / 5).mul_f64(jitter.clamp(0.0, 1.0))
    }
}
