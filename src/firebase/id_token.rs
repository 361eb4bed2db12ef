//! Who is it? Verifies Firebase ID tokens; nothing else in the house looks into one.
//!
//! Stricter than Google's own SDKs: they accept a token without `exp`, or one from the future.
//! The order is by cost: size, form, header, claims, signature; the time of expiry comes last,
//! because only of a genuine token may we say that it *has expired*. The client hears one of the
//! three words of [`VerifyError`]; the precise reason goes to the metrics and the debug log.

use super::json::{Object, WrongType};
use super::jwt::{Parts, Refusal, decode, refusal};
use super::key_set::PublicKey;
use super::keys::{Keys, Lookup};
use crate::clock::Clock;
use crate::domain::ids::{MAX_ID_CHARS, UserId};
use crate::domain::time::UnixMillis;
use crate::services::ports::{BoxFuture, Identity, Verify, VerifyError};
use crate::telemetry::metrics::{Metrics, TokenFault};
use aws_lc_rs::digest;
use moka::Expiry;
use moka::future::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A longer token is refused unread; real ones have about 1 KiB.
pub const MAX_TOKEN_BYTES: usize = 4 * 1024;
pub const MAX_LEEWAY: Duration = Duration::from_mins(5);
/// 10000-01-01T00:00:00Z in Unix seconds: no time in a token is so late.
const YEAR_10000: f64 = 253_402_300_800.0;
/// How many verified tokens are remembered.
const REMEMBERED_TOKENS: u64 = 100_000;

/// What a token has to say besides being genuine.
#[derive(Clone, Debug)]
pub struct Rules {
    pub project_id: String,
    /// How far the clocks of Google, the client and the bridge may be apart; at most [`MAX_LEEWAY`].
    pub leeway: Duration,
    pub tenant: TenantPolicy,
}

/// Which tenants (Identity Platform) a token may come from. A uid is unique in its tenant only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TenantPolicy {
    /// None: users of the project itself.
    #[default]
    None,
    /// This one.
    Require(String),
    /// All, and the operator sees to it that uids are unique across them.
    Any,
}

/// Verifies ID tokens of one project.
#[derive(Debug)]
pub struct Verifier {
    proof: Proof,
    project_id: String,
    issuer: String,
    leeway_ms: u64,
    tenant: TenantPolicy,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// What makes a token genuine. Unsigned tokens have no way into `Signature`: the two variants
/// read headers with functions of their own.
#[derive(Debug)]
enum Proof {
    Signature {
        keys: Keys,
        /// Tokens whose signature was found good, by their SHA-256, until they expire: a storm of
        /// reconnects costs no signatures. One counts only while its key is still listed.
        verified: Cache<[u8; 32], Verified>,
    },
    /// The Auth emulator signs nothing.
    Emulator,
}

#[derive(Clone, Debug)]
struct Verified {
    identity: Identity,
    key_id: Arc<str>,
    /// How long the memory is of use, counted from the verification.
    remember: Duration,
}

struct UntilExpiry;

impl Expiry<[u8; 32], Verified> for UntilExpiry {
    fn expire_after_create(&self, _: &[u8; 32], token: &Verified, _: Instant) -> Option<Duration> {
        Some(token.remember)
    }
}

impl From<Refusal> for VerifyError {
    fn from(refusal: Refusal) -> Self {
        match refusal.fault {
            TokenFault::Expired => Self::Expired,
            TokenFault::Keys => Self::Unavailable,
            TokenFault::Size
            | TokenFault::Format
            | TokenFault::Algorithm
            | TokenFault::KeyId
            | TokenFault::Signature
            | TokenFault::Audience
            | TokenFault::Issuer
            | TokenFault::Subject
            | TokenFault::Time
            | TokenFault::Tenant
            | TokenFault::Claims => Self::Invalid,
        }
    }
}

impl Verify for Verifier {
    fn verify<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Identity, VerifyError>> {
        Box::pin(async move {
            self.judge(token).await.map_err(|refusal| {
                let fault = refusal.fault;
                self.metrics
                    .token_refused
                    .get_or_create(&fault.into())
                    .inc();
                tracing::debug!(reason = fault.as_str(), why = refusal.why, "token refused");
                refusal.into()
            })
        })
    }
}

impl Verifier {
    /// Accepts tokens with a signature of one of `keys`.
    pub fn production(rules: Rules, keys: Keys, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let verified = Cache::builder()
            .max_capacity(REMEMBERED_TOKENS)
            .expire_after(UntilExpiry)
            .build();
        Self::new(Proof::Signature { keys, verified }, rules, clock, metrics)
    }

    /// Accepts the unsigned tokens of the Auth emulator and no others. Whoever can reach the
    /// bridge can be anybody: settings allow this for demo projects only.
    pub fn emulator(rules: Rules, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self::new(Proof::Emulator, rules, clock, metrics)
    }

    fn new(proof: Proof, rules: Rules, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let leeway = rules.leeway.min(MAX_LEEWAY);
        Self {
            proof,
            issuer: format!("https://securetoken.google.com/{}", rules.project_id),
            project_id: rules.project_id,
            leeway_ms: u64::try_from(leeway.as_millis()).unwrap_or(u64::MAX),
            tenant: rules.tenant,
            clock,
            metrics,
        }
    }

    async fn judge(&self, token: &str) -> Result<Identity, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refusal(TokenFault::Size, "longer than any real token"));
        }
        match &self.proof {
            Proof::Signature { keys, verified } => self.judge_signed(token, keys, verified).await,
            Proof::Emulator => self.judge_unsigned(token),
        }
    }

    async fn judge_signed(
        &self,
        token: &str,
        keys: &Keys,
        verified: &Cache<[u8; 32], Verified>,
    ) -> Result<Identity, Refusal> {
        let hash = sha256(token);
        if let Some(seen) = verified.get(&hash).await
            && keys.at_hand(&seen.key_id).await.is_some()
        {
            return self.unless_expired(seen.identity);
        }
        let parts = Parts::split(token)?;
        let key_id = parts.signed_header()?;
        let identity = self.check_claims(&parts)?;
        let current = self.unless_expired(identity.clone());
        let key = if current.is_ok() {
            find_key(keys, &key_id).await?
        } else if let Some(key) = keys.at_hand(&key_id).await {
            key
        } else {
            // Nothing is worth a fetch here: a fresh token is the client's way on, whoever signed this one.
            return current;
        };
        if !parts.is_signed_by(&key) {
            return Err(refusal(TokenFault::Signature, "signature does not match"));
        }
        let identity = current?;
        let seen = Verified {
            remember: self.time_left(&identity),
            identity: identity.clone(),
            key_id: Arc::clone(&key.id),
        };
        verified.insert(hash, seen).await;
        Ok(identity)
    }

    fn judge_unsigned(&self, token: &str) -> Result<Identity, Refusal> {
        let parts = Parts::split(token)?;
        parts.unsigned_header()?;
        self.unless_expired(self.check_claims(&parts)?)
    }

    /// Everything but the expiry.
    fn check_claims(&self, parts: &Parts<'_>) -> Result<Identity, Refusal> {
        let payload = decode(parts.payload)?;
        let claims = Object::parse(&payload).map_err(|_| {
            refusal(
                TokenFault::Format,
                "payload is not an object of unique names",
            )
        })?;
        if claims.text("aud") != Ok(Some(self.project_id.as_str().into())) {
            return Err(refusal(TokenFault::Audience, "not for this project"));
        }
        if claims.text("iss") != Ok(Some(self.issuer.as_str().into())) {
            return Err(refusal(
                TokenFault::Issuer,
                "not an ID token of this project",
            ));
        }
        let user = subject(&claims)?;
        let latest = self.clock.unix().0.saturating_add(self.leeway_ms);
        for (name, required) in [("iat", true), ("auth_time", true), ("nbf", false)] {
            match time(&claims, name)? {
                Some(at) if at.0 > latest => {
                    return Err(refusal(TokenFault::Time, "from the future"));
                }
                None if required => {
                    return Err(refusal(TokenFault::Claims, "a time is missing"));
                }
                Some(_) | None => {}
            }
        }
        let expires_at =
            time(&claims, "exp")?.ok_or(refusal(TokenFault::Claims, "exp is missing"))?;
        self.check_tenant(&claims)?;
        Ok(Identity { user, expires_at })
    }

    fn check_tenant(&self, claims: &Object<'_>) -> Result<(), Refusal> {
        let wrong = |_: WrongType| refusal(TokenFault::Claims, "firebase claim of the wrong type");
        let firebase: Option<Object<'_>> = claims.get("firebase").map_err(wrong)?;
        let tenant = match &firebase {
            Some(firebase) => firebase.text("tenant").map_err(wrong)?,
            None => None,
        };
        let fits = match &self.tenant {
            TenantPolicy::None => tenant.is_none(),
            TenantPolicy::Require(id) => tenant.is_some_and(|tenant| tenant == id.as_str()),
            TenantPolicy::Any => true,
        };
        fits.then_some(())
            .ok_or(refusal(TokenFault::Tenant, "of another tenant"))
    }

    fn unless_expired(&self, identity: Identity) -> Result<Identity, Refusal> {
        if self.time_left(&identity).is_zero() {
            Err(refusal(TokenFault::Expired, "expired"))
        } else {
            Ok(identity)
        }
    }

    /// A token is valid while `now < exp + leeway`.
    fn time_left(&self, identity: &Identity) -> Duration {
        let end = identity.expires_at.0.saturating_add(self.leeway_ms);
        Duration::from_millis(end.saturating_sub(self.clock.unix().0))
    }
}

async fn find_key(keys: &Keys, id: &str) -> Result<Arc<PublicKey>, Refusal> {
    match keys.find(id).await {
        Lookup::Found(key) => Ok(key),
        Lookup::Unknown => Err(refusal(TokenFault::KeyId, "key is not listed")),
        Lookup::Unavailable => Err(refusal(TokenFault::Keys, "keys cannot be had")),
    }
}

/// The uid. Firebase counts its 128 characters as Node does, in UTF-16 units, so that 65 emoji
/// are too many: a longer `sub` cannot be a uid that Firebase gave out.
fn subject(claims: &Object<'_>) -> Result<UserId, Refusal> {
    const BAD: Refusal = refusal(TokenFault::Subject, "sub is not a uid");
    let sub = claims.text("sub").map_err(|_| BAD)?.ok_or(BAD)?;
    if sub.encode_utf16().count() > MAX_ID_CHARS {
        return Err(BAD);
    }
    UserId::parse(&sub).map_err(|_| BAD)
}

/// A time in Unix seconds, whole or not.
fn time(claims: &Object<'_>, name: &str) -> Result<Option<UnixMillis>, Refusal> {
    const BAD: Refusal = refusal(TokenFault::Claims, "a time is not a number of this era");
    let Some(seconds) = claims.get::<f64>(name).map_err(|_| BAD)? else {
        return Ok(None);
    };
    if !(0.0..YEAR_10000).contains(&seconds) {
        return Err(BAD);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked above; below a millisecond nothing counts"
    )]
    let millis = (seconds * 1000.0) as u64;
    Ok(Some(UnixMillis(millis)))
}

fn sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests;
