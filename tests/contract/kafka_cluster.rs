//! A Kafka cluster of one broker, and what its protocol has of its own: librdkafka's mock cluster, behind a gate that has
//! what it lacks.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use onsip_router::sinks::{Failure, Parcel};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::metadata::MetadataTopic;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use serde_json::{Value, json};

use super::authority::Authority;
use super::kafka_gate::{Entry, Gate, LARGEST, tls};
use super::parcels::{parcel, parcels};
use super::peer::{Machine, Peer, free_address, options};
use crate::support::condition::SOON;
use crate::support::stage::{Setup, service_with_anna};

const PASSWORD: &str = "right-secret";
/// What nobody may log in with.
const WRONG: &str = "hunter2-wrong-secret";
/// The topic of the contract: what the sink writes to by default.
const TOPIC: &str = "onsip-events";
const PARTITIONS: i32 = 4;
/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1);

/// The cluster.
pub struct KafkaCluster {
    broker: MockCluster<'static, DefaultProducerContext>,
    gate: Gate,
}

impl KafkaCluster {
    async fn with(entry: Entry) -> Self {
        let broker = MockCluster::new(1).expect("a cluster");
        broker.create_topic(TOPIC, PARTITIONS, 1).expect("a topic");
        let address: SocketAddr = broker.bootstrap_servers().parse().expect("an address");
        Self { gate: Gate::open(free_address(), address, entry).await, broker }
    }

    fn with_login(&self, user: &str, password: &str) -> String {
        let address = self.gate.address();
        format!("type = \"kafka\"\nbrokers = \"{address}\"\nusername = {user:?}\npassword = {password:?}\n")
    }

    /// The records of a topic, those of each partition in order.
    fn records(&self, topic: &str) -> Vec<OwnedMessage> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.broker.bootstrap_servers())
            .set("group.id", "test")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(topic), SOON).expect("metadata");
        let (mut all, mut expected) = (TopicPartitionList::new(), 0);
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (first, end) = consumer.fetch_watermarks(topic, partition.id(), SOON).expect("its bounds");
            expected += end - first;
            all.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
        }
        consumer.assign(&all).expect("the partitions are there");
        (0..expected).map(|_| consumer.poll(SOON).expect("a record").expect("no fault").detach()).collect()
    }
}

impl Machine for KafkaCluster {
    async fn kill(&mut self) {
        self.gate.close().await;
        self.broker.broker_down(-1).expect("it goes down");
    }

    async fn start_again(&mut self) {
        self.broker.broker_up(-1).expect("it comes up");
        self.gate.open_again().await;
    }

    fn freeze(&self) {
        self.broker.broker_round_trip_time(-1, NEVER).expect("it is slow");
    }

    fn thaw(&self) {
        self.broker.broker_round_trip_time(-1, Duration::ZERO).expect("it is fast");
    }
}

impl Peer for KafkaCluster {
    type Machine = Self;

    async fn start() -> Self {
        Self::with(Entry { login: Some(("router", PASSWORD)), tls: None }).await
    }

    fn settings(&self) -> String {
        self.with_login("router", PASSWORD)
    }

    fn wrong_settings(&self) -> Option<(String, &'static str)> {
        Some((self.with_login("router", WRONG), WRONG))
    }

    async fn events(&mut self) -> Vec<Value> {
        let records = self.records(TOPIC);
        records.iter().map(|record| serde_json::from_slice(record.payload().unwrap()).expect("an event")).collect()
    }

    fn too_many_bytes(&self) -> Option<usize> {
        Some(LARGEST)
    }

    fn server(&mut self) -> &mut Self {
        self
    }
}

async fn deliver(settings: &str, parcels: &[Parcel]) -> Vec<Result<(), Failure>> {
    options(settings).open().deliver(parcels).await
}

/// The reason for which all of `answers` are to be tried again.
fn reason(answers: &[Result<(), Failure>]) -> &str {
    let Err(Failure::Retry { reason, .. }) = &answers[0] else { panic!("{answers:?}") };
    assert!(answers.iter().all(|answer| matches!(answer, Err(Failure::Retry { .. }))), "{answers:?}");
    reason
}

/// One header of a record.
fn header<'a>(record: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    let header = record.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}

#[tokio::test]
async fn a_call_is_the_key_and_binary_mode_carries_the_attributes_as_headers() {
    let peer = KafkaCluster::start().await;
    let sent = parcel(7, 42, 0);
    for mode in ["structured", "binary"] {
        let settings = format!("{}mode = {mode:?}\ncompression = \"lz4\"\n", peer.settings());
        assert_eq!(deliver(&settings, std::slice::from_ref(&sent)).await, [Ok(())]);
    }
    let records = peer.records(TOPIC);
    let [structured, binary] = &records[..] else { panic!("{records:?}") };
    assert!(records.iter().all(|record| record.key() == Some(sent.partition.as_bytes())));
    assert_eq!(structured.partition(), binary.partition(), "one key, one partition");
    assert_eq!(header(structured, "content-type"), Some("application/cloudevents+json; charset=UTF-8"));
    assert_eq!(structured.payload(), Some(sent.body.as_bytes()));
    let mut event = serde_json::Map::new();
    for header in binary.headers().unwrap().iter() {
        let name = header.key.strip_prefix("ce_").unwrap_or("datacontenttype");
        event.insert(name.to_owned(), json!(std::str::from_utf8(header.value.unwrap()).unwrap()));
    }
    assert_eq!(header(binary, "content-type"), Some("application/json"));
    event.insert("data".to_owned(), serde_json::from_slice(binary.payload().unwrap()).unwrap());
    assert_eq!(Value::Object(event), serde_json::from_str::<Value>(&sent.body).unwrap());
}

#[tokio::test]
async fn many_that_are_too_large_only_together_are_all_taken() {
    let mut peer = KafkaCluster::start().await;
    let batch: Vec<_> = (0..256).map(|call| parcel(call, call, 2_000)).collect();
    assert_eq!(deliver(&peer.settings(), &batch).await, vec![Ok(()); 256]);
    let held = peer.events().await;
    let ids: BTreeSet<_> = held.iter().map(|event| event["id"].to_string()).collect();
    assert_eq!((held.len(), ids.len()), (256, 256));
}

#[tokio::test]
async fn what_an_operator_can_mend_is_told_and_works_once_it_is_mended() {
    let peer = KafkaCluster::start().await;
    let settings = format!("{}topic = \"calls.{{data.account}}\"\n", peer.settings());
    let topic = "calls.front-desk";
    peer.broker.create_topic(topic, 1, 1).unwrap();
    let mut sink = options(&settings).open();
    for (error, why) in [
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            "no right to write to the topic calls.front-desk",
        ),
        (RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, "there is no topic calls.front-desk"),
    ] {
        peer.broker.topic_error(topic, error).unwrap();
        let answers = sink.deliver(&parcels(0, 20)).await;
        assert!(reason(&answers).contains(why), "{answers:?}");
    }
    peer.broker.topic_error(topic, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    assert_eq!(sink.deliver(&parcels(0, 20)).await, vec![Ok(()); 20]);
    assert_eq!(peer.records(topic).len(), 20);

    let answers = deliver(&peer.with_login("router", WRONG), &parcels(0, 2)).await;
    assert!(reason(&answers).contains("check `username`, `password` and `mechanism`"), "{answers:?}");
}

#[tokio::test]
async fn a_reopened_sink_goes_on_in_order() {
    let mut peer = KafkaCluster::start().await;
    let mut sink = options(&peer.settings()).open();
    let all = [parcel(1, 1, 0), parcel(1, 2, 0), parcel(1, 3, 0)];
    for one in all.chunks(1) {
        assert_eq!(sink.deliver(one).await, [Ok(())]);
        sink.reopen().await;
    }
    let held: Vec<_> = peer.events().await.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(held, all.map(|parcel| parcel.id.to_string()));
}

#[tokio::test]
async fn a_daemon_delivers_to_it_and_stops_in_time_while_it_hangs() {
    let (peer, (onsip, anna)) = (KafkaCluster::start().await, service_with_anna().await);
    let lines = format!("{}canary = \"1s\"", peer.settings());
    let mut daemon = Setup::of(&onsip).account("front-desk", &anna).sink("lake", &lines).start_active(1).await;
    daemon.until_count("sink_canary_seconds_count", &[("sink", "lake")], 1).await;
    peer.freeze();
    daemon.until_metric("sink_up", &[("sink", "lake")], SOON, |up| up < 0.5).await;
    assert_eq!(daemon.terminate().await.code(), Some(0), "{}", daemon.log());
    assert!(!daemon.log().contains(PASSWORD), "{}", daemon.log());
}

#[tokio::test]
async fn tls_needs_an_authority_that_is_trusted_and_a_certificate_where_one_is_asked_for() {
    let (folder, stranger) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new(folder.path());
    let mut peer = KafkaCluster::with(Entry { login: None, tls: Some(tls(&authority)) }).await;
    let brokers = format!("type = \"kafka\"\nbrokers = \"{}\"\ntls = \"require\"\n", peer.gate.address());
    assert_eq!(deliver(&format!("{brokers}{}", authority.settings()), &parcels(0, 2)).await, vec![Ok(()); 2]);
    for settings in [Authority::new(stranger.path()).settings(), String::new()] {
        let answers = deliver(&format!("{brokers}{settings}"), &parcels(2, 2)).await;
        assert!(reason(&answers).contains("certificate"), "{answers:?}");
    }
    let nameless = authority.settings().lines().next().unwrap().to_owned();
    let answers = deliver(&format!("{brokers}{nameless}\n"), &parcels(2, 2)).await;
    assert!(!reason(&answers).is_empty());
    assert_eq!(peer.events().await.len(), 2);
}
