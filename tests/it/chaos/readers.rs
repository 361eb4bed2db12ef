//! Readers that are too slow for their room: they are told or cut, and the others miss nothing.

use super::client::{Client, Failed};
use super::room::{Speaker, Witness, join};
use super::scrape::until_at_rest;
use super::site::Site;
use super::sized;
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinSet;

/// More than a reader's send buffer holds, and what the kernel takes besides.
const SAID: u64 = 6_000;
/// Between two messages that a slow reader takes.
const PAUSE: Duration = Duration::from_millis(20);

/// What a slow reader heard until it was over.
struct Heard {
    messages: u64,
    closing: Option<Value>,
}

/// Reads on, slowly; nothing may be missing between two messages, and after the end nothing comes.
async fn read_slowly(mut client: Client) -> Heard {
    let mut heard = Heard {
        messages: 0,
        closing: None,
    };
    loop {
        match client.event().await {
            Ok((event, payload)) => match event.as_str() {
                "new_message" => {
                    assert_eq!(payload["message"]["n"], heard.messages, "a gap");
                    assert_eq!(heard.closing, None, "a message after the end");
                    heard.messages += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                "closing" => heard.closing = Some(payload),
                _ => {}
            },
            Err(Failed::Broken | Failed::Refused(_)) => return heard,
        }
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_or_cut_and_never_skipped() {
    let site = Site::new(&[("PRESENCE_GRACE", "1s")]).await;
    let process = site.start().await;
    let near = process.public;
    let mut witness = Witness::enter(&site, near, "busy").await;
    let mut speaker = Speaker::enter(&site, near, "busy").await;
    let mut slow = JoinSet::new();
    let readers = sized(3_u32, 20);
    for number in 0..readers {
        let token = site.token(&format!("slow{number}"));
        let mut client = Client::narrow(near, &token).await.unwrap();
        join(&mut client, "busy").await;
        slow.spawn(read_slowly(client));
    }
    for _ in 0..SAID {
        speaker.say(200).await;
    }
    witness.has_heard(SAID).await;
    let (mut told, mut cut) = (0_u32, 0);
    while let Some(heard) = slow.join_next().await {
        let heard = heard.unwrap();
        assert!(heard.messages < SAID, "it was not slow");
        match heard.closing {
            Some(closing) => {
                assert_eq!(closing["code"], "slow_consumer");
                assert_eq!(closing["reconnect"], true);
                told += 1;
            }
            None => cut += 1,
        }
    }
    assert_eq!(told + cut, readers);
    drop((speaker, witness));
    until_at_rest(&process, Duration::from_mins(1)).await;
}
