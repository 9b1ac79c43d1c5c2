//! A visit to the service: log in under a resource of its own, ask, leave.
//!
//! No presence is ever sent, so the visitor is no available resource: neither the messages kept for the account nor
//! those for a router that is away can end here (protocol sheet section 7.4). Must not decide what to ask.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use minidom::Element;
use tokio::time::timeout;

use crate::config::{Account, Onsip};
use crate::domain::moment::Moment;
use crate::domain::name::NodeName;
use crate::domain::service::Service;
use crate::domain::{BareJid, FullJid};
use crate::protocol::link::{Failure, Loss};
use crate::protocol::logins::Urgency;
use crate::protocol::requests::{NoAnswer, Reply, Requests};
use crate::protocol::stanza::{self, Incoming, Listed, Request};
use crate::protocol::subscription::moved;
use crate::xmpp::connector::Connector;
use crate::xmpp::login::Credential;
use crate::xmpp::session::{self, Bounds, Event, Plan, Received, Session};

/// Other hosts followed in a row.
const MOST_HOSTS: u32 = 3;
/// Redirects of a node followed in a row (protocol sheet section 5).
const MOST_HOPS: u32 = 5;
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(3);
/// Subscriptions one JID may have on one node (protocol sheet section 6.6).
const LIMIT: usize = 10;

/// How visits reach the service.
#[derive(Clone)]
pub struct Door {
    /// Opens streams.
    pub connector: Connector,
    /// What all visits together may do.
    pub bounds: Bounds,
    /// The beginning of every resource.
    pub name: &'static str,
}

/// A session as somebody else than the router, on its behalf.
pub struct Visit {
    session: Session,
    requests: Requests<()>,
    patience: Duration,
    router: FullJid,
    loss: Option<Loss>,
}

/// What the service holds for one node of an account.
#[derive(Debug)]
pub struct Holding {
    /// Where the node is.
    pub service: Service,
    /// The node as configured.
    pub node: NodeName,
    /// The node it really is, after redirects.
    pub via: NodeName,
    /// All entries of the account, of whatever resource.
    pub listed: anyhow::Result<Vec<Listed>>,
}

impl Visit {
    /// Logs `account` in, under a resource that nobody else has.
    ///
    /// # Errors
    /// Why there is no session; free of secrets.
    pub async fn begin(door: &Door, account: &Account) -> Result<Self, Failure> {
        let router = account.jid.with_resource_str(&account.resource);
        let router = router.map_err(|fault| Failure::Protocol(format!("the configured resource: {fault}")))?;
        let mut instead = None;
        for _ in 0..=MOST_HOSTS {
            let credential = Credential {
                jid: account.jid.clone(),
                password: account.password.clone(),
                resource: format!("{}-{:016x}", door.name, rand::random::<u64>()),
            };
            let (connector, bounds) = (door.connector.clone(), door.bounds.clone());
            let (to, services) = (instead.take(), Arc::from([]));
            let mut session = session::start(connector, credential, services, to, bounds, Plan::Plain, Urgency::New);
            match session.events.recv().await.map(|event| *event) {
                Some(Event::Up(_)) => {
                    let patience = door.connector.options().request_timeout;
                    return Ok(Self { session, requests: Requests::new(patience), patience, router, loss: None });
                }
                Some(Event::Failed { failure: Failure::Redirected(host), .. }) => instead = Some(host),
                Some(Event::Failed { failure, .. }) => return Err(failure),
                Some(
                    Event::Down(..) | Event::Received(..) | Event::Oversize(_) | Event::Resumed(_) | Event::Unresumable,
                )
                | None => {
                    return Err(Failure::Network("the session ended as it began".to_owned()));
                }
            }
        }
        Err(Failure::Protocol(format!("the server sent us to other hosts more than {MOST_HOSTS} times")))
    }

    /// The full JID of the router itself: whose subscriptions are its own, and whom every request is about.
    #[must_use]
    pub fn router(&self) -> &FullJid {
        &self.router
    }

    /// Sends one request and waits for its answer, no longer than the request time-out.
    pub async fn ask(&mut self, to: &BareJid, request: &Request) -> Reply {
        let id = self.requests.open(to.clone(), (), Moment::now());
        let stanza = stanza::iq(&id, to, &self.router, request);
        let reply = timeout(self.patience, self.exchange(stanza)).await;
        self.requests.abandon(); // a late answer is nobody's
        reply.unwrap_or(Err(NoAnswer::TimedOut))
    }

    /// Runs `authorize-plain` for the account's address.
    pub async fn authorize(&mut self, onsip: &Onsip, account: &Account) -> Reply {
        let request = Request::Authorize {
            sip_address: account.sip_address.clone(),
            password: account.password.clone(),
            jid: account.jid.clone(),
            auth_for_all: account.auth_for_all,
        };
        self.ask(&onsip.auth, &request).await
    }

    /// Lists the subscriptions to every configured node, one after the other.
    pub async fn holdings(&mut self, account: &Account) -> Vec<Holding> {
        let mut holdings = Vec::new();
        for (service, nodes) in &account.subscribe {
            for node in nodes {
                holdings.push(self.holding(service, node).await);
            }
        }
        holdings
    }

    async fn holding(&mut self, service: &Service, node: &NodeName) -> Holding {
        let mut via = node.clone();
        let mut hops = 0;
        let listed = loop {
            let why = match self.ask(service.jid(), &Request::List { node: via.clone() }).await {
                Ok(answer) => break Ok(Listed::read(&answer)),
                Err(why) => why,
            };
            match &why {
                NoAnswer::Refused(refusal) if hops < MOST_HOPS => match moved(refusal, service) {
                    Some(next) => (via, hops) = (next, hops + 1),
                    None => break Err(self.fault(&why)),
                },
                NoAnswer::Refused(_) | NoAnswer::TimedOut | NoAnswer::Disconnected => break Err(self.fault(&why)),
            }
        };
        Holding { service: service.clone(), node: node.clone(), via, listed }
    }

    /// Why a request brought no result, with what ended the session where that is the reason; free of secrets.
    #[must_use]
    pub fn fault(&self, why: &NoAnswer) -> anyhow::Error {
        match (why, &self.loss) {
            (NoAnswer::Disconnected, Some(loss)) => anyhow!("the connection went away: {}", loss.why()),
            (NoAnswer::Disconnected, None) | (NoAnswer::Refused(_) | NoAnswer::TimedOut, _) => anyhow!("{why}"),
        }
    }

    /// Closes the stream in good order, as far as the server lets us.
    pub async fn leave(self) {
        let Session { outbox, mut events, task, .. } = self.session;
        drop(outbox);
        let ended = async { while events.recv().await.is_some() {} };
        if timeout(GOODBYE, ended).await.is_err() {
            task.abort();
        }
    }

    async fn exchange(&mut self, stanza: Element) -> Reply {
        // Where the session is over already, its last event says why.
        let _ = self.session.outbox.send(Box::new(stanza)).await;
        loop {
            match self.session.events.recv().await.map(|event| *event) {
                Some(Event::Received(received, ..)) => {
                    if let Some(reply) = self.read(received) {
                        return reply;
                    }
                }
                Some(Event::Up(_) | Event::Resumed(_) | Event::Oversize(_) | Event::Unresumable) => {}
                Some(Event::Down(loss, ..)) => {
                    self.loss = Some(loss);
                    return Err(NoAnswer::Disconnected);
                }
                Some(Event::Failed { .. }) | None => return Err(NoAnswer::Disconnected),
            }
        }
    }

    /// Looks for the answer, and is polite to whoever asks us something meanwhile.
    fn read(&mut self, received: Vec<Received>) -> Option<Reply> {
        let mut reply = None;
        for one in received {
            let Received::Element(element) = one else { continue };
            match stanza::incoming(element) {
                Incoming::Answer { id, from, outcome } => {
                    if self.requests.answered(&id, from.as_ref(), Moment::now()).is_some() {
                        reply = Some(outcome.map_err(NoAnswer::Refused));
                    }
                }
                // A full outbox means that nothing is read there: then this answer is not missed either.
                Incoming::Request(request) => {
                    if let Some(answer) = stanza::reply(&request) {
                        drop(self.session.outbox.try_send(Box::new(answer)));
                    }
                }
                Incoming::Other => {}
            }
        }
        reply
    }
}

impl Holding {
    /// What an operator should hear of: so many entries that the next subscription may be refused.
    #[must_use]
    pub fn crowded(&self) -> Option<String> {
        let count = self.listed.as_ref().map_or(0, Vec::len);
        let (service, node) = (&self.service, &self.node);
        (count >= LIMIT).then(|| format!("{service} {node}: {count} subscriptions; the service allows {LIMIT} per JID"))
    }
}
