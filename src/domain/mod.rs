//! The rules, as values: no tokio, no clock, no I/O, no logging, no wire formats.
//! Time comes in as an argument, what changed comes out as the result.

pub mod fence;
pub mod ids;
pub mod message;
pub mod mirror;
pub mod presence;
pub mod quota;
pub mod time;
pub mod typing;
