//! What a process says of itself, scraped all the time, and what the system says of it.

use crate::process::Process;
use presence_bridge::clock::Clock;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often.
const EVERY: Duration = Duration::from_millis(200);

/// One page of metrics.
#[derive(Clone, Default)]
pub(crate) struct Page(String);

impl Page {
    /// `None` where the process does not answer.
    pub(crate) async fn of(admin: SocketAddr) -> Option<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let answer = client
            .get(format!("http://{admin}/metrics"))
            .send()
            .await
            .ok()?;
        Some(Self(answer.text().await.ok()?))
    }

    /// 0 for what was never touched.
    pub(crate) fn value(&self, name: &str) -> f64 {
        let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        self.0.lines().find_map(line).unwrap_or_default()
    }

    /// I13: nothing that was accepted has got lost.
    #[track_caller]
    pub(crate) fn check_balance(&self) {
        let of = |name: &str| self.value(&format!("bridge_mirror_{name}"));
        let parts = ["written_total", "coalesced_total", "pending", "parked"].map(of);
        let sum: f64 = parts.iter().sum();
        let accepted = of("accepted_total");
        assert!(
            (accepted - sum).abs() < 0.5,
            "accepted {accepted} is not the sum of {parts:?}"
        );
    }
}

/// Scrapes until dropped; every page must balance.
pub(crate) struct Scraper {
    pages: Arc<Mutex<Vec<Page>>>,
    scraping: JoinHandle<()>,
}

impl Scraper {
    pub(crate) fn of(process: &Process) -> Self {
        let admin = process.admin;
        let pages = Arc::<Mutex<Vec<Page>>>::default();
        let scraping = tokio::spawn({
            let pages = Arc::clone(&pages);
            async move {
                loop {
                    if let Some(page) = Page::of(admin).await {
                        pages.lock().unwrap().push(page);
                    }
                    tokio::time::sleep(EVERY).await;
                }
            }
        });
        Self { pages, scraping }
    }

    /// Checks all pages so far, and says how many there were.
    #[track_caller]
    pub(crate) fn check(&self) -> usize {
        let pages = std::mem::take(&mut *self.pages.lock().unwrap());
        assert!(!pages.is_empty(), "nothing was scraped");
        pages.iter().for_each(Page::check_balance);
        pages.len()
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.scraping.abort();
    }
}

/// Resident memory of a process, in KiB (`/proc/PID/status`, `VmRSS`).
pub(crate) fn resident_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// Open file descriptors of a process.
pub(crate) fn open_files(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id()))
        .unwrap()
        .count()
}

/// What must be 0 when everybody is gone and everything is written.
const GAUGES: [&str; 8] = [
    "bridge_tcp_connections",
    "bridge_connections",
    "bridge_typing_active",
    "bridge_presence_users{status=\"online\"}",
    "bridge_presence_users{status=\"lingering\"}",
    "bridge_mirror_pending",
    "bridge_mirror_parked",
    "bridge_mirror_oldest_age_seconds",
];

/// Until every gauge is 0; says how long it took.
pub(crate) async fn until_at_rest(process: &Process, patience: Duration) -> Duration {
    let clock = Clock::system();
    let start = clock.instant();
    loop {
        let page = Page::of(process.admin).await.unwrap();
        page.check_balance();
        let left = GAUGES.map(|name| (name, page.value(name)));
        let mut left = left.into_iter().filter(|(_, value)| *value > 0.0);
        let took = clock.instant() - start;
        let Some(first) = left.next() else {
            return took;
        };
        assert!(
            took < patience,
            "left: {first:?} {:?}",
            left.collect::<Vec<_>>()
        );
        tokio::time::sleep(EVERY).await;
    }
}
