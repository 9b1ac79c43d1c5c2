//! Where an AMQP broker is, as its users write it. Must not know how to get there.

use std::fmt;
use std::str::FromStr;

use lapin::uri::{AMQPScheme, AMQPUri};

use super::super::address::{with_ascii_host, without_credentials};

/// `amqp://HOST:PORT/VHOST`, or `amqps://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The virtual host.
    pub vhost: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be amqp://HOST:PORT/VHOST or amqps://HOST:PORT/VHOST";
        without_credentials(text)?;
        let text = &*with_ascii_host(text);
        if text.contains(['?', '#']) {
            return Err(EXPECTED.to_owned());
        }
        let (_, rest) = text.split_once("://").ok_or(EXPECTED)?;
        // To the letter, a slash at the end is the virtual host without a name; nobody means that.
        let text = if rest.matches('/').count() == 1 { text.trim_end_matches('/') } else { text };
        let uri: AMQPUri = text.parse().map_err(|_| EXPECTED.to_owned())?;
        // The library takes an address in brackets for no host at all, and this machine in its place.
        let host = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, _)) => host.to_owned(),
            None => uri.authority.host,
        };
        if rest.is_empty() || rest.starts_with(['/', ':']) || host.is_empty() {
            return Err(EXPECTED.to_owned());
        }
        Ok(Self { tls: uri.scheme == AMQPScheme::AMQPS, host, port: uri.authority.port, vhost: uri.vhost })
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
    fn port_and_virtual_host_can_be_left_out() {
        let address =
            |tls, host: &str, port, vhost: &str| Address { tls, host: host.to_owned(), port, vhost: vhost.to_owned() };
        assert_eq!("amqp://a".parse(), Ok(address(false, "a", 5672, "/")));
        assert_eq!("amqp://a/".parse(), Ok(address(false, "a", 5672, "/")));
        assert_eq!("amqps://a.example:1/calls%2fall".parse(), Ok(address(true, "a.example", 1, "calls/all")));
        assert_eq!("amqps://[::1]/x".parse(), Ok(address(true, "::1", 5671, "x")));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in ["", "a", "http://a", "amqp://", "amqp:///x", "amqp://:1", "amqp://a:x", "amqp://a?heartbeat=1"] {
            assert!(bad.parse::<Address>().unwrap_err().starts_with("must be amqp://"), "{bad}");
        }
        for bad in ["amqp://:hunter2@a", "amqps://u:hunter2@a/x"] {
            let message = bad.parse::<Address>().unwrap_err();
            assert!(message.contains("`password`") && !message.contains("hunter2"), "{message}");
        }
    }
}
