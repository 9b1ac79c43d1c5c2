//! Where a Redis server is, as its users write it. Must not know how to get there.

use std::fmt;
use std::str::FromStr;

use super::super::address::{with_ascii_host, without_credentials};

/// `redis://HOST:PORT/DATABASE`, or `rediss://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Number of the database.
    pub database: u32,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be redis://HOST:PORT/DATABASE or rediss://HOST:PORT/DATABASE";
        without_credentials(text)?;
        let url = redis::parse_redis_url(&with_ascii_host(text)).ok_or(EXPECTED)?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(EXPECTED.to_owned()),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(EXPECTED.to_owned());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EXPECTED)?;
        let database = match url.path() {
            "" | "/" => 0,
            path => path[1..].parse().map_err(|_| EXPECTED.to_owned())?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { tls, host, port: url.port().unwrap_or(6379), database })
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
    fn port_and_database_can_be_left_out() {
        let address = |tls, host: &str, port, database| Address { tls, host: host.to_owned(), port, database };
        assert_eq!("redis://a".parse(), Ok(address(false, "a", 6379, 0)));
        assert_eq!("rediss://a.example:6380/3".parse(), Ok(address(true, "a.example", 6380, 3)));
        assert_eq!("redis://[::1]:1/".parse(), Ok(address(false, "::1", 1, 0)));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for bad in ["", "a", "http://a", "unix:///a", "redis://", "redis://a/x", "redis://a/1/2", "redis://a?db=1"] {
            assert!(bad.parse::<Address>().unwrap_err().starts_with("must be redis://"), "{bad}");
        }
        for bad in ["redis://:hunter2@a", "rediss://u:hunter2@a/0"] {
            let message = bad.parse::<Address>().unwrap_err();
            assert!(message.contains("`password`") && !message.contains("hunter2"), "{message}");
        }
    }
}
