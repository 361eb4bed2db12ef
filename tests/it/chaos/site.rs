//! One database, a cable to it, and the processes that use it.

use super::journal::Journal;
use super::proxy::Proxy;
use crate::phone::soon;
use crate::process::Process;
use crate::world::{PROJECT, serve};
use presence_bridge::clock::Clock;
use presence_bridge::dev::accounts::AccountsStandIn;
use presence_bridge::dev::database::{DEFAULT_RULES, DatabaseStandIn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio_util::sync::DropGuard;

pub(crate) struct Site {
    pub database: DatabaseStandIn,
    pub journal: Journal,
    /// Between the processes and the database.
    pub cable: Proxy,
    /// Where clients find the process that serves.
    pub door: Door,
    accounts: AccountsStandIn,
    settings: Vec<(&'static str, String)>,
    _serving: DropGuard,
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
        let (address, serving) = serve(&database).await;
        Self {
            journal: Journal::of(&database),
            cable: Proxy::to(address).await,
            door: Door(Arc::new(Mutex::new(SocketAddr::from(([127, 0, 0, 1], 1))))),
            accounts: AccountsStandIn::new(PROJECT, clock),
            settings: settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            database,
            _serving: serving,
        }
    }

    /// A process of its own, to which the door leads from then on.
    pub(crate) async fn start(&self) -> Process {
        self.start_with(&[]).await
    }

    /// The same, with more settings; `SABOTAGE` is one.
    pub(crate) async fn start_with(&self, more: &[(&str, &str)]) -> Process {
        let environment = self.environment(more);
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let process = Process::start(&[], &environment).await;
        self.door.lead_to(process.public);
        process
    }

    pub(crate) fn environment(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let cable = self.cable.address.to_string();
        let fixed = [
            ("HOST", "127.0.0.1"),
            ("FIREBASE_PROJECT_ID", PROJECT),
            ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099"),
            ("FIREBASE_DATABASE_EMULATOR_HOST", &cable),
            // What a storm of clients from one address needs.
            ("LIMIT_EVENTS_PER_SECOND", "100000"),
        ];
        let own = self
            .settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        fixed
            .into_iter()
            .chain(own)
            .chain(more.iter().copied())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub(crate) fn token(&self, user: &str) -> String {
        self.accounts.id_token(user).unwrap()
    }

    pub(crate) fn accounts(&self) -> &AccountsStandIn {
        &self.accounts
    }

    /// What the database says of a user; nobody is offline.
    pub(crate) fn is_online(&self, user: &str) -> bool {
        self.database.value(&format!("/presence/{user}/online")) == true
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
