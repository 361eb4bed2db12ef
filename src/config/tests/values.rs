//! One setting at a time, all of them together, and the rules between them.

use super::super::{
    CorsOrigins, Credentials, DatabaseTarget, IdentityMode, Layout, OnDrain, TenantPolicy,
    Transport, rows,
};
use super::*;
use crate::telemetry::logs::LogFormat;
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn two_settings_are_enough() {
    let config = fine(&[]);
    assert_eq!(config.project_id, "my-chat-app");
    assert_eq!(config.host.to_string(), "0.0.0.0");
    assert_eq!(config.port, 3000);
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.rust_log, "info");
    assert_eq!(config.log_format, LogFormat::Text);
    assert_eq!(config.auth_leeway, Duration::from_mins(1));
    assert_eq!(config.auth_tenant, TenantPolicy::None);
    assert_eq!(
        config.transports,
        [Transport::Websocket, Transport::Polling]
    );
    assert_eq!(config.cors_origins, CorsOrigins::Only(Vec::new()));
    assert_eq!(config.presence_layout, Layout::Bridge);
    assert_eq!(config.presence_flush_interval, Duration::from_millis(250));
    assert_eq!(config.presence_on_drain, OnDrain::Offline);
    assert_eq!(config.limit_message_size, 16 * 1024);
    assert_eq!(config.limit_connections, 0);
    assert_eq!(config.credentials, Credentials::Metadata);
    let IdentityMode::Google { keys_url } = &config.identity else {
        panic!("{:?}", config.identity)
    };
    assert_eq!(keys_url.host_str(), Some("www.googleapis.com"));
    let DatabaseTarget::Production { url } = &config.database else {
        panic!("{:?}", config.database)
    };
    assert_eq!(
        url.as_str(),
        "https://my-chat-app-default-rtdb.firebaseio.com/"
    );
}

#[test]
fn every_example_and_every_default_is_accepted() {
    // They need a file or each other; the tests about Firebase read them.
    let elsewhere = [
        "FIREBASE_AUTH_EMULATOR_HOST",
        "FIREBASE_DATABASE_EMULATOR_HOST",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ];
    for row in rows() {
        if elsewhere.contains(&row.name) {
            continue;
        }
        for value in [&row.example, row.default] {
            if !value.is_empty() {
                fine(&[(row.name, value)]);
            }
        }
    }
}

#[test]
fn every_field_has_the_name_of_its_variable() {
    let fields = format!("{:?}", fine(&[]));
    let elsewhere = ["firebase"];
    for row in rows() {
        let later = row.accepted.contains("arrives");
        if !later && !elsewhere.contains(&row.area) {
            let field = format!(" {}: ", row.name.to_lowercase());
            assert!(fields.contains(&field), "{} is not in {fields}", row.name);
        }
    }
}

#[test]
fn good_values_arrive() {
    let config = fine(&[
        ("HOST", "::1"),
        ("PORT", " 8080\n"),
        ("ADMIN_LISTEN", "[::1]:0"),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "warn,presence_bridge=debug"),
        ("AUTH_LEEWAY", "0s"),
        ("AUTH_TENANT", "require=acme-7f3kq"),
        ("TRANSPORTS", "websocket"),
        (
            "CORS_ORIGINS",
            "https://App.example.com/, capacitor://localhost,http://localhost:5173",
        ),
        ("PRESENCE_LAYOUT", "firebase-guide"),
        ("PRESENCE_PATH", "/v2/status"),
        ("PRESENCE_GRACE", "1m 30s"),
        ("PRESENCE_START_GRACE", "2m"),
        ("PRESENCE_ON_DRAIN", "handover"),
        ("LIMIT_MESSAGE_SIZE", "1MiB"),
        ("REDIS_URL", ""),
        ("APP_CHECK", "off"),
    ]);
    assert_eq!(config.host.to_string(), "::1");
    assert_eq!(
        config.port, 8080,
        "white space around a value does not count"
    );
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.auth_leeway, Duration::ZERO);
    assert_eq!(
        config.auth_tenant,
        TenantPolicy::Require("acme-7f3kq".into())
    );
    assert_eq!(config.transports, [Transport::Websocket]);
    let origins = [
        "https://app.example.com",
        "capacitor://localhost",
        "http://localhost:5173",
    ];
    assert_eq!(
        config.cors_origins,
        CorsOrigins::Only(origins.map(Into::into).to_vec())
    );
    assert_eq!(config.presence_layout, Layout::FirebaseGuide);
    assert_eq!(config.presence_path, "/v2/status");
    assert_eq!(config.presence_grace, Duration::from_secs(90));
    assert_eq!(config.presence_on_drain, OnDrain::Handover);
    assert_eq!(config.limit_message_size, 1024 * 1024);
}

#[test]
fn a_wrong_value_is_named_with_the_accepted_form() {
    let wrong = [
        ("HOST", "localhost", "an IP address"),
        ("PORT", "http", "a whole number"),
        ("PORT", "65536", "65535"),
        ("PORT", "-1", "a whole number"),
        ("ADMIN_LISTEN", "9090", "an IP address and a port"),
        ("RUST_LOG", "presence_bridge=loud", "log directives"),
        ("LOG_FORMAT", "xml", "`text`, `json`"),
        ("LOG_FORMAT", "JSON", "`text`, `json`"),
        ("AUTH_LEEWAY", "301s", "5m"),
        ("AUTH_LEEWAY", "-1s", "a duration"),
        ("AUTH_KEYS_URL", "http://keys.example.com/", "https"),
        ("AUTH_TENANT", "require=", "`none`"),
        ("TRANSPORTS", "websocket,webtransport", "`websocket`"),
        ("TRANSPORTS", "polling,polling", "`websocket`"),
        ("TRANSPORTS", "websocket,", "`websocket`"),
        ("CORS_ORIGINS", "https://*.example.com", "origins"),
        ("CORS_ORIGINS", "null", "origins"),
        ("CORS_ORIGINS", "https://a.example/path", "origins"),
        ("CORS_ORIGINS", "*,https://a.example", "origins"),
        ("PING_INTERVAL", "20", "with its unit"),
        ("PING_TIMEOUT", "0s", "from 1s"),
        ("PRESENCE_GRACE", "10 parsecs", "with its unit"),
        (
            "PRESENCE_GRACE",
            "18446744073709551615s 1000000000ns",
            "with its unit",
        ),
        ("PRESENCE_BATCH_USERS", "0", "from 1 to 400"),
        ("PRESENCE_BATCH_USERS", "401", "from 1 to 400"),
        ("PRESENCE_PATH", "presence", "absolute"),
        ("PRESENCE_PATH", "/", "segments"),
        ("PRESENCE_PATH", "/a//b", "segments"),
        ("PRESENCE_PATH", "/a/", "segments"),
        ("PRESENCE_PATH", "/a.b", "segments"),
        ("PRESENCE_NODES_PATH", "/a/$b", "segments"),
        ("NODE_NAME", "a/b", "1 to 128"),
        ("LIMIT_MESSAGE_SIZE", "16384", "with its unit"),
        ("LIMIT_MESSAGE_SIZE", "1023B", "from 1KiB to 1MiB"),
        ("LIMIT_MESSAGE_SIZE", "2MiB", "from 1KiB to 1MiB"),
        ("LIMIT_EVENTS_PER_SECOND", "0", "from 1"),
        ("LIMIT_CONNECTIONS_PER_USER", "1e3", "a whole number"),
        ("FIREBASE_PROJECT_ID", "My App", "a Firebase project id"),
    ];
    for (name, value, accepted) in wrong {
        let problem = only_problem(read(&[(name, value)]));
        assert_eq!(problem.variables, [name]);
        let text = problem.to_string();
        assert!(text.contains(&format!("`{value}`")), "{text}");
        assert!(text.contains(accepted), "{text}");
        assert!(text.contains(&format!("for example {name}=")), "{text}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems(Config::read(&only(&[
        ("PORT", "http"),
        ("PRESENCE_GRACE", "10"),
        ("REDIS_URL", "redis://:hunter2@redis:6379"),
        ("APP_CHECK", "enforced"),
        ("PRESENCE_GRACE_PERIOD", "10s"),
        ("DRAIN_TIMEOUT", "1s"),
        ("PRESENCE_FLUSH_INTERVAL", "1s"),
        ("PRESENCE_PATH", "/presence/users"),
        ("PRESENCE_NODES_PATH", "/presence"),
    ])));
    let mut variables: Vec<_> = found
        .iter()
        .map(|problem| problem.variables.join(" "))
        .collect();
    variables.sort();
    assert_eq!(
        variables,
        [
            "APP_CHECK",
            "FIREBASE_DATABASE_TIMEOUT DRAIN_TIMEOUT",
            "FIREBASE_DATABASE_URL",
            "FIREBASE_PROJECT_ID",
            "PORT",
            "PRESENCE_FLUSH_INTERVAL DRAIN_TIMEOUT",
            "PRESENCE_GRACE",
            "PRESENCE_GRACE_PERIOD",
            "PRESENCE_PATH PRESENCE_NODES_PATH",
            "REDIS_URL",
        ]
    );
    let page = Problems(found).to_string();
    assert!(
        page.starts_with("10 settings must be put right:\n  "),
        "{page}"
    );
}

#[test]
fn settings_must_fit_each_other() {
    let broken: [(Pairs<'_>, &[&str]); 8] = [
        (
            &[("PRESENCE_FLUSH_INTERVAL", "3s")],
            &["PRESENCE_FLUSH_INTERVAL", "DRAIN_TIMEOUT"],
        ),
        (
            &[("FIREBASE_DATABASE_TIMEOUT", "8s")],
            &["FIREBASE_DATABASE_TIMEOUT", "DRAIN_TIMEOUT"],
        ),
        (
            &[("PRESENCE_HEARTBEAT_INTERVAL", "2s")],
            &["FIREBASE_DATABASE_TIMEOUT", "PRESENCE_HEARTBEAT_INTERVAL"],
        ),
        (
            &[("PRESENCE_START_GRACE", "9s")],
            &["PRESENCE_START_GRACE", "PRESENCE_GRACE"],
        ),
        (
            &[("PRESENCE_GRACE", "10m"), ("PRESENCE_START_GRACE", "10m")],
            &["PING_INTERVAL", "PING_TIMEOUT", "PRESENCE_GRACE"],
        ),
        (
            &[("PRESENCE_NODES_PATH", "/presence")],
            &["PRESENCE_PATH", "PRESENCE_NODES_PATH"],
        ),
        (
            &[("PRESENCE_NODES_PATH", "/presence/nodes")],
            &["PRESENCE_PATH", "PRESENCE_NODES_PATH"],
        ),
        (&[("PORT", "9090")], &["PORT", "ADMIN_LISTEN"]),
    ];
    for (settings, variables) in broken {
        assert_eq!(
            only_problem(read(settings)).variables,
            variables,
            "{settings:?}"
        );
    }
    fine(&[("PRESENCE_NODES_PATH", "/presence-nodes")]);
    fine(&[("PORT", "9090"), ("HOST", "127.0.0.2")]);
    fine(&[("PORT", "0"), ("ADMIN_LISTEN", "127.0.0.1:0")]);
}

#[test]
fn a_rule_is_silent_about_a_value_that_is_wrong_already() {
    let settings = [
        ("DRAIN_TIMEOUT", "soon"),
        ("PRESENCE_FLUSH_INTERVAL", "30s"),
    ];
    assert_eq!(only_problem(read(&settings)).variables, ["DRAIN_TIMEOUT"]);
}

#[test]
fn a_feature_to_come_accepts_only_what_is_true_today() {
    let refused = [
        ("REDIS_URL", "redis://localhost"),
        ("AUTH_LOOKUP_URL", "https://identitytoolkit.googleapis.com"),
        ("AUTH_CHECK_REVOKED", "true"),
        ("APP_CHECK", "on"),
        ("PRESENCE_VISIBILITY", "friends"),
        ("PRESENCE_BACKGROUND_GRACE", "5m"),
        ("CHAT_ACCESS", "members"),
        ("CHAT_MEMBERS_PATH", "/chats/{chatId}/members"),
        ("CHAT_ACCESS_RECHECK", "1m"),
    ];
    for (name, value) in refused {
        let problem = only_problem(read(&[(name, value)]));
        assert_eq!(problem.variables, [name]);
        assert!(problem.text.contains("not there yet"), "{problem}");
    }
    let today = [
        ("AUTH_CHECK_REVOKED", "false"),
        ("APP_CHECK", "off"),
        ("PRESENCE_VISIBILITY", "everyone"),
        ("CHAT_ACCESS", "open"),
    ];
    fine(&today);
}

#[test]
fn secrets_are_never_shown() {
    let canary = "c4nary";
    let token = format!("eyJhbGciOi.{canary}.x");
    let long = canary.repeat(20);
    let url = format!("https://user:{canary}@db.firebaseio.com/?auth={canary}");
    let settings = [
        ("REDIS_URL", format!("redis://:{canary}@host")),
        ("FIREBASE_DATABASE_URL", url.clone()),
        ("AUTH_KEYS_URL", url),
        ("NODE_NAME", format!("a/{long}")),
        ("PORT", token),
        ("HOST", format!("{{\"private_key\":\"{canary}\"}}")),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            format!("{{\"private_key\":\"{canary}\"}}"),
        ),
        ("LIMIT_UNKNOWN", canary.to_owned()),
    ];
    let environment: Environment = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let found = problems(Config::read(&environment));
    for (name, _) in &settings {
        assert!(
            found.iter().any(|problem| problem.variables == [*name]),
            "{name}: {found:?}"
        );
    }
    for text in [
        format!("{found:?}"),
        Problems(found).to_string(),
        format!("{environment:?}"),
    ] {
        assert!(!text.contains(canary), "{text}");
    }
}

#[test]
fn a_hostile_value_is_shown_without_control_characters() {
    let problem = only_problem(read(&[("PORT", "30\n00\x1b[31m")]));
    assert!(
        !problem.to_string().contains(char::is_control),
        "{problem:?}"
    );
}

proptest! {
    /// Whatever the value: no panic, and a problem that names the variable on one clean line.
    #[test]
    fn any_text_is_read_or_refused(row in 0..rows().len(), value in "\\PC{0,80}|[-0-9a-zA-Z:/.,*=?@\\[\\] ]{0,40}") {
        let name = rows()[row].name;
        if let Err(Problems(problems)) = read(&[(name, &value)]) {
            for problem in problems {
                prop_assert!(problem.variables.iter().any(|variable| variable == name), "{}", problem);
                prop_assert!(!problem.to_string().contains(char::is_control), "{:?}", problem);
            }
        }
    }
}
