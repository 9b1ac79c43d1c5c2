//! What was measured, as a table for people.

use std::fmt::Write as _;

use super::Results;
use super::contestant::Contestant;
use super::round::{Figures, Setting};

/// A column: its figure, its head, and the digits after the point.
const COLUMNS: [(&str, &str, usize); 18] = [
    ("cpu", "CPU-s / 100k", 2),
    ("rate", "events/s", 0),
    ("subscribed", "subscribed, s", 2),
    ("subscribed_cpu", "CPU-s until then", 2),
    ("each", "idle KiB / account", 1),
    ("idle", "idle KiB", 0),
    ("peak", "peak KiB", 0),
    ("peak_ratio", "peak / idle", 2),
    ("median", "median ms", 2),
    ("p99", "p99 ms", 2),
    ("max", "max ms", 1),
    ("own_median", "receipt to ack, median ms", 1),
    ("own_p99", "p99 ms", 1),
    ("lost", "lost", 0),
    ("duplicated", "duplicated", 0),
    ("out_of_order", "out of order", 0),
    ("size", "bytes / event", 0),
    ("commit_share", "commit, % of CPU", 1),
];

impl Setting {
    pub fn title(self) -> String {
        let accounts = if self.accounts == 1 { "account" } else { "accounts" };
        format!("{} {accounts}, {}, {} events", self.accounts, if self.tls { "TLS" } else { "plain" }, self.events)
    }
}

/// The median, the least and the most of some runs.
fn spread(runs: &[Figures], name: &str) -> Option<(f64, f64, f64)> {
    let mut all: Vec<f64> = runs.iter().filter_map(|run| run.get(name).copied()).collect();
    all.sort_by(f64::total_cmp);
    Some((all.get(all.len().checked_sub(1)? / 2).copied()?, *all.first()?, *all.last()?))
}

/// The median of some runs.
pub fn median(runs: &[Figures], name: &str) -> Option<f64> {
    spread(runs, name).map(|(median, ..)| median)
}

/// The table of a setting.
pub fn table(setting: Setting, results: &Results) -> String {
    let mut text = format!("### {}\n\n| contestant | runs |", setting.title());
    let _ = write!(text, "{}", COLUMNS.map(|(_, head, _)| format!(" {head} |")).concat());
    let _ = write!(text, "\n|---|---:|{}\n", "---:|".repeat(COLUMNS.len()));
    for contestant in Contestant::ALL {
        let Some(runs) = results.get(&(setting, contestant)) else { continue };
        let cells = COLUMNS.map(|(name, _, digits)| format!(" {} |", cell(runs, name, digits)));
        let _ = writeln!(text, "| {} | {} |{}", contestant.title(), runs.len(), cells.concat());
    }
    text
}

fn cell(runs: &[Figures], name: &str, digits: usize) -> String {
    match spread(runs, name) {
        None => "–".to_owned(),
        Some((median, least, most)) if runs.len() == 1 || least.to_bits() == most.to_bits() => {
            format!("{median:.digits$}")
        }
        Some((median, least, most)) => format!("{median:.digits$} ({least:.digits$}–{most:.digits$})"),
    }
}

/// One run in one line.
pub fn line(figures: &Figures) -> String {
    let all = COLUMNS.iter().filter_map(|(name, head, digits)| Some((figures.get(name)?, head, digits)));
    all.map(|(value, head, digits)| format!("{head} {value:.digits$}")).collect::<Vec<_>>().join(", ")
}
