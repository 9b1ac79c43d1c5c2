//! What is there now: the answer to a request for the items of a node, read as a message of its own (protocol sheet
//! section 6.9).
//!
//! Items that are there are like published ones; what the answer covers and does not show is over. Only a full answer
//! ends anything: one that is cut into pages, or that holds an item without a name, shows what is there and not what is
//! gone. Must not know when to ask.

use std::collections::BTreeMap;

use jiff::Timestamp;
use minidom::Element;
use xmpp_parsers::jid::FullJid;

use super::notification::{Notification, Part};
use super::stanza::ns;
use crate::domain::limits::NAME_BYTES;
use crate::domain::name::{AccountName, ItemId, NodeName};
use crate::domain::service::Service;

/// A request for the items of a node, as it must be remembered until its answer comes.
#[derive(Clone, Debug)]
pub struct Inquiry {
    /// Who asks.
    pub account: AccountName,
    /// Who is asked.
    pub service: Service,
    /// For the items of what: a leaf or a collection.
    pub node: NodeName,
    /// The leaves it stands for, as far as they are known.
    pub leaves: Vec<NodeName>,
    /// When it was sent: what happens from then on may be missing in the answer, or gone since.
    pub asked: Timestamp,
}

/// What the answer says of one leaf.
#[derive(Default)]
struct Block {
    present: Vec<ItemId>,
    /// Something was there that has no name.
    unclear: bool,
}

impl Inquiry {
    /// Reads the answer, which came to `own`.
    #[must_use]
    pub fn read(&self, answer: &Element, own: &FullJid) -> Notification {
        let collection = Some(&self.node).filter(|node| !self.leaves.contains(node)).cloned();
        let mut note = Notification {
            from: Some(self.service.jid().clone().into()),
            to: Some(own.clone().into()),
            collection,
            asked: Some(self.asked),
            ..Notification::default()
        };
        let Some(pubsub) = answer.get_child("pubsub", ns::PUBSUB) else { return note };
        let mut blocks: BTreeMap<NodeName, Block> = BTreeMap::new();
        for items in pubsub.children().filter(|child| child.is("items", ns::PUBSUB)) {
            let leaf = items.attr("node").filter(|node| !node.is_empty());
            if leaf.is_some_and(|node| node.len() > NAME_BYTES) {
                note.oversize += 1;
                continue;
            }
            let leaf = leaf.map_or(self.node.clone(), NodeName::from);
            let block = blocks.entry(leaf.clone()).or_default();
            for item in items.children().filter(|child| child.is("item", ns::PUBSUB)) {
                match item.attr("id").filter(|id| !id.is_empty()) {
                    Some(id) if id.len() <= NAME_BYTES => block.present.push(id.into()),
                    Some(_) | None => block.unclear = true,
                }
                note.read_item(&leaf, item, self.service.kind());
            }
        }
        note.cut();
        // Where something was left out, the answer does not show all there is.
        if note.oversize == 0 && !pubsub.has_child("set", ns::RESULT_SET) {
            note.parts.extend(self.rests(blocks));
        }
        note
    }

    /// What the answer ends. A leaf it leaves out has no items; but only the account that saw a leg there can be sure
    /// that the leaf belongs to the collection.
    fn rests(&self, blocks: BTreeMap<NodeName, Block>) -> Vec<Part> {
        let silent = self.leaves.iter().filter(|leaf| !blocks.contains_key(*leaf)).map(|leaf| Part::Rest {
            node: leaf.clone(),
            present: Vec::new(),
            told_by: Some(self.account.clone()).filter(|_| *leaf != self.node),
        });
        let silent: Vec<Part> = silent.collect();
        let shown = blocks.into_iter().filter(|(_, block)| !block.unclear);
        shown.map(|(node, Block { present, .. })| Part::Rest { node, present, told_by: None }).chain(silent).collect()
    }
}

/// The leaves that `node` stands for, to somebody authorized for these SIP addresses (protocol sheet section 5):
/// `/me/<jid>` for all of them, `/me/<jid>/<domain>` for those of a domain, anything else for itself.
#[must_use]
pub fn leaves(node: &NodeName, addresses: &[String]) -> Vec<NodeName> {
    let Some(path) = node.as_str().strip_prefix("/me/") else { return vec![node.clone()] };
    let domain = path.split_once('/').map(|(_, domain)| domain);
    let addresses = addresses.iter().filter_map(|address| address.rsplit_once('@'));
    let inside = addresses.filter(|(_, host)| domain.is_none_or(|domain| domain == *host));
    inside.map(|(user, host)| format!("/{host}/{user}").into()).collect()
}

#[cfg(test)]
mod tests;
