//! What a leg is for, told from the SIP URIs (protocol sheet sections 8.2 and 8.3).

use crate::domain::event::{CallFields, Purpose};

/// Only the leg from `call-setup@` is a set-up: the call that comes of it carries the same `call-setup-id`.
pub(super) fn purpose(call: &CallFields) -> Purpose {
    let is = |uri: Option<&String>, wanted| uri.and_then(|uri| user(uri)).is_some_and(|user| names(user, wanted));
    if is(call.from_uri.as_ref(), "call-setup") {
        Purpose::Setup
    } else if is(call.to_uri.as_ref(), "moh") {
        Purpose::Hold
    } else {
        Purpose::Call
    }
}

/// The user of `sip:user@host`, with or without the scheme.
fn user(uri: &str) -> Option<&str> {
    let (user, _) = uri.split_once('@')?;
    Some(user.strip_prefix("sip:").or_else(|| user.strip_prefix("sips:")).unwrap_or(user))
}

/// Whether `user` is `wanted`, or ends in it as a word of its own: `acme.moh` is music, `timoh` is somebody's name.
fn names(user: &str, wanted: &str) -> bool {
    user.strip_suffix(wanted).is_some_and(|before| !before.ends_with(char::is_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(from: &str, to: &str) -> Purpose {
        purpose(&CallFields { from_uri: Some(from.into()), to_uri: Some(to.into()), ..CallFields::default() })
    }

    #[test]
    fn a_ring_by_the_click_to_call_service_is_a_set_up() {
        assert_eq!(between("sip:call-setup@onsip.com;id=42", "sip:ann@acme.test"), Purpose::Setup);
        assert_eq!(between("call-setup@onsip.com", "sip:ann@acme.test"), Purpose::Setup);
    }

    #[test]
    fn the_call_that_comes_of_a_set_up_is_a_call() {
        let call = CallFields {
            from_uri: Some("sip:ann@acme.test".into()),
            to_uri: Some("sip:+12125550111@carrier.test".into()),
            call_setup_id: Some("a1b2c3d4".into()),
            ..CallFields::default()
        };
        assert_eq!(purpose(&call), Purpose::Call);
    }

    #[test]
    fn music_on_hold_is_told_from_a_name_that_ends_like_it() {
        assert_eq!(between("sip:ann@acme.test", "sip:moh@acme.test;app=q"), Purpose::Hold);
        assert_eq!(between("sip:ann@acme.test", "sip:acme.moh@onsip.test"), Purpose::Hold);
        assert_eq!(between("sip:ann@acme.test", "sip:timoh@acme.test"), Purpose::Call);
    }

    #[test]
    fn what_says_nothing_is_a_call() {
        assert_eq!(purpose(&CallFields::default()), Purpose::Call);
        assert_eq!(between("anonymous", ""), Purpose::Call);
    }
}
