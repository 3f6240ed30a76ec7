use super::*;
use jiff::Timestamp;
use proptest::prelude::*;

fn read(zone: &str, kind: ValueKind, text: &str) -> Option<i64> {
    TimeReader::new(zone).unwrap().read(Value { kind, text }).map(EventTime::micros)
}

fn utc(text: &str) -> Option<i64> {
    read("UTC", ValueKind::String, text)
}

/// Computes the microseconds with jiff, which shares no code with our own parsers.
fn micros(rfc_3339: &str) -> i64 {
    rfc_3339.parse::<Timestamp>().unwrap().as_microsecond()
}

#[test]
fn epochs() {
    let cases = [
        ("0", 0),
        ("-0.0", 0),
        ("1457741907", 1_457_741_907_000_000),
        ("1457741907.959400112", 1_457_741_907_959_400),
        ("1659304800025.5", 1_659_304_800_025_500),
        ("1659304800025", 1_659_304_800_025_000),
        ("1659304800025123", 1_659_304_800_025_123),
        ("1659304800025123999", 1_659_304_800_025_123),
        ("1.4577e9", 1_457_700_000_000_000),
        ("1.659304800025E12", 1_659_304_800_025_000),
        // The thresholds, from both sides.
        ("99999999999", 99_999_999_999_000_000),
        ("99999999999.999999999", 99_999_999_999_999_999),
        ("100000000000", 100_000_000_000_000),
        ("1e11", 100_000_000_000_000),
        ("99999999999999", 99_999_999_999_999_000),
        ("100000000000000", 100_000_000_000_000),
        ("99999999999999999", 99_999_999_999_999_999),
        ("100000000000000000", 100_000_000_000_000),
        // Floored before 1970 too.
        ("-1.5", -1_500_000),
        ("-0.0000001", -1),
        ("-1659304800025123999", -1_659_304_800_025_124),
        ("000000000000000000001", 1_000_000),
        ("2015", 2_015_000_000),
    ];
    for (text, expected) in cases {
        assert_eq!(utc(text), Some(expected), "{text}");
        assert_eq!(read("Europe/Berlin", ValueKind::Number, text), Some(expected), "{text}");
    }
}

#[test]
fn forms() {
    let cases = [
        ("2015-05-17T10:05:03Z", "2015-05-17T10:05:03Z"),
        ("2015-05-17t10:05:03z", "2015-05-17T10:05:03Z"),
        (" 2015-05-17 10:05:03 ", "2015-05-17T10:05:03Z"),
        ("2015-05-17 10:05:03 UTC", "2015-05-17T10:05:03Z"),
        ("2015-05-17 10:05:03GMT", "2015-05-17T10:05:03Z"),
        ("2015-05-17T10:05:03 +0100", "2015-05-17T09:05:03Z"),
        ("2015-05-17T10:05:03+01:00", "2015-05-17T09:05:03Z"),
        ("2015-05-17T10:05:03+01", "2015-05-17T09:05:03Z"),
        ("2015-05-17T10:05:03-09:30", "2015-05-17T19:35:03Z"),
        ("2015-05-17T10:05:03-00:00", "2015-05-17T10:05:03Z"),
        ("2015-05-17T10:05:03.1Z", "2015-05-17T10:05:03.1Z"),
        ("2015-05-17T10:05:03,123Z", "2015-05-17T10:05:03.123Z"),
        ("2015-05-17T10:05:03.123456999999999999999999+00:00", "2015-05-17T10:05:03.123456Z"),
        ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ("2015-05-17T10:05", "2015-05-17T10:05:00Z"),
        ("2015-05-17 10:05+02:00", "2015-05-17T08:05:00Z"),
        ("2015-05-17", "2015-05-17T00:00:00Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ("2016-12-31T23:59:60.25Z", "2016-12-31T23:59:59.25Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ("17/May/2015:10:05:03 +0000", "2015-05-17T10:05:03Z"),
        ("[17/may/2015:10:05:03 -0700]", "2015-05-17T17:05:03Z"),
        ("17/May/2015:10:05:03.5 +0000", "2015-05-17T10:05:03.5Z"),
        ("17/May/2015:10:05:03", "2015-05-17T10:05:03Z"),
        ("Sun, 17 May 2015 10:05:03 +0000", "2015-05-17T10:05:03Z"),
        ("Sat, 17 May 2015 10:05:03 +0000", "2015-05-17T10:05:03Z"),
        ("Sun, 17 May 2015 10:05:03 GMT", "2015-05-17T10:05:03Z"),
        ("7 May 2015 10:05 +0200", "2015-05-07T08:05:00Z"),
    ];
    for (text, expected) in cases {
        assert_eq!(utc(text), Some(micros(expected)), "{text}");
    }
}

/// The digits of a date are that date, and a neighbour of it that is none stays an epoch.
#[test]
fn digits_of_a_date() {
    for (text, expected) in [
        ("20240501", "2024-05-01T00:00:00Z"),
        ("20240501.0", "2024-05-01T00:00:00Z"),
        ("202405011030", "2024-05-01T10:30:00Z"),
        ("20240501103005", "2024-05-01T10:30:05Z"),
        ("20240501103005.25", "2024-05-01T10:30:05.25Z"),
        ("20240501103005123", "2024-05-01T10:30:05.123Z"),
        ("19900101", "1990-01-01T00:00:00Z"),
        ("21001231235959", "2100-12-31T23:59:59Z"),
    ] {
        assert_eq!(utc(text), Some(micros(expected)), "{text}");
        assert_eq!(read("UTC", ValueKind::Number, text), Some(micros(expected)), "{text}");
    }
    assert_eq!(read("Europe/Berlin", ValueKind::Number, "20240501"), Some(micros("2024-04-30T22:00:00Z")));
    for (text, seconds) in [("19891231", 19_891_231), ("21010101", 21_010_101), ("20240230", 20_240_230)] {
        assert_eq!(utc(text), Some(seconds * 1_000_000), "{text}");
    }
    assert_eq!(utc("20240501.5"), Some(20_240_501_500_000));
    let unit = |unit, text| {
        let spec = TimeSpec { unit: Some(unit), ..TimeSpec::default() };
        TimeReader::of(&spec).unwrap().read(Value { kind: ValueKind::Number, text }).map(EventTime::micros)
    };
    assert_eq!(unit(TimeUnit::Seconds, "20240501"), Some(20_240_501_000_000));
    assert_eq!(unit(TimeUnit::Millis, "45000"), Some(45_000_000));
    assert_eq!(unit(TimeUnit::Micros, "1714557600000000"), Some(1_714_557_600_000_000));
    assert_eq!(unit(TimeUnit::Nanos, "-1.5"), Some(-1));
}

#[test]
fn dates_of_weeks_of_years_and_of_other_countries() {
    let expected = micros("2024-05-01T10:00:00Z");
    for text in [
        "2024-122T10:00:00Z",
        "2024-W18-3T10:00:00Z",
        "2024\u{5e74}05\u{6708}01\u{65e5} 10:00:00",
        "2024.05.01. 10:00",
        "/Date(1714557600000)/",
        "/Date(1714557600000+0200)/",
        "Date(1714557600000)",
        "2024-05-01 12:00:00 CEST",
        "Wed May 01 12:00:00 CEST 2024",
    ] {
        assert_eq!(utc(text), Some(expected), "{text}");
    }
    assert_eq!(utc("/Date(-1)/"), Some(-1000));
    for text in [
        "2024-367",
        "2023-366",
        "2024-W54-1",
        "2024-W18-8",
        "2024-12",
        "2024-1220",
        "/Date()/",
        "Date(1)x",
        "/Date(\u{fc})/",
    ] {
        assert_eq!(utc(text), None, "{text}");
    }
}

#[test]
fn the_year_of_times_without_one_is_a_setting() {
    let reader = |formats: &[&str], year| {
        let formats = formats.iter().map(|format| (*format).to_owned()).collect();
        TimeReader::of(&TimeSpec { formats, year, ..TimeSpec::default() }).unwrap()
    };
    let read =
        |reader: &TimeReader, text: &str| reader.read(Value { kind: ValueKind::String, text }).map(EventTime::micros);
    let of_2024 = reader(&["%d/%m %H:%M"], Some(2024));
    for (text, expected) in [
        ("May  1 10:00:01", "2024-05-01T10:00:01Z"),
        ("Feb 29 10:00:01.5", "2024-02-29T10:00:01.5Z"),
        ("Wed May  1 10:00:00 2023", "2023-05-01T10:00:00Z"),
        ("29/02 10:00", "2024-02-29T10:00:00Z"),
    ] {
        assert_eq!(read(&of_2024, text), Some(micros(expected)), "{text}");
    }
    assert_eq!(read(&reader(&[], Some(2023)), "Feb 29 10:00:01"), None);
    assert_eq!(read(&reader(&[], None), "May  1 10:00:01"), None);
    assert!(lacks_year("%b %d %H:%M:%S") && !lacks_year("%d/%m/%y") && !lacks_year("%s") && !lacks_year("%H:%M"));
}

#[test]
fn formats_of_the_configuration() {
    let reader = |formats: &[&str], zone: &str| {
        let formats = formats.iter().map(|format| (*format).to_owned()).collect();
        TimeReader::of(&TimeSpec { zone: zone.into(), formats, ..TimeSpec::default() }).unwrap()
    };
    let read =
        |reader: &TimeReader, text: &str| reader.read(Value { kind: ValueKind::String, text }).map(EventTime::micros);
    let both = reader(&["%d/%m/%Y %H:%M:%S", "%d/%m/%Y"], "+02:00");
    assert_eq!(read(&both, "05/01/2024 10:00:00"), Some(micros("2024-01-05T08:00:00Z")));
    assert_eq!(read(&both, " 05/01/2024 "), Some(micros("2024-01-04T22:00:00Z")));
    assert_eq!(read(&both, "2024-05-01T10:00:00Z"), Some(micros("2024-05-01T10:00:00Z")));
    assert_eq!(read(&both, "13/13/2024"), None);
    let zoned = reader(&["%Y.%j %H%M%S.%f %z"], "UTC");
    assert_eq!(read(&zoned, "2024.122 100000.5 +0100"), Some(micros("2024-05-01T09:00:00.5Z")));
    let epoch = reader(&["t%s"], "UTC");
    assert_eq!(read(&epoch, "t1714557600"), Some(micros("2024-05-01T10:00:00Z")));
}

#[test]
fn zones_of_the_configuration() {
    let at = |zone, text| read(zone, ValueKind::String, text);
    assert_eq!(at("+02:00", "2024-05-01 12:00:00"), Some(micros("2024-05-01T10:00:00Z")));
    assert_eq!(at("-0330", "2024-05-01 12:00:00"), Some(micros("2024-05-01T15:30:00Z")));
    assert_eq!(at("+02:00", "2024-05-01 12:00:00Z"), Some(micros("2024-05-01T12:00:00Z")));
    assert!(TimeReader::new("+25:00").is_err() && TimeReader::new("+").is_err());
}

#[test]
fn forms_with_one_meaning() {
    for (text, expected) in [
        ("Wed May 01 10:00:00 +0000 2024", "2024-05-01T10:00:00Z"),
        ("Wed May  1 10:00:00 2024", "2024-05-01T10:00:00Z"),
        ("Wed May  1 10:00:00 UTC 2024", "2024-05-01T10:00:00Z"),
        ("Wednesday, 01-May-24 10:00:00 GMT", "2024-05-01T10:00:00Z"),
        ("Wed, 01 May 24 10:00:00 GMT", "2024-05-01T10:00:00Z"),
        ("Wed, 01 May 2024 06:00:00 EDT", "2024-05-01T10:00:00Z"),
        ("Wed, 1 May 2024 10:00:00 +0000 (UTC)", "2024-05-01T10:00:00Z"),
        ("2024-05-01T12:00:00+02:00[Europe/Berlin]", "2024-05-01T10:00:00Z"),
        ("2024-05-01T12:00:00[Europe/Berlin]", "2024-05-01T10:00:00Z"),
        ("2024-05-01T10:00:00Z[UTC]", "2024-05-01T10:00:00Z"),
        ("20240501T100000Z", "2024-05-01T10:00:00Z"),
        ("20240501T100000.123Z", "2024-05-01T10:00:00.123Z"),
        ("2024/05/01 10:00:00", "2024-05-01T10:00:00Z"),
        ("01.05.2024 10:00:00", "2024-05-01T10:00:00Z"),
        ("2024-04-30T24:00:00Z", "2024-05-01T00:00:00Z"),
        ("2024-12-31 24:00", "2025-01-01T00:00:00Z"),
        ("2024-05-01  10:00:00", "2024-05-01T10:00:00Z"),
        ("2024-05-01T9:00:00Z", "2024-05-01T09:00:00Z"),
        ("2024-5-1 10:00:00", "2024-05-01T10:00:00Z"),
        ("2024-05-01 10:00:00 AM", "2024-05-01T10:00:00Z"),
        ("2024-05-01 12:00:00 am", "2024-05-01T00:00:00Z"),
        ("2024-05-01 03:00 p.m.", "2024-05-01T15:00:00Z"),
        ("2024-05-01T100000Z", "2024-05-01T10:00:00Z"),
        ("2024-05-01 1000", "2024-05-01T10:00:00Z"),
        ("2024-05-01T10:53:28+00:53:28", "2024-05-01T10:00:00Z"),
        ("2024-05-01T12:00:00+2", "2024-05-01T10:00:00Z"),
        ("2024-05-01T08:00:00\u{2212}02:00", "2024-05-01T10:00:00Z"),
        ("2024-05-01 10:00:00:123", "2024-05-01T10:00:00.123Z"),
        ("2024-05-01-10.00.00.000001", "2024-05-01T10:00:00.000001Z"),
        ("01-May-2024 10:00:00", "2024-05-01T10:00:00Z"),
        ("May 1, 2024 10:00:00 AM", "2024-05-01T10:00:00Z"),
        ("September 1, 2024, 10:00:00 AM UTC", "2024-09-01T10:00:00Z"),
        ("May 17, 2015", "2015-05-17T00:00:00Z"),
        ("01/May/2024 10:00:00", "2024-05-01T10:00:00Z"),
        ("01/May/2024:10:00:00:123 +0000", "2024-05-01T10:00:00.123Z"),
        ("1/May/2024:10:00:00 +0000", "2024-05-01T10:00:00Z"),
        ("17/May/2015", "2015-05-17T00:00:00Z"),
        ("1714557600,25", "2024-05-01T10:00:00.25Z"),
        ("+1714557600", "2024-05-01T10:00:00Z"),
        ("@1714557600", "2024-05-01T10:00:00Z"),
        ("1714557600000L", "2024-05-01T10:00:00Z"),
        ("1714557600s", "2024-05-01T10:00:00Z"),
        ("1714557600000 ms", "2024-05-01T10:00:00Z"),
        ("1_714_557_600", "2024-05-01T10:00:00Z"),
        ("1,714,557,600,000", "2024-05-01T10:00:00Z"),
        ("0x66321420", "2024-05-01T10:06:24Z"),
        ("2024-05-01_10:00:00", "2024-05-01T10:00:00Z"),
        ("\"2024-05-01T10:00:00Z\"", "2024-05-01T10:00:00Z"),
        ("2024-05-01\u{a0}10:00:00", "2024-05-01T10:00:00Z"),
        ("2024-05-01T10:00:00-00", "2024-05-01T10:00:00Z"),
        ("2024-05-01T10:00:00+00:00Z", "2024-05-01T10:00:00Z"),
    ] {
        assert_eq!(utc(text), Some(micros(expected)), "{text}");
    }
}

#[test]
fn no_times() {
    let no_times = "
        abc|NaN|true|-|12:30|2015-05|17/05/2015|05/01/2024 10:00:00|5/1/2024 10:00:00 AM|yesterday|+015-05-17|[]
        2015-02-29|2015-13-01|2015-00-10|2015-04-31T00:00:00Z|2015-05-17Z|2015-05-17T10|May  1 10:00:00|infinity
        2015-05-17T24:00:01Z|2015-05-17T25:00:00Z|2015-05-17T10:60:00Z|2015-05-17T10:05:61Z|2015-05-17T1\u{664}:05
        2015-05-17T10:05:03.Z|2015-05-17T10:05:03+24:00|2015-05-17T10:05:03+01:60|2015-05-17T10:05:03 IST
        2015-05-17T10:05:03/01:00|17/Mai/2015:10:05:03 +0000|[17/May/2015:10:05:03 +0000|1,71,455|1714x|Mayday 1, 2024
        2015-05-17 13:00 PM|2015-05-17 0:30 AM|2015-05-17 10:05 [Nowhere/City]|+010000-01-01T00:00:00Z|0000-00-00 00:00:00";
    for text in no_times.split(['|', '\n']) {
        assert_eq!(utc(text), None, "{text:?}");
    }
    assert_eq!(read("UTC", ValueKind::Number, "2015-05-17"), None);
    assert_eq!(read("UTC", ValueKind::Bool, "1"), None);
}

#[test]
fn times_of_day() {
    for text in ["10:00", "9:05:03", "10:00:00.5", "10:00 PM", " 23:59:59Z "] {
        assert!(is_time_of_day(text), "{text}");
    }
    for text in ["10", "1000", "2024-05-01", "10:61", "10:00 x", ""] {
        assert!(!is_time_of_day(text), "{text}");
    }
}

#[test]
fn every_february_ends_where_jiff_ends_it() {
    for year in 0..=9998 {
        for date in [format!("{year:04}-02-29"), format!("{year:04}-03-01")] {
            let midnight = |date: jiff::civil::Date| micros(&format!("{date}T00:00:00Z"));
            assert_eq!(utc(&date), date.parse().ok().map(midnight), "{date}");
        }
    }
}

#[test]
fn a_time_without_zone_is_in_the_configured_one() {
    let berlin = |text| read("Europe/Berlin", ValueKind::String, text);
    assert_eq!(berlin("2024-01-10 12:00:00.5"), Some(micros("2024-01-10T11:00:00.5Z")));
    assert_eq!(berlin("2024-07-10"), Some(micros("2024-07-09T22:00:00Z")));
    assert_eq!(berlin("10/Jul/2024:12:00:00"), Some(micros("2024-07-10T10:00:00Z")));
    assert_eq!(berlin("2024-07-10T12:00:00Z"), Some(micros("2024-07-10T12:00:00Z")));
    // A gap: as far behind its end as the text is behind its start.
    assert_eq!(berlin("2024-03-31 02:30:00"), Some(micros("2024-03-31T01:30:00Z")));
    // A fold: the first of the two.
    assert_eq!(berlin("2024-10-27 02:30:00"), Some(micros("2024-10-27T00:30:00Z")));
}

#[test]
fn the_range_ends_with_the_year_9999() {
    assert_eq!(utc("9999-12-31T23:59:59.9999999Z"), Some(EventTime::MAX.micros()));
    assert_eq!(utc("253402300799999999999"), Some(EventTime::MAX.micros()));
    // In a zone too: SQL databases write the first one for "never".
    let berlin = |text| read("Europe/Berlin", ValueKind::String, text);
    assert_eq!(berlin("9999-12-31"), Some(EventTime::MAX.micros() + 1 - 25 * 3_600_000_000));
    assert_eq!(berlin("9999-12-31 23:59:59"), Some(EventTime::MAX.micros() + 1 - 3_601_000_000));
    assert_eq!(read("America/New_York", ValueKind::String, "9999-12-31 23:59:59"), None);
    for beyond in ["9999-12-31T23:59:59-01:00", "253402300800000000000", "-377705116800000000001", "1e30", "1e400"] {
        assert_eq!(utc(beyond), None, "{beyond}");
    }
}

#[test]
fn an_unknown_zone_is_explained() {
    assert!(TimeReader::new("utc").is_ok() && TimeReader::new("europe/berlin").is_ok());
    let error = |zone| TimeReader::new(zone).unwrap_err();
    assert_eq!(error("Europe/Berln"), "there is no time zone `Europe/Berln`: did you mean `Europe/Berlin`?");
    assert!(error("zzz").ends_with("write an IANA name such as `Europe/Berlin`, or `UTC`"));
}

proptest! {
    /// `mantissa / 10^places` against plain integer arithmetic, as decimals and with an exponent.
    #[test]
    fn epochs_agree_with_integer_arithmetic(
        mantissa in prop_oneof![-10_i128.pow(12)..10_i128.pow(12), -10_i128.pow(23)..10_i128.pow(23)],
        places in 0..14_u32,
    ) {
        let one = 10_i128.pow(places);
        let below = |digits| mantissa.abs() < 10_i128.pow(digits) * one;
        // Those are dates: `digits_of_a_date`.
        prop_assume!(!matches!((mantissa.abs() / one).to_string().len(), 8 | 12 | 14 | 17));
        let floor = if below(11) {
            (mantissa * 1_000_000).div_euclid(one)
        } else if below(14) {
            (mantissa * 1_000).div_euclid(one)
        } else if below(17) {
            mantissa.div_euclid(one)
        } else {
            mantissa.div_euclid(one * 1_000)
        };
        let expected = i64::try_from(floor).ok().and_then(EventTime::from_micros).map(EventTime::micros);
        let sign = if mantissa < 0 { "-" } else { "" };
        let (integer, fraction) = (mantissa.abs() / one, mantissa.abs() % one);
        let decimals = if places == 0 { String::new() } else { format!(".{fraction:0width$}", width = places as usize) };
        prop_assert_eq!(utc(&format!("{sign}{integer}{decimals}")), expected);
        prop_assert_eq!(read("UTC", ValueKind::Number, &format!("{mantissa}e-{places}")), expected);
    }

    #[test]
    fn eight_digits_are_a_number(text in "[0-9]{8}|[-/:+.0-9@?a-f\\x00]{8}", byte in any::<u8>(), at in 0..8_usize) {
        let mut bytes: [u8; 8] = text.as_bytes().try_into().unwrap();
        prop_assert_eq!(eight_digits(bytes), number(bytes));
        bytes[at] = byte;
        prop_assert_eq!(eight_digits(bytes), number(bytes));
    }

    /// The short way to the epochs that are usual gives what the long one does.
    #[test]
    fn usual_epochs_are_epochs(text in "[0-9]{10}(\\.[0-9]{0,9}x?|[0-9]{3}|[0-9]{6}|[0-9.]{0,8})") {
        if let Some(micros) = usual_epoch(text.as_bytes()) {
            prop_assert_eq!(Some(micros), epoch(text.as_bytes(), None).map(EventTime::micros), "{}", text);
        }
        let is_usual = !text.starts_with('0') && text.len() > 11 && text.len() < 17;
        if let Some((_, rest)) = text.split_at(10).1.split_once('.').filter(|(first, _)| first.is_empty() && is_usual) {
            let is_fraction = rest.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(usual_epoch(text.as_bytes()).is_some(), is_fraction, "{}", text);
        }
    }

    /// Civil times, good ones and impossible ones, in several zones.
    #[test]
    fn civil_times_agree_with_jiff(
        (year, month, day) in (prop_oneof![0..=9998_i16, 1960..2040_i16], 0..=13_u8, 0..=32_u8),
        (hour, minute, second) in (0..=24_u8, 0..=60_u8, 0..=61_u8),
        nanos in 0..1_000_000_000_u32,
        digits in 0..=9_usize,
        separator in prop_oneof!["T", "t", " "],
        zone in prop_oneof!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia"],
        suffix in prop_oneof!["", "Z", "z", "\\+05:45", "-0930", "\\+01"],
    ) {
        let fraction = if digits == 0 { String::new() } else { format!(".{}", &format!("{nanos:09}")[..digits]) };
        let local = format!("{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}{fraction}");
        let text = format!("{local}{suffix}");
        let parsed = if suffix.is_empty() {
            let zone = TimeZone::get(&zone).unwrap();
            local.parse::<DateTime>().ok().and_then(|civil| zone.to_timestamp(civil).ok())
        } else {
            text.parse::<Timestamp>().ok()
        };
        let floor = |instant: Timestamp| i64::try_from(instant.as_nanosecond().div_euclid(1000)).unwrap();
        let expected = parsed.map(floor);
        prop_assert_eq!(read(&zone, ValueKind::String, &text), expected, "{}", text);
    }

    /// The same instant in Common Log Format and RFC 2822, as jiff prints them.
    #[test]
    fn other_forms_agree_with_jiff(second in 0..253_000_000_000_i64, offset in -14..=14_i8) {
        let zoned = Timestamp::from_second(second).unwrap().to_zoned_datetime(tz::offset(offset).to_time_zone());
        let expected = Some(second * 1_000_000);
        prop_assert_eq!(utc(&zoned.strftime("%d/%b/%Y:%H:%M:%S %z").to_string()), expected);
        prop_assert_eq!(utc(&rfc2822::to_string(&zoned).unwrap()), expected);
        prop_assert_eq!(utc(&zoned.strftime("%a %b %e %H:%M:%S %z %Y").to_string()), expected);
        prop_assert_eq!(utc(&zoned.strftime("%Y%m%dT%H%M%S%z").to_string()), expected);
        prop_assert_eq!(utc(&zoned.strftime("%Y/%m/%d %I:%M:%S %p %:z").to_string()), expected);
        prop_assert_eq!(utc(&zoned.strftime("%d-%b-%Y %H:%M:%S %z").to_string()), expected);
        prop_assert_eq!(utc(&zoned.strftime("%B %-d, %Y %-I:%M:%S %p %z").to_string()), expected);
        prop_assert_eq!(utc(&zoned.strftime("%d.%m.%Y %H:%M:%S%:z").to_string()), expected);
    }

    #[test]
    fn no_text_panics(text in "[-+0-9TZ:./,\\[\\] eJan]{0,40}|\\PC*") {
        let reader = TimeReader::new("Europe/Berlin").unwrap();
        let time = reader.read(Value { kind: ValueKind::String, text: &text });
        prop_assert!(time.is_none_or(|time| EventTime::MIN <= time && time <= EventTime::MAX));
    }
}
