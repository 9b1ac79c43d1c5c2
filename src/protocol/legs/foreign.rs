//! Whose word counts about a leg. Accounts of one domain share their legs, for redundancy; accounts of different domains
//! may see one node too. But anybody can guess the name of a node, so what ends a leg, or changes it, counts only from an
//! account whose domain has shown that it sees the leg.

use std::sync::Arc;

use super::{Legs, Sighting};
use crate::domain::identity::Token;
use crate::domain::leg::Leg;
use crate::domain::limits::TELLERS;
use crate::domain::name::JidDomain;

/// The domains that told of a leg, `domain` among them.
pub(super) fn with(domain: &JidDomain, mut told_by: Vec<JidDomain>) -> Vec<JidDomain> {
    if told_by.len() < TELLERS && !told_by.contains(domain) {
        told_by.push(domain.clone());
    }
    told_by
}

impl Legs {
    /// Whether who sees `sighting` may end `leg`: its domain told of it, or no account is left of those that did.
    pub(super) fn may_end(&self, sighting: Sighting<'_>, leg: &Leg) -> bool {
        leg.told_by.contains(&sighting.reception.domain) || leg.told_by.iter().all(|told| !self.domains.contains(told))
    }

    /// Whether an item is not of the live `leg` whose id it has: it comes from a domain that never told of the leg, and
    /// is of another call. It is told all the same, and nothing is remembered of it.
    pub(super) fn is_strange(&self, sighting: Sighting<'_>, leg: &Leg, partition: &Token) -> bool {
        leg.ended.is_none() && !self.may_end(sighting, leg) && !is_of(leg, partition)
    }

    /// A copy of what is known of a live leg shows that its domain sees the leg, too.
    pub(super) fn vouch(&mut self, sighting: Sighting<'_>, token: &Token, partition: &Token) {
        let domain = &sighting.reception.domain;
        let Some(leg) = self.table.get_mut(token) else { return };
        if leg.ended.is_some() || leg.told_by.contains(domain) || leg.told_by.len() >= TELLERS || !is_of(leg, partition)
        {
            return;
        }
        let leg = Arc::make_mut(leg);
        leg.told_by = with(domain, std::mem::take(&mut leg.told_by));
        self.changed.insert(token.clone());
    }

    /// How many ends were ignored since this was asked last.
    pub fn take_foreign(&mut self) -> u64 {
        std::mem::take(&mut self.foreign)
    }
}

/// Whether what belongs to `partition` is of the call of `leg`: nobody knows its ids who does not see it.
fn is_of(leg: &Leg, partition: &Token) -> bool {
    leg.partition == *partition || leg.partition == leg.token
}
