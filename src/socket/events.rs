//! The protocol table: every event, payload, acknowledgement and code, as it stands on the wire for ever.
//!
//! `docs/protocol.md` tells the same to people; `tests/tidy.rs` keeps the two equal.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Declares a closed set of wire words with one sentence each.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $all:ident { $($(#[$about:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$about])* $variant),+ }

        pub const $all: &[$name] = &[$($name::$variant),+];

        impl $name {
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What a client may say.
    ClientEvent, CLIENT_EVENTS {
        JoinChat => "join_chat",
        LeaveChat => "leave_chat",
        SendMessage => "send_message",
        Typing => "typing",
        StopTyping => "stop_typing",
        Receipt => "receipt",
        GroupEvent => "group_event",
        WatchPresence => "watch_presence",
        UnwatchPresence => "unwatch_presence",
        AppState => "app_state",
        RefreshToken => "refresh_token",
    }
}

words! {
    /// What the bridge may say.
    ServerEvent, SERVER_EVENTS {
        Ready => "ready",
        NewMessage => "new_message",
        Typing => "typing",
        StopTyping => "stop_typing",
        Receipt => "receipt",
        GroupEvent => "group_event",
        Presence => "presence",
        TokenExpiring => "token_expiring",
        RemovedFromChat => "removed_from_chat",
        Closing => "closing",
        EventError => "event_error",
    }
}

impl AsRef<str> for ServerEvent {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

words! {
    /// Every error and close code. Stable for ever.
    ErrorCode, ERROR_CODES {
        Unauthorized => "unauthorized",
        TokenExpired => "token_expired",
        AppCheckFailed => "app_check_failed",
        InvalidPayload => "invalid_payload",
        TooLarge => "too_large",
        NotJoined => "not_joined",
        Forbidden => "forbidden",
        RateLimited => "rate_limited",
        TooManyChats => "too_many_chats",
        TooManyConnections => "too_many_connections",
        Overloaded => "overloaded",
        Unavailable => "unavailable",
        Draining => "draining",
        SlowConsumer => "slow_consumer",
        UnknownEvent => "unknown_event",
        Internal => "internal",
    }
}

impl ErrorCode {
    /// May the very same request succeed later?
    pub fn retryable(self) -> bool {
        match self {
            Self::RateLimited
            | Self::Overloaded
            | Self::Unavailable
            | Self::Draining
            | Self::Internal => true,
            Self::Unauthorized
            | Self::TokenExpired
            | Self::AppCheckFailed
            | Self::InvalidPayload
            | Self::TooLarge
            | Self::NotJoined
            | Self::Forbidden
            | Self::TooManyChats
            | Self::TooManyConnections
            | Self::SlowConsumer
            | Self::UnknownEvent => false,
        }
    }

    /// As the code of `closing`: should the client connect again?
    pub fn reconnect(self) -> bool {
        matches!(
            self,
            Self::Draining
                | Self::SlowConsumer
                | Self::TokenExpired
                | Self::Overloaded
                | Self::Internal
        )
    }
}

// === client -> server ===

/// The handshake's `auth` object. Whatever else a client puts there is ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    pub token: String,
}

/// `join_chat`, `leave_chat`, `typing`, `stop_typing`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct InChat<'a> {
    #[serde(borrow)]
    pub chat_id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct SendMessage<'a> {
    #[serde(borrow)]
    pub chat_id: Cow<'a, str>,
    /// Any JSON value; relayed as it came, to the byte.
    #[serde(borrow)]
    pub message: &'a RawValue,
    #[serde(borrow, default)]
    pub client_message_id: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    Delivered,
    Read,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct SendReceipt<'a> {
    #[serde(borrow)]
    pub chat_id: Cow<'a, str>,
    pub message_ids: Vec<String>,
    pub kind: ReceiptKind,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct SendGroupEvent<'a> {
    #[serde(borrow)]
    pub chat_id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub struct Watch {
    pub user_ids: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    Foreground,
    Background,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub struct SetAppState {
    /// Checked today, acted upon when `PRESENCE_BACKGROUND_GRACE` arrives.
    pub state: AppState,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub struct RefreshToken {
    pub token: String,
}

// === server -> client ===

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready<'a> {
    pub user_id: &'a str,
    pub expires_in_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewMessage<'a> {
    pub chat_id: &'a str,
    pub message: &'a RawValue,
    pub sender_id: &'a str,
    pub delivered_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<&'a str>,
}

/// `typing` and `stop_typing`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypingNotice<'a> {
    pub chat_id: &'a str,
    pub user_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptNotice<'a> {
    pub chat_id: &'a str,
    pub message_ids: &'a [String],
    pub kind: ReceiptKind,
    pub user_id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupEventNotice<'a> {
    pub chat_id: &'a str,
    #[serde(rename = "type")]
    pub kind: &'a str,
    pub data: Option<&'a RawValue>,
    pub user_id: &'a str,
    pub delivered_at: u64,
}

/// One user's presence: the `presence` event, and an entry of the snapshots in acknowledgements.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceNotice<'a> {
    pub user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorCode>,
}

/// `token_expiring`, and the acknowledgement of `refresh_token`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpiresIn {
    pub expires_in_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    pub code: ErrorCode,
    pub reconnect: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
pub struct EventError<'a> {
    pub event: &'a str,
    pub error: ErrorBody,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    pub code: ErrorCode,
    pub message: Cow<'static, str>,
    pub retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

// === acknowledgements ===

/// `{ ok: true, … }`.
#[derive(Serialize)]
pub struct Accepted<T> {
    pub ok: bool,
    #[serde(flatten)]
    pub body: T,
}

/// `{ ok: false, error }`.
#[derive(Serialize)]
pub struct Refused {
    pub ok: bool,
    pub error: ErrorBody,
}

#[derive(Serialize)]
pub struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivered {
    pub delivered_at: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

#[derive(Serialize)]
pub struct PresenceSnapshot<'a> {
    pub presence: Vec<PresenceNotice<'a>>,
}
