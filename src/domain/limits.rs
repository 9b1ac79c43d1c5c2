//! The limits on what comes from outside, with the reason for each.
//!
//! | limit | value | why | what happens beyond |
//! |---|---|---|---|
//! | [`CONDITION_BYTES`] | 64 | the longest condition that a standard names has 31 | it is cut, and ends with `…` |
//! | [`REDIRECT_BYTES`] | 4,096 | a JID and a node name, percent-encoded | the redirect is as if it named nothing |
//! | [`HOST_BYTES`] | 262 | 255 of a name, and a port | the error counts as one that names no host |
//! | [`SUBID_BYTES`] | 1,024 | services use some 20 | the entry counts as one without an id |
//! | [`JID_BYTES`] | 3,071 | RFC 7622 | cut where it is shown; nobody's where it is compared |
//! | [`MECHANISM_BYTES`], [`MECHANISMS`] | 20, 64 | RFC 4422 section 3.1; servers offer under ten | passed over |
//! | [`ADDRESS_BYTES`], [`ADDRESSES`] | 1,024, 10,000 | a SIP address; all phones of a large company | passed over |
//! | [`STREAM_ID_BYTES`] | 1,024 | servers use some 20 | the stream cannot be resumed |
//! | [`REQUEST_ID_BYTES`] | 1,024 | servers use some 20; the answer must repeat it | not answered, counted |
//! | [`OUTBOX_BYTES`] | 1 MiB | one request of each of a thousand nodes | the connection ends |
//! | [`UNACKNOWLEDGED_BYTES`] | 256 KiB | 128 requests of 2 KiB | the session cannot be resumed after a loss |

// ---- connections ------------------------------------------------------------------------------------------------

/// Bytes kept of the name of a condition: what a server calls an error reaches logs, the API and pages.
pub const CONDITION_BYTES: usize = 64;
/// Bytes of the address that a redirect names.
pub const REDIRECT_BYTES: usize = 4096;
/// Bytes of a host, with its port, that a server names in place of itself.
pub const HOST_BYTES: usize = 262;
/// Bytes of the id of a subscription.
pub const SUBID_BYTES: usize = 1024;
/// Bytes of a JID (RFC 7622: three parts of 1,023, and two separators).
pub const JID_BYTES: usize = 3071;
/// Bytes of the name of a log-in mechanism (RFC 4422 section 3.1).
pub const MECHANISM_BYTES: usize = 20;
/// Mechanisms that a server may offer.
pub const MECHANISMS: usize = 64;
/// Bytes of an address that an authorization names.
pub const ADDRESS_BYTES: usize = 1024;
/// Addresses that an authorization may name.
pub const ADDRESSES: usize = 10_000;
/// Bytes of the id by which a stream is resumed.
pub const STREAM_ID_BYTES: usize = 1024;
/// Bytes of the id of a request of the server's.
pub const REQUEST_ID_BYTES: usize = 1024;
/// Bytes that wait to be sent to a server.
pub const OUTBOX_BYTES: usize = 1024 * 1024;
/// Bytes that were sent and are kept until the server acknowledges them.
pub const UNACKNOWLEDGED_BYTES: usize = 256 * 1024;

/// Returns `text`, or its beginning and `…` where it is longer than `most` bytes.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_two_characters() {
        assert_eq!(cut("gone", 4), "gone");
        assert_eq!(cut("gonee", 4), "gone…");
        assert_eq!(cut("aää", 2), "a…");
        assert_eq!(cut("ä", 0), "…");
    }
}
