//! The promises, kept in every history of every weather.

use crate::chance::history;
use crate::dice::seed_of;
use crate::history::Weather;
use crate::ledger::Figures;
use crate::sea::Protection;
use crate::shorten::shorten;
use crate::world::run;
use std::io::Write as _;
use std::time::Instant;

const HISTORIES: u64 = 20_000;
const SEED: u64 = 0x5EED;

/// Runs this share of the histories, and says how it went even when the test passes.
fn all_keep_their_promises(weather: Weather, fence: bool, percent: u64) -> Figures {
    with(None, weather, fence, percent)
}

fn with(without: Option<Protection>, weather: Weather, fence: bool, percent: u64) -> Figures {
    let number = setting("SIM_HISTORIES", HISTORIES) * percent / 100;
    let seed = setting("SIM_SEED", SEED);
    let begun = now();
    let mut figures = Figures::default();
    for number in 0..number.max(1) {
        let told = history(seed_of(seed, number), weather, fence);
        match run(&told, without) {
            Ok(more) => figures += more,
            Err(violation) => {
                let (shortest, violation) = shorten(told, violation, without);
                panic!("history {number} of SIM_SEED={seed}, shortened:\n{shortest}{violation}");
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    report(weather, fence, &figures, seconds);
    figures
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate needs no more than a few digits"
)]
fn report(weather: Weather, fence: bool, figures: &Figures, seconds: f64) {
    let Figures {
        histories,
        steps,
        transitions,
        outlived,
        batches,
        commits,
        refused,
        put_right,
        swept,
        left_to_the_sweep,
        longest_hidden_ms,
    } = figures;
    let rate = *histories as f64 / seconds.max(1e-9);
    let line = format!(
        "simulation {weather:?}, fence {}: {histories} histories in {seconds:.1} s ({rate:.0}/s), {steps} steps, \
         {transitions} transitions ({outlived} outlived the window), {batches} batches, {commits} commits, \
         {refused} batches kept out, {put_right} late landings put right, {swept} records swept, {left_to_the_sweep} histories left to the sweep, \
         longest hidden {longest_hidden_ms} ms\n",
        if fence { "on" } else { "off" },
    );
    // Past the test harness, which shows the output of failed tests only.
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr is there");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the rate of histories is measured, nothing depends on it"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "settings of the simulation, not of the bridge"
)]
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .trim()
            .replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
        Err(_) => default,
    }
}

#[test]
fn in_calm_weather_nobody_flaps_hides_or_costs_more_than_one_write() {
    let figures = all_keep_their_promises(Weather::Calm, false, 10);
    let Figures {
        commits, outlived, ..
    } = figures;
    assert!(
        commits * 100 <= outlived * 105,
        "{commits} commits for {outlived} transitions that outlived the window"
    );
}

#[test]
fn whatever_the_database_does_it_ends_at_the_truth() {
    let figures = all_keep_their_promises(Weather::Faults, false, 15);
    assert!(figures.put_right > 0 || figures.histories < 1_000);
}

#[test]
fn whoever_was_left_online_by_a_killed_process_is_looked_after() {
    all_keep_their_promises(Weather::Crashes, false, 10);
}

#[test]
fn a_deploy_ends_at_the_truth() {
    all_keep_their_promises(Weather::Deploys, false, 10);
}

#[test]
fn even_a_storm_ends_at_the_truth_once_swept() {
    all_keep_their_promises(Weather::Storm, false, 5);
}

/// Why there is a sweep: very late landings, and processes that did not know of each other.
#[test]
fn without_a_sweep_a_storm_leaves_some_records_wrong() {
    for fence in [false, true] {
        let figures = with(Some(Protection::Sweep), Weather::Storm, fence, 5);
        let Figures {
            histories,
            left_to_the_sweep,
            ..
        } = figures;
        assert!(left_to_the_sweep * 10 < histories, "a rare thing");
        assert!(left_to_the_sweep > 0 || fence || histories < 500);
    }
}

#[test]
fn behind_the_fence_one_process_is_as_good() {
    all_keep_their_promises(Weather::Calm, true, 5);
    all_keep_their_promises(Weather::Faults, true, 10);
    all_keep_their_promises(Weather::Crashes, true, 5);
}

#[test]
fn behind_the_fence_a_deploy_ends_at_the_truth() {
    all_keep_their_promises(Weather::Deploys, true, 10);
}

#[test]
fn behind_the_fence_even_a_storm_ends_at_the_truth() {
    all_keep_their_promises(Weather::Storm, true, 10);
}

#[test]
fn the_same_seed_ends_the_same_way() {
    for number in 0..1_000 {
        for fence in [false, true] {
            let told = history(seed_of(SEED, number), Weather::Deploys, fence);
            let ends =
                [(); 2].map(|()| run(&told, None).map_err(|violation| violation.to_string()));
            let [once, again] = ends;
            assert_eq!(once, again, "{told}");
        }
    }
}
