//! The log of the clients against the commits of the database: what was promised, and what was so.

use super::journal::Commit;
use super::swarm::{Seen, What};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A commit may have been under way while the other side changed its mind.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// As exact as `lastSeen` is.
const MILLISECOND: Duration = Duration::from_millis(1);

/// What the checker found. All of it is empty in a run that keeps its promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// I1: users whose record is not as it should be, now that all is quiet.
    pub wrong_at_rest: BTreeSet<String>,
    /// I2: offline was committed for users who came back within the grace.
    pub flaps: BTreeSet<String>,
    /// I5: offline was committed for users who were connected.
    pub false_offline: BTreeSet<String>,
}

/// Everybody who has a connection at the end of the log.
pub(crate) fn connected(seen: &[Seen]) -> BTreeSet<String> {
    let mut open: BTreeMap<&str, i64> = BTreeMap::new();
    for Seen { user, what, .. } in seen {
        *open.entry(user).or_default() += match what {
            What::Came => 1,
            What::Gone => -1,
        };
    }
    let open = open.into_iter().filter(|(_, count)| *count > 0);
    open.map(|(user, _)| user.to_owned()).collect()
}

/// The times in which each user had a connection; the last may be open.
pub(crate) fn presences(seen: &[Seen]) -> BTreeMap<String, Vec<(Instant, Option<Instant>)>> {
    let mut open: BTreeMap<&str, i64> = BTreeMap::new();
    let mut times: BTreeMap<String, Vec<(Instant, Option<Instant>)>> = BTreeMap::new();
    for Seen { at, user, what } in seen {
        let count = open.entry(user).or_default();
        let times = times.entry(user.clone()).or_default();
        match what {
            What::Came => {
                if *count == 0 {
                    times.push((*at, None));
                }
                *count += 1;
            }
            What::Gone => {
                *count -= 1;
                if *count == 0
                    && let Some((_, end)) = times.last_mut()
                {
                    *end = Some(*at);
                }
            }
        }
    }
    times
}

/// Of whom the database says now what is not so.
pub(crate) fn wrong(seen: &[Seen], is_online: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let here = connected(seen);
    let everybody: BTreeSet<&String> = seen.iter().map(|seen| &seen.user).collect();
    let wrong = everybody
        .into_iter()
        .filter(|user| is_online(user) != here.contains(*user));
    wrong.cloned().collect()
}

/// Holds the commits against the log. `is_online` is what the database says now, at rest.
pub(crate) fn check(
    seen: &[Seen],
    commits: &[Commit],
    grace: Duration,
    is_online: impl Fn(&str) -> bool,
) -> Findings {
    let mut findings = Findings {
        wrong_at_rest: wrong(seen, is_online),
        ..Findings::default()
    };
    let presences = presences(seen);
    for commit in commits.iter().filter(|commit| !commit.online) {
        let Commit { at, user, .. } = commit;
        let Some(times) = presences.get(user) else {
            continue;
        };
        let connected = times
            .iter()
            .any(|(from, to)| *from + UNDER_WAY < *at && to.is_none_or(|to| to > *at));
        if connected {
            findings.false_offline.insert(user.clone());
        }
        if is_flap(times, commit, grace) {
            findings.flaps.insert(user.clone());
        }
    }
    findings
}

/// Whether this offline is about an absence that ended within the grace. The record says when the
/// user left; that of a user who was adopted names a moment before, so its own time has to do.
fn is_flap(times: &[(Instant, Option<Instant>)], commit: &Commit, grace: Duration) -> bool {
    let ends = times.iter().filter_map(|(_, end)| *end);
    let returns = times.iter().skip(1).map(|(back, _)| *back);
    let absences = ends.zip(returns.map(Some).chain([None]));
    let lasted = |(left, back): &(Instant, Option<Instant>)| {
        back.map(|back| back.saturating_duration_since(*left))
    };
    let (short, long): (Vec<_>, Vec<_>) =
        absences.partition(|absence| lasted(absence).is_some_and(|time| time < grace));
    let told = commit.since + MILLISECOND;
    let about = |(left, back): &(Instant, Option<Instant>)| {
        *left <= told && back.is_none_or(|back| commit.since <= back)
    };
    let during = |absence: &(Instant, Option<Instant>)| {
        let in_time = lasted(absence).is_some_and(|time| time + UNDER_WAY < grace);
        in_time && absence.0 <= commit.at && absence.1.is_some_and(|back| commit.at <= back)
    };
    // A long absence accounts for it, also if it began after the moment that is named.
    let accounted = |absence: &(Instant, Option<Instant>)| {
        about(absence) || commit.since <= absence.0 && absence.0 <= commit.at
    };
    !long.iter().any(accounted)
        && short
            .iter()
            .any(|absence| about(absence) || during(absence))
}

/// How long after `since` the user's next offline was committed.
pub(crate) fn offline_after(commits: &[Commit], user: &str, since: Instant) -> Option<Duration> {
    let mut later = commits.iter().filter(|commit| commit.at >= since);
    let offline = later.find(|commit| commit.user == user && !commit.online)?;
    Some(offline.at - since)
}

/// Absences longer than the grace, and the presences after them: what has to be written. Of an
/// absence that ends while its offline still waits for company, nothing has to be: `grace` is that
/// and the flush interval for whoever counts what must be there.
pub(crate) fn outlived(seen: &[Seen], grace: Duration) -> usize {
    let of_user = |times: &Vec<(Instant, Option<Instant>)>| {
        let absences = times.windows(2).filter(|pair| {
            let left = pair[0].1;
            left.is_some_and(|left| pair[1].0.saturating_duration_since(left) > grace)
        });
        let last = times.last().is_some_and(|(_, end)| end.is_some());
        1 + 2 * absences.count() + usize::from(last)
    };
    presences(seen).values().map(of_user).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn log(start: Instant, entries: &[(u64, What)]) -> Vec<Seen> {
        let seen = |(second, what): &(u64, What)| Seen {
            at: start + Duration::from_secs(*second),
            user: "u".to_owned(),
            what: *what,
        };
        entries.iter().map(seen).collect()
    }

    fn commit(start: Instant, second: u64, online: bool) -> Commit {
        Commit {
            at: start + Duration::from_secs(second),
            user: "u".to_owned(),
            online,
            last_seen: 0,
            since: start + Duration::from_secs(second),
        }
    }

    #[test]
    fn checker_sees_each_kind_of_lie() {
        let start = presence_bridge::clock::Clock::system().instant();
        let seen = log(
            start,
            &[(0, What::Came), (20, What::Gone), (25, What::Came)],
        );
        let told = |commits: &[Commit], online| check(&seen, commits, GRACE, |_| online);
        assert_eq!(told(&[commit(start, 0, true)], true), Findings::default());
        assert!(told(&[], false).wrong_at_rest.contains("u"));
        assert!(told(&[commit(start, 22, false)], true).flaps.contains("u"));
        assert!(
            told(&[commit(start, 15, false)], true)
                .false_offline
                .contains("u")
        );
        assert!(
            told(&[commit(start, 40, false)], true)
                .false_offline
                .contains("u")
        );
        let late = Commit {
            at: start + Duration::from_secs(40),
            ..commit(start, 22, false)
        };
        assert!(told(&[late], true).flaps.contains("u"));
        assert_eq!(outlived(&seen, GRACE), 1);
        assert_eq!(outlived(&seen, Duration::from_secs(1)), 3);
        let after = offline_after(&[commit(start, 22, false)], "u", start);
        assert_eq!(after, Some(Duration::from_secs(22)));
    }
}
