//! One producer, up to its first fault. Must not know what a record says.
//!
//! The client library keeps the connections to the brokers and sends again by itself what was not acknowledged; the
//! brokers drop what they have. It does so for a few seconds; what is not acknowledged then is given up with the
//! producer, so that nothing of it is sent behind what comes later.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::sync::RwLock;
use tokio::task::spawn_blocking;

use super::super::excerpt::excerpt;
use super::super::link::Link;
use super::super::{Failure, Parcel};
use super::message::Message;
use super::{Options, authorities};

/// For the acknowledgement of one record, with all that the library does for it: finding and changing brokers,
/// connections, log-ins. Shorter than the usual `timeout`, so that the reason for a failure is known.
const ANSWER: Duration = Duration::from_secs(8);
/// How long the library waits for a topic that a broker does not know yet.
const TOPIC: Duration = Duration::from_secs(3);
/// The longest pause before a broker is tried again.
const BACK_OFF: Duration = Duration::from_secs(1);
/// What the library would take in one record, in bytes: the brokers shall decide.
const LARGEST: usize = 1_000_000_000;

/// The producer.
pub(super) struct Connection {
    /// There until it is closed.
    producer: Option<FutureProducer<Complaint>>,
    complaint: Complaint,
    /// Shared by records on their way; held by one that has to go alone.
    way: RwLock<()>,
    /// Whether a record was not acknowledged and may be yet.
    doubtful: AtomicBool,
}

/// What the library said last of its connections: with a record that was not acknowledged comes only that it was not.
#[derive(Clone, Debug, Default)]
struct Complaint(Arc<Mutex<Option<String>>>);

impl ClientContext for Complaint {
    /// Whatever matters comes as an error as well.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let said = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => return, // comes behind the reason for it
            Some(RDKafkaErrorCode::Authentication) => {
                "the brokers refuse the log-in; check `username`, `password` and `mechanism`".to_owned()
            }
            _ => excerpt(reason),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

impl Link for Connection {
    type Options = Options;

    /// Makes the producer. It connects by itself, later.
    async fn open(options: &Options) -> Result<Self, String> {
        let (options, complaint) = (options.clone(), Complaint::default());
        let context = complaint.clone();
        // It reads certificates.
        let made = spawn_blocking(move || producer(&options, context)).await;
        let producer = made.unwrap_or_else(|fault| Err(fault.to_string()))?;
        Ok(Self { producer: Some(producer), complaint, way: RwLock::new(()), doubtful: AtomicBool::new(false) })
    }

    fn is_sound(&self) -> bool {
        !self.doubtful.load(Ordering::Relaxed)
    }

    async fn hand_over(&self, parcel: &Parcel, options: &Options) -> Result<(), Failure> {
        self.publish(&Message::of(parcel, options)?).await
    }
}

impl Connection {
    /// Writes `message` and waits until it is acknowledged.
    async fn publish(&self, message: &Message<'_>) -> Result<(), Failure> {
        let together = self.way.read().await;
        let answer = self.send(message).await;
        drop(together);
        let answer = match answer {
            // Said of all that left together, though it may be true of one.
            Err(code) if is_final(code) => {
                let _alone = self.way.write().await;
                self.send(message).await
            }
            answer => answer,
        };
        answer.map_err(|code| self.failure(code, message))
    }

    async fn send(&self, message: &Message<'_>) -> Result<(), RDKafkaErrorCode> {
        let code = |fault: KafkaError| fault.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let producer = self.producer.as_ref().ok_or(RDKafkaErrorCode::Fail)?;
        let record = FutureRecord::to(&message.topic).key(message.key).payload(message.body);
        let sent = producer.send_result(record.headers(message.headers.clone())).map_err(|(fault, _)| code(fault))?;
        match sent.await {
            Ok(answer) => answer.map(drop).map_err(|(fault, _)| code(fault)),
            Err(_) => Err(RDKafkaErrorCode::Fail),
        }
    }

    fn failure(&self, code: RDKafkaErrorCode, message: &Message<'_>) -> Failure {
        let topic = &message.topic;
        let reason = match code {
            RDKafkaErrorCode::MessageTimedOut => {
                let complaint = self.complaint.0.lock().unwrap_or_else(PoisonError::into_inner);
                let more = complaint.as_deref().map_or_else(String::new, |complaint| format!("; {complaint}"));
                format!("the topic {topic} has not acknowledged within {ANSWER:?}{more}")
            }
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition => format!("there is no topic {topic}"),
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                format!("the user has no right to write to the topic {topic}")
            }
            RDKafkaErrorCode::MessageSizeTooLarge => {
                format!("the topic {topic} takes no record of {} bytes", message.body.len())
            }
            code => format!("the topic {topic} does not take the record: {code}"),
        };
        if is_final(code) {
            return Failure::Reject { reason };
        }
        self.doubtful.store(true, Ordering::Relaxed);
        Failure::Retry { reason, after: None }
    }
}

/// Whether the brokers will never take the record.
fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord)
}

impl Drop for Connection {
    /// Elsewhere: the library waits for its threads, and they for the network.
    fn drop(&mut self) {
        let producer = self.producer.take();
        let _ = thread::Builder::new().name("kafka-closing".to_owned()).spawn(move || drop(producer));
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

fn producer(options: &Options, complaint: Complaint) -> Result<FutureProducer<Complaint>, String> {
    let settings = settings(options)?;
    FutureProducer::from_config_and_context(&settings, complaint).map_err(|fault| match fault {
        // It would show the value.
        KafkaError::ClientConfig(_, _, key, _) => format!("the Kafka library does not take its setting {key}"),
        fault => fault.to_string(),
    })
}

fn settings(options: &Options) -> Result<ClientConfig, String> {
    let mut settings = ClientConfig::new();
    let mut set = |key: &str, value: &str| {
        settings.set(key, value);
    };
    let millis = |time: Duration| time.as_millis().to_string();
    set("bootstrap.servers", &options.brokers.to_string());
    set("client.id", "onsip-router");
    set("enable.idempotence", "true");
    set("acks", "all");
    set("message.timeout.ms", &millis(ANSWER));
    set("topic.metadata.propagation.max.ms", &millis(TOPIC));
    set("reconnect.backoff.max.ms", &millis(BACK_OFF));
    set("socket.keepalive.enable", "true");
    set("message.max.bytes", &LARGEST.to_string());
    set("linger.ms", "0"); // a call waits for each of its records
    set("partitioner", "murmur2_random"); // as in Java: other producers put the same key into the same partition
    set("compression.type", &options.compression);
    let protocol = match (options.login.is_some(), options.tls) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    set("security.protocol", protocol);
    if let Some(login) = &options.login {
        set("sasl.mechanism", &login.mechanism);
        set("sasl.username", &login.username);
        set("sasl.password", login.password.expose());
    }
    if let Some(path) = &options.encryption.ca_file {
        let text = authorities::with(path).map_err(|fault| format!("cannot read {}: {fault}", path.display()))?;
        set("ssl.ca.pem", &text);
    }
    if let Some((certificate, key)) = &options.encryption.identity {
        set("ssl.certificate.location", &certificate.to_string_lossy());
        set("ssl.key.location", &key.to_string_lossy());
    }
    Ok(settings)
}
