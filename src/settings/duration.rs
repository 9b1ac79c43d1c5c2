//! Durations as written: a number and a unit.

use std::time::Duration;

/// Longer than this no lease, timeout or interval makes sense, and sums with a date stay within the calendar.
const LONGEST: Duration = Duration::from_hours(3650 * 24);

/// For the JSON Schema: what [`parse`] takes.
pub const PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$";

/// Reads `20s`, `1.5h`, `250ms`: a decimal number, then `ms`, `s`, `m`, `h` or `d`, with nothing between.
///
/// # Errors
/// What is wrong, as a sentence for the operator.
pub fn parse(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if !number.is_empty() => return Err(format!("needs a unit, such as \"{number}s\"")),
        _ => return Err(EXPECTED.to_owned()),
    };
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return Err(EXPECTED.to_owned());
    }
    let too_long = || "is longer than ten years".to_owned();
    let whole = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(too_long)?;
    // Nine digits are a billionth of the unit: finer than any timer.
    let part = fraction.map_or(0, |digits| {
        let nine: u64 = format!("{digits:0<9.9}").parse().unwrap_or(0);
        nine.saturating_mul(unit) / 1_000
    });
    let duration = Duration::from_millis(whole).saturating_add(Duration::from_nanos(part));
    if duration > LONGEST { Err(too_long()) } else { Ok(duration) }
}

const EXPECTED: &str = "must be a number with ms, s, m, h or d, such as \"20s\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_as_it_stands() {
        for (text, millis) in [
            ("1s", 1_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("20s", 20_000),
            ("2m", 120_000),
            ("0.5h", 1_800_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("1.0005s"), Ok(Duration::from_micros(1_000_500)));
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for text in ["", "s", "1 s", "-1s", "1S", ".5s", "1.s", "1.2.3s", "1h30m", "1w", "½s", "1e3s", "١s"] {
            assert_eq!(parse(text), Err(EXPECTED.to_owned()), "{text}");
        }
        assert_eq!(parse("20"), Err("needs a unit, such as \"20s\"".to_owned()));
    }

    #[test]
    fn a_number_beyond_all_sense_is_refused_and_does_not_overflow() {
        for text in ["99999999999999999999999s", "18446744073709551615d", "3651d"] {
            assert_eq!(parse(text), Err("is longer than ten years".to_owned()), "{text}");
        }
    }
}
