//! What the demonstration says at its end, on one screen.
//!
//! Whether events may have been missed is what the gaps among the events say, and nothing else: so that the numbers agree.
//! Must not know how it went on.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::watch::Seen;
use crate::board::View;
use crate::cli::status::span;
use crate::domain::status::AccountState;
use crate::metrics::spread::Spread;
use crate::metrics::totals::Totals;

/// How many accounts are told by name.
const NAMED: usize = 10;

/// How the accounts were at the end.
pub(super) struct Fleet {
    accounts: usize,
    online: usize,
    /// Who is blind, and for how many seconds.
    blind: Vec<(String, f64)>,
}

impl Fleet {
    pub(super) fn of(view: &View, now: Timestamp) -> Self {
        let accounts = || view.accounts.values();
        let blind = view.accounts.iter().filter_map(|(name, status)| {
            let since = status.blind.as_ref()?.since;
            Some((name.to_string(), now.duration_since(since).as_secs_f64()))
        });
        Self {
            accounts: accounts().count(),
            online: accounts().filter(|status| status.state == AccountState::Online).count(),
            blind: blind.collect(),
        }
    }
}

/// All of it.
pub(super) fn text(seen: &Seen, fleet: &Fleet, totals: Totals, deliveries: &Spread) -> String {
    let Fleet { accounts, online, blind } = fleet;
    let mut text = format!("{online} of {accounts} accounts online, {} blind now", blind.len());
    if !blind.is_empty() {
        let each = blind.iter().map(|(name, seconds)| format!("{name} for {}", span(*seconds)));
        let _ = write!(text, " ({}); what they miss is told once they see again", named(each));
    }
    let events = seen.events.values().sum::<u64>() + seen.unseen;
    let _ = write!(text, "\n{events:>8}  events");
    for (kind, count) in &seen.events {
        let _ = write!(text, "\n{count:>8}  {kind}");
    }
    if seen.unseen > 0 {
        let _ = write!(text, "\n{:>8}  not looked at, they came too fast", seen.unseen);
    }
    let Totals { duplicate, delivered, dead, dropped, .. } = totals;
    let _ = write!(text, "\n{delivered:>8}  delivered, {} given up", dead + dropped);
    if let (Some(median), Some(most)) = (deliveries.quantile(0.5), deliveries.quantile(0.99)) {
        let (median, most) = (span(median), span(most));
        let _ = write!(text, "; from socket to acknowledgement: median {median}, 99 % within {most}");
    }
    let _ = write!(text, "\n{duplicate:>8}  came twice, told once\n{}", gaps(seen));
    text
}

/// In which windows events may have been missed, and whose.
fn gaps(seen: &Seen) -> String {
    let (count, seconds) = seen.gaps.values().fold((0, 0.0), |(n, sum), (gaps, seconds)| (n + gaps, sum + seconds));
    let least = if seen.unseen > 0 { "at least " } else { "" };
    let whole = match count {
        0 if seen.unseen > 0 => return "no gap among the events that were looked at".to_owned(),
        0 => return "no gap: none was told of any account".to_owned(),
        1 => format!("in {least}1 gap of {}", span(seconds)),
        _ => format!("in {least}{count} gaps of together {}", span(seconds)),
    };
    let mut accounts: Vec<_> = seen.gaps.iter().collect();
    accounts.sort_by(|(_, (_, one)), (_, (_, other))| other.total_cmp(one));
    let each = accounts.into_iter().map(|(name, (gaps, seconds))| match gaps {
        1 => format!("{name} {}", span(*seconds)),
        _ => format!("{name} {} in {gaps}", span(*seconds)),
    });
    format!("{whole} events may have been missed: {}", named(each))
}

fn named(each: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = each.collect();
    let more = all.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more accounts") } else { String::new() };
    format!("{}{more}", all.into_iter().take(NAMED).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(gaps: &[(&str, u64, f64)]) -> Seen {
        let count = gaps.iter().map(|(_, gaps, _)| gaps).sum();
        Seen {
            events: [("com.onsip.call.ended".to_owned(), 3), ("com.onsip.gap".to_owned(), count)].into(),
            gaps: gaps.iter().map(|(name, gaps, seconds)| ((*name).to_owned(), (*gaps, *seconds))).collect(),
            unseen: 0,
        }
    }

    #[test]
    fn f12_one_screen_says_how_it_went_and_what_may_have_been_missed_of_whom() {
        let seen = seen(&[("demo-1", 5, 20.0), ("demo-2", 1, 0.25), ("demo-3", 2, 10.75)]);
        let fleet = Fleet { accounts: 3, online: 2, blind: vec![("demo-2".to_owned(), 5.0)] };
        // Counted once per service: not what this says.
        let totals = Totals { delivered: 11, duplicate: 2, gaps: 16, ..Totals::default() };
        let deliveries = Spread::cumulative([(0.01, 2), (0.02, 4)], 4);
        let expected = "\
2 of 3 accounts online, 1 blind now (demo-2 for 5.0 s); what they miss is told once they see again
      11  events
       3  com.onsip.call.ended
       8  com.onsip.gap
      11  delivered, 0 given up; from socket to acknowledgement: median 10 ms, 99 % within 20 ms
       2  came twice, told once
in 8 gaps of together 31.0 s events may have been missed: demo-1 20.0 s in 5, demo-3 10.8 s in 2, demo-2 250 ms";
        assert_eq!(text(&seen, &fleet, totals, &deliveries), expected);
    }

    #[test]
    fn f12_a_single_gap_none_and_many_are_told_so() {
        assert_eq!(gaps(&seen(&[("a", 1, 3.0)])), "in 1 gap of 3.0 s events may have been missed: a 3.0 s");
        assert!(gaps(&seen(&[])).starts_with("no gap: "));
        let names: Vec<_> = (1..=12).map(|n| format!("demo-{n:02}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1, 1.0)).collect();
        let told = gaps(&seen(&many));
        assert!(told.starts_with("in 12 gaps of together 12.0 s ") && told.ends_with(" and 2 more accounts"), "{told}");
        let few = Seen { unseen: 7, ..seen(&[("a", 1, 3.0)]) };
        assert!(gaps(&few).starts_with("in at least 1 gap of 3.0 s "));
        assert_eq!(gaps(&Seen { unseen: 7, ..seen(&[]) }), "no gap among the events that were looked at");
    }
}
