//! `type = "nats"`: one message per event in a `JetStream` stream, acknowledged once the stream has stored it.
//!
//! The message carries the event's id as `Nats-Msg-Id`, so the stream drops repeats within its window. Must not know
//! what an event says.

use async_nats::ServerAddr;
use async_trait::async_trait;

use self::connection::Connection;
use self::login::Login;
use super::address::with_ascii_host;
use super::encryption::{CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY, Encryption};
use super::link::{self, Kept};
use super::mode::Mode;
use super::template::Template;
use super::{Batch, Sink};
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

mod connection;
mod greeting;
mod login;
mod message;

/// The options of a `nats` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The servers of the cluster; any of them will do.
    pub servers: Vec<String>,
    /// The subject of each message.
    pub subject: Template,
    /// How an event becomes a message.
    pub mode: Mode,
    /// The stream that must take the messages; made if absent.
    pub stream: Option<String>,
    /// Who we are.
    pub login: Login,
    /// Whom to trust and what to show.
    pub encryption: Encryption,
}

/// One or more addresses.
const SERVERS: Text = Text { check: |text| servers(text).map(drop), pattern: Some("^[^@]+$") };
/// A subject with fields.
const SUBJECT: Text = Text { check: message::check_subject, pattern: Some("^[^\\s*>]+$") };
/// The name of a stream.
const STREAM: Text = Text { check: stream_name, pattern: Some("^[A-Za-z0-9_-]+$") };

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Publishes each event to a NATS JetStream stream.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "url",
            kind: Kind::Text(SERVERS),
            absent: Absent::Refused,
            help: "nats://HOST:PORT, or tls://HOST:PORT to insist on TLS; several servers of a cluster with commas between.",
        },
        Key {
            name: "subject",
            kind: Kind::Text(SUBJECT),
            absent: Absent::Default("onsip.{data.account}.{type}"),
            help: "Subject of the messages; {type}, {data.account} and other fields of the event are filled in, with _ for all that has a meaning in subjects.",
        },
        Key {
            name: "mode",
            kind: Kind::OneOf(Mode::WORDS),
            absent: Absent::Default("structured"),
            help: "`structured`: the whole event as JSON; `binary`: its data, and its attributes as ce- headers.",
        },
        Key {
            name: "stream",
            kind: Kind::Text(STREAM),
            absent: Absent::Fine,
            help: "Name of the stream that must take the messages; made, with no limits, if it is not there. By default whichever takes the subject, and none is made.",
        },
        Key { name: "user", kind: Kind::Text(Text::ANY), absent: Absent::Fine, help: "User name." },
        Key { name: "password", kind: Kind::Secret, absent: Absent::Fine, help: "Password of `user`." },
        Key { name: "token", kind: Kind::Secret, absent: Absent::Fine, help: "Token, in place of a user." },
        Key {
            name: "nkey",
            kind: Kind::Secret,
            absent: Absent::Fine,
            help: "Seed of a user's NKey (SU...), in place of a user.",
        },
        Key {
            name: "credentials",
            kind: Kind::Secret,
            absent: Absent::Fine,
            help: "Content of a .creds file, in place of a user: { file = \"PATH\" }.",
        },
        CA_FILE,
        CLIENT_CERTIFICATE,
        CLIENT_KEY,
    ];

    /// Reads the settings of the sink at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let login = Login::read(section, path, problems);
        let encryption = Encryption::read(section, path, problems);
        Some(Self {
            servers: servers(&section.get::<String>("url")?).ok()?,
            subject: section.get("subject")?,
            mode: section.get("mode")?,
            stream: section.get("stream"),
            login: login?,
            encryption,
        })
    }

    /// Returns the secrets that go to the peer and must not be shown.
    pub(super) fn confidential(&self) -> Vec<String> {
        self.login.confidential()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Nats {
        Nats { options: self.clone(), connection: Kept::default() }
    }

    /// The servers, for a sentence.
    fn peer(&self) -> String {
        self.servers.join(", ")
    }
}

/// A publisher to `JetStream`.
#[derive(Debug)]
pub struct Nats {
    options: Options,
    connection: Kept<Connection>,
}

#[async_trait]
impl Sink for Nats {
    async fn hand_over(&mut self, batch: &Batch) {
        link::deliver(&mut self.connection, &self.options, batch).await;
    }
}

/// The addresses of `text`.
fn servers(text: &str) -> Result<Vec<String>, String> {
    const EXPECTED: &str = "must be nats://HOST:PORT or tls://HOST:PORT, or several of them with commas between";
    const CREDENTIALS: &str = "must not hold credentials; they belong into the keys `user` and `password`, `token`, \
                               `nkey` or `credentials`";
    let servers: Vec<_> = text.split(',').map(|server| with_ascii_host(server.trim()).into_owned()).collect();
    for server in &servers {
        if server.contains('@') {
            return Err(CREDENTIALS.to_owned());
        }
        let address: ServerAddr = server.parse().map_err(|_| EXPECTED.to_owned())?;
        if !matches!(address.scheme(), "nats" | "tls") || address.host().is_empty() {
            return Err(EXPECTED.to_owned());
        }
    }
    Ok(servers)
}

fn stream_name(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(());
    }
    Err("must be made of letters, digits, - and _".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_without_credentials() {
        assert_eq!(servers("nats://a:4222, tls://b").unwrap(), ["nats://a:4222", "tls://b"]);
        assert_eq!(servers("a").unwrap(), ["a"]);
        for bad in ["", "http://a", "nats://", "nats://a,", "nats://a:x"] {
            assert!(servers(bad).unwrap_err().starts_with("must be nats://"), "{bad:?}");
        }
        for bad in ["nats://u:hunter2@a", "hunter2@a", "nats://a,nats://:hunter2@b", "nats://a:hunter2@"] {
            let message = servers(bad).unwrap_err();
            assert!(message.contains("`password`") && !message.contains("hunter2"), "{message}");
        }
    }
}
