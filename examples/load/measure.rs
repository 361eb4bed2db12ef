//! Connections: what one costs at rest, how many open in a second, how long a storm lasts.

use crate::Sizes;
use crate::process::Server;
use crate::report::{Figure, Goal};
use crate::rooms::as_f64;
use crate::wire::{Conn, Seat};
use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, stream};
use presence_bridge::clock::Clock;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Memory counts as settled when it moved by less than this part over [`SETTLE_SAMPLES`].
const SETTLED: f64 = 0.002;
const SETTLE_SAMPLES: usize = 8;
const SETTLE_STEP: Duration = Duration::from_millis(500);
const SETTLE_LIMIT: usize = 60;
/// Connections of an idle chat.
const CHAT_SIZE: usize = 10;

/// A server under test and what is thrown at it.
pub(crate) struct Stage<'a> {
    pub(crate) server: &'a Server,
    pub(crate) sizes: &'a Sizes,
    pub(crate) tokens: &'a [Rc<str>],
    /// Whether `send_message` asks for an ack.
    pub(crate) acks: bool,
}

impl Stage<'_> {
    /// A seat for each of these users, `chat_size` of them to a chat.
    pub(crate) fn seats(&self, users: Range<usize>, chat_size: usize) -> Vec<Seat> {
        users
            .map(|user| Seat {
                token: Rc::clone(&self.tokens[user]),
                chat: format!("chat{:06}", user / chat_size),
            })
            .collect()
    }

    async fn open(&self, seat: &Seat) -> Result<Conn> {
        Conn::open(self.server.addr, seat, self.server.subject.greets()).await
    }
}

/// Opens and joins all seats, `at_once` at a time, and returns them in the seats' order.
pub(crate) async fn open_all(
    stage: &Stage<'_>,
    seats: &[Seat],
    at_once: usize,
) -> Result<Vec<Conn>> {
    let mut opening = stream::iter(seats)
        .map(|seat| stage.open(seat))
        .buffered(at_once);
    let mut conns = Vec::with_capacity(seats.len());
    while let Some(opened) = opening.next().await {
        conns.push(opened.with_context(|| format!("after {} connections", conns.len()))?);
    }
    Ok(conns)
}

/// Memory of idle connections, verified and joined to chats of ten.
pub(crate) async fn memory(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let count = stage.sizes.connections;
    let before = stage.server.rss_bytes()?;
    let seats = stage.seats(0..count, CHAT_SIZE);
    let mut idle = JoinSet::new();
    for conn in open_all(stage, &seats, 64).await? {
        idle.spawn_local(conn.idle());
    }
    let mut samples = vec![stage.server.rss_bytes()?];
    loop {
        sleep(SETTLE_STEP).await;
        samples.push(stage.server.rss_bytes()?);
        let last = &samples[samples.len().saturating_sub(SETTLE_SAMPLES)..];
        let (low, high) = (
            last.iter().min().unwrap_or(&0),
            last.iter().max().unwrap_or(&0),
        );
        let still = as_f64(high - low) <= SETTLED * as_f64(*high);
        if (last.len() == SETTLE_SAMPLES && still) || samples.len() > SETTLE_LIMIT {
            break;
        }
    }
    let after = stage.server.rss_bytes()?;
    let cpu = stage.server.cpu_s()?;
    sleep(stage.sizes.time).await;
    let idle_cpu = stage.server.cpu_s()? - cpu;
    if let Some(ended) = idle.try_join_next() {
        ended?.context("an idle connection was lost")?;
    }
    idle.shutdown().await;
    let each = as_f64(after.saturating_sub(before)) / as_f64(count as u64);
    Ok(vec![
        Figure::new("idle: connections", as_f64(count as u64)),
        Figure::new("idle: bytes each", each)
            .goal(Goal::AboveYardstickAtMost(3.0 * 1024.0))
            .goal(Goal::AtMost(21_000.0)),
        Figure::new(
            "idle: CPU %",
            idle_cpu / stage.sizes.time.as_secs_f64() * 100.0,
        )
        .digits(1),
        Figure::new("empty server: RSS MB", as_f64(before) / 1e6).digits(1),
    ])
}

/// Connections opened, verified, joined and closed in a second, 64 at a time, each with a token of its own.
pub(crate) async fn connects(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let &Sizes { warm_up, time, .. } = stage.sizes;
    let clock = Clock::system();
    let seats = stage.seats(0..stage.tokens.len(), 1);
    let mut opening = stream::iter(&seats)
        .map(|seat| async move { stage.open(seat).await?.cut() })
        .buffer_unordered(64);
    let begin = clock.instant();
    let (mut start, mut cpu, mut count) = (begin, stage.server.cpu_s()?, 0_u32);
    let mut warm = false;
    while let Some(opened) = opening.next().await {
        opened?;
        count += 1;
        let now = clock.instant();
        if !warm && now - begin >= warm_up {
            (warm, start, cpu, count) = (true, now, stage.server.cpu_s()?, 0);
        }
        if warm && now - start >= time {
            break;
        }
    }
    let elapsed = clock.instant() - start;
    let cpu = stage.server.cpu_s()? - cpu;
    ensure!(warm && count > 0, "the tokens ran out during the warm-up");
    Ok(vec![
        Figure::new("connects/s", f64::from(count) / elapsed.as_secs_f64())
            .goal(Goal::AtLeast(4_000.0)),
        // What a core to itself would do; it holds when the machine is busy with other things.
        Figure::new("connects/CPU s", f64::from(count) / cpu).goal(Goal::AtLeast(4_000.0)),
    ])
}

/// All connections are cut and come back at once; the time until the last one is joined.
pub(crate) async fn storm(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let seats = stage.seats(0..stage.sizes.storm, CHAT_SIZE);
    for conn in open_all(stage, &seats, 64).await? {
        conn.cut()?;
    }
    let clock = Clock::system();
    let (start, cpu) = (clock.instant(), stage.server.cpu_s()?);
    let mut opening = stream::iter(&seats)
        .map(|seat| stage.open(seat))
        .buffer_unordered(seats.len());
    let mut back = Vec::with_capacity(seats.len());
    let mut failed = 0_u32;
    let mut half = Duration::ZERO;
    while let Some(opened) = opening.next().await {
        match opened {
            Ok(conn) => back.push(conn),
            Err(_) => failed += 1,
        }
        if back.len() == seats.len() / 2 {
            half = clock.instant() - start;
        }
    }
    let all = clock.instant() - start;
    let cpu = stage.server.cpu_s()? - cpu;
    let each = cpu / as_f64(seats.len() as u64) * 1e6;
    Ok(vec![
        Figure::new("storm: half joined s", half.as_secs_f64()).digits(2),
        Figure::new("storm: all joined s", all.as_secs_f64())
            .digits(2)
            .goal(Goal::AtMost(1.5)),
        Figure::new("storm: all joined s, worst", all.as_secs_f64())
            .digits(2)
            .worst(),
        Figure::never("storm: failed", f64::from(failed)),
        Figure::new("storm: CPU us per rejoin", each),
    ])
}
