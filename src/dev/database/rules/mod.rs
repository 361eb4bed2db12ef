//! Security rules: read as a whole or refused as a whole, then asked.
//!
//! What a rule may say is in [`expression`]; anything else is refused when the rules are uploaded, with its place.
//! A grant of `.read` or `.write` holds for everything below it; `.validate` does not.

mod evaluate;
mod expression;
mod lexer;
mod parser;
mod source;

use super::path::Path;
use super::tree::{Change, Tree};
use crate::domain::time::UnixMillis;
use evaluate::{Scope, allows};
use expression::Expression;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is wrong with a rules text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Error parsing rules: {place}: {reason}")]
pub struct RulesError {
    place: String,
    reason: String,
}

impl RulesError {
    fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            reason: reason.into(),
        }
    }
}

#[derive(Debug)]
pub struct Rules {
    text: String,
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    read: Option<Expression>,
    write: Option<Expression>,
    validate: Option<Expression>,
    indexes: Vec<String>,
    children: BTreeMap<String, Node>,
    /// The variable, with its `$`, and what holds for every key without rules of its own.
    wildcard: Option<(String, Box<Node>)>,
}

/// The values of the wildcards on the way down to a node.
type Bindings = Vec<(String, String)>;

/// The rules as they apply to one `auth` at one time.
pub(super) struct Judge<'a> {
    rules: &'a Rules,
    auth: &'a Value,
    now: UnixMillis,
}

impl Rules {
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        Ok(Self {
            text: text.to_owned(),
            root: source::parse(text)?,
        })
    }

    /// As it was uploaded.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn judge<'a>(&'a self, auth: &'a Value, now: UnixMillis) -> Judge<'a> {
        Judge {
            rules: self,
            auth,
            now,
        }
    }

    /// Whether the children of `path` may be ordered by `index`.
    pub(super) fn has_index(&self, path: &Path, index: &str) -> bool {
        let mut node = Some(&self.root);
        for key in path.keys() {
            node = node.and_then(|node| node.child(key, &mut Bindings::new()));
        }
        node.is_some_and(|node| node.indexes.iter().any(|known| known == index))
    }
}

impl Node {
    /// The rules for a key; a wildcard takes note of the key.
    fn child(&self, key: &str, bindings: &mut Bindings) -> Option<&Self> {
        if let Some(child) = self.children.get(key) {
            return Some(child);
        }
        let (variable, child) = self.wildcard.as_ref()?;
        bindings.push((variable.clone(), key.to_owned()));
        Some(child)
    }
}

impl Judge<'_> {
    pub(super) fn may_read(&self, path: &Path, tree: &Tree) -> bool {
        let visit = Visit {
            judge: self,
            before: tree,
            after: None,
        };
        visit.any_on_the_way(path, |node| node.read.as_ref())
    }

    /// Whether all changes are allowed, each at its place; `after` is the tree with all of them.
    pub(super) fn may_write(&self, changes: &[Change], before: &Tree, after: &Tree) -> bool {
        let visit = Visit {
            judge: self,
            before,
            after: Some(after),
        };
        changes.iter().all(|change| {
            visit.any_on_the_way(&change.path, |node| node.write.as_ref())
                && visit.valid(&change.path)
        })
    }
}

/// One question to the rules, with the data it is about.
struct Visit<'a> {
    judge: &'a Judge<'a>,
    before: &'a Tree,
    after: Option<&'a Tree>,
}

impl Visit<'_> {
    /// Whether a rule of the root, of `path`, or of a node in between allows it.
    fn any_on_the_way(&self, path: &Path, rule: fn(&Node) -> Option<&Expression>) -> bool {
        let mut bindings = Bindings::new();
        let mut node = Some(&self.judge.rules.root);
        for depth in 0..=path.depth() {
            let Some(here) = node else { return false };
            let keys = &path.keys()[..depth];
            if rule(here).is_some_and(|rule| self.allows(rule, keys, &bindings)) {
                return true;
            }
            let key = path.keys().get(depth);
            node = key.and_then(|key| here.child(key, &mut bindings));
        }
        false
    }

    /// Whether what stands at `path` after the write is valid: it, all below, and all above it.
    fn valid(&self, path: &Path) -> bool {
        let mut bindings = Bindings::new();
        let mut node = &self.judge.rules.root;
        for depth in 0..path.depth() {
            if !self.valid_here(node, &path.keys()[..depth], &bindings) {
                return false;
            }
            match node.child(&path.keys()[depth], &mut bindings) {
                Some(child) => node = child,
                None => return true,
            }
        }
        self.valid_below(node, &mut path.keys().to_vec(), &mut bindings)
    }

    fn valid_below(&self, node: &Node, keys: &mut Vec<String>, bindings: &mut Bindings) -> bool {
        if !self.valid_here(node, keys, bindings) {
            return false;
        }
        let Some(children) = self.new_data(keys).as_object() else {
            return true;
        };
        for key in children.keys() {
            let bound = bindings.len();
            let Some(child) = node.child(key, bindings) else {
                continue;
            };
            keys.push(key.clone());
            let valid = self.valid_below(child, keys, bindings);
            keys.pop();
            bindings.truncate(bound);
            if !valid {
                return false;
            }
        }
        true
    }

    /// What does not exist after the write needs no validation.
    fn valid_here(&self, node: &Node, keys: &[String], bindings: &Bindings) -> bool {
        let gone = || self.new_data(keys).is_null();
        let rule = node.validate.as_ref();
        rule.is_none_or(|rule| gone() || self.allows(rule, keys, bindings))
    }

    fn new_data(&self, keys: &[String]) -> &Value {
        let root = self.after.unwrap_or(self.before).root();
        super::tree::child_at(root, keys)
    }

    fn allows(&self, rule: &Expression, keys: &[String], bindings: &Bindings) -> bool {
        let scope = Scope {
            auth: self.judge.auth,
            now: self.judge.now,
            before: self.before.root(),
            after: self.after.map(Tree::root),
            keys,
            bindings,
        };
        allows(rule, &scope)
    }
}
