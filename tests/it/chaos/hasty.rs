//! Connections that end before they have begun, or that never become what they started as.

use super::connections::{SLACK, grace, offline_times, runs, settings};
use super::scrape::{Page, until_at_rest};
use super::site::Site;
use super::sized;
use crate::hostile::polling;
use crate::phone::soon;
use crate::process::Process;
use crate::wire::{Wire, frame};
use futures_util::{SinkExt, StreamExt};
use presence_bridge::clock::Clock;
use rand::RngExt;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// All at once the gauges are back; a handshake that was never finished may take its ten seconds.
const REST: Duration = Duration::from_mins(1);

/// Everything that a client says until it is connected.
fn handshake(token: &str) -> Vec<u8> {
    let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let connect = format!("40{}", json!({ "token": token }));
    let mut said = head.as_bytes().to_vec();
    said.extend(frame(0x81, connect.as_bytes()));
    said
}

/// Says the beginning of a handshake, up to some byte, and is gone, by FIN or by RST: at once, or
/// when something was heard, or after a moment.
pub(super) async fn begin(bridge: SocketAddr, token: &str) {
    let said = handshake(token);
    let mut stream = TcpStream::connect(bridge).await.unwrap();
    let (cut, wait, reset) = {
        let mut chance = rand::rng();
        // Half of them say everything: what matters most happens right after.
        let all = chance.random::<bool>();
        let cut = if all {
            said.len()
        } else {
            chance.random_range(0..said.len())
        };
        (cut, chance.random_range(0..3), chance.random::<bool>())
    };
    // A bridge that is full may be faster.
    stream.write_all(&said[..cut]).await.unwrap_or_default();
    match wait {
        0 => {}
        1 => {
            let mut heard = [0; 256];
            let hearing = stream.read(&mut heard);
            drop(tokio::time::timeout(Duration::from_millis(20), hearing).await);
        }
        _ => {
            let moment = rand::rng().random_range(0..3_000);
            tokio::time::sleep(Duration::from_micros(moment)).await;
        }
    }
    if reset {
        stream.set_zero_linger().unwrap();
    }
}

/// Says half a head, and holds the connection.
pub(super) async fn drip(bridge: SocketAddr, held: Duration) {
    let mut stream = TcpStream::connect(bridge).await.unwrap();
    stream.write_all(b"GET /socket.io/?EIO=4").await.unwrap();
    tokio::time::sleep(held).await;
}

#[tokio::test]
async fn whoever_goes_in_the_middle_of_a_handshake_leaves_nothing_behind() {
    let site = Site::new(settings()).await;
    let process = site.start().await;
    let mut hasty = JoinSet::new();
    let users = sized(400, 5_000);
    for number in 0..users {
        let (bridge, token) = (process.public, site.token(&format!("hasty{number}")));
        hasty.spawn(async move { begin(bridge, &token).await });
        if hasty.len() >= 20 {
            hasty.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = hasty.join_next().await {
        done.unwrap();
    }
    until_at_rest(&process, REST).await;
    let online = |number: &usize| site.is_online(&format!("hasty{number}"));
    assert_eq!((0..users).filter(online).count(), 0);
    let page = Page::of(process.admin).await.unwrap();
    assert!(
        page.value("bridge_connections_opened_total") > 0.0,
        "none came far enough"
    );
    assert!(page.value("bridge_panics_total") < 1.0);
}

#[tokio::test]
async fn a_second_connect_with_another_users_token_changes_nothing() {
    let site = Site::new(settings()).await;
    let process = site.start().await;
    let mut wires = Vec::new();
    for number in 0..runs() {
        let [first, second] = ["first", "second"].map(|kind| format!("{kind}{number}"));
        let connect = |user: &str| format!("40{}", json!({ "token": site.token(user) }));
        let mut wire = Wire::open(process.public)
            .await
            .upgraded(process.public)
            .await;
        wire.text(&connect(&first)).await;
        wire.until("\"ready\"").await;
        wire.text(&connect(&second)).await;
        let join = json!(["join_chat", { "chatId": first }]);
        wire.text(&format!("421{join}")).await;
        let heard = wire.until("431[").await;
        assert!(!heard.contains(&second), "{heard}");
        site.until_online(&first, true).await;
        wires.push(wire);
    }
    drop(wires);
    until_at_rest(&process, REST).await;
    let commits = site.journal.commits();
    assert!(
        commits
            .iter()
            .all(|commit| commit.user.starts_with("first"))
    );
    for number in 0..runs() {
        assert!(!site.is_online(&format!("first{number}")));
    }
}

/// A session over polling. Nothing is asked by itself.
pub(super) struct Polled {
    client: reqwest::Client,
    url: String,
    sid: String,
    token: String,
}

impl Polled {
    pub(super) async fn post(&self, packets: impl Into<String>) {
        let posted = self.client.post(&self.url).body(packets.into()).send();
        assert_eq!(soon("POST", posted).await.unwrap().status(), 200);
    }

    pub(super) async fn get(&self) -> String {
        let answer = soon("GET", self.client.get(&self.url).send()).await;
        answer.unwrap().text().await.unwrap()
    }

    pub(super) async fn connect(&self) {
        let auth = json!({ "token": self.token });
        self.post(format!("40{auth}")).await;
    }

    pub(super) async fn join(&self, chat: &str) {
        let join = json!(["join_chat", { "chatId": chat }]);
        self.post(format!("421{join}")).await;
        while !self.get().await.contains("431[") {}
    }
}

/// Connected, and online.
pub(super) async fn polled(site: &Site, process: &Process, user: &str) -> Polled {
    let (client, sid) = polling(process.public).await;
    let bridge = process.public;
    let polled = Polled {
        client,
        url: format!("http://{bridge}/socket.io/?EIO=4&transport=polling&sid={sid}"),
        sid,
        token: site.token(user),
    };
    polled.connect().await;
    while !polled.get().await.contains("ready") {}
    site.until_online(user, true).await;
    polled
}

/// Asks for an upgrade as far as the answer to the probe, and keeps the connection.
async fn probed(bridge: SocketAddr, sid: &str) -> WebSocketStream<TcpStream> {
    let url = format!("ws://{bridge}/socket.io/?EIO=4&transport=websocket&sid={sid}");
    let stream = TcpStream::connect(bridge).await.unwrap();
    let (mut socket, _) = soon("the upgrade", tokio_tungstenite::client_async(url, stream))
        .await
        .unwrap();
    socket.send(Message::text("2probe")).await.unwrap();
    let answer = soon("the probe's answer", socket.next()).await;
    assert_eq!(answer.unwrap().unwrap(), Message::text("3probe"));
    socket
}

#[tokio::test]
async fn whoever_stops_polling_or_upgrading_is_offline_in_time() {
    let site = Site::new(settings()).await;
    let process = site.start().await;
    let clock = Clock::system();
    let (mut gone, mut silent): (Vec<(String, Instant)>, Vec<_>) = (Vec::new(), Vec::new());
    for number in 0..runs() {
        let user = format!("polling{number}");
        polled(&site, &process, &user).await;
        gone.push((user, clock.instant()));
        let user = format!("upgrading{number}");
        let polled = polled(&site, &process, &user).await;
        silent.push(probed(process.public, &polled.sid).await);
        gone.push((user, clock.instant()));
    }
    let times = offline_times(&site, &gone).await;
    // The ping's turn, or the ten seconds that an upgrade may take, and the grace.
    let bound = Duration::from_secs(sized(10, 35)) + grace() + SLACK;
    assert!(times.max() <= sized(3, 1) * bound, "{:?}", times.max());
    until_at_rest(&process, REST).await;
}
