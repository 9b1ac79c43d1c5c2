//! The series of single accounts, written straight from the board into the text of a scrape.
//!
//! Must not count anything, nor keep a series from one scrape to the next.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::label::Names;
use super::options::Options;
use super::state::{delivers, unix};
use super::table::Families;
use crate::board::{AccountStatus, View};
use crate::domain::status::AccountState;

/// The accounts that have series of their own, by name, and how many have none.
#[derive(Debug, Default)]
pub struct Shown<'a> {
    accounts: Vec<Account<'a>>,
    left_out: usize,
}

/// One account; without a status it is configured, and nothing has happened to it yet.
#[derive(Debug)]
struct Account<'a> {
    name: &'a str,
    status: Option<&'a AccountStatus>,
    lease_until: Option<Timestamp>,
}

impl<'a> Shown<'a> {
    /// Those that are configured or on the board; the first by name, where there are more than `options` allow.
    pub fn of(view: &'a View, names: &'a Names, options: Options) -> Self {
        let mut all: BTreeMap<&str, Option<&AccountStatus>> =
            names.accounts.iter().map(|name| (name.as_str(), None)).collect();
        all.extend(view.accounts.iter().map(|(name, status)| (name.as_str(), Some(status))));
        let most = if options.per_account { options.max_accounts } else { 0 };
        let left_out = all.len().saturating_sub(most);
        let mut leases: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for ((account, ..), status) in view.subscriptions.iter().filter(|(_, status)| delivers(status)) {
            if let Some(end) = status.lease_until {
                leases.entry(account.as_str()).and_modify(|first| *first = end.min(*first)).or_insert(end);
            }
        }
        let accounts = all.into_iter().take(most);
        let with_lease = |(name, status)| Account { name, status, lease_until: leases.get(name).copied() };
        Self { accounts: accounts.map(with_lease).collect(), left_out }
    }

    /// How many accounts have no series.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Appends every metric of single accounts.
    pub fn write(&self, families: &Families, text: &mut String) {
        if self.accounts.is_empty() {
            return;
        }
        families.account_covered.write(text, self.each(|account| flag(account.sees())));
        families.account_blind_since_timestamp.write(text, self.each(|account| unix(account.blind_since())));
        families.account_events.write(text, self.each(|account| count(account.status.map(|status| status.events))));
        families.account_lease_until_timestamp.write(text, self.each(|account| unix(account.lease_until)));
        families.account_online.write(text, self.each(|account| flag(account.is_online())));
        let authorized_until = |account: &Account<'_>| unix(account.status.and_then(|status| status.authorized_until));
        families.account_authorized_until_timestamp.write(text, self.each(authorized_until));
        let last_event = |account: &Account<'_>| unix(account.status.and_then(|status| status.last_event));
        families.account_last_event_timestamp.write(text, self.each(last_event));
    }

    fn each(&self, value: impl Fn(&Account<'_>) -> f64) -> impl Iterator<Item = (&str, f64)> {
        self.accounts.iter().map(move |account| (account.name, value(account)))
    }
}

impl Account<'_> {
    fn is_online(&self) -> bool {
        self.status.is_some_and(|status| status.state == AccountState::Online)
    }

    fn sees(&self) -> bool {
        self.status.is_some_and(|status| status.blind.is_none() && status.state != AccountState::Disabled)
    }

    fn blind_since(&self) -> Option<Timestamp> {
        Some(self.status?.blind?.since)
    }
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53, as everywhere in this format")]
fn count(n: Option<u64>) -> f64 {
    n.unwrap_or(0) as f64
}
