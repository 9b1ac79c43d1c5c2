//! How the service answers: what a test changes at run time, per account or for all.

use std::time::Duration;

use super::markup::Tag;
use super::names::{PUBSUB_ERRORS, STANZAS};

/// How the service treats an account. The default is the documented behaviour.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// Answer to a log-in.
    pub login: Login,
    /// Answer to resource binding.
    pub bind: Bind,
    /// Answer to `authorize-plain`.
    pub authorize: Authorize,
    /// Whether an address must be authorized before its events are seen.
    pub needs_authorization: bool,
    /// Answer to a subscribe request.
    pub subscribe: Answering,
    /// What follows a `pending`.
    pub approval: Approval,
    /// Answer to setting subscription options.
    pub options: Answering,
    /// Answer to listing subscriptions.
    pub list: Answering,
    /// Answer to unsubscribing.
    pub unsubscribe: Answering,
    /// Answer to asking for items.
    pub items: Answering,
    /// Answer to asking for the time.
    pub time: Answering,
    /// Whether a ping is answered.
    pub pings: bool,
    /// How long a lost session can be resumed (XEP-0198); `None`: stream management is not offered.
    pub resumable_for: Option<Duration>,
    /// Whether a stream that cannot be resumed is closed, in place of waiting for a binding.
    pub closes_unresumed: bool,
    /// How long every answer to a request is held back.
    pub reply_delay: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            login: Login::Check,
            bind: Bind::AsAsked,
            authorize: Authorize::Grant(Duration::from_hours(1)),
            needs_authorization: true,
            subscribe: Answering::AsDocumented,
            approval: Approval::After(Duration::from_millis(20)),
            options: Answering::AsDocumented,
            list: Answering::AsDocumented,
            unsubscribe: Answering::AsDocumented,
            items: Answering::AsDocumented,
            time: Answering::AsDocumented,
            pings: true,
            resumable_for: None,
            closes_unresumed: false,
            reply_delay: Duration::ZERO,
        }
    }
}

/// Answer to a log-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// The password decides.
    Check,
    /// The SASL failure with this condition, e.g. `temporary-auth-failure`.
    Fail(&'static str),
    /// The end of the stream with this condition and its content, e.g. `see-other-host` and a host.
    End(&'static str, String),
    /// None at all.
    Silence,
    /// `invalid-mechanism` to all mechanisms but PLAIN, which alone works; whether the stream ends with that.
    OnlyPlain {
        /// Whether it does.
        closes: bool,
    },
    /// With SCRAM this challenge, in which `NONCE` stands for the client's nonce; no proof is right then.
    Challenge(String),
    /// With SCRAM success, whatever the client says.
    Believe {
        /// Whether in place of a challenge.
        early: bool,
        /// The data of the success, before base64.
        data: String,
    },
}

/// Answer to resource binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// The resource asked for.
    AsAsked,
    /// This resource.
    Other(String),
    /// An error.
    Fail(Failure),
    /// Binding is not among the stream features.
    NotOffered,
}

/// Answer to `authorize-plain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorize {
    /// With the right password: authorized for this long.
    Grant(Duration),
    /// The same, for this address in place of the one asked for.
    GrantOther(Duration, String),
    /// As with a wrong password.
    Refuse,
    /// An error that asks to come back later.
    Wait,
    /// None at all.
    Silence,
}

/// What follows a `pending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// After this time `subscribed`, or `none` for who is not authorized then.
    After(Duration),
    /// After this time `none`.
    Deny(Duration),
    /// Nothing, until [`super::Simulator::approve_now`] or [`super::Simulator::revoke`].
    Silence,
}

/// Answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answering {
    /// What the service would do.
    AsDocumented,
    /// This error.
    Fail(Failure),
    /// None at all.
    Silence,
}

/// How a link is half-dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// It accepts bytes and answers nothing.
    Dead,
    /// It answers requests and delivers no messages.
    Deaf,
    /// It answers pings and nothing else.
    OnlyPings,
}

/// A stanza error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: &'static str,
    condition: &'static str,
    content: Option<Box<str>>,
    specific: Option<(&'static str, &'static str)>,
    feature: Option<&'static str>,
    text: Option<&'static str>,
}

impl Failure {
    /// An error of this type (`cancel`, `modify`, `auth`, `wait`) and condition.
    pub fn new(kind: &'static str, condition: &'static str) -> Self {
        Self { kind, condition, content: None, specific: None, feature: None, text: None }
    }

    /// Adds a condition of XEP-0060, e.g. `invalid-subid`.
    #[must_use]
    pub fn pubsub(self, condition: &'static str) -> Self {
        self.specific(PUBSUB_ERRORS, condition)
    }

    /// Adds an application condition.
    #[must_use]
    pub fn specific(mut self, ns: &'static str, condition: &'static str) -> Self {
        self.specific = Some((ns, condition));
        self
    }

    /// `feature-not-implemented` with the feature of XEP-0060 that is missing.
    #[must_use]
    pub fn unsupported(feature: &'static str) -> Self {
        let mut failure = Self::new("cancel", "feature-not-implemented").pubsub("unsupported");
        failure.feature = Some(feature);
        failure
    }

    /// A `redirect` or `gone` to a node.
    #[must_use]
    pub fn moved(condition: &'static str, service: &str, node: &str) -> Self {
        let mut failure = Self::new("modify", condition);
        failure.content = Some(format!("xmpp:{service}?;node={node}").into());
        failure
    }

    /// Adds a text for people.
    #[must_use]
    pub fn text(mut self, text: &'static str) -> Self {
        self.text = Some(text);
        self
    }

    pub(super) fn tag(&self) -> Tag {
        let condition = Tag::of(self.condition, STANZAS);
        let condition = match &self.content {
            Some(content) => condition.text(content),
            None => condition,
        };
        let text = self.text.map(|text| Tag::of("text", STANZAS).text(text));
        let specific = self.specific.map(|(ns, name)| Tag::of(name, ns).maybe("feature", self.feature));
        Tag::new("error").attr("type", self.kind).child(condition).children(text).children(specific)
    }
}
