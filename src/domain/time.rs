//! The two kinds of time: one that only goes forward, and one that people read.

use std::time::Instant;

/// Unix time in milliseconds: what people and the database read. It may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

/// One reading of the clock, both hands at once.
///
/// Deadlines and durations come from `instant`, which never jumps; records and tokens from `unix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub instant: Instant,
    pub unix: UnixMillis,
}

/// Invented time for the tests of the rules.
#[cfg(test)]
pub(crate) mod invented {
    use super::{Moment, UnixMillis};
    use std::sync::LazyLock;
    use std::time::{Duration, Instant};

    #[expect(
        clippy::disallowed_methods,
        reason = "an Instant cannot be made from nothing; no test depends on when this one is"
    )]
    static DAWN: LazyLock<Instant> = LazyLock::new(Instant::now);

    /// `ms` milliseconds after an arbitrary beginning.
    pub(crate) fn instant(ms: u64) -> Instant {
        *DAWN + Duration::from_millis(ms)
    }

    /// Both hands `ms` milliseconds after their beginning.
    pub(crate) fn at(ms: u64) -> Moment {
        Moment {
            instant: instant(ms),
            unix: UnixMillis(ms),
        }
    }
}
