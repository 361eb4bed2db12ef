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
    fn met(self, [yardstick, subject]: [f64; 2], ratio: f64) -> bool {
        match self {
            Self::RatioAtLeast(least) => ratio >= least,
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
    /// The row shows the highest of all runs instead of the median.
    worst: bool,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
            digits: 0,
            goals: Vec::new(),
            worst: false,
        }
    }

    /// What must not happen in any run, not even once.
    pub(crate) fn never(name: impl Into<String>, count: f64) -> Self {
        Self::new(name, count).worst().goal(Goal::AtMost(0.0))
    }

    pub(crate) fn worst(mut self) -> Self {
        self.worst = true;
        self
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
    /// Medians, or the worst.
    shown: [f64; 2],
    /// The subject's runs over the yardstick's runs next to them, in rising order: what the whole
    /// machine does to both cancels out.
    ratios: Vec<f64>,
    steal: [f64; 2],
    others: [f64; 2],
}

impl Row<'_> {
    fn ratio_columns(&self) -> String {
        match (
            median(&self.ratios),
            self.ratios.first(),
            self.ratios.last(),
        ) {
            (Some(ratio), Some(low), Some(high)) => {
                let range = format!("{low:.2}-{high:.2}");
                format!("{ratio:>5.2} {range:>11}")
            }
            _ => format!("{:>5} {:>11}", "-", "-"),
        }
    }

    fn goal_columns(&self) -> String {
        let goals = &self.first.goals;
        let ratio = median(&self.ratios).unwrap_or(f64::NAN);
        let asked: Vec<String> = goals.iter().map(|goal| goal.text()).collect();
        let met = match goals.iter().all(|goal| goal.met(self.shown, ratio)) {
            _ if goals.is_empty() => "",
            true => "yes",
            false => "NO",
        };
        format!("{:<22} {met:<4}", asked.join(", "))
    }
}

impl Report {
    /// The median of a figure over the runs of one seat.
    pub(crate) fn median(&self, seat: usize, name: &str) -> Option<f64> {
        let mut values: Vec<f64> = self
            .of(seat, name)
            .map(|(_, figure)| figure.value)
            .collect();
        values.sort_by(f64::total_cmp);
        median(&values)
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
            let values = |seat| self.of(seat, &first.name).map(|(_, figure)| figure.value);
            let shown = |seat| match self.median(seat, &first.name) {
                _ if first.worst => values(seat).fold(f64::MIN, f64::max),
                Some(median) => median,
                None => f64::NAN,
            };
            let pairs = values(0)
                .zip(values(1))
                .filter(|(yardstick, _)| *yardstick > 0.0);
            let mut ratios: Vec<f64> = pairs
                .map(|(yardstick, subject)| subject / yardstick)
                .collect();
            ratios.sort_by(f64::total_cmp);
            rows.push(Row {
                first,
                shown: [shown(0), shown(1)],
                ratios,
                steal: [0, 1].map(|seat| most(seat, |run| run.steal_percent)),
                others: [0, 1].map(|seat| most(seat, |run| run.others_percent)),
            });
        }
        rows
    }

    /// Medians of both seats and of the ratio of neighboring runs, what was asked and whether it holds.
    pub(crate) fn table(&self) -> String {
        let [yardstick, subject] = &self.names;
        let mut table = format!(
            "{:<31} {yardstick:>10} {subject:>10} {:>5} {:>11}  {:<22} {:<4} {:>11} {:>12}\n",
            "median", "ratio", "from-to", "goal", "met", "steal % max", "others % max"
        );
        for row in self.rows() {
            let digits = row.first.digits;
            let [a, b] = row.shown;
            let _ = writeln!(
                table,
                "{:<31} {a:>10.digits$} {b:>10.digits$} {}  {} {:>5.1} {:>5.1} {:>6.0} {:>5.0}",
                row.first.name,
                row.ratio_columns(),
                row.goal_columns(),
                row.steal[0],
                row.steal[1],
                row.others[0],
                row.others[1],
            );
        }
        table
    }

    /// Every run and every row of the table, for machines.
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
        let rows: serde_json::Map<String, Value> = self
            .rows()
            .iter()
            .map(|row| {
                let row_json = json!({ "shown": row.shown, "ratios": row.ratios });
                (row.first.name.clone(), row_json)
            })
            .collect();
        json!({ "seats": self.names, "rows": rows, "runs": runs })
    }
}

/// The middle of values in rising order.
fn median(values: &[f64]) -> Option<f64> {
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}
