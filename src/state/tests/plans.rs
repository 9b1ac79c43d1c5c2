//! How every statement is carried out: by an index, unless its table is small or wanted as a whole.

use sqlx::Connection as _;

use super::*;
use crate::state::rows::Statements;
use crate::state::{checkpoint, command, coverage, dead, ledger, repair, stamp};

/// Every statement, with the tables that it may read from end to end.
const STATEMENTS: &[(&str, &[&str])] = &[
    // One row.
    (checkpoint::BEGIN, &[]),
    (checkpoint::STORE, &[]),
    (checkpoint::SET_STORE, &[]),
    (stamp::BEGIN, &[]),
    // A few rows.
    (checkpoint::GENERATIONS, &["generations"]),
    (checkpoint::FORGET_GENERATIONS, &["generations"]),
    (checkpoint::ADD_GENERATION, &[]),
    (checkpoint::CONSUMERS, &["consumers"]),
    (checkpoint::FORGET_CONSUMER, &[]),
    (checkpoint::WRITE_CONSUMER, &[]),
    (checkpoint::FORGET_DEAD, &[]),
    // Wanted as a whole, once, at the start.
    (checkpoint::LEGS, &["legs"]),
    (checkpoint::CALLS, &["calls"]),
    (coverage::ALL, &["coverage"]),
    (coverage::ALL_HEARD, &["heard"]),
    (dead::OFFSETS, &["dead"]),
    // A row for each account, after a few hundred of them were written one by one.
    (coverage::SET_BACK, &["coverage"]),
    (ledger::ALL, &["ledger"]),
    (ledger::OF_ACCOUNT, &[]),
    (ledger::WRITE, &[]),
    (ledger::FORGET, &[]),
    (dead::LIST, &[]),
    (dead::LATEST, &[]),
    (dead::AT, &[]),
    (dead::ALL, &[]),
    (dead::COUNT, &[]),
    // In an index that has no bodies.
    (dead::COUNTS, &["dead"]),
    (dead::REMOVE, &[]),
    (dead::OLDEST, &[]),
    (repair::LETTER, &[]),
    (repair::REMOVE_LETTER, &[]),
    (repair::REMOVE_LEG, &[]),
    (repair::REMOVE_CALL, &[]),
    // A few hundred rows at most.
    (command::WAITING, &["commands"]),
    (command::IS_DUE, &["CONSTANT", "commands"]),
    (command::FORGET, &["commands"]),
    (command::ASK, &[]),
    (command::WITHDRAW, &[]),
    (command::ANSWER, &[]),
    (command::NEXT, &[]),
    (command::TAKE, &[]),
    (command::FINISH, &[]),
];

/// Statements for many rows.
static MANY: [&Statements; 8] = [
    &checkpoint::WRITE_LEGS,
    &checkpoint::WRITE_CALLS,
    &checkpoint::FORGET_LEGS,
    &checkpoint::FORGET_CALLS,
    &coverage::WRITE,
    &coverage::HEAR,
    &coverage::FORGET_HEARD,
    &dead::BURY,
];

#[tokio::test]
async fn no_statement_reads_a_growing_table_from_end_to_end() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let url = format!("sqlite://{}", place.path.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let many = MANY.iter().map(|statements| (statements.pieces(&[(); 8]).next().unwrap().0, &[][..]));
    for (statement, scanned) in STATEMENTS.iter().copied().chain(many) {
        let statement = statement.trim_start_matches("BEGIN IMMEDIATE; ");
        let explained = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
        let query = sqlx::query_as(explained).bind("[]").bind("[]");
        let plan: Vec<(i64, i64, i64, String)> = query.fetch_all(&mut connection).await.expect(statement);
        for (.., step) in plan {
            assert!(!step.contains("USE TEMP B-TREE"), "{statement}\n{step}");
            let Some(table) = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()) else { continue };
            let is_given = table.starts_with("(subquery-") || table == "json_each" || table.ends_with("-ROW");
            assert!(is_given || scanned.contains(&table), "{statement}\n{step}");
        }
    }
}
