//! `[events]` and `[source.events]`: how to read an event.

use super::error::Problems;
use super::typed::{self, Candidates, Duration, Entries, Entry, OneOrMany, PathTable, Size};
use crate::text::nearest::nearest;
use crate::text::units;
use dataflows::rules::Pattern;
use headwater_decode::path::Path;
use headwater_decode::spec::{Candidate, EventsPlan, Limits, Ties};
use headwater_decode::time::{TimeReader, TimeUnit, lacks_year};
use headwater_decode::transform::Transform;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;

/// Bytes of one record: below 1 GiB, so that offsets within one fit 32 bits whatever is added to them.
const EVENT_BYTES: RangeInclusive<u64> = 1..=1 << 30;
/// Deeper than any log, and shallow enough for readers that use a stack frame for each level.
const DEPTH: RangeInclusive<i64> = 1..=512;
const KEYS: RangeInclusive<i64> = 1..=1_000_000;
const YEARS: RangeInclusive<i64> = 1970..=2100;

const DAY: i64 = 86_400 * 1_000_000;

/// The keys of one table, each one checked, before those of a source go over those of the whole file.
#[derive(Debug, Default)]
pub(super) struct Keys {
    user: Option<Vec<Candidate>>,
    time: Option<Vec<Candidate>>,
    kind: Option<Vec<Candidate>>,
    id: Option<Vec<Candidate>>,
    join: Option<String>,
    zone: Option<String>,
    time_unit: Option<TimeUnit>,
    time_formats: Option<Vec<String>>,
    year: Option<i16>,
    absent: Option<Vec<String>>,
    dedupe: Option<Dedupe>,
    max_future: Option<i64>,
    pub(super) explode: Option<Path>,
    order: Option<Path>,
    ties: Option<Ties>,
    event_bytes: Option<usize>,
    depth: Option<usize>,
    keys: Option<usize>,
}

/// Where it was typed, and the horizon unless it is `off`.
#[derive(Clone, Debug)]
struct Dedupe {
    span: Range<usize>,
    horizon: Option<i64>,
}

impl Keys {
    pub(super) fn check(typed: &typed::Events, problems: &mut Problems) -> Keys {
        Keys {
            user: typed.user.as_ref().map(|user| candidates(user, problems)),
            time: typed.time.as_ref().map(|time| candidates(time, problems)),
            kind: typed.kind.as_ref().map(|kind| candidates(kind, problems)),
            id: typed.id.as_ref().map(|id| candidates(id, problems)),
            join: typed.join.clone(),
            zone: typed.zone.as_ref().and_then(|name| zone(name, problems)),
            time_unit: typed.time_unit.as_ref().and_then(|name| time_unit(name, problems)),
            time_formats: typed.time_format.as_ref().map(|formats| {
                let has_year = typed.year.is_some();
                let formats = texts(formats).into_iter();
                formats.filter_map(|(text, span)| time_format(text, has_year, span, problems)).collect()
            }),
            year: typed.year.as_ref().and_then(|year| within(year, YEARS, problems)).map(|year| year as i16),
            absent: typed.absent.as_ref().map(|words| texts(words).into_iter().map(|(word, _)| word.clone()).collect()),
            dedupe: typed.dedupe.as_ref().and_then(|dedupe| {
                let horizon = match dedupe.get_ref().0.as_str() {
                    "off" => None,
                    _ => Some(duration(dedupe, problems)?),
                };
                Some(Dedupe { span: dedupe.span(), horizon })
            }),
            max_future: typed.max_future.as_ref().and_then(|skew| duration(skew, problems)),
            explode: typed.explode.as_ref().and_then(|text| plain(text, problems)),
            order: typed.order.as_ref().and_then(|text| path(text.get_ref(), text.span(), problems)),
            ties: typed.ties.as_ref().and_then(|name| ties(name, problems)),
            event_bytes: typed.max_bytes.as_ref().and_then(|typed| size(typed, EVENT_BYTES, problems)),
            depth: typed.max_depth.as_ref().and_then(|depth| within(depth, DEPTH, problems)),
            keys: typed.max_keys.as_ref().and_then(|keys| within(keys, KEYS, problems)),
        }
    }

    /// Reports a `dedupe` of this table that has no effect, because `has_id` is false: no id is read where it holds.
    pub(super) fn check_dedupe(&self, has_id: bool, problems: &mut Problems) {
        if let Some(Dedupe { span, horizon: Some(_) }) = &self.dedupe
            && !has_id
        {
            problems.push(
                span.clone(),
                "`dedupe` without `id`: duplicates are recognised by their event id",
                "say where the id is, such as id = \"event_id\", or leave `dedupe` out",
            );
        }
    }

    pub(super) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Returns these keys, else those of `base`, else the defaults.
    pub(super) fn over(self, base: &Keys) -> EventsPlan {
        let id = self.id.or_else(|| base.id.clone()).unwrap_or_default();
        // Who names an id expects duplicates to be recognised, so that is the default then.
        let asked = self.dedupe.or_else(|| base.dedupe.clone()).map_or(Some(7 * DAY), |dedupe| dedupe.horizon);
        let default = EventsPlan::default();
        EventsPlan {
            user: self.user.or_else(|| base.user.clone()),
            time: self.time.or_else(|| base.time.clone()),
            kind: self.kind.or_else(|| base.kind.clone()),
            dedupe: asked.filter(|_| !id.is_empty()),
            id,
            join: self.join.or_else(|| base.join.clone()).unwrap_or(default.join),
            zone: self.zone.or_else(|| base.zone.clone()).unwrap_or(default.zone),
            time_unit: self.time_unit.or(base.time_unit),
            time_formats: self.time_formats.or_else(|| base.time_formats.clone()).unwrap_or_default(),
            year: self.year.or(base.year),
            absent: self.absent.or_else(|| base.absent.clone()),
            max_future: self.max_future.or(base.max_future).unwrap_or(default.max_future),
            explode: self.explode.or_else(|| base.explode.clone()),
            order: self.order.or_else(|| base.order.clone()),
            ties: self.ties.or(base.ties),
            limits: Limits {
                event_bytes: self.event_bytes.or(base.event_bytes).unwrap_or(default.limits.event_bytes),
                depth: self.depth.or(base.depth).unwrap_or(default.limits.depth),
                keys: self.keys.or(base.keys).unwrap_or(default.limits.keys),
            },
        }
    }
}

/// Returns a checked path, and reports a mistake at `span`.
pub(super) fn path(text: &str, span: Range<usize>, problems: &mut Problems) -> Option<Path> {
    Path::parse(text)
        .inspect_err(|wrong| {
            problems.push(
                span,
                format!("`{text}` is no path: {wrong}"),
                "dots descend and [] is any element: actor.login, items[].price, meta.\"a b\".x",
            )
        })
        .ok()
}

/// Returns a checked duration in microseconds.
pub(super) fn duration(text: &Spanned<Duration>, problems: &mut Problems) -> Option<i64> {
    units::duration(&text.get_ref().0).inspect_err(|wrong| problems.push(text.span(), wrong, units::DURATION_HELP)).ok()
}

/// Returns the paths of a list of candidates for a single value, none of them composed.
pub(super) fn paths(typed: &Spanned<Entries<Spanned<Entry>>>, problems: &mut Problems) -> Vec<Path> {
    match typed.get_ref() {
        Entries::One(one) => entry(one, typed.span(), problems).into_iter().collect(),
        Entries::Many(list) => {
            if list.is_empty() {
                empty(typed.span(), problems);
            }
            list.iter().filter_map(|one| entry(one.get_ref(), one.span(), problems)).collect()
        }
    }
}

fn candidates(typed: &Spanned<Candidates>, problems: &mut Problems) -> Vec<Candidate> {
    match typed.get_ref() {
        Entries::One(one) => {
            entry(one, typed.span(), problems).map(|path| Candidate { parts: vec![path] }).into_iter().collect()
        }
        Entries::Many(list) => {
            if list.is_empty() {
                empty(typed.span(), problems);
            }
            list.iter().map(|parts| Candidate { parts: paths(parts, problems) }).collect()
        }
    }
}

/// Returns a path and its transforms.
fn entry(entry: &Entry, span: Range<usize>, problems: &mut Problems) -> Option<Path> {
    let table = match entry {
        Entry::Text(text) => return path(text, span, problems),
        Entry::Table(table) => table,
    };
    let PathTable { path: text, transforms, regex, map } = &**table;
    let path = match text {
        Some(text) => path(text.get_ref(), text.span(), problems),
        None => {
            problems.push(span, "a table without `path`", "name the path whose value it is");
            None
        }
    };
    let mut all = Vec::new();
    if let Some(regex) = regex {
        match Pattern::new(regex.get_ref()) {
            Ok(pattern) => all.push(Transform::Regex(pattern)),
            Err(wrong) => problems.push(regex.span(), wrong, "write one with a group, such as \"^user-(.*)$\""),
        }
    }
    for (name, span) in transforms.iter().flat_map(texts) {
        match Transform::named(name) {
            Some(transform) => all.push(transform),
            None => {
                let known: Vec<&str> = Transform::names().collect();
                let help = match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => format!("known here: {}; `map` and `regex` are keys of their own", known.join(", ")),
                };
                problems.push(span, format!("unknown transform `{name}`"), help);
            }
        }
    }
    if let Some(map) = map {
        let pairs = map.get_ref().iter().map(|(from, to)| (from.get_ref().clone(), to.get_ref().clone()));
        all.push(Transform::Map(pairs.collect()));
    }
    Some(path?.through(all))
}

/// Returns a checked path that one pass over a payload finds.
fn plain(text: &Spanned<String>, problems: &mut Problems) -> Option<Path> {
    let found = path(text.get_ref(), text.span(), problems)?;
    if !found.is_plain() {
        let help = "write keys and [] only, such as \"batch\" or \"resourceLogs[].scopeLogs[].logRecords\"";
        problems.push(text.span(), "only an array of the record itself can be exploded", help);
        return None;
    }
    Some(found)
}

/// Returns each text of a list, and its place.
pub(super) fn texts(list: &Spanned<OneOrMany<Spanned<String>>>) -> Vec<(&String, Range<usize>)> {
    match list.get_ref() {
        OneOrMany::One(text) => vec![(text, list.span())],
        OneOrMany::Many(texts) => texts.iter().map(|text| (text.get_ref(), text.span())).collect(),
    }
}

fn time_unit(name: &Spanned<String>, problems: &mut Problems) -> Option<TimeUnit> {
    let unit = TimeUnit::ALL.into_iter().find(|unit| unit.name() == name.get_ref());
    if unit.is_none() {
        let help = "write \"s\", \"ms\", \"us\" or \"ns\"";
        problems.push(name.span(), format!("unknown unit of time `{}`", name.get_ref()), help);
    }
    unit
}

fn ties(name: &Spanned<String>, problems: &mut Problems) -> Option<Ties> {
    let ties = Ties::ALL.into_iter().find(|ties| ties.name() == name.get_ref());
    if ties.is_none() {
        let help = "write \"log\" for the place in the file, or \"content\"";
        problems.push(name.span(), format!("unknown order of ties `{}`", name.get_ref()), help);
    }
    ties
}

/// Checks a format by writing a time in it, and reading that.
fn time_format(format: &str, has_year: bool, span: Range<usize>, problems: &mut Problems) -> Option<String> {
    use jiff::fmt::strtime;
    const HELP: &str = "write it as strftime does, such as \"%d/%m/%Y %H:%M:%S\"";
    let example = jiff::Timestamp::from_second(1_714_558_830).ok()?.to_zoned_datetime(jiff::tz::TimeZone::UTC);
    let written = strtime::format(format, &example).map_err(|error| error.to_string());
    let read = written.and_then(|text| strtime::parse(format, text).map_err(|error| error.to_string()));
    match read {
        Err(error) => problems.push(span, format!("`{format}` is no format of time: {error}"), HELP),
        Ok(_) if lacks_year(format) => {
            if has_year {
                return Some(format.to_owned());
            }
            problems.push(span, format!("`{format}` has no year"), "name it beside the format, such as year = 2024");
        }
        Ok(read) if read.to_date().is_err() && read.to_timestamp().is_err() => {
            problems.push(span, format!("`{format}` has no year, month and day"), HELP);
        }
        Ok(_) => return Some(format.to_owned()),
    }
    None
}

fn empty(span: Range<usize>, problems: &mut Problems) {
    problems.push(span, "no candidates: the list is empty", "name at least one path, or leave the key out");
}

pub(super) fn zone(name: &Spanned<String>, problems: &mut Problems) -> Option<String> {
    let text = name.get_ref().as_str();
    if text == "local" {
        // Resolved here, so that everything behind the configuration sees a name. A system that names none is in UTC.
        let zone = jiff::tz::TimeZone::system();
        let local = if zone.is_unknown() { Some("UTC") } else { zone.iana_name() }.map(str::to_owned);
        if local.is_none() {
            problems.push(name.span(), "the time zone of the system has no name", "write its IANA name");
        }
        return local;
    }
    if text.starts_with(['+', '-']) {
        let known = TimeReader::new(text).is_ok();
        if !known {
            problems.push(name.span(), format!("`{text}` is no offset of a time zone"), "write one such as \"+02:00\"");
        }
        return known.then(|| text.to_owned());
    }
    match jiff::tz::TimeZone::get(text) {
        // The database takes any case; the plan has its spelling.
        Ok(zone) => Some(zone.iana_name().unwrap_or(text).to_owned()),
        Err(_) => {
            let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
            let help = match nearest(text, zones.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "write an IANA name such as \"UTC\" or \"Europe/Berlin\"".into(),
            };
            problems.push(name.span(), format!("unknown time zone `{text}`"), help);
            None
        }
    }
}

pub(super) fn size(size: &Spanned<Size>, range: RangeInclusive<u64>, problems: &mut Problems) -> Option<usize> {
    let bytes = match size.get_ref() {
        Size::Bytes(bytes) => u64::try_from(*bytes).map_err(|_| format!("{bytes} is no size")),
        Size::Text(text) => units::size(text),
    };
    match bytes {
        Ok(bytes) if range.contains(&bytes) => usize::try_from(bytes).ok(),
        Ok(bytes) => {
            let largest = match range.end() >> 30 {
                0 => format!("{}MiB", range.end() >> 20),
                whole => format!("{whole}GiB"),
            };
            let smallest = match range.start() >> 10 {
                0 => "1 byte".into(),
                whole => format!("\"{whole}KiB\""),
            };
            let help = format!("write a size from {smallest} to \"{largest}\"");
            problems.push(size.span(), format!("{bytes} bytes are out of range"), help);
            None
        }
        Err(wrong) => {
            problems.push(size.span(), wrong, units::SIZE_HELP);
            None
        }
    }
}

/// Returns a number within a range, reported if it is not.
pub(super) fn within(number: &Spanned<i64>, range: RangeInclusive<i64>, problems: &mut Problems) -> Option<usize> {
    if !range.contains(number.get_ref()) {
        let help = format!("write a number from {} to {}", range.start(), range.end());
        problems.push(number.span(), format!("{} is out of range", number.get_ref()), help);
        return None;
    }
    usize::try_from(*number.get_ref()).ok()
}
