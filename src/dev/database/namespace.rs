//! One database: its tree, its rules, and those who listen to it.

use super::answer::Refusal;
use super::credential::Credential;
use super::path::Path;
use super::query::Query;
use super::rules::Rules;
use super::stream::{Readers, Reading};
use super::tree::{Change, Tree, export};
use crate::dev::listen::Connection;
use crate::domain::time::UnixMillis;
use aws_lc_rs::digest;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Namespace {
    tree: Tree,
    rules: Arc<Rules>,
    readers: Readers,
}

/// What a write does, with the body already parsed.
pub(super) enum Write<'a> {
    Put(&'a Value),
    Patch(&'a Value),
}

impl Namespace {
    pub(super) fn new(rules: Arc<Rules>) -> Self {
        Self {
            tree: Tree::default(),
            rules,
            readers: Readers::default(),
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn set_rules(&mut self, rules: Rules, now: UnixMillis) {
        self.rules = Arc::new(rules);
        self.readers.recheck(&self.tree, &self.rules, now);
    }

    pub(super) fn read(
        &self,
        path: &Path,
        query: &Query,
        credential: &Credential,
        now: UnixMillis,
    ) -> Result<Value, Refusal> {
        self.check_read(path, credential, now)?;
        if let Some(index) = query.index()
            && !self.rules.has_index(path, &index)
        {
            let text = format!(
                "Index not defined, add \".indexOn\": \"{index}\", for path \"{path}\", to the rules"
            );
            return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        }
        Ok(export(&query.select(self.tree.at(path))))
    }

    /// Applies a write as a whole or not at all, and says what it changed.
    pub(super) fn write(
        &mut self,
        path: &Path,
        write: &Write<'_>,
        credential: &Credential,
        now: UnixMillis,
    ) -> Result<Vec<Change>, Refusal> {
        let changes = match write {
            Write::Put(body) => vec![self.tree.put(path.clone(), body, now)?],
            Write::Patch(body) => self.tree.patch(path, body, now)?,
        };
        match credential.auth() {
            None => self.tree.apply(&changes),
            Some(auth) => {
                let mut after = self.tree.clone();
                after.apply(&changes);
                let allowed = self
                    .rules
                    .judge(auth, now)
                    .may_write(&changes, &self.tree, &after);
                if !allowed {
                    return Err(Refusal::permission_denied());
                }
                self.tree = after;
            }
        }
        let base = matches!(write, Write::Patch(_)).then_some(path);
        // First who may still read, then what there is to read.
        self.readers.recheck(&self.tree, &self.rules, now);
        self.readers.tell(base, &changes, &self.tree);
        Ok(changes)
    }

    /// Names the present content of `path`.
    pub(super) fn etag(&self, path: &Path) -> String {
        etag(self.tree.at(path))
    }

    pub(super) fn value(&self, path: &Path) -> Value {
        export(self.tree.at(path))
    }

    pub(super) fn listen(
        &mut self,
        path: Path,
        credential: Credential,
        connection: Connection,
        now: UnixMillis,
    ) -> Result<Reading, Refusal> {
        self.check_read(&path, &credential, now)?;
        Ok(self.readers.add(path, credential, connection, &self.tree))
    }

    fn check_read(
        &self,
        path: &Path,
        credential: &Credential,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let allowed = credential
            .auth()
            .is_none_or(|auth| self.rules.judge(auth, now).may_read(path, &self.tree));
        if allowed {
            Ok(())
        } else {
            Err(Refusal::permission_denied())
        }
    }
}

fn etag(stored: &Value) -> String {
    if stored.is_null() {
        return "null_etag".to_owned();
    }
    STANDARD.encode(digest::digest(
        &digest::SHA256,
        stored.to_string().as_bytes(),
    ))
}
