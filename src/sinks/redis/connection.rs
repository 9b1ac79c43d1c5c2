//! One connection to a Redis server, up to its first fault. Must not know why an entry is added.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::Parcel;
use super::super::excerpt::excerpt;
use super::super::throttle::Throttled;
use super::Options;
use super::address::Address;
use crate::dial::{self, Fault};

/// For a TCP connection, TLS and the log-in.
const CONNECTING: Duration = Duration::from_secs(10);
/// For the answer to a batch.
const ANSWER: Duration = Duration::from_secs(10);

/// Why an entry was not added, for the operator.
pub(super) type Refusal = String;

/// One entry of a stream.
pub(super) struct Entry<'a> {
    /// The key of the stream.
    pub(super) stream: String,
    /// The event's type.
    pub(super) kind: String,
    pub(super) parcel: &'a Parcel,
}

/// What came of a transaction.
enum Outcome {
    /// It was carried out; an answer for each entry.
    Done(Vec<Result<(), Refusal>>),
    /// It was not, because of those entries that have a refusal here.
    Refused(Vec<Option<Refusal>>),
}

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    link: MultiplexedConnection,
    peer: String,
    /// Reads and writes, until the connection ends.
    driver: AbortHandle,
    /// Ends the driver where the connection is given up.
    _drivers: JoinSet<()>,
}

impl Connection {
    /// Connects, logs in and selects the database.
    ///
    /// # Errors
    /// Why not, free of secrets.
    pub(super) async fn open(options: &Options) -> Result<Self, String> {
        let opened = timeout(CONNECTING, connect(options)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no answer within {CONNECTING:?}")));
        opened.map_err(|reason| format!("cannot connect to {}: {reason}", options.address))
    }

    async fn over<S>(stream: S, options: &Options) -> Result<Self, Fault<String>>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // Naming the library to the server would be one more command that an access control list has to allow.
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER));
        let opened = MultiplexedConnection::new_with_config(&nobody, stream, patient).await;
        let (link, driver) = opened.map_err(|fault| unmade(&fault, ""))?;
        let mut drivers = JoinSet::new();
        let driver = drivers.spawn(driver);
        let mut connection = Self { link, peer: options.address.to_string(), driver, _drivers: drivers };
        connection.log_in(options).await?;
        connection.check().await.map_err(Fault::Everywhere)?;
        Ok(connection)
    }

    /// Logs in and selects the database; the library would do so too, but keep what the server says of a log-in to itself.
    async fn log_in(&mut self, options: &Options) -> Result<(), Fault<String>> {
        if let Some(password) = &options.password {
            let mut login = redis::cmd("AUTH");
            if let Some(username) = &options.username {
                login.arg(username);
            }
            let answer: Result<(), _> = login.arg(password.expose()).query_async(&mut self.link).await;
            answer.map_err(|fault| unmade(&fault, "; check `username` and `password`"))?;
        }
        if options.address.database > 0 {
            let answer: Result<(), _> =
                redis::cmd("SELECT").arg(options.address.database).query_async(&mut self.link).await;
            answer.map_err(|fault| unmade(&fault, "; check the database in `url`"))?;
        }
        Ok(())
    }

    /// Whether it still stands, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Adds `entries` in one transaction, and answers for each. Where the server refuses some before it begins, the others
    /// get a transaction of their own.
    ///
    /// # Errors
    /// Why none was added, or why that is not known.
    pub(super) async fn add(
        &mut self,
        entries: &[Entry<'_>],
        max_len: u64,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let all: Vec<_> = entries.iter().collect();
        let refused = match self.transact(&all, max_len).await? {
            Outcome::Done(answers) => return Ok(answers),
            Outcome::Refused(refused) => refused,
        };
        // Of a partition with a refused entry nothing is added: what follows must not be there before it.
        let mut held_up: HashMap<&str, &Refusal> = HashMap::new();
        for (entry, refusal) in entries.iter().zip(&refused) {
            if let Some(refusal) = refusal {
                held_up.entry(&entry.parcel.partition).or_insert(refusal);
            }
        }
        let open = |entry: &&Entry<'_>| !held_up.contains_key(&*entry.parcel.partition);
        let others: Vec<_> = entries.iter().filter(open).collect();
        let mut added = match self.transact(&others, max_len).await? {
            Outcome::Done(answers) => answers,
            Outcome::Refused(again) => {
                let none = || "the server carried out no transaction".to_owned();
                again.into_iter().map(|refusal| Err(refusal.unwrap_or_else(none))).collect()
            }
        }
        .into_iter();
        let answer = |entry: &Entry<'_>| match held_up.get(&*entry.parcel.partition) {
            Some(refusal) => Err((*refusal).clone()),
            None => added.next().unwrap_or_else(|| Err("the server gave no answer".to_owned())),
        };
        Ok(entries.iter().map(answer).collect())
    }

    async fn transact(&mut self, entries: &[&Entry<'_>], max_len: u64) -> Result<Outcome, Refusal> {
        if entries.is_empty() {
            return Ok(Outcome::Done(Vec::new()));
        }
        let streams: BTreeSet<&str> = entries.iter().map(|entry| &*entry.stream).collect();
        let trims = if max_len > 0 { streams.len() } else { 0 };
        let mut batch = redis::pipe();
        batch.cmd("MULTI");
        for Entry { stream, kind, parcel } in entries {
            batch.cmd("XADD").arg(stream).arg("*").arg("id").arg(&*parcel.id).arg("type").arg(kind);
            batch.arg("partitionkey").arg(&*parcel.partition).arg("event").arg(&*parcel.body);
        }
        // Not a part of XADD: that would be written to the server's log with the length the stream had then, and a server
        // that finds a torn transaction there would trim away as many entries as it had brought back of it.
        for stream in streams.into_iter().take(trims) {
            batch.cmd("XTRIM").arg(stream).arg("MAXLEN").arg("~").arg(max_len);
        }
        batch.cmd("EXEC");
        let commands = entries.len() + trims;
        let answers = self.link.send_packed_commands(&batch, 0, commands + 2).await;
        let mut answers = answers.map_err(|fault| format!("{}: {}", self.peer, said(&fault)))?;
        let results = match answers.pop() {
            Some(Value::Array(results)) => results,
            // Without its beginning it was no transaction, and each command stands for itself.
            _ if matches!(answers.first(), Some(Value::ServerError(_))) => answers.split_off(1),
            Some(Value::ServerError(_)) if answers.len() == commands + 1 && answers.iter().any(is_queued) => {
                let mut refusals = answers.split_off(1);
                let mut trims = refusals.split_off(entries.len()).into_iter();
                if refusals.iter().all(is_queued)
                    && let Some(fault) = trims.find_map(|trim| trim.extract_error().err())
                {
                    return Err(format!("{}: the stream cannot be trimmed (`max_len`): {}", self.peer, said(&fault)));
                }
                let refusals = refusals.into_iter().zip(entries);
                return Ok(Outcome::Refused(refusals.map(|(answer, entry)| refusal(answer, &entry.stream)).collect()));
            }
            last => return Err(format!("{}: {}", self.peer, cause(answers.into_iter().chain(last)))),
        };
        if results.len() != commands {
            return Err(format!("{}: a transaction has {} results", self.peer, results.len()));
        }
        let outcome = |(result, entry): (Value, &&Entry<'_>)| refusal(result, &entry.stream).map_or(Ok(()), Err);
        Ok(Outcome::Done(results.into_iter().zip(entries).map(outcome).collect()))
    }

    /// Whether transactions are allowed: found out before an entry depends on it.
    async fn check(&mut self) -> Result<(), String> {
        let mut nothing = redis::pipe();
        nothing.cmd("MULTI").cmd("EXEC");
        let answers = self.link.send_packed_commands(&nothing, 0, 2).await.map_err(|fault| said(&fault))?;
        match &answers[..] {
            [Value::Okay, Value::Array(_)] => Ok(()),
            _ => Err(cause(answers)),
        }
    }
}

/// The first error among `answers`: those after it follow from it.
fn cause(answers: impl IntoIterator<Item = Value>) -> String {
    let error = answers.into_iter().find_map(|answer| answer.extract_error().err());
    error.map_or_else(|| "the answer to a transaction was something else".to_owned(), |fault| said(&fault))
}

/// Whether the server would have carried out a command of a transaction.
fn is_queued(answer: &Value) -> bool {
    matches!(answer, Value::SimpleString(text) if text == "QUEUED")
}

/// Why `stream` does not take an entry, if it does not.
fn refusal(answer: Value, stream: &str) -> Option<Refusal> {
    let fault = answer.extract_error().err()?;
    Some(format!("the key {stream} does not take entries: {}", said(&fault)))
}

/// Why there is no connection, and whether another address of the server may do better; with a `hint` if not.
fn unmade(fault: &RedisError, hint: &str) -> Fault<String> {
    if fault.is_io_error() || fault.is_connection_dropped() {
        return Fault::Here(said(fault));
    }
    Fault::Everywhere(said(fault) + hint)
}

/// What went wrong; where the server has said it, in its words.
fn said(fault: &RedisError) -> String {
    let errors = fault.clone().into_server_errors();
    match errors.as_deref().and_then(|errors| errors.first()) {
        Some((_, error)) => excerpt(&format!("{} {}", error.code(), error.details().unwrap_or_default())),
        None => excerpt(&fault.to_string()),
    }
}

async fn connect(options: &Options) -> Result<Connection, String> {
    let Address { tls, host, port, .. } = &options.address;
    let plainly = |fault: io::Error| fault.to_string();
    let tls = if *tls {
        let name = ServerName::try_from(host.clone()).map_err(|fault| fault.to_string())?;
        Some((TlsConnector::from(Arc::new(options.encryption.client().await.map_err(plainly)?)), name))
    } else {
        None
    };
    let found = dial::addresses(host, *port).await.map_err(plainly)?;
    let begin = |stream| {
        let (tls, stream) = (tls.clone(), Throttled::new(stream));
        async move {
            let Some((client, name)) = tls else { return Connection::over(stream, options).await };
            let stream = client.connect(name, stream).await;
            Connection::over(stream.map_err(|fault| Fault::Here(format!("TLS: {fault}")))?, options).await
        }
    };
    dial::open(&found, CONNECTING, begin).await.map_err(|fault| fault.to_string())
}
