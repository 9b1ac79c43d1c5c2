//! How fast the way from a commit to the sinks is. Prints figures:
//!
//! ```sh
//! cargo bench --bench delivery               # all of it, about two minutes
//! cargo bench --bench delivery -- queue      # only: queue, rules, real, dead, latency
//! cargo bench --bench delivery -- real 10000 # with so many events in place of a hundred thousand
//! ```
//!
//! Every commit is durable. `real` and `dead` need `nats-server` and `redis-server` on the path, and are left out where
//! they are not installed. `latency` runs the built daemon against the simulated service.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement")]

use std::time::Duration;

use onsip_router::domain::moment::Moment;
use onsip_router::domain::name::SinkName;
use onsip_router::simulator::Traffic;

#[path = "delivery/house.rs"]
mod house;
#[path = "delivery/latency.rs"]
mod latency;
#[path = "../tests/contract/parcels.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod parcels;
#[path = "fleet/process.rs"]
mod process;
#[path = "delivery/queue.rs"]
mod queue;
#[path = "delivery/rules.rs"]
mod rules;
#[path = "delivery/servers.rs"]
mod servers;
#[path = "fleet/stage.rs"]
#[allow(dead_code, reason = "the other benchmark uses more of it")]
mod stage;
#[path = "../tests/support"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "the tests use more of it")]
mod support {
    pub mod condition;
    pub mod daemon;
    pub mod http;
    pub mod metrics;
    pub mod schema;
}

/// What the issue asks for, per second.
mod goal {
    pub const ACCEPTED: f64 = 50_000.0;
    pub const WHOLE_WAY: f64 = 30_000.0;
    pub const REAL: f64 = 10_000.0;
}

#[actix_rt::main]
async fn main() {
    let (counts, names): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).filter(|name| !name.starts_with("--")).partition(|name| name.parse::<usize>().is_ok());
    let count = counts.first().map_or(100_000, |count| count.parse().unwrap());
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if wanted("queue") {
        say("accepted by the queue alone", queue::accepted(count).await, goal::ACCEPTED);
        say(
            "accepted, delivered to three sinks that do nothing, settled",
            queue::whole_way(count).await,
            goal::WHOLE_WAY,
        );
    }
    if wanted("rules") {
        rules::print(u32::try_from(count).unwrap());
    }
    if wanted("real") || wanted("dead") {
        match servers::Servers::start().await {
            Ok(servers) => real(&servers, count, wanted("dead")).await,
            Err(missing) => println!("with file, nats and redis: left out, {missing} is not installed"),
        }
    }
    if wanted("latency") {
        latency::print().await;
    }
}

/// All three at once, and the same beside a sink that takes nothing.
async fn real(servers: &servers::Servers, count: usize, dead: bool) {
    let alone = house::rate(&servers.sinks("ALONE"), count).await;
    say("with file, nats and redis, in all three", alone, goal::REAL);
    if dead {
        let beside = house::rate(&(servers.sinks("BESIDE") + servers::DEAD), count).await;
        say("the same with a dead fourth sink", beside, goal::REAL);
        println!(
            "with a dead fourth sink: {:.1} % of the rate without (goal: over 90 %)",
            beside.rate / alone.rate * 100.0
        );
    }
}

fn say(what: &str, Figure { rate, each }: Figure, goal: f64) {
    println!(
        "{what}: {rate:.0} events/s, {:.2} of the goal of {goal:.0}; {:.1} us of processor each",
        rate / goal,
        each.as_secs_f64() * 1e6
    );
}

/// What was measured: events per second, and what this process spent on each.
#[derive(Clone, Copy)]
struct Figure {
    rate: f64,
    each: Duration,
}

/// Measures from its beginning on.
struct Watch {
    start: Moment,
    spent: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { start: Moment::now(), spent: process::processor(std::process::id()) }
    }

    fn stop(&self, events: usize) -> Figure {
        let (time, events) = (Moment::now().since(self.start), u32::try_from(events).unwrap());
        let each = process::processor(std::process::id()).saturating_sub(self.spent) / events;
        Figure { rate: f64::from(events) / time.as_secs_f64(), each }
    }
}

fn sinks(names: [&str; 3]) -> Vec<SinkName> {
    names.map(|name| name.parse().unwrap()).into()
}
