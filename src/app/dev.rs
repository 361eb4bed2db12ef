//! `presence-bridge dev`: the bridge beside local stand-ins for Firebase, on this machine only.
//!
//! The bridge talks to them over real HTTP, exactly as it talks to the emulators; where a real
//! emulator is named in the environment, that is used instead.

use super::{Running, Surroundings};
use crate::config::{Config, DatabaseTarget};
use crate::dev::accounts::{self, AccountsStandIn};
use crate::dev::database::{self, DEFAULT_RULES, DatabaseStandIn};
use crate::dev::page::{self, PageConfig};
use anyhow::Context;
use std::fmt;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Starts the stand-ins that are needed and then the bridge, and says where everything is.
pub async fn start(config: &Config, around: Surroundings) -> anyhow::Result<Running> {
    let mut config = config.clone();
    let clock = around.clock.clone();
    // The stand-ins end with the process: the bridge's last flush needs the database until then.
    let forever = CancellationToken::new();
    let accounts = if let Some(host) = config.firebase_auth_emulator_host.clone() {
        host
    } else {
        let listener = listen("DEV_AUTH_PORT", config.dev_auth_port).await?;
        let address = listener.local_addr()?.to_string();
        let stand_in = AccountsStandIn::new(&config.project_id, clock.clone());
        tokio::spawn(accounts::serve(listener, stand_in, forever.clone()));
        address
    };
    if let DatabaseTarget::Emulator { host, .. } = &mut config.database
        && host.ends_with(":0")
    {
        let listener = listen("DEV_DATABASE_PORT", config.dev_database_port).await?;
        *host = listener.local_addr()?.to_string();
        let stand_in = DatabaseStandIn::new(&config.project_id, DEFAULT_RULES, clock.clone())
            .context("firebase/database.rules.json")?;
        tokio::spawn(database::serve(listener, stand_in, forever));
    }
    let database = config.database.clone();
    let auth_url = format!("http://{accounts}")
        .parse()
        .context("FIREBASE_AUTH_EMULATOR_HOST")?;
    let page = page::page_router(&PageConfig { auth_url });
    let running = super::start(&config, Surroundings { page, ..around })?;
    let welcome = Welcome {
        bridge: running.public,
        accounts,
        database,
    };
    // Whoever closed standard output does not want to be welcomed.
    write!(io::stdout(), "{welcome}").unwrap_or_default();
    Ok(running)
}

async fn listen(name: &str, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| {
            format!(
                "port {port} of 127.0.0.1 is taken; set {name} to another, or to 0 for any free one"
            )
        })
}

/// What a developer sees first.
struct Welcome {
    bridge: SocketAddr,
    accounts: String,
    database: DatabaseTarget,
}

impl fmt::Display for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bridge,
            accounts,
            database,
        } = self;
        writeln!(f, "demo page   http://{bridge}/   (open it in two tabs)")?;
        writeln!(f, "accounts    http://{accounts}")?;
        if let DatabaseTarget::Emulator { host, namespace } = database {
            writeln!(f, "database    http://{host}/?ns={namespace}")?;
            writeln!(f, "\ntry:")?;
            writeln!(f, "  curl http://{bridge}/readyz")?;
            writeln!(
                f,
                "  curl -d '{{\"token\":\"{{\\\"uid\\\":\\\"alice\\\"}}\",\"returnSecureToken\":true}}' -H 'content-type: application/json' 'http://{accounts}/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken?key=any'"
            )?;
            writeln!(
                f,
                "  curl -H 'Authorization: Bearer owner' 'http://{host}/presence.json?ns={namespace}'"
            )?;
        }
        Ok(())
    }
}
