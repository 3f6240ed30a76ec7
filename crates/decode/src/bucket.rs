//! Time -> the start of its part of time: of its hour, its day or its month, in a zone.

use crate::time::zone;
use dataflows::EventTime;
use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// A part of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 60 seconds.
    Minute,
    /// From one full hour of the clocks of a zone to the next one.
    Hour,
    /// From one midnight to the next one.
    Day,
    /// From Monday to Sunday.
    Week,
    /// Of the calendar.
    Month,
}

impl Unit {
    /// Every unit, the shortest first.
    pub const ALL: [Unit; 5] = [Unit::Minute, Unit::Hour, Unit::Day, Unit::Week, Unit::Month];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
        }
    }
}

/// A unit of time, as the clocks of a zone count it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// The unit.
    pub unit: Unit,
    /// As it is written: an IANA name or an offset.
    pub name: String,
    /// `None`: UTC.
    zone: Option<TimeZone>,
}

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

impl Bucket {
    /// Makes a bucket.
    ///
    /// # Errors
    /// If there is no such zone: why.
    pub fn new(unit: Unit, name: &str) -> Result<Bucket, String> {
        Ok(Bucket { unit, name: name.to_owned(), zone: zone(name)? })
    }

    /// Returns the start of the part that a time lies in.
    pub fn start(&self, time: EventTime) -> EventTime {
        let start = match &self.zone {
            None => self.utc(time.micros()),
            Some(zone) => self.local(zone, time.micros()),
        };
        // At the ends of the calendar a part may begin before the first time.
        start.and_then(EventTime::from_micros).unwrap_or(EventTime::MIN)
    }

    fn utc(&self, micros: i64) -> Option<i64> {
        match self.unit {
            Unit::Minute => micros.div_euclid(MINUTE).checked_mul(MINUTE),
            Unit::Hour => micros.div_euclid(HOUR).checked_mul(HOUR),
            Unit::Day => micros.div_euclid(DAY).checked_mul(DAY),
            // 1970 began on a Thursday.
            Unit::Week => ((micros + 3 * DAY).div_euclid(7 * DAY) * 7 * DAY).checked_sub(3 * DAY),
            Unit::Month => self.local(&TimeZone::UTC, micros),
        }
    }

    fn local(&self, zone: &TimeZone, micros: i64) -> Option<i64> {
        let time = Timestamp::from_microsecond(micros).ok()?;
        if matches!(self.unit, Unit::Minute | Unit::Hour) {
            // Where clocks are turned back, an hour comes twice: both are parts of their own.
            let unit = if self.unit == Unit::Hour { HOUR } else { MINUTE };
            let offset = i64::from(zone.to_offset(time).seconds()) * 1_000_000;
            return Some((micros + offset).div_euclid(unit) * unit - offset);
        }
        let date = zone.to_datetime(time).date();
        let date = match self.unit {
            Unit::Week => date.checked_sub(jiff::Span::new().days(days_since_monday(date.weekday()))).ok()?,
            Unit::Month => date.first_of_month(),
            Unit::Minute | Unit::Hour | Unit::Day => date,
        };
        let midnight = date.to_datetime(jiff::civil::Time::midnight());
        Some(zone.to_timestamp(midnight).ok()?.as_microsecond())
    }
}

fn days_since_monday(day: Weekday) -> i64 {
    i64::from(day.to_monday_zero_offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(unit: Unit, zone: &str, time: &str) -> String {
        let micros = time.parse::<Timestamp>().unwrap().as_microsecond();
        let start = Bucket::new(unit, zone).unwrap().start(EventTime::from_micros(micros).unwrap());
        Timestamp::from_microsecond(start.micros()).unwrap().to_string()
    }

    #[test]
    fn parts_begin_as_the_clocks_of_their_zone_say() {
        let time = "2024-05-16T13:45:59.999999Z";
        let utc = Unit::ALL.map(|unit| start(unit, "UTC", time));
        let expected = ["2024-05-16T13:45:00Z", "2024-05-16T13:00:00Z", "2024-05-16T00:00:00Z", "2024-05-13T00:00:00Z"];
        assert_eq!(utc[..4], expected);
        assert_eq!(utc[4], "2024-05-01T00:00:00Z");
        let berlin = Unit::ALL.map(|unit| start(unit, "Europe/Berlin", "2024-05-31T22:30:00Z"));
        assert_eq!(berlin[1..3], ["2024-05-31T22:00:00Z", "2024-05-31T22:00:00Z"]);
        assert_eq!(berlin[3..], ["2024-05-26T22:00:00Z", "2024-05-31T22:00:00Z"]);
        assert_eq!(start(Unit::Hour, "Asia/Kolkata", time), "2024-05-16T13:30:00Z");
        assert_eq!(start(Unit::Day, "+05:30", "2024-05-16T18:29:59Z"), "2024-05-15T18:30:00Z");
    }

    /// Clocks go forward on the 31st of March, and back on the 27th of October.
    #[test]
    fn a_day_may_have_23_or_25_hours() {
        let day = |time| start(Unit::Day, "Europe/Berlin", time);
        assert_eq!(
            [day("2024-03-31T21:59:59Z"), day("2024-03-31T22:00:00Z")],
            ["2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z"]
        );
        assert_eq!([day("2024-10-26T22:00:00Z"), day("2024-10-27T22:59:59Z")], ["2024-10-26T22:00:00Z"; 2]);
        let hour = |time| start(Unit::Hour, "Europe/Berlin", time);
        assert_eq!(
            [hour("2024-10-27T00:30:00Z"), hour("2024-10-27T01:30:00Z")],
            ["2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z"]
        );
    }

    #[test]
    fn before_1970_and_at_the_ends_of_the_calendar_there_are_parts_too() {
        assert_eq!(start(Unit::Hour, "UTC", "1969-12-31T23:59:59Z"), "1969-12-31T23:00:00Z");
        assert_eq!(start(Unit::Week, "UTC", "1969-12-28T23:59:59Z"), "1969-12-22T00:00:00Z");
        for unit in Unit::ALL {
            for zone in ["UTC", "Europe/Berlin", "-05:00"] {
                let bucket = Bucket::new(unit, zone).unwrap();
                for time in [EventTime::MIN, EventTime::MAX] {
                    assert!(bucket.start(time) <= time);
                }
            }
        }
        assert!(Bucket::new(Unit::Day, "Mars/Olympus").is_err());
    }
}
