//! Deploys: for a while an old and a new process serve beside each other, on one database.

use super::checker::Findings;
use super::client::Client;
use super::figures::offline_row;
use super::machine::{all_online, come, die};
use super::processes::{DRAIN, PATIENCE, at_rest, names, noise, offline_times, settled};
use super::scrape::{Page, Scraper};
use super::site::Site;
use super::sized;
use super::starving::until_counted;
use super::swarm::{Return, Swarm, What};
use crate::process::Process;
use futures_util::future::join_all;
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{DatabaseStandIn, Fault, Target};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// `PRESENCE_GRACE`'s default.
const GRACE: Duration = Duration::from_secs(10);
/// How long after a deploy the graces of those who do not return are over.
const START_GRACE: Duration = Duration::from_secs(30);
/// How often a process looks whether the others have ended.
const LOOK: Duration = Duration::from_secs(5);
const HANDOVER: (&str, &str) = ("PRESENCE_ON_DRAIN", "handover");

/// Ends in order, as whoever deploys asks it to.
async fn end(process: Process) {
    process.signal(Signal::TERM);
    ended(process, DRAIN + noise()).await;
}

async fn ended(process: Process, patience: Duration) {
    let (status, printed) = process.ended(patience).await;
    assert_eq!(status.code(), Some(0), "{printed}");
}

/// Requests that wrote presence.
fn batches(site: &Site) -> usize {
    let entries = site.database.history();
    let is_batch = |method: &Method, path: &str| method == Method::PATCH && path == "/presence";
    entries
        .iter()
        .filter(|entry| is_batch(&entry.method, &entry.path))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_with_handover_is_noticed_by_nobody_who_returns() {
    let users = sized(100, 1_000);
    // The small run does not wait for the graces of the others as long.
    let start_grace = sized(Duration::from_secs(12), START_GRACE);
    let text = format!("{}s", start_grace.as_secs());
    let site = Site::new(&[HANDOVER, ("PRESENCE_START_GRACE", &text)]).await;
    let old = site.start().await;
    let mut scrapers = vec![Scraper::of(&old)];
    let swarm = Swarm::of(&site, users).await;
    all_online(&site, users).await;
    let lost = users - users / 10..users;
    swarm.order(lost.clone(), Return::Never);
    scrapers[0].check();
    let new = site.start().await;
    scrapers.push(Scraper::of(&new));
    let (before, told) = (batches(&site), Clock::system().instant());
    let known = site.journal.commits().len();
    end(old).await;
    swarm.until_connected(lost.start).await;
    let found = at_rest(&site, &swarm.log, GRACE).await;
    assert_eq!(found, Findings::default());
    let commits = site.journal.commits();
    let mut written_off = commits.iter().filter(|commit| !commit.online);
    assert!(written_off.all(|commit| names(lost.clone()).contains(&commit.user)));
    let times = offline_times(&site, &names(lost), told);
    // The small run's start grace is shorter than a look at the old one's end and a grace.
    let bound = start_grace.max(LOOK + GRACE) + Duration::from_secs(3);
    offline_row(
        13,
        "deploy with handover: whoever does not return",
        bound,
        &times,
    );
    assert!(times.max() <= bound + noise(), "{:?}", times.max());
    let again = commits[known..].iter().filter(|commit| commit.online);
    assert!(again.count() <= users, "nobody is written twice");
    let written = batches(&site) - before;
    let most = sized(usize::MAX, users / 20);
    assert!(written <= most, "{written} writes for {users} users");
    scrapers[1].check();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_deploys_in_a_row_let_nobody_flap() {
    let users = sized(50, 500);
    let site = Site::new(&[HANDOVER]).await;
    let mut process = site.start().await;
    let swarm = Swarm::of(&site, users).await;
    all_online(&site, users).await;
    for _ in 0..3 {
        let next = site.start().await;
        let scraper = Scraper::of(&next);
        end(std::mem::replace(&mut process, next)).await;
        swarm.until_connected(users).await;
        scraper.check();
        // Fifteen seconds from one to the next, where there is time.
        tokio::time::sleep(sized(Duration::ZERO, Duration::from_secs(10))).await;
    }
    let found = at_rest(&site, &swarm.log, GRACE).await;
    assert_eq!(found, Findings::default());
    assert!(site.journal.commits().iter().all(|commit| commit.online));
    let came = swarm.log.seen();
    let came = came.iter().filter(|seen| seen.what == What::Came).count();
    assert_eq!(came, 4 * users, "once a deploy, and at the start");
}

/// The shortest `PRESENCE_SWEEP_INTERVAL`.
const SWEEP: Duration = Duration::from_secs(10);

/// A deploy while a write of the old process is under way.
struct Overlap {
    fence: &'static str,
    /// By so much the write of the old process is late.
    late: Duration,
    /// So long both are there, unless the old one leaves by itself.
    beside: Duration,
    /// What the new one does without.
    sabotage: &'static str,
}

const RECORDS: &str = "bridge_mirror_records_total";

async fn records_sent(process: &Process) -> f64 {
    let page = Page::of(process.admin).await.unwrap();
    page.value(RECORDS)
}

/// Whether the late write has come, for better or worse.
fn has_landed(database: &DatabaseStandIn) -> bool {
    let offline = |body: &Option<Value>| {
        body.as_ref()
            .is_some_and(|body| body["m0"]["online"] == false)
    };
    database.history().iter().any(|entry| offline(&entry.body))
}

impl Overlap {
    /// Some users leave the old process, whose write that they are offline comes late, when they
    /// have long been with the new one; the others stay with the old one to its end.
    async fn run(self) -> Findings {
        let users = sized(20, 100);
        let site = Site::new(&[
            HANDOVER,
            ("PRESENCE_FENCE", self.fence),
            ("PRESENCE_GRACE", "1s"),
            ("PRESENCE_SWEEP_INTERVAL", "10s"),
        ])
        .await;
        let old = site.start().await;
        let mut swarm = Swarm::of(&site, users).await;
        all_online(&site, users).await;
        let movers: BTreeSet<String> = (0..10).map(|number| format!("m{number}")).collect();
        let clients = come(&site, &swarm, &movers).await;
        let (sent, batch) = (records_sent(&old).await, Target::method(Method::PATCH));
        let late = Fault::DelayCommit(self.late);
        site.database.inject(batch.under("/presence"), 1, late);
        die(&swarm, &movers, clients);
        until_counted(&old, RECORDS, sent + 1.0).await;
        let new = site.start_with(&[("SABOTAGE", self.sabotage)]).await;
        let scraper = Scraper::of(&new);
        for user in &movers {
            swarm.add(&site, user);
        }
        swarm.until_connected(users + movers.len()).await;
        if self.fence == "off" {
            tokio::time::sleep(self.beside).await;
            end(old).await;
        } else {
            // As soon as it has met the fence, for which somebody else comes to it, too.
            let _stray = Client::connect(old.public, &site.token("stray")).await;
            ended(old, self.late + DRAIN + noise()).await;
        }
        let landed = site.database.until(has_landed);
        tokio::time::timeout(PATIENCE, landed).await.unwrap();
        swarm.until_connected(users + movers.len()).await;
        // Where something stays wrong on purpose, two sweeps are enough of a wait.
        let patience = if self.sabotage.is_empty() {
            PATIENCE
        } else {
            SWEEP * 2
        };
        let found = settled(&site, &swarm.log, Duration::from_secs(1), patience).await;
        let commits = site.journal.commits();
        let mut written_off = commits.iter().filter(|commit| !commit.online);
        assert!(written_off.all(|commit| commit.user.starts_with('m')));
        scraper.check();
        found
    }
}

/// Some at a time, one for each delay.
async fn overlaps(overlap: impl Fn(Duration) -> Overlap) -> Vec<Findings> {
    let delays = sized(&[6][..], &[1, 2, 3, 4, 6, 8][..]);
    let runs = delays
        .iter()
        .map(|late| overlap(Duration::from_secs(*late)).run());
    join_all(runs).await
}

#[tokio::test]
async fn behind_the_fence_an_old_process_with_a_late_write_leaves_and_changes_nothing() {
    let fenced = |late| Overlap {
        fence: "rules",
        late,
        beside: Duration::ZERO,
        sabotage: "",
    };
    for found in overlaps(fenced).await {
        assert_eq!(found, Findings::default());
    }
}

/// The late write may be seen for a moment; it does not last.
#[tokio::test]
async fn without_the_fence_a_late_write_of_the_old_process_does_not_last() {
    let beside = |late: Duration| Overlap {
        fence: "off",
        late,
        beside: late + sized(Duration::ZERO, Duration::from_secs(10)),
        sabotage: "",
    };
    for found in overlaps(beside).await {
        let Findings { false_offline, .. } = &found;
        assert!(
            false_offline.iter().all(|user| user.starts_with('m')),
            "{found:?}"
        );
        assert!(
            found.wrong_at_rest.is_empty() && found.flaps.is_empty(),
            "{found:?}"
        );
    }
}

/// An old process whose write lands long after its end.
fn posthumous(sabotage: &'static str) -> Overlap {
    Overlap {
        fence: "off",
        late: Duration::from_secs(12),
        beside: Duration::ZERO,
        sabotage,
    }
}

#[tokio::test]
async fn a_write_that_lands_after_its_process_has_ended_is_swept_away() {
    let found = posthumous("").run().await;
    assert!(
        found.wrong_at_rest.is_empty() && found.flaps.is_empty(),
        "{found:?}"
    );
}

#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_the_sweep_a_write_that_lands_after_its_process_has_ended_stays() {
    let found = posthumous("sweep").run().await;
    assert_eq!(found.wrong_at_rest.len(), 10, "{found:?}");
}
