//! Google's side of the world: keys, tokens, and the Realtime Database over REST.

pub mod access_token;
pub mod bearer;
pub mod database;
pub mod id_token;
pub mod keys;
pub mod schema;
