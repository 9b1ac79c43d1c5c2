//! The gauges that describe a state, read off the board.
//!
//! What is configured and not on the board yet is shown as one to which nothing has happened. Must not count anything.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::label::Names;
use super::table::Families;
use crate::board::{SinkStatus, SubscriptionStatus, View};
use crate::domain::status::{AccountState, SubscriptionState};

/// Sets every state gauge to what `view` says; series of what is neither configured nor on the board go.
pub fn set(families: &Families, names: &Names, view: &View) {
    set_accounts(families, view);
    set_subscriptions(families, names, view);
    set_sinks(families, names, view);
    families.ready.set(i64::from(view.not_ready().is_empty()));
    families.store_writable.set(i64::from(view.store_open && view.unwritable().is_none()));
}

fn set_accounts(families: &Families, view: &View) {
    let blind: Vec<Timestamp> = view.accounts.values().filter_map(|status| Some(status.blind?.since)).collect();
    families.accounts_blind.set(i64::try_from(blind.len()).unwrap_or(i64::MAX));
    families.accounts_blind_oldest_timestamp.set(unix(blind.into_iter().min()));
    let apart = view.accounts.values().filter_map(|status| status.clock_ahead_seconds).map(f64::abs);
    families.clock_offset.set(apart.fold(0.0, f64::max));
    let mut by_state: BTreeMap<AccountState, i64> = AccountState::ALL.iter().map(|state| (*state, 0)).collect();
    for status in view.accounts.values() {
        *by_state.entry(status.state).or_default() += 1;
    }
    for (state, n) in by_state {
        families.accounts.with_label_values(&[state.as_str()]).set(n);
    }
}

/// What the subscriptions of one service add up to.
#[derive(Default)]
struct Service {
    by_state: BTreeMap<SubscriptionState, i64>,
    oldest: Option<Timestamp>,
    due: Option<Timestamp>,
}

impl Service {
    fn add(&mut self, status: &SubscriptionStatus) {
        *self.by_state.entry(status.state).or_default() += 1;
        // One that does not deliver is told by its state; its age would only hide that of the others.
        if delivers(status) {
            self.oldest = self.oldest.into_iter().chain(status.renewed).min();
            self.due = self.due.into_iter().chain(due(status)).min();
        }
    }
}

/// When it must have been renewed, at the latest: once three quarters of the lease have passed.
fn due(status: &SubscriptionStatus) -> Option<Timestamp> {
    let until = status.lease_until?;
    let renewed = status.renewed.unwrap_or(until);
    renewed.checked_add(until.duration_since(renewed) * 3 / 4).ok()
}

/// Whether events come of it.
pub(super) fn delivers(status: &SubscriptionStatus) -> bool {
    matches!(status.state, SubscriptionState::Active | SubscriptionState::Renewing)
}

fn set_subscriptions(families: &Families, names: &Names, view: &View) {
    families.subscriptions.reset();
    families.subscription_oldest_renewal_timestamp.reset();
    families.subscription_renewal_due_timestamp.reset();
    let mut services: BTreeMap<&str, Service> =
        names.services.iter().map(|name| (name.as_str(), Service::default())).collect();
    for ((_, service, _), status) in &view.subscriptions {
        services.entry(service).or_default().add(status);
    }
    for (name, service) in services {
        for state in SubscriptionState::ALL {
            let n = service.by_state.get(state).copied().unwrap_or(0);
            families.subscriptions.with_label_values(&[name, state.as_str()]).set(n);
        }
        families.subscription_oldest_renewal_timestamp.with_label_values(&[name]).set(unix(service.oldest));
        families.subscription_renewal_due_timestamp.with_label_values(&[name]).set(unix(service.due));
    }
}

fn set_sinks(families: &Families, names: &Names, view: &View) {
    families.sink_up.reset();
    families.sink_queue_events.reset();
    families.sink_queue_oldest_timestamp.reset();
    families.sink_dead_events.reset();
    families.sink_queue_bytes.reset();
    families.sink_held_calls.reset();
    families.sink_blocking.reset();
    let show = |name: &str, status: Option<&SinkStatus>| {
        families.sink_up.with_label_values(&[name]).set(i64::from(status.is_none_or(SinkStatus::is_up)));
        families.sink_queue_events.with_label_values(&[name]).set(count(status.map(|status| status.queued)));
        let oldest = status.and_then(|status| status.oldest);
        families.sink_queue_oldest_timestamp.with_label_values(&[name]).set(unix(oldest));
        families.sink_queue_bytes.with_label_values(&[name]).set(count(status.map(|status| status.bytes)));
        families.sink_held_calls.with_label_values(&[name]).set(count(status.map(|status| status.held)));
        let blocking = status.is_some_and(|status| status.blocking);
        families.sink_blocking.with_label_values(&[name]).set(i64::from(blocking));
        families.sink_dead_events.with_label_values(&[name]).set(count(status.map(|status| status.dead)));
    };
    for name in names.sinks.iter().filter(|name| !view.sinks.contains_key(name.as_str())) {
        show(name, None);
    }
    for (name, status) in view.sinks.iter().filter(|(_, status)| status.is_configured()) {
        show(name.as_str(), Some(status));
    }
    let unconfigured = || view.sinks.values().filter(|status| !status.is_configured());
    families.unconfigured_sink_events.set(count(Some(unconfigured().map(|status| status.queued).sum())));
    families.unconfigured_sink_dead_events.set(count(Some(unconfigured().map(|status| status.dead).sum())));
}

pub(super) fn unix(time: Option<Timestamp>) -> f64 {
    time.map_or(0.0, |time| time.as_duration().as_secs_f64())
}

fn count(n: Option<u64>) -> i64 {
    n.map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX))
}
