//! From the stream header to a bound resource (RFC 6120).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use minidom::Element;

use super::behaviour::{Bind, Failure, Login};
use super::markup::Tag;
use super::names::{BIND, CLIENT, MANAGEMENT, SASL, SESSION, STREAMS, TLS};
use super::observed::Request;
use super::scram::{Challenge, ClientFirst, Mechanism};
use super::switchboard::{Next, SessionId, Switchboard};
use crate::domain::moment::Moment;
use crate::domain::{BareJid, FullJid};

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not logged in.
    Open,
    /// Logged in, no resource yet.
    Authenticated(BareJid),
    /// Online.
    Bound(FullJid),
}

impl Switchboard {
    /// Answers a stream header with ours and what we offer.
    pub(super) fn open(&mut self, id: SessionId, to: Option<String>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(to) = to {
            session.domain = to;
        }
        let (domain, stage, secure) = (session.domain.clone(), session.stage.clone(), session.secure);
        let header = Tag::of("stream:stream", CLIENT)
            .attr("xmlns:stream", STREAMS)
            .attr("from", &domain)
            .attr("id", &format!("{:x}", id.0))
            .attr("version", "1.0")
            .finish();
        let features = self.features(&stage, secure).finish();
        let header = format!("<?xml version='1.0'?>{}>", header.trim_end_matches("/>"));
        if let Some(host) = self.elsewhere.clone() {
            self.write(id, header);
            return self.stream_error(id, "see-other-host", &host);
        }
        self.write(id, header + &features);
    }

    fn features(&self, stage: &Stage, secure: bool) -> Tag {
        let features = Tag::new("stream:features");
        match stage {
            Stage::Open if self.terms.starttls && !secure => {
                features.child(Tag::of("starttls", TLS).child(Tag::new("required")))
            }
            Stage::Open => {
                let names = self.terms.mechanisms.iter().map(|known| Tag::new("mechanism").text(known.name()));
                features.child(Tag::of("mechanisms", SASL).children(names))
            }
            Stage::Authenticated(jid) if self.offers_no_bind(jid) => features,
            Stage::Authenticated(jid) => {
                let management = self.offers_management(jid).then(|| Tag::of("sm", MANAGEMENT));
                let features = features.child(Tag::of("bind", BIND)).children(management);
                features.child(Tag::of("session", SESSION).child(Tag::new("optional")))
            }
            Stage::Bound(_) => features,
        }
    }

    /// Takes the elements that come before a log-in.
    pub(super) fn log_in(&mut self, id: SessionId, element: &Element, now: Moment) -> Next {
        let secure = self.sessions.get(&id).is_some_and(|session| session.secure);
        if element.is("starttls", TLS) && self.terms.starttls && !secure {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.secure = true;
            }
            self.write(id, Tag::of("proceed", TLS).finish());
            return Next::StartTls;
        }
        if element.is("response", SASL) {
            return self.prove(id, &element.text());
        }
        if !element.is("auth", SASL) {
            self.stream_error(id, "not-authorized", "");
            return Next::Go;
        }
        if self.terms.starttls && !secure {
            return self.refuse(id, "encryption-required");
        }
        let mut known = self.terms.mechanisms.iter().copied();
        match known.find(|known| element.attr("mechanism") == Some(known.name())) {
            Some(Mechanism::Plain) => self.plain(id, &element.text(), now),
            Some(scram) => self.challenge(id, scram, &element.text(), now),
            None => self.refuse(id, "invalid-mechanism"),
        }
    }

    fn plain(&mut self, id: SessionId, response: &str, now: Moment) -> Next {
        let Some((user, password)) = credentials(response) else { return self.refuse(id, "incorrect-encoding") };
        let Some(jid) = self.claimed(id, &user) else { return self.refuse(id, "not-authorized") };
        self.observed.saw(&jid, Request::Login, now);
        match self.behaviour(&jid).login.clone() {
            Login::Check | Login::OnlyPlain { .. } | Login::Challenge(_) | Login::Believe { .. } => {
                if self.directory.checks(&jid, &password) {
                    self.accept(id, jid, "")
                } else {
                    self.refuse(id, "not-authorized")
                }
            }
            Login::Fail(condition) => self.refuse(id, condition),
            Login::End(condition, content) => self.end(id, condition, &content),
            Login::Silence => Next::Go,
        }
    }

    fn challenge(&mut self, id: SessionId, mechanism: Mechanism, response: &str, now: Moment) -> Next {
        let text = decoded(response);
        let first = text.as_deref().and_then(ClientFirst::parse);
        let Some(first) = first else { return self.refuse(id, "malformed-request") };
        let Some(jid) = self.claimed(id, &first.user) else { return self.refuse(id, "not-authorized") };
        self.observed.saw(&jid, Request::Login, now);
        match self.behaviour(&jid).login.clone() {
            Login::Check | Login::Believe { early: false, .. } => {}
            Login::Believe { early: true, data } => return self.accept(id, jid, &BASE64.encode(data)),
            Login::Challenge(challenge) => {
                let message = challenge.replace("NONCE", first.nonce);
                self.write(id, Tag::of("challenge", SASL).text(&BASE64.encode(message)).finish());
                return Next::Go;
            }
            Login::OnlyPlain { closes } => {
                let next = self.refuse(id, "invalid-mechanism");
                if closes {
                    self.close(id);
                }
                return next;
            }
            Login::Fail(condition) => return self.refuse(id, condition),
            Login::End(condition, content) => return self.end(id, condition, &content),
            Login::Silence => return Next::Go,
        }
        let nonce = self.dice.nonce();
        let account = self.directory.account(&jid);
        let challenge = account.and_then(|account| Challenge::new(mechanism, &first, &account.password, &nonce));
        let Some((challenge, message)) = challenge else { return self.refuse(id, "not-authorized") };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.challenge = Some(challenge);
        }
        self.write(id, Tag::of("challenge", SASL).text(&BASE64.encode(message)).finish());
        Next::Go
    }

    fn prove(&mut self, id: SessionId, response: &str) -> Next {
        let challenge = self.sessions.get_mut(&id).and_then(|session| session.challenge.take());
        let believed = challenge.as_ref().and_then(|challenge| {
            let jid = self.claimed(id, &challenge.user)?;
            match self.behaviour(&jid).login.clone() {
                Login::Believe { data, .. } => Some((jid, data)),
                _ => None,
            }
        });
        if let Some((jid, data)) = believed {
            return self.accept(id, jid, &BASE64.encode(data));
        }
        let proof = challenge.zip(decoded(response));
        let accepted = proof.and_then(|(challenge, proof)| Some((challenge.finish(&proof)?, challenge.user)));
        match accepted.and_then(|(last, user)| Some((last, self.claimed(id, &user)?))) {
            Some((last, jid)) => self.accept(id, jid, &BASE64.encode(last)),
            None => self.refuse(id, "not-authorized"),
        }
    }

    /// The account a user name means on this stream.
    fn claimed(&self, id: SessionId, user: &str) -> Option<BareJid> {
        BareJid::new(&format!("{user}@{}", self.sessions.get(&id)?.domain)).ok()
    }

    fn accept(&mut self, id: SessionId, jid: BareJid, last: &str) -> Next {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stage = Stage::Authenticated(jid);
        }
        self.write(id, Tag::of("success", SASL).text(last).finish());
        Next::Restart
    }

    fn refuse(&mut self, id: SessionId, condition: &'static str) -> Next {
        if let Some(session) = self.sessions.get_mut(&id) {
            self.observed.shook_hands(&mut session.shaking_hands);
        }
        self.write(id, Tag::of("failure", SASL).child(Tag::new(condition)).finish());
        Next::Go
    }

    fn end(&mut self, id: SessionId, condition: &'static str, content: &str) -> Next {
        self.stream_error(id, condition, content);
        Next::Go
    }

    /// Takes the elements between log-in and binding.
    pub(super) fn bind(&mut self, id: SessionId, jid: &BareJid, element: &Element, now: Moment) {
        let Some(bind) = element.get_child("bind", BIND).filter(|_| element.is("iq", CLIENT)) else {
            return self.stream_error(id, "not-authorized", "");
        };
        self.observed.saw(jid, Request::Bind, now);
        let asked = bind.get_child("resource", BIND).map(Element::text).filter(|text| !text.is_empty());
        let resource = match self.behaviour(jid).bind.clone() {
            Bind::AsAsked => asked.unwrap_or_else(|| format!("{:x}", id.0)),
            Bind::Other(resource) => resource,
            Bind::Fail(failure) => {
                let iq = answer(element, "error").child(failure.tag());
                return self.write(id, iq.finish());
            }
            Bind::NotOffered => return self.stream_error(id, "not-authorized", ""),
        };
        let Ok(full) = jid.with_resource_str(&resource) else {
            let iq = answer(element, "error").child(Failure::new("modify", "bad-request").tag());
            return self.write(id, iq.finish());
        };
        match self.session_of(&full) {
            Some(old) if self.is_away(old) => self.ended(old),
            Some(old) => {
                self.observed.conflicts += 1;
                self.stream_error(old, "conflict", "");
            }
            None => {}
        }
        self.register(id, &full);
        self.observed.logins += 1;
        let bind = Tag::of("bind", BIND).child(Tag::new("jid").text(full.as_str()));
        self.write(id, answer(element, "result").child(bind).finish());
    }

    fn offers_no_bind(&self, jid: &BareJid) -> bool {
        self.behaviour(jid).bind == Bind::NotOffered
    }
}

fn answer(request: &Element, kind: &str) -> Tag {
    Tag::of("iq", CLIENT).attr("type", kind).maybe("id", request.attr("id"))
}

fn decoded(response: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(response).ok()?).ok()
}

/// User and password of a SASL PLAIN response (RFC 4616).
fn credentials(response: &str) -> Option<(String, String)> {
    let text = decoded(response)?;
    let mut parts = text.split('\0').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}
