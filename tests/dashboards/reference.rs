//! METRICS.md: the table of metrics for people, with the boards that show each.

use std::fmt::Write as _;

use onsip_router::board::View;
use onsip_router::metrics::Metrics;
use onsip_router::metrics::family::Kind;
use onsip_router::metrics::label::{Label, Names};
use onsip_router::metrics::table::{Row, TABLE};

const HEAD: &str = "\
# Metrics

Everything `/metrics` shows. Made from the table in `src/metrics/table.rs` and the boards in `tests/dashboards/` by
`ONSIP_ROUTER_WRITE=1 cargo test --test dashboards`; do not edit it, the same test without the variable compares.

Names are a promise. Every series known in advance stands there from the start, as 0 (`sink_up` and `build_info` as 1).
No label holds a JID, a number or the id of anything. A `timestamp` of 0 means never or none. Series by `account` are kept
for the first `metrics.max_accounts` accounts by name, or for none (`metrics.per_account = false`);
`onsip_router_accounts_without_series` counts those left out.
";

/// The whole page; `boards` are names of boards with all they ask for.
pub fn page(boards: &[(&str, String)]) -> String {
    let mut page = format!("{HEAD}\n## Of the router\n\n");
    page += "| metric | type | unit | labels | what it says | shown on |\n|---|---|---|---|---|---|\n";
    for row in TABLE {
        let Row { help, kind, .. } = row;
        let name = row.full_name();
        let (labels, shown) = (labels(row), shown(&name, boards));
        let _ = writeln!(page, "| `{name}` | {} | {} | {labels} | {help} | {shown} |", word(*kind), row.unit());
    }
    page += "\n## Histograms\n\nUpper edges of their buckets, in seconds:\n\n";
    for row in TABLE.iter().filter(|row| row.kind == Kind::Histogram) {
        let edges: Vec<_> = row.edges.iter().map(f64::to_string).collect();
        let _ = writeln!(page, "* `{}`: {}", row.full_name(), edges.join(", "));
    }
    page += "\n## Of the process\n\nAs every Prometheus client library exports them.\n\n";
    page += "| metric | type | what it says | shown on |\n|---|---|---|---|\n";
    for (name, kind, help) in process() {
        let _ = writeln!(page, "| `{name}` | {kind} | {help} | {} |", shown(&name, boards));
    }
    page
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn labels(row: &Row) -> String {
    let label = |label: &Label| {
        let values = match label {
            Label::Account | Label::Sink => "as configured".to_owned(),
            Label::Service => "short names of the services in use".to_owned(),
            Label::Version | Label::Commit => "of the build".to_owned(),
            known => known.values(&Names::default()).join(", "),
        };
        format!("`{}`: {values}", label.name())
    };
    let labels: Vec<_> = row.labels.iter().map(label).collect();
    labels.join("; ")
}

fn shown(name: &str, boards: &[(&str, String)]) -> String {
    let boards = boards.iter().filter(|(_, text)| asks_for(text, name));
    boards.map(|(board, _)| *board).collect::<Vec<_>>().join(", ")
}

/// Whether `text` asks for the metric `name`, or for a part of it if it is a histogram.
pub fn asks_for(text: &str, name: &str) -> bool {
    let ends = |rest: &str| {
        let rest = ["_bucket", "_sum", "_count"].iter().find_map(|part| rest.strip_prefix(part)).unwrap_or(rest);
        !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    };
    text.match_indices(name).any(|(at, _)| ends(&text[at + name.len()..]))
}

/// Name, kind and help of what the library adds, in its order.
pub fn process() -> Vec<(String, String, String)> {
    let metrics = Metrics::new("0", "0", [""; 0], [""; 0], [""; 0]).unwrap();
    let text = metrics.render(&View::default());
    let told = |line: &str, word: &str| {
        let (name, said) = line.strip_prefix(word)?.split_once(' ')?;
        name.starts_with("process_").then(|| (name.to_owned(), said.to_owned()))
    };
    let helps = text.lines().filter_map(|line| told(line, "# HELP "));
    let kinds = text.lines().filter_map(|line| told(line, "# TYPE "));
    helps.zip(kinds).map(|((name, help), (_, kind))| (name, kind, help)).collect()
}
