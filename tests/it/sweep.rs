//! The sweep's pages, read from a database over real HTTP.

use crate::world::{self, PROJECT};
use presence_bridge::clock::Clock;
use presence_bridge::dev::database::{DEFAULT_RULES, DatabaseStandIn};
use presence_bridge::firebase::bearer::Owner;
use presence_bridge::firebase::database::{Database, DatabaseOptions, Target};
use presence_bridge::firebase::schema::{DatabasePath, Layout};
use presence_bridge::services::ports::Records;
use presence_bridge::telemetry::metrics::Metrics;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Every user of the database, read in pages of `most`, and how many pages that took.
async fn read_all(database: &Database, most: usize) -> (Vec<String>, usize) {
    let (mut users, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = database.page(after.as_deref(), most).await.unwrap();
        assert!(page.children <= most);
        users.extend(page.records.iter().map(|r| r.user.as_str().to_owned()));
        pages += 1;
        match page.through {
            Some(through) => after = Some(through),
            None => return (users, pages),
        }
    }
}

#[tokio::test]
async fn pages_of_any_size_tell_every_record_once() {
    let stand_in = DatabaseStandIn::new(PROJECT, DEFAULT_RULES, Clock::system()).unwrap();
    let (address, _stop) = world::serve(&stand_in).await;
    let options = DatabaseOptions {
        target: Target::emulator(&address.to_string(), stand_in.default_namespace()).unwrap(),
        presence_path: DatabasePath::parse("/presence").unwrap(),
        nodes_path: DatabasePath::parse("/presenceNodes").unwrap(),
        fence_path: DatabasePath::parse("/presenceFence").unwrap(),
        layout: Layout::Bridge,
        node: "main".to_owned(),
        boot: "boot".to_owned(),
        timeout: Duration::from_secs(20),
        heartbeat_interval: Duration::from_secs(10),
    };
    let metrics = Arc::new(Metrics::new());
    let database = Database::new(options, Arc::new(Owner), metrics, Clock::system()).unwrap();
    assert_eq!(read_all(&database, 3).await, (Vec::new(), 1));
    let mut expected = BTreeSet::new();
    for user in [
        // Near enough to each other to be answered as an array.
        "0",
        "1",
        "2",
        "3",
        "5",
        "8",
        "10",
        "11",
        "12",
        "007",
        "-4",
        "2147483648",
        "ann",
        "Ann",
        "ann@example%2Ecom",
        "b c",
        "\u{e9}",
        "\u{1f600}",
        "zoe",
    ] {
        let record = json!({ "online": true, "lastSeen": 1, "node": "main" });
        assert!(stand_in.put(&format!("/presence/{user}"), &record));
        expected.insert(user.replace("%2E", "."));
    }
    for odd in ["9", "d", "zzz"] {
        assert!(stand_in.put(&format!("/presence/{odd}"), &json!("not ours")));
    }
    for most in 1..25 {
        let (users, pages) = read_all(&database, most).await;
        let told: BTreeSet<String> = users.iter().cloned().collect();
        assert_eq!(told, expected, "pages of {most}");
        assert_eq!(users.len(), expected.len(), "each once in pages of {most}");
        assert!(
            pages <= 22usize.div_ceil(most) + 1,
            "{pages} pages of {most}"
        );
    }
}
