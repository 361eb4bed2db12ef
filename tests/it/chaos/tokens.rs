//! A database that takes the access token no longer, and a token endpoint that is away.

use super::checker::offline_after;
use super::database::{until_readiness, until_ready};
use super::figures::{Times, offline_row};
use super::scrape::Scraper;
use super::site::Site;
use super::swarm::{Return, Swarm};
use super::{is_full, sized};
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::Verdict;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(10);
const USERS: usize = 20;

fn settings() -> [(&'static str, &'static str); 1] {
    [("PRESENCE_GRACE", sized("1s", "10s"))]
}

#[tokio::test]
async fn a_token_that_is_refused_costs_one_fetch_and_one_write_more() {
    let (site, google) = Site::production(&settings()).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    until_ready(&process).await;
    let mut swarm = Swarm::empty();
    for incident in 0..sized(3, 20) {
        let issued = google.issued();
        let before = site.database.counters().requests;
        google.revoke(issued);
        let user = format!("u{incident}");
        swarm.add(&site, &user);
        site.until_online(&user, true).await;
        assert_eq!(google.issued(), issued + 1, "incident {incident}");
        let entries = site.database.history_after(before);
        let refused = entries
            .iter()
            .filter(|entry| entry.method == "PATCH" && entry.verdict == Verdict::Refused(401));
        assert!(refused.count() <= 1, "incident {incident}: {entries:?}");
        // Incidents that follow each other within a second wait for it, so that there is no storm.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    until_readiness(&process, "\"ready\"").await;
    scraper.check();
}

#[tokio::test]
async fn without_tokens_nobody_is_forgotten_and_with_the_next_one_all_is_told() {
    let (site, google) = Site::production(&settings()).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    until_ready(&process).await;
    let swarm = Swarm::of(&site, USERS).await;
    site.until_true(&swarm.log, BOUND).await;

    let clock = Clock::system();
    let (issued, began) = (google.issued(), clock.instant());
    google.has_tokens(false);
    google.revoke(issued);
    swarm.order(0..USERS, Return::Leave);
    until_readiness(&process, "degraded").await;
    let lasts = sized(Duration::from_secs(4), Duration::from_mins(1));
    tokio::time::sleep_until((began + lasts).into()).await;
    assert!((0..USERS).all(|number| site.is_online(&format!("u{number}"))));

    let back = clock.instant();
    google.has_tokens(true);
    let mut times = Vec::new();
    for number in 0..USERS {
        site.until_online(&format!("u{number}"), false).await;
    }
    let commits = site.journal.commits();
    for number in 0..USERS {
        times.push(offline_after(&commits, &format!("u{number}"), back).unwrap());
    }
    assert_eq!(google.issued(), issued + 1);
    until_readiness(&process, "\"ready\"").await;
    scraper.check();
    let times = Times::new(times);
    let case = sized(
        "access token refused, its endpoint down 4 s",
        "access token refused, its endpoint down 60 s",
    );
    offline_row(11, case, BOUND, &times);
    assert!(!is_full() || times.max() <= BOUND, "{:?}", times.max());
}
