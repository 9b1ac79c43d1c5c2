//! Transcripts: what goes in, and what comes out of it in one line.
//!
//! Requests are written `list`, `subscribe`, `renew A`, `unsubscribe A`; facts `reused`, `created`, `removed`,
//! `renewal: renewed`; a new state `= active`. Time stands still unless a test moves it.

use super::*;
use crate::protocol::stanza::Refusal;

mod authorization;
mod beginning;
mod connection;
mod ending;
mod leaving;
mod leftovers;
mod model;
mod probes;
mod redirects;
mod refusals;
mod renewal;
mod resync;

const OWN: &str = "a@b.test/router";
const LEASE: Duration = Duration::from_hours(2);

/// A moment on virtual time.
fn at(since_start: Duration) -> Moment {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Moment::virtual_at(since_start, start + since_start)
}

fn terms() -> Terms {
    Terms {
        service: Service::new("active-calls", "x.test").unwrap(),
        node: "/me/a@b.test".into(),
        lease: LEASE,
        approval_timeout: Duration::from_secs(30),
        resync: false,
    }
}

/// The answer to a list request: entries `state`, `state:subid` or `state:subid@jid`, ours unless a JID is named.
fn list(entries: &str) -> Reply {
    let entries = entries.split_whitespace().map(|entry| {
        let (entry, jid) = entry.split_once('@').map_or((entry, OWN), |(entry, jid)| (entry, jid));
        let (state, subid) =
            entry.split_once(':').map_or((entry, String::new()), |(state, subid)| (state, format!(" subid='{subid}'")));
        format!("<subscription subscription='{state}'{subid} jid='{jid}'/>")
    });
    let entries: String = entries.collect();
    result(&format!("<subscriptions>{entries}</subscriptions>"))
}

#[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
fn result(inner: &str) -> Reply {
    let pubsub = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'>{inner}</pubsub>");
    Ok(format!("<iq xmlns='jabber:client' type='result'>{pubsub}</iq>").parse().unwrap())
}

#[expect(clippy::unnecessary_wraps, reason = "a reply is a result")]
fn done() -> Reply {
    Ok("<iq xmlns='jabber:client' type='result'/>".parse().unwrap())
}

fn error(condition: &str, specific: &str) -> Reply {
    let specific = Some(specific.to_owned()).filter(|specific| !specific.is_empty());
    Err(NoAnswer::Refused(Refusal { condition: condition.into(), specific, wait: false, target: None }))
}

fn moved(node: &str) -> Reply {
    let target = Some(format!("xmpp:pubsub.active-calls.x.test?;node={node}"));
    Err(NoAnswer::Refused(Refusal { condition: "redirect".into(), specific: None, wait: false, target }))
}

fn told(state: &str) -> Change {
    Change { node: Some("/me/a@b.test".into()), jid: Some(OWN.into()), subid: None, state: state.into() }
}

/// A subscription on virtual time.
struct Play {
    machine: Subscription,
    now: Duration,
}

impl Play {
    fn new() -> Self {
        Self::remembering(None)
    }

    fn remembering(memory: Option<Memory>) -> Self {
        Self::with(terms(), memory)
    }

    fn with(terms: Terms, memory: Option<Memory>) -> Self {
        let now = Duration::from_secs(1);
        Self { machine: Subscription::new(terms, memory, at(now), Dice::seeded(7)), now }
    }

    /// One that is active with the subid A.
    fn active() -> Self {
        let mut play = Self::new();
        play.ready();
        play.hears(&list("subscribed:A"));
        assert_eq!(play.hears(&done()), "renewal: renewed, = active");
        play
    }

    /// One that waits for its approval.
    fn pending() -> Self {
        let mut play = Self::new();
        play.ready();
        play.hears(&list(""));
        assert_eq!(play.hears(&result("<subscription subscription='pending'/>")), "created, = pending");
        play
    }

    fn ready(&mut self) -> String {
        shown(self.machine.ready(FullJid::new(OWN).unwrap(), at(self.now)))
    }

    fn suspended(&mut self) -> String {
        shown(self.machine.suspended(at(self.now)))
    }

    fn reauthorized(&mut self) -> String {
        shown(self.machine.reauthorized(false, at(self.now)))
    }

    fn hears(&mut self, reply: &Reply) -> String {
        shown(self.machine.answered(reply, at(self.now)))
    }

    fn told(&mut self, state: &str) -> String {
        shown(self.machine.changed(&told(state), at(self.now)))
    }

    /// Lets time pass.
    fn after(&mut self, time: Duration) -> String {
        self.now += time;
        shown(self.machine.tick(at(self.now)))
    }

    /// Lets time pass until the machine wants to do something, and says how long that took.
    fn due(&mut self) -> (Duration, String) {
        let pause = at(self.now).until(self.machine.deadline().unwrap());
        (pause, self.after(pause))
    }

    fn state(&self) -> SubscriptionState {
        self.machine.state(at(self.now)).0
    }

    /// Fails every try to renew until the lease is over, and the list after that shows the entry still there.
    fn let_the_lease_run_out(&mut self) -> String {
        loop {
            let (_, did) = self.due();
            if !did.starts_with("renew A") {
                return did;
            }
            self.hears(&Err(NoAnswer::TimedOut));
        }
    }
}

fn shown(commands: Vec<Command>) -> String {
    let subid = |subid: Option<Subid>| subid.map_or(String::new(), |subid| format!(" {subid}"));
    let line = |command| match command {
        Command::Send(Request::List { .. }) => "list".to_owned(),
        Command::Send(Request::Items { .. }) => "items".to_owned(),
        Command::Send(Request::Subscribe { .. }) => "subscribe".to_owned(),
        Command::Send(Request::Renew { subid: id, .. }) => format!("renew{}", subid(id)),
        Command::Send(Request::Unsubscribe { subid: id, .. }) => format!("unsubscribe{}", subid(id)),
        Command::Send(Request::UnsubscribeOther { jid, subid, .. }) => {
            format!("unsubscribe {subid} of {}", jid.resource())
        }
        Command::Send(request @ Request::Authorize { .. }) => format!("{request:?}"),
        Command::Forget(jid) => format!("forget {}", jid.resource()),
        Command::Became(state, _) => format!("= {state}"),
        Command::Tell(Fact::Renewal(outcome)) => format!("renewal: {outcome}"),
        Command::Tell(Fact::Resync(outcome)) => format!("resync: {outcome}"),
        Command::Tell(Fact::Probe(outcome)) => format!("probe: {outcome}"),
        Command::Tell(fact) => format!("{fact:?}").to_lowercase(),
    };
    commands.into_iter().map(line).collect::<Vec<_>>().join(", ")
}
