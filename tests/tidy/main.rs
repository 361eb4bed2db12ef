//! The rules of the house, checked: layers, sizes, words, and that generated pages are current.
//!
//! `UPDATE=1 cargo test --test tidy` rewrites the generated pages.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "every function here is part of a test"
)]

mod layers;
mod pages;
mod tree;

use tree::{code_of, files, is_test, read};

const MAX_LINES: usize = 400;

/// What pure rules cannot need.
const IMPURE: [&str; 16] = [
    "tokio",
    "futures",
    "tracing",
    "serde",
    "rand::",
    "reqwest",
    "axum",
    "socketioxide",
    "SystemTime",
    "Instant::now",
    "std::net",
    "std::fs",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
];

/// Words that say nothing, or say what another word of ours says.
const FOREIGN_WORDS: [&str; 11] = [
    "manager",
    "helper",
    "util",
    "utils",
    "misc",
    "principal",
    "participant",
    "debounce",
    "emitter",
    "broadcaster",
    "teardown",
];

#[test]
fn the_domain_is_pure() {
    let mut faults = Vec::new();
    for file in files(&["src/domain"], &["rs"]) {
        if is_test(&file) {
            continue;
        }
        let text = read(&file);
        let code = code_of(text.split("#[cfg(test)]").next().unwrap_or_default());
        faults.extend(
            IMPURE
                .iter()
                .chain(&["async ", ".await"])
                .filter(|word| code.contains(**word))
                .map(|word| format!("{} mentions {word}", file.display())),
        );
    }
    assert!(
        faults.is_empty(),
        "rules know no world:\n{}",
        faults.join("\n")
    );
}

#[test]
fn files_stay_small() {
    let faults: Vec<_> = files(&["src", "tests", "examples", "benches"], &["rs", "mjs"])
        .into_iter()
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .collect();
    assert!(faults.is_empty(), "more than {MAX_LINES} lines: {faults:?}");
}

#[test]
fn every_module_is_introduced() {
    let faults: Vec<_> = files(&["src", "tests", "examples"], &["rs"])
        .into_iter()
        .filter(|file| !is_test(file) && !read(file).starts_with("//! "))
        .collect();
    assert!(
        faults.is_empty(),
        "the first line says what the file is for: {faults:?}"
    );
}

#[test]
fn glossary_words_only() {
    let mut faults = Vec::new();
    for file in files(&["src", "tests", "examples"], &["rs"]) {
        let stem = file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let names = declared_names(&code_of(&read(&file)));
        for name in names.into_iter().chain(stem) {
            if words_of(&name)
                .iter()
                .any(|word| FOREIGN_WORDS.contains(&word.as_str()))
            {
                faults.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "not our words:\n{}", faults.join("\n"));
}

#[test]
fn a_foreign_word_is_found_in_a_name() {
    assert_eq!(
        words_of("RoomTable_ofThings"),
        ["room", "table", "of", "things"]
    );
    let declared = concat!(
        "pub struct Room",
        "Util;
fn x() {}"
    );
    assert_eq!(declared_names(declared), [concat!("Room", "Util"), "x"]);
}

#[test]
fn the_image_is_built_with_our_toolchain_and_runs_without_root() {
    let toolchain = read("rust-toolchain.toml".as_ref());
    let version = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = \""))
        .and_then(|line| line.strip_suffix('"'))
        .expect("rust-toolchain.toml pins a version");
    let image = read("Dockerfile".as_ref());
    assert!(
        image.contains(&format!("\nFROM rust:{version}-")),
        "the Dockerfile builds with another Rust"
    );
    assert!(
        image.contains(" --locked "),
        "the image is built from Cargo.lock"
    );
    let user = image
        .lines()
        .find_map(|line| line.strip_prefix("USER "))
        .and_then(|user| user.split(':').next()?.parse::<u32>().ok());
    assert!(
        user.is_some_and(|id| id >= 10_000),
        "user ids below 10000 may exist on the host: {user:?}"
    );
}

#[test]
fn the_image_gets_every_file_that_is_compiled_in() {
    let allowed = read(".dockerignore".as_ref());
    let mut faults = Vec::new();
    for file in files(&["src"], &["rs"]) {
        for mark in ["include_str!(\"", "include_bytes!(\""] {
            for part in read(&file).split(mark).skip(1) {
                let name = part.split('"').next().unwrap_or_default();
                let outside = name.trim_start_matches("../");
                let climbs = (name.len() - outside.len()) / "../".len();
                if climbs >= file.components().count() - 1
                    && !allowed.contains(&format!("\n!{outside}\n"))
                {
                    faults.push(format!("{} needs {outside}", file.display()));
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        ".dockerignore keeps them out: {faults:?}"
    );
}

#[test]
fn todo_has_issue() {
    let mut faults = Vec::new();
    for file in files(&["."], &["rs", "mjs", "js", "md", "toml", "html"]) {
        for (number, line) in read(&file).lines().enumerate() {
            for word in [
                concat!("TO", "DO"),
                concat!("FIX", "ME"),
                concat!("XX", "X"),
            ] {
                let open = line.match_indices(word).any(|(at, _)| {
                    let tail = line[at + word.len()..].strip_prefix("(#");
                    !tail.is_some_and(|tail| tail.starts_with(|c: char| c.is_ascii_digit()))
                });
                if open {
                    faults.push(format!(
                        "{}:{}: {word} without (#issue)",
                        file.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_download_addresses_or_machine_paths() {
    let anywhere = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("registry.npm", "js.org"),
    ];
    let kinds = [
        "rs",
        "mjs",
        "js",
        "ts",
        "json",
        "md",
        "toml",
        "yaml",
        "yml",
        "html",
        "sh",
        "example",
        "npmrc",
        "Dockerfile",
        "test",
        "run",
    ];
    let mut faults = Vec::new();
    for file in files(&["."], &kinds) {
        let text = read(&file);
        let lock = file
            .ends_with("package-lock.json")
            .then_some("\"resolved\":");
        let found = anywhere
            .into_iter()
            .chain(lock)
            .filter(|bad| text.contains(bad));
        faults.extend(found.map(|bad| format!("{} holds {bad}", file.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Names that a file gives to types, traits, modules, functions and constants.
fn declared_names(code: &str) -> Vec<String> {
    const KEYWORDS: [&str; 9] = [
        "struct", "enum", "trait", "type", "mod", "fn", "const", "static", "union",
    ];
    let words: Vec<_> = code
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let pairs = words.windows(2).filter(|pair| KEYWORDS.contains(&pair[0]));
    pairs.map(|pair| pair[1].to_owned()).collect()
}

/// `RoomTable` and `room_table` are both room, table.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && lower {
            words.push(String::new());
        }
        lower = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c != '_') {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
