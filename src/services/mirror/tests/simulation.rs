//! Seeded histories of a bad day: every kind of failure, late landings, a predecessor that dies.

use super::fake::{BEGIN, BOOT, Fake, Fate, NODE, Op};
use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;

const SEEDS: u64 = 60;
const USERS: u64 = 9;

fn fate(rng: &mut StdRng) -> Fate {
    match rng.random_range(0..6) {
        0 => Fate::Fails(WriteError::NotSent),
        1 => Fate::Fails(WriteError::Ambiguous),
        2 => Fate::Fails(WriteError::Busy {
            retry_after: Some(Duration::from_millis(rng.random_range(0..9_000))),
        }),
        3 => Fate::Fails(WriteError::Denied("status 403".to_owned())),
        4 => Fate::Hangs(None),
        _ => Fate::Hangs(Some(Duration::from_millis(rng.random_range(0..30_000)))),
    }
}

fn trouble(rng: &mut StdRng, fake: &Fake) {
    let mut state = fake.state();
    match rng.random_range(0..40) {
        0 => state.down = Some(WriteError::NotSent),
        1 => state.silent = true,
        2..=8 => {
            state.down = None;
            state.silent = false;
        }
        9..=20 => state.fates.push_back(fate(rng)),
        21..=24 => state.fence_fates.push_back(fate(rng)),
        _ => {}
    }
}

/// Lives one history and returns what was wanted last of each user.
async fn live(rng: &mut StdRng, b: &mut Bench) -> HashMap<UserId, Record> {
    let mut wanted: HashMap<UserId, Record> = HashMap::new();
    for tick in 0..400_u64 {
        trouble(rng, &b.fake);
        let who = user(&format!("u{}", rng.random_range(0..USERS)));
        let was = wanted.get(&who).is_some_and(|record| record.online);
        let record = Record {
            online: !was,
            last_seen: UnixMillis(BEGIN + tick),
        };
        b.handle.want(who.clone(), record).await.unwrap();
        wanted.insert(who, record);
        while let Ok(adopted) = b.adopted.try_recv() {
            for (user, _) in adopted {
                // As the presence service does: whoever is here already is not lingering.
                wanted.entry(user).or_insert_with(|| online(BEGIN));
            }
        }
        sleep(Duration::from_millis(rng.random_range(0..1_500))).await;
    }
    wanted
}

#[tokio::test(start_paused = true)]
async fn after_a_bad_day_the_database_says_the_truth() {
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let (fence, sweeps) = (seed % 2 == 0, seed % 4 < 2);
        let fake = Fake::new();
        {
            let mut state = fake.state();
            for n in 0..USERS {
                let record = (online(BEGIN - n), Some(NODE.to_owned()));
                state.users.insert(user(&format!("u{n}")), record);
            }
            let age = rng.random_range(0..60_000);
            let beat = (UnixMillis(BEGIN - age), Duration::from_secs(10));
            state
                .beats
                .insert((NODE.to_owned(), "old".to_owned()), beat);
        }
        let interval = if sweeps {
            Duration::from_secs(40)
        } else {
            NEVER
        };
        let mut b = Bench::start_with(&fake, BOOT, fence, interval);
        let wanted = live(&mut rng, &mut b).await;
        {
            let mut state = b.fake.state();
            state.down = None;
            state.silent = false;
            state.fates.clear();
            state.fence_fates.clear();
        }
        sleep(Duration::from_mins(3)).await;
        for (user, record) in wanted {
            let found = b.fake.record(&user).unwrap();
            assert!(
                found.agrees(record),
                "seed {seed}: {user:?} is {found:?}, not {record:?}"
            );
        }
        let [accepted, written, coalesced, pending, parked] = b.balance();
        assert_eq!((pending, parked), (0, 0), "seed {seed}");
        assert_eq!(accepted, written + coalesced, "seed {seed}");
        // Without the fence an old write may land during a comparison.
        if fence {
            assert_eq!(b.metrics.sweep_corrections.get(), 0, "seed {seed}");
        }
        let now = b.fake.time().0 - BEGIN;
        sleep(Duration::from_mins(1)).await;
        let idle = b.fake.asked(Duration::from_millis(now));
        let swept = |op: &Op| sweeps && matches!(op, Op::Page(_) | Op::Nodes);
        assert!(
            idle.iter().all(|op| *op == Op::Beat || swept(op)),
            "seed {seed}: {idle:?}"
        );
        let beats: Vec<_> = b.fake.state().beats.keys().cloned().collect();
        assert_eq!(beats, [(NODE.to_owned(), BOOT.to_owned())], "seed {seed}");
        assert_eq!(b.end().await, Drained { unwritten: 0 }, "seed {seed}");
    }
}
