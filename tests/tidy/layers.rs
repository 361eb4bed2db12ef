//! Imports only point downwards.

use crate::tree::{code_of, files, read};
use std::path::Path;

/// What each top module may import beside itself. `telemetry` and `clock` are open to all but `domain`.
const LAYERS: [(&str, &[&str]); 15] = [
    ("main", TOP),
    ("lib", TOP),
    ("server", TOP),
    ("app", TOP),
    ("config", DOMAIN),
    ("socket", INNER),
    ("http", INNER),
    ("firebase", INNER),
    ("cluster", INNER),
    ("dev", INNER),
    ("services", INNER),
    ("store", INNER),
    ("telemetry", DOMAIN),
    ("clock", DOMAIN),
    ("domain", &[]),
];
const TOP: &[&str] = &[
    "app", "server", "config", "socket", "http", "firebase", "cluster", "dev", "services", "store",
    "domain",
];
const INNER: &[&str] = &["services", "store", "domain"];
const DOMAIN: &[&str] = &["domain"];
const OPEN_TO_ALL: [&str; 2] = ["telemetry", "clock"];

#[test]
fn layers_point_downwards() {
    let mut faults = Vec::new();
    for file in files(&["src"], &["rs"]) {
        let module = module_of(&file);
        let text = code_of(&read(&file));
        for target in imports(&text, module.len()) {
            if !may_import(&module[0], &target) {
                faults.push(format!("{} imports {target}", file.display()));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "imports only point downwards:\n{}",
        faults.join("\n")
    );
}

#[test]
fn an_arrow_that_points_back_is_found_however_it_is_written() {
    for text in [
        "use crate::socket::rooms;",
        "use crate::{clock::Clock, socket};",
        "use crate::{\n    services::{ports::{A, B}, x},\n    socket::{self},\n};",
        "fn f() -> crate::socket::Rooms { todo() }",
        "use super::super::socket;",
        "use presence_bridge::socket;",
    ] {
        let faults: Vec<_> = imports(&code_of(text), 2)
            .into_iter()
            .filter(|target| !may_import("services", target))
            .collect();
        assert_eq!(faults, ["socket"], "{text}");
    }
    assert!(imports(&code_of("/// See [`crate::socket`].\n// crate::socket"), 2).is_empty());
    assert!(
        !may_import("socket", "http"),
        "adapters never import each other"
    );
    assert!(!may_import("domain", "clock"));
    assert!(may_import("domain", "domain") && may_import("store", "telemetry"));
}

fn may_import(from: &str, to: &str) -> bool {
    let (_, allowed) = LAYERS
        .iter()
        .find(|(module, _)| *module == from)
        .unwrap_or_else(|| panic!("`{from}` has no layer; give it one in tests/tidy.rs"));
    from == to || allowed.contains(&to) || (from != "domain" && OPEN_TO_ALL.contains(&to))
}

/// `src/socket/auth.rs` is `[socket, auth]`, `src/socket/mod.rs` is `[socket]`.
fn module_of(file: &Path) -> Vec<String> {
    let parts = file.with_extension("");
    let parts = parts
        .iter()
        .skip(1)
        .map(|part| part.to_string_lossy().into_owned());
    parts.filter(|part| part != "mod").collect()
}

/// The top modules that a file at this depth mentions by a path from the crate's root.
fn imports(code: &str, depth: usize) -> Vec<String> {
    let from_root = [
        "crate::".to_owned(),
        "presence_bridge::".to_owned(),
        "super::".repeat(depth),
    ];
    let mut found = Vec::new();
    for start in &from_root {
        for (at, _) in code.match_indices(start.as_str()) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let tail = &code[at + start.len()..];
            found.extend(
                heads(tail)
                    .into_iter()
                    .filter(|head| LAYERS.iter().any(|(module, _)| module == head)),
            );
        }
    }
    found
}

/// The first names of a path, or of each path in braces.
fn heads(tail: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(group) = tail.strip_prefix('{') else {
        return vec![name(tail)];
    };
    let (mut heads, mut depth) = (vec![name(group)], 0_usize);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    heads
}
