//! Who of those the database calls online is ours to look after now?
//!
//! A process that was killed left its users online. Its successor adopts them, unless the process
//! that serves them is alive: during a deploy the old one still writes their records. Ages are
//! judged in the database's time, in which the heartbeats are written.

use super::FRESH_INTERVALS;
use crate::domain::ids::UserId;
use crate::domain::time::UnixMillis;
use crate::services::ports::{NodeBeat, ReadError, Record, Records, StoredRecord};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

/// A process: the node's name and its boot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub node: String,
    pub boot: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedUser {
    pub user: UserId,
    /// As it stands in the database.
    pub record: Record,
    /// The later of the record's time and the last heartbeat of its node.
    pub last_seen: UnixMillis,
    /// Signed by another node, which is dead: the record is to be written anew.
    pub foreign: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Adoption {
    pub users: Vec<AdoptedUser>,
    /// Everybody who is online in the database by the word of a living node or our own; `None`
    /// where that was not read. What another dead node has signed is no reader's proof.
    pub online: Option<HashSet<UserId>>,
    /// Other processes that live. Their users may become ours when they end: look again.
    pub others: BTreeSet<Process>,
    /// Processes whose heartbeat records may go, now that their users have a new home.
    pub dead: BTreeSet<Process>,
}

/// What is known already when the database is looked at.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The others found by the look before; as long as all of them live, who is online is not read again.
    pub waited_for: BTreeSet<Process>,
    /// Others may have taken us for dead meanwhile. It is read again if there is a trace of any.
    pub doubtful: bool,
}

/// Reads the heartbeats and who is online, and decides.
pub async fn adopt(
    records: &dyn Records,
    me: &Process,
    database_time: UnixMillis,
    known: &Known,
) -> Result<Adoption, ReadError> {
    let beats = records.nodes().await?;
    let alone = !has_others(&beats, me);
    let (alive, dead): (Vec<NodeBeat>, Vec<NodeBeat>) = beats
        .into_iter()
        .filter(|beat| process(beat) != *me)
        .partition(|beat| is_fresh(beat, database_time));
    let last_beats = LastBeats::of(&dead);
    // While a process of a node lives, the last heartbeats of its dead ones are still of use.
    let buried = dead
        .iter()
        .filter(|beat| alive.iter().all(|other| other.node != beat.node));
    let adoption = Adoption {
        others: alive.iter().map(process).collect(),
        dead: buried.map(process).collect(),
        ..Adoption::default()
    };
    let unchanged = if known.doubtful {
        alone
    } else {
        !known.waited_for.is_empty() && known.waited_for.is_subset(&adoption.others)
    };
    if unchanged {
        return Ok(adoption);
    }
    let online = records.online().await?;
    let is_ours = |stored: &StoredRecord| match &stored.node {
        Some(node) => alive.iter().all(|beat| beat.node != *node),
        // A layout without nodes: anybody alive may be serving this user.
        None => alive.is_empty(),
    };
    let is_foreign = |stored: &StoredRecord| stored.node.as_ref().is_some_and(|n| *n != me.node);
    let signed = online.iter().filter(|s| !(is_ours(s) && is_foreign(s)));
    let everybody = signed.map(|stored| stored.user.clone()).collect();
    let users = online.into_iter().filter(is_ours).map(|stored| {
        let node = stored.node.as_deref();
        let seen = stored.record.last_seen.max(last_beats.of_node(node));
        AdoptedUser {
            foreign: is_foreign(&stored),
            user: stored.user,
            record: stored.record,
            last_seen: if seen.0 == 0 { database_time } else { seen },
        }
    });
    Ok(Adoption {
        users: users.collect(),
        online: Some(everybody),
        ..adoption
    })
}

/// The last heartbeat of each dead node, and of all.
struct LastBeats<'a> {
    by_node: HashMap<&'a str, UnixMillis>,
    of_all: UnixMillis,
}

impl<'a> LastBeats<'a> {
    fn of(dead: &'a [NodeBeat]) -> Self {
        let mut by_node: HashMap<&str, UnixMillis> = HashMap::new();
        for beat in dead {
            let last = by_node.entry(&beat.node).or_default();
            *last = beat.heartbeat.max(*last);
        }
        let of_all = by_node.values().copied().max().unwrap_or_default();
        Self { by_node, of_all }
    }

    fn of_node(&self, node: Option<&str>) -> UnixMillis {
        match node {
            Some(node) => self.by_node.get(node).copied().unwrap_or_default(),
            None => self.of_all,
        }
    }
}

fn process(beat: &NodeBeat) -> Process {
    Process {
        node: beat.node.clone(),
        boot: beat.boot.clone(),
    }
}

/// Whether there is a trace of any process but `me`. One that has died may have left users to adopt.
pub(super) fn has_others(beats: &[NodeBeat], me: &Process) -> bool {
    beats.iter().any(|beat| process(beat) != *me)
}

/// A heartbeat far in the future is as little proof of life as one far in the past.
fn is_fresh(beat: &NodeBeat, database_time: UnixMillis) -> bool {
    let age = Duration::from_millis(database_time.0.abs_diff(beat.heartbeat.0));
    age < beat.interval.saturating_mul(FRESH_INTERVALS)
}
