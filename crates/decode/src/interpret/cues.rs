//! What session policies look at in an event: the value of `split_on`, the day, and the parts that its class plays.
//!
//! A class is the one that the rules give when the event is read: an event keeps its part when rules change later.

use super::Seen;
use crate::spec::CueSpec;
use crate::time::zone;
use dataflows::identity::value_hash;
use dataflows::record::Cue;
use dataflows::{EventTime, SignatureId};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) struct Cues {
    pub spec: CueSpec,
    /// Of `split_at`; `None`: UTC, or days do not matter.
    zone: Option<TimeZone>,
    /// Signatures of classes that start sessions, and of those that end them.
    starts: Seen<SignatureId>,
    ends: Seen<SignatureId>,
}

const DAY: i64 = 86_400_000_000;

impl Cues {
    pub fn new(spec: &CueSpec) -> Cues {
        let zone = spec.split_at.as_deref().and_then(|name| zone(name).expect("the zone was checked"));
        Cues { spec: spec.clone(), zone, starts: Seen::default(), ends: Seen::default() }
    }

    /// Remembers the parts that the class of a signature plays.
    pub fn classify(&mut self, signature: SignatureId, class: &str) {
        let CueSpec { start, end, .. } = &self.spec;
        for (classes, signatures) in [(start, &mut self.starts), (end, &mut self.ends)] {
            if classes.iter().any(|named| named == class) {
                signatures.insert(signature);
            }
        }
    }

    pub fn forget(&mut self) {
        self.starts.clear();
        self.ends.clear();
    }

    /// `value` is that of `split_on`.
    pub fn of(&self, time: Option<EventTime>, signature: SignatureId, value: Option<&str>) -> Cue {
        let day = time.filter(|_| self.spec.split_at.is_some()).map_or(0, |time| self.day(time));
        let [starts, ends] = [&self.starts, &self.ends].map(|signatures| signatures.contains(&signature));
        Cue::new(value.map(value_hash), day, starts, ends)
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
            let cues = Cues::new(&CueSpec { split_at: Some(zone.into()), ..CueSpec::default() });
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
            let cues = Cues::new(&CueSpec { split_at: Some("Europe/Berlin".into()), ..CueSpec::default() });
            assert!(
                (cues.of(Some(time), SignatureId(0), None).day() - time.micros().div_euclid(DAY) as i32).abs() <= 1
            );
        }
    }
}
