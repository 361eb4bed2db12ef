//! Google's side of the composition: who verifies tokens, and how the database is reached.

use super::Ground;
use crate::config::{self, Config, Credentials, DatabaseTarget, IdentityMode};
use crate::domain::mirror::Limits;
use crate::firebase::access_token::AccessTokens;
use crate::firebase::bearer::{Owner, TokenSource};
use crate::firebase::database::{Database, DatabaseOptions, Target};
use crate::firebase::id_token::{Rules, TenantPolicy, Verifier};
use crate::firebase::keys::{Keys, KeysState};
use crate::firebase::schema::{DatabasePath, Layout};
use crate::http::health::{Condition, Health};
use crate::services::mirror::{self, MirrorHandle, MirrorOptions, MirrorTask, Process, Standing};
use crate::services::ports::Verify;
use crate::services::presence::Adopted;
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// First and longest pause after a failed write.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Pause after a refusal that only a person can cure.
const DENIED_PAUSE: Duration = Duration::from_mins(1);
/// When the users of an ambiguous write are read again.
const RECHECK_AFTER: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// Who verifies ID tokens. In production the keys are fetched and kept fresh from here on.
pub(super) fn identity(
    config: &Config,
    ground: &Ground,
    health: Health,
) -> anyhow::Result<(Arc<dyn Verify>, Health)> {
    let Ground { clock, metrics, .. } = ground;
    let rules = Rules {
        project_id: config.project_id.clone(),
        leeway: config.auth_leeway,
        tenant: match &config.auth_tenant {
            config::TenantPolicy::None => TenantPolicy::None,
            config::TenantPolicy::Any => TenantPolicy::Any,
            config::TenantPolicy::Require(tenant) => TenantPolicy::Require(tenant.clone()),
        },
    };
    let keys_url = match &config.identity {
        IdentityMode::Google { keys_url } => keys_url.clone(),
        IdentityMode::Emulator => {
            tracing::warn!("unsigned emulator tokens are accepted; never do this in production");
            metrics.insecure_mode.set(1);
            let verifier = Verifier::emulator(rules, clock.clone(), Arc::clone(metrics));
            return Ok((Arc::new(verifier), health));
        }
    };
    let keys = Keys::new(keys_url, clock.clone(), Arc::clone(metrics)).context("AUTH_KEYS_URL")?;
    ground.run_until_stop("keys", {
        let keys = keys.clone();
        async move { keys.keep_fresh().await }
    });
    let health = health.with({
        let keys = keys.clone();
        move || match (keys.ready(), keys.state()) {
            (false, _) => Condition::NotReady("google_keys_not_obtained"),
            (true, KeysState::Fresh) => Condition::Well,
            (true, _) => Condition::Degraded("google_keys_stale"),
        }
    });
    let verifier = Verifier::production(rules, keys, clock.clone(), Arc::clone(metrics));
    Ok((Arc::new(verifier), health))
}

/// The mirror before it runs, and its two ends.
pub(super) struct MirrorParts {
    pub(super) handle: MirrorHandle,
    pub(super) task: MirrorTask,
    /// Whoever is found online at start.
    pub(super) adopted: mpsc::Receiver<Adopted>,
    pub(super) standing: watch::Receiver<Standing>,
}

/// The mirror and its database.
pub(super) fn mirror(
    config: &Config,
    ground: &Ground,
    health: Health,
) -> anyhow::Result<(MirrorParts, Health)> {
    let Ground { clock, metrics, .. } = ground;
    let me = Process {
        node: config.node_name.clone(),
        boot: format!("{:016x}", rand::random::<u64>()),
    };
    let database = database(config, ground, &me)?;
    let options = MirrorOptions {
        limits: Limits {
            batch_users: config.presence_batch_users,
            flush_interval: config.presence_flush_interval,
            backoff: BACKOFF,
            denied_pause: DENIED_PAUSE,
            recheck_after: RECHECK_AFTER,
        },
        heartbeat_interval: config.presence_heartbeat_interval,
        sweep_interval: config.presence_sweep_interval,
        drain_timeout: super::flush_budget(config.drain_timeout),
        me,
        fence: config.presence_fence == config::Fence::Rules,
        jitter: rand::random::<f64>,
    };
    #[cfg(feature = "sabotage")]
    let options = ground.sabotage.mirror(options);
    let (adopt, adopted) = mpsc::channel(1);
    let (handle, standing, task) = mirror::mirror(
        options,
        Arc::new(database),
        adopt,
        Arc::clone(metrics),
        clock.clone(),
    );
    let watched = standing.clone();
    let health = health.with(move || match *watched.borrow() {
        standing if !standing.tried => Condition::NotReady("database_not_asked_yet"),
        standing if standing.degraded => Condition::Degraded("database_unreachable"),
        _ => Condition::Well,
    });
    let parts = MirrorParts {
        handle,
        task,
        adopted,
        standing,
    };
    Ok((parts, health))
}

fn database(config: &Config, ground: &Ground, me: &Process) -> anyhow::Result<Database> {
    let Ground { clock, metrics, .. } = ground;
    let target = match &config.database {
        DatabaseTarget::Production { url } => Target::production(url.as_str()),
        DatabaseTarget::Emulator { host, namespace } => Target::emulator(host, namespace),
    };
    let options = DatabaseOptions {
        target: target.context("FIREBASE_DATABASE_URL")?,
        presence_path: DatabasePath::parse(&config.presence_path).context("PRESENCE_PATH")?,
        nodes_path: DatabasePath::parse(&config.presence_nodes_path)
            .context("PRESENCE_NODES_PATH")?,
        fence_path: DatabasePath::parse(&config.presence_fence_path)
            .context("PRESENCE_FENCE_PATH")?,
        layout: match config.presence_layout {
            config::Layout::Bridge => Layout::Bridge,
            config::Layout::FirebaseGuide => Layout::FirebaseGuide,
        },
        node: me.node.clone(),
        boot: me.boot.clone(),
        timeout: config.firebase_database_timeout,
        heartbeat_interval: config.presence_heartbeat_interval,
    };
    let tokens = credentials(config, ground)?;
    Ok(Database::new(
        options,
        tokens,
        Arc::clone(metrics),
        clock.clone(),
    )?)
}

fn credentials(config: &Config, ground: &Ground) -> anyhow::Result<Arc<dyn TokenSource>> {
    let Ground { clock, metrics, .. } = ground;
    Ok(match &config.credentials {
        Credentials::Owner => Arc::new(Owner),
        Credentials::KeyFile(key) => {
            if key.is_shared {
                tracing::warn!("the key file can be read by every user of this machine");
            }
            let json = Arc::clone(&key.json);
            Arc::new(AccessTokens::from_key_file(
                json,
                clock.clone(),
                Arc::clone(metrics),
            ))
        }
        Credentials::Metadata => {
            let host = &config.gce_metadata_host;
            let tokens =
                AccessTokens::from_metadata_server(host, clock.clone(), Arc::clone(metrics));
            Arc::new(tokens.context("GCE_METADATA_HOST")?)
        }
    })
}
