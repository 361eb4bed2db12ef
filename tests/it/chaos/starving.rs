//! A process that goes short: of file descriptors, of a reader for its log, of the processor.

use super::checker::Findings;
use super::client::Client;
use super::machine::{all_online, written_off};
use super::processes::{DRAIN, PATIENCE, at_rest, names, noise};
use super::proxy::Cable;
use super::scrape::{Page, Scraper, open_files};
use super::site::Site;
use super::sized;
use super::swarm::{Return, Swarm, What};
use crate::process::{Process, command};
use rustix::process::Signal;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Until the process says that it has counted so many.
pub(super) async fn until_counted(process: &Process, metric: &str, so_many: f64) {
    let counted = async {
        while Page::of(process.admin)
            .await
            .is_none_or(|page| page.value(metric) < so_many)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
}

/// Everybody who has ever lost a connection.
fn gone(swarm: &Swarm) -> BTreeSet<String> {
    let seen = swarm.log.seen().into_iter();
    let gone = seen.filter(|seen| seen.what == What::Gone);
    gone.map(|seen| seen.user).collect()
}

/// Connections that say so much and are opened again as soon as they are closed. They end with the set.
fn strangers(address: SocketAddr, so_many: usize, words: &'static [u8]) -> JoinSet<()> {
    let mut strangers = JoinSet::new();
    for _ in 0..so_many {
        strangers.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    stream.write_all(words).await.unwrap_or_default();
                    let mut heard = [0; 256];
                    while matches!(stream.read(&mut heard).await, Ok(1..)) {}
                }
                tokio::task::yield_now().await;
            }
        });
    }
    strangers
}

/// Some of the swarm leave, and the database hears of it.
async fn leave(site: &Site, swarm: &Swarm, users: usize) {
    swarm.order(0..users, Return::Leave);
    for user in names(0..users) {
        site.until_online(&user, false).await;
    }
}

#[tokio::test]
async fn without_file_descriptors_presence_is_written_and_later_new_ones_get_in() {
    const FILES: usize = 160;
    let site = Site::new(&[("PRESENCE_GRACE", "1s")]).await;
    let process = site
        .start_after(&format!("ulimit -n {FILES}; exec"), &[])
        .await;
    let scraper = Scraper::of(&process);
    let mut swarm = Swarm::of(&site, 20).await;
    all_online(&site, 20).await;
    // More than places, refusals and reserve together.
    let crowd = strangers(process.public, 400, b"");
    until_counted(&process, "bridge_tcp_refused_total", 1_000.0).await;
    // The next write needs a descriptor of its own.
    site.cable.set(Cable::Broken);
    tokio::time::sleep(Duration::from_secs(1)).await;
    site.cable.set(Cable::Sound);
    leave(&site, &swarm, 5).await;
    assert!(open_files(&process) <= FILES);
    drop(crowd);
    swarm.add(&site, "u20");
    swarm.until_connected(16).await;
    only_five_are_gone(&site, &swarm, &scraper).await;
}

/// All is right at rest, and nobody else has lost the connection or was written offline.
async fn only_five_are_gone(site: &Site, swarm: &Swarm, scraper: &Scraper) {
    let found = at_rest(site, &swarm.log, Duration::ZERO).await;
    assert_eq!(found, Findings::default());
    assert_eq!((gone(swarm), written_off(site)), (names(0..5), names(0..5)));
    scraper.check();
}

/// One says something in a chat, and the other hears it.
async fn chat(site: &Site) {
    let mut ann = Client::connect(site.door.address(), &site.token("ann"))
        .await
        .unwrap();
    let mut ben = Client::connect(site.door.address(), &site.token("ben"))
        .await
        .unwrap();
    for phone in [&mut ann, &mut ben] {
        let joined = phone.ask("join_chat", json!({ "chatId": "x" })).await;
        assert_eq!(joined.unwrap()["ok"], true);
    }
    let message = json!({ "chatId": "x", "message": "hello" });
    let told = ann.ask("send_message", message).await.unwrap();
    assert_eq!(told["ok"], true);
    let heard = async { while ben.event().await.unwrap().0 != "new_message" {} };
    tokio::time::timeout(PATIENCE, heard).await.unwrap();
    ann.leave().await;
    ben.leave().await;
}

#[tokio::test]
async fn when_nobody_reads_the_log_lines_are_lost_and_nothing_else() {
    let site = Site::new(&[("PRESENCE_GRACE", "1s"), ("RUST_LOG", "trace")]).await;
    let process = site.start().await;
    let scraper = Scraper::of(&process);
    let swarm = Swarm::of(&site, 20).await;
    all_online(&site, 20).await;
    process.stop_reading();
    // Each is worth a line.
    let crowd = strangers(process.public, 50, b"?\r\n\r\n");
    until_counted(&process, "bridge_log_dropped", 100.0).await;
    drop(crowd);
    chat(&site).await;
    leave(&site, &swarm, 5).await;
    let found = at_rest(&site, &swarm.log, Duration::ZERO).await;
    assert_eq!(found, Findings::default());
    assert_eq!(gone(&swarm), names(0..5));
    scraper.check();
    swarm.order(0..20, Return::Leave);
    process.signal(Signal::TERM);
    let (status, _) = process.ended(DRAIN + noise()).await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn starved_of_the_processor_it_loses_nobody() {
    let users = sized(50, 500);
    let settings = sized(
        &[("PRESENCE_GRACE", "1s"), ("PING_INTERVAL", "2s")][..],
        &[][..],
    );
    let site = Site::new(settings).await;
    let process = site.start_after("exec nice -n 19", &[]).await;
    let scraper = Scraper::of(&process);
    let swarm = Swarm::of(&site, users).await;
    all_online(&site, users).await;
    let greedy = [(); 2].map(|()| {
        let script = ["-c", "while :; do :; done"];
        command("/bin/sh", &[]).args(script).spawn().unwrap()
    });
    tokio::time::sleep(sized(Duration::from_secs(8), Duration::from_mins(1))).await;
    leave(&site, &swarm, 5).await;
    drop(greedy);
    only_five_are_gone(&site, &swarm, &scraper).await;
}
