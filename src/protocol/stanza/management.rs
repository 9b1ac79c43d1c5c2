//! Stream management (XEP-0198): the elements that count stanzas and are none themselves.

use std::time::Duration;

use minidom::Element;

use super::{Tag, WithAttribute, ns};
use crate::domain::limits::STREAM_ID_BYTES;

/// What the server says about the stream itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Management {
    /// It counts from now on. A stream that can be resumed has an id; `patience` is how long, if the server says so.
    Enabled {
        /// By which the stream is resumed.
        id: Option<String>,
        /// How long after a loss.
        patience: Option<Duration>,
    },
    /// It does not manage this stream, or does not know the one to resume.
    Failed,
    /// The stream with this id goes on.
    Resumed {
        /// The id we named.
        id: String,
        /// How many of our stanzas it handled.
        handled: u32,
    },
    /// How many did we handle?
    Asks,
    /// So many of our stanzas it handled.
    Acknowledges(u32),
}

/// Whether a top-level element counts (XEP-0198 section 4): a message, a presence or an iq.
#[must_use]
pub fn is_stanza(tag: &impl Tag) -> bool {
    matches!(tag.name(), "message" | "presence" | "iq") && tag.in_namespace(ns::CLIENT)
}

/// What a top-level element says about the stream, if that is what it is about; all of it stands in the start tag.
#[must_use]
pub fn management(tag: &impl Tag) -> Option<Management> {
    if !tag.in_namespace(ns::MANAGEMENT) {
        return None;
    }
    let number = |name| tag.attribute(name).and_then(|text| text.trim().parse::<u32>().ok());
    match tag.name() {
        "enabled" => {
            let resumable = matches!(tag.attribute("resume"), Some("true" | "1"));
            let id = tag
                .attribute("id")
                .filter(|id| resumable && !id.is_empty() && id.len() <= STREAM_ID_BYTES)
                .map(str::to_owned);
            Some(Management::Enabled { id, patience: number("max").map(|max| Duration::from_secs(max.into())) })
        }
        "failed" => Some(Management::Failed),
        "resumed" => {
            let id = tag.attribute("previd").unwrap_or_default().to_owned();
            Some(Management::Resumed { id, handled: number("h")? })
        }
        "r" => Some(Management::Asks),
        "a" => number("h").map(Management::Acknowledges),
        _ => None,
    }
}

/// Asks the server to manage the stream, so that it can be resumed.
#[must_use]
pub fn enable() -> Element {
    Element::builder("enable", ns::MANAGEMENT).with("resume", "true").build()
}

/// Asks the server to go on with the stream `id`, of which we handled so many stanzas.
#[must_use]
pub fn resume(id: &str, handled: u32) -> Element {
    Element::builder("resume", ns::MANAGEMENT).with("previd", id).with("h", &handled.to_string()).build()
}

/// Asks the server how many of our stanzas it handled.
#[must_use]
pub fn ask() -> Element {
    Element::bare("r", ns::MANAGEMENT)
}

/// Tells the server how many of its stanzas we handled.
#[must_use]
pub fn acknowledge(handled: u32) -> Element {
    Element::builder("a", ns::MANAGEMENT).with("h", &handled.to_string()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Option<Management> {
        management(&xml.replace("/>", " xmlns='urn:xmpp:sm:3'/>").parse::<Element>().unwrap())
    }

    #[test]
    fn what_the_server_says_of_the_stream_is_read() {
        let patience = Some(Duration::from_mins(5));
        let enabled = Management::Enabled { id: Some("x".into()), patience };
        assert_eq!(read("<enabled id='x' resume='true' max='300'/>"), Some(enabled.clone()));
        assert_eq!(read("<enabled id='x' resume='1' max='300'/>"), Some(enabled));
        assert_eq!(read("<enabled id='x'/>"), Some(Management::Enabled { id: None, patience: None }));
        let long = format!("<enabled id='{}' resume='true'/>", "x".repeat(STREAM_ID_BYTES + 1));
        assert_eq!(read(&long), Some(Management::Enabled { id: None, patience: None }));
        assert_eq!(read("<failed h='7'/>"), Some(Management::Failed));
        assert_eq!(read("<resumed previd='x' h='7'/>"), Some(Management::Resumed { id: "x".into(), handled: 7 }));
        assert_eq!(read("<r/>"), Some(Management::Asks));
        assert_eq!(read("<a h='4294967295'/>"), Some(Management::Acknowledges(u32::MAX)));
        for nonsense in ["<a/>", "<a h='-1'/>", "<a h='4294967296'/>", "<resumed previd='x'/>", "<surprise/>"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_stanzas_count() {
        let is = |namespace, name| is_stanza(&Element::bare(name, namespace));
        assert!(["message", "presence", "iq"].into_iter().all(|name| is(ns::CLIENT, name)));
        assert!(!is(ns::MANAGEMENT, "a") && !is(ns::STREAM, "error") && !is("urn:x", "message"));
    }

    #[test]
    fn what_we_say_of_the_stream_is_written_so() {
        assert!(enable().is("enable", ns::MANAGEMENT) && enable().attr("resume") == Some("true"));
        assert_eq!(resume("x", 9).attr("previd"), Some("x"));
        assert_eq!(resume("x", 9).attr("h"), Some("9"));
        assert_eq!(acknowledge(u32::MAX).attr("h"), Some("4294967295"));
        assert!(ask().is("r", ns::MANAGEMENT));
    }
}
