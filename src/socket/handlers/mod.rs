//! What each client event does. The session calls [`Session::handle`] with one event after another.

mod chats;
mod people;

use super::events::{
    Accepted, ClientEvent, Delivered, ErrorBody, ErrorCode, EventError, ExpiresIn, Nothing,
    PresenceNotice, PresenceSnapshot, Refused, ServerEvent, SetAppState,
};
use super::mailbox::{End, Envelope};
use super::rooms;
use super::session::Session;
use crate::domain::ids::{ChatId, UserId};
use serde::{Deserialize, Serialize};
use socketioxide::extract::AckSender;
use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

/// Deeper than any app's message. A parser that recurses (the Java client's) dies of thousands of levels,
/// and with it the app of everybody in the chat.
const MAX_NESTING: usize = 64;

/// Why an event was refused; becomes the error of its acknowledgement or an `event_error`.
pub(super) struct Refusal {
    code: ErrorCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
        }
    }

    fn field(name: &str, error: &impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidPayload, format!("{name} {error}"))
    }

    fn into_body(self) -> ErrorBody {
        ErrorBody {
            code: self.code,
            message: self.message,
            retryable: self.code.retryable(),
            retry_after_ms: self
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1)),
        }
    }
}

/// What the acknowledgement says on success.
enum Reply<'a> {
    Nothing,
    Delivered(Delivered),
    Presence(Vec<PresenceNotice<'a>>),
    ExpiresIn(ExpiresIn),
}

/// Whom a reply names; outlives it.
#[derive(Default)]
struct Named {
    users: Vec<UserId>,
    /// What was given as a user id and cannot be one.
    broken: Vec<String>,
}

type Handled<'a> = Result<Reply<'a>, Refusal>;

/// The event and its payload; `None` for what the protocol does not have.
///
/// socketioxide has parsed the frame as a whole to find its handler (`socket.rs`, `recv_event`), so a frame
/// as every client writes it is only cut here: the payload is most of it, and is parsed once more anyway.
fn read(frame: &str) -> Option<(ClientEvent, &str)> {
    let name = frame.strip_prefix('[')?.trim_start().strip_prefix('"')?;
    let (name, rest) = name.split_once('"')?;
    // Escapes are legal in any string. One of a quote ends the name early, and no event has such a name.
    let name = if name.contains('\\') {
        Cow::Owned(serde_json::from_str(&format!("\"{name}\"")).ok()?)
    } else {
        Cow::Borrowed(name)
    };
    let rest = rest.trim_end().strip_suffix(']')?;
    let payload = rest.trim_start().strip_prefix(',').unwrap_or("null");
    Some((ClientEvent::parse(&name)?, payload.trim()))
}

/// Is anything in this JSON text nested deeper than [`MAX_NESTING`]?
fn is_too_deep(json: &str) -> bool {
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    // Nearly every message: counted many bytes at a time, without a look at what is a string.
    if json.as_bytes().iter().filter(|byte| opening(byte)).count() <= MAX_NESTING {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    json.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_NESTING
    })
}

/// What follows the payload (a stock client cannot send it by accident) is ignored.
fn parse<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_str(payload);
    T::deserialize(&mut reader)
        .map_err(|error| Refusal::new(ErrorCode::InvalidPayload, error.to_string()))
}

fn parse_chat(text: &str) -> Result<ChatId, Refusal> {
    ChatId::parse(text).map_err(|error| Refusal::field("chatId", &error))
}

impl Session {
    /// Handles an event that needs no waiting; gives back one that does, already admitted.
    pub(super) fn handle(&mut self, envelope: Envelope) -> Option<Envelope> {
        let now = self.bridge.clock.now();
        let admitted = self.take_quota(now.instant);
        let Some((event, payload)) = read(&envelope.frame) else {
            self.bridge.metrics.events_unknown.inc();
            // Without an acknowledgement nobody asked; an `event_error` would be an amplifier.
            if envelope.wants_ack {
                let unknown = || Refusal::new(ErrorCode::UnknownEvent, "no such event");
                let refusal = admitted.err().unwrap_or_else(unknown);
                self.acknowledge(envelope.ack, &refused(refusal));
            }
            return None;
        };
        let handled = match admitted.and_then(|()| self.check_form(payload)) {
            Err(refusal) => Err(refusal),
            Ok(()) => match event {
                ClientEvent::SendMessage => self.send_message(payload, now).map(Reply::Delivered),
                ClientEvent::LeaveChat => self.leave_chat(payload),
                ClientEvent::Typing => self.start_typing(payload),
                ClientEvent::StopTyping => self.stop_typing(payload),
                ClientEvent::Receipt => self.receipt(payload),
                ClientEvent::GroupEvent => self.group_event(payload),
                ClientEvent::UnwatchPresence => self.unwatch(payload),
                ClientEvent::AppState => parse::<SetAppState>(payload).map(|_| Reply::Nothing),
                ClientEvent::JoinChat | ClientEvent::WatchPresence | ClientEvent::RefreshToken => {
                    return Some(envelope);
                }
            },
        };
        self.answer(envelope.ack, envelope.wants_ack, event, handled);
        None
    }

    /// Handles an event that [`Session::handle`] gave back.
    pub(super) async fn handle_patiently(&mut self, envelope: Envelope) {
        let Some((event, payload)) = read(&envelope.frame) else {
            return;
        };
        let mut named = Named::default();
        let handled = if event == ClientEvent::JoinChat {
            self.join_chat(payload, &mut named).await
        } else if event == ClientEvent::WatchPresence {
            self.watch(payload, &mut named).await
        } else {
            self.refresh_token(payload).await
        };
        self.answer(envelope.ack, envelope.wants_ack, event, handled);
    }

    fn answer(
        &self,
        ack: AckSender<rooms::Rooms>,
        wants_ack: bool,
        event: ClientEvent,
        handled: Handled<'_>,
    ) {
        match handled {
            Ok(Reply::Nothing) => self.accept(ack, wants_ack, &accepted(Nothing {})),
            Ok(Reply::Delivered(delivered)) => self.accept(ack, wants_ack, &accepted(delivered)),
            Ok(Reply::Presence(presence)) => {
                self.accept(ack, wants_ack, &accepted(PresenceSnapshot { presence }));
            }
            Ok(Reply::ExpiresIn(expires)) => self.accept(ack, wants_ack, &accepted(expires)),
            Err(refusal) => self.refuse(ack, wants_ack, event, refusal),
        }
    }

    /// Every event counts, the unknown ones too.
    fn take_quota(&mut self, now: Instant) -> Result<(), Refusal> {
        self.bucket
            .take(&self.bridge.limits.quota, now)
            .map_err(|retry_after| Refusal {
                retry_after: Some(retry_after),
                ..Refusal::new(ErrorCode::RateLimited, "too many events")
            })
    }

    fn check_form(&self, payload: &str) -> Result<(), Refusal> {
        let limit = self.bridge.limits.message_size;
        if payload.len() > limit {
            let message = format!("the payload is larger than {limit} bytes");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        if is_too_deep(payload) {
            let message = format!("the payload is nested deeper than {MAX_NESTING} levels");
            return Err(Refusal::new(ErrorCode::InvalidPayload, message));
        }
        Ok(())
    }

    fn accept(&self, ack: AckSender<rooms::Rooms>, wants_ack: bool, reply: &impl Serialize) {
        self.bridge.accepted.inc();
        if wants_ack {
            self.acknowledge(ack, reply);
        }
    }

    fn refuse(
        &self,
        ack: AckSender<rooms::Rooms>,
        wants_ack: bool,
        event: ClientEvent,
        refusal: Refusal,
    ) {
        self.bridge.refused.inc();
        if wants_ack {
            self.acknowledge(ack, &refused(refusal));
        } else {
            self.emit(
                ServerEvent::EventError,
                &EventError {
                    event: event.as_str(),
                    error: refusal.into_body(),
                },
            );
        }
    }

    /// An acknowledgement that finds the send buffer full is as lost as a message.
    fn acknowledge(&self, ack: AckSender<rooms::Rooms>, reply: &impl Serialize) {
        if ack.send(reply).is_err() && self.socket.connected() {
            self.mailbox.close(End::Closed(ErrorCode::SlowConsumer));
        }
    }

    fn joined_chat(&self, chat: &str) -> Result<ChatId, Refusal> {
        if let Some(joined) = self.joined.iter().find(|joined| joined.as_str() == chat) {
            Ok(joined.clone())
        } else {
            parse_chat(chat)?;
            Err(Refusal::new(ErrorCode::NotJoined, "join the chat first"))
        }
    }
}

fn accepted<T>(body: T) -> Accepted<T> {
    Accepted { ok: true, body }
}

fn refused(refusal: Refusal) -> Refused {
    Refused {
        ok: false,
        error: refusal.into_body(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::InChat;
    use super::*;

    #[test]
    fn a_frame_is_cut_into_its_event_and_its_payload() {
        for (frame, payload) in [
            (r#"["typing",{"chatId":"x"}]"#, r#"{"chatId":"x"}"#),
            (r#"["typing" , {"chatId":"]"} ]"#, r#"{"chatId":"]"}"#),
            (r#"[ "typing",1]"#, "1"),
            (r#"["typing"]"#, "null"),
            (r#"["t\u0079ping",[1]]"#, "[1]"),
            (r#"["typing",1,2]"#, "1,2"),
        ] {
            assert_eq!(read(frame), Some((ClientEvent::Typing, payload)), "{frame}");
        }
        for frame in [
            r#"["no_such_event",{}]"#,
            r#"["typi\"ng",{}]"#,
            "[1]",
            "[]",
            "",
        ] {
            assert_eq!(read(frame), None, "{frame}");
        }
    }

    #[test]
    fn nesting_is_counted_outside_of_strings() {
        let nested = |levels: usize| "[".repeat(levels) + "{}" + &"]".repeat(levels);
        assert!(!is_too_deep(&nested(MAX_NESTING - 1)));
        assert!(is_too_deep(&nested(MAX_NESTING)));
        let many = format!("[{}]", vec!["{}"; MAX_NESTING * 2].join(","));
        let brackets = format!(r#"["{}\"{0}"]"#, "[".repeat(MAX_NESTING * 2));
        for shallow in [many, brackets] {
            assert!(!is_too_deep(&shallow), "{shallow}");
        }
    }

    #[test]
    fn a_refusal_speaks_of_the_payload_and_not_of_our_types() {
        for (payload, said) in [
            ("null", "invalid type: null, expected an object"),
            (
                r#"{"chatId":1}"#,
                "invalid type: integer `1`, expected a string",
            ),
            ("{}", "missing field `chatId`"),
        ] {
            let refusal = parse::<InChat<'_>>(payload).err();
            let message = refusal.map(|refusal| refusal.message).unwrap_or_default();
            assert!(message.starts_with(said), "{message}");
        }
        let refusal = parse_chat("").err();
        assert_eq!(
            refusal.map(|refusal| refusal.message).as_deref(),
            Some("chatId must not be empty")
        );
    }

    #[test]
    fn what_follows_the_payload_is_ignored() {
        assert_eq!(parse::<u8>("1,2").ok(), Some(1));
        assert!(parse::<u8>(r#""1",2"#).is_err());
    }
}
