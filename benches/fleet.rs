//! How many accounts one router holds, and what they cost. Prints figures:
//!
//! ```sh
//! cargo bench --bench fleet                  # all of it, about five minutes
//! cargo bench --bench fleet -- calm          # only: thousand, thousand-tls, ten-thousand, refused, reload, calm, events, flood
//! ```
//!
//! The simulated service runs in this process, the daemon is the built program in a process of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement")]

use std::time::Duration;

use onsip_router::domain::moment::Moment;
use onsip_router::simulator::{Account, Request, Traffic};
use stage::Stage;

#[path = "fleet/certificate.rs"]
mod certificate;
#[path = "fleet/process.rs"]
mod process;
#[path = "fleet/stage.rs"]
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

/// What the configuration allows by default.
const CONCURRENT_LOGINS: usize = 50;

#[tokio::main]
async fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with("--")).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if wanted("thousand") {
        fleet(1_000, false).await;
    }
    if wanted("thousand-tls") {
        fleet(1_000, true).await;
    }
    if wanted("ten-thousand") {
        fleet(10_000, false).await;
    }
    if wanted("refused") {
        refused().await;
    }
    if wanted("reload") {
        reload().await;
    }
    if wanted("calm") {
        events("calm", 6_000.0, Duration::from_secs(20)).await;
    }
    if wanted("events") {
        events("events", 60_000.0, Duration::from_secs(20)).await;
    }
    if wanted("flood") {
        events("flood", 600_000.0, Duration::from_secs(20)).await;
    }
}

/// From nothing to all subscribed, idle memory, and back after a restart of the service.
async fn fleet(count: u32, tls: bool) {
    let domain = Account::numbered(1).unwrap().jid.domain().to_string();
    let set = async |count| Stage::secured(count, None, tls.then(|| certificate::made_for(&domain))).await;
    let one = set(1).await;
    one.until_live().await;
    let alone = settled(&one).await;
    one.end().await;

    let stage = set(count).await;
    stage.until_live().await;
    say(count, "subscribed after the start", Moment::now().since(stage.started));
    println!("{count} accounts: processor time of the daemon until then {:.2} s", stage.processor().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = (settled(&stage).await - alone) as f64 / f64::from(count - 1);
    println!("{count} accounts: {each:.1} KiB resident each ({alone} KiB with one)");

    let (processor, logins) = (stage.processor(), stage.onsip.observed().logins);
    stage.onsip.restart(Duration::from_secs(1)).await;
    let restarted = Moment::now();
    stage.until_live().await;
    say(count, "live again after the service was back", Moment::now().since(restarted));
    let processor = stage.processor().saturating_sub(processor);
    println!("{count} accounts: processor time of the daemon for that {:.2} s", processor.as_secs_f64());
    let observed = stage.onsip.observed();
    let most = observed.most_handshakes;
    println!("{count} accounts: {most} handshakes at once at most, {} log-ins again", observed.logins - logins);
    assert!(most <= CONCURRENT_LOGINS, "more than concurrent_logins");
    let (fewest, most) = stage.copies();
    println!("{count} accounts: {fewest} to {most} subscriptions of each on its node");
    assert_eq!((fewest, most), (1, 1));
    println!("{count} accounts: {} KiB resident at the end", stage.resident());
    stage.end().await;
}

/// Resident memory once it does not change any more.
async fn settled(stage: &Stage) -> u64 {
    tokio::time::sleep(Duration::from_secs(5)).await;
    stage.resident()
}

/// A thousand accounts, one in twenty of them with a wrong password.
async fn refused() {
    let stage = Stage::set(1_000, Some(20)).await;
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_mins(1)).await;
    let (online, refused) = (stage.gauge("accounts", "online").await, stage.gauge("accounts", "refused").await);
    let observed = stage.onsip.observed();
    let wrong = stage.accounts.iter().step_by(20);
    let most = wrong.map(|account| observed.count(&account.jid, Request::Login)).max().unwrap_or(0);
    println!("1000 accounts, 5 % wrong passwords: {online} online, {refused} refused after a minute");
    println!("1000 accounts, 5 % wrong passwords: {most} log-in tries of a wrong one at most");
    stage.end().await;
}

/// One change among a thousand accounts, with all sinks well and with one that hangs.
async fn reload() {
    for hangs in [false, true] {
        let mut stage = Stage::set(1_000, None).await;
        stage.until_live().await;
        if hangs {
            stage.add_a_sink_that_hangs().await;
        }
        let logins = stage.onsip.observed().logins;
        let taken_over = stage.change_one_account().await;
        let with = if hangs { "a sink that hangs" } else { "all sinks well" };
        println!("1000 accounts, {with}: one change taken over within {:.0} ms", taken_over.as_secs_f64() * 1e3);
        let changed = Moment::now();
        stage.until_live().await;
        println!("1000 accounts, {with}: all live within {:.1} s after", Moment::now().since(changed).as_secs_f64());
        let logins = stage.onsip.observed().logins - logins;
        println!("1000 accounts, {with}: {logins} log-ins for it");
        assert_eq!(logins, 1, "the others kept their connections");
        stage.end().await;
    }
}

/// What an event costs from the wire to the file, with a hundred accounts.
async fn events(name: &str, calls_per_minute: f64, time: Duration) {
    let stage = Stage::set(100, None).await;
    stage.until_live().await;
    let mut traffic =
        Traffic::new(stage.accounts.iter().map(|account| account.jid.to_string()).collect(), calls_per_minute);
    traffic.ring = (Duration::from_secs(1), Duration::from_secs(3));
    traffic.talk = (Duration::from_secs(1), Duration::from_secs(3));
    stage.onsip.run_traffic(traffic);
    tokio::time::sleep(Duration::from_secs(6)).await; // until as many calls end as begin
    let (delivered, processor, start) = (delivered(&stage).await, stage.processor(), Moment::now());
    let mut most = 0;
    while Moment::now().since(start) < time {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(stage.resident());
    }
    let (count, processor) = (self::delivered(&stage).await - delivered, stage.processor().saturating_sub(processor));
    let metrics = stage.daemon.metrics().await;
    let mean = |name: &str| {
        let value = |part: &str| metrics.value(&format!("{name}_{part}"), &[]).unwrap();
        value("sum") / value("count") * 1e3
    };
    let seconds = Moment::now().since(start).as_secs_f64();
    println!(
        "{name}: {:.0} events/s to the file, {:.0} µs of processor each",
        count / seconds,
        processor.as_secs_f64() * 1e6 / count
    );
    println!(
        "{name}: receipt to commit {:.1} ms, to the file {:.1} ms, on average",
        mean("event_commit_seconds"),
        mean("event_delivery_seconds")
    );
    println!("{name}: {most} KiB resident at most");
    stage.end().await;
}

async fn delivered(stage: &Stage) -> f64 {
    stage.daemon.metrics().await.value("sink_deliveries_total", &[("outcome", "delivered")]).unwrap()
}

fn say(count: u32, what: &str, time: Duration) {
    println!("{count} accounts: all {what} within {:.1} s", time.as_secs_f64());
}
