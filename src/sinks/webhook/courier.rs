//! Carries events to the peer: connections, requests, answers.
//!
//! Must not know the queue, or what an event says.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, DATE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::http::Extensions;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{Client, Error as HttpError};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::Options;
use super::connector::Connector;
use super::lane::lanes;
use super::message::{Message, value};
use super::verdict::{self, Reach, Refusal};
use super::wire::Wire;
use crate::domain::limits::{WEBHOOK_ANSWER, WEBHOOK_ANSWER_TIME, WEBHOOK_HEADERS};
use crate::domain::moment::Moment;
use crate::sinks::excerpt::excerpt;
use crate::sinks::{Batch, Failure};

/// An idle connection is closed after this long: most servers keep them longer.
const IDLE: Duration = Duration::from_secs(15);
/// An HTTP/2 connection is probed this often while something is under way, and closed if that is not answered.
const PROBE: Duration = Duration::from_secs(10);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A peer, and the connections to it.
pub(super) struct Courier {
    options: Options,
    uri: Uri,
    client: Client<Connector, Full<Bytes>>,
}

impl Courier {
    /// Reads the certificates; connects to nobody yet.
    pub(super) async fn of(options: &Options) -> Result<Self, Failure> {
        let failed = |fault: &(dyn Error + 'static)| Failure::Retry {
            reason: format!("no connection can be set up: {}", root(fault)),
            after: None,
        };
        let own = options.clone();
        let trust = tokio::task::spawn_blocking(move || own.trust()).await.map_err(io::Error::other);
        let trust = trust.flatten().map_err(|fault| failed(&fault))?;
        let uri =
            options.endpoint.url().as_str().parse().map_err(|fault: hyper::http::uri::InvalidUri| failed(&fault))?;
        Ok(Self { options: options.clone(), uri, client: client(options, trust) })
    }

    /// Posts what is in `batch` and answers for each.
    pub(super) async fn carry(&self, batch: &Batch) {
        let Options { batch: size, concurrency, .. } = self.options;
        let stop = OnceLock::new();
        let lanes = lanes(batch.parcels(), size, concurrency);
        let ways: Vec<_> = lanes.iter().map(|lane| self.drive(batch, lane, &stop)).collect();
        futures::stream::iter(ways).buffer_unordered(concurrency).collect::<()>().await;
        if let Some(failure) = stop.into_inner() {
            batch.fail(failure);
        }
    }

    /// Posts what is in one lane, one after the other, until something must wait.
    async fn drive(&self, batch: &Batch, lane: &[usize], stop: &OnceLock<Failure>) {
        let mut waiting: VecDeque<&[usize]> = lane.chunks(self.options.batch).collect();
        while let Some(places) = waiting.pop_front().filter(|_| stop.get().is_none()) {
            let begun = batch.begin_together(places.iter().copied());
            if begun.is_empty() {
                continue;
            }
            let answer = match self.post(batch, &begun).await {
                Ok(()) => Ok(()),
                Err(Refusal { reach: Reach::Content, .. }) if begun.len() > 1 => {
                    // One bad event must not take the others with it: it is looked for by halves.
                    let (first, second) = places.split_at(places.len() / 2);
                    waiting.push_front(second);
                    waiting.push_front(first);
                    continue;
                }
                Err(Refusal { failure, reach }) => {
                    match reach {
                        Reach::Content | Reach::Post => {}
                        Reach::Lane => waiting.clear(),
                        Reach::Sink => drop(stop.set(failure.clone())),
                    }
                    Err(failure)
                }
            };
            batch.answer_together(begun, &answer);
        }
    }

    /// Posts what is at `places`. What has no answer in time is given up with its connection; other posts go on.
    async fn post(&self, batch: &Batch, places: &[usize]) -> Result<(), Refusal> {
        let refused = |failure| Refusal { failure, reach: Reach::Post };
        let mut chosen = places.iter().map(|place| &batch.parcels()[*place]);
        let message = if self.options.batch > 1 {
            Message::many(chosen)
        } else if let Some(parcel) = chosen.next() {
            Message::one(parcel, self.options.mode).map_err(refused)?
        } else {
            return Ok(());
        };
        let message = self.signed(message).map_err(refused)?;
        let mut request = Request::new(Full::from(message.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = message.headers;
        let connection = capture_connection(&mut request);
        let answer = tokio::time::timeout(batch.timeout(), self.client.request(request)).await;
        let wire = wire(&connection);
        match answer {
            Ok(Ok(answer)) => {
                if let Some(wire) = &wire {
                    wire.answered(WEBHOOK_ANSWER as u64);
                }
                if answer.status().is_success() {
                    // The status has said it all: nobody who stops waiting for the rest may post this again.
                    batch.answer_together(places.iter().copied(), &Ok(()));
                }
                self.judge(answer).await
            }
            // Its status says 2xx, and the rest is of no use: the peer has what was posted. The connection is gone.
            Ok(Err(_)) | Err(_) if wire.as_ref().is_some_and(Wire::take_success) => Ok(()),
            Ok(Err(fault)) => Err(self.broken(&fault)),
            Err(_) => {
                let reason = format!("{}: no answer within {:?}", self.options.endpoint, batch.timeout());
                Err(Refusal { failure: Failure::Retry { reason, after: None }, reach: Reach::Lane })
            }
        }
    }

    /// With the headers of Standard Webhooks, and who we are.
    fn signed(&self, mut message: Message) -> Result<Message, Failure> {
        let timestamp = Moment::now().utc().as_second();
        message
            .headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("onsip-router/", env!("CARGO_PKG_VERSION"))));
        message.headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        message.headers.insert(ID, value(&message.id)?);
        message.headers.insert(TIMESTAMP, timestamp.into());
        let sign = |key: &super::SigningKey| key.sign(&message.id, timestamp, &message.body);
        let signatures: Vec<_> = self.options.keys.iter().map(sign).collect();
        if !signatures.is_empty() {
            message.headers.insert(SIGNATURE, value(&signatures.join(" "))?);
        }
        if let Some(token) = &self.options.token {
            let mut bearer = value(&format!("Bearer {}", token.expose()))?;
            bearer.set_sensitive(true);
            message.headers.insert(AUTHORIZATION, bearer);
        }
        Ok(message)
    }

    async fn judge(&self, answer: Response<Incoming>) -> Result<(), Refusal> {
        let status = answer.status();
        let header = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let wait = header(RETRY_AFTER).and_then(|wait| verdict::retry_after(wait, header(DATE), Moment::now()));
        let said = body(answer).await;
        let said = excerpt(&String::from_utf8_lossy(&said));
        let colon = if said.is_empty() { "" } else { ": " };
        verdict::of(status, format!("{}: {status}{colon}{said}", self.options.endpoint), wait)
    }

    fn broken(&self, fault: &HttpError) -> Refusal {
        let (what, reach) =
            if fault.is_connect() { ("cannot connect", Reach::Sink) } else { ("the connection broke", Reach::Lane) };
        let why = excerpt(&root(fault));
        let reason = format!("{}: {what}: {why}", self.options.endpoint);
        Refusal { failure: Failure::Retry { reason, after: None }, reach }
    }
}

/// Returns the wire that a request went out on, if one did.
fn wire(connection: &CaptureConnection) -> Option<Wire> {
    let mut known = Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut known);
    known.remove()
}

/// It follows no redirects and uses no proxy: through one, nobody could say which address is called.
fn client(options: &Options, trust: rustls::ClientConfig) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(options.concurrency)
        // What an answer says about a refusal is read as far as can be, whatever its headers look like.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .http1_max_headers(WEBHOOK_HEADERS)
        .http2_keep_alive_interval(PROBE)
        .http2_keep_alive_timeout(PROBE)
        .build(Connector::new(trust, options.public_only))
}

/// The beginning of an answer. What is not read is no loss: the connection is closed then.
async fn body(mut answer: Response<Incoming>) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = answer.body_mut().frame().await {
            let Some(chunk) = frame.data_ref() else { continue };
            let room = WEBHOOK_ANSWER - read.len();
            read.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if read.len() == WEBHOOK_ANSWER {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(WEBHOOK_ANSWER_TIME, reading).await;
    read
}

/// What is at the bottom of a fault.
fn root(fault: &(dyn Error + 'static)) -> String {
    let mut deepest = fault;
    while let Some(deeper) = deepest.source() {
        deepest = deeper;
    }
    deepest.to_string()
}
