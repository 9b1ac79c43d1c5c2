//! What an answer means for the events posted, and for those that were to follow.
//!
//! Must not know how answers are received.

use std::time::Duration;

use hyper::StatusCode;
use jiff::fmt::rfc2822;

use crate::domain::moment::Moment;
use crate::sinks::Failure;

/// Why a POST was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// For its events.
    pub(super) failure: Failure,
    /// Whom else it concerns.
    pub(super) reach: Reach,
}

/// Whom else a refusal concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is about the content: a part of it may pass.
    Content,
    /// No other POST.
    Post,
    /// What was to follow in the same lane must wait.
    Lane,
    /// Everything must wait.
    Sink,
}

/// What `status` means. `reason` says all there is to say; `after` is what the peer asked for.
pub(super) fn of(status: StatusCode, reason: String, after: Option<Duration>) -> Result<(), Refusal> {
    let later = |reason, reach| Err(Refusal { failure: Failure::Retry { reason, after }, reach });
    let never = |reason, reach| Err(Refusal { failure: Failure::Reject { reason }, reach });
    match status.as_u16() {
        200..=299 => Ok(()),
        // Whoever moves must not lose what is sent to the old address meanwhile.
        300..=399 => {
            later(format!("{reason} (redirects are not followed: `url` must be the new address)"), Reach::Sink)
        }
        408 | 425 => later(reason, Reach::Lane),
        410 => Err(Refusal { failure: Failure::Pause { reason }, reach: Reach::Sink }),
        429 | 503 => later(reason, Reach::Sink),
        400 | 413 | 422 => never(reason, Reach::Content),
        400..=499 => never(reason, Reach::Post),
        _ => later(reason, Reach::Lane),
    }
}

/// Returns what `Retry-After` asks for: seconds, or the time until a date. That is counted from the `Date` of the same
/// answer, by the peer's own clock, where there is one: this machine's may be wrong.
pub(super) fn retry_after(text: &str, answered: Option<&str>, now: Moment) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    // The day of the week is not what the time is read from.
    let read = |text| rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok();
    let answered = answered.and_then(|text| read(text.trim())).unwrap_or(now.utc());
    Some(read(text)?.duration_since(answered).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16) -> Result<(), Refusal> {
        of(StatusCode::from_u16(status).unwrap(), "why".to_owned(), Some(Duration::from_secs(7)))
    }

    #[test]
    fn every_status_has_its_meaning() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status), Ok(()), "{status}");
        }
        for (reach, statuses) in [
            (Reach::Lane, &[408, 425, 500, 501, 502, 504, 511, 599, 600, 999, 101][..]),
            (Reach::Sink, &[301, 302, 303, 304, 307, 308, 429, 503]),
        ] {
            for status in statuses {
                let Err(refusal) = judged(*status) else { unreachable!("{status}") };
                assert!(
                    matches!(refusal.failure, Failure::Retry { after: Some(wait), .. } if wait == Duration::from_secs(7))
                );
                assert_eq!(refusal.reach, reach, "{status}");
            }
        }
        for (reach, statuses) in [
            (Reach::Content, &[400, 413, 422][..]),
            (Reach::Post, &[401, 402, 403, 404, 405, 406, 409, 411, 415, 421, 426, 431, 451, 499]),
        ] {
            for status in statuses {
                let failure = Failure::Reject { reason: "why".to_owned() };
                assert_eq!(judged(*status), Err(Refusal { failure, reach }), "{status}");
            }
        }
    }

    #[test]
    fn a_peer_that_is_gone_for_good_is_left_alone_for_long() {
        let failure = Failure::Pause { reason: "why".to_owned() };
        assert_eq!(judged(410), Err(Refusal { failure, reach: Reach::Sink }));
    }

    #[test]
    fn a_redirect_says_what_to_do() {
        let failure = judged(308).unwrap_err().failure;
        assert_eq!(failure.to_string(), "why (redirects are not followed: `url` must be the new address)");
    }

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_until_a_date() {
        let now = Moment::virtual_at(Duration::from_secs(5), "2026-11-23T08:49:37Z".parse().unwrap());
        for (text, wait) in [
            ("0", Some(Duration::ZERO)),
            (" 120 ", Some(Duration::from_mins(2))),
            ("99999999999999999999999", Some(Duration::MAX)),
            ("Mon, 23 Nov 2026 08:50:07 GMT", Some(Duration::from_secs(30))),
            ("Sun, 23 Nov 2026 08:50:07 GMT", Some(Duration::from_secs(30))),
            ("Mon, 23 Nov 2026 08:00:00 GMT", Some(Duration::ZERO)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, None, now), wait, "{text:?}");
        }
    }

    #[test]
    fn a5_a_wait_until_a_date_is_counted_by_the_clock_of_the_peer() {
        for ours in ["2024-01-01T00:00:00Z", "2026-11-23T08:49:37Z", "2028-01-01T00:00:00Z"] {
            let now = Moment::virtual_at(Duration::from_secs(5), ours.parse().unwrap());
            let (date, until) = ("Mon, 23 Nov 2026 08:50:00 GMT", "Mon, 23 Nov 2026 08:50:30 GMT");
            assert_eq!(retry_after(until, Some(date), now), Some(Duration::from_secs(30)), "{ours}");
        }
    }
}
