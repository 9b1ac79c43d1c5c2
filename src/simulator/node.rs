//! Node names: collections of a JID, leaves of a SIP address, and what stands above them (protocol sheet section 5).

use crate::domain::BareJid;

/// What a node name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// `/`.
    Root,
    /// `/<sip-domain>`.
    Domain(String),
    /// `/me/<bare-jid>`, and with a domain `/me/<bare-jid>/<sip-domain>`.
    Collection(BareJid, Option<String>),
    /// `/<sip-domain>/<sip-user>`: the events of one SIP address.
    Leaf(String),
    /// Anything else.
    Unknown,
}

impl Node {
    pub(super) fn parse(name: &str) -> Self {
        let Some(path) = name.strip_prefix('/') else { return Self::Unknown };
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            [""] => Self::Root,
            ["me", jid] => Self::collection(jid, None),
            ["me", jid, domain] => Self::collection(jid, Some((*domain).to_owned())),
            [domain] => Self::Domain((*domain).to_owned()),
            [domain, user] if !domain.is_empty() && !user.is_empty() => Self::Leaf(format!("{user}@{domain}")),
            _ => Self::Unknown,
        }
    }

    fn collection(jid: &str, domain: Option<String>) -> Self {
        BareJid::new(jid).map_or(Self::Unknown, |jid| Self::Collection(jid, domain))
    }

    /// Whether it is a collection, for which `subscription_depth` matters.
    pub(super) fn is_collection(&self) -> bool {
        matches!(self, Self::Collection(..))
    }
}

/// The leaf of a SIP address `user@domain`.
pub(super) fn leaf_of(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((user, domain)) => format!("/{domain}/{user}"),
        None => format!("/{address}"),
    }
}

/// The collections of `jid` that contain the leaf of `address`.
pub(super) fn collections_over(jid: &BareJid, address: &str) -> [String; 2] {
    let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
    [format!("/me/{jid}"), format!("/me/{jid}/{domain}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_by_their_shape() {
        let anna = BareJid::new("anna@acme.test").unwrap();
        assert_eq!(Node::parse("/"), Node::Root);
        assert_eq!(Node::parse("/acme.test"), Node::Domain("acme.test".into()));
        assert_eq!(Node::parse("/me/anna@acme.test"), Node::Collection(anna.clone(), None));
        assert_eq!(Node::parse("/me/anna@acme.test/acme.test"), Node::Collection(anna, Some("acme.test".into())));
        assert_eq!(Node::parse("/acme.test/anna"), Node::Leaf("anna@acme.test".into()));
        assert_eq!(Node::parse("acme.test"), Node::Unknown);
    }
}
