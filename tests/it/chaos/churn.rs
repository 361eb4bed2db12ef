//! Connections that come and die all the time, each in its own way: what stays behind?

use super::client::{Client, Failed};
use super::connections::settings;
use super::far::Far;
use super::figures::figure_row;
use super::hasty;
use super::room::join;
use super::scrape::{Scraper, open_files, resident_kib, until_at_rest};
use super::site::Site;
use super::{is_full, sized};
use crate::process::Process;
use presence_bridge::clock::Clock;
use rand::RngExt;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// They come again and again: what is remembered of a user is remembered once.
const USERS: u32 = 2_000;
const CHATS: u32 = 50;
/// Users who go with a whole network, and how often that happens.
const CUT_AT_ONCE: usize = 10;
const CUTS: Duration = Duration::from_secs(10);
/// Silent connections are held until the bridge must have ended them.
const HELD: Duration = Duration::from_mins(1);

/// How one connection ends.
#[derive(Clone, Copy, Debug)]
enum Death {
    Leaves,
    /// FIN.
    IsKilled,
    /// RST.
    IsReset,
    /// Stays, and neither reads nor answers.
    FallsSilent,
    /// Never becomes a connection.
    InTheHandshake,
    /// Begins a request and does not go on.
    DripsAHead,
    BadToken,
}

const DEATHS: [Death; 7] = [
    Death::Leaves,
    Death::IsKilled,
    Death::IsReset,
    Death::FallsSilent,
    Death::InTheHandshake,
    Death::DripsAHead,
    Death::BadToken,
];

fn any<T: Copy>(of: &[T]) -> T {
    of[rand::rng().random_range(0..of.len())]
}

/// One connection from its beginning to its end.
async fn live_and_die(bridge: SocketAddr, token: String, death: Death) {
    match death {
        Death::InTheHandshake => return hasty::begin(bridge, &token).await,
        Death::DripsAHead => return hasty::drip(bridge, HELD).await,
        Death::BadToken => {
            return match Client::connect(bridge, "not.a.token").await {
                Err(Failed::Refused(code)) => assert_eq!(code, "\"unauthorized\""),
                Err(Failed::Broken) => {}
                Ok(_) => panic!("anybody may come in"),
            };
        }
        Death::Leaves | Death::IsKilled | Death::IsReset | Death::FallsSilent => {}
    }
    // The oldest of ten connections of a user gives way to the eleventh.
    let Ok(mut client) = Client::connect(bridge, &token).await else {
        return;
    };
    let talk = async {
        let chat = format!("chat{}", rand::rng().random_range(0..CHATS));
        client.ask("join_chat", json!({ "chatId": chat })).await?;
        client.say("typing", json!({ "chatId": chat })).await?;
        let message = json!({ "chatId": chat, "message": "x".repeat(200) });
        client.ask("send_message", message).await?;
        client.say("typing", json!({ "chatId": chat })).await?;
        while client.event().await.is_ok() {}
        Ok::<_, Failed>(())
    };
    let life = Duration::from_millis(rand::rng().random_range(0..sized(1_000, 5_000)));
    drop(tokio::time::timeout(life, talk).await);
    match death {
        Death::Leaves => client.leave().await,
        Death::IsReset => client.reset(),
        Death::FallsSilent => tokio::time::sleep(HELD).await,
        Death::IsKilled | Death::InTheHandshake | Death::DripsAHead | Death::BadToken => {
            client.die();
        }
    }
}

/// How often new ones come.
const ARRIVALS: Duration = Duration::from_millis(100);

/// So many new connections every time; counts them.
async fn come(site: &Site, bridge: SocketAddr, each: u32, all: &mut JoinSet<()>, came: &mut u32) {
    let mut ticks = tokio::time::interval(ARRIVALS);
    // A machine that stood still must not make a flood of them.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for _ in 0..each {
            let user = format!("u{}", rand::rng().random_range(0..USERS));
            all.spawn(live_and_die(bridge, site.token(&user), any(&DEATHS)));
        }
        *came += each;
        while let Some(done) = all.try_join_next() {
            done.unwrap();
        }
    }
}

/// Networks that break with everybody in them.
async fn cut(site: &Site, bridge: SocketAddr) {
    let mut broken = Vec::new();
    loop {
        let far = Far::from(bridge).await;
        let mut clients = Vec::new();
        for _ in 0..CUT_AT_ONCE {
            let user = format!("u{}", rand::rng().random_range(0..USERS));
            let stream = far.connect().await;
            let mut client = Client::over(stream, &site.token(&user)).await.unwrap();
            join(&mut client, "chat0").await;
            clients.push(client);
        }
        far.pull();
        broken.push((far, clients));
        if broken.len() > 6 {
            broken.remove(0);
        }
        tokio::time::sleep(CUTS).await;
    }
}

/// What the process takes, over the time.
struct Samples(Vec<(f64, f64)>);

impl Samples {
    /// Least squares over all after `warm`, in percent of their mean per ten minutes.
    fn slope_percent(&self, warm: Duration) -> f64 {
        let warmed = self.0.iter().filter(|(at, _)| *at >= warm.as_secs_f64());
        let points: Vec<_> = warmed.copied().collect();
        let count = f64::from(u32::try_from(points.len()).unwrap());
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (at, size) = (mean(|point| point.0), mean(|point| point.1));
        let products = points.iter().map(|point| (point.0 - at) * (point.1 - size));
        let squares = points.iter().map(|point| (point.0 - at).powi(2));
        let a_second = products.sum::<f64>() / squares.sum::<f64>();
        a_second * 600.0 / size * 100.0
    }
}

/// Looks every so often until the time is over; every page of metrics must balance.
async fn sample(process: &Process, scraper: &Scraper, time: Duration) -> Samples {
    let clock = Clock::system();
    let start = clock.instant();
    let mut samples = Vec::new();
    let mut ticks =
        tokio::time::interval(sized(Duration::from_millis(500), Duration::from_secs(5)));
    while clock.instant() < start + time {
        ticks.tick().await;
        let size = f64::from(u32::try_from(resident_kib(process)).unwrap());
        samples.push(((clock.instant() - start).as_secs_f64(), size));
        if samples.len() % 12 == 0 {
            scraper.check();
        }
    }
    Samples(samples)
}

/// How long, after the ten minutes in which the allocator comes to its high water.
#[expect(
    clippy::disallowed_methods,
    reason = "how long the run is, is said by whoever runs it"
)]
fn minutes() -> u64 {
    let told = std::env::var("CHURN_MINUTES").ok();
    told.map_or(20, |minutes| minutes.parse().unwrap())
}

#[tokio::test]
async fn churn_leaves_nothing_behind() {
    let site = Site::new(settings()).await;
    let process = site.start_with(&[("HOST", "0.0.0.0")]).await;
    let warm = sized(Duration::from_secs(2), Duration::from_mins(10));
    let time = sized(
        Duration::from_secs(8),
        warm + Duration::from_mins(minutes()),
    );
    let files = open_files(&process);
    let scraper = Scraper::of(&process);
    let (mut all, mut came) = (JoinSet::new(), 0);
    let samples = tokio::select! {
        samples = sample(&process, &scraper, time) => samples,
        () = come(&site, process.public, sized(4, 20), &mut all, &mut came) => unreachable!("it never ends"),
        () = cut(&site, process.public) => unreachable!("it never ends"),
    };
    // Whoever is silent stays so: it is the bridge that has to end them.
    let back = until_at_rest(&process, Duration::from_mins(2)).await;
    scraper.check();
    let left = open_files(&process);
    assert!(left <= files + 10, "{left} files are open, {files} were");
    let online = (0..USERS).filter(|user| site.is_online(&format!("u{user}")));
    assert_eq!(online.count(), 0, "somebody is still online");
    let slope = samples.slope_percent(warm);
    figure_row(
        10,
        "memory while 200 connections a second churn, random deaths: slope",
        "< 1 % per 10 min",
        &format!(
            "{slope:.2} % at {:.0} a second",
            f64::from(came) / time.as_secs_f64()
        ),
    );
    figure_row(
        11,
        "gauges back to 0 after the churn",
        "within 2 min",
        &format!("{:.0} s", back.as_secs_f64()),
    );
    assert!(!is_full() || slope < 1.0, "{slope} %");
}
