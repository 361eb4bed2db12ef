//! A simulation that nobody has seen fail proves nothing: without each protection, it does.

use crate::chance::history;
use crate::dice::seed_of;
use crate::history::Weather;
use crate::ledger::Promise;
use crate::sea::Protection;
use crate::shorten::shorten;
use crate::world::run;

/// Histories within which a missing protection must be noticed.
const PATIENCE: u64 = 20_000;
const SEED: u64 = 0xBAD;

/// Finds a history that fails without a protection, shortens it, and checks that the protection
/// is what it needs.
#[track_caller]
fn is_missed((weather, fence): (Weather, bool), without: Protection, promises: &[Promise]) {
    let mut told = (0..PATIENCE).map(|number| history(seed_of(SEED, number), weather, fence));
    let found = told.find_map(|told| run(&told, Some(without)).err().map(|v| (told, v)));
    let (told, violation) = found.expect("the missing protection is noticed");
    let (shortest, violation) = shorten(told, violation, Some(without));
    assert!(
        promises.contains(&violation.promise),
        "not for this reason:\n{shortest}{violation}"
    );
    println!("{shortest}{violation}");
    run(&shortest, None).expect("the protection is what this history needs");
}

#[test]
fn simulation_notices_a_grace_that_is_ignored() {
    is_missed(
        (Weather::Calm, false),
        Protection::Grace,
        &[Promise::NoFlap],
    );
}

#[test]
fn simulation_notices_deadlines_on_the_wall_clock() {
    let promises = [Promise::NoFlap, Promise::NoFalseOffline, Promise::Rest];
    is_missed((Weather::Calm, false), Protection::Monotonic, &promises);
}

#[test]
fn simulation_notices_a_mirror_that_writes_each_change_only_once() {
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed(
        (Weather::Faults, false),
        Protection::LevelTriggered,
        &promises,
    );
}

#[test]
fn simulation_notices_late_landings_that_nobody_expects() {
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed((Weather::Faults, false), Protection::Doubt, &promises);
}

#[test]
fn simulation_notices_an_adoption_without_start_grace() {
    is_missed(
        (Weather::Crashes, false),
        Protection::StartGrace,
        &[Promise::NoFlap],
    );
}

#[test]
fn simulation_notices_users_whom_nobody_adopts() {
    is_missed(
        (Weather::Crashes, false),
        Protection::Adoption,
        &[Promise::Convergence],
    );
}

#[test]
fn simulation_notices_an_adoption_that_ignores_who_lives() {
    let promises = [Promise::NoFalseOffline, Promise::NoFlap];
    is_missed((Weather::Deploys, false), Protection::Heartbeats, &promises);
}

#[test]
fn simulation_notices_a_deploy_that_compares_nothing() {
    is_missed(
        (Weather::Deploys, false),
        Protection::Comparison,
        &[Promise::Convergence],
    );
}

#[test]
fn simulation_notices_a_late_adoption_that_waits_for_nobody() {
    is_missed(
        (Weather::Deploys, false),
        Protection::LateGrace,
        &[Promise::NoFlap],
    );
}

#[test]
fn simulation_notices_a_fence_that_no_rule_enforces() {
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed((Weather::Faults, true), Protection::Rules, &promises);
}

#[test]
fn simulation_notices_an_epoch_that_outlives_a_doubt() {
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed((Weather::Faults, true), Protection::NewEpoch, &promises);
}

#[test]
fn simulation_notices_a_look_that_forgets_what_was_written_meanwhile() {
    let promises = [
        Promise::LastTransition,
        Promise::NothingStale,
        Promise::NothingForTheSweep,
    ];
    is_missed((Weather::Faults, true), Protection::Touched, &promises);
}
