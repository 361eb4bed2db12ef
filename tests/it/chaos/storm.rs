//! Everybody comes and goes at random: with a healthy database, with one that fails in every way,
//! and with a bridge that is killed now and then besides.
//!
//! Transitions are counted by the bridge (`bridge_presence_transitions_total`).

use super::checker::{Findings, check, outlived};
use super::database::{transitions, until_ready};
use super::figures::figure_row;
use super::flapping::Habits;
use super::misfortune::{LATEST, mend, strike};
use super::scrape::Scraper;
use super::site::Site;
use super::swarm::{Log, Return, Swarm};
use super::{is_full, sized};
use crate::process::Process;
use presence_bridge::clock::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::time::Duration;

/// Until all is true at rest: reads after doubt, or the adoption of those whom a killed bridge left.
const PATIENCE: Duration = Duration::from_mins(1);
const FLUSH: Duration = Duration::from_millis(250);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Healthy,
    Failing,
    /// The database fails, and the bridge is killed; the fence keeps out what was under way.
    Killed,
}

struct Size {
    users: usize,
    lasts: Duration,
    grace: Duration,
    habits: Habits,
}

/// No absence is about as long as the grace, so that it is certain what has to be written.
fn size(weather: Weather) -> Size {
    let small = Size {
        users: if weather == Weather::Healthy { 180 } else { 90 },
        lasts: Duration::from_secs(8),
        grace: Duration::from_millis(300),
        habits: Habits {
            present: 200..1_200,
            short_absence: 0..200,
            long_absence: 1_000..1_300,
        },
    };
    let full = Size {
        users: 1_000,
        lasts: Duration::from_secs(95),
        grace: Duration::from_secs(1),
        habits: Habits {
            present: 300..2_000,
            short_absence: 0..600,
            long_absence: 1_800..2_400,
        },
    };
    sized(small, full)
}

#[derive(Clone, Default)]
struct Measured {
    transitions: f64,
    scrapes: usize,
    users: usize,
    kills: usize,
    /// Commits, how many were needed, and how many may have been: an absence seen from here is a
    /// little longer than seen from there.
    commits: [usize; 3],
    findings: Findings,
}

impl Measured {
    fn and(mut self, more: Self) -> Self {
        self.transitions += more.transitions;
        self.scrapes += more.scrapes;
        self.users += more.users;
        self.kills += more.kills;
        self.findings
            .wrong_at_rest
            .extend(more.findings.wrong_at_rest);
        self.findings.flaps.extend(more.findings.flaps);
        self.findings
            .false_offline
            .extend(more.findings.false_offline);
        self
    }
}

/// The bridge of the moment, and what the ones before it have said.
struct Bridge<'a> {
    site: &'a Site,
    process: Process,
    scraper: Scraper,
    before: Measured,
}

impl<'a> Bridge<'a> {
    async fn start(site: &'a Site) -> Self {
        let process = site.start().await;
        let scraper = Scraper::of(&process);
        Self {
            site,
            process,
            scraper,
            before: Measured::default(),
        }
    }

    async fn account(&mut self) {
        self.before.transitions += transitions(&self.process).await;
        self.before.scrapes += self.scraper.check();
    }

    async fn kill(&mut self) {
        self.account().await;
        self.before.kills += 1;
        self.process.signal(Signal::KILL);
        let Self {
            process, scraper, ..
        } = Self::start(self.site).await;
        (self.process, self.scraper) = (process, scraper);
    }
}

async fn site(weather: Weather, grace: Duration) -> Site {
    let grace = format!("{}ms", grace.as_millis());
    let mut settings = vec![("PRESENCE_GRACE", grace.as_str())];
    if weather != Weather::Healthy {
        settings.extend([
            ("PRESENCE_START_GRACE", "3s"),
            ("PRESENCE_HEARTBEAT_INTERVAL", "1s"),
            ("FIREBASE_DATABASE_TIMEOUT", "1s"),
        ]);
    }
    if weather == Weather::Killed {
        settings.push(("PRESENCE_FENCE", "rules"));
    }
    Site::new(&settings).await
}

async fn storm(weather: Weather, seed: u64) -> Measured {
    let Size {
        users,
        lasts,
        grace,
        habits,
    } = size(weather);
    let site = site(weather, grace).await;
    let mut bridge = Bridge::start(&site).await;
    until_ready(&bridge.process).await;
    let mut swarm = Swarm::empty();
    swarm.flap(&site, users, seed, &habits);

    let mut rng = StdRng::seed_from_u64(seed);
    let strikes = strike(&site, StdRng::seed_from_u64(rng.random()));
    match weather {
        Weather::Healthy => tokio::time::sleep(lasts).await,
        Weather::Failing => drop(tokio::time::timeout(lasts, strikes).await),
        Weather::Killed => tokio::select! {
            () = strikes => {}
            () = kills(&mut bridge, lasts, rng) => {}
        },
    }
    swarm.order(0..users, Return::Never);
    mend(&site);
    if weather != Weather::Healthy {
        tokio::time::sleep(LATEST).await;
    }
    // Half of them are here, half are away.
    let here = at_rest(&site, &swarm.log, grace, weather).await;
    let log = swarm.leave().await;
    let gone = at_rest(&site, &log, grace, weather).await;
    bridge.account().await;
    let measured = Measured {
        users,
        commits: gone.commits,
        ..bridge.before
    };
    measured.and(here).and(gone)
}

/// Now and then, until it has lasted so long.
async fn kills(bridge: &mut Bridge<'_>, lasts: Duration, mut rng: StdRng) {
    let clock = Clock::system();
    let end = clock.instant() + lasts;
    while clock.instant() < end {
        let (shortest, longest) = sized((2_000, 4_000), (5_000, 15_000));
        let pause = Duration::from_millis(rng.random_range(shortest..longest));
        tokio::time::sleep(pause).await;
        bridge.kill().await;
    }
}

/// What the checker finds as soon as nothing changes any more.
async fn at_rest(site: &Site, log: &Log, grace: Duration, weather: Weather) -> Measured {
    let (seen, wrong_at_rest) = site.until_true(log, PATIENCE).await;
    let commits = site.journal.commits();
    let mut findings = check(&seen, &commits, grace, |user| site.is_online(user));
    // Somebody may have come since.
    findings.wrong_at_rest = wrong_at_rest;
    if weather != Weather::Healthy {
        // What was under way when the user came back lands when the database lets it.
        findings.false_offline.clear();
    }
    Measured {
        commits: [
            commits.len(),
            outlived(&seen, grace + FLUSH),
            outlived(&seen, grace),
        ],
        findings,
        ..Measured::default()
    }
}

fn rows(healthy: &Measured, all: &Measured) {
    let Measured {
        transitions,
        users,
        kills,
        scrapes,
        findings,
        ..
    } = all;
    let of = format!("{transitions} transitions of {users} users, {kills} kills");
    let wrong = findings.wrong_at_rest.len();
    figure_row(
        2,
        "users whose record differs from the truth after quiescence, \
         >= 10^5 transitions through the real binary",
        "0",
        &format!("{wrong} ({of})"),
    );
    figure_row(
        3,
        "offline records committed for users who came back within the grace",
        "0",
        &format!("{} ({of})", findings.flaps.len()),
    );
    figure_row(
        4,
        "false offline with a healthy database",
        "0",
        &format!(
            "{} ({} transitions)",
            healthy.findings.false_offline.len(),
            healthy.transitions
        ),
    );
    let [commits, needed, _] = healthy.commits;
    figure_row(
        8,
        "commits per transition that outlived the window",
        "<= 1.05",
        &format!("{:.3} ({commits} for {needed})", ratio(commits, needed)),
    );
    figure_row(
        12,
        "accepted = written + coalesced + pending + parked",
        "exact at every scrape",
        &format!("exact at all {scrapes}"),
    );
}

#[expect(clippy::cast_precision_loss, reason = "far from 2^52")]
fn ratio(commits: usize, transitions: usize) -> f64 {
    commits as f64 / transitions as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_storm_the_database_tells_the_truth_of_everybody() {
    let seed = rand::random();
    let weathers = [Weather::Healthy, Weather::Failing, Weather::Killed];
    let [healthy, failing, killed] = weathers.map(|weather| storm(weather, seed));
    let (healthy, failing, killed) = if is_full() {
        // One after the other: together they would be larger than this machine.
        (healthy.await, failing.await, killed.await)
    } else {
        tokio::join!(healthy, failing, killed)
    };
    let found = [&healthy, &failing, &killed].map(|measured| measured.findings.clone());
    rows(&healthy, &healthy.clone().and(failing).and(killed));
    for (weather, findings) in weathers.iter().zip(found) {
        assert_eq!(findings, Findings::default(), "{weather:?}, seed {seed}");
    }
    let [commits, needed, allowed] = healthy.commits;
    let transitions = sized(allowed, needed);
    assert!(
        ratio(commits, transitions) <= 1.05,
        "{:?}, seed {seed}",
        healthy.commits
    );
}
