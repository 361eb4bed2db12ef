//! The binary as an operator meets it: exit codes, and which stream says what.

#![expect(clippy::unwrap_used, reason = "every function here is part of a test")]

use std::net::TcpListener;
use std::process::{Command, Output};

/// Runs the binary in an empty folder with nothing but these variables.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_presence-bridge"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_settings_end_with_64_and_a_list_on_standard_error() {
    let secret = ("REDIS_URL", "redis://:c4nary@redis");
    for arguments in [&[][..], &["check"]] {
        let output = run(arguments, &[("PORT", "http"), secret]);
        assert_eq!(output.status.code(), Some(64));
        assert!(output.stdout.is_empty());
        let list = text(&output.stderr);
        for name in [
            "PORT",
            "REDIS_URL",
            "FIREBASE_PROJECT_ID",
            "FIREBASE_DATABASE_URL",
        ] {
            assert!(list.contains(&format!("\n  {name}: ")), "{list}");
        }
        assert!(!list.contains("c4nary"), "{list}");
    }
    assert_eq!(run(&["serve"], &[]).status.code(), Some(64));
}

#[test]
fn good_settings_pass_the_check_in_silence() {
    let output = run(
        &["check"],
        &[
            ("FIREBASE_PROJECT_ID", "my-chat-app"),
            (
                "FIREBASE_DATABASE_URL",
                "https://my-chat-app.firebaseio.com",
            ),
        ],
    );
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn help_and_version_go_to_standard_output() {
    for argument in ["--help", "--version"] {
        let output = run(&[argument], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("presence-bridge"));
        assert!(output.stderr.is_empty());
    }
}

/// Regression: the log had ended when the failure was told, so the process went without a word.
#[test]
fn a_start_that_fails_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let free = ["DEV_AUTH_PORT", "DEV_DATABASE_PORT"].map(|name| (name, "0"));
    let settings = [
        ("PORT", port.as_str()),
        ("ADMIN_LISTEN", "127.0.0.1:0"),
        free[0],
        free[1],
    ];
    let output = run(&["dev"], &settings);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stdout);
    assert!(log.contains(&format!("PORT={port}")), "{log}");
}

#[cfg(feature = "sabotage")]
#[test]
fn sabotage_is_told_aloud_and_an_unknown_protection_ends_the_start() {
    let settings = [
        ("PORT", "0"),
        ("ADMIN_LISTEN", "127.0.0.1:0"),
        ("DEV_AUTH_PORT", "0"),
        ("DEV_DATABASE_PORT", "0"),
        ("SABOTAGE", "audit,gravity"),
    ];
    let output = run(&["dev"], &settings);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stdout);
    let told = log.lines().find(|line| line.contains("audit,gravity"));
    assert!(told.is_some_and(|line| line.contains("ERROR")), "{log}");
    assert!(log.contains("there is no protection `gravity`"), "{log}");
}
