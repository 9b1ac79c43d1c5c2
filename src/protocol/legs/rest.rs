//! The answer to a request for items against the leg table: what is still there lives, what is missing is over.

use std::sync::Arc;

use super::{Legs, Sighting, Verdict};
use crate::domain::event::EndReason;
use crate::domain::leg::Leg;
use crate::domain::name::{AccountName, ItemId, NodeName};

/// Whether an item of such an answer is older than what is known of its leg: news of it came after the request was sent.
pub(super) fn overtaken(sighting: Sighting<'_>, leg: &Leg) -> bool {
    sighting.note.asked.is_some_and(|asked| leg.touched >= asked)
}

impl Legs {
    /// Ends the live legs of a leaf that are not among its items, those aside that changed since the request was sent.
    /// Being among them is a sign of life.
    pub(super) fn rest(
        &mut self,
        sighting: Sighting<'_>,
        node: &NodeName,
        present: &[ItemId],
        told_by: Option<&AccountName>,
    ) -> Verdict {
        let (there, missing): (Vec<Arc<Leg>>, Vec<Arc<Leg>>) =
            self.live(sighting.service, node).into_iter().partition(|leg| present.contains(&leg.item));
        let sign = |leg: &Arc<Leg>| leg.touched < sighting.received && self.may_end(sighting, leg);
        for leg in there.into_iter().filter(sign).collect::<Vec<_>>() {
            self.changed.insert(leg.token.clone());
            self.table
                .insert(leg.token.clone(), Leg { touched: sighting.received, ..Arc::unwrap_or_clone(leg) }.into());
        }
        let ours = |leg: &Leg| told_by.is_none() || leg.account.as_ref() == told_by;
        let gone = missing.into_iter().filter(|leg| ours(leg) && !overtaken(sighting, leg)).collect();
        self.end_all(sighting, gone, EndReason::Gap)
    }
}
