//! Where an MQTT broker is, as its users write it. Must not know how to get there.

use std::fmt;
use std::str::FromStr;

use super::super::address::{host_and_port, without_credentials};

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
        without_credentials(text)?;
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(EXPECTED.to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = host_and_port(rest).ok_or(EXPECTED)?;
        Ok(Self { tls, host: host.to_owned(), port: port.unwrap_or(if tls { 8883 } else { 1883 }) })
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
