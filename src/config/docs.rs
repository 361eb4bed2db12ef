//! The table as people read it: `--help`, `.env.example`, the README.

use super::table::{Row, rows};

/// `.env.example`: every setting, commented out, so that a copy of the file changes nothing.
pub fn env_example() -> String {
    let head = "# Every setting of presence-bridge with its default. Generated: UPDATE=1 cargo test --test tidy\n\
                # In development a copy named .env is read; the real environment wins.\n";
    let areas = by_area(
        |area| format!("\n# === {area} ===\n"),
        |row| {
            let Row {
                name,
                sentence,
                accepted,
                ..
            } = row;
            let (value, default) = match row.default {
                "" => (row.example.as_str(), "unset"),
                text => (text, text),
            };
            format!(
                "\n# {sentence}\n# Accepted: {accepted}. Default: {default}.\n#{name}={value}\n"
            )
        },
    );
    format!("{head}{areas}")
}

/// The Markdown tables of the README, one for each area.
pub fn settings_table() -> String {
    by_area(
        |area| {
            format!("\n**{area}**\n\n| name | default | meaning | accepted |\n|---|---|---|---|\n")
        },
        |row| {
            let Row {
                name,
                sentence,
                accepted,
                ..
            } = row;
            let default = match row.default {
                "" => "unset".to_owned(),
                text => format!("`{text}`"),
            };
            format!("| `{name}` | {default} | {sentence} | {accepted} |\n")
        },
    )
}

/// The end of `--help`.
pub(super) fn help() -> String {
    let list = by_area(
        |area| format!("\n{area}\n"),
        |row| {
            let Row {
                name,
                sentence,
                accepted,
                ..
            } = row;
            let default = match row.default {
                "" => "unset".to_owned(),
                text => format!("default {text}"),
            };
            format!("  {name} ({default})\n      {sentence}\n      Accepted: {accepted}.\n")
        },
    );
    format!("Settings, read from the environment:\n{list}")
}

/// Every row after the heading of its area.
fn by_area(heading: impl Fn(&str) -> String, entry: impl Fn(&Row) -> String) -> String {
    let mut blocks = Vec::new();
    let mut area = "";
    for row in rows() {
        if row.area != area {
            area = row.area;
            blocks.push(heading(area));
        }
        blocks.push(entry(&row));
    }
    blocks.concat()
}
