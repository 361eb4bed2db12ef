//! One database, a cable to it, and the processes that use it.

use super::checker::wrong;
use super::journal::Journal;
use super::proxy::Proxy;
use super::swarm::{Log, Seen};
use crate::google::{Google, KeyFile};
use crate::mint;
use crate::phone::soon;
use crate::process::Process;
use crate::world::{PROJECT, claims, serve};
use presence_bridge::clock::Clock;
use presence_bridge::dev::accounts::AccountsStandIn;
use presence_bridge::dev::database::{DEFAULT_RULES, DatabaseStandIn};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::DropGuard;

/// How often the database is held against the truth.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Site {
    pub database: DatabaseStandIn,
    pub journal: Journal,
    /// Between the processes and the database.
    pub cable: Proxy,
    /// Where clients find the process that serves.
    pub door: Door,
    sign_in: SignIn,
    settings: Vec<(&'static str, String)>,
    /// What the processes' surroundings are, before the settings.
    surroundings: Vec<(&'static str, String)>,
    _key_file: Option<KeyFile>,
    _serving: DropGuard,
}

/// Where users get their ID tokens.
#[derive(Clone)]
pub(crate) enum SignIn {
    Emulated(AccountsStandIn),
    /// Signed with the key that [`Google`] lists.
    Signed(Clock),
}

impl SignIn {
    pub(crate) fn token(&self, user: &str) -> String {
        match self {
            Self::Emulated(accounts) => accounts.id_token(user).unwrap(),
            Self::Signed(clock) => mint::keys()[0].mint(&claims(user, clock)),
        }
    }
}

/// An address that moves with the process, as a load balancer's does not.
#[derive(Clone)]
pub(crate) struct Door(Arc<Mutex<SocketAddr>>);

impl Door {
    pub(crate) fn address(&self) -> SocketAddr {
        *self.0.lock().unwrap()
    }

    pub(crate) fn lead_to(&self, address: SocketAddr) {
        *self.0.lock().unwrap() = address;
    }
}

impl Site {
    /// Processes started here have these settings.
    pub(crate) async fn new(settings: &[(&'static str, &str)]) -> Self {
        let clock = Clock::system();
        let database = DatabaseStandIn::new(PROJECT, DEFAULT_RULES, clock.clone()).unwrap();
        let sign_in = SignIn::Emulated(AccountsStandIn::new(PROJECT, clock));
        let mut site = Self::bare(database, settings, (sign_in, None)).await;
        site.surroundings = vec![
            ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099".to_owned()),
            (
                "FIREBASE_DATABASE_EMULATOR_HOST",
                site.cable.address.to_string(),
            ),
        ];
        site
    }

    /// As in production: signed ID tokens, and a database that wants access tokens.
    pub(crate) async fn production(settings: &[(&'static str, &str)]) -> (Self, Google) {
        let clock = Clock::system();
        let database = DatabaseStandIn::new(PROJECT, DEFAULT_RULES, clock.clone()).unwrap();
        let google = Google::open(&database).await;
        let key_file = google.key_file();
        let key_path = key_file.path().to_owned();
        let credentials = (SignIn::Signed(clock), Some(key_file));
        let mut site = Self::bare(database, settings, credentials).await;
        site.surroundings = vec![
            ("AUTH_KEYS_URL", google.keys_url()),
            (
                "FIREBASE_DATABASE_URL",
                format!("http://{}/", site.cable.address),
            ),
            ("GOOGLE_APPLICATION_CREDENTIALS", key_path),
        ];
        (site, google)
    }

    async fn bare(
        database: DatabaseStandIn,
        settings: &[(&'static str, &str)],
        (sign_in, key_file): (SignIn, Option<KeyFile>),
    ) -> Self {
        let (address, serving) = serve(&database).await;
        Self {
            journal: Journal::of(&database),
            cable: Proxy::to(address).await,
            door: Door(Arc::new(Mutex::new(SocketAddr::from(([127, 0, 0, 1], 1))))),
            sign_in,
            settings: settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            surroundings: Vec::new(),
            database,
            _key_file: key_file,
            _serving: serving,
        }
    }

    /// A process of its own, to which the door leads from then on.
    pub(crate) async fn start(&self) -> Process {
        self.start_with(&[]).await
    }

    /// The same, with more settings; `SABOTAGE` is one.
    pub(crate) async fn start_with(&self, more: &[(&str, &str)]) -> Process {
        let process = Process::start(&[], &borrowed(&self.environment(more))).await;
        self.door.lead_to(process.public);
        process
    }

    /// The same, at the end of a shell's line such as `ulimit -n 160; exec`.
    pub(crate) async fn start_after(&self, line: &str, more: &[(&str, &str)]) -> Process {
        let process = Process::after(line, "", &borrowed(&self.environment(more))).await;
        self.door.lead_to(process.public);
        process
    }

    pub(crate) fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let fixed = [
            ("HOST", "127.0.0.1"),
            ("FIREBASE_PROJECT_ID", PROJECT),
            // What a storm of clients from one address needs.
            ("LIMIT_EVENTS_PER_SECOND", "100000"),
        ];
        let own = self.surroundings.iter().chain(&self.settings);
        let own = own.map(|(name, value)| (*name, value.as_str()));
        fixed
            .into_iter()
            .chain(own)
            .chain(more.iter().copied())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub(crate) fn token(&self, user: &str) -> String {
        self.sign_in.token(user)
    }

    pub(crate) fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// What the database says of a user; nobody is offline.
    pub(crate) fn is_online(&self, user: &str) -> bool {
        self.database.value(&format!("/presence/{user}/online")) == true
    }

    /// Until the database says of everybody what is so, or the patience is over: the log as it was
    /// then, and of whom it is not so.
    pub(crate) async fn until_true(
        &self,
        log: &Log,
        patience: Duration,
    ) -> (Vec<Seen>, BTreeSet<String>) {
        let clock = Clock::system();
        let end = clock.instant() + patience;
        loop {
            let seen = log.seen();
            let wrong = wrong(&seen, |user| self.is_online(user));
            if wrong.is_empty() || clock.instant() > end {
                return (seen, wrong);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub(crate) async fn until_online(&self, user: &str, online: bool) {
        let what = format!("{user} online: {online}");
        soon(
            &what,
            self.database.until(|_| self.is_online(user) == online),
        )
        .await;
    }
}

fn borrowed(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = environment.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}
