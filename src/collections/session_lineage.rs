//! `session_lineage`: sessions that go on under another id.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, no_key};
use dataflows::sessionize::Lineage;

pub(super) const DEFINITION: Definition = Definition {
    name: "session_lineage",
    nature: Nature::Journal,
    key: &["old_id"],
    lookup: &["old_id", "new_id", "user"],
    columns: |_| {
        Column::plain([("old_id", Kind::Text), ("new_id", Kind::Text), ("user", Kind::Text), ("reason", Kind::Text)])
    },
    decode,
    same_key: no_key,
    held: Held::Nothing,
    begins: Begins::WithTheFolder,
};

pub fn encode(user: &str, lineage: &Lineage) -> Vec<u8> {
    encoded(&(user, lineage.old, lineage.new, lineage.reason.code()))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (user, old, new, reason) = postcard::from_bytes(bytes).ok()?;
    Some(Row::new([Value::Session(user, old), Value::Session(user, new), Value::Text(user), Value::Text(reason)]))
}
