//! Who may write `/presence`: the process that took the newest epoch of the fence record.
//!
//! The record `{ epoch, owner, nonce }` is changed by compare-and-set only, and the database's
//! rules accept a batch only while the epoch it carries is the record's. So batches of an older
//! epoch, however late they arrive, are void once a newer one is taken.
//!
//! ```text
//!            found()                     found()
//!  outside ──────────▶ Propose ─────────────────▶ Held(e) ──────── doubt() ───────▶ doubted
//!              ▲          │ the record is another's  │ ▲                              │
//!              └──────────┘                          │ └───── found(): Propose(e+1) ──┘
//!                                                    ▼
//!                                    another boot owns the record: Deposed
//! ```
//!
//! Invariant: epochs only rise, and no two records are equal, so a compare-and-set by content
//! knows no ABA (test: `epochs_only_rise_and_are_held_by_one`).
//! Invariant: nobody who was deposed ever proposes again (test: `whoever_is_deposed_stays_so`).

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;

/// The largest epoch that is believed: JSON numbers beyond are not exact in the database's rules.
pub const MAX_EPOCH: u64 = (1 << 53) - 1;

/// What the database holds of the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceRecord {
    /// From 1, at most [`MAX_EPOCH`].
    pub epoch: u64,
    /// The boot that took it; empty for a record that no boot has written.
    pub owner: String,
    /// New for every attempt, so that an attempt whose answer was lost knows itself again.
    pub nonce: u64,
}

/// What follows from reading the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This epoch is ours: batches may carry it.
    Held(u64),
    /// Write this record, if the one read is still there, and read again unless that surely succeeded.
    Propose(FenceRecord),
    /// Another boot came after us. It writes now; we never do again.
    Deposed,
    /// No epoch is left above the record's. Only a person who removes it can help.
    Exhausted,
}

/// One process's claim to the fence.
#[derive(Clone, Debug)]
pub struct Claim {
    boot: String,
    state: State,
    /// Written, but for all we know.
    proposed: Option<FenceRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No epoch was ever held: whoever holds the fence is our predecessor.
    Outside,
    Held(u64),
    /// The last epoch held. A batch that carries it may still be on its way.
    Doubted(u64),
    Deposed,
}

impl Claim {
    pub fn new(boot: String) -> Self {
        Self {
            boot,
            state: State::Outside,
            proposed: None,
        }
    }

    /// The epoch that batches may carry now.
    pub fn epoch(&self) -> Option<u64> {
        match self.state {
            State::Held(epoch) => Some(epoch),
            State::Outside | State::Doubted(_) | State::Deposed => None,
        }
    }

    pub fn is_deposed(&self) -> bool {
        self.state == State::Deposed
    }

    /// The outcome of a batch is unknown: nothing is sent any more under its epoch.
    pub fn doubt(&mut self) {
        if let State::Held(epoch) = self.state {
            self.state = State::Doubted(epoch);
        }
    }

    /// What the record just read means. `nonce` is used should a new epoch be proposed.
    pub fn found(&mut self, record: Option<&FenceRecord>, nonce: u64) -> Verdict {
        let proposed = self.proposed.take();
        let foreign =
            record.is_some_and(|found| !found.owner.is_empty() && found.owner != self.boot);
        let last = match self.state {
            State::Deposed => return Verdict::Deposed,
            State::Held(_) | State::Doubted(_) if foreign => {
                self.state = State::Deposed;
                return Verdict::Deposed;
            }
            State::Held(epoch) if record.is_some_and(|record| record.epoch == epoch) => {
                return Verdict::Held(epoch);
            }
            State::Outside => 0,
            State::Held(epoch) | State::Doubted(epoch) => epoch,
        };
        if let (Some(ours), Some(found)) = (&proposed, record)
            && ours == found
        {
            return self.hold(found.epoch);
        }
        let newest = record.map_or(0, |record| record.epoch).max(last);
        if newest >= MAX_EPOCH {
            return Verdict::Exhausted;
        }
        let next = FenceRecord {
            epoch: newest + 1,
            owner: self.boot.clone(),
            nonce,
        };
        self.proposed = Some(next.clone());
        Verdict::Propose(next)
    }

    /// The proposal surely succeeded.
    pub fn accepted(&mut self, proposal: &FenceRecord) -> Verdict {
        self.proposed = None;
        if self.is_deposed() {
            return Verdict::Deposed;
        }
        self.hold(proposal.epoch)
    }

    fn hold(&mut self, epoch: u64) -> Verdict {
        self.state = State::Held(epoch);
        Verdict::Held(epoch)
    }
}
