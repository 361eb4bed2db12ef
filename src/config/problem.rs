//! What is wrong with the settings, in sentences for the person who set them.

use std::fmt;

/// One thing to put right. It names every variable it speaks of and shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub variables: Vec<String>,
    pub text: String,
}

/// Everything to put right, found in one go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    pub(super) fn new(variables: &[&str], text: impl Into<String>) -> Self {
        Self {
            variables: variables.iter().map(ToString::to_string).collect(),
            text: text.into(),
        }
    }
}

/// What was found so far, while the settings are read.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    /// Variables whose value is wrong in itself; nothing more is said of them.
    rejected: Vec<String>,
}

impl Findings {
    /// The value of this variable is wrong in itself.
    pub(super) fn reject(&mut self, variable: &str, text: impl Into<String>) {
        self.rejected.push(variable.to_owned());
        self.problems.push(Problem::new(&[variable], text));
    }

    pub(super) fn is_rejected(&self, variable: &str) -> bool {
        self.rejected.iter().any(|name| name == variable)
    }

    /// These variables do not go together, or one is missing.
    pub(super) fn tell(&mut self, variables: &[&str], text: impl Into<String>) {
        if !variables.iter().any(|name| self.is_rejected(name)) {
            self.problems.push(Problem::new(variables, text));
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variables.join(", "), self.text)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        match problems.len() {
            1 => writeln!(f, "one setting must be put right:")?,
            many => writeln!(f, "{many} settings must be put right:")?,
        }
        for problem in problems {
            writeln!(f, "  {problem}")?;
        }
        write!(f, "`presence-bridge --help` lists every setting.")
    }
}

/// A rejected value as it may be shown: in full when it is short and plain; otherwise only its length,
/// because people paste keys, tokens and addresses with passwords into the wrong variable.
pub(super) fn shown(found: &str) -> String {
    const LONGEST: usize = 64;
    let characters = found.chars().count();
    let plain = characters <= LONGEST
        && !found.starts_with("eyJ")
        && !found.contains(['@', '?', '{', '&'])
        && !found.contains("PRIVATE");
    if plain {
        format!("`{}`", found.escape_debug())
    } else {
        format!("a value of {characters} characters that is not shown")
    }
}
