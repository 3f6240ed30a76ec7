//! `late`: events that changed a session other than their user's last one, or moved a session's start back.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, no_key};
use dataflows::sessionize::Late;

pub(super) const DEFINITION: Definition = Definition {
    name: "late",
    nature: Nature::Journal,
    key: &["user", "time_us"],
    lookup: &["user"],
    columns: |_| {
        Column::plain([
            ("user", Kind::Text),
            ("time_us", Kind::Integer),
            ("class", Kind::Text),
            ("session_id", Kind::Text),
        ])
    },
    decode,
    same_key: no_key,
    held: Held::Nothing,
    begins: Begins::WithTheFolder,
};

pub fn encode(user: &str, class: &str, late: &Late) -> Vec<u8> {
    encoded(&(user, late.time, class, late.session))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (user, time, class, session) = postcard::from_bytes(bytes).ok()?;
    Some(Row::new([Value::Text(user), Value::time(time), Value::Text(class), Value::Session(user, session)]))
}
