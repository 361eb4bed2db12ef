//! Protections left out on purpose, so that a chaos test can be seen to fail without the one it guards.
//!
//! Only a build with the feature `sabotage` has this file. What is left out is left out of the composition: no rule
//! and no use case knows of it.

use super::Ground;
use super::front::Listeners;
use crate::config::{Config, Environment};
use crate::server::Terms;
use crate::services::mirror::MirrorOptions;
use crate::services::presence::{Adopted, Presence};
use anyhow::Context;
use clap::ValueEnum;
use socket2::SockRef;
use std::io;
use std::time::Duration;
use tokio::sync::mpsc;

/// Names what is left out, separated by commas.
const VARIABLE: &str = "SABOTAGE";
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(8_760);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Protection {
    /// The kernel gives up a connection whose data nobody takes.
    UserTimeout,
    /// A write that waits while the client says nothing cuts its line.
    Patience,
    /// Sessions whose socket is gone without a word are found.
    Audit,
    /// Whoever the database calls online at start is looked after.
    Adoption,
    /// They have time to come back.
    StartGrace,
    /// Users of a doubtful write are read again.
    Doubt,
    /// All records are compared with the truth.
    Sweep,
    /// Graces get the time back in which the process stood still.
    Standstill,
    /// No background task panics; without it, the audit does.
    Soundness,
}

/// Leaves out what the environment names.
pub(super) fn of_process(
    config: &Config,
    mut ground: Ground,
    listeners: &Listeners,
) -> anyhow::Result<(Config, Ground)> {
    let environment = Environment::of_process();
    if let Some(list) = environment.get(VARIABLE) {
        tracing::error!(list, "sabotage: this process leaves out its protections");
        ground.sabotage = Sabotage::parse(list).context(VARIABLE)?;
    }
    ground.sabotage.listeners(listeners)?;
    Ok((ground.sabotage.settings(config), ground))
}

/// What this process does without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sabotage(Vec<Protection>);

impl Sabotage {
    fn parse(list: &str) -> anyhow::Result<Self> {
        let names = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let protections = names.map(|name| {
            Protection::from_str(name, false).map_err(|_| {
                anyhow::anyhow!("there is no protection `{name}`; there are {}", known())
            })
        });
        Ok(Self(protections.collect::<Result<_, _>>()?))
    }

    fn without(&self, protection: Protection) -> bool {
        self.0.contains(&protection)
    }

    fn settings(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if self.without(Protection::StartGrace) {
            config.presence_start_grace = Duration::ZERO;
        }
        if self.without(Protection::Sweep) {
            config.presence_sweep_interval = NEVER;
        }
        config
    }

    fn listeners(&self, listeners: &Listeners) -> io::Result<()> {
        if self.without(Protection::UserTimeout) {
            SockRef::from(&listeners.public).set_tcp_user_timeout(None)?;
        }
        Ok(())
    }

    pub(super) fn terms(&self, mut terms: Terms) -> Terms {
        if self.without(Protection::Patience) {
            terms.patience = NEVER;
        }
        terms
    }

    pub(super) fn mirror(&self, mut options: MirrorOptions) -> MirrorOptions {
        if self.without(Protection::Doubt) {
            options.limits.recheck_after = [NEVER; 2];
        }
        options
    }

    pub(super) fn adopted(&self, adopted: mpsc::Receiver<Adopted>) -> mpsc::Receiver<Adopted> {
        if self.without(Protection::Adoption) {
            mpsc::channel(1).1
        } else {
            adopted
        }
    }

    pub(super) fn presence(&self, mut presence: Presence) -> Presence {
        if self.without(Protection::Standstill) {
            presence.patience = NEVER;
        }
        presence
    }

    pub(super) async fn audit(self, audit: impl Future<Output = ()>) {
        assert!(!self.without(Protection::Soundness), "sabotage");
        if !self.without(Protection::Audit) {
            audit.await;
        }
    }
}

fn known() -> String {
    let values = Protection::value_variants().iter();
    let names = values.filter_map(|value| Some(value.to_possible_value()?.get_name().to_owned()));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::domain::mirror::Limits;
    use crate::server;
    use crate::services::mirror::Process;

    fn config() -> Config {
        Config::dev(&Environment::default()).unwrap()
    }

    fn without(list: &str) -> Sabotage {
        Sabotage::parse(list).unwrap()
    }

    #[test]
    fn an_unknown_protection_is_refused_with_the_names_there_are() {
        let problem = Sabotage::parse("audit, gravity").unwrap_err().to_string();
        assert!(problem.contains("`gravity`"), "{problem}");
        for name in ["user_timeout", "start_grace", "sweep"] {
            assert!(problem.contains(name), "{problem}");
        }
    }

    #[test]
    fn nothing_named_leaves_everything_in() {
        assert_eq!(without(" , "), Sabotage(Vec::new()));
        assert_eq!(without("").settings(&config()), config());
    }

    #[test]
    fn settings_are_those_without_the_protection() {
        let changed = without("start_grace,sweep").settings(&config());
        assert_eq!(changed.presence_start_grace, Duration::ZERO);
        assert_eq!(changed.presence_sweep_interval, NEVER);
    }

    #[test]
    fn a_write_may_wait_for_ever() {
        let terms = Terms {
            places: 1,
            patience: Duration::from_secs(35),
        };
        assert_eq!(without("patience").terms(terms).patience, NEVER);
        assert_eq!(without("").terms(terms).patience, terms.patience);
    }

    #[tokio::test]
    async fn the_listener_has_no_user_timeout() {
        let config = Config::dev(
            &[("PORT", "0"), ("ADMIN_LISTEN", "127.0.0.1:0")]
                .into_iter()
                .collect(),
        );
        let config = config.unwrap();
        for (list, left_out) in [("", false), ("user_timeout", true)] {
            let listeners = Listeners::bind(&config).unwrap();
            without(list).listeners(&listeners).unwrap();
            let (_, user_timeout, _) = server::options(&listeners.public).unwrap();
            assert_eq!(user_timeout.is_none(), left_out, "{list}");
        }
    }

    #[test]
    fn users_of_a_doubtful_write_are_not_read_again() {
        let options = MirrorOptions {
            limits: Limits::default(),
            heartbeat_interval: NEVER,
            sweep_interval: NEVER,
            drain_timeout: NEVER,
            me: Process {
                node: String::new(),
                boot: String::new(),
            },
            fence: false,
            jitter: || 0.5,
        };
        let options = without("doubt").mirror(options);
        assert_eq!(options.limits.recheck_after, [NEVER; 2]);
    }

    #[tokio::test]
    async fn nobody_is_adopted() {
        let (adopt, adopted) = mpsc::channel(1);
        let mut heard = without("adoption").adopted(adopted);
        assert!(adopt.send(Vec::new()).await.is_err(), "nobody listens");
        assert!(heard.recv().await.is_none());
    }

    #[tokio::test]
    async fn the_audit_does_not_run() {
        without("audit").audit(async { unreachable!() }).await;
        let (ran, heard) = tokio::sync::oneshot::channel();
        without("").audit(async { ran.send(()).unwrap() }).await;
        heard.await.unwrap();
    }
}
