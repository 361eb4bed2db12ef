//! The use cases. They own the tasks and queues, and declare the few [`ports`] they need of the world.

pub mod access;
pub mod messages;
pub mod mirror;
pub mod ports;
pub mod presence;
pub mod typing;
