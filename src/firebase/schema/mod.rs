//! Every path and shape of the Realtime Database that the bridge reads or writes.
//!
//! Reading is tolerant: a record that is not ours to understand is counted and skipped, in either
//! layout, and never fails the answer around it.

mod json;

#[cfg(test)]
mod tests;

use crate::domain::ids::{IdError, UserId, decode_key, encode_key};
use crate::domain::mirror::{Record, compare_keys};
use crate::domain::time::UnixMillis;
use crate::services::ports::{FenceRecord, NodeBeat, Page, StoredRecord};
use json::each_child;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use std::time::Duration;

/// The database refuses longer keys and paths (firebase.google.com/docs/database/usage/limits).
const MAX_PATH_BYTES: usize = 768;
/// The database refuses deeper trees.
const MAX_DEPTH: usize = 32;
/// The year 10000: no time beyond it is believed.
const MAX_MILLIS: f64 = 253_402_300_800_000.0;
/// An interval that somebody else wrote is believed within these bounds, in milliseconds.
const INTERVAL_MS: (f64, f64) = (1_000.0, 3_600_000.0);

/// The shape of a presence record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `{ online, lastSeen, node }`.
    Bridge,
    /// `{ state, last_changed }`, as in Firebase's own guide.
    FirebaseGuide,
}

impl Layout {
    /// The child to order by, and its value of whoever is online, both as JSON.
    pub(super) fn online_filter(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Bridge => ("online", "\"online\"", "true"),
            Self::FirebaseGuide => ("state", "\"state\"", "\"online\""),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("must name at least one segment, as in /presence")]
    Empty,
    #[error("must not hold an empty segment, a control character or one of . $ # [ ]")]
    Forbidden,
    #[error("must have at most {MAX_DEPTH} segments and {MAX_PATH_BYTES} bytes")]
    TooLong,
}

/// A place in the database, as in `/presence` or `/apps/chat/presence`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePath(Vec<String>);

impl DatabasePath {
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return Err(PathError::Empty);
        }
        let forbidden = |c: char| matches!(c, '.' | '$' | '#' | '[' | ']') || c.is_ascii_control();
        let segments: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if segments
            .iter()
            .any(|s| s.is_empty() || s.contains(forbidden))
        {
            return Err(PathError::Forbidden);
        }
        if inner.len() > MAX_PATH_BYTES || segments.len() > MAX_DEPTH {
            return Err(PathError::TooLong);
        }
        Ok(Self(segments))
    }

    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The place below this one named by a key that is encoded already.
    pub(super) fn child(&self, key: String) -> Self {
        let mut segments = self.0.clone();
        segments.push(key);
        Self(segments)
    }
}

/// Where this process's heartbeat, or another's, lives.
pub(super) fn beat_path(nodes: &DatabasePath, node: &str, boot: &str) -> DatabasePath {
    nodes.child(encode_key(node)).child(encode_key(boot))
}

pub(super) fn user_path(presence: &DatabasePath, user: &UserId) -> DatabasePath {
    presence.child(user.to_key())
}

/// The body of a PATCH at the presence root: one top-level key for each user.
pub(super) struct PresencePatch<'a> {
    pub(super) layout: Layout,
    pub(super) node: &'a str,
    pub(super) records: &'a [(UserId, Record)],
}

impl Serialize for PresencePatch<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.records.len()))?;
        for (user, record) in self.records {
            map.serialize_entry(
                &user.to_key(),
                &record_body(self.layout, self.node, *record),
            )?;
        }
        map.end()
    }
}

fn record_body(layout: Layout, node: &str, record: Record) -> Value {
    match layout {
        Layout::Bridge => {
            json!({ "online": record.online, "lastSeen": record.last_seen.0, "node": node })
        }
        Layout::FirebaseGuide => {
            let state = if record.online { "online" } else { "offline" };
            json!({ "state": state, "last_changed": record.last_seen.0 })
        }
    }
}

/// The body of a heartbeat; the database fills in its own time.
pub(super) fn beat_body(interval: Duration) -> Value {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    json!({ "heartbeat": { ".sv": "timestamp" }, "intervalMs": interval_ms })
}

/// The database's time in the answer to a heartbeat.
pub(super) fn read_beat(answer: &[u8]) -> Option<UnixMillis> {
    let value: Value = serde_json::from_slice(answer).ok()?;
    millis(value.get("heartbeat")?)
}

/// The body of the fence record. The nonce is text: JSON numbers do not hold 64 bits.
pub(super) fn fence_body(record: &FenceRecord) -> Value {
    json!({ "epoch": record.epoch, "owner": record.owner, "nonce": record.nonce.to_string() })
}

/// The fence record in an answer. What is missing or of another shape counts as nobody's; but an
/// epoch that can be read is kept, since epochs only rise.
pub(super) fn read_fence(answer: &[u8]) -> serde_json::Result<Option<FenceRecord>> {
    let value: Value = serde_json::from_slice(answer)?;
    if value.is_null() {
        return Ok(None);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let epoch = value.get("epoch").and_then(Value::as_f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and both ends are refused as epochs"
    )]
    let epoch = epoch.unwrap_or_default() as u64;
    Ok(Some(FenceRecord {
        epoch,
        owner: text("owner").to_owned(),
        nonce: text("nonce").parse().unwrap_or_default(),
    }))
}

/// What a read understood, and how many children it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Understood<T> {
    pub(super) items: Vec<T>,
    pub(super) skipped: usize,
}

/// The users who are online in an answer of the presence path. An answer cut short is an error.
pub(super) fn read_online(answer: &[u8]) -> serde_json::Result<Understood<StoredRecord>> {
    let mut read = Understood {
        items: Vec::new(),
        skipped: 0,
    };
    each_child(answer, &mut |key, child| {
        let Some((record, node)) = parse_record(child) else {
            read.skipped += 1;
            return;
        };
        if !record.online {
            return;
        }
        match UserId::from_key(key) {
            Ok(user) => read.items.push(StoredRecord { user, record, node }),
            Err(IdError::Empty | IdError::TooLong | IdError::Forbidden | IdError::BadKey) => {
                read.skipped += 1;
            }
        }
    })?;
    Ok(read)
}

/// A page of the presence path: at most `most` children from the key `after` on, which is not
/// counted. Whatever is not a record of ours is skipped, but it moves the page's end.
pub(super) fn read_page(
    answer: &[u8],
    after: Option<&str>,
    most: usize,
) -> serde_json::Result<Page> {
    let mut page = Page {
        bytes: answer.len(),
        ..Page::default()
    };
    let mut answered = 0;
    let mut last: Option<String> = None;
    each_child(answer, &mut |key, child| {
        answered += 1;
        if Some(key) == after {
            return;
        }
        page.children += 1;
        if last
            .as_ref()
            .is_none_or(|last| compare_keys(key, last).is_gt())
        {
            last = Some(key.to_owned());
        }
        if let (Some((record, node)), Ok(user)) = (parse_record(child), UserId::from_key(key)) {
            page.records.push(StoredRecord { user, record, node });
        }
    })?;
    page.through = last.filter(|_| answered >= most);
    Ok(page)
}

/// One user's record; `None` also for what is not understood.
pub(super) fn read_record(answer: &[u8]) -> serde_json::Result<Option<Record>> {
    let value: Value = serde_json::from_slice(answer)?;
    Ok(understand(&value).map(|(record, _)| record))
}

/// All heartbeats of an answer of the nodes path.
pub(super) fn read_nodes(answer: &[u8]) -> serde_json::Result<Understood<NodeBeat>> {
    let mut read = Understood {
        items: Vec::new(),
        skipped: 0,
    };
    each_child(answer, &mut |node, boots| {
        let Ok(node) = decode_key(node) else {
            read.skipped += 1;
            return;
        };
        let whole = each_child(boots.as_bytes(), &mut |boot, beat| match parse_beat(
            &node, boot, beat,
        ) {
            Some(beat) => read.items.push(beat),
            None => read.skipped += 1,
        });
        read.skipped += usize::from(whole.is_err());
    })?;
    Ok(read)
}

fn parse_beat(node: &str, boot: &str, beat: &str) -> Option<NodeBeat> {
    let value: Value = serde_json::from_str(beat).ok()?;
    let interval_ms = value.get("intervalMs")?.as_f64()?;
    let (least, most) = INTERVAL_MS;
    Some(NodeBeat {
        node: node.to_owned(),
        boot: decode_key(boot).ok()?,
        heartbeat: millis(value.get("heartbeat")?)?,
        interval: Duration::from_secs_f64(interval_ms.clamp(least, most) / 1_000.0),
    })
}

fn parse_record(child: &str) -> Option<(Record, Option<String>)> {
    understand(&serde_json::from_str(child).ok()?)
}

/// A record of either layout. Without a believable time it is still understood, with time 0:
/// whoever is online there must be able to go offline.
fn understand(value: &Value) -> Option<(Record, Option<String>)> {
    let (online, time) = match (value.get("online"), value.get("state")) {
        (Some(Value::Bool(online)), _) => (*online, "lastSeen"),
        (_, Some(Value::String(state))) => match state.as_str() {
            "online" => (true, "last_changed"),
            "offline" => (false, "last_changed"),
            _ => return None,
        },
        _ => return None,
    };
    let record = Record {
        online,
        last_seen: value.get(time).and_then(millis).unwrap_or_default(),
    };
    let node = value.get("node").and_then(Value::as_str);
    Some((record, node.map(str::to_owned)))
}

/// A Unix time in milliseconds, of any JSON number that can be one.
fn millis(value: &Value) -> Option<UnixMillis> {
    if let Some(whole) = value.as_u64() {
        #[expect(clippy::cast_precision_loss, reason = "only compared with a far bound")]
        return ((whole as f64) < MAX_MILLIS).then_some(UnixMillis(whole));
    }
    let time = value.as_f64().filter(|t| (0.0..MAX_MILLIS).contains(t))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be from 0 to the year 10000"
    )]
    Some(UnixMillis(time as u64))
}
