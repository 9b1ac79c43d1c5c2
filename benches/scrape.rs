//! What a scrape costs: `cargo bench --bench scrape` prints it for 10,000 accounts, with and without their own series.

#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::hint::black_box;
use std::time::Duration;

use onsip_router::board::{AccountStatus, Board, SubscriptionStatus};
use onsip_router::domain::moment::Moment;
use onsip_router::domain::status::{AccountState, SubscriptionState};
use onsip_router::metrics::Metrics;
use onsip_router::metrics::options::Options;

const ACCOUNTS: usize = 10_000;
const ROUNDS: u32 = 20;

fn board() -> Board {
    let (now, board) = (Moment::now().utc(), Board::default());
    let later = now + Duration::from_mins(90);
    for n in 1..=ACCOUNTS {
        let name: onsip_router::domain::name::AccountName = format!("account-{n}").parse().unwrap();
        let status = AccountStatus {
            jid: Some(format!("user{n}@customer-{n}.onsip.com/onsip-router")),
            authorized_until: Some(later),
            last_event: Some(now),
            events: 12_345,
            ..AccountStatus::new(AccountState::Online, now)
        };
        let subscription = SubscriptionStatus {
            state: SubscriptionState::Active,
            since: now,
            why: None,
            subid: Some(format!("subscription-{n}").into()),
            lease_until: Some(later),
            renewed: Some(now),
        };
        let node = format!("/me/user{n}@customer-{n}.onsip.com");
        let mut view = board.view();
        view.accounts.insert(name.clone(), status);
        view.subscriptions.insert((name, "active-calls".to_owned(), node.as_str().into()), subscription);
    }
    board
}

/// Processor time of this thread so far.
fn processor() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(spent.split(' ').next().unwrap().parse().unwrap())
}

fn main() {
    let board = board();
    let names: Vec<_> = board.view().accounts.keys().map(ToString::to_string).collect();
    let metrics = Metrics::new("bench", "bench", &names, ["active-calls"], ["log", "crm"]).unwrap();
    for (what, per_account) in [("with series per account", true), ("without", false)] {
        metrics.limit(Options { per_account, ..Options::default() });
        let (start, mut bytes) = (processor(), 0);
        for _ in 0..ROUNDS {
            // As the handler of /metrics does it.
            let view = board.view().clone();
            bytes = black_box(metrics.render(&view)).len();
        }
        let each = processor().saturating_sub(start) / ROUNDS;
        println!("{ACCOUNTS} accounts, {what}: {each:.1?} of a core and {:.2} MB a scrape", megabytes(bytes));
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
