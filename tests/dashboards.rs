//! The boards, the reference of metrics and the rules belong together: boards and reference are made from what is said in
//! `dashboards/` beside this file and from the table of metrics, nothing asks for a metric nobody exports, and every panel
//! and alert says what it means.
//!
//! `ONSIP_ROUTER_WRITE=1 cargo test --test dashboards` writes boards and reference anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "a test fails loudly")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use onsip_router::metrics::NAMESPACE;
use onsip_router::metrics::family::Kind;
use onsip_router::metrics::table::TABLE;
use serde_json::Value;

use board::Board;

#[path = "dashboards/account.rs"]
mod account;
#[path = "dashboards/board.rs"]
mod board;
#[path = "dashboards/fleet.rs"]
mod fleet;
#[path = "dashboards/panel.rs"]
mod panel;
#[path = "dashboards/reference.rs"]
mod reference;
#[path = "dashboards/runbook.rs"]
mod runbook;
#[path = "dashboards/sinks.rs"]
mod sinks;
#[path = "dashboards/store.rs"]
mod store;
#[path = "dashboards/subscriptions.rs"]
mod subscriptions;

/// What Prometheus itself adds to each scrape, and what it makes of alerts.
const OF_PROMETHEUS: [&str; 3] = ["up", "scrape_duration_seconds", "ALERTS"];

/// Metrics that no board shows, and why.
const NOT_SHOWN: &[(&str, &str)] = &[
    (
        "onsip_router_http_answers_refused_total",
        "whoever is refused sees the 503; it says that callers ask for much and read little of it",
    ),
    ("onsip_router_http_connections", "matters only once some are evicted, and then who asks, not how many"),
    (
        "onsip_router_http_connections_evicted_total",
        "a fault of the surroundings that costs nothing; for who looks for one",
    ),
    ("onsip_router_log_lines_dropped_total", "the log says so itself once it flows again"),
    ("onsip_router_ready", "boards show what it is made of: accounts that are not online, full queues, the store"),
    ("process_threads", "there are as many as cores and a few, always"),
    ("process_virtual_memory_bytes", "says nothing that resident memory does not say better"),
];

fn described() -> Vec<Board> {
    let boards = [fleet::board, account::board, subscriptions::board, sinks::board, store::board, runbook::board];
    boards.iter().map(|board| board()).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// Compares a made file with what it should hold, or writes it.
fn is_kept(path: &str, wanted: &str) {
    let file = folder().join(path);
    let holds = || std::fs::read_to_string(&file).unwrap_or_default();
    if std::env::var_os("ONSIP_ROUTER_WRITE").is_some() && holds() != wanted {
        std::fs::write(&file, wanted).unwrap();
    }
    let is = holds();
    assert!(
        is == wanted,
        "dashboards/{path} is not what it is made from: ONSIP_ROUTER_WRITE=1 cargo test --test dashboards"
    );
}

/// The boards with their names. The files hold the same, see below.
fn boards() -> Vec<(&'static str, Value)> {
    described().iter().map(|board| (board.name, board.json())).collect()
}

/// Those that ask for something.
fn boards_with_data() -> Vec<(&'static str, Value)> {
    boards().into_iter().filter(|(_, board)| !expressions(board).is_empty()).collect()
}

fn panels(board: &Value) -> Vec<&Value> {
    board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(board: &Value) -> Vec<&str> {
    let targets = panels(board).into_iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

fn exported() -> BTreeSet<String> {
    let suffixes = |kind| if kind == Kind::Histogram { &["_bucket", "_sum", "_count"][..] } else { &[""][..] };
    TABLE.iter().flat_map(|row| suffixes(row.kind).iter().map(|suffix| row.full_name() + suffix)).collect()
}

#[test]
fn every_board_is_what_it_is_made_from() {
    let mut known = BTreeSet::new();
    for (name, board) in boards() {
        let file = format!("grafana/boards/{name}.json");
        is_kept(&file, &(serde_json::to_string_pretty(&board).unwrap() + "\n"));
        known.insert(folder().join(file));
    }
    let files = std::fs::read_dir(folder().join("grafana/boards")).unwrap();
    assert_eq!(files.map(|file| file.unwrap().path()).collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_reference_is_the_table() {
    let boards: Vec<_> = boards().iter().map(|(name, board)| (*name, expressions(board).join("\n"))).collect();
    is_kept("METRICS.md", &reference::page(&boards));
}

#[test]
fn every_metric_a_board_or_rule_names_is_exported() {
    let exported = exported();
    let boards = boards_with_data().into_iter().map(|(name, board)| (name, expressions(&board).join("\n")));
    let rules = ["rules.yml", "alerts.yml", "alerts_test.yml", "silence_test.yml"];
    for (name, text) in boards.chain(rules.map(|file| (file, read(&format!("prometheus/{file}"))))) {
        // What a rule records is named by level, metric and operation, with colons between.
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let used: BTreeSet<_> = words.filter(|word| word.starts_with(NAMESPACE)).map(str::to_owned).collect();
        assert!(used.len() > 1, "{name}");
        let unknown: Vec<_> = used.difference(&exported).collect();
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}");
    }
}

#[test]
fn every_metric_is_on_a_board_or_it_is_said_why_not() {
    let asked: Vec<_> = boards_with_data().iter().map(|(_, board)| expressions(board).join("\n")).collect();
    let asked = asked.join("\n");
    let own = TABLE.iter().map(onsip_router::metrics::table::Row::full_name);
    let all: Vec<_> = own.chain(reference::process().into_iter().map(|(name, ..)| name)).collect();
    for name in &all {
        let excused = NOT_SHOWN.iter().any(|(hidden, _)| hidden == name);
        assert_ne!(reference::asks_for(&asked, name), excused, "{name} is on no board, or is and should not be");
    }
    for (name, why) in NOT_SHOWN {
        assert!(all.iter().any(|known| known == name) && !why.is_empty(), "{name}");
    }
}

#[test]
fn what_is_not_ours_comes_from_prometheus_or_the_process() {
    let known: BTreeSet<_> = reference::process().into_iter().map(|(name, ..)| name).collect();
    for (name, board) in boards_with_data() {
        for expression in expressions(&board) {
            let selected = expression.match_indices('{').filter_map(|(at, _)| {
                let start = expression[..at].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
                Some(&expression[start.map_or(0, |start| start + 1)..at]).filter(|name| !name.is_empty())
            });
            for metric in selected {
                let ours = metric.starts_with(NAMESPACE);
                assert!(ours || known.contains(metric) || OF_PROMETHEUS.contains(&metric), "{name}: {metric}");
            }
        }
    }
}

#[test]
fn every_label_a_board_selects_by_is_one_the_metric_has() {
    for (name, board) in boards_with_data() {
        for expression in expressions(&board) {
            for row in TABLE {
                for selector in expression.split(&format!("{}{{", row.full_name())).skip(1) {
                    let matchers = selector.split('}').next().unwrap().split(',');
                    let labels = matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap());
                    let unknown: Vec<_> =
                        labels.filter(|label| *label != "instance" && !row.label_names().contains(label)).collect();
                    assert!(unknown.is_empty(), "{name}: {} by {unknown:?}", row.name);
                }
            }
        }
    }
}

#[test]
fn every_panel_has_a_title_a_description_a_unit_and_the_chosen_data_source() {
    for (name, board) in boards_with_data() {
        for panel in panels(&board) {
            let title = panel["title"].as_str().unwrap();
            assert!(!title.is_empty(), "{name}");
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}: {title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {title}");
                assert_ne!(target["range"], target["instant"], "{name}: {title}");
            }
        }
    }
}

#[test]
fn every_board_is_of_grafana_10_and_leads_to_the_others() {
    for (name, board) in boards() {
        assert!(board["schemaVersion"].as_u64().unwrap() >= 38, "{name}");
        assert_eq!(board["uid"], format!("onsip-router-{name}"));
        assert!(board["id"].is_null() && board["tags"][0] == "onsip-router", "{name}");
        assert_eq!(board["links"][0]["type"], "dashboards", "{name}");
        assert_eq!(board["links"][0]["tags"], board["tags"], "{name}");
        assert_eq!(board["links"][0]["includeVars"], true, "{name}");
    }
}

#[test]
fn every_variable_an_expression_uses_is_there_to_choose() {
    for (name, board) in boards_with_data() {
        let variables = board["templating"]["list"].as_array().unwrap();
        let known: BTreeSet<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(variables[0]["type"], "datasource", "{name}");
        for expression in expressions(&board) {
            for (at, _) in expression.match_indices('$') {
                let rest = &expression[at + 1..];
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                assert!(rest[..end] == *"__rate_interval" || known.contains(&rest[..end]), "{name}: {expression}");
            }
        }
    }
}

#[test]
fn every_rate_is_taken_over_the_interval_grafana_works_out_or_over_a_time_its_title_names() {
    for (name, board) in boards_with_data() {
        for panel in panels(&board) {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let named = match title {
                    title if title.contains("in a day") => "[1d]",
                    title if title.contains("in an hour") => "[1h]",
                    _ => "[$__rate_interval]",
                };
                assert_eq!(expression.matches('[').count(), expression.matches(named).count(), "{name}: {title}");
            }
        }
    }
}

#[test]
fn no_two_panels_share_an_id_or_any_of_their_place() {
    for (name, board) in boards() {
        let panels = board["panels"].as_array().unwrap();
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "{name}");
        let mut taken = BTreeSet::new();
        for panel in panels {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= 24, "{name}: {}", panel["title"]);
            let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
            assert!(cells.into_iter().all(|cell| taken.insert(cell)), "{name}: {}", panel["title"]);
        }
    }
}

#[test]
fn every_alert_has_a_severity_a_summary_a_section_of_the_runbook_and_tests_both_ways() {
    let alerts = read("prometheus/alerts.yml");
    let tests = read("prometheus/alerts_test.yml") + &read("prometheus/silence_test.yml");
    let runbook = runbook::board().json();
    let mut known = BTreeSet::new();
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        known.insert(name);
        assert!(alert.contains("severity: critical") || alert.contains("severity: warning"), "{name}");
        assert!(alert.contains("summary: ") && alert.contains("description: "), "{name}");
        let is_there = |panel: &&Value| runbook::path(name).ends_with(&format!("viewPanel={}", panel["id"]));
        assert_eq!(panels(&runbook).into_iter().find(is_there).unwrap()["title"], name);
        let link = format!("runbook_url: http://localhost:3000{}", runbook::path(name));
        assert!(alert.lines().any(|line| line.trim() == link), "{name} should have {link}");
        let cases: Vec<_> = tests.split(&format!("- alertname: {name}\n")).skip(1).collect();
        let silent = cases.iter().filter(|case| case.lines().nth(1).unwrap().ends_with("[]")).count();
        assert!(0 < silent && silent < cases.len(), "{name} is not tested both ways");
    }
    let explained: BTreeSet<_> = runbook::sections().into_iter().map(|(name, _)| name).collect();
    assert_eq!(known, explained);
}

#[test]
fn f7_the_runbook_names_metrics_beside_boards_and_says_how_a_refused_account_is_put_right() {
    let known = exported();
    for (alert, text) in runbook::sections() {
        let metrics = text.split('`').filter(|word| word.starts_with(NAMESPACE) && !word.contains(' '));
        let metrics: Vec<_> = metrics.map(|word| word.split('{').next().unwrap()).collect();
        let unknown = metrics.iter().filter(|name| !known.iter().any(|one| one.starts_with(**name)));
        assert_eq!(unknown.collect::<Vec<_>>(), [] as [&&str; 0], "{alert}");
        assert!(!text.contains("board *") || !metrics.is_empty(), "{alert} names a board and no metric");
    }
    for alert in ["OnsipRouterManyAccountsBlind", "OnsipRouterAccountBlind"] {
        let (_, text) = runbook::sections().into_iter().find(|(name, _)| *name == alert).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("`refused`") && text.contains("Put the password right"), "{alert}");
    }
    let alerts = read("prometheus/alerts.yml");
    let (_, many) = alerts.split_once("- alert: OnsipRouterManyAccountsBlind").unwrap();
    assert!(many.contains("onsip_router_accounts_blind >= 2"), "one account is never many");
}

#[test]
fn what_the_compose_file_and_the_provisioning_name_is_there() {
    let compose = read("compose.yaml");
    let mounts = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./"));
    let mounts: Vec<_> = mounts.map(|mount| mount.split(':').collect::<Vec<_>>()).collect();
    assert_eq!(mounts.len(), 3);
    for mount in &mounts {
        assert!(folder().join(mount[0]).is_dir(), "{mount:?}");
    }
    let inside = |path: &str| {
        let mount = mounts.iter().find(|mount| path.starts_with(mount[1])).expect("it is mounted");
        folder().join(mount[0]).join(path[mount[1].len()..].trim_start_matches('/'))
    };
    assert!(inside("/etc/prometheus/prometheus.yml").is_file());
    assert!(inside("/etc/grafana/boards/fleet.json").is_file() && compose.contains("/etc/grafana/boards/fleet.json"));
    let provided = read("grafana/provisioning/dashboards/onsip-router.yml");
    let path = provided.lines().find_map(|line| line.trim().strip_prefix("path: ")).unwrap();
    assert!(inside(path).is_dir());
    assert!(inside("/etc/grafana/provisioning/datasources/prometheus.yml").is_file());
}
