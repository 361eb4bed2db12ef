//! Who may join which chat. Today everybody may; the check against the app's own membership data
//! arrives with its own change and only has to answer [`Access`] differently.

use super::ports::{Access, AccessDecision, BoxFuture};
use crate::domain::ids::{ChatId, UserId};

/// `CHAT_ACCESS=open`: every signed-in user may join every chat whose id they know.
#[derive(Clone, Copy, Debug)]
pub struct OpenAccess;

impl Access for OpenAccess {
    fn may_join<'a>(
        &'a self,
        _user: &'a UserId,
        _chat: &'a ChatId,
    ) -> BoxFuture<'a, AccessDecision> {
        Box::pin(async { AccessDecision::Allowed })
    }
}
