//! Stream management (XEP-0198): stanzas are counted, and a session whose connection is lost waits to be resumed.

use std::collections::VecDeque;
use std::time::Duration;

use minidom::Element;

use super::delivery::Notification;
use super::login::Stage;
use super::markup::Tag;
use super::names::{CLIENT, MANAGEMENT, STANZAS};
use super::observed::Request;
use super::switchboard::{Deed, Order, SessionId, Stall, Switchboard};
use crate::domain::moment::Moment;
use crate::domain::{BareJid, Jid};

/// Stanzas kept for one session; with more it cannot be resumed.
const MOST_KEPT: usize = 1000;

/// What is counted of one session.
#[derive(Debug)]
pub(super) struct Managed {
    /// By which the client resumes it.
    key: String,
    patience: Duration,
    handled: u32,
    sent: u32,
    acknowledged: u32,
    /// What was sent when the client was asked, until it answers.
    asked: Option<u32>,
    kept: VecDeque<String>,
    overflowed: bool,
}

impl Managed {
    /// Whether the stanzas since the last acknowledgement are all there; takes out those acknowledged now.
    fn acknowledge(&mut self, count: Option<u32>) -> bool {
        let newly = count.map(|count| count.wrapping_sub(self.acknowledged));
        let Some(newly) = newly.filter(|newly| *newly <= self.sent.wrapping_sub(self.acknowledged)) else {
            return false;
        };
        self.acknowledged = self.acknowledged.wrapping_add(newly);
        let newly = usize::try_from(newly).unwrap_or(usize::MAX);
        self.kept.drain(..newly.min(self.kept.len()));
        true
    }
}

fn count_in(element: &Element) -> Option<u32> {
    element.attr("h")?.parse().ok()
}

fn is_stanza(element: &Element) -> bool {
    element.has_ns(CLIENT) && matches!(element.name(), "message" | "presence" | "iq")
}

impl Switchboard {
    /// Whether `jid` can have its stream managed.
    pub(super) fn offers_management(&self, jid: &BareJid) -> bool {
        self.behaviour(jid).resumable_for.is_some()
    }

    /// Takes what a client says about its stream; false if it is about something else.
    pub(super) fn manage(&mut self, id: SessionId, jid: &BareJid, element: &Element) -> bool {
        if !element.has_ns(MANAGEMENT) {
            return false;
        }
        match element.name() {
            "enable" => self.enable(id, jid),
            "r" => {
                if let Some(managed) = self.managed(id) {
                    let handled = managed.handled.to_string();
                    self.say(id, Tag::of("a", MANAGEMENT).attr("h", &handled));
                }
            }
            "a" => self.acknowledged(id, count_in(element)),
            _ => self.stream_error(id, "unsupported-stanza-type", ""),
        }
        true
    }

    fn enable(&mut self, id: SessionId, jid: &BareJid) {
        let key = format!("{:x}-{}", id.0, self.dice.nonce());
        let patience = self.behaviour(jid).resumable_for;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match patience.filter(|_| session.managed.is_none()) {
            Some(patience) => {
                let enabled = Tag::of("enabled", MANAGEMENT).attr("id", &key).attr("resume", "true");
                session.managed = Some(Managed {
                    key,
                    patience,
                    handled: 0,
                    sent: 0,
                    acknowledged: 0,
                    asked: None,
                    kept: VecDeque::new(),
                    overflowed: false,
                });
                self.say(id, enabled.attr("max", &patience.as_secs().to_string()));
            }
            None => self.fail(id, "unexpected-request"),
        }
    }

    /// Takes `resume` from a client that has logged in: the session it lost goes on, on this connection.
    pub(super) fn resume(&mut self, id: SessionId, jid: &BareJid, element: &Element, now: Moment) {
        self.observed.saw(jid, Request::Resume, now);
        let key = element.attr("previd");
        let lost = self.sessions.iter().find_map(|(lost, session)| {
            let managed = session.managed.as_ref().filter(|managed| !managed.overflowed)?;
            let Stage::Bound(full) = &session.stage else { return None };
            (Some(managed.key.as_str()) == key && full.to_bare() == *jid).then(|| (*lost, full.clone()))
        });
        let Some((lost, full)) = lost else {
            self.fail(id, "item-not-found");
            if self.behaviour(jid).closes_unresumed {
                self.close(id);
            }
            return;
        };
        let managed = self.sessions.remove(&lost).and_then(|mut session| {
            self.observed.shook_hands(&mut session.shaking_hands);
            session.managed
        });
        let Some(mut managed) = managed else { return };
        self.order(lost, Order::Cut); // the client has left that connection, whatever it looks like from here
        if !managed.acknowledge(count_in(element)) {
            self.unbind(lost, &full);
            return self.stream_error(id, "undefined-condition", "");
        }
        self.rebind(&full, id);
        for deed in self.deeds.values_mut() {
            if let Deed::Answer(to, _) = deed
                && *to == lost
            {
                *to = id;
            }
        }
        self.observed.resumed += 1;
        managed.asked = None;
        let resumed = Tag::of("resumed", MANAGEMENT).attr("previd", &managed.key);
        self.say(id, resumed.attr("h", &managed.handled.to_string()));
        for text in managed.kept.clone() {
            self.order(id, Order::Write(text));
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.managed = Some(managed);
        }
        self.ask(id);
    }

    /// Counts a stanza of the client.
    pub(super) fn count(&mut self, id: SessionId, element: &Element) {
        if let Some(managed) = self.managed(id).filter(|_| is_stanza(element)) {
            managed.handled = managed.handled.wrapping_add(1);
        }
    }

    /// Counts and keeps the stanzas in a text that is sent; whether they may still arrive if the connection is lost.
    pub(super) fn keep(&mut self, id: SessionId, text: &str) -> bool {
        let Some(managed) = self.managed(id) else { return false };
        let Ok(parsed) = format!("<text xmlns='{CLIENT}'>{text}</text>").parse::<Element>() else { return false };
        for stanza in parsed.children().filter(|child| is_stanza(child)) {
            managed.sent = managed.sent.wrapping_add(1);
            managed.kept.push_back(String::from(stanza));
        }
        if managed.kept.len() > MOST_KEPT {
            managed.overflowed = true;
            managed.kept.clear();
        }
        !managed.overflowed
    }

    /// How many stanzas were sent to `jid` that it has not acknowledged, over all its sessions.
    pub fn unacknowledged(&self, jid: &BareJid) -> usize {
        let sessions = self.sessions_of(jid).filter_map(|(id, _)| self.sessions.get(&id)?.managed.as_ref());
        sessions.map(|managed| managed.kept.len()).sum()
    }

    /// Asks the client what it handled, unless it owes an answer.
    pub(super) fn ask(&mut self, id: SessionId) {
        let due = self.managed(id).filter(|managed| managed.asked.is_none() && managed.sent != managed.acknowledged);
        if let Some(managed) = due {
            managed.asked = Some(managed.sent);
            self.say(id, Tag::of("r", MANAGEMENT));
        }
    }

    fn acknowledged(&mut self, id: SessionId, count: Option<u32>) {
        self.observed.acknowledgements += 1;
        let Some(managed) = self.managed(id) else { return };
        if !managed.acknowledge(count) {
            return self.stream_error(id, "undefined-condition", "");
        }
        // What was not handled when it was asked about is told without being asked again.
        if managed.asked.take().is_some_and(|asked| asked != managed.sent) {
            self.ask(id);
        }
    }

    /// A connection is lost: its session waits to be resumed where it can be, and is over where not.
    pub(super) fn disconnected(&mut self, id: SessionId, now: Moment) {
        if !self.lose(id) {
            return self.ended(id);
        }
        if let Some(patience) = self.managed(id).map(|managed| managed.patience) {
            self.schedule(now + patience, Deed::Expire(id));
        }
    }

    /// The same, for a connection that hears of its end later.
    pub(super) fn lose(&mut self, id: SessionId) -> bool {
        let session = self.sessions.get_mut(&id);
        let waits = session.filter(|session| session.managed.as_ref().is_some_and(|managed| !managed.overflowed));
        waits.map(|session| session.away = true).is_some()
    }

    /// Nobody resumed it in time.
    pub(super) fn expire(&mut self, id: SessionId) {
        if self.is_away(id) {
            self.ended(id);
        }
    }

    pub(super) fn is_away(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.away)
    }

    /// Forgets all sessions, as a restart does.
    pub(super) fn forget_sessions(&mut self) {
        let all: Vec<_> = self.sessions.keys().copied().collect();
        for id in all {
            self.ended(id);
        }
    }

    /// What was sent in a session that is over and never acknowledged is not lost with it: it is delivered anew.
    pub(super) fn orphan(&mut self, managed: &Managed) {
        let messages = managed.kept.iter().filter_map(|text| text.parse::<Element>().ok().zip(Some(text)));
        for (message, text) in messages.filter(|(stanza, _)| stanza.name() == "message") {
            if let Some(to) = message.attr("to").and_then(|to| Jid::new(to).ok()) {
                let headline = message.attr("type") == Some("headline");
                self.orphans.push(Notification { to, text: text.clone(), headline, event: false });
            }
        }
    }

    /// Delivers what sessions left behind.
    pub(super) fn hand_on(&mut self, now: Moment) {
        for notification in std::mem::take(&mut self.orphans) {
            self.deliver(&notification, now);
        }
    }

    fn managed(&mut self, id: SessionId) -> Option<&mut Managed> {
        self.sessions.get_mut(&id)?.managed.as_mut()
    }

    fn fail(&mut self, id: SessionId, condition: &'static str) {
        self.say(id, Tag::of("failed", MANAGEMENT).child(Tag::of(condition, STANZAS)));
    }

    /// Writes what is no stanza.
    fn say(&mut self, id: SessionId, tag: Tag) {
        let hears = |session: &super::switchboard::Session| session.stall != Some(Stall::Dead) && !session.away;
        if self.sessions.get(&id).is_some_and(hears) {
            self.order(id, Order::Write(tag.finish()));
        }
    }
}
