//! The whole bridge: the real server on port 0, raw sockets, Firebase's stand-in over real HTTP.
//!
//! No sleeps: what takes time is awaited, with a deadline.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, and in what tests share, that is how a failure is told"
)]

mod google;
#[path = "../fixtures/mint.rs"]
mod mint;
mod phone;
mod process;
mod wire;
mod world;

mod binary;
mod chaos;
mod chats;
mod connecting;
mod database_contract;
mod database_faults;
mod database_secrets;
mod economy;
mod fence;
mod hostile;
mod library;
mod overload;
mod polling;
mod presence;
mod production;
mod sweep;
mod typing;
