//! The error table: what each refusal means for the subscription (protocol sheet section 6.7).

use xmpp_parsers::jid::BareJid;

use crate::domain::name::NodeName;
use crate::domain::service::Service;
use crate::protocol::requests::NoAnswer;
use crate::protocol::stanza::Refusal;

/// What to make of a request that brought no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try again before long.
    Passing,
    /// Only time or an operator can change this.
    Denied,
    /// A subscription of ours is pending already.
    AlreadyPending,
    /// The subscription is not what we think: list again.
    Gone,
    /// The service has no subscription options.
    Unsupported,
    /// The node is elsewhere, on the same service.
    Moved(NodeName),
}

/// Judges a refused subscribe or list request.
pub(super) fn of_asking(why: &NoAnswer, service: &Service) -> Verdict {
    let NoAnswer::Refused(refusal) = why else { return Verdict::Passing };
    if let Some(node) = moved(refusal, service) {
        return Verdict::Moved(node);
    }
    if refusal.is("pending-subscription") {
        Verdict::AlreadyPending
    } else if why.may_pass() && !refusal.is("too-many-subscriptions") && !refusal.is("policy-violation") {
        Verdict::Passing
    } else {
        Verdict::Denied
    }
}

/// Judges a refused renewal.
pub(super) fn of_renewing(why: &NoAnswer, service: &Service) -> Verdict {
    const GONE: [&str; 5] = ["invalid-subid", "not-subscribed", "subid-required", "item-not-found", "gone"];
    let NoAnswer::Refused(refusal) = why else { return Verdict::Passing };
    if let Some(node) = moved(refusal, service) {
        Verdict::Moved(node)
    } else if refusal.is("feature-not-implemented") {
        Verdict::Unsupported
    } else if GONE.iter().any(|condition| refusal.is(condition)) {
        Verdict::Gone
    } else if why.may_pass() {
        Verdict::Passing
    } else {
        Verdict::Denied
    }
}

/// The node a `redirect` or `gone` names, if it is on the same service: `xmpp:<service>?;node=<node>`.
pub fn moved(refusal: &Refusal, service: &Service) -> Option<NodeName> {
    let target = refusal.target.as_deref()?.strip_prefix("xmpp:")?;
    let (jid, query) = target.split_once('?')?;
    let node = query.split([';', '&']).find_map(|pair| pair.strip_prefix("node="))?;
    let here = BareJid::new(jid).is_ok_and(|jid| jid == *service.jid());
    percent_decoded(node).filter(|node| here && node.chars().all(is_xml)).map(NodeName::from)
}

/// Whether a document of XML 1.0 can carry `c` at all: a node with any other could never be asked for.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// None where what comes of it is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| tail.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(condition: &str, specific: Option<&str>, wait: bool, target: Option<&str>) -> NoAnswer {
        NoAnswer::Refused(Refusal {
            condition: condition.into(),
            specific: specific.map(Into::into),
            wait,
            target: target.map(Into::into),
        })
    }

    fn service() -> Service {
        Service::new("user-agents", "x.test").unwrap()
    }

    #[test]
    fn c10_a_redirect_to_a_node_that_xml_cannot_carry_is_none() {
        let moved_to = |node: &str| {
            let target = format!("xmpp:{}?;node={node}", service().jid());
            let refusal = Refusal { condition: "redirect".into(), specific: None, wait: false, target: Some(target) };
            moved(&refusal, &service())
        };
        assert_eq!(moved_to("%2Fa%20b"), Some(NodeName::from("/a b")));
        for bad in ["%00", "a%01b", "%1b", "%08", "%EF%BF%BE", "%ff", "%ed%a0%80"] {
            assert_eq!(moved_to(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_row_for_subscribe_has_its_decision() {
        let rows = [
            ("bad-request", Some("invalid-jid"), false, Verdict::Denied),
            ("not-authorized", Some("pending-subscription"), false, Verdict::AlreadyPending),
            ("not-authorized", Some("presence-subscription-required"), false, Verdict::Denied),
            ("not-authorized", Some("not-in-roster-group"), false, Verdict::Denied),
            ("not-allowed", Some("closed-node"), false, Verdict::Denied),
            ("forbidden", None, false, Verdict::Denied),
            ("payment-required", None, false, Verdict::Denied),
            ("policy-violation", Some("too-many-subscriptions"), true, Verdict::Denied),
            ("not-allowed", Some("too-many-subscriptions"), false, Verdict::Denied),
            ("feature-not-implemented", Some("unsupported"), false, Verdict::Denied),
            ("item-not-found", None, false, Verdict::Denied),
            ("not-acceptable", Some("configuration-required"), false, Verdict::Denied),
            ("bad-request", Some("invalid-options"), false, Verdict::Denied),
            ("service-unavailable", None, false, Verdict::Passing),
            ("remote-server-timeout", None, true, Verdict::Passing),
            ("internal-server-error", None, false, Verdict::Passing),
            ("resource-constraint", None, true, Verdict::Passing),
        ];
        for (condition, specific, wait, verdict) in rows {
            assert_eq!(of_asking(&refusal(condition, specific, wait, None), &service()), verdict, "{condition}");
        }
    }

    #[test]
    fn every_row_for_options_has_its_decision() {
        let rows = [
            ("not-acceptable", Some("invalid-subid"), Verdict::Gone),
            ("unexpected-request", Some("not-subscribed"), Verdict::Gone),
            ("not-acceptable", Some("not-subscribed"), Verdict::Gone),
            ("bad-request", Some("subid-required"), Verdict::Gone),
            ("feature-not-implemented", Some("unsupported"), Verdict::Unsupported),
            ("feature-not-implemented", None, Verdict::Unsupported),
            ("not-acceptable", Some("subid-required"), Verdict::Gone),
            ("item-not-found", None, Verdict::Gone),
            ("gone", None, Verdict::Gone),
            ("bad-request", Some("invalid-options"), Verdict::Denied),
            ("bad-request", Some("jid-required"), Verdict::Denied),
            ("forbidden", None, Verdict::Denied),
            ("internal-server-error", None, Verdict::Passing),
            ("service-unavailable", None, Verdict::Passing),
        ];
        for (condition, specific, verdict) in rows {
            assert_eq!(of_renewing(&refusal(condition, specific, false, None), &service()), verdict, "{condition}");
        }
    }

    #[test]
    fn a_redirect_is_followed_on_the_same_service_only() {
        let to = |uri| of_asking(&refusal("redirect", None, false, Some(uri)), &service());
        assert_eq!(to("xmpp:pubsub.user-agents.x.test?;node=/me/a%40b"), Verdict::Moved("/me/a@b".into()));
        assert_eq!(to("xmpp:pubsub.evil.test?;node=/me/a"), Verdict::Denied);
        assert_eq!(to("xmpp:pubsub.user-agents.x.test"), Verdict::Denied);
    }
}
