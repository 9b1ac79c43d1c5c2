//! What the addresses of all peers have in common, as their users write them. Must not know any protocol.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::domain::host;

/// Refuses an address with a user or a password in it: addresses are shown.
pub(super) fn without_credentials(text: &str) -> Result<(), String> {
    if text.contains('@') {
        return Err("must not hold credentials; they belong into the keys `username` and `password`".to_owned());
    }
    Ok(())
}

/// Writes the host of the URL `text` in A-labels: the libraries that read URLs of other schemes than HTTP leave it as it is.
pub(super) fn with_ascii_host(text: &str) -> Cow<'_, str> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let length = text[start..].find([':', '/', '?', '#', '[']).unwrap_or(text.len() - start);
    let name = &text[start..start + length];
    match host::ascii(name) {
        Some(ascii) if !name.is_ascii() => Cow::Owned(format!("{}{ascii}{}", &text[..start], &text[start + length..])),
        Some(_) | None => Cow::Borrowed(text),
    }
}

/// The two parts of `HOST` or `HOST:PORT`. An IPv6 address stands in brackets there, and comes without them.
pub(super) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return matches!(address.parse(), Ok(IpAddr::V6(_))).then_some((address, port));
    }
    let named = !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    named.then_some((host, port))
}

/// Whether what is sent to this host does not leave this machine.
pub(super) fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_can_be_left_out_and_brackets_are_not_part_of_an_address() {
        assert_eq!(host_and_port("a.example"), Some(("a.example", None)));
        assert_eq!(host_and_port("10.0.0.1:1"), Some(("10.0.0.1", Some(1))));
        assert_eq!(host_and_port("[::1]"), Some(("::1", None)));
        assert_eq!(host_and_port("[fe80::1]:2"), Some(("fe80::1", Some(2))));
        for bad in ["", ":1", "a:", "a:x", "a:70000", "::1", "[a]:1", "[127.0.0.1]", "[::1", "a/b", "a?x", "a b", "a#"]
        {
            assert_eq!(host_and_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn b8_hosts_in_urls_are_written_in_a_labels() {
        for (text, ascii) in [
            ("redis://münchen.example:6379/0", "redis://xn--mnchen-3ya.example:6379/0"),
            ("münchen.example", "xn--mnchen-3ya.example"),
            ("amqps://MÜNCHEN.example/x", "amqps://xn--mnchen-3ya.example/x"),
            ("redis://a.example/ü", "redis://a.example/ü"),
            ("redis://[::1]:1", "redis://[::1]:1"),
            ("", ""),
        ] {
            assert_eq!(with_ascii_host(text), ascii);
        }
    }

    #[test]
    fn this_machine_is_known_by_its_address() {
        for host in ["127.0.0.1", "127.1.2.3", "::1", "localhost"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["db.example", "10.0.0.1", "127.0.0.1.example"] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn credentials_are_refused_without_repeating_them() {
        let message = without_credentials("mqtt://u:hunter2@a").unwrap_err();
        assert!(message.contains("`password`") && !message.contains("hunter2"), "{message}");
        assert_eq!(without_credentials("mqtt://a"), Ok(()));
    }
}
