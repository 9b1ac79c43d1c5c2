//! The accounts on the page.
//!
//! Must not know subscriptions or sinks.

use jiff::Timestamp;

use super::markup::{Cell, Mood, badge, escaped, moment, table as section};
use crate::board::{AccountStatus, View};
use crate::domain::name::AccountName;
use crate::domain::status::AccountState;
use crate::http::worst;
use crate::protocol::coverage::Blind;

/// How a state is to be taken.
pub fn mood(state: AccountState) -> Mood {
    match state {
        AccountState::Refused | AccountState::Waiting => Mood::Bad,
        AccountState::Connecting | AccountState::Authorizing => Mood::Busy,
        AccountState::Online => Mood::Good,
        AccountState::Disabled => Mood::Off,
    }
}

/// All accounts, worst first.
pub fn table(view: &View, now: Timestamp) -> String {
    let mut accounts: Vec<(&AccountName, &AccountStatus)> = view.accounts.iter().collect();
    accounts.sort_by_key(|(_, status)| worst::account(status));
    let columns = ["Account", "State", "Since", "Why", "Blind", "Authorized until", "Newest event"];
    section("Accounts", &columns, accounts.into_iter().map(|(name, status)| row(view, name, status, now)))
}

/// Since when its events cannot arrive, and for which reason.
fn blind(status: &AccountStatus, now: Timestamp) -> String {
    let text = |blind: Blind| format!("{}: {}", moment(Some(blind.since), now), escaped(blind.reason.as_str()));
    status.blind.map(text).unwrap_or_default()
}

fn row(view: &View, name: &AccountName, status: &AccountStatus, now: Timestamp) -> Vec<Cell> {
    vec![
        Cell::new("Account", format!("<b>{}</b>", escaped(name.as_str()))),
        Cell::new("State", badge(mood(status.state), status.state.as_str())),
        Cell::new("Since", moment(Some(status.since), now)),
        Cell::text("Why", view.why(name, status).as_deref()),
        Cell::new("Blind", blind(status, now)),
        Cell::new("Authorized until", moment(status.authorized_until, now)),
        Cell::new("Newest event", moment(status.last_event, now)),
    ]
}
