//! How the router compares with programs that do the same work without durability. Prints tables:
//!
//! ```sh
//! cargo bench --bench pipeline                              # 1,000 accounts, plain, everybody, five runs: about a quarter of an hour
//! cargo bench --bench pipeline -- only router client runs 1 # only these
//! cargo bench --bench pipeline -- accounts 1 100 1000 10000 events 100000 tls
//! cargo bench --bench pipeline -- all write                 # every size, plain and TLS, and benches/RESULTS.md: half an hour
//! cargo bench --bench pipeline -- all brief write           # the same, but TLS with 1,000 accounts only
//! ```
//!
//! Each contestant is a process of its own; the simulated service runs in this one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement")]
#![allow(unreachable_pub, missing_docs, reason = "no library")]

use std::collections::BTreeMap;

use arguments::Arguments;
use contestant::Contestant;
use round::{Figures, Setting};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[path = "pipeline/arguments.rs"]
mod arguments;
#[path = "pipeline/buckets.rs"]
mod buckets;
#[path = "pipeline/bytes.rs"]
mod bytes;
#[path = "pipeline/client.rs"]
mod client;
#[path = "pipeline/contestant.rs"]
mod contestant;
#[path = "pipeline/notification.rs"]
mod notification;
#[path = "pipeline/peer.rs"]
mod peer;
#[path = "pipeline/process.rs"]
mod process;
#[path = "pipeline/results.rs"]
mod results;
#[path = "pipeline/round.rs"]
mod round;
#[path = "pipeline/router.rs"]
mod router;
#[path = "pipeline/script.rs"]
mod script;
#[path = "pipeline/stage.rs"]
mod stage;
#[path = "pipeline/stream.rs"]
mod stream;
#[path = "pipeline/table.rs"]
mod table;
#[path = "pipeline/tally.rs"]
mod tally;
#[path = "../tests/support"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "the tests use more of it")]
mod support {
    pub mod condition;
    pub mod daemon;
    pub mod http;
    pub mod metrics;
    pub mod schema;
}

const HELP: &str = "\
cargo bench --bench pipeline -- [all [brief]] [tls] [accounts N...] [events N] [runs N] [only NAME...] [write]

  (nothing)      1,000 accounts, plain, everybody, five runs: about a quarter of an hour
  all            1, 100, 1,000 and 10,000 accounts, plain and TLS: half an hour; brief: TLS with 1,000 only
  only NAME...   bytes, client, stream, router, unmatched, xmpp.js, slixmpp
  write          writes benches/RESULTS.md";

/// All runs of one contestant in one setting.
pub type Results = BTreeMap<(Setting, Contestant), Vec<Figures>>;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == peer::HIDDEN
    {
        return peer::run(rest).await;
    }
    if arguments.iter().any(|word| matches!(word.as_str(), "help" | "--help" | "-h")) {
        return println!("{HELP}");
    }
    allow_open_files();
    let arguments = Arguments::read(&arguments);
    let mut contestants = Vec::new();
    for contestant in arguments.contestants.clone() {
        match contestant.prepare().await {
            Ok(()) => contestants.push(contestant),
            Err(script::Missing(why)) => println!("{} is left out: {why}", contestant.name()),
        }
    }
    let mut results = Results::new();
    for setting in arguments.settings() {
        // In turn, so that whatever else the machine does hits everybody alike.
        for run in 1..=arguments.runs(setting) {
            let fit = |who: &&Contestant| setting.accounts <= who.most_accounts() && run <= who.most_runs();
            for contestant in contestants.iter().filter(fit) {
                let alone = alone(&mut results, *contestant, setting).await;
                eprintln!("run {run}: {} with {}", contestant.name(), setting.title());
                let figures = round::run(*contestant, setting, alone).await;
                eprintln!("    {}", table::line(&figures));
                results.entry((setting, *contestant)).or_default().push(figures);
            }
        }
        println!("\n{}", table::table(setting, &results));
    }
    if arguments.write {
        results::write(&arguments.settings(), &results);
    }
}

/// As many as the system lets us; the contestants inherit it.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// The memory of a contestant with a single account, measured once.
async fn alone(results: &mut Results, contestant: Contestant, setting: Setting) -> Option<f64> {
    if setting.accounts == 1 {
        return None;
    }
    let single = Setting { accounts: 1, events: 0, ..setting };
    let key = (single, contestant);
    if let Some(runs) = results.get(&key) {
        return runs[0].get("idle").copied();
    }
    eprintln!("run 0: {} with {}", contestant.name(), single.title());
    let figures = round::run(contestant, single, None).await;
    let idle = figures.get("idle").copied();
    results.insert(key, vec![figures]);
    idle
}
