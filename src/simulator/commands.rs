//! The component `commands.auth`: `authorize-plain` (protocol sheet section 4).

use minidom::Element;

use super::behaviour::{Authorize, Failure};
use super::markup::Tag;
use super::names::{COMMANDS, DATA};
use super::observed::Request;
use super::requests::{Answer, Query};
use super::switchboard::Switchboard;
use crate::domain::{BareJid, Jid};

impl Switchboard {
    pub(super) fn authorize(&mut self, query: &Query<'_>) -> Answer {
        let sender = query.from.to_bare();
        self.observed.saw(&sender, Request::Authorize, query.now);
        if query.payload.attr("node") != Some("authorize-plain") {
            return Failure::new("cancel", "item-not-found").into();
        }
        let (lifetime, other) = match self.behaviour(&sender).authorize.clone() {
            Authorize::Grant(lifetime) => (lifetime, None),
            Authorize::GrantOther(lifetime, other) => (lifetime, Some(other)),
            Authorize::Refuse => return refused(),
            Authorize::Wait => return Failure::new("wait", "internal-server-error").into(),
            Authorize::Silence => return Answer::Silence,
        };
        let Some(form) = query.payload.get_child("x", DATA) else {
            return Failure::new("modify", "bad-request").specific(COMMANDS, "bad-payload").into();
        };
        let address = field(form, "sip-address");
        let owner = address.as_deref().and_then(|address| self.directory.owner(address));
        let Some((address, owner)) = address.as_deref().zip(owner) else { return refused() };
        if field(form, "password").as_deref() != Some(owner.password.as_str()) {
            return refused();
        }
        let all = matches!(field(form, "auth-for-all").as_deref(), Some("true" | "1"));
        let addresses = match other {
            Some(other) => vec![other],
            None if all => owner.addresses.clone(),
            None => vec![address.to_owned()],
        };
        let jid = match field(form, "jid").map(|jid| Jid::new(&jid)) {
            None => sender,
            Some(Ok(jid)) => jid.to_bare(),
            Some(Err(_)) => return refused(),
        };
        self.grant(&jid, &addresses, query, lifetime)
    }

    fn grant(
        &mut self,
        jid: &BareJid,
        addresses: &[String],
        query: &Query<'_>,
        lifetime: std::time::Duration,
    ) -> Answer {
        let until = query.now + lifetime;
        for address in addresses {
            self.authorizations.grant(jid, address, until);
        }
        // Whole seconds, rounded down: nobody is told more than was granted.
        let expires = self.utc(until).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let note = format!("{jid} is authorized for {} until {expires}.", addresses.join(", "));
        let fields = addresses.iter().map(|address| fixed("sip", address));
        let form = Tag::of("x", DATA).attr("type", "result").child(fixed("expires", &expires)).children(fields);
        let command = Tag::of("command", COMMANDS)
            .attr("status", "completed")
            .attr("node", "authorize-plain")
            .attr("sessionid", &query.now.utc().as_microsecond().to_string());
        Answer::of(command.child(Tag::new("note").attr("type", "info").text(&note)).child(form))
    }
}

fn refused() -> Answer {
    let text = "Execution Errors; base Authentication failed - invalid username or password.; missing response";
    Failure::new("modify", "bad-request").specific(COMMANDS, "bad-action").text(text).into()
}

fn fixed(name: &str, value: &str) -> Tag {
    Tag::new("field").attr("type", "fixed").attr("var", name).child(Tag::new("value").text(value))
}

/// The first value of a field; an empty one counts as absent.
fn field(form: &Element, name: &str) -> Option<String> {
    let field = form.children().find(|field| field.is("field", DATA) && field.attr("var") == Some(name))?;
    Some(field.get_child("value", DATA)?.text()).filter(|text| !text.is_empty())
}
