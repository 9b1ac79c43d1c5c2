//! Where an MQTT broker is, as its users write it. Must not know how to get there.

use std::fmt;
use std::str::FromStr;

/// `mqtt://HOST:PORT`, or `mqtts://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be mqtt://HOST:PORT or mqtts://HOST:PORT";
        if text.contains('@') {
            return Err("must not hold credentials; they belong into the keys `username` and `password`".to_owned());
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(EXPECTED.to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an address in brackets are its own.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => host,
            None if host.contains(':') => return Err(EXPECTED.to_owned()),
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '[' | ']')) {
            return Err(EXPECTED.to_owned());
        }
        let port = match port {
            Some(port) => port.parse().map_err(|_| EXPECTED.to_owned())?,
            None if tls => 8883,
            None => 1883,
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_can_be_left_out() {
        let address = |tls, host: &str, port| Address { tls, host: host.to_owned(), port };
        assert_eq!("mqtt://a".parse(), Ok(address(false, "a", 1883)));
        assert_eq!("mqtts://a.example/".parse(), Ok(address(true, "a.example", 8883)));
        assert_eq!("mqtt://[::1]:1".parse(), Ok(address(false, "::1", 1)));
        assert_eq!("mqtts://[::1]".parse(), Ok(address(true, "::1", 8883)));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in ["", "a", "tcp://a", "mqtt://", "mqtt://:1", "mqtt://a:x", "mqtt://a/b", "mqtt://::1", "mqtt://a?x"]
        {
            assert!(bad.parse::<Address>().unwrap_err().starts_with("must be mqtt://"), "{bad}");
        }
        for bad in ["mqtt://:hunter2@a", "mqtts://u:hunter2@a"] {
            let message = bad.parse::<Address>().unwrap_err();
            assert!(message.contains("`password`") && !message.contains("hunter2"), "{message}");
        }
    }
}
