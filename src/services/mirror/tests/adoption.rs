//! Who is adopted at start, when, and from whom.

use super::fake::{BEGIN, BOOT, Fake, NODE, Op};
use super::*;

/// A database where somebody is online by a node's record, with that node's heartbeat of long ago.
fn left_behind(node: Option<&str>, beat_age: Duration) -> Fake {
    let fake = Fake::new();
    {
        let mut state = fake.state();
        let signed = node.map(str::to_owned);
        state
            .users
            .insert(user("ann"), (online(BEGIN - 500_000), signed));
        let beat = UnixMillis(BEGIN - u64::try_from(beat_age.as_millis()).unwrap());
        let process = (node.unwrap_or("other").to_owned(), "old".to_owned());
        state.beats.insert(process, (beat, Duration::from_secs(10)));
    }
    fake
}

#[tokio::test(start_paused = true)]
async fn whoever_a_dead_process_left_online_is_adopted() {
    let mut b = Bench::start(&left_behind(Some(NODE), Duration::from_mins(5)));
    let adopted = b.adopted.recv().await.unwrap();
    assert_eq!(adopted, [(user("ann"), UnixMillis(BEGIN - 300_000))]);
    sleep(SECOND).await;
    let ops = b.fake.asked(Duration::ZERO);
    assert_eq!(ops, [Op::Beat, Op::Nodes, Op::Online, Op::Forget]);
    let beats: Vec<_> = b.fake.state().beats.keys().cloned().collect();
    assert_eq!(beats, [(NODE.to_owned(), BOOT.to_owned())]);
    b.want("ann", offline(3)).await;
    b.sees("ann", offline(3)).await;
}

#[tokio::test(start_paused = true)]
async fn users_of_a_living_process_are_adopted_when_it_has_ended() {
    for orderly in [true, false] {
        let mut b = Bench::start(&left_behind(Some(NODE), SECOND));
        sleep(Duration::from_secs(20)).await;
        assert!(b.adopted.try_recv().is_err(), "its process lives");
        assert!(b.standing.borrow().adopted, "and we are ready");
        let looks = b
            .fake
            .asked(SECOND)
            .into_iter()
            .filter(|op| *op == Op::Online);
        assert_eq!(looks.count(), 0, "only the heartbeats are looked at again");
        if orderly {
            b.fake
                .state()
                .beats
                .remove(&(NODE.to_owned(), "old".to_owned()));
        }
        let adopted = tokio::time::timeout(Duration::from_secs(15), b.adopted.recv()).await;
        assert_eq!(adopted.unwrap().unwrap().len(), 1);
        let looks = b
            .fake
            .asked(SECOND)
            .into_iter()
            .filter(|op| *op == Op::Online);
        assert_eq!(looks.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn whom_the_ending_process_wrote_offline_although_we_hold_them_is_put_right() {
    let b = Bench::start(&left_behind(Some(NODE), SECOND));
    sleep(SECOND).await;
    b.want("ann", online(7)).await;
    b.want("bob", online(7)).await;
    b.sees("bob", online(7)).await;
    {
        let mut state = b.fake.state();
        let late = (offline(8), Some(NODE.to_owned()));
        state.users.insert(user("ann"), late);
        state.beats.remove(&(NODE.to_owned(), "old".to_owned()));
    }
    b.sees("ann", online(7)).await;
    assert_eq!(b.metrics.sweep_corrections.get(), 1);
    assert_eq!(b.balance(), [2, 2, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn users_of_another_dead_node_are_signed_anew() {
    let mut b = Bench::start(&left_behind(Some("other"), Duration::from_mins(5)));
    let adopted = b.adopted.recv().await.unwrap();
    assert_eq!(adopted.len(), 1);
    sleep(SECOND).await;
    let node = b.fake.state().users[&user("ann")].1.clone();
    assert_eq!(node.as_deref(), Some(NODE));
    assert_eq!(b.balance(), [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn whom_we_hold_too_but_an_ended_node_signed_last_is_signed_anew() {
    let b = Bench::start(&left_behind(Some("other"), SECOND));
    sleep(SECOND).await;
    b.want("ann", online(7)).await;
    b.sees("ann", online(7)).await;
    {
        let mut state = b.fake.state();
        let second_device = (online(8), Some("other".to_owned()));
        state.users.insert(user("ann"), second_device);
        state.beats.remove(&("other".to_owned(), "old".to_owned()));
    }
    b.sees("ann", online(7)).await;
    let node = b.fake.state().users[&user("ann")].1.clone();
    assert_eq!(
        node.as_deref(),
        Some(NODE),
        "whose heartbeat is read with it"
    );
}

#[tokio::test(start_paused = true)]
async fn without_nodes_in_the_records_anybody_alive_may_serve_them() {
    let mut b = Bench::start(&left_behind(None, SECOND));
    sleep(Duration::from_secs(20)).await;
    assert!(b.adopted.try_recv().is_err());
    let adopted = b.adopted.recv().await.unwrap();
    assert_eq!(adopted, [(user("ann"), UnixMillis(BEGIN - 1_000))]);
}

#[tokio::test(start_paused = true)]
async fn whoever_returns_before_the_adoption_is_not_written() {
    let mut b = Bench::start(&left_behind(Some(NODE), Duration::from_mins(5)));
    b.want("ann", online(7)).await;
    sleep(3 * SECOND).await;
    assert!(b.adopted.try_recv().is_err(), "not adopted: connected");
    assert_eq!(writes(&b.fake.asked(Duration::ZERO)), 0);
    assert_eq!(b.balance(), [1, 0, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_while_the_database_is_read_is_not_adopted() {
    let mut b = Bench::start(&left_behind(Some(NODE), Duration::from_mins(5)));
    sleep(Duration::from_millis(50)).await;
    assert!(
        b.fake.asked(Duration::ZERO).contains(&Op::Online),
        "being read"
    );
    b.want("ann", online(7)).await;
    b.want("ann", offline(8)).await;
    b.sees("ann", offline(8)).await;
    assert!(b.adopted.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn whoever_came_left_and_was_written_during_a_slow_look_is_not_adopted() {
    let fake = left_behind(Some(NODE), Duration::from_mins(5));
    fake.state().look_takes = Duration::from_secs(15);
    let mut b = Bench::start(&fake);
    sleep(SECOND).await;
    b.want("ann", online(7)).await;
    b.want("ann", offline(8)).await;
    b.sees("ann", offline(8)).await;
    assert!(!b.standing.borrow().tried, "still looking");
    sleep(Duration::from_secs(20)).await;
    assert!(b.standing.borrow().adopted);
    assert!(b.adopted.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_adoption_waits_for_a_database_that_is_down_and_readiness_does_not() {
    let fake = left_behind(Some(NODE), Duration::from_mins(5));
    fake.state().down = Some(WriteError::NotSent);
    let mut b = Bench::start(&fake);
    sleep(SECOND).await;
    let standing = *b.standing.borrow();
    assert!(standing.tried && standing.degraded && !standing.adopted);
    b.want("bob", online(1)).await;
    sleep(Duration::from_mins(1)).await;
    assert!(b.fake.asked(SECOND).len() <= 12);
    b.fake.state().down = None;
    assert_eq!(b.adopted.recv().await.unwrap().len(), 1);
    b.sees("bob", online(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_adopted_users_who_is_slow_or_gone_stops_nothing() {
    let fake = Fake::new();
    for n in 0..20_000 {
        let record = (online(1), Some(NODE.to_owned()));
        fake.state().users.insert(user(&format!("u{n}")), record);
    }
    let mut b = Bench::start(&fake);
    sleep(SECOND).await;
    b.want("ann", online(1)).await;
    b.sees("ann", online(1)).await;
    assert_eq!(b.adopted.recv().await.unwrap().len(), 1_000);
    b.adopted.close();
    b.want("ann", offline(2)).await;
    b.sees("ann", offline(2)).await;
    assert_eq!(b.metrics.presence_adopted.get(), 20_000);
}

fn me() -> Process {
    process(NODE, BOOT)
}

fn process(node: &str, boot: &str) -> Process {
    Process {
        node: node.to_owned(),
        boot: boot.to_owned(),
    }
}

/// One look at a database with these processes, by the age of their heartbeats in milliseconds.
async fn look(beats: &[(&str, &str, i64)], users: &[(&str, u64, Option<&str>)]) -> Adoption {
    let fake = Fake::new();
    {
        let mut state = fake.state();
        for (node, boot, age) in beats {
            let beat = UnixMillis(BEGIN.checked_add_signed(-age).unwrap());
            let interval = Duration::from_secs(10);
            state
                .beats
                .insert(((*node).to_owned(), (*boot).to_owned()), (beat, interval));
        }
        for (name, seen, node) in users {
            let signed = node.map(str::to_owned);
            state.users.insert(user(name), (online(*seen), signed));
        }
    }
    adopt(&fake, &me(), UnixMillis(BEGIN), &Known::default())
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_is_fresh_for_three_intervals_and_not_from_the_future() {
    let beats = [
        ("a", "1", 29_999),
        ("b", "1", 30_000),
        ("c", "1", -29_999),
        ("d", "1", -86_400_000),
        (NODE, BOOT, 0),
    ];
    let users = [
        ("u1", 5, Some("a")),
        ("u2", 5, Some("b")),
        ("u3", 5, Some("c")),
        ("u4", 5, Some("d")),
    ];
    let adoption = look(&beats, &users).await;
    let names: Vec<&str> = adoption.users.iter().map(|u| u.user.as_str()).collect();
    assert_eq!(names, ["u2", "u4"]);
    assert_eq!(
        adoption.others,
        [process("a", "1"), process("c", "1")].into()
    );
    assert_eq!(adoption.dead, [process("b", "1"), process("d", "1")].into());
}

#[tokio::test(start_paused = true)]
async fn last_seen_is_the_later_of_the_record_and_its_nodes_last_heartbeat() {
    let beats = [(NODE, "1", 90_000), (NODE, "2", 60_000), ("b", "1", 40_000)];
    let early = BEGIN - 100_000;
    let late = BEGIN - 50_000;
    let users = [
        ("u1", early, Some(NODE)),
        ("u2", late, Some(NODE)),
        ("u3", 0, Some("gone")),
        ("u4", early, None),
    ];
    let adoption = look(&beats, &users).await;
    let seen: Vec<u64> = adoption.users.iter().map(|u| u.last_seen.0).collect();
    assert_eq!(seen, [BEGIN - 60_000, late, BEGIN, BEGIN - 40_000]);
    let foreign: Vec<bool> = adoption.users.iter().map(|u| u.foreign).collect();
    assert_eq!(foreign, [false, false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_remembered_while_their_node_lives() {
    let beats = [(NODE, "1", 90_000), (NODE, "2", 1_000)];
    let adoption = look(&beats, &[("u1", 5, Some(NODE))]).await;
    assert_eq!(adoption.users, []);
    assert_eq!(adoption.dead, BTreeSet::new());
}
