//! Users who come and go all the time, each by a seed of their own.

use super::client::Client;
use super::site::Site;
use super::swarm::{Return, Swarm, User, What};
use futures_util::FutureExt;
use futures_util::future::select_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::time::Duration;

/// How they come and go, all in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub present: Range<u64>,
    /// Nobody is to notice these.
    pub short_absence: Range<u64>,
    pub long_absence: Range<u64>,
}

/// The share of presences with a second device, and of absences that are long.
const SECOND_DEVICE: f64 = 0.25;
const LONG: f64 = 0.5;

/// What ended a stay.
enum End {
    Lost(usize),
    TimeOver,
    ToldToLeave,
}

impl Swarm {
    /// Users `u0` and so on, who flap as long as their order is [`Return::Soon`]. After
    /// [`Return::Never`] whoever is away stays away, and whoever is there stays.
    pub(crate) fn flap(&mut self, site: &Site, users: usize, seed: u64, habits: &Habits) {
        for number in 0..users {
            let rng = StdRng::seed_from_u64(seed ^ ((number as u64) << 32));
            let habits = habits.clone();
            self.add_as(site, &format!("u{number}"), |user| {
                Flapping { user, habits, rng }.live()
            });
        }
    }
}

struct Flapping {
    user: User,
    habits: Habits,
    rng: StdRng,
}

impl Flapping {
    async fn live(mut self) {
        loop {
            // Not all in the same moment.
            self.be_away().await;
            let order = self.user.order.wait_for(|order| *order != Return::Never);
            if *order.await.unwrap() == Return::Leave {
                return;
            }
            let devices = 1 + usize::from(self.rng.random_bool(SECOND_DEVICE));
            let mut clients = Vec::new();
            for _ in 0..devices {
                clients.extend(self.user.come().await);
            }
            while !clients.is_empty() {
                self.stay(&mut clients).await;
            }
        }
    }

    async fn be_away(&mut self) {
        let Habits {
            short_absence,
            long_absence,
            ..
        } = &self.habits;
        let range = if self.rng.random_bool(LONG) {
            long_absence
        } else {
            short_absence
        };
        let absence = Duration::from_millis(self.rng.random_range(range.clone()));
        let mut order = self.user.order.clone();
        let told = order.wait_for(|order| *order == Return::Leave);
        drop(tokio::time::timeout(absence, told).await);
    }

    /// Until one connection, or all of them, are over.
    async fn stay(&mut self, clients: &mut Vec<Client>) {
        let time = Duration::from_millis(self.rng.random_range(self.habits.present.clone()));
        let gone = match self.end(clients, time).await {
            End::Lost(which) => vec![clients.remove(which)],
            End::TimeOver => clients.pop().into_iter().collect(),
            End::ToldToLeave => std::mem::take(clients),
        };
        for client in gone {
            self.user.log.note(&self.user.name, What::Gone);
            match self.rng.random_range(0..4) {
                0 | 1 => client.leave().await,
                2 => client.die(),
                _ => client.reset(),
            }
        }
    }

    async fn end(&self, clients: &mut [Client], time: Duration) -> End {
        let listening = clients
            .iter_mut()
            .map(|client| async move { while client.event().await.is_ok() {} }.boxed());
        let [mut order, mut last_order] = [0; 2].map(|_| self.user.order.clone());
        let time_over = async {
            tokio::time::sleep(time).await;
            drop(order.wait_for(|order| *order != Return::Never).await);
        };
        let told_to_leave = async {
            drop(last_order.wait_for(|order| *order == Return::Leave).await);
        };
        tokio::select! {
            ((), which, _) = select_all(listening) => End::Lost(which),
            () = told_to_leave => End::ToldToLeave,
            () = time_over => End::TimeOver,
        }
    }
}
