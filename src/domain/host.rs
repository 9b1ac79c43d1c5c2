//! Names of hosts, normalised once: A-labels for DNS and certificates, U-labels for XMPP (RFC 5890, RFC 6120 section 4.7.2).
//!
//! Must not know how a name becomes an address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use xmpp_parsers::jid::{BareJid, DomainPart};

/// Returns `text`, a host name or an IP address, as DNS and certificates write it: in A-labels and lower case, without a
/// dot at the end, an IPv6 address without brackets. None if it is neither.
#[must_use]
pub fn ascii(text: &str) -> Option<String> {
    if let Some(address) = address(text) {
        return Some(address.to_string());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let ascii = Uts46::new().to_ascii(name.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Verify);
    ascii.ok().map(std::borrow::Cow::into_owned)
}

/// Returns `domain` as XMPP writes it: in U-labels. One that would become another domain by that stays as it is: the rules
/// of JIDs (RFC 3491) make `ss` of a sharp s.
#[must_use]
pub fn unicode(domain: &str) -> String {
    let (unicode, outcome) = Uts46::new().to_unicode(domain.as_bytes(), AsciiDenyList::URL, Hyphens::Allow);
    let written = outcome.ok().and_then(|()| DomainPart::new(&unicode).ok().map(|part| part.as_str().to_owned()));
    written.filter(|written| ascii(written) == ascii(domain)).unwrap_or_else(|| domain.to_owned())
}

/// Returns `jid` with its domain in U-labels.
#[must_use]
pub fn jid_in_unicode(jid: BareJid) -> BareJid {
    match DomainPart::new(&unicode(jid.domain().as_str())) {
        Ok(domain) => BareJid::from_parts(jid.node(), &domain),
        Err(_) => jid,
    }
}

/// Returns the IP address that `text` is, in brackets or without them; none if it is a name.
#[must_use]
pub fn address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// A host, perhaps with a port, as a server names another one (RFC 6120 section 4.9.3.19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAndPort {
    /// Name or address, as [`ascii`] returns it.
    pub host: String,
    /// The port, if one is named.
    pub port: Option<u16>,
}

impl HostAndPort {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; a bare IPv6 address is taken too. None if it is anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an IPv6 address are its own.
            Some(_) if address(text).is_some() => (text, None),
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, Some(port.parse().ok().filter(|port| *port > 0)?))
            }
            Some(_) => return None,
            None => (text, None),
        };
        Some(Self { host: ascii(host)?, port })
    }
}

impl fmt::Display for HostAndPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match address(&self.host) {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            Some(IpAddr::V4(_)) | None => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b8_a_name_is_the_same_however_it_is_written() {
        for text in ["münchen.example", "xn--mnchen-3ya.example", "MÜNCHEN.example.", "XN--MNCHEN-3YA.example"] {
            assert_eq!(ascii(text).as_deref(), Some("xn--mnchen-3ya.example"), "{text}");
            assert_eq!(unicode(text).trim_end_matches('.'), "münchen.example", "{text}");
        }
        for text in ["xmpp-client.onsip.com", "localhost", "my_host", "r3---sn.example", "127.0.0.1"] {
            assert_eq!(ascii(text).as_deref(), Some(text));
            assert_eq!(unicode(text), text);
        }
        assert_eq!(ascii("[::1]").as_deref(), Some("::1"));
        let jid = |text: &str| jid_in_unicode(BareJid::new(text).unwrap()).to_string();
        assert_eq!(jid("anna@xn--mnchen-3ya.example"), "anna@münchen.example");
        assert_eq!(jid("anna@MÜNCHEN.example"), "anna@münchen.example");
        assert_eq!(jid("anna@xn--strae-oqa.example"), "anna@xn--strae-oqa.example", "and not strasse");
        assert_eq!(jid("anna@[::1]"), "anna@[::1]");
    }

    #[test]
    fn c10_what_dns_cannot_carry_is_no_host() {
        let long = "a".repeat(64);
        for bad in ["", ".", "a b", "a\0b", "a\u{1}", "a/b", "a..b", "-\u{fffe}", "a@b", "<a>", "[a]", "::1]", &long] {
            assert_eq!(ascii(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn another_host_may_carry_a_port() {
        let read = |text: &str| HostAndPort::read(text).map(|read| (read.host, read.port));
        let found = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(read("b.test"), found("b.test", None));
        assert_eq!(read("b.test:5269"), found("b.test", Some(5269)));
        assert_eq!(read("[::1]:5269"), found("::1", Some(5269)));
        assert_eq!(read("[::1]"), found("::1", None));
        assert_eq!(read("::1"), found("::1", None));
        assert_eq!(read("127.0.0.1:80"), found("127.0.0.1", Some(80)));
    }

    #[test]
    fn c10_a_redirect_to_what_is_no_host_is_malformed() {
        let bad =
            ["", ":1", "b.test:", "b.test:0", "b.test:70000", "b.test:x", "b.test:+1", "[::1]:", "a\0b:1", "a:b:c"];
        for bad in bad.into_iter().chain(["http://b.test", "b.test/x", "::1:99999", "b test", "\u{202e}b.test "]) {
            assert_eq!(HostAndPort::read(bad), None, "{bad:?}");
        }
    }
}
