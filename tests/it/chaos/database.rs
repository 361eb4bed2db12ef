//! A database that is away, in every way it can be: how long until it tells the truth again?

use super::checker::{Findings, check, offline_after};
use super::client::Client;
use super::figures::{Times, figure_row, offline_row};
use super::flapping::Habits;
use super::proxy::Cable;
use super::scrape::{Page, Scraper, resident_kib};
use super::site::Site;
use super::swarm::{Return, Swarm};
use super::{is_full, sized};
use crate::phone::soon;
use crate::process::Process;
use crate::world::get;
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{Fault, Target};
use serde_json::json;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(10);
const MOST_REQUESTS: usize = 12;
/// Awaited as long as this; that it takes less is asserted where the machine is ours.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Every connection is reset.
    Broken,
    /// Nothing comes through, nobody is told.
    Stalled,
    /// Somebody answers that it is away.
    Unavailable,
}

impl Outage {
    fn begin(self, site: &Site) {
        match self {
            Self::Broken => site.cable.set(Cable::Broken),
            Self::Stalled => site.cable.set(Cable::Stalled),
            Self::Unavailable => {
                let fault = Fault::Status(503, "{}".to_owned());
                site.database.inject(Target::any(), usize::MAX, fault);
            }
        }
    }

    fn end(site: &Site) {
        site.cable.set(Cable::Sound);
        site.database.clear_faults();
    }

    fn requests(site: &Site) -> usize {
        site.cable.held_up() + usize::try_from(site.database.counters().lost).unwrap()
    }
}

/// What was measured in one outage.
struct Measured {
    outage: Outage,
    transitions: f64,
    requests: usize,
    grown_kib: u64,
    scrapes: usize,
    /// Until the last commit that was needed.
    converged: Duration,
    /// Until whoever left meanwhile was offline.
    offline: Vec<Duration>,
}

/// How many of each, and for how long. The graces end within the outage.
struct Size {
    flapping: usize,
    leaving: usize,
    flaps_for: Duration,
    lasts: Duration,
    transitions: f64,
    habits: Habits,
}

fn size() -> Size {
    let small = Size {
        flapping: 80,
        leaving: 10,
        flaps_for: Duration::from_secs(3),
        lasts: Duration::from_secs(4),
        transitions: 100.0,
        habits: Habits {
            present: 100..400,
            short_absence: 0..300,
            long_absence: 1_100..1_300,
        },
    };
    let full = Size {
        flapping: 900,
        leaving: 20,
        flaps_for: Duration::from_secs(48),
        lasts: Duration::from_mins(1),
        transitions: 5_000.0,
        habits: Habits {
            present: 300..1_500,
            short_absence: 0..3_000,
            long_absence: 10_500..11_500,
        },
    };
    sized(small, full)
}

pub(super) async fn transitions(process: &Process) -> f64 {
    let page = Page::of(process.admin).await.unwrap();
    let of = |kind| {
        page.value(&format!(
            "bridge_presence_transitions_total{{kind=\"{kind}\"}}"
        ))
    };
    of("online") + of("offline")
}

async fn until_nobody_lingers(process: &Process) {
    soon("the end of all graces", async {
        let lingering = "bridge_presence_users{status=\"lingering\"}";
        while Page::of(process.admin).await.unwrap().value(lingering) > 0.5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Until a process that has just been started is ready.
pub(super) async fn until_ready(process: &Process) {
    soon("readiness", async {
        while get(process.public, "/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Until `/readyz` says so; it says 200 all the time.
pub(super) async fn until_readiness(process: &Process, says: &str) {
    soon(says, async {
        loop {
            let (status, report) = get(process.public, "/readyz").await;
            assert_eq!(status, 200, "{report}");
            if report.contains(says) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// Two people in a chat, whom a database does not concern.
struct Chat([Client; 2]);

impl Chat {
    async fn open(site: &Site, process: &Process) -> Self {
        let mut clients = Vec::new();
        for user in ["ann", "ben"] {
            let token = site.token(user);
            let mut client = Client::connect(process.public, &token).await.unwrap();
            client
                .ask("join_chat", json!({ "chatId": "x" }))
                .await
                .unwrap();
            clients.push(client);
        }
        Self(clients.try_into().ok().unwrap())
    }

    /// A message each second, the last one at `until` or later.
    async fn goes_on(&mut self, until: Instant) {
        let [ann, ben] = &mut self.0;
        let clock = Clock::system();
        while clock.instant() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let message = json!({ "chatId": "x", "message": "still here" });
            let answer = ann.ask("send_message", message).await.unwrap();
            assert_eq!(answer["ok"], true, "{answer}");
            let heard = async { while ben.event().await.unwrap().0 != "new_message" {} };
            soon("the message", heard).await;
        }
    }
}

/// A bridge that is well, and its users; the leaving ones come first.
struct Town {
    site: Site,
    process: Process,
    scraper: Scraper,
    swarm: Swarm,
    chat: Chat,
}

impl Town {
    async fn open(scale: &Size) -> Self {
        let (grace, timeout) = sized(("1s", "1s"), ("10s", "5s"));
        let settings = [
            ("PRESENCE_GRACE", grace),
            ("FIREBASE_DATABASE_TIMEOUT", timeout),
        ];
        let site = Site::new(&settings).await;
        let process = site.start().await;
        let scraper = Scraper::of(&process);
        until_ready(&process).await;
        let mut swarm = Swarm::empty();
        for number in 0..scale.leaving {
            swarm.add(&site, &format!("leaving{number}"));
        }
        for number in 0..scale.leaving {
            site.until_online(&format!("leaving{number}"), true).await;
        }
        let mut chat = Chat::open(&site, &process).await;
        site.until_online("ben", true).await;
        swarm.flap(&site, scale.flapping, 1, &scale.habits);
        // By then each of them has been there.
        let longest = Duration::from_millis(scale.habits.long_absence.end);
        chat.goes_on(Clock::system().instant() + longest).await;
        until_readiness(&process, "\"ready\"").await;
        Self {
            site,
            process,
            scraper,
            swarm,
            chat,
        }
    }

    /// Until all graces are over that began in it.
    async fn suffer(&mut self, outage: Outage, scale: &Size) {
        let began = Clock::system().instant();
        outage.begin(&self.site);
        self.swarm.order(0..scale.leaving, Return::Leave);
        until_readiness(&self.process, "degraded").await;
        self.chat.goes_on(began + scale.flaps_for).await;
        let flapping = scale.leaving..scale.leaving + scale.flapping;
        self.swarm.order(flapping, Return::Never);
        self.chat.goes_on(began + scale.lasts).await;
        until_nobody_lingers(&self.process).await;
        until_readiness(&self.process, "degraded").await;
    }

    /// Until all is true: when the last commit was, and when each of the leaving was offline.
    async fn recover(&self, leaving: usize) -> (Duration, Vec<Duration>) {
        let Self { site, swarm, .. } = self;
        let back = Clock::system().instant();
        Outage::end(site);
        site.until_true(&swarm.log, PATIENCE).await;
        let commits = site.journal.commits();
        let last = commits.iter().map(|commit| commit.at).max().unwrap();
        until_readiness(&self.process, "\"ready\"").await;
        let (seen, grace) = (swarm.log.seen(), Duration::from_secs(sized(1, 10)));
        let mut findings = check(&seen, &commits, grace, |user| site.is_online(user));
        // A write that was under way when the database went lands when it is back.
        findings.false_offline.clear();
        assert_eq!(findings, Findings::default());
        let offline = (0..leaving)
            .map(|number| offline_after(&commits, &format!("leaving{number}"), back).unwrap());
        (last.saturating_duration_since(back), offline.collect())
    }
}

async fn measure(outage: Outage) -> Measured {
    let scale = size();
    let mut town = Town::open(&scale).await;
    let asked = Outage::requests(&town.site);
    let (resident, told) = (
        resident_kib(&town.process),
        transitions(&town.process).await,
    );
    town.suffer(outage, &scale).await;
    let transitions = transitions(&town.process).await - told;
    let requests = Outage::requests(&town.site) - asked;
    let grown_kib = resident_kib(&town.process).saturating_sub(resident);
    let (converged, offline) = town.recover(scale.leaving).await;
    Measured {
        outage,
        transitions,
        requests,
        grown_kib,
        scrapes: town.scraper.check(),
        converged,
        offline,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_the_database_soon_tells_the_truth_and_was_left_in_peace_meanwhile() {
    let mut all = Vec::new();
    let kinds = [Outage::Broken, Outage::Stalled, Outage::Unavailable].map(measure);
    if is_full() {
        for outage in kinds {
            all.push(outage.await);
        }
    } else {
        all = futures_util::future::join_all(kinds).await;
    }
    let (mut told, mut offline) = (Vec::new(), Vec::new());
    for measured in all {
        let Measured {
            outage,
            transitions,
            requests,
            grown_kib,
            scrapes,
            converged,
            ..
        } = &measured;
        let line = format!(
            "{outage:?}: {:.1} s, {requests} requests, {transitions} transitions, \
             {grown_kib} KiB more, {scrapes} scrapes balance",
            converged.as_secs_f64()
        );
        assert!(*transitions >= size().transitions, "{line}");
        assert!(*grown_kib < 32 * 1_024, "{line}");
        assert!(
            *requests <= sized(2 * MOST_REQUESTS, MOST_REQUESTS),
            "{line}"
        );
        assert!(!is_full() || *converged <= BOUND, "{line}");
        told.push(line);
        offline.extend(measured.offline);
    }
    let times = Times::new(offline);
    assert!(!is_full() || times.max() <= BOUND, "{:?}", times.max());
    let case = sized("database down 4 s", "database down 60 s");
    offline_row(10, case, BOUND, &times);
    let what = sized(
        "convergence after a database outage of 4 s",
        "convergence after a 60 s database outage with 5,000 transitions in it",
    );
    let wanted = "<= 10 s, <= 12 requests during the outage";
    figure_row(6, what, wanted, &told.join("; "));
}
