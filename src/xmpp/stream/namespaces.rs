//! Which prefix stands for which namespace (Namespaces in XML 1.0).

use std::borrow::Cow;

use xmpp_parsers::ns;

use super::NotXmpp;
use crate::domain::limits::STANZA_NAMESPACES;

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// What the header of a stream declares, for all its elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    /// Nothing where it is what every server declares: the clients' namespace, and `stream` for that of streams.
    odd: Option<Box<[Declaration]>>,
}

/// A prefix and its namespace.
type Declaration = (Box<str>, Box<str>);

impl Declared {
    const USUAL: [(&'static str, &'static str); 2] = [("", ns::JABBER_CLIENT), ("stream", ns::STREAM)];

    pub(super) fn new(all: &[(&str, &str)]) -> Self {
        let usual = all.len() == Self::USUAL.len() && Self::USUAL.iter().all(|usual| all.contains(usual));
        Self { odd: (!usual).then(|| all.iter().map(|(prefix, name)| ((*prefix).into(), (*name).into())).collect()) }
    }

    /// Nothing at all.
    pub(super) fn none() -> Self {
        Self { odd: Some(Box::default()) }
    }

    /// What `prefix` stands for; the empty one is the default.
    pub(super) fn find(&self, prefix: &str) -> Option<&str> {
        match &self.odd {
            Some(odd) => odd.iter().find(|(declared, _)| **declared == *prefix).map(|(_, name)| &**name),
            None => Self::USUAL.iter().find(|(declared, _)| *declared == prefix).map(|(_, name)| *name),
        }
    }
}

/// Those that are in force at a place in a stanza.
#[derive(Debug)]
pub(super) struct Namespaces<'a> {
    declared: &'a Declared,
    inner: Vec<(&'a str, Cow<'a, str>)>,
}

/// Where the declaration of a namespace is, as long as it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// None was declared: only names without a prefix may do without.
    Nowhere,
    /// `xml`, which needs no declaration.
    Xml,
    /// In the stream header.
    Header,
    /// In the stanza.
    Inner(usize),
}

impl<'a> Namespaces<'a> {
    pub(super) fn new(declared: &'a Declared) -> Self {
        Self { declared, inner: Vec::new() }
    }

    /// All that are in force in the stanza, for what comes inside of it.
    pub(super) fn inside(&self) -> Declared {
        let all: Vec<_> = self.inner.iter().map(|(prefix, name)| (*prefix, &**name)).collect();
        Declared::new(&all)
    }

    /// How many are in force besides those of the stream; see [`Self::leave`].
    pub(super) fn count(&self) -> usize {
        self.inner.len()
    }

    /// Enters one of an element that had `count` before its own.
    pub(super) fn declare(&mut self, prefix: &'a str, name: Cow<'a, str>, count: usize) -> Result<(), NotXmpp> {
        let twice = self.inner.iter().skip(count).any(|(other, _)| *other == prefix);
        // Only the default namespace can be taken back (Namespaces in XML 1.0, section 2.2).
        let empty = name.is_empty() && !prefix.is_empty();
        if twice || empty || self.inner.len() >= STANZA_NAMESPACES {
            return Err(NotXmpp);
        }
        self.inner.push((prefix, name));
        Ok(())
    }

    /// Those behind the `count`th are in force no more.
    pub(super) fn leave(&mut self, count: usize) {
        self.inner.truncate(count);
    }

    /// Where `prefix` is declared; the empty one is the default.
    pub(super) fn place(&self, prefix: &str) -> Result<Place, NotXmpp> {
        if prefix == "xml" {
            return Ok(Place::Xml);
        }
        if let Some(at) = self.inner.iter().rposition(|(declared, _)| *declared == prefix) {
            return Ok(Place::Inner(at));
        }
        match self.declared.find(prefix) {
            Some(_) => Ok(Place::Header),
            None if prefix.is_empty() => Ok(Place::Nowhere),
            None => Err(NotXmpp),
        }
    }

    /// The namespace that `prefix` stands for, which is declared at `place`.
    pub(super) fn name(&self, place: Place, prefix: &str) -> &str {
        match place {
            Place::Nowhere => "",
            Place::Xml => XML,
            Place::Header => self.declared.find(prefix).unwrap_or_default(),
            Place::Inner(at) => self.inner.get(at).map_or("", |(_, name)| name),
        }
    }
}
