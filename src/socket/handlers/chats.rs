//! What is said in a chat: joining, leaving, messages, receipts, group events, typing.

use super::{Handled, Named, Refusal, Reply, parse, parse_chat};
use crate::domain::ids::ChatId;
use crate::domain::message::{ClientMessageId, GroupEventType, MessageIds, Verdict};
use crate::domain::time::Moment;
use crate::services::ports::{AccessDecision, Visible};
use crate::socket::events::{
    Delivered, ErrorCode, GroupEventNotice, InChat, NewMessage, ReceiptNotice, SendGroupEvent,
    SendMessage, SendReceipt, ServerEvent, TypingNotice,
};
use crate::socket::presence::notice;
use crate::socket::rooms;
use crate::socket::session::Session;
use crate::telemetry::metrics::Volatile;

impl Session {
    pub(super) async fn join_chat<'a>(
        &mut self,
        payload: &str,
        named: &'a mut Named,
    ) -> Handled<'a> {
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
        // First listen, then look: of two who join at once, the later one is heard by the earlier.
        if !again {
            self.socket.join(rooms::chat(&chat));
            self.joined.push(chat.clone());
        }
        let now = bridge.clock.instant();
        let most_others = bridge.limits.presence_max_room;
        let found = bridge.chats.join(&self.user, &chat, now, most_others);
        if again {
            bridge.chats.leave(&self.user, &chat);
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

    pub(super) fn leave_chat(&mut self, payload: &str) -> Handled<'static> {
        let chat = parse_chat(&parse::<InChat<'_>>(payload)?.chat_id)?;
        if let Some(place) = self.joined.iter().position(|joined| *joined == chat) {
            self.stop_typing_in(&chat);
            self.joined.swap_remove(place);
            self.socket.leave(rooms::chat(&chat));
            self.bridge.chats.leave(&self.user, &chat);
        }
        Ok(Reply::Nothing)
    }

    pub(super) fn send_message(
        &mut self,
        payload: &str,
        now: Moment,
    ) -> Result<Delivered, Refusal> {
        let sent: SendMessage<'_> = parse(payload)?;
        let chat = self.joined_chat(&sent.chat_id)?;
        let bridge = &self.bridge;
        if let Some(id) = &sent.client_message_id {
            let id = ClientMessageId::parse(id)
                .map_err(|error| Refusal::field("clientMessageId", &error))?;
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

    pub(super) fn receipt(&mut self, payload: &str) -> Handled<'static> {
        let sent: SendReceipt<'_> = parse(payload)?;
        let chat = self.joined_chat(&sent.chat_id)?;
        let message_ids = MessageIds::parse(sent.message_ids)
            .map_err(|error| Refusal::field("messageIds", &error))?;
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

    pub(super) fn group_event(&mut self, payload: &str) -> Handled<'static> {
        let sent: SendGroupEvent<'_> = parse(payload)?;
        let chat = self.joined_chat(&sent.chat_id)?;
        let kind =
            GroupEventType::parse(&sent.kind).map_err(|error| Refusal::field("type", &error))?;
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

    pub(super) fn start_typing(&mut self, payload: &str) -> Handled<'static> {
        let chat = self.joined_chat(&parse::<InChat<'_>>(payload)?.chat_id)?;
        self.bridge.typing.start(&chat, &self.user, self.id, || {
            self.relay_typing(ServerEvent::Typing, &chat);
        });
        Ok(Reply::Nothing)
    }

    pub(super) fn stop_typing(&mut self, payload: &str) -> Handled<'static> {
        let chat = self.joined_chat(&parse::<InChat<'_>>(payload)?.chat_id)?;
        self.stop_typing_in(&chat);
        Ok(Reply::Nothing)
    }

    /// Ends this connection's typing lease in the chat, if it holds one.
    pub(in crate::socket) fn stop_typing_in(&self, chat: &ChatId) {
        self.bridge.typing.stop(chat, &self.user, self.id, || {
            self.relay_typing(ServerEvent::StopTyping, chat);
        });
    }

    pub(super) fn relay_typing(&self, event: ServerEvent, chat: &ChatId) {
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
}
