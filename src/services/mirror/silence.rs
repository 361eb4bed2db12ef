//! Given up for dead? Whoever is not heard of for three intervals may have a successor by now.
//!
//! Behind the fence the database's rules keep a process that was replaced from writing. Without
//! it, one that stood still or was cut off for so long looks who lives before it writes again what
//! it believed then; and if it finds somebody it did not know, it leaves presence to them.

use super::{Adoption, FRESH_INTERVALS, MirrorTask};
use crate::domain::time::UnixMillis;
use std::time::{Duration, Instant};

/// Whether others take us for alive.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Until when they surely did; `None` before the first heartbeat.
    last_sign: Option<Instant>,
    /// They may not have since, and batches wait until we have looked.
    pub(super) is_doubtful: bool,
}

impl MirrorTask {
    pub(super) fn mind_silence(&mut self, now: Instant) {
        let silence = self
            .life
            .last_sign
            .map(|at| now.saturating_duration_since(at));
        if silence.is_some_and(|silence| self.is_too_long(silence)) {
            self.doubt_life(now);
        }
    }

    /// A heartbeat has landed. The database's clock notices also what ours has slept through.
    pub(super) fn mind_gap(&mut self, before: UnixMillis, time: UnixMillis, now: Instant) {
        self.life.last_sign = Some(now);
        let gap = Duration::from_millis(time.0.saturating_sub(before.0));
        if self.is_too_long(gap) {
            self.doubt_life(now);
        }
    }

    fn is_too_long(&self, silence: Duration) -> bool {
        let interval = self.options.heartbeat_interval;
        silence >= interval.saturating_mul(FRESH_INTERVALS)
    }

    fn doubt_life(&mut self, now: Instant) {
        // Before the first look, all others are strangers.
        let has_looked = self.standing.borrow().adopted;
        if self.life.is_doubtful || self.gate.is_fenced() || !has_looked {
            return;
        }
        tracing::warn!("no heartbeat for three intervals; looking who lives before writing again");
        self.life.is_doubtful = true;
        // What is being read may be of the time before.
        self.look = None;
        self.page = None;
        self.next_look = Some(now);
    }

    /// We have looked: either nobody has come, or they have our users.
    pub(super) fn is_replaced(&mut self, adoption: &Adoption, now: Instant) -> bool {
        if !std::mem::take(&mut self.life.is_doubtful) {
            return false;
        }
        self.life.last_sign = Some(now);
        !adoption.others.is_subset(&self.waited_for)
    }
}
