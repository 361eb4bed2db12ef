//! What a process reads: who is online and who lives, users in doubt, and now and then everything.

use crate::database::{Answers, Effect, Request, number_of};
use crate::flights::{Flight, Flights, Page};
use crate::sea::{Protection, Sea};
use presence_bridge::domain::mirror::Found;
use presence_bridge::domain::time::UnixMillis;
use std::collections::HashMap;
use std::time::Instant;

/// Users read again in one pass.
const REREAD_USERS: usize = 400;

impl Flights {
    pub(super) fn start_look(&mut self, now: Instant, sea: &mut Sea) -> bool {
        let Some((time, heard)) = self.database_time else {
            return false;
        };
        let since = now.saturating_duration_since(heard).as_millis();
        let time = UnixMillis(time.0 + u64::try_from(since).unwrap_or(u64::MAX));
        self.begin_reading(sea);
        // Two reads, one after the other.
        let plan = sea.database.plan(Request::Look, sea.now_ms);
        let middle = u64::midpoint(sea.now_ms, plan.answered_ms);
        sea.database.at(sea.now_ms, Effect::ReadNodes(self.boot));
        sea.database.at(middle, Effect::ReadOnline(self.boot));
        let answers = Answers {
            nodes: Vec::new(),
            online: Vec::new(),
        };
        self.look = Some(Flight {
            answered_ms: plan.answered_ms,
            outcome: plan.outcome,
            carries: (answers, time),
        });
        true
    }

    fn begin_reading(&mut self, sea: &Sea) {
        self.touched.clear();
        if sea.has(Protection::Touched) {
            self.touched.extend(self.core.flying().cloned());
        }
    }

    pub(super) fn sweep_due(&self) -> Option<Instant> {
        let free = self.page.is_none() && self.look.is_none() && self.drain_until.is_none();
        let settled = self.adopted && self.gate.is_open();
        let sweep = self.sweep.as_ref().filter(|_| free && settled)?;
        Some(sweep.due())
    }

    pub(super) fn start_sweep(&mut self, sea: &mut Sea) {
        let now = sea.instant();
        if self.sweep_due().is_none_or(|due| due > now) {
            return;
        }
        let Some(stretch) = self.sweep.as_mut().and_then(|sweep| sweep.next(now)) else {
            return;
        };
        if stretch.after.is_none() {
            self.core.retry_parked(now);
        }
        self.begin_reading(sea);
        let plan = sea.database.plan(Request::Reread, sea.now_ms);
        let middle = u64::midpoint(sea.now_ms, plan.answered_ms);
        sea.database.at(sea.now_ms, Effect::ReadPage(self.boot));
        sea.database.at(middle, Effect::ReadBeats(self.boot));
        self.page = Some(Flight {
            answered_ms: plan.answered_ms,
            outcome: plan.outcome,
            carries: Page {
                begun_ms: sea.now_ms,
                stretch,
                records: HashMap::new(),
                beats: Vec::new(),
            },
        });
    }

    pub(super) fn start_reread(&mut self, sea: &mut Sea) {
        let now = sea.instant();
        if self.reread_due().is_none_or(|due| due > now) {
            return;
        }
        let rechecks = self.core.next_rechecks(now, REREAD_USERS);
        if rechecks.is_empty() {
            return;
        }
        let plan = sea.database.plan(Request::Reread, sea.now_ms);
        if let Some(at) = plan.lands_ms {
            sea.database.at(at, Effect::ReadAgain(self.boot));
        }
        let unread = rechecks.into_iter().map(|r| (r, Found::Unknown)).collect();
        self.reread = Some(Flight {
            answered_ms: plan.answered_ms,
            outcome: plan.outcome,
            carries: unread,
        });
    }

    /// A read of this process reaches the database.
    pub(crate) fn read(&mut self, effect: &Effect, sea: &Sea) {
        match effect {
            Effect::ReadFence(_) => self.gate.found(sea.database.fence()),
            Effect::ReadNodes(_) => {
                if let Some(look) = &mut self.look {
                    look.carries.0.nodes = sea.database.nodes();
                }
            }
            Effect::ReadOnline(_) => {
                if let Some(look) = &mut self.look {
                    look.carries.0.online = sea.database.online(&sea.names);
                }
            }
            Effect::ReadPage(_) => {
                if let Some(page) = &mut self.page {
                    page.carries.records = sea.database.all(&sea.names);
                }
            }
            Effect::ReadBeats(_) => {
                if let Some(page) = &mut self.page {
                    page.carries.beats = sea.database.nodes();
                }
            }
            Effect::ReadAgain(_) => self.read_again(sea),
            Effect::Commit(_) | Effect::Beat(_) | Effect::Forget(_) | Effect::TakeFence { .. } => {}
        }
    }

    fn read_again(&mut self, sea: &Sea) {
        for (recheck, found) in self.reread.iter_mut().flat_map(|f| &mut f.carries) {
            let record = sea.database.record(number_of(&recheck.user));
            *found = record.map_or(Found::Nothing, Found::Record);
        }
    }
}
