//! What was measured, for the eye and for `docs/reliability.md`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// The folder that gathers the rows of a full run, made by `scripts/reliability`.
const FOLDER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/figures");

/// Measured times of one kind.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn max(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let place = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(place).copied().unwrap_or_default()
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A row of the table *time to truthful offline*. `order` is its place.
pub(crate) fn offline_row(order: u8, case: &str, bound: Duration, times: &Times) {
    let [p50, p99] = [50, 99].map(|percent| seconds(times.percentile(percent)));
    let cells = [
        case,
        &seconds(bound),
        &times.len().to_string(),
        &p50,
        &p99,
        &seconds(times.max()),
    ];
    row("offline", order, &cells);
}

/// A row of the table of figures: what, the figure to reach, what was measured.
pub(crate) fn figure_row(order: u8, what: &str, wanted: &str, measured: &str) {
    row("figures", order, &[what, wanted, measured]);
}

/// Past the test harness, which shows the output of failed tests only.
pub(crate) fn say(line: &str) {
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// For the eye, and into the folder, if the run is the one that is published.
fn row(table: &str, order: u8, cells: &[&str]) {
    let mut line = String::from("|");
    for cell in cells {
        write!(line, " {cell} |").unwrap();
    }
    line.push('\n');
    say(&line);
    if super::is_full() {
        std::fs::create_dir_all(FOLDER).unwrap();
        std::fs::write(format!("{FOLDER}/{table}-{order:02}"), line).unwrap();
    }
}
