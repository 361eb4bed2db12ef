use super::*;
use crate::domain::time::invented::instant;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn quota(per_second: u32, burst: u32) -> Quota {
    Quota { per_second, burst }
}

#[test]
fn full_bucket_gives_a_burst_and_not_one_more() {
    let (mut bucket, quota) = (Bucket::new(), quota(50, 100));
    for _ in 0..100 {
        assert_eq!(bucket.take(&quota, instant(7)), Ok(()));
    }
    let wait = Duration::from_millis(20);
    assert_eq!(bucket.take(&quota, instant(7)), Err(wait));
}

#[test]
fn refusal_costs_nothing_and_says_when_to_come_back() {
    let (mut bucket, quota) = (Bucket::new(), quota(10, 1));
    assert_eq!(bucket.take(&quota, instant(0)), Ok(()));
    for ms in 0..100 {
        let wait = Duration::from_millis(100 - ms);
        assert_eq!(bucket.take(&quota, instant(ms)), Err(wait));
    }
    assert_eq!(bucket.take(&quota, instant(100)), Ok(()));
}

#[test]
fn bucket_earns_back_no_more_than_a_burst() {
    let (mut bucket, quota) = (Bucket::new(), quota(10, 3));
    let taken = |bucket: &mut Bucket, ms| {
        let take = || bucket.take(&quota, instant(ms)).is_ok();
        std::iter::repeat_with(take).take(10).filter(|t| *t).count()
    };
    assert_eq!(taken(&mut bucket, 0), 3);
    assert_eq!(taken(&mut bucket, 200), 2);
    assert_eq!(taken(&mut bucket, 1_000_000), 3);
}

#[test]
fn zero_counts_as_one() {
    let (mut bucket, quota) = (Bucket::default(), quota(0, 0));
    assert_eq!(bucket.take(&quota, instant(0)), Ok(()));
    assert_eq!(bucket.take(&quota, instant(0)), Err(SECOND));
    assert_eq!(bucket.take(&quota, instant(1_000)), Ok(()));
}

#[test]
fn time_that_stands_or_steps_back_gives_nothing_away() {
    let (mut bucket, quota) = (Bucket::new(), quota(1, 1));
    assert_eq!(bucket.take(&quota, instant(500)), Ok(()));
    assert_eq!(bucket.take(&quota, instant(500)), Err(SECOND));
    let wait = Duration::from_millis(1_500);
    assert_eq!(bucket.take(&quota, instant(0)), Err(wait));
}

#[test]
fn largest_quota_does_not_overflow() {
    let mut bucket = Bucket::new();
    for extreme in [quota(u32::MAX, u32::MAX), quota(1, u32::MAX)] {
        assert_eq!(bucket.take(&extreme, instant(0)), Ok(()));
    }
}

#[test]
fn bucket_stays_small() {
    assert!(size_of::<Bucket>() <= 16);
}

proptest! {
    /// The bucket as children draw it: coins that drop in one by one, in nanoseconds of earning.
    #[test]
    fn bucket_agrees_with_counted_coins(
        per_second in 1..2_000_u32,
        burst in 1..20_u32,
        gaps_ms in prop::collection::vec(prop_oneof![Just(0), 0..3_u64, 0..3_000_u64], 1..200),
    ) {
        let quota = quota(per_second, burst);
        let coin = u128::from(1_000_000_000 / per_second);
        let brim = coin * u128::from(burst);
        let (mut bucket, mut coins, mut ms) = (Bucket::new(), brim, 0);
        for gap in gaps_ms {
            ms += gap;
            coins = brim.min(coins + u128::from(gap) * 1_000_000);
            match bucket.take(&quota, instant(ms)) {
                Ok(()) => {
                    prop_assert!(coins >= coin);
                    coins -= coin;
                }
                Err(wait) => prop_assert_eq!(coins + wait.as_nanos(), coin),
            }
        }
    }

    #[test]
    fn whoever_waits_as_told_succeeds_and_a_moment_earlier_does_not(
        per_second in 1..2_000_u32,
        burst in 1..20_u32,
        more in 0..30_u32,
    ) {
        let quota = quota(per_second, burst);
        let (mut bucket, mut now) = (Bucket::new(), instant(0));
        for _ in 0..burst + more {
            if let Err(wait) = bucket.take(&quota, now) {
                prop_assert!(!wait.is_zero());
                let moment = Duration::from_nanos(1);
                let early = now + wait.saturating_sub(moment);
                prop_assert_eq!(bucket.take(&quota, early), Err(moment));
                now += wait;
                prop_assert_eq!(bucket.take(&quota, now), Ok(()));
            }
        }
    }
}
