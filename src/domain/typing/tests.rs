use super::*;
use crate::domain::time::invented::instant;
use proptest::prelude::*;
use std::collections::BTreeMap;

const TTL_MS: u64 = 6_000;
const PHONE: ConnectionId = ConnectionId(1);
const LAPTOP: ConnectionId = ConnectionId(2);

fn book() -> TypingBook {
    TypingBook::new(Duration::from_millis(TTL_MS))
}

fn ann() -> UserId {
    UserId::parse("ann").unwrap()
}

fn bob() -> UserId {
    UserId::parse("bob").unwrap()
}

fn tea() -> ChatId {
    ChatId::parse("tea").unwrap()
}

fn work() -> ChatId {
    ChatId::parse("work").unwrap()
}

fn typist(chat: &ChatId, user: &UserId) -> Typist {
    Typist {
        chat: chat.clone(),
        user: user.clone(),
    }
}

#[test]
fn typing_begins_once_and_ends_once() {
    let mut book = book();
    assert!(book.start(&tea(), &ann(), PHONE, instant(0)));
    assert_eq!(book.active(), 1);
    assert!(book.stop(&tea(), &ann(), PHONE));
    assert_eq!(book.active(), 0);
    assert!(!book.stop(&tea(), &ann(), PHONE));
    assert_eq!(book.next_deadline(), None);
    assert_eq!(book.expire(instant(1_000_000)), []);
}

#[test]
fn lease_ends_by_itself() {
    let mut book = book();
    book.start(&tea(), &ann(), PHONE, instant(100));
    assert_eq!(book.next_deadline(), Some(instant(100 + TTL_MS)));
    assert_eq!(book.expire(instant(100 + TTL_MS - 1)), []);
    let ended = book.expire(instant(100 + TTL_MS));
    assert_eq!(ended, [typist(&tea(), &ann())]);
    assert_eq!((book.active(), book.next_deadline()), (0, None));
    assert!(!book.stop(&tea(), &ann(), PHONE));
}

#[test]
fn repeat_renews_the_lease_and_is_not_relayed() {
    let mut book = book();
    book.start(&tea(), &ann(), PHONE, instant(0));
    assert!(!book.start(&tea(), &ann(), PHONE, instant(1_000)));
    assert_eq!(book.next_deadline(), Some(instant(1_000 + TTL_MS)));
    assert_eq!(book.expire(instant(TTL_MS)), []);
    assert_eq!(book.expire(instant(1_000 + TTL_MS)).len(), 1);
}

#[test]
fn second_device_keeps_the_user_typing() {
    let mut book = book();
    assert!(book.start(&tea(), &ann(), PHONE, instant(0)));
    assert!(!book.start(&tea(), &ann(), LAPTOP, instant(1_000)));
    assert_eq!(book.active(), 1);
    assert!(!book.stop(&tea(), &ann(), PHONE));
    assert_eq!(book.expire(instant(TTL_MS)), []);
    assert!(book.stop(&tea(), &ann(), LAPTOP));
}

#[test]
fn lease_of_one_device_that_is_over_leaves_the_other() {
    let mut book = book();
    book.start(&tea(), &ann(), PHONE, instant(0));
    book.start(&tea(), &ann(), LAPTOP, instant(1_000));
    assert_eq!(book.expire(instant(TTL_MS)), []);
    assert_eq!(book.next_deadline(), Some(instant(1_000 + TTL_MS)));
    let ended = book.expire(instant(1_000 + TTL_MS));
    assert_eq!(ended, [typist(&tea(), &ann())]);
}

#[test]
fn stop_of_another_connection_user_or_chat_changes_nothing() {
    let mut book = book();
    assert!(!book.stop(&tea(), &ann(), PHONE));
    book.start(&tea(), &ann(), PHONE, instant(0));
    assert!(!book.stop(&tea(), &ann(), LAPTOP));
    assert!(!book.stop(&tea(), &bob(), PHONE));
    assert!(!book.stop(&work(), &ann(), PHONE));
    assert_eq!(book.active(), 1);
    assert_eq!(book.next_deadline(), Some(instant(TTL_MS)));
}

#[test]
fn users_and_chats_are_told_apart() {
    let mut book = book();
    assert!(book.start(&tea(), &ann(), PHONE, instant(0)));
    assert!(book.start(&work(), &ann(), PHONE, instant(1)));
    assert!(book.start(&tea(), &bob(), LAPTOP, instant(2)));
    assert_eq!(book.active(), 3);
    assert!(book.stop(&tea(), &ann(), PHONE));
    let ended = book.expire(instant(2 + TTL_MS));
    assert_eq!(ended, [typist(&work(), &ann()), typist(&tea(), &bob())]);
}

#[test]
fn start_after_the_lease_but_before_its_collection_goes_on_typing() {
    let mut book = book();
    book.start(&tea(), &ann(), PHONE, instant(0));
    assert!(!book.start(&tea(), &ann(), PHONE, instant(TTL_MS)));
    assert_eq!(book.expire(instant(TTL_MS)), []);
    assert_eq!(book.expire(instant(2 * TTL_MS)).len(), 1);
}

#[test]
fn stop_after_the_lease_but_before_its_collection_is_the_only_end() {
    let mut book = book();
    book.start(&tea(), &ann(), PHONE, instant(0));
    assert!(book.stop(&tea(), &ann(), PHONE));
    assert_eq!(book.expire(instant(TTL_MS)), []);
}

#[derive(Clone, Debug)]
enum Fact {
    Start(usize, usize, u64),
    Stop(usize, usize, u64),
    Expire,
}

/// Facts, and how much later each happens than the one before.
fn steps() -> impl Strategy<Value = Vec<(u64, Fact)>> {
    let whom = (0..2_usize, 0..2_usize, 0..2_u64);
    let fact = prop_oneof![
        4 => whom.clone().prop_map(|(chat, user, c)| Fact::Start(chat, user, c)),
        2 => whom.prop_map(|(chat, user, c)| Fact::Stop(chat, user, c)),
        2 => Just(Fact::Expire),
    ];
    let after_ms = prop_oneof![Just(0), 0..1_000_u64, Just(TTL_MS), 0..9_000_u64];
    prop::collection::vec((after_ms, fact), 0..60)
}

/// The rule without an index: every lease in one list.
#[derive(Default)]
struct Model(BTreeMap<(Typist, u64), u64>);

impl Model {
    fn types(&self, typist: &Typist) -> bool {
        self.0.keys().any(|(held, _)| held == typist)
    }

    fn start(&mut self, typist: &Typist, connection: u64, ms: u64) -> bool {
        let began = !self.types(typist);
        self.0.insert((typist.clone(), connection), ms + TTL_MS);
        began
    }

    fn stop(&mut self, typist: &Typist, connection: u64) -> bool {
        self.0.remove(&(typist.clone(), connection)).is_some() && !self.types(typist)
    }

    fn expire(&mut self, ms: u64) -> Vec<Typist> {
        let mut over: Vec<_> = self
            .0
            .iter()
            .filter(|(_, until)| **until <= ms)
            .map(|((typist, connection), until)| (*until, typist.clone(), *connection))
            .collect();
        over.sort();
        over.into_iter()
            .filter(|(_, typist, connection)| self.stop(typist, *connection))
            .map(|(_, typist, _)| typist)
            .collect()
    }

    fn active(&self) -> usize {
        let typists: BTreeSet<_> = self.0.keys().map(|(typist, _)| typist).collect();
        typists.len()
    }
}

proptest! {
    #[test]
    fn book_agrees_with_the_naive_model(steps in steps()) {
        let (chats, users) = ([tea(), work()], [ann(), bob()]);
        let (mut book, mut model) = (book(), Model::default());
        let mut ms = 0;
        for (after_ms, fact) in steps {
            ms += after_ms;
            match fact {
                Fact::Start(chat, user, c) => {
                    let (chat, user) = (&chats[chat], &users[user]);
                    prop_assert_eq!(
                        book.start(chat, user, ConnectionId(c), instant(ms)),
                        model.start(&typist(chat, user), c, ms)
                    );
                }
                Fact::Stop(chat, user, c) => {
                    let (chat, user) = (&chats[chat], &users[user]);
                    prop_assert_eq!(
                        book.stop(chat, user, ConnectionId(c)),
                        model.stop(&typist(chat, user), c)
                    );
                }
                Fact::Expire => prop_assert_eq!(book.expire(instant(ms)), model.expire(ms)),
            }
            prop_assert_eq!(book.active(), model.active());
            let deadline = model.0.values().min().map(|until| instant(*until));
            prop_assert_eq!(book.next_deadline(), deadline);
            prop_assert_eq!(book.deadlines.len(), model.0.len());
        }
    }

    #[test]
    fn begin_and_end_of_a_typist_alternate(steps in steps()) {
        let (chats, users) = ([tea(), work()], [ann(), bob()]);
        let mut book = book();
        let mut typing = BTreeSet::new();
        let mut ms = 0;
        for (after_ms, fact) in steps {
            ms += after_ms;
            match fact {
                Fact::Start(chat, user, c) => {
                    let (chat, user) = (&chats[chat], &users[user]);
                    if book.start(chat, user, ConnectionId(c), instant(ms)) {
                        prop_assert!(typing.insert(typist(chat, user)), "began twice");
                    }
                }
                Fact::Stop(chat, user, c) => {
                    let (chat, user) = (&chats[chat], &users[user]);
                    if book.stop(chat, user, ConnectionId(c)) {
                        prop_assert!(typing.remove(&typist(chat, user)), "ended twice");
                    }
                }
                Fact::Expire => {
                    for ended in book.expire(instant(ms)) {
                        prop_assert!(typing.remove(&ended), "ended twice");
                    }
                }
            }
            prop_assert_eq!(book.active(), typing.len());
        }
        for ended in book.expire(instant(ms + TTL_MS)) {
            prop_assert!(typing.remove(&ended), "ended twice");
        }
        prop_assert!(typing.is_empty() && book.typists.is_empty() && book.deadlines.is_empty());
    }
}
