//! Sessions over polling, and on their way from it to a WebSocket.

use crate::phone::soon;
use crate::wire::Wire;
use crate::world::World;
use presence_bridge::clock::Clock;
use presence_bridge::domain::time::UnixMillis;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// What stands between two packets of one answer; here also between two answers.
const BETWEEN: &str = "\u{1e}";

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Opens a session and returns its id.
pub(crate) async fn open(client: &reqwest::Client, bridge: SocketAddr) -> String {
    let url = format!("http://{bridge}/socket.io/?EIO=4&transport=polling");
    let opened = client.get(url).send().await.unwrap().text().await.unwrap();
    let opened: Value = serde_json::from_str(&opened[1..]).unwrap();
    opened["sid"].as_str().unwrap().to_owned()
}

/// One request of the session `sid`: a packet is posted, without one it polls.
async fn ask(
    client: &reqwest::Client,
    bridge: SocketAddr,
    sid: &str,
    packet: Option<String>,
) -> (u16, String) {
    let url = format!("http://{bridge}/socket.io/?EIO=4&transport=polling&sid={sid}");
    let request = match packet {
        Some(packet) => client.post(url).body(packet),
        None => client.get(url),
    };
    let answer = soon("an answer", request.send()).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Polls until `part` was heard.
async fn until(client: &reqwest::Client, bridge: SocketAddr, sid: &str, part: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(part) {
        let (status, packets) = ask(client, bridge, sid, None).await;
        assert_eq!(
            status, 200,
            "{packets} after {heard}, still waiting for {part}"
        );
        heard += &(packets + BETWEEN);
    }
    heard
}

/// Polls until the session is gone, and returns what was heard before.
async fn until_gone(client: &reqwest::Client, bridge: SocketAddr, sid: &str) -> String {
    let mut heard = String::new();
    soon("the end of the session", async {
        loop {
            let (status, packets) = ask(client, bridge, sid, None).await;
            if status == 400 {
                return;
            }
            heard += &(packets + BETWEEN);
        }
    })
    .await;
    heard
}

#[tokio::test]
async fn whoever_moves_to_a_websocket_while_connecting_is_told_to_reconnect_like_all_others() {
    for connect_before_the_move in [true, false] {
        let mut world = World::new().await;
        let connect = format!("40{}", json!({ "token": world.token("ann") }));
        let client = client();
        let sid = open(&client, world.bridge).await;
        let wire = Wire::open(world.bridge).await;
        let moving = wire.moving(world.bridge, &sid).await;
        let mut wire = if connect_before_the_move {
            ask(&client, world.bridge, &sid, Some(connect)).await;
            moving.moved().await
        } else {
            let mut moved = moving.moved().await;
            moved.text(&connect).await;
            moved
        };
        wire.until("\"ready\"").await;
        let (heard, ()) = tokio::join!(wire.rest(), world.drain());
        assert!(heard.contains("\"draining\""), "{heard:?}");
        // A stock client takes a DISCONNECT packet as final.
        assert!(!heard.contains("\u{2}41"), "{heard:?}");
    }
}

#[tokio::test]
async fn refusals_of_others_over_the_same_tcp_connection_do_not_count() {
    let world = World::new().await;
    // A proxy sends the sessions of many people over few connections.
    let client = client();
    for token in ["bad", "bad", "bad", &world.token("ann")] {
        let sid = open(&client, world.bridge).await;
        let connect = format!("40{}", json!({ "token": token }));
        ask(&client, world.bridge, &sid, Some(connect)).await;
        let answer = if token == "bad" {
            "\"unauthorized\""
        } else {
            "\"ready\""
        };
        until(&client, world.bridge, &sid, answer).await;
    }
}

#[tokio::test]
async fn whoever_polls_and_shall_come_back_loses_the_transport() {
    let clock = Clock::manual(UnixMillis(1_900_000_000_000));
    let world = World::at(
        &[("AUTH_EXPIRY_NOTICE", "30m"), ("AUTH_LEEWAY", "0s")],
        clock.clone(),
    )
    .await;
    let connect = format!("40{}", json!({ "token": world.token("ann") }));
    clock.set_unix(UnixMillis(1_900_000_000_000 + 3_599_000));
    let client = client();
    let sid = open(&client, world.bridge).await;
    ask(&client, world.bridge, &sid, Some(connect)).await;
    until(&client, world.bridge, &sid, "\"token_expiring\"").await;
    clock.set_unix(UnixMillis(1_900_000_000_000 + 3_600_000));
    let mut heard = until(&client, world.bridge, &sid, "\"token_expired\"").await;
    heard += &until_gone(&client, world.bridge, &sid).await;
    // A stock client takes a DISCONNECT packet as final.
    let packets: Vec<_> = heard.split(BETWEEN).collect();
    assert!(!packets.contains(&"41"), "{packets:?}");
}

#[tokio::test]
async fn whoever_leaves_while_polling_keeps_no_transport() {
    let world = World::with(&[("PING_TIMEOUT", "2m")]).await;
    let client = client();
    let sid = open(&client, world.bridge).await;
    let connect = format!("40{}", json!({ "token": world.token("ann") }));
    ask(&client, world.bridge, &sid, Some(connect)).await;
    until(&client, world.bridge, &sid, "\"ready\"").await;
    ask(&client, world.bridge, &sid, Some("41".to_owned())).await;
    until_gone(&client, world.bridge, &sid).await;
}
