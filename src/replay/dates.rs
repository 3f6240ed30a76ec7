//! Times whose order of day and month only the values of a file can tell: `5/13/2024 10:00 AM`.

use dataflows::{EventTime, ValueKind};
use headwater_decode::reading::Value;
use headwater_decode::time::{TimeReader, TimeSpec};
use std::collections::BTreeSet;

/// Formats with the month first, most frequent first, and the same with the day first.
const FORMATS: [(&str, &str); 11] = [
    ("%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S"),
    ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"),
    ("%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %I:%M:%S %p"),
    ("%m/%d/%Y %I:%M %p", "%d/%m/%Y %I:%M %p"),
    ("%m/%d/%Y, %I:%M:%S %p", "%d/%m/%Y, %I:%M:%S %p"),
    ("%m/%d/%Y, %H:%M:%S", "%d/%m/%Y, %H:%M:%S"),
    ("%m/%d/%Y %H:%M:%S%.f", "%d/%m/%Y %H:%M:%S%.f"),
    ("%m/%d/%Y", "%d/%m/%Y"),
    ("%m-%d-%Y %H:%M:%S", "%d-%m-%Y %H:%M:%S"),
    ("%m-%d-%Y %H:%M", "%d-%m-%Y %H:%M"),
    ("%m-%d-%Y", "%d-%m-%Y"),
];

/// Returns the format of strftime that reads all of these values, if they leave no other: a number above 12 tells the
/// day from the month. The hours of a half day stand behind a month.
pub fn format_of(values: &BTreeSet<String>) -> Option<&'static str> {
    FORMATS.into_iter().find_map(|(month_first, day_first)| {
        match (fits(month_first, values), fits(day_first, values)) {
            (true, false) => Some(month_first),
            (false, true) => Some(day_first),
            (true, true) if month_first.ends_with("%p") => Some(month_first),
            _ => None,
        }
    })
}

/// Returns whether a value is a time of the years 1990 to 2099.
pub(super) fn is_time(reader: &TimeReader, text: &str) -> bool {
    let kind = ValueKind::String;
    let time = reader.read(Value { kind, text }).map(EventTime::micros);
    time.is_some_and(|micros| (631_152_000_000_000..4_102_444_800_000_000).contains(&micros))
}

/// Says which setting reads a time like this one.
pub fn advice(example: &str) -> String {
    let one = BTreeSet::from([example.to_owned()]);
    let reader = TimeReader::of(&TimeSpec { year: Some(2024), ..TimeSpec::default() });
    if reader.is_ok_and(|reader| reader.read(Value { kind: ValueKind::String, text: example }).is_some()) {
        return "it has no year: write it, such as year = 2024".into();
    }
    let known = FORMATS.iter().find(|(month, day)| fits(month, &one) || fits(day, &one));
    match known {
        Some((month, day)) => format!("write time_format = \"{month}\" if the month is first, else \"{day}\""),
        None => "write its format, such as time_format = \"%d/%m/%Y %H:%M:%S\"".into(),
    }
}

/// Returns whether there are values, and a format reads all of them.
fn fits(format: &str, values: &BTreeSet<String>) -> bool {
    let spec = TimeSpec { formats: vec![format.to_owned()], ..TimeSpec::default() };
    let Ok(reader) = TimeReader::of(&spec) else { return false };
    let reads = |text: &String| is_time(&reader, text);
    !values.is_empty() && values.iter().all(reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<&'static str> {
        format_of(&values.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn a_number_above_twelve_tells_the_day_from_the_month() {
        assert_eq!(of(&["5/13/2024 10:00", "5/1/2024 9:05"]), Some("%m/%d/%Y %H:%M"));
        assert_eq!(of(&["13/5/2024 10:00", "1/5/2024 9:05"]), Some("%d/%m/%Y %H:%M"));
        assert_eq!(of(&["05/01/2024 10:00:00"]), None);
        assert_eq!(of(&["13/5/2024", "5/13/2024"]), None);
        assert_eq!(of(&["5/1/2024 10:00 AM", "5/2/2024 1:00 PM"]), Some("%m/%d/%Y %I:%M %p"));
        assert_eq!(of(&["31-12-2024"]), Some("%d-%m-%Y"));
        // A year of two digits may be a day.
        assert_eq!(of(&["24/05/01 10:00:00"]), None);
        assert_eq!(of(&["later"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn advice_names_the_setting_that_reads_the_time() {
        assert!(advice("May  1 10:00:01").contains("year = 2024"));
        assert!(advice("05/01/2024 10:00").contains("\"%d/%m/%Y %H:%M\""));
        assert!(advice("around noon").contains("time_format = "));
    }
}
