//! The seeded simulation: whole histories of bridges, clients and a treacherous database, in one
//! thread and in invented time. What decides is the product's own: the book of who is online, the
//! mirror, and the adoption at start; only the tasks around them are replaced.
//!
//! `SIM_HISTORIES` is the number of histories of a run (default 20,000; one million nightly),
//! `SIM_SEED` the seed of the run. A failure prints its own seed and the shortest history that
//! fails like it. The same seed always tells the same histories.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "everything here is part of a test"
)]

mod answers;
mod bridge;
mod chance;
mod database;
mod dice;
mod fence;
mod flights;
mod history;
mod ledger;
mod protections;
mod reading;
mod sea;
mod shorten;
mod weathers;
mod world;
