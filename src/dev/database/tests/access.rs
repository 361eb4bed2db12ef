//! The rules, through the door.

use super::super::{CredentialKind, DEFAULT_RULES};
use super::{Site, answer, refusal};
use axum::http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn the_shipped_rules_show_single_users_to_users_only() {
    let site = Site::open().await;
    assert!(site.standin.put("presence/bob", &json!({ "online": true })));
    assert!(
        site.standin
            .put("presenceNodes/main/b1", &json!({ "heartbeat": 1 }))
    );
    let denied = (401, "Permission denied".to_owned());
    for path in [
        "/presence/bob.json",
        "/presence/nobody.json",
        "/presenceNodes.json",
    ] {
        assert_eq!(
            answer(site.user("ann", Method::GET, path)).await.0,
            200,
            "{path}"
        );
        assert_eq!(
            refusal(site.anybody(Method::GET, path)).await,
            denied,
            "{path}"
        );
    }
    for path in ["/presence.json", "/.json", "/chats.json"] {
        assert_eq!(
            refusal(site.user("ann", Method::GET, path)).await,
            denied,
            "{path}"
        );
    }
    for path in ["/presence/ann.json", "/presenceNodes/main.json", "/x.json"] {
        let put = site.user("ann", Method::PUT, path).json(&1);
        assert_eq!(refusal(put).await, denied, "{path}");
        let delete = site.user("ann", Method::DELETE, path);
        assert_eq!(refusal(delete).await, denied, "{path}");
    }
}

#[tokio::test]
async fn one_denied_path_refuses_the_whole_patch() {
    let rules = r#"{ "rules": { "$user": { ".write": "auth.uid == $user" } } }"#;
    let site = Site::with_rules(rules).await;
    let patch = |body: Value| refusal(site.user("ann", Method::PATCH, "/.json").json(&body));
    let denied = (401, "Permission denied".to_owned());
    assert_eq!(patch(json!({ "ann/a": 1, "bob/a": 1 })).await, denied);
    assert_eq!(site.standin.value("/"), Value::Null);
    assert_eq!(patch(json!({ "ann/a": 1, "ann/b": 1 })).await.0, 200);
}

#[tokio::test]
async fn an_administrator_can_act_as_somebody() {
    let site = Site::open().await;
    let get = |auth: &str| {
        let query = [("auth_variable_override", auth)];
        refusal(site.owner(Method::GET, "/presence/bob.json").query(&query))
    };
    assert_eq!(get(r#"{"uid":"bridge"}"#).await.0, 200);
    assert_eq!(get("null").await, (401, "Permission denied".to_owned()));
    assert_eq!(get("[1]").await.0, 400);
    let query = [("auth_variable_override", "{}")];
    let without = site
        .anybody(Method::GET, "/presence/bob.json")
        .query(&query);
    assert_eq!(refusal(without).await.0, 401);
    assert_eq!(
        site.standin.history()[0].credential,
        CredentialKind::Override
    );
}

#[tokio::test]
async fn rules_are_uploaded_by_administrators() {
    let site = Site::open().await;
    let path = "/.settings/rules.json";
    let put = |text: &str| refusal(site.owner(Method::PUT, path).body(text.to_owned()));
    let refused = put(r#"{ "rules": { ".read": "hm" } }"#).await;
    assert_eq!(refused.0, 400);
    assert_eq!(
        refused.1,
        "Error parsing rules: /.read, character 1: unknown variable hm"
    );
    let get = site.owner(Method::GET, path).send().await.unwrap();
    assert_eq!(get.text().await.unwrap(), DEFAULT_RULES);
    assert_eq!(refusal(site.user("ann", Method::GET, path)).await.0, 401);
    assert_eq!(
        refusal(site.anybody(Method::PUT, path).body("{}")).await.0,
        401
    );
    let open = "{ \"rules\": { \".read\": true } } // all";
    assert_eq!(put(open).await.0, 200);
    assert_eq!(answer(site.anybody(Method::GET, "/.json")).await.0, 200);
    let get = site.owner(Method::GET, path).send().await.unwrap();
    assert_eq!(get.text().await.unwrap(), open);
}

#[tokio::test]
async fn a_mismatched_etag_shows_nothing_to_those_who_may_not_read() {
    let rules = r#"{ "rules": { "drop": { ".write": true } } }"#;
    let site = Site::with_rules(rules).await;
    assert!(site.standin.put("drop", &json!("secret")));
    let put = site
        .user("ann", Method::PUT, "/drop.json")
        .header("if-match", "x")
        .json(&1);
    let (status, body) = answer(put).await;
    assert_eq!(status, 401);
    assert_eq!(body, json!({ "error": "Permission denied" }));
}
