//! `[events]` and `[source.events]`: how to read an event.

use super::error::Problems;
use super::typed::{self, Candidates, Duration, OneOrMany, Size};
use crate::text::nearest::nearest;
use crate::text::units;
use headwater_decode::path::Path;
use headwater_decode::spec::{Candidate, EventsPlan, Limits};
use std::ops::{Range, RangeInclusive};
use toml::Spanned;

/// Bytes of one record: below 1 GiB, so that offsets within one fit 32 bits whatever is added to them.
const EVENT_BYTES: RangeInclusive<u64> = 1..=1 << 30;
/// Deeper than any log, and shallow enough for readers that use a stack frame for each level.
const DEPTH: RangeInclusive<i64> = 1..=512;
const KEYS: RangeInclusive<i64> = 1..=1_000_000;

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
    dedupe: Option<Dedupe>,
    max_future: Option<i64>,
    explode: Option<Path>,
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
            dedupe: typed.dedupe.as_ref().and_then(|dedupe| {
                let horizon = match dedupe.get_ref().0.as_str() {
                    "off" => None,
                    _ => Some(duration(dedupe, problems)?),
                };
                Some(Dedupe { span: dedupe.span(), horizon })
            }),
            max_future: typed.max_future.as_ref().and_then(|skew| duration(skew, problems)),
            explode: typed.explode.as_ref().and_then(|text| path(text.get_ref(), text.span(), problems)),
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
        let limits = Limits::default();
        EventsPlan {
            user: self.user.or_else(|| base.user.clone()),
            time: self.time.or_else(|| base.time.clone()),
            kind: self.kind.or_else(|| base.kind.clone()),
            dedupe: asked.filter(|_| !id.is_empty()),
            id,
            join: self.join.or_else(|| base.join.clone()).unwrap_or_else(|| "/".into()),
            zone: self.zone.or_else(|| base.zone.clone()).unwrap_or_else(|| "UTC".into()),
            max_future: self.max_future.or(base.max_future).unwrap_or(DAY),
            explode: self.explode.or_else(|| base.explode.clone()),
            limits: Limits {
                event_bytes: self.event_bytes.or(base.event_bytes).unwrap_or(limits.event_bytes),
                depth: self.depth.or(base.depth).unwrap_or(limits.depth),
                keys: self.keys.or(base.keys).unwrap_or(limits.keys),
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
pub(super) fn paths(typed: &Spanned<OneOrMany<Spanned<String>>>, problems: &mut Problems) -> Vec<Path> {
    match typed.get_ref() {
        OneOrMany::One(text) => path(text, typed.span(), problems).into_iter().collect(),
        OneOrMany::Many(texts) => {
            if texts.is_empty() {
                empty(typed.span(), problems);
            }
            texts.iter().filter_map(|text| path(text.get_ref(), text.span(), problems)).collect()
        }
    }
}

fn candidates(typed: &Spanned<Candidates>, problems: &mut Problems) -> Vec<Candidate> {
    match typed.get_ref() {
        OneOrMany::One(text) => {
            path(text, typed.span(), problems).map(|path| Candidate { parts: vec![path] }).into_iter().collect()
        }
        OneOrMany::Many(list) => {
            if list.is_empty() {
                empty(typed.span(), problems);
            }
            list.iter().map(|parts| Candidate { parts: paths(parts, problems) }).collect()
        }
    }
}

fn empty(span: Range<usize>, problems: &mut Problems) {
    problems.push(span, "no candidates: the list is empty", "name at least one path, or leave the key out");
}

fn zone(name: &Spanned<String>, problems: &mut Problems) -> Option<String> {
    let text = name.get_ref().as_str();
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
