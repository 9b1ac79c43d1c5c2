//! redis-server, and what its protocol has of its own.

use std::net::SocketAddr;

use onsip_router::sinks::{Failure, Parcel};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{AsyncCommands, AsyncConnectionConfig, Client};
use serde_json::Value;
use tempfile::TempDir;

use super::authority::Authority;
use super::parcels::{parcel, parcels};
use super::peer::{Peer, Server, free_address, options};
use crate::support::condition::{self, SOON};

const STREAM: &str = "onsip:events";
const PASSWORD: &str = "right-secret";
/// What nobody may log in with.
const WRONG: &str = "hunter2-wrong-secret";

/// The server.
pub struct RedisServer {
    server: Server,
    _folder: TempDir,
}

impl RedisServer {
    /// Starts it with more arguments. It writes each command to the disk before it answers.
    async fn with(more: &[String]) -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let port = address.port().to_string();
        let own = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "yes"];
        let safe = ["--appendfsync", "always", "--dir", ".", "--requirepass", PASSWORD];
        let own = own.iter().chain(&safe).map(|argument| (*argument).to_owned());
        let arguments: Vec<_> = own.chain(more.iter().cloned()).collect();
        let server = Server::start("redis-server", &arguments, &[], folder.path(), address).await;
        Self { server, _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn with_password(&self, password: &str) -> String {
        format!("type = \"redis\"\nurl = \"redis://{}\"\npassword = {password:?}\n", self.address())
    }

    /// A connection of the test's own, as soon as the server has read its data again.
    async fn client(&self) -> MultiplexedConnection {
        let address = format!("redis://:{PASSWORD}@{}", self.address());
        let client = Client::open(address).expect("an address");
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(SOON)).set_connection_timeout(Some(SOON));
        let ready = condition::until("Redis", SOON, async || {
            let mut link = client.get_multiplexed_async_connection_with_config(&patient).await.ok()?;
            redis::cmd("DBSIZE").exec_async(&mut link).await.ok()?; // refused while it reads its data
            Some(link)
        });
        ready.await.unwrap()
    }

    async fn run(&self, command: &[&str]) {
        let mut sent = redis::cmd(command[0]);
        for argument in &command[1..] {
            sent.arg(*argument);
        }
        sent.exec_async(&mut self.client().await).await.expect("it is taken");
    }

    async fn held(&self, stream: &str) -> StreamRangeReply {
        self.client().await.xrange_all(stream).await.expect("a stream")
    }
}

impl Peer for RedisServer {
    type Machine = Server;

    async fn start() -> Self {
        Self::with(&[]).await
    }

    fn settings(&self) -> String {
        self.with_password(PASSWORD)
    }

    fn wrong_settings(&self) -> Option<(String, &'static str)> {
        Some((self.with_password(WRONG), WRONG))
    }

    async fn events(&mut self) -> Vec<Value> {
        let held = self.held(STREAM).await;
        let event = |field: String| serde_json::from_str(&field).expect("an event");
        held.ids.iter().map(|entry| event(entry.get("event").expect("the field"))).collect()
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

#[tokio::test]
async fn an_entry_names_its_event_and_the_stream_follows_the_template() {
    let peer = RedisServer::start().await;
    let sent = parcel(7, 42, 0);
    let settings = format!("{}stream = \"calls:{{data.account}}:{{type}}\"\n", peer.settings());
    assert_eq!(deliver(&settings, std::slice::from_ref(&sent)).await, [Ok(())]);
    let held = peer.held("calls:front-desk:com_onsip_call_requested").await;
    let [entry] = &held.ids[..] else { panic!("{held:?}") };
    let field = |name| entry.get::<String>(name).unwrap();
    assert_eq!(field("id"), *sent.id);
    assert_eq!(field("type"), "com.onsip.call.requested");
    assert_eq!(field("partitionkey"), *sent.partition);
    assert_eq!(field("event"), *sent.body);
}

#[tokio::test]
async fn a_stream_is_trimmed_to_about_its_length_or_not_at_all() {
    let peer = RedisServer::start().await;
    let all = parcels(0, 2_000);
    for (stream, max_len) in [("short", 100), ("long", 0)] {
        let settings = format!("{}stream = {stream:?}\nmax_len = {max_len}\n", peer.settings());
        let mut sink = options(&settings).open();
        for batch in all.chunks(sink.batch()) {
            assert_eq!(sink.deliver(batch).await, vec![Ok(()); batch.len()]);
        }
    }
    let short = peer.held("short").await.ids.len();
    assert!((100..500).contains(&short), "{short}");
    assert_eq!(peer.held("long").await.ids.len(), all.len());
}

#[tokio::test]
async fn a_key_of_another_kind_is_told_and_works_once_it_is_gone() {
    let mut peer = RedisServer::start().await;
    peer.run(&["SET", STREAM, "x"]).await;
    let mut sink = options(&peer.settings()).open();
    let answers = sink.deliver(&parcels(0, 3)).await;
    assert!(reason(&answers).contains(STREAM) && reason(&answers).contains("WRONGTYPE"), "{answers:?}");
    peer.run(&["DEL", STREAM]).await;
    assert_eq!(sink.deliver(&parcels(0, 3)).await, vec![Ok(()); 3]);
    assert_eq!(peer.events().await.len(), 3);
}

#[tokio::test]
async fn a_stream_that_takes_nothing_holds_up_its_calls_in_other_streams_too() {
    let peer = RedisServer::start().await;
    peer.run(&["SET", "to:item-1", "x"]).await;
    let settings = format!("{}stream = \"to:{{data.item_id}}\"\n", peer.settings());
    let elsewhere = |number| Parcel { partition: "call-1".into(), ..parcel(2, number, 0) };
    let answers = deliver(&settings, &[parcel(2, 1, 0), parcel(1, 2, 0), elsewhere(3), parcel(2, 4, 0)]).await;
    assert!(matches!(&answers[..], [Ok(()), Err(_), Err(_), Ok(())]), "{answers:?}");
}

#[tokio::test]
async fn a_server_without_memory_takes_all_or_nothing() {
    let mut peer = RedisServer::start().await;
    let mut sink = options(&peer.settings()).open();
    assert_eq!(sink.deliver(&parcels(0, 5)).await, vec![Ok(()); 5]);
    peer.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let answers = sink.deliver(&parcels(5, 50)).await;
    assert!(reason(&answers).contains("OOM"), "{answers:?}");
    assert_eq!(peer.events().await.len(), 5);
    peer.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(sink.deliver(&parcels(5, 50)).await, vec![Ok(()); 50]);
}

#[tokio::test]
async fn a_replica_takes_nothing_until_it_is_a_primary() {
    let peer = RedisServer::start().await;
    peer.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let mut sink = options(&peer.settings()).open();
    let answers = sink.deliver(&parcels(0, 5)).await;
    assert!(reason(&answers).contains("READONLY"), "{answers:?}");
    peer.run(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(sink.deliver(&parcels(0, 5)).await, vec![Ok(()); 5]);
}

#[tokio::test]
async fn a_user_with_few_rights_is_enough_and_nobody_is_not() {
    let peer = RedisServer::start().await;
    peer.run(&["ACL", "SETUSER", "router", "on", ">for-router", "~onsip:*", "+xadd", "+xtrim", "+multi", "+exec"])
        .await;
    let url = format!("type = \"redis\"\nurl = \"redis://{}\"\n", peer.address());
    let own = format!("{url}username = \"router\"\npassword = \"for-router\"\n");
    assert_eq!(deliver(&own, &parcels(0, 5)).await, vec![Ok(()); 5]);
    let answers = deliver(&format!("{own}stream = \"other\"\n"), &parcels(0, 5)).await;
    assert!(reason(&answers).contains("NOPERM"), "{answers:?}");
    let answers = deliver(&url, &parcels(0, 5)).await;
    assert!(reason(&answers).contains("NOAUTH"), "{answers:?}");
    peer.run(&["ACL", "SETUSER", "router", "-multi"]).await;
    let answers = deliver(&own, &parcels(5, 5)).await;
    assert!(reason(&answers).contains("NOPERM") && reason(&answers).contains("multi"), "{answers:?}");
    assert_eq!(peer.held(STREAM).await.ids.len(), 5);
}

#[tokio::test]
async fn a4_an_entry_that_no_right_is_for_holds_up_only_its_call() {
    let peer = RedisServer::start().await;
    peer.run(&["ACL", "SETUSER", "router", "on", ">for-router", "~onsip:call-1", "+xadd", "+xtrim", "+multi", "+exec"])
        .await;
    let settings = format!(
        "type = \"redis\"\nurl = \"redis://{}\"\nusername = \"router\"\npassword = \"for-router\"\n\
         stream = \"onsip:{{partitionkey}}\"\n",
        peer.address()
    );
    let batch = [parcel(1, 1, 0), parcel(2, 2, 0), parcel(1, 3, 0), parcel(2, 4, 0)];
    let answers = deliver(&settings, &batch).await;
    let [Ok(()), Err(first), Ok(()), Err(second)] = &answers[..] else { panic!("{answers:?}") };
    assert!(first == second && matches!(first, Failure::Retry { .. }), "{answers:?}");
    assert!(first.to_string().contains("onsip:call-2") && first.to_string().contains("NOPERM"), "{answers:?}");
    assert_eq!(peer.held("onsip:call-1").await.ids.len(), 2);
}

#[tokio::test]
async fn the_database_is_the_one_of_the_url() {
    let mut peer = RedisServer::start().await;
    let url = format!("type = \"redis\"\nurl = \"redis://{}/3\"\npassword = {PASSWORD:?}\n", peer.address());
    assert_eq!(deliver(&url, &parcels(0, 5)).await, vec![Ok(()); 5]);
    assert_eq!(peer.events().await.len(), 0);
    peer.run(&["SWAPDB", "0", "3"]).await;
    assert_eq!(peer.events().await.len(), 5);
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted_and_a_certificate_where_one_is_asked_for() {
    let (folder, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, encrypted) = (Authority::new(folder.path()), free_address());
    let shown = |path: &std::path::Path| path.display().to_string();
    let mut peer = RedisServer::with(&[
        "--tls-port".to_owned(),
        encrypted.port().to_string(),
        "--tls-cert-file".to_owned(),
        shown(&authority.server.0),
        "--tls-key-file".to_owned(),
        shown(&authority.server.1),
        "--tls-ca-cert-file".to_owned(),
        shown(&authority.ca),
    ])
    .await;
    let url = format!("type = \"redis\"\nurl = \"rediss://{encrypted}\"\npassword = {PASSWORD:?}\n");
    assert_eq!(deliver(&format!("{url}{}", authority.settings()), &parcels(0, 2)).await, vec![Ok(()); 2]);
    assert_eq!(peer.events().await.len(), 2);

    for settings in [Authority::new(stranger.path()).settings(), String::new()] {
        let answers = deliver(&format!("{url}{settings}"), &parcels(2, 2)).await;
        assert!(reason(&answers).contains("certificate"), "{answers:?}");
    }
    let nameless = authority.settings().lines().next().unwrap().to_owned();
    let answers = deliver(&format!("{url}{nameless}\n"), &parcels(2, 2)).await;
    assert!(!reason(&answers).is_empty());
    assert_eq!(peer.events().await.len(), 2);
}
