//! Messages through rooms: as many as the server takes (closed loop) or at a given rate (open loop).
//!
//! Every message carries its slot, sender, number and sending time in its 150 bytes of text, so loss,
//! repetition and reordering are seen for every pair of sender and receiver.

use crate::Sizes;
use crate::measure::{Stage, open_all};
use crate::report::{Figure, Goal};
use crate::wire::{Conn, Link, find, frame};
use anyhow::{Result, bail, ensure};
use presence_bridge::clock::Clock;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Messages of one room that are on their way at the same time in the closed loop.
const IN_FLIGHT: usize = 8;
const MESSAGE_SIZE_BYTES: usize = 150;
/// Digits of slot, sender, number and microseconds.
const STAMP: [usize; 4] = [1, 4, 8, 12];
const BEFORE_MESSAGE: &[u8] = b"\"message\":\"";
/// How long the last messages may take to arrive once nothing more is sent.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

struct Room {
    members: Vec<Rc<Link>>,
    /// The frame of the next message; only the stamp changes.
    frame: Vec<u8>,
    stamp_at: usize,
    /// The number of each member's last message.
    numbers: Vec<usize>,
    turn: usize,
    /// Receivers that each slot's message has not reached.
    missing: [usize; IN_FLIGHT],
}

impl Room {
    fn new(chat: &str, members: Vec<Rc<Link>>, acks: bool) -> Result<Self> {
        let text = "x".repeat(MESSAGE_SIZE_BYTES);
        let ack = if acks { "1" } else { "" };
        let frame = frame(&format!(
            "42{ack}[\"send_message\",{{\"chatId\":\"{chat}\",\"message\":\"{text}\"}}]"
        ));
        let Some(at) = find(&frame, BEFORE_MESSAGE) else {
            bail!("no message in the frame");
        };
        Ok(Self {
            numbers: vec![0; members.len()],
            members,
            frame,
            stamp_at: at + BEFORE_MESSAGE.len(),
            turn: 0,
            missing: [0; IN_FLIGHT],
        })
    }

    /// Lets the member whose turn it is send the next message.
    fn send(&mut self, slot: usize, sent_us: usize) {
        let sender = self.turn;
        self.turn = (self.turn + 1) % self.members.len();
        self.numbers[sender] += 1;
        self.missing[slot] = self.members.len() - 1;
        let mut at = self.stamp_at;
        for (width, value) in STAMP
            .into_iter()
            .zip([slot, sender, self.numbers[sender], sent_us])
        {
            write_digits(&mut self.frame[at..at + width], value);
            at += width;
        }
        self.members[sender].send(&self.frame);
    }
}

fn write_digits(field: &mut [u8], mut value: usize) {
    for digit in field.iter_mut().rev() {
        *digit = b"0123456789"[value % 10];
        value /= 10;
    }
}

fn read_digits(field: &[u8]) -> usize {
    field.iter().fold(0, |value, digit| {
        value * 10 + usize::from(digit.wrapping_sub(b'0'))
    })
}

/// What all connections of one run share.
struct Load {
    rooms: Vec<RefCell<Room>>,
    clock: Clock,
    epoch: Instant,
    /// In the closed loop a finished message calls the next one.
    closed_loop: bool,
    sending: Cell<bool>,
    recording: Cell<bool>,
    expected: Cell<u64>,
    received: Cell<u64>,
    violations: Cell<u64>,
    refused: Cell<u64>,
    latencies_us: RefCell<Vec<usize>>,
}

fn add(cell: &Cell<u64>, more: usize) {
    cell.set(cell.get() + more as u64);
}

impl Load {
    fn now_us(&self) -> usize {
        let since = self.clock.instant() - self.epoch;
        usize::try_from(since.as_micros()).unwrap_or(usize::MAX)
    }

    fn send(&self, room: usize, slot: usize) {
        let mut room = self.rooms[room].borrow_mut();
        add(&self.expected, room.members.len() - 1);
        room.send(slot, self.now_us());
    }

    /// Takes one packet; `seen` holds the last number of each sender.
    fn receive(&self, room: usize, seen: &mut [usize], packet: &[u8]) {
        if !packet.starts_with(b"42[\"new_message\"") {
            if packet.starts_with(b"42[\"event_error\"") || packet.starts_with(b"431[{\"ok\":false")
            {
                add(&self.refused, 1);
            }
            return;
        }
        let Some(at) = find(packet, BEFORE_MESSAGE) else {
            return add(&self.violations, 1);
        };
        let mut rest = &packet[at + BEFORE_MESSAGE.len()..];
        let [slot, sender, number, sent_us] = STAMP.map(|width| {
            let (field, after) = rest.split_at(width);
            rest = after;
            read_digits(field)
        });
        if seen[sender] + 1 != number {
            add(&self.violations, 1);
        }
        seen[sender] = number;
        add(&self.received, 1);
        if self.recording.get() {
            self.latencies_us
                .borrow_mut()
                .push(self.now_us().saturating_sub(sent_us));
        }
        if self.closed_loop && self.reached(room, slot) && self.sending.get() {
            self.send(room, slot);
        }
    }

    /// Whether that was the slot's last receiver.
    fn reached(&self, room: usize, slot: usize) -> bool {
        let missing = &mut self.rooms[room].borrow_mut().missing[slot];
        *missing = missing.saturating_sub(1);
        *missing == 0
    }

    async fn listen(self: Rc<Self>, room: usize, mut conn: Conn) -> Result<()> {
        let members = self.rooms[room].borrow().members.len();
        let mut seen = vec![0; members];
        loop {
            conn.read(|packet| self.receive(room, &mut seen, packet))
                .await?;
        }
    }

    /// Stops sending and waits for what is on its way; returns how much never came.
    async fn drain(&self) -> u64 {
        self.sending.set(false);
        let until = self.clock.instant() + DRAIN_DEADLINE;
        while self.received.get() < self.expected.get() && self.clock.instant() < until {
            sleep(Duration::from_millis(20)).await;
        }
        self.expected.get().saturating_sub(self.received.get())
    }

    /// Sends `rate` messages a second in all, one room after the other, until the time is over.
    async fn pace(&self, rate: f64, time: Duration) {
        let start = self.clock.instant();
        let mut sent: u32 = 0;
        loop {
            let elapsed = self.clock.instant() - start;
            if elapsed >= time {
                return;
            }
            while f64::from(sent) < elapsed.as_secs_f64() * rate {
                self.send(sent as usize % self.rooms.len(), 0);
                sent += 1;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn prepare(
    stage: &Stage<'_>,
    size: usize,
    closed_loop: bool,
    listeners: &mut JoinSet<Result<()>>,
) -> Result<Rc<Load>> {
    let count = stage.sizes.room_connections;
    let seats = stage.seats(0..count, size);
    let mut conns = open_all(stage, &seats, 64).await?;
    let mut rooms = Vec::new();
    for (members, seats) in conns.chunks(size).zip(seats.chunks(size)) {
        let links = members.iter().map(|conn| Rc::clone(&conn.link)).collect();
        rooms.push(RefCell::new(Room::new(&seats[0].chat, links, stage.acks)?));
    }
    let clock = Clock::system();
    let load = Rc::new(Load {
        rooms,
        epoch: clock.instant(),
        clock,
        closed_loop,
        sending: Cell::new(true),
        recording: Cell::default(),
        expected: Cell::default(),
        received: Cell::default(),
        violations: Cell::default(),
        refused: Cell::default(),
        latencies_us: RefCell::default(),
    });
    for (seat, conn) in conns.drain(..).enumerate() {
        listeners.spawn_local(Rc::clone(&load).listen(seat / size, conn));
    }
    Ok(load)
}

/// Every listener runs until it is stopped; one that ended lost its connection.
async fn all_alive(listeners: &mut JoinSet<Result<()>>) -> Result<()> {
    if let Some(ended) = listeners.try_join_next() {
        ended??;
    }
    listeners.shutdown().await;
    Ok(())
}

/// As many deliveries as the server takes, in rooms of `size`.
pub(crate) async fn saturate(stage: &Stage<'_>, size: usize) -> Result<Vec<Figure>> {
    let mut listeners = JoinSet::new();
    let load = prepare(stage, size, true, &mut listeners).await?;
    for room in 0..load.rooms.len() {
        for slot in 0..IN_FLIGHT {
            load.send(room, slot);
        }
    }
    let &Sizes { warm_up, time, .. } = stage.sizes;
    sleep(warm_up).await;
    let (received, cpu, start) = (
        load.received.get(),
        stage.server.cpu_s()?,
        load.clock.instant(),
    );
    sleep(time).await;
    let delivered = load.received.get() - received;
    let cpu = stage.server.cpu_s()? - cpu;
    let elapsed = load.clock.instant() - start;
    let lost = load.drain().await;
    all_alive(&mut listeners).await?;
    ensure!(
        load.refused.get() == 0,
        "{} messages were refused",
        load.refused.get()
    );
    let delivered = u32::try_from(delivered)?;
    let name = |what: &str| format!("rooms of {size}: {what}");
    Ok(vec![
        Figure::new(
            name("deliveries/s"),
            f64::from(delivered) / elapsed.as_secs_f64(),
        ),
        Figure::new(name("deliveries/CPU s"), f64::from(delivered) / cpu)
            .goal(Goal::RatioAtLeast(0.8)),
        Figure::never(
            name("lost + out of order"),
            as_f64(lost + load.violations.get()),
        ),
    ])
}

/// Latency from send to receive in rooms of ten at `rate` deliveries a second.
pub(crate) async fn latency(stage: &Stage<'_>, rate: f64) -> Result<Vec<Figure>> {
    const SIZE: u32 = 10;
    let mut listeners = JoinSet::new();
    let load = prepare(stage, SIZE as usize, false, &mut listeners).await?;
    let messages = rate / f64::from(SIZE - 1);
    let &Sizes { warm_up, time, .. } = stage.sizes;
    load.pace(messages, warm_up).await;
    load.recording.set(true);
    let (received, cpu) = (load.received.get(), stage.server.cpu_s()?);
    load.pace(messages, time).await;
    let delivered = u32::try_from(load.received.get() - received)?;
    let cpu = stage.server.cpu_s()? - cpu;
    let lost = load.drain().await;
    all_alive(&mut listeners).await?;
    ensure!(
        load.refused.get() == 0,
        "{} messages were refused",
        load.refused.get()
    );
    let mut latencies = load.latencies_us.take();
    ensure!(!latencies.is_empty(), "nothing arrived");
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let millis = |us: usize| as_f64(us as u64) / 1000.0;
    Ok(vec![
        Figure::new(
            "half load: deliveries/s",
            f64::from(delivered) / time.as_secs_f64(),
        ),
        Figure::new(
            "half load: CPU s per million",
            cpu / f64::from(delivered) * 1e6,
        )
        .digits(1),
        Figure::new("half load: p50 ms", millis(at(50))).digits(2),
        Figure::new("half load: p99 ms", millis(at(99))).digits(2),
        Figure::never(
            "half load: lost + out of order",
            as_f64(lost + load.violations.get()),
        ),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}
