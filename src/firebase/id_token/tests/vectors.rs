//! The table: one row for each way to be wrong, and for the few ways to be right. The numbers
//! are those of the survey of Google's SDKs, `J` those of the attack list.

use super::*;
use crate::mint::segment;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(super) type Verdict = Result<(), VerifyError>;
pub(super) type Row = (String, String, Verdict);

pub(super) const OK: Verdict = Ok(());
pub(super) const INVALID: Verdict = Err(VerifyError::Invalid);
pub(super) const EXPIRED: Verdict = Err(VerifyError::Expired);

pub(super) fn row(name: &str, token: impl Into<String>, verdict: Verdict) -> Row {
    (name.to_owned(), token.into(), verdict)
}

/// A row whose token differs from a good one by one claim.
pub(super) fn claim(name: &str, key: &str, value: Value, verdict: Verdict) -> Row {
    row(name, mint(&with(|claims| claims[key] = value)), verdict)
}

/// A row whose token lacks one claim of a good one.
pub(super) fn without(name: &str, key: &str, verdict: Verdict) -> Row {
    let claims = with(|claims| {
        claims.as_object_mut().unwrap().remove(key);
    });
    row(name, mint(&claims), verdict)
}

/// A row whose header differs from a good one (`null` removes a member); the signature is good.
pub(super) fn header(name: &str, change: &Value, verdict: Verdict) -> Row {
    let mut header = json!({ "alg": "RS256", "kid": "kid1", "typ": "JWT" });
    let members = header.as_object_mut().unwrap();
    members.extend(change.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    let token = keys()[0].sign(&header.to_string(), &alice().to_string());
    row(name, token, verdict)
}

/// A row whose payload is this text, signed as it stands.
pub(super) fn payload(name: &str, payload: &str, verdict: Verdict) -> Row {
    let token = keys()[0].sign(r#"{"alg":"RS256","kid":"kid1"}"#, payload);
    row(name, token, verdict)
}

/// A row with a claim spelled as JSON text that no JSON library would write.
pub(super) fn spelled(name: &str, key: &str, text: &str, verdict: Verdict) -> Row {
    let claims = with(|claims| claims[key] = json!("HERE")).to_string();
    payload(name, &claims.replace("\"HERE\"", text), verdict)
}

/// Alice's claims under any header, with an empty signature.
pub(super) fn bare(header: &str) -> String {
    format!("{}.{}.", segment(header), segment(&alice().to_string()))
}

/// Fails with the names of all rows whose verdict is another.
pub(super) async fn assert_verdicts(verifier: &Verifier, rows: impl IntoIterator<Item = Row>) {
    let mut wrong = Vec::new();
    for (name, token, verdict) in rows {
        let found = verifier.verify(&token).await.map(|_| ());
        if found != verdict {
            wrong.push(format!("{name}: {found:?} instead of {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[rustfmt::skip]
fn key_rows() -> Vec<Row> {
    let [one, two] = keys();
    let borrowed_id = two.sign(r#"{"alg":"RS256","kid":"kid1"}"#, &alice().to_string());
    let kid = |name: &str, kid: Value| header(name, &json!({ "kid": kid }), INVALID);
    vec![
        row("1 valid", one.mint(&alice()), OK),
        row("1 valid, second key", two.mint(&alice()), OK),
        kid("2 no kid", Value::Null),
        kid("3 empty kid", json!("")),
        kid("4 unknown kid", json!("kid9")),
        kid("4 kid __proto__", json!("__proto__")),
        kid("4 kid a path", json!("../../etc/passwd")),
        kid("4 kid a query", json!("' OR 1=1 --")),
        kid("4 kid with NUL", json!("kid1\0")),
        kid("4 kid a number", json!(7)),
        kid("4 kid an array", json!(["kid1"])),
        kid("4 kid of 129 characters", json!("k".repeat(129))),
        row("5 kid of the other key", borrowed_id, INVALID),
    ]
}

#[rustfmt::skip]
fn algorithm_rows() -> Vec<Row> {
    let [one, _] = keys();
    let claims = alice().to_string();
    let titled = |alg: &str| json!({ "alg": alg, "kid": "kid1" }).to_string();
    let hmac = |secret: &str| {
        let message = format!("{}.{}", segment(&titled("HS256")), segment(&claims));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    vec![
        row("6 alg none, kid, no signature", bare(&titled("none")), INVALID),
        row("6 alg none, no kid", unsigned(&alice()), INVALID),
        row("6 alg NONE", bare(&titled("NONE")), INVALID),
        row("J1 alg nOnE, no third segment", bare(&titled("nOnE")).trim_end_matches('.'), INVALID),
        row("7 HS256 with the modulus", hmac(one.jwk()["n"].as_str().unwrap()), INVALID),
        row("7 HS256 with the JWK", hmac(&one.jwk().to_string()), INVALID),
        row("7 HS256 with the PEM", hmac(&one.private_pem()), INVALID),
        row("8 RS384", one.sign_with(&RSA_PKCS1_SHA384, &titled("RS384"), &claims), INVALID),
        row("8 RS512", one.sign_with(&RSA_PKCS1_SHA512, &titled("RS512"), &claims), INVALID),
        row("8 PS256", one.sign_with(&RSA_PSS_SHA256, &titled("PS256"), &claims), INVALID),
        row("8 PS256 called RS256", one.sign_with(&RSA_PSS_SHA256, &titled("RS256"), &claims), INVALID),
        row("8 RS512 called RS256", one.sign_with(&RSA_PKCS1_SHA512, &titled("RS256"), &claims), INVALID),
        row("J3 ES256", one.sign(&titled("ES256"), &claims), INVALID),
        row("J3 EdDSA", one.sign(&titled("EdDSA"), &claims), INVALID),
        header("8 alg missing", &json!({ "alg": null }), INVALID),
        header("8 alg in lower case", &json!({ "alg": "rs256" }), INVALID),
        header("8 alg an array", &json!({ "alg": ["RS256"] }), INVALID),
    ]
}

#[rustfmt::skip]
fn form_rows() -> Vec<Row> {
    let good = mint(&alice());
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let other = segment(&with(|c| c["sub"] = json!("mallory")).to_string());
    let nested = format!("{}{}", "[".repeat(1200), "]".repeat(1200));
    let digits = "9".repeat(2000);
    vec![
        row("21 signature empty", format!("{head}.{body}."), INVALID),
        row("21 signature garbage", format!("{head}.{body}.garbage"), INVALID),
        row("21 signature cut", format!("{head}.{body}.{}", &signature[..340]), INVALID),
        row("21 payload tampered", format!("{head}.{other}.{signature}"), INVALID),
        row("22 two segments", format!("{head}.{body}"), INVALID),
        row("22 four segments", format!("{good}.{signature}"), INVALID),
        row("22 leading space", format!(" {good}"), INVALID),
        row("22 trailing newline", format!("{good}\n"), INVALID),
        row("22 Bearer", format!("Bearer {good}"), INVALID),
        row("22 empty", "", INVALID),
        row("22 garbage", "garbage", INVALID),
        row("22 three garbage segments", "a.b.c", INVALID),
        row("J16 a thousand dots", ".".repeat(1000), INVALID),
        row("J16 padding", format!("{head}=.{body}.{signature}"), INVALID),
        row("J16 NUL inside", format!("{head}.{body}\0.{signature}"), INVALID),
        row("J16 the other base64", format!("{head}.{body}.{}+/", &signature[..340]), INVALID),
        payload("23 payload a string", "\"alice\"", INVALID),
        payload("23 payload an array", "[]", INVALID),
        payload("23 payload no JSON", "{\"sub\":", INVALID),
        payload("23 two payloads", &format!("{0}{0}", alice()), INVALID),
        payload("32 deep JSON alone", &nested, INVALID),
        spelled("32 deep JSON where a number should be", "iat", &nested, INVALID),
        spelled("32 a number of 2,000 digits", "exp", &digits, INVALID),
        row("32 one byte above 4 KiB", "a".repeat(4097), INVALID),
        row("32 a megabyte", format!("{good}{}", "a".repeat(1 << 20)), INVALID),
        row("32 as near to 4 KiB as base64 comes", padded_to(MAX_TOKEN_BYTES), OK),
    ]
}

/// A good token of this size, or up to three bytes less.
fn padded_to(size_bytes: usize) -> String {
    let mut pad = size_bytes - mint(&alice()).len();
    loop {
        let token = mint(&with(|c| c["pad"] = json!("x".repeat(pad))));
        if token.len() <= size_bytes {
            assert!(token.len() + 3 >= size_bytes);
            return token;
        }
        pad -= 1;
    }
}

#[rustfmt::skip]
fn duplicate_rows() -> Vec<Row> {
    let claims = alice().to_string();
    let twice = |text: &str| claims.replacen('{', text, 1);
    let kid_twice = r#"{"alg":"RS256","kid":"kid1","kid":"kid1"}"#;
    let alg_twice = r#"{"alg":"none","alg":"RS256","kid":"kid1"}"#;
    vec![
        payload("J15 sub twice", &twice(r#"{"sub":"mallory","#), INVALID),
        payload("J15 sub twice, once escaped", &twice(r#"{"\u0073ub":"mallory","#), INVALID),
        payload("J15 unused claim twice", &twice(r#"{"x":1,"x":1,"#), INVALID),
        spelled("J15 tenant twice", "firebase", r#"{"tenant":"a","tenant":"a"}"#, INVALID),
        row("J15 kid twice", keys()[0].sign(kid_twice, &claims), INVALID),
        row("J15 alg twice", keys()[0].sign(alg_twice, &claims), INVALID),
    ]
}

#[tokio::test]
async fn every_vector_of_form_has_its_verdict() {
    let bench = Bench::new().await;
    let groups = [key_rows(), algorithm_rows(), form_rows(), duplicate_rows()];
    assert_verdicts(&bench.verifier, groups.into_iter().flatten()).await;
    // The first fetch, and one for all the unknown key ids together.
    assert_eq!(bench.server.requests(), 2);
}

#[tokio::test]
#[rustfmt::skip]
async fn each_refusal_is_counted_under_its_reason() {
    let bench = Bench::new().await;
    let minted = |key: &str, value: Value| mint(&with(|claims| claims[key] = value));
    for (token, fault) in [
        ("a".repeat(5000), TokenFault::Size),
        ("a.b".to_owned(), TokenFault::Format),
        (unsigned(&alice()), TokenFault::Algorithm),
        (TestKey::generate("kid9").mint(&alice()), TokenFault::KeyId),
        (TestKey::generate("kid1").mint(&alice()), TokenFault::Signature),
        (minted("aud", json!("other")), TokenFault::Audience),
        (minted("iss", json!("other")), TokenFault::Issuer),
        (minted("sub", json!("")), TokenFault::Subject),
        (minted("iat", json!(NOW_S + 99)), TokenFault::Time),
        (minted("exp", json!(NOW_S - 99)), TokenFault::Expired),
        (minted("firebase", json!({ "tenant": "t" })), TokenFault::Tenant),
        (minted("exp", json!("soon")), TokenFault::Claims),
    ] {
        assert!(bench.verify(&token).await.is_err());
        assert_eq!(bench.refused(fault), 1, "{fault:?}");
    }
}
