//! What session policies look at in an event: the value of `split_on`, the day, the parts that its class plays, its gap.
//!
//! A class is the one that the rules give when the event is read: an event keeps its part when rules change later.

use crate::spec::CueSpec;
use crate::time::zone;
use dataflows::identity::value_hash;
use dataflows::record::Cue;
use dataflows::{EventTime, SignatureId};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::HashMap;

pub(super) struct Cues {
    pub spec: CueSpec,
    /// Of `split_at`; `None`: UTC, or days do not matter.
    zone: Option<TimeZone>,
    /// The gap of the source, by its number.
    gap: u8,
    /// The parts of the signatures whose class plays any.
    parts: HashMap<SignatureId, Parts, foldhash::fast::FixedState>,
}

/// The parts that a class plays.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Parts {
    starts: bool,
    ends: bool,
    keeps_alive: bool,
    gap: Option<u8>,
}

const DAY: i64 = 86_400_000_000;

impl Cues {
    pub fn new(spec: &CueSpec, source: u16) -> Cues {
        let zone = spec.split_at.as_deref().and_then(|name| zone(name).expect("the zone was checked"));
        let gap = spec.source_gaps.iter().find(|(of, _)| *of == source).map_or(0, |(_, gap)| *gap);
        Cues { spec: spec.clone(), zone, gap, parts: HashMap::default() }
    }

    /// Remembers the parts that the class of a signature plays.
    pub fn classify(&mut self, signature: SignatureId, class: &str) {
        let CueSpec { start, end, keepalive, class_gaps, .. } = &self.spec;
        let [starts, ends, keeps_alive] = [start, end, keepalive].map(|classes| classes.iter().any(|of| of == class));
        let gap = class_gaps.iter().find(|(of, _)| of == class).map(|(_, gap)| *gap);
        let parts = Parts { starts, ends, keeps_alive, gap };
        if parts != Parts::default() {
            self.parts.insert(signature, parts);
        }
    }

    pub fn forget(&mut self) {
        self.parts.clear();
    }

    /// `value` is that of `split_on`.
    pub fn of(&self, time: Option<EventTime>, signature: SignatureId, value: Option<&str>) -> Cue {
        let day = time.filter(|_| self.spec.split_at.is_some()).map_or(0, |time| self.day(time));
        let Parts { starts, ends, keeps_alive, gap } = self.parts.get(&signature).copied().unwrap_or_default();
        let cue = Cue::new(value.map(value_hash), day, starts, ends).with_gap(gap.unwrap_or(self.gap));
        if keeps_alive { cue.keeping_alive() } else { cue }
    }

    /// Returns the day of a time, as it is counted in the zone.
    fn day(&self, time: EventTime) -> i32 {
        let offset = |zone: &TimeZone| {
            // At the ends of the calendar a zone's offset is not known.
            let time = Timestamp::from_microsecond(time.micros()).ok()?;
            Some(i64::from(zone.to_offset(time).seconds()) * 1_000_000)
        };
        let offset = self.zone.as_ref().and_then(offset).unwrap_or(0);
        // Years -9999 to 9999 have 7 million days.
        (time.micros() + offset).div_euclid(DAY) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_of_the_zone_also_when_clocks_change() {
        let day = |zone: &str, time: &str| {
            let cues = Cues::new(&CueSpec { split_at: Some(zone.into()), ..CueSpec::default() }, 0);
            let micros = time.parse::<Timestamp>().unwrap().as_microsecond();
            cues.of(EventTime::from_micros(micros), SignatureId(0), None).day()
        };
        assert_eq!([day("UTC", "1970-01-01T23:59:59.999999Z"), day("UTC", "1970-01-02T00:00:00Z")], [0, 1]);
        assert_eq!([day("UTC", "1969-12-31T23:59:59Z"), day("+02:00", "1969-12-31T22:00:00Z")], [-1, 0]);
        // One hour ahead in winter, two in summer; the clocks change on the 31st.
        let berlin = |time| day("Europe/Berlin", time) - day("UTC", "2024-03-31T12:00:00Z");
        assert_eq!([berlin("2024-03-30T22:59:59Z"), berlin("2024-03-30T23:00:00Z")], [-1, 0]);
        assert_eq!([berlin("2024-03-31T21:59:59Z"), berlin("2024-03-31T22:00:00Z")], [0, 1]);
        for time in [EventTime::MIN, EventTime::MAX] {
            let cues = Cues::new(&CueSpec { split_at: Some("Europe/Berlin".into()), ..CueSpec::default() }, 0);
            assert!(
                (cues.of(Some(time), SignatureId(0), None).day() - time.micros().div_euclid(DAY) as i32).abs() <= 1
            );
        }
    }

    #[test]
    fn the_gap_of_a_class_goes_before_that_of_the_source() {
        let spec = CueSpec {
            end: vec!["bye".into()],
            keepalive: vec!["ping".into(), "bye".into()],
            class_gaps: vec![("play".into(), 2)],
            source_gaps: vec![(1, 1)],
            ..CueSpec::default()
        };
        let of = |source, class: &str| {
            let mut cues = Cues::new(&spec, source);
            cues.classify(SignatureId(7), class);
            let cue = cues.of(None, SignatureId(7), None);
            (cue.gap(), cue.keeps_alive(), cue.ends())
        };
        assert_eq!([of(0, "view"), of(1, "view")], [(0, false, false), (1, false, false)]);
        assert_eq!([of(0, "play"), of(1, "play")], [(2, false, false), (2, false, false)]);
        assert_eq!([of(0, "ping"), of(1, "bye")], [(0, true, false), (1, true, true)]);
    }
}
