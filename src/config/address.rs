//! What names and addresses in a configuration look like.

use xmpp_parsers::jid::{Jid, ResourcePart};

use crate::domain::name::AccountName;
use crate::settings::Text;

/// The name of an account or a sink.
pub const NAME: Text = Text { check: name, pattern: Some("^[a-z0-9-]{1,63}$") };

/// The short name of a service, one label of its JID.
pub const SERVICE: Text = Text { check: name, pattern: Some("^[a-z0-9-]{1,63}$") };

/// The JID of an account.
pub const JID: Text = Text { check: jid, pattern: Some("^[^@/]+@[^@/]+$") };

/// An XMPP resource.
pub const RESOURCE: Text = Text { check: resource, pattern: Some("^.") };

/// The domain the services are below.
pub const SERVICES_DOMAIN: Text = Text { check: services_domain, pattern: Some("^[^@/]+$") };

/// A SIP address of record.
pub const SIP_ADDRESS: Text = Text { check: sip_address, pattern: Some("^[^@:]+@[^@:]+$") };

/// A node of a service.
pub const NODE: Text = Text { check: node, pattern: Some("^.") };

/// Refuses what XML 1.0 cannot carry (its production `Char`): a server closes the connection on it.
///
/// # Errors
/// What is wrong. The message repeats nothing of the text, which may be a secret.
pub fn carried_by_xml(text: &str) -> Result<(), String> {
    let carried = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
    match text.chars().all(carried) {
        true => Ok(()),
        false => Err("holds a character that XML cannot carry, such as a control character".to_owned()),
    }
}

fn node(text: &str) -> Result<(), String> {
    (Text::ANY.check)(text)?;
    carried_by_xml(text)
}

fn name(text: &str) -> Result<(), String> {
    text.parse::<AccountName>().map(drop).map_err(|fault| fault.to_string())
}

fn jid(text: &str) -> Result<(), String> {
    carried_by_xml(text)?;
    let jid = Jid::new(text).map_err(|fault| format!("is no JID: {fault}"))?;
    if jid.resource().is_some() {
        return Err("must be without a resource; that is the key `resource`".to_owned());
    }
    if jid.node().is_none() {
        return Err("needs a local part, such as front@acme.onsip.com".to_owned());
    }
    Ok(())
}

fn resource(text: &str) -> Result<(), String> {
    carried_by_xml(text)?;
    ResourcePart::new(text).map(drop).map_err(|fault| format!("is no XMPP resource: {fault}"))
}

fn services_domain(text: &str) -> Result<(), String> {
    carried_by_xml(text)?;
    let auth = Jid::new(&auth(text)).map_err(|fault| format!("is no domain: {fault}"))?;
    // An @ or a slash would make it something else than a domain below another.
    if text.is_empty() || auth.node().is_some() || auth.resource().is_some() {
        return Err("must be a domain".to_owned());
    }
    Ok(())
}

/// The JID of the authorization component.
pub fn auth(services_domain: &str) -> String {
    format!("commands.auth.{services_domain}")
}

fn sip_address(text: &str) -> Result<(), String> {
    if ["sip:", "sips:"].iter().any(|scheme| text.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme))) {
        return Err("must be without `sip:`".to_owned());
    }
    carried_by_xml(text)?;
    let blank = |c: char| c.is_whitespace() || c.is_control() || c == '@';
    let plain = |part: &str| !part.is_empty() && !part.contains(blank);
    match text.split_once('@') {
        Some((user, domain)) if plain(user) && plain(domain) && !domain.contains([':', ';', '/']) => Ok(()),
        _ => Err("must be user@domain".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jid_is_bare_and_has_a_local_part() {
        assert!(jid("front@acme.onsip.com").is_ok());
        for bad in [
            "",
            "acme.onsip.com",
            "front@acme.onsip.com/desk",
            "@acme.onsip.com",
            "a@b c",
            "a b@acme.onsip.com",
            "front@",
        ] {
            assert!(jid(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_sip_address_is_user_at_domain_without_a_scheme() {
        assert!(sip_address("front@acme.onsip.com").is_ok());
        assert!(sip_address("+1 5").is_err());
        for bad in ["", "front", "sip:front@acme.onsip.com", "SIPS:a@b", "@b", "a@", "a@b@c", "a b@c", "a@b:5060"] {
            assert!(sip_address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn c10_what_xml_cannot_carry_is_refused_wherever_it_would_be_sent() {
        for c in ['\0', '\u{1}', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
            let local = format!("a{c}b");
            assert!(carried_by_xml(&local).is_err() && node(&local).is_err(), "{c:?}");
            assert!(resource(&local).is_err() && services_domain(&local).is_err(), "{c:?}");
            let address = format!("{local}@acme.test");
            assert!(jid(&address).is_err() && sip_address(&address).is_err(), "{c:?}");
        }
        for c in ['\t', '\u{7f}', '\u{85}', '\u{fffd}', '\u{1f600}'] {
            assert!(node(&format!("a{c}b")).is_ok(), "{c:?}");
        }
    }

    #[test]
    fn a_resource_is_not_empty_and_keeps_its_case() {
        assert!(resource("onsip-router").is_ok());
        assert!(resource("Ein Rechner/2").is_ok());
        for bad in ["", "a\u{7}b"] {
            assert!(resource(bad).is_err(), "{bad:?}");
        }
    }
}
