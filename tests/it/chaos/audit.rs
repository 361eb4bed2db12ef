//! What the audit is for: an entry of the registry that no session has taken.
//!
//! A client that goes while its token is being verified is over for socketioxide before it is registered:
//! its socket is refused afterwards (`ns.rs`, `connect`), and nobody hears of it (0.18.9). It counts as
//! no connection and its user as nobody, so nothing but the audit ever sees it.

use super::proxy::{Cable, Proxy};
use super::scrape::Page;
use super::site::Site;
use crate::phone::soon;
use crate::wire::Wire;
use crate::world::{skip, start};
use presence_bridge::clock::Clock;
use presence_bridge::config::{Config, Environment};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

/// `AUDIT_INTERVAL` in `src/socket/mod.rs`; it acts on what it misses twice.
const AUDIT: Duration = Duration::from_secs(30);
const FIXED: &str = "bridge_registry_audit_fixed_total";

async fn value(admin: SocketAddr, name: &str) -> f64 {
    Page::of(admin).await.unwrap().value(name)
}

async fn until(admin: SocketAddr, name: &str, wanted: impl Fn(f64) -> bool) {
    let reached = async {
        while !wanted(value(admin, name).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(name, reached).await;
}

/// Clients who are gone before Google's keys are there, and the keys then; how many entries that leaves.
async fn leave_entries(site: &Site, keys: &Proxy, public: SocketAddr, admin: SocketAddr) -> f64 {
    let mut wires = Vec::new();
    for number in 0..20 {
        let mut wire = Wire::open(public).await.upgraded(public).await;
        let auth = json!({ "token": site.token(&format!("gone{number}")) });
        wire.text(&format!("40{auth}")).await;
        wires.push(wire);
    }
    drop(wires);
    until(admin, "bridge_tcp_connections", |open| open < 0.5).await;
    keys.set(Cable::Sound);
    let verified = "bridge_auth_total{outcome=\"ok\"}";
    until(admin, verified, |count| count > 19.5).await;
    20.0
}

#[tokio::test]
async fn an_entry_that_no_session_took_is_found_by_the_audit() {
    let (site, google) = Site::production(&[]).await;
    let keys = Proxy::to(google.address).await;
    keys.set(Cable::Stalled);
    let url = format!("http://{}/keys", keys.address);
    let environment = site.environment(&[
        ("AUTH_KEYS_URL", &url),
        ("PORT", "0"),
        ("ADMIN_LISTEN", "127.0.0.1:0"),
    ]);
    let config = Config::read(&environment.into_iter().collect::<Environment>()).unwrap();
    let running = start(&config, Clock::system());
    let left = leave_entries(&site, &keys, running.public, running.admin).await;
    assert!(value(running.admin, FIXED).await < 0.5);
    for _ in 0..3 {
        skip(AUDIT).await;
        // The audit has its turn meanwhile.
        value(running.admin, FIXED).await;
    }
    until(running.admin, FIXED, |fixed| fixed > left - 0.5).await;
    running.drain().await;
}

/// Seen to fail: without it they stay for ever.
#[cfg(feature = "sabotage")]
#[tokio::test]
async fn without_the_audit_an_entry_that_no_session_took_is_missed() {
    let (site, google) = Site::production(&[]).await;
    let keys = Proxy::to(google.address).await;
    keys.set(Cable::Stalled);
    let url = format!("http://{}/keys", keys.address);
    let process = site
        .start_with(&[("AUTH_KEYS_URL", &url), ("SABOTAGE", "audit")])
        .await;
    leave_entries(&site, &keys, process.public, process.admin).await;
    tokio::time::sleep(AUDIT * 2 + Duration::from_secs(5)).await;
    assert!(value(process.admin, FIXED).await < 0.5);
}
