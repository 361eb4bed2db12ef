//! presence-bridge: Socket.IO in, truthful Firebase presence out.
//!
//! The modules in reading order; imports only point downwards (`tests/tidy.rs` guards it):
//!
//! - [`config`]: every setting; [`app`]: the composition root; [`server`]: listener, limits, drain.
//! - [`socket`], [`http`], [`firebase`], [`dev`]: adapters. They translate and never import each other.
//! - [`services`], [`store`]: use cases, their tasks and queues, and the ports they need of the world.
//! - [`domain`]: the rules. No tokio, no clock, no I/O; time is an argument.
//! - [`telemetry`], [`clock`]: what operators see, and what time it is. Any layer but `domain` may use them.

pub mod app;
pub mod clock;
pub mod config;
pub mod dev;
pub mod domain;
pub mod firebase;
pub mod http;
pub mod server;
pub mod services;
pub mod socket;
pub mod store;
pub mod telemetry;

#[cfg(test)]
#[path = "../tests/fixtures/mint.rs"]
mod mint;
