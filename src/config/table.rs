//! The table of all settings. A row says name, field, type, default and form; its doc comment is its sentence.
//!
//! The struct, the reader, `--help`, `.env.example` and the table in the README all come from these rows.

use super::environment::Environment;
use super::form::{self, Form};
use super::problem::{Findings, shown};
use super::values::{
    CorsOrigins, Credentials, DatabaseTarget, Fence, IdentityMode, Layout, OnDrain, TenantPolicy,
    Transport,
};
use crate::telemetry::logs::LogFormat;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// A row as people read it.
#[derive(Clone, Debug)]
pub struct Row {
    pub area: &'static str,
    pub name: &'static str,
    /// Empty: unset.
    pub default: &'static str,
    pub accepted: String,
    pub example: String,
    pub sentence: &'static str,
}

/// Reads rows and gathers what is wrong with them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    environment: &'a Environment,
    pub(super) findings: Findings,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            findings: Findings::default(),
        }
    }

    /// The value set, or the default: also where the value is wrong, so that the rules between settings can still
    /// be checked. `None` only for a default that contradicts its own form.
    fn read<T: 'static>(&mut self, name: &str, default: &str, form: &Form<T>) -> Option<T> {
        if let Some(text) = self.environment.get(name) {
            if let Some(value) = form.read(text) {
                return Some(value);
            }
            self.reject(name, text, form);
        }
        let value = form.read(default);
        if value.is_none() {
            self.reject(name, default, form);
        }
        value
    }

    fn reject<T: 'static>(&mut self, name: &str, found: &str, form: &Form<T>) {
        let text = format!(
            "found {}, expected {}; for example {name}={}",
            shown(found),
            form.accepted,
            form.example,
        );
        self.findings.reject(name, text);
    }

    /// A row whose feature arrives later: only today's truth is accepted, and the value is never shown.
    fn later(&mut self, name: &str, today: &str, feature: &str) {
        let Some(text) = self.environment.get(name) else {
            return;
        };
        if text == today {
            return;
        }
        let accepted = if today.is_empty() {
            "leave it unset".to_owned()
        } else {
            format!("the only value today is `{today}`")
        };
        let text = format!("{feature} is not there yet: {accepted}");
        self.findings.reject(name, text);
    }
}

macro_rules! settings {
    (
        $(#[$config_meta:meta])* config {
            $($(#[doc = $note:literal])+ $derived:ident: $derived_type:ty;)*
        }
        $(area $area:literal {
            $($(#[doc = $sentence:literal])+ $name:ident => $field:ident: $type:ty = $default:literal, $form:expr;)*
        })+
        sources $source_area:literal {
            $($(#[doc = $source_sentence:literal])+ $source_name:ident => $source:ident: $source_type:ty = $source_default:literal, $source_form:expr;)*
        }
        later {
            $($(#[doc = $later_sentence:literal])+ $later_area:literal $later_name:ident = $today:literal, $feature:literal;)*
        }
    ) => {
        $(#[$config_meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $note])+ pub $derived: $derived_type,)*
            $($($(#[doc = $sentence])+ pub $field: $type,)*)+
        }

        /// The rows that are used as they are.
        #[derive(Debug)]
        pub(super) struct Settings { $($(pub(super) $field: $type,)*)+ }

        /// The rows that say together where Firebase is and who we are to it.
        #[derive(Debug)]
        pub(super) struct Sources { $(pub(super) $source: $source_type,)* }

        /// What follows from the sources.
        #[derive(Debug)]
        pub(super) struct Derived { $(pub(super) $derived: $derived_type,)* }

        impl Settings {
            /// `None` only with a problem that says why.
            pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
                $($(let $field = reader.read(stringify!($name), $default, &$form);)*)+
                $(reader.later(stringify!($later_name), $today, $feature);)*
                Some(Self { $($($field: $field?,)*)+ })
            }

            pub(super) fn with(self, derived: Derived) -> Config {
                Config { $($derived: derived.$derived,)* $($($field: self.$field,)*)+ }
            }
        }

        impl Sources {
            /// `None` only with a problem that says why.
            pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
                $(let $source = reader.read(stringify!($source_name), $source_default, &$source_form);)*
                Some(Self { $($source: $source?,)* })
            }
        }

        /// The areas in the order of the documentation.
        const AREAS: &[&str] = &[$source_area, $($area),+];

        /// Every row, area by area.
        pub fn rows() -> Vec<Row> {
            let mut rows = vec![
                $(Row::of::<$source_type>($source_area, stringify!($source_name), $source_default, $source_form, concat!($($source_sentence),+)),)*
                $($(Row::of::<$type>($area, stringify!($name), $default, $form, concat!($($sentence),+)),)*)+
                $(Row::of_later($later_area, stringify!($later_name), $today, $feature, concat!($($later_sentence),+)),)*
            ];
            rows.sort_by_key(|row| AREAS.iter().position(|area| *area == row.area));
            rows
        }
    };
}

settings! {
    /// Everything that can be set, read and validated. Shows no secret in `Debug`: it holds none.
    config {
        /// Whose tokens are accepted.
        project_id: String;
        /// Who vouches for ID tokens.
        identity: IdentityMode;
        /// Where presence is mirrored to.
        database: DatabaseTarget;
        /// How the database is told that it is us.
        credentials: Credentials;
        /// `host:port` of a Firebase Auth emulator, where one was named.
        firebase_auth_emulator_host: Option<String>;
    }

    area "server" {
        /// Address on which apps connect.
        HOST => host: IpAddr = "0.0.0.0", form::parsed("an IP address", "127.0.0.1");
        /// Port on which apps connect; 0 takes any free one.
        PORT => port: u16 = "3000", form::number(0..=65_535, "8080");
        /// Address of `/metrics`, `/healthz` and `/readyz`. Keep it off the internet.
        ADMIN_LISTEN => admin_listen: SocketAddr = "127.0.0.1:9090", form::parsed("an IP address and a port", "0.0.0.0:9090");
        /// What is logged.
        RUST_LOG => rust_log: String = "info", form::log_filter();
        /// Log lines for people or for machines.
        LOG_FORMAT => log_format: LogFormat = "text", form::log_format();
    }

    area "identity" {
        /// How far the clocks of Google and this machine may differ.
        AUTH_LEEWAY => auth_leeway: Duration = "60s", form::duration(NONE..=MINUTE * 5, "60s");
        /// How long before the end of its token a connection hears `token_expiring`.
        AUTH_EXPIRY_NOTICE => auth_expiry_notice: Duration = "5m", form::duration(NONE..=MINUTE * 30, "5m");
        /// The Identity Platform tenant that tokens must come from.
        AUTH_TENANT => auth_tenant: TenantPolicy = "none", form::tenant_policy();
    }

    area "google cloud" {
        /// The metadata server that is asked for access tokens where there is no key file.
        GCE_METADATA_HOST => gce_metadata_host: String = "metadata.google.internal", form::host("metadata.google.internal");
    }

    area "transport" {
        /// How Socket.IO clients may connect. Polling behind a load balancer needs sticky sessions.
        TRANSPORTS => transports: Vec<Transport> = "websocket,polling", form::transports();
        /// How often the server asks a connection whether it lives.
        PING_INTERVAL => ping_interval: Duration = "20s", form::duration(SECOND..=MINUTE * 2, "20s");
        /// How long it waits for the answer.
        PING_TIMEOUT => ping_timeout: Duration = "15s", form::duration(SECOND..=MINUTE * 2, "15s");
        /// Browser pages that may connect. Apps are not concerned.
        CORS_ORIGINS => cors_origins: CorsOrigins = "", form::cors_origins();
        /// How long an orderly shutdown may take. Keep it below the platform's own patience (Cloud Run: 10 s).
        DRAIN_TIMEOUT => drain_timeout: Duration = "8s", form::duration(SECOND..=MINUTE * 5, "8s");
    }

    area "presence" {
        /// Where in the database the records are.
        PRESENCE_PATH => presence_path: String = "/presence", form::database_path("/status");
        /// Shape of a record: `{online, lastSeen, node}`, or `{state, last_changed}` as in Firebase's guide.
        PRESENCE_LAYOUT => presence_layout: Layout = "bridge", form::layout();
        /// How long a user stays online after the last connection closed.
        PRESENCE_GRACE => presence_grace: Duration = "10s", form::duration(NONE..=MINUTE * 10, "10s");
        /// How long after a start the users of the process before have to come back.
        PRESENCE_START_GRACE => presence_start_grace: Duration = "30s", form::duration(NONE..=MINUTE * 10, "30s");
        /// How long changes are gathered into one write.
        PRESENCE_FLUSH_INTERVAL => presence_flush_interval: Duration = "250ms", form::duration(MILLISECOND * 10..=SECOND * 30, "250ms");
        /// Most users in one write. A write triggers at most 500 to 1000 Cloud Functions.
        PRESENCE_BATCH_USERS => presence_batch_users: usize = "400", form::number(1..=400, "400");
        /// Name of this node in its records. A successor under the same name inherits them.
        NODE_NAME => node_name: String = "main", form::node_name();
        /// Where in the database the nodes' heartbeats are.
        PRESENCE_NODES_PATH => presence_nodes_path: String = "/presenceNodes", form::database_path("/presenceNodes");
        /// How often this node says that it lives. Readers allow for three intervals.
        PRESENCE_HEARTBEAT_INTERVAL => presence_heartbeat_interval: Duration = "10s", form::duration(SECOND..=MINUTE, "10s");
        /// How often all records are compared with the truth.
        PRESENCE_SWEEP_INTERVAL => presence_sweep_interval: Duration = "5m", form::duration(SECOND * 10..=HOUR * 24, "5m");
        /// How long one request to the database may take.
        FIREBASE_DATABASE_TIMEOUT => firebase_database_timeout: Duration = "5s", form::duration(MILLISECOND * 100..=MINUTE, "5s");
        /// At shutdown, users still connected become offline, or are left to the process that takes over.
        PRESENCE_ON_DRAIN => presence_on_drain: OnDrain = "offline", form::on_drain();
        /// With `rules` the newest process alone can write presence, by the rule in `database.rules.json`; the one before it drains.
        PRESENCE_FENCE => presence_fence: Fence = "off", form::fence();
        /// Where in the database that process's claim is. The rule names the same place.
        PRESENCE_FENCE_PATH => presence_fence_path: String = "/presenceFence", form::database_path("/presenceFence");
    }

    area "chats" {
        /// How long a user counts as typing after the last `typing` event.
        TYPING_TTL => typing_ttl: Duration = "6s", form::duration(SECOND..=MINUTE, "6s");
        /// Chats with more connections than this get no presence events; watchers do.
        PRESENCE_MAX_ROOM => presence_max_room: usize = "500", form::number(0..=100_000, "500");
    }

    area "limits" {
        /// Open connections of this process; 0 means as many as file descriptors allow.
        LIMIT_CONNECTIONS => limit_connections: usize = "0", form::number(0..=10_000_000, "20000");
        /// Connections of one user; one more closes the oldest.
        LIMIT_CONNECTIONS_PER_USER => limit_connections_per_user: usize = "10", form::number(1..=1_000, "10");
        /// Payload of one event.
        LIMIT_MESSAGE_SIZE => limit_message_size: usize = "16KiB", form::size(1_024..=1_048_576, "16KiB");
        /// Chats that one connection may have joined.
        LIMIT_CHATS_PER_CONNECTION => limit_chats_per_connection: usize = "200", form::number(1..=10_000, "200");
        /// Users whom one connection may watch.
        LIMIT_WATCHED_USERS => limit_watched_users: usize = "200", form::number(0..=10_000, "200");
        /// Events a second from one connection; a burst may be twice that.
        LIMIT_EVENTS_PER_SECOND => limit_events_per_second: u32 = "50", form::number(1..=1_000_000, "50");
    }

    area "dev" {
        /// `presence-bridge dev`: port of the database's stand-in; 0 takes any free one.
        DEV_DATABASE_PORT => dev_database_port: u16 = "9000", form::number(0..=65_535, "9000");
        /// `presence-bridge dev`: port of the stand-in that gives tokens; 0 takes any free one.
        DEV_AUTH_PORT => dev_auth_port: u16 = "9099", form::number(0..=65_535, "9099");
    }

    sources "firebase" {
        /// The Firebase project. Required, unless one of the next two or the key file names it.
        FIREBASE_PROJECT_ID => project_id: Option<String> = "", form::optional(form::project_id());
        /// Used where `FIREBASE_PROJECT_ID` is not set.
        GOOGLE_CLOUD_PROJECT => google_cloud_project: Option<String> = "", form::optional(form::project_id());
        /// Used where neither of the two is set.
        GCLOUD_PROJECT => gcloud_project: Option<String> = "", form::optional(form::project_id());
        /// The Realtime Database. Required, unless an emulator is used.
        FIREBASE_DATABASE_URL => database_url: Option<Url> = "", form::optional(form::database_url());
        /// Key file of a service account. Unset: the metadata server of Google Cloud is asked.
        GOOGLE_APPLICATION_CREDENTIALS => key_file: Option<PathBuf> = "", form::optional(form::path("/run/secrets/firebase-key.json"));
        /// A Firebase Auth emulator: unsigned tokens are accepted. Only with a `demo-` project.
        FIREBASE_AUTH_EMULATOR_HOST => auth_emulator: Option<String> = "", form::optional(form::emulator_host("127.0.0.1:9099"));
        /// A Realtime Database emulator. Only together with the Auth emulator.
        FIREBASE_DATABASE_EMULATOR_HOST => database_emulator: Option<String> = "", form::optional(form::emulator_host("127.0.0.1:9000"));
        /// Google's public keys for ID tokens, as a JWK set.
        AUTH_KEYS_URL => auth_keys_url: Url = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com",
            form::service_url("https://keys.example.com/jwk");
    }

    later {
        /// Redis, for more than one node.
        "server" REDIS_URL = "", "running several nodes";
        /// Firebase's account lookup, for tokens revoked before their end.
        "identity" AUTH_LOOKUP_URL = "", "looking up accounts";
        /// Whether revoked tokens are found out.
        "identity" AUTH_CHECK_REVOKED = "false", "checking for revoked tokens";
        /// Whether apps must prove that they are yours.
        "identity" APP_CHECK = "off", "App Check";
        /// Who may see a user's presence: members of shared chats and watchers.
        "presence" PRESENCE_VISIBILITY = "everyone", "restricting who sees presence";
        /// Grace for connections in the background.
        "presence" PRESENCE_BACKGROUND_GRACE = "", "a grace of its own for apps in the background";
        /// Who may join a chat: `open` lets every signed-in user in.
        "chats" CHAT_ACCESS = "open", "checking a user's right to a chat";
        /// Where in Firebase a chat's members are.
        "chats" CHAT_MEMBERS_PATH = "", "checking a user's right to a chat";
        /// How often the right to a joined chat is checked again.
        "chats" CHAT_ACCESS_RECHECK = "", "checking a user's right to a chat";
    }
}

const NONE: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

impl Row {
    fn of<T: 'static>(
        area: &'static str,
        name: &'static str,
        default: &'static str,
        form: Form<T>,
        sentence: &'static str,
    ) -> Self {
        Self {
            area,
            name,
            default,
            accepted: form.accepted,
            example: form.example,
            sentence: sentence.trim(),
        }
    }

    fn of_later(
        area: &'static str,
        name: &'static str,
        today: &'static str,
        feature: &'static str,
        sentence: &'static str,
    ) -> Self {
        let accepted = if today.is_empty() {
            format!("unset, until {feature} arrives")
        } else {
            format!("`{today}`, until {feature} arrives")
        };
        Self {
            area,
            name,
            default: today,
            accepted,
            example: today.to_owned(),
            sentence: sentence.trim(),
        }
    }
}
