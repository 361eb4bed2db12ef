//! The load generator and the yardstick: presence-bridge against a lean bare socketioxide server.
//!
//! ```text
//! cargo build --release && cargo run --release --example load
//! ```
//!
//! It starts both servers itself, one at a time and a fresh process for every run, on core 0; it runs on
//! core 1. Repetitions alternate (lean, bridge; bridge, lean; ...), and one table of medians comes out.
//! `ratio` is the median over runs that followed each other, `from-to` its range. Judge by it: absolute
//! numbers follow the neighbors. `steal` is time that the host gave to another machine, `others` is CPU of
//! this machine's other processes; with either above a few percent, what is counted per second or in
//! milliseconds means little, while memory and what is counted per CPU second still hold.
//!
//! Everything stays on loopback. The bridge gets real settings of production shape: RS256 tokens of
//! distinct users, a key server, a token endpoint, a service account file and a database that takes every
//! write. The lean server (`load/lean.rs`) speaks the same events, checks nothing and remembers nothing.
//!
//! What is measured, each on one core:
//! - `idle`: memory per connection that is verified, joined and silent, at 10,000 connections.
//! - `rooms`: 1,000 connections in rooms of 2, 10 and 100; eight messages of 150 bytes in flight per room.
//! - `latency`: rooms of 10 at half the rate that the slower server reached.
//! - `connects`: handshake, CONNECT, `ready`, `join_chat` ack, close; 64 at a time, no token used twice.
//! - `storm`: 5,000 joined connections are cut and all come back at once.
//!
//! `--quick` is a smoke test of less than a minute; its numbers mean nothing. `--subject lean` puts the
//! lean server in both seats and shows the noise.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool"
)]

#[path = "load/firebase.rs"]
mod firebase;
#[path = "load/lean.rs"]
mod lean;
#[path = "load/measure.rs"]
mod measure;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/rooms.rs"]
mod rooms;
#[path = "load/wire.rs"]
mod wire;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use firebase::{SigningKey, Surroundings};
use measure::Stage;
use presence_bridge::clock::Clock;
use process::{MachineTime, Server, Subject, cpu_s_of};
use report::{Figure, Report, Run};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// Measures presence-bridge against a lean bare socketioxide server.
#[derive(Parser)]
struct Args {
    /// Who sits beside the lean server.
    #[arg(long, value_enum, default_value = "bridge")]
    subject: Subject,
    /// Repetitions of every measurement; the table holds medians.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Only these measurements.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Experiment>,
    /// Small numbers, once: shows that everything works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Ask for an ack of every message.
    #[arg(long)]
    acks: bool,
    /// Deliveries a second for the latency measurement, instead of half the slower server's maximum.
    #[arg(long)]
    rate: Option<f64>,
    /// The bridge's binary.
    #[arg(long)]
    bridge: Option<PathBuf>,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Be the lean server: how the generator starts it.
    #[command(hide = true)]
    Lean { addr: SocketAddr },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Experiment {
    Idle,
    Rooms,
    Latency,
    Connects,
    Storm,
}

/// How much of everything.
struct Sizes {
    connections: usize,
    room_connections: usize,
    storm: usize,
    /// Distinct users, and so the most connections that `connects` can open.
    users: usize,
    warm_up: Duration,
    time: Duration,
}

impl Sizes {
    const FULL: Self = Self {
        connections: 10_000,
        room_connections: 1_000,
        storm: 5_000,
        users: 40_000,
        warm_up: Duration::from_secs(1),
        time: Duration::from_secs(5),
    };
    const QUICK: Self = Self {
        connections: 500,
        room_connections: 200,
        storm: 500,
        users: 4_000,
        warm_up: Duration::from_millis(200),
        time: Duration::from_millis(500),
    };
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Role::Lean { addr }) = args.role {
        return lean::serve(addr);
    }
    let sizes = if args.quick {
        Sizes::QUICK
    } else {
        Sizes::FULL
    };
    enough_files(sizes.connections)?;
    let key = SigningKey::generate()?;
    eprintln!("signing {} tokens", sizes.users);
    let tokens = key.sign(sizes.users)?;
    process::pin_generator()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            done = session(&args, sizes, &key, &tokens) => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminated.recv() => bail!("terminated"),
        }
    })
}

/// Refuses to start a run that the open-file limit would end.
fn enough_files(connections: usize) -> Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line
        .and_then(|line| line.split_whitespace().nth(3))
        .context("no open-file limit")?;
    let limit = soft.parse().unwrap_or(usize::MAX);
    ensure!(
        limit > connections + 200,
        "{limit} open files are too few: ulimit -n {}",
        connections + 1_000
    );
    Ok(())
}

/// One measurement among those that were asked for.
#[derive(Clone, Copy)]
enum Step {
    Idle,
    Rooms(usize),
    Latency,
    Connects,
    Storm,
}

impl Step {
    const ALL: [(Experiment, Self); 7] = [
        (Experiment::Idle, Self::Idle),
        (Experiment::Rooms, Self::Rooms(2)),
        (Experiment::Rooms, Self::Rooms(10)),
        (Experiment::Rooms, Self::Rooms(100)),
        (Experiment::Latency, Self::Latency),
        (Experiment::Connects, Self::Connects),
        (Experiment::Storm, Self::Storm),
    ];

    /// Who is measured when, within one repetition. Rooms vary most from run to run (how much a
    /// server writes at once depends on chance), so they are measured twice.
    fn order(self, first: usize) -> Vec<usize> {
        let then = 1 - first;
        match self {
            Self::Rooms(_) => vec![first, then, then, first],
            Self::Idle | Self::Latency | Self::Connects | Self::Storm => vec![first, then],
        }
    }

    async fn run(self, stage: &Stage<'_>, rate: f64) -> Result<Vec<Figure>> {
        match self {
            Self::Idle => measure::memory(stage).await,
            Self::Rooms(size) => rooms::saturate(stage, size).await,
            Self::Latency => rooms::latency(stage, rate).await,
            Self::Connects => measure::connects(stage).await,
            Self::Storm => measure::storm(stage).await,
        }
    }
}

async fn session(args: &Args, sizes: Sizes, key: &SigningKey, tokens: &[Rc<str>]) -> Result<()> {
    let around = Surroundings::start(key).await?;
    let bridge = args
        .bridge
        .clone()
        .map_or_else(process::default_bridge, Ok)?;
    let seats = [Subject::Lean, args.subject];
    let second = if args.subject == Subject::Lean {
        "lean again"
    } else {
        "bridge"
    };
    let mut report = Report {
        names: ["lean".to_owned(), second.to_owned()],
        runs: Vec::new(),
    };
    let repeat = if args.quick { 1 } else { args.repeat };
    let wanted = |experiment| args.only.is_empty() || args.only.contains(&experiment);
    for repetition in 0..repeat {
        let first = repetition % 2;
        for (_, step) in Step::ALL
            .into_iter()
            .filter(|(experiment, _)| wanted(*experiment))
        {
            let rate = args.rate.unwrap_or_else(|| half_load(&report));
            for seat in step.order(first) {
                let server = Server::start(seats[seat], &around, &bridge).await?;
                let stage = Stage {
                    server: &server,
                    sizes: &sizes,
                    tokens,
                    acks: args.acks,
                };
                let run = observed(seat, &server, step.run(&stage, rate)).await;
                server.stop().await;
                let run = run.with_context(|| report.names[seat].clone())?;
                eprintln!(
                    "{}/{repeat} {:<10} {}",
                    repetition + 1,
                    report.names[seat],
                    run.line()
                );
                report.runs.push(run);
            }
        }
    }
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

/// Half of what the slower seat delivers in rooms of ten; a modest rate where that was not measured.
fn half_load(report: &Report) -> f64 {
    let most = |seat| report.median(seat, "rooms of 10: deliveries/s");
    match (most(0), most(1)) {
        (Some(a), Some(b)) => a.min(b) / 2.0,
        _ => 20_000.0,
    }
}

/// Runs one measurement and notes who else used the machine.
async fn observed(
    seat: usize,
    server: &Server,
    figures: impl Future<Output = Result<Vec<Figure>>>,
) -> Result<Run> {
    let clock = Clock::system();
    let machine = MachineTime::read()?;
    let (start, own, tested) = (clock.instant(), cpu_s_of("self")?, server.cpu_s()?);
    let figures = figures.await?;
    let elapsed_s = (clock.instant() - start).as_secs_f64();
    let own = cpu_s_of("self")? - own;
    let tested = server.cpu_s()? - tested;
    let now = MachineTime::read()?;
    Ok(Run {
        seat,
        figures,
        steal_percent: now.steal_percent_since(machine),
        generator_percent: 100.0 * own / elapsed_s,
        others_percent: 100.0 * (now.used_s_since(machine) - own - tested).max(0.0) / elapsed_s,
    })
}
