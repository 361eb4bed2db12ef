//! What each client event does. The session calls [`Session::handle`] with one event after another.

use super::events::{
    Accepted, ClientEvent, Delivered, ErrorBody, ErrorCode, EventError, ExpiresIn,
    GroupEventNotice, InChat, NewMessage, Nothing, PresenceNotice, PresenceSnapshot, ReceiptNotice,
    RefreshToken, Refused, SendGroupEvent, SendMessage, SendReceipt, ServerEvent, SetAppState,
    TypingNotice, Watch,
};
use super::mailbox::{End, Envelope};
use super::presence::notice;
use super::rooms;
use super::session::Session;
use crate::domain::ids::{ChatId, MAX_ID_CHARS, UserId};
use crate::domain::message::{ClientMessageId, GroupEventType, MessageIds, Verdict};
use crate::services::ports::{AccessDecision, VerifyError, Visible};
use crate::telemetry::metrics::{Outcome, Volatile};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use socketioxide::extract::AckSender;
use std::borrow::Cow;
use std::collections::HashSet;
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
        let Ok(Frame { name, payload }) = serde_json::from_str::<Frame<'_>>(&frame) else {
            self.bridge.metrics.events_unknown.inc();
            return;
        };
        let Some(event) = ClientEvent::parse(&name) else {
            self.bridge.metrics.events_unknown.inc();
            // Without an acknowledgement nobody asked; an `event_error` would be an amplifier.
            if wants_ack {
                self.acknowledge(
                    ack,
                    &refused(Refusal::new(ErrorCode::UnknownEvent, "no such event")),
                );
            }
            return;
        };
        match event {
            // The one event whose handling must not keep a future of its own: it is most of the traffic.
            ClientEvent::SendMessage => match self
                .admit(payload)
                .and_then(|()| self.send_message(payload))
            {
                Ok(delivered) => self.accept(ack, wants_ack, &accepted(delivered)),
                Err(refusal) => self.refuse(ack, wants_ack, event, refusal),
            },
            _ => Box::pin(self.handle_other(event, payload, ack, wants_ack)).await,
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
        let handled = match self.admit(payload) {
            Err(refusal) => Err(refusal),
            Ok(()) => match event {
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
            },
        };
        match handled {
            Ok(Reply::Nothing) => self.accept(ack, wants_ack, &accepted(Nothing {})),
            Ok(Reply::Delivered(delivered)) => self.accept(ack, wants_ack, &accepted(delivered)),
            Ok(Reply::Presence(presence)) => {
                self.accept(ack, wants_ack, &accepted(PresenceSnapshot { presence }))
            }
            Ok(Reply::ExpiresIn(expires)) => self.accept(ack, wants_ack, &accepted(expires)),
            Err(refusal) => self.refuse(ack, wants_ack, event, refusal),
        }
    }

    /// Size and rate, before the payload is looked at.
    fn admit(&mut self, payload: &RawValue) -> Result<(), Refusal> {
        let limits = &self.bridge.limits;
        if payload.get().len() > limits.message_size {
            let message = format!("the payload is larger than {} bytes", limits.message_size);
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        self.bucket
            .take(&limits.quota, self.bridge.clock.instant())
            .map_err(|retry_after| Refusal {
                retry_after: Some(retry_after),
                ..Refusal::new(ErrorCode::RateLimited, "too many events")
            })
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
        match self.joined.iter().find(|joined| joined.as_str() == chat) {
            Some(joined) => Ok(joined.clone()),
            None => {
                parse_chat(chat)?;
                Err(Refusal::new(ErrorCode::NotJoined, "join the chat first"))
            }
        }
    }

    // === chats ===

    async fn join_chat<'a>(&mut self, payload: &RawValue, named: &'a mut Named) -> Handled<'a> {
        let chat = parse_chat(&parse::<InChat<'_>>(payload)?.chat_id)?;
        let bridge = &self.bridge;
        let again = self.joined.contains(&chat);
        if !again && self.joined.len() >= bridge.limits.chats_per_connection {
            let message = format!(
                "at most {} chats can be joined at once",
                bridge.limits.chats_per_connection
            );
            return Err(Refusal::new(ErrorCode::TooManyChats, message));
        }
        match bridge.access.may_join(&self.user, &chat).await {
            AccessDecision::Allowed => {}
            AccessDecision::Forbidden => {
                return Err(Refusal::new(
                    ErrorCode::Forbidden,
                    "not a member of this chat",
                ));
            }
            AccessDecision::Unavailable => {
                return Err(Refusal::new(
                    ErrorCode::Unavailable,
                    "membership cannot be checked now",
                ));
            }
        }
        let now = bridge.clock.instant();
        let most_others = bridge.limits.presence_max_room;
        let found = bridge.chats.join(&self.user, &chat, now, most_others);
        if again {
            bridge.chats.leave(&self.user, &chat);
        } else {
            self.socket.join(rooms::chat(&chat));
            self.joined.push(chat.clone());
        }
        if found.arrived && found.connections <= most_others {
            // Watchers have heard it already, when the user came online.
            let to = self
                .socket
                .to(rooms::chat(&chat))
                .except(vec![rooms::user(&self.user), rooms::watchers(&self.user)]);
            let event = (ServerEvent::Presence, Volatile::Presence);
            rooms::relay_volatile(
                to,
                event,
                &notice(&self.user, Visible::Online),
                &bridge.metrics,
            );
        }
        named.users = found.others;
        Ok(Reply::Presence(
            named
                .users
                .iter()
                .map(|other| notice(other, Visible::Online))
                .collect(),
        ))
    }

    fn leave_chat(&mut self, payload: &RawValue) -> Handled<'static> {
        let chat = parse_chat(&parse::<InChat<'_>>(payload)?.chat_id)?;
        if let Some(place) = self.joined.iter().position(|joined| *joined == chat) {
            self.stop_typing_in(&chat);
            self.joined.swap_remove(place);
            self.socket.leave(rooms::chat(&chat));
            self.bridge.chats.leave(&self.user, &chat);
        }
        Ok(Reply::Nothing)
    }

    fn send_message(&mut self, payload: &RawValue) -> Result<Delivered, Refusal> {
        let sent: SendMessage<'_> = parse(payload)?;
        let chat = self.joined_chat(&sent.chat_id)?;
        let bridge = &self.bridge;
        let now = bridge.clock.now();
        if let Some(id) = &sent.client_message_id {
            let id = ClientMessageId::parse(id).map_err(|error| Refusal::payload(&error))?;
            if let Verdict::Duplicate { delivered_at } =
                bridge.messages.accept(&self.user, &chat, &id, now)
            {
                bridge.metrics.messages_duplicate.inc();
                return Ok(Delivered {
                    delivered_at: delivered_at.0,
                    duplicate: true,
                });
            }
        }
        self.stop_typing_in(&chat);
        let message = NewMessage {
            chat_id: chat.as_str(),
            message: sent.message,
            sender_id: self.user.as_str(),
            delivered_at: now.unix.0,
            client_message_id: sent.client_message_id.as_deref(),
        };
        rooms::relay(
            self.socket.to(rooms::chat(&chat)),
            ServerEvent::NewMessage,
            &message,
        );
        bridge.metrics.messages.inc();
        Ok(Delivered {
            delivered_at: now.unix.0,
            duplicate: false,
        })
    }

    fn receipt(&mut self, payload: &RawValue) -> Handled<'static> {
        let sent: SendReceipt<'_> = parse(payload)?;
        let chat = self.joined_chat(&sent.chat_id)?;
        let message_ids =
            MessageIds::parse(sent.message_ids).map_err(|error| Refusal::payload(&error))?;
        let receipt = ReceiptNotice {
            chat_id: chat.as_str(),
            message_ids: message_ids.as_slice(),
            kind: sent.kind,
            user_id: self.user.as_str(),
        };
        let to = self.socket.to(rooms::chat(&chat));
        rooms::relay_volatile(
            to,
            (ServerEvent::Receipt, Volatile::Receipt),
            &receipt,
            &self.bridge.metrics,
        );
        Ok(Reply::Nothing)
    }

    fn group_event(&mut self, payload: &RawValue) -> Handled<'static> {
        let sent: SendGroupEvent<'_> = parse(payload)?;
        let chat = self.joined_chat(&sent.chat_id)?;
        let kind = GroupEventType::parse(&sent.kind).map_err(|error| Refusal::payload(&error))?;
        let delivered_at = self.bridge.clock.unix().0;
        let event = GroupEventNotice {
            chat_id: chat.as_str(),
            kind: kind.as_str(),
            data: sent.data,
            user_id: self.user.as_str(),
            delivered_at,
        };
        rooms::relay(
            self.socket.to(rooms::chat(&chat)),
            ServerEvent::GroupEvent,
            &event,
        );
        Ok(Reply::Delivered(Delivered {
            delivered_at,
            duplicate: false,
        }))
    }

    // === typing ===

    fn start_typing(&mut self, payload: &RawValue) -> Handled<'static> {
        let chat = self.joined_chat(&parse::<InChat<'_>>(payload)?.chat_id)?;
        self.bridge.typing.start(&chat, &self.user, self.id, || {
            self.relay_typing(ServerEvent::Typing, &chat)
        });
        Ok(Reply::Nothing)
    }

    fn stop_typing(&mut self, payload: &RawValue) -> Handled<'static> {
        let chat = self.joined_chat(&parse::<InChat<'_>>(payload)?.chat_id)?;
        self.stop_typing_in(&chat);
        Ok(Reply::Nothing)
    }

    /// Ends this connection's typing lease in the chat, if it holds one.
    pub(super) fn stop_typing_in(&self, chat: &ChatId) {
        self.bridge.typing.stop(chat, &self.user, self.id, || {
            self.relay_typing(ServerEvent::StopTyping, chat)
        });
    }

    fn relay_typing(&self, event: ServerEvent, chat: &ChatId) {
        let to = self
            .socket
            .to(rooms::chat(chat))
            .except(rooms::user(&self.user));
        let payload = TypingNotice {
            chat_id: chat.as_str(),
            user_id: self.user.as_str(),
        };
        rooms::relay_volatile(
            to,
            (event, Volatile::Typing),
            &payload,
            &self.bridge.metrics,
        );
    }

    // === presence of others ===

    async fn watch<'a>(&mut self, payload: &RawValue, named: &'a mut Named) -> Handled<'a> {
        let limit = self.bridge.limits.watched_users;
        let names = parse::<Watch>(payload)?.user_ids;
        if names.len() > limit {
            return Err(too_many_watched(limit));
        }
        let mut once = HashSet::new();
        for name in names {
            match UserId::parse(&name) {
                Ok(user) if once.insert(user.clone()) => named.users.push(user),
                Ok(_) => {}
                Err(_) => named.broken.push(name.chars().take(MAX_ID_CHARS).collect()),
            }
        }
        let fresh: Vec<UserId> = named
            .users
            .iter()
            .filter(|user| !self.watched.contains(user))
            .cloned()
            .collect();
        if self.watched.len() + fresh.len() > limit {
            return Err(too_many_watched(limit));
        }
        // First listen, then look: a change in between is heard rather than missed.
        for user in &fresh {
            self.socket.join(rooms::watchers(user));
        }
        self.watched.extend(fresh);
        let seen = self.bridge.presence.look(named.users.clone()).await;
        let seen = named
            .users
            .iter()
            .zip(seen)
            .map(|(user, visible)| notice(user, visible));
        let broken = named.broken.iter().map(|name| PresenceNotice {
            user_id: name,
            online: None,
            last_seen: None,
            error: Some(ErrorCode::InvalidPayload),
        });
        Ok(Reply::Presence(seen.chain(broken).collect()))
    }

    fn unwatch(&mut self, payload: &RawValue) -> Handled<'static> {
        let names = parse::<Watch>(payload)?.user_ids;
        let gone: HashSet<&str> = names.iter().map(String::as_str).collect();
        self.watched.retain(|user| {
            let stays = !gone.contains(user.as_str());
            if !stays {
                self.socket.leave(rooms::watchers(user));
            }
            stays
        });
        Ok(Reply::Nothing)
    }

    // === the token ===

    async fn refresh_token(&mut self, payload: &RawValue) -> Handled<'static> {
        let token = parse::<RefreshToken>(payload)?.token;
        let identity = self
            .bridge
            .verify
            .verify(&token)
            .await
            .map_err(|error| match error {
                VerifyError::Expired => {
                    Refusal::new(ErrorCode::TokenExpired, "the token has expired")
                }
                VerifyError::Invalid => {
                    Refusal::new(ErrorCode::Unauthorized, "the token is not valid")
                }
                VerifyError::Unavailable => {
                    Refusal::new(ErrorCode::Unavailable, "tokens cannot be verified now")
                }
            })?;
        if identity.user != self.user {
            // A connection has one identity for life.
            self.mailbox.close(End::Closed(ErrorCode::Unauthorized));
            return Err(Refusal::new(
                ErrorCode::Unauthorized,
                "the token is another user's",
            ));
        }
        self.expires_at = identity.expires_at;
        Ok(Reply::ExpiresIn(ExpiresIn {
            expires_in_ms: self.expires_in_ms(),
        }))
    }
}

fn too_many_watched(limit: usize) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidPayload,
        format!("at most {limit} users can be watched"),
    )
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
