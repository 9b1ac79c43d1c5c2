//! Stanzas of a client that is online: presence, and requests by the component they go to (protocol sheet section 2).

use jiff::Timestamp;
use minidom::Element;

use super::behaviour::{Answering, Failure};
use super::markup::Tag;
use super::names::{CLIENT, COMMANDS, DISCO_INFO, PING, PUBSUB, SESSION, TIME};
use super::observed::Request;
use super::switchboard::{Deed, SessionId, Stall, Switchboard};
use crate::domain::FullJid;
use crate::domain::moment::Moment;

/// One request.
pub(super) struct Query<'a> {
    pub(super) from: &'a FullJid,
    pub(super) set: bool,
    pub(super) payload: &'a Element,
    pub(super) now: Moment,
}

/// What a request gets.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// A result with this content (XML text, may be empty).
    Result(String),
    /// The request again, and an error.
    Error(Failure),
    /// Nothing.
    Silence,
}

impl Answer {
    pub(super) fn done() -> Self {
        Self::Result(String::new())
    }

    pub(super) fn of(tag: Tag) -> Self {
        Self::Result(tag.finish())
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Error(failure)
    }
}

impl Answering {
    /// The scripted answer, if there is one.
    pub(super) fn scripted(&self) -> Option<Answer> {
        match self {
            Self::AsDocumented => None,
            Self::Fail(failure) => Some(Answer::Error(failure.clone())),
            Self::Silence => Some(Answer::Silence),
        }
    }
}

impl Switchboard {
    /// Takes one stanza of `from`.
    pub(super) fn stanza(&mut self, id: SessionId, from: &FullJid, stanza: &Element, now: Moment) {
        if stanza.is("iq", CLIENT) {
            self.iq(id, from, stanza, now);
        } else if stanza.is("presence", CLIENT) {
            if stanza.attr("to").is_none() {
                self.presence(id, from, stanza, now);
            }
        } else if stanza.is("message", CLIENT) {
            self.observed.saw(&from.to_bare(), Request::Message, now);
        } else {
            self.stream_error(id, "unsupported-stanza-type", "");
        }
    }

    fn presence(&mut self, id: SessionId, from: &FullJid, stanza: &Element, now: Moment) {
        let jid = from.to_bare();
        self.observed.saw(&jid, Request::Presence, now);
        match stanza.attr("type") {
            None => {
                let priority = stanza.get_child("priority", CLIENT).and_then(|tag| tag.text().trim().parse().ok());
                let priority = priority.unwrap_or(0);
                self.present(from, Some(priority));
                if priority >= 0 {
                    self.deliver_stored(id, &jid);
                }
            }
            Some("unavailable") => self.present(from, None),
            Some(_) => {}
        }
    }

    fn iq(&mut self, id: SessionId, from: &FullJid, iq: &Element, now: Moment) {
        let set = match iq.attr("type") {
            Some("get") => false,
            Some("set") => true,
            _ => return self.observed.saw(&from.to_bare(), Request::Answer, now),
        };
        let stall = self.sessions.get(&id).and_then(|session| session.stall);
        if stall == Some(Stall::OnlyPings) && !iq.has_child("ping", PING) {
            return;
        }
        let answer = match iq.children().next() {
            Some(payload) => self.answer(iq.attr("to"), &Query { from, set, payload, now }),
            None => Failure::new("modify", "bad-request").into(),
        };
        let reply = |kind: &str| {
            let reply = Tag::of("iq", CLIENT).attr("type", kind).maybe("id", iq.attr("id"));
            reply.maybe("from", iq.attr("to")).attr("to", from.as_str())
        };
        let text = match answer {
            Answer::Result(content) => reply("result").raw(&content).finish(),
            Answer::Error(failure) => {
                let echo: String = iq.children().map(String::from).collect();
                reply("error").attr("xml:lang", "en").raw(&echo).child(failure.tag()).finish()
            }
            Answer::Silence => return,
        };
        let delay = self.behaviour(&from.to_bare()).reply_delay;
        if delay.is_zero() {
            self.write(id, text);
        } else {
            self.schedule(now + delay, Deed::Answer(id, text));
        }
    }

    fn answer(&mut self, to: Option<&str>, query: &Query<'_>) -> Answer {
        let jid = query.from.to_bare();
        if query.payload.is("ping", PING) {
            self.observed.saw(&jid, Request::Ping, query.now);
            return if self.behaviour(&jid).pings { Answer::done() } else { Answer::Silence };
        }
        let component = to.and_then(|to| to.strip_suffix(&self.terms.services_domain)?.strip_suffix('.'));
        match component {
            Some("commands.auth") if query.payload.is("time", TIME) => {
                self.observed.saw(&jid, Request::Time, query.now);
                let time = Tag::of("time", TIME).child(Tag::new("tzo").text("+00:00"));
                match self.behaviour(&jid).time.scripted() {
                    Some(answer) => answer,
                    None => Answer::of(time.child(Tag::new("utc").text(&self.utc(query.now).to_string()))),
                }
            }
            Some("commands.auth") if query.payload.is("command", COMMANDS) => self.authorize(query),
            Some(_) if query.payload.is("query", DISCO_INFO) && !query.set => disco(component),
            Some(component) if query.payload.is("pubsub", PUBSUB) => match component.strip_prefix("pubsub.") {
                Some(service) => self.pubsub(service, query),
                None => self.unknown(query),
            },
            None if query.payload.is("session", SESSION) => Answer::done(),
            Some(_) | None => self.unknown(query),
        }
    }

    /// What the service's clock reads: it may be wrong, and what it means by a date is wrong by the same.
    pub(super) fn utc(&self, now: Moment) -> Timestamp {
        now.utc().saturating_add(self.clock_ahead).unwrap_or_else(|_| now.utc())
    }

    fn unknown(&mut self, query: &Query<'_>) -> Answer {
        self.observed.saw(&query.from.to_bare(), Request::Unknown, query.now);
        Failure::new("cancel", "service-unavailable").into()
    }
}

fn disco(component: Option<&str>) -> Answer {
    let kind = component
        .filter(|name| name.starts_with("pubsub."))
        .map_or(("automation", "command-list"), |_| ("pubsub", "service"));
    let identity = Tag::new("identity").attr("category", kind.0).attr("type", kind.1).attr("name", "simulated");
    let features = [DISCO_INFO, if kind.0 == "pubsub" { PUBSUB } else { COMMANDS }];
    let features = features.into_iter().map(|feature| Tag::new("feature").attr("var", feature));
    Answer::of(Tag::of("query", DISCO_INFO).child(identity).children(features))
}
