use super::*;
use crate::domain::time::invented::{at, instant};
use proptest::prelude::*;

const MEMORY_MS: u64 = 300_000;

fn recent(capacity: usize) -> RecentMessages {
    RecentMessages::new(capacity, Duration::from_millis(MEMORY_MS))
}

fn user(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}

fn chat(text: &str) -> ChatId {
    ChatId::parse(text).unwrap()
}

fn id(text: &str) -> ClientMessageId {
    ClientMessageId::parse(text).unwrap()
}

/// Ann's message in one chat.
fn send(recent: &mut RecentMessages, text: &str, ms: u64) -> Verdict {
    recent.accept(&user("ann"), &chat("tea"), &id(text), at(ms))
}

fn duplicate(ms: u64) -> Verdict {
    Verdict::Duplicate {
        delivered_at: UnixMillis(ms),
    }
}

#[test]
fn repeat_is_answered_with_the_first_time() {
    let mut recent = recent(10);
    assert!(recent.is_empty());
    assert_eq!(send(&mut recent, "m1", 5), Verdict::New);
    assert_eq!(send(&mut recent, "m1", 6), duplicate(5));
    assert_eq!(send(&mut recent, "m1", 7), duplicate(5));
    assert_eq!(recent.len(), 1);
    assert!(!recent.is_empty());
}

#[test]
fn delivery_time_is_the_wall_clock_and_memory_is_not() {
    let mut recent = recent(10);
    let jumped = |ms, unix| Moment {
        unix: UnixMillis(unix),
        ..at(ms)
    };
    let mut send = |now| recent.accept(&user("ann"), &chat("tea"), &id("m1"), now);
    assert_eq!(send(jumped(0, 9_000_000)), Verdict::New);
    assert_eq!(send(jumped(1, 1)), duplicate(9_000_000));
    assert_eq!(send(jumped(MEMORY_MS, 2)), Verdict::New);
    assert_eq!(send(jumped(MEMORY_MS, 3)), duplicate(2));
}

#[test]
fn ids_of_other_users_and_chats_are_other_messages() {
    let mut recent = recent(10);
    for (who, place, name) in [
        ("ann", "tea", "m1"),
        ("bob", "tea", "m1"),
        ("ann", "work", "m1"),
        ("ann", "tea", "m2"),
        // The same letters, cut elsewhere.
        ("ann", "te", "am1"),
        ("annt", "ea", "m1"),
    ] {
        let verdict = recent.accept(&user(who), &chat(place), &id(name), at(0));
        assert_eq!(verdict, Verdict::New, "{who} {place} {name}");
    }
    assert_eq!(recent.len(), 6);
}

#[test]
fn memory_ends_and_repeats_do_not_prolong_it() {
    let mut recent = recent(10);
    send(&mut recent, "m1", 10);
    assert_eq!(send(&mut recent, "m1", 10 + MEMORY_MS - 1), duplicate(10));
    assert_eq!(send(&mut recent, "m1", 10 + MEMORY_MS), Verdict::New);
    assert_eq!(recent.len(), 1);
    let again = 10 + MEMORY_MS;
    assert_eq!(send(&mut recent, "m1", again + 1), duplicate(again));
}

#[test]
fn full_memory_forgets_the_oldest_first() {
    let mut recent = recent(2);
    send(&mut recent, "m1", 1);
    send(&mut recent, "m2", 2);
    assert_eq!(send(&mut recent, "m1", 3), duplicate(1));
    assert_eq!(send(&mut recent, "m3", 4), Verdict::New);
    assert_eq!(recent.len(), 2);
    assert_eq!(send(&mut recent, "m2", 5), duplicate(2));
    assert_eq!(send(&mut recent, "m3", 5), duplicate(4));
    assert_eq!(send(&mut recent, "m1", 6), Verdict::New);
}

#[test]
fn smallest_memory_holds_one_message() {
    let mut recent = recent(0);
    assert_eq!(send(&mut recent, "m1", 1), Verdict::New);
    assert_eq!(send(&mut recent, "m1", 2), duplicate(1));
    assert_eq!(recent.len(), 1);
}

#[test]
fn old_messages_can_be_forgotten_without_a_new_one() {
    let mut recent = recent(10);
    send(&mut recent, "m1", 0);
    send(&mut recent, "m2", 1);
    recent.forget_old(instant(MEMORY_MS));
    assert_eq!((recent.len(), recent.delivered.len()), (1, 1));
    recent.forget_old(instant(MEMORY_MS + 1));
    assert!(recent.is_empty());
    assert!(recent.delivered.is_empty());
}

#[test]
fn client_message_id_has_1_to_128_characters() {
    assert_eq!(ClientMessageId::parse(""), Err(TextError::Empty));
    for longest in ["x".repeat(128), "\u{1F375}".repeat(128)] {
        assert_eq!(id(&longest).as_str(), longest);
        let longer = longest + "x";
        let refused = Err(TextError::TooLong { max: 128 });
        assert_eq!(ClientMessageId::parse(&longer), refused);
    }
    assert_eq!(id("x").as_str(), "x");
}

#[test]
fn group_event_type_has_1_to_64_characters() {
    assert_eq!(GroupEventType::parse(""), Err(TextError::Empty));
    let longest = "\u{E9}".repeat(64);
    let accepted = GroupEventType::parse(&longest).unwrap();
    assert_eq!(accepted.as_str(), longest);
    let refused = Err(TextError::TooLong { max: 64 });
    assert_eq!(GroupEventType::parse(&(longest + "x")), refused);
}

#[test]
fn receipt_names_1_to_100_messages_of_1_to_128_characters() {
    let ids = |n: usize| (0..n).map(|i| format!("m{i}")).collect::<Vec<_>>();
    assert_eq!(MessageIds::parse(ids(0)), Err(MessageIdsError::None));
    for n in [1, 100] {
        assert_eq!(MessageIds::parse(ids(n)).unwrap().as_slice(), ids(n));
    }
    assert_eq!(MessageIds::parse(ids(101)), Err(MessageIdsError::TooMany));
    let with = |last: String| MessageIds::parse(vec!["m".into(), last]);
    assert!(with("x".repeat(128)).is_ok());
    let long = MessageIdsError::BadId(TextError::TooLong { max: 128 });
    assert_eq!(with("x".repeat(129)), Err(long));
    let empty = MessageIdsError::BadId(TextError::Empty);
    assert_eq!(with(String::new()), Err(empty));
}

#[test]
fn refusals_name_their_limit() {
    let long = TextError::TooLong { max: 64 };
    assert_eq!(long.to_string(), "must have at most 64 characters");
    let ids = MessageIdsError::BadId(TextError::Empty);
    assert_eq!(ids.to_string(), "must not be empty, each of them");
    let many = MessageIdsError::TooMany.to_string();
    assert_eq!(many, "must name at most 100 messages");
}

/// The rule without an index: everything relayed, the oldest first.
struct Model {
    capacity: usize,
    relayed: Vec<(u64, u64, String)>,
}

impl Model {
    fn accept(&mut self, name: &str, ms: u64, unix: u64) -> Verdict {
        self.relayed.retain(|(since, ..)| ms - since < MEMORY_MS);
        let known = self.relayed.iter().find(|(.., relayed)| relayed == name);
        if let Some((_, delivered_at, _)) = known {
            return duplicate(*delivered_at);
        }
        self.relayed.push((ms, unix, name.into()));
        if self.relayed.len() > self.capacity {
            self.relayed.remove(0);
        }
        Verdict::New
    }
}

proptest! {
    #[test]
    fn memory_agrees_with_the_naive_model(
        capacity in 1..6_usize,
        sent in prop::collection::vec((0..150_000_u64, any::<u64>(), "[ab]", "[ab]", "[a-d]"), 0..60),
    ) {
        let mut recent = recent(capacity);
        let mut model = Model { capacity, relayed: vec![] };
        let mut ms = 0;
        for (after_ms, unix, who, place, name) in sent {
            ms += after_ms;
            let now = Moment { unix: UnixMillis(unix), ..at(ms) };
            prop_assert_eq!(
                recent.accept(&user(&who), &chat(&place), &id(&name), now),
                model.accept(&format!("{who}{place}{name}"), ms, unix)
            );
            prop_assert_eq!(recent.len(), model.relayed.len());
            prop_assert_eq!(recent.delivered.len(), recent.order.len());
            prop_assert_eq!(recent.is_empty(), model.relayed.is_empty());
        }
    }

    #[test]
    fn length_is_counted_in_characters(text in "\\PC{0,140}") {
        let chars = text.chars().count();
        prop_assert_eq!(ClientMessageId::parse(&text).is_ok(), (1..=128).contains(&chars));
        prop_assert_eq!(GroupEventType::parse(&text).is_ok(), (1..=64).contains(&chars));
        let ids = MessageIds::parse(vec![text]);
        prop_assert_eq!(ids.is_ok(), (1..=128).contains(&chars));
    }
}
