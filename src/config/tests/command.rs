//! The command line, and `.env`.

use super::super::command::load_from;
use super::super::{Command, EX_USAGE, Stop, env_example, rows};
use super::*;
use std::path::Path;

const NO_FILE: &str = "/nowhere/.env";

fn load(arguments: &[&str], environment: Environment) -> Result<(Command, Config), Stop> {
    let line = std::iter::once("presence-bridge").chain(arguments.iter().copied());
    load_from(line, environment, Path::new(NO_FILE))
}

fn load_with_file(text: &str, environment: Environment) -> Result<(Command, Config), Stop> {
    let file = TestFile::with(text);
    load_from(["presence-bridge"], environment, Path::new(file.path()))
}

#[test]
fn the_command_line_says_what_to_do() {
    assert_eq!(load(&[], needed_and(&[])).unwrap().0, Command::Run);
    assert_eq!(load(&["check"], needed_and(&[])).unwrap().0, Command::Check);
    let (command, config) = load(&["dev"], Environment::default()).unwrap();
    assert_eq!(command, Command::Dev);
    assert!(config.host.is_loopback());
}

#[test]
fn help_lists_every_setting_and_ends_well() {
    let stop = load(&["--help"], Environment::default()).unwrap_err();
    assert_eq!(stop.exit_code(), 0);
    let page = stop.to_string();
    for row in rows() {
        assert!(
            page.contains(&format!("\n  {} (", row.name)),
            "{} is missing",
            row.name
        );
    }
    let stop = load(&["--version"], Environment::default()).unwrap_err();
    assert_eq!(stop.exit_code(), 0);
    assert!(stop.to_string().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_orders_and_wrong_settings_end_with_64() {
    for arguments in [["serve"], ["--port"]] {
        let stop = load(&arguments, needed_and(&[])).unwrap_err();
        assert!(matches!(stop, Stop::Usage(_)), "{stop:?}");
        assert_eq!(stop.exit_code(), EX_USAGE);
    }
    for arguments in [&[][..], &["check"]] {
        let stop = load(arguments, Environment::default()).unwrap_err();
        assert!(stop.to_string().contains("FIREBASE_PROJECT_ID"), "{stop}");
        assert_eq!(stop.exit_code(), EX_USAGE);
    }
}

#[test]
fn a_file_fills_in_what_the_environment_leaves_open() {
    let file = "# comment\nPORT=4000\nexport PRESENCE_GRACE='20s'\nNODE_NAME=\"from file\"\n";
    let (_, config) = load_with_file(file, needed_and(&[("PORT", "5000")])).unwrap();
    assert_eq!(config.port, 5000, "the real environment wins");
    assert_eq!(config.presence_grace.as_secs(), 20);
    assert_eq!(config.node_name, "from file");
}

#[test]
fn a_file_is_read_in_development_only() {
    for runtime in [
        "K_SERVICE",
        "FLY_APP_NAME",
        "RENDER",
        "KUBERNETES_SERVICE_HOST",
    ] {
        let environment = needed_and(&[(runtime, "x")]);
        let (_, config) = load_with_file("PORT=4000\n", environment).unwrap();
        assert_eq!(config.port, 3000, "{runtime}");
    }
}

#[test]
fn a_broken_file_is_a_problem_and_its_lines_stay_secret() {
    let stop = load_with_file("FIREBASE_PROJECT_ID=a\nREDIS_URL=c4nary $ {\n", only(&[]))
        .unwrap_err()
        .to_string();
    assert!(stop.contains(".env: "), "{stop}");
    assert!(
        stop.contains("FIREBASE_DATABASE_URL"),
        "all problems at once: {stop}"
    );
    assert!(!stop.contains("c4nary"), "{stop}");
}

#[test]
fn a_misspelled_name_in_the_file_is_refused() {
    let stop = load_with_file("PRESENCE_GRASE=1s\n", needed_and(&[])).unwrap_err();
    assert!(stop.to_string().contains("PRESENCE_GRACE"), "{stop}");
}

#[test]
fn a_copy_of_the_example_changes_nothing() {
    let (_, config) = load_with_file(&env_example(), needed_and(&[])).unwrap();
    assert_eq!(config, fine(&[]));
}

#[test]
fn the_example_with_every_default_spelled_out_changes_nothing() {
    let spelled: Vec<_> = rows()
        .iter()
        .filter(|row| !row.default.is_empty())
        .map(|row| format!("{}={}\n", row.name, row.default))
        .collect();
    let (_, config) = load_with_file(&spelled.concat(), needed_and(&[])).unwrap();
    assert_eq!(config, fine(&[]));
}
