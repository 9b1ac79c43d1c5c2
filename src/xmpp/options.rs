//! How to reach the server: the `[xmpp]` section.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustls::pki_types::ServerName;

use crate::domain::host;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};
use crate::tls;

/// The `[xmpp]` section, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Host to connect to; absent: SRV look-up of each account's domain.
    pub host: Option<String>,
    /// TCP port of `host`.
    pub port: u16,
    /// How the connection is secured.
    pub tls: Tls,
    /// Certificate authorities trusted besides the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Name the certificate must carry; absent: the account's domain.
    pub tls_name: Option<String>,
    /// Log-ins under way at once at each server.
    pub concurrent_logins: usize,
    /// Time for one answer, and for connecting and logging in as a whole.
    pub request_timeout: Duration,
    /// Silence after which the link is probed.
    pub ping_interval: Duration,
}

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Plain TCP first, then an upgrade (RFC 6120 section 5).
    Starttls,
    /// TLS from the first byte (XEP-0368).
    Direct,
    /// None; loopback addresses only.
    Off,
}

impl FromStr for Tls {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "starttls" => Ok(Self::Starttls),
            "direct" => Ok(Self::Direct),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// A host without a port.
const HOST: Text = Text { check: check_host, pattern: Some("^[^/\\[\\]]+$") };

impl Options {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "host",
            kind: Kind::Text(HOST),
            absent: Absent::Fine,
            help: "Host to connect to; absent: SRV look-up of each account's domain.",
        },
        Key {
            name: "port",
            kind: Kind::Whole { min: 1, max: 65_535 },
            absent: Absent::Default("5222"),
            help: "TCP port of `host`.",
        },
        Key {
            name: "tls",
            kind: Kind::OneOf(&["starttls", "direct", "off"]),
            absent: Absent::Default("starttls"),
            help: "How the connection is secured; `off` needs `host` to be in 127.0.0.0/8 or ::1.",
        },
        Key {
            name: "ca_file",
            kind: Kind::File,
            absent: Absent::Fine,
            help: "PEM file of certificate authorities trusted besides the system's.",
        },
        Key {
            name: "tls_name",
            kind: Kind::Text(HOST),
            absent: Absent::Fine,
            help: "Name the certificate must carry; by default the account's domain.",
        },
        Key {
            name: "concurrent_logins",
            kind: Kind::Whole { min: 1, max: 1_000_000 },
            absent: Absent::Default("50"),
            help: "Log-ins under way at once at each server; one that lasts longer than a second gives way to those that wait.",
        },
        Key {
            name: "request_timeout",
            kind: Kind::Duration { min: Duration::from_millis(1) },
            absent: Absent::Default("20s"),
            help: "Time for one answer, and for connecting and logging in as a whole.",
        },
        Key {
            name: "ping_interval",
            kind: Kind::Duration { min: Duration::from_millis(1) },
            absent: Absent::Default("30s"),
            help: "Silence after which the link is probed.",
        },
    ];

    /// Reads the section at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let ascii = |key| section.get::<String>(key).and_then(|text| host::ascii(&text));
        let host = ascii("host");
        let tls = section.get("tls");
        if tls == Some(Tls::Off) && !host.as_deref().is_some_and(is_loopback) {
            problems.add(path.join("tls"), "`off` needs `host` to be an address in 127.0.0.0/8 or ::1");
        }
        let ca_file: Option<PathBuf> = section.get("ca_file");
        if let Some(Err(message)) = ca_file.as_deref().map(tls::check_authorities) {
            problems.add(path.join("ca_file"), message);
        }
        Some(Self {
            host,
            port: section.whole("port")?,
            tls: tls?,
            ca_file,
            tls_name: ascii("tls_name"),
            concurrent_logins: section.whole("concurrent_logins")?,
            request_timeout: section.duration("request_timeout")?,
            ping_interval: section.duration("ping_interval")?,
        })
    }
}

fn check_host(text: &str) -> Result<(), String> {
    match host::ascii(text).map(ServerName::try_from) {
        Some(Ok(_)) if !text.starts_with('[') => Ok(()),
        _ if text.contains(':') => Err("must be a host name or an IP address; the port is the key `port`".to_owned()),
        _ => Err("must be a host name or an IP address".to_owned()),
    }
}

/// A name, even `localhost`, may lead anywhere: only a literal is sure to stay on this machine.
fn is_loopback(host: &str) -> bool {
    host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_port_and_no_brackets() {
        for good in ["xmpp-client.onsip.com", "localhost", "127.0.0.1", "::1", "10.0.0.7", "münchen.example"] {
            assert!(check_host(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a:5222", "[::1]", "a b", "xmpp://a", "127.0.0.1:5222"] {
            assert!(check_host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_a_literal_of_this_machine_is_loopback() {
        for yes in ["127.0.0.1", "127.255.0.9", "::1", "0:0:0:0:0:0:0:1"] {
            assert!(is_loopback(yes), "{yes}");
        }
        for no in ["localhost", "10.0.0.1", "::", "0.0.0.0", "127.1", "::ffff:127.0.0.1"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
