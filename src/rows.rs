//! The rows that are published, by collection: how they lie in the output log, and what they are to those who read them.
//!
//! In the log a row is as small as it can be and equal rows have equal bytes; it is dressed when somebody reads it.

mod row;
mod schema;

pub use row::{Row, Value};
pub use schema::{Column, Kind, Schema, Schemas};

use crate::log::output::SameKey;
use crate::sink::SessionRow;
use dataflows::close::deadline;
use dataflows::sessionize::{Late, Lineage, Session};
use dataflows::{DeadLetter, EventTime, Measure};
use serde::{Deserialize, Serialize};

/// Everything that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// A view holds rows at every tick; a journal is all events.
    pub fn is_view(self) -> bool {
        matches!(self, Collection::Sessions | Collection::Counts | Collection::Closings)
    }

    /// `view` or `journal`.
    pub fn kind(self) -> &'static str {
        if self.is_view() { "view" } else { "journal" }
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

    /// The columns that a row is looked for by: `key=` of a reader names a value of any of them.
    pub fn lookup(self) -> &'static [&'static str] {
        match self {
            Collection::Sessions | Collection::Closings => &["session_id", "user"],
            Collection::Counts => &["class"],
            Collection::Late => &["user"],
            Collection::SessionLineage => &["old_id", "new_id", "user"],
            Collection::DeadLetters => &["source"],
        }
    }

    /// Tells whether two encoded rows of a view have the same key. Those of a journal are events: no two belong together.
    pub fn same_key(self) -> SameKey {
        match self {
            Collection::Sessions => |one, other| same_key(Collection::Sessions, one, other),
            Collection::Counts => |one, other| same_key(Collection::Counts, one, other),
            Collection::Closings => |one, other| same_key(Collection::Closings, one, other),
            Collection::Late | Collection::SessionLineage | Collection::DeadLetters => |_, _| false,
        }
    }

    pub fn named(name: &str) -> Option<Collection> {
        Collection::ALL.into_iter().find(|collection| collection.name() == name)
    }
}

fn same_key(collection: Collection, one: &[u8], other: &[u8]) -> bool {
    let rows = Row::decode(collection, one).zip(Row::decode(collection, other));
    // Keys come first in the schema of every view.
    rows.is_some_and(|(one, other)| (0..collection.key().len()).all(|column| one.value(column) == other.value(column)))
}

/// A row of `sessions` in the log. What it holds lists in is written from slices and read into vectors.
#[derive(Serialize, Deserialize)]
pub struct SessionBytes<'a, C = Vec<ClassCount<'a>>, S = Vec<Measure>, E = Vec<EntryExit<'a>>> {
    user: &'a str,
    start: EventTime,
    end: EventTime,
    events: u64,
    classes: C,
    first: &'a str,
    last: &'a str,
    sums: S,
    carried: E,
}

type ClassCount<'a> = (&'a str, u64);
type EntryExit<'a> = (Option<&'a str>, Option<&'a str>);

pub fn session(row: &SessionRow<'_>) -> Vec<u8> {
    bytes(&SessionBytes {
        user: row.user,
        start: row.start,
        end: row.end,
        events: row.events,
        classes: row.classes,
        first: row.first_class,
        last: row.last_class,
        sums: row.sums,
        carried: row.carried,
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
    // Most rows are shorter: growing to that step by step takes longer than to write it.
    postcard::to_extend(row, Vec::with_capacity(192)).expect("rows are plain data, and memory can be written to")
}
