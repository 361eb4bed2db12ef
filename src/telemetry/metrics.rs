//! The table of all metrics. The doc comment of a row is its help text; `docs/metrics.md` is generated from it.
//!
//! Labels come only from the closed enums below, never from anything a client or a user chooses.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Prefix of every metric name.
pub const PREFIX: &str = "bridge";

/// A closed set of label values; the variants name themselves in `snake_case`.
macro_rules! labels {
    ($($(#[$doc:meta])* $set:ident { $label:ident: $value:ident = $($variant:ident => $text:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $value { $($variant),+ }

        impl $value {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl EncodeLabelValue for $value {
            fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }

        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $set { pub $label: $value }

        impl From<$value> for $set {
            fn from($label: $value) -> Self { Self { $label } }
        }
    )+

        /// Type, label and values of each set.
        pub const LABELS: &[(&str, &str, &[&str])] =
            &[$((stringify!($set), stringify!($label), &[$($text),+])),+];
    };
}

labels! {
    /// How a handshake ended.
    AuthLabels { outcome: AuthOutcome =
        Ok => "ok", Expired => "expired", Invalid => "invalid", Unavailable => "unavailable", RateLimited => "rate_limited" }
    /// Why a token was refused; never told to the client.
    TokenLabels { reason: TokenFault =
        Size => "size", Format => "format", Algorithm => "algorithm", KeyId => "key_id", Signature => "signature",
        Audience => "audience", Issuer => "issuer", Subject => "subject", Time => "time", Expired => "expired",
        Tenant => "tenant", Claims => "claims", Keys => "keys" }
    /// Why a connection ended.
    CloseLabels { reason: CloseReason =
        Client => "client", Transport => "transport", Draining => "draining", SlowConsumer => "slow_consumer",
        TokenExpired => "token_expired", Unauthorized => "unauthorized", TooManyConnections => "too_many_connections",
        Overloaded => "overloaded", Forbidden => "forbidden", Internal => "internal", Audit => "audit" }
    /// The result of one client event.
    OutcomeLabels { outcome: Outcome = Ok => "ok", Refused => "refused" }
    /// The kind of an event that may be dropped for a slow reader.
    VolatileLabels { event: Volatile = Typing => "typing", Presence => "presence", Receipt => "receipt" }
    /// A change of presence.
    TransitionLabels { kind: TransitionKind = Online => "online", Offline => "offline" }
    /// What a user is to the bridge.
    StatusLabels { status: UserStatus = Online => "online", Lingering => "lingering" }
    /// A request to the Realtime Database.
    DatabaseLabels { op: DatabaseOp =
        Flush => "flush", Beat => "beat", Read => "read", Adopt => "adopt", Nodes => "nodes", Forget => "forget",
        Fence => "fence", Sweep => "sweep" }
    /// How a request to Google ended.
    RequestLabels { outcome: RequestOutcome =
        Ok => "ok", NotSent => "not_sent", Ambiguous => "ambiguous", Busy => "busy", BadData => "bad_data", Denied => "denied" }
}

/// Bounds of every duration histogram, in seconds.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

#[derive(Clone, Copy, Debug)]
pub struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

/// Declares the table: field, type and help stand in one row, so that a metric cannot be forgotten at registration.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $type:ty = $new:expr;)+) => {
        #[derive(Debug)]
        pub struct Metrics { $($(#[doc = $help])+ pub $name: $type,)+ registry: Registry, together: Mutex<()> }

        impl Metrics {
            pub fn new() -> Self {
                let mut registry = Registry::with_prefix(PREFIX);
                $(let $name: $type = $new; registry.register(stringify!($name), concat!($($help),+).trim().trim_end_matches('.'), $name.clone());)+
                Self { $($name,)+ registry, together: Mutex::default() }
            }

            /// Name, type and help of each row.
            pub const TABLE: &'static [(&'static str, &'static str, &'static str)] =
                &[$((stringify!($name), stringify!($type), concat!($($help),+))),+];
        }
    };
}

metrics! {
    /// Open TCP connections on the public port.
    tcp_connections: Gauge = Gauge::default();
    /// TCP connections refused because the cap was reached.
    tcp_refused: Counter = Counter::default();
    /// Live Socket.IO connections.
    connections: Gauge = Gauge::default();
    /// Socket.IO connections opened.
    connections_opened: Counter = Counter::default();
    /// Socket.IO connections closed, by reason.
    connections_closed: Family<CloseLabels, Counter> = Family::default();
    /// Registered handshakes that the audit found without a socket: their clients went in the middle of it.
    registry_audit_fixed: Counter = Counter::default();
    /// Handshakes, by outcome.
    auth: Family<AuthLabels, Counter> = Family::default();
    /// Tokens refused, by reason.
    token_refused: Family<TokenLabels, Counter> = Family::default();
    /// Fetches of Google's public keys, by outcome.
    key_fetches: Family<RequestLabels, Counter> = Family::default();
    /// Seconds since Google's public keys were last fetched; 0 before the first time.
    key_age_seconds: Gauge = Gauge::default();
    /// Client events handled, by outcome.
    events: Family<OutcomeLabels, Counter> = Family::default();
    /// Client events with a name that the protocol does not have.
    events_unknown: Counter = Counter::default();
    /// Sessions whose mailbox was full; the connection is closed as overloaded.
    mailbox_full: Counter = Counter::default();
    /// Messages relayed.
    messages: Counter = Counter::default();
    /// Messages answered as duplicates by their clientMessageId.
    messages_duplicate: Counter = Counter::default();
    /// Events dropped for slow readers; never messages.
    volatile_dropped: Family<VolatileLabels, Counter> = Family::default();
    /// Readers disconnected because their send buffer was full.
    slow_consumers: Counter = Counter::default();
    /// Users typing now, counted per chat.
    typing_active: Gauge = Gauge::default();
    /// Users held in memory, by status.
    presence_users: Family<StatusLabels, Gauge> = Family::default();
    /// Changes of presence, by kind.
    presence_transitions: Family<TransitionLabels, Counter> = Family::default();
    /// Reconnects within the grace: the flaps that nobody saw.
    presence_absorbed: Counter = Counter::default();
    /// Times the process stood still for seconds and could hear nobody; graces get the time back.
    standstills: Counter = Counter::default();
    /// Users found online in the database at start and adopted.
    presence_adopted: Counter = Counter::default();
    /// Transitions handed to the mirror. Equals written + coalesced + pending + parked at every scrape.
    mirror_accepted: Counter = Counter::default();
    /// Transitions confirmed in the database.
    mirror_written: Counter = Counter::default();
    /// Transitions made needless by a later one.
    mirror_coalesced: Counter = Counter::default();
    /// Transitions not yet confirmed in the database.
    mirror_pending: Gauge = Gauge::default();
    /// Transitions of users whose record the database refuses.
    mirror_parked: Gauge = Gauge::default();
    /// Records sent to the database, retries included.
    mirror_records: Counter = Counter::default();
    /// Age in seconds of the oldest transition not yet confirmed.
    mirror_oldest_age_seconds: Gauge = Gauge::default();
    /// Records that somebody else had changed and the mirror put right; 0 in a healthy run.
    sweep_corrections: Counter = Counter::default();
    /// Epoch of the fence under which this process writes; 0 without one.
    fence_epoch: Gauge = Gauge::default();
    /// Requests to the Realtime Database, by operation.
    database_requests: Family<DatabaseLabels, Counter> = Family::default();
    /// Requests to the Realtime Database, by outcome.
    database_outcomes: Family<RequestLabels, Counter> = Family::default();
    /// Time of one request to the Realtime Database.
    database_seconds: Family<DatabaseLabels, Histogram, Seconds> = Family::new_with_constructor(Seconds);
    /// Fetches of an access token, by outcome.
    access_token_fetches: Family<RequestLabels, Counter> = Family::default();
    /// 1 while unsigned emulator tokens are accepted.
    insecure_mode: Gauge = Gauge::default();
    /// Panics caught at the edge of a task; 0 in a healthy run.
    panics: Counter = Counter::default();
    /// Log lines dropped because the log's reader is slow.
    log_dropped: Gauge = Gauge::default();
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Changes several metrics so that every scrape sees all of it or nothing.
    pub fn together(&self, change: impl FnOnce(&Self)) {
        let _one_at_a_time = self.together.lock().unwrap_or_else(PoisonError::into_inner);
        change(self);
    }

    /// The whole table in the Prometheus (`OpenMetrics` 1.0) text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        let _no_changes = self.together.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}
