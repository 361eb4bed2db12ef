use super::super::path::Path;
use super::super::rules::Rules;
use super::super::tree::Tree;
use super::NOW;
use serde_json::{Value, json};

/// Rules with `expression` at `/at/$key/.write`.
fn with_write(expression: &str) -> String {
    json!({ "rules": { "at": { "$key": { ".write": expression } } } }).to_string()
}

fn tree(value: &Value) -> Tree {
    let mut tree = Tree::default();
    let change = tree.put(Path::root(), value, NOW).unwrap();
    tree.apply(&[change]);
    tree
}

fn may_write(rules: &str, auth: &Value, before: &Value, at: &str, body: &Value) -> bool {
    let rules = Rules::parse(rules).unwrap();
    let before = tree(before);
    let change = before.put(Path::parse(at).unwrap(), body, NOW).unwrap();
    let mut after = before.clone();
    after.apply(std::slice::from_ref(&change));
    rules.judge(auth, NOW).may_write(&[change], &before, &after)
}

fn may_read(rules: &str, auth: &Value, at: &str) -> bool {
    let rules = Rules::parse(rules).unwrap();
    let path = Path::parse(at).unwrap();
    rules.judge(auth, NOW).may_read(&path, &Tree::default())
}

/// Whether `expression` holds when ann writes 5 to `/at/ann`, where 3 stood.
fn holds(expression: &str) -> bool {
    let auth = json!({ "uid": "ann", "token": { "admin": true, "email": "ann@x.org", "firebase": { "tenant": "t" } } });
    let before =
        json!({ "at": { "ann": 3 }, "members": { "ann": { "role": "owner" } }, "flag": true });
    may_write(&with_write(expression), &auth, &before, "at/ann", &json!(5))
}

#[test]
fn expressions_that_hold() {
    for expression in [
        "true",
        "auth != null",
        "auth !== null && auth.uid === $key",
        "auth.uid == 'ann' || auth.uid == \"bob\"",
        "!(auth == null)",
        "auth.token.admin === true",
        "auth.token.admin",
        "auth['token']['email'] == 'ann@x.org'",
        "auth.token.firebase.tenant == 't'",
        "auth.token.nothing == null",
        "auth.nothing.at.all == null",
        "data.val() == 3 && newData.val() == 5",
        "newData.val() > data.val() && data.val() >= 3 && data.val() <= 3 && 1 < 2",
        "newData.val() - data.val() + 1 == 3",
        "-data.val() == -3",
        "7 % 4 * 2 / 3 == 2",
        "1 + 2 * 3 == 7",
        "'a' + 1 == 'a1'",
        "now == 1700000000000",
        "now - 1000 < now",
        "root.child('members').child(auth.uid).exists()",
        "root.child('members/' + auth.uid + '/role').val() == 'owner'",
        "root.child('members').hasChild($key)",
        "root.hasChildren(['flag', 'members/ann'])",
        "root.hasChildren() && !data.hasChildren()",
        "data.parent().parent().child('flag').val()",
        "newData.parent().child($key).val() === 5",
        "newData.isNumber() && !newData.isString() && !newData.isBoolean()",
        "root.child('flag').isBoolean()",
        "auth.uid.length == 3 && 'abc'.length > 2",
        "$key.contains('n') && $key.beginsWith('a') && $key.endsWith('nn')",
        "'ABC'.toLowerCase() == 'abc' && 'abc'.toUpperCase() == 'ABC'",
        "auth.uid == $key ? newData.val() == 5 : false",
        "false ? 1 == 1 : true",
        "false || true && true",
        "'a' < 'b'",
        "1 != '1'",
        "data.child('no').child('where').val() == null",
        "'it\\'s' == \"it's\"",
    ] {
        assert!(holds(expression), "{expression}");
    }
}

#[test]
fn expressions_that_do_not_hold() {
    for expression in [
        "false",
        "auth == null",
        "data.val() == 5",
        "true && false",
        "!true",
        "now < 0",
        // A mistake allows nothing, and no `!` makes a permission of it.
        "1",
        "'true'",
        "auth.uid",
        "!auth.uid",
        "!(auth.uid < 5)",
        "1 < '2'",
        "auth.token == auth.token",
        "auth.uid.uid == null",
        "1 / 0 > 0",
        "root.parent().exists()",
        "!root.parent().exists()",
        "root.child('a.b').exists() == false",
        "null + 1 == 1",
        "null || true",
    ] {
        assert!(!holds(expression), "{expression}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    for (expression, at) in [
        ("", 1),
        ("auth.uid ==", 12),
        ("user != null", 1),
        ("$other == 'a'", 1),
        ("auth != null || query.limit < 5", 17),
        ("data.matches(/a/)", 6),
        ("newData.val().matches(/^[a-z]+$/)", 15),
        ("newData.getPriority() != null", 9),
        ("data", 1),
        ("data == 5", 1),
        ("5 == data.child('a')", 6),
        ("!data", 2),
        ("(data) && true", 1),
        ("'a'.child('b').exists()", 5),
        ("data.contains('a')", 6),
        ("data.val().uid == 1", 12),
        ("data.name == 1", 6),
        ("data.child()", 6),
        ("data.hasChildren([])", 20),
        ("data.hasChildren('a')", 6),
        ("data.exists(1)", 6),
        ("'abc", 1),
        ("1.2.3 == 1", 1),
        ("a = 1", 1),
        ("true = 1", 6),
        ("true; true", 5),
        ("true true", 6),
        ("(true", 6),
        ("[1]", 1),
    ] {
        let error = Rules::parse(&with_write(expression))
            .unwrap_err()
            .to_string();
        let place = format!("/at/$key/.write, character {at}: ");
        assert!(error.contains(&place), "{expression}: {error}");
    }
    let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
    assert!(Rules::parse(&with_write(&deep)).is_err());
    let minus = format!("{}true", "!".repeat(100));
    assert!(Rules::parse(&with_write(&minus)).is_err());
    let long = format!("{}true", "true && ".repeat(2000));
    assert!(Rules::parse(&with_write(&long)).is_err());
}

#[test]
fn malformed_files_are_refused() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{ "rules": {}, "more": {} }"#,
        r#"{ "rules": 1 }"#,
        r#"{ "rules": { ".reed": true } }"#,
        r#"{ "rules": { "a": true } }"#,
        r#"{ "rules": { "a.b": {} } }"#,
        r#"{ "rules": { ".read": 1 } }"#,
        r#"{ "rules": { ".read": "newData.exists()" } }"#,
        r#"{ "rules": { ".indexOn": 1 } }"#,
        r#"{ "rules": { ".indexOn": ["a.b"] } }"#,
        r#"{ "rules": { "$a": {}, "$b": {} } }"#,
        r#"{ "rules": { "$a": { "$a": {} } } }"#,
        r#"{ "rules": { "$": {} } }"#,
        r#"{ "rules": { } /* no end }"#,
    ] {
        assert!(Rules::parse(text).is_err(), "{text}");
    }
    let error = Rules::parse("{\n  // a comment\n  \"rules\": { /* b */ x }\n}").unwrap_err();
    assert!(error.to_string().contains("line 3, column 22"), "{error}");
}

#[test]
fn comments_are_not_part_of_strings() {
    let text = r#"{ /* " */ "rules": { // "
        ".read": "'a//b' != '/* c */'" /**/ } }"#;
    assert!(may_read(text, &Value::Null, "x"));
    assert_eq!(Rules::parse(text).unwrap().text(), text);
}

#[test]
fn grants_hold_for_everything_below() {
    let rules = r#"{ "rules": { "a": { ".read": true, "b": { ".read": false } },
        "$x": { "y": { ".read": "$x == 'k'" } } } }"#;
    for (at, allowed) in [
        ("a", true),
        ("a/b", true),
        ("a/b/c/d", true),
        ("k/y", true),
        ("k/y/z", true),
    ] {
        assert_eq!(may_read(rules, &Value::Null, at), allowed, "{at}");
    }
    for at in ["", "b", "k", "j/y", "a2/b"] {
        assert!(!may_read(rules, &Value::Null, at), "{at}");
    }
}

#[test]
fn what_is_named_is_not_for_the_wildcard() {
    let rules = r#"{ "rules": { "$any": { ".write": true }, "closed": {} } }"#;
    assert!(may_write(
        rules,
        &Value::Null,
        &Value::Null,
        "open",
        &json!(1)
    ));
    assert!(!may_write(
        rules,
        &Value::Null,
        &Value::Null,
        "closed",
        &json!(1)
    ));
}

#[test]
fn validation_looks_at_all_that_is_new_and_nothing_that_goes() {
    let rules = r#"{ "rules": { ".write": true, "users": { "$u": {
        ".validate": "newData.hasChildren(['name'])",
        "name": { ".validate": "newData.isString() && newData.val().length < 5" },
        "$other": { ".validate": false } } } } }"#;
    let write = |at: &str, body: Value| {
        let before = json!({ "users": { "bob": { "name": "bob" } } });
        may_write(rules, &Value::Null, &before, at, &body)
    };
    assert!(write("users/ann", json!({ "name": "ann" })));
    assert!(write("/", json!({ "users": { "ann": { "name": "ann" } } })));
    assert!(!write(
        "/",
        json!({ "users": { "ann": { "name": "anna-maria" } } })
    ));
    assert!(!write("users/ann", json!({ "name": "ann", "age": 3 })));
    assert!(!write("users/ann", json!({ "age": 3 })));
    assert!(!write("users/bob/age", json!(3)));
    assert!(write("users/bob", Value::Null));
    // The last child takes its parent along: nothing is left to validate.
    assert!(write("users/bob/name", Value::Null));
    assert!(write("elsewhere", json!(1)));
}

#[test]
fn the_time_of_a_write_is_the_now_of_its_rules() {
    let rules = with_write("newData.child('at').val() == now");
    let write = |body: Value| may_write(&rules, &Value::Null, &Value::Null, "at/ann", &body);
    assert!(write(json!({ "at": { ".sv": "timestamp" } })));
    assert!(!write(json!({ "at": NOW.0 - 1 })));
}

proptest::proptest! {
    /// Made of the words of rules, so that it gets past the first one now and then.
    #[test]
    fn no_text_can_break_the_reading_of_rules(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "auth", "data", "newData", ".", "val", "()", "(", ")", "'", "\"", "\\", "a", "\u{e9}", "[", "]",
                ",", "!", "==", "&&", "?", ":", "-", "1", "1.", "$key", "uid", "child", "hasChildren", " ", "/*", "null",
            ]),
            0..24,
        ),
    ) {
        let text = words.concat();
        if let Ok(rules) = Rules::parse(&with_write(&text)) {
            let after = tree(&json!({ "at": { "ann": 1 } }));
            let change = Tree::default().put(Path::parse("at/ann").unwrap(), &json!(1), NOW).unwrap();
            rules.judge(&Value::Null, NOW).may_write(&[change], &Tree::default(), &after);
        }
        let raw = Rules::parse(&text);
        proptest::prop_assert!(raw.is_err());
    }
}
