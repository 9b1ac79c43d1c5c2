//! `type = "webhook"`: a POST to a URL, by the HTTP binding of CloudEvents, signed by Standard Webhooks.
//!
//! An event is acknowledged once the peer has answered with a 2xx. Events of different partitions go side by side.
//! Redirects are not followed, proxies of the environment are not used, and link-local addresses are never called.
//! Must not know what an event says.

use std::io;

use async_trait::async_trait;
use hyper::header::HeaderValue;

use super::encryption::{CA_FILE, CLIENT_CERTIFICATE, CLIENT_KEY, Encryption};
use super::mode::Mode;
use super::{Batch, Sink};
use crate::domain::secret::Secret;
use crate::settings::problem::{Path, Problems};
use crate::settings::section::Section;
use crate::settings::{Absent, Key, Kind};

mod address;
mod connector;
mod courier;
mod endpoint;
mod lane;
mod message;
mod signature;
mod verdict;
mod wire;

use courier::Courier;
pub use endpoint::Endpoint;
pub use signature::SigningKey;

/// The options of a `webhook` sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where events are posted to.
    pub endpoint: Endpoint,
    /// How an event is laid out.
    pub mode: Mode,
    /// Events in one POST; more than 1 only in structured mode.
    pub batch: usize,
    /// POSTs under way at once.
    pub concurrency: usize,
    /// Keys to sign with; each makes a signature of its own.
    pub keys: Vec<SigningKey>,
    /// Bearer token; fits into a header.
    pub token: Option<Secret>,
    /// Whether only public addresses may be called.
    pub public_only: bool,
    /// Whom to trust and what to show, over `https`.
    pub encryption: Encryption,
}

impl Options {
    /// What the sink does, in one line.
    pub const HELP: &'static str = "Posts each event to a URL, signed by Standard Webhooks.";

    /// The keys of the sink.
    pub const KEYS: &'static [Key] = &[
        Key {
            name: "url",
            kind: Kind::Text(endpoint::URL),
            absent: Absent::Refused,
            help: "Where to post to: https:// or http://, without user name and password. Its query is never shown.",
        },
        Key {
            name: "mode",
            kind: Kind::OneOf(Mode::WORDS),
            absent: Absent::Default("structured"),
            help: "Whether the whole event is the body, or its attributes are headers (ce-...) and `data` is the body.",
        },
        Key {
            name: "batch",
            kind: Kind::Whole { min: 1, max: 256 },
            absent: Absent::Default("1"),
            help: "Above 1: up to so many events in one POST, as a JSON array (application/cloudevents-batch+json).",
        },
        Key {
            name: "concurrency",
            kind: Kind::Whole { min: 1, max: 256 },
            absent: Absent::Default("8"),
            help: "POSTs under way at once; events of one call go one after the other all the same.",
        },
        Key {
            name: "secret",
            kind: Kind::Secrets,
            absent: Absent::Fine,
            help: "Key to sign with (whsec_..., whsk_... or any text), or a list of several while they are rotated.",
        },
        Key {
            name: "token",
            kind: Kind::Secret,
            absent: Absent::Fine,
            help: "Bearer token to send in the Authorization header.",
        },
        Key {
            name: "public_only",
            kind: Kind::Flag,
            absent: Absent::Default("false"),
            help: "Whether private and loopback addresses are refused; link-local ones always are.",
        },
        CA_FILE,
        CLIENT_CERTIFICATE,
        CLIENT_KEY,
    ];

    /// Reads the settings of the sink at `path`.
    pub fn read(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Option<Self> {
        let endpoint: Option<Endpoint> = section.get("url");
        let public_only = section.get("public_only");
        if let Some(address) = endpoint.as_ref().and_then(Endpoint::address)
            && let Err(why) = address::vet(address, public_only == Some(true))
        {
            problems.add(path.join("url"), format_args!("{address} {why}"));
        }
        let (mode, batch) = (section.get("mode"), section.whole("batch"));
        if mode == Some(Mode::Binary) && batch.is_some_and(|batch: usize| batch > 1) {
            problems
                .add(path.join("batch"), "must be 1 with `mode = \"binary\"`: only whole events fit into one array");
        }
        let keys = keys(section, path, problems);
        let token = section.secret("token", path, problems);
        if token.as_ref().is_some_and(|token| HeaderValue::from_str(token.expose()).is_err()) {
            problems.add(path.join("token"), "holds characters that no header can carry");
        }
        Some(Self {
            endpoint: endpoint?,
            mode: mode?,
            batch: batch?,
            concurrency: section.whole("concurrency")?,
            keys,
            token,
            public_only: public_only?,
            encryption: Encryption::read(section, path, problems),
        })
    }

    /// Returns the secrets that go to the peer and must not be shown.
    pub(super) fn confidential(&self) -> Vec<String> {
        let token = self.token.iter().map(|token| token.expose().to_owned());
        let keys = self.keys.iter().flat_map(SigningKey::confidential);
        self.endpoint.confidential().into_iter().chain(token).chain(keys).collect()
    }

    /// The sink these options describe.
    #[must_use]
    pub fn open(&self) -> Webhook {
        Webhook { options: self.clone(), courier: None }
    }

    /// Whom to trust, what to show, and which protocols to offer.
    fn trust(&self) -> io::Result<rustls::ClientConfig> {
        let mut trust = self.encryption.load()?;
        trust.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(trust)
    }
}

fn keys(section: &Section<'_>, path: &Path, problems: &mut Problems) -> Vec<SigningKey> {
    let secrets = section.secrets("secret", path, problems).unwrap_or_default();
    let several = secrets.len() > 1;
    let mut keys = Vec::new();
    for (index, secret) in secrets.into_iter().enumerate() {
        match SigningKey::read(secret) {
            Ok(key) => keys.push(key),
            Err(why) if several => problems.add(path.join("secret"), format_args!("entry {}: {why}", index + 1)),
            Err(why) => problems.add(path.join("secret"), why),
        }
    }
    keys
}

/// A URL that takes POSTs.
pub struct Webhook {
    options: Options,
    /// Made at the first delivery.
    courier: Option<Courier>,
}

#[async_trait]
impl Sink for Webhook {
    async fn hand_over(&mut self, batch: &Batch) {
        if batch.parcels().is_empty() {
            return;
        }
        // Taken out: if the caller stops waiting, whatever hung is not used again.
        let courier = match self.courier.take() {
            Some(courier) => courier,
            None => match Courier::of(&self.options).await {
                Ok(courier) => courier,
                Err(failure) => return batch.fail(failure),
            },
        };
        courier.carry(batch).await;
        self.courier = Some(courier);
    }

    /// Reads certificates anew, as they are renewed in place.
    async fn reopen(&mut self) {
        self.courier = None;
    }
}
