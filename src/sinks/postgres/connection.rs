//! One connection to a `PostgreSQL` server, up to its first fault. Must not know why an event is inserted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::Parcel;
use super::super::excerpt::excerpt;
use super::super::relay::Stream;
use super::super::throttle::Throttled;
use super::Options;
use super::address::Address;
use super::bridge::Bridge;
use super::frames::Framed;
use super::table::{self, Column, Trial};
use crate::dial;

/// For a TCP connection, TLS, the log-in and a look at the table.
const CONNECTING: Duration = Duration::from_secs(10);
/// For the answer to a statement.
const ANSWER: Duration = Duration::from_secs(30);
/// For a sign of life.
const LIFE: Duration = Duration::from_secs(5);

/// The columns of a table that can be written, with their types. The modifier -1 is the type without a length: a cast
/// to a length would cut what is too long, in place of refusing it.
const COLUMNS: &str = "SELECT a.attname::text, format_type(a.atttypid, -1), \
                       CASE WHEN a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4 \
                       THEN a.atttypmod - 4 END, t.typtype = 'e', \
                       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' \
                       FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = to_regclass($1) \
                       AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''";
/// Whether a trigger of the table may fill in what a row does not have.
const TRIGGERS: &str = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1) AND NOT tgisinternal)";

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    link: PgConnection,
    peer: String,
    insertion: String,
    /// Ends with the connection.
    bridge: Bridge,
}

/// Why a batch was not inserted; none of its rows is in the table.
pub(super) enum Fault {
    /// One of its rows can never be taken.
    Row(String),
    /// Perhaps because of one of its rows, which may be taken once the table is another one.
    Unclear(String),
    /// For a reason that has nothing to do with its rows, or it is not known whether it was inserted.
    Server(String),
}

impl Connection {
    /// Connects, logs in, makes the table if it is to be made, and sees whether its columns can take events.
    ///
    /// # Errors
    /// Why not, free of secrets.
    pub(super) async fn open(options: &Options) -> Result<Self, String> {
        let opening = async {
            let (mut link, bridge) = connect(options).await?;
            let insertion = prepare(&mut link, options).await.map_err(|why| format!("{}: {why}", options.address))?;
            Ok(Self { link, peer: options.address.to_string(), insertion, bridge })
        };
        timeout(CONNECTING, opening).await.unwrap_or_else(|_| Err(silent(options)))
    }

    /// Whether it still stands.
    pub(super) async fn is_up(&mut self) -> bool {
        matches!(timeout(LIFE, self.link.ping()).await, Ok(Ok(())))
    }

    /// Inserts `parcels`, all of them or none.
    pub(super) async fn insert(&mut self, parcels: &[&Parcel]) -> Result<(), Fault> {
        let bodies: Vec<&str> = parcels.iter().map(|parcel| &*parcel.body).collect();
        // Not kept on the server under a name: poolers in between may hand each statement to another connection.
        let statement = sqlx::query(AssertSqlSafe(self.insertion.as_str())).persistent(false).bind(bodies);
        match timeout(ANSWER, statement.execute(&mut self.link)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(match self.bridge.relay.fault() {
                Some(why) => Fault::Server(format!("{}: {why}", self.peer)),
                None => fault(&error, &self.peer),
            }),
            Err(_) => Err(Fault::Server(format!("{}: no answer within {ANSWER:?}", self.peer))),
        }
    }
}

async fn connect(options: &Options) -> Result<(PgConnection, Bridge), String> {
    log_in(options).await.map_err(|reason| format!("cannot connect to {}: {reason}", options.address))
}

fn silent(options: &Options) -> String {
    format!("cannot connect to {}: no answer within {CONNECTING:?}", options.address)
}

/// Makes the table if it is to be made, and returns the statement that fills it.
async fn prepare(link: &mut PgConnection, options: &Options) -> Result<String, String> {
    let mut columns = columns(link, options).await?;
    if columns.is_empty() && options.create {
        // Only where it is missing: the statement needs the right to make tables even if there is nothing to make.
        let creation = sqlx::query(AssertSqlSafe(options.table.creation())).persistent(false).execute(&mut *link).await;
        creation.map_err(|error| format!("the table {} cannot be made: {}", options.table, said(&error)))?;
        columns = self::columns(link, options).await?;
    }
    examine(link, options, &columns).await
}

/// Returns the statement that fills the table.
///
/// # Errors
/// Why it would fail for every event.
async fn examine(link: &mut PgConnection, options: &Options, columns: &[Column]) -> Result<String, String> {
    if columns.is_empty() {
        return Err(format!("there is no table {}, or not for this user; `create = true` makes it", options.table));
    }
    let insertion = options.table.insertion(columns)?;
    options.table.check_lengths(columns)?;
    let trials = options.table.trials(columns);
    // All at once, and one by one only if that fails.
    let all = trials.iter().map(|trial| trial.cast.as_str()).collect::<Vec<_>>().join(", ");
    if attempt(link, &all).await?.is_ok() {
        return Ok(insertion);
    }
    for Trial { cast, reason } in trials {
        if let Err(why) = attempt(link, &cast).await? {
            return Err(format!("{reason} ({why})"));
        }
    }
    Ok(insertion)
}

/// Connects at the first address that answers. The library takes no stream, so it gets a way to one: to the address that
/// was found, encrypted and throttled already.
async fn log_in(options: &Options) -> Result<(PgConnection, Bridge), String> {
    let Address { host, port } = &options.address;
    let plainly = |fault: io::Error| fault.to_string();
    if options.address.is_socket() {
        let socket = UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await.map_err(plainly)?;
        return over(Throttled::new(socket), options).await.map_err(|error| match error {
            dial::Fault::Here(reason) | dial::Fault::Everywhere(reason) => reason,
        });
    }
    let tls = if options.tls {
        let name = ServerName::try_from(host.clone()).map_err(|fault| fault.to_string())?;
        Some((TlsConnector::from(Arc::new(options.encryption.client().await.map_err(plainly)?)), name))
    } else {
        None
    };
    let found = dial::addresses(host, *port).await.map_err(plainly)?;
    let begin = |tcp| {
        let (tls, tcp) = (tls.clone(), Throttled::new(tcp));
        async move {
            let Some((client, name)) = tls else { return over(tcp, options).await };
            let encrypted = encrypted(tcp, &client, name).await;
            over(encrypted.map_err(|fault| dial::Fault::Here(format!("TLS: {fault}")))?, options).await
        }
    };
    dial::open(&found, CONNECTING, begin).await.map_err(|fault| fault.to_string())
}

/// Asks the server for TLS, and insists on it.
async fn encrypted<S: Stream>(
    mut stream: S,
    client: &TlsConnector,
    name: ServerName<'static>,
) -> io::Result<TlsStream<S>> {
    /// A message of eight bytes, with a code in place of a version of the protocol.
    const REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    const WILLING: u8 = b'S';
    stream.write_all(&REQUEST).await?;
    if stream.read_u8().await? != WILLING {
        return Err(io::Error::other("the server does not offer it; set up certificates there, or `tls = \"off\"`"));
    }
    client.connect(name, stream).await
}

async fn over(stream: impl Stream, options: &Options) -> Result<(PgConnection, Bridge), dial::Fault<String>> {
    let bridge = Bridge::to(Framed::new(stream), options.address.port).await;
    let bridge = bridge.map_err(|fault| {
        dial::Fault::Everywhere(format!("no socket can be made for the connection: {fault}; check TMPDIR"))
    })?;
    let connected = settings(options).socket(bridge.path()).connect().await;
    let link = connected.map_err(|error| match database(&error) {
        Some(_) => dial::Fault::Everywhere(said(&error)),
        None => dial::Fault::Here(bridge.relay.fault().unwrap_or_else(|| said(&error))),
    })?;
    Ok((link, bridge))
}

/// Says whether the server can make of the samples what the columns are, and if not, why.
///
/// # Errors
/// If that stays unknown.
async fn attempt(link: &mut PgConnection, casts: &str) -> Result<Result<(), String>, String> {
    let query = sqlx::query(AssertSqlSafe(format!("SELECT {casts}"))).persistent(false);
    match query.execute(link).await {
        Ok(_) => Ok(Ok(())),
        // Another fault, such as a constraint of a domain, may be of the sample alone.
        Err(error) if has_class(&error, &["23"]) => Ok(Ok(())),
        Err(error) if has_class(&error, &["22", "42"]) => Ok(Err(said(&error))),
        Err(error) => Err(said(&error)),
    }
}

/// Looks at the table as a delivery would find it, and changes nothing.
///
/// # Errors
/// Why every delivery would fail, free of secrets.
pub(super) async fn check(options: &Options) -> Result<(), String> {
    let checking = async {
        let (mut link, _bridge) = connect(options).await?;
        let checked = look(&mut link, options).await;
        checked.map_err(|why| format!("{}: {why}", options.address))
    };
    timeout(CONNECTING, checking).await.unwrap_or_else(|_| Err(silent(options)))
}

async fn look(link: &mut PgConnection, options: &Options) -> Result<(), String> {
    let columns = columns(link, options).await?;
    if columns.is_empty() && options.create {
        return Ok(());
    }
    let insertion = examine(link, options, &columns).await?;
    let table = options.table.to_string();
    let unreadable = |error| format!("cannot look at the table {table}: {}", said(&error));
    if let Some(column) = table::unfilled(&columns) {
        let helped = sqlx::query_scalar(TRIGGERS).persistent(false).bind(&table).fetch_one(&mut *link).await;
        if !helped.map_err(unreadable)? {
            return Err(format!(
                "the column {column} of the table {table} must have a value and gets none; give it a default, or let it \
                 be null"
            ));
        }
    }
    // Planned, with rights and constraints looked up, and not carried out.
    let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN {insertion}"))).persistent(false).bind(Vec::<String>::new());
    plan.execute(link).await.map(drop).map_err(|error| format!("the table {table} takes no event: {}", said(&error)))
}

async fn columns(link: &mut PgConnection, options: &Options) -> Result<Vec<Column>, String> {
    let columns = sqlx::query_as(COLUMNS).persistent(false).bind(options.table.to_string()).fetch_all(link).await;
    let columns: Vec<(String, String, Option<i32>, bool, bool)> =
        columns.map_err(|error| format!("cannot look at the table {}: {}", options.table, said(&error)))?;
    let column = |(name, kind, length, lists, required)| Column { name, kind, length, lists, required };
    Ok(columns.into_iter().map(column).collect())
}

/// Each setting is set, for what is not comes from environment variables that are about other programs.
fn settings(options: &Options) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&options.address.host)
        .port(options.address.port)
        .database(&options.database)
        .username(&options.user)
        .password(options.password.as_ref().map_or("", |password| password.expose()))
        .application_name("onsip-router")
        .extra_float_digits(None)
        .ssl_mode(PgSslMode::Disable) // the stream is encrypted already
        .disable_statement_logging()
}

fn database(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref())
}

/// Whether the error is of one of these classes: the first two characters of its code.
fn has_class(error: &sqlx::Error, classes: &[&str]) -> bool {
    database(error).is_some_and(|error| classes.iter().any(|class| error.code().starts_with(class)))
}

/// Whom the refusal of a statement concerns.
///
/// A row that can never be taken has data that the server cannot take (class 22), violates a constraint (23), goes beyond
/// a limit (54), or meets an exception of a trigger. A column without a value is the table's fault: we fill all we know.
fn fault(error: &sqlx::Error, peer: &str) -> Fault {
    const NOT_NULL: &str = "23502";
    const RAISED: &str = "P0001";
    /// What the server calls its own routines for a row without a partition, and for a row that a policy forbids: in
    /// another language than ours nothing else of the error says so.
    const OF_THE_TABLE: [&str; 2] = ["ExecFindPartition", "ExecWithCheckOptions"];
    /// Lost connections, transactions, log-ins, databases, deadlocks, statements, resources, locks, shutdowns, disks.
    const OF_THE_SERVER: [&str; 10] = ["08", "25", "28", "3D", "40", "42", "53", "55", "57", "58"];
    let reason = said(error);
    let server = |reason| Fault::Server(format!("{peer}: {reason}"));
    let Some(database) = database(error) else { return server(reason) };
    match database.code() {
        NOT_NULL => server(reason),
        _ if database.routine().is_some_and(|routine| OF_THE_TABLE.contains(&routine)) => Fault::Unclear(reason),
        RAISED => Fault::Row(reason),
        _ if has_class(error, &["22", "23", "54"]) => Fault::Row(reason),
        _ if has_class(error, &OF_THE_SERVER) => server(reason),
        _ => Fault::Unclear(reason),
    }
}

/// What went wrong, in one line; where the server has said it, in its words.
fn said(error: &sqlx::Error) -> String {
    let Some(database) = database(error) else { return excerpt(&error.to_string()) };
    let hint = match database.code() {
        code if code.starts_with("28") => "; check `user` and `password`",
        "3D000" => "; check `database`",
        "23502" => "; give the column a default, or let it be null",
        "42501" => "; the user lacks a right",
        "42P10" => "; the column id must be the primary key or unique",
        _ => "",
    };
    format!("{} ({}){hint}", excerpt(database.message()), excerpt(database.code()))
}
