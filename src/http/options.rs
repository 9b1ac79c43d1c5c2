//! Where the daemon listens: the `[http]` section.

use std::net::SocketAddr;

use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

/// The `[http]` section, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Bearer token; always present where `listen` is not loopback.
    pub token: Option<Secret>,
    /// Names by which it may be asked where there is no token; lower case, without a dot at the end.
    pub allowed_hosts: Vec<String>,
    /// Whether phone numbers are masked in the events it shows.
    pub mask_numbers: bool,
}

impl Options {
    /// The keys of the section.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "listen",
            kind: Kind::Text(Text { check: address, pattern: Some("^.+:[0-9]{1,5}$") }),
            absent: Absent::Default("127.0.0.1:9464"),
            help: "IP address and port to listen on.",
        },
        Key {
            name: "token",
            kind: Kind::Secret,
            absent: Absent::Fine,
            help: "Bearer token of the API and the status page; needed where `listen` is not loopback.",
        },
        Key {
            name: "allowed_hosts",
            kind: Kind::List(Text { check: host, pattern: Some("^[A-Za-z0-9._-]+$") }),
            absent: Absent::Fine,
            help: "Names, without a port, under which it may be asked besides addresses and localhost; asked under another it answers 421. Only where there is no token.",
        },
        Key {
            name: "mask_numbers",
            kind: Kind::Flag,
            absent: Absent::Default("false"),
            help: "Whether the live feed and the status page show only the last two digits of phone numbers; sinks get them whole.",
        },
    ];

    /// Reads the section at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let listen: Option<SocketAddr> = section.get("listen");
        let token = section.secret("token", path, problems);
        if listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback()) && !section.has("token") {
            problems.add(path.join("token"), "is missing; it is needed where `listen` is not a loopback address");
        }
        let allowed_hosts = section.list("allowed_hosts").unwrap_or_default();
        let allowed_hosts = allowed_hosts.iter().map(|name| plain(name)).collect();
        Some(Self { listen: listen?, token, allowed_hosts, mask_numbers: section.get("mask_numbers")? })
    }
}

fn address(text: &str) -> Result<(), String> {
    text.parse::<SocketAddr>()
        .map(drop)
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:9464".to_owned())
}

/// A host name as it is compared: names know no case, and a dot at the end changes nothing.
pub fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn host(text: &str) -> Result<(), String> {
    if text.contains(':') {
        return Err("must be without a port: any port is fine".to_owned());
    }
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if plain(text).is_empty() || !text.chars().all(known) {
        return Err("must be a host name, such as router.example.com; one with other letters as xn--...".to_owned());
    }
    Ok(())
}
