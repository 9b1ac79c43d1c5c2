//! nats-server with `JetStream`, and what its protocol has of its own.

use std::fs;
use std::net::SocketAddr;

use async_nats::jetstream::{self, stream};
use async_nats::{ConnectOptions, Message};
use onsip_router::sinks::{Failure, Parcel};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::Authority;
use super::parcels::{parcel, parcels};
use super::peer::{Peer, Server, free_address, options};
use crate::support::condition::{self, SOON};

/// The stream of the contract.
const STREAM: &str = "ONSIP";
/// The settings of whoever may log in.
const PASSWORD: &str = "right-secret";
/// What nobody may log in with.
const WRONG: &str = "hunter2-wrong-secret";
const SEED: &str = "SUANBHVYJCPN2QQOOQC4LMRH54MJEIHMRNDNBZVA3OPB3NJEOR7W7FH55U";
const PUBLIC: &str = "UDNOUC2JVF4AWJIWV57WWSQW3YFUPNL663Z7374Y6EJJY2VXWFWBUYNP";

/// The server.
pub struct NatsServer {
    server: Server,
    _folder: TempDir,
}

impl NatsServer {
    /// Starts it with more lines of configuration, and no stream.
    async fn with(lines: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let file = folder.path().join("nats.conf");
        let data = folder.path().join("data");
        let text = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: \"{}\" }}\nmax_payload: 65536\n{lines}\n",
            data.display()
        );
        fs::write(&file, text).expect("it is written");
        let arguments = ["-c".to_owned(), file.display().to_string()];
        let server = Server::start("nats-server", &arguments, &[], folder.path(), address).await;
        Self { server, _folder: folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn with_login(&self, login: &str) -> String {
        format!("type = \"nats\"\nurl = \"nats://{}\"\n{login}\n", self.address())
    }

    async fn jetstream(&self, login: ConnectOptions) -> jetstream::Context {
        jetstream::new(login.connect(self.address().to_string()).await.expect("a connection"))
    }

    /// Makes a stream as soon as `JetStream` is up.
    async fn make(&self, stream: stream::Config) -> stream::Stream {
        let context = self.jetstream(user()).await;
        let made = condition::until("JetStream", SOON, async || context.create_stream(stream.clone()).await.ok());
        made.await.unwrap()
    }

    /// All that the stream `name` holds.
    async fn held(&self, name: &str, login: ConnectOptions) -> Vec<Message> {
        let context = self.jetstream(login).await;
        let found = condition::until("the stream", SOON, async || context.get_stream(name).await.ok());
        let stream = found.await.unwrap();
        let state = &stream.cached_info().state;
        let mut held = Vec::new();
        for sequence in 1..=state.last_sequence {
            let raw = stream.get_raw_message(sequence).await.expect("a message");
            held.push(Message {
                subject: raw.subject,
                reply: None,
                length: raw.payload.len(),
                payload: raw.payload,
                headers: Some(raw.headers),
                status: None,
                description: None,
            });
        }
        held
    }
}

impl Peer for NatsServer {
    type Machine = Server;

    async fn start() -> Self {
        let peer = Self::with(&format!("authorization {{ user: router, password: {PASSWORD:?} }}")).await;
        peer.make(stream_of(STREAM, "onsip.>")).await;
        peer
    }

    fn settings(&self) -> String {
        self.with_login(&format!("user = \"router\"\npassword = {PASSWORD:?}"))
    }

    fn wrong_settings(&self) -> Option<(String, &'static str)> {
        Some((self.with_login(&format!("user = \"router\"\npassword = {WRONG:?}")), WRONG))
    }

    async fn events(&mut self) -> Vec<Value> {
        let held = self.held(STREAM, user()).await;
        held.iter().map(|message| serde_json::from_slice(&message.payload).expect("an event")).collect()
    }

    fn too_many_bytes(&self) -> Option<usize> {
        Some(70_000)
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

fn user() -> ConnectOptions {
    ConnectOptions::new().user_and_password("router".to_owned(), PASSWORD.to_owned())
}

fn stream_of(name: &str, subject: &str) -> stream::Config {
    stream::Config { name: name.to_owned(), subjects: vec![subject.to_owned()], ..stream::Config::default() }
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
async fn a_repeat_within_the_window_is_no_second_message() {
    let mut peer = NatsServer::start().await;
    for _ in 0..2 {
        assert_eq!(deliver(&peer.settings(), &parcels(0, 20)).await, vec![Ok(()); 20]);
    }
    assert_eq!(peer.events().await.len(), 20);
}

#[tokio::test]
async fn a_subject_without_a_stream_is_told_and_a_named_stream_is_made() {
    let peer = NatsServer::start().await;
    let elsewhere = format!("{}subject = \"elsewhere.{{type}}\"\n", peer.settings());
    let answers = deliver(&elsewhere, &parcels(0, 3)).await;
    assert!(reason(&answers).contains("no stream takes the subject elsewhere.com_onsip_call_requested"), "{answers:?}");

    let made = format!("{elsewhere}stream = \"ELSEWHERE\"\n");
    assert_eq!(deliver(&made, &parcels(0, 3)).await, vec![Ok(()); 3]);
    assert_eq!(peer.held("ELSEWHERE", user()).await.len(), 3);

    let mixed_up = format!("{}stream = \"ELSEWHERE\"\n", peer.settings());
    let answers = deliver(&mixed_up, &parcels(3, 3)).await;
    assert!(reason(&answers).contains("expected stream does not match"), "{answers:?}");
}

#[tokio::test]
async fn a_message_the_stream_can_never_take_is_rejected() {
    let peer = NatsServer::start().await;
    peer.make(stream::Config { max_message_size: 4_000, ..stream_of("SMALL", "small.>") }).await;
    let small = format!("{}subject = \"small.{{type}}\"\n", peer.settings());
    let answers = deliver(&small, &[parcel(1, 1, 0), parcel(2, 2, 4_000), parcel(3, 3, 0)]).await;
    let [Ok(()), Err(Failure::Reject { reason }), Ok(())] = &answers[..] else { panic!("{answers:?}") };
    assert!(reason.contains("maximum"), "{reason}");
}

#[tokio::test]
async fn a_full_stream_keeps_the_rest_of_each_call_waiting() {
    let peer = NatsServer::start().await;
    let full = stream::Config { max_messages: 5, discard: stream::DiscardPolicy::New, ..stream_of("FULL", "full.>") };
    peer.make(full).await;
    let settings = format!("{}subject = \"full.{{type}}\"\n", peer.settings());
    let answers = deliver(&settings, &parcels(0, 70)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
    let refused: Vec<_> = answers.into_iter().filter(Result::is_err).collect();
    assert!(matches!(&refused[0], Err(Failure::Retry { reason, .. }) if reason.contains("maximum messages exceeded")));
}

#[tokio::test]
async fn a_subject_that_is_forbidden_is_told_in_the_servers_words() {
    let allowed = "permissions: { publish: { allow: [\"$JS.API.>\"] } }";
    let user = format!("{{ user: router, password: {PASSWORD:?}, {allowed} }}");
    let peer = NatsServer::with(&format!("authorization {{ users: [{user}] }}")).await;
    peer.make(stream_of(STREAM, "onsip.>")).await;
    let answers = deliver(&peer.settings(), &parcels(0, 1)).await;
    assert!(reason(&answers).contains("Permissions Violation for Publish to \"onsip.front-desk."), "{answers:?}");
}

#[tokio::test]
async fn binary_mode_carries_the_attributes_as_headers() {
    let peer = NatsServer::start().await;
    let sent = parcel(7, 42, 0);
    let settings = format!("{}mode = \"binary\"\n", peer.settings());
    assert_eq!(deliver(&settings, std::slice::from_ref(&sent)).await, [Ok(())]);
    let held = peer.held(STREAM, user()).await;
    let [message] = &held[..] else { panic!("{held:?}") };
    assert_eq!(message.subject.as_str(), "onsip.front-desk.com_onsip_call_requested");
    let mut event = serde_json::Map::new();
    for (name, values) in message.headers.as_ref().unwrap().iter() {
        if let Some(attribute) = name.to_string().strip_prefix("ce-") {
            event.insert(attribute.to_owned(), json!(values[0].as_str()));
        }
    }
    event.insert("data".to_owned(), serde_json::from_slice(&message.payload).unwrap());
    assert_eq!(Value::Object(event), serde_json::from_str::<Value>(&sent.body).unwrap());
    assert_eq!(message.headers.as_ref().unwrap().get("Nats-Msg-Id").unwrap().as_str(), &*sent.id);
}

#[tokio::test]
async fn a_token_and_a_key_open_the_door_and_others_do_not() {
    let token = |token| format!("token = {token:?}\nstream = \"T\"");
    let peer = NatsServer::with(&format!("authorization {{ token: {PASSWORD:?} }}")).await;
    assert_eq!(deliver(&peer.with_login(&token(PASSWORD)), &parcels(0, 2)).await, vec![Ok(()); 2]);
    let answers = deliver(&peer.with_login(&token(WRONG)), &parcels(0, 2)).await;
    assert!(reason(&answers).contains("refuses the log-in") && !reason(&answers).contains(WRONG), "{answers:?}");

    let peer = NatsServer::with(&format!("authorization {{ users: [{{ nkey: {PUBLIC} }}] }}")).await;
    let keyed = peer.with_login(&format!("nkey = {SEED:?}\nstream = \"K\""));
    assert_eq!(deliver(&keyed, &parcels(0, 2)).await, vec![Ok(()); 2]);
    let answers = deliver(&peer.with_login("stream = \"K\""), &parcels(0, 2)).await;
    assert!(reason(&answers).contains("refuses the log-in"), "{answers:?}");
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted_and_a_certificate_where_one_is_asked_for() {
    let (folder, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new(folder.path());
    let (certificate, key) = &authority.server;
    let (certificate, key, ca) = (certificate.display(), key.display(), authority.ca.display());
    let files = format!("cert_file: \"{certificate}\", key_file: \"{key}\", ca_file: \"{ca}\"");
    let peer = NatsServer::with(&format!("tls {{ {files}, verify: true }}")).await;
    let url = format!("type = \"nats\"\nurl = \"tls://{}\"\nstream = \"S\"\n", peer.address());
    assert_eq!(deliver(&format!("{url}{}", authority.settings()), &parcels(0, 2)).await, vec![Ok(()); 2]);

    for settings in [Authority::new(stranger.path()).settings(), String::new()] {
        let answers = deliver(&format!("{url}{settings}"), &parcels(2, 2)).await;
        assert!(reason(&answers).contains("certificate"), "{answers:?}");
    }
    let nameless = authority.settings().lines().next().unwrap().to_owned();
    let answers = deliver(&format!("{url}{nameless}\n"), &parcels(2, 2)).await;
    assert!(!reason(&answers).is_empty());
}
