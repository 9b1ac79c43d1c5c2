//! The dashboards ask only for metrics the code declares, and every panel says what it shows.

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::collections::BTreeSet;

use onsip_router::metrics::NAMESPACE;
use onsip_router::metrics::family::Kind;
use onsip_router::metrics::table::TABLE;
use serde_json::Value;

fn boards() -> Vec<(String, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let boards: Vec<_> = files.map(|path| (path.display().to_string(), parsed(&path))).collect();
    assert!(!boards.is_empty());
    boards
}

fn parsed(path: &std::path::Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn panels(board: &Value) -> Vec<&Value> {
    board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(board: &Value) -> Vec<&str> {
    let targets = panels(board).into_iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let prefix = format!("{NAMESPACE}_");
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let name = |(at, _)| text[at..].chars().take_while(is_part).collect();
    text.match_indices(&prefix).map(name).collect()
}

fn exported() -> BTreeSet<String> {
    let suffixes = |kind| if kind == Kind::Histogram { &["_bucket", "_sum", "_count"][..] } else { &[""][..] };
    TABLE.iter().flat_map(|row| suffixes(row.kind).iter().map(|suffix| row.full_name() + suffix)).collect()
}

#[test]
fn every_metric_a_dashboard_names_is_declared() {
    let exported = exported();
    for (file, board) in boards() {
        let used = names(&board.to_string());
        assert!(used.len() > 10, "{file}");
        let unknown: Vec<_> = used.difference(&exported).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
}

#[test]
fn every_declared_metric_is_on_a_dashboard() {
    let used: BTreeSet<String> = boards().iter().flat_map(|(_, board)| names(&board.to_string())).collect();
    let unseen: Vec<_> = TABLE
        .iter()
        .map(|row| if row.kind == Kind::Histogram { row.full_name() + "_bucket" } else { row.full_name() })
        .filter(|name| !used.contains(name))
        .collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

#[test]
fn every_label_a_dashboard_selects_by_is_one_the_metric_has() {
    for (file, board) in boards() {
        for expression in expressions(&board) {
            for row in TABLE {
                for selector in expression.split(&format!("{}{{", row.full_name())).skip(1) {
                    let matchers = selector.split('}').next().unwrap().split(',');
                    let labels = matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap());
                    let unknown: Vec<_> =
                        labels.filter(|label| *label != "instance" && !row.label_names().contains(label)).collect();
                    assert!(unknown.is_empty(), "{file}: {} by {unknown:?}", row.name);
                }
            }
        }
    }
}

#[test]
fn every_panel_has_a_title_a_description_a_unit_and_the_chosen_data_source() {
    for (file, board) in boards() {
        for panel in panels(&board) {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty(), "{file}");
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{file}: {title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {title}");
        }
    }
}

#[test]
fn every_rate_is_taken_over_the_interval_grafana_works_out() {
    for (file, board) in boards() {
        for expression in expressions(&board) {
            assert_eq!(expression.matches('[').count(), expression.matches("[$__rate_interval]").count(), "{file}");
        }
    }
}

#[test]
fn no_two_panels_share_an_id_or_a_place() {
    for (file, board) in boards() {
        let panels = board["panels"].as_array().unwrap();
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{file}");
        let places: BTreeSet<_> = panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
        assert_eq!(places.len(), panels.len(), "{file}");
    }
}
