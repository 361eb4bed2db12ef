//! What operators see.

mod line;
pub mod logs;
pub mod metrics;
