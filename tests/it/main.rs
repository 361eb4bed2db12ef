//! The whole bridge: the real server on port 0, raw sockets, Firebase's stand-in over real HTTP.
//!
//! No sleeps: what takes time is awaited, with a deadline.

#[path = "../fixtures/mint.rs"]
mod mint;
mod phone;
mod world;

mod chats;
mod connecting;
mod fence;
mod library;
mod presence;
mod sweep;
mod typing;
