//! `dead_letters`: records that could not become events, with the reasons.

use super::place::place;
use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, no_key};
use dataflows::DeadLetter;

pub(super) const DEFINITION: Definition = Definition {
    name: "dead_letters",
    nature: Nature::Journal,
    key: &["part", "offset", "byte"],
    lookup: &["source"],
    columns: |_| {
        let columns = Column::plain([
            ("source", Kind::Text),
            ("part", Kind::Integer),
            ("offset", Kind::Integer),
            ("byte", Kind::Integer),
            ("reason", Kind::Text),
            ("message", Kind::Text),
            ("length", Kind::Integer),
            ("payload", Kind::Text),
            ("payload_base64", Kind::Text),
        ]);
        Column::nullable(columns, &["payload", "payload_base64"])
    },
    decode,
    same_key: no_key,
    held: Held::Nothing,
    begins: Begins::WithTheFolder,
};

/// `letter` lies in a delivery: see [`place`].
pub fn encode(source: &str, letter: &DeadLetter) -> Vec<u8> {
    let DeadLetter { position, reason, message, payload, length } = letter;
    encoded(&(source, position.part, position.offset, reason.code(), message, payload, length))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (source, part, at, reason, message, payload, length): (_, u32, _, _, _, &[u8], _) =
        postcard::from_bytes(bytes).ok()?;
    let (offset, byte) = place(at);
    let (text, bytes) = match std::str::from_utf8(payload) {
        Ok(text) => (Value::Text(text), Value::Absent),
        Err(_) => (Value::Absent, Value::Bytes(payload)),
    };
    Some(Row::new([
        Value::Text(source),
        Value::Integer(i64::from(part)),
        Value::count(offset),
        Value::count(byte as u64),
        Value::Text(reason),
        Value::Text(message),
        Value::count(length),
        text,
        bytes,
    ]))
}
