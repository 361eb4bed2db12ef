//! Many users who behave as phones do, and a log of what was really so.

use super::client::Client;
use super::site::{Door, SignIn, Site};
use presence_bridge::clock::Clock;
use rand::RngExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The stock client's first pause before it connects again, and how far it may be off.
const PAUSE_MS: std::ops::Range<u64> = 500..1_500;

/// Something about one user's connections, seen from the user's side.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub at: Instant,
    pub user: String,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// `ready` was heard.
    Came,
    /// The connection is over, as far as this side can know.
    Gone,
}

/// Who was connected when.
#[derive(Clone, Default)]
pub(crate) struct Log {
    seen: Arc<Mutex<Vec<Seen>>>,
    clock: Clock,
}

impl Log {
    pub(crate) fn note(&self, user: &str, what: What) {
        let at = self.clock.instant();
        let user = user.to_owned();
        self.seen.lock().unwrap().push(Seen { at, user, what });
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// What a user does who has lost the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    /// As the stock client: after a pause, or that which `closing` names, again and again.
    Soon,
    /// At some moment of the time given.
    Within(Duration),
    Never,
    /// And whoever is connected leaves.
    Leave,
}

/// Users who stay connected to wherever the door leads.
pub(crate) struct Swarm {
    pub log: Log,
    users: JoinSet<()>,
    orders: Vec<(String, watch::Sender<Return>)>,
}

impl Swarm {
    pub(crate) fn empty() -> Self {
        Self {
            log: Log::default(),
            users: JoinSet::new(),
            orders: Vec::new(),
        }
    }

    /// So many users, `u0` and so on, all of them connected when this returns.
    pub(crate) async fn of(site: &Site, users: usize) -> Self {
        let mut swarm = Self::empty();
        for number in 0..users {
            swarm.add(site, &format!("u{number}"));
        }
        swarm.until_connected(users).await;
        swarm
    }

    pub(crate) fn add(&mut self, site: &Site, user: &str) {
        self.add_as(site, user, User::live);
    }

    /// A user with a life of another kind.
    pub(super) fn add_as<L>(&mut self, site: &Site, user: &str, life: impl FnOnce(User) -> L)
    where
        L: Future<Output = ()> + Send + 'static,
    {
        let order = watch::Sender::new(Return::Soon);
        self.users.spawn(life(User {
            name: user.to_owned(),
            door: site.door.clone(),
            sign_in: site.sign_in().clone(),
            log: self.log.clone(),
            order: order.subscribe(),
        }));
        self.orders.push((user.to_owned(), order));
    }

    pub(crate) fn order(&self, users: std::ops::Range<usize>, what: Return) {
        for (_, order) in &self.orders[users] {
            order.send_replace(what);
        }
    }

    pub(crate) async fn until_connected(&self, users: usize) {
        let connected = async {
            while super::checker::connected(&self.log.seen()).len() < users {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_mins(1), connected).await;
        assert!(
            done.is_ok(),
            "only {:?} are connected",
            super::checker::connected(&self.log.seen()).len()
        );
    }

    /// Everybody leaves for good; the log is complete then.
    pub(crate) async fn leave(mut self) -> Log {
        self.order(0..self.orders.len(), Return::Leave);
        while let Some(user) = self.users.join_next().await {
            user.unwrap();
        }
        self.log
    }
}

pub(super) struct User {
    pub(super) name: String,
    door: Door,
    sign_in: SignIn,
    pub(super) log: Log,
    pub(super) order: watch::Receiver<Return>,
}

impl User {
    async fn live(mut self) {
        let mut lost = false;
        loop {
            let mut told = None;
            if let Some(client) = self.come().await {
                told = self.stay(client).await;
                lost = true;
            }
            let order = *self.order.borrow();
            let pause = match order {
                Return::Never | Return::Leave => return,
                Return::Within(time) if lost => time.mul_f64(rand::rng().random()),
                Return::Soon | Return::Within(_) => told
                    .unwrap_or_else(|| Duration::from_millis(rand::rng().random_range(PAUSE_MS))),
            };
            lost = false;
            tokio::time::sleep(pause).await;
        }
    }

    /// One try.
    pub(super) async fn come(&self) -> Option<Client> {
        let token = self.sign_in.token(&self.name);
        let client = Client::connect(self.door.address(), &token).await.ok()?;
        self.log.note(&self.name, What::Came);
        Some(client)
    }

    /// Until the connection is over; with the pause that the bridge has asked for.
    async fn stay(&mut self, mut client: Client) -> Option<Duration> {
        let mut told = None;
        let over = async {
            while let Ok((event, payload)) = client.event().await {
                if event == "closing" {
                    told = payload["retryAfterMs"].as_u64().map(Duration::from_millis);
                }
            }
        };
        let told_to_leave = async {
            let told = self.order.wait_for(|order| *order == Return::Leave).await;
            told.is_ok()
        };
        let leaves = tokio::select! {
            () = over => false,
            leaves = told_to_leave => leaves,
        };
        self.log.note(&self.name, What::Gone);
        if leaves {
            client.leave().await;
        }
        told
    }
}
