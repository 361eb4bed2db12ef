//! A database whose name leads to another address, or nowhere for a while.

use super::checker::offline_after;
use super::database::{until_readiness, until_ready};
use super::figures::{Times, offline_row};
use super::proxy::{Cable, Proxy};
use super::scrape::Scraper;
use super::site::Site;
use super::swarm::{Return, Swarm};
use super::{is_full, sized};
use crate::process::Process;
use presence_bridge::clock::Clock;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The only name under which the stand-in lets itself be called; for this process it is one like any other.
const NAME: &str = "localhost";
const BOUND: Duration = Duration::from_secs(30);
/// How many leave at each incident.
const LEAVING: usize = 10;

/// The names that one process knows: its `/etc/hosts`, and a name server that is never there.
struct Names {
    hosts: PathBuf,
    resolver: PathBuf,
}

impl Names {
    fn new() -> Self {
        let place = |name| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let names = Self {
            hosts: place("hosts"),
            resolver: place("resolv.conf"),
        };
        let nowhere = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";
        std::fs::write(&names.resolver, nowhere).unwrap();
        names
    }

    /// From now on the database is there, or nowhere. The file stays the same one: it is mounted.
    fn lead_to(&self, address: Option<IpAddr>) {
        let line = address.map(|address| format!("{address} {NAME}\n"));
        std::fs::write(&self.hosts, line.unwrap_or_default()).unwrap();
    }

    async fn start(&self, site: &Site) -> Process {
        let at = format!("{NAME}:{}", site.cable.address.port());
        let [hosts, resolver] = [&self.hosts, &self.resolver].map(|path| path.display());
        let line = format!(
            "exec unshare --map-root-user --mount sh -c \
             'mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf && exec \"$0\"'"
        );
        site.start_after(&line, &[("FIREBASE_DATABASE_EMULATOR_HOST", &at)])
            .await
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for path in [&self.hosts, &self.resolver] {
            std::fs::remove_file(path).unwrap_or_default();
        }
    }
}

/// A bridge whose database has one of two addresses.
struct Town {
    names: Names,
    elsewhere: Proxy,
    process: Process,
    site: Site,
}

impl Town {
    async fn open() -> Self {
        let site = Site::new(&[("PRESENCE_GRACE", sized("1s", "10s"))]).await;
        let names = Names::new();
        names.lead_to(Some(site.cable.address.ip()));
        let process = names.start(&site).await;
        until_ready(&process).await;
        Self {
            names,
            elsewhere: site.cable.beside(Ipv4Addr::new(127, 0, 0, 2).into()).await,
            process,
            site,
        }
    }

    /// Nothing comes through any more, wherever the database was.
    fn cut(&self) {
        self.site.cable.set(Cable::Stalled);
        self.elsewhere.set(Cable::Stalled);
    }

    fn found_at(&self, place: &Proxy) {
        place.set(Cable::Sound);
        self.names.lead_to(Some(place.address.ip()));
    }

    /// The old address is dead at once, and the name leads to the new one.
    fn moves(&self) -> Instant {
        self.cut();
        self.found_at(&self.elsewhere);
        Clock::system().instant()
    }

    /// The name leads nowhere, until it leads back.
    async fn is_unknown_for_a_while(&self, users: &[String]) -> Instant {
        self.cut();
        self.names.lead_to(None);
        until_readiness(&self.process, "degraded").await;
        tokio::time::sleep(sized(Duration::from_secs(2), Duration::from_mins(1))).await;
        assert!(users.iter().all(|user| self.site.is_online(user)));
        self.found_at(&self.site.cable);
        Clock::system().instant()
    }

    /// How long after `since` each of them was offline.
    async fn until_told(&self, users: &[String], since: Instant) -> Vec<Duration> {
        for user in users {
            self.site.until_online(user, false).await;
        }
        until_readiness(&self.process, "\"ready\"").await;
        let commits = self.site.journal.commits();
        let after = |user: &String| offline_after(&commits, user, since).unwrap();
        users.iter().map(after).collect()
    }
}

fn tell(order: u8, case: &str, times: Vec<Duration>) {
    let times = Times::new(times);
    offline_row(order, case, BOUND, &times);
    assert!(!is_full() || times.max() <= BOUND, "{:?}", times.max());
}

#[tokio::test]
async fn a_database_that_moves_is_found_again() {
    let town = Town::open().await;
    let scraper = Scraper::of(&town.process);
    let rounds = sized(1, 2);
    let leaving = 2 * rounds * LEAVING;
    let swarm = Swarm::of(&town.site, leaving + 1).await;
    for number in 0..=leaving {
        town.site.until_online(&format!("u{number}"), true).await;
    }
    let (mut moved, mut unknown) = (Vec::new(), Vec::new());
    let mut going = (0..leaving).step_by(LEAVING).map(|first| {
        let going = first..first + LEAVING;
        let users: Vec<_> = going.clone().map(|number| format!("u{number}")).collect();
        (going, users)
    });
    for _ in 0..rounds {
        let (first, users) = going.next().unwrap();
        let since = town.moves();
        swarm.order(first, Return::Leave);
        moved.extend(town.until_told(&users, since).await);

        let (second, users) = going.next().unwrap();
        swarm.order(second, Return::Leave);
        let since = town.is_unknown_for_a_while(&users).await;
        unknown.extend(town.until_told(&users, since).await);
    }
    assert!(town.site.is_online(&format!("u{leaving}")));
    scraper.check();
    tell(16, "database's name leads to another address", moved);
    tell(17, "database's name leads nowhere for a while", unknown);
}
