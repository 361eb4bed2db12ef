//! The JSON tree as the Realtime Database keeps it.
//!
//! Invariant: nothing in a tree is null, an array or an empty object; what would be so does not exist.
//! Arrays are objects with index keys, and become arrays again only when they are read.

use super::path::{MAX_DEPTH, Path, check_key};
use crate::domain::time::UnixMillis;
use serde_json::{Map, Number, Value};

/// The longest string value (firebase.google.com/docs/database/usage/limits).
const MAX_STRING_BYTES: usize = 10 * 1024 * 1024;
/// Up to here every integer has a double of its own.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// A key that is empty, too long, or holds a forbidden character; `.priority` and `.value` too.
    #[error(
        "Invalid data; couldn't parse JSON object, array, or value. Perhaps you're using invalid characters in your key names."
    )]
    BadKey,
    #[error("Invalid data; a value is deeper than {MAX_DEPTH} levels.")]
    TooDeep,
    #[error("Invalid data; a string is longer than 10 MiB.")]
    LongString,
    #[error("Invalid data; couldn't parse the server value.")]
    BadServerValue,
    #[error(
        "Invalid data; couldn't parse JSON object. Are you sending a JSON object with valid key names?"
    )]
    NotAnObject,
    #[error("Invalid data; a path of the update is an ancestor of another one.")]
    Overlap,
}

/// One place of a write and what it shall hold; null deletes.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub path: Path,
    pub value: Value,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree(Value);

impl Tree {
    pub fn root(&self) -> &Value {
        &self.0
    }

    /// The value at `path`; null where there is none.
    pub fn at(&self, path: &Path) -> &Value {
        child_at(&self.0, path.keys())
    }

    /// Works out what a PUT of `body` at `path` would change. Changes nothing itself.
    pub fn put(&self, path: Path, body: &Value, now: UnixMillis) -> Result<Change, DataError> {
        let value = normalize(body, self.at(&path), now, path.depth())?;
        Ok(Change { path, value })
    }

    /// Works out what a PATCH of `body` at `base` would change: every top-level key is a path below
    /// `base`, and none may lie above or below another.
    pub fn patch(
        &self,
        base: &Path,
        body: &Value,
        now: UnixMillis,
    ) -> Result<Vec<Change>, DataError> {
        let Value::Object(entries) = body else {
            return Err(DataError::NotAnObject);
        };
        let mut changes = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let below = Path::parse(key).map_err(|_| DataError::BadKey)?;
            if below.depth() == 0 {
                return Err(DataError::BadKey);
            }
            let path = base.clone().join(&below).map_err(|_| DataError::TooDeep)?;
            changes.push(self.put(path, value, now)?);
        }
        // Sorted by keys, a path is followed by what lies below it.
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        if changes
            .windows(2)
            .any(|pair| pair[0].path.contains(&pair[1].path))
        {
            return Err(DataError::Overlap);
        }
        Ok(changes)
    }

    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            place(&mut self.0, change.path.keys(), &change.value);
        }
    }
}

/// The value below `node` along `keys`; null where there is none.
pub fn child_at<'a>(node: &'a Value, keys: &[String]) -> &'a Value {
    keys.iter().fold(node, |node, key| {
        node.as_object()
            .and_then(|children| children.get(key))
            .unwrap_or(&Value::Null)
    })
}

fn place(node: &mut Value, keys: &[String], value: &Value) {
    let Some((key, rest)) = keys.split_first() else {
        node.clone_from(value);
        return;
    };
    if !node.is_object() {
        if value.is_null() {
            return;
        }
        *node = Value::Object(Map::new());
    }
    let Value::Object(children) = node else {
        return;
    };
    if let Some(child) = children.get_mut(key) {
        place(child, rest, value);
        if child.is_null() {
            children.remove(key);
        }
    } else if !value.is_null() {
        let mut child = Value::Null;
        place(&mut child, rest, value);
        children.insert(key.clone(), child);
    }
    if children.is_empty() {
        *node = Value::Null;
    }
}

/// Brings what was sent into the form of the tree: arrays become objects, nulls and empties go,
/// server values are resolved against what is there now.
fn normalize(
    sent: &Value,
    existing: &Value,
    now: UnixMillis,
    depth: usize,
) -> Result<Value, DataError> {
    match sent {
        Value::Number(number) => Ok(Value::Number(plain_number(number))),
        Value::String(text) if text.len() > MAX_STRING_BYTES => Err(DataError::LongString),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(sent.clone()),
        Value::Array(items) => {
            let keyed = items.iter().enumerate();
            children(
                keyed.map(|(i, item)| (i.to_string(), item)),
                existing,
                now,
                depth,
            )
        }
        Value::Object(entries) => match entries.get(".sv") {
            Some(operation) if entries.len() == 1 => server_value(operation, existing, now),
            Some(_) => Err(DataError::BadServerValue),
            None => {
                let keyed = entries.iter();
                children(
                    keyed.map(|(k, item)| (k.clone(), item)),
                    existing,
                    now,
                    depth,
                )
            }
        },
    }
}

fn children<'a>(
    entries: impl Iterator<Item = (String, &'a Value)>,
    existing: &Value,
    now: UnixMillis,
    depth: usize,
) -> Result<Value, DataError> {
    let mut kept = Map::new();
    for (key, sent) in entries {
        check_key(&key).map_err(|_| DataError::BadKey)?;
        if depth == MAX_DEPTH {
            return Err(DataError::TooDeep);
        }
        let before = existing.get(&key).unwrap_or(&Value::Null);
        let value = normalize(sent, before, now, depth + 1)?;
        if !value.is_null() {
            kept.insert(key, value);
        }
    }
    Ok(if kept.is_empty() {
        Value::Null
    } else {
        Value::Object(kept)
    })
}

fn server_value(operation: &Value, existing: &Value, now: UnixMillis) -> Result<Value, DataError> {
    if operation == "timestamp" {
        return Ok(now.0.into());
    }
    let delta = match operation {
        Value::Object(fields) if fields.len() == 1 => fields.get("increment"),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => None,
    };
    let Some(Value::Number(delta)) = delta else {
        return Err(DataError::BadServerValue);
    };
    // Whatever is not a number counts as zero.
    let Value::Number(before) = existing else {
        return Ok(Value::Number(plain_number(delta)));
    };
    let whole = before.as_i64().zip(delta.as_i64());
    if let Some(sum) = whole.and_then(|(a, b)| a.checked_add(b)) {
        return Ok(sum.into());
    }
    let sum = before.as_f64().zip(delta.as_f64()).map(|(a, b)| a + b);
    sum.and_then(Number::from_f64)
        .map(|sum| Value::Number(plain_number(&sum)))
        .ok_or(DataError::BadServerValue)
}

/// One spelling for one number: `1.0` is `1`, as in JavaScript.
pub(super) fn plain_number(number: &Number) -> Number {
    match number.as_f64() {
        Some(float)
            if number.is_f64() && float.fract() == 0.0 && float.abs() <= MAX_EXACT_INTEGER =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole, and small enough to be exact"
            )]
            Number::from(float as i64)
        }
        Some(_) | None => number.clone(),
    }
}

/// A stored value as readers see it: an object whose keys are indexes, at least half of them
/// there, reads as an array with nulls in the gaps (the official SDK's `val()` does the same).
pub fn export(stored: &Value) -> Value {
    let Value::Object(children) = stored else {
        return stored.clone();
    };
    if let Some(length) = array_length(children) {
        let item = |i: usize| children.get(&i.to_string()).map_or(Value::Null, export);
        return Value::Array((0..length).map(item).collect());
    }
    let exported = children
        .iter()
        .map(|(key, child)| (key.clone(), export(child)));
    Value::Object(exported.collect())
}

fn array_length(children: &Map<String, Value>) -> Option<usize> {
    let mut last = 0;
    for key in children.keys() {
        let plain =
            key == "0" || (!key.starts_with('0') && key.bytes().all(|b| b.is_ascii_digit()));
        last = last.max(key.parse::<usize>().ok().filter(|_| plain)?);
    }
    (last < children.len().saturating_mul(2)).then_some(last + 1)
}
