//! Reads all that the state knows, once, when the log is opened after it.
//!
//! Must not know what is made of it.

use futures::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, SqliteConnection};

use super::checkpoint::{self, Loaded};
use super::coverage::{self, Coverage};
use super::error::StateError;
use super::sqlite::Sqlite;
use super::dead;

impl Sqlite {
    /// All of it as of one moment.
    pub(super) async fn load(&self) -> Result<Loaded, StateError> {
        let mut connection = self.readers()?.acquire().await?;
        sqlx::query("BEGIN").execute(&mut *connection).await?;
        let loaded = load(&mut connection).await;
        let ended = sqlx::query("COMMIT").execute(&mut *connection).await;
        let loaded = loaded?;
        ended?;
        Ok(loaded)
    }
}

async fn load(connection: &mut SqliteConnection) -> Result<Loaded, StateError> {
    let (store, clock, offset) = checkpoint::read_store(&mut *connection).await?;
    let mut loaded = Loaded { store, clock, offset, ..Loaded::default() };
    let mut damaged = Vec::new();
    damaged.extend(each(&mut *connection, checkpoint::LEGS, checkpoint::read_leg, |leg| loaded.legs.push(leg)).await?);
    damaged.extend(each(&mut *connection, checkpoint::CALLS, checkpoint::read_call, |call| loaded.calls.push(call)).await?);
    let mut told: Vec<String> = damaged.into_iter().map(|(_, told)| told).collect();
    let keep = |consumer| loaded.consumers.push(consumer);
    told.extend(each(&mut *connection, checkpoint::CONSUMERS, checkpoint::read_consumer, keep).await?);
    let keep = |(account, until)| {
        loaded.heard.insert(account, until);
    };
    told.extend(each(&mut *connection, coverage::ALL_HEARD, coverage::read_heard, keep).await?);
    let keep = |mut line: Coverage| {
        line.hear(&loaded.heard);
        loaded.coverage.push(line);
    };
    told.extend(each(&mut *connection, coverage::ALL, coverage::read, keep).await?);
    let keep = |(generation,): (i64,)| loaded.generations.push(generation.unsigned_abs());
    each(&mut *connection, checkpoint::GENERATIONS, Ok::<_, ()>, keep).await?;
    let keep = |(consumer, offset)| loaded.dead.entry(consumer).or_default().push(offset);
    told.extend(each(&mut *connection, dead::OFFSETS, dead::read_offset, keep).await?);
    loaded.damaged = told;
    Ok(loaded)
}

/// Reads the rows of a statement one after the other, keeps what can be read, and returns what there is to say of the rest.
pub(super) async fn each<R, T, E>(
    connection: &mut SqliteConnection,
    statement: &'static str,
    read: impl Fn(R) -> Result<T, E>,
    mut keep: impl FnMut(T),
) -> Result<Vec<E>, StateError>
where
    R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let (mut damaged, mut rows) = (Vec::new(), sqlx::query_as::<_, R>(statement).fetch(connection));
    while let Some(row) = rows.try_next().await? {
        match read(row) {
            Ok(line) => keep(line),
            Err(told) => damaged.push(told),
        }
    }
    Ok(damaged)
}
