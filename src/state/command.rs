//! What operators ask of the process that owns the state, from beside it: rows with a body, and later a result.
//!
//! The owner looks now and then and takes what waits; whoever asked looks for the result. Must not know what is asked.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::checkpoint::number;
use super::error::StateError;
use super::sqlite::Sqlite;

/// Commands that may wait, so that a row is not written for ever where nobody takes any.
pub(super) const WAITING_COMMANDS: i64 = 256;
/// Commands that are taken at once.
const AT_ONCE: i64 = 16;
/// How long a result can be read.
const KEPT: Duration = Duration::from_hours(1);
/// How long a command counts that nobody took. Who asked has given up by then, and must not be surprised by it.
const UNTAKEN: Duration = Duration::from_mins(5);

pub(super) const WAITING: &str = "SELECT count(*) FROM commands WHERE done IS NULL";
pub(super) const ASK: &str = "INSERT INTO commands (asked, body) VALUES (?1, ?2)";
pub(super) const WITHDRAW: &str = "DELETE FROM commands WHERE number = ?1 AND taken IS NULL";
pub(super) const ANSWER: &str = "SELECT taken, done, result FROM commands WHERE number = ?1";
/// Whether there is anything to take, or to remove.
pub(super) const IS_DUE: &str =
    "SELECT EXISTS (SELECT 1 FROM commands WHERE done IS NULL AND number > ?1 OR done < ?2)";
pub(super) const FORGET: &str =
    "DELETE FROM commands WHERE done < ?1 OR done IS NULL AND number > ?2 AND asked < ?3";
pub(super) const NEXT: &str =
    "SELECT number, body FROM commands WHERE done IS NULL AND number > ?1 ORDER BY number LIMIT ?2";
pub(super) const TAKE: &str = "UPDATE commands SET taken = ?1 WHERE number = ?2";
pub(super) const FINISH: &str = "UPDATE commands SET done = ?1, result = ?2 WHERE number = ?3 AND done IS NULL";

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number; the result goes there.
    pub number: u64,
    /// What is asked, as JSON.
    pub body: String,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has taken it.
    Waits,
    /// The owner has taken it, and has not finished.
    Taken,
    /// It is done, with this result as JSON.
    Done(String),
    /// There is none: it was withdrawn, nobody took it in time, or its result was removed.
    Gone,
}

impl Sqlite {
    pub(super) async fn ask_owner(&self, body: String, now: Timestamp) -> Result<u64, StateError> {
        let now = now.as_microsecond();
        self.write_beside(async move |connection: &mut SqliteConnection| ask(connection, &body, now).await).await
    }

    pub(super) async fn withdraw(&self, command: u64) -> Result<bool, StateError> {
        let command = number("command", command)?;
        let work = async move |connection: &mut SqliteConnection| {
            Ok(sqlx::query(WITHDRAW).bind(command).execute(connection).await?.rows_affected() > 0)
        };
        self.write_beside(work).await
    }

    pub(super) async fn answer_of(&self, command: u64) -> Result<Answer, StateError> {
        let query = sqlx::query_as::<_, (Option<i64>, Option<i64>, Option<String>)>(ANSWER);
        let row = query.bind(number("command", command)?).fetch_optional(self.readers()?).await?;
        Ok(match row {
            None => Answer::Gone,
            Some((_, Some(_), result)) => Answer::Done(result.unwrap_or_else(|| "null".to_owned())),
            Some((Some(_), None, _)) => Answer::Taken,
            Some((None, None, _)) => Answer::Waits,
        })
    }

    /// Those that an owner before this one took and did not finish are taken once more. Nothing is written unless there is
    /// something to take or to remove.
    pub(super) async fn take_commands(&self, now: Timestamp) -> Result<Vec<Command>, StateError> {
        let (now, after) = (now.as_microsecond(), self.taken().load(Ordering::Relaxed));
        let query = sqlx::query_scalar(IS_DUE).bind(after).bind(now - micros(KEPT));
        let is_due: bool = query.fetch_one(self.readers()?).await?;
        if !is_due {
            return Ok(Vec::new());
        }
        let work = async move |connection: &mut SqliteConnection| take(connection, after, now).await;
        let commands = self.write(work).await?;
        if let Some((newest, _)) = commands.last() {
            self.taken().fetch_max(*newest, Ordering::Relaxed);
        }
        Ok(commands.into_iter().map(|(number, body)| Command { number: number.unsigned_abs(), body }).collect())
    }

    pub(super) async fn finish(&self, command: u64, result: String, now: Timestamp) -> Result<(), StateError> {
        let (command, now) = (number("command", command)?, now.as_microsecond());
        let work = async move |connection: &mut SqliteConnection| {
            sqlx::query(FINISH).bind(now).bind(&result).bind(command).execute(connection).await?;
            Ok(())
        };
        self.write(work).await
    }
}

async fn ask(connection: &mut SqliteConnection, body: &str, now: i64) -> Result<u64, StateError> {
    let waiting: i64 = sqlx::query_scalar(WAITING).fetch_one(&mut *connection).await?;
    if waiting >= WAITING_COMMANDS {
        return Err(StateError::unfit("a command", &format!("{waiting} commands wait for the router already")));
    }
    let asked = sqlx::query(ASK).bind(now).bind(body).execute(connection).await?;
    Ok(asked.last_insert_rowid().unsigned_abs())
}

async fn take(connection: &mut SqliteConnection, after: i64, now: i64) -> Result<Vec<(i64, String)>, StateError> {
    let forget = sqlx::query(FORGET).bind(now - micros(KEPT)).bind(after).bind(now - micros(UNTAKEN));
    forget.execute(&mut *connection).await?;
    let commands: Vec<(i64, String)> =
        sqlx::query_as(NEXT).bind(after).bind(AT_ONCE).fetch_all(&mut *connection).await?;
    for (number, _) in &commands {
        sqlx::query(TAKE).bind(now).bind(number).execute(&mut *connection).await?;
    }
    Ok(commands)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
