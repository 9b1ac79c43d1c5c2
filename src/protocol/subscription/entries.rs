//! Our own entries in a list of subscriptions.

use minidom::Element;
use xmpp_parsers::jid::FullJid;

use crate::domain::name::Subid;
use crate::protocol::stanza::Listed;
use crate::protocol::surplus::judge;

/// Our own entries: those of exactly our full JID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entries {
    /// The approved one to use.
    pub(super) keep: Option<Listed>,
    /// The ids of all others, beside one to keep.
    pub(super) surplus: Vec<Subid>,
    /// The ids, where given, of those that wait for approval.
    pub(super) pending: Vec<Option<Subid>>,
}

impl Entries {
    /// Reads a list; `known` is the subid from before.
    pub(super) fn read(list: &Element, own: &FullJid, known: Option<&Subid>) -> Self {
        let listed = Listed::read(list);
        let judgement = judge(&listed, own, known);
        let pending = |entry: &&Listed| entry.state == "pending";
        Self {
            keep: judgement.kept.filter(|kept| !pending(kept)).cloned(),
            surplus: judgement.surplus.into_iter().cloned().collect(),
            pending: listed
                .iter()
                .filter(|entry| entry.is_of(own))
                .filter(pending)
                .map(|entry| entry.subid.clone())
                .collect(),
        }
    }
}
