//! Coverage of one account: whether its events can reach us, and since when they cannot.
//!
//! Silence is this service's typical failure, so every window in which events may have been missed becomes an event of
//! its own (`com.onsip.gap`). A window opens when a subscription that delivered stops, and closes when every wanted
//! subscription delivers again, those aside that the service denies.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::event::{DataContentType, DataSchema, Event, EventData, EventType, GapData, SpecVersion};
use crate::domain::identity::Token;
use crate::domain::name::{AccountName, NodeName};
use crate::domain::service::Service;
use crate::domain::status::{GapReason, SubscriptionState};

/// What can be expected of one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Its events arrive.
    Flows,
    /// They do not, and it is being worked on.
    Stopped,
    /// They do not, and only time or an operator can change that.
    Denied,
}

impl Delivery {
    /// What can be expected once the subscription is in `state`, having been this before. A first renewal proves
    /// nothing yet, a later one takes nothing away.
    #[must_use]
    pub fn then(self, state: SubscriptionState) -> Self {
        match state {
            SubscriptionState::Active => Self::Flows,
            SubscriptionState::Renewing if self == Self::Flows => Self::Flows,
            SubscriptionState::Denied => Self::Denied,
            SubscriptionState::Renewing
            | SubscriptionState::Listing
            | SubscriptionState::Subscribing
            | SubscriptionState::Pending
            | SubscriptionState::Lost => Self::Stopped,
        }
    }
}

/// What changed for the account as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Events can arrive, of these services (short names, in order).
    Covered {
        /// From this moment on.
        since: Timestamp,
        /// The services.
        services: Vec<String>,
    },
    /// Some cannot any more.
    Uncovered {
        /// The last moment at which they could.
        since: Timestamp,
        /// Why.
        reason: GapReason,
    },
    /// They can again, and nothing was missed.
    Continued {
        /// From this moment on.
        since: Timestamp,
    },
}

/// The coverage of one account.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    nodes: BTreeMap<(Service, NodeName), Delivery>,
    /// Since when, while it is covered.
    covered: Option<Timestamp>,
    /// While the connection is lost and may be resumed: whether it was covered before.
    interrupted: Option<bool>,
    /// Whether the authorization has run out: without it nothing is sure to arrive.
    lapsed: bool,
}

impl Coverage {
    /// Of an account that wants these nodes and has none yet.
    #[must_use]
    pub fn of(nodes: impl IntoIterator<Item = (Service, NodeName)>) -> Self {
        Self { nodes: nodes.into_iter().map(|node| (node, Delivery::Stopped)).collect(), ..Self::default() }
    }

    /// A subscription's delivery changed at `at`, for `reason` if it stopped.
    pub fn changed(
        &mut self,
        service: &Service,
        node: &NodeName,
        delivery: Delivery,
        reason: GapReason,
        at: Timestamp,
    ) -> Option<Change> {
        if let Some(known) = self.nodes.get_mut(&(service.clone(), node.clone())) {
            *known = delivery;
        }
        self.conclude(reason, at)
    }

    /// The connection is gone; it was alive last at `heard`. A denial is asked about anew in the next session.
    pub fn disconnected(&mut self, reason: GapReason, heard: Timestamp) -> Option<Change> {
        self.interrupted = None;
        self.nodes.values_mut().for_each(|delivery| *delivery = Delivery::Stopped);
        self.lapsed = false;
        self.conclude(reason, heard)
    }

    /// The connection is gone, but may be resumed; it was alive last at `heard`. Should it never be, the window begins
    /// then, also for a router that starts after this one crashed.
    pub fn interrupted(&mut self, heard: Timestamp) -> Option<Change> {
        self.interrupted = Some(self.covered.is_some());
        let begun = self.covered.take()?;
        Some(Change::Uncovered { since: heard.max(begun), reason: GapReason::Disconnect })
    }

    /// The connection was resumed at `at`: the server kept what it could not deliver meanwhile.
    pub fn resumed(&mut self, at: Timestamp) -> Option<Change> {
        let was_covered = self.interrupted.take().unwrap_or_default();
        if was_covered && self.delivers() {
            self.covered = Some(at);
            return Some(Change::Continued { since: at });
        }
        self.conclude(GapReason::Disconnect, at)
    }

    fn delivers(&self) -> bool {
        let has = |wanted| self.nodes.values().any(|delivery| *delivery == wanted);
        !self.lapsed && !has(Delivery::Stopped) && has(Delivery::Flows)
    }

    /// The authorization ran out at `at`. What delivered must be seen to deliver again after the next one.
    pub fn lapse(&mut self, at: Timestamp) -> Option<Change> {
        let delivering = self.nodes.values_mut().filter(|delivery| **delivery == Delivery::Flows);
        delivering.for_each(|delivery| *delivery = Delivery::Stopped);
        self.lapsed = true;
        self.conclude(GapReason::Authorization, at)
    }

    /// There is an authorization again.
    pub fn authorized(&mut self) {
        self.lapsed = false;
    }

    /// Whether the authorization has run out.
    #[must_use]
    pub fn has_lapsed(&self) -> bool {
        self.lapsed
    }

    fn conclude(&mut self, reason: GapReason, at: Timestamp) -> Option<Change> {
        if self.interrupted.is_some() {
            return None;
        }
        let flowing = || self.nodes.iter().filter(|(_, delivery)| **delivery == Delivery::Flows);
        match (self.covered, self.delivers()) {
            (None, true) => {
                let services: BTreeSet<_> = flowing().map(|((service, _), _)| service.name().to_owned()).collect();
                self.covered = Some(at);
                Some(Change::Covered { since: at, services: services.into_iter().collect() })
            }
            // What was heard last may be older than the end of the gap before: two do not overlap.
            (Some(begun), false) => {
                self.covered = None;
                Some(Change::Uncovered { since: at.max(begun), reason })
            }
            (None, false) | (Some(_), true) => None,
        }
    }
}

/// A window in which events of an account may have been missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The account.
    pub account: AccountName,
    /// Short names of its services.
    pub services: Vec<String>,
    /// The last moment at which events could arrive.
    pub from: Timestamp,
    /// The moment from which they can again.
    pub to: Timestamp,
    /// Why they could not.
    pub reason: GapReason,
}

impl Gap {
    /// The `partitionkey` of all gaps of `account`.
    #[must_use]
    pub fn partition(account: &AccountName) -> Token {
        Token::from(format!("gap:{account}"))
    }

    /// The event of it, as the `sequence`th of its partition. Its id is made from the beginning of the window, which is
    /// written down before the window ends, so that a crash between the two cannot tell of it twice.
    #[must_use]
    pub fn event(&self, sequence: u64) -> Event {
        let from = self.from.as_microsecond().to_string();
        Event {
            specversion: SpecVersion::V1,
            id: Token::of(["gap", self.account.as_str(), &from, self.reason.as_str()]),
            source: format!("onsip-router:{}", self.account),
            r#type: EventType::Gap,
            time: self.to,
            subject: self.account.to_string(),
            datacontenttype: DataContentType::Json,
            dataschema: DataSchema::V1,
            sequence: format!("{sequence:010}"),
            partitionkey: Self::partition(&self.account).to_string(),
            data: EventData::Gap(Box::new(GapData {
                account: self.account.to_string(),
                services: self.services.clone(),
                from: self.from,
                to: self.to,
                reason: self.reason,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Timestamp {
        format!("2026-01-01T00:00:{second:02}Z").parse().unwrap()
    }

    fn service(name: &str) -> Service {
        Service::new(name, "x.test").unwrap()
    }

    fn two() -> Coverage {
        Coverage::of([(service("active-calls"), "/me/a".into()), (service("user-agents"), "/me/a".into())])
    }

    fn set(coverage: &mut Coverage, name: &str, delivery: Delivery, second: u32) -> Option<Change> {
        coverage.changed(&service(name), &"/me/a".into(), delivery, GapReason::Lease, at(second))
    }

    fn covered(second: u32, services: &[&str]) -> Change {
        Change::Covered { since: at(second), services: services.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn an_account_is_covered_once_all_its_nodes_deliver() {
        let mut coverage = two();
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 1), None);
        assert_eq!(
            set(&mut coverage, "user-agents", Delivery::Flows, 2),
            Some(covered(2, &["active-calls", "user-agents"]))
        );
        assert_eq!(set(&mut coverage, "user-agents", Delivery::Flows, 3), None, "told once");
    }

    #[test]
    fn a_lost_connection_is_one_gap_however_many_nodes_it_had() {
        let mut coverage = two();
        set(&mut coverage, "active-calls", Delivery::Flows, 1);
        set(&mut coverage, "user-agents", Delivery::Flows, 1);
        let gap = coverage.disconnected(GapReason::Disconnect, at(5));
        assert_eq!(gap, Some(Change::Uncovered { since: at(5), reason: GapReason::Disconnect }));
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Stopped, 6), None);
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 7), None);
        assert_eq!(
            set(&mut coverage, "user-agents", Delivery::Flows, 8),
            Some(covered(8, &["active-calls", "user-agents"]))
        );
    }

    #[test]
    fn two_gaps_do_not_overlap_even_if_nothing_was_heard_between_them() {
        let mut coverage = Coverage::of([(service("active-calls"), "/me/a".into())]);
        set(&mut coverage, "active-calls", Delivery::Flows, 5);
        let gap = coverage.disconnected(GapReason::Disconnect, at(4));
        assert_eq!(gap, Some(Change::Uncovered { since: at(5), reason: GapReason::Disconnect }));
    }

    fn one_covered() -> Coverage {
        let mut coverage = Coverage::of([(service("active-calls"), "/me/a".into())]);
        set(&mut coverage, "active-calls", Delivery::Flows, 1);
        coverage
    }

    #[test]
    fn a_connection_that_is_resumed_leaves_no_gap() {
        let mut coverage = one_covered();
        let lost = Some(Change::Uncovered { since: at(5), reason: GapReason::Disconnect });
        assert_eq!(coverage.interrupted(at(5)), lost);
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 6), None, "nothing is known yet");
        assert_eq!(coverage.resumed(at(7)), Some(Change::Continued { since: at(7) }));
        assert_eq!(
            coverage.interrupted(at(8)),
            Some(Change::Uncovered { since: at(8), reason: GapReason::Disconnect })
        );
    }

    #[test]
    fn a_connection_that_is_not_resumed_leaves_a_gap_from_when_it_was_heard_last() {
        let mut coverage = one_covered();
        coverage.interrupted(at(5));
        assert_eq!(coverage.disconnected(GapReason::Disconnect, at(5)), None, "told already");
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 9), Some(covered(9, &["active-calls"])));
    }

    #[test]
    fn a_resumption_hides_no_gap_that_was_there_before_it_or_came_of_itself() {
        let mut coverage = one_covered();
        set(&mut coverage, "active-calls", Delivery::Stopped, 2);
        assert_eq!(coverage.interrupted(at(3)), None);
        set(&mut coverage, "active-calls", Delivery::Flows, 4);
        assert_eq!(coverage.resumed(at(5)), Some(covered(5, &["active-calls"])));
        coverage.interrupted(at(6));
        set(&mut coverage, "active-calls", Delivery::Stopped, 7);
        assert_eq!(coverage.resumed(at(8)), None, "the lease ran out meanwhile");
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 9), Some(covered(9, &["active-calls"])));
    }

    #[test]
    fn a_denied_node_does_not_hold_the_others_back_but_alone_covers_nothing() {
        let mut coverage = two();
        assert_eq!(set(&mut coverage, "user-agents", Delivery::Denied, 1), None);
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 2), Some(covered(2, &["active-calls"])));
        assert_eq!(
            set(&mut coverage, "active-calls", Delivery::Denied, 3),
            Some(Change::Uncovered { since: at(3), reason: GapReason::Lease })
        );
    }

    #[test]
    fn a_lapse_is_one_gap_that_ends_when_every_node_is_seen_to_deliver_after_the_next_authorization() {
        let mut coverage = two();
        set(&mut coverage, "active-calls", Delivery::Flows, 1);
        set(&mut coverage, "user-agents", Delivery::Denied, 1);
        let gap = Some(Change::Uncovered { since: at(5), reason: GapReason::Authorization });
        assert_eq!((coverage.lapse(at(5)), coverage.has_lapsed()), (gap, true));
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 6), None, "nobody is authorized");
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Stopped, 7), None);
        coverage.authorized();
        assert_eq!(
            set(&mut coverage, "active-calls", Delivery::Flows, 8),
            Some(covered(8, &["active-calls"])),
            "what is denied does not hold it back"
        );
    }

    #[test]
    fn a_node_that_is_not_wanted_changes_nothing() {
        assert_eq!(set(&mut two(), "voicemail", Delivery::Flows, 1), None);
    }
}
