//! Names we do not know: misspelled ones of ours are refused, everybody else's are left alone.

use super::super::rows;
use super::*;

#[test]
fn a_misspelled_setting_is_refused_with_the_nearest_name() {
    let table = [
        ("PRESENCE_GRASE", "PRESENCE_GRACE"),
        ("PRESENCE_FLUSH_INTERVALL", "PRESENCE_FLUSH_INTERVAL"),
        ("PRESENCE_START_GRACE_MS", "PRESENCE_START_GRACE"),
        ("PRESENCE_SOMETHING_ELSE_ENTIRELY", "PRESENCE_"),
        ("presence_grace", "PRESENCE_GRACE"),
        ("LIMIT_MESSAGES_SIZE", "LIMIT_MESSAGE_SIZE"),
        ("LIMIT_X", "LIMIT_"),
        ("TYPING_TIMEOUT", "TYPING_TTL"),
        ("LOG_FROMAT", "LOG_FORMAT"),
        ("LOGFORMAT", "LOG_FORMAT"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("TRANSPORT", "TRANSPORTS"),
        ("NODE_NAMES", "NODE_NAME"),
        ("FIREBASE_DATABASE_URI", "FIREBASE_DATABASE_URL"),
        ("FIREBASE_AUTH_EMULATOR_HOTS", "FIREBASE_AUTH_EMULATOR_HOST"),
        (
            "GOOGLE_APPLICATION_CREDENTIAL",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        ("CHAT_ACESS", "CHAT_ACCESS"),
    ];
    for (name, nearest) in table {
        let problem = only_problem(read(&[(name, "x")]));
        assert_eq!(problem.variables, [name]);
        assert!(
            problem.text.contains(&format!("the nearest is {nearest}")),
            "{problem}"
        );
    }
}

#[test]
fn the_variables_of_other_programs_are_left_alone() {
    let everyday = [
        "HOME",
        "PATH",
        "PWD",
        "OLDPWD",
        "SHELL",
        "USER",
        "LANG",
        "TERM",
        "TMPDIR",
        "TZ",
        "HOSTNAME",
        "HOSTS",
        "PORTS",
        "XPORT",
        "MAIL",
        "EDITOR",
        "SHLVL",
        "_",
        "LOGNAME",
        "DEBIAN_FRONTEND",
        "RUST_BACKTRACE",
        "RUST_LOG_STYLE",
        "RUSTFLAGS",
        "CARGO_HOME",
        "NODE_ENV",
        "NODE_OPTIONS",
        "NODE_PATH",
        "NODE_VERSION",
        "HTTP_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "NO_COLOR",
        "SSL_CERT_FILE",
        "PIP_TIMEOUT",
        "PING",
        "LOG_LEVEL",
        "LOG_FILE",
        "CODE_NAME",
        "CHAT_URL",
        "LIMITS",
        "TYPING",
        "PRESENCE",
        "DATABASE_URL",
        "REDIS_HOST",
        "REDIS_PASSWORD",
        "REDIS_TLS_URL",
    ];
    let ci = [
        "CI",
        "GITHUB_ACTIONS",
        "GITHUB_WORKFLOW",
        "GITHUB_REF_NAME",
        "RUNNER_NAME",
        "RUNNER_OS",
        "GITLAB_CI",
        "CI_PROJECT_ID",
        "CI_PROJECT_NAME",
        "CI_NODE_TOTAL",
        "BUILD_ID",
        "JOB_NAME",
    ];
    let google = [
        "K_REVISION",
        "K_CONFIGURATION",
        "CLOUD_RUN_EXECUTION",
        "GOOGLE_CLOUD_REGION",
        "GCP_PROJECT",
        "GCE_METADATA_HOST",
        "CLOUDSDK_CONFIG",
        "CLOUDSDK_CORE_PROJECT",
        "FIREBASE_CONFIG",
        "FIREBASE_TOKEN",
        "FIREBASE_EMULATOR_HUB",
        "FIREBASE_STORAGE_EMULATOR_HOST",
        "FIRESTORE_EMULATOR_HOST",
        "FIREBASE_FIRESTORE_EMULATOR_ADDRESS",
        "PUBSUB_EMULATOR_HOST",
    ];
    let kubernetes = [
        "KUBERNETES_PORT",
        "KUBERNETES_PORT_443_TCP",
        "KUBERNETES_PORT_443_TCP_ADDR",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT_HTTPS",
        "POD_NAME",
        "POD_IP",
        "POD_NAMESPACE",
        "HOST_IP",
        "REDIS_PORT",
        "REDIS_PORT_6379_TCP_PROTO",
        "REDIS_SERVICE_HOST",
        // What a service named after us leaves in every pod of its namespace.
        "PRESENCE_BRIDGE_SERVICE_HOST",
        "PRESENCE_BRIDGE_SERVICE_PORT",
        "PRESENCE_BRIDGE_SERVICE_PORT_HTTP",
        "PRESENCE_BRIDGE_PORT",
        "PRESENCE_BRIDGE_PORT_3000_TCP",
        "PRESENCE_BRIDGE_PORT_3000_TCP_PROTO",
        "PRESENCE_BRIDGE_PORT_3000_TCP_PORT",
        "PRESENCE_BRIDGE_PORT_3000_TCP_ADDR",
    ];
    for name in everyday.iter().chain(&ci).chain(&google).chain(&kubernetes) {
        fine(&[(name, "tcp://10.0.0.1:6379")]);
    }
}

#[test]
fn the_documented_names_of_the_design_all_exist() {
    let names = "HOST PORT ADMIN_LISTEN FIREBASE_PROJECT_ID GOOGLE_CLOUD_PROJECT GCLOUD_PROJECT \
        FIREBASE_DATABASE_URL GOOGLE_APPLICATION_CREDENTIALS FIREBASE_AUTH_EMULATOR_HOST \
        FIREBASE_DATABASE_EMULATOR_HOST REDIS_URL RUST_LOG LOG_FORMAT AUTH_KEYS_URL AUTH_LEEWAY \
        AUTH_EXPIRY_NOTICE AUTH_LOOKUP_URL AUTH_CHECK_REVOKED AUTH_TENANT APP_CHECK TRANSPORTS \
        PING_INTERVAL PING_TIMEOUT CORS_ORIGINS DRAIN_TIMEOUT PRESENCE_PATH PRESENCE_LAYOUT \
        PRESENCE_GRACE PRESENCE_START_GRACE PRESENCE_FLUSH_INTERVAL PRESENCE_BATCH_USERS NODE_NAME \
        PRESENCE_NODES_PATH PRESENCE_HEARTBEAT_INTERVAL PRESENCE_SWEEP_INTERVAL \
        FIREBASE_DATABASE_TIMEOUT PRESENCE_ON_DRAIN PRESENCE_FENCE PRESENCE_VISIBILITY \
        PRESENCE_BACKGROUND_GRACE CHAT_ACCESS CHAT_MEMBERS_PATH CHAT_ACCESS_RECHECK TYPING_TTL \
        PRESENCE_MAX_ROOM LIMIT_CONNECTIONS LIMIT_CONNECTIONS_PER_USER LIMIT_MESSAGE_SIZE \
        LIMIT_CHATS_PER_CONNECTION LIMIT_WATCHED_USERS LIMIT_EVENTS_PER_SECOND";
    let mut expected: Vec<_> = names.split_whitespace().collect();
    let mut rows: Vec<_> = rows().iter().map(|row| row.name).collect();
    expected.sort_unstable();
    rows.sort_unstable();
    assert_eq!(rows, expected);
}
