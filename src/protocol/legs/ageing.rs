//! Legs whose end was never told: ended when nothing was heard of them for longer than a call can last.

use std::time::Duration;

use jiff::Timestamp;

use super::Legs;
use super::emission::Ending;
use super::naming::end_event;
use crate::domain::event::{EndReason, Event, Origin, Receipt};
use crate::domain::identity::Token;
use crate::domain::leg::Leg;
use crate::domain::service::Service;

/// How long a leg may go without a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Before it is answered.
    pub ringing: Duration,
    /// Once it is.
    pub answered: Duration,
}

impl Ages {
    /// The shorter of the two.
    #[must_use]
    pub fn shorter(&self) -> Duration {
        self.ringing.min(self.answered)
    }

    /// What was touched last before this is stale at `now`: a leg that rings, and one that was answered.
    #[must_use]
    pub fn limits(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let before = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        (before(self.ringing), before(self.answered))
    }

    fn is_over(&self, leg: &Leg, now: Timestamp) -> bool {
        let (ringing, answered) = self.limits(now);
        leg.ended.is_none() && leg.touched < if leg.answered.is_some() { answered } else { ringing }
    }
}

impl Legs {
    /// Ends a leg of `service` that is stale at `now`; none if it is not, which may have changed since it was found.
    pub fn expire(&mut self, token: &Token, service: &Service, ages: Ages, now: Timestamp) -> Option<Event> {
        let leg = self.table.get(token).filter(|leg| ages.is_over(leg, now))?.clone();
        let id = end_event(&leg.token, Some(&leg.first_event));
        let ending = Ending {
            service,
            origin: remembered(&leg),
            receipt: Receipt { published_at: None, received_at: now, replayed: false },
            reason: EndReason::Stale,
            answered_beside: false,
        };
        Some(self.end(ending, leg, id))
    }
}

/// Nobody tells of this end: it stands where the leg was heard of last.
fn remembered(leg: &Leg) -> Origin {
    Origin {
        account: leg.account.as_ref().map(ToString::to_string).unwrap_or_default(),
        service: leg.service.clone(),
        node: leg.node.to_string(),
        collection: leg.collection.as_ref().map(ToString::to_string),
        item_id: leg.item.to_string(),
        subids: Vec::new(),
    }
}
