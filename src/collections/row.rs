//! A row, read back from its bytes: a value for each column.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataflows::sequence::ActivityId;
use dataflows::{Decimal, EventTime, SessionId, UserKey};
use std::borrow::Cow;
use std::io::Write;

/// A row, borrowed from its bytes. It has as many values as its collection has columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'b> {
    values: Vec<Value<'b>>,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'b> {
    Null,
    /// The row's object does not have the column.
    Absent,
    Text(&'b str),
    Integer(i64),
    Decimal(Decimal),
    /// Sorted by name; the most frequent values of a state by number.
    Classes(Cow<'b, [(&'b str, u64)]>),
    /// A text.
    Id(SessionId),
    /// A text: the id of the session of a user with this start. Computed only when it is needed, since it is a hash.
    Session(&'b str, EventTime),
    /// A text: the id of an activity of this key, with its mark. Computed only when it is needed, as above.
    Activity(&'b str, u64),
    /// An object, as it is written in JSON. A filter sees its text.
    Json(&'b str),
    /// A text: RFC 3339, in UTC.
    Time(EventTime),
    /// A text: base64.
    Bytes(&'b [u8]),
}

impl<'b> Row<'b> {
    pub(crate) fn new(values: impl IntoIterator<Item = Value<'b>>) -> Row<'b> {
        Row { values: values.into_iter().collect() }
    }

    /// Returns the value of a column, by its index in the schema; [`Value::Absent`] behind the last one.
    pub fn value(&self, column: usize) -> &Value<'b> {
        self.values.get(column).unwrap_or(&Value::Absent)
    }

    /// Appends the object with these columns.
    pub fn json(&self, schema: &super::Schema, columns: impl IntoIterator<Item = usize>, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        for column in columns {
            let value = self.value(column);
            if *value == Value::Absent {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            schema.columns[column].json_key(out);
            value.json(out);
        }
        out.push(b'}');
    }
}

impl<'b> Value<'b> {
    pub(super) fn time(time: EventTime) -> Value<'b> {
        Value::Integer(time.micros())
    }

    /// Counts are of events, one by one: none comes near the limit of 2^63.
    pub(crate) fn count(count: u64) -> Value<'b> {
        Value::Integer(bounded(count))
    }

    pub(crate) fn or_null<T>(value: Option<T>, some: impl FnOnce(T) -> Value<'b>) -> Value<'b> {
        value.map_or(Value::Null, some)
    }

    /// Returns the text, if the value is one.
    pub fn text(&self) -> Option<Cow<'b, str>> {
        Some(match self {
            Value::Text(text) | Value::Json(text) => Cow::Borrowed(text),
            Value::Id(id) => Cow::Owned(id.to_string()),
            Value::Session(user, start) => Cow::Owned(SessionId::of(UserKey::of(user), *start).to_string()),
            Value::Activity(key, mark) => Cow::Owned(ActivityId { key: UserKey::of(key), mark: *mark }.to_string()),
            Value::Time(time) => Cow::Owned(crate::text::rfc3339(*time)),
            Value::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
            Value::Null | Value::Absent | Value::Integer(_) | Value::Decimal(_) | Value::Classes(_) => return None,
        })
    }

    /// Appends the value as JSON.
    pub fn json(&self, out: &mut Vec<u8>) {
        let written = match self {
            Value::Null | Value::Absent => out.write_all(b"null"),
            Value::Integer(number) => write!(out, "{number}"),
            Value::Decimal(decimal) => write!(out, "{decimal}"),
            Value::Classes(classes) => json_classes(classes, out),
            Value::Text(text) => serde_json::to_writer(&mut *out, text).map_err(Into::into),
            Value::Json(text) => out.write_all(text.as_bytes()),
            Value::Id(id) => write!(out, "\"{id}\""),
            Value::Session(..) | Value::Activity(..) | Value::Time(_) | Value::Bytes(_) => {
                serde_json::to_writer(&mut *out, &self.text()).map_err(Into::into)
            }
        };
        written.expect("memory can be written to");
    }
}

/// Returns a count as a number of a column.
pub(crate) fn bounded(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Writes counts by class as an object.
pub(crate) fn json_classes(classes: &[(&str, u64)], out: &mut Vec<u8>) -> std::io::Result<()> {
    out.push(b'{');
    for (index, (class, events)) in classes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, class)?;
        write!(out, ":{events}")?;
    }
    out.push(b'}');
    Ok(())
}
