//! One connection to a `PostgreSQL` server, up to its first fault. Must not know why an event is inserted.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, PgConnection};
use tokio::time::timeout;

use super::super::Parcel;
use super::Options;
use super::address::Address;
use super::bridge::Bridge;
use crate::dial;

/// For a TCP connection, TLS, the log-in and a look at the table.
const CONNECTING: Duration = Duration::from_secs(10);
/// For the answer to a statement.
const ANSWER: Duration = Duration::from_secs(30);
/// For a sign of life.
const LIFE: Duration = Duration::from_secs(5);

/// The columns of a table that can be written, with their types. The modifier -1 is the type without a length: a cast
/// to a length would cut what is too long, in place of refusing it.
const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, -1) FROM pg_attribute \
                       WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";

/// The connection.
#[derive(Debug)]
pub(super) struct Connection {
    link: PgConnection,
    peer: String,
    insertion: String,
    /// Ends with the connection.
    _bridge: Option<Bridge>,
}

/// Why a batch was not inserted.
pub(super) enum Fault {
    /// Because of one of its rows; none of them is in the table.
    Row(String),
    /// For another reason, or it is not known whether it was.
    Server(String),
}

impl Connection {
    /// Connects, logs in, and makes the table if it is to be made.
    ///
    /// # Errors
    /// Why not, free of secrets.
    pub(super) async fn open(options: &Options) -> Result<Self, String> {
        let opened = timeout(CONNECTING, connect(options)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("no answer within {CONNECTING:?}")));
        opened.map_err(|reason| format!("cannot connect to {}: {reason}", options.address))
    }

    /// Whether it still stands.
    pub(super) async fn is_up(&mut self) -> bool {
        matches!(timeout(LIFE, self.link.ping()).await, Ok(Ok(())))
    }

    /// Inserts `parcels`, all of them or none.
    pub(super) async fn insert(&mut self, parcels: &[Parcel]) -> Result<(), Fault> {
        let bodies: Vec<&str> = parcels.iter().map(|parcel| &*parcel.body).collect();
        // Not kept on the server under a name: poolers in between may hand each statement to another connection.
        let statement = sqlx::query(AssertSqlSafe(self.insertion.as_str())).persistent(false).bind(bodies);
        match timeout(ANSWER, statement.execute(&mut self.link)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if is_of_a_row(&error) => Err(Fault::Row(said(&error))),
            Ok(Err(error)) => Err(Fault::Server(format!("{}: {}", self.peer, said(&error)))),
            Err(_) => Err(Fault::Server(format!("{}: no answer within {ANSWER:?}", self.peer))),
        }
    }
}

async fn connect(options: &Options) -> Result<Connection, String> {
    let (mut link, bridge) = log_in(options).await?;
    let mut columns = columns(&mut link, options).await?;
    if columns.is_empty() && options.create {
        // Only where it is missing: the statement needs the right to make tables even if there is nothing to make.
        let creation = sqlx::query(AssertSqlSafe(options.table.creation())).persistent(false).execute(&mut link).await;
        creation.map_err(|error| format!("the table {} cannot be made: {}", options.table, said(&error)))?;
        columns = self::columns(&mut link, options).await?;
    }
    if columns.is_empty() {
        return Err(format!("there is no table {}, or not for this user; `create = true` makes it", options.table));
    }
    let insertion = options.table.insertion(&columns)?;
    Ok(Connection { link, peer: options.address.to_string(), insertion, _bridge: bridge })
}

/// Connects at the first address that answers. The library takes no stream, and no address beside the name that the
/// certificate must carry; so where a name has several addresses, it is given a way to the one that was found.
async fn log_in(options: &Options) -> Result<(PgConnection, Option<Bridge>), String> {
    let Address { host, port } = &options.address;
    let directly = async || settings(options).connect().await;
    if options.address.is_socket() {
        return directly().await.map(|link| (link, None)).map_err(|error| said(&error));
    }
    let found = dial::addresses(host, *port).await.map_err(|fault| fault.to_string())?;
    if found.len() == 1 {
        return directly().await.map(|link| (link, None)).map_err(|error| said(&error));
    }
    let begin = |tcp| async move {
        let bridge = Bridge::to(tcp, *port).await;
        let connected = match &bridge {
            Ok(bridge) => settings(options).socket(bridge.folder.path()).connect().await,
            // No folder for it: then as far as the library gets by itself.
            Err(_) => settings(options).connect().await,
        };
        let link = connected.map_err(|error| match database(&error) {
            Some(_) => dial::Fault::Everywhere(said(&error)),
            None => dial::Fault::Here(said(&error)),
        })?;
        Ok((link, bridge.ok()))
    };
    dial::open(&found, CONNECTING, begin).await.map_err(|fault| fault.to_string())
}

async fn columns(link: &mut PgConnection, options: &Options) -> Result<Vec<(String, String)>, String> {
    let columns = sqlx::query_as(COLUMNS).persistent(false).bind(options.table.to_string()).fetch_all(link).await;
    columns.map_err(|error| format!("cannot look at the table {}: {}", options.table, said(&error)))
}

/// Each setting is set, for what is not comes from environment variables that are about other programs.
fn settings(options: &Options) -> PgConnectOptions {
    let mode = if options.tls { PgSslMode::VerifyFull } else { PgSslMode::Disable };
    let mut settings = PgConnectOptions::new_without_pgpass()
        .host(&options.address.host)
        .port(options.address.port)
        .database(&options.database)
        .username(&options.user)
        .password(options.password.as_ref().map_or("", |password| password.expose()))
        .application_name("onsip-router")
        .extra_float_digits(None)
        .ssl_mode(mode)
        .ssl_root_cert_from_pem(Vec::new())
        .disable_statement_logging();
    if let Some(file) = &options.encryption.ca_file {
        settings = settings.ssl_root_cert(file);
    }
    if let Some((certificate, key)) = &options.encryption.identity {
        settings = settings.ssl_client_cert(certificate).ssl_client_key(key);
    }
    settings
}

fn database(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref())
}

/// Whether the server refuses the statement for what is in a row: data it cannot take (class 22), a constraint (23), a
/// limit (54), or an exception of a trigger. A column without a value is the table's fault: we fill all we know.
fn is_of_a_row(error: &sqlx::Error) -> bool {
    const NOT_NULL: &str = "23502";
    const RAISED: &str = "P0001";
    database(error).map(PgDatabaseError::code).is_some_and(|code| {
        code == RAISED || code != NOT_NULL && ["22", "23", "54"].iter().any(|class| code.starts_with(class))
    })
}

/// What went wrong, in one line; where the server has said it, in its words.
fn said(error: &sqlx::Error) -> String {
    let Some(error) = database(error) else { return error.to_string().replace('\n', " ") };
    let (code, message) = (error.code(), error.message().replace('\n', " "));
    let hint = match code {
        _ if code.starts_with("28") => "; check `user` and `password`",
        "3D000" => "; check `database`",
        "42501" => "; the user lacks a right",
        "42P10" => "; the column id must be the primary key or unique",
        _ => "",
    };
    format!("{message} ({code}){hint}")
}
