//! Connections that end well and badly: how long until the database tells the truth?

use super::checker::offline_after;
use super::client::Client;
use super::figures::{Times, offline_row};
use super::site::Site;
use super::sized;
use crate::process::Process;
use presence_bridge::clock::Clock;
use std::time::{Duration, Instant};

/// How many of each kind.
fn runs() -> usize {
    sized(4, 20)
}

/// Until all of them are written offline; how long each took.
async fn times(site: &Site, gone: Vec<(String, Instant)>) -> Times {
    for (user, _) in &gone {
        site.until_online(user, false).await;
    }
    let commits = site.journal.commits();
    let after = |(user, since): (String, Instant)| offline_after(&commits, &user, since).unwrap();
    Times::new(gone.into_iter().map(after).collect())
}

async fn connected(site: &Site, process: &Process, kind: &str) -> Vec<(String, Client)> {
    let mut clients = Vec::new();
    for number in 0..runs() {
        let user = format!("{kind}{number}");
        let client = Client::connect(process.public, &site.token(&user))
            .await
            .unwrap();
        site.until_online(&user, true).await;
        clients.push((user, client));
    }
    clients
}

#[tokio::test]
async fn whoever_leaves_or_dies_is_offline_after_the_grace() {
    let grace = sized(Duration::from_secs(1), Duration::from_secs(10));
    let text = format!("{}s", grace.as_secs());
    let site = Site::new(&[("PRESENCE_GRACE", &text)]).await;
    let process = site.start().await;
    let clock = Clock::system();
    for (order, kind, end) in [
        (1, "clean close", "leave"),
        (2, "app killed", "die"),
        (3, "connection reset", "reset"),
    ] {
        let mut gone = Vec::new();
        for (user, client) in connected(&site, &process, end).await {
            gone.push((user, clock.instant()));
            match end {
                "leave" => client.leave().await,
                "die" => client.die(),
                _ => client.reset(),
            }
        }
        let times = times(&site, gone).await;
        offline_row(order, kind, grace + Duration::from_secs(5), &times);
        assert!(times.max() >= grace, "{:?}", times.max());
    }
}
