//! `benches/RESULTS.md`: the machine, the versions, the tables, and each goal with what came of it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{EVENTS_PER_LEG, LEGS_AT_ONCE, OUTGOING_OF};

use super::Results;
use super::contestant::Contestant;
use super::round::{RATE, STEADY, Setting};
use super::table;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Accounts in the setting most goals are about, and in those compared for growth.
const USUAL: u32 = 1_000;
const FEW: u32 = 100;
const MANY: u32 = 10_000;

/// A goal: what it says, the figure if it was measured, and the limit it must not pass.
struct Goal {
    text: &'static str,
    figure: Option<f64>,
    limit: f64,
    at_least: bool,
}

/// Writes the file.
pub fn write(settings: &[Setting], results: &Results) {
    let mut text = "# How the router compares\n\nWritten by `cargo bench --bench pipeline -- write`.\n\n".to_owned();
    text.push_str(&machine());
    text.push_str(&method(settings, results));
    text.push_str("\n## Tables\n\nMedian (least–most) where there was more than one run.\n");
    for setting in settings {
        let _ = write!(text, "\n{}", table::table(*setting, results));
    }
    text.push_str(&goals(results));
    fs::write(Path::new(ROOT).join("benches/RESULTS.md"), text).unwrap();
}

fn machine() -> String {
    let cpu = first_after(&read("/proc/cpuinfo"), "model name");
    let memory = first_after(&read("/proc/meminfo"), "MemTotal");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let rows = [
        ("date", Moment::now().utc().strftime("%Y-%m-%d").to_string()),
        ("processor", format!("{cpu}, {cores} cores")),
        ("memory", memory),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("rustc", said("rustc", &["--version"])),
        ("onsip-router", format!("{} ({})", env!("CARGO_PKG_VERSION"), said("git", &["rev-parse", "--short", "HEAD"]))),
        ("tokio-xmpp", locked("tokio-xmpp")),
        (
            "node, @xmpp/client",
            format!("{}, {}", said("node", &["--version"]), pinned("xmppjs/package.json", "client\": \"")),
        ),
        (
            "python, slixmpp",
            format!("{}, {}", said("python3", &["--version"]), pinned("slixmpp/requirements.txt", "slixmpp==")),
        ),
    ];
    let rows = rows.map(|(what, which)| format!("| {what} | {} |\n", which.trim()));
    format!("| | |\n|---|---|\n{}\n", rows.concat())
}

fn method(settings: &[Setting], results: &Results) -> String {
    let ceiling = settings.iter().filter_map(|setting| {
        let rate = table::median(results.get(&(*setting, Contestant::Bytes))?, "rate")?;
        Some(format!("{rate:.0} events/s with {}", setting.title()))
    });
    let size = |name| results.values().find_map(|runs| table::median(runs, name)).unwrap_or_default();
    let (size, item, retract) = (size("size"), size("item_size"), size("retract_size"));
    format!(
        "Each contestant is a process of its own; the simulated service runs in the process of the benchmark and shares the \
         processors with it. Every contestant logs in (SASL PLAIN, at most 50 at once), sends presence with priority 1, \
         authorizes, subscribes each account to `/me/<jid>` with its full JID, and takes the same fields out of each event \
         into an object; only the router makes it JSON, and durable. Stream management (XEP-0198) is offered to nobody. \
         An event is one message: of {EVENTS_PER_LEG} of a leg two are items and the last is a retract, one leg in \
         {OUTGOING_OF} is outgoing, {LEGS_AT_ONCE} legs of an account are live at once in the blast. An item has {item:.0} bytes, a retract {retract:.0}, \
         an event on average {size:.0}. The times begin with the start of the process, so they hold the start of node and python.\n\n\
         * CPU: user and system time of the whole process in the blast and one second after it.\n\
         * events/s: from the first byte of the blast until the last event was read (router: stood in the file).\n\
         * memory: resident, without the page cache of files; peak is `VmHWM`, begun anew before the blast, in KiB and as \
         a multiple of idle; per account it is what is above the same contestant with one account.\n\
         * latency: at {RATE:.0} events/s for {STEADY} s, from the moment an event is given to its connection until it is \
         read; of the router until its line was seen in the file, which is after the durable commit. Receipt to \
         acknowledgement is the router's own histogram, by a straight line within its bucket: it begins later, and ends \
         only when the line is safe on the disk.\n\
         * commit: the share of the threads of the store and of SQLite.\n\n\
         The ceiling, from a reader that only counts bytes: {}.\n",
        ceiling.collect::<Vec<_>>().join("; ")
    )
}

fn goals(results: &Results) -> String {
    let of = |contestant, accounts, tls, name| {
        let found = results.iter().find(|((setting, who), _)| {
            setting.accounts == accounts && setting.tls == tls && *who == contestant && setting.events > 0
        });
        found.and_then(|(_, runs)| table::median(runs, name))
    };
    let usual = |contestant, name| of(contestant, USUAL, false, name);
    let router = |name| usual(Contestant::Router, name);
    let ratio = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
    let wrong = |name| {
        let runs = results.iter().filter(|((_, who), _)| *who == Contestant::Router).flat_map(|(_, runs)| runs);
        runs.filter_map(|run| run.get(name).copied()).reduce(f64::max)
    };
    let most = |text, figure, limit| Goal { text, figure, limit, at_least: false };
    let all = [
        most("CPU per event, of xmpp.js", ratio(router("cpu"), usual(Contestant::XmppJs, "cpu")), 0.9),
        most("CPU per event, of `Client`", ratio(router("cpu"), usual(Contestant::Client, "cpu")), 0.45),
        Goal {
            text: "events/s, of `Client`",
            figure: ratio(router("rate"), usual(Contestant::Client, "rate")),
            limit: 1.5,
            at_least: true,
        },
        most("share of the durable commit in the CPU, %", router("commit_share"), 20.0),
        most("idle KiB per account, plain", router("each"), 40.0),
        most("idle KiB per account, TLS", of(Contestant::Router, USUAL, true, "each"), 48.0),
        most("peak in the blast, of idle", router("peak_ratio"), 2.0),
        most("1,000 accounts subscribed, s", router("subscribed"), 1.5),
        most("1,000 accounts subscribed, CPU-s", router("subscribed_cpu"), 1.0),
        most("sent until in the file at 2,000/s, median ms", router("median"), 3.0),
        most("sent until in the file at 2,000/s, p99 ms", router("p99"), 15.0),
        most("receipt to acknowledgement at 2,000/s, median ms", router("own_median"), 3.0),
        most("receipt to acknowledgement at 2,000/s, p99 ms", router("own_p99"), 15.0),
        most("lost, in any run", wrong("lost"), 0.0),
        most("duplicated, in any run", wrong("duplicated"), 0.0),
        most("out of order within a call, in any run", wrong("out_of_order"), 0.0),
        most(
            "CPU per event with 10,000 accounts, of that with 100",
            ratio(of(Contestant::Router, MANY, false, "cpu"), of(Contestant::Router, FEW, false, "cpu")),
            1.25,
        ),
    ];
    let rows = all.iter().map(Goal::row).collect::<String>();
    format!("\n## Goals\n\n| the router's | goal | figure | |\n|---|---:|---:|---|\n{rows}")
}

impl Goal {
    fn row(&self) -> String {
        let Self { text, limit, .. } = self;
        let sign = if self.at_least { "≥" } else { "≤" };
        let (figure, verdict) = match self.figure {
            None => ("–".to_owned(), "not measured".to_owned()),
            Some(figure) => (format!("{figure:.2}"), self.verdict(figure)),
        };
        format!("| {text} | {sign} {limit} | {figure} | {verdict} |\n")
    }

    fn verdict(&self, figure: f64) -> String {
        let met = if self.at_least { figure >= self.limit } else { figure <= self.limit };
        if met {
            "met".to_owned()
        } else if self.limit == 0.0 {
            format!("missed by {figure:.0}")
        } else {
            format!("missed: {:.2} times the goal", figure / self.limit)
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn first_after(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(ROOT).output();
    output
        .map_or_else(|_| "not installed".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn locked(package: &str) -> String {
    let text = read(&format!("{ROOT}/Cargo.lock"));
    let (_, rest) = text.split_once(&format!("name = \"{package}\"\nversion = \"")).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

fn pinned(file: &str, before: &str) -> String {
    let text = read(&format!("{ROOT}/benches/pipeline/{file}"));
    let (_, rest) = text.split_once(before).unwrap_or_default();
    rest.split(['"', '\n']).next().unwrap_or_default().to_owned()
}
