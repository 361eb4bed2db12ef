//! Sessions over polling, and on their way from it to a WebSocket.

use crate::phone::soon;
use crate::wire::Wire;
use crate::world::World;
use serde_json::{Value, json};
use std::net::SocketAddr;

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
        heard += &packets;
    }
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
