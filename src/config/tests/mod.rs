//! What the settings promise, in tables. Nothing here touches the environment of the process.

mod command;
mod firebase;
mod names;
mod values;

use super::{Config, Environment, Problems};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The least that a service needs.
const NEEDED: [(&str, &str); 2] = [
    ("FIREBASE_PROJECT_ID", "my-chat-app"),
    (
        "FIREBASE_DATABASE_URL",
        "https://my-chat-app-default-rtdb.firebaseio.com",
    ),
];

/// Names and values as a test writes them.
type Pairs<'a> = &'a [(&'a str, &'a str)];

/// What is needed, and `more`; an empty value unsets.
fn needed_and(more: Pairs<'_>) -> Environment {
    NEEDED.iter().chain(more).copied().collect()
}

fn only(pairs: Pairs<'_>) -> Environment {
    pairs.iter().copied().collect()
}

fn read(more: Pairs<'_>) -> Result<Config, Problems> {
    Config::read(&needed_and(more))
}

fn fine(more: Pairs<'_>) -> Config {
    read(more).unwrap_or_else(|problems| panic!("{more:?}: {problems}"))
}

/// The problems of settings that must have some.
fn problems(result: Result<Config, Problems>) -> Vec<super::Problem> {
    match result {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(Problems(problems)) => problems,
    }
}

/// The one problem that one wrong setting makes.
fn only_problem(result: Result<Config, Problems>) -> super::Problem {
    let mut all = problems(result);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// A file that goes away with the test.
struct TestFile(PathBuf);

impl TestFile {
    fn with(text: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("presence-bridge-settings-{}-{number}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        std::fs::write(&file.0, text).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
