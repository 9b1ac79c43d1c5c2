//! A start tag: what decides how an element is read, before there is an element.

use minidom::Element;

/// The name and the attributes of an element, however they are held.
pub trait Tag {
    /// The name without its prefix.
    fn name(&self) -> &str;
    /// Whether it is in this namespace.
    fn in_namespace(&self, namespace: &str) -> bool;
    /// The value of an attribute that has no namespace.
    fn attribute(&self, name: &'static str) -> Option<&str>;

    /// Whether it has this name and namespace.
    fn is_named(&self, name: &str, namespace: &str) -> bool {
        self.name() == name && self.in_namespace(namespace)
    }
}

impl Tag for Element {
    fn name(&self) -> &str {
        Element::name(self)
    }

    fn in_namespace(&self, namespace: &str) -> bool {
        self.has_ns(namespace)
    }

    fn attribute(&self, name: &'static str) -> Option<&str> {
        self.attr(name)
    }
}
