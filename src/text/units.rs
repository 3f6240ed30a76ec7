//! Values with units, as the configuration and the command line write them.

use jiff::SpanRelativeTo;

/// Longest duration that may be configured: 10,000 years of 365 days, so that adding it to any event time fits.
const LONGEST: i64 = 3_650_000 * 86_400 * 1_000_000;

pub const DURATION_HELP: &str = "write numbers with units, such as \"30m\", \"90s\", \"500ms\", \"24h\", \"7d\" or \
                                 \"1h30m\" (us, ms, s, m, h, d, w)";

pub const SIZE_HELP: &str = "write a number with a unit, such as \"64KiB\", \"1MiB\" or \"2MB\"";

/// Parses a duration into microseconds: `30m`, `90s`, `500ms`, `24h`, `7d`, `1h30m`. A day has 24 hours. Never
/// negative.
///
/// Errors say, in words for the user, what is wrong with the text; [`DURATION_HELP`] says what to write.
pub fn duration(text: &str) -> Result<i64, String> {
    // Numbers of more digits than any legal duration has are beyond what the parser takes.
    let is_long = text.split(|char: char| !char.is_ascii_digit()).any(|digits| digits.len() > 10);
    let wrong = if is_long { "is too long a duration, or none" } else { "is no duration" };
    let span: jiff::Span = text.parse().map_err(|_| format!("`{text}` {wrong}"))?;
    if span.get_years() != 0 || span.get_months() != 0 {
        return Err(format!("`{text}` has no fixed length: months and years differ"));
    }
    let nanos = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| format!("`{text}` is too long a duration"))?
        .as_nanos();
    if nanos < 0 {
        return Err(format!("`{text}` is negative"));
    }
    if nanos % 1000 != 0 {
        return Err(format!("`{text}` is finer than a microsecond"));
    }
    i64::try_from(nanos / 1000)
        .ok()
        .filter(|micros| *micros <= LONGEST)
        .ok_or_else(|| format!("`{text}` is longer than 10,000 years"))
}

/// Returns a duration in microseconds as a configuration has it: in the largest unit that divides it.
pub(crate) fn typed(micros: i64) -> String {
    const UNITS: [(&str, i64); 5] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)];
    let unit = UNITS.iter().find(|(_, length)| micros != 0 && micros % length == 0);
    unit.map_or_else(|| format!("{micros}us"), |(name, length)| format!("{}{name}", micros / length))
}

/// Parses a size into bytes: `1MiB`, `64KiB`, `2MB`, `512B`, or a bare number.
///
/// Errors say, in words for the user, what is wrong with the text; [`SIZE_HELP`] says what to write.
pub fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
    ];
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    number
        .parse::<u64>()
        .ok()
        .zip(scale)
        .and_then(|(number, scale)| number.checked_mul(scale))
        .ok_or_else(|| format!("`{text}` is no size"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let seconds = |seconds: i64| Ok(seconds * 1_000_000);
        let cases = [
            ("30m", seconds(1800)),
            ("90s", seconds(90)),
            ("500ms", Ok(500_000)),
            ("7us", Ok(7)),
            ("24h", seconds(86_400)),
            ("7d", seconds(7 * 86_400)),
            ("2w", seconds(14 * 86_400)),
            ("1h30m", seconds(5400)),
            ("1h 30m", seconds(5400)),
            ("1.5h", seconds(5400)),
            ("0s", Ok(0)),
            ("3650000d", Ok(LONGEST)),
            ("-30m", Err("`-30m` is negative")),
            ("30", Err("`30` is no duration")),
            ("", Err("`` is no duration")),
            ("half an hour", Err("`half an hour` is no duration")),
            ("1mo", Err("`1mo` has no fixed length: months and years differ")),
            ("1y", Err("`1y` has no fixed length: months and years differ")),
            ("1500ns", Err("`1500ns` is finer than a microsecond")),
            ("3650001d", Err("`3650001d` is longer than 10,000 years")),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text), expected.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            ("1MiB", Some(1 << 20)),
            ("64 KiB", Some(64 << 10)),
            ("2MB", Some(2_000_000)),
            ("512", Some(512)),
            ("512B", Some(512)),
            ("", None),
            ("MiB", None),
            ("1.5MiB", None),
            ("-1", None),
            ("1TiB", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_is_the_sum_of_its_parts(d in 0..1000i64, h in 0..100i64, m in 0..100i64, s in 0..100i64, ms in 0..5000i64) {
            let expected = ((((d * 24 + h) * 60 + m) * 60 + s) * 1000 + ms) * 1000;
            prop_assert_eq!(duration(&format!("{d}d{h}h{m}m{s}s{ms}ms")), Ok(expected));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = (duration(&text), size(&text));
        }
    }
}
