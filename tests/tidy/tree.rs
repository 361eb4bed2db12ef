//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below these folders whose name ends like this, relative to the root, in order; nothing built or fetched.
pub(crate) fn files(folders: &[&str], ends: &[&str]) -> Vec<PathBuf> {
    const SKIPPED: [&str; 5] = ["target", "node_modules", ".git", "mutants.out", "tmp"];
    let mut found = Vec::new();
    let mut open: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let entry = entry.expect("a folder of ours can be listed");
            let (path, name) = (
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            );
            let kind = entry.file_type().expect("a file has a type");
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                open.push(path);
            } else if kind.is_file() && ends.contains(&name.rsplit('.').next().unwrap_or_default())
            {
                let path = path.strip_prefix(root()).expect("it is below the root");
                found.push(path.strip_prefix(".").unwrap_or(path).to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The text without comments that fill their line.
pub(crate) fn code_of(text: &str) -> String {
    let code: Vec<_> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    code.join("\n")
}

/// Whether this file of `src` is compiled for tests only: its `mod` line, or that of a module around it, says so.
pub(crate) fn is_test(file: &Path) -> bool {
    let mut module = file.with_extension("");
    if module.ends_with("mod") {
        module.pop();
    }
    while let (Some(name), Some(parent)) = (module.file_name(), module.parent()) {
        let declared = format!("#[cfg(test)]\nmod {};", name.to_string_lossy());
        let around = [
            parent.join("mod.rs"),
            parent.join("lib.rs"),
            parent.with_extension("rs"),
        ];
        if around
            .iter()
            .filter_map(|place| fs::read_to_string(root().join(place)).ok())
            .any(|text| text.contains(&declared))
        {
            return true;
        }
        module = parent.to_owned();
    }
    false
}
