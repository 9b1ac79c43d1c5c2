//! Calls as the service sees them: legs that ring, are answered and end (protocol sheet section 8.2).
//!
//! Must not know how a publication is delivered.

use super::delivery::{Entry, Publication};
use super::node::leaf_of;
use super::payload::{ActiveCall, publish_time};
use crate::domain::identity::Token;
use crate::domain::moment::Moment;

/// The service calls are published on.
pub(super) const SERVICE: &str = "active-calls";

/// One leg of a call: one item on one leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The leaf it shows on.
    pub node: String,
    /// Its item id.
    pub item_id: String,
    /// What it shows; a test may change it before the next publish.
    pub call: ActiveCall,
    /// Whether it is published and not yet retracted.
    pub live: bool,
}

/// A call with its legs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its legs: of an internal call the caller's first.
    pub legs: Vec<Leg>,
}

impl Call {
    /// A call to SIP address `callee` (`user@domain`) that makes `forks` phones ring.
    pub fn incoming(number: u64, callee: &str, from_uri: &str, forks: usize) -> Self {
        let base = base(number, from_uri, &format!("sip:{callee}"));
        Self { legs: ringing(number, callee, &base, forks) }
    }

    /// A call by SIP address `caller` to `to_uri`.
    pub fn outgoing(number: u64, caller: &str, to_uri: &str) -> Self {
        let base = base(number, &format!("sip:{caller}"), to_uri);
        Self { legs: vec![dialling(number, caller, &base)] }
    }

    /// A call between two addresses of the service: seen on both leaves, with one call-id.
    pub fn internal(number: u64, from: &str, to: &str, forks: usize) -> Self {
        let base = base(number, &format!("sip:{from}"), &format!("sip:{to}"));
        let mut legs = vec![dialling(number, from, &base)];
        legs.extend(ringing(number, to, &base, forks));
        Self { legs }
    }

    /// The SIP Call-ID of its first leg.
    pub fn call_id(&self) -> &str {
        self.legs.first().map_or("", |leg| leg.call.call_id.as_str())
    }

    /// Publishes every leg in its first state.
    pub fn place(&mut self, now: Moment) -> Vec<Publication> {
        self.legs.iter_mut().map(|leg| leg.publish(now)).collect()
    }

    /// Publishes one leg as it is now, with a new `publish-time`.
    pub fn publish(&mut self, leg: usize, now: Moment) -> Vec<Publication> {
        self.legs.get_mut(leg).map(|leg| leg.publish(now)).into_iter().collect()
    }

    /// Answers one leg and leaves the others alone.
    pub fn confirm(&mut self, leg: usize, now: Moment) -> Vec<Publication> {
        self.legs.get_mut(leg).map(|leg| leg.confirm(now)).into_iter().collect()
    }

    /// Ends one leg.
    pub fn retract(&mut self, leg: usize) -> Vec<Publication> {
        self.legs.get_mut(leg).and_then(Leg::retract).into_iter().collect()
    }

    /// One of the ringing phones answers (the first is 0): it and the caller's leg are confirmed, the other phones stop.
    pub fn answer(&mut self, fork: usize, now: Moment) -> Vec<Publication> {
        let mut all = Vec::new();
        let mut phone = 0;
        for leg in &mut self.legs {
            let ringing = leg.call.dialog_state == "requested";
            if !ringing || phone == fork {
                all.push(leg.confirm(now));
            } else {
                all.extend(leg.retract());
            }
            phone += usize::from(ringing);
        }
        all
    }

    /// Ends every leg that is left.
    pub fn hang_up(&mut self) -> Vec<Publication> {
        self.legs.iter_mut().filter_map(Leg::retract).collect()
    }
}

impl Leg {
    fn publish(&mut self, now: Moment) -> Publication {
        self.live = true;
        let payload = self.call.xml(Some(&publish_time(now)));
        self.publication(Entry::Item(self.item_id.clone(), payload))
    }

    fn confirm(&mut self, now: Moment) -> Publication {
        "confirmed".clone_into(&mut self.call.dialog_state);
        self.call.to_tag = short(&["to", &self.call.call_id]);
        self.publish(now)
    }

    fn retract(&mut self) -> Option<Publication> {
        std::mem::take(&mut self.live).then(|| self.publication(Entry::Retract(self.item_id.clone())))
    }

    fn publication(&self, entry: Entry) -> Publication {
        Publication { service: SERVICE.to_owned(), node: self.node.clone(), entries: vec![entry] }
    }
}

fn base(number: u64, from_uri: &str, to_uri: &str) -> ActiveCall {
    ActiveCall {
        call_id: format!("{}@192.0.2.{}", short(&["call", &number.to_string()]), number % 250 + 1),
        from_uri: from_uri.to_owned(),
        to_uri: to_uri.to_owned(),
        from_tag: short(&["from", &number.to_string()]),
        from_display: display(from_uri),
        to_display: display(to_uri),
        ..ActiveCall::default()
    }
}

fn dialling(number: u64, caller: &str, base: &ActiveCall) -> Leg {
    let call = ActiveCall { dialog_state: "created".to_owned(), ..base.clone() };
    Leg { node: leaf_of(caller), item_id: item_id(number, caller, 0), call, live: false }
}

fn ringing(number: u64, callee: &str, base: &ActiveCall, forks: usize) -> Vec<Leg> {
    let leg = |fork| {
        let id = item_id(number, callee, fork + 1);
        let branch = id.rsplit_once(':').map_or("", |(_, branch)| branch).to_owned();
        let state = "requested".to_owned();
        let call = ActiveCall { dialog_state: state, to_aor: callee.to_owned(), branch, ..base.clone() };
        Leg { node: leaf_of(callee), item_id: id, call, live: false }
    };
    (0..forks).map(leg).collect()
}

/// Opaque, with the characters that break careless readers; legs of one call share what stands before the last colon.
fn item_id(number: u64, address: &str, fork: usize) -> String {
    let call = short(&["item", &number.to_string(), address]);
    let branch = short(&["branch", &number.to_string(), address, &fork.to_string()]);
    format!("{call}/a+b==:z9hG4bK{branch}")
}

fn short(parts: &[&str]) -> String {
    Token::of(parts.iter().copied()).as_str().chars().take(12).collect()
}

fn display(uri: &str) -> String {
    let user = uri.trim_start_matches("sip:").split('@').next().unwrap_or_default();
    if user.starts_with(|first: char| first.is_ascii_alphabetic()) { format!("\"{user}\"") } else { user.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(call: &Call) -> Vec<(&str, bool)> {
        call.legs.iter().map(|leg| (leg.call.dialog_state.as_str(), leg.live)).collect()
    }

    #[test]
    fn one_phone_answers_and_the_others_stop_ringing() {
        let mut call = Call::incoming(1, "anna@acme.test", "sip:+12125550111@carrier.test", 3);
        assert_eq!(call.place(Moment::now()).len(), 3);
        call.answer(1, Moment::now());
        assert_eq!(states(&call), [("requested", false), ("confirmed", true), ("requested", false)]);
        assert_eq!(call.hang_up().len(), 1);
        assert_eq!(call.hang_up().len(), 0);
    }

    #[test]
    fn an_internal_call_shows_on_both_leaves_with_one_call_id() {
        let mut call = Call::internal(2, "anna@acme.test", "bert@acme.test", 2);
        call.place(Moment::now());
        assert_eq!(states(&call), [("created", true), ("requested", true), ("requested", true)]);
        assert_eq!((call.legs[0].node.as_str(), call.legs[1].node.as_str()), ("/acme.test/anna", "/acme.test/bert"));
        assert_eq!(call.legs[0].call.call_id, call.legs[2].call.call_id);
        call.answer(0, Moment::now());
        assert_eq!(states(&call), [("confirmed", true), ("confirmed", true), ("requested", false)]);
    }

    #[test]
    fn forks_share_the_call_and_nothing_else() {
        let call = Call::incoming(3, "anna@acme.test", "sip:bert@acme.test", 2);
        let [one, two] = call.legs.as_slice() else { unreachable!() };
        assert_eq!(one.call.call_id, two.call.call_id);
        assert_ne!(one.item_id, two.item_id);
        assert_ne!(one.call.branch, two.call.branch);
    }
}
