//! What the server remembers while it runs. Nothing here outlives the process, and no lock is held
//! across an await.

pub mod chats;
pub mod connections;
