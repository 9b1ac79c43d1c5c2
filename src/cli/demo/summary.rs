//! What the demonstration says at its end, on one screen.
//!
//! Must not know how it went on.

use std::fmt::Write as _;

use super::watch::Seen;
use crate::board::View;
use crate::cli::status::span;
use crate::domain::status::AccountState;
use crate::metrics::spread::Spread;
use crate::metrics::totals::Totals;

/// How the accounts were at the end.
pub(super) struct Fleet {
    accounts: usize,
    online: usize,
    blind: usize,
}

impl Fleet {
    pub(super) fn of(view: &View) -> Self {
        let accounts = || view.accounts.values();
        Self {
            accounts: accounts().count(),
            online: accounts().filter(|status| status.state == AccountState::Online).count(),
            blind: accounts().filter(|status| status.blind.is_some()).count(),
        }
    }
}

/// All of it.
pub(super) fn text(seen: &Seen, fleet: &Fleet, totals: Totals, deliveries: &Spread) -> String {
    let (Fleet { accounts, online, blind }, turned) = (fleet, seen.turned_blind);
    let events: u64 = seen.events.values().sum();
    let mut text =
        format!("{online} of {accounts} accounts online, {blind} blind now; {turned} times one turned blind");
    let _ = write!(text, "\n{events:>8}  events");
    for (kind, count) in &seen.events {
        let _ = write!(text, "\n{count:>8}  {kind}");
    }
    let Totals { duplicate, gaps, delivered, dead, dropped, .. } = totals;
    let _ = write!(text, "\n{delivered:>8}  delivered, {} lost", dead + dropped);
    if let (Some(median), Some(most)) = (deliveries.quantile(0.5), deliveries.quantile(0.99)) {
        let (median, most) = (span(median), span(most));
        let _ = write!(text, "; from socket to acknowledgement: median {median}, 99 % within {most}");
    }
    let _ = write!(text, "\n{duplicate:>8}  came twice, told once\n{gaps:>8}  gaps");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_screen_says_how_it_went() {
        let seen = Seen {
            events: [("com.onsip.call.ended".to_owned(), 3), ("com.onsip.gap".to_owned(), 1)].into(),
            turned_blind: 1,
        };
        let fleet = Fleet { accounts: 2, online: 2, blind: 0 };
        let totals = Totals { delivered: 4, duplicate: 2, gaps: 1, ..Totals::default() };
        let deliveries = Spread::cumulative([(0.01, 2), (0.02, 4)], 4);
        let expected = "\
2 of 2 accounts online, 0 blind now; 1 times one turned blind
       4  events
       3  com.onsip.call.ended
       1  com.onsip.gap
       4  delivered, 0 lost; from socket to acknowledgement: median 10 ms, 99 % within 20 ms
       2  came twice, told once
       1  gaps";
        assert_eq!(text(&seen, &fleet, totals, &deliveries), expected);
    }
}
