//! The command line: what to do. How to do it comes from the environment alone.

use super::docs;
use super::environment::Environment;
use super::problem::{Problem, Problems};
use super::table::Config;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// Exit code for a command line or settings that make no sense (`EX_USAGE` of sysexits).
pub const EX_USAGE: u8 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Run,
    /// Serve with local stand-ins for Firebase.
    Dev,
    /// The settings are fine; there is nothing more to do.
    Check,
}

/// Why the process ends before it served anything.
#[derive(Debug)]
pub enum Stop {
    /// `--help` or `--version`.
    Answer(String),
    /// A command line that we do not understand.
    Usage(String),
    Settings(Problems),
}

#[derive(Debug, Parser)]
#[command(name = "presence-bridge", version, about)]
struct CommandLine {
    #[command(subcommand)]
    order: Option<Order>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Serve with local stand-ins for Firebase; needs no settings
    Dev,
    /// Check the settings: exit code 0 if they are fine, 64 with all problems if not
    Check,
}

/// Reads the command line of this process and its environment; in development `.env` of the working directory, too.
pub fn load() -> Result<(Command, Config), Stop> {
    load_from(
        std::env::args_os(),
        Environment::of_process(),
        Path::new(".env"),
    )
}

pub(super) fn load_from(
    arguments: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>,
    mut environment: Environment,
    dotenv: &Path,
) -> Result<(Command, Config), Stop> {
    let line = CommandLine::command()
        .after_help(docs::help())
        .try_get_matches_from(arguments)
        .and_then(|matches| CommandLine::from_arg_matches(&matches))?;
    let unread = environment.add_file(dotenv).err();
    let (command, config) = match line.order {
        None => (Command::Run, Config::read(&environment)),
        Some(Order::Dev) => (Command::Dev, Config::dev(&environment)),
        Some(Order::Check) => (Command::Check, Config::read(&environment)),
    };
    Ok((command, with(unread, config)?))
}

/// A problem with the file goes before those that may follow from it.
fn with(unread: Option<Problem>, config: Result<Config, Problems>) -> Result<Config, Problems> {
    match unread {
        None => config,
        Some(problem) => {
            let others = config.err().map(|Problems(all)| all);
            let problems = std::iter::once(problem).chain(others.into_iter().flatten());
            Err(Problems(problems.collect()))
        }
    }
}

impl Stop {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Answer(_) => 0,
            Self::Usage(_) | Self::Settings(_) => EX_USAGE,
        }
    }

    /// Answers go to standard output, complaints to standard error.
    pub fn print(&self) -> io::Result<()> {
        match self {
            Self::Answer(_) => writeln!(io::stdout(), "{self}"),
            Self::Usage(_) | Self::Settings(_) => writeln!(io::stderr(), "{self}"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(text) | Self::Usage(text) => f.write_str(text.trim_end()),
            Self::Settings(problems) => problems.fmt(f),
        }
    }
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        if error.use_stderr() {
            Self::Usage(error.to_string())
        } else {
            Self::Answer(error.to_string())
        }
    }
}

impl From<Problems> for Stop {
    fn from(problems: Problems) -> Self {
        Self::Settings(problems)
    }
}
