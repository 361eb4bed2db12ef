use super::*;
use proptest::prelude::*;

fn record(epoch: u64, owner: &str, nonce: u64) -> FenceRecord {
    FenceRecord {
        epoch,
        owner: owner.to_owned(),
        nonce,
    }
}

/// A claim that holds the epoch.
fn holding(epoch: u64) -> Claim {
    let mut claim = Claim::new("me".to_owned());
    let verdict = claim.accepted(&record(epoch, "me", 9));
    assert_eq!(verdict, Verdict::Held(epoch));
    claim
}

#[test]
fn the_first_epoch_is_one_and_each_next_is_one_above_what_is_there() {
    let mut claim = Claim::new("me".to_owned());
    assert_eq!(claim.found(None, 7), Verdict::Propose(record(1, "me", 7)));
    let there = record(41, "another", 3);
    let next = Verdict::Propose(record(42, "me", 8));
    assert_eq!(claim.found(Some(&there), 8), next);
    assert_eq!(claim.epoch(), None, "proposed is not held");
}

#[test]
fn a_proposal_is_held_once_it_surely_succeeded_or_is_found() {
    let mut sure = Claim::new("me".to_owned());
    let proposal = record(1, "me", 7);
    sure.found(None, 7);
    assert_eq!(sure.accepted(&proposal), Verdict::Held(1));
    assert_eq!(sure.epoch(), Some(1));
    let mut unsure = Claim::new("me".to_owned());
    unsure.found(None, 7);
    assert_eq!(unsure.found(Some(&proposal), 8), Verdict::Held(1));
    assert_eq!(unsure.epoch(), Some(1));
}

#[test]
fn only_owner_and_nonce_together_make_a_proposal_ours() {
    for found in [record(1, "me", 6), record(1, "another", 7)] {
        let mut claim = Claim::new("me".to_owned());
        claim.found(None, 7);
        let next = Verdict::Propose(record(2, "me", 8));
        assert_eq!(claim.found(Some(&found), 8), next, "{found:?}");
    }
}

#[test]
fn a_doubted_epoch_is_never_held_again() {
    let mut claim = holding(5);
    claim.doubt();
    assert_eq!(claim.epoch(), None);
    let there = record(5, "me", 9);
    let next = record(6, "me", 1);
    assert_eq!(claim.found(Some(&there), 1), Verdict::Propose(next.clone()));
    assert_eq!(claim.accepted(&next), Verdict::Held(6));
}

#[test]
fn a_refusal_with_our_epoch_in_place_changes_nothing() {
    let mut claim = holding(5);
    let there = record(5, "me", 9);
    assert_eq!(claim.found(Some(&there), 1), Verdict::Held(5));
    assert_eq!(claim.epoch(), Some(5));
}

#[test]
fn whoever_is_deposed_stays_so() {
    for doubted in [false, true] {
        let mut claim = holding(5);
        if doubted {
            claim.doubt();
        }
        let theirs = record(6, "another", 2);
        assert_eq!(claim.found(Some(&theirs), 1), Verdict::Deposed);
        assert!(claim.is_deposed());
        assert_eq!(claim.epoch(), None);
        assert_eq!(claim.found(None, 1), Verdict::Deposed);
        assert_eq!(claim.accepted(&record(7, "me", 1)), Verdict::Deposed);
        claim.doubt();
        assert!(claim.is_deposed());
    }
}

#[test]
fn a_record_that_no_boot_wrote_deposes_nobody_and_epochs_still_rise() {
    for (found, next) in [
        (None, 6),
        (Some(record(0, "", 0)), 6),
        (Some(record(9, "", 0)), 10),
    ] {
        let mut claim = holding(5);
        let verdict = claim.found(found.as_ref(), 1);
        assert_eq!(verdict, Verdict::Propose(record(next, "me", 1)));
    }
}

#[test]
fn beyond_the_last_epoch_there_is_none() {
    let mut claim = Claim::new("me".to_owned());
    let last = record(MAX_EPOCH, "another", 1);
    assert_eq!(claim.found(Some(&last), 1), Verdict::Exhausted);
    let almost = record(MAX_EPOCH - 1, "another", 1);
    let next = Verdict::Propose(record(MAX_EPOCH, "me", 1));
    assert_eq!(claim.found(Some(&almost), 1), next);
}

#[derive(Clone, Debug)]
enum Step {
    /// The process reads the record, and sends what it proposes.
    Read(usize),
    /// One of the requests on their way arrives; `true`: so does its answer.
    Arrive(usize, bool),
    Doubt(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize).prop_map(Step::Read),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(n, told)| Step::Arrive(n, told)),
        1 => (0..3_usize).prop_map(Step::Doubt),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn epochs_only_rise_and_are_held_by_one(steps in steps()) {
        let mut claims = ["a", "b", "c"].map(|boot| Claim::new(boot.to_owned()));
        let mut fence: Option<FenceRecord> = None;
        let mut sent: Vec<(usize, Option<FenceRecord>, FenceRecord)> = Vec::new();
        let mut deposed = [false; 3];
        for (nonce, step) in (0_u64..).zip(steps) {
            match step {
                Step::Read(who) => {
                    let found = fence.clone();
                    match claims[who].found(found.as_ref(), nonce) {
                        Verdict::Propose(next) => sent.push((who, found, next)),
                        Verdict::Held(epoch) => prop_assert_eq!(fence.as_ref().map(|f| f.epoch), Some(epoch)),
                        Verdict::Deposed => deposed[who] = true,
                        Verdict::Exhausted => prop_assert!(false, "far from it"),
                    }
                }
                Step::Arrive(n, told) => {
                    if sent.is_empty() {
                        continue;
                    }
                    let (who, expected, next) = sent.remove(n % sent.len());
                    if fence != expected {
                        continue;
                    }
                    prop_assert!(fence.as_ref().is_none_or(|old| old.epoch < next.epoch));
                    prop_assert!(!deposed[who], "whoever is deposed proposes no more");
                    // An answer is heard only by whoever still waits for it.
                    if told && claims[who].proposed.as_ref() == Some(&next) {
                        claims[who].accepted(&next);
                    }
                    fence = Some(next);
                }
                Step::Doubt(who) => claims[who].doubt(),
            }
            let current = |claim: &&Claim| claim.epoch().is_some() && claim.epoch() == fence.as_ref().map(|f| f.epoch);
            prop_assert!(claims.iter().filter(current).count() <= 1);
            for (claim, was) in claims.iter().zip(deposed) {
                prop_assert_eq!(claim.is_deposed(), was);
            }
        }
    }
}

#[test]
fn the_largest_epoch_is_the_largest_whole_number_that_json_keeps() {
    assert_eq!(MAX_EPOCH, 9_007_199_254_740_991);
}
