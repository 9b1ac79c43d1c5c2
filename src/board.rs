//! The board: what every account, subscription and sink is doing now.
//!
//! Actors write it, HTTP and the gauges read it. Must not decide anything.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::name::{AccountName, NodeName, SinkName, Subid};
use crate::domain::status::{AccountState, SinkState, StoreFault, SubscriptionState};
use crate::protocol::coverage::Blind;

mod readiness;

/// All there is to see, behind one short lock.
#[derive(Debug, Default)]
pub struct Board {
    view: Mutex<View>,
}

/// The board at one moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct View {
    /// Accounts by name.
    pub accounts: BTreeMap<AccountName, AccountStatus>,
    /// Subscriptions by account, short service name and node.
    pub subscriptions: BTreeMap<(AccountName, String, NodeName), SubscriptionStatus>,
    /// Sinks by name.
    pub sinks: BTreeMap<SinkName, SinkStatus>,
    /// Whether the store is open.
    pub store_open: bool,
    /// What keeps events from being committed, while something does.
    pub store_fault: Option<StoreFault>,
    /// Sinks whose deliveries the store cannot take note of, and why; they wait until it can.
    pub unsettled: BTreeMap<SinkName, StoreFault>,
    /// Whether the daemon is stopping.
    pub draining: bool,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AccountStatus {
    /// Its state.
    pub state: AccountState,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Why, where the state asks for a reason. Free of secrets.
    pub why: Option<String>,
    /// The bound full JID, while connected.
    pub jid: Option<String>,
    /// End of the authorization, while authorized.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub authorized_until: Option<Timestamp>,
    /// Receipt of its newest event.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_event: Option<Timestamp>,
    /// Events received for it since it was started, also those that another account had received before.
    pub events: u64,
    /// Whether its events cannot arrive now, since when, and why. None also where it is disabled.
    pub blind: Option<Blind>,
    /// The configured SIP address, if the service granted others and not this one.
    pub not_granted: Option<String>,
    /// By how many seconds the service's clock is ahead of ours, less than zero if it is behind; none before it told.
    pub clock_ahead_seconds: Option<f64>,
}

impl View {
    /// Returns why an account is as it is: the reason of its state, and whatever else of it is amiss.
    #[must_use]
    pub fn why(&self, name: &AccountName, status: &AccountStatus) -> Option<String> {
        let missing =
            status.not_granted.as_ref().map(|address| format!("{address} is not among the granted addresses"));
        let mut reasons: Vec<_> = [status.why.clone(), missing].into_iter().flatten().collect();
        for (state, text) in [
            (SubscriptionState::Pending, "subscriptions that wait for approval by the owner of the node"),
            (SubscriptionState::Denied, "subscriptions that the service denies"),
            (SubscriptionState::Lost, "subscriptions that are lost"),
        ] {
            reasons.extend(self.absent(name, state, text));
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Returns what keeps the store from being written, while something does.
    #[must_use]
    pub fn unwritable(&self) -> Option<StoreFault> {
        self.store_fault.or_else(|| self.unsettled.values().next().copied())
    }

    /// A sink begins, perhaps anew: nothing has happened to it yet, and what it is owed stays owed.
    pub fn begin(&mut self, name: &SinkName, kind: &'static str) {
        self.unsettled.remove(name);
        let status = self.sinks.remove(name).map_or_else(|| SinkStatus::new(kind), |before| before.into_new(kind));
        self.sinks.insert(name.clone(), status);
    }

    /// The configuration does not have this sink any more, and it may have something under way yet.
    pub fn leave(&mut self, name: &SinkName) {
        self.unsettled.remove(name);
        self.sinks.remove(name);
    }

    /// Counts the account's subscriptions in `state`, with the reason of the first that has one. All of them are lost
    /// where the account has no connection: that is told by its own state, and they have no reason then.
    fn absent(&self, name: &AccountName, state: SubscriptionState, text: &str) -> Option<String> {
        let first = (name.clone(), String::new(), NodeName::from(""));
        let own = self.subscriptions.range(first..).take_while(|((of, ..), _)| of == name);
        let counts = |status: &SubscriptionStatus| {
            status.state == state && (state != SubscriptionState::Lost || status.why.is_some())
        };
        let absent: Vec<_> = own.map(|(_, status)| status).filter(|status| counts(status)).collect();
        let why = absent.iter().find_map(|status| status.why.as_deref());
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        (!absent.is_empty()).then(|| format!("{text}: {}{why}", absent.len()))
    }
}

impl AccountStatus {
    /// One in this state, of which nothing else is known yet.
    #[must_use]
    pub fn new(state: AccountState, since: Timestamp) -> Self {
        Self {
            state,
            since,
            why: None,
            jid: None,
            authorized_until: None,
            last_event: None,
            events: 0,
            blind: None,
            not_granted: None,
            clock_ahead_seconds: None,
        }
    }
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SubscriptionStatus {
    /// Its state.
    pub state: SubscriptionState,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Why, where the state asks for a reason.
    pub why: Option<String>,
    /// The subid, once known.
    #[schemars(with = "Option<String>")]
    pub subid: Option<Subid>,
    /// End of the lease.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub lease_until: Option<Timestamp>,
    /// When it was last renewed or made.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub renewed: Option<Timestamp>,
}

/// One sink.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SinkStatus {
    /// Deprecated: the same as `type`.
    #[schemars(extend("deprecated" = true))]
    pub kind: &'static str,
    /// How it is, in a word; whether it blocks stands beside that. One that is not configured any more is shown as long as it
    /// is owed anything or has dead letters.
    pub state: SinkState,
    /// The newest failure. Free of secrets.
    pub last_error: Option<String>,
    /// Until when it is left alone as a whole, while it is.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub retry_at: Option<Timestamp>,
    /// Calls that failed on their own and wait for their next try.
    pub held: u64,
    /// When the next of these calls is tried; none while there is none, or that is as soon as the sink has room for it.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub held_retry_at: Option<Timestamp>,
    /// Whether its queue is full and receiving stops for it.
    pub blocking: bool,
    /// Events not yet acknowledged.
    pub queued: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Receipt of the oldest of them.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub oldest: Option<Timestamp>,
    /// Dead letters.
    pub dead: u64,
}

impl SinkStatus {
    /// A sink of this kind to which nothing has happened.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            state: SinkState::Up,
            last_error: None,
            retry_at: None,
            held: 0,
            held_retry_at: None,
            blocking: false,
            queued: 0,
            bytes: 0,
            oldest: None,
            dead: 0,
        }
    }
}

impl SinkStatus {
    /// One that the configuration does not have any more.
    #[must_use]
    pub fn not_configured() -> Self {
        Self { state: SinkState::NotConfigured, ..Self::new("") }
    }

    /// The same queue, of a sink of this kind to which nothing has happened.
    fn into_new(self, kind: &'static str) -> Self {
        let Self { queued, bytes, oldest, dead, .. } = self;
        Self { queued, bytes, oldest, dead, ..Self::new(kind) }
    }

    /// Returns whether the configuration has it.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.state != SinkState::NotConfigured
    }

    /// Returns whether its newest delivery succeeded, if there was any.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == SinkState::Up
    }

    /// Returns when anything that failed is tried next, if anything waits for that.
    #[must_use]
    pub fn next_try(&self) -> Option<Timestamp> {
        self.retry_at.or(self.held_retry_at)
    }
}

impl Board {
    /// Takes an account and its subscriptions off the board.
    pub fn forget_account(&self, name: &AccountName) {
        self.forget_subscriptions(name);
        self.view().accounts.remove(name);
    }

    /// Takes the subscriptions of an account off the board.
    pub fn forget_subscriptions(&self, name: &AccountName) {
        self.view().subscriptions.retain(|(of, _, _), _| of != name);
    }

    /// The view, locked; hold it shortly and never across an await.
    pub fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f6_an_online_account_is_blind_for_what_its_subscriptions_say() {
        let since = Timestamp::UNIX_EPOCH;
        let name: AccountName = "front".parse().unwrap();
        let mut view = View::default();
        let mut put = |account: &str, node: &str, state, why: Option<&str>| {
            let why = why.map(str::to_owned);
            let status = SubscriptionStatus { state, since, why, subid: None, lease_until: None, renewed: None };
            let key = (account.parse().unwrap(), "active-calls".to_owned(), NodeName::from(node));
            view.subscriptions.insert(key, status);
        };
        put("front", "/me/a", SubscriptionState::Denied, Some("renewal: not-allowed"));
        put("front", "/me/b", SubscriptionState::Denied, Some("renewal: not-allowed"));
        put("front", "/me/c", SubscriptionState::Lost, Some("no approval came"));
        put("front", "/me/d", SubscriptionState::Lost, None);
        put("front", "/me/e", SubscriptionState::Active, None);
        put("other", "/me/f", SubscriptionState::Denied, Some("another account"));
        let why = view.why(&name, &AccountStatus::new(AccountState::Online, since));
        assert_eq!(
            why.as_deref(),
            Some(
                "subscriptions that the service denies: 2 (renewal: not-allowed); subscriptions that are lost: 1 (no approval came)"
            )
        );
    }
}
