//! Where Firebase is, who we are to it, and the gate around emulators.

use super::super::firebase::DEV_PROJECT;
use super::super::{Credentials, DatabaseTarget, IdentityMode};
use super::*;
use crate::mint;

const EMULATORS: [(&str, &str); 3] = [
    ("FIREBASE_PROJECT_ID", "demo-chat"),
    ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099"),
    ("FIREBASE_DATABASE_EMULATOR_HOST", "localhost:9000"),
];

fn emulators_and(more: &[(&str, &str)]) -> Environment {
    EMULATORS.iter().chain(more).copied().collect()
}

fn key(fields: &[(&str, &str)]) -> TestFile {
    let mut key = serde_json::Map::new();
    let private_key = mint::keys()[0].private_pem();
    let good = [
        ("type", "service_account"),
        ("project_id", "key-project"),
        ("client_email", "bridge@key-project.iam.gserviceaccount.com"),
        ("private_key", private_key.as_str()),
        ("token_uri", "https://oauth2.googleapis.com/token"),
    ];
    for (field, value) in good.iter().chain(fields) {
        key.insert((*field).to_owned(), (*value).into());
    }
    TestFile::with(&serde_json::Value::from(key).to_string())
}

#[test]
fn a_database_address_is_google_or_this_machine() {
    let good = [
        "https://my-chat-app.firebaseio.com",
        "https://my-chat-app-default-rtdb.europe-west1.firebasedatabase.app/",
        "HTTPS://MY-CHAT-APP.FIREBASEIO.COM",
        "http://127.0.0.1:9000",
        "http://localhost:9000/",
        "http://[::1]:9000",
    ];
    for url in good {
        fine(&[("FIREBASE_DATABASE_URL", url)]);
    }
    let bad = [
        "http://169.254.169.254/",
        "http://my-chat-app.firebaseio.com",
        "http://localhost.evil.example:9000",
        "https://evil.example",
        "https://firebaseio.com",
        "https://evilfirebaseio.com",
        "https://my.firebaseio.com.evil.example",
        "https://my.firebaseio.com:8443",
        "https://my.firebaseio.com/presence",
        "https://my.firebaseio.com/?auth=secret",
        "https://my.firebaseio.com/#x",
        "https://me:pw@my.firebaseio.com",
        "https://localhost:9000",
        "http://127.0.0.1:9000/?ns=a&auth=b",
        "my-chat-app.firebaseio.com",
        "file:///etc/passwd",
        "redis://127.0.0.1",
    ];
    for url in bad {
        let problem = only_problem(read(&[("FIREBASE_DATABASE_URL", url)]));
        assert_eq!(problem.variables, ["FIREBASE_DATABASE_URL"], "{url}");
    }
}

#[test]
fn the_project_is_the_first_that_is_named() {
    let key = key(&[]);
    let url = NEEDED[1];
    let key = ("GOOGLE_APPLICATION_CREDENTIALS", key.path());
    let table: [(Pairs<'_>, &str); 4] = [
        (
            &[
                url,
                ("FIREBASE_PROJECT_ID", "a"),
                ("GOOGLE_CLOUD_PROJECT", "b"),
                key,
            ],
            "a",
        ),
        (
            &[
                url,
                ("GCLOUD_PROJECT", "c"),
                ("GOOGLE_CLOUD_PROJECT", "b"),
                key,
            ],
            "b",
        ),
        (
            &[
                url,
                ("GCLOUD_PROJECT", "c"),
                ("FIREBASE_PROJECT_ID", "  "),
                key,
            ],
            "c",
        ),
        (&[url, key], "key-project"),
    ];
    for (settings, project) in table {
        assert_eq!(Config::read(&only(settings)).unwrap().project_id, project);
    }
    assert_eq!(
        only_problem(Config::read(&only(&[url]))).variables,
        ["FIREBASE_PROJECT_ID"]
    );
}

#[test]
fn a_key_file_that_cannot_work_is_refused_at_start() {
    let login = key(&[("type", "authorized_user")]);
    let nobody = key(&[("client_email", "")]);
    let keyless = key(&[("private_key", "c4nary")]);
    let blunt = "-----BEGIN PRIVATE KEY-----\nc4nary\n-----END PRIVATE KEY-----\n";
    let broken = key(&[("private_key", blunt)]);
    let elsewhere = key(&[("token_uri", "http://c4nary.evil.example/token")]);
    let text = TestFile::with("c4nary");
    let list = TestFile::with("[\"c4nary\"]");
    let long = TestFile::with(&"c4nary ".repeat(20_000));
    let table = [
        (login.path(), "`type`"),
        (nobody.path(), "`client_email`"),
        (keyless.path(), "`private_key`"),
        (broken.path(), "`private_key`"),
        (elsewhere.path(), "`token_uri`"),
        (text.path(), "JSON"),
        (list.path(), "JSON"),
        (long.path(), "too long"),
        ("/nowhere/key.json", "cannot be read"),
        ("/", "cannot be read"),
    ];
    for (path, fault) in table {
        let problem = only_problem(read(&[("GOOGLE_APPLICATION_CREDENTIALS", path)]));
        assert_eq!(problem.variables, ["GOOGLE_APPLICATION_CREDENTIALS"]);
        assert!(problem.text.contains(fault), "{problem}");
        assert!(!problem.text.contains("c4nary"), "{problem}");
    }
}

#[test]
fn a_good_key_file_is_the_credential() {
    for uri in [
        "https://oauth2.googleapis.com/token",
        "http://127.0.0.1:8080/token",
        "http://[::1]:9/token",
        "http://localhost/token",
    ] {
        let key = key(&[("token_uri", uri)]);
        let config = fine(&[("GOOGLE_APPLICATION_CREDENTIALS", key.path())]);
        let Credentials::KeyFile(read) = &config.credentials else {
            panic!("{:?}", config.credentials);
        };
        assert_eq!(*read.json, *std::fs::read_to_string(key.path()).unwrap());
        assert!(!format!("{config:?}").contains("PRIVATE KEY"));
    }
}

#[test]
fn the_assertion_goes_over_https_or_stays_on_this_machine() {
    for uri in [
        "http://oauth2.googleapis.com/token",
        "http://127.0.0.1.evil.example/",
        "ftp://127.0.0.1/",
        "token",
        "",
    ] {
        let key = key(&[("token_uri", uri)]);
        let problem = only_problem(read(&[("GOOGLE_APPLICATION_CREDENTIALS", key.path())]));
        assert!(problem.text.contains("`token_uri`"), "{uri}: {problem}");
    }
}

#[cfg(unix)]
#[test]
fn it_is_known_whether_others_may_read_the_key() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, shared) in [(0o600, false), (0o640, false), (0o644, true)] {
        let key = key(&[]);
        std::fs::set_permissions(key.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let config = fine(&[("GOOGLE_APPLICATION_CREDENTIALS", key.path())]);
        let Credentials::KeyFile(read) = config.credentials else {
            panic!("{:?}", config.credentials);
        };
        assert_eq!(read.is_shared, shared, "{mode:o}");
    }
}

#[test]
fn emulators_go_with_a_demo_project() {
    let config = Config::read(&emulators_and(&[])).unwrap();
    assert_eq!(config.identity, IdentityMode::Emulator);
    assert_eq!(config.credentials, Credentials::Owner);
    assert_eq!(
        config.firebase_auth_emulator_host.as_deref(),
        Some("127.0.0.1:9099")
    );
    let emulator = |namespace: &str| DatabaseTarget::Emulator {
        host: "localhost:9000".into(),
        namespace: namespace.into(),
    };
    assert_eq!(config.database, emulator("demo-chat-default-rtdb"));
    let named = ("FIREBASE_DATABASE_URL", "http://localhost:9000/?ns=other");
    let config = Config::read(&emulators_and(&[named])).unwrap();
    assert_eq!(config.database, emulator("other"));
}

#[test]
fn an_emulator_needs_no_key_and_reads_none() {
    let broken = ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json");
    let config = Config::read(&emulators_and(&[broken])).unwrap();
    assert_eq!(config.credentials, Credentials::Owner);
}

#[test]
fn an_auth_emulator_never_meets_production() {
    let auth = "FIREBASE_AUTH_EMULATOR_HOST";
    let database = ("FIREBASE_DATABASE_URL", "https://demo-chat.firebaseio.com");
    let table: [(Pairs<'_>, &[&str]); 12] = [
        (
            &[("FIREBASE_PROJECT_ID", "my-chat-app")],
            &[auth, "FIREBASE_PROJECT_ID"],
        ),
        (
            &[("FIREBASE_PROJECT_ID", "my-demo-app")],
            &[auth, "FIREBASE_PROJECT_ID"],
        ),
        (
            &[
                ("FIREBASE_PROJECT_ID", ""),
                ("GCLOUD_PROJECT", "my-chat-app"),
            ],
            &[auth, "GCLOUD_PROJECT"],
        ),
        (&[database], &[auth, "FIREBASE_DATABASE_URL"]),
        (
            &[database, ("FIREBASE_DATABASE_EMULATOR_HOST", "")],
            &[auth, "FIREBASE_DATABASE_URL"],
        ),
        (&[("K_SERVICE", "bridge")], &[auth, "K_SERVICE"]),
        (&[("GAE_SERVICE", "default")], &[auth, "GAE_SERVICE"]),
        (&[("FUNCTION_TARGET", "f")], &[auth, "FUNCTION_TARGET"]),
        (&[("RENDER", "true")], &[auth, "RENDER"]),
        (
            &[("RAILWAY_ENVIRONMENT", "production")],
            &[auth, "RAILWAY_ENVIRONMENT"],
        ),
        (
            &[("FLY_APP_NAME", "a"), ("FLY_MACHINE_ID", "b")],
            &[auth, "FLY_APP_NAME", "FLY_MACHINE_ID"],
        ),
        (&[("DYNO", "web.1")], &[auth, "DYNO"]),
    ];
    for (settings, variables) in table {
        let problem = only_problem(Config::read(&emulators_and(settings)));
        assert_eq!(problem.variables, variables, "{settings:?}");
    }
    let everything = emulators_and(&[
        database,
        ("FIREBASE_PROJECT_ID", "real"),
        ("K_SERVICE", "a"),
    ]);
    assert_eq!(problems(Config::read(&everything)).len(), 3);
}

#[test]
fn a_database_emulator_alone_is_refused() {
    let problem = only_problem(Config::read(&emulators_and(&[(
        "FIREBASE_AUTH_EMULATOR_HOST",
        "",
    )])));
    assert_eq!(
        problem.variables,
        [
            "FIREBASE_DATABASE_EMULATOR_HOST",
            "FIREBASE_AUTH_EMULATOR_HOST"
        ]
    );
}

#[test]
fn an_auth_emulator_may_go_with_a_database_on_this_machine() {
    let settings = [
        ("FIREBASE_DATABASE_EMULATOR_HOST", ""),
        ("FIREBASE_DATABASE_URL", "http://127.0.0.1:9000"),
    ];
    let config = Config::read(&emulators_and(&settings)).unwrap();
    assert_eq!(config.identity, IdentityMode::Emulator);
    assert_eq!(config.credentials, Credentials::Metadata);
}

#[test]
fn a_namespace_without_an_emulator_is_refused() {
    let problem = only_problem(read(&[(
        "FIREBASE_DATABASE_URL",
        "http://localhost:9000?ns=a",
    )]));
    assert!(
        problem.text.contains("FIREBASE_DATABASE_EMULATOR_HOST"),
        "{problem}"
    );
}

#[test]
fn an_emulator_host_is_a_host_and_a_port() {
    let bad = [
        "http://127.0.0.1:9099",
        "127.0.0.1",
        "127.0.0.1:",
        ":9099",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "127.0.0.1:9099/",
        "user@host:9099",
        "a b:9099",
    ];
    for name in [
        "FIREBASE_AUTH_EMULATOR_HOST",
        "FIREBASE_DATABASE_EMULATOR_HOST",
    ] {
        for host in bad {
            let problem = only_problem(Config::read(&emulators_and(&[(name, host)])));
            assert_eq!(problem.variables, [name], "{host}");
        }
        for host in ["firebase:9099", "[::1]:9099", "localhost:1"] {
            Config::read(&emulators_and(&[(name, host)])).unwrap();
        }
    }
}

#[test]
fn dev_needs_nothing() {
    let config = Config::dev(&Environment::default()).unwrap();
    assert_eq!(config.project_id, DEV_PROJECT);
    assert!(config.host.is_loopback());
    assert_eq!(config.identity, IdentityMode::Emulator);
    assert_eq!(config.credentials, Credentials::Owner);
    assert_eq!(config.firebase_auth_emulator_host, None);
    assert_eq!(
        config.database,
        DatabaseTarget::Emulator {
            host: "127.0.0.1:0".into(),
            namespace: "demo-presence-bridge-default-rtdb".into(),
        }
    );
}

#[test]
fn dev_takes_what_is_set_and_leaves_a_developers_own_project_alone() {
    let config = Config::dev(&only(&[
        ("PORT", "0"),
        ("PRESENCE_GRACE", "1s"),
        ("GOOGLE_CLOUD_PROJECT", "company-production"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/home/ann/key.json"),
        ("FIREBASE_AUTH_EMULATOR_HOST", "127.0.0.1:9099"),
        ("FIREBASE_DATABASE_EMULATOR_HOST", "127.0.0.1:9000"),
    ]))
    .unwrap();
    assert_eq!(config.project_id, DEV_PROJECT);
    assert_eq!(config.port, 0);
    assert_eq!(config.presence_grace.as_secs(), 1);
    assert_eq!(
        config.firebase_auth_emulator_host.as_deref(),
        Some("127.0.0.1:9099")
    );
    let DatabaseTarget::Emulator { host, .. } = config.database else {
        panic!("{:?}", config.database)
    };
    assert_eq!(host, "127.0.0.1:9000");
}

#[test]
fn dev_refuses_the_world_and_everything_real() {
    let table = [
        ("HOST", "0.0.0.0"),
        ("FIREBASE_PROJECT_ID", "my-chat-app"),
        (
            "FIREBASE_DATABASE_URL",
            "https://my-chat-app.firebaseio.com",
        ),
        ("K_SERVICE", "bridge"),
    ];
    for (name, value) in table {
        let problem = only_problem(Config::dev(&only(&[(name, value)])));
        assert!(problem.variables.contains(&name.to_owned()), "{problem}");
    }
    assert_eq!(problems(Config::dev(&only(&table))).len(), 4);
    let own = ("FIREBASE_DATABASE_URL", "http://127.0.0.1:9000");
    let problem = only_problem(Config::dev(&only(&[own])));
    assert_eq!(problem.variables, ["FIREBASE_DATABASE_URL"]);
}
