//! `closings`: the sessions whose gap has passed.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, same_columns};
use dataflows::EventTime;
use dataflows::close::{Closing, deadline};

pub(super) const DEFINITION: Definition = Definition {
    name: "closings",
    nature: Nature::View,
    key: &["session_id"],
    lookup: &["session_id", "user"],
    columns: |_| {
        Column::plain([
            ("session_id", Kind::Text),
            ("user", Kind::Text),
            ("start_us", Kind::Integer),
            ("end_us", Kind::Integer),
            ("events", Kind::Integer),
            ("closed_us", Kind::Integer),
        ])
    },
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 1),
    held: Held::Closings,
    begins: Begins::WithTheFolder,
};

/// `gap`: of the sessions, in microseconds.
pub fn encode(user: &str, closing: &Closing, gap: i64) -> Vec<u8> {
    encoded(&(user, closing.start, closing.end, closing.events, deadline(closing.until, gap)))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (user, start, end, events, closed): (_, _, _, _, EventTime) = postcard::from_bytes(bytes).ok()?;
    Some(Row::new([
        Value::Session(user, start),
        Value::Text(user),
        Value::time(start),
        Value::time(end),
        Value::count(events),
        Value::time(closed),
    ]))
}
