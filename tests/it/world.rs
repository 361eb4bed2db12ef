//! A whole bridge on port 0, beside a stand-in for Firebase over real HTTP.

use crate::mint;
use crate::phone::{Phone, soon};
use presence_bridge::app::{self, Running, Surroundings};
use presence_bridge::clock::Clock;
use presence_bridge::config::{Config, Environment};
use presence_bridge::dev::accounts::AccountsStandIn;
use presence_bridge::dev::database::{self, DEFAULT_RULES, DatabaseStandIn};
use presence_bridge::telemetry::metrics::Metrics;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const PROJECT: &str = "demo-test";

pub(crate) struct World {
    pub bridge: SocketAddr,
    pub admin: SocketAddr,
    pub database: DatabaseStandIn,
    pub clock: Clock,
    accounts: AccountsStandIn,
    running: Option<Running>,
    _stand_in: tokio_util::sync::DropGuard,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A bridge with these settings besides the emulators'.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::at(settings, Clock::system()).await
    }

    pub(crate) async fn at(settings: &[(&str, &str)], clock: Clock) -> Self {
        let database = DatabaseStandIn::new(PROJECT, DEFAULT_RULES, clock.clone()).unwrap();
        let (address, guard) = serve(&database).await;
        let running = start(&emulated(address, settings), clock.clone());
        Self {
            bridge: running.public,
            admin: running.admin,
            accounts: AccountsStandIn::new(PROJECT, clock.clone()),
            database,
            clock,
            running: Some(running),
            _stand_in: guard,
        }
    }

    pub(crate) fn token(&self, user: &str) -> String {
        self.accounts.id_token(user).unwrap()
    }

    pub(crate) async fn connect(&self, user: &str) -> Phone {
        Phone::connect(self.bridge, &self.token(user))
            .await
            .unwrap()
    }

    /// Connected and joined.
    pub(crate) async fn in_chat(&self, user: &str, chat: &str) -> Phone {
        let mut phone = self.connect(user).await;
        phone.join(chat).await;
        phone
    }

    pub(crate) fn record(&self, user: &str) -> Value {
        self.database.value(&format!("/presence/{user}"))
    }

    /// Until the database says so.
    pub(crate) async fn until_recorded(&self, user: &str, online: bool) {
        let path = format!("/presence/{user}/online");
        soon(
            &format!("{user} online: {online}"),
            self.database
                .until(|db| db.value(&path) == Value::Bool(online)),
        )
        .await;
    }

    /// How many records of this user were written so far.
    pub(crate) fn writes_of(&self, user: &str) -> usize {
        let wrote =
            |body: &Option<Value>| body.as_ref().is_some_and(|body| body.get(user).is_some());
        self.database
            .history()
            .iter()
            .filter(|entry| entry.method == "PATCH" && wrote(&entry.body))
            .count()
    }

    /// The value of a metric as the operator sees it; 0 for one that was never touched.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = get(self.admin, "/metrics").await.1;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Until the metric has the value.
    pub(crate) async fn until_metric(&self, name: &str, wanted: f64) {
        soon(&format!("{name} = {wanted}"), async {
            while (self.metric(name).await - wanted).abs() > f64::EPSILON {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The metrics themselves, without a request that would count, too.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.running.as_ref().unwrap().metrics()
    }

    /// Drains the bridge, as SIGTERM does.
    pub(crate) async fn drain(&mut self) {
        let running = self.running.take().unwrap();
        soon("the drain", running.drain()).await;
    }
}

/// Serves a stand-in on loopback until the guard is dropped.
pub(crate) async fn serve(database: &DatabaseStandIn) -> (SocketAddr, tokio_util::sync::DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(database::serve(listener, database.clone(), stop.clone()));
    (address, stop.drop_guard())
}

pub(crate) fn emulated(database: SocketAddr, settings: &[(&str, &str)]) -> Config {
    let mut all = vec![
        ("FIREBASE_PROJECT_ID", PROJECT.to_owned()),
        ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099".to_owned()),
        ("FIREBASE_DATABASE_EMULATOR_HOST", database.to_string()),
        ("PRESENCE_FLUSH_INTERVAL", "20ms".to_owned()),
    ];
    all.extend(loopback());
    all.extend(
        settings
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    Config::read(&all.into_iter().collect()).unwrap()
}

fn loopback() -> [(&'static str, String); 3] {
    [
        ("HOST", "127.0.0.1".to_owned()),
        ("PORT", "0".to_owned()),
        ("ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
    ]
}

/// Settings as in production: Google's keys, a key file and the database are elsewhere.
pub(crate) fn production(settings: &[(&str, &str)]) -> Config {
    let mut all = Vec::from(loopback());
    all.push(("FIREBASE_PROJECT_ID", PROJECT.to_owned()));
    all.extend(
        settings
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    Config::read(&all.into_iter().collect::<Environment>()).unwrap()
}

pub(crate) fn start(config: &Config, clock: Clock) -> Running {
    app::start(
        config,
        Surroundings {
            clock,
            ..Surroundings::default()
        },
    )
    .unwrap()
}

/// Status and body of a plain request.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = soon(path, client.get(format!("http://{address}{path}")).send())
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Claims of a good token for `user`, as Google makes them.
pub(crate) fn claims(user: &str, clock: &Clock) -> Value {
    mint::claims(PROJECT, user, clock.unix().0 / 1000)
}

/// Lets time pass at once; it runs on from there, so that real sockets keep working.
pub(crate) async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
