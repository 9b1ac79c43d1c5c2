//! A thousand accounts over thirty days of virtual time, with every kind of fault, against a model of the service.
//!
//! Eighteen worlds of fifty accounts, and four of twenty-five that look oftener, from a seed each; a failure prints the
//! seed, the account, the time and the last that happened to it. Then a day of a world nobody tried before;
//! `ONSIP_ROUTER_SEED` runs the whole month of one seed through `once_more`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use jiff::Timestamp;
use onsip_router::protocol::backoff::Dice;

#[path = "month/account.rs"]
mod account;
#[path = "month/answers.rs"]
mod answers;
#[path = "month/checks.rs"]
mod checks;
#[path = "month/faults.rs"]
mod faults;
#[path = "month/network.rs"]
mod network;
#[path = "support/seed.rs"]
mod seed;
#[path = "month/service.rs"]
mod service;
#[path = "month/weather.rs"]
mod weather;
#[path = "month/windows.rs"]
mod windows;
#[path = "month/world.rs"]
mod world;

use world::{World, clock};

/// Virtual time in microseconds since the beginning.
type Time = u64;

const SECONDS: Time = 1_000_000;
const MINUTES: Time = 60 * SECONDS;
const HOURS: Time = 60 * MINUTES;
const MONTH: Time = 30 * 24 * HOURS;
/// The beginning in UTC, in seconds: 2026-01-01.
const START: i64 = 1_767_225_600;
/// How often subscriptions are looked up: the settings' default, which is most of the work of a month, and for most
/// worlds more seldom.
const OFTEN: Duration = Duration::from_mins(5);
const SELDOM: Duration = Duration::from_mins(30);
/// The settings' defaults.
const LEASE: Duration = Duration::from_hours(2);
const PATIENCE: Duration = Duration::from_secs(20);

const ACCOUNTS: usize = 50;
const FEWER: usize = 25;
/// A little less than the default, which is 50 for a thousand accounts.
const LOGINS_AT_ONCE: usize = 2;

fn micros(duration: Duration) -> Time {
    Time::try_from(duration.as_micros()).unwrap()
}

fn from_utc(utc: Timestamp) -> Time {
    Time::try_from(utc.as_microsecond() - START * 1_000_000).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a part of it"
)]
fn span(dice: &mut Dice, least: Time, most: Time) -> Time {
    least + ((most - least) as f64 * dice.roll()) as Time
}

/// Between the two, every order of magnitude as likely as any other.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "roughly")]
fn scaled(least: Time, most: Time, dice: &mut Dice) -> Time {
    (least as f64 * (most as f64 / least as f64).powf(dice.roll())) as Time
}

fn below(dice: &mut Dice, most: usize) -> usize {
    usize::try_from(span(dice, 0, most as Time)).unwrap()
}

fn report(world: &World) {
    let tally = &world.tally;
    let total: u64 = tally.requests.values().sum();
    let gaps: u64 = world.lives.iter().map(|life| life.router.gaps).sum();
    let told: u64 = world.lives.iter().map(|life| life.windows.told).sum();
    println!(
        "seed {}: {} of virtual time, {} accounts, {} events, {total} requests {:?}, {} log-ins tried, {} sessions, \
         {} of them dropped as deaf, {gaps} ends of coverage, {told} gaps told",
        world.seed,
        clock(world.now),
        world.lives.len(),
        world.events(),
        tally.requests,
        tally.logins,
        tally.sessions,
        tally.dropped,
    );
    println!(
        "  most in a minute and account: {} requests while well, {} ever, {} log-ins; gaps begin up to {} ms late",
        tally.most_requests_when_well,
        tally.most_requests,
        tally.most_logins,
        tally.untold / 1000,
    );
    for (claim, longest) in [("taken for active", tally.believed), ("counted as covered", tally.covered)] {
        println!(
            "  {claim} and silent: {} s while well and a look shows it, {} s while well, {} s ever",
            longest.evidently_when_well / SECONDS,
            longest.when_well / SECONDS,
            longest.ever / SECONDS,
        );
    }
    for (fault, (times, longest)) in &tally.faults {
        println!("  {fault}: {times} times, longest recovery {} s", longest / SECONDS);
    }
}

fn stormy(seed: u64) -> World {
    let (accounts, probe) = if seed % 11 < 2 { (FEWER, OFTEN) } else { (ACCOUNTS, SELDOM) };
    let mut world = World::new(seed, accounts, LOGINS_AT_ONCE, probe);
    world.let_loose();
    world
}

fn stormy_month(seed: u64) {
    let mut world = stormy(seed);
    world.run(MONTH);
    report(&world);
    assert!(
        world.lives.iter().all(|life| life.watch.is_well(world.now)),
        "the last day is long enough for all to heal"
    );
}

macro_rules! months {
    ($($name:ident: $seed:literal),+ $(,)?) => {
        $(#[test]
        fn $name() {
            stormy_month($seed);
        })+
    };
}

months! {
    twenty_five_accounts_that_look_often_get_through_a_month_of_faults_1: 1,
    fifty_accounts_get_through_a_month_of_faults_2: 2,
    fifty_accounts_get_through_a_month_of_faults_3: 3,
    fifty_accounts_get_through_a_month_of_faults_4: 4,
    fifty_accounts_get_through_a_month_of_faults_5: 5,
    fifty_accounts_get_through_a_month_of_faults_6: 6,
    fifty_accounts_get_through_a_month_of_faults_7: 7,
    fifty_accounts_get_through_a_month_of_faults_8: 8,
    fifty_accounts_get_through_a_month_of_faults_9: 9,
    fifty_accounts_get_through_a_month_of_faults_10: 10,
    twenty_five_accounts_that_look_often_get_through_a_month_of_faults_11: 11,
    twenty_five_accounts_that_look_often_get_through_a_month_of_faults_12: 12,
    fifty_accounts_get_through_a_month_of_faults_13: 13,
    fifty_accounts_get_through_a_month_of_faults_14: 14,
    fifty_accounts_get_through_a_month_of_faults_15: 15,
    fifty_accounts_get_through_a_month_of_faults_16: 16,
    fifty_accounts_get_through_a_month_of_faults_17: 17,
    fifty_accounts_get_through_a_month_of_faults_18: 18,
    fifty_accounts_get_through_a_month_of_faults_19: 19,
    fifty_accounts_get_through_a_month_of_faults_20: 20,
    fifty_accounts_get_through_a_month_of_faults_21: 21,
    twenty_five_accounts_that_look_often_get_through_a_month_of_faults_22: 22,
}

#[test]
fn a_calm_month_costs_one_log_in_and_the_expected_number_of_renewals() {
    let mut world = World::new(1000, 12, LOGINS_AT_ONCE, OFTEN);
    world.run(MONTH);
    report(&world);
    let count = |name| world.tally.requests.get(name).copied().unwrap_or(0);
    let accounts = world.lives.len() as u64;
    let nodes: u64 = world.lives.iter().map(|life| life.setting.nodes() as u64).sum();
    assert_eq!((world.tally.logins, world.tally.sessions), (accounts, accounts));
    // 65 % of an hour on average, each followed by a renewal and a list of every node.
    let rounds = MONTH / (39 * MINUTES);
    let looks = MONTH / (micros(OFTEN) * 3 / 4);
    let near = |count: u64, expected: u64| assert!(count.abs_diff(expected) * 50 < expected, "{count}, not {expected}");
    near(count("authorize"), accounts * rounds);
    near(count("renew"), nodes * rounds);
    // Of each round the list, and of the looks, three quarters of their interval apart, those until the next list: it
    // puts off the one that is due after it, half of one on average (a little less, as they vary).
    near(count("list"), nodes * (rounds + looks - rounds * 48 / 100));
    near(count("time"), accounts * (MONTH / HOURS));
    assert_eq!(count("items"), nodes);
    assert!(count("subscribe") <= nodes && count("unsubscribe") <= 4 * nodes);
    assert!(world.lives.iter().all(|life| life.router.gaps == 0), "covered all the time");
}

/// A month of the seed that the environment names, else a day of one that nobody tried before.
#[test]
fn once_more() {
    let seed = seed::fresh();
    if std::env::var(seed::VARIABLE).is_ok() {
        return stormy_month(seed);
    }
    stormy(seed).run(24 * HOURS);
}
