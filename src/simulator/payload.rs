//! Payloads of items as the services publish them (protocol sheet section 8).

use super::markup::Tag;
use crate::domain::moment::Moment;

/// What stands in an `active-call`; an empty text is an empty element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveCall {
    /// `created`, `requested`, `confirmed`, or anything a test likes.
    pub dialog_state: String,
    /// Address of record being rung.
    pub to_aor: String,
    /// SIP Call-ID.
    pub call_id: String,
    /// SIP URI of the caller.
    pub from_uri: String,
    /// SIP URI of the callee.
    pub to_uri: String,
    /// SIP From tag.
    pub from_tag: String,
    /// SIP To tag.
    pub to_tag: String,
    /// SIP Via branch.
    pub branch: String,
    /// Set for calls made by command.
    pub call_setup_id: String,
    /// Name of the caller.
    pub from_display: String,
    /// Name of the callee.
    pub to_display: String,
}

impl ActiveCall {
    /// The payload with this `publish-time`, which need not be a date.
    pub fn xml(&self, publish_time: Option<&str>) -> String {
        let children = [
            ("dialog-state", &self.dialog_state),
            ("to-aor", &self.to_aor),
            ("call-id", &self.call_id),
            ("from-uri", &self.from_uri),
            ("to-uri", &self.to_uri),
            ("from-tag", &self.from_tag),
            ("to-tag", &self.to_tag),
            ("branch", &self.branch),
            ("call-setup-id", &self.call_setup_id),
            ("from-display", &self.from_display),
            ("to-display", &self.to_display),
        ];
        let call = Tag::of("active-call", "onsip:active-calls").maybe("publish-time", publish_time);
        call.children(children.map(|(name, value)| optional(name, value))).finish()
    }
}

/// What stands in a `user-agent`; an empty text is an empty element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAgent {
    /// Registered contact, also the item id.
    pub contact: String,
    /// Source address the registrar saw.
    pub received: String,
    /// User-Agent header.
    pub device: String,
    /// UTC end of the registration.
    pub expires: String,
    /// `time`, as undocumented as it is.
    pub time: String,
}

impl UserAgent {
    /// The payload with this `publish-time`.
    pub fn xml(&self, publish_time: Option<&str>) -> String {
        let children = [
            ("contact", &self.contact),
            ("received", &self.received),
            ("device", &self.device),
            ("expires", &self.expires),
            ("time", &self.time),
        ];
        let agent = Tag::of("user-agent", "onsip:user-agents").maybe("publish-time", publish_time);
        agent.children(children.map(|(name, value)| optional(name, value))).finish()
    }
}

/// What stands in a `voicemail`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voicemail {
    /// Number of the mailbox.
    pub mailbox: u32,
    /// `"Name" <user>`.
    pub caller_id: String,
    /// ISO 8601 with an offset.
    pub created: String,
    /// Whole seconds.
    pub duration: u32,
    /// Folders it lies in.
    pub labels: Vec<String>,
}

impl Voicemail {
    /// The payload.
    pub fn xml(&self) -> String {
        let labels = self.labels.iter().map(|label| Tag::new("label").text(label));
        Tag::of("voicemail", "onsip:voicemail")
            .child(Tag::new("mailbox").text(&self.mailbox.to_string()))
            .child(Tag::new("caller-id").text(&self.caller_id))
            .child(Tag::new("created").text(&self.created))
            .child(Tag::new("duration").text(&self.duration.to_string()))
            .child(Tag::new("labels").children(labels))
            .finish()
    }
}

/// UTC of a moment as OnSIP writes it: whole seconds and `Z`.
pub fn publish_time(now: Moment) -> String {
    now.utc().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn optional(name: &'static str, value: &str) -> Tag {
    if value.is_empty() { Tag::new(name) } else { Tag::new(name).text(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_value_is_an_empty_element() {
        let call =
            ActiveCall { dialog_state: "created".into(), from_display: "\"A\" & B".into(), ..Default::default() };
        let element: minidom::Element = call.xml(Some("2012-11-13T15:20:00Z")).parse().unwrap();
        assert_eq!(element.attr("publish-time"), Some("2012-11-13T15:20:00Z"));
        assert_eq!(element.children().count(), 11);
        assert_eq!(element.get_child("to-tag", "onsip:active-calls").unwrap().text(), "");
        assert_eq!(element.get_child("from-display", "onsip:active-calls").unwrap().text(), "\"A\" & B");
    }
}
