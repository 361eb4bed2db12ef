//! `presence-bridge dev`: Firebase's stand-ins over real HTTP on loopback, and the demo page.
//!
//! - [`database`]: the Realtime Database: tree, rules, REST, streaming; faults and a history for tests.
//! - [`accounts`]: a token endpoint in the shapes of the Auth emulator.
//! - [`page`]: the demo page.

pub mod accounts;
pub mod database;
mod demo_token;
mod listen;
pub mod page;
