//! What concerns people: whom a connection watches, and who its own user is.

use super::{Handled, Named, Refusal, Reply, parse};
use crate::domain::ids::{MAX_ID_CHARS, UserId};
use crate::services::ports::VerifyError;
use crate::socket::events::{ErrorCode, ExpiresIn, PresenceNotice, RefreshToken, Watch};
use crate::socket::mailbox::End;
use crate::socket::presence::notice;
use crate::socket::rooms;
use crate::socket::session::Session;
use crate::socket::term::Term;
use std::collections::HashSet;

impl Session {
    pub(super) async fn watch<'a>(&mut self, payload: &str, named: &'a mut Named) -> Handled<'a> {
        let limit = self.bridge.limits.watched_users;
        let asked = parse::<Watch>(payload)?.user_ids;
        if asked.len() > limit {
            return Err(too_many_watched(limit));
        }
        let mut once = HashSet::new();
        for name in asked {
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

    pub(super) fn unwatch(&mut self, payload: &str) -> Handled<'static> {
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

    pub(super) async fn refresh_token(&mut self, payload: &str) -> Handled<'static> {
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
        let (leeway, now) = (self.bridge.limits.auth_leeway, self.bridge.clock.now());
        self.term = self.term.renewed_by(Term::of(&identity, leeway, now));
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
