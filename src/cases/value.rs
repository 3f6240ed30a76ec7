//! The value that a column is expected to have, and whether a row has it. Numbers are compared exactly, times as instants.

use crate::collections::Kind;
use dataflows::decimal::Exact;
use dataflows::{EventTime, ValueKind};
use headwater_decode::reading::Value;
use headwater_decode::time::TimeReader;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A value that is expected.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// None, or the empty text.
    Nothing,
    Text(String),
    Number(Exact),
    Time(EventTime),
    /// Numbers of events by class.
    Counts(BTreeMap<String, u64>),
    Object(serde_json::Value),
}

/// Reads a time as events have it; in UTC, where it says no zone.
pub(super) fn time(text: &str) -> Option<EventTime> {
    TimeReader::new("UTC").ok()?.read(Value { kind: ValueKind::String, text })
}

impl Wanted {
    /// Returns what `typed` asks of a column; `written` is its text in the file.
    ///
    /// # Errors
    /// What to write instead.
    pub fn of(kind: Kind, typed: &toml::Value, written: &str) -> Result<Wanted, &'static str> {
        if typed.as_str() == Some("") {
            return Ok(Wanted::Nothing);
        }
        let help = match kind {
            Kind::Text => "write a text, in quotes; \"\" stands for no value",
            Kind::Time => "write a time such as \"2024-05-01T10:00:00Z\"; \"\" stands for no value",
            Kind::Integer | Kind::Decimal => "write a number; \"\" stands for no value",
            Kind::Classes => "write a table of numbers, such as { click = 2 }",
            Kind::Object => "write a table",
        };
        let wanted = match (kind, typed) {
            (Kind::Text, toml::Value::String(text)) => Some(Wanted::Text(text.clone())),
            (Kind::Time, toml::Value::String(text)) => time(text).map(Wanted::Time),
            (Kind::Time, toml::Value::Datetime(at)) => time(&at.to_string()).map(Wanted::Time),
            // As it is written: TOML has no exact decimals.
            (Kind::Integer | Kind::Decimal, toml::Value::Integer(_) | toml::Value::Float(_)) => {
                Exact::parse(&written.replace('_', "")).map(Wanted::Number)
            }
            (Kind::Classes, toml::Value::Table(table)) => {
                let number = |value: &toml::Value| u64::try_from(value.as_integer()?).ok();
                let each = |(name, value): (&String, &toml::Value)| Some((name.clone(), number(value)?));
                table.iter().map(each).collect::<Option<_>>().map(Wanted::Counts)
            }
            (Kind::Object, toml::Value::Table(_)) => serde_json::to_value(typed).ok().map(Wanted::Object),
            _ => None,
        };
        wanted.ok_or(help)
    }

    /// Returns whether a row that has `got` in this column fits.
    pub fn fits(&self, got: Option<&RawValue>) -> bool {
        let json = got.map_or("null", RawValue::get);
        let text = || serde_json::from_str::<String>(json).ok();
        match self {
            Wanted::Nothing => json == "null" || json == "\"\"",
            Wanted::Text(wanted) => text().as_ref() == Some(wanted),
            Wanted::Number(wanted) => Exact::parse(json).as_ref() == Some(wanted),
            Wanted::Time(wanted) => text().and_then(|text| time(&text)) == Some(*wanted),
            Wanted::Counts(wanted) => serde_json::from_str::<BTreeMap<String, u64>>(json).ok().as_ref() == Some(wanted),
            Wanted::Object(wanted) => serde_json::from_str::<serde_json::Value>(json).ok().as_ref() == Some(wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(kind: Kind, typed: &str, json: &str) -> bool {
        let table: toml::Table = toml::from_str(&format!("v = {typed}")).unwrap();
        let wanted = Wanted::of(kind, &table["v"], typed).unwrap();
        wanted.fits(Some(serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn values_are_compared_as_what_they_are() {
        for (kind, typed, json, expected) in [
            (Kind::Text, "'a'", "\"a\"", true),
            (Kind::Text, "'a'", "\"b\"", false),
            (Kind::Text, "''", "null", true),
            (Kind::Text, "''", "\"\"", true),
            (Kind::Text, "''", "\"a\"", false),
            (Kind::Text, "'1'", "1", false),
            (Kind::Integer, "1_000", "1000", true),
            (Kind::Integer, "''", "0", false),
            (Kind::Decimal, "0.10", "0.1", true),
            (Kind::Decimal, "3", "3", true),
            (Kind::Decimal, "90071992547409.93", "90071992547409.92", false),
            (Kind::Time, "2024-05-01T10:00:00Z", "\"2024-05-01T10:00:00Z\"", true),
            (Kind::Time, "'2024-05-01 12:00:00+02:00'", "\"2024-05-01T10:00:00Z\"", true),
            (Kind::Time, "'2024-05-01'", "\"2024-05-01T10:00:00Z\"", false),
            (Kind::Classes, "{ b = 1, a = 2 }", "{\"a\":2,\"b\":1}", true),
            (Kind::Classes, "{ a = 2 }", "{\"a\":2,\"b\":1}", false),
            (Kind::Object, "{ a = ['x'] }", "{\"a\":[\"x\"]}", true),
        ] {
            assert_eq!(fits(kind, typed, json), expected, "{typed} {json}");
        }
        assert!(!Wanted::Text("a".into()).fits(None));
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        for (kind, typed) in [
            (Kind::Text, "1"),
            (Kind::Integer, "'one'"),
            (Kind::Decimal, "true"),
            (Kind::Time, "'soon'"),
            (Kind::Classes, "{ a = -1 }"),
            (Kind::Classes, "['a']"),
        ] {
            let table: toml::Table = toml::from_str(&format!("v = {typed}")).unwrap();
            assert!(Wanted::of(kind, &table["v"], typed).is_err(), "{typed}");
        }
    }
}
