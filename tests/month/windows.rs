//! The windows in which events cannot arrive, held to a model: each begins with the last coverage, keeps its beginning
//! whatever is started anew during it, is shown as it will be told, and is told once.

use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use onsip_router::domain::status::GapReason;
use onsip_router::protocol::coverage::Blind;

/// How much of the last coverage is not written down when a router ends without a word.
const UNWRITTEN: SignedDuration = SignedDuration::from_secs(10);

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
    /// Holds what the router shows, and what it has told since the last look, against what came before.
    pub fn see(&mut self, shown: Option<Blind>, told: &mut Vec<(Blind, Timestamp)>) -> Result<(), String> {
        for (window, _) in told.drain(..) {
            let open = self.open.take().ok_or_else(|| format!("{window:?} is told and was not open"))?;
            if !self.ever || !open.is(window) {
                return Err(format!("{window:?} is told in place of one since {:?} for {:?}", open.since, open.reason));
            }
            self.told += 1;
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

    /// The router ended without a word at `now`, and showed this.
    pub fn router_ends(&mut self, shown: Option<Blind>, now: Timestamp) {
        if shown.is_none() && self.ever {
            self.open = Some(Open { since: now - UNWRITTEN..=now, reason: GapReason::Restart });
        }
    }
}
