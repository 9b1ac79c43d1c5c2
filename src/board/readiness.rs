//! Whether the daemon does its work: decided here for `/readyz`, the API, the page, `status` and the metrics.
//!
//! Must not know who asks.

use super::View;
use crate::domain::status::{AccountState, StoreFault};

/// How many accounts are named; the rest is a number.
const NAMED: usize = 100;

impl View {
    /// Returns why the daemon is not ready; nothing if it is. Without the `why` texts, for nobody had to show a token.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.draining {
            reasons.push("the daemon is stopping".to_owned());
        }
        if !self.store_open {
            reasons.push("the store is not open".to_owned());
        }
        if let Some(fault) = self.store_fault {
            reasons.push(format!("events cannot be committed: {}", explained(fault)));
        }
        let unsettled = self.unsettled.iter();
        reasons.extend(
            unsettled
                .map(|(name, fault)| format!("deliveries of sink {name} cannot be settled: {}", explained(*fault))),
        );
        let full = self.sinks.iter().filter(|(_, status)| status.blocking);
        reasons.extend(full.map(|(name, _)| format!("the queue of sink {name} is full and receiving stops for it")));
        // At a stop all of them go.
        let mut absent = self.accounts.iter().filter(|(_, status)| !self.draining && !settled(status.state));
        let named = absent.by_ref().take(NAMED);
        reasons.extend(named.map(|(name, status)| format!("account {name} is {}", status.state)));
        let more = absent.count();
        if more > 0 {
            reasons.push(format!("and {more} more accounts are not online"));
        }
        reasons
    }
}

fn explained(fault: StoreFault) -> &'static str {
    match fault {
        StoreFault::Full => "no space is left for the database",
        StoreFault::Io => "the disk fails",
        StoreFault::Busy => "another process holds the database",
        StoreFault::Refused => "the database refuses them",
        StoreFault::Corrupt => "the database is damaged",
        StoreFault::Sync => "the disk could not make sure that what was written is there",
        StoreFault::Moved => "the database was removed or moved away while the router runs",
        StoreFault::Gone => "the thread that writes the database is gone",
    }
}

/// A refused account is an operator's business: it must not keep the others from being served.
fn settled(state: AccountState) -> bool {
    match state {
        AccountState::Online | AccountState::Refused | AccountState::Disabled => true,
        AccountState::Connecting | AccountState::Authorizing | AccountState::Waiting => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::board::{AccountStatus, SinkStatus};

    fn view(fleet: impl IntoIterator<Item = (String, AccountState)>) -> View {
        let why = || Some("secret place".to_owned());
        let status = |state| AccountStatus { why: why(), ..AccountStatus::new(state, Timestamp::UNIX_EPOCH) };
        let accounts = fleet.into_iter().map(|(name, state)| (name.parse().unwrap(), status(state))).collect();
        View { accounts, store_open: true, ..View::default() }
    }

    #[test]
    fn an_account_that_is_online_refused_or_disabled_holds_nothing_up() {
        for state in AccountState::ALL {
            let reasons = view([("front".to_owned(), *state)]).not_ready();
            let expected: Vec<String> = match state {
                AccountState::Online | AccountState::Refused | AccountState::Disabled => Vec::new(),
                AccountState::Connecting | AccountState::Authorizing | AccountState::Waiting => {
                    vec![format!("account front is {state}")]
                }
            };
            assert_eq!(reasons, expected);
        }
    }

    #[test]
    fn a_closed_store_and_a_stop_are_reasons_of_their_own() {
        let view = View { draining: true, ..View::default() };
        assert_eq!(view.not_ready(), ["the daemon is stopping", "the store is not open"]);
    }

    #[test]
    fn a_store_that_cannot_be_written_and_a_full_queue_that_blocks_are_reasons() {
        let mut view = view([]);
        view.store_fault = Some(StoreFault::Full);
        let status = SinkStatus { blocking: true, ..SinkStatus::new("file") };
        view.sinks.insert("log".parse().unwrap(), status);
        assert_eq!(
            view.not_ready(),
            [
                "events cannot be committed: no space is left for the database",
                "the queue of sink log is full and receiving stops for it"
            ]
        );
    }

    #[test]
    fn a_large_fleet_is_named_in_part() {
        let view = view((0..250).map(|n| (format!("a{n}"), AccountState::Connecting)));
        let reasons = view.not_ready();
        assert_eq!(reasons.len(), NAMED + 1);
        assert_eq!(reasons[NAMED], "and 150 more accounts are not online");
    }
}
