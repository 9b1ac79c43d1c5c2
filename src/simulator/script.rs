//! The hands of a test: what it does to the service, and what it asks and waits for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;

use super::behaviour::Behaviour;
use super::calls::Call;
use super::delivery::{Entry, Publication, Style};
use super::directory::{Account, NotAnAccount};
use super::payload::{UserAgent, Voicemail, publish_time};
use super::subscription::{Expire, Options, State, Subscription};
use super::switchboard::{SessionId, Stall, Switchboard};
use super::{Observed, Simulator};
use crate::domain::moment::Moment;
use crate::domain::{BareJid, FullJid};

/// How long a wait goes without a look.
const GLANCE: Duration = Duration::from_millis(50);

/// The accounts and the rules.
impl Simulator {
    /// Adds an account that owns the SIP address equal to its JID.
    ///
    /// # Errors
    /// If `jid` is not a bare JID with a local part.
    pub fn account(&self, jid: &str, password: &str) -> Result<BareJid, NotAnAccount> {
        let account = Account::new(jid, password)?;
        let jid = account.jid.clone();
        self.add(account);
        Ok(jid)
    }

    /// Adds an account, or replaces the one with its JID.
    pub fn add(&self, account: Account) {
        self.shared.act(|board, _| board.directory.add(account));
    }

    /// Changes a password, as the portal would.
    pub fn set_password(&self, jid: &BareJid, password: &str) {
        self.shared.act(|board, _| {
            if let Some(account) = board.directory.account_mut(jid) {
                password.clone_into(&mut account.password);
            }
        });
    }

    /// Changes how one account is treated from now on; it starts from how all are treated now.
    pub fn behave(&self, jid: &BareJid, change: impl FnOnce(&mut Behaviour)) {
        self.shared.act(|board, _| board.change_behaviour(Some(jid), change));
    }

    /// Changes how accounts are treated that have no behaviour of their own.
    pub fn behave_all(&self, change: impl FnOnce(&mut Behaviour)) {
        self.shared.act(|board, _| board.change_behaviour(None, change));
    }

    /// Changes how notifications look and travel.
    pub fn style(&self, change: impl FnOnce(&mut Style)) {
        self.shared.act(|board, _| change(&mut board.style));
    }

    /// Sets the service's clock ahead of the true time, or behind it.
    pub fn set_clock(&self, ahead: SignedDuration) {
        self.shared.act(|board, _| board.clock_ahead = ahead);
    }

    /// Redirects requests for one node to another, on every service.
    pub fn redirect(&self, from: &str, to: &str) {
        self.shared.act(|board, _| board.redirects.insert(from.to_owned(), to.to_owned()));
    }
}

/// Subscriptions and authorizations.
impl Simulator {
    /// Approves every pending subscription of `jid` on `node` that it may have; the others get `none`.
    pub fn approve_now(&self, jid: &BareJid, node: &str) {
        self.decide(jid, node, true);
    }

    /// Denies every pending subscription of `jid` on `node`.
    pub fn deny_now(&self, jid: &BareJid, node: &str) {
        self.decide(jid, node, false);
    }

    fn decide(&self, jid: &BareJid, node: &str, grant: bool) {
        self.shared.act(|board, now| {
            for entry in board.subscriptions(jid, Some(node)) {
                board.decide(&entry.service, node, &entry.subid, grant, now);
            }
        });
    }

    /// Removes every subscription of `jid` on `node` and sends `none` for each.
    pub fn revoke(&self, jid: &BareJid, node: &str) {
        self.shared.act(|board, now| board.revoke(jid, node, now));
    }

    /// Removes every subscription of `jid` on `node` and says nothing.
    pub fn forget(&self, jid: &BareJid, node: &str) {
        self.shared.act(|board, _| board.forget(jid, node));
    }

    /// Sends the message that the subscription of `jid` on `node` has this state, whether it is true or not.
    pub fn announce(&self, service: &str, jid: &FullJid, node: &str, state: &str) {
        self.shared.act(|board, now| board.tell(service, node, &jid.clone().into(), state, now));
    }

    /// Makes every subscription of `jid` run out now, in silence.
    pub fn end_leases(&self, jid: &BareJid) {
        self.shared.act(|board, now| board.end_leases(jid, now));
    }

    /// Ends every authorization of `jid` now, in silence.
    pub fn end_authorization(&self, jid: &BareJid) {
        self.shared.act(|board, _| board.authorizations.end(jid));
    }

    /// Puts a subscription in place as if it had been made long ago, e.g. by another resource; returns its subid.
    pub fn plant(&self, service: &str, jid: &FullJid, node: &str, state: State) -> String {
        self.shared.act(|board, now| {
            let subid = board.subids.next(now);
            let mut entry = Subscription::new(service, node, jid.clone().into(), subid.clone());
            entry.state = state;
            board.hub(service).add(entry);
            subid
        })
    }
}

/// Links.
impl Simulator {
    /// Drops every connection of `jid` without a word.
    pub fn cut(&self, jid: &BareJid) {
        self.each_session(jid, Switchboard::cut);
    }

    /// Makes the links of `jid` half-dead until they are closed.
    pub fn stall(&self, jid: &BareJid, stall: Stall) {
        self.each_session(jid, |board, id| board.stall(id, stall));
    }

    /// Ends the streams of `jid` with an error, e.g. `conflict` or `system-shutdown`.
    pub fn stream_error(&self, jid: &BareJid, condition: &'static str) {
        self.each_session(jid, |board, id| board.stream_error(id, condition, ""));
    }

    /// Ends the streams of `jid` and sends it to another host, `host` or `host:port`.
    pub fn see_other_host(&self, jid: &BareJid, host: &str) {
        self.each_session(jid, |board, id| board.stream_error(id, "see-other-host", host));
    }

    /// Sends every new stream to another host before it logs in, or no more.
    pub fn send_elsewhere(&self, host: Option<&str>) {
        self.shared.act(|board, _| board.elsewhere = host.map(str::to_owned));
    }

    /// Closes the streams of `jid` in good order.
    pub fn close(&self, jid: &BareJid) {
        self.each_session(jid, Switchboard::close);
    }

    /// Writes text into the streams of `jid` as it is: foreign messages, bad XML, anything of any size.
    pub fn inject(&self, jid: &BareJid, xml: &str) {
        self.each_session(jid, |board, id| {
            board.notify(id, xml.to_owned());
        });
    }

    /// As [`Simulator::inject`], into the stream of one resource.
    pub fn inject_to(&self, jid: &FullJid, xml: &str) {
        self.shared.act(|board, _| {
            if let Some(id) = board.session_of(jid) {
                board.notify(id, xml.to_owned());
            }
        });
    }

    fn each_session(&self, jid: &BareJid, act: impl Fn(&mut Switchboard, SessionId)) {
        self.shared.act(|board, _| board.each_session(jid, act));
    }
}

/// Events.
impl Simulator {
    /// Publishes one item; the payload is passed on as it is.
    pub fn publish(&self, service: &str, node: &str, item_id: &str, payload: &str) {
        self.publish_all(service, node, vec![Entry::Item(item_id.to_owned(), payload.to_owned())]);
    }

    /// Retracts one item, known or not.
    pub fn retract(&self, service: &str, node: &str, item_id: &str) {
        self.publish_all(service, node, vec![Entry::Retract(item_id.to_owned())]);
    }

    /// Publishes several items and retracts in one notification.
    pub fn publish_all(&self, service: &str, node: &str, entries: Vec<Entry>) {
        let publication = Publication { service: service.to_owned(), node: node.to_owned(), entries };
        self.emit(&[publication]);
    }

    /// Publishes, one notification each.
    pub fn emit(&self, publications: &[Publication]) {
        self.shared.act(|board, now| {
            for publication in publications {
                board.publish(publication, now);
            }
        });
    }

    /// Purges a node of a service.
    pub fn purge(&self, service: &str, node: &str) {
        self.shared.act(|board, now| board.purge(service, node, now));
    }

    /// A number for a call that no other has; also usable with the constructors of [`Call`].
    pub fn call_number(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A call to `callee` (`user@domain`) rings on `forks` phones.
    pub fn call_in(&self, callee: &str, from_uri: &str, forks: usize) -> Call {
        self.place(Call::incoming(self.call_number(), callee, from_uri, forks))
    }

    /// A call by `caller` (`user@domain`).
    pub fn call_out(&self, caller: &str, to_uri: &str) -> Call {
        self.place(Call::outgoing(self.call_number(), caller, to_uri))
    }

    /// A call between two addresses of the service.
    pub fn call_between(&self, from: &str, to: &str, forks: usize) -> Call {
        self.place(Call::internal(self.call_number(), from, to, forks))
    }

    /// Publishes every leg of a call in its first state.
    pub fn place(&self, mut call: Call) -> Call {
        self.emit(&call.place(Moment::now()));
        call
    }

    /// Publishes one leg again as it is now.
    pub fn republish(&self, call: &mut Call, leg: usize) {
        self.emit(&call.publish(leg, Moment::now()));
    }

    /// Answers one leg and leaves the others alone.
    pub fn confirm(&self, call: &mut Call, leg: usize) {
        self.emit(&call.confirm(leg, Moment::now()));
    }

    /// Ends one leg.
    pub fn end_leg(&self, call: &mut Call, leg: usize) {
        self.emit(&call.retract(leg));
    }

    /// One ringing phone answers (the first is 0), the others stop.
    pub fn answer(&self, call: &mut Call, fork: usize) {
        self.emit(&call.answer(fork, Moment::now()));
    }

    /// Ends every leg that is left.
    pub fn hang_up(&self, call: &mut Call) {
        self.emit(&call.hang_up());
    }

    /// A phone registers for `address` (`user@domain`).
    pub fn register(&self, address: &str, agent: &UserAgent) {
        let payload = agent.xml(Some(&publish_time(Moment::now())));
        self.publish("user-agents", &super::node::leaf_of(address), &agent.contact, &payload);
    }

    /// A phone of `address` is gone.
    pub fn unregister(&self, address: &str, contact: &str) {
        self.retract("user-agents", &super::node::leaf_of(address), contact);
    }

    /// A voicemail arrives or moves.
    pub fn voicemail(&self, address: &str, item_id: &str, voicemail: &Voicemail) {
        self.publish("voicemail", &super::node::leaf_of(address), item_id, &voicemail.xml());
    }
}

/// Observation.
impl Simulator {
    /// Looks at the service.
    pub fn look<R>(&self, look: impl FnOnce(&Switchboard) -> R) -> R {
        self.shared.look(look)
    }

    /// A copy of all counters.
    pub fn observed(&self) -> Observed {
        self.look(|board| board.observed().clone())
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.look(Switchboard::connections)
    }

    /// All subscriptions of `jid` on `node`, whatever resource and state.
    pub fn subscriptions(&self, jid: &BareJid, node: &str) -> Vec<Subscription> {
        self.look(|board| board.subscriptions(jid, Some(node)))
    }

    /// Waits until the service is as wished, at most `within`; whether it came to be.
    ///
    /// The wish must look at what it is given: calling this simulator from within would lock it for good.
    #[must_use = "it may not have come to be"]
    pub async fn until(&self, within: Duration, mut wish: impl FnMut(&Switchboard) -> bool) -> bool {
        let mut changes = self.shared.changes();
        let fulfilled = async {
            while !self.look(&mut wish) {
                // Some wishes come true by time alone.
                let _ = tokio::time::timeout(GLANCE, changes.changed()).await;
            }
        };
        tokio::time::timeout(within, fulfilled).await.is_ok()
    }

    /// Waits until a resource of `jid` has sent presence.
    #[must_use = "it may not have come to be"]
    pub async fn until_online(&self, jid: &BareJid, within: Duration) -> bool {
        self.until(within, |board| board.priorities(jid).iter().any(Option::is_some)).await
    }

    /// Waits until a subscription of `jid` on `node` would deliver.
    #[must_use = "it may not have come to be"]
    pub async fn until_subscribed(&self, jid: &BareJid, node: &str, within: Duration) -> bool {
        let delivering = |board: &Switchboard| {
            board.subscriptions(jid, Some(node)).iter().any(|entry| entry.delivers(Moment::now()))
        };
        self.until(within, delivering).await
    }
}

impl Switchboard {
    pub(super) fn revoke(&mut self, jid: &BareJid, node: &str, now: Moment) {
        let removed = self.subscriptions(jid, Some(node));
        self.forget(jid, node);
        for entry in removed {
            self.tell(&entry.service, node, &entry.jid, "none", now);
        }
    }

    pub(super) fn forget(&mut self, jid: &BareJid, node: &str) {
        for hub in self.hubs.values_mut() {
            hub.keep(node, |entry| !entry.belongs_to(jid));
        }
    }

    pub(super) fn end_leases(&mut self, jid: &BareJid, now: Moment) {
        let all = self.hubs.values_mut().flat_map(|hub| hub.subscriptions.values_mut().flatten());
        for entry in all.filter(|entry| entry.belongs_to(jid)) {
            let depth = Some("all".to_owned());
            let options = entry.options.get_or_insert_with(|| Options { depth, ..Options::default() });
            options.expire = Expire::At(now.utc());
        }
    }
}
