//! Seats: taken, kept, given up.

use super::*;

const GRACE: Duration = Duration::from_secs(10);

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn chat(name: &str) -> ChatId {
    ChatId::parse(name).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn first_connection_arrives_second_does_not() {
    let (chats, now) = (Chats::default(), start());
    assert!(chats.join(&user("ann"), &chat("x"), now, 10).arrived);
    let second = chats.join(&user("ann"), &chat("x"), now, 10);
    assert_eq!(
        second,
        Joined {
            arrived: false,
            others: vec![],
            connections: 2
        }
    );
}

#[test]
fn others_are_seen_while_they_linger() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.linger(&user("ann"), vec![chat("x")], now, now + GRACE);
    assert_eq!(
        chats.join(&user("ben"), &chat("x"), now, 10).others,
        [user("ann")]
    );
    assert_eq!(
        chats.join(&user("cid"), &chat("x"), now + GRACE, 10).others,
        [user("ben")]
    );
}

#[test]
fn return_within_the_grace_is_silent_and_leaves_nothing_to_tell() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.linger(&user("ann"), vec![chat("x")], now, now + GRACE);
    assert!(
        !chats
            .join(&user("ann"), &chat("x"), now + GRACE / 2, 10)
            .arrived
    );
    assert_eq!(chats.depart(&user("ann")), []);
    chats.leave(&user("ann"), &chat("x"));
    assert!(chats.is_empty());
}

#[test]
fn return_after_the_grace_is_an_arrival() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.linger(&user("ann"), vec![chat("x")], now, now + GRACE);
    assert!(
        chats
            .join(&user("ann"), &chat("x"), now + GRACE, 10)
            .arrived
    );
}

#[test]
fn departure_names_the_chats_joined_at_the_end_and_their_size() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.join(&user("ann"), &chat("y"), now, 10);
    chats.join(&user("ben"), &chat("x"), now, 10);
    chats.leave(&user("ann"), &chat("y"));
    chats.linger(&user("ann"), vec![chat("x")], now, now + GRACE);
    assert_eq!(chats.depart(&user("ann")), [(chat("x"), 1)]);
    assert_eq!(chats.depart(&user("ann")), [], "told once");
    assert_eq!(chats.len(), 1, "ben is still there");
}

#[test]
fn a_second_device_keeps_the_seat() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.leave(&user("ann"), &chat("x"));
    assert_eq!(
        chats.join(&user("ben"), &chat("x"), now, 10).others,
        [user("ann")]
    );
}

#[test]
fn lingering_again_elsewhere_gives_up_the_seats_whose_time_is_over() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.linger(&user("ann"), vec![chat("x")], now, now + GRACE);
    chats.join(&user("ann"), &chat("y"), now, 10);
    chats.linger(&user("ann"), vec![chat("y")], now + GRACE, now + GRACE * 2);
    assert_eq!(chats.depart(&user("ann")), [(chat("y"), 0)]);
    assert!(chats.is_empty());
}

#[test]
fn whoever_breaks_off_again_before_joining_departs_from_the_old_seats() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.join(&user("ann"), &chat("y"), now, 10);
    chats.linger(&user("ann"), vec![chat("x"), chat("y")], now, now + GRACE);
    let again = now + GRACE / 2;
    chats.join(&user("ann"), &chat("y"), again, 10);
    chats.linger(&user("ann"), vec![chat("y")], again, again + GRACE);
    let ben = chats.join(&user("ben"), &chat("x"), now + GRACE, 10);
    assert_eq!(ben.others, [user("ann")], "not seen to go yet");
    assert_eq!(chats.depart(&user("ann")), [(chat("y"), 0), (chat("x"), 1)]);
}

#[test]
fn flapping_from_chat_to_chat_keeps_a_bounded_number_of_seats() {
    let (chats, now) = (Chats::default(), start());
    for n in 0..MOST_KEPT + 100 {
        let here = chat(&format!("c{n}"));
        chats.join(&user("ann"), &here, now, 10);
        chats.linger(&user("ann"), vec![here], now, now + GRACE);
    }
    assert_eq!(chats.len(), MOST_KEPT);
    assert_eq!(chats.depart(&user("ann")).len(), MOST_KEPT);
    assert!(chats.is_empty());
}

#[test]
fn sweep_drops_seats_nobody_came_back_to() {
    let (chats, now) = (Chats::default(), start());
    chats.join(&user("ann"), &chat("x"), now, 10);
    chats.linger(&user("ann"), vec![chat("x")], now, now + GRACE);
    chats.sweep(now + GRACE);
    assert_eq!(chats.len(), 1, "kept a while for the departure");
    chats.sweep(now + GRACE + SLACK);
    assert!(chats.is_empty());
}

#[test]
fn the_snapshot_is_bounded() {
    let (chats, now) = (Chats::default(), start());
    for n in 0..20 {
        chats.join(&user(&format!("u{n}")), &chat("x"), now, 10);
    }
    let joined = chats.join(&user("ann"), &chat("x"), now, 10);
    assert_eq!((joined.others.len(), joined.connections), (10, 21));
}
