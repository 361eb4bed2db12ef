//! A database that answers, but not as one would wish: busy, slow, with refusals.

use super::client::Client;
use super::database::{until_readiness, until_ready};
use super::journal::Commit;
use super::scrape::{Page, Scraper};
use super::site::Site;
use super::swarm::{Seen, Swarm};
use super::{is_full, sized};
use crate::phone::soon;
use axum::http::Method;
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{Entry, Fault, Target, Verdict};
use std::time::Duration;

fn batches() -> Target {
    Target::method(Method::PATCH).under("/presence")
}

fn sent_batches(site: &Site, after: u64) -> Vec<Entry> {
    let mut entries = site.database.history_after(after);
    entries.retain(|entry| entry.method == Method::PATCH && entry.path == "/presence");
    entries
}

async fn until_lost(site: &Site, wanted: u64) {
    let lost = site.database.until(|base| base.counters().lost >= wanted);
    soon("a request that is lost", lost).await;
}

#[tokio::test]
async fn nothing_is_asked_earlier_than_a_busy_database_wants() {
    let site = Site::new(&[("PRESENCE_HEARTBEAT_INTERVAL", "60s")]).await;
    let process = site.start().await;
    until_ready(&process).await;
    let mut swarm = Swarm::empty();
    // In doubt about one user, who is therefore read again.
    site.database.inject(batches(), 1, Fault::ResetAfterCommit);
    swarm.add(&site, "doubtful");
    site.until_online("doubtful", true).await;
    let busy = |retry_after_s| Fault::Busy {
        status: 429,
        retry_after_s,
    };
    for (number, target) in [Target::method(Method::GET), batches(), batches()]
        .into_iter()
        .enumerate()
    {
        let before = site.database.counters();
        site.database.inject(target, 1, busy(2));
        let user = format!("u{number}");
        if number > 0 {
            swarm.add(&site, &user);
        }
        until_lost(&site, before.lost + 1).await;
        swarm.add(&site, &format!("{user}-meanwhile"));
        site.until_online(&format!("{user}-meanwhile"), true).await;
        let entries = site.database.history_after(before.requests);
        let refused = entries
            .iter()
            .position(|entry| entry.verdict == Verdict::Lost);
        let [refused, next] = &entries[refused.unwrap()..][..2] else {
            unreachable!("two of them")
        };
        let pause = next.at.instant - refused.at.instant;
        assert!(
            pause >= Duration::from_secs(2),
            "{pause:?}: {refused:?}, {next:?}"
        );
    }
}

/// How long after the user came the database said so.
fn staleness(seen: &Seen, commits: &[Commit]) -> Duration {
    let commit = commits.iter().find(|commit| commit.user == seen.user);
    commit.unwrap().at.saturating_duration_since(seen.at)
}

#[tokio::test]
async fn with_a_slow_database_batches_grow_and_nobody_waits_for_more_than_two_of_them() {
    let takes = sized(Duration::from_millis(500), Duration::from_secs(2));
    let (users, lasts) = sized((60, Duration::from_secs(4)), (500, Duration::from_secs(10)));
    let site = Site::new(&[]).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    until_ready(&process).await;
    let before = site.database.counters().requests;
    site.database
        .inject(batches(), usize::MAX, Fault::DelayCommit(takes));
    let clock = Clock::system();
    let began = clock.instant();
    let mut swarm = Swarm::empty();
    for number in 0..users {
        swarm.add(&site, &format!("u{number}"));
        let share = f64::from(number + 1) / f64::from(users);
        tokio::time::sleep_until((began + lasts.mul_f64(share)).into()).await;
    }
    for number in 0..users {
        site.until_online(&format!("u{number}"), true).await;
    }
    let sent = sent_batches(&site, before).len();
    let most = clock.instant().duration_since(began).as_secs_f64() / takes.as_secs_f64();
    assert!(
        Duration::from_secs_f64(most) >= Duration::from_secs(sent as u64 - 1),
        "{sent}"
    );
    let commits = site.journal.commits();
    let seen = swarm.log.seen();
    let stalest = seen
        .iter()
        .map(|seen| staleness(seen, &commits))
        .max()
        .unwrap();
    // Two round trips and the window; on a busy machine the phones are slow, too.
    let bound = 2 * takes + Duration::from_millis(250) + sized(Duration::from_secs(10), takes / 4);
    assert!(stalest <= bound, "{stalest:?}");
    scraper.check();
}

#[tokio::test]
async fn one_record_that_is_refused_is_parked_alone() {
    let site = Site::new(&[("PRESENCE_GRACE", "0ms")]).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    until_ready(&process).await;
    let bad = Fault::Status(400, r#"{"error":"Invalid data"}"#.to_owned());
    site.database
        .inject(batches().naming("bad"), usize::MAX, bad);
    let bad = Client::connect(process.public, &site.token("bad"))
        .await
        .unwrap();
    let swarm = Swarm::of(&site, sized(30, 500)).await;
    for user in 0..sized(30, 500) {
        site.until_online(&format!("u{user}"), true).await;
    }
    let parked = async {
        let value = async || {
            Page::of(process.admin)
                .await
                .unwrap()
                .value("bridge_mirror_parked")
        };
        while value().await < 0.5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the refused record in the metric", parked).await;
    process.until("refuses one user's record").await;
    // The rest goes on as if nothing were.
    let log = swarm.leave().await;
    site.until_true(&log, crate::phone::DEADLINE).await;
    assert!(!site.is_online("u0"));
    site.database.clear_faults();
    bad.leave().await;
    let told = |base: &presence_bridge::dev::database::DatabaseStandIn| {
        base.value("/presence/bad/online") == false
    };
    soon("the next record of that user", site.database.until(told)).await;
    scraper.check();
}

#[tokio::test]
async fn a_database_that_denies_is_told_aloud_and_asked_once_a_minute() {
    let site = Site::new(&[("PRESENCE_GRACE", "0ms")]).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    until_ready(&process).await;
    let denied = Fault::Status(401, r#"{"error":"Permission denied"}"#.to_owned());
    site.database.inject(batches(), usize::MAX, denied);
    let before = site.database.counters().requests;
    let clock = Clock::system();
    let began = clock.instant();
    let swarm = Swarm::of(&site, 10).await;
    process
        .until("the database refuses the presence records")
        .await;
    until_readiness(&process, "degraded").await;
    let lasts = sized(Duration::from_secs(4), Duration::from_secs(130));
    let mut minutes = 0;
    while clock.instant() < began + lasts {
        tokio::time::sleep(Duration::from_millis(500)).await;
        minutes = 1 + clock.instant().duration_since(began).as_secs() / 60;
        let sent = sent_batches(&site, before).len() as u64;
        assert!(sent <= minutes, "{sent} batches in {minutes} minutes");
    }
    if is_full() {
        site.database.clear_faults();
        site.until_true(&swarm.log, Duration::from_secs(70)).await;
        assert!(site.is_online("u0"), "after {minutes} minutes");
        until_readiness(&process, "\"ready\"").await;
    }
    scraper.check();
}
