//! The payload of an item, field by field (protocol sheet sections 8.1 and 8.2). A blank field is absent; of several with
//! one name the first counts.

use super::Content;
use crate::domain::event::{CallFields, DialogState, RegistrationFields};
use crate::domain::service::ServiceKind;

/// Fields of a payload of the kinds that have any.
#[derive(Debug, Default)]
pub(super) struct Fields {
    form: Form,
    values: [Option<String>; MOST],
    /// A bit per field that was seen.
    seen: u16,
}

#[derive(Clone, Copy, Debug, Default)]
enum Form {
    #[default]
    Call,
    Registration,
}

const MOST: usize = CALL.len();

const CALL: [&str; 11] = [
    "dialog-state",
    "call-id",
    "from-uri",
    "to-uri",
    "to-aor",
    "from-tag",
    "to-tag",
    "branch",
    "call-setup-id",
    "from-display",
    "to-display",
];

const REGISTRATION: [&str; 5] = ["contact", "received", "device", "expires", "time"];

impl Fields {
    /// Those of an item of this kind, none of them read yet; `None` where the payload is kept whole.
    pub(super) fn of(kind: ServiceKind) -> Option<Self> {
        let form = match kind {
            ServiceKind::Calls => Form::Call,
            ServiceKind::Registrations => Form::Registration,
            ServiceKind::Items => return None,
        };
        Some(Self { form, ..Self::default() })
    }

    /// A child with this name begins; its place, if it is a field.
    pub(super) fn open(&mut self, name: &str) -> Option<usize> {
        let names = match self.form {
            Form::Call => &CALL[..],
            Form::Registration => &REGISTRATION[..],
        };
        let place = names.iter().position(|known| *known == name)?;
        let first = self.seen & (1 << place) == 0;
        self.seen |= 1 << place;
        first.then_some(place)
    }

    /// It ends, and this was its text.
    pub(super) fn close(&mut self, place: usize, text: String) {
        if let Some(value) = self.values.get_mut(place) {
            *value = Some(text).filter(|text| !text.trim().is_empty());
        }
    }

    /// All of them together; `None` of a call in no known state.
    pub(super) fn content(self) -> Option<Content> {
        match self.form {
            Form::Call => call(self.values),
            Form::Registration => {
                let [contact, received, device, expires, time, ..] = self.values;
                Some(Content::Registration(RegistrationFields { contact, received, device, expires, time }))
            }
        }
    }
}

fn call(values: [Option<String>; CALL.len()]) -> Option<Content> {
    let [state, call_id, from_uri, to_uri, to_aor, from_tag, to_tag, branch, call_setup_id, from_display, to_display] =
        values;
    let state = match state?.trim() {
        "created" => DialogState::Created,
        "requested" => DialogState::Requested,
        "confirmed" => DialogState::Confirmed,
        _ => return None,
    };
    let fields = CallFields {
        call_id,
        from_uri,
        to_uri,
        to_aor,
        from_tag,
        to_tag,
        branch,
        call_setup_id,
        from_display,
        to_display,
    };
    Some(Content::Call(state, fields.into()))
}
