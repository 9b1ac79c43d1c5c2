//! Trouble that nobody scripted: what goes wrong, how often, and to whom.
//!
//! Must not know sockets or read a clock.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;

use super::behaviour::{Answering, Approval, Failure};
use super::delivery::Headers;
use super::mischief::{Detour, Severity, stray};
use super::span::{Share, Span};
use super::switchboard::{Stall, Switchboard};
use crate::domain::BareJid;
use crate::domain::moment::Moment;

/// What goes wrong. Absent: it does not. `*_every` strikes one account that is online, on average once in that time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// A connection breaks without a word; with `resumable_for` the session waits to be resumed.
    pub cut_every: Option<Span>,
    /// A connection goes silent: it takes bytes and answers nothing.
    pub stall_every: Option<Span>,
    /// A connection answers requests and delivers nothing.
    pub deafness_every: Option<Span>,
    /// Somebody else takes the resource: stream error `conflict`.
    pub conflict_every: Option<Span>,
    /// A stream ends with `system-shutdown`.
    pub shutdown_every: Option<Span>,
    /// A subscription is taken away: `none`.
    pub revoke_every: Option<Span>,
    /// The leases of an account run out early, in silence.
    pub lease_end_every: Option<Span>,
    /// The authorizations of an account end early, in silence.
    pub authorization_end_every: Option<Span>,
    /// An event for another resource arrives.
    pub foreign_resource_every: Option<Span>,
    /// An event from a sender that is no service arrives.
    pub foreign_sender_every: Option<Span>,
    /// A payload arrives that is no active call.
    pub malformed_every: Option<Span>,
    /// Bytes arrive that are not XML.
    pub bad_xml_every: Option<Span>,
    /// A stream ends with `see-other-host`.
    pub see_other_host_every: Option<Span>,
    /// The host named then, `host` or `host:port`; default: the service itself.
    pub other_host: Option<String>,
    /// A connection breaks in the middle of a stanza.
    pub half_stanza_every: Option<Span>,
    /// The first subscription of an account is doubled until the limit is reached.
    pub surplus_every: Option<Span>,
    /// Calls begin on the leaf of an account in one message, and end in one.
    pub many_items_every: Option<Span>,
    /// How many calls there are in it; default 50.
    pub many_items: Option<u16>,
    /// Calls begin and end on the leaf of an account, all at once, a message each.
    pub flood_every: Option<Span>,
    /// How many calls there are in a flood; default 300.
    pub flood_calls: Option<u16>,
    /// Subscriptions one JID may have on one node; default 10.
    pub subscription_limit: Option<usize>,
    /// How often a request for a collection is redirected before it is served; default 0.
    pub redirect_hops: u16,
    /// Whether the last redirect leads back to the first.
    pub redirect_loop: bool,
    /// The whole service restarts.
    pub restart_every: Option<Span>,
    /// How long it is away then; default 1s.
    pub restart_for: Option<Span>,
    /// A connection answers pings and nothing else.
    pub muteness_every: Option<Span>,
    /// A subscription is taken away and nobody is told.
    pub forget_every: Option<Span>,
    /// How far the service's clock is ahead of the true time.
    pub clock_ahead: Option<Span>,
    /// How far it is behind.
    pub clock_behind: Option<Span>,
    /// Share of approvals that never come.
    pub approval_silence: Share,
    /// Share of approvals that are a refusal: `none`.
    pub denied: Share,
    /// How long approvals take; default 20ms.
    pub approval_after: Option<Span>,
    /// How long a lost session can be resumed (XEP-0198), unless the service restarts; default not at all.
    pub resumable_for: Option<Span>,
    /// How long answers take; default none.
    pub reply_after: Option<Span>,
    /// Share of notifications that arrive twice.
    pub duplicated: Share,
    /// Share of notifications that arrive late.
    pub held_back: Share,
    /// How late; default 2s.
    pub held_back_for: Option<Span>,
    /// Share of notifications with a retract of an unknown item in front.
    pub crowded: Share,
    /// What is answered to who asks for items; default those there are.
    pub items: Option<ItemsAnswer>,
    /// Where the SHIM headers stand; default mixed.
    pub headers: Option<HeaderPlace>,
    /// Seed of everything that is left to chance.
    pub seed: u64,
}

/// Where the SHIM headers stand, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderPlace {
    /// Before the event.
    First,
    /// After the event.
    Last,
    /// Both in turn.
    Mixed,
    /// Nowhere.
    Absent,
}

/// What is answered to who asks for items, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemsAnswer {
    /// None, as if items were not kept.
    Empty,
    /// `feature-not-implemented`.
    Unsupported,
    /// `forbidden`.
    Forbidden,
    /// `item-not-found`.
    Missing,
    /// Nothing at all.
    Silence,
}

impl ItemsAnswer {
    fn answering(self) -> Answering {
        match self {
            Self::Empty => Answering::AsDocumented,
            Self::Unsupported => Answering::Fail(Failure::unsupported("retrieve-items")),
            Self::Forbidden => Answering::Fail(Failure::new("auth", "forbidden")),
            Self::Missing => Answering::Fail(Failure::new("cancel", "item-not-found")),
            Self::Silence => Answering::Silence,
        }
    }
}

/// A faults file cannot be used; the message names the line and the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct BadFaults(#[from] toml::de::Error);

impl Faults {
    /// Reads a faults file.
    ///
    /// # Errors
    /// If it is not TOML, has an unknown key, or a value out of its range.
    pub fn from_toml(text: &str) -> Result<Self, BadFaults> {
        Ok(toml::from_str(text)?)
    }

    /// Lively trouble for a demonstration: something goes wrong every few seconds.
    pub fn preset() -> Self {
        let every = |seconds| Some(Span(Duration::from_secs(seconds)));
        Self {
            cut_every: every(20),
            stall_every: every(90),
            conflict_every: every(75),
            shutdown_every: every(60),
            revoke_every: every(30),
            lease_end_every: every(45),
            authorization_end_every: every(50),
            foreign_resource_every: every(15),
            foreign_sender_every: every(25),
            malformed_every: every(25),
            bad_xml_every: every(80),
            see_other_host_every: every(95),
            half_stanza_every: every(70),
            surplus_every: every(65),
            many_items_every: every(55),
            restart_every: every(150),
            approval_silence: Share(0.1),
            duplicated: Share(0.05),
            held_back: Share(0.05),
            crowded: Share(0.05),
            ..Self::default()
        }
    }

    /// Applies what is not an incident but a rule.
    pub(super) fn rules(&self, board: &mut Switchboard) {
        let style = &mut board.style;
        style.forgotten_approvals = self.approval_silence.0;
        style.denied_approvals = self.denied.0;
        style.duplicated = self.duplicated.0;
        style.held_back = self.held_back.0;
        style.held_back_for = self.held_back_for.map_or(Duration::from_secs(2), |span| span.0);
        style.crowded = self.crowded.0;
        match self.headers {
            Some(HeaderPlace::First) => style.headers = Headers::First,
            Some(HeaderPlace::Last) => style.headers = Headers::Last,
            Some(HeaderPlace::Mixed) => style.headers = Headers::Mixed,
            Some(HeaderPlace::Absent) => style.headers = Headers::Absent,
            None => {}
        }
        style.items_kept = self.items != Some(ItemsAnswer::Empty);
        board.clock_ahead = apart(self.clock_ahead) - apart(self.clock_behind);
        board.detour = Detour { hops: self.redirect_hops, circle: self.redirect_loop };
        if let Some(limit) = self.subscription_limit {
            board.terms.most_subscriptions = limit;
        }
        board.change_behaviour(None, |behaviour| {
            if let Some(after) = self.approval_after {
                behaviour.approval = Approval::After(after.0);
            }
            if let Some(patience) = self.resumable_for {
                behaviour.resumable_for = Some(patience.0);
            }
            if let Some(after) = self.reply_after {
                behaviour.reply_delay = after.0;
            }
            if let Some(items) = self.items {
                behaviour.items = items.answering();
            }
        });
    }

    fn incidents(&self) -> [(Incident, Option<Span>); 20] {
        [
            (Incident::Cut, self.cut_every),
            (Incident::Stall, self.stall_every),
            (Incident::Deafness, self.deafness_every),
            (Incident::Muteness, self.muteness_every),
            (Incident::Forget, self.forget_every),
            (Incident::Conflict, self.conflict_every),
            (Incident::Shutdown, self.shutdown_every),
            (Incident::Revoke, self.revoke_every),
            (Incident::LeaseEnd, self.lease_end_every),
            (Incident::AuthorizationEnd, self.authorization_end_every),
            (Incident::ForeignResource, self.foreign_resource_every),
            (Incident::ForeignSender, self.foreign_sender_every),
            (Incident::Malformed, self.malformed_every),
            (Incident::BadXml, self.bad_xml_every),
            (Incident::Elsewhere, self.see_other_host_every),
            (Incident::HalfStanza, self.half_stanza_every),
            (Incident::Surplus, self.surplus_every),
            (Incident::ManyItems, self.many_items_every),
            (Incident::Flood, self.flood_every),
            (Incident::Restart, self.restart_every),
        ]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incident {
    Cut,
    Stall,
    Deafness,
    Muteness,
    Forget,
    Conflict,
    Shutdown,
    Revoke,
    LeaseEnd,
    AuthorizationEnd,
    ForeignResource,
    ForeignSender,
    Malformed,
    BadXml,
    Elsewhere,
    HalfStanza,
    Surplus,
    ManyItems,
    Flood,
    Restart,
}

/// The incidents to come.
#[derive(Debug)]
pub(super) struct Fate {
    plan: Vec<(Moment, Incident, Duration)>,
    restart_for: Duration,
    severity: Severity,
}

impl Fate {
    /// `host` is where the service itself is.
    pub(super) fn new(faults: &Faults, host: &str, now: Moment) -> Self {
        let plan = faults.incidents().into_iter().filter_map(|(incident, every)| {
            let every = every?.0.max(Duration::from_millis(10));
            Some((now + every, incident, every))
        });
        let restart_for = faults.restart_for.map_or(Duration::from_secs(1), |span| span.0);
        let severity = Severity {
            host: faults.other_host.clone().unwrap_or_else(|| host.to_owned()),
            many_items: faults.many_items.unwrap_or(50),
            flood_calls: faults.flood_calls.unwrap_or(300),
        };
        Self { plan: plan.collect(), restart_for, severity }
    }

    pub(super) fn due(&self) -> Option<Moment> {
        self.plan.iter().map(|(due, ..)| *due).min()
    }

    /// Lets happen what is due; how long the service must now be away, if it is to restart.
    pub(super) fn strike(&mut self, board: &mut Switchboard, now: Moment) -> Option<Duration> {
        let mut restart = None;
        for (due, incident, every) in self.plan.iter_mut().filter(|(due, ..)| *due <= now) {
            *due = now + every.mul_f64(0.5 + board.dice.share());
            if *incident == Incident::Restart {
                restart = Some(self.restart_for);
            } else if let Some(victim) = board.somebody() {
                board.suffer(*incident, &victim, &self.severity, now);
            }
        }
        restart
    }
}

impl Switchboard {
    fn somebody(&mut self) -> Option<BareJid> {
        let bound: Vec<&BareJid> = self.bound_jids().collect();
        let count = bound.len();
        let mut all: Vec<BareJid> = bound.into_iter().cloned().collect();
        all.sort_unstable();
        let at = self.dice.below(count);
        all.into_iter().nth(at)
    }

    fn suffer(&mut self, incident: Incident, victim: &BareJid, severity: &Severity, now: Moment) {
        let empty = "<active-call xmlns='onsip:active-calls'/>";
        let service = self.service_jid(super::calls::SERVICE);
        match incident {
            Incident::Cut => self.each_session(victim, Self::cut),
            Incident::Stall => self.each_session(victim, |board, id| board.stall(id, Stall::Dead)),
            Incident::Deafness => self.each_session(victim, |board, id| board.stall(id, Stall::Deaf)),
            Incident::Muteness => self.each_session(victim, |board, id| board.stall(id, Stall::OnlyPings)),
            Incident::Forget => {
                if let Some(entry) = self.subscriptions(victim, None).first() {
                    self.forget(victim, &entry.node);
                }
            }
            Incident::Conflict => self.each_session(victim, |board, id| {
                board.observed.conflicts += 1;
                board.stream_error(id, "conflict", "");
            }),
            Incident::Shutdown => self.each_session(victim, |board, id| board.stream_error(id, "system-shutdown", "")),
            Incident::Revoke => {
                if let Some(entry) = self.subscriptions(victim, None).first() {
                    self.revoke(victim, &entry.node, now);
                }
            }
            Incident::LeaseEnd => self.end_leases(victim, now),
            Incident::AuthorizationEnd => self.authorizations.end(victim),
            Incident::ForeignResource => self.intrude(victim, &stray(&service, victim, "elsewhere", empty)),
            Incident::ForeignSender => {
                self.intrude(victim, &stray("pubsub.active-calls.evil.test", victim, "", empty));
            }
            Incident::Malformed => {
                let payload = "<active-call xmlns='onsip:active-calls' publish-time='2009-11-23T:328:22Z'>\
                    <dialog-state>musing</dialog-state><call-id/><surprise/></active-call>";
                for resource in self.resources(victim) {
                    self.intrude(victim, &stray(&service, victim, &resource, payload));
                }
            }
            Incident::BadXml => self.intrude(victim, "<message><body>&nbsp;</message>"),
            Incident::Elsewhere => {
                self.each_session(victim, |board, id| board.stream_error(id, "see-other-host", &severity.host));
            }
            Incident::HalfStanza => {
                let text = stray(&service, victim, "", empty);
                self.each_session(victim, |board, id| board.break_off(id, &text, now));
            }
            Incident::Surplus => self.fill_up(victim, now),
            Incident::ManyItems => self.crowd(victim, severity.many_items, now),
            Incident::Flood => self.flood(victim, severity.flood_calls, now),
            Incident::Restart => {}
        }
    }

    fn intrude(&mut self, victim: &BareJid, text: &str) {
        self.each_session(victim, |board, id| {
            board.notify(id, text.to_owned());
        });
    }
}

fn apart(span: Option<Span>) -> SignedDuration {
    span.map(|span| SignedDuration::try_from(span.0).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::directory::Account;
    use super::super::scram::Mechanism;
    use super::super::switchboard::{CountedBy, Order, Terms};
    use super::*;
    use crate::domain::FullJid;

    #[test]
    fn within_ten_minutes_the_preset_does_everything_it_promises() {
        let mut board = Switchboard::new(Terms {
            services_domain: "x.test".into(),
            most_subscriptions: 10,
            counted_by: CountedBy::FullJid,
            mechanisms: vec![Mechanism::Plain],
            starttls: false,
            seed: 1,
        });
        let account = Account::numbered(1).unwrap();
        let jid = FullJid::new(&format!("{}/router", account.jid)).unwrap();
        board.directory.add(account);
        let start = Moment::virtual_at(Duration::ZERO, "2026-01-01T00:00:00Z".parse().unwrap());
        let (mut fate, mut restarts, mut said) =
            (Fate::new(&Faults::preset(), "192.0.2.1:5222", start), 0, String::new());
        while let Some(due) = fate.due().filter(|due| *due < start + Duration::from_mins(10)) {
            if board.session_of(&jid).is_none() {
                let id = board.connected(false, due);
                board.register(id, &jid);
            }
            restarts += usize::from(fate.strike(&mut board, due).is_some());
            for (_, order) in board.orders() {
                match order {
                    Order::Write(text) => said.push_str(&text),
                    Order::Close => said.push_str("[closed]"),
                    Order::Cut => said.push_str("[cut]"),
                }
            }
        }
        assert!(restarts > 0);
        for word in
            ["[cut]", "conflict", "system-shutdown", "/elsewhere", "evil.test", "musing", "&nbsp;", "192.0.2.1:5222"]
        {
            assert!(said.contains(word), "{word}");
        }
    }

    #[test]
    fn a_faults_file_is_read_and_its_faults_are_named() {
        let faults = Faults::from_toml("cut_every = '20s'\nduplicated = 0.5\nheaders = 'first'").unwrap();
        assert_eq!(faults.cut_every, Some(Span(Duration::from_secs(20))));
        assert_eq!((faults.duplicated, faults.headers), (Share(0.5), Some(HeaderPlace::First)));
        for (text, said) in [
            ("cut_evry = '1s'", "cut_evry"),
            ("cut_every = 20", "cut_every"),
            ("cut_every = '20 s'", "like \"20s\""),
            ("duplicated = 1.5", "from 0 to 1"),
        ] {
            let message = Faults::from_toml(text).unwrap_err().to_string();
            assert!(message.contains(said), "{message}");
        }
    }
}
