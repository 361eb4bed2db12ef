//! The Realtime Database over REST: presence records and heartbeats.
//!
//! Requests are HTTP/1.1: a request that hangs takes its connection with it, so the next but one
//! starts afresh at the latest. Nothing is retried here but a refused token, once. Keys travel in
//! bodies; where a key must stand in an address, no log and no error shows the address.

mod call;
mod outcome;
mod target;

#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

use super::bearer::TokenSource;
use super::schema::{self, DatabasePath, Layout, PresencePatch, Understood};
use crate::clock::Clock;
use crate::domain::ids::UserId;
use crate::domain::mirror::Record;
use crate::domain::time::UnixMillis;
use crate::services::ports::{
    BoxFuture, FenceRecord, FoundFence, NodeBeat, Page, ReadError, Records, StoredRecord,
    WriteError,
};
use crate::telemetry::metrics::{DatabaseOp, Metrics};
use call::Condition;
use outcome::Answer;
use reqwest::{Client, Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
pub use target::{Target, TargetError, namespace_of};
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// When the database has moved, each connection kept from before costs one timeout.
const IDLE_CONNECTIONS: usize = 1;
/// The largest answer to "who is online?": about half a million users.
const MAX_ONLINE_BYTES: usize = 64 << 20;
/// That answer may take this many times as long as others.
const ONLINE_PATIENCE: u32 = 6;
const MAX_NODES_BYTES: usize = 1 << 20;
/// A page has at most a thousand records, some perhaps larger than ours.
const MAX_PAGE_BYTES: usize = 4 << 20;
const MAX_RECORD_BYTES: usize = 16 << 10;
/// Whom the rules see when a batch carries an epoch.
const FENCED_UID: &str = "presence-bridge";

/// Where and what to write.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    pub target: Target,
    pub presence_path: DatabasePath,
    pub nodes_path: DatabasePath,
    pub fence_path: DatabasePath,
    pub layout: Layout,
    /// This node's name, which its successor inherits.
    pub node: String,
    /// This process, new at every start.
    pub boot: String,
    /// The deadline of one request, from connecting to the last byte.
    pub timeout: Duration,
    pub heartbeat_interval: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot set up an HTTPS client")]
pub struct SetupError(#[source] reqwest::Error);

/// The database of one node.
pub struct Database {
    options: DatabaseOptions,
    client: Client,
    tokens: Arc<dyn TokenSource>,
    metrics: Arc<Metrics>,
    clock: Clock,
    index_missed: AtomicBool,
}

impl Database {
    pub fn new(
        options: DatabaseOptions,
        tokens: Arc<dyn TokenSource>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Result<Self, SetupError> {
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .user_agent(concat!("presence-bridge/", env!("CARGO_PKG_VERSION")));
        builder = if options.target.is_https() {
            builder.https_only(true)
        } else {
            // reqwest follows HTTP_PROXY, also for loopback; and it wants root certificates at
            // once, also where none will be used.
            builder.no_proxy().tls_certs_only([])
        };
        Ok(Self {
            client: builder.build().map_err(SetupError)?,
            options,
            tokens,
            metrics,
            clock,
            index_missed: AtomicBool::new(false),
        })
    }

    /// The body of who is online: by the index, or without one the whole tree.
    async fn online_body(&self) -> Result<Vec<u8>, ReadError> {
        let (_, order, value) = self.options.layout.online_filter();
        let mut call = self.call(
            Method::GET,
            self.options.target.url(&self.options.presence_path),
        );
        call.limit_bytes = MAX_ONLINE_BYTES;
        call.timeout *= ONLINE_PATIENCE;
        let whole_tree = call.url.clone();
        call.url
            .query_pairs_mut()
            .append_pair("orderBy", order)
            .append_pair("equalTo", value);
        let first = self.ask(&call).await;
        if !first.as_ref().is_ok_and(is_index_missing) {
            return outcome::read_result(first);
        }
        self.tell_index();
        call.url = whole_tree;
        outcome::read_result(self.ask(&call).await)
    }

    fn tell_index(&self) {
        if self.index_missed.swap(true, Ordering::Relaxed) {
            return;
        }
        let (child, _, _) = self.options.layout.online_filter();
        let path = self.options.presence_path.segments().join("/");
        tracing::warn!(
            "the database has no index of who is online, so all of /{path} is read at start; \
             add to its rules at /{path}: \".indexOn\": [\"{child}\"]"
        );
    }
}

impl Records for Database {
    fn write<'a>(
        &'a self,
        records: &'a [(UserId, Record)],
        epoch: Option<u64>,
    ) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let o = &self.options;
            let mut call = self.call(Method::PATCH, silent(o.target.url(&o.presence_path)));
            if let Some(epoch) = epoch {
                let seen = serde_json::json!({ "uid": FENCED_UID, "epoch": epoch });
                call.url
                    .query_pairs_mut()
                    .append_pair("auth_variable_override", &seen.to_string());
            }
            let patch = PresencePatch {
                layout: o.layout,
                node: &o.node,
                records,
            };
            call.body = Some(serde_json::to_vec(&patch).map_err(|_| WriteError::BadData)?);
            self.write_call(DatabaseOp::Flush, call).await.map(drop)
        })
    }

    fn online(&self) -> BoxFuture<'_, Result<Vec<StoredRecord>, ReadError>> {
        Box::pin(async move {
            let body = self
                .measure(DatabaseOp::Adopt, outcome::read_label, self.online_body())
                .await?;
            let read = schema::read_online(&body).map_err(|_| ReadError::Unavailable)?;
            Ok(told(read, "presence records"))
        })
    }

    fn page<'a>(
        &'a self,
        after: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(async move {
            let o = &self.options;
            // The key it starts at comes once more.
            let most = most + usize::from(after.is_some());
            let mut call = self.call(Method::GET, o.target.url(&o.presence_path));
            call.limit_bytes = MAX_PAGE_BYTES;
            call.url
                .query_pairs_mut()
                .append_pair("orderBy", "\"$key\"")
                .append_pair("limitToFirst", &most.to_string());
            if let Some(after) = after {
                let start = serde_json::Value::from(after).to_string();
                call.url.query_pairs_mut().append_pair("startAt", &start);
            }
            let body = self.read_call(DatabaseOp::Sweep, call).await?;
            schema::read_page(&body, after, most).map_err(|_| ReadError::Unavailable)
        })
    }

    fn read<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Record>, ReadError>> {
        Box::pin(async move {
            let path = schema::user_path(&self.options.presence_path, user);
            let mut call = self.call(Method::GET, self.options.target.url(&path));
            call.limit_bytes = MAX_RECORD_BYTES;
            let body = self.read_call(DatabaseOp::Read, call).await?;
            schema::read_record(&body).map_err(|_| ReadError::Unavailable)
        })
    }

    fn beat(&self) -> BoxFuture<'_, Result<UnixMillis, WriteError>> {
        Box::pin(async move {
            let o = &self.options;
            let path = schema::beat_path(&o.nodes_path, &o.node, &o.boot);
            let mut call = self.call(Method::PUT, o.target.url(&path));
            call.body = Some(
                schema::beat_body(o.heartbeat_interval)
                    .to_string()
                    .into_bytes(),
            );
            call.limit_bytes = MAX_RECORD_BYTES;
            let body = self.write_call(DatabaseOp::Beat, call).await?;
            schema::read_beat(&body).ok_or(WriteError::Ambiguous)
        })
    }

    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeBeat>, ReadError>> {
        Box::pin(async move {
            let o = &self.options;
            let mut call = self.call(Method::GET, o.target.url(&o.nodes_path));
            call.limit_bytes = MAX_NODES_BYTES;
            let body = self.read_call(DatabaseOp::Nodes, call).await?;
            let read = schema::read_nodes(&body).map_err(|_| ReadError::Unavailable)?;
            Ok(told(read, "heartbeats"))
        })
    }

    fn forget<'a>(&'a self, node: &'a str, boot: &'a str) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let o = &self.options;
            let path = schema::beat_path(&o.nodes_path, node, boot);
            let call = self.call(Method::DELETE, silent(o.target.url(&path)));
            self.write_call(DatabaseOp::Forget, call).await.map(drop)
        })
    }

    fn fence(&self) -> BoxFuture<'_, Result<FoundFence, ReadError>> {
        Box::pin(async move {
            let o = &self.options;
            let mut call = self.call(Method::GET, o.target.url(&o.fence_path));
            call.condition = Condition::Tag;
            call.limit_bytes = MAX_RECORD_BYTES;
            let request = async {
                let answer = self.ask(&call).await;
                let tag = answer.as_ref().ok().and_then(|answer| answer.etag.clone());
                let body = outcome::read_result(answer)?;
                let untold = || ReadError::Denied("no ETag for the fence".to_owned());
                Ok((body, tag.ok_or_else(untold)?))
            };
            let (body, tag) = self
                .measure(DatabaseOp::Fence, outcome::read_label, request)
                .await?;
            let record = schema::read_fence(&body).map_err(|_| ReadError::Unavailable)?;
            Ok(FoundFence { record, tag })
        })
    }

    fn take_fence<'a>(
        &'a self,
        record: &'a FenceRecord,
        tag: &'a str,
    ) -> BoxFuture<'a, Result<bool, WriteError>> {
        Box::pin(async move {
            let o = &self.options;
            // Not silent: that and a condition exclude each other.
            let mut call = self.call(Method::PUT, o.target.url(&o.fence_path));
            call.body = Some(schema::fence_body(record).to_string().into_bytes());
            call.condition = Condition::If(tag.to_owned());
            let request = async {
                match self.ask(&call).await {
                    Ok(answer) if answer.status == StatusCode::PRECONDITION_FAILED => Ok(false),
                    asked => outcome::write_result(asked).map(|_| true),
                }
            };
            self.measure(DatabaseOp::Fence, outcome::write_label, request)
                .await
        })
    }
}

/// Response bytes are what Google bills.
fn silent(mut url: Url) -> Url {
    url.query_pairs_mut().append_pair("print", "silent");
    url
}

fn told<T>(read: Understood<T>, what: &str) -> Vec<T> {
    if read.skipped > 0 {
        tracing::warn!(
            skipped = read.skipped,
            "the database holds {what} of unknown shape; they are left alone"
        );
    }
    read.items
}

/// Status 400 with `Index not defined, add ".indexOn": ...`.
fn is_index_missing(answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    answer.status == StatusCode::BAD_REQUEST && text.contains("ndex not defined")
}
