//! The rows that are published, by collection: how they lie in the output log, and what readers get.
//!
//! In the log a row is as small as it can be and equal rows have equal bytes; it is made readable when it is read. A row says
//! no version: the block that it lies in does (`log/output/block.rs`). Other bytes than those pinned below are another version
//! of blocks, and need code that reads this one.

pub mod classes;
pub mod filter;
pub mod place;
mod row;
mod schema;
pub mod sessions;

pub use row::{Row, Value};
pub use schema::{Column, Kind, Schema, Schemas};

use crate::collections::sessions::SessionRow;
use dataflows::close::{Closing, deadline};
use dataflows::sessionize::{Late, Lineage};
use dataflows::{DeadLetter, EventTime, Measure};
use headwater_log::output::SameKey;
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

pub fn closing(user: &str, closing: &Closing, gap: i64) -> Vec<u8> {
    bytes(&(user, closing.start, closing.end, closing.events, deadline(closing.end, gap)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::hex;
    use dataflows::sessionize::Moved;
    use dataflows::{Position, Reason, SignatureId, UserKey};

    /// Output logs hold these bytes: they are what version 1 and 2 of blocks mean.
    #[test]
    fn a_row_of_each_collection_is_pinned() {
        let at = |micros| EventTime::from_micros(micros).unwrap();
        let (user, key) = ("\u{fc}", UserKey::of("\u{fc}"));
        let whole = session(&SessionRow {
            key,
            user,
            start: at(1_000_000),
            end: at(2_000_000),
            events: 3,
            classes: &[("a", 1), ("b", 2)],
            first_class: "b",
            last_class: "a",
            sums: &[Measure { millionths: -1_500_000, numbers: 2, others: 1 }],
            carried: &[(Some("/a"), Some("/b")), (None, None)],
        });
        let closed = Closing { end: at(2_000_000), user: key, start: at(1_000_000), events: 3 };
        let came = Late { user: key, time: at(1_000_000), signature: SignatureId(5), session: at(-1_000_000) };
        let moved = Lineage { user: key, old: at(2_000_000), new: at(1_000_000), reason: Moved::Merged };
        let letter = DeadLetter {
            position: Position { source: 0, part: 3, offset: 70_000 },
            reason: Reason::NoJson,
            message: "why".into(),
            payload: b"{\"\xff".to_vec(),
            length: 3,
        };
        let rows = [
            (
                Collection::Sessions,
                whole,
                "02c3bc80897a8092f40103020161010162020162016101bf8db70102010201022f6101022f620000",
            ),
            (Collection::Counts, count("a", Some(at(3_600_000_000)), 300), "01610180909de91aac02"),
            (Collection::Counts, count("a", None, 1), "01610001"),
            (Collection::Closings, closing(user, &closed, 2_000_000), "02c3bc80897a8092f4010380ade204"),
            (Collection::Late, late(user, "a", &came), "02c3bc80897a0161ff887a"),
            (Collection::SessionLineage, lineage(user, &moved), "02c3bc8092f40180897a066d6572676564"),
            (
                Collection::DeadLetters,
                dead_letter("web", &letter),
                "0377656203f0a204076e6f5f6a736f6e03776879037b22ff03",
            ),
        ];
        for (collection, row, pinned) in rows {
            assert_eq!(hex(&row), pinned, "{}", collection.name());
            assert!(Row::decode(collection, &row).is_some(), "{}", collection.name());
        }
    }
}
