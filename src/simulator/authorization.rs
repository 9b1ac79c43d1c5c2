//! Which JID may see the events of which SIP address, and until when (protocol sheet section 4).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::BareJid;
use crate::domain::moment::Moment;

/// All authorizations in force, and those that have run out but were not renewed.
#[derive(Debug, Default)]
pub(super) struct Authorizations {
    granted: HashMap<BareJid, BTreeMap<String, Moment>>,
    holders: HashMap<String, BTreeSet<BareJid>>,
}

impl Authorizations {
    /// Authorizes `jid` for `address` until `until`, replacing an earlier grant.
    pub(super) fn grant(&mut self, jid: &BareJid, address: &str, until: Moment) {
        self.granted.entry(jid.clone()).or_default().insert(address.to_owned(), until);
        self.holders.entry(address.to_owned()).or_default().insert(jid.clone());
    }

    /// Ends all authorizations of `jid`.
    pub(super) fn end(&mut self, jid: &BareJid) {
        for address in self.granted.remove(jid).into_iter().flat_map(BTreeMap::into_keys) {
            if let Some(holders) = self.holders.get_mut(&address) {
                holders.remove(jid);
            }
        }
    }

    /// Whether `jid` is authorized for `address` now.
    pub(super) fn covers(&self, jid: &BareJid, address: &str, now: Moment) -> bool {
        self.granted.get(jid).and_then(|addresses| addresses.get(address)).is_some_and(|until| now < *until)
    }

    /// The addresses `jid` is authorized for now.
    pub(super) fn addresses(&self, jid: &BareJid, now: Moment) -> impl Iterator<Item = &str> {
        let all = self.granted.get(jid).into_iter().flatten();
        all.filter(move |(_, until)| now < **until).map(|(address, _)| address.as_str())
    }

    /// The JIDs that are authorized for `address` now.
    pub(super) fn holders(&self, address: &str, now: Moment) -> Vec<BareJid> {
        let all = self.holders.get(address).into_iter().flatten();
        all.filter(|jid| self.covers(jid, address, now)).cloned().collect()
    }

    /// The end of the longest authorization of `jid` that is in force.
    pub(super) fn until(&self, jid: &BareJid, now: Moment) -> Option<Moment> {
        self.granted.get(jid)?.values().copied().filter(|until| now < *until).max()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_authorization_ends_by_itself_and_can_be_ended() {
        let now = Moment::now();
        let jid = BareJid::new("anna@acme.test").unwrap();
        let mut all = Authorizations::default();
        all.grant(&jid, "anna@acme.test", now + Duration::from_secs(2));
        assert_eq!(all.holders("anna@acme.test", now + Duration::from_secs(1)), vec![jid.clone()]);
        assert!(!all.covers(&jid, "anna@acme.test", now + Duration::from_secs(2)));
        all.end(&jid);
        assert_eq!(all.until(&jid, now), None);
    }
}
