//! Who is let in, and what refuses say.

use crate::phone::{Phone, soon};
use crate::world::{World, get};
use presence_bridge::clock::Clock;
use presence_bridge::domain::time::UnixMillis;
use serde_json::json;

#[tokio::test]
async fn ready_names_the_user_and_the_life_of_the_token() {
    let world = World::at(&[], Clock::manual(UnixMillis(1_900_000_000_000))).await;
    let mut phone = Phone::handshake(world.bridge, json!({ "token": world.token("ann") }))
        .await
        .unwrap();
    let ready = phone.hear("ready").await;
    assert_eq!(ready["userId"], "ann");
    assert!((3_590_000..=3_600_000).contains(&ready["expiresInMs"].as_u64().unwrap()));
}

#[tokio::test]
async fn refusals_carry_one_stable_code() {
    let clock = Clock::manual(UnixMillis(1_900_000_000_000));
    let world = World::at(&[], clock.clone()).await;
    let expired = world.token("ann");
    clock.set_unix(UnixMillis(1_900_000_000_000 + 3_661_000));
    for (auth, code) in [
        (json!({ "token": expired }), "token_expired"),
        (json!({ "token": "garbage" }), "unauthorized"),
        (json!({ "token": "a".repeat(5_000) }), "unauthorized"),
        (json!({ "token": 7 }), "unauthorized"),
        (json!({}), "unauthorized"),
        (json!([]), "unauthorized"),
    ] {
        assert_eq!(
            Phone::handshake(world.bridge, auth.clone())
                .await
                .err()
                .as_deref(),
            Some(code),
            "{auth}"
        );
    }
}

#[tokio::test]
async fn a_fourth_handshake_on_one_transport_is_not_even_verified() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let world = World::new().await;
    let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket", world.bridge);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    soon("open", socket.next()).await.unwrap().unwrap();
    for code in [
        "unauthorized",
        "unauthorized",
        "unauthorized",
        "rate_limited",
    ] {
        socket
            .send(Message::text(r#"40{"token":"bad"}"#))
            .await
            .unwrap();
        let answer = soon("refusal", async {
            loop {
                let packet = socket.next().await.unwrap().unwrap().into_text().unwrap();
                if packet.as_str() != "2" {
                    break packet;
                }
            }
        })
        .await;
        assert_eq!(answer.as_str(), format!(r#"44{{"message":"{code}"}}"#));
    }
}

#[tokio::test]
async fn a_token_in_the_url_is_refused() {
    let world = World::new().await;
    let (status, body) = get(world.bridge, "/socket.io/?EIO=4&transport=polling&token=x").await;
    assert_eq!(status, 400);
    assert!(body.contains("never in the URL"), "{body}");
}

#[tokio::test]
async fn polling_can_be_turned_off() {
    let world = World::with(&[("TRANSPORTS", "websocket")]).await;
    assert_eq!(
        get(world.bridge, "/socket.io/?EIO=4&transport=polling")
            .await
            .0,
        400
    );
    world.connect("ann").await;
}

#[tokio::test]
async fn a_foreign_page_is_refused_and_an_app_is_not_concerned() {
    let world = World::with(&[("CORS_ORIGINS", "https://app.example.com")]).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", world.bridge);
    for (origin, status) in [
        ("https://app.example.com", 200),
        ("https://evil.example", 403),
        ("https://app.example.com.evil.example", 403),
        ("null", 403),
    ] {
        let answer = client
            .get(&url)
            .header("Origin", origin)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{origin}");
    }
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn one_connection_too_many_closes_the_oldest() {
    let world = World::with(&[("LIMIT_CONNECTIONS_PER_USER", "2")]).await;
    let mut first = world.connect("ann").await;
    let mut second = world.connect("ann").await;
    let _third = world.connect("ann").await;
    let closing = first.hear("closing").await;
    assert_eq!(
        closing,
        json!({ "code": "too_many_connections", "reconnect": false })
    );
    first.ended().await;
    assert_eq!(
        second
            .ask("app_state", json!({ "state": "background" }))
            .await,
        json!({ "ok": true })
    );
}

#[tokio::test]
async fn another_users_token_ends_the_connection_and_a_bad_one_changes_nothing() {
    let world = World::new().await;
    let mut phone = world.connect("ann").await;
    let refused = phone
        .ask("refresh_token", json!({ "token": "garbage" }))
        .await;
    assert_eq!(refused["error"]["code"], "unauthorized");
    let renewed = phone
        .ask("refresh_token", json!({ "token": world.token("ann") }))
        .await;
    assert!(
        renewed["expiresInMs"].as_u64().unwrap() > 3_500_000,
        "{renewed}"
    );
    let refused = phone
        .ask("refresh_token", json!({ "token": world.token("ben") }))
        .await;
    assert_eq!(refused["error"]["code"], "unauthorized");
    assert_eq!(
        phone.hear("closing").await,
        json!({ "code": "unauthorized", "reconnect": false })
    );
}

#[tokio::test]
async fn a_token_that_ends_is_announced_and_then_closes() {
    let clock = Clock::manual(UnixMillis(1_900_000_000_000));
    // The notice is due at once, and the end follows.
    let world = World::at(
        &[("AUTH_EXPIRY_NOTICE", "30m"), ("AUTH_LEEWAY", "0s")],
        clock.clone(),
    )
    .await;
    let token = world.token("ann");
    clock.set_unix(UnixMillis(1_900_000_000_000 + 3_599_000));
    let mut phone = Phone::connect(world.bridge, &token).await.unwrap();
    let notice = phone.hear("token_expiring").await;
    assert!((1..=1_000).contains(&notice["expiresInMs"].as_u64().unwrap()));
    let closing = phone.hear("closing").await;
    assert_eq!(
        (closing["code"].as_str(), closing["reconnect"].as_bool()),
        (Some("token_expired"), Some(true))
    );
}

/// Regression: the notice and the end were computed from the wall clock, so a step of an hour ended every session.
#[tokio::test]
async fn a_step_of_the_wall_clock_ends_nobody_and_prolongs_nobody() {
    const HOUR_MS: i64 = 3_600_000;
    for step in [HOUR_MS, -HOUR_MS] {
        let begin = 1_900_000_000_000_u64;
        let clock = Clock::manual(UnixMillis(begin));
        // The notice is due half a second after the handshake, and the end long after it.
        let settings = [("AUTH_EXPIRY_NOTICE", "30m"), ("AUTH_LEEWAY", "0s")];
        let world = World::at(&settings, clock.clone()).await;
        let token = world.token("ann");
        let half_an_hour = begin + 1_799_500;
        clock.set_unix(UnixMillis(half_an_hour));
        let mut phone = Phone::connect(world.bridge, &token).await.unwrap();
        clock.set_unix(UnixMillis(half_an_hour.checked_add_signed(step).unwrap()));
        let notice = phone.hear("token_expiring").await;
        let left = notice["expiresInMs"].as_u64().unwrap();
        assert!((1_700_000..=1_800_000).contains(&left), "{step}: {left}");
        let state = json!({ "state": "background" });
        assert_eq!(phone.ask("app_state", state).await, json!({ "ok": true }));
    }
}

#[tokio::test]
async fn draining_tells_everybody_and_lets_nobody_in() {
    let mut world = World::new().await;
    let mut phone = world.connect("ann").await;
    let bridge = world.bridge;
    let token = world.token("ben");
    let refused = tokio::spawn(async move {
        Phone::handshake(bridge, json!({ "token": token }))
            .await
            .err()
    });
    world.drain().await;
    let closing = phone.hear("closing").await;
    assert_eq!(
        (closing["code"].as_str(), closing["reconnect"].as_bool()),
        (Some("draining"), Some(true))
    );
    assert!(closing["retryAfterMs"].is_u64());
    // Before the listener closed: refused or served and closed; after it: no connection at all.
    drop(refused.await);
}
