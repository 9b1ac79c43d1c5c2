//! The runbook as a board, so that links lead there wherever Grafana is: one text panel for each section of RUNBOOK.md.

use super::board::Board;
use super::panel::Panel;

const TEXT: &str = include_str!("../../dashboards/RUNBOOK.md");
const NAME: &str = "runbook";

/// Alerts, each with what the runbook says of it, in its order.
pub fn sections() -> Vec<(&'static str, &'static str)> {
    let sections = TEXT.split("\n## ").skip(1);
    sections.map(|section| section.split_once('\n').expect("a heading has a text below it")).collect()
}

/// Where in Grafana it says what to do about an alert.
pub fn path(alert: &str) -> String {
    let at = sections().iter().position(|(name, _)| *name == alert);
    let at = at.unwrap_or_else(|| panic!("the runbook has no section {alert}"));
    // The row above the panels is the first.
    format!("/d/onsip-router-{NAME}?viewPanel={}", at + 2)
}

/// Says what the steps presuppose: the last paragraph before the first section. Links lead to one section alone, so it stands
/// below each.
fn presupposed() -> &'static str {
    let before = TEXT.split("\n## ").next().unwrap_or_default().trim();
    before.rsplit("\n\n").next().unwrap_or_default()
}

pub fn board() -> Board {
    let panel = |(alert, text): (&str, &str)| {
        let text = format!("{}\n\n---\n\n{}", text.trim(), presupposed());
        Panel::text(alert, "What it means and what to do about it.", &text)
    };
    Board {
        name: NAME,
        title: "runbook",
        says: "What each alert means and what to do about it.",
        chosen: None,
        rows: vec![("Alerts", sections().into_iter().map(panel).collect())],
    }
}
