//! What operators see.

pub mod logs;
pub mod metrics;
