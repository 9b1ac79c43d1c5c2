//! The record of an account's coverage is written down, so that a window keeps its beginning across restarts and reloads.

use jiff::Timestamp;

use super::{Blind, Change};
use crate::domain::status::GapReason;

/// Until when an account's events could arrive, as far as was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Until when they could, at least.
    pub until: Timestamp,
    /// Why they cannot any more; none while they can.
    pub ended: Option<GapReason>,
}

impl Record {
    /// Returns what is to be written down after a change, and the window that the change ends. The first coverage of an
    /// account ends none, and an account that never was covered has nothing that could end.
    #[must_use]
    pub fn after(before: Option<Self>, change: &Change) -> (Option<Self>, Option<Blind>) {
        match (change, before) {
            (Change::Uncovered { .. }, None) => (None, None),
            (Change::Uncovered { since, reason }, Some(_)) => {
                (Some(Self { until: *since, ended: Some(*reason) }), None)
            }
            (Change::Continued { since }, _) => (Some(Self { until: *since, ended: None }), None),
            (Change::Covered { since, .. }, before) => {
                (Some(Self { until: *since, ended: None }), before.map(|before| before.window(*since)))
            }
        }
    }

    /// Returns the window that is open at `now`. What nobody ended belongs to a router, or an actor, that is no more; what was
    /// written by a clock that was set back since cannot be later than now.
    #[must_use]
    pub fn window(self, now: Timestamp) -> Blind {
        Blind { since: self.until.min(now), reason: self.ended.unwrap_or(GapReason::Restart) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn covered(second: i64) -> Change {
        Change::Covered { since: at(second), services: Vec::new() }
    }

    fn uncovered(second: i64, reason: GapReason) -> Change {
        Change::Uncovered { since: at(second), reason }
    }

    /// The windows that these changes end, as seconds and reason.
    fn told(changes: &[Change]) -> Vec<(i64, GapReason)> {
        let mut record = None;
        let mut told = Vec::new();
        for change in changes {
            let (after, ended) = Record::after(record, change);
            record = after;
            told.extend(ended.map(|window| (window.since.as_second(), window.reason)));
        }
        told
    }

    #[test]
    fn f1_a_window_is_told_once_from_the_end_of_the_coverage_before_it() {
        let changes =
            [covered(1), uncovered(5, GapReason::Lease), covered(8), uncovered(9, GapReason::Conflict), covered(11)];
        assert_eq!(told(&changes), [(5, GapReason::Lease), (9, GapReason::Conflict)]);
    }

    #[test]
    fn f1_what_nobody_ended_ends_with_whoever_wrote_it() {
        assert_eq!(told(&[covered(1), covered(8)]), [(1, GapReason::Restart)]);
    }

    #[test]
    fn f1_no_window_ends_before_it_begins_whatever_was_done_to_the_clock() {
        assert_eq!(told(&[covered(1), uncovered(90, GapReason::Lease), covered(8)]), [(8, GapReason::Lease)]);
        assert_eq!(told(&[covered(90), covered(8)]), [(8, GapReason::Restart)]);
    }

    #[test]
    fn f6_the_first_coverage_ends_nothing_whatever_was_refused_before_it() {
        assert_eq!(told(&[uncovered(1, GapReason::Refused), covered(8)]), []);
    }

    #[test]
    fn f6_a_window_has_the_last_reason_it_was_given() {
        let changes = [covered(1), uncovered(5, GapReason::Disconnect), uncovered(5, GapReason::Refused), covered(8)];
        assert_eq!(told(&changes), [(5, GapReason::Refused)]);
    }

    #[test]
    fn a_connection_that_goes_on_ends_the_window_untold() {
        let changes = [covered(1), uncovered(5, GapReason::Disconnect), Change::Continued { since: at(6) }, covered(9)];
        assert_eq!(told(&changes), [(6, GapReason::Restart)]);
    }
}
