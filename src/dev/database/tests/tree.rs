use super::super::path::{Path, PathError};
use super::super::tree::{DataError, Tree, export};
use super::NOW;
use serde_json::{Value, json};

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

fn tree(value: &Value) -> Tree {
    let mut tree = Tree::default();
    put(&mut tree, "/", value).unwrap();
    tree
}

fn put(tree: &mut Tree, at: &str, value: &Value) -> Result<(), DataError> {
    let change = tree.put(path(at), value, NOW)?;
    tree.apply(&[change]);
    Ok(())
}

fn patch(tree: &mut Tree, at: &str, value: &Value) -> Result<(), DataError> {
    let changes = tree.patch(&path(at), value, NOW)?;
    tree.apply(&changes);
    Ok(())
}

fn all(tree: &Tree) -> Value {
    export(tree.at(&Path::root()))
}

#[test]
fn nulls_and_empties_do_not_exist() {
    let tree = tree(&json!({ "a": null, "b": {}, "c": [], "d": { "e": { "f": null } }, "g": 1 }));
    assert_eq!(all(&tree), json!({ "g": 1 }));
}

#[test]
fn a_parent_whose_last_child_goes_is_gone() {
    let mut tree = tree(&json!({ "a": { "b": { "c": 1 } }, "d": 2 }));
    put(&mut tree, "a/b/c", &Value::Null).unwrap();
    assert_eq!(all(&tree), json!({ "d": 2 }));
    put(&mut tree, "d", &json!({})).unwrap();
    assert_eq!(all(&tree), Value::Null);
}

#[test]
fn deleting_below_a_leaf_leaves_the_leaf() {
    let mut tree = tree(&json!({ "a": 1 }));
    put(&mut tree, "a/b/c", &Value::Null).unwrap();
    assert_eq!(all(&tree), json!({ "a": 1 }));
    put(&mut tree, "a/b/c", &json!(2)).unwrap();
    assert_eq!(all(&tree), json!({ "a": { "b": { "c": 2 } } }));
}

#[test]
fn arrays_are_objects_with_index_keys() {
    let mut tree = tree(&json!({ "list": ["x", null, "y"] }));
    assert_eq!(tree.at(&path("list/2")), &json!("y"));
    assert_eq!(all(&tree), json!({ "list": ["x", null, "y"] }));
    put(&mut tree, "list/9", &json!("z")).unwrap();
    assert_eq!(
        all(&tree),
        json!({ "list": { "0": "x", "2": "y", "9": "z" } })
    );
}

#[test]
fn only_dense_plain_indexes_read_as_an_array() {
    for (stored, read) in [
        (json!({ "1": 1, "2": 2, "3": 3 }), json!([null, 1, 2, 3])),
        (json!({ "1": 1 }), json!([null, 1])),
        (json!({ "2": 1 }), json!({ "2": 1 })),
        (json!({ "0": 1, "3": 1 }), json!([1, null, null, 1])),
        (json!({ "0": 1, "4": 1 }), json!({ "0": 1, "4": 1 })),
        (json!({ "00": 1 }), json!({ "00": 1 })),
        (json!({ "0": 1, "a": 1 }), json!({ "0": 1, "a": 1 })),
        (json!({ "0": 1, "-1": 1 }), json!({ "0": 1, "-1": 1 })),
        (
            json!({ "99999999999999999999": 1 }),
            json!({ "99999999999999999999": 1 }),
        ),
    ] {
        assert_eq!(export(&stored), read);
    }
}

#[test]
fn a_patch_writes_paths_and_leaves_the_rest() {
    let mut tree = tree(&json!({ "ann": { "online": true, "node": "main" }, "bob": 1 }));
    let body = json!({ "ann/online": false, "/cid/online/": true, "bob": null });
    patch(&mut tree, "/", &body).unwrap();
    let expected = json!({
        "ann": { "online": false, "node": "main" },
        "cid": { "online": true },
    });
    assert_eq!(all(&tree), expected);
}

#[test]
fn a_patch_replaces_what_its_keys_name() {
    let mut tree = tree(&json!({ "ann": { "online": true, "node": "main" } }));
    patch(&mut tree, "/", &json!({ "ann": { "online": false } })).unwrap();
    assert_eq!(all(&tree), json!({ "ann": { "online": false } }));
}

#[test]
fn overlapping_paths_are_refused_whatever_their_order() {
    let mut tree = tree(&json!({ "x": 1 }));
    for body in [
        json!({ "a": 1, "a/b": 2 }),
        json!({ "a/b/c": 1, "a!": 1, "a": 2 }),
        json!({ "a": 1, "/a": 2 }),
        json!({ "a/b": null, "a": null }),
    ] {
        assert_eq!(patch(&mut tree, "y", &body), Err(DataError::Overlap));
    }
    patch(&mut tree, "y", &json!({ "a": 1, "ab": 1, "a b": 1 })).unwrap();
    assert_eq!(
        all(&tree),
        json!({ "x": 1, "y": { "a": 1, "ab": 1, "a b": 1 } })
    );
}

#[test]
fn one_bad_entry_refuses_the_whole_patch() {
    let mut tree = tree(&json!({ "a": 1 }));
    let body = json!({ "a": 2, "b": { "c.d": 1 } });
    assert_eq!(patch(&mut tree, "/", &body), Err(DataError::BadKey));
    assert_eq!(
        patch(&mut tree, "/", &json!([1])),
        Err(DataError::NotAnObject)
    );
    assert_eq!(
        patch(&mut tree, "/", &json!(1)),
        Err(DataError::NotAnObject)
    );
    assert_eq!(all(&tree), json!({ "a": 1 }));
}

#[test]
fn timestamps_of_one_write_are_the_same() {
    let mut tree = Tree::default();
    let stamp = json!({ ".sv": "timestamp" });
    patch(&mut tree, "/", &json!({ "a": { "at": stamp }, "b": stamp })).unwrap();
    assert_eq!(all(&tree), json!({ "a": { "at": NOW.0 }, "b": NOW.0 }));
}

#[test]
fn increments_start_from_what_is_there() {
    let mut tree = tree(&json!({ "n": 5, "half": 0.5, "text": "x" }));
    let by = |n: Value| json!({ ".sv": { "increment": n } });
    let body = json!({ "n": by(json!(-2)), "half": by(json!(1.5)), "text": by(json!(3)), "new": by(json!(4)) });
    patch(&mut tree, "/", &body).unwrap();
    assert_eq!(
        all(&tree),
        json!({ "n": 3, "half": 2, "text": 3, "new": 4 })
    );
}

#[test]
fn increments_beyond_64_bits_become_floats() {
    let mut tree = tree(&json!(i64::MAX));
    put(&mut tree, "/", &json!({ ".sv": { "increment": 1 } })).unwrap();
    assert_eq!(all(&tree).as_f64(), Some(9_223_372_036_854_775_807.0));
}

#[test]
fn unknown_server_values_are_refused() {
    let mut tree = Tree::default();
    for value in [
        json!({ ".sv": "time" }),
        json!({ ".sv": 1 }),
        json!({ ".sv": { "increment": "1" } }),
        json!({ ".sv": { "increment": 1, "x": 1 } }),
        json!({ ".sv": {} }),
        json!({ ".sv": "timestamp", "a": 1 }),
    ] {
        assert_eq!(put(&mut tree, "a", &value), Err(DataError::BadServerValue));
    }
}

#[test]
fn forbidden_keys_are_refused() {
    let long = "k".repeat(768);
    let mut tree = Tree::default();
    for key in [
        "",
        ".",
        "a.b",
        "$",
        "#",
        "[",
        "]",
        "a/b",
        "\u{0}",
        "\u{1f}",
        "\u{7f}",
        ".priority",
        ".value",
    ] {
        let body = json!({ key: 1 });
        assert_eq!(
            put(&mut tree, "x", &body),
            Err(DataError::BadKey),
            "{key:?}"
        );
    }
    let too_long = format!("{long}k");
    assert_eq!(
        put(&mut tree, "x", &json!({ too_long: 1 })),
        Err(DataError::BadKey)
    );
    for key in [long.as_str(), " ", "%2F", "\u{80}", "a:b", "\u{1f600}"] {
        put(&mut tree, "x", &json!({ key: 1 })).unwrap();
        assert_eq!(all(&tree), json!({ "x": { key: 1 } }));
    }
}

#[test]
fn values_lie_at_most_32_levels_deep() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |value, _| json!({ "k": value }));
    let mut tree = Tree::default();
    assert_eq!(put(&mut tree, "/", &nested(33)), Err(DataError::TooDeep));
    assert_eq!(put(&mut tree, "a/b", &nested(31)), Err(DataError::TooDeep));
    put(&mut tree, "a/b", &nested(30)).unwrap();
    let deep = "a/".repeat(33);
    assert_eq!(Path::parse(&deep), Err(PathError::TooDeep));
    let base = path(&"a/".repeat(31));
    let body = json!({ "b/c": 1 });
    assert_eq!(tree.patch(&base, &body, NOW), Err(DataError::TooDeep));
}

#[test]
fn whole_floats_are_integers() {
    let tree = tree(&json!({ "a": 1.0, "b": -0.0, "c": 1.5, "d": 1e300 }));
    let read = all(&tree).to_string();
    assert_eq!(read, r#"{"a":1,"b":0,"c":1.5,"d":1e+300}"#);
}

#[test]
fn urls_are_split_before_they_are_decoded() {
    assert_eq!(Path::parse_url("/a/b%20c/"), Ok(path("a/b c")));
    assert_eq!(Path::parse_url("/a/%25"), Ok(path("a/%")));
    for url in [
        "/a%2Fb", "/a/%00", "/a/..", "/a.b", "/%", "/%4", "/%zz", "/%ff", "/%2",
    ] {
        assert_eq!(Path::parse_url(url), Err(PathError::BadKey), "{url}");
    }
}

/// JSON of any shape, with many nulls and empties, and few keys.
fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab012]", inner, 0..4)
                .prop_map(|children| Value::Object(children.into_iter().collect())),
        ]
    })
}

/// Neither null nor an array nor empty, all the way down.
fn is_solid(value: &Value) -> bool {
    match value {
        Value::Null | Value::Array(_) => false,
        Value::Object(children) => !children.is_empty() && children.values().all(is_solid),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

proptest::proptest! {
    #[test]
    fn nothing_in_a_tree_is_null_an_array_or_empty(
        writes in proptest::collection::vec(("[ab0/]{0,5}", any_json()), 1..12),
    ) {
        let mut tree = Tree::default();
        for (at, value) in writes {
            put(&mut tree, &at, &value).unwrap();
            let root = tree.root();
            proptest::prop_assert!(root.is_null() || is_solid(root), "{root}");
            // What was read can be written back and reads the same.
            let mut again = Tree::default();
            put(&mut again, "/", &all(&tree)).unwrap();
            proptest::prop_assert_eq!(&again, &tree);
        }
    }
}
