//! From what the operator says of Firebase to one identity, one database and one credential, and the gate that keeps
//! emulators, which believe everything, away from production.

use super::address;
use super::environment::Environment;
use super::key_file::KeyFile;
use super::problem::Findings;
use super::table::{Derived, Sources};
use super::values::{Credentials, DatabaseTarget, IdentityMode};

const AUTH_EMULATOR: &str = "FIREBASE_AUTH_EMULATOR_HOST";
const DATABASE_EMULATOR: &str = "FIREBASE_DATABASE_EMULATOR_HOST";
const DATABASE_URL: &str = "FIREBASE_DATABASE_URL";
const KEY_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const PROJECT_ID: &str = "FIREBASE_PROJECT_ID";

/// Projects with this beginning cannot exist in production
/// (firebase.google.com/docs/emulator-suite/connect_auth, "demo projects").
const DEMO: &str = "demo-";

/// The project of `presence-bridge dev`, when nothing else is said.
pub(super) const DEV_PROJECT: &str = "demo-presence-bridge";

/// Where the database of `presence-bridge dev` is before its stand-in is bound.
const DEV_DATABASE: &str = "127.0.0.1:0";

/// Puts the sources together; what cannot be put together is a problem.
pub(super) fn derive(
    sources: Sources,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Derived> {
    let key = key(&sources, findings);
    let project = project(&sources, key.as_ref(), findings);
    if sources.auth_emulator.is_some() {
        gate(project.as_ref(), &sources, environment, findings);
    } else if sources.database_emulator.is_some() {
        findings.tell(
            &[DATABASE_EMULATOR, AUTH_EMULATOR],
            "a database emulator goes only with an Auth emulator: set both or neither",
        );
    }
    let database = database(
        &sources,
        project.as_ref().map(|(id, _)| id.as_str()),
        findings,
    );
    let credentials = match &database {
        Some(DatabaseTarget::Emulator { .. }) => Credentials::Owner,
        _ => key.map_or(Credentials::Metadata, Credentials::KeyFile),
    };
    Some(Derived {
        project_id: project?.0,
        identity: match sources.auth_emulator {
            Some(_) => IdentityMode::Emulator,
            None => IdentityMode::Google {
                keys_url: sources.auth_keys_url,
            },
        },
        database: database?,
        credentials,
        firebase_auth_emulator_host: sources.auth_emulator,
    })
}

/// The settings of `presence-bridge dev`: nothing is needed, and nothing of production is accepted.
pub(super) fn derive_dev(
    mut sources: Sources,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Derived> {
    let named = sources.auth_emulator.clone();
    let ignored = sources.database_emulator.is_none()
        && sources
            .database_url
            .as_ref()
            .is_some_and(|url| url.scheme() == "http");
    if ignored {
        findings.tell(
            &[DATABASE_URL],
            format!("dev brings a database of its own; unset it, or name an emulator with {DATABASE_EMULATOR}"),
        );
    }
    sources
        .project_id
        .get_or_insert_with(|| DEV_PROJECT.to_owned());
    sources
        .auth_emulator
        .get_or_insert_with(|| DEV_DATABASE.to_owned());
    sources
        .database_emulator
        .get_or_insert_with(|| DEV_DATABASE.to_owned());
    let derived = derive(sources, environment, findings)?;
    Some(Derived {
        firebase_auth_emulator_host: named,
        ..derived
    })
}

/// The key file, read only where something of it is needed: an emulator takes no key.
fn key(sources: &Sources, findings: &mut Findings) -> Option<KeyFile> {
    let needless = sources.database_emulator.is_some() && named_project(sources).is_some();
    let path = sources.key_file.as_ref().filter(|_| !needless)?;
    KeyFile::read(path)
        .map_err(|fault| findings.tell(&[KEY_FILE], fault))
        .ok()
}

fn named_project(sources: &Sources) -> Option<(String, &'static str)> {
    let named = [
        (&sources.project_id, PROJECT_ID),
        (&sources.google_cloud_project, "GOOGLE_CLOUD_PROJECT"),
        (&sources.gcloud_project, "GCLOUD_PROJECT"),
    ];
    named
        .into_iter()
        .find_map(|(id, variable)| id.clone().map(|id| (id, variable)))
}

/// The project id and the variable it came from.
fn project(
    sources: &Sources,
    key: Option<&KeyFile>,
    findings: &mut Findings,
) -> Option<(String, &'static str)> {
    let found = named_project(sources).or_else(|| Some((key?.project_id.clone()?, KEY_FILE)));
    if found.is_none() {
        findings.tell(
            &[PROJECT_ID],
            "required: the id of the Firebase project whose users may connect; for example FIREBASE_PROJECT_ID=my-chat-app",);
    }
    found
}

/// An Auth emulator means that anybody can be anybody: only for a project that cannot be real, away from production.
fn gate(
    project: Option<&(String, &'static str)>,
    sources: &Sources,
    environment: &Environment,
    findings: &mut Findings,
) {
    if let Some((_, variable)) = project.filter(|(id, _)| !id.starts_with(DEMO)) {
        findings.tell(
            &[AUTH_EMULATOR, variable],
            "an Auth emulator is accepted only for a project whose id starts with `demo-`; \
             for example FIREBASE_PROJECT_ID=demo-chat",
        );
    }
    let production = sources
        .database_url
        .as_ref()
        .is_some_and(|url| url.scheme() == "https");
    if production {
        findings.tell(
            &[AUTH_EMULATOR, DATABASE_URL],
            "an Auth emulator must not meet a production database: unset one of the two",
        );
    }
    let runtimes = environment.cloud_runtimes();
    if !runtimes.is_empty() {
        let variables: Vec<_> = std::iter::once(AUTH_EMULATOR).chain(runtimes).collect();
        findings.tell(
            &variables,
            "an Auth emulator must not be used on a cloud runtime, where anybody could sign in as anybody",);
    }
}

fn database(
    sources: &Sources,
    project: Option<&str>,
    findings: &mut Findings,
) -> Option<DatabaseTarget> {
    let named = sources.database_url.as_ref().and_then(address::namespace);
    if let Some(host) = &sources.database_emulator {
        let namespace = named.or_else(|| Some(format!("{}-default-rtdb", project?)))?;
        return Some(DatabaseTarget::Emulator {
            host: host.clone(),
            namespace,
        });
    }
    match &sources.database_url {
        Some(url) if url.query().is_none() => Some(DatabaseTarget::Production { url: url.clone() }),
        Some(_) => {
            findings.tell(
                &[DATABASE_URL],
                format!("`?ns=` is for the emulator: name it with {DATABASE_EMULATOR}=host:port"),
            );
            None
        }
        None => {
            if !findings.is_rejected(DATABASE_EMULATOR) {
                findings.tell(
                    &[DATABASE_URL],
                    "required: the address of the Realtime Database; for example \
                     FIREBASE_DATABASE_URL=https://my-chat-app-default-rtdb.europe-west1.firebasedatabase.app",);
            }
            None
        }
    }
}
