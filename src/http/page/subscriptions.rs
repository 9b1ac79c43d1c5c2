//! The subscriptions on the page.
//!
//! Must not know accounts or sinks.

use jiff::Timestamp;

use super::markup::{Cell, Mood, badge, escaped, moment, table as section};
use crate::board::{SubscriptionStatus, View};
use crate::domain::name::{AccountName, NodeName};
use crate::domain::status::SubscriptionState;
use crate::http::worst;

/// How a state is to be taken.
pub fn mood(state: SubscriptionState) -> Mood {
    match state {
        SubscriptionState::Lost | SubscriptionState::Denied => Mood::Bad,
        SubscriptionState::Listing | SubscriptionState::Subscribing | SubscriptionState::Pending => Mood::Busy,
        SubscriptionState::Active | SubscriptionState::Renewing => Mood::Good,
    }
}

/// All subscriptions, worst first.
pub fn table(view: &View, now: Timestamp) -> String {
    let mut subscriptions: Vec<_> = view.subscriptions.iter().collect();
    subscriptions.sort_by_key(|(_, status)| worst::subscription(status));
    let columns = ["Account", "Service", "Node", "State", "Since", "Why", "Lease until", "Renewed"];
    section("Subscriptions", &columns, subscriptions.into_iter().map(|(key, status)| row(key, status, now)))
}

fn row(key: &(AccountName, String, NodeName), status: &SubscriptionStatus, now: Timestamp) -> Vec<Cell> {
    let (account, service, node) = key;
    vec![
        Cell::new("Account", format!("<b>{}</b>", escaped(account.as_str()))),
        Cell::new("Service", escaped(service)),
        Cell::new("Node", format!("<code>{}</code>", escaped(node.as_str()))),
        Cell::new("State", badge(mood(status.state), status.state.as_str())),
        Cell::new("Since", moment(Some(status.since), now)),
        Cell::text("Why", status.why.as_deref()),
        Cell::new("Lease until", moment(status.lease_until, now)),
        Cell::new("Renewed", moment(status.renewed, now)),
    ]
}
