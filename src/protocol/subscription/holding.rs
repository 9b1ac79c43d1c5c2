//! What the service has of ours, as far as we know.

use crate::domain::moment::Moment;
use crate::domain::name::Subid;

/// A subscription of ours, delivering or still pending.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) subid: Option<Subid>,
    pub(super) lease: Lease,
    /// When its lease was last asked for.
    pub(super) renewed: Option<Moment>,
}

/// How long it delivers once it is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// Somebody else, or we in an earlier life, asked for it: it may be over already.
    Unknown,
    /// As we asked.
    Until(Moment),
    /// The service has no leases.
    Endless,
}

impl Held {
    /// One found at the service.
    pub(super) fn found(subid: Option<Subid>) -> Self {
        Self { subid, lease: Lease::Unknown, renewed: None }
    }

    /// Whether events come for certain.
    pub(super) fn delivers(&self, now: Moment) -> bool {
        match self.lease {
            Lease::Unknown => false,
            Lease::Until(end) => end > now,
            Lease::Endless => true,
        }
    }

    /// The end of its lease, if it is known and has one.
    pub(super) fn end(&self) -> Option<Moment> {
        match self.lease {
            Lease::Until(end) => Some(end),
            Lease::Unknown | Lease::Endless => None,
        }
    }
}
