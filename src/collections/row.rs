//! A published row, read back from its bytes: its values, and its JSON.

use super::place::place;
use super::sessions::{integer as bounded, json_classes};
use super::{Collection, Schema, SessionBytes};
use crate::text::{decimal, rfc3339};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataflows::{EventTime, SessionId, UserKey};
use std::borrow::Cow;
use std::io::Write;

/// A row, borrowed from its bytes.
pub enum Row<'b> {
    Session(SessionBytes<'b>),
    Count(&'b str, Option<EventTime>, u64),
    /// User, start, end, events, when it was closed.
    Closing(&'b str, EventTime, EventTime, u64, EventTime),
    /// User, time, class, start of the session.
    Late(&'b str, EventTime, &'b str, EventTime),
    /// User, old start, new start, reason.
    Lineage(&'b str, EventTime, EventTime, &'b str),
    DeadLetter {
        source: &'b str,
        part: u32,
        /// See [`place`].
        at: u64,
        reason: &'b str,
        message: &'b str,
        payload: &'b [u8],
        length: u64,
    },
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'r> {
    Null,
    /// The row's object does not have the column.
    Absent,
    Text(Cow<'r, str>),
    Integer(i64),
    /// In millionths.
    Decimal(i128),
    /// Sorted by name.
    Classes(&'r [(&'r str, u64)]),
}

impl<'b> Row<'b> {
    /// `None` if these are not the bytes of a row of `collection`.
    pub fn decode(collection: Collection, bytes: &'b [u8]) -> Option<Row<'b>> {
        Some(match collection {
            Collection::Sessions => Row::Session(postcard::from_bytes(bytes).ok()?),
            Collection::Counts => {
                let (class, hour, events) = postcard::from_bytes(bytes).ok()?;
                Row::Count(class, hour, events)
            }
            Collection::Closings => {
                let (user, start, end, events, closed) = postcard::from_bytes(bytes).ok()?;
                Row::Closing(user, start, end, events, closed)
            }
            Collection::Late => {
                let (user, time, class, session) = postcard::from_bytes(bytes).ok()?;
                Row::Late(user, time, class, session)
            }
            Collection::SessionLineage => {
                let (user, old, new, reason) = postcard::from_bytes(bytes).ok()?;
                Row::Lineage(user, old, new, reason)
            }
            Collection::DeadLetters => {
                let (source, part, at, reason, message, payload, length) = postcard::from_bytes(bytes).ok()?;
                Row::DeadLetter { source, part, at, reason, message, payload, length }
            }
        })
    }

    /// The value of a column, by its index in the [`Schema`].
    pub fn value(&self, column: usize) -> Value<'_> {
        match self {
            Row::Session(session) => session.value(column),
            Row::Count(class, hour, events) => match column {
                0 => text(class),
                1 => hour.map_or(Value::Null, |hour| Value::Text(rfc3339(hour).into())),
                _ => integer(*events),
            },
            Row::Closing(user, start, end, events, closed) => match column {
                0 => id(user, *start),
                1 => text(user),
                2 => time(*start),
                3 => time(*end),
                4 => integer(*events),
                _ => time(*closed),
            },
            Row::Late(user, at, class, session) => match column {
                0 => text(user),
                1 => time(*at),
                2 => text(class),
                _ => id(user, *session),
            },
            Row::Lineage(user, old, new, reason) => match column {
                0 => id(user, *old),
                1 => id(user, *new),
                2 => text(user),
                _ => text(reason),
            },
            Row::DeadLetter { source, part, at, reason, message, payload, length } => {
                let (offset, byte) = place(*at);
                let payload = *payload;
                match column {
                    0 => text(source),
                    1 => Value::Integer(i64::from(*part)),
                    2 => integer(offset),
                    3 => integer(byte as u64),
                    4 => text(reason),
                    5 => text(message),
                    6 => integer(*length),
                    7 => std::str::from_utf8(payload).map_or(Value::Absent, text),
                    _ if std::str::from_utf8(payload).is_ok() => Value::Absent,
                    _ => Value::Text(STANDARD.encode(payload).into()),
                }
            }
        }
    }

    /// Appends the object with these columns.
    pub fn json(&self, schema: &Schema, columns: impl IntoIterator<Item = usize>, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        for column in columns {
            let value = self.value(column);
            if value == Value::Absent {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(&schema.columns[column].json);
            value.json(out);
        }
        out.push(b'}');
    }
}

impl SessionBytes<'_> {
    fn value(&self, column: usize) -> Value<'_> {
        match column {
            0 => id(self.user, self.start),
            1 => text(self.user),
            2 => time(self.start),
            3 => time(self.end),
            4 => Value::Integer(self.end.micros() - self.start.micros()),
            5 => integer(self.events),
            6 => Value::Classes(&self.classes),
            7 => text(self.first),
            8 => text(self.last),
            column => {
                let rest = column - 9;
                if let Some(sum) = self.sums.get(rest / 2) {
                    return match rest % 2 {
                        0 if sum.numbers > 0 => Value::Decimal(sum.millionths),
                        0 => Value::Null,
                        _ => integer(sum.others),
                    };
                }
                let rest = rest - self.sums.len() * 2;
                let carried = self.carried.get(rest / 2).copied().unwrap_or_default();
                let carried = if rest.is_multiple_of(2) { carried.0 } else { carried.1 };
                carried.map_or(Value::Null, text)
            }
        }
    }
}

impl Value<'_> {
    /// Appends the value as JSON.
    pub fn json(&self, out: &mut Vec<u8>) {
        let written = match self {
            Value::Null | Value::Absent => out.write_all(b"null"),
            Value::Text(text) => serde_json::to_writer(&mut *out, text).map_err(Into::into),
            Value::Integer(number) => write!(out, "{number}"),
            Value::Decimal(millionths) => decimal(*millionths, out),
            Value::Classes(classes) => json_classes(classes, out),
        };
        written.expect("memory can be written to");
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn time(time: EventTime) -> Value<'static> {
    Value::Integer(time.micros())
}

fn integer(count: u64) -> Value<'static> {
    Value::Integer(bounded(count))
}

fn id(user: &str, start: EventTime) -> Value<'static> {
    Value::Text(SessionId::of(UserKey::of(user), start).to_string().into())
}
