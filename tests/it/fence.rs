//! Two bridges on one database, whose rules keep the older one out.

use crate::phone::{Phone, soon};
use crate::process::Process;
use crate::world::{self, PROJECT};
use presence_bridge::app::Running;
use presence_bridge::clock::Clock;
use presence_bridge::dev::accounts::AccountsStandIn;
use presence_bridge::dev::database::{
    DEFAULT_RULES, DatabaseStandIn, Entry, Fault, Target, Verdict,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Races over real HTTP; the domain has ten thousand.
const RACES: u64 = 12;
const USERS: [&str; 3] = ["ann", "ben", "cid"];

/// A database, and whoever uses it.
struct Site {
    database: DatabaseStandIn,
    address: SocketAddr,
    accounts: AccountsStandIn,
    _stop: tokio_util::sync::DropGuard,
}

impl Site {
    async fn new() -> Self {
        let clock = Clock::system();
        let database = DatabaseStandIn::new(PROJECT, DEFAULT_RULES, clock.clone()).unwrap();
        let (address, stop) = world::serve(&database).await;
        Self {
            database,
            address,
            accounts: AccountsStandIn::new(PROJECT, clock),
            _stop: stop,
        }
    }

    fn start(&self, settings: &[(&str, &str)]) -> Running {
        let mut all = vec![
            ("PRESENCE_FENCE", "rules"),
            ("PRESENCE_GRACE", "0ms"),
            ("FIREBASE_DATABASE_TIMEOUT", "500ms"),
        ];
        all.extend(settings);
        world::start(&world::emulated(self.address, &all), Clock::system())
    }

    async fn connect(&self, bridge: &Running, user: &str) -> Phone {
        let token = self.accounts.id_token(user).unwrap();
        Phone::connect(bridge.public, &token).await.unwrap()
    }

    async fn until_online(&self, user: &str, online: bool) {
        let path = format!("/presence/{user}/online");
        let says = |db: &DatabaseStandIn| db.value(&path) == online;
        soon(
            &format!("{user} online: {online}"),
            self.database.until(says),
        )
        .await;
    }

    async fn until_epoch(&self, epoch: u64) {
        let taken = |db: &DatabaseStandIn| db.value("/presenceFence/epoch") == epoch;
        soon(&format!("epoch {epoch}"), self.database.until(taken)).await;
    }

    fn batches(&self) -> Vec<Entry> {
        let mut entries = self.database.history();
        entries.retain(|entry| entry.method == Method::PATCH);
        entries
    }
}

/// The epoch that a batch carries.
fn epoch_of(batch: &Entry) -> u64 {
    let (_, auth) = batch
        .query
        .iter()
        .find(|(name, _)| name == "auth_variable_override")
        .unwrap();
    let auth: Value = serde_json::from_str(auth).unwrap();
    assert_eq!(auth["uid"], "presence-bridge");
    auth["epoch"].as_u64().unwrap()
}

#[tokio::test]
async fn a_late_offline_of_the_old_process_is_refused_and_it_hands_over() {
    let site = Site::new().await;
    let old = site.start(&[("PRESENCE_ON_DRAIN", "offline")]);
    let ann = site.connect(&old, "ann").await;
    let mut ben = site.connect(&old, "ben").await;
    site.until_online("ann", true).await;
    site.until_online("ben", true).await;
    let sent = old.metrics().mirror_records.get();
    let late = Fault::DelayCommit(Duration::from_secs(2));
    site.database
        .inject(Target::method(Method::PATCH).under("/presence"), 1, late);
    ann.leave().await;
    soon("the late batch", async {
        while old.metrics().mirror_records.get() == sent {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let new = site.start(&[]);
    site.until_epoch(2).await;
    let _ann = site.connect(&new, "ann").await;
    soon("the old process to notice", old.deposed()).await;
    let drained = tokio::spawn(old.drain());
    let closing = ben.hear("closing").await;
    assert_eq!(closing["code"], "draining");
    assert_eq!(closing["reconnect"], true);
    let _ben = site.connect(&new, "ben").await;
    soon("the drain", drained).await.unwrap();
    let refused = |db: &DatabaseStandIn| {
        let mut entries = db.history().into_iter();
        entries.any(|entry| entry.method == Method::PATCH && entry.verdict == Verdict::Refused(401))
    };
    soon("the refusal", site.database.until(refused)).await;
    for user in ["ann", "ben"] {
        let path = format!("/presence/{user}/online");
        assert_eq!(site.database.value(&path), true, "{user}");
    }
    for batch in site.batches() {
        let wrote_offline = batch.body.as_ref().unwrap().as_object().unwrap();
        let offline = wrote_offline
            .values()
            .any(|record| record["online"] == false);
        let committed = matches!(batch.verdict, Verdict::Committed { .. });
        assert!(
            !(offline && committed),
            "nobody was ever offline: {batch:?}"
        );
    }
    soon("the end", new.drain()).await;
}

#[tokio::test]
async fn the_deposed_binary_ends_by_itself_with_success_and_writes_nobody_offline() {
    let site = Site::new().await;
    let database = site.address.to_string();
    let settings = [
        ("HOST", "127.0.0.1"),
        ("FIREBASE_PROJECT_ID", PROJECT),
        ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099"),
        ("FIREBASE_DATABASE_EMULATOR_HOST", &database),
        ("PRESENCE_FENCE", "rules"),
    ];
    let old = Process::start(&[], &settings).await;
    let mut ann = old.connect(&site.accounts, "ann").await;
    site.until_online("ann", true).await;
    let new = Process::start(&[], &settings).await;
    site.until_epoch(2).await;
    let _ben = old.connect(&site.accounts, "ben").await;
    assert_eq!(ann.hear("closing").await["code"], "draining");
    let (status, printed) = old.ended(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{printed}");
    assert!(
        printed.contains("another process has taken over"),
        "{printed}"
    );
    assert_eq!(site.database.value("/presence/ann/online"), true);
    assert_eq!(site.database.value("/presence/ben"), Value::Null);
    new.signal(Signal::TERM);
    assert_eq!(new.ended(Duration::from_secs(20)).await.0.code(), Some(0));
}

#[tokio::test]
async fn without_the_fence_batches_carry_no_epoch_and_nothing_is_taken() {
    let site = Site::new().await;
    let bridge = site.start(&[("PRESENCE_FENCE", "off")]);
    let _ann = site.connect(&bridge, "ann").await;
    site.until_online("ann", true).await;
    assert_eq!(site.database.value("/presenceFence"), Value::Null);
    let batches = site.batches();
    assert!(batches.iter().all(|batch| batch.query
        == [
            (
                "ns".to_owned(),
                site.database.default_namespace().to_owned()
            ),
            ("print".to_owned(), "silent".to_owned()),
        ]));
    soon("the drain", bridge.drain()).await;
}

#[tokio::test]
async fn rules_without_the_fence_are_told_and_not_hammered() {
    let clock = Clock::system();
    let rules = json!({ "rules": { "presence": { ".indexOn": ["online"] } } }).to_string();
    let site = Site {
        database: DatabaseStandIn::new(PROJECT, &rules, clock).unwrap(),
        ..Site::new().await
    };
    let (address, _stop) = world::serve(&site.database).await;
    let site = Site { address, ..site };
    let bridge = site.start(&[]);
    let _ann = site.connect(&bridge, "ann").await;
    soon("degraded", async {
        while !world::get(bridge.admin, "/readyz")
            .await
            .1
            .contains("database")
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(site.batches().len() <= 2, "{:?}", site.batches());
    assert_eq!(site.database.value("/presence"), Value::Null);
    let deposed = tokio::time::timeout(Duration::ZERO, bridge.deposed()).await;
    assert!(deposed.is_err(), "nobody else is there");
}

fn fault(rng: &mut StdRng) -> Fault {
    let delay = Duration::from_millis(rng.random_range(0..1_500));
    match rng.random_range(0..4) {
        0 => Fault::HangAfterCommit,
        1 => Fault::ResetAfterCommit,
        2 => Fault::HangBeforeCommit,
        _ => Fault::DelayCommit(delay),
    }
}

/// One stranger after another comes and goes, until the old process has met the fence.
async fn until_deposed(site: &Site, old: &Running) {
    let deposed = old.deposed();
    tokio::pin!(deposed);
    for n in 0.. {
        let stray = site.connect(old, &format!("dan{n}")).await;
        let wait = Duration::from_millis(100);
        let noticed = tokio::time::timeout(wait, &mut deposed).await.is_ok();
        stray.leave().await;
        if noticed {
            return;
        }
    }
}

/// Epochs of accepted batches never fall.
fn check_order(site: &Site, seed: u64) {
    let mut newest = 0;
    for batch in site.batches() {
        if matches!(batch.verdict, Verdict::Committed { .. }) {
            let epoch = epoch_of(&batch);
            assert!(
                epoch >= newest,
                "seed {seed}: a stale batch was accepted: {batch:?}"
            );
            newest = epoch;
        }
    }
}

/// An old process and its successor, both writing, with answers lost and batches late.
async fn race(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let site = Site::new().await;
    let old = site.start(&[]);
    site.until_epoch(1).await;
    let mut phones = Vec::new();
    for user in USERS {
        phones.push(site.connect(&old, user).await);
    }
    for _ in 0..rng.random_range(1..5) {
        let under = ["/presence", "/presenceFence"][rng.random_range(0..2)];
        let method = if under == "/presence" {
            Method::PATCH
        } else {
            Method::PUT
        };
        site.database
            .inject(Target::method(method).under(under), 1, fault(&mut rng));
    }
    let gone = rng.random_range(0..USERS.len());
    phones.remove(gone).leave().await;
    let new = site.start(&[]);
    let mut here = Vec::new();
    for user in USERS {
        here.push(site.connect(&new, user).await);
    }
    for phone in phones {
        phone.leave().await;
    }
    let deposed = Box::pin(until_deposed(&site, &old));
    soon(
        &format!("seed {seed}: the old process to be deposed"),
        deposed,
    )
    .await;
    soon("the old process's end", old.drain()).await;
    site.database.clear_faults();
    for user in USERS {
        site.until_online(user, true).await;
    }
    soon("the end", new.drain()).await;
    check_order(&site, seed);
    for user in USERS {
        let record = site.database.value(&format!("/presence/{user}"));
        assert_eq!(record["online"], false, "seed {seed}: everybody was let go");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_races_over_http_no_stale_batch_is_accepted() {
    let races: Vec<_> = (0..RACES).map(|seed| tokio::spawn(race(seed))).collect();
    for race in races {
        race.await.unwrap();
    }
}
