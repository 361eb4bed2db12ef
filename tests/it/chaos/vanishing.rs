//! Clients that vanish without a word: how long until the database tells the truth?

use super::client::Client;
use super::connections::{SLACK, grace, offline_times, runs, settings};
use super::far::Far;
use super::figures::{Times, figure_row, offline_row};
use super::room::{Speaker, Witness, join};
use super::site::Site;
use super::sized;
use crate::process::Process;
use presence_bridge::clock::Clock;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The ping's turn, or the patience with a write that waits, which is as long, or the kernel's with data
/// that nobody acknowledges (`USER_TIMEOUT` in `src/server.rs`), and the grace.
fn bound() -> Duration {
    sized(
        Duration::from_secs(4) + grace() + SLACK,
        Duration::from_mins(1),
    )
}

/// On every address of this machine: the cables of the namespaces end at different ones.
const EVERYWHERE: (&str, &str) = ("HOST", "0.0.0.0");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The network is lost while nothing is under way.
    Cut,
    /// The network is lost, and much is said to the victim that nobody acknowledges.
    CutInABusyRoom,
    /// The victim stops reading; what is said to it fills its window.
    Deaf,
    /// The victim takes a little now and then, so that its window opens, and answers nothing.
    Reluctant,
    /// The process is stopped: its system takes what comes, nobody answers.
    Stopped,
}

impl Way {
    fn is_busy(self) -> bool {
        matches!(self, Self::CutInABusyRoom | Self::Deaf | Self::Reluctant)
    }
}

/// Users on their way out, and the room in which they are, if it is a busy one.
struct Victims {
    way: Way,
    users: Vec<String>,
    far: Far,
    vanish: watch::Sender<bool>,
    clients: JoinSet<()>,
    room: Option<(Speaker, Witness)>,
}

impl Victims {
    /// Connected over a whole interval of pings, so that each is at another point of its own.
    async fn connect(site: &Site, process: &Process, way: Way) -> Self {
        let chat = format!("{way:?}");
        let mut victims = Self {
            way,
            users: Vec::new(),
            far: Far::from(process.public).await,
            vanish: watch::Sender::new(false),
            clients: JoinSet::new(),
            room: None,
        };
        let near = process.public;
        for number in 0..runs() {
            let user = format!("{chat}{number}");
            let mut client = victims.client(near, &site.token(&user)).await;
            if way.is_busy() {
                join(&mut client, &chat).await;
            }
            let mut told = victims.vanish.subscribe();
            victims.clients.spawn(async move {
                let listening = async { while client.event().await.is_ok() {} };
                tokio::select! {
                    () = listening => {}
                    _ = told.wait_for(|told| *told) => {}
                }
                // Not closed as long as the test runs, and not read, or hardly.
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    if way == Way::Reluctant {
                        client.sip().await;
                    }
                }
            });
            victims.users.push(user);
            tokio::time::sleep(sized(Duration::ZERO, Duration::from_secs(1))).await;
        }
        // Last: who does not speak yet answers no ping either.
        if way.is_busy() {
            let witness = Witness::enter(site, near, &chat).await;
            victims.room = Some((Speaker::enter(site, near, &chat).await, witness));
        }
        victims
    }

    async fn client(&self, near: SocketAddr, token: &str) -> Client {
        let client = match self.way {
            Way::Cut | Way::CutInABusyRoom => Client::over(self.far.connect().await, token).await,
            Way::Reluctant => {
                let stream = self.far.connect().await;
                socket2::SockRef::from(&stream)
                    .set_recv_buffer_size(16 * 1024)
                    .unwrap();
                Client::over(stream, token).await
            }
            Way::Deaf => Client::narrow(near, token).await,
            Way::Stopped => Client::connect(near, token).await,
        };
        client.unwrap()
    }

    /// They vanish; the others talk on while `watch` looks.
    async fn vanish<T>(&mut self, watch: impl AsyncFnOnce(&[(String, Instant)]) -> T) -> T {
        let now = Clock::system().instant();
        if matches!(self.way, Way::Cut | Way::CutInABusyRoom) {
            self.far.pull();
        }
        self.vanish.send_replace(true);
        let users = self.users.iter();
        let gone: Vec<_> = users.map(|user| (user.clone(), now)).collect();
        let Some((speaker, witness)) = &mut self.room else {
            return watch(&gone).await;
        };
        let seen = tokio::select! {
            seen = watch(&gone) => seen,
            () = speaker.go_on() => unreachable!("it never ends"),
        };
        witness.has_heard(speaker.said).await;
        seen
    }
}

async fn measure(site: &Site, process: &Process, way: Way) -> Times {
    let mut victims = Victims::connect(site, process, way).await;
    for user in &victims.users {
        site.until_online(user, true).await;
    }
    let watch = async |gone: &[(String, Instant)]| offline_times(site, gone).await;
    victims.vanish(watch).await
}

#[tokio::test]
async fn whoever_vanishes_is_offline_in_time() {
    let site = Site::new(settings()).await;
    let process = site.start_with(&[EVERYWHERE]).await;
    let of = |way| measure(&site, &process, way);
    let (cut, busy, deaf, reluctant, stopped) = tokio::join!(
        of(Way::Cut),
        of(Way::CutInABusyRoom),
        of(Way::Deaf),
        of(Way::Reluctant),
        of(Way::Stopped)
    );
    let worst = [&cut, &busy, &deaf, &reluctant, &stopped].map(Times::max);
    for (order, case, times) in [
        (4, "network lost", cut),
        (5, "network lost in a busy room", busy),
        (6, "reader stops in a busy room", deaf),
        (7, "client process stopped", stopped),
        (15, "reader takes a little now and then", reluctant),
    ] {
        offline_row(order, case, bound(), &times);
        assert!(
            times.max() <= sized(3, 1) * bound(),
            "{case}: {:?}",
            times.max()
        );
    }
    let worst = worst.into_iter().max().unwrap_or_default();
    figure_row(
        5,
        "false online: half-open client, default ping settings",
        "<= 60 s",
        &format!("{:.1} s", worst.as_secs_f64()),
    );
}

/// Whether all who vanish so are still called online beyond the bound.
#[cfg(feature = "sabotage")]
async fn outlast(site: &Site, process: &Process, way: Way) -> bool {
    let mut victims = Victims::connect(site, process, way).await;
    for user in &victims.users {
        site.until_online(user, true).await;
    }
    let beyond = async |gone: &[(String, Instant)]| {
        tokio::time::sleep(bound()).await;
        gone.iter().all(|(user, _)| site.is_online(user))
    };
    victims.vanish(beyond).await
}

/// engineioxide's writer hangs and holds up the end of the session, as long as the kernel lets it.
#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_patience_and_user_timeout_whoever_vanishes_from_a_busy_room_stays_online() {
    let site = Site::new(settings()).await;
    let process = site
        .start_with(&[EVERYWHERE, ("SABOTAGE", "patience,user_timeout")])
        .await;
    let of = |way| outlast(&site, &process, way);
    let outlasted = tokio::join!(of(Way::CutInABusyRoom), of(Way::Deaf), of(Way::Reluctant));
    assert_eq!(outlasted, (true, true, true));
}

/// To the kernel a window that opens now and then is progress.
#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_patience_a_reader_who_takes_a_little_stays_online() {
    let site = Site::new(settings()).await;
    let process = site
        .start_with(&[EVERYWHERE, ("SABOTAGE", "patience")])
        .await;
    assert!(outlast(&site, &process, Way::Reluctant).await);
}
