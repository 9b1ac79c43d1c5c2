//! The windows in which events cannot arrive, held to a model: each begins with the last coverage, keeps its beginning
//! whatever is started anew during it, is shown as it will be told, and is told once.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::status::GapReason;
use onsip_router::protocol::coverage::Blind;

/// How much of the last coverage is not written down when a router ends without a word: what was heard is every ten seconds,
/// and a silent link is made to say something every thirty.
const UNWRITTEN: SignedDuration = SignedDuration::from_secs(40);

/// A window that is open.
struct Open {
    since: RangeInclusive<Timestamp>,
    reason: GapReason,
}

impl Open {
    fn is(&self, blind: Blind) -> bool {
        self.since.contains(&blind.since) && self.reason == blind.reason
    }
}

/// The windows of one account.
#[derive(Default)]
pub struct Windows {
    open: Option<Open>,
    /// Whether the account ever was covered.
    ever: bool,
    /// How many were told.
    pub told: u64,
}

impl Windows {
    /// Holds what the router shows at `now`, and what it has told since the last look, against what came before; `refused`: the
    /// service refuses its credentials.
    pub fn see(
        &mut self,
        shown: Option<Blind>,
        refused: bool,
        told: &mut Vec<(Blind, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), String> {
        for (window, to) in told.drain(..) {
            if to != now || window.since > to {
                return Err(format!("{window:?} is told to end at {to}"));
            }
            let open = self.open.take().ok_or_else(|| format!("{window:?} is told and was not open"))?;
            if !self.ever || !open.is(window) {
                return Err(format!("{window:?} is told in place of one since {:?} for {:?}", open.since, open.reason));
            }
            self.told += 1;
        }
        // What was granted before goes on, and its subscriptions may end for themselves.
        let other = |shown: &Blind| !matches!(shown.reason, GapReason::Refused | GapReason::Revoked);
        if let Some(shown) = shown.filter(|shown| refused && other(shown)) {
            return Err(format!("{shown:?} of an account whose credentials are refused"));
        }
        match (shown, &mut self.open) {
            (None, None) => self.ever = true,
            (None, Some(_)) if !self.ever => (self.open, self.ever) = (None, true),
            (None, Some(open)) => return Err(format!("the window since {:?} ended untold", open.since)),
            (Some(shown), None) if !self.ever && shown.reason != GapReason::Start => {
                return Err(format!("{shown:?} of an account that never was covered"));
            }
            (Some(shown), open) => {
                if let Some(open) = open.as_mut() {
                    if shown.reason == GapReason::Refused {
                        open.reason = GapReason::Refused;
                    }
                    // A first start that is started anew begins anew.
                    if !open.is(shown) && (self.ever || shown.reason != GapReason::Start) {
                        return Err(format!("{shown:?} is shown in place of {:?} for {:?}", open.since, open.reason));
                    }
                }
                *open = Some(Open { since: shown.since..=shown.since, reason: shown.reason });
            }
        }
        Ok(())
    }

    /// The router ended without a word, or the account alone by a reload, and showed this; its link delivered until `last`, and
    /// may not have since `doubted`.
    pub fn account_ends(
        &mut self,
        shown: Option<Blind>,
        last: Timestamp,
        doubted: Option<Timestamp>,
        reason: GapReason,
    ) {
        if shown.is_none() && self.ever {
            let first = doubted.map_or(last, |doubted| doubted.min(last)) - UNWRITTEN;
            self.open = Some(Open { since: first..=last, reason });
        }
    }

    /// The router's clock was set by so much. What it told before it was set back would lie in the future; forward, it may have
    /// been while the machine slept.
    pub fn clock_stepped(&mut self, by: SignedDuration) {
        if let Some(Open { since, .. }) = self.open.as_mut().filter(|_| by.is_negative()) {
            *since = *since.start() + by..=*since.end() + by;
        }
    }
}
