//! One process: the product's book and mirror, driven as `services::presence` and
//! `services::mirror` drive them, but by hand and in invented time.

use crate::database::{Boot, number_of};
use crate::flights::Flights;
use crate::history::USERS;
use crate::ledger::Own;
use crate::sea::{Protection, Sea};
use presence_bridge::domain::ids::{ConnectionId, UserId};
use presence_bridge::domain::mirror::Record;
use presence_bridge::domain::presence::{Connected, PresenceBook, Transition, TransitionKind};
use presence_bridge::domain::time::UnixMillis;
use presence_bridge::services::mirror::Process;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(crate) const GRACE_MS: u64 = 10_000;
pub(crate) const START_GRACE_MS: u64 = 30_000;
const TURN_MS: u64 = 1_000;
const PATIENCE_MS: u64 = 2_000;
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// A client's connection as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) user: usize,
    pub(crate) number: usize,
}

#[derive(Clone, Copy, Debug)]
enum Fact {
    Opened(Device, ConnectionId),
    Closed(Device),
}

pub(crate) struct Bridge {
    pub(crate) boot: Boot,
    pub(crate) started_ms: u64,
    book: PresenceBook,
    open: Vec<(Device, ConnectionId)>,
    facts: VecDeque<Fact>,
    /// Adopted users who have not come back by then are offline.
    adoption_ends: Instant,
    pub(crate) flights: Flights,
    /// On the way to the mirror, and from it.
    wanted: VecDeque<(u64, UserId, Record)>,
    adopted: VecDeque<(u64, UserId, UnixMillis)>,
    /// It stands still until then, and since when.
    stopped_until_ms: u64,
    stopped_since_ms: Option<u64>,
    pub(crate) draining: bool,
    /// Told to drain (by handover), and about to do so.
    pub(crate) told_to_drain: Option<bool>,
}

impl Bridge {
    pub(crate) fn start(boot: Boot, sea: &mut Sea) -> Self {
        let node = if sea.setup.own_names { boot } else { 0 };
        let me = Process {
            node: format!("node{node}"),
            boot: format!("boot{boot}"),
        };
        let grace = Duration::from_millis(if sea.has(Protection::Grace) {
            GRACE_MS
        } else {
            0
        });
        let start_grace = if sea.has(Protection::StartGrace) {
            Duration::from_millis(START_GRACE_MS)
        } else {
            Duration::ZERO
        };
        sea.ledger.started(boot);
        Self {
            boot,
            started_ms: sea.now_ms,
            book: PresenceBook::new(grace),
            open: Vec::new(),
            facts: VecDeque::new(),
            adoption_ends: sea.instant() + start_grace,
            flights: Flights::new(boot, me, sea),
            wanted: VecDeque::new(),
            adopted: VecDeque::new(),
            stopped_until_ms: 0,
            stopped_since_ms: None,
            draining: false,
            told_to_drain: None,
        }
    }

    pub(crate) fn opens(&mut self, device: Device, connection: ConnectionId, sea: &mut Sea) {
        self.facts.push_back(Fact::Opened(device, connection));
        self.wake(sea);
    }

    pub(crate) fn closes(&mut self, device: Device, sea: &mut Sea) {
        self.facts.push_back(Fact::Closed(device));
        self.wake(sea);
    }

    pub(crate) fn stop_until(&mut self, ms: u64, sea: &Sea) {
        self.stopped_until_ms = self.stopped_until_ms.max(ms);
        self.stopped_since_ms.get_or_insert(sea.now_ms);
    }

    /// Takes new connections.
    pub(crate) fn serves(&self) -> bool {
        !self.draining && self.told_to_drain.is_none()
    }

    pub(crate) fn is_awake(&self, sea: &Sea) -> bool {
        self.stopped_until_ms <= sea.now_ms
    }

    pub(crate) fn resume(&mut self, sea: &mut Sea) {
        self.stopped_until_ms = 0;
        self.wake(sea);
    }

    pub(crate) fn holds(&self, user: usize) -> bool {
        self.open.iter().any(|(device, _)| device.user == user)
    }

    pub(crate) fn online(&self) -> usize {
        (0..USERS).filter(|user| self.holds(*user)).count()
    }

    /// Book and own list agree, and nobody else is left in memory.
    pub(crate) fn remembers_only(&self, online: usize) -> bool {
        self.book.online() == online
            && self.book.lingering() == 0
            && self.book.is_empty() == (online == 0)
            && self.flights.core.len() == online
    }

    /// Nothing is left to do but to live on.
    pub(crate) fn is_quiet(&self, sea: &Sea) -> bool {
        self.is_awake(sea)
            && self.facts.is_empty()
            && self.told_to_drain.is_none()
            && self.wanted.is_empty()
            && self.adopted.is_empty()
            && self.book.lingering() == 0
            && self.flights.is_quiet()
    }

    pub(crate) fn wake_ms(&self, sea: &Sea) -> Option<u64> {
        let waits = !self.facts.is_empty() || self.told_to_drain.is_some();
        let facts = waits.then_some(sea.now_ms);
        let wanted = self.wanted.front().map(|(at, ..)| *at);
        let adopted = self.adopted.front().map(|(at, ..)| *at);
        let grace = self.book.next_deadline().map(|at| sea.ms_of(at));
        let next = [facts, wanted, adopted, grace, self.flights.wake_ms(sea)];
        let next = next.into_iter().flatten().min()?;
        Some(next.max(self.stopped_until_ms).max(sea.now_ms))
    }

    /// Does everything whose time has come.
    pub(crate) fn wake(&mut self, sea: &mut Sea) {
        if !self.is_awake(sea) {
            return;
        }
        self.catch_up(sea);
        while let Some(fact) = self.facts.pop_front() {
            self.obey(fact, sea);
        }
        self.expire(sea.instant(), sea);
        self.flights.receive(sea);
        let lag = sea.setup.lag_ms;
        for (user, last_seen) in self.flights.outgoing.drain(..) {
            self.adopted.push_back((sea.now_ms + lag, user, last_seen));
        }
        while self
            .adopted
            .front()
            .is_some_and(|(at, ..)| *at <= sea.now_ms)
        {
            if let Some((_, user, last_seen)) = self.adopted.pop_front() {
                self.adopt(&user, last_seen, sea);
            }
        }
        self.expire(sea.instant(), sea);
        self.deliver(sea);
        self.flights.start_due(sea);
        self.check(sea);
    }

    /// What `services::presence` makes of a turn that comes late.
    fn catch_up(&mut self, sea: &Sea) {
        let since = self.stopped_since_ms.take();
        let late_ms = since.map_or(0, |ms| sea.now_ms.saturating_sub(ms + TURN_MS));
        if late_ms > PATIENCE_MS {
            let late = Duration::from_millis(late_ms);
            self.book.stood_still(late, sea.instant());
            self.adoption_ends += late;
        }
    }

    fn deliver(&mut self, sea: &mut Sea) {
        while self
            .wanted
            .front()
            .is_some_and(|(at, ..)| *at <= sea.now_ms)
        {
            if let Some((_, user, record)) = self.wanted.pop_front() {
                self.flights.want(&user, record, sea);
            }
        }
    }

    /// The orderly end begins: everybody is told to go, and the last flush begins.
    pub(crate) fn drain(&mut self, handover: bool, sea: &mut Sea) {
        self.draining = true;
        self.told_to_drain = None;
        let open: Vec<Device> = self.open.iter().map(|(device, _)| *device).collect();
        for device in open {
            self.obey(Fact::Closed(device), sea);
        }
        if !handover {
            self.expire(sea.instant() + FOREVER, sea);
        }
        for (at, ..) in &mut self.wanted {
            *at = sea.now_ms;
        }
        self.deliver(sea);
        self.adopted.clear();
        self.flights.begin_drain(sea);
        self.flights.start_due(sea);
        self.check(sea);
    }

    /// Killed: what the ledger must know of the connections that ended.
    pub(crate) fn die(&mut self, sea: &mut Sea) {
        for (device, _) in self.open.drain(..) {
            sea.ledger.lost(self.boot, device.user, sea.now_ms);
        }
    }

    fn obey(&mut self, fact: Fact, sea: &mut Sea) {
        let now = sea.moment();
        match fact {
            Fact::Opened(device, connection) => {
                self.open.push((device, connection));
                let user = &sea.names[device.user];
                sea.ledger.opened(self.boot, device.user, sea.now_ms);
                if let Connected::First(transition) = self.book.connected(user, connection, now) {
                    self.tell(&transition, sea);
                }
            }
            Fact::Closed(device) => {
                let Some(place) = self.open.iter().position(|(open, _)| *open == device) else {
                    return;
                };
                let (_, connection) = self.open.swap_remove(place);
                self.book
                    .disconnected(&sea.names[device.user], connection, now);
                if !self.holds(device.user) {
                    sea.ledger
                        .closed(self.boot, device.user, now.unix, sea.now_ms);
                }
            }
        }
    }

    fn adopt(&mut self, user: &UserId, last_seen: UnixMillis, sea: &mut Sea) {
        let now = sea.moment();
        sea.ledger
            .adopted(self.boot, number_of(user), (sea.now_ms, sea.weather));
        let last_seen = last_seen.min(now.unix);
        // Whoever is taken over long after the start has just lost the process that served them.
        let grace = if sea.has(Protection::LateGrace) {
            Duration::from_millis(GRACE_MS)
        } else {
            Duration::ZERO
        };
        let until = self.adoption_ends.max(now.instant + grace);
        self.book.adopted(user, last_seen, until);
    }

    fn expire(&mut self, now: Instant, sea: &mut Sea) {
        for transition in self.book.expire(now) {
            self.tell(&transition, sea);
        }
    }

    fn tell(&mut self, transition: &Transition, sea: &mut Sea) {
        let user = &transition.user;
        let (online, last_seen) = match transition.kind {
            TransitionKind::Online { since } => (true, since),
            TransitionKind::Offline { last_seen } => (false, last_seen),
        };
        let record = Record { online, last_seen };
        let holds = self.holds(number_of(user));
        let own = Own {
            boot: self.boot,
            started_ms: self.started_ms,
            draining: self.draining,
            holds,
        };
        sea.ledger
            .told(own, number_of(user), record, (sea.now_ms, sea.weather));
        let at = sea.now_ms + sea.setup.lag_ms;
        self.wanted.push_back((at, user.clone(), record));
    }

    fn check(&self, sea: &mut Sea) {
        let balance = self.flights.core.balance();
        sea.ledger.weighed(self.boot, balance, sea.now_ms);
    }
}
