//! Where a subscription stands, and what it waits for.

use std::time::Duration;

use super::leftovers::Leftover;
use crate::domain::moment::Moment;
use crate::domain::name::Subid;

/// Where it stands.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// There is no connection.
    Offline,
    /// A request is under way.
    Asking(Ask),
    /// Waiting for the node's owner.
    Pending { until: Moment },
    /// It delivers.
    Holding { renew_at: Moment },
    /// Waiting for the end of the pause.
    Pausing,
}

#[cfg(test)]
impl Phase {
    pub(super) fn is_asking(&self) -> bool {
        matches!(self, Self::Asking(_))
    }
}

/// The request under way.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Which subscriptions are there?
    List(Why),
    /// Make one; `said` is what a message said before the answer came.
    Subscribe { asked: Moment, said: Option<Said> },
    /// Set the options of the held one; `listed`: a list has just shown it.
    Renew { asked: Moment, surplus: Vec<Subid>, listed: bool },
    /// Remove one of several of ours; the held one stays.
    Remove { surplus: Vec<Subid> },
    /// Remove one that we made under an earlier resource; `for_room`: to subscribe then.
    Clear { leftover: Leftover, for_room: bool },
    /// Remove all of ours, one after the other, and begin again.
    Withdraw { rest: Vec<Option<Subid>>, why: &'static str },
    /// Which items are there, now that events can arrive again?
    Items,
    /// Remove all of ours, one after the other, and be done.
    Leave { rest: Vec<Option<Subid>> },
}

/// Why a list was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// To begin: is there one to use?
    Beginning,
    /// It was approved: what is its id?
    Approved,
    /// `none` was said of a pending one: is it true?
    Refused,
    /// Nothing was said of a pending one: was the message lost?
    Overdue,
    /// `none` was said of a delivering one: is it true, or the echo of our own removal of another?
    Ended,
    /// Time has passed: is it still there, and does the link still answer? `again`: the first time nothing came back.
    Probe { again: bool },
    /// It was renewed: is it there at all? A renewal succeeds for any id (protocol sheet section 6.4).
    Renewed,
    /// To leave: which are ours?
    Leaving,
}

/// What a message said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Subscribed,
    None,
}

/// A time in which no new subscription is asked for.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) until: Moment,
    /// When it may end if something changed in our favour.
    pub(super) soonest: Moment,
    /// Whether the service said no, or something merely went wrong.
    pub(super) denied: bool,
    pub(super) why: String,
}

impl Pause {
    /// Refusals are at least this far apart: at most two in the first 15 s (interface section 6, promise 6).
    pub(super) const LEAST_AFTER_REFUSAL: Duration = Duration::from_secs(10);

    pub(super) fn shortened(self) -> Self {
        Self { until: self.until.min(self.soonest), ..self }
    }
}
