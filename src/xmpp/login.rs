//! Log-in: SASL with the mechanisms we allow, then resource binding (RFC 6120 sections 6 and 7), or the resumption of a
//! stream that was lost (XEP-0198 section 5).

use minidom::Element;
use tokio::time::timeout;
use xmpp_parsers::jid::{BareJid, FullJid};

use super::connector::Connector;
use super::exchange::{features, receive, send};
use super::stream::{Frame, Stream};
use super::{failure, sasl};
use crate::domain::secret::Secret;
use crate::protocol::acknowledgement::{Acknowledgement, Resumption};
use crate::protocol::link::Failure;
use crate::protocol::sasl::Mechanisms;
use crate::protocol::stanza::{self, Features, Management};

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The account; has a local part.
    pub jid: BareJid,
    /// Its password.
    pub password: Secret,
    /// The resource to ask for.
    pub resource: String,
    /// The log-in mechanisms that its server is known to offer and to refuse.
    pub refused_mechanisms: Mechanisms,
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

/// Connects, logs in, and resumes what was lost or binds. Takes `lost` when the server is asked for it; keeps in `refused`
/// which log-in mechanisms the server refuses. Calls `answered` for each step that the server brought about.
pub(super) async fn login(
    connector: &Connector,
    credential: &Credential,
    instead: Option<&str>,
    lost: &mut Option<Resumption>,
    refused: &mut Mechanisms,
    answered: &impl Fn(),
) -> Result<(Stream, Beginning), Failure> {
    let domain = credential.jid.domain().as_str();
    let opened = connector.open(domain, instead, answered).await?;
    let mut stream = opened.stream;
    let offered = opened.offered;
    sasl::authenticate(&mut stream, &offered, opened.private, credential, refused).await?;
    answered();
    let mut stream = stream.restart(domain).await.map_err(|fault| failure::of_io(&fault))?;
    let offered = features(&mut stream).await?;
    let manageable = offered.management;
    if let Some(lost) = lost.take_if(|_| manageable) {
        let own = lost.own().clone();
        // Less than for the whole log-in, so that a server that leaves this one question open is known by it.
        let patience = connector.options().request_timeout / 2;
        let silent = |_| Err(Failure::Protocol("the server did not say whether the stream goes on".to_owned()));
        let answer = timeout(patience, resume(&mut stream, lost)).await.unwrap_or_else(silent)?;
        if let Some(counters) = answer {
            return Ok((stream, Beginning::Resumed(own, counters)));
        }
    }
    let own = bind(&mut stream, &offered, &credential.resource).await?;
    Ok((stream, Beginning::Bound { own, manageable }))
}

/// Asks for the stream that was lost; `None` if the server has it no more.
async fn resume(stream: &mut Stream, lost: Resumption) -> Result<Option<Acknowledgement>, Failure> {
    send(stream, &stanza::resume(lost.id(), lost.handled())).await?;
    loop {
        match receive(stream).await? {
            Frame::Management(Management::Resumed { id, handled }) => {
                let counters = lost.resumed(&id, handled);
                return counters
                    .map(Some)
                    .ok_or_else(|| Failure::Protocol("the server resumed another stream".to_owned()));
            }
            Frame::Management(Management::Failed) => return Ok(None),
            Frame::Management(Management::Enabled { .. } | Management::Asks | Management::Acknowledges(_))
            | Frame::Element(_)
            | Frame::Note(_)
            | Frame::Oversize { .. } => {}
        }
    }
}

async fn bind(stream: &mut Stream, offered: &Features, resource: &str) -> Result<FullJid, Failure> {
    if !offered.binding {
        return Err(Failure::Protocol("the server offers no resource binding".to_owned()));
    }
    let answer = ask(stream, stanza::bind("bind", resource), "bind").await?;
    let own = stanza::bound(&answer).and_then(|own| FullJid::new(&own).ok());
    let own = own.ok_or_else(|| Failure::Protocol("the server answered the binding with no JID".to_owned()))?;
    // A server of RFC 3921's time delivers nothing before this; a newer one marks it optional.
    if offered.session {
        ask(stream, stanza::session("session"), "session").await?;
    }
    Ok(own)
}

/// Sends a request and waits for its answer; what else arrives before presence is sent is of no use.
async fn ask(stream: &mut Stream, iq: Element, id: &str) -> Result<Element, Failure> {
    send(stream, &iq).await?;
    loop {
        let Frame::Element(element) = receive(stream).await? else { continue };
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
