//! `type = "mqtt"`: one MQTT 5 message per event with quality of service 1, acknowledged once the broker has taken it.
//!
//! Whether anybody is subscribed is the broker's affair: one without subscribers takes a message and drops it. Must not
//! know what an event says.

use async_trait::async_trait;

use self::address::Address;
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

mod address;
mod connection;
mod message;
mod stream;

/// How many messages a delivery may hand over at once.
const BATCH: u16 = 256;

/// The options of an `mqtt` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the broker is.
    pub address: Address,
    /// The name of our session; absent: a new one for each connection.
    pub client_id: Option<String>,
    /// Who we are; absent: nobody in particular, or whoever the client certificate says.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The topic of each message.
    pub topic: Template,
    /// How an event becomes a message.
    pub mode: Mode,
    /// Whom to trust and what to show.
    pub encryption: Encryption,
}

/// An address.
const URL: Text = Text { check: |text| text.parse::<Address>().map(drop), pattern: Some("^mqtts?://[^@]+$") };
/// A topic with fields.
const TOPIC: Text = Text { check: message::check_topic, pattern: Some("^[^#+]+$") };

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Publishes each event to an MQTT 5 broker.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "url",
            kind: Kind::Text(URL),
            absent: Absent::Refused,
            help: "mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS; port 1883 or 8883 can be left out.",
        },
        Key {
            name: "client_id",
            kind: Kind::Text(Text::ANY),
            absent: Absent::Fine,
            help: "Client identifier, where the broker wants a certain one; no other client may have it. By default a random one.",
        },
        Key { name: "username", kind: Kind::Text(Text::ANY), absent: Absent::Fine, help: "User name." },
        Key { name: "password", kind: Kind::Secret, absent: Absent::Fine, help: "Its password." },
        Key {
            name: "topic",
            kind: Kind::Text(TOPIC),
            absent: Absent::Default("onsip/{data.account}/{type}"),
            help: "Topic of the messages; {type}, {data.account} and other fields of the event are filled in, with _ for all that has a meaning in topics.",
        },
        Key {
            name: "mode",
            kind: Kind::OneOf(Mode::WORDS),
            absent: Absent::Default("structured"),
            help: "`structured`: the whole event as JSON; `binary`: its data, and its attributes as user properties.",
        },
        CA_FILE,
        CLIENT_CERTIFICATE,
        CLIENT_KEY,
    ];

    /// Reads the settings of the sink at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let encryption = Encryption::read(section, path, problems);
        let (username, password) = credentials::read(section, path, problems).unzip();
        let address: Option<Address> = section.get("url");
        if address.as_ref().is_some_and(|address| !address.tls) && encryption.is_configured() {
            problems.add(path.join("url"), "must begin with mqtts:// where a certificate is configured");
        }
        Some(Self {
            address: address?,
            client_id: section.get("client_id"),
            username,
            password,
            topic: section.get("topic")?,
            mode: section.get("mode")?,
            encryption,
        })
    }

    /// Returns the secrets that go to the peer and must not be shown.
    pub(super) fn confidential(&self) -> Vec<String> {
        self.password.iter().map(|password| password.expose().to_owned()).collect()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Mqtt {
        Mqtt { options: self.clone(), connection: Kept::default() }
    }
}

/// A publisher.
#[derive(Debug)]
pub struct Mqtt {
    options: Options,
    connection: Kept<Connection>,
}

#[async_trait]
impl Sink for Mqtt {
    async fn hand_over(&mut self, batch: &Batch) {
        link::deliver(&mut self.connection, &self.options, batch).await;
    }

    fn batch(&self) -> usize {
        BATCH.into()
    }
}
