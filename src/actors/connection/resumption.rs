//! A session that was lost and may be resumed (XEP-0198): what is kept of it, and what becomes of it.

use actix::prelude::*;
use jiff::Timestamp;
use minidom::Element;
use xmpp_parsers::jid::FullJid;

use super::{Asker, Connection};
use crate::actors::chronicle;
use crate::actors::subscription::Suspended;
use crate::domain::moment::Moment;
use crate::domain::status::ResumptionOutcome;
use crate::protocol::acknowledgement::{MOST_UNACKNOWLEDGED, Resumption};
use crate::protocol::link::Loss;
use crate::protocol::requests::NoAnswer;

impl Connection {
    /// Everything up to the `upto`th stanza of the session is dealt with.
    pub(super) fn handled(&self, upto: u32) {
        if let Some(live) = &self.live {
            live.handled.send_replace(Some(upto));
        }
    }

    /// Keeps a stanza for the session that is lost.
    pub(super) fn keep(&mut self, stanza: Element) {
        if self.waiting.len() < MOST_UNACKNOWLEDGED {
            self.waiting.push(stanza);
        } else {
            self.house.metrics.outbound_stanza_dropped();
        }
    }

    /// The session is lost; it was heard last at `since`.
    pub(super) fn down(
        &mut self,
        loss: &Loss,
        since: Timestamp,
        resumption: Option<Box<Resumption>>,
        ctx: &mut Context<Self>,
    ) {
        chronicle::lost(&self.house, &self.name, loss);
        let doubted = self.requests.doubted().map(Moment::utc);
        self.heard = doubted.map_or(since, |doubted| doubted.min(since));
        let handled = self.live.take().and_then(|live| *live.handled.borrow());
        self.gap = loss.gap();
        let commands = match resumption {
            Some(mut resumption) => {
                if let Some(upto) = handled {
                    resumption.handle(upto);
                }
                let change = self.coverage.interrupted(self.heard);
                self.cover(change, ctx);
                let patience = resumption.patience();
                self.lost = Some(resumption);
                self.machine.interrupted(loss, patience, self.now())
            }
            None => self.machine.lost(loss, self.now()),
        };
        self.carry_out(commands, ctx);
    }

    /// The session that was lost goes on; one that was given up meanwhile is as good as a new one.
    pub(super) fn resumed(&mut self, own: FullJid, ctx: &mut Context<Self>) {
        if !self.machine.is_held() {
            return self.up(own, ctx);
        }
        chronicle::resumption(&self.house, &self.name, ResumptionOutcome::Resumed);
        self.lost = None;
        self.show_pulse();
        self.heard = Moment::now().utc();
        let change = self.coverage.resumed(self.heard);
        self.cover(change, ctx);
        let commands = self.machine.resumed(self.now());
        for stanza in std::mem::take(&mut self.waiting) {
            self.send(stanza);
        }
        self.carry_out(commands, ctx);
    }

    /// The session is over for good.
    pub(super) fn suspend(&mut self, ctx: &mut Context<Self>) {
        if self.lost.take().is_some() {
            chronicle::resumption(&self.house, &self.name, ResumptionOutcome::Failed);
        }
        self.reception = None;
        self.waiting = Vec::new();
        if let Some(reason) = self.gap {
            let change = self.coverage.disconnected(reason, self.heard);
            self.cover(change, ctx);
        }
        for asker in self.requests.abandon() {
            if let Asker::Subscription(waiting, _) = asker {
                drop(waiting.send(Err(NoAnswer::Disconnected)));
            }
        }
        self.clock.disconnected();
        self.tell_all(|| Suspended, ctx);
    }
}
