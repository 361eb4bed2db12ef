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
use crate::telemetry::metrics::Outcome;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use socketioxide::extract::AckSender;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

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

    fn payload(error: &impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidPayload, error.to_string())
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

/// `["name", payload, …]`, the payload still as it came.
struct Frame<'a> {
    name: Cow<'a, str>,
    payload: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Frame<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Frame<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event name and a payload")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
                let Name(name) = seq
                    .next_element()?
                    .ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
                let payload = seq.next_element()?.unwrap_or(RawValue::NULL);
                // What follows (a stock client cannot send it by accident) is ignored.
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Frame { name, payload })
            }
        }
        deserializer.deserialize_seq(InOrder)
    }
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a RawValue) -> Result<T, Refusal> {
    serde_json::from_str(payload.get()).map_err(|error| Refusal::payload(&error))
}

fn parse_chat(text: &str) -> Result<ChatId, Refusal> {
    ChatId::parse(text)
        .map_err(|error| Refusal::new(ErrorCode::InvalidPayload, format!("chatId {error}")))
}

impl Session {
    pub(super) async fn handle(&mut self, envelope: Envelope) {
        let Envelope {
            frame,
            ack,
            wants_ack,
        } = envelope;
        let admitted = self.take_quota();
        let parsed = serde_json::from_str::<Frame<'_>>(&frame);
        let known = parsed
            .ok()
            .and_then(|frame| Some((ClientEvent::parse(&frame.name)?, frame)));
        let Some((event, Frame { payload, .. })) = known else {
            self.bridge.metrics.events_unknown.inc();
            // Without an acknowledgement nobody asked; an `event_error` would be an amplifier.
            if wants_ack {
                let unknown = || Refusal::new(ErrorCode::UnknownEvent, "no such event");
                self.acknowledge(ack, &refused(admitted.err().unwrap_or_else(unknown)));
            }
            return;
        };
        if let Err(refusal) = admitted.and_then(|()| self.check_size(payload)) {
            return self.refuse(ack, wants_ack, event, refusal);
        }
        // Most of the traffic; the others' future is boxed to keep an idle session small.
        if event == ClientEvent::SendMessage {
            match self.send_message(payload) {
                Ok(delivered) => self.accept(ack, wants_ack, &accepted(delivered)),
                Err(refusal) => self.refuse(ack, wants_ack, event, refusal),
            }
        } else {
            Box::pin(self.handle_other(event, payload, ack, wants_ack)).await;
        }
    }

    async fn handle_other(
        &mut self,
        event: ClientEvent,
        payload: &RawValue,
        ack: AckSender<rooms::Rooms>,
        wants_ack: bool,
    ) {
        let mut named = Named::default();
        let handled = match event {
            ClientEvent::JoinChat => self.join_chat(payload, &mut named).await,
            ClientEvent::LeaveChat => self.leave_chat(payload),
            ClientEvent::SendMessage => self.send_message(payload).map(Reply::Delivered),
            ClientEvent::Typing => self.start_typing(payload),
            ClientEvent::StopTyping => self.stop_typing(payload),
            ClientEvent::Receipt => self.receipt(payload),
            ClientEvent::GroupEvent => self.group_event(payload),
            ClientEvent::WatchPresence => self.watch(payload, &mut named).await,
            ClientEvent::UnwatchPresence => self.unwatch(payload),
            ClientEvent::AppState => parse::<SetAppState>(payload).map(|_| Reply::Nothing),
            ClientEvent::RefreshToken => self.refresh_token(payload).await,
        };
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
    fn take_quota(&mut self) -> Result<(), Refusal> {
        let now = self.bridge.clock.instant();
        self.bucket
            .take(&self.bridge.limits.quota, now)
            .map_err(|retry_after| Refusal {
                retry_after: Some(retry_after),
                ..Refusal::new(ErrorCode::RateLimited, "too many events")
            })
    }

    fn check_size(&self, payload: &RawValue) -> Result<(), Refusal> {
        let limit = self.bridge.limits.message_size;
        if payload.get().len() > limit {
            let message = format!("the payload is larger than {limit} bytes");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }

    fn accept(&self, ack: AckSender<rooms::Rooms>, wants_ack: bool, reply: &impl Serialize) {
        self.bridge
            .metrics
            .events
            .get_or_create(&Outcome::Ok.into())
            .inc();
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
        self.bridge
            .metrics
            .events
            .get_or_create(&Outcome::Refused.into())
            .inc();
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
