//! Times and shares as written in a faults file.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A duration written as a number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl std::str::FromStr for Span {
    type Err = BadSpan;
    fn from_str(text: &str) -> Result<Self, BadSpan> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| BadSpan)?;
        let unit = match &text[digits..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(BadSpan),
        };
        number.checked_mul(unit).map(|millis| Self(Duration::from_millis(millis))).ok_or(BadSpan)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number with ms, s, m, h or d, like \"20s\"")]
pub struct BadSpan;

/// A share of all cases, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(pub f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(de::Error::custom("a share is from 0 to 1")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_with_a_unit() {
        assert_eq!("20s".parse(), Ok(Span(Duration::from_secs(20))));
        assert_eq!("5m".parse(), Ok(Span(Duration::from_mins(5))));
        for bad in ["", "20", "s", "-1s", "1.5s", "99999999999999999999d", "1w"] {
            assert_eq!(bad.parse::<Span>(), Err(BadSpan), "{bad:?}");
        }
    }
}
