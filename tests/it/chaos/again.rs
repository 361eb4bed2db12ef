//! A client that leaves and connects again over the same transport, while its first session is being closed.

use super::connections::{SLACK, offline_times};
use super::hasty::{Polled, polled};
use super::room::Speaker;
use super::scrape::{Page, until_at_rest};
use super::site::Site;
use crate::phone::soon;
use presence_bridge::clock::Clock;
use std::time::Duration;
use tokio::task::JoinSet;

/// What a reader's send buffer holds (`SEND_BUFFER_PACKETS` in `src/socket/mod.rs`), and one more.
const TOO_MUCH: u64 = 2_049;

/// Few: all of them must be back before the first transport has said its goodbye.
const RUNS: u32 = 4;

/// The first session waits for room to say goodbye. It is left, room is made, and the next one begins.
async fn begin_again(polled: Polled) {
    polled.post("41").await;
    polled.get().await;
    polled.connect().await;
}

#[tokio::test]
async fn whoever_connects_again_while_being_closed_is_offline_in_time() {
    // Short against the audit's half a minute.
    let site = Site::new(&[
        ("PING_INTERVAL", "8s"),
        ("PING_TIMEOUT", "2s"),
        ("PRESENCE_GRACE", "1s"),
    ])
    .await;
    let process = site.start().await;
    let mut speaker = Speaker::enter(&site, process.public, "polled").await;
    let mut all = Vec::new();
    for number in 0..RUNS {
        let one = polled(&site, &process, &format!("again{number}")).await;
        one.join("polled").await;
        all.push(one);
    }
    for said in 0..TOO_MUCH {
        if said % 50 == 0 {
            for one in &all {
                // A pong, so that they live to be slow.
                one.post("3").await;
            }
        }
        speaker.say(1).await;
    }
    let closed = async {
        let counted = async || {
            let page = Page::of(process.admin).await.unwrap();
            page.value("bridge_slow_consumers_total")
        };
        while counted().await + 0.5 < f64::from(RUNS) {}
    };
    soon("slow consumers", closed).await;
    let mut beginning: JoinSet<()> = all.into_iter().map(begin_again).collect();
    while let Some(done) = beginning.join_next().await {
        done.unwrap();
    }
    let now = Clock::system().instant();
    let gone: Vec<_> = (0..RUNS).map(|n| (format!("again{n}"), now)).collect();
    let times = offline_times(&site, &gone).await;
    // Without a word from the socket only the audit would find the second session, half a minute after
    // it has missed it for the first time.
    let bound = Duration::from_secs(10 + 1) + 2 * SLACK;
    assert!(times.max() <= bound, "{:?}", times.max());
    drop(speaker);
    until_at_rest(&process, Duration::from_mins(1)).await;
}
