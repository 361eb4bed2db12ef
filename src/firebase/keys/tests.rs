//! A scripted key server over real HTTP; time is moved by hand.

use super::*;
use crate::domain::time::UnixMillis;
use crate::firebase::fake::{Answer, FakeServer, eventually, skip};
use crate::mint::{key_set, keys};
use futures_util::future::join_all;
use serde_json::json;

mod sets;

const HOUR: Duration = Duration::from_hours(1);

struct Bench {
    keys: Keys,
    server: FakeServer,
    metrics: Arc<Metrics>,
}

/// An answer with the first test key, young for this long.
fn one_for(max_age: Duration) -> Answer {
    let cache = format!("public, max-age={}, must-revalidate", max_age.as_secs());
    Answer::json(key_set(&[&keys()[0]]).to_string()).with("cache-control", cache)
}

fn both_for(max_age: Duration) -> Answer {
    let cache = format!("max-age={}", max_age.as_secs());
    Answer::json(key_set(&[&keys()[0], &keys()[1]]).to_string()).with("cache-control", cache)
}

impl Bench {
    async fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let server = FakeServer::start(answers).await;
        let metrics = Arc::new(Metrics::new());
        let clock = Clock::manual(UnixMillis(0));
        let keys = Keys::new(server.url("/keys"), clock, Arc::clone(&metrics)).unwrap();
        Self {
            keys,
            server,
            metrics,
        }
    }

    /// `Ok(whether it is listed)`, or `Err` if that cannot be told.
    async fn lists(&self, id: &str) -> Result<bool, ()> {
        match eventually(self.keys.find(id)).await {
            Lookup::Found(key) => {
                assert_eq!(&*key.id, id);
                Ok(true)
            }
            Lookup::Unknown => Ok(false),
            Lookup::Unavailable => Err(()),
        }
    }

    fn fetches(&self, outcome: RequestOutcome) -> u64 {
        self.metrics
            .key_fetches
            .get_or_create(&outcome.into())
            .get()
    }

    /// Waits until so many fetches have ended in this way.
    async fn has_fetched(&self, outcome: RequestOutcome, count: u64) {
        eventually(async {
            while self.fetches(outcome) < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn window(&self) -> Option<Window> {
        locked(&self.keys.0.progress).window
    }
}

#[tokio::test]
async fn nothing_is_fetched_before_the_first_use_and_then_once() {
    let bench = Bench::new([one_for(HOUR)]).await;
    assert_eq!(bench.server.requests(), 0);
    assert!(!bench.keys.ready());
    assert_eq!(bench.keys.state(), KeysState::Missing);
    for _ in 0..10 {
        assert_eq!(bench.lists("kid1").await, Ok(true));
    }
    assert_eq!(bench.server.requests(), 1);
    assert!(bench.keys.ready());
    assert_eq!(bench.keys.state(), KeysState::Fresh);
    assert_eq!(bench.fetches(RequestOutcome::Ok), 1);
}

#[tokio::test]
async fn a_hundred_callers_share_one_fetch() {
    let bench = Bench::new([one_for(HOUR)]).await;
    let found = join_all((0..100).map(|_| bench.lists("kid1"))).await;
    assert!(found.iter().all(|found| *found == Ok(true)));
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_fetch_from_nobody() {
    let bench = Bench::new([Answer::Hang]).await;
    let mut leaving = Box::pin(bench.keys.find("kid1"));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    bench.server.has_seen(1).await;
    drop(leaving);
    let mut waiting = Box::pin(bench.lists("kid1"));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    skip(FETCH_DEADLINE).await;
    assert_eq!(eventually(waiting).await, Err(()));
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn keys_are_fetched_anew_after_three_quarters_of_their_time_while_nobody_waits() {
    let bench = Bench::new([one_for(HOUR * 4), both_for(HOUR * 4)]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    skip(HOUR * 2).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    assert_eq!(bench.server.requests(), 1);
    skip(HOUR).await;
    let mut lookup = Box::pin(bench.lists("kid1"));
    assert_eq!(
        futures_util::poll!(&mut lookup),
        std::task::Poll::Ready(Ok(true))
    );
    bench.has_fetched(RequestOutcome::Ok, 2).await;
    assert_eq!(bench.lists("kid2").await, Ok(true));
    assert_eq!(bench.server.requests(), 2);
}

#[tokio::test]
async fn keys_serve_a_day_past_their_age_and_not_longer() {
    let bench = Bench::new([one_for(HOUR), Answer::reply(500, "oops")]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    skip(HOUR).await;
    assert_eq!(bench.keys.state(), KeysState::Stale);
    assert_eq!(bench.lists("kid1").await, Ok(true));
    skip(HOUR * 23).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    skip(HOUR).await;
    assert_eq!(bench.keys.state(), KeysState::Missing);
    assert!(bench.keys.ready(), "readiness is not taken back");
    assert_eq!(bench.lists("kid1").await, Err(()));
    bench.server.answers([one_for(HOUR)]);
    skip(FAILURE_PAUSE).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    assert_eq!(bench.keys.state(), KeysState::Fresh);
}

#[tokio::test]
async fn an_outage_costs_one_fetch_a_second_while_there_are_no_keys() {
    let bench = Bench::new([Answer::reply(500, "oops")]).await;
    for requests in 1..=3 {
        assert_eq!(bench.lists("kid1").await, Err(()));
        tokio::time::pause();
        for id in 0..100 {
            assert_eq!(bench.lists(&format!("kid{id}")).await, Err(()));
        }
        assert_eq!(bench.server.requests(), requests);
        tokio::time::advance(FAILURE_PAUSE).await;
        tokio::time::resume();
    }
    assert_eq!(bench.fetches(RequestOutcome::NotSent), 3);
}

#[tokio::test]
async fn an_outage_costs_ever_fewer_fetches_while_there_are_keys() {
    let bench = Bench::new([one_for(HOUR), Answer::reply(429, "")]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    skip(HOUR).await;
    for (failures, pause_s) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        assert_eq!(bench.lists("kid1").await, Ok(true));
        bench.has_fetched(RequestOutcome::Busy, failures).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(pause_s) / 2).await;
        for _ in 0..100 {
            assert_eq!(bench.lists("kid1").await, Ok(true));
        }
        assert_eq!(bench.fetches(RequestOutcome::Busy), failures);
        tokio::time::advance(Duration::from_secs(pause_s) / 2).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn ten_thousand_unknown_key_ids_cost_one_fetch_a_minute_and_no_memory() {
    let bench = Bench::new([one_for(HOUR * 24)]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    for minute in 0..3 {
        let first = bench.lists(&format!("first-{minute}")).await;
        assert_eq!(first, Ok(false));
        tokio::time::pause();
        for kid in 0..10_000 {
            if kid == 5_000 {
                tokio::time::advance(UNKNOWN_KEY_PAUSE / 2).await;
            }
            let found = bench.lists(&format!("{minute}-{kid}")).await;
            assert_eq!(found, Ok(false));
        }
        assert_eq!(bench.server.requests(), 2 + minute);
        assert_eq!(bench.lists("kid1").await, Ok(true), "the others get in");
        tokio::time::advance(UNKNOWN_KEY_PAUSE / 2).await;
        tokio::time::resume();
    }
    let cache = &bench.keys.0.cache;
    cache.run_pending_tasks().await;
    assert_eq!(cache.entry_count(), 1);
    assert_eq!(bench.keys.usable().await.unwrap().keys.len(), 1);
}

#[tokio::test]
async fn two_hundred_strangers_at_once_share_the_fetch_of_the_minute() {
    let bench = Bench::new([one_for(HOUR)]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    let ids: Vec<_> = (0..200).map(|kid| format!("stranger-{kid}")).collect();
    let found = join_all(ids.iter().map(|id| bench.lists(id))).await;
    assert!(found.iter().all(|found| *found == Ok(false)));
    assert_eq!(bench.server.requests(), 2);
}

#[tokio::test]
async fn an_unknown_key_during_an_outage_is_no_verdict() {
    let bench = Bench::new([one_for(HOUR), Answer::reply(500, "oops")]).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
    assert_eq!(bench.lists("kid2").await, Err(()));
    assert_eq!(bench.lists("kid1").await, Ok(true));
}

#[tokio::test]
async fn prefetch_tries_until_there_are_keys() {
    let failures = std::iter::repeat_n(Answer::reply(503, ""), 3);
    let bench = Bench::new(failures.chain([one_for(HOUR)])).await;
    let prefetch = tokio::spawn({
        let keys = bench.keys.clone();
        async move { keys.prefetch().await }
    });
    for failures in 1..=3 {
        bench.has_fetched(RequestOutcome::Busy, failures).await;
        assert!(!bench.keys.ready());
        skip(MAX_PREFETCH_PAUSE).await;
    }
    eventually(prefetch).await.unwrap();
    assert!(bench.keys.ready());
    assert_eq!(bench.server.requests(), 4);
}

#[tokio::test]
async fn keys_stay_fresh_though_nobody_asks() {
    let bench = Bench::new([one_for(HOUR)]).await;
    let keeping = tokio::spawn({
        let keys = bench.keys.clone();
        async move { keys.keep_fresh().await }
    });
    for fetches in 1..=4 {
        bench.has_fetched(RequestOutcome::Ok, fetches).await;
        skip(HOUR / 2).await;
        eventually(async {
            while bench.metrics.key_age_seconds.get() < 1800 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        skip(HOUR / 4).await;
    }
    bench.has_fetched(RequestOutcome::Ok, 5).await;
    assert_eq!(bench.keys.state(), KeysState::Fresh);
    keeping.abort();
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_on() {
    let bench = Bench::new([Answer::Hang, one_for(HOUR)]).await;
    let asking = tokio::spawn({
        let keys = bench.keys.clone();
        async move { matches!(keys.find("kid1").await, Lookup::Unavailable) }
    });
    bench.server.has_seen(1).await;
    skip(FETCH_DEADLINE).await;
    assert!(eventually(asking).await.unwrap());
    skip(FAILURE_PAUSE).await;
    assert_eq!(bench.lists("kid1").await, Ok(true));
}

#[test]
fn a_proxy_is_not_for_this_machine() {
    // The environment of a running test cannot be changed, so the test runs once more as a child.
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "firebase::keys::tests::a_hundred_callers_share_one_fetch",
        ])
        .envs(
            ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
                .map(|name| (name, "http://127.0.0.1:1")),
        )
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn keys_never_come_over_plain_http_from_afar() {
    let new = |url: &str| {
        let clock = Clock::system();
        Keys::new(url.parse().unwrap(), clock, Arc::new(Metrics::new()))
    };
    assert!(new(GOOGLE_KEYS_URL).is_ok());
    assert!(new("http://127.0.0.1:1/keys").is_ok());
    for url in ["http://www.googleapis.com/keys", "ftp://127.0.0.1/keys"] {
        assert!(matches!(new(url), Err(KeysError::Insecure)), "{url}");
    }
}
