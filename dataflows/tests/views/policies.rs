//! Session policies of the tests, and the slow, obvious way to split by them.

use super::steps::{GAP, Raw, UNIT};
use dataflows::record::Cue;
use dataflows::sessionize::{EndedBy, Gaps, Policies};
use proptest::prelude::*;

/// The policies of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub max_duration: Option<i64>,
    pub max_events: Option<u64>,
    /// The page.
    pub split_on: bool,
    /// Every [`DAY`].
    pub split_at: bool,
    /// Events of kind 0.
    pub start: bool,
    /// Events of kind 1.
    pub end: bool,
    /// Events of kind 2.
    pub keepalive: bool,
    /// Events without a type, and else those without a page, have other gaps: see [`Asked::gap`].
    pub gaps: bool,
}

const DAY: i64 = 13 * UNIT;
const GAPS: [i64; 2] = [4 * UNIT, 17 * UNIT];

/// `None`, or any mixture of policies.
pub fn asked() -> impl Strategy<Value = Option<Asked>> {
    let seldom = || prop_oneof![3 => Just(false), 1 => Just(true)];
    let max_duration = prop_oneof![3 => Just(None), 2 => (0i64..30).prop_map(|units| Some(units * UNIT))];
    let max_events = prop_oneof![3 => Just(None), 2 => (1u64..6).prop_map(Some)];
    let often = any::<bool>;
    let some = (max_duration, max_events, seldom(), seldom(), seldom(), seldom(), often(), often());
    let some = some.prop_map(|(max_duration, max_events, split_on, split_at, start, end, keepalive, gaps)| {
        Some(Asked { max_duration, max_events, split_on, split_at, start, end, keepalive, gaps })
    });
    prop_oneof![1 => Just(None), 2 => some]
}

impl Asked {
    pub fn policies(self) -> Policies {
        let gaps = if self.gaps { Gaps::new(&GAPS).unwrap() } else { Gaps::default() };
        Policies { max_duration: self.max_duration, max_events: self.max_events, gaps }
    }

    pub fn cue(self, raw: &Raw) -> Cue {
        let page = raw.page.filter(|_| self.split_on).map(page_hash);
        let day = raw.time.filter(|_| self.split_at).map_or(0, |time| time.div_euclid(DAY) as i32);
        let cue = Cue::new(page, day, self.start && raw.kind == 0, self.end && raw.kind == 1);
        let cue = if self.keeps_alive(raw) { cue.keeping_alive() } else { cue };
        let number = GAPS.iter().position(|gap| *gap == self.gap(raw));
        cue.with_gap(number.map_or(0, |index| index as u8 + 1))
    }

    /// Whether the event extends sessions, and starts none.
    pub fn keeps_alive(self, raw: &Raw) -> bool {
        self.keepalive && raw.kind == 2
    }

    /// The longest pause behind an event.
    fn gap(self, raw: &Raw) -> i64 {
        match (self.gaps, raw.kind, raw.page) {
            (true, 3, _) => GAPS[0],
            (true, _, None) => GAPS[1],
            _ => GAP,
        }
    }

    /// The last time at which an event extends a session.
    pub fn reach(self, session: &[Raw]) -> i64 {
        session.iter().map(|raw| raw.time.unwrap() + self.gap(raw)).max().unwrap()
    }

    /// Why the session of these events, which are sorted, ends before these others of one time.
    pub fn ends(self, session: &[Raw], next: &[Raw]) -> Option<EndedBy> {
        let at = |events: &[Raw]| events.last().unwrap().time.unwrap();
        let (start, end, time) = (session[0].time.unwrap(), at(session), at(next));
        let page_at = |events: &[Raw], time| {
            let pages = events.iter().filter(|raw| raw.time == Some(time)).filter_map(|raw| raw.page);
            pages.max_by_key(|page| page_hash(*page))
        };
        let page = session.iter().rev().find(|raw| raw.page.is_some());
        let page = page.and_then(|raw| page_at(session, raw.time.unwrap()));
        if self.end && session.iter().any(|raw| raw.time == Some(end) && raw.kind == 1) {
            return Some(EndedBy::End);
        }
        if time > self.reach(session) {
            return Some(EndedBy::Gap);
        }
        if self.start && next.iter().any(|raw| raw.kind == 0) {
            return Some(EndedBy::Start);
        }
        if self.split_on && page.is_some() && page_at(next, time).is_some() && page != page_at(next, time) {
            return Some(EndedBy::SplitOn);
        }
        if self.split_at && end.div_euclid(DAY) != time.div_euclid(DAY) {
            return Some(EndedBy::SplitAt);
        }
        if self.max_duration.is_some_and(|most| time - start > most) {
            return Some(EndedBy::MaxDuration);
        }
        if self.max_events.is_some_and(|most| (session.len() + next.len()) as u64 > most) {
            return Some(EndedBy::MaxEvents);
        }
        None
    }

    /// Why the last session of a user ended.
    pub fn last(self, session: &[Raw]) -> EndedBy {
        let end = session.last().unwrap().time;
        let ends = self.end && session.iter().any(|raw| raw.time == end && raw.kind == 1);
        if ends { EndedBy::End } else { EndedBy::Gap }
    }
}

/// Distinct in the upper half, and not in the order of pages.
fn page_hash(page: u8) -> u64 {
    [7, 3, 9, 1][usize::from(page)] << 32
}
