//! `counts`: events by class and hour of their event time.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, same_columns};
use dataflows::EventTime;

pub(super) const DEFINITION: Definition = Definition {
    name: "counts",
    nature: Nature::View,
    key: &["class", "hour"],
    lookup: &["class"],
    columns: |_| {
        let columns = [("class", Kind::Text), ("hour", Kind::Time), ("events", Kind::Integer)];
        Column::nullable(Column::plain(columns), &["hour"])
    },
    decode,
    same_key: |one, other| same_columns(decode(one), decode(other), 2),
    held: Held::Counts,
    begins: Begins::WithTheFolder,
};

/// `hour`: its start; `None` for events without a time.
pub fn encode(class: &str, hour: Option<EventTime>, events: u64) -> Vec<u8> {
    encoded(&(class, hour, events))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (class, hour, events): (_, Option<EventTime>, _) = postcard::from_bytes(bytes).ok()?;
    Some(Row::new([Value::Text(class), Value::or_null(hour, Value::Time), Value::count(events)]))
}
