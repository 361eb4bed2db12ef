//! From the text of a rules file, JSON with comments, to its nodes.

use super::expression::{Allowed, Expression};
use super::{Node, RulesError, parser};
use crate::dev::database::path::{Path, check_key};
use serde_json::{Map, Value};

pub(super) fn parse(text: &str) -> Result<Node, RulesError> {
    let json: Value = serde_json::from_str(&without_comments(text)?).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        RulesError::new(place, "not valid JSON")
    })?;
    let Value::Object(file) = &json else {
        return Err(RulesError::new("/", "the rules are not a JSON object"));
    };
    match (file.get("rules"), file.len()) {
        (Some(Value::Object(rules)), 1) => node(rules, "", &mut Vec::new()),
        _ => Err(RulesError::new(
            "/",
            "expected { \"rules\": { … } } and nothing else",
        )),
    }
}

/// Comments become spaces, so that an error is still where it was.
fn without_comments(text: &str) -> Result<String, RulesError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = rest.next() {
        let comment = match rest.peek() {
            Some(next @ ('/' | '*')) if c == '/' && !in_string => Some(*next),
            Some(_) | None => None,
        };
        match (c, comment) {
            (_, Some('/')) => {
                plain.push(' ');
                while let Some(c) = rest.next_if(|c| *c != '\n') {
                    plain.push(if c == '\r' { c } else { ' ' });
                }
            }
            (_, Some(_)) => {
                rest.next();
                plain.push_str("  ");
                blank_block(&mut rest, &mut plain)?;
            }
            ('\\', None) if in_string => {
                plain.push(c);
                plain.extend(rest.next());
            }
            (c, None) => {
                in_string ^= c == '"';
                plain.push(c);
            }
        }
    }
    Ok(plain)
}

fn blank_block(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    plain: &mut String,
) -> Result<(), RulesError> {
    while let Some(c) = rest.next() {
        if c == '*' && rest.next_if_eq(&'/').is_some() {
            plain.push_str("  ");
            return Ok(());
        }
        plain.push(if c == '\n' { c } else { ' ' });
    }
    Err(RulesError::new("/", "a comment does not end"))
}

fn node(
    rules: &Map<String, Value>,
    place: &str,
    variables: &mut Vec<String>,
) -> Result<Node, RulesError> {
    let mut node = Node::default();
    for (key, value) in rules {
        let place = format!("{place}/{key}");
        match key.as_str() {
            ".read" => node.read = Some(rule(value, &place, Allowed::Read, variables)?),
            ".write" => node.write = Some(rule(value, &place, Allowed::Write, variables)?),
            ".validate" => node.validate = Some(rule(value, &place, Allowed::Write, variables)?),
            ".indexOn" => node.indexes = indexes(value, &place)?,
            _ => child(&mut node, key, value, &place, variables)?,
        }
    }
    Ok(node)
}

fn child(
    node: &mut Node,
    key: &str,
    value: &Value,
    place: &str,
    variables: &mut Vec<String>,
) -> Result<(), RulesError> {
    let Value::Object(rules) = value else {
        return Err(RulesError::new(place, "expected an object with rules"));
    };
    if !key.starts_with('$') {
        check_key(key).map_err(|_| RulesError::new(place, "neither a rule nor a valid key"))?;
        let child = self::node(rules, place, variables)?;
        node.children.insert(key.to_owned(), child);
        return Ok(());
    }
    let named = key.len() > 1
        && key[1..]
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named {
        return Err(RulesError::new(place, "not a valid name of a variable"));
    }
    if node.wildcard.is_some() {
        return Err(RulesError::new(
            place,
            "a second variable at the same place",
        ));
    }
    if variables.iter().any(|known| known == key) {
        return Err(RulesError::new(
            place,
            "the variable is already bound above",
        ));
    }
    variables.push(key.to_owned());
    let child = self::node(rules, place, variables)?;
    variables.pop();
    node.wildcard = Some((key.to_owned(), Box::new(child)));
    Ok(())
}

fn rule(
    value: &Value,
    place: &str,
    allowed: Allowed,
    variables: &[String],
) -> Result<Expression, RulesError> {
    match value {
        Value::Bool(constant) => Ok(Expression::Bool(*constant)),
        Value::String(text) => parser::parse(text, allowed, variables).map_err(|error| {
            let place = format!("{place}, character {}", error.at + 1);
            RulesError::new(place, error.reason)
        }),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(
            RulesError::new(place, "expected an expression or true or false"),
        ),
    }
}

fn indexes(value: &Value, place: &str) -> Result<Vec<String>, RulesError> {
    let bad = || RulesError::new(place, "expected a child path, or a list of them");
    let items = match value {
        Value::Array(items) => items.as_slice(),
        Value::String(_) => std::slice::from_ref(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(bad()),
    };
    let index = |item: &Value| {
        let text = item.as_str().ok_or_else(bad)?;
        if text == ".value" {
            return Ok(text.to_owned());
        }
        let path = Path::parse(text).map_err(|_| bad())?;
        Ok(path.keys().join("/"))
    };
    items.iter().map(index).collect()
}
