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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protections {
    pub(crate) grace: bool,
    /// Adopted users have the start grace to come back.
    pub(crate) start_grace: bool,
    /// Users who were left online by a dead process are adopted.
    pub(crate) adoption: bool,
    /// Nobody is adopted while the process that serves them lives.
    pub(crate) heartbeats: bool,
    /// After another process has ended, what is believed is compared with what is there.
    pub(crate) comparison: bool,
    /// A failed write is repeated.
    pub(crate) level_triggered: bool,
    /// A write without an answer is not taken for one without effect: its users are read again.
    pub(crate) doubt: bool,
    /// After a write without an answer, a new epoch bars it.
    pub(crate) new_epoch: bool,
    /// The database's rules refuse batches of an older epoch.
    pub(crate) rules: bool,
    /// Whoever is adopted late has a whole grace to come back.
    pub(crate) late_grace: bool,
    /// Now and then the database is compared with the truth.
    pub(crate) sweep: bool,
    /// Deadlines follow a clock that never jumps.
    pub(crate) monotonic: bool,
}

impl Protections {
    pub(crate) const ALL: Self = Self {
        grace: true,
        start_grace: true,
        adoption: true,
        heartbeats: true,
        comparison: true,
        level_triggered: true,
        doubt: true,
        new_epoch: true,
        rules: true,
        late_grace: true,
        sweep: true,
        monotonic: true,
    };
}

pub(crate) struct Sea {
    pub(crate) now_ms: u64,
    /// How far the bridges' wall clock has jumped.
    pub(crate) jumped_ms: i64,
    pub(crate) weather: Weather,
    pub(crate) setup: Setup,
    pub(crate) protections: Protections,
    pub(crate) database: Database,
    pub(crate) ledger: Ledger,
    pub(crate) names: Vec<UserId>,
    pub(crate) dice: Dice,
}

impl Sea {
    pub(crate) fn new(history: &History, protections: Protections) -> Self {
        Self {
            now_ms: 0,
            jumped_ms: 0,
            weather: history.weather,
            setup: history.setup,
            protections,
            database: Database::new(history.setup, history.seed),
            ledger: Ledger::default(),
            names: (0..USERS).map(name).collect(),
            dice: Dice::new(history.seed.rotate_left(32)),
        }
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
        if self.protections.monotonic {
            0
        } else {
            self.jumped_ms
        }
    }
}
