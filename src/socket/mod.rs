//! The Socket.IO front door.
