use super::*;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn record(online: bool, ms: u64) -> Record {
    Record {
        online,
        last_seen: UnixMillis(ms),
    }
}

fn patch(layout: Layout, records: &[(UserId, Record)]) -> Value {
    let node = "main";
    serde_json::to_value(PresencePatch {
        layout,
        node,
        records,
    })
    .unwrap()
}

#[test]
fn both_layouts_are_written_with_encoded_keys() {
    let records = [
        (user("ann"), record(true, 5)),
        (user("a/b.c"), record(false, 6)),
    ];
    let bridge = json!({
        "ann": { "online": true, "lastSeen": 5, "node": "main" },
        "a%2Fb%2Ec": { "online": false, "lastSeen": 6, "node": "main" },
    });
    assert_eq!(patch(Layout::Bridge, &records), bridge);
    let guide = json!({
        "ann": { "state": "online", "last_changed": 5 },
        "a%2Fb%2Ec": { "state": "offline", "last_changed": 6 },
    });
    assert_eq!(patch(Layout::FirebaseGuide, &records), guide);
}

#[test]
fn both_layouts_are_read_and_whoever_is_offline_is_left_out() {
    let answer = json!({
        "ann": { "online": true, "lastSeen": 5, "node": "main" },
        "bob": { "state": "online", "last_changed": 6.5 },
        "cid": { "online": false, "lastSeen": 7 },
        "a%2Fb": { "online": true },
    });
    let read = read_online(answer.to_string().as_bytes()).unwrap();
    let stored = |name, ms, node: Option<&str>| StoredRecord {
        user: user(name),
        record: record(true, ms),
        node: node.map(str::to_owned),
    };
    let expected = [
        stored("a/b", 0, None),
        stored("ann", 5, Some("main")),
        stored("bob", 6, None),
    ];
    assert_eq!(read.items, expected);
    assert_eq!(read.skipped, 0);
}

#[test]
fn foreign_children_are_counted_and_never_fail_the_read() {
    let answer = json!({
        "ann": { "online": true, "lastSeen": 5 },
        "yes": true, "text": "online", "list": [1, 2], "nested": { "online": { "deep": true } },
        "state": { "state": "away" }, "%zz": { "online": true, "lastSeen": 5 },
        "a b%2f": { "online": true }, "neg": { "online": true, "lastSeen": -4 },
        "far": { "online": true, "lastSeen": 1e300 },
    });
    let read = read_online(answer.to_string().as_bytes()).unwrap();
    let names: Vec<&str> = read.items.iter().map(|r| r.user.as_str()).collect();
    assert_eq!(names, ["ann", "far", "neg"]);
    assert_eq!(read.skipped, 7);
}

#[test]
fn numeric_users_come_back_as_an_array() {
    let answer = br#"[null,{"online":true,"lastSeen":5},null,{"online":true,"lastSeen":6}]"#;
    let read = read_online(answer).unwrap();
    let names: Vec<&str> = read.items.iter().map(|r| r.user.as_str()).collect();
    assert_eq!(names, ["1", "3"]);
}

#[test]
fn an_empty_database_has_nobody_and_a_cut_answer_is_an_error() {
    for nothing in ["null", "true", "3", "\"x\"", "{}", "[]", " null\n"] {
        assert_eq!(read_online(nothing.as_bytes()).unwrap().items, []);
    }
    for cut in ["", "{", r#"{"ann":{"online":true,"lastSe"#, "{} x"] {
        assert!(read_online(cut.as_bytes()).is_err(), "{cut:?}");
    }
}

#[test]
fn keys_with_escapes_are_read() {
    let answer = br#"{"a\"b":{"online":true,"lastSeen":5},"\u00e9":{"online":true}}"#;
    let read = read_online(answer).unwrap();
    let names: Vec<&str> = read.items.iter().map(|r| r.user.as_str()).collect();
    assert_eq!(names, ["a\"b", "\u{e9}"]);
}

#[test]
fn heartbeats_are_read_in_every_shape() {
    let beat = |t: u64| json!({ "heartbeat": t, "intervalMs": 10_000 });
    let answer = json!({
        "main": { "b1": beat(5), "b2": beat(6), "b3": { "heartbeat": "x" }, "b4": 7 },
        "node%2E1": [null, beat(8)],
        "odd": 3,
    });
    let read = read_nodes(answer.to_string().as_bytes()).unwrap();
    let found: Vec<(&str, &str, u64)> = read
        .items
        .iter()
        .map(|b| (b.node.as_str(), b.boot.as_str(), b.heartbeat.0))
        .collect();
    assert_eq!(
        found,
        [("main", "b1", 5), ("main", "b2", 6), ("node.1", "1", 8)]
    );
    assert_eq!(read.skipped, 2);
    assert_eq!(read.items[0].interval, Duration::from_secs(10));
}

#[test]
fn an_interval_of_somebody_else_is_believed_within_reason() {
    let answer = json!({ "n": { "b": { "heartbeat": 1, "intervalMs": 1e18 } } });
    let read = read_nodes(answer.to_string().as_bytes()).unwrap();
    assert_eq!(read.items[0].interval, Duration::from_hours(1));
}

#[test]
fn a_heartbeat_tells_the_time_of_the_database() {
    let body = beat_body(Duration::from_secs(10));
    let expected = json!({ "heartbeat": { ".sv": "timestamp" }, "intervalMs": 10_000 });
    assert_eq!(body, expected);
    let answer = br#"{"heartbeat":1700000000000,"intervalMs":10000}"#;
    assert_eq!(read_beat(answer), Some(UnixMillis(1_700_000_000_000)));
    for other in ["", "null", "{}", r#"{"heartbeat":{".sv":"timestamp"}}"#] {
        assert_eq!(read_beat(other.as_bytes()), None);
    }
}

#[test]
fn paths_are_checked() {
    let path = DatabasePath::parse("/apps/chat/presence/").unwrap();
    assert_eq!(path.segments(), ["apps", "chat", "presence"]);
    assert_eq!(
        DatabasePath::parse("status").unwrap().segments(),
        ["status"]
    );
    for empty in ["", "/", "//"] {
        assert_eq!(DatabasePath::parse(empty), Err(PathError::Empty));
    }
    for bad in ["///", "/a//b", "/a.b", "/$x", "/a#", "/a[0]", "/a\n"] {
        assert_eq!(
            DatabasePath::parse(bad),
            Err(PathError::Forbidden),
            "{bad:?}"
        );
    }
    let deep = "a/".repeat(33);
    assert_eq!(DatabasePath::parse(&deep), Err(PathError::TooLong));
}

#[test]
fn names_become_one_segment_each() {
    let nodes = DatabasePath::parse("/presenceNodes").unwrap();
    let path = beat_path(&nodes, "eu/1.a", "b$1");
    assert_eq!(path.segments(), ["presenceNodes", "eu%2F1%2Ea", "b%241"]);
}

#[test]
fn a_fence_record_is_read_as_far_as_it_makes_sense() {
    let read = |text: &str| read_fence(text.as_bytes()).unwrap();
    let record = FenceRecord {
        epoch: 9,
        owner: "b1".to_owned(),
        nonce: 77,
    };
    assert_eq!(read(&fence_body(&record).to_string()), Some(record));
    assert_eq!(read("null"), None);
    let nobody = |epoch| FenceRecord {
        epoch,
        owner: String::new(),
        nonce: 0,
    };
    for (text, epoch) in [
        ("5", 0),
        (r#""x""#, 0),
        (r#"{"epoch":"7"}"#, 0),
        (r#"{"epoch":-1}"#, 0),
        (r#"{"epoch":7.0,"owner":3}"#, 7),
        (r#"{"epoch":1e300}"#, u64::MAX),
    ] {
        assert_eq!(read(text), Some(nobody(epoch)), "{text}");
    }
    assert!(read_fence(b"{\"epoch\":").is_err());
}

#[test]
fn a_page_of_either_form_tells_its_records_and_where_it_ends() {
    let names = |page: &Page| -> Vec<String> {
        let users = page.records.iter().map(|r| r.user.as_str().to_owned());
        users.collect()
    };
    let object = br#"{"b":{"online":true,"lastSeen":1},"c":"odd","a.":{"online":true},"d":{"online":false,"lastSeen":2,"node":"n"}}"#;
    let page = read_page(object, None, 4).unwrap();
    assert_eq!(names(&page), ["b", "d"]);
    assert_eq!(page.records[1].record, record(false, 2));
    assert_eq!((page.children, page.bytes), (4, object.len()));
    assert_eq!(page.through.as_deref(), Some("d"), "it may go on");
    assert_eq!(read_page(object, None, 5).unwrap().through, None);
    let on = read_page(object, Some("b"), 4).unwrap();
    assert_eq!((names(&on), on.children), (vec!["d".to_owned()], 3));
    let array =
        br#"[null,null,{"online":true,"lastSeen":1},null,{"state":"online","last_changed":3}]"#;
    let page = read_page(array, Some("2"), 2).unwrap();
    assert_eq!((names(&page), page.children), (vec!["4".to_owned()], 1));
    assert_eq!(page.through.as_deref(), Some("4"));
    let numbers = br#"{"9":{"online":true},"10":{"online":true}}"#;
    assert_eq!(
        read_page(numbers, None, 2).unwrap().through.as_deref(),
        Some("10")
    );
    let empty = Page {
        bytes: 4,
        ..Page::default()
    };
    assert_eq!(read_page(b"null", None, 5).unwrap(), empty);
    assert_eq!(
        read_page(br#"{"b":1}"#, Some("b"), 1).unwrap().through,
        None,
        "no way on"
    );
    assert!(read_page(br#"{"b":{"online":tr"#, None, 5).is_err());
}
