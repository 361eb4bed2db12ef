//! The shortest history that still fails in the same way: steps are dropped, many at a time and
//! then one by one, as long as that helps.

use crate::history::{History, Setup};
use crate::ledger::Violation;
use crate::sea::Protection;
use crate::world::run;

pub(crate) fn shorten(
    history: History,
    violation: Violation,
    without: Option<Protection>,
) -> (History, Violation) {
    let mut best = (history, violation);
    let mut chunk = best.0.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        let before = best.0.steps.len();
        while from < best.0.steps.len() {
            let mut shorter = best.0.clone();
            let to = (from + chunk).min(shorter.steps.len());
            shorter.steps.drain(from..to);
            if !attempt(shorter, &mut best, without) {
                from += chunk;
            }
        }
        if best.0.steps.len() == before || chunk > 1 {
            chunk /= 2;
        }
    }
    simplify(&mut best, without);
    best
}

/// A plainer world, where it makes no difference.
fn simplify(best: &mut (History, Violation), without: Option<Protection>) {
    let plainer: [fn(&mut Setup); 6] = [
        |setup| setup.lag_ms = 0,
        |setup| setup.skew_ms = 0,
        |setup| setup.own_names = false,
        |setup| setup.spread = false,
        |setup| setup.batch_users = 400,
        |setup| setup.latency_ms = 50,
    ];
    for change in plainer {
        let mut plain = best.0.clone();
        change(&mut plain.setup);
        attempt(plain, best, without);
    }
}

/// Takes the candidate if it breaks the same promise.
fn attempt(
    candidate: History,
    best: &mut (History, Violation),
    without: Option<Protection>,
) -> bool {
    match run(&candidate, without) {
        Err(violation) if violation.promise == best.1.promise => {
            *best = (candidate, violation);
            true
        }
        Ok(_) | Err(_) => false,
    }
}
