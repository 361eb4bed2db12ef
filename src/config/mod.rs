//! Every setting, typed and validated as a whole; the only reader of the environment.
//!
//! Reading order: [`rows`] is the table, `form.rs` says what a value may look like, `rules.rs` and `firebase.rs` what
//! values must be to each other, `environment.rs` where they come from. All problems are told at once.

mod address;
mod command;
mod docs;
mod environment;
mod firebase;
mod form;
mod key_file;
mod problem;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use command::{Command, EX_USAGE, Stop, load};
pub use docs::{env_example, settings_table};
pub use environment::Environment;
pub use key_file::KeyFile;
pub use problem::{Problem, Problems};
pub use table::{Config, Row, rows};
pub use values::{
    CorsOrigins, Credentials, DatabaseTarget, Fence, IdentityMode, Layout, OnDrain, TenantPolicy,
    Transport,
};

use problem::Findings;
use table::{Derived, Reader, Settings, Sources};

/// How to get from the sources to Firebase.
type Derive = fn(Sources, &Environment, &mut Findings) -> Option<Derived>;

/// A rule of its own for one way of running.
type Extra = fn(&Settings, &mut Findings);

impl Config {
    /// The settings of a service, or everything that is wrong with them.
    pub fn read(environment: &Environment) -> Result<Self, Problems> {
        read(environment, firebase::derive, |_, _| ())
    }

    /// The settings of `presence-bridge dev`: an emulator's identity and database, on this machine only. Needs
    /// nothing; what is set still applies. A database that nobody named has port 0, to be filled in.
    pub fn dev(environment: &Environment) -> Result<Self, Problems> {
        let mut environment = environment.clone();
        // A developer's shell may name a real project and a real key for other tools; dev uses neither.
        for name in [
            "GOOGLE_CLOUD_PROJECT",
            "GCLOUD_PROJECT",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ] {
            environment.remove(name);
        }
        environment.set_default("HOST", "127.0.0.1");
        environment.set_default("CORS_ORIGINS", "*");
        read(&environment, firebase::derive_dev, rules::dev)
    }
}

fn read(environment: &Environment, derive: Derive, extra: Extra) -> Result<Config, Problems> {
    let mut reader = Reader::new(environment);
    let sources = Sources::read(&mut reader);
    let settings = Settings::read(&mut reader);
    let mut findings = reader.findings;
    let derived = sources.and_then(|sources| derive(sources, environment, &mut findings));
    if let Some(settings) = &settings {
        rules::check(settings, &mut findings);
        extra(settings, &mut findings);
    }
    let names: Vec<_> = rows().iter().map(|row| row.name).collect();
    findings.problems.extend(environment.unknown(&names));
    match (settings, derived) {
        (Some(settings), Some(derived)) if findings.problems.is_empty() => {
            Ok(settings.with(derived))
        }
        _ => Err(Problems(findings.problems)),
    }
}
