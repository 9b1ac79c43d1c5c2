//! Sizes as written: a number and a unit.

/// For the JSON Schema: what [`parse`] takes.
pub const PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(B|[kKMGT]B|[KMGT]iB)$";

const EXPECTED: &str = "must be a number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as \"64MiB\"";

/// Reads `512B`, `64MiB`, `1.5GB`: a decimal number, then the unit, with nothing between. A kilobyte is 1000 bytes, a
/// kibibyte 1024.
///
/// # Errors
/// What is wrong, as a sentence for the operator.
pub fn parse(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "" if !number.is_empty() => return Err(format!("needs a unit, such as \"{number}MiB\"")),
        _ => return Err(EXPECTED.to_owned()),
    };
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, part)| (whole, Some(part)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return Err(EXPECTED.to_owned());
    }
    let too_much = || "is more than any disk holds".to_owned();
    let whole = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(too_much)?;
    let part = fraction.map_or(0, |digits| {
        let six: u64 = format!("{digits:0<6.6}").parse().unwrap_or(0);
        u64::try_from(u128::from(six) * u128::from(unit) / 1_000_000).unwrap_or(0)
    });
    whole.checked_add(part).filter(|bytes| *bytes <= 1 << 50).ok_or_else(too_much)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read_as_it_stands() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("1kB", 1_000),
            ("1KiB", 1_024),
            ("1.5MB", 1_500_000),
            ("64MiB", 64 << 20),
            ("0.5GiB", 512 << 20),
            ("2GB", 2_000_000_000),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for text in ["", "B", "1 GiB", "-1B", "1gib", ".5MB", "1.MB", "1M", "1e3B", "١B"] {
            assert_eq!(parse(text), Err(EXPECTED.to_owned()), "{text}");
        }
        assert_eq!(parse("64"), Err("needs a unit, such as \"64MiB\"".to_owned()));
        for text in ["99999999999999999999TB", "18446744073709551615KiB", "1025TiB"] {
            assert_eq!(parse(text), Err("is more than any disk holds".to_owned()), "{text}");
        }
    }
}
