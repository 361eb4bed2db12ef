//! Reads of less than everything: `shallow`, and ordered, filtered, limited children.

use super::call::Params;
use super::path::Path;
use super::tree::child_at;
use serde_json::{Map, Value};
use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("orderBy must be a valid JSON encoded path")]
    BadOrder,
    #[error("orderBy must be defined when other query parameters are defined")]
    NoOrder,
    #[error("{0} must be a valid JSON encoded value")]
    BadBound(&'static str),
    #[error("the bounds of a query by $key must be strings")]
    KeyBound,
    #[error("{0} must be a positive integer")]
    BadLimit(&'static str),
    #[error("limitToFirst and limitToLast must not be used together")]
    TwoLimits,
    #[error("equalTo must not be used with another bound")]
    TwoBounds,
    #[error("Mixing 'shallow' and querying parameters is not supported")]
    ShallowQuery,
    #[error("shallow must be true or false")]
    BadShallow,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    All,
    /// Objects as `{ key: true }`.
    Shallow,
    Ordered(Ordered),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ordered {
    order: Order,
    start: Option<Bound>,
    end: Option<Bound>,
    limit: Option<Limit>,
}

#[derive(Clone, Debug, PartialEq)]
enum Order {
    Key,
    Value,
    Child(Path),
}

#[derive(Clone, Debug, PartialEq)]
struct Bound {
    value: Value,
    inclusive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    First(usize),
    Last(usize),
}

impl Query {
    pub(super) fn parse(params: &Params) -> Result<Self, QueryError> {
        let ordered = Ordered::parse(params)?;
        match (params.get("shallow"), ordered) {
            (None | Some("false"), None) => Ok(Self::All),
            (None | Some("false"), Some(ordered)) => Ok(Self::Ordered(ordered)),
            (Some("true"), None) => Ok(Self::Shallow),
            (Some("true"), Some(_)) => Err(QueryError::ShallowQuery),
            (Some(_), _) => Err(QueryError::BadShallow),
        }
    }

    /// What `.indexOn` must name for this query to be answered.
    pub fn index(&self) -> Option<String> {
        match self {
            Self::All | Self::Shallow => None,
            Self::Ordered(ordered) => match &ordered.order {
                Order::Key => None,
                Order::Value => Some(".value".to_owned()),
                Order::Child(path) => Some(path.keys().join("/")),
            },
        }
    }

    /// The part of a stored value that was asked for, still in the form of the tree.
    pub fn select(&self, stored: &Value) -> Value {
        match (self, stored) {
            (Self::Shallow, Value::Object(children)) => {
                let keys = children.keys().map(|key| (key.clone(), true.into()));
                Value::Object(keys.collect())
            }
            (Self::Ordered(ordered), Value::Object(children)) => ordered.select(children),
            (Self::Ordered(_), _) => Value::Null,
            (Self::All | Self::Shallow, _) => stored.clone(),
        }
    }
}

impl Ordered {
    fn parse(params: &Params) -> Result<Option<Self>, QueryError> {
        let first = limit(params, "limitToFirst")?;
        let last = limit(params, "limitToLast")?;
        let limit = match (first, last) {
            (Some(_), Some(_)) => return Err(QueryError::TwoLimits),
            (Some(count), None) => Some(Limit::First(count)),
            (None, Some(count)) => Some(Limit::Last(count)),
            (None, None) => None,
        };
        let equal = bound(params, "equalTo", true)?;
        let starts = [
            bound(params, "startAt", true)?,
            bound(params, "startAfter", false)?,
        ];
        let ends = [
            bound(params, "endAt", true)?,
            bound(params, "endBefore", false)?,
        ];
        let (start, end) = match (equal, one(starts)?, one(ends)?) {
            (Some(equal), None, None) => (Some(equal.clone()), Some(equal)),
            (Some(_), _, _) => return Err(QueryError::TwoBounds),
            (None, start, end) => (start, end),
        };
        let Some(order) = params.get("orderBy") else {
            return if start.is_some() || end.is_some() || limit.is_some() {
                Err(QueryError::NoOrder)
            } else {
                Ok(None)
            };
        };
        let order = match serde_json::from_str::<String>(order).as_deref() {
            Ok("$key") => Order::Key,
            Ok("$value") => Order::Value,
            Ok(path) => match Path::parse(path) {
                Ok(path) if path.depth() > 0 => Order::Child(path),
                Ok(_) | Err(_) => return Err(QueryError::BadOrder),
            },
            Err(_) => return Err(QueryError::BadOrder),
        };
        let keyed = |bound: &Option<Bound>| bound.as_ref().is_none_or(|b| b.value.is_string());
        if order == Order::Key && !(keyed(&start) && keyed(&end)) {
            return Err(QueryError::KeyBound);
        }
        Ok(Some(Self {
            order,
            start,
            end,
            limit,
        }))
    }

    fn select(&self, children: &Map<String, Value>) -> Value {
        let mut hits: Vec<(&String, &Value)> = children
            .iter()
            .filter(|(key, child)| self.holds(key, child))
            .collect();
        hits.sort_by(|a, b| self.compare(*a, *b));
        let (from, to) = match self.limit {
            None => (0, hits.len()),
            Some(Limit::First(count)) => (0, count.min(hits.len())),
            Some(Limit::Last(count)) => (hits.len().saturating_sub(count), hits.len()),
        };
        let chosen = hits.drain(from..to);
        Value::Object(
            chosen
                .map(|(key, child)| (key.clone(), child.clone()))
                .collect(),
        )
    }

    fn holds(&self, key: &str, child: &Value) -> bool {
        let against = |bound: &Bound| match (&self.order, &bound.value) {
            (Order::Key, Value::String(bound)) => compare_keys(key, bound),
            (Order::Key | Order::Value | Order::Child(_), bound) => {
                compare_values(self.sort_value(child), bound)
            }
        };
        let after_start = self.start.as_ref().is_none_or(|bound| {
            let order = against(bound);
            order == Ordering::Greater || (bound.inclusive && order == Ordering::Equal)
        });
        after_start
            && self.end.as_ref().is_none_or(|bound| {
                let order = against(bound);
                order == Ordering::Less || (bound.inclusive && order == Ordering::Equal)
            })
    }

    fn compare(&self, a: (&String, &Value), b: (&String, &Value)) -> Ordering {
        compare_values(self.sort_value(a.1), self.sort_value(b.1))
            .then_with(|| compare_keys(a.0, b.0))
    }

    fn sort_value<'a>(&self, child: &'a Value) -> &'a Value {
        match &self.order {
            Order::Key => &Value::Null,
            Order::Value => child,
            Order::Child(path) => child_at(child, path.keys()),
        }
    }
}

fn one(bounds: [Option<Bound>; 2]) -> Result<Option<Bound>, QueryError> {
    match bounds {
        [Some(_), Some(_)] => Err(QueryError::TwoBounds),
        [a, b] => Ok(a.or(b)),
    }
}

fn bound(
    params: &Params,
    name: &'static str,
    inclusive: bool,
) -> Result<Option<Bound>, QueryError> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let value: Value = serde_json::from_str(text).map_err(|_| QueryError::BadBound(name))?;
    if value.is_object() || value.is_array() {
        return Err(QueryError::BadBound(name));
    }
    Ok(Some(Bound { value, inclusive }))
}

fn limit(params: &Params, name: &'static str) -> Result<Option<usize>, QueryError> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(count) if count > 0 => Ok(Some(count)),
        Ok(_) | Err(_) => Err(QueryError::BadLimit(name)),
    }
}

/// Keys that are 32-bit integers come first, by number; then the others, by their characters.
pub fn compare_keys(a: &str, b: &str) -> Ordering {
    match (integer_key(a), integer_key(b)) {
        (Some(x), Some(y)) => x.cmp(&y).then(a.len().cmp(&b.len())),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

fn integer_key(key: &str) -> Option<i32> {
    let digits = key.strip_prefix('-').unwrap_or(key);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    key.parse().ok().filter(|_| plain)
}

/// Nothing, false, true, numbers, strings, objects: the documented order of values.
fn compare_values(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let (x, y) = (x.as_f64(), y.as_f64());
            x.partial_cmp(&y).unwrap_or(Ordering::Equal)
        }
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) | Value::Object(_) => 5,
    }
}
