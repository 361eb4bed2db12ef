//! A busy chat: who speaks in it, and who hears everything.

use super::client::Client;
use super::site::Site;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Below what the bridge takes (16 KiB).
const LARGE: usize = 14 * 1024;

/// Numbers what it says from 0.
pub(super) struct Speaker {
    client: Client,
    chat: String,
    pub said: u64,
}

impl Speaker {
    pub(super) async fn enter(site: &Site, bridge: SocketAddr, chat: &str) -> Self {
        let user = format!("{chat}-speaker");
        let client = Client::connect(bridge, &site.token(&user)).await.unwrap();
        let mut speaker = Self {
            client,
            chat: chat.to_owned(),
            said: 0,
        };
        join(&mut speaker.client, chat).await;
        speaker
    }

    /// One message with so many bytes beside its number.
    pub(super) async fn say(&mut self, bytes: usize) {
        let message = json!({ "n": self.said, "rest": "x".repeat(bytes) });
        let payload = json!({ "chatId": self.chat, "message": message });
        let answer = self.client.ask("send_message", payload).await.unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        self.said += 1;
    }

    /// So much that it waits in the kernel and behind it, and then a little all the time.
    pub(super) async fn go_on(&mut self) {
        for _ in 0..150 {
            self.say(LARGE).await;
        }
        loop {
            self.say(100).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

pub(super) async fn join(client: &mut Client, chat: &str) {
    let joined = client.ask("join_chat", json!({ "chatId": chat })).await;
    assert_eq!(joined.unwrap()["ok"], true);
}

/// Hears what is said in a chat from the beginning, and fails when anything is missing.
pub(super) struct Witness {
    heard: watch::Receiver<u64>,
    _listening: JoinSet<()>,
}

impl Witness {
    pub(super) async fn enter(site: &Site, bridge: SocketAddr, chat: &str) -> Self {
        let user = format!("{chat}-witness");
        let mut client = Client::connect(bridge, &site.token(&user)).await.unwrap();
        join(&mut client, chat).await;
        let (count, heard) = watch::channel(0);
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            while let Ok((event, payload)) = client.event().await {
                if event == "new_message" {
                    assert_eq!(payload["message"]["n"], *count.borrow(), "out of order");
                    count.send_modify(|count| *count += 1);
                }
            }
        });
        Self {
            heard,
            _listening: listening,
        }
    }

    /// Until all of it was heard, in order; one more may be under way.
    pub(super) async fn has_heard(&mut self, said: u64) {
        let all = async { self.heard.wait_for(|heard| *heard >= said).await.is_ok() };
        let all = tokio::time::timeout(Duration::from_secs(30), all).await;
        let heard = *self.heard.borrow();
        assert_eq!(all, Ok(true), "a member heard {heard} of {said}");
    }
}
