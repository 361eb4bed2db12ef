//! Processes that are killed, or told to end while nobody takes over.

use super::checker::{Findings, check, offline_after};
use super::client::Client;
use super::figures::{Times, figure_row, offline_row};
use super::scrape::Scraper;
use super::site::Site;
use super::sized;
use super::swarm::{Log, Return, Swarm};
use crate::process::Process;
use futures_util::future::join_all;
use presence_bridge::clock::Clock;
use rand::RngExt;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

/// `DRAIN_TIMEOUT`'s default.
pub(super) const DRAIN: Duration = Duration::from_secs(8);
/// For what has to come true, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// What an ordinary run allows beyond a bound, as it shares its machine.
pub(super) fn noise() -> Duration {
    sized(Duration::from_secs(10), Duration::ZERO)
}

/// Waits until the database tells the truth of everybody, and says what was found. `promise` is how
/// long whoever lost the connection had for coming back unnoticed.
pub(super) async fn at_rest(site: &Site, log: &Log, promise: Duration) -> Findings {
    settled(site, log, promise, PATIENCE).await
}

/// The same, where it may never come true.
pub(super) async fn settled(
    site: &Site,
    log: &Log,
    promise: Duration,
    patience: Duration,
) -> Findings {
    site.until_true(log, patience).await;
    let commits = site.journal.commits();
    check(&log.seen(), &commits, promise, |user| site.is_online(user))
}

pub(super) fn names(users: Range<usize>) -> BTreeSet<String> {
    users.map(|number| format!("u{number}")).collect()
}

/// How long each took until the database called it offline.
pub(super) fn offline_times(site: &Site, users: &BTreeSet<String>, since: Instant) -> Times {
    let commits = site.journal.commits();
    let times = users
        .iter()
        .map(|user| offline_after(&commits, user, since));
    Times::new(times.map(Option::unwrap).collect())
}

/// What is different in the full run.
#[derive(Clone, Copy)]
struct Scale {
    users: usize,
    settings: &'static [(&'static str, &'static str)],
    /// From the kill to the new start.
    down: Duration,
    start_grace: Duration,
    /// From the kill, at the most.
    back: Duration,
    /// From the new start until everything is right.
    bound: Duration,
}

const SMALL: Scale = Scale {
    users: 100,
    settings: &[
        ("PRESENCE_GRACE", "1s"),
        ("PRESENCE_START_GRACE", "10s"),
        ("PRESENCE_HEARTBEAT_INTERVAL", "1s"),
        ("FIREBASE_DATABASE_TIMEOUT", "2s"),
    ],
    // By then the last heartbeat is old, also one that the database heard late.
    down: Duration::from_secs(6),
    start_grace: Duration::from_secs(10),
    back: Duration::from_secs(8),
    bound: Duration::from_secs(15),
};

const FULL: Scale = Scale {
    users: 2_000,
    settings: &[],
    down: Duration::from_secs(3),
    start_grace: Duration::from_secs(30),
    back: Duration::from_secs(10),
    bound: Duration::from_secs(45),
};

/// After a process was killed and another has started.
struct Restarted {
    scale: Scale,
    site: Site,
    swarm: Swarm,
    /// The fifth that never comes back, and what their `lastSeen` has to be.
    lost: BTreeMap<String, u64>,
    killed: Instant,
    started: Instant,
    scraper: Scraper,
    _process: Process,
}

async fn kill_and_restart(scale: Scale, more: &[(&str, &str)]) -> Restarted {
    let Scale {
        users, down, back, ..
    } = scale;
    let site = Site::new(scale.settings).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    let mut swarm = Swarm::of(&site, users - 1).await;
    for number in 0..users - 1 {
        site.until_online(&format!("u{number}"), true).await;
    }
    until_beat(&site, last_seen(&site, "u0")).await;
    // The last one may have come after the last heartbeat.
    swarm.add(&site, &format!("u{}", users - 1));
    swarm.until_connected(users).await;
    site.until_online(&format!("u{}", users - 1), true).await;
    let first_lost = users - users / 5;
    swarm.order(0..first_lost, Return::Within(back));
    swarm.order(first_lost..users, Return::Never);
    scraper.check();
    let clock = Clock::system();
    let killed = clock.instant();
    process.signal(Signal::KILL);
    drop(process.ended(PATIENCE).await);
    tokio::time::sleep(down.saturating_sub(killed.elapsed())).await;
    let beat = last_beat(&site);
    let lost = names(first_lost..users).into_iter().map(|user| {
        let seen = last_seen(&site, &user).max(beat);
        (user, seen)
    });
    let lost = lost.collect();
    let process = site.start_with(more).await;
    Restarted {
        scraper: Scraper::of(&process),
        started: clock.instant(),
        _process: process,
        site,
        swarm,
        lost,
        killed,
        scale,
    }
}

impl Restarted {
    fn lost(&self) -> BTreeSet<String> {
        self.lost.keys().cloned().collect()
    }

    /// From the kill on, whoever is back before the start grace is over goes unnoticed.
    fn promise(&self) -> Duration {
        self.started - self.killed + self.scale.start_grace
    }
}

/// The time of the record, Unix milliseconds.
pub(super) fn last_seen(site: &Site, user: &str) -> u64 {
    let path = format!("/presence/{user}/lastSeen");
    site.database.value(&path).as_u64().unwrap()
}

/// The youngest heartbeat of the node `main`, Unix milliseconds by the database.
fn last_beat(site: &Site) -> u64 {
    let boots = site.database.value("/presenceNodes/main");
    let beats = boots
        .as_object()
        .into_iter()
        .flat_map(|boots| boots.values());
    let times = beats.filter_map(|beat| beat["heartbeat"].as_u64());
    times.max().unwrap_or_default()
}

async fn until_beat(site: &Site, after: u64) {
    let beat = site.database.until(|_| last_beat(site) > after);
    tokio::time::timeout(PATIENCE, beat).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_whoever_returns_was_never_away_and_the_others_go() {
    let restarted = kill_and_restart(sized(SMALL, FULL), &[]).await;
    let Restarted {
        scale,
        site,
        swarm,
        killed,
        started,
        ..
    } = &restarted;
    let found = at_rest(site, &swarm.log, restarted.promise()).await;
    assert_eq!(found, Findings::default());
    let commits = site.journal.commits();
    let written_off = commits.iter().filter(|commit| !commit.online);
    let written_off: BTreeMap<String, u64> = written_off
        .map(|commit| (commit.user.clone(), commit.last_seen))
        .collect();
    assert_eq!(written_off, restarted.lost, "and the time of each");
    restarted.scraper.check();
    let times = offline_times(site, &restarted.lost(), *killed);
    let right = times.max().saturating_sub(*started - *killed);
    let Scale {
        bound, users, down, ..
    } = *scale;
    offline_row(8, "process killed and restarted", bound + down, &times);
    figure_row(
        7,
        &format!("SIGKILL, restart after 3 s, {users} users, 80 % back in 10 s"),
        "right within 45 s of the start; 0 flaps",
        &format!("{:.1} s; {} flaps", right.as_secs_f64(), found.flaps.len()),
    );
    assert!(right <= bound + noise(), "{right:?}");
}

#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_adoption_whoever_never_returns_stays_online() {
    let restarted = kill_and_restart(SMALL, &[("SABOTAGE", "adoption")]).await;
    let Restarted { site, swarm, .. } = &restarted;
    let found = settled(site, &swarm.log, restarted.promise(), restarted.scale.bound).await;
    assert_eq!(found.wrong_at_rest, restarted.lost());
}

#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_the_start_grace_whoever_returns_was_away() {
    // Many are still away when the new process has looked who is online, however slow the machine is.
    let late = Scale {
        back: Duration::from_secs(14),
        ..SMALL
    };
    let sabotage = [("SABOTAGE", "start_grace"), ("PRESENCE_GRACE", "0ms")];
    let restarted = kill_and_restart(late, &sabotage).await;
    let Restarted { site, swarm, .. } = &restarted;
    // Before, all is at rest and right: nobody is connected, and nobody online.
    swarm.until_connected(late.users - late.users / 5).await;
    let found = at_rest(site, &swarm.log, restarted.promise()).await;
    assert!(!found.flaps.is_empty(), "{found:?}");
}

/// What a reader knows who follows the rule: no boot of the node that signed the record has a
/// heartbeat younger than three of its intervals, so who knows?
fn is_known(site: &Site, user: &str) -> bool {
    let record = site.database.value(&format!("/presence/{user}"));
    let node = record["node"].as_str().unwrap();
    let boots = site.database.value(&format!("/presenceNodes/{node}"));
    let now = Clock::system().unix().0;
    let mut beats = boots
        .as_object()
        .into_iter()
        .flat_map(|boots| boots.values());
    beats.any(|beat| {
        let [heartbeat, interval] = ["heartbeat", "intervalMs"].map(|name| beat[name].as_u64());
        now.saturating_sub(heartbeat.unwrap()) < 3 * interval.unwrap()
    })
}

/// From the kill until a reader can tell.
async fn unknown_after_a_kill(interval: Duration) -> Duration {
    let text = format!("{}s", interval.as_secs());
    let site = Site::new(&[
        ("PRESENCE_HEARTBEAT_INTERVAL", &text),
        ("FIREBASE_DATABASE_TIMEOUT", "2s"),
    ])
    .await;
    let process = site.start().await;
    let client = Client::connect(process.public, &site.token("ann")).await;
    site.until_online("ann", true).await;
    // Between two heartbeats, anywhere.
    tokio::time::sleep(interval.mul_f64(rand::rng().random())).await;
    assert!(is_known(&site, "ann"), "the process lives");
    let clock = Clock::system();
    let killed = clock.instant();
    process.signal(Signal::KILL);
    drop((process.ended(PATIENCE).await, client));
    while is_known(&site, "ann") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let unknown = clock.instant() - killed;
    assert!(site.is_online("ann"), "nobody has written since");
    unknown
}

#[tokio::test]
async fn after_a_kill_without_a_successor_readers_can_tell() {
    let interval = sized(Duration::from_secs(1), Duration::from_secs(10));
    let runs = (0..sized(4, 20)).map(|_| unknown_after_a_kill(interval));
    let times = Times::new(join_all(runs).await);
    let bound = interval * 3 + Duration::from_secs(1);
    offline_row(9, "process killed, never comes back", bound, &times);
    assert!(times.max() <= bound + noise());
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_with_nobody_to_follow_it_writes_everybody_offline() {
    let users = sized(50, 500);
    let site = Site::new(&[("PRESENCE_ON_DRAIN", "offline")]).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    let swarm = Swarm::of(&site, users).await;
    for user in names(0..users) {
        site.until_online(&user, true).await;
    }
    scraper.check();
    swarm.order(0..users, Return::Never);
    let clock = Clock::system();
    let told = clock.instant();
    process.signal(Signal::TERM);
    let (status, printed) = process.ended(DRAIN + noise()).await;
    assert_eq!(status.code(), Some(0), "{printed}");
    let found = at_rest(&site, &swarm.log, Duration::ZERO).await;
    assert_eq!(found, Findings::default());
    let times = offline_times(&site, &names(0..users), told);
    offline_row(12, "SIGTERM, nobody takes over", DRAIN, &times);
    assert!(times.max() <= DRAIN + noise());
}
