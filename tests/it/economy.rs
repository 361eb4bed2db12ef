//! What presence costs the database when a thousand people come and go: a request a window, a record a user.
//!
//! `ECONOMY_USERS=1000 ECONOMY_SECONDS=60 cargo test --test it economy -- --nocapture` is the full run
//! with real sockets; without these variables the same runs small.

mod ledger;

use crate::phone::Phone;
use crate::world::World;
use ledger::Ledger;
use presence_bridge::clock::Clock;
use presence_bridge::domain::ids::{ChatId, ConnectionId, UserId};
use presence_bridge::domain::mirror::Limits;
use presence_bridge::services::mirror::{MirrorOptions, Process, mirror};
use presence_bridge::services::ports::{Announce, Visible};
use presence_bridge::services::presence::{Outside, Presence, PresenceHandle};
use presence_bridge::telemetry::metrics::{Metrics, TransitionKind};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Requests a second that a thousand flapping users may cost.
const MOST_REQUESTS: f64 = 5.0;
const WINDOW: Duration = Duration::from_millis(250);

/// The table of a run.
struct Bill {
    name: &'static str,
    users: u64,
    took: Duration,
    transitions: u64,
    absorbed: u64,
    coalesced: u64,
    requests: u64,
    records: u64,
}

impl Bill {
    fn of(name: &'static str, users: u64, took: Duration, metrics: &Metrics) -> Self {
        let kinds = [TransitionKind::Online, TransitionKind::Offline];
        let transitions = |kind: TransitionKind| {
            metrics
                .presence_transitions
                .get_or_create(&kind.into())
                .get()
        };
        Self {
            name,
            users,
            took,
            transitions: kinds.map(transitions).iter().sum(),
            absorbed: metrics.presence_absorbed.get(),
            coalesced: metrics.mirror_coalesced.get(),
            requests: 0,
            records: metrics.mirror_records.get(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
    fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "economy, {}: users {}, seconds {:.1}, flaps absorbed {}, transitions {}, coalesced {}, \
             requests {}, records {}, requests/s {:.2}",
            self.name,
            self.users,
            self.took.as_secs_f64(),
            self.absorbed,
            self.transitions,
            self.coalesced,
            self.requests,
            self.records,
            self.requests_per_second(),
        )
    }
}

/// Nobody listens.
struct Silence;

impl Announce for Silence {
    fn presence(&self, _: &UserId, _: Visible, _: &[ChatId]) {}
    fn stop_typing(&self, _: &ChatId, _: &UserId) {}
}

/// One simulated minute of a thousand users who stay and go for times from these ranges.
#[expect(clippy::print_stdout, reason = "the table is for whoever runs it")]
async fn minute(
    name: &'static str,
    grace: Duration,
    stay: Range<u64>,
    away: Range<u64>,
) -> (Bill, Arc<Ledger>) {
    const USERS: u64 = 1_000;
    let (metrics, ledger) = (Arc::new(Metrics::new()), Arc::new(Ledger::default()));
    let clock = Clock::system();
    let options = MirrorOptions {
        limits: Limits {
            flush_interval: WINDOW,
            ..Limits::default()
        },
        sweep_interval: Duration::from_mins(5),
        fence: false,
        heartbeat_interval: Duration::from_secs(10),
        drain_timeout: Duration::from_secs(8),
        me: Process {
            node: "main".to_owned(),
            boot: "boot".to_owned(),
        },
        jitter: || 0.5,
    };
    let (adopt, adopted) = mpsc::channel(1);
    let records = Arc::clone(&ledger);
    let (mirror, _, task) = mirror(options, records, adopt, Arc::clone(&metrics), clock.clone());
    let (stop, drain) = (CancellationToken::new(), CancellationToken::new());
    let mirroring = tokio::spawn(task.run(drain.clone()));
    let outside = Outside {
        chats: Arc::default(),
        announce: Arc::new(Silence),
        mirror,
        clock: clock.clone(),
        metrics: Arc::clone(&metrics),
        max_room: 500,
    };
    let (presence, handle) = Presence::new((grace, grace), adopted, outside);
    let running = tokio::spawn(presence.run(stop.clone()));
    let (begin, end) = (clock.instant(), clock.instant() + Duration::from_mins(1));
    let mut users = JoinSet::new();
    for n in 0..USERS {
        users.spawn(flap(
            n,
            handle.clone(),
            clock.clone(),
            end,
            (stay.clone(), away.clone()),
        ));
    }
    // The bill of the minute; how everybody goes home is not part of it.
    tokio::time::sleep_until(end.into()).await;
    let requests = ledger.requests();
    let bill = Bill {
        requests,
        ..Bill::of(name, USERS, clock.instant() - begin, &metrics)
    };
    users.join_all().await;
    handle.end_graces().await;
    drain.cancel();
    assert_eq!(mirroring.await.unwrap().unwritten, 0);
    stop.cancel();
    running.await.unwrap();
    println!("{bill}");
    (bill, ledger)
}

async fn flap(
    n: u64,
    handle: PresenceHandle,
    clock: Clock,
    end: Instant,
    (stay, away): (Range<u64>, Range<u64>),
) {
    let mut rng = StdRng::seed_from_u64(n);
    let user = UserId::parse(&format!("u{n}")).unwrap();
    let mut connection = n << 32;
    sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
    while clock.instant() < end {
        connection += 1;
        handle
            .connected(&user, ConnectionId(connection), clock.now())
            .await;
        sleep(Duration::from_millis(rng.random_range(stay.clone()))).await;
        handle
            .disconnected(&user, ConnectionId(connection), clock.now())
            .await;
        sleep(Duration::from_millis(rng.random_range(away.clone()))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_users_who_lose_their_network_for_a_moment_cost_one_record_each() {
    let grace = Duration::from_secs(10);
    let (bill, ledger) = minute("short losses", grace, 200..3_000, 100..8_000).await;
    assert_eq!((bill.transitions, bill.records), (1_000, 1_000), "{bill}");
    assert!(bill.absorbed > 5_000, "{bill}");
    assert!(bill.requests < 20, "{bill}");
    ledger.check(WINDOW);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_users_with_many_short_sessions_cost_a_request_a_window() {
    let grace = Duration::from_secs(10);
    let (bill, ledger) = minute("short sessions", grace, 100..3_000, 8_000..16_000).await;
    assert!(bill.transitions > 5_000, "{bill}");
    assert!(bill.requests_per_second() <= MOST_REQUESTS, "{bill}");
    assert!(bill.records <= bill.transitions, "{bill}");
    ledger.check(WINDOW);
}

#[tokio::test(start_paused = true)]
async fn without_any_grace_the_window_alone_keeps_the_bill_small() {
    let (bill, ledger) = minute("no grace", Duration::ZERO, 50..1_500, 50..1_500).await;
    assert!(bill.transitions > 60_000, "{bill}");
    assert!(bill.coalesced > 1_000, "{bill}");
    assert!(bill.requests_per_second() <= MOST_REQUESTS, "{bill}");
    assert!(bill.records < bill.transitions, "{bill}");
    ledger.check(WINDOW);
}

#[expect(
    clippy::disallowed_methods,
    reason = "how large the run is, is said by whoever runs it"
)]
fn asked(name: &str, small: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(small, |text| text.parse().unwrap())
}

#[tokio::test]
async fn with_real_sockets_the_bill_is_as_small() {
    let users = asked("ECONOMY_USERS", 50);
    let seconds = asked("ECONOMY_SECONDS", 3);
    let world = Arc::new(
        World::with(&[
            ("PRESENCE_GRACE", "500ms"),
            ("PRESENCE_FLUSH_INTERVAL", "250ms"),
        ])
        .await,
    );
    let clock = Clock::system();
    let (begin, end) = (
        clock.instant(),
        clock.instant() + Duration::from_secs(seconds),
    );
    let mut flapping = JoinSet::new();
    for n in 0..users {
        let (world, clock) = (Arc::clone(&world), clock.clone());
        flapping.spawn(async move {
            let mut rng = StdRng::seed_from_u64(n);
            let (user, mut sessions) = (format!("u{n}"), 0_u64);
            sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
            while clock.instant() < end {
                let token = world.token(&user);
                let phone = Phone::connect(world.bridge, &token).await.unwrap();
                sessions += 1;
                sleep(Duration::from_millis(rng.random_range(50..1_000))).await;
                phone.leave().await;
                // Within the grace or beyond it.
                sleep(Duration::from_millis(rng.random_range(50..1_500))).await;
            }
            sessions
        });
    }
    let sessions: u64 = flapping.join_all().await.into_iter().sum();
    for n in 0..users {
        world.until_recorded(&format!("u{n}"), false).await;
    }
    let bill = Bill {
        requests: world.database.counters().requests,
        ..Bill::of(
            "real sockets",
            users,
            clock.instant() - begin,
            world.metrics(),
        )
    };
    println!("{bill}, sessions {sessions}");
    assert!(bill.requests_per_second() <= MOST_REQUESTS, "{bill}");
    assert!(bill.records <= bill.transitions, "{bill}");
    assert!(bill.transitions <= 2 * sessions, "{bill}");
    let committed = world.database.counters().records;
    assert!(
        committed <= bill.records + bill.requests,
        "{committed} {bill}"
    );
}
