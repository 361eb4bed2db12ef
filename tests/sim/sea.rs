//! What all processes of a history share: time, the database, and the ledger of what was seen.

use crate::database::{Database, EPOCH_MS, name};
use crate::dice::Dice;
use crate::history::{History, Setup, USERS, Weather};
use crate::ledger::Ledger;
use presence_bridge::domain::ids::UserId;
use presence_bridge::domain::time::{Moment, UnixMillis};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Room for clocks that are set back.
const MARGIN_MS: u64 = 1_000_000_000;

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant cannot be made from nothing; nothing depends on when this one is"
)]
static DAWN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What keeps a bridge right. The simulation alone can take one away, to see that it is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Grace,
    /// Adopted users have a while to come back after the start.
    StartGrace,
    /// Whoever is adopted late has a whole grace to come back.
    LateGrace,
    /// Users who were left online by a dead process are adopted.
    Adoption,
    /// Nobody is adopted while the process that serves them lives.
    Heartbeats,
    /// After another process has ended, what is believed is compared with what is there.
    Comparison,
    /// A failed write is repeated, with what is wanted then.
    LevelTriggered,
    /// A write without an answer is not taken for one without effect: its users are read again.
    Doubt,
    /// While a look is under way, it is remembered who was written meanwhile.
    Touched,
    /// Now and then the database is compared with the truth.
    Sweep,
    /// The database's rules refuse batches of an older epoch.
    Rules,
    /// After a write without an answer, a new epoch bars it.
    NewEpoch,
    /// Deadlines follow a clock that never jumps.
    Monotonic,
}

pub(crate) struct Sea {
    pub(crate) now_ms: u64,
    /// How far the bridges' wall clock has jumped.
    pub(crate) jumped_ms: i64,
    pub(crate) weather: Weather,
    pub(crate) setup: Setup,
    without: Option<Protection>,
    pub(crate) database: Database,
    pub(crate) ledger: Ledger,
    pub(crate) names: Vec<UserId>,
    pub(crate) dice: Dice,
}

impl Sea {
    pub(crate) fn new(history: &History, without: Option<Protection>) -> Self {
        Self {
            now_ms: 0,
            jumped_ms: 0,
            weather: history.weather,
            setup: history.setup,
            without,
            database: Database::new(history.setup, history.seed),
            ledger: Ledger::default(),
            names: (0..USERS).map(name).collect(),
            dice: Dice::new(history.seed.rotate_left(32)),
        }
    }

    pub(crate) fn has(&self, protection: Protection) -> bool {
        self.without != Some(protection)
    }

    /// The bridges' clock.
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            instant: self.instant(),
            unix: UnixMillis((EPOCH_MS + self.now_ms).saturating_add_signed(self.jumped_ms)),
        }
    }

    pub(crate) fn instant(&self) -> Instant {
        let ms = (MARGIN_MS + self.now_ms).saturating_add_signed(self.slip_ms());
        *DAWN + Duration::from_millis(ms)
    }

    /// When this will be, never before it.
    pub(crate) fn ms_of(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(*DAWN);
        let rounded = since.as_nanos().div_ceil(1_000_000);
        let ms = u64::try_from(rounded).unwrap_or(u64::MAX);
        ms.saturating_add_signed(-self.slip_ms())
            .saturating_sub(MARGIN_MS)
    }

    fn slip_ms(&self) -> i64 {
        if self.has(Protection::Monotonic) {
            0
        } else {
            self.jumped_ms
        }
    }
}
