//! One run of one contestant: subscribed, idle, at a steady rate, in the blast.

use std::collections::BTreeMap;
use std::time::Duration;

use onsip_router::domain::moment::Moment;
use onsip_router::simulator::EVENTS_PER_LEG;

use super::contestant::{Account, Contestant, Expected, Running};
use super::process;
use super::stage::Service;

/// Until memory does not change any more.
const CALM: Duration = Duration::from_secs(3);
/// What belongs to the last events is done by then.
const AFTER: Duration = Duration::from_secs(1);
/// Events per second of the steady rate.
pub const RATE: f64 = 2_000.0;
/// Seconds of it.
pub const STEADY: u64 = 5;

/// What is measured, by name of the column.
pub type Figures = BTreeMap<&'static str, f64>;

/// What is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    pub accounts: u32,
    pub tls: bool,
    pub events: u64,
}

/// Runs it; `alone` is the memory of the same contestant with one account, in KiB.
pub async fn run(contestant: Contestant, setting: Setting, alone: Option<f64>) -> Figures {
    let mut figures = Figures::new();
    let service = Service::start(setting.accounts, setting.tls).await;
    let start = Moment::now();
    let mut running = contestant.start(&service).await;
    let pid = running.pid();
    service.until_live().await;
    figures.insert("subscribed", Moment::now().since(start).as_secs_f64());
    running.until_subscribed().await;
    figures.insert("subscribed_cpu", process::processor(pid).as_secs_f64());

    tokio::time::sleep(CALM).await;
    let idle = count(process::resident(pid));
    figures.insert("idle", idle);
    if let Some(alone) = alone.filter(|_| setting.accounts > 1) {
        figures.insert("each", (idle - alone) / f64::from(setting.accounts - 1));
    }
    if setting.events > 0 {
        let mut first = 1;
        first += steady(&service, &mut running, contestant, first, &mut figures).await;
        blast(&service, &mut running, first, setting.events / EVENTS_PER_LEG, &mut figures).await;
        let peak = count(process::peak(pid));
        figures.insert("peak", peak);
        figures.insert("peak_ratio", peak / idle);
    }
    if let Running::Router(router) = &running {
        let troubles = router.troubles().await;
        if !troubles.is_empty() {
            eprintln!("    the router says: {troubles}");
        }
    }
    running.end().await;
    figures
}

/// As many events per second as a busy day brings; how many legs it took.
async fn steady(service: &Service, running: &mut Running, who: Contestant, first: u64, figures: &mut Figures) -> u64 {
    let target = service.onsip.aim().unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let legs = RATE as u64 * STEADY / EVENTS_PER_LEG;
    let timed = !matches!(who, Contestant::Bytes | Contestant::Unmatched);
    running.expect(Expected { first, legs, bytes: target.bytes(first, legs), timed }).await;
    let before = running.deliveries().await;
    let (sent, (_, account)) = tokio::join!(target.pace(first, legs, RATE), running.until_finished());
    if timed {
        latencies(&sent, &account.at, figures);
    }
    tokio::time::sleep(AFTER).await;
    if let (Some(before), Some(after)) = (before, running.deliveries().await) {
        figures.extend(after.quantile(&before, 0.5).map(|median| ("own_median", median)));
        figures.extend(after.quantile(&before, 0.99).map(|p99| ("own_p99", p99)));
    }
    wrong(&account, figures);
    legs
}

/// Everything at once.
async fn blast(service: &Service, running: &mut Running, first: u64, legs: u64, figures: &mut Figures) {
    let target = service.onsip.aim().unwrap();
    let (pid, bytes) = (running.pid(), target.bytes(first, legs));
    running.expect(Expected { first, legs, bytes, timed: false }).await;
    process::forget_peak(pid);
    let (processor, threads, start) = (process::processor(pid), process::threads(pid), Moment::now());
    target.fire(first, legs);
    let (end, account) = running.until_finished().await;
    tokio::time::sleep(AFTER).await;
    let spent = process::processor(pid).saturating_sub(processor).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let events = (legs * EVENTS_PER_LEG) as f64;
    figures.insert("cpu", spent / events * 1e5);
    figures.insert("rate", events / end.since(start).as_secs_f64());
    figures.insert("size", count(bytes) / events);
    let [begin, middle, end] = target.sizes(first, legs).map(count);
    figures.insert("item_size", (begin + middle) / events * 1.5);
    figures.insert("retract_size", end / events * 3.0);
    wrong(&account, figures);
    shares(pid, &threads, figures);
}

/// Which part of the processor time the durable commits took, by thread.
fn shares(pid: u32, before: &BTreeMap<String, u64>, figures: &mut Figures) {
    let spent = process::threads(pid).into_iter().map(|(name, ticks)| {
        let ticks = ticks - before.get(&name).copied().unwrap_or_default().min(ticks);
        (name, u32::try_from(ticks).map_or(0.0, f64::from))
    });
    let spent: Vec<_> = spent.filter(|(_, ticks)| *ticks > 0.0).collect();
    let total: f64 = spent.iter().map(|(_, ticks)| ticks).sum();
    let is_store = |name: &str| name == "store" || name.starts_with("sqlx-sqlite");
    if spent.iter().any(|(name, _)| is_store(name)) {
        let store: f64 = spent.iter().filter(|(name, _)| is_store(name)).map(|(_, ticks)| ticks).sum();
        figures.insert("commit_share", store / total * 100.0);
        let each: Vec<_> = spent.iter().map(|(name, ticks)| format!("{name} {:.0} %", ticks / total * 100.0)).collect();
        eprintln!("    threads: {}", each.join(", "));
    }
}

fn wrong(account: &Account, figures: &mut Figures) {
    for (name, number) in
        [("lost", account.lost), ("duplicated", account.duplicated), ("out_of_order", account.out_of_order)]
    {
        *figures.entry(name).or_default() += count(number);
    }
}

fn latencies(sent: &[Moment], at: &[f64], figures: &mut Figures) {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let taken = sent
        .iter()
        .zip(at)
        .filter(|(_, at)| **at > 0.0)
        .map(|(sent, at)| (at - sent.utc().as_microsecond() as f64) / 1e3);
    let mut taken: Vec<f64> = taken.collect();
    taken.sort_by(f64::total_cmp);
    let Some(last) = taken.len().checked_sub(1) else { return };
    figures.insert("median", taken[last / 2]);
    figures.insert("p99", taken[last * 99 / 100]);
    figures.insert("max", taken[last]);
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}
