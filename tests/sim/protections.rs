//! A simulation that nobody has seen fail proves nothing: without each protection, it does.

use crate::chance::history;
use crate::dice::seed_of;
use crate::history::Weather;
use crate::ledger::Promise;
use crate::sea::Protections;
use crate::shorten::shorten;
use crate::world::run;

/// Histories within which a missing protection must be noticed.
const PATIENCE: u64 = 5_000;
const SEED: u64 = 0xBAD;

/// Finds a history that fails without a protection, shortens it, and checks that the protection
/// is what it needs.
#[track_caller]
fn is_missed((weather, fence): (Weather, bool), protections: Protections, promises: &[Promise]) {
    let mut told = (0..PATIENCE).map(|number| history(seed_of(SEED, number), weather, fence));
    let found = told.find_map(|told| run(&told, protections).err().map(|v| (told, v)));
    let (told, violation) = found.expect("the missing protection is noticed");
    let (shortest, violation) = shorten(told, violation, protections);
    assert!(
        promises.contains(&violation.promise),
        "not for this reason:\n{shortest}{violation}"
    );
    println!("{shortest}{violation}");
    run(&shortest, Protections::ALL).expect("the protection is what this history needs");
}

#[test]
fn simulation_notices_a_grace_that_is_ignored() {
    let protections = Protections {
        grace: false,
        ..Protections::ALL
    };
    is_missed((Weather::Calm, false), protections, &[Promise::NoFlap]);
}

#[test]
fn simulation_notices_deadlines_on_the_wall_clock() {
    let protections = Protections {
        monotonic: false,
        ..Protections::ALL
    };
    let promises = [Promise::NoFlap, Promise::NoFalseOffline, Promise::Rest];
    is_missed((Weather::Calm, false), protections, &promises);
}

#[test]
fn simulation_notices_a_mirror_that_writes_each_change_only_once() {
    let protections = Protections {
        level_triggered: false,
        ..Protections::ALL
    };
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed((Weather::Faults, false), protections, &promises);
}

#[test]
fn simulation_notices_late_landings_that_nobody_expects() {
    let protections = Protections {
        doubt: false,
        ..Protections::ALL
    };
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed((Weather::Faults, false), protections, &promises);
}

#[test]
fn simulation_notices_an_adoption_without_start_grace() {
    let protections = Protections {
        start_grace: false,
        ..Protections::ALL
    };
    is_missed((Weather::Crashes, false), protections, &[Promise::NoFlap]);
}

#[test]
fn simulation_notices_users_whom_nobody_adopts() {
    let protections = Protections {
        adoption: false,
        ..Protections::ALL
    };
    is_missed(
        (Weather::Crashes, false),
        protections,
        &[Promise::Convergence],
    );
}

#[test]
fn simulation_notices_an_adoption_that_ignores_who_lives() {
    let protections = Protections {
        heartbeats: false,
        ..Protections::ALL
    };
    let promises = [Promise::NoFalseOffline, Promise::NoFlap];
    is_missed((Weather::Deploys, false), protections, &promises);
}

#[test]
fn simulation_notices_a_deploy_that_compares_nothing() {
    let protections = Protections {
        comparison: false,
        ..Protections::ALL
    };
    is_missed(
        (Weather::Deploys, false),
        protections,
        &[Promise::Convergence],
    );
}

#[test]
fn simulation_notices_a_late_adoption_that_waits_for_nobody() {
    let protections = Protections {
        late_grace: false,
        ..Protections::ALL
    };
    is_missed((Weather::Deploys, false), protections, &[Promise::NoFlap]);
}

#[test]
fn simulation_notices_a_fence_that_no_rule_enforces() {
    let protections = Protections {
        rules: false,
        ..Protections::ALL
    };
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed((Weather::Faults, true), protections, &promises);
}

#[test]
fn simulation_notices_an_epoch_that_outlives_a_doubt() {
    let protections = Protections {
        new_epoch: false,
        ..Protections::ALL
    };
    let promises = [Promise::Convergence, Promise::LastTransition];
    is_missed((Weather::Faults, true), protections, &promises);
}
