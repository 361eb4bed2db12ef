//! The table as people read it: `--help`, `.env.example`, the README.

use super::table::{Row, rows};
use std::fmt::Write;

/// `.env.example`: every setting, commented out, so that a copy of the file changes nothing.
pub fn env_example() -> String {
    let mut page = String::from(
        "# Every setting of presence-bridge with its default. Generated: UPDATE=1 cargo test --test tidy\n\
         # In development a copy named .env is read; the real environment wins.\n",
    );
    let mut area = "";
    for row in rows() {
        if row.area != area {
            area = row.area;
            add(&mut page, format_args!("\n# === {area} ===\n"));
        }
        let value = if row.default.is_empty() {
            &row.example
        } else {
            row.default
        };
        let unset = if row.default.is_empty() {
            " Unset by default."
        } else {
            ""
        };
        let name = row.name;
        add(
            &mut page,
            format_args!(
                "\n# {} Accepts {}.{unset}\n#{name}={value}\n",
                row.sentence, row.accepted
            ),
        );
    }
    page
}

/// The Markdown tables of the README, one for each area.
pub fn settings_table() -> String {
    let mut page = String::new();
    let mut area = "";
    for row in rows() {
        if row.area != area {
            area = row.area;
            add(
                &mut page,
                format_args!(
                    "\n**{area}**\n\n| name | default | meaning | accepts |\n|---|---|---|---|\n"
                ),
            );
        }
        let default = match row.default {
            "" => "unset".to_owned(),
            text => format!("`{text}`"),
        };
        add(
            &mut page,
            format_args!(
                "| `{}` | {default} | {} | {} |\n",
                row.name, row.sentence, row.accepted
            ),
        );
    }
    page
}

/// The end of `--help`.
pub(super) fn help() -> String {
    let mut page = String::from("Settings, read from the environment:\n");
    for Row {
        name,
        default,
        sentence,
        accepted,
        ..
    } in rows()
    {
        let default = match default {
            "" => "unset".to_owned(),
            text => format!("default {text}"),
        };
        add(
            &mut page,
            format_args!("\n  {name} ({default})\n      {sentence}\n      Accepts {accepted}.\n"),
        );
    }
    page
}

#[expect(clippy::let_underscore_must_use, reason = "a String takes every write")]
fn add(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(text);
}
