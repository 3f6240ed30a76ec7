//! [`TimeReader`] against a slow reading that takes a text apart as text, and lets jiff do the calendar.
//!
//! The first byte of the input chooses a zone and the kind of the value. It also chooses whether the rest is the text,
//! or an instant that is written in every form.

use super::Choices;
use dataflows::{EventTime, ValueKind};
use headwater_decode::reading::Value;
use headwater_decode::time::TimeReader;
use jiff::civil::{Date, DateTime};
use jiff::fmt::rfc2822;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, tz};

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Monrovia",
    "Pacific/Apia",
    "America/St_Johns",
    "Asia/Kathmandu",
];
const NUMBER: u8 = 1 << 3;
const INSTANT: u8 = 1 << 4;

pub fn check(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let name = ZONES[usize::from(options % 8)];
    let (reader, zone) = (TimeReader::new(name).unwrap(), TimeZone::get(name).unwrap());
    let read = |kind, text: &str| reader.read(Value { kind, text }).map(EventTime::micros);
    if options & INSTANT != 0 {
        return instant(&mut Choices(rest), &zone, &|text| read(ValueKind::String, text));
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    for kind in [ValueKind::Null, ValueKind::Bool, ValueKind::EmptyObject, ValueKind::EmptyArray] {
        assert_eq!(read(kind, text), None);
    }
    let kind = if options & NUMBER != 0 { ValueKind::Number } else { ValueKind::String };
    let found = read(kind, text);
    match slow(kind, text, &zone) {
        Slow::Time(expected) => assert_eq!(found, expected.and_then(in_range), "{kind:?} {text:?} in {name}"),
        Slow::Rare => assert!(found.is_none_or(|found| in_range(found.into()).is_some()), "{text:?}"),
        Slow::Jiff(text) => {
            const PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
            assert!(found.is_some() || PARSER.parse_timestamp(text).is_err(), "{text:?}");
        }
    }
    if kind == ValueKind::String {
        assert_eq!(read(kind, &format!(" \t{text}\n")), found, "blanks around it matter: {text:?}");
    }
    if kind == ValueKind::Number {
        // A number means the same as its text.
        assert!(found.is_none() || read(ValueKind::String, text) == found, "{text:?}");
    }
}

/// Writes one instant in all forms.
fn instant(choices: &mut Choices, zone: &TimeZone, read: &dyn Fn(&str) -> Option<i64>) {
    let bytes = std::array::from_fn(|_| choices.next());
    let range = EventTime::MAX.micros() as i128 - EventTime::MIN.micros() as i128 + 1;
    let micros = (i64::from_le_bytes(bytes) as i128).rem_euclid(range) as i64 + EventTime::MIN.micros();
    let expected = Some(micros);

    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (sign, magnitude) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    if magnitude < 100_000_000_000_000_000 {
        assert_eq!(read(&format!("{sign}{}.{:06}", magnitude / 1_000_000, magnitude % 1_000_000)), expected);
        assert_eq!(read(&format!("{micros}e-6")), expected);
    }
    if (100_000_000_000_000..100_000_000_000_000_000).contains(&magnitude) {
        assert_eq!(read(&micros.to_string()), expected);
    }
    let Ok(timestamp) = Timestamp::from_microsecond(micros) else { return };
    let offset = tz::Offset::from_seconds((choices.below(95) as i32 - 47) * 900).unwrap();
    let local = timestamp.to_zoned_datetime(offset.to_time_zone());
    if !(0..=9999).contains(&local.year()) {
        return;
    }
    assert_eq!(read(&local.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z").to_string()), expected);
    assert_eq!(read(&local.strftime("%Y-%m-%d %H:%M:%S,%9f %z").to_string()), expected);
    assert_eq!(read(&local.strftime("[%d/%b/%Y:%H:%M:%S.%6f %z]").to_string()), expected);
    let whole = Some(seconds * 1_000_000);
    assert_eq!(read(&local.strftime("%Y%m%dT%H%M%S.%6f%z").to_string()), expected);
    assert_eq!(read(&local.strftime("%Y/%m/%d %I:%M:%S %p %:z").to_string()), whole);
    assert_eq!(read(&local.strftime("%a %b %e %H:%M:%S %z %Y").to_string()), whole);
    assert_eq!(read(&local.strftime("%d.%m.%Y %H:%M:%S%:z").to_string()), whole);
    assert_eq!(read(&local.strftime("%d/%b/%Y:%H:%M:%S %z").to_string()), whole);
    assert_eq!(read(&local.strftime("%a, %d %b %Y %H:%M:%S %z").to_string()), whole);
    // In its own zone an instant is found again, but for the second half of a fold.
    let civil = timestamp.to_zoned_datetime(zone.clone()).datetime();
    if zone.to_ambiguous_timestamp(civil).is_ambiguous() || !(0..=9999).contains(&civil.year()) {
        return;
    }
    assert_eq!(read(&civil.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()), expected, "{zone:?} {fraction}");
}

enum Slow<'t> {
    /// Microseconds, however many.
    Time(Option<i128>),
    /// Perhaps one of the rarer forms, which the unit tests know.
    Rare,
    /// This is mail's own business: comments, obsolete zones, years of two digits.
    Jiff(&'t str),
}

fn in_range(micros: i128) -> Option<i64> {
    EventTime::from_micros(i64::try_from(micros).ok()?).map(EventTime::micros)
}

fn slow<'t>(kind: ValueKind, text: &'t str, zone: &TimeZone) -> Slow<'t> {
    if let Some(micros) =
        digits_of_date(text.trim_ascii(), zone).filter(|_| kind == ValueKind::String || text.trim_ascii() == text)
    {
        return Slow::Time(Some(micros));
    }
    if kind == ValueKind::Number {
        return Slow::Time(epoch(text));
    }
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0c']);
    let bytes = text.as_bytes();
    if bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-') && bytes.len() >= 8 {
        return iso(text, zone).map_or(Slow::Rare, |micros| Slow::Time(Some(micros)));
    }
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if unbracketed.is_some() || bytes.get(2) == Some(&b'/') {
        let found = common_log(unbracketed.unwrap_or(text), zone);
        return found.map_or(Slow::Rare, |micros| Slow::Time(Some(micros)));
    }
    match epoch(text).or_else(|| mail(text)) {
        Some(micros) => Slow::Time(Some(micros)),
        None => Slow::Jiff(text),
    }
}

/// 8, 12, 14 or 17 digits that jiff takes for a date of these years.
fn digits_of_date(text: &str, zone: &TimeZone) -> Option<i128> {
    let (digits, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let zeros = fraction.chars().all(|char| char == '0');
    if !all_digits(digits) || fraction.is_empty() || !all_digits(fraction) || !(zeros || digits.len() == 14) {
        return None;
    }
    let more: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros = more.parse::<i128>().unwrap();
    let padded = match digits.len() {
        8 => format!("{digits}000000000"),
        12 => format!("{digits}00000"),
        14 => format!("{digits}000"),
        17 => digits.to_owned(),
        _ => return None,
    };
    let part = |range: std::ops::Range<usize>| padded[range].parse::<i16>().unwrap();
    let date = Date::new(part(0..4), part(4..6) as i8, part(6..8) as i8)
        .ok()
        .filter(|date| (1990..=2100).contains(&date.year()))?;
    let second = if part(12..14) == 60 { 59 } else { part(12..14) as i8 };
    let time = jiff::civil::Time::new(part(8..10) as i8, part(10..12) as i8, second, 0).ok()?;
    resolve(date.to_datetime(time), micros + i128::from(part(14..17)) * 1000, None, zone)
}

fn all_digits(text: &str) -> bool {
    text.chars().all(|char| char.is_ascii_digit())
}

/// Shifts the point of a text of digits, and never looks at the number.
fn epoch(text: &str) -> Option<i128> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        None => (unsigned, 0),
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !all_digits(digits) {
                return None;
            }
            // More digits than that are beyond everything.
            let size = match digits.trim_start_matches('0') {
                "" => 0,
                short if short.len() < 10 => short.parse::<i64>().unwrap(),
                _ => 1_000_000_000,
            };
            (mantissa, if exponent.starts_with('-') { -size } else { size })
        }
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if integer.len() + fraction.len() == 0 || !all_digits(integer) || !all_digits(fraction) {
        return None;
    }
    let all = format!("{integer}{fraction}");
    let digits = all.trim_start_matches('0');
    let point = integer.len() as i64 - (all.len() - digits.len()) as i64 + exponent;
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let point = point
        + match point {
            ..=11 => 6,
            12..=14 => 3,
            15..=17 => 0,
            _ => -3,
        };
    if point > 30 {
        return Some(i128::MAX);
    }
    let whole: String =
        digits.chars().chain(std::iter::repeat('0')).take(usize::try_from(point).unwrap_or(0)).collect();
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i128>().unwrap() };
    let is_whole = digits.len() as i64 <= point;
    Some(if text.starts_with('-') { -whole - i128::from(!is_whole) } else { whole })
}

fn iso(text: &str, zone: &TimeZone) -> Option<i128> {
    let date = text.get(..10)?;
    let [year, month, day] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
    let date = civil(year, month, day)?;
    match text[10..].chars().next() {
        None => resolve(date.at(0, 0, 0, 0), 0, None, zone),
        Some('T' | 't' | ' ') => clock(date, &text[11..], zone),
        Some(_) => None,
    }
}

fn common_log(text: &str, zone: &TimeZone) -> Option<i128> {
    let (date, rest) = text.split_once(':')?;
    let [day, month, year] = date.split('/').collect::<Vec<_>>().try_into().ok()?;
    clock(civil(year, &month_number(month)?, day)?, rest, zone)
}

fn month_number(name: &str) -> Option<String> {
    const NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let number = NAMES.iter().position(|known| name.to_ascii_lowercase() == *known)?;
    Some(format!("{:02}", number + 1))
}

fn civil(year: &str, month: &str, day: &str) -> Option<Date> {
    let is_date = [year.len(), month.len(), day.len()] == [4, 2, 2] && [year, month, day].into_iter().all(all_digits);
    is_date.then(|| Date::new(year.parse().unwrap(), month.parse().unwrap(), day.parse().unwrap()).ok())?
}

/// A time of day and a zone.
fn clock(date: Date, text: &str, zone: &TimeZone) -> Option<i128> {
    let end = text.find(|char: char| !(char.is_ascii_digit() || ":.,".contains(char))).unwrap_or(text.len());
    let (clock, suffix) = text.split_at(end);
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) if !fraction.is_empty() && all_digits(fraction) => (clock, fraction),
        Some(_) => return None,
        None => (clock, ""),
    };
    let parts: Vec<&str> = clock.split(':').collect();
    if !(parts.len() == 3 || parts.len() == 2 && fraction.is_empty()) {
        return None;
    }
    if !parts.iter().all(|part| part.len() == 2 && all_digits(part)) {
        return None;
    }
    let number = |index: usize| parts.get(index).map_or(0, |part| part.parse::<i8>().unwrap());
    let second = if number(2) == 60 { 59 } else { number(2) };
    let time = jiff::civil::Time::new(number(0), number(1), second, 0).ok()?;
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    resolve(date.to_datetime(time), micros.parse().unwrap(), Some(suffix), zone)
}

fn resolve(civil: DateTime, micros: i128, suffix: Option<&str>, zone: &TimeZone) -> Option<i128> {
    let suffix = suffix.map(|suffix| suffix.strip_prefix(' ').unwrap_or(suffix)).unwrap_or_default();
    let offset = match suffix.to_ascii_lowercase().as_str() {
        // Before a gap and in the first half of a fold, the offset is the one from before.
        "" => match zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => i128::from(offset.seconds()),
            AmbiguousOffset::Gap { before, .. } | AmbiguousOffset::Fold { before, .. } => i128::from(before.seconds()),
        },
        "z" | "utc" | "gmt" => 0,
        _ => {
            let sign = match suffix.chars().next()? {
                '+' => 1,
                '-' => -1,
                _ => return None,
            };
            let digits = match suffix.chars().collect::<Vec<_>>()[1..] {
                [h1, h2] => [h1, h2, '0', '0'],
                [h1, h2, m1, m2] | [h1, h2, ':', m1, m2] => [h1, h2, m1, m2],
                _ => return None,
            };
            let digits: String = digits.iter().collect();
            if !all_digits(&digits) {
                return None;
            }
            let (hours, minutes) = (digits[..2].parse::<i128>().unwrap(), digits[2..].parse::<i128>().unwrap());
            if hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 3600 + minutes * 60)
        }
    };
    let since: SignedDuration = civil.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    Some((i128::from(since.as_secs()) - offset) * 1_000_000 + micros)
}

/// The usual form of RFC 2822: `Wed, 01 May 2024 10:00:00 +0000`. `None` leaves it to jiff.
fn mail(text: &str) -> Option<i128> {
    let date = match text.split_once(", ") {
        Some((weekday, date)) if ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&weekday) => date,
        Some(_) => return None,
        None => text,
    };
    let [day, month, year, time, zone] = date.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let is_zone = zone.len() == 5 && zone.starts_with(['+', '-']) && all_digits(&zone[1..]) || zone == "GMT";
    if !is_zone || time.len() != 8 || time.ends_with("60") || time.contains(['.', ',']) || year.starts_with('0') {
        return None;
    }
    let micros =
        clock(civil(year, &month_number(month)?, &format!("{day:0>2}"))?, &format!("{time}{zone}"), &TimeZone::UTC)?;
    // jiff ends a day earlier.
    (micros <= i128::from(Timestamp::MAX.as_microsecond())).then_some(micros)
}
