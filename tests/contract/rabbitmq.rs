//! `RabbitMQ`, and what its protocol has of its own.

use std::fs;
use std::net::SocketAddr;

use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use onsip_router::sinks::{Failure, Parcel};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::authority::Authority;
use super::parcels::{parcel, parcels};
use super::peer::{Machine, Peer, Server, free_address, options};
use crate::support::condition::{self, SOON};

/// How long a broker may take from its first open port to its first answer.
const READY: std::time::Duration = std::time::Duration::from_mins(2);
/// The queue of the contract, bound to the default exchange of the sink.
const QUEUE: &str = "events";
const PASSWORD: &str = "right-secret";
/// What nobody may log in with.
const WRONG: &str = "hunter2-wrong-secret";
/// Bigger messages are refused.
const LARGEST: usize = 65_536;

/// The broker.
pub struct RabbitMq {
    server: Server,
    folder: TempDir,
    /// What was read from the queue, which forgets it then.
    read: Vec<Value>,
}

impl RabbitMq {
    /// Starts a node with more lines of configuration; another if it ends at once, for it needs three ports, and
    /// somebody else may have taken one.
    async fn with(lines: &str) -> Self {
        for _ in 0..2 {
            let mut node = Self::node(lines).await;
            let settled = condition::until("RabbitMQ", READY, async || {
                if node.server.has_ended() { Some(false) } else { node.try_channel().await.map(|_| true) }
            });
            if settled.await.unwrap() {
                return node;
            }
        }
        Self::node(lines).await
    }

    /// A node with a name server of its own, so that it meets no other.
    async fn node(lines: &str) -> Self {
        let (folder, address, names, distribution) =
            (tempfile::tempdir().expect("a folder"), free_address(), free_address(), free_address());
        let home = folder.path();
        let text = format!(
            "listeners.tcp.1 = {address}\ndefault_user = router\ndefault_pass = {PASSWORD}\n\
             max_message_size = {LARGEST}\nlog.console.level = warning\n{lines}\n"
        );
        fs::write(home.join("rabbitmq.conf"), text).expect("it is written");
        fs::write(home.join("plugins"), "[].").expect("it is written");
        let path = |name: &str| home.join(name).display().to_string();
        let name_port = names.port().to_string();
        let environment = [
            ("HOME", path("")),
            ("RABBITMQ_NODENAME", format!("rabbit{}@localhost", address.port())),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_CONF_ENV_FILE", path("none.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins")),
            ("RABBITMQ_MNESIA_BASE", path("data")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
            ("RABBITMQ_SCHEMA_DIR", path("schema")),
            ("RABBITMQ_PID_FILE", path("pid")),
            ("RABBITMQ_DIST_PORT", distribution.port().to_string()),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 1:1 +sbwt none -start_epmd false".to_owned()),
            ("ERL_EPMD_PORT", name_port),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_CRASH_DUMP_BYTES", "0".to_owned()),
        ];
        let script =
            "epmd & until epmd -names >/dev/null 2>&1; do sleep 0.05; done; exec /usr/lib/rabbitmq/bin/rabbitmq-server";
        let arguments = ["-c".to_owned(), script.to_owned()];
        let server = Server::start("sh", &arguments, &environment, home, address).await;
        Self { server, folder, read: Vec::new() }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn with_login(&self, user: &str, password: &str) -> String {
        format!("type = \"amqp\"\nurl = \"amqp://{}\"\nusername = {user:?}\npassword = {password:?}\n", self.address())
    }

    /// A channel of the test's own, as soon as the broker has started.
    async fn channel(&self) -> (Connection, Channel) {
        condition::until("RabbitMQ", READY, async || self.try_channel().await).await.unwrap()
    }

    async fn try_channel(&self) -> Option<(Connection, Channel)> {
        let url = format!("amqp://router:{PASSWORD}@{}/%2f", self.address());
        let opened = tokio::time::timeout(SOON, async {
            let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            lapin::Result::Ok((connection, channel))
        });
        opened.await.ok()?.ok()
    }

    /// Makes a durable queue that gets the messages of `exchange` whose key is like `pattern`.
    async fn queue(&self, name: &str, exchange: &str, pattern: &str, arguments: FieldTable) {
        let (_connection, channel) = self.channel().await;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(name.into(), durable, arguments).await.expect("a queue");
        if !exchange.is_empty() {
            let bound = channel.queue_bind(
                name.into(),
                exchange.into(),
                pattern.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bound.await.expect("a binding");
        }
    }

    /// Takes all out of the queue `name`.
    async fn taken(&self, name: &str) -> Vec<BasicGetMessage> {
        let (_connection, channel) = self.channel().await;
        let mut taken = Vec::new();
        while let Some(message) = channel.basic_get(name.into(), BasicGetOptions::default()).await.expect("an answer") {
            message.acker.ack(BasicAckOptions::default()).await.expect("it is acknowledged");
            taken.push(message);
        }
        // A round trip behind the acknowledgements: the broker has seen them.
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("an answer");
        taken
    }
}

impl Peer for RabbitMq {
    type Machine = Server;

    async fn start() -> Self {
        let peer = Self::with("").await;
        peer.queue(QUEUE, "amq.topic", "onsip.#", FieldTable::default()).await;
        peer
    }

    fn settings(&self) -> String {
        self.with_login("router", PASSWORD)
    }

    fn wrong_settings(&self) -> Option<(String, &'static str)> {
        Some((self.with_login("router", WRONG), WRONG))
    }

    async fn events(&mut self) -> Vec<Value> {
        let taken = self.taken(QUEUE).await;
        self.read.extend(taken.iter().map(|message| serde_json::from_slice(&message.data).expect("an event")));
        self.read.clone()
    }

    fn too_many_bytes(&self) -> Option<usize> {
        Some(LARGEST + 1)
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    async fn start_again(&mut self) {
        self.server.start_again().await;
        self.channel().await;
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
async fn what_an_operator_can_mend_is_told_and_works_once_it_is_mended() {
    let peer = RabbitMq::with("").await;
    let (_connection, channel) = peer.channel().await;
    let settings = format!("{}exchange = \"calls\"\nrouting_key = \"{{data.account}}.x\"\n", peer.settings());
    let mut sink = options(&settings).open();
    let answers = sink.deliver(&parcels(0, 20)).await;
    assert!(reason(&answers).contains("NOT_FOUND - no exchange 'calls'"), "{answers:?}");

    let (kind, durable) = (ExchangeKind::Topic, ExchangeDeclareOptions::default());
    channel.exchange_declare("calls".into(), kind, durable, FieldTable::default()).await.unwrap();
    let answers = sink.deliver(&[parcel(1, 1, 0), parcel(2, 2, 0), parcel(1, 3, 0)]).await;
    assert!(reason(&answers).contains("the routing key front-desk.x of the exchange calls: NO_ROUTE"), "{answers:?}");

    peer.queue("q", "calls", "front-desk.*", FieldTable::default()).await;
    assert_eq!(sink.deliver(&parcels(0, 20)).await, vec![Ok(()); 20]);
    assert_eq!(peer.taken("q").await.len(), 20);

    let nowhere = settings.replace(&format!("{}\"", peer.address()), &format!("{}/nowhere\"", peer.address()));
    let answers = deliver(&nowhere, &parcels(0, 2)).await;
    assert!(reason(&answers).contains("check the virtual host"), "{answers:?}");
    let answers = deliver(&peer.with_login("router", WRONG), &parcels(0, 2)).await;
    assert!(reason(&answers).contains("check `username`, `password`"), "{answers:?}");
}

#[tokio::test]
async fn a_full_queue_keeps_the_rest_of_each_call_waiting() {
    let peer = RabbitMq::with("").await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(5));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    peer.queue("full", "amq.topic", "onsip.#", full).await;
    let answers = deliver(&peer.settings(), &parcels(0, 70)).await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused: Vec<_> = answers.into_iter().filter(Result::is_err).collect();
    assert!(
        matches!(&refused[0], Err(Failure::Retry { reason, .. }) if reason.contains("a queue is full")),
        "{refused:?}"
    );
    assert_eq!(peer.taken("full").await.len(), taken);
}

#[tokio::test]
async fn a_broker_short_of_memory_takes_nothing_and_says_so_and_goes_on_once_it_has_enough() {
    let shortage = "vm_memory_high_watermark.absolute = 1MB\n";
    let mut peer = RabbitMq::with(shortage).await;
    peer.queue(QUEUE, "amq.topic", "onsip.#", FieldTable::default()).await;
    let mut sink = options(&peer.settings()).open();
    let answers = sink.deliver(&parcels(0, 3)).await;
    assert!(reason(&answers).contains("it is short of memory or disk space"), "{answers:?}");
    assert!(peer.events().await.is_empty());

    let file = peer.folder.path().join("rabbitmq.conf");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(shortage, "")).unwrap();
    peer.server.kill().await;
    peer.start_again().await;
    assert_eq!(sink.deliver(&parcels(0, 3)).await, vec![Ok(()); 3]);
    assert_eq!(peer.events().await.len(), 3);
}

#[tokio::test]
async fn binary_mode_carries_the_attributes_as_headers_and_every_message_is_persistent() {
    let peer = RabbitMq::start().await;
    let sent = parcel(7, 42, 0);
    for mode in ["binary", "structured"] {
        let settings = format!("{}mode = {mode:?}\n", peer.settings());
        assert_eq!(deliver(&settings, std::slice::from_ref(&sent)).await, [Ok(())]);
    }
    let taken = peer.taken(QUEUE).await;
    let [binary, structured] = &taken[..] else { panic!("{taken:?}") };
    for message in &taken {
        assert_eq!(message.routing_key.as_str(), "onsip.front-desk.com_onsip_call_requested");
        assert_eq!(message.properties.delivery_mode(), &Some(2));
        assert_eq!(message.properties.message_id().as_ref().map(ShortString::as_str), Some(&*sent.id));
    }
    let kind = |message: &BasicGetMessage| message.properties.content_type().clone().unwrap().to_string();
    assert_eq!((kind(binary), kind(structured)), ("application/json".into(), "application/cloudevents+json".into()));
    assert_eq!(structured.data, sent.body.as_bytes());
    let mut event = serde_json::Map::new();
    for (name, value) in binary.properties.headers().clone().unwrap().inner() {
        let attribute = name.as_str().strip_prefix("cloudEvents:").expect("a prefix");
        let AMQPValue::LongString(text) = value else { panic!("{value:?}") };
        event.insert(attribute.to_owned(), json!(text.to_string()));
    }
    event.insert("datacontenttype".to_owned(), json!(kind(binary)));
    event.insert("data".to_owned(), serde_json::from_slice(&binary.data).unwrap());
    assert_eq!(Value::Object(event), serde_json::from_str::<Value>(&sent.body).unwrap());
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted_and_a_certificate_where_one_is_asked_for() {
    let (folder, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, encrypted) = (Authority::new(folder.path()), free_address());
    let mut peer = RabbitMq::with(&format!(
        "listeners.ssl.1 = {encrypted}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
         ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
        authority.ca.display(),
        authority.server.0.display(),
        authority.server.1.display()
    ))
    .await;
    peer.queue(QUEUE, "amq.topic", "onsip.#", FieldTable::default()).await;
    let url =
        format!("type = \"amqp\"\nurl = \"amqps://{encrypted}\"\nusername = \"router\"\npassword = {PASSWORD:?}\n");
    assert_eq!(deliver(&format!("{url}{}", authority.settings()), &parcels(0, 2)).await, vec![Ok(()); 2]);
    for settings in [Authority::new(stranger.path()).settings(), String::new()] {
        let answers = deliver(&format!("{url}{settings}"), &parcels(2, 2)).await;
        assert!(reason(&answers).contains("certificate"), "{answers:?}");
    }
    let nameless = authority.settings().lines().next().unwrap().to_owned();
    let answers = deliver(&format!("{url}{nameless}\n"), &parcels(2, 2)).await;
    assert!(!reason(&answers).is_empty());
    assert_eq!(peer.events().await.len(), 2);
}
