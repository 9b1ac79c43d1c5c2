//! `type = "postgres"`: one row per event in a table, the user's or one it makes.
//!
//! A batch is one statement, so it is in the table as a whole or not at all, and a repeated id is no second row. Must
//! not know what an event says.

use async_trait::async_trait;

use self::address::Address;
use self::connection::{Connection, Fault};
use self::table::Table;
use super::encryption::{CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY, Encryption};
use super::{Batch, Failure, Sink};
use crate::domain::host;
use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

mod address;
mod bridge;
mod connection;
mod frames;
mod table;

/// Calls of one delivery that are held up by a fault of the table before the rest of the delivery waits too.
const EVIDENCE: usize = 4;

/// The options of a `postgres` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the server is.
    pub address: Address,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Its password; absent where the server asks for none.
    pub password: Option<Secret>,
    /// The table.
    pub table: Table,
    /// Whether to make the table if it is not there.
    pub create: bool,
    /// Whether the connection is encrypted and the server's certificate checked.
    pub tls: bool,
    /// Whom to trust and what to show.
    pub encryption: Encryption,
}

/// A host.
const HOST: Text = Text { check: address::check_host, pattern: Some("^[^@\\s]+$") };
/// The name of a table.
const TABLE: Text = Text { check: |text| text.parse::<Table>().map(drop), pattern: Some("^[^.]+([.][^.]+)?$") };

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Inserts each event into a PostgreSQL table.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "host",
            kind: Kind::Text(HOST),
            absent: Absent::Refused,
            help: "Name or IP address of the server, or the folder of its socket.",
        },
        Key {
            name: "port",
            kind: Kind::Whole { min: 1, max: 65_535 },
            absent: Absent::Default("5432"),
            help: "Its port.",
        },
        Key { name: "database", kind: Kind::Text(Text::ANY), absent: Absent::Refused, help: "Name of the database." },
        Key {
            name: "user",
            kind: Kind::Text(Text::ANY),
            absent: Absent::Refused,
            help: "The role to log in as; it needs the rights to INSERT and SELECT.",
        },
        Key { name: "password", kind: Kind::Secret, absent: Absent::Fine, help: "Its password." },
        Key {
            name: "table",
            kind: Kind::Text(TABLE),
            absent: Absent::Default("onsip_events"),
            help: "Name of the table, as it is written in the database, or SCHEMA.TABLE. It needs a column `id` that is unique; of id, source, type, time, subject, partitionkey, sequence, account, data and event those are filled that it has.",
        },
        Key {
            name: "create",
            kind: Kind::Flag,
            absent: Absent::Default("false"),
            help: "Make the table if it is not there.",
        },
        Key {
            name: "tls",
            kind: Kind::OneOf(&["require", "off"]),
            absent: Absent::Fine,
            help: "`require`: encrypted, with a certificate that is valid for `host`; `off`: in the clear. By default `off` where `host` is this machine and no certificate is configured, else `require`.",
        },
        CA_FILE,
        CLIENT_CERTIFICATE,
        CLIENT_KEY,
    ];

    /// Reads the settings of the sink at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let encryption = Encryption::read(section, path, problems);
        let password = section.secret("password", path, problems);
        let host: String = section.get("host")?;
        let address = Address { host: host::ascii(&host).unwrap_or(host), port: section.whole("port")? };
        let tls = match section.get::<String>("tls").as_deref() {
            Some("off") => false,
            Some(_) => true,
            None => encryption.is_configured() || !address.is_local(),
        };
        if !tls && encryption.is_configured() {
            problems.add(path.join("tls"), "must not be `off` where a certificate is configured");
        }
        if tls && address.is_socket() {
            problems.add(path.join("tls"), "must be `off` for a socket");
        }
        Some(Self {
            address,
            database: section.get("database")?,
            user: section.get("user")?,
            password,
            table: section.get("table")?,
            create: section.get("create")?,
            tls,
            encryption,
        })
    }

    /// Sees whether the table takes events, and changes nothing.
    ///
    /// # Errors
    /// Why it does not, free of secrets.
    pub async fn check(&self) -> Result<(), String> {
        connection::check(self).await
    }

    /// Returns the secrets that go to the peer and must not be shown.
    pub(super) fn confidential(&self) -> Vec<String> {
        self.password.iter().map(|password| password.expose().to_owned()).collect()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Postgres {
        Postgres { options: self.clone(), connection: None }
    }
}

/// A writer of one table.
#[derive(Debug)]
pub struct Postgres {
    options: Options,
    connection: Option<Connection>,
}

impl Postgres {
    /// The connection of the last delivery if it still stands, or a new one.
    async fn connection(&mut self) -> Result<Connection, String> {
        if let Some(mut connection) = self.connection.take()
            && connection.is_up().await
        {
            return Ok(connection);
        }
        Connection::open(&self.options).await
    }
}

#[async_trait]
impl Sink for Postgres {
    async fn hand_over(&mut self, batch: &Batch) {
        if batch.parcels().is_empty() {
            return;
        }
        let retry = |reason: String| Failure::Retry { reason, after: None };
        // Taken, and given back only when nothing went wrong: what is in doubt is on a connection that is gone.
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(reason) => return batch.fail(retry(reason)),
        };
        let mut unclear = 0;
        // What the server refuses because of a row is cut in two until that row stands alone; in order, the first on top.
        let mut pieces: Vec<Vec<usize>> = vec![(0..batch.parcels().len()).collect()];
        while let Some(piece) = pieces.pop() {
            let mut piece = batch.begin_together(piece);
            let rows: Vec<_> = piece.iter().map(|place| &batch.parcels()[*place]).collect();
            if rows.is_empty() {
                continue;
            }
            match (connection.insert(&rows).await, &piece[..]) {
                (Ok(()), _) => batch.answer_together(piece, &Ok(())),
                (Err(Fault::Row(reason)), [place]) => batch.answer(*place, Err(Failure::Reject { reason })),
                (Err(Fault::Unclear(reason)), [place]) if unclear < EVIDENCE => {
                    unclear += 1;
                    batch.answer(*place, Err(retry(reason)));
                }
                (Err(Fault::Row(_) | Fault::Unclear(_)), [_, _, ..]) => {
                    let second = piece.split_off(piece.len() / 2);
                    pieces.extend([second, piece]);
                }
                (Err(Fault::Server(reason) | Fault::Unclear(reason) | Fault::Row(reason)), _) => {
                    return batch.fail(retry(reason));
                }
            }
        }
        self.connection = Some(connection);
    }
}
