//! Times as sources write them -> [`EventTime`], exact to the microsecond, never through floating point.
//!
//! | form | example |
//! |---|---|
//! | epoch: a number or its text, told apart by magnitude | `1457741907.959400112`, `1659304800025`, `1.4577e9` |
//! | the digits of a date, in the years 1990 to 2100 | `20240501`, `202405011000`, `20240501100000`, `20240501100000123` |
//! | RFC 3339 and its neighbours in ISO 8601 | `2024-03-13T10:21:14.5Z`, `2024-03-13 10:21`, `2024-03-13` |
//! | Common Log Format, also in brackets | `17/May/2015:10:05:03 +0000` |
//! | RFC 2822 | `Sun, 17 May 2015 10:05:03 +0000` |
//! | what has one meaning only (`forms`) | `Wed May  1 10:00:00 2024`, `20240501T100000Z`, `1-May-2024 9:00 PM` |
//!
//! - **Epochs**: below 10^11 in magnitude seconds (until the year 5138), below 10^14 milliseconds, below 10^17
//!   microseconds, else nanoseconds. 8, 12, 14 or 17 digits that are a date of the years 1990 to 2100 are that date: as
//!   an epoch they would be none of these years. A configured unit ([`TimeSpec::unit`]) makes every number an epoch.
//! - **Fractions** may follow `.` or `,` and have any number of digits. What is finer than a microsecond is floored,
//!   before 1970 too.
//! - **Zones** are `Z`, `UTC`, `GMT`, `+01:00`, `+0100` or `+01`, after an optional blank. A time without one is in the
//!   configured zone. In a gap it moves forward by the length of the gap. In a fold it is the first of the two (the
//!   rule "compatible" of RFC 5545). A date alone is its midnight.
//! - **Leap seconds**: `:60` is read as `:59`, with its fraction, as jiff does: it stays in its minute, hour and day.
//! - **The year** of times that name none, such as `May  1 10:00:00`, is a setting.
//! - Deliberately absent: orders of day and month that are a guess (`05/01/2024`): a configuration names the format.

mod forms;

pub use forms::is_time_of_day;

use crate::reading::Value;
use dataflows::decimal::{Digits, Rest};
use dataflows::{EventTime, ValueKind};
use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::{self, AmbiguousOffset, TimeZone};
use std::borrow::Cow;

/// Unit of the epochs of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Since 1970, as all others.
    Seconds,
    /// 10^-3 s.
    Millis,
    /// 10^-6 s.
    Micros,
    /// 10^-9 s.
    Nanos,
}

impl TimeUnit {
    /// Every unit.
    pub const ALL: [TimeUnit; 4] = [TimeUnit::Seconds, TimeUnit::Millis, TimeUnit::Micros, TimeUnit::Nanos];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            TimeUnit::Seconds => "s",
            TimeUnit::Millis => "ms",
            TimeUnit::Micros => "us",
            TimeUnit::Nanos => "ns",
        }
    }

    /// Returns the power of ten by which one of them is more than a microsecond.
    fn places(self) -> i64 {
        match self {
            TimeUnit::Seconds => 6,
            TimeUnit::Millis => 3,
            TimeUnit::Micros => 0,
            TimeUnit::Nanos => -3,
        }
    }
}

/// How the times of a source are written, beyond what can be recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSpec {
    /// Of times that carry none: an IANA name, `UTC`, or an offset such as `+02:00`.
    pub zone: String,
    /// Of epochs; `None`: by their magnitude.
    pub unit: Option<TimeUnit>,
    /// Formats of strftime, tried before everything else.
    pub formats: Vec<String>,
    /// Of times that name none, as those of syslog.
    pub year: Option<i16>,
}

impl Default for TimeSpec {
    fn default() -> TimeSpec {
        TimeSpec { zone: "UTC".into(), unit: None, formats: Vec::new(), year: None }
    }
}

/// Reads times; those without a zone in the zone that it was made for.
#[derive(Clone, Debug)]
pub struct TimeReader {
    /// `None`: UTC, which needs no lookup.
    zone: Option<TimeZone>,
    unit: Option<TimeUnit>,
    formats: Vec<Written>,
    year: Option<i16>,
}

/// A configured format.
#[derive(Clone, Debug)]
struct Written {
    format: String,
    /// What is written behind a text in it, if it lacks the year.
    year: Option<String>,
}

impl TimeReader {
    /// `zone` is an IANA name, in any case, `UTC`, or an offset. Errors say, in words for the user, what to write
    /// instead.
    pub fn new(zone: &str) -> Result<TimeReader, String> {
        TimeReader::of(&TimeSpec { zone: zone.into(), ..TimeSpec::default() })
    }

    /// Makes the reader of a source.
    ///
    /// # Errors
    /// If the zone is unknown, in words for the user.
    pub fn of(spec: &TimeSpec) -> Result<TimeReader, String> {
        let zone = zone(&spec.zone)?;
        let formats = spec.formats.iter().map(|format| match spec.year {
            Some(year) if lacks_year(format) => {
                Written { format: format!("{format} %Y"), year: Some(format!(" {year:04}")) }
            }
            _ => Written { format: format.clone(), year: None },
        });
        Ok(TimeReader { zone, unit: spec.unit, formats: formats.collect(), year: spec.year })
    }

    /// `None` when `value` is no time in any known form, or outside of [`EventTime`]'s range.
    #[inline]
    pub fn read(&self, value: Value<'_>) -> Option<EventTime> {
        if !self.formats.is_empty()
            && let Some(time) = self.formatted(value)
        {
            return Some(time);
        }
        match value.kind {
            ValueKind::Number => self.number(value.text.as_bytes()),
            ValueKind::String => self.read_text(value.text.trim_ascii()),
            _ => None,
        }
    }

    fn read_text(&self, text: &str) -> Option<EventTime> {
        let bytes = text.as_bytes();
        let known = match bytes {
            [_, _, _, _, b'-', _, _, b'-', ..] => self.iso(bytes),
            [b'[', inside @ .., b']'] => self.common_log(inside),
            [_, _, b'/', ..] => self.common_log(bytes),
            _ => self.number(bytes),
        };
        known.or_else(|| forms::read(self, text))
    }

    /// Reads a number: an epoch, or the digits of a date.
    #[inline]
    fn number(&self, text: &[u8]) -> Option<EventTime> {
        match self.unit {
            Some(unit) => epoch(text, Some(unit)),
            None if let Some(micros) = usual_epoch(text) => EventTime::from_micros(micros),
            None if may_be_date(text) => self.calendar(text).or_else(|| epoch(text, None)),
            None => epoch(text, None),
        }
    }

    /// Reads 8, 12, 14 or 17 digits that are a date of the years 1990 to 2100, and a time of day. A fraction may follow
    /// seconds, and zeros a date.
    fn calendar(&self, text: &[u8]) -> Option<EventTime> {
        let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let after = match rest {
            [] => 0,
            [b'.', rest @ ..] => match fraction(rest)? {
                (micros, []) if micros == 0 || digits.len() == 14 => micros,
                _ => return None,
            },
            _ => return None,
        };
        let (&[y1, y2, y3, y4, m1, m2, d1, d2], time) = digits.split_first_chunk()?;
        let year = number([y1, y2, y3, y4]).filter(|year| (1990..=2100).contains(year))?;
        let date = Date::new(year, number([m1, m2])?, number([d1, d2])?)?;
        let mut clock = match *time {
            [] => Clock::default(),
            [h1, h2, m1, m2] => Clock::new(number([h1, h2])?, number([m1, m2])?, 0, 0)?,
            [h1, h2, m1, m2, s1, s2] => Clock::new(number([h1, h2])?, number([m1, m2])?, number([s1, s2])?, 0)?,
            [h1, h2, m1, m2, s1, s2, ref millis @ ..] if millis.len() == 3 => {
                Clock::new(number([h1, h2])?, number([m1, m2])?, number([s1, s2])?, fraction(millis)?.0)?
            }
            _ => return None,
        };
        clock.micros += after;
        self.resolve(date, clock, Zone::Absent)
    }

    /// Reads a text in one of the configured formats.
    #[cold]
    fn formatted(&self, value: Value<'_>) -> Option<EventTime> {
        let text = value.text.trim_ascii();
        self.formats.iter().find_map(|Written { format, year }| {
            let text = year.as_ref().map_or(Cow::Borrowed(text), |year| Cow::Owned(format!("{text}{year}")));
            let parsed = strtime::parse(format, &*text).ok()?;
            if let Ok(instant) = parsed.to_timestamp() {
                return EventTime::from_micros(i64::try_from(instant.as_nanosecond().div_euclid(1000)).ok()?);
            }
            let date = parsed.to_date().ok()?;
            // A format without a time of day says midnight.
            let time = if parsed.hour().is_some() { parsed.to_time().ok()? } else { jiff::civil::Time::midnight() };
            let date = Date::new(date.year().into(), date.month().into(), date.day().into())?;
            let micros = i64::from(time.subsec_nanosecond()) / 1000;
            let clock = Clock::new(time.hour().into(), time.minute().into(), time.second().into(), micros)?;
            self.resolve(date, clock, parsed.offset().map_or(Zone::Absent, |at| Zone::Offset(at.seconds().into())))
        })
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
        let seconds = match (&zone, &self.zone) {
            (Zone::Absent, Some(zone)) | (Zone::Named(zone), _) => {
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

/// Returns whether a number has as many digits before the point as a date. Most epochs have 10, 13, 16 or 19.
#[inline]
fn may_be_date(text: &[u8]) -> bool {
    matches!(text.len(), 8 | 12 | 14 | 17) || [8, 12, 14].into_iter().any(|at| text.get(at) == Some(&b'.'))
}

/// Returns whether a format of strftime says month and day, and no year.
pub fn lacks_year(format: &str) -> bool {
    let example = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    let read = strtime::format(format, &example).and_then(|text| strtime::parse(format, text));
    read.is_ok_and(|read| {
        let says_day = read.month().is_some() && read.day().is_some();
        says_day && read.to_date().is_err() && read.to_timestamp().is_err()
    })
}

/// Returns the microseconds of an epoch of the years 2001 to 2286 as nearly all are written: ten digits of seconds, with a
/// fraction or without, or with three or six digits more. `None` says nothing about other texts. No date has
/// as many digits.
#[inline]
fn usual_epoch(text: &[u8]) -> Option<i64> {
    let (&[first, b, c, d, e, f, g, h, i, j], rest) = text.split_first_chunk()?;
    let seconds = eight_digits([first, b, c, d, e, f, g, h])? * 100 + number([i, j])?;
    let micros = (first != b'0').then_some(seconds * 1_000_000)?;
    let six = |[a, b, c, d, e, f]: [u8; 6]| eight_digits([b'0', b'0', a, b, c, d, e, f]);
    match *rest {
        [] => Some(micros),
        // What is finer is floored.
        [b'.', a, b, c, d, e, f, ref finer @ ..] if finer.iter().all(u8::is_ascii_digit) => {
            Some(micros + six([a, b, c, d, e, f])?)
        }
        [b'.', ref rest @ ..] => match fraction(rest)? {
            (fraction, []) => Some(micros + fraction),
            _ => None,
        },
        [a, b, c] => Some(micros + number([a, b, c])? * 1000),
        [a, b, c, d, e, f] => Some(micros + six([a, b, c, d, e, f])?),
        _ => None,
    }
}

/// Parses an epoch. The module's documentation has the units.
#[inline]
fn epoch(text: &[u8], unit: Option<TimeUnit>) -> Option<EventTime> {
    let number = Digits::parse(text)?;
    let places = match (unit, number.magnitude) {
        (Some(unit), _) => unit.places(),
        (None, ..=11) => 6,
        (None, 12..=14) => 3,
        (None, 15..=17) => 0,
        (None, _) => -3,
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
    fn new(hour: i64, minute: i64, second: i64, micros: i64) -> Option<Clock> {
        let clock = Clock { hour, minute, second: second.min(59), micros };
        (hour < 24 && minute < 60 && second <= 60).then_some(clock)
    }

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
        Some((Clock::new(hour, minute, second, micros)?, rest))
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
    /// A text named it.
    Named(TimeZone),
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

/// Returns the zone of this name; `None` for UTC.
pub(crate) fn zone(name: &str) -> Result<Option<TimeZone>, String> {
    if name.eq_ignore_ascii_case("UTC") {
        return Ok(None);
    }
    if let Some(Zone::Offset(seconds)) = name.starts_with(['+', '-']).then(|| Zone::parse(name.as_bytes())).flatten()
        && let Ok(offset) = i32::try_from(seconds).map_err(drop).and_then(|s| tz::Offset::from_seconds(s).map_err(drop))
    {
        return Ok(Some(offset.to_time_zone()));
    }
    TimeZone::get(name).map(Some).map_err(|_| {
        let similarity = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name.to_lowercase());
        let names = tz::db().available().map(|known| known.to_string());
        match names.max_by(|a, b| similarity(a).total_cmp(&similarity(b))) {
            Some(nearest) if similarity(&nearest) > 0.85 => {
                format!("there is no time zone `{name}`: did you mean `{nearest}`?")
            }
            _ => format!("there is no time zone `{name}`: write an IANA name such as `Europe/Berlin`, or `UTC`"),
        }
    })
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

/// Parses a text of digits only, all at once: D. Lemire, "Quickly parsing eight digits", 2018.
#[inline]
fn eight_digits(digits: [u8; 8]) -> Option<i64> {
    const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
    const HIGH: u64 = u64::from_le_bytes([0xf0; 8]);
    let text = u64::from_le_bytes(digits);
    // A digit keeps its upper half when six is added: 0x30 to 0x39.
    if text & HIGH != ZEROS || text.wrapping_add(u64::from_le_bytes([6; 8])) & HIGH != ZEROS {
        return None;
    }
    // Pairs of digits, then of pairs, then of fours. The first digit is the lowest byte.
    let pairs = (text - ZEROS).wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    let eight = fours.wrapping_mul(10_000 << 32 | 1) >> 32;
    Some(eight as i64)
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
mod tests;
