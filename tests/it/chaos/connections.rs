//! Connections that end as the network says: how long until the database tells the truth?

use super::checker::offline_after;
use super::client::Client;
use super::figures::{Times, offline_row};
use super::site::Site;
use super::sized;
use presence_bridge::clock::Clock;
use std::time::{Duration, Instant};

/// Commits may take so much longer than what they wait for, on a busy machine.
pub(super) const SLACK: Duration = Duration::from_secs(5);
/// Whoever is still online after this will be for ever.
const PATIENCE: Duration = Duration::from_secs(150);

/// How many of each kind.
pub(super) fn runs() -> usize {
    sized(4, 20)
}

/// Of the settings below.
pub(super) fn grace() -> Duration {
    Duration::from_secs(sized(1, 10))
}

/// Short pings and a short grace; the published figures are those of the default settings.
pub(super) fn settings() -> &'static [(&'static str, &'static str)] {
    sized(
        &[
            ("PING_INTERVAL", "1s"),
            ("PING_TIMEOUT", "1s"),
            ("PRESENCE_GRACE", "1s"),
        ],
        &[],
    )
}

/// Until all of them are written offline; how long each took.
pub(super) async fn offline_times(site: &Site, gone: &[(String, Instant)]) -> Times {
    let all_offline = |_: &_| gone.iter().all(|(user, _)| !site.is_online(user));
    let waited = tokio::time::timeout(PATIENCE, site.database.until(all_offline)).await;
    let late = gone.iter().filter(|(user, _)| site.is_online(user));
    assert!(
        waited.is_ok(),
        "still online: {:?}",
        late.collect::<Vec<_>>()
    );
    let commits = site.journal.commits();
    let after = |(user, since): &(String, Instant)| offline_after(&commits, user, *since).unwrap();
    Times::new(gone.iter().map(after).collect())
}

#[tokio::test]
async fn whoever_leaves_or_dies_is_offline_after_the_grace() {
    let site = Site::new(settings()).await;
    let process = site.start().await;
    let clock = Clock::system();
    let mut clients = Vec::new();
    for number in 0..runs() {
        for end in ["leave", "die", "reset"] {
            let user = format!("{end}{number}");
            let token = site.token(&user);
            clients.push((end, user, Client::connect(process.public, &token).await));
        }
    }
    for (_, user, _) in &clients {
        site.until_online(user, true).await;
    }
    let mut gone = Vec::new();
    for (end, user, client) in clients {
        let client = client.unwrap();
        gone.push((user, clock.instant()));
        match end {
            "leave" => client.leave().await,
            "die" => client.die(),
            _ => client.reset(),
        }
    }
    for (order, case, end) in [
        (1, "clean close", "leave"),
        (2, "app killed", "die"),
        (3, "connection reset", "reset"),
    ] {
        let of_kind = gone.iter().filter(|(user, _)| user.starts_with(end));
        let times = offline_times(&site, &of_kind.cloned().collect::<Vec<_>>()).await;
        offline_row(order, case, grace() + SLACK, &times);
        assert!(times.max() >= grace(), "{:?}", times.max());
        assert!(
            times.max() <= grace() + sized(6, 1) * SLACK,
            "{end}: {:?}",
            times.max()
        );
    }
}
