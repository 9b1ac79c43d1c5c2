//! Coverage of one account: whether its events can reach us, and since when they cannot.
//!
//! Silence is this service's typical failure, so every window in which events may have been missed becomes an event of
//! its own (`com.onsip.gap`). A window opens when a subscription that delivered stops, and closes when every wanted
//! subscription delivers again, those aside that the service denies.
//!
//! Invariants, on which the log, the board and the gap events rely:
//!
//! * The beginning of a window is the last moment at which events could arrive, however often the account, the
//!   configuration or the process was started anew since. So it is written down, and given back to [`Coverage::of`].
//! * The reason of a window is why coverage ended; if the service refuses the credentials during it, that is the reason.
//! * A node that was added to a running account says nothing about the others until it has delivered once.

pub use record::Record;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::event::{DataContentType, DataSchema, Event, EventData, EventType, GapData, SpecVersion};
use crate::domain::identity::Token;
use crate::domain::name::{AccountName, NodeName};
use crate::domain::service::Service;
use crate::domain::status::{GapReason, SubscriptionState};

mod record;

/// What can be expected of one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Its events arrive.
    Flows,
    /// They do not, and it is being worked on.
    Stopped,
    /// They do not, and only time or an operator can change that.
    Denied,
    /// They never did: the node was added while the account was running, and is being worked on.
    Added,
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
            _ if self == Self::Added => Self::Added,
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

/// A time in which an account's events cannot arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Blind {
    /// The last moment at which they could; the start of the account, if they never could.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// Why they cannot: the reason the gap event will have.
    pub reason: GapReason,
}

/// The coverage of one account.
#[derive(Clone, Debug)]
pub struct Coverage {
    nodes: BTreeMap<(Service, NodeName), Delivery>,
    /// Since when it is covered, or is not.
    sight: Result<Timestamp, Blind>,
    /// While the connection is lost and may be resumed: whether it was covered before.
    interrupted: Option<bool>,
    /// Whether the authorization has run out: without it nothing is sure to arrive.
    lapsed: bool,
    /// Whether the service refuses the credentials; what was granted before goes on until it ends.
    refused: bool,
}

impl Coverage {
    /// Starts the coverage of an account that wants these nodes and has none yet. `blind` is the window that is open: the
    /// one that was written down, or one that begins now for [`GapReason::Start`].
    #[must_use]
    pub fn of(nodes: impl IntoIterator<Item = (Service, NodeName)>, blind: Blind) -> Self {
        let nodes = nodes.into_iter().map(|node| (node, Delivery::Stopped)).collect();
        Self { nodes, sight: Err(blind), interrupted: None, lapsed: false, refused: false }
    }

    /// Returns the window that is open, if events cannot arrive now.
    #[must_use]
    pub fn blind(&self) -> Option<Blind> {
        self.sight.err()
    }

    /// A node is wanted from now on, or is not any more.
    pub fn want(&mut self, service: &Service, node: &NodeName, wanted: bool, at: Timestamp) -> Option<Change> {
        let key = (service.clone(), node.clone());
        if wanted {
            self.nodes.entry(key).or_insert(Delivery::Added);
        } else {
            self.nodes.remove(&key);
        }
        self.conclude(GapReason::Reload, at)
    }

    /// The service refuses the credentials, or does not any more. An open window is told with that from now on, and so is one
    /// that opens because there is no new authorization.
    pub fn credentials(&mut self, refused: bool) -> Option<Change> {
        self.refused = refused;
        if !refused {
            return None;
        }
        let blind = self.sight.as_mut().err().filter(|blind| blind.reason != GapReason::Refused)?;
        blind.reason = GapReason::Refused;
        Some(Change::Uncovered { since: blind.since, reason: blind.reason })
    }

    /// The account stops at `at`, because its configuration changed.
    pub fn stopped(&mut self, at: Timestamp) -> Option<Change> {
        self.interrupted = None;
        self.end(GapReason::Reload, at)
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
        self.interrupted = Some(self.sight.is_ok());
        self.end(GapReason::Disconnect, heard)
    }

    /// The connection was resumed at `at`: the server kept what it could not deliver meanwhile.
    pub fn resumed(&mut self, at: Timestamp) -> Option<Change> {
        let was_covered = self.interrupted.take().unwrap_or_default();
        if was_covered && self.delivers() {
            self.sight = Ok(at);
            return Some(Change::Continued { since: at });
        }
        self.conclude(GapReason::Disconnect, at)
    }

    /// The clock was set by so much. What was told by it before it was set back would lie in the future. Set forward, it may
    /// have been while the machine slept: then the time has passed.
    pub fn stepped(&mut self, by: SignedDuration) -> Option<Change> {
        let by = by.min(SignedDuration::ZERO);
        let told = |since: Timestamp| since.checked_add(by).unwrap_or(since);
        match &mut self.sight {
            Ok(since) => *since = told(*since),
            Err(blind) if by.is_negative() => {
                blind.since = told(blind.since);
                return Some(Change::Uncovered { since: blind.since, reason: blind.reason });
            }
            Err(_) => {}
        }
        None
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
        match (self.sight, self.delivers()) {
            (Err(_), true) => {
                let flowing = self.nodes.iter().filter(|(_, delivery)| **delivery == Delivery::Flows);
                let services: BTreeSet<_> = flowing.map(|((service, _), _)| service.name().to_owned()).collect();
                self.sight = Ok(at);
                Some(Change::Covered { since: at, services: services.into_iter().collect() })
            }
            (Ok(_), false) => self.end(reason, at),
            (Err(_), false) | (Ok(_), true) => None,
        }
    }

    /// Opens a window. What was heard last may be older than the end of the one before: two do not overlap.
    fn end(&mut self, reason: GapReason, at: Timestamp) -> Option<Change> {
        let since = at.max(self.sight.ok()?);
        let refused = self.refused && reason == GapReason::Authorization;
        let reason = if refused { GapReason::Refused } else { reason };
        self.sight = Err(Blind { since, reason });
        Some(Change::Uncovered { since, reason })
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

    const START: Blind = Blind { since: Timestamp::UNIX_EPOCH, reason: GapReason::Start };

    fn service(name: &str) -> Service {
        Service::new(name, "x.test").unwrap()
    }

    fn two() -> Coverage {
        Coverage::of([(service("active-calls"), "/me/a".into()), (service("user-agents"), "/me/a".into())], START)
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
        let mut coverage = Coverage::of([(service("active-calls"), "/me/a".into())], START);
        set(&mut coverage, "active-calls", Delivery::Flows, 5);
        let gap = coverage.disconnected(GapReason::Disconnect, at(4));
        assert_eq!(gap, Some(Change::Uncovered { since: at(5), reason: GapReason::Disconnect }));
    }

    fn one_covered() -> Coverage {
        let mut coverage = Coverage::of([(service("active-calls"), "/me/a".into())], START);
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
    fn f1_a_window_that_is_open_at_the_start_keeps_its_beginning_until_it_ends() {
        let before = Blind { since: at(1), reason: GapReason::Restart };
        let mut coverage = Coverage::of([(service("active-calls"), "/me/a".into())], before);
        assert_eq!(coverage.disconnected(GapReason::Disconnect, at(3)), None);
        assert_eq!((coverage.stopped(at(4)), coverage.blind()), (None, Some(before)));
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 5), Some(covered(5, &["active-calls"])));
        assert_eq!(coverage.blind(), None);
        let stopped = Blind { since: at(7), reason: GapReason::Reload };
        assert_eq!(coverage.stopped(at(7)), Some(Change::Uncovered { since: at(7), reason: GapReason::Reload }));
        assert_eq!(coverage.blind(), Some(stopped));
    }

    #[test]
    fn f6_refused_credentials_are_the_reason_of_the_window_they_keep_open() {
        let mut coverage = one_covered();
        assert_eq!(coverage.credentials(true), None, "events arrive");
        coverage.disconnected(GapReason::Disconnect, at(5));
        let refused = Some(Change::Uncovered { since: at(5), reason: GapReason::Refused });
        assert_eq!((coverage.credentials(true), coverage.credentials(true)), (refused, None));
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 9), Some(covered(9, &["active-calls"])));
    }

    #[test]
    fn f6_an_authorization_that_lapses_because_the_credentials_are_refused_is_told_as_refused() {
        for (refused, reason) in [(true, GapReason::Refused), (false, GapReason::Authorization)] {
            let mut coverage = one_covered();
            assert_eq!((coverage.credentials(true), coverage.credentials(refused)), (None, None));
            assert_eq!(coverage.lapse(at(5)), Some(Change::Uncovered { since: at(5), reason }));
        }
    }

    #[test]
    fn f4_a_node_that_is_added_or_taken_out_is_no_gap_of_the_others() {
        let mut coverage = one_covered();
        let (new, node) = (service("user-agents"), "/me/a".into());
        assert_eq!(coverage.want(&new, &node, true, at(2)), None);
        let mut delivery = Delivery::Added;
        for state in [SubscriptionState::Listing, SubscriptionState::Subscribing, SubscriptionState::Pending] {
            delivery = delivery.then(state);
            assert_eq!(set(&mut coverage, "user-agents", delivery, 3), None);
        }
        delivery = delivery.then(SubscriptionState::Active);
        assert_eq!(set(&mut coverage, "user-agents", delivery, 4), None, "nothing was missed");
        delivery = delivery.then(SubscriptionState::Lost);
        let gap = Some(Change::Uncovered { since: at(5), reason: GapReason::Lease });
        assert_eq!(set(&mut coverage, "user-agents", delivery, 5), gap, "from now on it counts");
        assert_eq!(coverage.want(&new, &node, false, at(6)), Some(covered(6, &["active-calls"])));
    }

    #[test]
    fn f4_a_node_that_was_added_counts_like_the_others_after_the_next_session() {
        let mut coverage = one_covered();
        coverage.want(&service("user-agents"), &"/me/a".into(), true, at(2));
        coverage.disconnected(GapReason::Disconnect, at(3));
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 4), None);
        let both = Some(covered(5, &["active-calls", "user-agents"]));
        assert_eq!(set(&mut coverage, "user-agents", Delivery::Flows, 5), both);
    }

    #[test]
    fn f1_a_clock_that_is_set_back_moves_the_beginning_and_one_that_is_set_forward_does_not() {
        let back = |seconds: i64| SignedDuration::from_secs(-seconds);
        let mut coverage = one_covered();
        coverage.changed(&service("active-calls"), &"/me/a".into(), Delivery::Stopped, GapReason::Lease, at(40));
        assert_eq!(coverage.stepped(back(-30)), None);
        assert_eq!(coverage.stepped(back(30)), Some(Change::Uncovered { since: at(10), reason: GapReason::Lease }));
        assert_eq!(set(&mut coverage, "active-calls", Delivery::Flows, 50), Some(covered(50, &["active-calls"])));
        assert_eq!(coverage.stepped(back(30)), None, "events arrive");
        let gap = coverage.disconnected(GapReason::Disconnect, at(25));
        assert_eq!(gap, Some(Change::Uncovered { since: at(25), reason: GapReason::Disconnect }));
    }

    #[test]
    fn a_node_that_is_not_wanted_changes_nothing() {
        assert_eq!(set(&mut two(), "voicemail", Delivery::Flows, 1), None);
    }
}
