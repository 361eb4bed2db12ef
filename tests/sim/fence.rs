//! Whether batches may be sent, and under which epoch: as `services::mirror` asks, with the
//! product's own claim.

use crate::database::{Boot, Effect, Plan, Request};
use crate::sea::{Protection, Sea};
use presence_bridge::domain::fence::{Claim, FenceRecord, Verdict};
use presence_bridge::domain::mirror::Outcome;
use std::time::Instant;

const MAX_ROUNDS: u8 = 8;

/// With the fence off, open until another process is found to have taken over.
pub(crate) struct Gate {
    claim: Option<Claim>,
    closed: bool,
    due: Option<Instant>,
    pub(crate) refused: bool,
    asking: Option<Asking>,
}

/// A read, or a compare-and-set, of the fence record under way.
struct Asking {
    /// Where there was no compare-and-set, of the read.
    proposal: Option<FenceRecord>,
    plan: Plan,
    found: (Option<FenceRecord>, u64),
    taken: bool,
    round: u8,
}

/// What asking came to.
#[derive(Debug)]
pub(crate) enum End {
    Held { before: Option<u64>, epoch: u64 },
    Deposed,
    Missed(Outcome),
}

impl Gate {
    pub(crate) fn new(boot: Boot, sea: &Sea) -> Self {
        let on = sea.setup.fence;
        Self {
            claim: on.then(|| Claim::new(format!("boot{boot}"))),
            closed: false,
            due: on.then(|| sea.instant()),
            refused: false,
            asking: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        match &self.claim {
            None => !self.closed,
            Some(claim) => claim.epoch().is_some() && self.due.is_none() && self.asking.is_none(),
        }
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn is_deposed(&self) -> bool {
        self.closed || self.claim.as_ref().is_some_and(Claim::is_deposed)
    }

    pub(crate) fn epoch(&self) -> Option<u64> {
        self.claim.as_ref()?.epoch()
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.asking.is_none() && self.due.is_none()
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.asking.is_none())
    }

    pub(crate) fn answered_ms(&self) -> Option<u64> {
        self.asking.as_ref().map(|asking| asking.plan.answered_ms)
    }

    /// How a batch ended, and what that means behind the fence.
    pub(crate) fn judge(&mut self, outcome: Outcome, sea: &Sea) -> Outcome {
        let Some(claim) = &mut self.claim else {
            return outcome;
        };
        match outcome {
            Outcome::Ambiguous if sea.has(Protection::NewEpoch) => {
                claim.doubt();
                self.due = Some(sea.instant());
                Outcome::Barred
            }
            Outcome::Ambiguous => Outcome::Barred,
            Outcome::Denied => {
                self.refused = true;
                self.due = Some(sea.instant());
                Outcome::NotSent
            }
            Outcome::Written
            | Outcome::NotSent
            | Outcome::Barred
            | Outcome::Busy { .. }
            | Outcome::BadData => outcome,
        }
    }

    pub(crate) fn ask(&mut self, boot: Boot, sea: &mut Sea) {
        self.read(boot, 0, sea);
    }

    fn read(&mut self, boot: Boot, round: u8, sea: &mut Sea) {
        let plan = sea.database.plan(Request::Fence, sea.now_ms);
        if let Some(at) = plan.lands_ms {
            sea.database.at(at, Effect::ReadFence(boot));
        }
        self.asking = Some(Asking {
            proposal: None,
            plan,
            found: (None, 0),
            taken: false,
            round,
        });
    }

    fn take(&mut self, proposal: FenceRecord, read: &Asking, boot: Boot, sea: &mut Sea) {
        let plan = sea.database.plan(Request::Take, sea.now_ms);
        if let Some(at) = plan.lands_ms {
            let (record, tag) = (proposal.clone(), read.found.1);
            sea.database.at(at, Effect::TakeFence { boot, record, tag });
        }
        self.asking = Some(Asking {
            proposal: Some(proposal),
            plan,
            found: (None, 0),
            taken: false,
            round: read.round,
        });
    }

    /// The read reached the database.
    pub(crate) fn found(&mut self, found: (Option<FenceRecord>, u64)) {
        if let Some(asking) = &mut self.asking
            && asking.proposal.is_none()
        {
            asking.found = found;
        }
    }

    /// The compare-and-set reached the database, and was the one that is waited for.
    pub(crate) fn taken(&mut self, record: &FenceRecord) {
        if let Some(asking) = &mut self.asking
            && asking.proposal.as_ref() == Some(record)
        {
            asking.taken = true;
        }
    }

    /// The answer, if its time has come: the end of asking, or the next request.
    pub(crate) fn receive(&mut self, boot: Boot, sea: &mut Sea) -> Option<End> {
        let now_ms = sea.now_ms;
        let asked = self
            .asking
            .take_if(|asking| asking.plan.answered_ms <= now_ms)?;
        let claim = self.claim.as_mut()?;
        let before = claim.epoch();
        let Some(proposal) = &asked.proposal else {
            if asked.plan.outcome != Outcome::Written {
                return Some(End::Missed(Outcome::NotSent));
            }
            return match claim.found(asked.found.0.as_ref(), sea.dice.next()) {
                Verdict::Held(epoch) => Some(End::Held { before, epoch }),
                Verdict::Deposed => Some(End::Deposed),
                Verdict::Exhausted => Some(End::Missed(Outcome::Denied)),
                Verdict::Propose(proposal) => {
                    self.take(proposal, &asked, boot, sea);
                    None
                }
            };
        };
        match asked.plan.outcome {
            Outcome::Written if asked.taken => match claim.accepted(proposal) {
                Verdict::Held(epoch) => Some(End::Held { before, epoch }),
                Verdict::Propose(_) | Verdict::Deposed | Verdict::Exhausted => Some(End::Deposed),
            },
            Outcome::Written | Outcome::Ambiguous if asked.round + 1 < MAX_ROUNDS => {
                self.read(boot, asked.round + 1, sea);
                None
            }
            Outcome::Written | Outcome::Ambiguous => Some(End::Missed(Outcome::NotSent)),
            outcome @ (Outcome::NotSent
            | Outcome::Barred
            | Outcome::Busy { .. }
            | Outcome::BadData
            | Outcome::Denied) => Some(End::Missed(outcome)),
        }
    }

    pub(crate) fn settle(&mut self) {
        self.due = None;
    }
}
