//! The names of events: type, id and partition, made only from what the publisher said, so that the same thing is called
//! the same by whichever way it is seen.

use crate::domain::event::{CallFields, DialogState, EventType};
use crate::domain::identity::Token;
use crate::domain::name::{ItemId, NodeName};
use crate::domain::service::{Service, ServiceKind};
use crate::protocol::notification::Content;

/// The names of what one part tells of. Hashes, so they are made once for each part.
#[derive(Clone, Debug)]
pub struct Names {
    /// The leg.
    pub(super) leg: Token,
    /// The event; of an end, what it is if nothing was known of the leg.
    pub(super) event: Token,
    /// The call; of an end, what it is if nothing was known of the leg.
    pub(super) partition: Token,
}

impl Names {
    pub(super) fn of_item(
        service: &Service,
        node: &NodeName,
        item: &ItemId,
        published: Option<&str>,
        content: &Content,
    ) -> Self {
        let leg = Token::of_leg(service, node, item);
        Self { event: item_event(&leg, published, content), partition: partition(node, content, &leg), leg }
    }

    pub(super) fn of_end(service: &Service, node: &NodeName, item: &ItemId) -> Self {
        let leg = Token::of_leg(service, node, item);
        Self { event: end_event(&leg, None), partition: leg.clone(), leg }
    }
}

pub(super) fn item_type(content: &Content) -> EventType {
    match content {
        Content::Call(DialogState::Created, _) => EventType::CallCreated,
        Content::Call(DialogState::Requested, _) => EventType::CallRequested,
        Content::Call(DialogState::Confirmed, _) => EventType::CallConfirmed,
        Content::Registration(_) => EventType::RegistrationUpdated,
        Content::Other(_) => EventType::ItemPublished,
    }
}

pub(super) fn end_type(service: &Service) -> EventType {
    match service.kind() {
        ServiceKind::Calls => EventType::CallEnded,
        ServiceKind::Registrations => EventType::RegistrationRemoved,
        ServiceKind::Items => EventType::ItemRetracted,
    }
}

/// The same for the same publication by whichever way it is seen: made only from what the publisher said.
pub(super) fn item_event(leg: &Token, published: Option<&str>, content: &Content) -> Token {
    fn of(field: Option<&String>) -> &str {
        field.map_or("", String::as_str)
    }
    let published = published.unwrap_or_default();
    match content {
        Content::Call(state, fields) => {
            let texts = fields.texts().into_iter().map(Option::unwrap_or_default);
            Token::of(["call", leg.as_str(), published, state.as_str()].into_iter().chain(texts))
        }
        Content::Registration(f) => Token::of([
            "registration",
            leg.as_str(),
            published,
            of(f.contact.as_ref()),
            of(f.received.as_ref()),
            of(f.device.as_ref()),
            of(f.expires.as_ref()),
            of(f.time.as_ref()),
        ]),
        Content::Other(payload) => Token::of(["item", leg.as_str(), published, of(payload.as_ref())]),
    }
}

/// Made from the leg's life, since a retract says nothing but the item id.
pub(super) fn end_event(leg: &Token, first: Option<&Token>) -> Token {
    Token::of(["end", leg.as_str(), first.map_or("", Token::as_str)])
}

/// The call: call-id and from-tag within the SIP domain; without a call-id, the leg (protocol sheet section 9).
pub(super) fn partition(node: &NodeName, content: &Content, leg: &Token) -> Token {
    let Content::Call(_, fields) = content else { return leg.clone() };
    let CallFields { call_id: Some(call_id), from_tag, .. } = &**fields else { return leg.clone() };
    let domain = node.as_str().trim_start_matches('/').split('/').next().unwrap_or_default();
    Token::of(["call", domain, call_id, from_tag.as_deref().unwrap_or_default()])
}
