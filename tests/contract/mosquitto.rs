//! Mosquitto, and what its protocol has of its own.
//!
//! The broker keeps no messages: it passes them on. What it has acknowledged has left for every subscriber that was
//! there, but is on its disk only a moment later, if at all. So what the peer holds is what a subscriber has got, who
//! is there before the first message and again after each restart.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onsip_router::sinks::{Failure, Parcel};
use rumqttc::{AsyncClient, Broker, Event, MqttOptions, Packet, Publish, PublishOptions, PublishProperties, QoS};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::authority::Authority;
use super::parcels::{parcel, parcels};
use super::peer::{Machine, Peer, Server, free_address, id, options};
use crate::support::condition::{self, SOON};

const PASSWORD: &str = "right-secret";
/// What nobody may log in with.
const WRONG: &str = "hunter2-wrong-secret";
/// Bigger packets are refused.
const LARGEST: usize = 65_536;
/// Where the subscriber says to itself that it has got all before.
const MARK: &str = "mark";

/// The broker, and a subscriber.
pub struct Mosquitto {
    server: Server,
    _folder: TempDir,
    subscriber: Subscriber,
}

impl Mosquitto {
    /// Starts it with more lines of configuration, for two users: one for us, one with few rights.
    async fn with(lines: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "user root\nper_listener_settings false\nallow_anonymous false\npassword_file {}\nacl_file {}\n\
             persistence false\nmax_packet_size {LARGEST}\nmax_inflight_messages 0\nmax_queued_messages 0\n\
             set_tcp_nodelay true\nlistener {} 127.0.0.1\n{lines}\n",
            file("passwords"),
            file("rights"),
            address.port()
        );
        fs::write(file("mosquitto.conf"), text).expect("it is written");
        fs::write(file("rights"), "user router\ntopic readwrite #\nuser low\ntopic write some/#\n")
            .expect("it is written");
        for (user, more) in [("router", Some("-c")), ("low", None)] {
            let words = more.into_iter().chain(["-b", "passwords", user, PASSWORD]);
            let made = Command::new("mosquitto_passwd").args(words).current_dir(folder.path()).output().await;
            assert!(made.expect("mosquitto_passwd runs").status.success());
        }
        let arguments = ["-c".to_owned(), file("mosquitto.conf")];
        let server = Server::start("mosquitto", &arguments, &[], folder.path(), address).await;
        let subscriber = Subscriber::start(address).await;
        Self { server, _folder: folder, subscriber }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn with_login(&self, user: &str, password: &str) -> String {
        format!("type = \"mqtt\"\nurl = \"mqtt://{}\"\nusername = {user:?}\npassword = {password:?}\n", self.address())
    }

    /// All messages that the broker has taken up to now.
    async fn messages(&mut self) -> Vec<Publish> {
        self.subscriber.until_now().await
    }
}

/// Stays connected as long as it can, and keeps what it gets. It acknowledges nothing: an acknowledgement that a killed
/// broker does not read any more would keep it from reading what the broker has sent before.
struct Subscriber {
    client: AsyncClient,
    got: Arc<Mutex<Vec<Publish>>>,
    subscriptions: Arc<Mutex<usize>>,
    marks: usize,
    _task: JoinSet<()>,
}

impl Subscriber {
    async fn start(address: SocketAddr) -> Self {
        let mut settings = MqttOptions::new("subscriber", Broker::tcp(address.ip().to_string(), address.port()));
        settings.set_credentials("router", PASSWORD).set_receive_maximum(Some(u16::MAX));
        settings.set_max_packet_size(Some(1 << 20)).set_connect_timeout(SOON);
        settings.set_read_batch_size(1); // of more it would throw away what came in right before the end
        let (client, mut events) = AsyncClient::builder(settings).capacity(100).build();
        let (got, subscriptions) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let mut task = JoinSet::new();
        let (own, keeps, counts) = (client.clone(), Arc::clone(&got), Arc::clone(&subscriptions));
        task.spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(message))) => keeps.lock().unwrap().push(message),
                    Ok(Event::Incoming(Packet::ConnAck(_))) => own.try_subscribe("#", QoS::AtMostOnce).unwrap(),
                    Ok(Event::Incoming(Packet::SubAck(_))) => *counts.lock().unwrap() += 1,
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await, // it is down; again
                }
            }
        });
        let subscriber = Self { client, got, subscriptions, marks: 0, _task: task };
        subscriber.until_there(0).await;
        subscriber
    }

    fn times(&self) -> usize {
        *self.subscriptions.lock().unwrap()
    }

    /// Waits until it has subscribed more often than `before`.
    async fn until_there(&self, before: usize) {
        let there = async || (self.times() > before).then_some(());
        condition::until("the subscriber to be there", SOON, there).await.unwrap();
    }

    /// All it has got, once a message of its own has come round behind.
    async fn until_now(&mut self) -> Vec<Publish> {
        self.marks += 1;
        let mark = self.marks.to_string();
        self.client.publish(MARK, mark.clone(), PublishOptions::at_least_once()).await.expect("it is sent");
        let round = async || {
            let got = self.got.lock().unwrap();
            got.iter().any(|message| message.topic == MARK && message.payload == mark).then_some(())
        };
        condition::until("all to be passed on", SOON, round).await.unwrap();
        self.got.lock().unwrap().iter().filter(|message| message.topic != MARK).cloned().collect()
    }
}

impl Peer for Mosquitto {
    type Machine = Server;

    async fn start() -> Self {
        Self::with("").await
    }

    fn settings(&self) -> String {
        self.with_login("router", PASSWORD)
    }

    fn wrong_settings(&self) -> Option<(String, &'static str)> {
        Some((self.with_login("router", WRONG), WRONG))
    }

    async fn events(&mut self) -> Vec<Value> {
        let messages = self.messages().await;
        messages.iter().map(|message| serde_json::from_slice(&message.payload).expect("an event")).collect()
    }

    fn too_many_bytes(&self) -> Option<usize> {
        Some(LARGEST)
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    async fn start_again(&mut self) {
        let before = self.subscriber.times();
        self.server.start_again().await;
        self.subscriber.until_there(before).await;
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
async fn binary_mode_carries_the_attributes_as_user_properties() {
    let mut peer = Mosquitto::start().await;
    let sent = parcel(7, 42, 0);
    for mode in ["binary", "structured"] {
        let settings = format!("{}mode = {mode:?}\n", peer.settings());
        assert_eq!(deliver(&settings, std::slice::from_ref(&sent)).await, [Ok(())]);
    }
    let messages = peer.messages().await;
    let [binary, structured] = &messages[..] else { panic!("{messages:?}") };
    let properties = |message: &Publish| -> PublishProperties {
        assert_eq!(message.topic, "onsip/front-desk/com_onsip_call_requested");
        assert!(!message.retain);
        message.properties.clone().unwrap()
    };
    assert_eq!(properties(structured).content_type.as_deref(), Some("application/cloudevents+json"));
    assert_eq!(structured.payload, sent.body.as_bytes());
    let properties = properties(binary);
    let own = properties.user_properties.into_iter().map(|(name, value)| (name, json!(value)));
    let mut event: serde_json::Map<_, _> = own.collect();
    event.insert("datacontenttype".to_owned(), json!(properties.content_type));
    event.insert("data".to_owned(), serde_json::from_slice(&binary.payload).unwrap());
    assert_eq!(Value::Object(event), serde_json::from_str::<Value>(&sent.body).unwrap());
}

#[tokio::test]
async fn a_topic_without_the_right_to_it_is_told_and_another_works() {
    let mut peer = Mosquitto::start().await;
    let low = peer.with_login("low", PASSWORD);
    let answers = deliver(&format!("{low}topic = \"others/{{type}}\"\n"), &[parcel(1, 1, 0), parcel(1, 2, 0)]).await;
    let why = "no right to publish to the topic others/com_onsip_call_requested";
    assert!(reason(&answers).contains(why), "{answers:?}");
    let answers = deliver(&format!("{low}topic = \"some/{{type}}\"\n"), &parcels(0, 40)).await;
    assert_eq!(answers, vec![Ok(()); 40]);
    assert_eq!(peer.messages().await.len(), 40);
    let answers = deliver(&peer.with_login("nobody", WRONG), &parcels(0, 2)).await;
    assert!(reason(&answers).contains("check `username`, `password`"), "{answers:?}");
}

/// The broker tells this limit to nobody, and says of a message beyond it what the protocol has no place for.
#[tokio::test]
async fn a4_a_message_beyond_a_limit_that_nobody_told_is_found_and_rejected_alone() {
    let mut peer = Mosquitto::with("message_size_limit 3000").await;
    let mut sink = options(&peer.settings()).open();
    let mut batch = parcels(0, 6);
    batch.insert(3, parcel(99, 99, 10_000));
    let first = sink.deliver(&batch).await;
    assert!(first.iter().all(|answer| !matches!(answer, Err(Failure::Reject { .. }))), "{first:?}");
    let waiting: Vec<_> = batch.iter().zip(&first).filter(|(_, answer)| answer.is_err()).map(|(one, _)| one).collect();
    let waiting: Vec<_> = waiting.into_iter().cloned().collect();
    for (parcel, answer) in waiting.iter().zip(sink.deliver(&waiting).await) {
        match answer {
            Err(Failure::Reject { .. }) => assert_eq!(parcel.id, batch[3].id),
            other => assert_eq!(other, Ok(()), "{}", parcel.id),
        }
    }
    let ids: BTreeSet<_> = peer.events().await.iter().map(|event| id(event).to_owned()).collect();
    batch.remove(3);
    assert_eq!(ids, batch.iter().map(|parcel| parcel.id.to_string()).collect());
}

#[tokio::test]
async fn a_broker_that_has_no_room_for_many_at_once_gets_them_little_by_little() {
    let mut peer = Mosquitto::with("").await;
    let narrow = Mosquitto::with("max_inflight_messages 2").await;
    for peer in [&narrow, &peer] {
        let batch: Vec<_> = (0..256).map(|number| parcel(number, number, 0)).collect();
        assert_eq!(deliver(&peer.settings(), &batch).await, vec![Ok(()); 256]);
    }
    assert_eq!(peer.messages().await.len(), 256);
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted_and_a_certificate_where_one_is_asked_for() {
    let (folder, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (authority, encrypted) = (Authority::new(folder.path()), free_address());
    let mut peer = Mosquitto::with(&format!(
        "listener {} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
        encrypted.port(),
        authority.ca.display(),
        authority.server.0.display(),
        authority.server.1.display()
    ))
    .await;
    let url =
        format!("type = \"mqtt\"\nurl = \"mqtts://{encrypted}\"\nusername = \"router\"\npassword = {PASSWORD:?}\n");
    assert_eq!(deliver(&format!("{url}{}", authority.settings()), &parcels(0, 2)).await, vec![Ok(()); 2]);
    for settings in [Authority::new(stranger.path()).settings(), String::new()] {
        let answers = deliver(&format!("{url}{settings}"), &parcels(2, 2)).await;
        assert!(reason(&answers).contains("certificate"), "{answers:?}");
    }
    let nameless = authority.settings().lines().next().unwrap().to_owned();
    let answers = deliver(&format!("{url}{nameless}\n"), &parcels(2, 2)).await;
    assert!(!reason(&answers).is_empty());
    assert_eq!(peer.messages().await.len(), 2);
}
