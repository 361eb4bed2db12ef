//! The only reader of time.

use crate::domain::time::{Moment, UnixMillis};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Hands out the time: monotonic from tokio (so that a paused runtime can be driven by tests),
/// wall time from the system or, in tests, from a hand that the test moves.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    wall: Option<Arc<AtomicU64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock whose wall time stands at `unix` until [`Clock::set_unix`] moves it.
    pub fn manual(unix: UnixMillis) -> Self {
        Self {
            wall: Some(Arc::new(AtomicU64::new(unix.0))),
        }
    }

    /// Moves the wall time of a manual clock; the system clock cannot be moved.
    pub fn set_unix(&self, unix: UnixMillis) {
        if let Some(wall) = &self.wall {
            wall.store(unix.0, Ordering::SeqCst);
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the clock"
    )]
    pub fn unix(&self) -> UnixMillis {
        if let Some(wall) = &self.wall {
            UnixMillis(wall.load(Ordering::SeqCst))
        } else {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        }
    }

    pub fn now(&self) -> Moment {
        Moment {
            instant: self.instant(),
            unix: self.unix(),
        }
    }
}
