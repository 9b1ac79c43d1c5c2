//! The life of a leg: what begins it, what it learns, and how it went.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Sighting;
use crate::domain::event::{CallFields, DialogState, Direction, EndReason, Outcome};
use crate::domain::fingerprint::ShortFingerprint;
use crate::domain::identity::Token;
use crate::domain::leg::{EndedLeg, Leg};
use crate::domain::name::{ItemId, NodeName};
use crate::protocol::notification::Content;

/// Whether what comes after the end of `leg`, in the call `partition`, still belongs to it: an answer or an old copy of
/// the same call. Anything else begins a new life of the item.
pub(super) fn comes_late(
    leg: &Leg,
    ended: Timestamp,
    partition: &Token,
    content: &Content,
    replayed: bool,
    published_at: Option<Timestamp>,
) -> bool {
    let old = replayed && published_at.is_none_or(|at| at <= ended);
    let Content::Call(state, _) = content else { return old };
    let never_seen = leg.partition == leg.token;
    let same_call = never_seen || *partition == leg.partition;
    same_call && (old || *state == DialogState::Confirmed)
}

pub(super) fn unseen_leg(sighting: Sighting<'_>, token: &Token, node: &NodeName, item: &ItemId, id: &Token) -> Leg {
    Leg {
        token: token.clone(),
        service: sighting.service.name().to_owned(),
        node: node.clone(),
        item: item.clone(),
        partition: token.clone(),
        first_event: id.clone(),
        call: Arc::default(),
        direction: Direction::Unknown,
        began: sighting.received,
        answered: None,
        ended: None,
        touched: sighting.received,
        account: Some(sighting.reception.account.clone()),
        collection: sighting.note.collection.clone(),
        told_by: vec![sighting.reception.domain.clone()],
    }
}

/// Makes a leg of what is remembered of one that has ended, in the eyes of whoever sees something of the call `partition`.
pub(super) fn ended_leg(past: &EndedLeg, unseen: Leg, partition: &Token) -> Leg {
    let call = match past {
        EndedLeg { never_seen: true, .. } => unseen.token.clone(),
        EndedLeg { call, .. } if *call == ShortFingerprint::from(partition) => partition.clone(),
        // It is of another call, whichever that was.
        EndedLeg { .. } => Token::from(""),
    };
    Leg {
        partition: call,
        direction: past.direction,
        answered: past.answered.then_some(past.ended),
        ended: Some(past.ended),
        touched: past.ended,
        ..unseen
    }
}

/// Takes over what a call item says; other items have nothing to remember.
pub(super) fn learn(leg: Leg, content: &Content, time: Timestamp) -> Leg {
    let Content::Call(state, fields) = content else { return leg };
    let direction = match (state, leg.direction) {
        (DialogState::Created, _) => Direction::Outbound,
        (DialogState::Requested, _) => Direction::Inbound,
        // Only an incoming leg names the address being rung (protocol sheet section 8.1).
        (DialogState::Confirmed, Direction::Unknown) if fields.to_aor.is_some() => Direction::Inbound,
        (DialogState::Confirmed, known) => known,
    };
    let answered = leg.answered.or((*state == DialogState::Confirmed).then_some(time));
    Leg { call: completed(fields, &leg.call), direction, answered, began: leg.began.min(time), ..leg }
}

/// The newest of every field; what is not said any more is remembered. Mostly all is said again, and nothing is copied.
fn completed(new: &Arc<CallFields>, old: &CallFields) -> Arc<CallFields> {
    if new.texts().into_iter().zip(old.texts()).all(|(new, old)| new.is_some() || old.is_none()) {
        return Arc::clone(new);
    }
    let newest = |new: &Option<String>, old: &Option<String>| new.clone().or_else(|| old.clone());
    Arc::new(CallFields {
        call_id: newest(&new.call_id, &old.call_id),
        from_uri: newest(&new.from_uri, &old.from_uri),
        to_uri: newest(&new.to_uri, &old.to_uri),
        to_aor: newest(&new.to_aor, &old.to_aor),
        from_tag: newest(&new.from_tag, &old.from_tag),
        to_tag: newest(&new.to_tag, &old.to_tag),
        branch: newest(&new.branch, &old.branch),
        call_setup_id: newest(&new.call_setup_id, &old.call_setup_id),
        from_display: newest(&new.from_display, &old.from_display),
        to_display: newest(&new.to_display, &old.to_display),
    })
}

/// How the leg went. A leg whose beginning was its end was never seen: it has no times. Where the end was not seen, what
/// lasted until then has none.
pub(super) fn outcome(leg: &Leg, ended: Timestamp, elsewhere: bool, reason: EndReason, end: &Token) -> Outcome {
    let seconds = |from: Timestamp, to: Timestamp| to.duration_since(from).max(SignedDuration::ZERO).as_secs_f64();
    let seen = leg.first_event != *end;
    let end_seen = Some(ended).filter(|_| reason.is_seen());
    Outcome {
        answered: Some(leg.answered.is_some()),
        answered_elsewhere: Some(elsewhere),
        ring_seconds: leg.answered.or(end_seen).filter(|_| seen).map(|to| seconds(leg.began, to)),
        talk_seconds: leg.answered.zip(end_seen).map(|(answered, ended)| seconds(answered, ended)),
        end_reason: Some(reason),
    }
}
