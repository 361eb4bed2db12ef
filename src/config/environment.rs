//! A snapshot of the environment: the one place that reads it, and the check for names we do not know.

use super::problem::Problem;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Set by the platforms that run services for real.
/// Google Cloud Run, App Engine, Cloud Functions, Render, Railway, Fly, Heroku, in this order.
pub(super) const CLOUD_RUNTIMES: [&str; 11] = [
    "K_SERVICE",
    "CLOUD_RUN_JOB",
    "GAE_SERVICE",
    "FUNCTION_TARGET",
    "FUNCTION_NAME",
    "RENDER",
    "RAILWAY_ENVIRONMENT",
    "RAILWAY_ENVIRONMENT_NAME",
    "FLY_APP_NAME",
    "FLY_MACHINE_ID",
    "DYNO",
];

/// Not in the list above, because test runners live in Kubernetes too; it only keeps `.env` out.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// A setting with one of these beginnings can only be meant for us.
const AREA_PREFIXES: [&str; 3] = ["PRESENCE_", "LIMIT_", "TYPING_"];

/// Near misses of our names that other programs own: a Kubernetes convention beside `NODE_NAME`,
/// Linux distributions, pip.
const NOT_OURS: [&str; 3] = ["POD_NAME", "CODE_NAME", "PIP_TIMEOUT"];

/// Shorter names are too near to everything (`HOST`, `PORT`).
const SHORTEST_NEAR_MISS: usize = 6;

/// Name and value of every variable at one moment. An empty value counts as unset.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .collect()
    }

    /// The value without surrounding white space, as a secret mounted from a file ends in a newline.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The variables of a platform that runs services for real.
    pub(super) fn cloud_runtimes(&self) -> Vec<&'static str> {
        CLOUD_RUNTIMES
            .into_iter()
            .filter(|name| self.get(name).is_some())
            .collect()
    }

    /// Development means: no cloud runtime and no Kubernetes around us.
    pub(super) fn is_development(&self) -> bool {
        self.cloud_runtimes().is_empty() && self.get(KUBERNETES).is_none()
    }

    /// In development, adds what the file says of variables that are not set; the real environment wins.
    /// A missing file is fine.
    pub(super) fn add_file(&mut self, file: &Path) -> Result<(), Problem> {
        if !self.is_development() || !file.is_file() {
            return Ok(());
        }
        let unreadable = |why: &str| Problem::new(&[".env"], why);
        let lines = dotenvy::from_path_iter(file)
            .map_err(|_| unreadable("the file is there but cannot be read"))?;
        for line in lines {
            // The error itself is not shown: it quotes the line, which may hold a secret.
            let (name, value) = line.map_err(|_| {
                unreadable("a line is not of the form NAME=value; quote values with spaces")
            })?;
            self.set_default(&name, &value);
        }
        Ok(())
    }

    /// One problem for each variable that looks like a misspelled setting of ours.
    pub(super) fn unknown(&self, ours: &[&'static str]) -> Vec<Problem> {
        self.0
            .keys()
            .filter(|name| !ours.contains(&name.as_str()))
            .filter(|name| !NOT_OURS.contains(&name.as_str()) && !is_service_link(name))
            .filter_map(|name| {
                let area = AREA_PREFIXES
                    .into_iter()
                    .find(|prefix| name.starts_with(prefix));
                let (nearest, distance) = nearest(name, ours, area.unwrap_or_default())?;
                let meant = area.is_some() || distance <= tolerated(nearest);
                meant.then(|| {
                    Problem::new(
                        &[name],
                        format!("there is no such setting; the nearest is {nearest}"),
                    )
                })
            })
            .collect()
    }
}

/// How many slips of the finger make a name a near miss: two, and one in a short name.
fn tolerated(ours: &str) -> usize {
    match ours.len() {
        0..SHORTEST_NEAR_MISS => 0,
        SHORTEST_NEAR_MISS..10 => 1,
        _ => 2,
    }
}

/// The nearest of our names in this area, and how many slips away it is; a transposition is one.
fn nearest(name: &str, ours: &[&'static str], area: &str) -> Option<(&'static str, usize)> {
    let name = name.to_ascii_uppercase();
    ours.iter()
        .filter(|candidate| candidate.starts_with(area))
        .map(|candidate| (*candidate, strsim::osa_distance(&name, candidate)))
        .min_by_key(|(_, distance)| *distance)
}

/// Kubernetes and Docker describe every neighboring service in variables named after it: a service `presence`
/// makes `PRESENCE_SERVICE_HOST`, `PRESENCE_PORT`, `PRESENCE_PORT_80_TCP_ADDR`
/// (kubernetes.io/docs/concepts/services-networking/service).
fn is_service_link(name: &str) -> bool {
    let after_port = |tail: &str| {
        let mut words = tail.split('_');
        words
            .next()
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
            && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name
            .match_indices("_PORT_")
            .any(|(at, mark)| after_port(&name[at + mark.len()..]))
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Names only: values may be secrets, ours or those of other programs.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
