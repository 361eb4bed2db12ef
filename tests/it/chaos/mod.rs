//! Chaos: the real binary, killed, stopped, starved and cut off, under a swarm of clients.
//!
//! A [`site::Site`] has one database for all processes of a test; its [`journal`] keeps every commit.
//! The [`swarm`] writes down who was really connected when; the [`checker`] holds the one against the
//! other. [`proxy`] and [`namespace`] are what cables do ([`far`] takes the better one). [`figures`] prints what was measured.
//!
//! `CHAOS=full` runs the sizes and the settings that `docs/reliability.md` speaks of
//! (`scripts/reliability`); without it everything is small and fast, and checked all the same.

mod checker;
mod client;
mod far;
pub(crate) mod figures;
mod flapping;
mod journal;
mod misfortune;
mod namespace;
mod proxy;
mod scrape;
mod site;
mod swarm;

mod address;
mod again;
mod answers;
mod audit;
mod churn;
mod connections;
mod database;
mod deploys;
mod hasty;
mod late;
mod machine;
mod processes;
mod readers;
mod room;
mod starving;
mod storm;
mod tokens;
mod vanishing;

/// Whether this is the run whose figures are published.
#[expect(
    clippy::disallowed_methods,
    reason = "how large the run is, is said by whoever runs it"
)]
pub(crate) fn is_full() -> bool {
    std::env::var("CHAOS").is_ok_and(|size| size == "full")
}

/// The first in an ordinary run, the second in the full one.
pub(crate) fn sized<T>(small: T, full: T) -> T {
    if is_full() { full } else { small }
}
