//! Google's side of the world: keys, tokens, and the Realtime Database over REST.

pub mod access_token;
pub mod bearer;
pub mod database;
mod fetch;
pub mod id_token;
mod json;
mod jwt;
mod key_set;
pub mod keys;
pub mod schema;

#[cfg(test)]
mod fake;
