//! `status`: how a running daemon is, on one screen.
//!
//! Must not know more than the API says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::daemon::DaemonArgs;
use super::printable_json;
use super::round::{Report, make};
use super::table::{Table, harmless, time};
use crate::metrics::totals::Dropped;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Arguments of `status`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 if the daemon answers, however it is; 1 if it cannot be asked.

Examples:
  onsip-router status --config /etc/onsip-router
  onsip-router status --url http://127.0.0.1:9464 --json | jq .summary.accounts")]
pub struct Args {
    /// Which daemon.
    #[command(flatten)]
    daemon: DaemonArgs,
    /// As JSON: what /api/v1/summary and /api/v1/sinks say
    #[arg(long)]
    json: bool,
}

/// Asks once and prints the answer.
pub fn run(args: &Args) -> ExitCode {
    make(ask(args))
}

async fn ask(args: &Args) -> Result<Report> {
    let daemon = args.daemon.daemon()?;
    let (summary, sinks): (Value, Value) = (daemon.json("/api/v1/summary").await?, daemon.json("/api/v1/sinks").await?);
    let text = if args.json {
        printable_json(&serde_json::to_string_pretty(&json!({ "summary": summary, "sinks": sinks }))?).into_owned()
    } else {
        screen(daemon.place(), &summary, &sinks).context("the daemon is of another version than this program")?
    };
    Ok(Report { text, failed: false })
}

#[derive(Deserialize)]
struct Summary {
    version: String,
    commit: String,
    uptime_seconds: u64,
    ready: bool,
    draining: bool,
    reasons: Vec<String>,
    accounts: Accounts,
    blind: Vec<BlindAccount>,
    subscriptions: Subscriptions,
    totals: Totals,
    last_minute: LastMinute,
}

#[derive(Deserialize)]
struct Accounts {
    total: u64,
    blind: u64,
    states: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct BlindAccount {
    name: String,
    state: String,
    since: Timestamp,
    reason: String,
    why: Option<String>,
}

#[derive(Deserialize)]
struct Subscriptions {
    total: u64,
    states: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Totals {
    received: u64,
    duplicate: u64,
    rejected: u64,
    gaps: u64,
    delivered: u64,
    retried: u64,
    dead: u64,
    revived: u64,
    purged: u64,
    purged_dead: u64,
    dropped: u64,
}

#[derive(Deserialize)]
struct LastMinute {
    received_per_second: Option<f64>,
    delivery_p50_seconds: Option<f64>,
    delivery_p99_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct Sink {
    name: String,
    r#type: String,
    state: String,
    blocking: bool,
    held: u64,
    next_try: Option<Timestamp>,
    queued: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
    dead: u64,
    dropped: Dropped,
    last_error: Option<String>,
}

/// All of it, for people.
fn screen(place: &str, summary: &Value, sinks: &Value) -> Result<String> {
    let summary = Summary::deserialize(summary)?;
    let sinks = Vec::<Sink>::deserialize(sinks)?;
    let mut text = head(place, &summary);
    let Summary { accounts, subscriptions, totals, last_minute, .. } = &summary;
    let _ = write!(text, "\naccounts       {}", counts(accounts.total, &accounts.states));
    if accounts.blind > 0 {
        let _ = write!(text, "; {BAD}{} blind{BAD:#}", accounts.blind);
    }
    let _ = write!(text, "\nsubscriptions  {}", counts(subscriptions.total, &subscriptions.states));
    let Totals { received, duplicate, rejected, gaps, delivered, retried, dead, dropped, .. } = totals;
    let _ = write!(
        text,
        "\nevents         {received} received, {duplicate} of them twice; {rejected} rejected, {gaps} gaps"
    );
    if let Some(rate) = last_minute.received_per_second {
        let _ = write!(text, "; {rate:.1} per second in the last minute");
    }
    let _ = write!(text, "\ndeliveries     {delivered} done, {retried} failed and tried again, {dead} given up");
    let by_operator = by_operator(totals);
    if !by_operator.is_empty() {
        let _ = write!(text, " ({by_operator} by an operator)");
    }
    let _ = write!(text, ", {dropped} dropped");
    if let (Some(median), Some(worst)) = (last_minute.delivery_p50_seconds, last_minute.delivery_p99_seconds) {
        let _ = write!(text, "; median {}, 99 % within {}", span(median), span(worst));
    }
    if !summary.blind.is_empty() {
        let _ = write!(text, "\n\n{}", blind(&summary.blind));
        let more = accounts.blind.saturating_sub(summary.blind.len() as u64);
        if more > 0 {
            let _ = write!(text, "\nand {more} more");
        }
    }
    if !sinks.is_empty() {
        let _ = write!(text, "\n\n{}", queues(sinks));
    }
    Ok(text)
}

fn head(place: &str, summary: &Summary) -> String {
    let Summary { version, commit, uptime_seconds, ready, draining, reasons, .. } = summary;
    let (version, commit, up) = (harmless(version), harmless(commit), uptime(*uptime_seconds));
    let state = match (draining, ready) {
        (true, _) => format!("{BAD}stopping{BAD:#}"),
        (false, true) => format!("{GOOD}ready{GOOD:#}"),
        (false, false) => format!("{BAD}not ready{BAD:#}"),
    };
    let mut text = format!("onsip-router {version} ({commit}) at {place}, up {up}: {state}");
    for reason in reasons {
        let _ = write!(text, "\n  {}", harmless(reason));
    }
    text + "\n"
}

/// `5: 4 online, 1 waiting`.
fn counts(total: u64, states: &BTreeMap<String, u64>) -> String {
    let there: Vec<_> =
        states.iter().filter(|(_, n)| **n > 0).map(|(state, n)| format!("{n} {}", harmless(state))).collect();
    if there.is_empty() { total.to_string() } else { format!("{total}: {}", there.join(", ")) }
}

/// Says in words how many events an operator took out of the queues or put back; nothing where there are none.
fn by_operator(totals: &Totals) -> String {
    let done = [(totals.revived, "owed again"), (totals.purged, "purged"), (totals.purged_dead, "dead purged")];
    let done: Vec<_> = done.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    done.join(", ")
}

fn blind(accounts: &[BlindAccount]) -> String {
    let mut table = Table::new(["BLIND", "STATE", "SINCE", "REASON", "WHY"]);
    for BlindAccount { name, state, since, reason, why } in accounts {
        let why = why.clone().unwrap_or_default();
        table.add([name.clone(), state.clone(), time(*since), reason.clone(), why]);
    }
    table.to_string()
}

fn queues(sinks: Vec<Sink>) -> String {
    let headings = ["SINK", "TYPE", "STATE", "QUEUED", "BYTES", "OLDEST", "DEAD", "DROPPED", "LAST ERROR"];
    let mut table = Table::new(headings);
    let mut waiting = String::new();
    for sink in sinks {
        let state = if sink.blocking { sink.state + ", blocking" } else { sink.state };
        let oldest = sink.oldest.map(time).unwrap_or_default();
        if let Some(next) = sink.next_try.map(time) {
            let held = match sink.held {
                0 => String::new(),
                1 => "1 call held, ".to_owned(),
                calls => format!("{calls} calls held, "),
            };
            let _ = write!(waiting, "\n{}: {held}next try {next}", harmless(&sink.name));
        }
        let (queued, bytes, dead) = (sink.queued.to_string(), sink.bytes.to_string(), sink.dead.to_string());
        let (dropped, last_error) = (sink.dropped.to_string(), sink.last_error.unwrap_or_default());
        table.add([sink.name, sink.r#type, state, queued, bytes, oldest, dead, dropped, last_error]);
    }
    table.to_string() + &waiting
}

/// The two largest units of a time.
fn uptime(seconds: u64) -> String {
    let units = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("min", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, n)| *n > 0).unwrap_or(units.len() - 1);
    let shown: Vec<_> = units[first..].iter().take(2).map(|(unit, n)| format!("{n} {unit}")).collect();
    shown.join(" ")
}

/// A short time.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Value {
        json!({
            "version": "0.1.0", "commit": "abc", "now": "2026-11-26T15:00:00Z", "started": "2026-11-26T12:00:00Z",
            "uptime_seconds": 10_800, "ready": false, "reasons": ["account b is waiting"], "draining": false,
            "accounts": {"total": 30, "blind": 22, "states": {"online": 8, "waiting": 22, "refused": 0}},
            "blind": [{"name": "b", "state": "waiting", "since": "2026-11-26T14:59:00Z", "reason": "disconnect",
                       "why": "connection\u{1b}[2J refused"}],
            "subscriptions": {"total": 30, "states": {"active": 8, "lost": 22}},
            "totals": {"received": 100, "duplicate": 2, "rejected": 1, "gaps": 3, "delivered": 97, "retried": 4,
                       "dead": 5, "revived": 3, "purged": 0, "purged_dead": 2, "dropped": 6},
            "last_minute": {"received_per_second": 1.25, "delivered_per_second": 1.0,
                            "delivery_p50_seconds": 0.012, "delivery_p99_seconds": 1.04}
        })
    }

    fn sinks() -> Value {
        json!([{"name": "crm", "type": "webhook", "state": "down", "blocking": true, "queued": 12, "bytes": 900,
                "oldest": "2026-11-26T14:58:00Z", "dead": 5, "dropped": {"full": 3, "age": 0}, "last_error": "503",
                "held": 1, "next_try": "2026-11-26T15:00:07Z"},
               {"name": "old", "type": "", "state": "not configured", "blocking": false, "queued": 93, "bytes": 1,
                "oldest": "2026-11-26T14:58:00Z", "dead": 0, "dropped": {"full": 0, "age": 0}, "last_error": null,
                "held": 0, "next_try": null}])
    }

    #[test]
    fn f3_f5_f10_one_screen_says_it_all() {
        let text = anstream::adapter::strip_str(&screen("http://r", &summary(), &sinks()).unwrap()).to_string();
        let expected = "\
onsip-router 0.1.0 (abc) at http://r, up 3 h 0 min: not ready
  account b is waiting

accounts       30: 8 online, 22 waiting; 22 blind
subscriptions  30: 8 active, 22 lost
events         100 received, 2 of them twice; 1 rejected, 3 gaps; 1.2 per second in the last minute
deliveries     97 done, 4 failed and tried again, 5 given up (3 owed again, 2 dead purged by an operator), 6 dropped; median 12 ms, 99 % within 1.0 s

BLIND  STATE    SINCE                 REASON      WHY
b      waiting  2026-11-26T14:59:00Z  disconnect  connection\u{fffd}[2J refused
and 21 more

SINK  TYPE     STATE           QUEUED  BYTES  OLDEST                DEAD  DROPPED  LAST ERROR
crm   webhook  down, blocking  12      900    2026-11-26T14:58:00Z  5     full: 3  503
old   -        not configured  93      1      2026-11-26T14:58:00Z  0     0        -
crm: 1 call held, next try 2026-11-26T15:00:07Z";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_answer_of_another_kind_is_no_screen() {
        assert!(screen("http://r", &json!({"version": 1}), &sinks()).is_err());
    }

    #[test]
    fn a_time_is_told_in_its_two_largest_units() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (200_000, "2 d 7 h")]
        {
            assert_eq!(uptime(seconds), text);
        }
    }
}
