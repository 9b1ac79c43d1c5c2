//! Log-in: SASL with the mechanisms we allow, then resource binding (RFC 6120 sections 6 and 7), or the resumption of a
//! stream that was lost (XEP-0198 section 5).

use ::sasl::common::{ChannelBinding, Credentials};
use futures::{SinkExt, StreamExt};
use minidom::Element;
use tokio::time::timeout;
use tokio_xmpp::parsers::bind::{BindQuery, BindResponse};
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::stream_features::StreamFeatures;
use tokio_xmpp::xmlstream::{ReadError, XmlStream};
use xmpp_parsers::jid::{BareJid, FullJid};

use super::connector::{Connector, Io, header};
use super::frame::Frame;
use super::{failure, sasl};
use crate::domain::secret::Secret;
use crate::protocol::acknowledgement::{Acknowledgement, Resumption};
use crate::protocol::link::Failure;
use crate::protocol::stanza::{self, Management};

/// A stream of top-level elements, logged in and bound.
pub(super) type Stream = XmlStream<Io, Frame>;

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The account; has a local part.
    pub jid: BareJid,
    /// Its password.
    pub password: Secret,
    /// The resource to ask for.
    pub resource: String,
}

/// How a session begins.
#[derive(Debug)]
pub(super) enum Beginning {
    /// Anew, bound to this full JID.
    Bound {
        /// As the server gave it.
        own: FullJid,
        /// Whether the server offers stream management.
        manageable: bool,
    },
    /// Where a lost one ended.
    Resumed(FullJid, Acknowledgement),
}

/// Connects, logs in, and resumes what was lost or binds.
pub(super) async fn login(
    connector: &Connector,
    credential: &Credential,
    instead: Option<&str>,
    lost: Option<Resumption>,
) -> Result<(Stream, Beginning), Failure> {
    let domain = credential.jid.domain().as_str();
    let opened = connector.open(domain, instead).await?;
    let (features, mut stream): (_, Stream) = opened.stream.recv_features().await.map_err(failure::of_features)?;
    let local = credential.jid.node().map(|node| node.as_str().to_owned()).unwrap_or_default();
    let credentials = Credentials::default()
        .with_username(local)
        .with_password(credential.password.expose())
        .with_channel_binding(ChannelBinding::None);
    let offered = |name: &str| features.sasl_mechanisms.contains(name);
    sasl::authenticate(&mut stream, offered, opened.private, &credentials).await?;
    let stream = stream.initiate_reset().send_header(header(domain)).await.map_err(|fault| failure::of_io(&fault))?;
    let (features, mut stream): (_, Stream) = stream.recv_features().await.map_err(failure::of_features)?;
    let manageable = features.stream_management.is_some();
    if let Some(lost) = lost.filter(|_| manageable) {
        let own = lost.own().clone();
        // Less than for the whole log-in, so that a server that leaves this one question open is known by it.
        let patience = connector.options().request_timeout / 2;
        let silent = |_| Err(Failure::Protocol("the server did not say whether the stream goes on".to_owned()));
        let answer = timeout(patience, resume(&mut stream, lost)).await.unwrap_or_else(silent)?;
        if let Some(counters) = answer {
            return Ok((stream, Beginning::Resumed(own, counters)));
        }
    }
    let own = bind(&mut stream, &features, &credential.resource).await?;
    Ok((stream, Beginning::Bound { own, manageable }))
}

/// Asks for the stream that was lost; `None` if the server has it no more.
async fn resume(stream: &mut Stream, lost: Resumption) -> Result<Option<Acknowledgement>, Failure> {
    send(stream, &stanza::resume(lost.id(), lost.handled())).await?;
    loop {
        match stanza::management(&receive(stream).await?) {
            Some(Management::Resumed { id, handled }) => {
                let counters = lost.resumed(&id, handled);
                return counters
                    .map(Some)
                    .ok_or_else(|| Failure::Protocol("the server resumed another stream".to_owned()));
            }
            Some(Management::Failed) => return Ok(None),
            Some(Management::Enabled { .. } | Management::Asks | Management::Acknowledges(_)) | None => {}
        }
    }
}

async fn bind(stream: &mut Stream, features: &StreamFeatures, resource: &str) -> Result<FullJid, Failure> {
    if !features.can_bind() {
        return Err(Failure::Protocol("the server offers no resource binding".to_owned()));
    }
    let iq = Iq::from_set("bind", BindQuery::new(Some(resource.to_owned())));
    let answer = ask(stream, iq.into(), "bind").await?;
    let response = answer.children().find(|child| child.name() == "bind").cloned();
    let own = response.and_then(|bind| BindResponse::try_from(bind).ok()).map(FullJid::from);
    let own = own.ok_or_else(|| Failure::Protocol("the server answered the binding with no JID".to_owned()))?;
    // A server of RFC 3921's time delivers nothing before this; a newer one marks it optional.
    if features.others.iter().any(stanza::demands_session) {
        ask(stream, stanza::session("session"), "session").await?;
    }
    Ok(own)
}

/// Sends a request and waits for its answer; what else arrives before presence is sent is of no use.
async fn ask(stream: &mut Stream, iq: Element, id: &str) -> Result<Element, Failure> {
    send(stream, &iq).await?;
    loop {
        let element = receive(stream).await?;
        match (element.attr("id") == Some(id), element.attr("type")) {
            (true, Some("result")) => return Ok(element),
            (true, _) => {
                let why = stanza::Refusal::read(&element);
                // A resource that is taken is no reason to ask again at once (RFC 6120 section 7.7.2.2).
                return Err(if why.wait || why.is("conflict") {
                    Failure::Throttled(format!("{id}: {why}"))
                } else {
                    Failure::Protocol(format!("the server refused to {id}: {why}"))
                });
            }
            (false, _) => {}
        }
    }
}

async fn send(stream: &mut Stream, element: &Element) -> Result<(), Failure> {
    stream.send(element).await.map_err(|fault| failure::of_io(&fault))
}

/// The next element; the end of the stream is a failure.
async fn receive(stream: &mut Stream) -> Result<Element, Failure> {
    loop {
        match stream.next().await {
            Some(Ok(Frame::Whole(element))) => {
                return match stanza::stream_error(&element) {
                    Some(error) => Err(failure::of_stream(error)),
                    None => Ok(element),
                };
            }
            Some(Ok(Frame::Oversize { .. }) | Err(ReadError::SoftTimeout)) => {}
            Some(Err(ReadError::HardError(fault))) => return Err(failure::of_io(&fault)),
            Some(Err(ReadError::ParseError(_))) => {
                return Err(Failure::Protocol("the server sent what is not XMPP".to_owned()));
            }
            Some(Err(ReadError::StreamFooterReceived)) | None => {
                return Err(Failure::Network("the server closed the stream".to_owned()));
            }
        }
    }
}
