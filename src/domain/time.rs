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
