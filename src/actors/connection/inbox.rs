//! What arrives on a connection: answers go to whoever asked, notifications to the router.

use std::sync::Arc;

use actix::prelude::*;
use minidom::Element;
use xmpp_parsers::jid::FullJid;

use super::{Ask, Asker, Connection};
use crate::actors::router::Deliver;
use crate::actors::subscription::Changed;
use crate::domain::moment::Moment;
use crate::protocol::admission::Reception;
use crate::protocol::notification::{Notification, Part};
use crate::protocol::requests::NoAnswer;
use crate::protocol::resync::{self, Inquiry};
use crate::protocol::stanza::{self, Incoming, Request};
use crate::xmpp::session::{Received, Room};

impl Connection {
    pub(super) fn receive_as(&mut self, own: FullJid) {
        self.reception = Some(Arc::new(Reception {
            account: self.name.clone(),
            domain: self.account.jid.domain().as_str().into(),
            own,
            services: self.account.subscribe.iter().map(|(service, _)| service.clone()).collect(),
            subids: self.subids.clone(),
        }));
    }

    pub(super) fn received(
        &mut self,
        received: Vec<Received>,
        at: Moment,
        room: Room,
        upto: u32,
        ctx: &mut Context<Self>,
    ) {
        let Some(reception) = self.reception.clone() else { return };
        self.heard = at.utc();
        let mut notes = Vec::new();
        for one in received {
            match one {
                Received::Note(note) => {
                    self.pass_changes(&reception, &note, ctx);
                    notes.push(note);
                }
                Received::Element(element) => match stanza::incoming(element) {
                    Incoming::Answer { id, from, outcome } => {
                        if let Some(asker) = self.requests.answered(&id, from.as_ref(), at) {
                            // In its place among the messages: what came before it is older, what comes after it newer.
                            notes.extend(shown(&asker, outcome.as_ref().ok(), &reception.own));
                            self.answered(asker, outcome.map_err(NoAnswer::Refused), ctx);
                        }
                    }
                    Incoming::Request(request) => match stanza::reply(&request) {
                        Some(answer) => self.send(answer),
                        None => self.house.metrics.outbound_stanza_dropped(),
                    },
                    Incoming::Other => {}
                },
            }
        }
        if notes.is_empty() {
            self.handled(upto);
        } else {
            let house = Arc::clone(&self.house);
            let batch = Deliver { reception, notes: notes.into(), received: at };
            // Nothing more is read of this account until the batch is on the disk: that is the back-pressure.
            let bounds = self.access.bounds.clone();
            let commit = async move {
                house.metrics.messages_held(bounds.in_hand());
                let committed = house.commit(batch).await;
                drop(room);
                house.metrics.messages_held(bounds.in_hand());
                committed
            };
            ctx.wait(commit.into_actor(self).map(move |committed, this, _| {
                if committed {
                    this.handled(upto);
                }
            }));
        }
        self.feel_pulse();
        self.set_timer(ctx);
    }

    /// What must be remembered of a request for items.
    pub(super) fn inquiry(&self, ask: &Ask) -> Option<Inquiry> {
        let Request::Items { node } = &ask.request else { return None };
        let service = self.account.subscribe.iter().map(|(service, _)| service).find(|s| *s.jid() == ask.service)?;
        let leaves = match self.machine.authorization() {
            Some(authorization) => resync::leaves(node, authorization.addresses()),
            None => resync::leaves(node, std::slice::from_ref(&self.account.sip_address)),
        };
        let (account, asked) = (self.name.clone(), Moment::now().utc());
        Some(Inquiry { account, service: service.clone(), node: node.clone(), leaves, asked })
    }

    pub(super) fn pass_changes(&self, reception: &Reception, note: &Notification, ctx: &mut Context<Self>) {
        let Ok(sender) = reception.admit(note) else { return };
        let changes = note.parts.iter().filter_map(|part| match part {
            Part::Subscription(change) => Some(change),
            Part::Item { .. } | Part::Retract { .. } | Part::Purge { .. } | Part::Rest { .. } => None,
        });
        for change in changes {
            for (_, _, subscription) in self.subscriptions.iter().filter(|(service, _, _)| service == sender) {
                ctx.spawn(subscription.send(Changed(change.clone())).into_actor(self).map(|_, _, _| ()));
            }
        }
    }
}

/// What an answer shows of a node's items, if that was the question.
fn shown(asker: &Asker, answer: Option<&Element>, own: &FullJid) -> Option<Notification> {
    match asker {
        Asker::Subscription(_, inquiry) => Some(inquiry.as_ref()?.read(answer?, own)),
        Asker::Account | Asker::Clock => None,
    }
}
