//! `PostgreSQL`, and what its protocol has of its own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use onsip_router::sinks::{Failure, Parcel};
use rustix::process::geteuid;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::process::Command;

use super::authority::Authority;
use super::parcels::{parcel, parcels};
use super::peer::{Machine, Peer, Server, free_address, options};
use crate::support::condition::{self, SOON};
use crate::support::program::{Said, folder, run};

const PASSWORD: &str = "right-secret";
/// What nobody may log in with.
const WRONG: &str = "hunter2-wrong-secret";
/// The superuser, who is also the sink's user where a test does not say otherwise.
const USER: &str = "router";
/// What the packages call the user that the server runs as; it refuses to be root.
const SERVICE: &str = "postgres";

/// The server.
pub struct PostgresServer {
    server: Server,
    folder: TempDir,
}

impl PostgresServer {
    /// Starts it with more settings.
    async fn with(more: &[&str]) -> Self {
        let address = free_address();
        // The folder of the tests is closed to the user it runs as.
        let folder = if geteuid().is_root() { tempfile::tempdir_in("/tmp") } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        let data = folder.path().join("data");
        fs::write(folder.path().join("password"), PASSWORD).expect("it is written");
        own(folder.path());
        own(&folder.path().join("password"));
        let shown = data.display().to_string();
        let words = ["-D", &shown, "-U", USER, "--pwfile=password", "--auth=scram-sha-256", "--no-sync", "-E", "UTF8"];
        let made = command("initdb", &words);
        let made =
            Command::new(&made[0]).args(&made[1..]).current_dir(folder.path()).output().await.expect("initdb runs");
        assert!(made.status.success(), "{made:?}");
        let port = address.port().to_string();
        let own = ["-D", &shown, "-p", &port, "-h", "127.0.0.1", "-k", "", "-c", "max_connections=20"];
        let settings = more.iter().flat_map(|setting| ["-c", setting]);
        let words: Vec<_> = own.into_iter().chain(settings).collect();
        let command = command("postgres", &words);
        let server = Server::start(&command[0], &command[1..], &[], folder.path(), address).await;
        let this = Self { server, folder };
        drop(this.client().await); // it listens before it takes anything
        this
    }

    fn with_login(&self, user: &str, password: &str) -> String {
        let address = self.server.address();
        format!(
            "type = \"postgres\"\nhost = \"{}\"\nport = {}\ndatabase = \"postgres\"\nuser = {user:?}\n\
             password = {password:?}\n",
            address.ip(),
            address.port()
        )
    }

    /// A connection of the test's own, as soon as the server has recovered.
    async fn client(&self) -> PgConnection {
        let settings = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.server.address().port())
            .username(USER)
            .password(PASSWORD)
            .database("postgres")
            .ssl_mode(PgSslMode::Disable);
        let ready =
            condition::until("PostgreSQL", SOON, async || PgConnection::connect_with(&settings).await.ok()).await;
        ready.unwrap()
    }

    async fn run(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut self.client().await).await.expect("it is taken");
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&mut self.client().await).await.expect("an answer")
    }
}

/// The command line of `program` as a user who may run it.
fn command(program: &str, arguments: &[&str]) -> Vec<String> {
    let user = format!("--reuid={SERVICE}");
    let group = format!("--regid={SERVICE}");
    let other: &[&str] = if geteuid().is_root() { &["setpriv", &user, &group, "--init-groups"] } else { &[] };
    let program = newest().join(program).display().to_string();
    other.iter().copied().chain([program.as_str()]).chain(arguments.iter().copied()).map(str::to_owned).collect()
}

/// Where the newest of the installed versions has its programs; they are on nobody's path.
fn newest() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL; start these tests through tests/run");
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.map(|entry| entry.unwrap().path()).max_by_key(number).expect("a version").join("bin")
}

/// Gives a file to the user that the server runs as, and to nobody else.
fn own(path: &Path) {
    if geteuid().is_root() {
        let users = fs::read_to_string("/etc/passwd").expect("the list of users");
        let line = users.lines().find(|line| line.starts_with(&format!("{SERVICE}:"))).expect("the packages' user");
        let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().unwrap()).collect();
        chown(path, Some(ids[0]), Some(ids[1])).expect("root may");
    }
    let mode = if path.is_dir() { 0o700 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

impl Peer for PostgresServer {
    type Machine = Server;

    async fn start() -> Self {
        Self::with(&[]).await
    }

    fn settings(&self) -> String {
        format!("{}create = true\n", self.with_login(USER, PASSWORD))
    }

    fn wrong_settings(&self) -> Option<(String, &'static str)> {
        Some((self.with_login(USER, WRONG), WRONG))
    }

    async fn events(&mut self) -> Vec<Value> {
        if self.texts("SELECT 'there' WHERE to_regclass('onsip_events') IS NOT NULL").await.is_empty() {
            return Vec::new();
        }
        let held = self.texts("SELECT event::text FROM onsip_events ORDER BY position").await;
        held.iter().map(|event| serde_json::from_str(event).expect("an event")).collect()
    }

    fn too_many_bytes(&self) -> Option<usize> {
        None
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

async fn deliver(settings: &str, parcels: &[Parcel]) -> Vec<Result<(), Failure>> {
    options(settings).open().deliver(parcels).await
}

/// The reason for which all of `answers` are to be tried again.
fn reason(answers: &[Result<(), Failure>]) -> &str {
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let Err(Failure::Retry { reason, .. }) = &answers[0] else { panic!("{answers:?}") };
    reason
}

/// An event with a character that `jsonb` does not know.
fn poison(number: usize) -> Parcel {
    let whole = parcel(1, number, 0);
    Parcel { body: whole.body.replace("Ann", "A\\u0000nn").into(), ..whole }
}

#[tokio::test]
async fn a_repeated_event_is_no_second_row_and_columns_hold_what_they_say() {
    let mut peer = PostgresServer::start().await;
    for _ in 0..2 {
        assert_eq!(deliver(&peer.settings(), &parcels(0, 20)).await, vec![Ok(()); 20]);
    }
    assert_eq!(peer.events().await.len(), 20);
    let row = "SELECT concat_ws('|', id, type, time AT TIME ZONE 'UTC', subject, partitionkey, sequence, account, \
               data ->> 'call_id') FROM onsip_events ORDER BY position LIMIT 1";
    let expected = "event-0-000000|com.onsip.call.requested|2026-01-01 00:00:00|leg-0|call-0|0000000000|front-desk|c";
    assert_eq!(peer.texts(row).await, [expected]);
}

#[tokio::test]
async fn a_row_the_table_can_never_take_is_rejected_alone() {
    let mut peer = PostgresServer::start().await;
    let mut batch = parcels(0, 60);
    for place in [7, 8, 40] {
        let call = format!("poisoned-{place}").into(); // what follows in the same call would have to wait
        batch.insert(place, Parcel { partition: call, ..poison(1_000 + place) });
    }
    let answers = deliver(&peer.settings(), &batch).await;
    for (place, answer) in answers.iter().enumerate() {
        match answer {
            Err(Failure::Reject { reason }) if [7, 8, 40].contains(&place) => {
                assert!(reason.contains("22P05"), "{reason}");
            }
            other => assert_eq!(*other, Ok(()), "{place}"),
        }
    }
    let held = peer.events().await;
    assert_eq!(held.len(), 60);
    assert!(held.iter().is_sorted_by_key(|event| event["sequence"].as_str().unwrap()), "in the order of arrival");
}

#[tokio::test]
async fn a_table_of_the_users_gets_what_it_has_columns_for() {
    let peer = PostgresServer::start().await;
    peer.run(
        "CREATE SCHEMA \"Calls\"; CREATE TABLE \"Calls\".\"all of them\" (id varchar(40) UNIQUE, sequence integer, \
         \"event\" text, note text DEFAULT 'x', CHECK (sequence <> 3))",
    )
    .await;
    let settings = format!("{}table = \"Calls.all of them\"\n", peer.with_login(USER, PASSWORD));
    let short = |name: &str, number| Parcel {
        partition: name.into(),
        body: parcel(1, number, 0).body.replace(&format!("event-1-{number:06}"), name).into(),
        ..parcel(1, number, 0)
    };
    let batch = [short("a", 1), short("longer-than-the-column-that-it-is-to-be-in", 2), short("b", 3), short("c", 4)];
    let answers = deliver(&settings, &batch).await;
    let [Ok(()), Err(Failure::Reject { reason: long }), Err(Failure::Reject { reason: three }), Ok(())] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert!(long.contains("22001") && three.contains("23514"), "{answers:?}");
    let held = peer.texts("SELECT concat_ws('|', id, sequence, note, event) FROM \"Calls\".\"all of them\"").await;
    assert_eq!(held, [format!("a|1|x|{}", batch[0].body), format!("c|4|x|{}", batch[3].body)]);
}

#[tokio::test]
async fn what_an_operator_can_mend_is_told_and_works_once_it_is_mended() {
    let peer = PostgresServer::start().await;
    peer.run("CREATE ROLE low LOGIN PASSWORD 'right-secret'").await;
    let low = peer.with_login("low", PASSWORD);
    let mut sink = options(&low).open();
    let mut told = Vec::new();
    for statement in [
        "CREATE TABLE onsip_events (event jsonb)",
        "ALTER TABLE onsip_events ADD COLUMN id text",
        "ALTER TABLE onsip_events ADD COLUMN must integer NOT NULL, ADD PRIMARY KEY (id)",
        "GRANT INSERT, SELECT ON onsip_events TO low",
        "ALTER TABLE onsip_events DROP COLUMN must",
    ] {
        told.push(reason(&sink.deliver(&parcels(0, 3)).await).to_owned());
        peer.run(statement).await;
    }
    assert_eq!(sink.deliver(&parcels(0, 3)).await, vec![Ok(()); 3], "{told:#?}");
    let expected =
        ["there is no table \"onsip_events\"", "has no column id", "must be the primary key", "lacks a right", "23502"];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let answers = deliver(&format!("{low}table = \"other\"\ncreate = true\n"), &parcels(0, 3)).await;
    assert!(reason(&answers).contains("cannot be made"), "{answers:?}");
    let elsewhere = low.replace("\"postgres\"\nuser", "\"elsewhere\"\nuser");
    assert!(reason(&deliver(&elsewhere, &parcels(0, 3)).await).contains("check `database`"));
}

/// What `check --connect` says of the sink with these settings, and its exit code.
async fn check(settings: &str) -> Said {
    let account = "[accounts.a]\njid = \"a@acme.test\"\npassword = \"x\"\nenabled = false\n";
    let folder = folder(&format!("{account}[sinks.archive]\n{settings}"));
    run(folder.path(), &["check", "--config", "config.toml", "--connect"]).await
}

#[tokio::test]
async fn a4_a_column_that_takes_no_event_is_the_tables_fault_and_told_by_name() {
    let peer = PostgresServer::start().await;
    let settings = peer.with_login(USER, PASSWORD);
    for (columns, culprit, told) in [
        ("id bigserial PRIMARY KEY, event jsonb", "column id ", "bigint"),
        ("id text PRIMARY KEY, time integer", "column time ", "integer"),
        ("id text PRIMARY KEY, data text[], event jsonb", "column data ", "text[]"),
        ("id text PRIMARY KEY, event point", "column event ", "point"),
        ("id varchar(8) PRIMARY KEY, event jsonb", "column id ", "8 characters"),
        ("id text PRIMARY KEY, type boolean", "column type ", "boolean"),
    ] {
        peer.run(&format!("DROP TABLE IF EXISTS onsip_events; CREATE TABLE onsip_events ({columns})")).await;
        let answers = deliver(&settings, &parcels(0, 3)).await;
        assert!(reason(&answers).contains(culprit) && reason(&answers).contains(told), "{columns}: {answers:?}");
        let said = check(&settings).await;
        assert_eq!(said.code, Some(1), "{columns}: {said:#?}");
        let [_, kind, result] = &said.row(&["archive"])[..] else { panic!("{said:#?}") };
        assert!(kind == "postgres" && result.contains(culprit), "{columns}: {said:#?}");
    }
    let columns = "id varchar(32) PRIMARY KEY, sequence bigint, time date, partitionkey text, event json, note text";
    peer.run(&format!("DROP TABLE onsip_events; CREATE TABLE onsip_events ({columns})")).await;
    assert_eq!(deliver(&settings, &parcels(0, 3)).await, vec![Ok(()); 3]);
    let said = check(&settings).await;
    assert_eq!((said.code, said.row(&["archive", "postgres", "ok"]).len()), (Some(0), 3), "{said:#?}");
}

#[tokio::test]
async fn a4_a_column_that_becomes_another_one_while_connected_rejects_nothing() {
    let peer = PostgresServer::start().await;
    let settings = peer.with_login(USER, PASSWORD);
    peer.run("CREATE TABLE onsip_events (id text PRIMARY KEY, event jsonb)").await;
    let mut sink = options(&settings).open();
    assert_eq!(sink.deliver(&parcels(0, 3)).await, vec![Ok(()); 3]);
    peer.run("TRUNCATE onsip_events; ALTER TABLE onsip_events ALTER COLUMN id TYPE bigint USING 0").await;
    // The first finds out that the statement does not fit any more, the second says why.
    reason(&sink.deliver(&parcels(3, 3)).await);
    let answers = sink.deliver(&parcels(3, 3)).await;
    assert!(reason(&answers).contains("column id "), "{answers:?}");
}

#[tokio::test]
async fn a4_what_else_no_event_avoids_is_told_by_check_and_rejects_nothing() {
    let peer = PostgresServer::start().await;
    peer.run("CREATE ROLE low LOGIN PASSWORD 'right-secret'").await;
    let settings = peer.with_login("low", PASSWORD);
    for (statement, expected) in [
        ("SELECT 1", "there is no table"),
        ("CREATE TABLE onsip_events (id text, event jsonb, must integer NOT NULL)", "column must "),
        ("ALTER TABLE onsip_events ALTER COLUMN must SET DEFAULT 1", "must be the primary key or unique"),
        ("ALTER TABLE onsip_events ADD UNIQUE (id)", "lacks a right"),
    ] {
        peer.run(statement).await;
        let said = check(&settings).await;
        assert!(said.code == Some(1) && said.row(&["archive"])[2].contains(expected), "{statement}: {said:#?}");
        reason(&deliver(&settings, &parcels(0, 3)).await);
    }
    peer.run("GRANT INSERT, SELECT ON onsip_events TO low").await;
    assert_eq!(check(&settings).await.code, Some(0));
    assert_eq!(peer.texts("SELECT id FROM onsip_events").await, Vec::<String>::new(), "it writes nothing");
    assert_eq!(deliver(&settings, &parcels(0, 3)).await, vec![Ok(()); 3]);
}

#[tokio::test]
async fn a4_a_row_without_a_partition_or_against_a_policy_waits_and_holds_up_only_its_call() {
    let peer = PostgresServer::start().await;
    peer.run("CREATE ROLE low LOGIN PASSWORD 'right-secret'").await;
    let settings = peer.with_login("low", PASSWORD);
    for (forbid, allow) in [
        (
            "CREATE TABLE onsip_events (id text, partitionkey text, event jsonb, PRIMARY KEY (id)) PARTITION BY HASH (id);
             CREATE TABLE even PARTITION OF onsip_events FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            "CREATE TABLE odd PARTITION OF onsip_events FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        ),
        (
            "DROP TABLE onsip_events; CREATE TABLE onsip_events (id text PRIMARY KEY, partitionkey text, event jsonb);
             CREATE POLICY two ON onsip_events USING (true) WITH CHECK (partitionkey <> 'call-2');
             ALTER TABLE onsip_events ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE onsip_events DISABLE ROW LEVEL SECURITY",
        ),
    ] {
        peer.run(&format!("{forbid}; GRANT INSERT, SELECT ON onsip_events TO low")).await;
        let batch = parcels(0, 28);
        let mut sink = options(&settings).open();
        let answers = sink.deliver(&batch).await;
        let (mut held_up, mut taken) = (BTreeSet::new(), 0);
        for (parcel, answer) in batch.iter().zip(&answers) {
            match answer {
                Ok(()) => {
                    assert!(!held_up.contains(&parcel.partition), "{} overtook another of its call", parcel.id);
                    taken += 1;
                }
                Err(Failure::Retry { .. }) => drop(held_up.insert(parcel.partition.clone())),
                Err(other) => panic!("{other}"),
            }
        }
        assert!(taken > 0 && taken < 28, "{answers:?}");
        peer.run(allow).await;
        assert_eq!(sink.deliver(&batch).await, vec![Ok(()); 28]);
        assert_eq!(peer.texts("SELECT id FROM onsip_events").await.len(), 28);
    }
}

#[tokio::test]
async fn a_connection_that_was_cut_while_idle_is_made_anew_without_a_failure() {
    let mut peer = PostgresServer::start().await;
    let mut sink = options(&peer.settings()).open();
    assert_eq!(sink.deliver(&parcels(0, 3)).await, vec![Ok(()); 3]);
    peer.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'onsip-router'").await;
    assert_eq!(sink.deliver(&parcels(3, 3)).await, vec![Ok(()); 3]);
    assert_eq!(peer.events().await.len(), 6);
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted_and_a_certificate_where_one_is_asked_for() {
    let (folder, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new(folder.path());
    let mut peer = PostgresServer::start().await;
    let data = peer.folder.path().join("data");
    for (from, to) in
        [(&authority.server.0, "server.crt"), (&authority.server.1, "server.key"), (&authority.ca, "ca.crt")]
    {
        fs::copy(from, data.join(to)).unwrap();
        own(&data.join(to));
    }
    let rules = data.join("pg_hba.conf");
    fs::write(&rules, "hostnossl all all all scram-sha-256\nhostssl all all all scram-sha-256 clientcert=verify-ca\n")
        .unwrap();
    peer.run("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'").await;
    peer.run("ALTER SYSTEM SET ssl = on").await;
    peer.server().kill().await;
    peer.start_again().await;
    drop(peer.client().await);

    assert_eq!(deliver(&format!("{}{}", peer.settings(), authority.settings()), &parcels(0, 2)).await, vec![Ok(()); 2]);
    let required = format!("{}tls = \"require\"\n", peer.settings());
    for settings in [Authority::new(stranger.path()).settings(), String::new()] {
        let answers = deliver(&format!("{required}{settings}"), &parcels(2, 2)).await;
        assert!(reason(&answers).contains("certificate"), "{answers:?}");
    }
    let nameless = authority.settings().lines().next().unwrap().to_owned();
    let answers = deliver(&format!("{required}{nameless}\n"), &parcels(2, 2)).await;
    assert!(!reason(&answers).is_empty());
    assert_eq!(peer.events().await.len(), 2);
}
