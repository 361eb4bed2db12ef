//! How long a connection's token counts.

use crate::domain::time::{Moment, UnixMillis};
use crate::services::ports::Identity;
use std::time::{Duration, Instant};

/// Fixed when the token is verified, by the clock that never jumps: a step of the wall clock ends
/// nobody's session and prolongs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// As the token says it.
    expires_at: UnixMillis,
    /// Leeway included.
    accepted_until: Instant,
}

impl Term {
    pub(crate) fn of(identity: &Identity, leeway: Duration, now: Moment) -> Self {
        let expires_at = identity.expires_at;
        let overdue = Duration::from_millis(now.unix.0.saturating_sub(expires_at.0));
        let left = Duration::from_millis(expires_at.0.saturating_sub(now.unix.0));
        Self {
            expires_at,
            accepted_until: now.instant + left + leeway.saturating_sub(overdue),
        }
    }

    /// A token that ends with the present one, handed in again, wins no time.
    pub(crate) fn renewed_by(self, newer: Self) -> Self {
        if newer.expires_at == self.expires_at {
            self
        } else {
            newer
        }
    }

    /// Until the token is no longer accepted.
    pub(crate) fn left(self, now: Instant) -> Duration {
        self.accepted_until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;
    use crate::domain::time::invented::{at, instant};

    const LEEWAY: Duration = Duration::from_mins(1);

    fn term(expires_at: u64, now: Moment) -> Term {
        let identity = Identity {
            user: UserId::parse("ann").unwrap(),
            expires_at: UnixMillis(expires_at),
        };
        Term::of(&identity, LEEWAY, now)
    }

    #[test]
    fn a_token_counts_to_its_end_and_the_leeway_whatever_the_wall_clock_does_later() {
        let term = term(100_000, at(40_000));
        assert_eq!(term.left(instant(40_000)), Duration::from_mins(2));
        assert_eq!(term.left(instant(159_999)), Duration::from_millis(1));
        assert_eq!(term.left(instant(200_000)), Duration::ZERO);
    }

    #[test]
    fn of_a_token_let_in_within_the_leeway_only_the_rest_of_it_is_left() {
        let term = term(100_000, at(130_000));
        assert_eq!(term.left(instant(130_000)), Duration::from_secs(30));
    }

    #[test]
    fn the_same_end_handed_in_after_the_clock_was_set_back_wins_nothing() {
        let first = term(100_000, at(90_000));
        let set_back = Moment {
            unix: UnixMillis(0),
            ..at(95_000)
        };
        assert_eq!(first.renewed_by(term(100_000, set_back)), first);
        let fresh = term(200_000, at(95_000));
        assert_eq!(first.renewed_by(fresh), fresh);
    }
}
