//! A write that lands after its sender has given it up, over a newer one.

use super::client::Client;
use super::database::until_ready;
use super::scrape::Page;
use super::site::Site;
use super::sized;
use crate::phone::soon;
use axum::http::Method;
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{Fault, Target, Verdict};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const USERS: usize = 10;
/// Longer than the first read after doubt takes to come.
#[cfg(feature = "sabotage")]
const TOO_LONG: Duration = Duration::from_secs(8);

/// Users who are online, and were not for a moment whose record lands late.
struct Late {
    site: Site,
    /// Listens, so that pings are answered.
    here: JoinSet<()>,
    _process: crate::process::Process,
}

fn names() -> impl Iterator<Item = String> {
    (0..USERS).map(|number| format!("u{number}"))
}

impl Late {
    /// Everybody is back, the database says so, and the old offline is still to come: so long
    /// after its sender has given it up.
    async fn open(settings: &[(&str, &str)], late_by: Duration) -> Self {
        let timeout = Duration::from_secs(1);
        let site = Site::new(&[
            ("PRESENCE_GRACE", "100ms"),
            ("FIREBASE_DATABASE_TIMEOUT", "1s"),
        ])
        .await;
        let process = site.start_with(settings).await;
        until_ready(&process).await;
        let come = async || {
            let mut clients = Vec::new();
            for user in names() {
                let token = site.token(&user);
                clients.push(Client::connect(process.public, &token).await.unwrap());
            }
            clients
        };
        let clients = come().await;
        for user in names() {
            site.until_online(&user, true).await;
        }
        let sent = async || {
            Page::of(process.admin)
                .await
                .unwrap()
                .value("bridge_mirror_records_total")
        };
        let before = sent().await;
        let left = Clock::system().instant();
        let late = Fault::DelayCommit(timeout + late_by);
        let batch = Target::method(Method::PATCH).under("/presence");
        site.database.inject(batch, 1, late);
        clients.into_iter().for_each(Client::die);
        soon("the batch that will be late", async {
            while sent().await < before + 0.5 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let mut here = JoinSet::new();
        for mut client in come().await {
            here.spawn(async move { while client.event().await.is_ok() {} });
        }
        let late = Self {
            here,
            _process: process,
            site,
        };
        late.until_told_after(left).await;
        late
    }

    /// Until some newer online than this is there.
    async fn until_told_after(&self, since: Instant) {
        let told = self.site.database.until(|_| {
            let mut commits = self.site.journal.commits().into_iter();
            commits.any(|commit| commit.online && commit.at > since)
        });
        soon("the newer record", told).await;
    }

    fn is_everybody_here(&mut self) -> bool {
        self.here.try_join_next().is_none()
    }

    fn away(&self) -> usize {
        names().filter(|user| !self.site.is_online(user)).count()
    }

    /// Until the late batch is there; it says that somebody who is here is away.
    async fn until_landed(&self) -> Instant {
        soon(
            "the late batch",
            self.site.database.until(|_| self.away() > 0),
        )
        .await;
        Clock::system().instant()
    }
}

/// The reads after doubt come 5 and 30 seconds after it.
async fn is_put_right(late_by: Duration, within: Duration) {
    let mut late = Late::open(&[], late_by).await;
    let landed = late.until_landed().await;
    let right = late.site.database.until(|_| late.away() == 0);
    tokio::time::timeout(within + crate::phone::DEADLINE, right)
        .await
        .unwrap();
    let lie = Clock::system().instant() - landed;
    assert!(
        lie <= sized(within + crate::phone::DEADLINE, within),
        "{lie:?}"
    );
    assert!(late.is_everybody_here());
}

#[tokio::test]
async fn a_late_landing_is_found_and_put_right() {
    let soon = is_put_right(Duration::from_millis(1_500), Duration::from_secs(6));
    let later = async {
        if super::is_full() {
            is_put_right(Duration::from_secs(8), Duration::from_secs(30)).await;
        }
    };
    tokio::join!(soon, later);
}

#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_the_reads_after_doubt_a_late_landing_stays() {
    let mut late = Late::open(&[("SABOTAGE", "doubt")], Duration::from_millis(1_500)).await;
    late.until_landed().await;
    tokio::time::sleep(TOO_LONG).await;
    assert!(late.away() > 0, "nobody has looked");
    assert!(late.is_everybody_here());
}

#[tokio::test]
async fn behind_the_fence_a_late_landing_is_refused() {
    let fence = [("PRESENCE_FENCE", "rules")];
    let mut late = Late::open(&fence, Duration::from_millis(1_500)).await;
    let refused = late.site.database.until(|base| {
        let mut entries = base.history().into_iter();
        entries.any(|entry| entry.path == "/presence" && entry.verdict == Verdict::Refused(401))
    });
    soon("the refusal", refused).await;
    assert_eq!(late.away(), 0);
    let commits = late.site.journal.commits();
    assert!(
        commits.iter().all(|commit| commit.online),
        "nobody was offline"
    );
    assert!(late.is_everybody_here());
}
