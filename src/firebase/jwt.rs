//! The form of a JSON Web Token: three segments, a header, a signature. What it claims is read elsewhere.

use super::json::Object;
use super::key_set::{PublicKey, is_key_id};
use crate::telemetry::metrics::TokenFault;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

/// The one algorithm of Firebase ID tokens. Never taken from a header.
const ALGORITHM: &str = "RS256";

/// Why a token is refused: a label for the metrics, a sentence for the debug log. Holds nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) fault: TokenFault,
    pub(super) why: &'static str,
}

pub(super) const fn refusal(fault: TokenFault, why: &'static str) -> Refusal {
    Refusal { fault, why }
}

pub(super) fn decode(segment: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(segment)
        .map_err(|_| refusal(TokenFault::Format, "not base64url"))
}

/// The three segments of a token, undecoded.
pub(super) struct Parts<'a> {
    header: &'a str,
    pub(super) payload: &'a str,
    signature: &'a str,
    /// What the signature is over: header, dot, payload.
    message: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, Refusal> {
        let mut segments = token.splitn(4, '.');
        match (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) {
            (Some(header), Some(payload), Some(signature), None) => Ok(Self {
                header,
                payload,
                signature,
                message: &token[..header.len() + 1 + payload.len()],
            }),
            _ => Err(refusal(TokenFault::Format, "not three segments")),
        }
    }

    /// The key id of a header that announces our algorithm. Where the key is to be had is not for
    /// the token to say: `jku`, `x5u`, `jwk` and `x5c` are not looked at.
    pub(super) fn signed_header(&self) -> Result<String, Refusal> {
        const NO_KEY: Refusal = refusal(TokenFault::KeyId, "no usable key id");
        let header = decode(self.header)?;
        let header = header_of(&header)?;
        if header.text("alg") != Ok(Some(ALGORITHM.into())) {
            return Err(refusal(TokenFault::Algorithm, "not RS256"));
        }
        let id = header.text("kid").map_err(|_| NO_KEY)?.ok_or(NO_KEY)?;
        if is_key_id(&id) {
            Ok(id.into_owned())
        } else {
            Err(NO_KEY)
        }
    }

    /// The emulator announces `none` and leaves the third segment empty.
    pub(super) fn unsigned_header(&self) -> Result<(), Refusal> {
        let header = decode(self.header)?;
        if header_of(&header)?.text("alg") != Ok(Some("none".into())) {
            return Err(refusal(TokenFault::Algorithm, "not an emulator token"));
        }
        if !self.signature.is_empty() {
            return Err(refusal(TokenFault::Signature, "unsigned, yet a signature"));
        }
        Ok(())
    }

    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        jsonwebtoken::crypto::verify(
            self.signature,
            self.message.as_bytes(),
            &key.key,
            Algorithm::RS256,
        )
        .unwrap_or(false)
    }
}

fn header_of(json: &[u8]) -> Result<Object<'_>, Refusal> {
    let header = Object::parse(json).map_err(|_| {
        refusal(
            TokenFault::Format,
            "header is not an object of unique names",
        )
    })?;
    if header.has("crit") {
        // RFC 7515, 4.1.11: who does not understand an extension named here must refuse.
        return Err(refusal(
            TokenFault::Format,
            "crit names what we do not know",
        ));
    }
    Ok(header)
}
