//! Times in forms that are rarer than those of [`super`], and that have one meaning only.
//!
//! | form | example |
//! |---|---|
//! | basic ISO 8601 | `20240501T100000.123Z` |
//! | year, month, day with one separator and single digits | `2024/5/1 9:00`, `2024-05-01_10:00:00`, `2024-05-01-10.00.00` |
//! | day, month, year with dots | `01.05.2024 10:00:00` |
//! | Chinese, Japanese and Hungarian dates | `2024年5月1日 10:00`, `2024.05.01. 10:00` |
//! | a month by its English name | `01-May-2024 10:00`, `May 1, 2024, 10:00 AM UTC`, `Wed, 01-May-24 10:00:00 GMT` |
//! | asctime, `date`, and the API of Twitter | `Wed May  1 10:00:00 UTC 2024`, `Wed May 01 10:00:00 +0000 2024` |
//! | syslog, if the year is configured | `May  1 10:00:00` |
//! | ordinal and week dates of ISO 8601 | `2024-122`, `2024-W18-3T10:00:00Z` |
//! | epochs in other clothes | `@1714557600`, `1714557600000L`, `1714557600s`, `1_714_557_600`, `0x66321420`, `/Date(1714557600000)/` |
//!
//! - Hours may be of 12 with `AM` or `PM`. 24:00 is the midnight after.
//! - A zone in brackets behind an offset is not looked at. Without an offset it is the zone.
//! - A year of two digits stands behind the name of a month only, and is of 1970 to 2069 (RFC 2822 and RFC 850).

use super::{Clock, Date, TimeReader, TimeUnit, Zone, epoch, fraction, month, rfc_2822};
use dataflows::EventTime;
use jiff::tz::TimeZone;
use std::borrow::Cow;

/// No time is longer.
const LONGEST: usize = 100;

/// Reads a time that none of the frequent forms fits.
#[cold]
pub fn read(reader: &TimeReader, text: &str) -> Option<EventTime> {
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let text = plain(text);
    let text = unquoted(text.trim());
    if let Some(time) = dressed_epoch(reader, text).or_else(|| rfc_2822(text)) {
        return Some(time);
    }
    let (text, zone) = without_brackets(text)?;
    let mut rest = Rest(text.as_bytes());
    weekday(&mut rest);
    let (date, clock, stated) = date_and_time(&mut rest, reader.year)?;
    rest.blanks();
    if !rest.0.is_empty() {
        return None;
    }
    let (date, clock) = if clock.hour == 24 {
        if clock.minute != 0 || clock.second != 0 || clock.micros != 0 {
            return None;
        }
        (date.next()?, Clock::default())
    } else {
        (date, clock)
    };
    let zone = match (stated, zone) {
        (Zone::Absent, Some(zone)) => Zone::Named(zone),
        (stated, _) => stated,
    };
    reader.resolve(date, clock, zone)
}

/// Returns whether a text is a time of day alone.
pub fn is_time_of_day(text: &str) -> bool {
    let mut rest = Rest(text.trim().as_bytes());
    let has_colon = text.contains(':');
    has_colon && clock(&mut rest).is_some() && zone(&mut rest).is_some() && rest.0.is_empty()
}

/// Returns the text with plain blanks and minus signs.
fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let text = text.replace(['\u{a0}', '\u{202f}', '\u{2009}'], " ");
    // Year and month of Chinese and Japanese dates, and their day.
    let text = text.replace(['\u{2212}', '\u{2010}', '\u{2011}', '\u{5e74}', '\u{6708}'], "-");
    Cow::Owned(text.replace('\u{65e5}', " "))
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).map_or(text, str::trim)
}

/// Splits off a zone in brackets, as Java and RFC 9557 write it.
fn without_brackets(text: &str) -> Option<(&str, Option<TimeZone>)> {
    let Some(inside) = text.strip_suffix(']') else { return Some((text, None)) };
    let (text, name) = inside.split_once('[')?;
    if text.is_empty() {
        return Some((name, None));
    }
    Some((text.trim_end(), Some(TimeZone::get(name.trim_start_matches('!')).ok()?)))
}

/// Reads an epoch with marks around its digits.
fn dressed_epoch(reader: &TimeReader, text: &str) -> Option<EventTime> {
    let whole = text;
    // `/Date(1714557600000+0200)/` of .NET: the offset is that of the writer, and the number is in UTC.
    if let Some(inside) = text.trim_matches('/').strip_prefix("Date(").and_then(|inside| inside.strip_suffix(')')) {
        let sign = inside.get(1..)?.find(['+', '-']).map_or(inside.len(), |at| at + 1);
        return epoch(inside.get(..sign)?.as_bytes(), Some(TimeUnit::Millis));
    }
    let text = text.strip_prefix('@').unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let number = u64::from_str_radix(digits, 16).ok()?;
        return epoch(number.to_string().as_bytes(), reader.unit);
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')) {
        return None;
    }
    let letters = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[letters.len()..].trim() {
        "" | "L" | "l" => reader.unit,
        "s" => Some(TimeUnit::Seconds),
        "ms" => Some(TimeUnit::Millis),
        "us" => Some(TimeUnit::Micros),
        "ns" => Some(TimeUnit::Nanos),
        _ => return None,
    };
    let digits = letters.trim_end();
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let groups = |separator: char| {
        let mut groups = digits.split(separator);
        let first = groups.next().unwrap_or_default();
        let several = digits.contains(separator);
        let whole = is_number(first) && first.len() <= 3 && groups.all(|group| group.len() == 3 && is_number(group));
        (several && whole).then(|| digits.replace(separator, ""))
    };
    let digits = match digits.split_once(',') {
        // A decimal comma stands behind as many digits as seconds have.
        Some((whole, part)) if is_number(whole) && is_number(part) && whole.len() >= 9 => format!("{whole}.{part}"),
        _ => groups(',').or_else(|| groups('_')).unwrap_or_else(|| digits.to_owned()),
    };
    // Without any mark it has been read already, or is no epoch.
    (digits != whole).then(|| epoch(digits.as_bytes(), unit))?
}

/// The text that is still to be read.
struct Rest<'t>(&'t [u8]);

impl<'t> Rest<'t> {
    fn blanks(&mut self) -> bool {
        let before = self.0.len();
        self.0 = self.0.trim_ascii_start();
        self.0.len() < before
    }

    fn eat(&mut self, one_of: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        one_of.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// Takes up to `most` digits.
    fn digits(&mut self, most: usize) -> Option<(i64, usize)> {
        let end = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        (end > 0).then_some((number, end))
    }

    fn word(&mut self) -> &'t [u8] {
        let end = self.0.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    /// Takes what `read` takes, or nothing.
    fn attempt<R>(&mut self, read: impl FnOnce(&mut Rest<'t>) -> Option<R>) -> Option<R> {
        let before = self.0;
        let found = read(self);
        if found.is_none() {
            self.0 = before;
        }
        found
    }
}

fn weekday(rest: &mut Rest<'_>) {
    const DAYS: [&[u8]; 7] = [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];
    rest.attempt(|rest| {
        let word = rest.word().to_ascii_lowercase();
        let known = word.len() >= 3 && DAYS.iter().any(|day| day.starts_with(&word));
        rest.eat(b",.");
        (known && rest.blanks()).then_some(())
    });
}

/// Returns the number of a month by its English name, whole or its first letters.
fn named_month(rest: &mut Rest<'_>) -> Option<i64> {
    const REST: [&[u8]; 12] =
        [b"uary", b"ruary", b"ch", b"il", b"", b"e", b"y", b"ust", b"tember", b"ober", b"ember", b"ember"];
    let word = rest.word().to_ascii_lowercase();
    let (first, more) = word.split_first_chunk::<3>()?;
    let number = month(*first)?;
    let whole = REST[number as usize - 1];
    (more.is_empty() || more == whole || (number == 9 && more == b"t")).then_some(number)
}

fn date_and_time(rest: &mut Rest<'_>, year: Option<i16>) -> Option<(Date, Clock, Zone)> {
    if let Some(found) = rest.attempt(|rest| year_last(rest, year)) {
        return Some(found);
    }
    let date = rest.attempt(day_of_year);
    let date = date.or_else(|| rest.attempt(year_first)).or_else(|| rest.attempt(day_first));
    let date = date.or_else(|| rest.attempt(month_first))?;
    if rest.0.is_empty() {
        return Some((date, Clock::default(), Zone::Absent));
    }
    // `T`, `_`, `-` (DB2), `:` (access logs), `,` or blanks.
    let separated = rest.eat(b"Tt_:-,").is_some();
    if !(rest.blanks() || separated) {
        return None;
    }
    let clock = clock(rest)?;
    Some((date, clock, zone(rest)?))
}

/// `May  1 10:00:00 [ZONE] 2024`; where a year is configured, also without one.
fn year_last(rest: &mut Rest<'_>, configured: Option<i16>) -> Option<(Date, Clock, Zone)> {
    let month = named_month(rest)?;
    rest.blanks().then_some(())?;
    let (day, _) = rest.digits(2)?;
    rest.blanks().then_some(())?;
    let clock = clock(rest)?;
    if let Some(year) = configured.filter(|_| rest.0.trim_ascii().is_empty()) {
        return Some((Date::new(year.into(), month, day)?, clock, Zone::Absent));
    }
    let zone = rest.attempt(|rest| {
        rest.blanks();
        let zone = zone(rest)?;
        rest.blanks().then_some(zone)
    });
    if zone.is_none() {
        rest.blanks().then_some(())?;
    }
    let (year, digits) = rest.digits(4)?;
    let date = Date::new(year, month, day).filter(|_| digits == 4)?;
    Some((date, clock, zone.unwrap_or(Zone::Absent)))
}

/// `2024-122`, and `2024-W18-3`: the ordinal and the week dates of ISO 8601.
fn day_of_year(rest: &mut Rest<'_>) -> Option<Date> {
    let year = rest.digits(4).filter(|(_, digits)| *digits == 4)?.0 as i16;
    rest.eat(b"-")?;
    let date = if rest.eat(b"W").is_some() {
        let week = two(rest)? as i8;
        rest.eat(b"-")?;
        let day = jiff::civil::Weekday::from_monday_one_offset(rest.digits(1)?.0 as i8).ok()?;
        jiff::civil::ISOWeekDate::new(year, week, day).ok()?.date()
    } else {
        let day = rest.digits(3).filter(|(_, digits)| *digits == 3)?.0 as i16;
        jiff::civil::Date::new(year, 1, 1).ok()?.with().day_of_year(day).build().ok()?
    };
    let is_whole = !rest.0.first().is_some_and(|next| next.is_ascii_digit() || *next == b'-');
    is_whole.then(|| Date::new(date.year().into(), date.month().into(), date.day().into()))?
}

/// `2024-5-1`, `2024/05/01`, `2024.05.01`, `2024.05.01.`, `20240501`.
fn year_first(rest: &mut Rest<'_>) -> Option<Date> {
    let (year, digits) = rest.digits(4)?;
    let separator = rest.eat(b"-/.");
    let (month, month_digits) = rest.digits(2)?;
    match separator {
        Some(separator) => _ = rest.eat(&[separator])?,
        None if month_digits == 2 => {}
        None => return None,
    }
    let (day, day_digits) = rest.digits(2)?;
    if separator == Some(b'.') {
        rest.eat(b".");
    }
    let whole = digits == 4 && (separator.is_some() || day_digits == 2);
    whole.then(|| Date::new(year, month, day))?
}

/// `1-May-2024`, `01/May/2024`, `1 May 24`, `01.05.2024`.
fn day_first(rest: &mut Rest<'_>) -> Option<Date> {
    let (day, _) = rest.digits(2)?;
    let separator = rest.eat(b"-/. ")?;
    rest.blanks();
    let named = rest.attempt(named_month);
    let month = match named {
        Some(month) => month,
        None if separator == b'.' => rest.digits(2)?.0,
        None => return None,
    };
    rest.eat(b",");
    if !rest.blanks() {
        rest.eat(&[separator])?;
    }
    let (year, digits) = rest.digits(4)?;
    let year = match digits {
        4 => year,
        2 if named.is_some() => year + if year < 70 { 2000 } else { 1900 },
        _ => return None,
    };
    Date::new(year, month, day)
}

/// `May 1, 2024`.
fn month_first(rest: &mut Rest<'_>) -> Option<Date> {
    let month = named_month(rest)?;
    rest.eat(b".");
    rest.blanks().then_some(())?;
    let (day, _) = rest.digits(2)?;
    let comma = rest.eat(b",").is_some();
    (rest.blanks() || comma).then_some(())?;
    let (year, digits) = rest.digits(4)?;
    (digits == 4).then(|| Date::new(year, month, day))?
}

/// A time of day. Its hour may be 24.
fn clock(rest: &mut Rest<'_>) -> Option<Clock> {
    let (hour, digits) = rest.digits(2)?;
    let separator = rest.eat(b":.");
    let (mut minute, mut second, mut micros) = (0, 0, 0);
    let mut seconds = false;
    let compact = digits == 2 && separator.is_none() && rest.0.first().is_some_and(u8::is_ascii_digit);
    match separator {
        Some(separator) => {
            minute = two(rest)?;
            if rest.eat(&[separator]).is_some() {
                second = two(rest)?;
                seconds = true;
            }
        }
        None if compact => {
            minute = two(rest)?;
            if rest.0.first().is_some_and(u8::is_ascii_digit) {
                second = two(rest)?;
                seconds = true;
            }
        }
        None => {}
    }
    if seconds && rest.eat(b".,:").is_some() {
        (micros, rest.0) = fraction(rest.0)?;
    }
    let half = rest.attempt(|rest| {
        rest.blanks();
        let first = rest.eat(b"aApP")?;
        rest.eat(b".");
        rest.eat(b"mM")?;
        rest.eat(b".");
        (!rest.0.first().is_some_and(u8::is_ascii_alphabetic)).then_some(first.eq_ignore_ascii_case(&b'p'))
    });
    let hour = match half {
        // An hour alone may be anything.
        None if separator.is_none() && !compact => return None,
        None => hour,
        Some(afternoon) if (1..=12).contains(&hour) => hour % 12 + if afternoon { 12 } else { 0 },
        Some(_) => return None,
    };
    if hour == 24 {
        return Some(Clock { hour, minute, second, micros });
    }
    Clock::new(hour, minute, second, micros)
}

fn two(rest: &mut Rest<'_>) -> Option<i64> {
    rest.digits(2).filter(|(number, digits)| *digits == 2 && *number <= 60).map(|(number, _)| number)
}

/// A zone, or none.
fn zone(rest: &mut Rest<'_>) -> Option<Zone> {
    let before = rest.0;
    rest.blanks();
    if rest.0.is_empty() {
        return Some(Zone::Absent);
    }
    if let Some(sign) = rest.eat(b"+-") {
        let (hours, digits) = rest.digits(2)?;
        let colon = rest.eat(b":").is_some();
        let minutes = if colon || rest.0.first().is_some_and(u8::is_ascii_digit) { two(rest)? } else { 0 };
        let more = rest.eat(b":").is_some() || rest.0.first().is_some_and(u8::is_ascii_digit);
        let seconds = if more { two(rest)? } else { 0 };
        let east = hours * 3600 + minutes * 60 + seconds;
        // `+00:00Z`
        if east == 0 {
            rest.eat(b"Zz");
        }
        let known = hours < 24 && minutes < 60 && seconds < 60 && (digits == 2 || minutes == 0);
        return known.then_some(Zone::Offset(if sign == b'-' { -east } else { east }));
    }
    let word = rest.word().to_ascii_uppercase();
    let hours = match &word[..] {
        b"Z" | b"UTC" | b"GMT" | b"UT" => 0,
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        b"WET" => 0,
        b"CET" | b"WEST" => 1,
        b"CEST" | b"EET" => 2,
        b"EEST" | b"MSK" => 3,
        b"JST" | b"KST" => 9,
        b"" => {
            rest.0 = before;
            return Some(Zone::Absent);
        }
        _ => return None,
    };
    Some(Zone::Offset(hours * 3600))
}

impl Date {
    /// Returns the day after.
    fn next(self) -> Option<Date> {
        let Date { year, month, day } = self;
        let after = |year, month| Date::new(year, month, 1);
        Date::new(year, month, day + 1).or_else(|| after(year, month + 1)).or_else(|| after(year + 1, 1))
    }
}
