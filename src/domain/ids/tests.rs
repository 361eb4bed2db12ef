use super::*;
use proptest::prelude::*;

/// The letters that make trouble, and their neighbors.
const HOSTILE: &str = ".$#[]/%25fFeE0\u{0}\u{1F}\n\r\t \u{7F}\u{80}\u{85}\u{9F}\u{A0}\u{2028}\u{202E}\u{FEFF}\u{E9}e\u{301}\u{FFFF}\u{10FFFF}\"\\'<&+:*?~";

/// 1 to 128 characters of any kind, often hostile ones.
fn id_text() -> impl Strategy<Value = String> {
    let hostile: Vec<char> = HOSTILE.chars().collect();
    let character = prop_oneof![
        3 => prop::sample::select(hostile),
        1 => any::<char>(),
        1 => prop::char::range('a', 'z'),
    ];
    prop::collection::vec(character, 1..=MAX_ID_CHARS).prop_map(|text| text.into_iter().collect())
}

/// firebase.google.com/docs/database/usage/limits: none of these characters, and at most 768
/// bytes, of which 128 characters need 512 at worst.
fn is_legal_key(key: &str) -> bool {
    (1..=512).contains(&key.len())
        && !key
            .chars()
            .any(|c| ".$#[]/".contains(c) || c < ' ' || c == '\u{7F}')
}

fn user(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}

/// Texts that mean something to paths, databases, JavaScript, terminals or readers.
const AWKWARD: &[&str] = &[
    "a/b",
    "../x",
    "..",
    ".",
    "a.b",
    "$key",
    "#",
    "[0]",
    "%2F",
    "%252F",
    "%",
    "%%",
    "a\0",
    "\u{7F}",
    "\n",
    "\u{1B}[31m",
    "\u{2028}",
    "\u{202E}abc",
    "\u{E9}",
    "e\u{301}",
    "\u{FFFD}",
    ".priority",
    ".value",
    ".sv",
    ".json",
    "%2Esv",
    "__proto__",
    "constructor",
    "auth0|12",
    "https://example.com/a?b=c#d",
    "ann@example.com",
    "0",
    "1",
    "-1",
    " ",
    "null",
    "\u{1F600}",
];

#[test]
fn ordinary_uid_is_its_own_key() {
    for uid in [
        "YXpCzgw0hMTTVuEdbHwOjmHq3Lx1",
        "auth0|12",
        "a b",
        "Zo\u{EB}",
        "ann@x:1",
    ] {
        assert_eq!(user(uid).to_key(), uid);
        assert_eq!(UserId::from_key(uid), Ok(user(uid)));
    }
}

#[test]
fn forbidden_characters_are_escaped_in_upper_case() {
    assert_eq!(user("a.b").to_key(), "a%2Eb");
    assert_eq!(user(".$#[]/%").to_key(), "%2E%24%23%5B%5D%2F%25");
    assert_eq!(user("\0\n\u{1F}\u{7F}").to_key(), "%00%0A%1F%7F");
    assert_eq!(user("%2F").to_key(), "%252F");
    assert_eq!(ChatId::parse("a.b").unwrap().to_key(), "a%2Eb");
}

#[test]
fn awkward_uids_have_legal_keys_of_their_own() {
    let mut keys: Vec<String> = AWKWARD.iter().map(|text| user(text).to_key()).collect();
    for (text, key) in AWKWARD.iter().zip(&keys) {
        assert!(is_legal_key(key), "{text:?}");
        assert_eq!(UserId::from_key(key), Ok(user(text)));
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), AWKWARD.len());
}

#[test]
fn longest_keys_fit_the_database() {
    assert_eq!(user(&"\0".repeat(128)).to_key().len(), 384);
    assert_eq!(user(&"/".repeat(128)).to_key().len(), 384);
    assert_eq!(user(&"\u{1F600}".repeat(128)).to_key().len(), 512);
}

#[test]
fn other_spellings_of_a_key_are_refused() {
    for key in [
        "%2e",
        "%41",
        "%61nn",
        "a.b",
        "a/b",
        "$",
        "#",
        "[",
        "]",
        "\n",
        "%",
        "%2",
        "%2G",
        "%G2",
        "a%",
        "%%",
        "%25%",
        "%80",
        "%C3%A9",
        "%E9",
        "%FF",
        "%+2",
        "% 2",
        "%2\u{665}",
        "\u{7F}",
        "%2e%2e",
        "%252f%",
    ] {
        assert_eq!(UserId::from_key(key), Err(IdError::BadKey), "{key:?}");
    }
}

#[test]
fn key_of_an_impossible_uid_is_refused() {
    assert_eq!(UserId::from_key(""), Err(IdError::Empty));
    for key in ["a".repeat(129), "%00".repeat(129)] {
        assert_eq!(UserId::from_key(&key), Err(IdError::TooLong));
    }
}

#[test]
fn ids_have_1_to_128_characters() {
    assert_eq!(UserId::parse(""), Err(IdError::Empty));
    assert_eq!(ChatId::parse(""), Err(IdError::Empty));
    for longest in [
        "x".repeat(128),
        "\u{E9}".repeat(128),
        "\u{1F600}".repeat(128),
    ] {
        assert_eq!(user(&longest).as_str(), longest);
        assert_eq!(ChatId::parse(&longest).unwrap().as_str(), longest);
        let longer = longest + "x";
        assert_eq!(UserId::parse(&longer), Err(IdError::TooLong));
        assert_eq!(ChatId::parse(&longer), Err(IdError::TooLong));
    }
}

#[test]
fn chat_id_is_no_path_and_has_no_control_character() {
    for text in [
        ".", "..", "/", "a/b", "/a", "a/", "\0", "a\n", "\u{7F}", "\u{85}",
    ] {
        assert_eq!(ChatId::parse(text), Err(IdError::Forbidden), "{text:?}");
    }
    for text in [
        "...", "a.b", ".a", "a..", "%2F", "\u{2028}", "[0]", "$", "#",
    ] {
        assert_eq!(ChatId::parse(text).unwrap().as_str(), text);
    }
}

#[test]
fn composed_and_decomposed_accents_are_different_users() {
    assert_ne!(user("\u{E9}"), user("e\u{301}"));
    assert_ne!(user("\u{E9}").to_key(), user("e\u{301}").to_key());
}

#[test]
fn debug_shows_ids_on_one_line() {
    assert_eq!(format!("{:?}", user("a\nb\u{1B}")), r#""a\nb\u{1b}""#);
    let chat = ChatId::parse("tea \"4\"").unwrap();
    assert_eq!(format!("{chat:?}"), r#""tea \"4\"""#);
}

#[test]
fn refusals_name_their_limit() {
    let long = IdError::TooLong.to_string();
    assert_eq!(long, "must have at most 128 characters");
}

proptest! {
    #[test]
    fn key_leads_back_to_its_user(text in id_text()) {
        let user = user(&text);
        prop_assert_eq!(UserId::from_key(&user.to_key()), Ok(user));
    }

    #[test]
    fn keys_are_legal_for_any_id(text in id_text()) {
        let key = encode_key(&text);
        prop_assert!(is_legal_key(&key));
        prop_assert!(key.len() <= 3 * text.len());
    }

    #[test]
    fn two_ids_never_share_a_key(one in id_text(), other in id_text()) {
        prop_assert_eq!(encode_key(&one) == encode_key(&other), one == other);
    }

    /// Near misses are where codecs fail: texts of escapes, whole and broken.
    #[test]
    fn escapes_in_ids_are_only_text(one in "[%25eEfF.]{1,6}", other in "[%25eEfF.]{1,6}") {
        prop_assert_eq!(encode_key(&one) == encode_key(&other), one == other);
    }

    #[test]
    fn accepted_key_is_the_only_spelling(key in "[%0-9a-fA-F./\u{0}\u{80}\u{E9}]{0,8}") {
        if let Ok(user) = UserId::from_key(&key) {
            prop_assert_eq!(user.to_key(), key);
        }
    }

    #[test]
    fn chat_ids_follow_the_naive_rule(text in prop_oneof![id_text(), "\\PC{0,140}", "[./a]{0,3}"]) {
        let legal = (1..=MAX_ID_CHARS).contains(&text.chars().count())
            && ![".", ".."].contains(&text.as_str())
            && !text.contains(|c: char| c == '/' || c.is_control());
        prop_assert_eq!(ChatId::parse(&text).is_ok(), legal);
    }

    #[test]
    fn user_ids_follow_the_naive_rule(text in prop_oneof![id_text(), "\\PC{0,140}", ".{0,200}"]) {
        let legal = (1..=MAX_ID_CHARS).contains(&text.chars().count());
        prop_assert_eq!(UserId::parse(&text).is_ok(), legal);
    }
}
