//! The vectors of Google's own SDKs and the attacks on JSON Web Tokens, each with our answer.
//!
//! `vectors.rs` holds the table; here are the ways through time, caches and failing key servers.

use super::*;
use crate::firebase::fake::{Answer, FakeServer};
use crate::mint::{self, TestKey, key_set, keys, unsigned};
use serde_json::{Value, json};

mod claims;
mod emulator;
mod leaks;
mod vectors;

const PROJECT: &str = "demo-test";
/// The invented time at which all tests start, in Unix seconds.
const NOW_S: u64 = 1_800_000_000;

/// A verifier whose keys come from a fake key server.
struct Bench {
    verifier: Verifier,
    server: FakeServer,
    keys: Keys,
    clock: Clock,
    metrics: Arc<Metrics>,
}

fn rules() -> Rules {
    Rules {
        project_id: PROJECT.to_owned(),
        leeway: Duration::from_mins(1),
        tenant: TenantPolicy::None,
    }
}

impl Bench {
    async fn new() -> Self {
        let [one, two] = keys();
        Self::with(rules(), Answer::json(key_set(&[one, two]).to_string())).await
    }

    async fn with(rules: Rules, answer: Answer) -> Self {
        let server = FakeServer::start([answer]).await;
        let clock = Clock::manual(UnixMillis(NOW_S * 1000));
        let metrics = Arc::new(Metrics::new());
        let keys = Keys::new(server.url("/keys"), clock.clone(), Arc::clone(&metrics)).unwrap();
        let verifier =
            Verifier::production(rules, keys.clone(), clock.clone(), Arc::clone(&metrics));
        Self {
            verifier,
            server,
            keys,
            clock,
            metrics,
        }
    }

    async fn verify(&self, token: &str) -> Result<Identity, VerifyError> {
        self.verifier.verify(token).await
    }

    fn refused(&self, fault: TokenFault) -> u64 {
        self.metrics
            .token_refused
            .get_or_create(&fault.into())
            .get()
    }

    fn at(&self, now_s: u64) {
        self.clock.set_unix(UnixMillis(now_s * 1000));
    }
}

fn alice() -> Value {
    mint::claims(PROJECT, "alice", NOW_S)
}

/// Alice's claims, changed.
fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = alice();
    change(&mut claims);
    claims
}

fn mint(claims: &Value) -> String {
    keys()[0].mint(claims)
}

#[tokio::test]
async fn a_good_token_proves_who_it_is_and_until_when() {
    let identity = Bench::new().await.verify(&mint(&alice())).await.unwrap();
    assert_eq!(identity.user.as_str(), "alice");
    assert_eq!(identity.expires_at, UnixMillis((NOW_S + 3590) * 1000));
}

#[tokio::test]
async fn the_first_use_of_the_crypto_backend_does_not_panic() {
    // jsonwebtoken panics at first use unless exactly one backend is compiled in.
    assert!(Bench::new().await.verify(&mint(&alice())).await.is_ok());
}

#[tokio::test]
async fn another_projects_token_is_refused_though_google_signed_it() {
    let bench = Bench::new().await;
    let token = mint(&mint::claims("other-project", "alice", NOW_S));
    assert_eq!(bench.verify(&token).await, Err(VerifyError::Invalid));
    assert_eq!(bench.refused(TokenFault::Audience), 1);
}

#[tokio::test]
async fn a_token_expires_a_leeway_after_exp_and_not_before() {
    let bench = Bench::new().await;
    let token = mint(&alice());
    let exp = NOW_S + 3590;
    assert!(bench.verify(&token).await.is_ok());
    bench.clock.set_unix(UnixMillis((exp + 60) * 1000 - 1));
    assert!(bench.verify(&token).await.is_ok());
    bench.at(exp + 60);
    assert_eq!(bench.verify(&token).await, Err(VerifyError::Expired));
    assert_eq!(bench.refused(TokenFault::Expired), 1);
}

#[tokio::test]
async fn an_expired_token_with_a_forged_signature_is_not_called_expired() {
    let bench = Bench::new().await;
    let genuine = mint(&alice());
    let mut forged = genuine.clone();
    forged.replace_range(genuine.rfind('.').unwrap() + 1.., &"A".repeat(342));
    assert!(bench.verify(&genuine).await.is_ok());
    bench.at(NOW_S + 7200);
    assert_eq!(bench.verify(&forged).await, Err(VerifyError::Invalid));
    assert_eq!(bench.verify(&genuine).await, Err(VerifyError::Expired));
}

#[tokio::test]
async fn an_expired_token_of_a_key_long_gone_is_expired_and_costs_no_fetch() {
    let bench = Bench::new().await;
    bench.keys.prefetch().await;
    let old = TestKey::generate("retired").mint(&alice());
    bench.at(NOW_S + 90_000);
    assert_eq!(bench.verify(&old).await, Err(VerifyError::Expired));
    assert_eq!(bench.server.requests(), 1);
}

#[tokio::test]
async fn a_remembered_token_needs_no_signature_but_still_its_key() {
    let bench = Bench::new().await;
    let token = mint(&alice());
    assert!(bench.verify(&token).await.is_ok());
    assert!(remembers(&bench, &token));
    assert!(bench.verify(&token).await.is_ok());

    // Google withdraws the key: the memory of what it has signed is worth nothing.
    let [_, two] = keys();
    bench
        .server
        .answers([Answer::json(key_set(&[two]).to_string())]);
    let stranger = TestKey::generate("kid3").mint(&alice());
    assert_eq!(bench.verify(&stranger).await, Err(VerifyError::Invalid));
    assert_eq!(bench.verify(&token).await, Err(VerifyError::Invalid));
}

#[tokio::test]
async fn only_verified_tokens_are_remembered() {
    let bench = Bench::new().await;
    let expired = mint(&with(|c| c["exp"] = json!(NOW_S - 60)));
    let forged = TestKey::generate("kid1").mint(&alice());
    assert_eq!(bench.verify(&expired).await, Err(VerifyError::Expired));
    assert_eq!(bench.verify(&forged).await, Err(VerifyError::Invalid));
    assert!(!remembers(&bench, &expired));
    assert!(!remembers(&bench, &forged));
}

fn remembers(bench: &Bench, token: &str) -> bool {
    match &bench.verifier.proof {
        Proof::Signature { verified, .. } => verified.get(&sha256(token)).is_some(),
        Proof::Emulator => false,
    }
}

#[tokio::test]
async fn a_token_of_the_year_9999_is_remembered_without_a_fuss() {
    let bench = Bench::new().await;
    let token = mint(&with(|c| c["exp"] = json!(253_402_300_799_u64)));
    assert!(bench.verify(&token).await.is_ok());
    assert!(bench.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_new_key_is_fetched_when_its_first_token_comes() {
    let [one, two] = keys();
    let bench = Bench::with(rules(), Answer::json(key_set(&[one]).to_string())).await;
    assert!(bench.verify(&one.mint(&alice())).await.is_ok());
    bench
        .server
        .answers([Answer::json(key_set(&[one, two]).to_string())]);
    assert!(bench.verify(&two.mint(&alice())).await.is_ok());
    assert_eq!(bench.server.requests(), 2);
}

#[tokio::test]
async fn failing_key_servers_are_not_the_clients_fault() {
    for answer in [
        Answer::reply(500, "oops"),
        Answer::reply(404, "gone"),
        Answer::json("<html>"),
        Answer::json(r#"{"error":{"code":503}}"#),
        Answer::json(r#"{"keys":[]}"#),
    ] {
        let bench = Bench::with(rules(), answer).await;
        let token = mint(&alice());
        assert_eq!(bench.verify(&token).await, Err(VerifyError::Unavailable));
        assert_eq!(bench.refused(TokenFault::Keys), 1);
    }
}

#[tokio::test]
async fn refusals_by_content_never_ask_the_key_server() {
    let bench = Bench::new().await;
    let mut header = json!({ "alg": "none", "kid": "kid1" });
    for alg in ["none", "None", "HS256", "PS256"] {
        header["alg"] = json!(alg);
        let token = keys()[0].sign(&header.to_string(), &alice().to_string());
        assert_eq!(bench.verify(&token).await, Err(VerifyError::Invalid));
    }
    for kid in [String::new(), "k".repeat(129)] {
        let header = json!({ "alg": "RS256", "kid": kid });
        let token = keys()[0].sign(&header.to_string(), &alice().to_string());
        assert_eq!(bench.verify(&token).await, Err(VerifyError::Invalid));
    }
    let foreign = mint(&mint::claims("other", "alice", NOW_S));
    assert_eq!(bench.verify(&foreign).await, Err(VerifyError::Invalid));
    assert_eq!(bench.server.requests(), 0);
}

#[tokio::test]
async fn a_leeway_of_zero_is_exact_and_a_huge_one_is_cut() {
    let exact = Rules {
        leeway: Duration::ZERO,
        ..rules()
    };
    let huge = Rules {
        leeway: Duration::MAX,
        ..rules()
    };
    for (rules, leeway_s) in [(exact, 0), (huge, 300)] {
        let bench = Bench::with(rules, Answer::json(key_set(&[&keys()[0]]).to_string())).await;
        let token = mint(&alice());
        bench.at(NOW_S + 3590 + leeway_s - 1);
        assert!(bench.verify(&token).await.is_ok());
        bench.at(NOW_S + 3590 + leeway_s);
        assert_eq!(bench.verify(&token).await, Err(VerifyError::Expired));
    }
}

#[tokio::test]
async fn tenants_come_in_by_policy_only() {
    let tenant = |id: &str| mint(&with(|c| c["firebase"]["tenant"] = json!(id)));
    let plain = mint(&alice());
    let require = TenantPolicy::Require("t1".to_owned());
    let table = [
        (TenantPolicy::None, [true, false, false]),
        (require, [false, true, false]),
        (TenantPolicy::Any, [true, true, true]),
    ];
    for (policy, welcome) in table {
        let rules = Rules {
            tenant: policy.clone(),
            ..rules()
        };
        let bench = Bench::with(rules, Answer::json(key_set(&[&keys()[0]]).to_string())).await;
        for (token, welcome) in [&plain, &tenant("t1"), &tenant("t2")]
            .into_iter()
            .zip(welcome)
        {
            assert_eq!(bench.verify(token).await.is_ok(), welcome, "{policy:?}");
        }
    }
}
