//! `type = "redis"`: one entry per event in a Redis stream.
//!
//! A batch is one transaction: all of it is in the streams or none, so no event is ever there without what belongs
//! before it, also where the server runs out of memory or changes its role in between. Must not know what an event
//! says.

use std::collections::HashMap;

use async_trait::async_trait;

use self::address::Address;
use self::connection::{Connection, Entry, Refusal};
use super::encryption::{CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY, Encryption};
use super::envelope::Envelope;
use super::template::{TEMPLATE, Template, word};
use super::{Batch, Failure, Parcel, Sink};
use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind, Text};

mod address;
mod connection;

/// The options of a `redis` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the server is.
    pub address: Address,
    /// The key of the stream.
    pub stream: Template,
    /// About how many entries a stream may have; 0: any number.
    pub max_len: u64,
    /// The user of the access control list; absent: `default`.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// Whom to trust and what to show.
    pub encryption: Encryption,
}

/// An address.
const URL: Text = Text { check: |text| text.parse::<Address>().map(drop), pattern: Some("^rediss?://[^@]+$") };

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Adds each event to a Redis stream.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "url",
            kind: Kind::Text(URL),
            absent: Absent::Refused,
            help: "redis://HOST:PORT/DATABASE, or rediss://HOST:PORT/DATABASE for TLS; port 6379 and database 0 can be left out.",
        },
        Key {
            name: "stream",
            kind: Kind::Text(TEMPLATE),
            absent: Absent::Default("onsip:events"),
            help: "Key of the stream; {type}, {data.account} and other fields of the event are filled in.",
        },
        Key {
            name: "max_len",
            kind: Kind::Whole { min: 0, max: 1 << 53 },
            absent: Absent::Default("1000000"),
            help: "About how many entries a stream may have; the oldest are trimmed away beyond that, whether read or not. 0: any number.",
        },
        Key {
            name: "username",
            kind: Kind::Text(Text::ANY),
            absent: Absent::Fine,
            help: "User of the access control list; it needs XADD, XTRIM (unless `max_len` is 0), MULTI and EXEC. By default `default`.",
        },
        Key { name: "password", kind: Kind::Secret, absent: Absent::Fine, help: "Its password." },
        CA_FILE,
        CLIENT_CERTIFICATE,
        CLIENT_KEY,
    ];

    /// Reads the settings of the sink at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let encryption = Encryption::read(section, path, problems);
        let password = section.secret("password", path, problems);
        if section.has("username") && !section.has("password") {
            problems.add(path.join("password"), "is missing; `username` needs it");
        }
        let address: Option<Address> = section.get("url");
        if address.as_ref().is_some_and(|address| !address.tls) && encryption.is_configured() {
            problems.add(path.join("url"), "must begin with rediss:// where a certificate is configured");
        }
        Some(Self {
            address: address?,
            stream: section.get("stream")?,
            max_len: section.whole("max_len")?,
            username: section.get("username"),
            password,
            encryption,
        })
    }

    /// Returns the secrets that go to the peer and must not be shown.
    pub(super) fn confidential(&self) -> Vec<String> {
        self.password.iter().map(|password| password.expose().to_owned()).collect()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Redis {
        Redis { options: self.clone(), connection: None }
    }

    fn entry<'a>(&self, parcel: &'a Parcel) -> Result<Entry<'a>, Failure> {
        let kind = Envelope::of(parcel)?.kind().to_owned();
        Ok(Entry { stream: self.stream.render(parcel, word)?, kind, parcel })
    }
}

/// A writer of streams.
#[derive(Debug)]
pub struct Redis {
    options: Options,
    connection: Option<Connection>,
}

impl Redis {
    /// Adds `entries` and answers for each, or says what kept all of them out.
    async fn add(&mut self, entries: &[Entry<'_>]) -> Result<Vec<Result<(), Refusal>>, String> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        // Taken, and given back only when nothing went wrong: what is in doubt is on a connection that is gone.
        let mut connection = match self.connection.take().filter(Connection::is_up) {
            Some(connection) => connection,
            None => Connection::open(&self.options).await?,
        };
        let answers = connection.add(entries, self.options.max_len).await?;
        self.connection = Some(connection);
        Ok(answers)
    }
}

#[async_trait]
impl Sink for Redis {
    async fn hand_over(&mut self, batch: &Batch) {
        let (mut entries, mut places) = (Vec::with_capacity(batch.parcels().len()), Vec::new());
        for (place, parcel) in batch.one_by_one() {
            match self.options.entry(parcel) {
                Ok(entry) => {
                    entries.push(entry);
                    places.push(place);
                }
                Err(failure) => batch.answer(place, Err(failure)),
            }
        }
        let retry = |reason| Failure::Retry { reason, after: None };
        let added = match self.add(&entries).await {
            Ok(answers) => answers,
            Err(reason) => return batch.fail(retry(reason)),
        };
        let mut held_up: HashMap<&str, String> = HashMap::new();
        for ((place, entry), answer) in places.into_iter().zip(&entries).zip(added) {
            // Templates may spread a partition over several streams, of which only some take their entries.
            let partition = &*entry.parcel.partition;
            let answer = held_up.get(partition).map_or(answer, |reason| Err(reason.clone()));
            if let Err(reason) = &answer {
                held_up.entry(partition).or_insert_with(|| reason.clone());
            }
            batch.answer(place, answer.map_err(retry));
        }
    }
}
