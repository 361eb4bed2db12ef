//! What happens to bridges, clients and the database in one history, as a list that can be read,
//! replayed and shortened. Faults are steps like any other: a dropped step is a fault less.

use std::fmt;

pub(crate) const USERS: usize = 4;
pub(crate) const DEVICES: usize = 2;

/// Which kinds of things may happen; each kind has its own promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// One process, a healthy database, wall clocks that jump.
    Calm,
    /// One process, a database that refuses, hangs, forgets to answer and commits late: at most
    /// within the time in which the mirror reads again.
    Faults,
    /// Processes are killed, and started again when the old one is dead; the database is healthy.
    Crashes,
    /// Old and new process overlap, the old one is drained; the database is healthy.
    Deploys,
    /// All of it at once, suspended processes and very late commits among it.
    Storm,
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) weather: Weather,
    pub(crate) setup: Setup,
    /// In the order of time.
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// A healthy request takes this long to once more as long.
    pub(crate) latency_ms: u64,
    /// How long facts travel between the owner of presence and the mirror.
    pub(crate) lag_ms: u64,
    pub(crate) batch_users: usize,
    /// The fence of `PRESENCE_FENCE=rules`; else it is off.
    pub(crate) fence: bool,
    /// Each process has its own node name; else all are of the same node.
    pub(crate) own_names: bool,
    /// While two processes live, second devices are still sent to the old one.
    pub(crate) spread: bool,
    /// The database's clock against ours.
    pub(crate) skew_ms: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at_ms: u64,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Connect {
        user: usize,
        device: usize,
    },
    Disconnect {
        user: usize,
        device: usize,
    },
    Start,
    Kill {
        oldest: bool,
    },
    /// The oldest process ends in order.
    Drain {
        handover: bool,
    },
    /// The newest process stands still.
    Suspend {
        ms: u64,
    },
    /// The bridges' wall clock jumps.
    Clock {
        ms: i64,
    },
    /// The fate of the next batch.
    Write(Fate),
    /// The fate of the next heartbeat.
    Beat(Fate),
    /// The fate of the next compare-and-set of the fence.
    Take(Fate),
    LookFails,
    RereadFails,
    /// Every request fails: at once, or by its deadline.
    Outage {
        ms: u64,
        hangs: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    NotSent,
    Busy {
        ms: u64,
    },
    Denied,
    /// Well, but slow.
    Slow {
        ms: u64,
    },
    /// The answer is lost; the write lands at some time, or never.
    Ambiguous {
        given_up_after_ms: u64,
        lands_after_ms: Option<u64>,
    },
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup {
            latency_ms,
            lag_ms,
            batch_users,
            fence,
            own_names,
            spread,
            skew_ms,
        } = self.setup;
        writeln!(f, "weather {:?}, seed {:#018x}", self.weather, self.seed)?;
        writeln!(
            f,
            "latency {latency_ms} ms, lag {lag_ms} ms, batches of {batch_users}, database clock {skew_ms:+} ms, \
             fence {}, {} node names, second devices go to the {} process",
            if fence { "on" } else { "off" },
            if own_names { "own" } else { "equal" },
            if spread { "oldest" } else { "newest" },
        )?;
        for step in &self.steps {
            writeln!(f, "  {:>9} ms  {}", step.at_ms, step.what)?;
        }
        Ok(())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { user, device } => write!(f, "u{user} connects with device {device}"),
            Self::Disconnect { user, device } => write!(f, "u{user} closes device {device}"),
            Self::Start => write!(f, "a process starts"),
            Self::Kill { oldest: true } => write!(f, "the oldest process is killed"),
            Self::Kill { oldest: false } => write!(f, "the newest process is killed"),
            Self::Drain { handover: true } => write!(f, "the oldest process drains: handover"),
            Self::Drain { handover: false } => write!(f, "the oldest process drains: offline"),
            Self::Suspend { ms } => write!(f, "the newest process stands still for {ms} ms"),
            Self::Clock { ms } => write!(f, "the wall clock jumps by {ms:+} ms"),
            Self::Write(fate) => write!(f, "the next batch {fate}"),
            Self::Beat(fate) => write!(f, "the next heartbeat {fate}"),
            Self::Take(fate) => write!(f, "the next attempt to take the fence {fate}"),
            Self::LookFails => write!(f, "the next look at who is online fails"),
            Self::RereadFails => write!(f, "the next re-read fails"),
            Self::Outage { ms, hangs: false } => write!(f, "the database is away for {ms} ms"),
            Self::Outage { ms, hangs: true } => write!(f, "the database hangs for {ms} ms"),
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent => write!(f, "is not sent"),
            Self::Busy { ms } => write!(f, "is told to come back in {ms} ms"),
            Self::Denied => write!(f, "is denied"),
            Self::Slow { ms } => write!(f, "takes {ms} ms"),
            Self::Ambiguous {
                given_up_after_ms: ms,
                lands_after_ms: Some(landing),
            } => write!(f, "is given up after {ms} ms and lands after {landing} ms"),
            Self::Ambiguous {
                given_up_after_ms: ms,
                lands_after_ms: None,
            } => write!(f, "is given up after {ms} ms and never lands"),
        }
    }
}
