//! Generated pages are current.

use crate::tree::{files, read, root};
use presence_bridge::config;
use presence_bridge::socket::events::{CLIENT_EVENTS, ERROR_CODES, SERVER_EVENTS};
use presence_bridge::telemetry::metrics::{LABELS, Metrics, PREFIX};
use std::fs;
use std::path::Path;

#[test]
fn env_example_is_current() {
    keep_current(Path::new(".env.example"), &config::env_example());
}

#[test]
fn settings_table_in_readme_is_current() {
    const BEGIN: &str = "<!-- settings:begin -->\n";
    const END: &str = "<!-- settings:end -->";
    let path = Path::new("README.md");
    let page = read(path);
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("README.md marks where the settings begin");
    let (_, after) = rest
        .split_once(END)
        .expect("README.md marks where the settings end");
    let table = config::settings_table();
    keep_current(path, &format!("{before}{BEGIN}{table}\n{END}{after}"));
}

#[test]
fn protocol_doc_lists_every_event_and_code() {
    let page = read(Path::new("docs/protocol.md"));
    let client: Vec<_> = CLIENT_EVENTS.iter().map(|event| event.as_str()).collect();
    let server: Vec<_> = SERVER_EVENTS.iter().map(|event| event.as_str()).collect();
    let codes: Vec<_> = ERROR_CODES.iter().map(|code| code.as_str()).collect();
    assert_eq!(first_column(&page, "## Client to server"), client);
    assert_eq!(first_column(&page, "## Server to client"), server);
    assert_eq!(first_column(&page, "## Codes"), codes);
}

/// What stands in backticks at the start of each row below this heading.
fn first_column<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let below = page.split_once(&format!("\n{heading}\n"));
    let (_, section) = below.unwrap_or_else(|| panic!("docs/protocol.md has a section {heading}"));
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0))
        .collect()
}

#[test]
fn pages_name_only_settings_that_exist() {
    const AREAS: [&str; 6] = ["PRESENCE_", "LIMIT_", "TYPING_", "AUTH_", "CHAT_", "PING_"];
    let rows = config::rows();
    let mut faults = Vec::new();
    for file in files(&["."], &["md"]) {
        let page = read(&file);
        let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = words.filter(|word| AREAS.iter().any(|area| word.starts_with(area)));
        let unknown =
            ours.filter(|word| !word.ends_with('_') && !rows.iter().any(|row| row.name == *word));
        faults.extend(unknown.map(|word| format!("{} names {word}", file.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn metrics_doc_is_current() {
    let rows: Vec<_> = Metrics::TABLE.iter().map(metric_row).collect();
    let page = format!(
        "# Metrics\n\nServed as `/metrics` on `ADMIN_LISTEN`, in the Prometheus text format. Labels come from closed sets: \
         never a user, a chat or a connection.\n\nGenerated from `src/telemetry/metrics.rs`: \
         `UPDATE=1 cargo test --test tidy`.\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n{}",
        rows.concat()
    );
    keep_current(Path::new("docs/metrics.md"), &page);
}

fn metric_row((name, kind, help): &(&str, &str, &str)) -> String {
    let base = ["Counter", "Gauge", "Histogram"]
        .into_iter()
        .find(|base| kind.contains(base))
        .expect("a kind of metric that we know");
    let suffix = if base == "Counter" { "_total" } else { "" };
    let labels = match LABELS.iter().find(|(set, _, _)| kind.contains(set)) {
        None => String::new(),
        Some((_, label, values)) => format!("`{label}`: {}", values.join(", ")),
    };
    let (kind, help) = (base.to_lowercase(), help.trim());
    format!("| `{PREFIX}_{name}{suffix}` | {kind} | {labels} | {help} |\n")
}

/// Compares a generated page with the one in the tree, or rewrites it.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch for the person who runs the tests, not a setting"
)]
fn keep_current(path: &Path, expected: &str) {
    if std::env::var("UPDATE").is_ok_and(|value| value == "1") {
        let place = root().join(path);
        fs::create_dir_all(place.parent().expect("a page lies in a folder"))
            .expect("the folder can be made");
        fs::write(place, expected).expect("the page can be written");
        return;
    }
    let found = fs::read_to_string(root().join(path)).unwrap_or_default();
    if let Some((old, new)) = found
        .lines()
        .zip(expected.lines())
        .find(|(old, new)| old != new)
    {
        panic!(
            "{} is out of date; run UPDATE=1 cargo test --test tidy\n- {old}\n+ {new}",
            path.display()
        );
    }
    assert_eq!(
        found.len(),
        expected.len(),
        "{} is out of date; run UPDATE=1 cargo test --test tidy",
        path.display()
    );
}
