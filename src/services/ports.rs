//! What the use cases need of the world. Adapters implement these; `app.rs` plugs them in.
//! Variants of an error say what the caller can do, not what went wrong inside.

use crate::domain::ids::{ChatId, UserId};
use crate::domain::time::UnixMillis;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

// === Who is it? ===

/// A user as proven by a verified ID token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    /// The token's `exp`, without leeway.
    pub expires_at: UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A good token whose time is over: the client fetches a fresh one and tries again.
    #[error("the token has expired")]
    Expired,
    /// Not a token of this project. Trying again with it is pointless.
    #[error("the token is not valid")]
    Invalid,
    /// We cannot tell now (Google's keys are out of reach). Not the client's fault; retry later.
    #[error("tokens cannot be verified now")]
    Unavailable,
}

pub trait Verify: Send + Sync + 'static {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Identity, VerifyError>>;
}

// === May this user join that chat? ===

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessDecision {
    Allowed,
    Forbidden,
    /// The source of truth is out of reach: nobody new is let in, nobody joined is thrown out.
    Unavailable,
}

pub trait Access: Send + Sync + 'static {
    fn may_join<'a>(&'a self, user: &'a UserId, chat: &'a ChatId) -> BoxFuture<'a, AccessDecision>;
}

// === The presence records in the database ===

pub use crate::domain::fence::FenceRecord;
pub use crate::domain::mirror::Record;

/// A record found in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub user: UserId,
    pub record: Record,
    /// The node that wrote it, where the layout says so.
    pub node: Option<String>,
}

/// What stands in the place of the fence, with the tag that a compare-and-set needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFence {
    pub record: Option<FenceRecord>,
    pub tag: String,
}

/// A part of the presence records, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Page {
    /// What is understood of it.
    pub records: Vec<StoredRecord>,
    /// The last key; `None`: there are no more.
    pub through: Option<String>,
    /// All children, also those that are not understood.
    pub children: usize,
    /// Of the answer.
    pub bytes: usize,
}

/// One process that has announced itself under `/presenceNodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBeat {
    pub node: String,
    pub boot: String,
    /// Database time of its last heartbeat.
    pub heartbeat: UnixMillis,
    pub interval: Duration,
}

/// Why a write did not surely succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The request surely had no effect (refused connection, 503, no access token). Retry later.
    #[error("the database is out of reach")]
    NotSent,
    /// The request may or may not land, now or later (timeout, reset, 5xx after the body was sent).
    #[error("the outcome is unknown")]
    Ambiguous,
    /// The database asks for a pause (429, or 503 with Retry-After): surely no effect.
    #[error("the database asks to wait")]
    Busy { retry_after: Option<Duration> },
    /// The batch as a whole is refused as bad data (400, 413): some record in it is poison.
    #[error("the database refuses the data")]
    BadData,
    /// The credential may not write, or the database is closed or elsewhere (401 after one
    /// refresh, 402, 403, 404, 423). Configuration: loud and slow.
    #[error("the database refuses: {0}")]
    Denied(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the database is out of reach")]
    Unavailable,
    /// The database asks for a pause.
    #[error("the database asks to wait")]
    Busy { retry_after: Option<Duration> },
    #[error("the database refuses: {0}")]
    Denied(String),
}

/// The presence tree and the node heartbeats of the database.
pub trait Records: Send + Sync + 'static {
    /// Writes all records in one atomic request. The caller keeps one write in flight. With an
    /// `epoch` the database's rules accept it only while that is the fence's.
    fn write<'a>(
        &'a self,
        records: &'a [(UserId, Record)],
        epoch: Option<u64>,
    ) -> BoxFuture<'a, Result<(), WriteError>>;
    /// Everybody whom the database believes to be online.
    fn online(&self) -> BoxFuture<'_, Result<Vec<StoredRecord>, ReadError>>;
    /// At most `most` records after the key `after`, or from the first.
    fn page<'a>(
        &'a self,
        after: Option<&'a str>,
        most: usize,
    ) -> BoxFuture<'a, Result<Page, ReadError>>;
    /// One user's record; `None` where there is none.
    fn read<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Option<Record>, ReadError>>;
    /// Writes this process's heartbeat and returns the database's time of it.
    fn beat(&self) -> BoxFuture<'_, Result<UnixMillis, WriteError>>;
    /// All heartbeats, this process's among them.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeBeat>, ReadError>>;
    /// Removes a heartbeat record: one's own at the end, or a dead one.
    fn forget<'a>(&'a self, node: &'a str, boot: &'a str) -> BoxFuture<'a, Result<(), WriteError>>;
    /// Who holds the fence.
    fn fence(&self) -> BoxFuture<'_, Result<FoundFence, ReadError>>;
    /// Puts `record` in the place of what had `tag`; `false` if something else stands there now.
    fn take_fence<'a>(
        &'a self,
        record: &'a FenceRecord,
        tag: &'a str,
    ) -> BoxFuture<'a, Result<bool, WriteError>>;
}

// === Telling the others ===

/// What others may see of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    Online,
    /// `None`: this process has not seen the user go.
    Offline {
        last_seen: Option<UnixMillis>,
    },
}

/// Tells people what changed. It never waits: a slow reader misses it.
pub trait Announce: Send + Sync + 'static {
    /// To everybody joined to one of `chats` and to the user's watchers, once each; not to the user.
    fn presence(&self, user: &UserId, visible: Visible, chats: &[ChatId]);
    /// To the other users joined to the chat.
    fn stop_typing(&self, chat: &ChatId, user: &UserId);
}
