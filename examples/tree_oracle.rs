//! Applies operations to the stand-in's tree: one JSON object per line of stdin, one answer per line of stdout.
//!
//! `{"op":"set"|"update","path":"a/b","value":…}` and `{"op":"reset"}` answer `{"value":…}`, all the data after
//! the operation as a reader sees it, or `{"refused":true}`. The only argument is the time of timestamps, in Unix
//! milliseconds. `tests/oracle/run` compares the answers with those of the official SDK.

use anyhow::{Context as _, bail};
use presence_bridge::dev::database::path::Path;
use presence_bridge::dev::database::tree::{Tree, export};
use presence_bridge::domain::time::UnixMillis;
use serde_json::{Value, json};
use std::io::{BufRead as _, Write as _};

fn main() -> anyhow::Result<()> {
    let now = std::env::args().nth(1).context("the time is missing")?;
    let now = UnixMillis(now.parse()?);
    let mut tree = Tree::default();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let operation: Value = serde_json::from_str(&line?)?;
        let answer = if perform(&mut tree, &operation, now)? {
            json!({ "value": export(tree.at(&Path::root())) })
        } else {
            json!({ "refused": true })
        };
        writeln!(out, "{answer}")?;
    }
    Ok(out.flush()?)
}

/// Whether the operation was valid.
fn perform(tree: &mut Tree, operation: &Value, now: UnixMillis) -> anyhow::Result<bool> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let value = operation.get("value").unwrap_or(&Value::Null);
    if text("op") == Some("reset") {
        *tree = Tree::default();
        return Ok(true);
    }
    let Ok(path) = Path::parse(text("path").context("no path")?) else {
        return Ok(false);
    };
    let changes = match text("op") {
        Some("set") => tree.put(path, value, now).map(|change| vec![change]),
        Some("update") => tree.patch(&path, value, now),
        Some(_) | None => bail!("an unknown operation"),
    };
    let Ok(changes) = changes else {
        return Ok(false);
    };
    tree.apply(&changes);
    Ok(true)
}
