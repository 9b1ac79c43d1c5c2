//! `/api/v1/summary`: how the whole is, on one screen.
//!
//! Must not know single accounts beyond those that are blind.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::board::{Board, View};
use crate::domain::moment::Moment;
use crate::domain::name::AccountName;
use crate::domain::status::{AccountState, GapReason, StoreFault, SubscriptionState};
use crate::metrics::Metrics;
use crate::metrics::history::LastMinute;
use crate::metrics::totals::Totals;

/// Blind accounts that are named; the list of accounts has them all.
const NAMED: usize = 20;

/// The whole at one moment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// The version that runs.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// The daemon's clock.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub now: Timestamp,
    /// When it was started.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started: Timestamp,
    /// How long it has run.
    pub uptime_seconds: u64,
    /// Whether `/readyz` says so.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// Whether it is stopping.
    pub draining: bool,
    /// The database.
    pub store: Store,
    /// Accounts.
    pub accounts: Accounts,
    /// The accounts that have been blind the longest, at most 20.
    pub blind: Vec<BlindAccount>,
    /// Subscriptions.
    pub subscriptions: Subscriptions,
    /// Sinks.
    pub sinks: Sinks,
    /// Counts since the start.
    pub totals: Totals,
    /// Rates and latencies.
    pub last_minute: LastMinute,
}

/// The database.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Store {
    /// Whether it is open.
    pub open: bool,
    /// The fault because of which events cannot be committed or deliveries not be settled, while there is one.
    pub fault: Option<StoreFault>,
}

/// How many accounts of each kind.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accounts {
    /// All.
    pub total: usize,
    /// Those whose events cannot arrive now.
    pub blind: usize,
    /// By state, every state named.
    #[schemars(with = "BTreeMap<String, usize>")]
    pub states: BTreeMap<AccountState, usize>,
}

/// An account whose events cannot arrive now.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub struct BlindAccount {
    /// Its name.
    #[schemars(with = "String")]
    pub name: AccountName,
    /// Its state.
    pub state: AccountState,
    /// The last moment at which they could.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Why they cannot.
    pub reason: GapReason,
    /// What more is known of it.
    pub why: Option<String>,
}

/// How many subscriptions of each kind.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Subscriptions {
    /// All.
    pub total: usize,
    /// By state, every state named.
    #[schemars(with = "BTreeMap<String, usize>")]
    pub states: BTreeMap<SubscriptionState, usize>,
}

/// What all sinks add up to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sinks {
    /// All that are configured.
    pub total: usize,
    /// Those that take events.
    pub up: usize,
    /// Those that are not configured any more and are owed something yet, or have dead letters.
    pub unconfigured: usize,
    /// Those whose queue is full and for which receiving stops.
    pub blocking: usize,
    /// Events not yet acknowledged.
    pub queued: u64,
    /// Receipt of the oldest of them.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub oldest: Option<Timestamp>,
    /// Dead letters.
    pub dead: u64,
}

/// The whole as of now.
pub async fn show(board: web::Data<Board>, metrics: web::Data<Metrics>) -> HttpResponse {
    let now = Moment::now();
    let last_minute = metrics.history().last_minute();
    let summary = summary(&board.view(), &metrics, last_minute, now);
    HttpResponse::Ok().json(summary)
}

/// Tells of the whole as `view` and `metrics` have it; what the API, `status` and the page tell of it is this.
pub fn summary(view: &View, metrics: &Metrics, last_minute: LastMinute, now: Moment) -> Summary {
    let reasons = view.not_ready();
    let sinks = || view.sinks.values();
    let configured = sinks().filter(|status| status.is_configured()).count();
    Summary {
        version: metrics.build.version.clone(),
        commit: metrics.build.commit.clone(),
        now: now.utc(),
        started: metrics.build.started.utc(),
        uptime_seconds: now.since(metrics.build.started).as_secs(),
        ready: reasons.is_empty(),
        reasons,
        draining: view.draining,
        store: Store { open: view.store_open, fault: view.unwritable() },
        accounts: Accounts {
            total: view.accounts.len(),
            blind: view.accounts.values().filter(|status| status.blind.is_some()).count(),
            states: counts(AccountState::ALL, view.accounts.values().map(|status| status.state)),
        },
        blind: blind(view),
        subscriptions: Subscriptions {
            total: view.subscriptions.len(),
            states: counts(SubscriptionState::ALL, view.subscriptions.values().map(|status| status.state)),
        },
        sinks: Sinks {
            total: configured,
            unconfigured: view.sinks.len() - configured,
            up: sinks().filter(|status| status.is_up()).count(),
            blocking: sinks().filter(|status| status.blocking).count(),
            queued: sinks().map(|status| status.queued).sum(),
            oldest: sinks().filter_map(|status| status.oldest).min(),
            dead: sinks().map(|status| status.dead).sum(),
        },
        totals: metrics.totals(),
        last_minute,
    }
}

fn blind(view: &View) -> Vec<BlindAccount> {
    let mut blind: Vec<_> =
        view.accounts.iter().filter_map(|(name, status)| Some((status.blind?, name, status))).collect();
    blind.sort_by_key(|(blind, name, _)| (blind.since, *name));
    let named = blind.into_iter().take(NAMED).map(|(blind, name, status)| BlindAccount {
        name: name.clone(),
        state: status.state,
        since: blind.since,
        reason: blind.reason,
        why: view.why(name, status),
    });
    named.collect()
}

fn counts<S: Copy + Ord>(all: &[S], states: impl Iterator<Item = S>) -> BTreeMap<S, usize> {
    let mut counts: BTreeMap<S, usize> = all.iter().map(|state| (*state, 0)).collect();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::AccountStatus;
    use crate::protocol::coverage::Blind;

    #[test]
    fn the_accounts_that_are_blind_the_longest_are_named() {
        let mut view = View::default();
        for n in 0..100 {
            let since = Timestamp::from_second(1000 - n).unwrap();
            let blind = (n % 2 == 0).then_some(Blind { since, reason: GapReason::Lease });
            let status = AccountStatus { blind, ..AccountStatus::new(AccountState::Online, since) };
            view.accounts.insert(format!("a{n}").parse().unwrap(), status);
        }
        let blind = blind(&view);
        assert_eq!((blind.len(), blind[0].name.as_str(), blind[1].name.as_str()), (NAMED, "a98", "a96"));
    }

    #[test]
    fn every_state_is_counted_also_where_there_is_none_of_it() {
        let counts = counts(SubscriptionState::ALL, [SubscriptionState::Active, SubscriptionState::Active].into_iter());
        assert_eq!((counts.len(), counts[&SubscriptionState::Active]), (SubscriptionState::ALL.len(), 2));
    }
}
