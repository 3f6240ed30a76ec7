//! Times as sources write them -> [`EventTime`], exact to the microsecond, never through floating point.
//!
//! | form | example |
//! |---|---|
//! | epoch: a number or its text, told apart by magnitude | `1457741907.959400112`, `1659304800025`, `1.4577e9` |
//! | RFC 3339 and its neighbours in ISO 8601 | `2024-03-13T10:21:14.5Z`, `2024-03-13 10:21`, `2024-03-13` |
//! | Common Log Format, also in brackets | `17/May/2015:10:05:03 +0000` |
//! | RFC 2822 | `Sun, 17 May 2015 10:05:03 +0000` |
//!
//! - **Epochs**: below 10^11 in magnitude seconds (until the year 5138), below 10^14 milliseconds, below 10^17
//!   microseconds, else nanoseconds. So digits alone are always an epoch, never a date such as `20240313`.
//! - **Fractions** may follow `.` or `,` and have any number of digits. What is finer than a microsecond is floored,
//!   before 1970 too.
//! - **Zones** are `Z`, `UTC`, `GMT`, `+01:00`, `+0100` or `+01`, after an optional blank. A time without one is in the
//!   configured zone. In a gap it moves forward by the length of the gap. In a fold it is the first of the two (the
//!   rule "compatible" of RFC 5545). A date alone is its midnight.
//! - **Leap seconds**: `:60` is read as `:59`, with its fraction, as jiff does: it stays in its minute, hour and day.
//! - Deliberately absent: other orders of day and month, names of other zones, week and ordinal dates, hour 24.

use crate::reading::Value;
use dataflows::decimal::{Digits, Rest};
use dataflows::{EventTime, ValueKind};
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::{self, AmbiguousOffset, TimeZone};

/// Reads times; those without a zone in the zone that it was made for.
#[derive(Clone, Debug)]
pub struct TimeReader {
    /// `None`: UTC, which needs no lookup.
    zone: Option<TimeZone>,
}

impl TimeReader {
    /// `zone` is an IANA name, in any case, or `UTC`. Errors say, in words for the user, what to write instead.
    pub fn new(zone: &str) -> Result<TimeReader, String> {
        if zone.eq_ignore_ascii_case("UTC") {
            return Ok(TimeReader { zone: None });
        }
        TimeZone::get(zone).map(|zone| TimeReader { zone: Some(zone) }).map_err(|_| {
            let similarity = |name: &str| strsim::jaro_winkler(&name.to_lowercase(), &zone.to_lowercase());
            let names = tz::db().available().map(|name| name.to_string());
            match names.max_by(|a, b| similarity(a).total_cmp(&similarity(b))) {
                Some(nearest) if similarity(&nearest) > 0.85 => {
                    format!("there is no time zone `{zone}`: did you mean `{nearest}`?")
                }
                _ => format!("there is no time zone `{zone}`: write an IANA name such as `Europe/Berlin`, or `UTC`"),
            }
        })
    }

    /// `None` when `value` is no time in any known form, or outside of [`EventTime`]'s range.
    #[inline]
    pub fn read(&self, value: Value<'_>) -> Option<EventTime> {
        match value.kind {
            ValueKind::Number => epoch(value.text.as_bytes()),
            ValueKind::String => self.read_text(value.text.trim_ascii()),
            _ => None,
        }
    }

    fn read_text(&self, text: &str) -> Option<EventTime> {
        let bytes = text.as_bytes();
        match bytes {
            [_, _, _, _, b'-', _, _, b'-', ..] => self.iso(bytes),
            [b'[', inside @ .., b']'] => self.common_log(inside),
            [_, _, b'/', ..] => self.common_log(bytes),
            _ => epoch(bytes).or_else(|| rfc_2822(text)),
        }
    }

    fn iso(&self, text: &[u8]) -> Option<EventTime> {
        let (&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2], rest) = text.split_first_chunk()? else { return None };
        let date = Date::new(number([y1, y2, y3, y4])?, number([m1, m2])?, number([d1, d2])?)?;
        match rest {
            [] => self.resolve(date, Clock::default(), Zone::Absent),
            [b'T' | b't' | b' ', rest @ ..] => {
                let (clock, rest) = Clock::parse(rest)?;
                self.resolve(date, clock, Zone::parse(rest)?)
            }
            _ => None,
        }
    }

    fn common_log(&self, text: &[u8]) -> Option<EventTime> {
        let (&[d1, d2, b'/', m1, m2, m3, b'/', y1, y2, y3, y4, b':'], rest) = text.split_first_chunk()? else {
            return None;
        };
        let date = Date::new(number([y1, y2, y3, y4])?, month([m1, m2, m3])?, number([d1, d2])?)?;
        let (clock, rest) = Clock::parse(rest)?;
        self.resolve(date, clock, Zone::parse(rest)?)
    }

    fn resolve(&self, date: Date, clock: Clock, zone: Zone) -> Option<EventTime> {
        let seconds = match (zone, &self.zone) {
            (Zone::Absent, Some(zone)) => {
                // By offset, as jiff's own instants end a day before the year 9999 does.
                let offset = match zone.to_ambiguous_timestamp(civil(date, clock)?).offset() {
                    AmbiguousOffset::Unambiguous { offset } => offset,
                    AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => before,
                };
                date.seconds() + clock.seconds() - i64::from(offset.seconds())
            }
            (Zone::Absent, None) => date.seconds() + clock.seconds(),
            (Zone::Offset(offset), _) => date.seconds() + clock.seconds() - offset,
        };
        EventTime::from_micros(seconds * 1_000_000 + clock.micros)
    }
}

/// Parses an epoch. The module's documentation has the units.
#[inline]
fn epoch(text: &[u8]) -> Option<EventTime> {
    let number = Digits::parse(text)?;
    let places = match number.magnitude {
        ..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        _ => -3,
    };
    let (whole, rest) = number.scaled(places)?;
    let micros = i64::try_from(whole).ok()?;
    let floor = if number.negative { -micros - i64::from(rest != Rest::Zero) } else { micros };
    EventTime::from_micros(floor)
}

/// Parses RFC 2822. Ignores a day of the week that contradicts the date.
fn rfc_2822(text: &str) -> Option<EventTime> {
    const PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    EventTime::from_micros(PARSER.parse_timestamp(text).ok()?.as_microsecond())
}

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    fn new(year: i64, month: i64, day: i64) -> Option<Date> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (1 <= day && day <= days).then_some(Date { year, month, day })
    }

    /// Returns the seconds from 1970-01-01 to this day's midnight. Algorithm: H. Hinnant, "chrono-compatible low-level
    /// date algorithms", `days_from_civil`; the year begins in March, so that the leap day is its last.
    fn seconds(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * 146_097 + day_of_era - 719_468) * 86_400
    }
}

/// A time of day.
#[derive(Clone, Copy, Default)]
struct Clock {
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

impl Clock {
    /// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction`, and what follows.
    fn parse(text: &[u8]) -> Option<(Clock, &[u8])> {
        let (&[h1, h2, b':', m1, m2], rest) = text.split_first_chunk()? else { return None };
        let (hour, minute) = (number([h1, h2])?, number([m1, m2])?);
        let (second, rest) = match rest {
            [b':', s1, s2, rest @ ..] => (number([*s1, *s2])?, rest),
            _ => return (hour < 24 && minute < 60).then_some((Clock { hour, minute, second: 0, micros: 0 }, rest)),
        };
        let (micros, rest) = match rest {
            [b'.' | b',', rest @ ..] => fraction(rest)?,
            _ => (0, rest),
        };
        let clock = Clock { hour, minute, second: second.min(59), micros };
        (hour < 24 && minute < 60 && second <= 60).then_some((clock, rest))
    }

    /// Returns the seconds since midnight, without the fraction.
    fn seconds(self) -> i64 {
        self.hour * 3600 + self.minute * 60 + self.second
    }
}

enum Zone {
    Absent,
    /// Seconds east of UTC.
    Offset(i64),
}

impl Zone {
    /// Parses all of `text` as a zone.
    fn parse(text: &[u8]) -> Option<Zone> {
        let (sign, hours, minutes) = match text.strip_prefix(b" ").unwrap_or(text) {
            [] => return Some(Zone::Absent),
            [b'Z' | b'z'] => return Some(Zone::Offset(0)),
            name if name.eq_ignore_ascii_case(b"UTC") || name.eq_ignore_ascii_case(b"GMT") => {
                return Some(Zone::Offset(0));
            }
            [sign, h1, h2] => (sign, number([*h1, *h2])?, 0),
            [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, number([*h1, *h2])?, number([*m1, *m2])?),
            _ => return None,
        };
        let offset = hours * 3600 + minutes * 60;
        match sign {
            _ if hours > 23 || minutes > 59 => None,
            b'+' => Some(Zone::Offset(offset)),
            b'-' => Some(Zone::Offset(-offset)),
            _ => None,
        }
    }
}

fn civil(date: Date, clock: Clock) -> Option<DateTime> {
    // Every part is checked and small, so that no cast can cut.
    let (year, month, day) = (date.year as i16, date.month as i8, date.day as i8);
    DateTime::new(year, month, day, clock.hour as i8, clock.minute as i8, clock.second as i8, 0).ok()
}

/// Parses a text of digits only.
#[inline]
fn number<const N: usize>(digits: [u8; N]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Returns the microseconds of one or more digits after the point, and what follows them.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let micros = (0..6).fold(0, |micros, place| micros * 10 + digits.get(place).map_or(0, |d| i64::from(d - b'0')));
    (!digits.is_empty()).then_some((micros, rest))
}

/// Returns 1 to 12 for the English name of three letters, in any case.
fn month(name: [u8; 3]) -> Option<i64> {
    let month = match &name.map(|letter| letter.to_ascii_lowercase()) {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    };
    Some(month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn read(zone: &str, kind: ValueKind, text: &str) -> Option<i64> {
        TimeReader::new(zone).unwrap().read(Value { kind, text }).map(EventTime::micros)
    }

    fn utc(text: &str) -> Option<i64> {
        read("UTC", ValueKind::String, text)
    }

    /// Computes the microseconds with jiff, which shares no code with our own parsers.
    fn micros(rfc_3339: &str) -> i64 {
        rfc_3339.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn epochs() {
        let cases = [
            ("0", 0),
            ("-0.0", 0),
            ("1457741907", 1_457_741_907_000_000),
            ("1457741907.959400112", 1_457_741_907_959_400),
            ("1659304800025.5", 1_659_304_800_025_500),
            ("1659304800025", 1_659_304_800_025_000),
            ("1659304800025123", 1_659_304_800_025_123),
            ("1659304800025123999", 1_659_304_800_025_123),
            ("1.4577e9", 1_457_700_000_000_000),
            ("1.659304800025E12", 1_659_304_800_025_000),
            // The thresholds, from both sides.
            ("99999999999", 99_999_999_999_000_000),
            ("99999999999.999999999", 99_999_999_999_999_999),
            ("100000000000", 100_000_000_000_000),
            ("1e11", 100_000_000_000_000),
            ("99999999999999", 99_999_999_999_999_000),
            ("100000000000000", 100_000_000_000_000),
            ("99999999999999999", 99_999_999_999_999_999),
            ("100000000000000000", 100_000_000_000_000),
            // Floored before 1970 too.
            ("-1.5", -1_500_000),
            ("-0.0000001", -1),
            ("-1659304800025123999", -1_659_304_800_025_124),
            ("000000000000000000001", 1_000_000),
            ("2015", 2_015_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(utc(text), Some(expected), "{text}");
            assert_eq!(read("Europe/Berlin", ValueKind::Number, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn forms() {
        let cases = [
            ("2015-05-17T10:05:03Z", "2015-05-17T10:05:03Z"),
            ("2015-05-17t10:05:03z", "2015-05-17T10:05:03Z"),
            (" 2015-05-17 10:05:03 ", "2015-05-17T10:05:03Z"),
            ("2015-05-17 10:05:03 UTC", "2015-05-17T10:05:03Z"),
            ("2015-05-17 10:05:03GMT", "2015-05-17T10:05:03Z"),
            ("2015-05-17T10:05:03 +0100", "2015-05-17T09:05:03Z"),
            ("2015-05-17T10:05:03+01:00", "2015-05-17T09:05:03Z"),
            ("2015-05-17T10:05:03+01", "2015-05-17T09:05:03Z"),
            ("2015-05-17T10:05:03-09:30", "2015-05-17T19:35:03Z"),
            ("2015-05-17T10:05:03-00:00", "2015-05-17T10:05:03Z"),
            ("2015-05-17T10:05:03.1Z", "2015-05-17T10:05:03.1Z"),
            ("2015-05-17T10:05:03,123Z", "2015-05-17T10:05:03.123Z"),
            ("2015-05-17T10:05:03.123456999999999999999999+00:00", "2015-05-17T10:05:03.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2015-05-17T10:05", "2015-05-17T10:05:00Z"),
            ("2015-05-17 10:05+02:00", "2015-05-17T08:05:00Z"),
            ("2015-05-17", "2015-05-17T00:00:00Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
            ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.25Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("17/May/2015:10:05:03 +0000", "2015-05-17T10:05:03Z"),
            ("[17/may/2015:10:05:03 -0700]", "2015-05-17T17:05:03Z"),
            ("17/May/2015:10:05:03.5 +0000", "2015-05-17T10:05:03.5Z"),
            ("17/May/2015:10:05:03", "2015-05-17T10:05:03Z"),
            ("Sun, 17 May 2015 10:05:03 +0000", "2015-05-17T10:05:03Z"),
            ("Sat, 17 May 2015 10:05:03 +0000", "2015-05-17T10:05:03Z"),
            ("Sun, 17 May 2015 10:05:03 GMT", "2015-05-17T10:05:03Z"),
            ("7 May 2015 10:05 +0200", "2015-05-07T08:05:00Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(utc(text), Some(micros(expected)), "{text}");
        }
    }

    #[test]
    fn no_times() {
        let no_times = "
            abc|NaN|true|-|12:30|2015-05|2015-5-7|17/05/2015|May 17, 2015|yesterday|+015-05-17|[]
            2015-02-29|2015-13-01|2015-00-10|2015-04-31T00:00:00Z|2015-05-17Z|2015-05-17_10:05:03|2015-05-17T10
            2015-05-17T24:00:00Z|2015-05-17T10:60:00Z|2015-05-17T10:05:61Z|2015-05-17T10:05:03.Z|2015-05-17T1\u{664}:05
            2015-05-17T10:05:03+24:00|2015-05-17T10:05:03+01:60|2015-05-17T10:05:03  Z|2015-05-17T10:05:03 CEST
            2015-05-17T10:05:03/01:00|17/Mai/2015:10:05:03 +0000|[17/May/2015:10:05:03 +0000|17/May/2015";
        for text in no_times.split(['|', '\n']) {
            assert_eq!(utc(text), None, "{text:?}");
        }
        assert_eq!(read("UTC", ValueKind::Number, "2015-05-17"), None);
        assert_eq!(read("UTC", ValueKind::Bool, "1"), None);
    }

    #[test]
    fn every_february_ends_where_jiff_ends_it() {
        for year in 0..=9998 {
            for date in [format!("{year:04}-02-29"), format!("{year:04}-03-01")] {
                let midnight = |date: jiff::civil::Date| micros(&format!("{date}T00:00:00Z"));
                assert_eq!(utc(&date), date.parse().ok().map(midnight), "{date}");
            }
        }
    }

    #[test]
    fn a_time_without_zone_is_in_the_configured_one() {
        let berlin = |text| read("Europe/Berlin", ValueKind::String, text);
        assert_eq!(berlin("2024-01-10 12:00:00.5"), Some(micros("2024-01-10T11:00:00.5Z")));
        assert_eq!(berlin("2024-07-10"), Some(micros("2024-07-09T22:00:00Z")));
        assert_eq!(berlin("10/Jul/2024:12:00:00"), Some(micros("2024-07-10T10:00:00Z")));
        assert_eq!(berlin("2024-07-10T12:00:00Z"), Some(micros("2024-07-10T12:00:00Z")));
        // A gap: as far behind its end as the text is behind its start.
        assert_eq!(berlin("2024-03-31 02:30:00"), Some(micros("2024-03-31T01:30:00Z")));
        // A fold: the first of the two.
        assert_eq!(berlin("2024-10-27 02:30:00"), Some(micros("2024-10-27T00:30:00Z")));
    }

    #[test]
    fn the_range_ends_with_the_year_9999() {
        assert_eq!(utc("9999-12-31T23:59:59.9999999Z"), Some(EventTime::MAX.micros()));
        assert_eq!(utc("253402300799999999999"), Some(EventTime::MAX.micros()));
        // In a zone too: SQL databases write the first one for "never".
        let berlin = |text| read("Europe/Berlin", ValueKind::String, text);
        assert_eq!(berlin("9999-12-31"), Some(EventTime::MAX.micros() + 1 - 25 * 3_600_000_000));
        assert_eq!(berlin("9999-12-31 23:59:59"), Some(EventTime::MAX.micros() + 1 - 3_601_000_000));
        assert_eq!(read("America/New_York", ValueKind::String, "9999-12-31 23:59:59"), None);
        for beyond in ["9999-12-31T23:59:59-01:00", "253402300800000000000", "-377705116800000000001", "1e30", "1e400"]
        {
            assert_eq!(utc(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn an_unknown_zone_is_explained() {
        assert!(TimeReader::new("utc").is_ok() && TimeReader::new("europe/berlin").is_ok());
        let error = |zone| TimeReader::new(zone).unwrap_err();
        assert_eq!(error("Europe/Berln"), "there is no time zone `Europe/Berln`: did you mean `Europe/Berlin`?");
        assert!(error("zzz").ends_with("write an IANA name such as `Europe/Berlin`, or `UTC`"));
    }

    proptest! {
        /// `mantissa / 10^places` against plain integer arithmetic, as decimals and with an exponent.
        #[test]
        fn epochs_agree_with_integer_arithmetic(
            mantissa in prop_oneof![-10_i128.pow(12)..10_i128.pow(12), -10_i128.pow(23)..10_i128.pow(23)],
            places in 0..14_u32,
        ) {
            let one = 10_i128.pow(places);
            let below = |digits| mantissa.abs() < 10_i128.pow(digits) * one;
            let floor = if below(11) {
                (mantissa * 1_000_000).div_euclid(one)
            } else if below(14) {
                (mantissa * 1_000).div_euclid(one)
            } else if below(17) {
                mantissa.div_euclid(one)
            } else {
                mantissa.div_euclid(one * 1_000)
            };
            let expected = i64::try_from(floor).ok().and_then(EventTime::from_micros).map(EventTime::micros);
            let sign = if mantissa < 0 { "-" } else { "" };
            let (integer, fraction) = (mantissa.abs() / one, mantissa.abs() % one);
            let decimals = if places == 0 { String::new() } else { format!(".{fraction:0width$}", width = places as usize) };
            prop_assert_eq!(utc(&format!("{sign}{integer}{decimals}")), expected);
            prop_assert_eq!(read("UTC", ValueKind::Number, &format!("{mantissa}e-{places}")), expected);
        }

        /// Civil times, good ones and impossible ones, in several zones.
        #[test]
        fn civil_times_agree_with_jiff(
            (year, month, day) in (prop_oneof![0..=9998_i16, 1960..2040_i16], 0..=13_u8, 0..=32_u8),
            (hour, minute, second) in (0..=24_u8, 0..=60_u8, 0..=61_u8),
            nanos in 0..1_000_000_000_u32,
            digits in 0..=9_usize,
            separator in prop_oneof!["T", "t", " "],
            zone in prop_oneof!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia"],
            suffix in prop_oneof!["", "Z", "z", "\\+05:45", "-0930", "\\+01"],
        ) {
            let fraction = if digits == 0 { String::new() } else { format!(".{}", &format!("{nanos:09}")[..digits]) };
            let local = format!("{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}{fraction}");
            let text = format!("{local}{suffix}");
            let parsed = if suffix.is_empty() {
                let zone = TimeZone::get(&zone).unwrap();
                local.parse::<DateTime>().ok().and_then(|civil| zone.to_timestamp(civil).ok())
            } else {
                text.parse::<Timestamp>().ok()
            };
            let floor = |instant: Timestamp| i64::try_from(instant.as_nanosecond().div_euclid(1000)).unwrap();
            let expected = parsed.map(floor);
            prop_assert_eq!(read(&zone, ValueKind::String, &text), expected, "{}", text);
        }

        /// The same instant in Common Log Format and RFC 2822, as jiff prints them.
        #[test]
        fn other_forms_agree_with_jiff(second in 0..253_000_000_000_i64, offset in -14..=14_i8) {
            let zoned = Timestamp::from_second(second).unwrap().to_zoned_datetime(tz::offset(offset).to_time_zone());
            let expected = Some(second * 1_000_000);
            prop_assert_eq!(utc(&zoned.strftime("%d/%b/%Y:%H:%M:%S %z").to_string()), expected);
            prop_assert_eq!(utc(&rfc2822::to_string(&zoned).unwrap()), expected);
        }

        #[test]
        fn no_text_panics(text in "[-+0-9TZ:./,\\[\\] eJan]{0,40}|\\PC*") {
            let reader = TimeReader::new("Europe/Berlin").unwrap();
            let time = reader.read(Value { kind: ValueKind::String, text: &text });
            prop_assert!(time.is_none_or(|time| EventTime::MIN <= time && time <= EventTime::MAX));
        }
    }
}
