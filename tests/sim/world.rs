//! One history, from its first step until nothing moves any more.

use crate::bridge::{Bridge, Device};
use crate::database::{Effect, Landing};
use crate::history::{DEVICES, History, USERS, Weather, What};
use crate::ledger::{Figures, Promise, Violation};
use crate::sea::{Protection, Sea};
use presence_bridge::domain::ids::ConnectionId;

/// Everything is over by then: graces, back-offs, pauses, re-reads, the age of a dead heartbeat.
const REST_MS: u64 = 3_600_000;
/// A connected user is shown within the flush window and a few slow requests.
const SHOWN_WITHIN_MS: u64 = 4_000;
/// More events than this at one instant are a loop without end.
const MOST_EVENTS_AT_ONCE: u32 = 10_000;

struct World {
    sea: Sea,
    /// The oldest first.
    bridges: Vec<Bridge>,
    boots: usize,
    connections: u64,
    /// The last time that a batch landed.
    committed_ms: Option<u64>,
    /// To which process each device believes to be connected.
    devices: [[Option<usize>; DEVICES]; USERS],
}

/// Runs a history; the same one always ends the same way.
pub(crate) fn run(history: &History, without: Option<Protection>) -> Result<Figures, Violation> {
    let mut world = World {
        sea: Sea::new(history, without),
        bridges: Vec::new(),
        boots: 0,
        connections: 0,
        committed_ms: None,
        devices: [[None; DEVICES]; USERS],
    };
    for step in &history.steps {
        world.advance(step.at_ms)?;
        world.happen(step.what);
        world.look()?;
    }
    world.come_to_rest()?;
    world.check_the_end();
    world.judge()?;
    let ledger = &mut world.sea.ledger;
    ledger.close();
    ledger.figures.histories = 1;
    ledger.figures.steps = history.steps.len() as u64;
    Ok(ledger.figures)
}

impl World {
    fn advance(&mut self, until_ms: u64) -> Result<(), Violation> {
        let mut at_once = 0;
        while let Some(next) = self.next_event().filter(|next| *next <= until_ms) {
            at_once = if next > self.sea.now_ms {
                0
            } else {
                at_once + 1
            };
            if at_once > MOST_EVENTS_AT_ONCE {
                let detail = "a process does nothing, again and again";
                self.sea.ledger.breaks(Promise::Rest, next, detail);
            }
            self.sea.now_ms = next.max(self.sea.now_ms);
            self.happen_in_database();
            for bridge in &mut self.bridges {
                let due = bridge.wake_ms(&self.sea);
                if due.is_some_and(|due| due <= self.sea.now_ms) {
                    bridge.wake(&mut self.sea);
                }
            }
            self.drain();
            self.bury_the_drained();
            self.look()?;
        }
        self.sea.now_ms = until_ms.max(self.sea.now_ms);
        Ok(())
    }

    fn next_event(&self) -> Option<u64> {
        let bridges = self.bridges.iter().filter_map(|b| b.wake_ms(&self.sea));
        bridges.chain(self.sea.database.next_effect()).min()
    }

    fn happen_in_database(&mut self) {
        let now_ms = self.sea.now_ms;
        while let Some(effect) = self.sea.database.take_effect(now_ms) {
            match effect {
                Effect::Commit(batch) => self.land(batch),
                Effect::TakeFence { boot, record, tag } => {
                    if self.sea.database.take_fence(&record, tag)
                        && let Some(bridge) = self.alive(boot)
                    {
                        bridge.flights.gate.taken(&record);
                    }
                }
                Effect::Beat(process) => self.sea.database.beat(process, now_ms),
                Effect::Forget(process) => self.sea.database.forget(&process),
                Effect::ReadNodes(boot)
                | Effect::ReadOnline(boot)
                | Effect::ReadAgain(boot)
                | Effect::ReadPage(boot)
                | Effect::ReadBeats(boot)
                | Effect::ReadFence(boot) => {
                    let mut alive = self.bridges.iter_mut();
                    if let Some(bridge) = alive.find(|bridge| bridge.boot == boot) {
                        bridge.flights.read(&effect, &self.sea);
                    }
                }
            }
        }
    }

    fn land(&mut self, batch: Landing) {
        let (boot, number, records) = (batch.boot, batch.number, batch.records.len());
        let rules = self.sea.has(Protection::Rules);
        if self.sea.database.commit(batch, rules) {
            self.sea.ledger.committed(records);
            self.committed_ms = Some(self.sea.now_ms);
        } else {
            self.sea.ledger.figures.refused += 1;
            if let Some(bridge) = self.alive(boot) {
                bridge.flights.is_refused(number);
            }
        }
    }

    fn alive(&mut self, boot: usize) -> Option<&mut Bridge> {
        self.bridges.iter_mut().find(|bridge| bridge.boot == boot)
    }

    /// Those told to, and those deposed: they leave all to the one that has taken over.
    fn drain(&mut self) {
        let mut ended = Vec::new();
        for bridge in &mut self.bridges {
            let deposed = bridge.flights.gate.is_deposed().then_some(true);
            let Some(handover) = deposed.or(bridge.told_to_drain) else {
                continue;
            };
            if !bridge.draining && bridge.is_awake(&self.sea) {
                bridge.drain(handover, &mut self.sea);
                ended.push(bridge.boot);
            }
        }
        for boot in ended {
            self.cut_off(boot);
        }
    }

    fn bury_the_drained(&mut self) {
        let sea = &mut self.sea;
        self.bridges.retain_mut(|bridge| {
            let over = bridge.draining && bridge.is_awake(sea) && bridge.flights.is_drained(sea);
            if over {
                bridge.flights.say_farewell(sea);
            }
            !over
        });
    }

    fn happen(&mut self, what: What) {
        let now_ms = self.sea.now_ms;
        match what {
            What::Connect { user, device } => self.connect(user, device),
            What::Disconnect { user, device } => self.disconnect(user, device),
            What::Start => {
                self.bridges.push(Bridge::start(self.boots, &mut self.sea));
                self.boots += 1;
            }
            What::Kill { oldest } => self.kill(oldest),
            What::Drain { handover } => self.drain_the_oldest(handover),
            What::Suspend { ms } => {
                if let Some(newest) = self.bridges.last_mut() {
                    newest.stop_until(now_ms + ms, &self.sea);
                }
            }
            What::Clock { ms } => self.sea.jumped_ms += ms,
            What::Write(fate) => self.sea.database.write_fates.push_back(fate),
            What::Beat(fate) => self.sea.database.beat_fates.push_back(fate),
            What::Take(fate) => self.sea.database.take_fates.push_back(fate),
            What::LookFails => self.sea.database.looks_to_fail += 1,
            What::RereadFails => self.sea.database.rereads_to_fail += 1,
            What::Outage { ms, hangs } => self.sea.database.outage = Some((now_ms + ms, hangs)),
        }
    }

    /// A device asks for a connection; nobody there means that it must try again.
    fn connect(&mut self, user: usize, device: usize) {
        if self.devices[user][device].is_some() {
            return;
        }
        let serving = self.bridges.iter_mut().filter(|bridge| bridge.serves());
        let mut serving: Vec<_> = serving.collect();
        let to_the_oldest = self.sea.setup.spread && device > 0;
        let bridge = if to_the_oldest {
            serving.into_iter().next()
        } else {
            serving.pop()
        };
        if let Some(bridge) = bridge {
            self.connections += 1;
            self.devices[user][device] = Some(bridge.boot);
            let number = device;
            let connection = ConnectionId(self.connections);
            bridge.opens(Device { user, number }, connection, &mut self.sea);
        }
    }

    fn disconnect(&mut self, user: usize, device: usize) {
        let boot = self.devices[user][device].take();
        let mut alive = self.bridges.iter_mut();
        if let Some(bridge) = alive.find(|bridge| Some(bridge.boot) == boot) {
            let number = device;
            bridge.closes(Device { user, number }, &mut self.sea);
        }
    }

    fn kill(&mut self, oldest: bool) {
        let place = if oldest {
            0
        } else {
            self.bridges.len().saturating_sub(1)
        };
        if self.bridges.get(place).is_some() {
            let mut bridge = self.bridges.remove(place);
            bridge.die(&mut self.sea);
            self.cut_off(bridge.boot);
        }
    }

    /// The oldest that is not draining already, unless it is the only one.
    fn drain_the_oldest(&mut self, handover: bool) {
        let serving = self.bridges.iter_mut();
        let mut serving: Vec<_> = serving.filter(|bridge| bridge.serves()).collect();
        if serving.len() > 1 {
            serving[0].told_to_drain = Some(handover);
        }
        self.drain();
    }

    fn cut_off(&mut self, boot: usize) {
        for device in self.devices.iter_mut().flatten() {
            device.take_if(|connected| *connected == boot);
        }
    }

    /// Checks what must hold at every moment.
    fn look(&mut self) -> Result<(), Violation> {
        let bound_ms = match self.sea.weather {
            Weather::Calm | Weather::Crashes => SHOWN_WITHIN_MS,
            // Two processes that overlap: measured, not promised.
            Weather::Deploys => u64::MAX,
            Weather::Faults | Weather::Storm => return self.judge(),
        };
        let now_ms = self.sea.now_ms;
        for user in 0..USERS {
            let online = self.sea.database.shows_online(user);
            self.sea.ledger.shown(user, online, now_ms, bound_ms);
        }
        self.judge()
    }

    fn judge(&mut self) -> Result<(), Violation> {
        self.sea.ledger.violation.take().map_or(Ok(()), Err)
    }

    /// No more steps, and a healthy database; the newest process remains alone.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        self.sea.database.recover();
        for bridge in &mut self.bridges {
            bridge.resume(&mut self.sea);
        }
        self.look()?;
        if !self.bridges.iter().any(Bridge::serves) {
            self.happen(What::Start);
        }
        for _ in 1..self.bridges.len() {
            self.drain_the_oldest(false);
        }
        let end_ms = self.sea.now_ms + REST_MS;
        while !self.is_quiet() {
            if self.bridges.is_empty() {
                self.happen(What::Start);
            }
            let Some(next) = self.next_event().filter(|next| *next <= end_ms) else {
                let detail = "there is still something to do";
                self.sea.ledger.breaks(Promise::Rest, end_ms, detail);
                return self.judge();
            };
            self.advance(next)?;
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        let [bridge] = self.bridges.as_slice() else {
            return false;
        };
        let swept = bridge.flights.swept_ms >= self.committed_ms;
        let needs_a_sweep = self.sea.weather == Weather::Storm && self.sea.has(Protection::Sweep);
        let settled = bridge.is_quiet(&self.sea) && !self.sea.database.expects_a_commit();
        settled && (swept || !needs_a_sweep)
    }

    fn check_the_end(&mut self) {
        let now_ms = self.sea.now_ms;
        let mut wrong = Vec::new();
        for user in 0..USERS {
            let online = self.sea.ledger.is_connected(user);
            let record = self.sea.database.record(user);
            if self.sea.database.shows_online(user) != online {
                wrong.push(format!("u{user}: connected = {online}, found {record:?}"));
            }
            let departure = self.sea.ledger.last_departure(user);
            let one_saw_it_all = matches!(self.sea.weather, Weather::Calm | Weather::Faults);
            if one_saw_it_all && !online && record.map(|r| r.last_seen) != departure {
                let detail = format!("u{user} left at {departure:?}, found {record:?}");
                self.sea
                    .ledger
                    .breaks(Promise::LastTransition, now_ms, detail);
            }
        }
        if !wrong.is_empty()
            && self.sea.weather == Weather::Storm
            && !self.sea.has(Protection::Sweep)
        {
            self.sea.ledger.figures.left_to_the_sweep += 1;
        } else if !wrong.is_empty() {
            let detail = wrong.join("; ");
            self.sea.ledger.breaks(Promise::Convergence, now_ms, detail);
        }
        for bridge in &self.bridges {
            if !bridge.remembers_only(bridge.online()) {
                let detail = "somebody who is gone is remembered, or somebody here is not";
                self.sea.ledger.breaks(Promise::Memory, now_ms, detail);
            }
            let balance = bridge.flights.core.balance();
            if balance.pending + balance.parked > 0 {
                let detail = format!("at rest with {balance:?}");
                self.sea.ledger.breaks(Promise::Balance, now_ms, detail);
            }
        }
    }
}
