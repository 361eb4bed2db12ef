//! What the answer of a request means to a process: the other half of [`crate::flights`].

use crate::database::{Answers, BEAT_MS, Effect, Request, number_of};
use crate::fence::End;
use crate::flights::{Flight, Flights, Page};
use crate::sea::{Protection, Sea};
use futures_util::FutureExt;
use presence_bridge::domain::mirror::{Found, Limits, Outcome, Passage, Recheck};
use presence_bridge::domain::time::UnixMillis;
use presence_bridge::services::mirror::{Adoption, Known, Process, adopt};
use presence_bridge::services::ports::NodeBeat;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Whoever is not heard of for so long counts as dead.
const SILENCE_MS: u64 = 3 * BEAT_MS;

impl Flights {
    /// Every answer whose time has come.
    pub(crate) fn receive(&mut self, sea: &mut Sea) {
        let now_ms = sea.now_ms;
        let now = sea.instant();
        if let Some(flight) = self.write.take_if(|f| f.answered_ms <= now_ms) {
            self.settle(flight.outcome, now, sea);
        }
        if let Some(flight) = self.beat.take_if(|f| f.answered_ms <= now_ms) {
            self.beaten(flight.outcome, flight.carries, now, sea);
        }
        if let Some(flight) = self.look.take_if(|f| f.answered_ms <= now_ms) {
            self.looked(flight, now, sea);
        }
        if let Some(flight) = self.page.take_if(|f| f.answered_ms <= now_ms) {
            self.swept(flight, now, sea);
        }
        if let Some(end) = self.gate.receive(self.boot, sea) {
            self.fenced(&end, now, sea);
        }
        if let Some(flight) = self.reread.take_if(|f| f.answered_ms <= now_ms) {
            self.reread(&flight.carries, now, sea);
        }
        if let Some(flight) = self.burial.take_if(|f| f.answered_ms <= now_ms)
            && flight.outcome != Outcome::Written
        {
            self.next_look.get_or_insert(now + LOOK_AGAIN);
        }
    }

    fn settle(&mut self, outcome: Outcome, now: Instant, sea: &mut Sea) {
        let outcome = self.gate.judge(outcome, sea);
        let seen = match outcome {
            _ if !sea.has(Protection::LevelTriggered) => Outcome::Written,
            Outcome::Ambiguous if !sea.has(Protection::Doubt) => Outcome::NotSent,
            Outcome::Written
            | Outcome::NotSent
            | Outcome::Ambiguous
            | Outcome::Barred
            | Outcome::Busy { .. }
            | Outcome::BadData
            | Outcome::Denied => outcome,
        };
        self.core.settle(seen, now, sea.dice.fraction());
    }

    fn beaten(&mut self, outcome: Outcome, time: UnixMillis, now: Instant, sea: &mut Sea) {
        if outcome == Outcome::Written {
            let before = self.database_time.replace((time, now));
            if before.is_none() {
                self.next_look = Some(now).filter(|_| sea.has(Protection::Adoption));
                self.tried |= !sea.has(Protection::Adoption);
            }
            self.last_sign = Some(now);
            let gap = before.map_or(0, |(before, _)| time.0.saturating_sub(before.0));
            if gap >= SILENCE_MS {
                self.doubt_life(now, sea);
            }
            self.next_beat = Some(now + Duration::from_millis(BEAT_MS));
            self.core.reached(now);
            return;
        }
        self.tried = true;
        let refused = outcome == Outcome::Denied;
        if refused {
            let pause = Limits::default().denied_pause;
            self.next_beat = self.next_beat.map(|_| now + pause);
        }
        self.missed(outcome, refused, now, sea);
    }

    fn looked(&mut self, flight: Flight<(Answers, UnixMillis)>, now: Instant, sea: &mut Sea) {
        self.tried = true;
        if flight.outcome != Outcome::Written {
            return self.missed(Outcome::NotSent, false, now, sea);
        }
        self.core.reached(now);
        let (mut answers, time) = flight.carries;
        if !sea.has(Protection::Heartbeats) {
            answers.nodes.clear();
        }
        let known = Known {
            waited_for: self.waited_for.clone(),
            doubtful: self.doubtful,
        };
        let decided = adopt(&answers, &self.me, time, &known).now_or_never();
        if let Some(Ok(adoption)) = decided {
            self.take_over(adoption, now, sea);
        }
    }

    fn missed(&mut self, outcome: Outcome, refused: bool, now: Instant, sea: &mut Sea) {
        if !refused || self.core.blocked_until().is_some() {
            self.core.missed(outcome, now, sea.dice.fraction());
        }
    }

    pub(super) fn mind_silence(&mut self, now: Instant, sea: &Sea) {
        let silence = self.last_sign.map(|at| now.saturating_duration_since(at));
        if silence.is_some_and(|silence| silence >= Duration::from_millis(SILENCE_MS)) {
            self.doubt_life(now, sea);
        }
    }

    fn doubt_life(&mut self, now: Instant, sea: &Sea) {
        if !self.doubtful && !sea.setup.fence && self.adopted {
            self.doubtful = true;
            self.look = None;
            self.page = None;
            self.next_look = Some(now);
        }
    }

    fn take_over(&mut self, adoption: Adoption, now: Instant, sea: &mut Sea) {
        if std::mem::take(&mut self.doubtful) {
            self.last_sign = Some(now);
            if !adoption.others.is_subset(&self.waited_for) {
                self.gate.close();
                return self.step_down();
            }
        }
        if self.drain_until.is_some() {
            self.next_look = None;
            return;
        }
        if let Some(online) = &adoption.online
            && sea.has(Protection::Comparison)
        {
            self.core.compare(online, &self.touched, now);
        }
        for found in adoption.users {
            let taken = if self.touched.contains(&found.user) {
                false
            } else if found.foreign {
                self.core.claim(&found.user, found.record, now)
            } else {
                self.core.adopt(&found.user, found.record)
            };
            if taken {
                let user = number_of(&found.user);
                sea.ledger.taken_over(self.boot, user, found.record);
                self.outgoing.push((found.user, found.last_seen));
            }
        }
        self.touched.clear();
        self.bury(adoption.dead, sea);
        self.next_look = (!adoption.others.is_empty()).then(|| now + LOOK_AGAIN);
        self.waited_for = adoption.others;
        self.adopted = true;
    }

    fn swept(&mut self, flight: Flight<Page>, now: Instant, sea: &mut Sea) {
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        if flight.outcome != Outcome::Written {
            sweep.failed();
            return self.missed(Outcome::NotSent, false, now, sea);
        }
        let Page {
            begun_ms,
            stretch,
            records,
            beats,
        } = flight.carries;
        let is_me = |beat: &NodeBeat| beat.node == self.me.node && beat.boot == self.me.boot;
        let others = !beats.iter().all(is_me);
        if others {
            self.next_look.get_or_insert(now + LOOK_AGAIN);
        }
        let alone = !others && self.waited_for.is_empty();
        let children = records.len();
        let passage = Passage {
            after: stretch.after,
            through: None,
            records,
        };
        let corrected = self.core.sweep(&passage, &self.touched, alone, now);
        sea.ledger.swept(corrected, sea.now_ms, sea.weather);
        sweep.passed(children, children * 80, None, now);
        self.swept_ms = Some(begun_ms);
        self.touched.clear();
    }

    fn bury(&mut self, dead: BTreeSet<Process>, sea: &mut Sea) {
        if dead.is_empty() || self.burial.is_some() {
            return;
        }
        let plan = sea.database.plan(Request::Other, sea.now_ms);
        if let Some(at) = plan.lands_ms {
            for process in dead {
                sea.database.at(at, Effect::Forget(process));
            }
        }
        self.burial = Some(Flight {
            answered_ms: plan.answered_ms,
            outcome: plan.outcome,
            carries: (),
        });
    }

    fn reread(&mut self, found: &[(Recheck, Found)], now: Instant, sea: &mut Sea) {
        for (recheck, found) in found {
            if self.core.observe(recheck, *found, now) {
                sea.ledger.put_right();
            }
        }
        if found.iter().any(|(_, found)| *found == Found::Unknown) {
            self.missed(Outcome::NotSent, false, now, sea);
        }
    }

    fn fenced(&mut self, end: &End, now: Instant, sea: &mut Sea) {
        match *end {
            End::Held { before, epoch } => {
                self.gate.settle();
                let refused = std::mem::take(&mut self.gate.refused);
                if before == Some(epoch) && refused {
                    self.fence_missed(Outcome::Denied, now, sea);
                } else if before != Some(epoch) {
                    self.begin_epoch(now);
                }
            }
            End::Deposed => self.step_down(),
            End::Missed(outcome) => self.fence_missed(outcome, now, sea),
        }
    }

    fn begin_epoch(&mut self, now: Instant) {
        self.core.reached(now);
        self.waited_for.clear();
        if self.drain_until.is_none() && self.database_time.is_some() {
            self.look = None;
            self.page = None;
            self.next_look = Some(now);
        }
    }

    fn step_down(&mut self) {
        self.gate.settle();
        self.next_look = None;
        self.look = None;
        self.reread = None;
        self.page = None;
        self.burial = None;
        self.tried = true;
    }

    fn fence_missed(&mut self, outcome: Outcome, now: Instant, sea: &mut Sea) {
        self.core.missed(outcome, now, sea.dice.fraction());
        self.tried = true;
    }
}
