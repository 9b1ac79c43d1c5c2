//! `type = "amqp"`: one persistent message per event in an exchange of an AMQP 0-9-1 broker, acknowledged once the
//! broker has confirmed it.
//!
//! The message is mandatory: one that no queue would get comes back and is tried again. Must not know what an event says.

use async_trait::async_trait;

use self::address::Address;
use self::connection::{Connection, Fault};
use self::message::Message;
use super::chains;
use super::encryption::{CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY, Encryption};
use super::mode::Mode;
use super::template::{TEMPLATE, Template};
use super::{Batch, Failure, Parcel, Sink, credentials};
use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

mod address;
mod connection;
mod line;
mod message;

/// The options of an `amqp` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the broker is.
    pub address: Address,
    /// Who we are; absent: `guest`, or whoever the client certificate says.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The exchange.
    pub exchange: String,
    /// The routing key of each message.
    pub routing_key: Template,
    /// How an event becomes a message.
    pub mode: Mode,
    /// Whom to trust and what to show.
    pub encryption: Encryption,
}

/// An address.
const URL: Text = Text { check: |text| text.parse::<Address>().map(drop), pattern: Some("^amqps?://[^@]+$") };
/// The name of an exchange.
const EXCHANGE: Text = Text { check: message::check_exchange, pattern: Some("^.{1,255}$") };

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Publishes each event to an exchange of RabbitMQ or another AMQP 0-9-1 broker.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "url",
            kind: Kind::Text(URL),
            absent: Absent::Refused,
            help: "amqp://HOST:PORT/VHOST, or amqps://HOST:PORT/VHOST for TLS; port 5672 or 5671 and the virtual host / can be left out; %2f is a slash in a name.",
        },
        Key {
            name: "username",
            kind: Kind::Text(Text::ANY),
            absent: Absent::Fine,
            help: "User name; by default the client certificate speaks, or `guest`.",
        },
        Key { name: "password", kind: Kind::Secret, absent: Absent::Fine, help: "Its password." },
        Key {
            name: "exchange",
            kind: Kind::Text(EXCHANGE),
            absent: Absent::Default("amq.topic"),
            help: "Name of the exchange; it must be there.",
        },
        Key {
            name: "routing_key",
            kind: Kind::Text(TEMPLATE),
            absent: Absent::Default("onsip.{data.account}.{type}"),
            help: "Routing key of the messages; {type}, {data.account} and other fields of the event are filled in, with _ for all that has a meaning in routing keys. A queue must be bound to get it.",
        },
        Key {
            name: "mode",
            kind: Kind::OneOf(Mode::WORDS),
            absent: Absent::Default("structured"),
            help: "`structured`: the whole event as JSON; `binary`: its data, and its attributes as cloudEvents: headers.",
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
            problems.add(path.join("url"), "must begin with amqps:// where a certificate is configured");
        }
        Some(Self {
            address: address?,
            username,
            password,
            exchange: section.get("exchange")?,
            routing_key: section.get("routing_key")?,
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
    pub fn open(&self) -> Amqp {
        Amqp { options: self.clone(), connection: None, careful: false }
    }
}

/// A publisher.
#[derive(Debug)]
pub struct Amqp {
    options: Options,
    connection: Option<Connection>,
    /// Whether the broker has refused a message as too large: it ends the channel, and with it all that is under way,
    /// so that only one at a time shows which.
    careful: bool,
}

#[async_trait]
impl Sink for Amqp {
    async fn hand_over(&mut self, batch: &Batch) {
        if batch.parcels().is_empty() {
            return;
        }
        if std::mem::take(&mut self.careful) { self.one_by_one(batch).await } else { self.at_once(batch).await }
    }
}

impl Amqp {
    /// The connection of the last delivery if it still stands, or a new one.
    async fn connection(&mut self) -> Result<Connection, String> {
        // Taken, and given back only when nothing went wrong: what is in doubt is on a connection that is gone.
        match self.connection.take().filter(Connection::is_up) {
            Some(connection) => Ok(connection.at_work()),
            None => Connection::open(&self.options).await,
        }
    }

    async fn at_once(&mut self, batch: &Batch) {
        let connection = match self.connection().await {
            Ok(connection) => connection,
            Err(reason) => return batch.fail(retry(reason)),
        };
        chains::deliver(batch, |parcel| async {
            let message = Message::of(parcel, &self.options)?;
            // Those that met a channel already closed do not know why it was.
            let why = |fault: Fault| connection.fault().unwrap_or(fault).into_reason();
            connection.publish(&message).await.map_err(|fault| {
                let lost = matches!(&fault, Fault::Broken(reason) if reason == connection::LOST);
                retry(if lost { why(fault) } else { fault.into_reason() })
            })
        })
        .await;
        match connection.fault() {
            None => self.connection = Some(connection.at_rest()),
            Some(fault) => self.careful = matches!(fault, Fault::TooLarge(_)),
        }
    }

    async fn one_by_one(&mut self, batch: &Batch) {
        for (place, parcel) in batch.one_by_one() {
            batch.answer(place, self.one(parcel).await);
        }
    }

    async fn one(&mut self, parcel: &Parcel) -> Result<(), Failure> {
        let message = Message::of(parcel, &self.options)?;
        let connection = self.connection().await.map_err(retry)?;
        let answer = connection.publish(&message).await;
        if connection.fault().is_none() {
            self.connection = Some(connection.at_rest());
        }
        answer.map_err(|fault| match fault {
            Fault::TooLarge(reason) => Failure::Reject { reason },
            Fault::Refused(reason) | Fault::Broken(reason) => retry(reason),
        })
    }
}

fn retry(reason: String) -> Failure {
    Failure::Retry { reason, after: None }
}
