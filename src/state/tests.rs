//! The state as a whole, on files of a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};
use tempfile::TempDir;

use super::sqlite::Sqlite;
use super::{
    Checkpoint, Clock, ConsumerState, Coverage, LedgerEntry, NewDead, OpenError, State, StateError,
};
use crate::domain::event::{CallFields, Direction};
use crate::domain::identity::Token;
use crate::domain::leg::{Call, Leg};
use crate::domain::name::AccountName;

mod agreement;
mod commands;
mod contract;
mod crash;
mod damage;
mod golden;
mod opening;
mod plans;
mod kills;
mod strange;
mod writing;

/// A folder with a database in it.
struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    /// In memory, where the system has such a place: a disk is slower, and no test sees whether it was synced.
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    /// On the disk of the machine.
    fn on_disk() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: TempDir) -> Self {
        let path = folder.path().join("router.db");
        Self { folder, path }
    }

    async fn open(&self) -> State {
        State::open(&self.path, true).await.unwrap()
    }

    /// Copies all files as they lie: what a kill leaves.
    fn killed(&self) -> Self {
        let copy = Self::new();
        for file in self.folder.path().read_dir().unwrap().map(Result::unwrap) {
            fs::copy(file.path(), copy.folder.path().join(file.file_name())).unwrap();
        }
        copy
    }

    /// Returns the content of a file of this suffix; nothing if it is absent.
    fn read(&self, suffix: &str) -> Vec<u8> {
        fs::read(self.file(suffix)).unwrap_or_default()
    }

    fn write(&self, suffix: &str, content: &[u8]) {
        fs::write(self.file(suffix), content).unwrap();
    }

    fn file(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

fn sqlite(state: &State) -> &Sqlite {
    match state {
        State::Sqlite(sqlite) => sqlite,
        State::Model(_) => panic!("it is the model"),
    }
}

/// Has the writer execute a statement outside of any transaction.
async fn execute(state: &State, statement: &str) {
    let statement = statement.to_owned();
    let work = async move |connection: &mut SqliteConnection| {
        Ok(sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(connection).await.map(drop)?)
    };
    sqlite(state).write_alone(work).await.unwrap();
}

/// Executes a statement on a database as another program does.
async fn execute_on(path: &Path, statement: &str) {
    use sqlx::Connection as _;
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).unwrap()
}

fn account(name: &str) -> AccountName {
    name.parse().unwrap()
}

fn leg(item: &str, seconds: i64) -> Leg {
    Leg {
        token: Token::of([item]),
        service: "active-calls".to_owned(),
        node: "/a/x".into(),
        item: item.to_owned().into(),
        partition: Token::of(["call", item]),
        first_event: Token::of(["first", item]),
        call: CallFields { call_id: Some(format!("{item}@host")), ..CallFields::default() }.into(),
        direction: Direction::Inbound,
        began: at(0),
        answered: Some(at(seconds)),
        ended: None,
        touched: at(seconds),
        account: Some(account("front-desk")),
        collection: Some("/me/front@a".into()),
        told_by: vec!["a".into()],
    }
}

fn call(item: &str, sequence: u64) -> Call {
    Call { partition: Token::of(["call", item]), sequence, answered_by: Some(Token::of([item])) }
}

fn coverage(name: &str, open: bool, until: i64) -> Coverage {
    Coverage { account: account(name), open, until: at(until), reason: (!open).then(|| "lease".to_owned()) }
}

fn consumer(number: u32, name: &str, body: &str) -> ConsumerState {
    ConsumerState { number, name: name.to_owned(), body: body.into() }
}

fn letter(offset: u64, died: i64) -> NewDead {
    let id = Token::of([offset.to_string().as_str()]);
    NewDead {
        offset,
        attempts: 3,
        received: at(0),
        died: at(died),
        reason: "422 \"no\"".to_owned(),
        partition: Token::of(["call"]),
        body: Arc::from(format!(r#"{{"id":"{id}","text":"a \"quoted\" ü line {}"}}"#, "x".repeat(500))),
        id,
    }
}

fn entry(name: &str, node: &str) -> LedgerEntry {
    LedgerEntry {
        account: account(name),
        service: "active-calls".to_owned(),
        node: node.into(),
        jid: "a@b/c".to_owned(),
        subid: Some("x1".into()),
        state: "active".to_owned(),
        lease_until: Some(at(9)),
        renewed: None,
        assigned: true,
    }
}

/// A checkpoint with something in every part, as of `offset`.
fn checkpoint(offset: u64, legs: std::ops::Range<u64>) -> Checkpoint {
    let items: Vec<String> = legs.map(|n| format!("item {n}")).collect();
    Checkpoint {
        offset,
        clock: Clock { behind: -5, newest: at(0).as_microsecond() },
        legs: items.iter().map(|item| Arc::new(leg(item, 1))).collect(),
        calls: items.iter().map(|item| call(item, offset)).collect(),
        coverage: vec![coverage("back", false, 7), coverage("front-desk", true, 5)],
        consumers: vec![consumer(1, "log", "floor 7"), consumer(2, "crm", "floor 3")],
        generations: vec![3, 4, 100 + offset],
        ..Checkpoint::default()
    }
}
