//! The one owner of the truth about who is online: a task that turns connections opened and closed
//! into transitions, and hands each transition to the mirror and to the people who may see it.

pub use super::mirror::Adopted;
use super::mirror::MirrorHandle;
use super::ports::{Announce, Record, Visible};
use crate::clock::Clock;
use crate::domain::ids::{ChatId, ConnectionId, UserId};
use crate::domain::presence::{Connected, PresenceBook, Transition, TransitionKind};
use crate::domain::time::{Moment, UnixMillis};
use crate::store::chats::Chats;
use crate::telemetry::metrics::{self, Metrics, UserStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Orders that may wait. When full, the sessions that give them wait.
const QUEUE: usize = 4_096;
/// How many users' departures are remembered for watchers who ask later.
const REMEMBERED_DEPARTURES: u64 = 100_000;
/// Later than any grace.
const FOREVER: Duration = Duration::from_hours(876_000);
/// The owner gets its turn at least this often.
const TURN: Duration = Duration::from_secs(1);
/// A turn that comes later than this means that the process stood still.
const PATIENCE: Duration = Duration::from_secs(2);

enum Order {
    Connected {
        user: UserId,
        connection: ConnectionId,
        at: Moment,
    },
    Disconnected {
        user: UserId,
        connection: ConnectionId,
        at: Moment,
    },
    Look {
        users: Vec<UserId>,
        answer: oneshot::Sender<Vec<Visible>>,
    },
    /// Everybody who lingers goes offline now.
    EndGraces { done: oneshot::Sender<()> },
}

enum Event {
    Ordered(Order),
    Found(Option<Adopted>),
    Woken,
}

#[derive(Clone)]
pub struct PresenceHandle {
    orders: mpsc::Sender<Order>,
}

impl PresenceHandle {
    pub async fn connected(&self, user: &UserId, connection: ConnectionId, at: Moment) {
        self.order(Order::Connected {
            user: user.clone(),
            connection,
            at,
        })
        .await;
    }

    pub async fn disconnected(&self, user: &UserId, connection: ConnectionId, at: Moment) {
        self.order(Order::Disconnected {
            user: user.clone(),
            connection,
            at,
        })
        .await;
    }

    /// What others may see of `users`, in their order.
    pub async fn look(&self, users: Vec<UserId>) -> Vec<Visible> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Look { users, answer }).await;
        answered.await.unwrap_or_default()
    }

    /// At drain, when nobody follows: all graces end, and the mirror has heard of it on return.
    pub async fn end_graces(&self) {
        let (done, ended) = oneshot::channel();
        self.order(Order::EndGraces { done }).await;
        ended.await.unwrap_or_default();
    }

    /// The mirror has heard of everything ordered before.
    pub async fn settled(&self) {
        self.look(Vec::new()).await;
    }

    /// Waits for room in the queue. Only a process that is ending drops the owner, and with it the order.
    async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap_or_default();
    }
}

pub struct Presence {
    book: PresenceBook,
    orders: mpsc::Receiver<Order>,
    adopted: mpsc::Receiver<Adopted>,
    grace: Duration,
    /// Users adopted at start who have not come back by then are offline.
    adoption_ends: Instant,
    /// When the owner last had its turn, and how late the next one may come.
    last_turn: Instant,
    pub patience: Duration,
    departures: moka::future::Cache<UserId, UnixMillis>,
    outside: Outside,
}

/// Whom the owner tells, and what it asks.
pub struct Outside {
    pub chats: Arc<Chats>,
    pub announce: Arc<dyn Announce>,
    pub mirror: MirrorHandle,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    /// Chats with more joined connections hear nothing of presence.
    pub max_room: usize,
}

impl Presence {
    pub fn new(
        (grace, start_grace): (Duration, Duration),
        adopted: mpsc::Receiver<Adopted>,
        outside: Outside,
    ) -> (Self, PresenceHandle) {
        let (sender, orders) = mpsc::channel(QUEUE);
        let last_turn = outside.clock.instant();
        let departures = moka::future::Cache::new(REMEMBERED_DEPARTURES);
        let book = PresenceBook::new(grace);
        (
            Self {
                book,
                orders,
                adopted,
                grace,
                adoption_ends: last_turn + start_grace,
                last_turn,
                patience: PATIENCE,
                departures,
                outside,
            },
            PresenceHandle { orders: sender },
        )
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut adopting = true;
        loop {
            let turn = self.last_turn + TURN;
            let wake = self.book.next_deadline().map_or(turn, |due| due.min(turn));
            let event = tokio::select! {
                () = stop.cancelled() => return,
                order = self.orders.recv() => match order {
                    Some(order) => Event::Ordered(order),
                    None => return,
                },
                found = self.adopted.recv(), if adopting => Event::Found(found),
                () = tokio::time::sleep_until(wake.into()) => Event::Woken,
            };
            let now = self.outside.clock.instant();
            // Before anything is made of the time that has passed.
            self.catch_up(now);
            match event {
                Event::Ordered(order) => self.obey(order).await,
                Event::Found(Some(found)) => self.adopt(found),
                Event::Found(None) => adopting = false,
                Event::Woken => {
                    self.hear_out().await;
                    self.expire(now).await;
                }
            }
            self.count();
        }
    }

    /// A stopped process, a paused machine, no processor to be had: whoever came back meanwhile
    /// could not be heard, so nobody goes offline for that time.
    fn catch_up(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.last_turn + TURN);
        self.last_turn = now;
        if late <= self.patience {
            return;
        }
        tracing::warn!(
            seconds = late.as_secs(),
            "the process stood still; all graces get the time back"
        );
        self.outside.metrics.standstills.inc();
        self.book.stood_still(late, now);
        self.outside.chats.stood_still(late);
        self.adoption_ends += late;
    }

    /// Whoever is back in time may wait in the queue. Those who come meanwhile have their turn later: a crowd
    /// that never ends must not keep everybody online.
    async fn hear_out(&mut self) {
        for _ in 0..self.orders.len() {
            if let Ok(order) = self.orders.try_recv() {
                self.obey(order).await;
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Connected {
                user,
                connection,
                at,
            } => match self.book.connected(&user, connection, at) {
                Connected::First(transition) => self.tell(transition).await,
                Connected::Another => {}
                Connected::Absorbed => {
                    self.outside.metrics.presence_absorbed.inc();
                }
            },
            Order::Disconnected {
                user,
                connection,
                at,
            } => self.book.disconnected(&user, connection, at),
            Order::Look { users, answer } => {
                let mut seen = Vec::with_capacity(users.len());
                for user in &users {
                    seen.push(if self.book.is_online(user) {
                        Visible::Online
                    } else {
                        Visible::Offline {
                            last_seen: self.departures.get(user).await,
                        }
                    });
                }
                // Whoever asked may have left meanwhile.
                answer.send(seen).unwrap_or_default();
            }
            Order::EndGraces { done } => {
                let forever = self.outside.clock.instant() + FOREVER;
                self.expire(forever).await;
                done.send(()).unwrap_or_default();
            }
        }
    }

    fn adopt(&mut self, found: Adopted) {
        let now = self.outside.clock.now();
        // Whoever is taken over long after the start has just lost the process that served them.
        let until = self.adoption_ends.max(now.instant + self.grace);
        for (user, last_seen) in found {
            // A record may claim to be of the future; what follows from it must not.
            self.book.adopted(&user, last_seen.min(now.unix), until);
        }
    }

    async fn expire(&mut self, now: Instant) {
        for transition in self.book.expire(now) {
            self.tell(transition).await;
        }
    }

    /// Each transition goes once to the people and once to the mirror.
    async fn tell(&mut self, transition: Transition) {
        let Outside {
            chats,
            announce,
            mirror,
            metrics,
            max_room,
            ..
        } = &self.outside;
        let user = &transition.user;
        let (visible, kind, record) = match transition.kind {
            TransitionKind::Online { since } => {
                self.departures.invalidate(user).await;
                (
                    Visible::Online,
                    metrics::TransitionKind::Online,
                    Record {
                        online: true,
                        last_seen: since,
                    },
                )
            }
            TransitionKind::Offline { last_seen } => {
                self.departures.insert(user.clone(), last_seen).await;
                let visible = Visible::Offline {
                    last_seen: Some(last_seen),
                };
                (
                    visible,
                    metrics::TransitionKind::Offline,
                    Record {
                        online: false,
                        last_seen,
                    },
                )
            }
        };
        // Somebody who comes has no chats yet: the others hear of it at the join.
        let chats: Vec<ChatId> = match visible {
            Visible::Online => Vec::new(),
            Visible::Offline { .. } => chats
                .depart(user)
                .into_iter()
                .filter(|(_, size)| size <= max_room)
                .map(|(chat, _)| chat)
                .collect(),
        };
        announce.presence(user, visible, &chats);
        metrics
            .presence_transitions
            .get_or_create(&kind.into())
            .inc();
        if mirror.want(transition.user, record).await.is_err() {
            tracing::warn!("a change of presence came after the last flush");
        }
    }

    fn count(&self) {
        for (status, users) in [
            (UserStatus::Online, self.book.online()),
            (UserStatus::Lingering, self.book.lingering()),
        ] {
            let users = i64::try_from(users).unwrap_or(i64::MAX);
            self.outside
                .metrics
                .presence_users
                .get_or_create(&status.into())
                .set(users);
        }
    }
}

#[cfg(test)]
mod tests;
