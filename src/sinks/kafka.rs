//! `type = "kafka"`: one record per event in a Kafka topic, acknowledged once all replicas in sync have it.
//!
//! The key is the call, so that a call stays in one partition, in order. The producer is idempotent: what it sends again
//! by itself is in the topic once. Must not know what an event says.

use async_trait::async_trait;

use self::brokers::Brokers;
use self::connection::Connection;
use super::encryption::{CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY, Encryption};
use super::link::{self, Kept};
use super::mode::Mode;
use super::template::Template;
use super::{Batch, Sink, credentials};
use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

mod authorities;
mod brokers;
mod connection;
mod message;

/// The options of a `kafka` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where to find the cluster.
    pub brokers: Brokers,
    /// The topic of each record.
    pub topic: Template,
    /// How an event becomes a record.
    pub mode: Mode,
    /// How batches of records are compressed.
    pub compression: String,
    /// Who we are; absent: nobody in particular, or whoever the client certificate says.
    pub login: Option<Login>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Whom to trust and what to show.
    pub encryption: Encryption,
}

/// A SASL log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// How the password is shown.
    pub mechanism: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// One or more addresses.
const BROKERS: Text = Text { check: |text| text.parse::<Brokers>().map(drop), pattern: Some("^[^@/\\s]+$") };
/// A topic with fields.
const TOPIC: Text = Text { check: message::check_topic, pattern: Some("^[A-Za-z0-9._{}-]+$") };

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Writes each event to a Kafka topic.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "brokers",
            kind: Kind::Text(BROKERS),
            absent: Absent::Refused,
            help: "HOST:PORT of a broker to begin with, or several with commas between; port 9092 can be left out.",
        },
        Key {
            name: "topic",
            kind: Kind::Text(TOPIC),
            absent: Absent::Default("onsip-events"),
            help: "Topic of the records; {type}, {data.account} and other fields of the event are filled in, with _ for all that no topic can have, and for dots.",
        },
        Key {
            name: "mode",
            kind: Kind::OneOf(Mode::WORDS),
            absent: Absent::Default("structured"),
            help: "`structured`: the whole event as JSON; `binary`: its data, and its attributes as ce_ headers.",
        },
        Key {
            name: "compression",
            kind: Kind::OneOf(&["none", "lz4", "snappy"]),
            absent: Absent::Default("none"),
            help: "How records that leave together are compressed.",
        },
        Key { name: "username", kind: Kind::Text(Text::ANY), absent: Absent::Fine, help: "User name." },
        Key { name: "password", kind: Kind::Secret, absent: Absent::Fine, help: "Its password." },
        Key {
            name: "mechanism",
            kind: Kind::OneOf(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]),
            absent: Absent::Default("PLAIN"),
            help: "How `username` logs in (SASL).",
        },
        Key {
            name: "tls",
            kind: Kind::OneOf(&["require", "off"]),
            absent: Absent::Fine,
            help: "`require`: encrypted, with certificates that are valid for the brokers' names; `off`: in the clear. By default `off` where all of `brokers` are this machine and no certificate is configured, else `require`.",
        },
        CA_FILE,
        CLIENT_CERTIFICATE,
        CLIENT_KEY,
    ];

    /// Reads the settings of the sink at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let encryption = Encryption::read(section, path, problems);
        let login = credentials::read(section, path, problems);
        let brokers: Brokers = section.get("brokers")?;
        let tls = match section.get::<String>("tls").as_deref() {
            Some("off") => false,
            Some(_) => true,
            None => encryption.is_configured() || !brokers.are_local(),
        };
        if !tls && encryption.is_configured() {
            problems.add(path.join("tls"), "must not be `off` where a certificate is configured");
        }
        let mechanism = section.get("mechanism")?;
        Some(Self {
            brokers,
            topic: section.get("topic")?,
            mode: section.get("mode")?,
            compression: section.get("compression")?,
            login: login.map(|(username, password)| Login { mechanism, username, password }),
            tls,
            encryption,
        })
    }

    /// Returns the secrets that go to the peer and must not be shown.
    pub(super) fn confidential(&self) -> Vec<String> {
        self.login.iter().map(|login| login.password.expose().to_owned()).collect()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Kafka {
        Kafka { options: self.clone(), connection: Kept::default() }
    }
}

/// A producer.
#[derive(Debug)]
pub struct Kafka {
    options: Options,
    connection: Kept<Connection>,
}

#[async_trait]
impl Sink for Kafka {
    async fn hand_over(&mut self, batch: &Batch) {
        link::deliver(&mut self.connection, &self.options, batch).await;
    }

    /// Reads certificates anew, as they are renewed in place.
    async fn reopen(&mut self) {
        self.connection = Kept::default();
    }
}
