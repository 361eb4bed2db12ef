//! A machine that fails its process: it stops for a while, or somebody sets its clock.

use super::checker::Findings;
use super::client::Client;
use super::processes::{PATIENCE, at_rest, last_seen, names};
use super::scrape::Scraper;
use super::site::Site;
use super::sized;
use super::starving::until_counted;
use super::swarm::{Return, Swarm, What};
use crate::mint;
use crate::process::Process;
use crate::world::claims;
use presence_bridge::clock::Clock;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Users whose connections the test itself opens and ends.
pub(super) async fn come(site: &Site, swarm: &Swarm, users: &BTreeSet<String>) -> Vec<Client> {
    let mut clients = Vec::new();
    for user in users {
        let client = Client::connect(site.door.address(), &site.token(user)).await;
        swarm.log.note(user, What::Came);
        clients.push(client.unwrap());
        site.until_online(user, true).await;
    }
    clients
}

pub(super) fn die(swarm: &Swarm, users: &BTreeSet<String>, clients: Vec<Client>) {
    for (user, client) in users.iter().zip(clients) {
        swarm.log.note(user, What::Gone);
        client.die();
    }
}

pub(super) fn guests() -> BTreeSet<String> {
    (0..5).map(|number| format!("guest{number}")).collect()
}

pub(super) async fn all_online(site: &Site, users: usize) {
    for user in names(0..users) {
        site.until_online(&user, true).await;
    }
}

/// Whoever was ever written offline.
pub(super) fn written_off(site: &Site) -> BTreeSet<String> {
    let commits = site.journal.commits().into_iter();
    let offline = commits.filter(|commit| !commit.online);
    offline.map(|commit| commit.user).collect()
}

/// The process stands still while its clients find out, and then goes on. Guests have lost their
/// connections just before and come back just after; some users never come back.
async fn stop_and_go(more: &[(&str, &str)]) -> (Findings, BTreeSet<String>) {
    let users = sized(50, 500);
    let (stop, grace) = sized((8, 6), (30, 10));
    let (stop, grace) = (Duration::from_secs(stop), Duration::from_secs(grace));
    let settings = sized(
        &[
            ("PRESENCE_GRACE", "6s"),
            ("PING_INTERVAL", "1s"),
            ("PING_TIMEOUT", "2s"),
        ][..],
        &[][..],
    );
    let site = Site::new(settings).await;
    let process = site.start_with(more).await;
    let scraper = Scraper::of(&process);
    let mut swarm = Swarm::of(&site, users).await;
    all_online(&site, users).await;
    let clients = come(&site, &swarm, &guests()).await;
    let lost = users - users / 10..users;
    swarm.order(lost.clone(), Return::Never);
    die(&swarm, &guests(), clients);
    // Heard of, so that the graces run.
    let lingering = "bridge_presence_users{status=\"lingering\"}";
    until_counted(&process, lingering, 5.0).await;
    process.signal(Signal::STOP);
    tokio::time::sleep(stop).await;
    process.signal(Signal::CONT);
    // What the process has to say by itself, it has said by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for guest in guests() {
        swarm.add(&site, &guest);
    }
    tokio::time::sleep(grace).await;
    let staying = lost.start + guests().len();
    swarm.until_connected(staying).await;
    let turn = Duration::from_secs(1);
    let found = at_rest(&site, &swarm.log, (stop + grace).saturating_sub(turn)).await;
    scraper.check();
    let off = written_off(&site);
    (found, off.difference(&names(lost)).cloned().collect())
}

#[tokio::test]
async fn after_a_standstill_nobody_is_offline_who_could_not_be_heard() {
    let (found, off) = stop_and_go(&[]).await;
    assert_eq!(found, Findings::default());
    assert_eq!(off, BTreeSet::new());
}

#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_time_given_back_a_standstill_makes_flaps() {
    let (found, _) = stop_and_go(&[("SABOTAGE", "standstill")]).await;
    assert_eq!(found.flaps, guests());
}

/// The wall clock of one process, set by hand; its monotonic clock is that of the machine.
struct WallClock {
    /// Tells the library by how much the time is wrong.
    file: PathBuf,
    library: String,
}

impl WallClock {
    /// `name` is that of no other test.
    fn right(name: &str) -> Self {
        let machines = std::fs::read_dir("/usr/lib").unwrap();
        let library = machines
            .map(|folder| folder.unwrap().path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .expect("libfaketime is missing. Install it: sudo apt-get install -y libfaketime");
        let clock = Self {
            file: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{name}")),
            library: library.to_str().unwrap().to_owned(),
        };
        clock.set("+0");
        clock
    }

    /// In one step, as nobody may read half of it.
    fn set(&self, offset: &str) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, offset).unwrap();
        std::fs::rename(next, &self.file).unwrap();
    }

    async fn start(&self, site: &Site) -> Process {
        site.start_with(&[
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ])
        .await
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        std::fs::remove_file(&self.file).unwrap_or_default();
    }
}

const HOUR_MS: u64 = 3_600_000;

/// How long a token lives that is about to end, and what is allowed and told on top.
const LIFE: Duration = Duration::from_secs(8);
const TOKENS: [(&str, &str); 2] = [("AUTH_LEEWAY", "2s"), ("AUTH_EXPIRY_NOTICE", "3s")];

/// Somebody whose token ends when it would have ended in any case: not at the step, nor an hour late.
async fn expire(bridge: SocketAddr, offset: &'static str) {
    let clock = Clock::system();
    let mut claims = claims("brief", &clock);
    claims["exp"] = (clock.unix().0 / 1_000 + LIFE.as_secs()).into();
    let start = clock.instant();
    let token = mint::unsigned(&claims);
    let mut client = Client::connect(bridge, &token).await.unwrap();
    let mut was_told = false;
    let closed = loop {
        let (event, payload) = client.event().await.unwrap();
        match event.as_str() {
            "token_expiring" => was_told = payload["expiresInMs"].as_u64().unwrap() > 0,
            "closing" => break payload,
            _ => {}
        }
    };
    assert_eq!(closed["code"], "token_expired", "{offset}");
    assert!(was_told, "{offset}");
    let lived = clock.instant() - start;
    assert!(lived >= LIFE, "{offset}: {lived:?}");
}

/// Users are connected, linger and leave while the clock is wrong; new ones come when it is right.
async fn step(name: &str, offset: &'static str) {
    let users = sized(50, 500);
    let grace = ("PRESENCE_GRACE", sized("3s", "10s"));
    let site = Site::new(&[grace, TOKENS[0], TOKENS[1]]).await;
    let clock = WallClock::right(name);
    let process = clock.start(&site).await;
    let scraper = Scraper::of(&process);
    let mut swarm = Swarm::of(&site, users).await;
    all_online(&site, users).await;
    let clients = come(&site, &swarm, &guests()).await;
    let came = last_seen(&site, "guest0");
    let brief = tokio::spawn(expire(process.public, offset));
    site.until_online("brief", true).await;
    die(&swarm, &guests(), clients);
    clock.set(offset);
    for user in guests() {
        site.until_online(&user, false).await;
    }
    let mut off = written_off(&site);
    // Perhaps its token has ended meanwhile.
    off.remove("brief");
    assert_eq!(off, guests(), "{offset}");
    // Nobody leaves before having come; with the clock ahead, the close was heard before the step or after it.
    let told = last_seen(&site, "guest0").checked_sub(came).unwrap();
    let ahead = if offset == "+1h" { HOUR_MS } else { 0 };
    let right = [0, ahead].map(|shift| told.abs_diff(shift) < HOUR_MS / 2);
    assert!(right.contains(&true), "{offset}: {told}");
    let expired = tokio::time::timeout(PATIENCE, brief).await;
    expired.expect(offset).unwrap();
    clock.set("+0");
    swarm.add(&site, &format!("u{users}"));
    swarm.until_connected(users + 1).await;
    let found = at_rest(&site, &swarm.log, Duration::ZERO).await;
    assert_eq!(found, Findings::default(), "{offset}");
    let gone = swarm.log.seen().into_iter();
    let gone: BTreeSet<String> = gone
        .filter(|seen| seen.what == What::Gone)
        .map(|seen| seen.user)
        .collect();
    assert_eq!(gone, guests(), "{offset}: nobody has lost the connection");
    scraper.check();
}

#[tokio::test]
async fn when_the_clock_is_set_an_hour_ahead_or_back_nobody_goes() {
    tokio::join!(step("ahead", "+1h"), step("back", "-1h"));
}
