//! What the server remembers while it runs. Nothing here outlives the process.

pub mod connections;
