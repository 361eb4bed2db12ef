//! The values that are ours: what a setting means once it is read.

use super::key_file::KeyFile;
use url::Url;

/// The shape of a presence record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `{ online, lastSeen, node }`.
    Bridge,
    /// `{ state, last_changed }`, as in Firebase's own guide.
    FirebaseGuide,
}

/// What happens at drain to the records of users who are still connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrain {
    /// Nobody follows this process: write them offline.
    Offline,
    /// Another process takes over and adopts them: leave them.
    Handover,
}

/// What keeps a process that was replaced from writing presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Nothing; users of a doubtful write are read again.
    Off,
    /// The database's rules: they accept the batches of the newest process alone.
    Rules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Websocket,
    Polling,
}

/// Which Identity Platform tenant a token must come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantPolicy {
    /// Only tokens without a tenant.
    None,
    Any,
    /// Only tokens of this tenant.
    Require(String),
}

/// The browser pages that may connect. Apps send no `Origin` and are not concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    Any,
    /// Exactly these, in the spelling of the `Origin` header; empty means none.
    Only(Vec<String>),
}

/// Who vouches for ID tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityMode {
    Google {
        keys_url: Url,
    },
    /// Unsigned tokens are accepted; only with a `demo-` project and never near production.
    Emulator,
}

/// Where the presence records live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTarget {
    /// A real database, or (plain http, loopback) something that behaves like one. The path is `/`.
    Production { url: Url },
    /// `host` is `host:port`. Port 0 means: nobody has said where; bind a stand-in and fill it in.
    Emulator { host: String, namespace: String },
}

/// How access tokens for the database are obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A service account's key, read and checked at start.
    KeyFile(KeyFile),
    /// The metadata server of Google Cloud.
    Metadata,
    /// The emulator's `Bearer owner`; no provider is built.
    Owner,
}
