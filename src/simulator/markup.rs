//! XML text, written once and never parsed again: replies and messages are composed here.
//!
//! Must not know what the elements mean.

use std::fmt::Write as _;

/// One element under construction.
#[derive(Debug)]
pub(super) struct Tag {
    name: &'static str,
    text: String,
    open: bool,
}

impl Tag {
    /// `<name`.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, text: format!("<{name}"), open: true }
    }

    /// `<name xmlns='ns'`.
    pub(super) fn of(name: &'static str, ns: &str) -> Self {
        Self::new(name).attr("xmlns", ns)
    }

    /// Adds an attribute; must come before any content.
    pub(super) fn attr(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.text, " {name}='{}'", Escaped(value));
        self
    }

    /// Adds an attribute if there is a value.
    pub(super) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Adds text.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.begin();
        let _ = write!(self.text, "{}", Escaped(text));
        self
    }

    /// Adds text that is XML already.
    pub(super) fn raw(mut self, xml: &str) -> Self {
        if !xml.is_empty() {
            self.begin();
            self.text.push_str(xml);
        }
        self
    }

    /// Adds a child.
    pub(super) fn child(self, child: Self) -> Self {
        let xml = child.finish();
        self.raw(&xml)
    }

    /// Adds several children.
    pub(super) fn children(self, children: impl IntoIterator<Item = Self>) -> Self {
        children.into_iter().fold(self, Self::child)
    }

    /// The finished text.
    pub(super) fn finish(mut self) -> String {
        if self.open {
            self.text.push_str("/>");
        } else {
            let _ = write!(self.text, "</{}>", self.name);
        }
        self.text
    }

    fn begin(&mut self) {
        if self.open {
            self.text.push('>');
            self.open = false;
        }
    }
}

struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['<', '>', '&', '\'', '"']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'&' => "&amp;",
                b'\'' => "&apos;",
                _ => "&quot;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_it_was() {
        let text = Tag::of("a", "urn:x").attr("b", "1'<&\">").child(Tag::new("c")).text("<&>").finish();
        let element: minidom::Element = text.parse().unwrap();
        assert_eq!(element.attr("b"), Some("1'<&\">"));
        assert!(element.has_child("c", "urn:x"));
        assert_eq!(element.text(), "<&>");
    }
}
