//! The rows that are published, by collection: how they lie in the output log, and what they are as JSON.
//!
//! In the log a row is as small as it can be and equal rows have equal bytes; it is dressed when somebody reads it.

use crate::log::delivery::place;
use crate::sink::{JsonKeys, SessionRow, SessionSchema, rfc3339};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataflows::close::deadline;
use dataflows::sessionize::{Late, Lineage, Session};
use dataflows::{DeadLetter, EventTime, Measure, SessionId, UserKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Everything that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collection {
    Sessions,
    Counts,
    Closings,
    Late,
    SessionLineage,
    DeadLetters,
}

impl Collection {
    pub const ALL: [Collection; 6] = [
        Collection::Sessions,
        Collection::Counts,
        Collection::Closings,
        Collection::Late,
        Collection::SessionLineage,
        Collection::DeadLetters,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Collection::Sessions => "sessions",
            Collection::Counts => "counts",
            Collection::Closings => "closings",
            Collection::Late => "late",
            Collection::SessionLineage => "session_lineage",
            Collection::DeadLetters => "dead_letters",
        }
    }

    /// `view` or `journal`.
    pub fn kind(self) -> &'static str {
        match self {
            Collection::Sessions | Collection::Counts | Collection::Closings => "view",
            Collection::Late | Collection::SessionLineage | Collection::DeadLetters => "journal",
        }
    }

    /// The fields that a row is known by.
    pub fn key(self) -> &'static [&'static str] {
        match self {
            Collection::Sessions | Collection::Closings => &["session_id"],
            Collection::Counts => &["class", "hour"],
            Collection::Late => &["user", "time_us"],
            Collection::SessionLineage => &["old_id"],
            Collection::DeadLetters => &["part", "offset", "byte"],
        }
    }

    pub fn named(name: &str) -> Option<Collection> {
        Collection::ALL.into_iter().find(|collection| collection.name() == name)
    }
}

#[derive(Serialize, Deserialize)]
struct SessionBytes<'a> {
    user: &'a str,
    start: EventTime,
    end: EventTime,
    events: u64,
    #[serde(borrow)]
    classes: Vec<(&'a str, u64)>,
    first: &'a str,
    last: &'a str,
    sums: Vec<Measure>,
    carried: Vec<(Option<&'a str>, Option<&'a str>)>,
}

pub fn session(row: &SessionRow<'_>) -> Vec<u8> {
    bytes(&SessionBytes {
        user: row.user,
        start: row.start,
        end: row.end,
        events: row.events,
        classes: row.classes.to_vec(),
        first: row.first_class,
        last: row.last_class,
        sums: row.sums.to_vec(),
        carried: row.carried.to_vec(),
    })
}

pub fn count(class: &str, hour: Option<EventTime>, events: u64) -> Vec<u8> {
    bytes(&(class, hour, events))
}

pub fn closing(user: &str, session: &Session, gap: i64) -> Vec<u8> {
    bytes(&(user, session.start, session.end, session.events, deadline(session.end, gap)))
}

pub fn late(user: &str, class: &str, late: &Late) -> Vec<u8> {
    bytes(&(user, late.time, class, late.session))
}

pub fn lineage(user: &str, lineage: &Lineage) -> Vec<u8> {
    bytes(&(user, lineage.old, lineage.new, lineage.reason.code()))
}

/// `letter` lies in a delivery: see [`place`].
pub fn dead_letter(source: &str, letter: &DeadLetter) -> Vec<u8> {
    let DeadLetter { position, reason, message, payload, length } = letter;
    bytes(&(source, position.part, position.offset, reason.code(), message, payload, length))
}

fn bytes(row: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(row).expect("rows are plain data, and memory can be written to")
}

/// Dresses rows as JSON.
pub struct Dresser {
    keys: JsonKeys,
}

impl Dresser {
    pub fn new(schema: &SessionSchema) -> Dresser {
        Dresser { keys: JsonKeys::new(schema) }
    }

    /// The object of a row; `None` if these are not the bytes of one.
    pub fn json(&self, collection: Collection, row: &[u8]) -> Option<Value> {
        match collection {
            Collection::Sessions => {
                let row: SessionBytes<'_> = postcard::from_bytes(row).ok()?;
                let mut json = Vec::new();
                let row = SessionRow {
                    id: SessionId::of(UserKey::of(row.user), row.start),
                    user: row.user,
                    start: row.start,
                    end: row.end,
                    events: row.events,
                    classes: &row.classes,
                    first_class: row.first,
                    last_class: row.last,
                    sums: &row.sums,
                    carried: &row.carried,
                };
                self.keys.row(&row, &mut json).ok()?;
                serde_json::from_slice(&json).ok()
            }
            Collection::Counts => {
                let (class, hour, events): (&str, Option<EventTime>, u64) = postcard::from_bytes(row).ok()?;
                Some(json!({ "class": class, "hour": hour.map(rfc3339), "events": events }))
            }
            Collection::Closings => {
                let (user, start, end, events, closed): (&str, EventTime, EventTime, u64, EventTime) =
                    postcard::from_bytes(row).ok()?;
                Some(json!({
                    "session_id": SessionId::of(UserKey::of(user), start).to_string(),
                    "user": user,
                    "start_us": start.micros(),
                    "end_us": end.micros(),
                    "events": events,
                    "closed_us": closed.micros(),
                }))
            }
            Collection::Late => {
                let (user, time, class, start): (&str, EventTime, &str, EventTime) = postcard::from_bytes(row).ok()?;
                let session = SessionId::of(UserKey::of(user), start).to_string();
                Some(json!({ "user": user, "time_us": time.micros(), "class": class, "session_id": session }))
            }
            Collection::SessionLineage => {
                let (user, old, new, reason): (&str, EventTime, EventTime, &str) = postcard::from_bytes(row).ok()?;
                let id = |start| SessionId::of(UserKey::of(user), start).to_string();
                Some(json!({ "old_id": id(old), "new_id": id(new), "user": user, "reason": reason }))
            }
            Collection::DeadLetters => {
                type Letter<'a> = (&'a str, u32, u64, &'a str, &'a str, &'a [u8], u64);
                let (source, part, at, reason, message, payload, length): Letter<'_> =
                    postcard::from_bytes(row).ok()?;
                let (offset, byte) = place(at);
                let mut object = json!({
                    "source": source, "part": part, "offset": offset, "byte": byte,
                    "reason": reason, "message": message, "length": length,
                });
                match std::str::from_utf8(payload) {
                    Ok(text) => object["payload"] = text.into(),
                    Err(_) => object["payload_base64"] = STANDARD.encode(payload).into(),
                }
                Some(object)
            }
        }
    }
}
