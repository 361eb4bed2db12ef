//! From runs to one table.

use serde_json::{Value, json};
use std::fmt::Write as _;

/// What issue 2 asks of a figure.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Of the yardstick's.
    RatioAtLeast(f64),
    /// More than the yardstick's.
    AboveYardstickAtMost(f64),
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn met(self, yardstick: f64, subject: f64) -> bool {
        match self {
            Self::RatioAtLeast(ratio) => subject >= ratio * yardstick,
            Self::AboveYardstickAtMost(more) => subject - yardstick <= more,
            Self::AtLeast(least) => subject >= least,
            Self::AtMost(most) => subject <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::RatioAtLeast(ratio) => format!("ratio >= {ratio}"),
            Self::AboveYardstickAtMost(more) => format!("lean + {more}"),
            Self::AtLeast(least) => format!(">= {least}"),
            Self::AtMost(most) => format!("<= {most}"),
        }
    }
}

pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    digits: usize,
    goals: Vec<Goal>,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
            digits: 0,
            goals: Vec::new(),
        }
    }

    pub(crate) fn digits(mut self, digits: usize) -> Self {
        self.digits = digits;
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }
}

/// One experiment with one server.
pub(crate) struct Run {
    /// 0 is the yardstick, 1 the subject.
    pub(crate) seat: usize,
    pub(crate) figures: Vec<Figure>,
    pub(crate) steal_percent: f64,
    /// How busy the generator's core was: near 100 the generator is the limit, not the server.
    pub(crate) generator_percent: f64,
    /// CPU that neither server nor generator used, in percent of one core.
    pub(crate) others_percent: f64,
}

impl Run {
    /// One line for the progress log.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        for figure in &self.figures {
            let _ = write!(line, "{} {:.*}, ", figure.name, figure.digits, figure.value);
        }
        let _ = write!(
            line,
            "generator {:.0} %, others {:.0} %, steal {:.1} %",
            self.generator_percent, self.others_percent, self.steal_percent
        );
        line
    }
}

pub(crate) struct Report {
    pub(crate) names: [String; 2],
    pub(crate) runs: Vec<Run>,
}

struct Row<'a> {
    first: &'a Figure,
    medians: [f64; 2],
    steal: [f64; 2],
    others: [f64; 2],
}

impl Report {
    /// The median of a figure over the runs of one seat.
    pub(crate) fn median(&self, seat: usize, name: &str) -> Option<f64> {
        median(
            self.of(seat, name)
                .map(|(_, figure)| figure.value)
                .collect(),
        )
    }

    fn of(&self, seat: usize, name: &str) -> impl Iterator<Item = (&Run, &Figure)> {
        let runs = self.runs.iter().filter(move |run| run.seat == seat);
        runs.filter_map(move |run| {
            Some((run, run.figures.iter().find(|figure| figure.name == name)?))
        })
    }

    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for first in self.runs.iter().flat_map(|run| &run.figures) {
            if rows.iter().any(|row| row.first.name == first.name) {
                continue;
            }
            let most = |seat, percent: fn(&Run) -> f64| {
                let runs = self.of(seat, &first.name).map(|(run, _)| percent(run));
                runs.fold(0.0, f64::max)
            };
            let middle = |seat| self.median(seat, &first.name).unwrap_or(f64::NAN);
            rows.push(Row {
                first,
                medians: [middle(0), middle(1)],
                steal: [0, 1].map(|seat| most(seat, |run| run.steal_percent)),
                others: [0, 1].map(|seat| most(seat, |run| run.others_percent)),
            });
        }
        rows
    }

    /// Medians of both seats, their ratio, what was asked and whether it holds.
    pub(crate) fn table(&self) -> String {
        let [yardstick, subject] = &self.names;
        let mut table = format!(
            "{:<32} {yardstick:>12} {subject:>12} {:>7}  {:<24} {:<5} {:>11} {:>12}\n",
            "median", "ratio", "goal", "met", "steal % max", "others % max"
        );
        for row in self.rows() {
            let ([a, b], goals) = (row.medians, &row.first.goals);
            let ratio = if a == 0.0 {
                "-".to_owned()
            } else {
                format!("{:.2}", b / a)
            };
            let asked: Vec<String> = goals.iter().map(|goal| goal.text()).collect();
            let met = match goals.iter().all(|goal| goal.met(a, b)) {
                _ if goals.is_empty() => "",
                true => "yes",
                false => "NO",
            };
            let digits = row.first.digits;
            let _ = writeln!(
                table,
                "{:<32} {a:>12.digits$} {b:>12.digits$} {ratio:>7}  {:<24} {met:<5} {:>5.1} {:>5.1} {:>6.0} {:>5.0}",
                row.first.name,
                asked.join(", "),
                row.steal[0],
                row.steal[1],
                row.others[0],
                row.others[1],
            );
        }
        table
    }

    /// Every run and every median, for machines.
    pub(crate) fn json(&self) -> Value {
        let figures = |figures: &[Figure]| -> Value {
            figures
                .iter()
                .map(|figure| (figure.name.clone(), json!(figure.value)))
                .collect()
        };
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|run| {
                json!({
                    "seat": run.seat,
                    "stealPercent": run.steal_percent,
                    "othersPercent": run.others_percent,
                    "generatorPercent": run.generator_percent,
                    "figures": figures(&run.figures),
                })
            })
            .collect();
        let medians: serde_json::Map<String, Value> = self
            .rows()
            .iter()
            .map(|row| (row.first.name.clone(), json!(row.medians)))
            .collect();
        json!({ "seats": self.names, "medians": medians, "runs": runs })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}
