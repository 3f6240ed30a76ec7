//! How far each partition of each source has been read. A cursor becomes durable in the delivery whose records it is
//! behind; snapshots hold the furthest of each partition; a start gives them back to the sources.

use crate::queue::numbers::SourceNumber;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The place in a partition up to which its records have been delivered. Data folders hold it as JSON: its fields show
/// the kind, and a kind may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cursor {
    File(FileCursor),
    Kafka(KafkaCursor),
    Backfill(Box<BackfillCursor>),
}

/// A part of a source whose records have one order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Partition {
    File(FileId),
    Kafka {
        topic: String,
        partition: i32,
    },
    /// By name: all of its files together.
    Backfill(String),
}

impl Cursor {
    pub fn partition(&self) -> Partition {
        match self {
            Cursor::File(cursor) => Partition::File(cursor.file),
            Cursor::Kafka(KafkaCursor { topic, partition, .. }) => {
                Partition::Kafka { topic: topic.clone(), partition: *partition }
            }
            Cursor::Backfill(cursor) => Partition::Backfill(cursor.backfill.clone()),
        }
    }

    /// Returns whether this cursor is before another one of its partition.
    fn is_before(&self, other: &Cursor) -> bool {
        match (self, other) {
            (Cursor::File(own), Cursor::File(other)) => own.offset < other.offset,
            // Behind a gap, offsets may begin again.
            (Cursor::Kafka(own), Cursor::Kafka(other)) => (own.gaps, own.offset) < (other.gaps, other.offset),
            (Cursor::Backfill(own), Cursor::Backfill(other)) => own.number < other.number,
            // Of other partitions.
            _ => false,
        }
    }
}

/// How far a file has been read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCursor {
    /// Identifies the file, under any name.
    pub file: FileId,
    /// Where it was found first.
    pub path: String,
    /// Decompressed bytes before this offset have been delivered.
    pub offset: u64,
    /// XXH3-128 of the last of these bytes, up to 1024: files that begin alike rarely go on alike.
    pub tail: [u64; 2],
}

/// How far a partition of a topic has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaCursor {
    pub topic: String,
    pub partition: i32,
    /// The offset behind the last record that was delivered.
    pub offset: i64,
    /// How often a gap was accepted. Of two cursors, the one behind more gaps is further.
    pub gaps: u32,
}

/// How far a backfill is, and all that a start has to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillCursor {
    /// The name of the backfill.
    pub backfill: String,
    /// The name of the source that its events are of.
    pub source: String,
    /// XXH3-128 of the content of all its files, and of what is taken of them.
    pub content: [u64; 2],
    /// Each cursor of a backfill has a higher one than those before.
    pub number: u64,
    pub state: BackfillState,
    /// Everything before it was delivered.
    pub place: BackfillPlace,
    /// Offset in the file at which the events of this delivery begin.
    pub from: u64,
    /// Delivered so far.
    pub done: Amount,
    /// Of all files.
    pub all: Amount,
    /// How many files there are.
    pub files: u32,
    /// When it began, in milliseconds since 1970-01-01T00:00:00Z.
    pub began_ms: i64,
}

/// A place in the files of a backfill. An offset counts decompressed bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillPlace {
    pub file: u32,
    pub offset: u64,
}

/// An amount of history: bytes are decompressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    pub records: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillState {
    /// Chunks are taken.
    Open,
    /// Chunks are refused until it is resumed.
    Paused,
    /// All of it was delivered.
    Done,
}

/// A file by its content: the first bytes of a log never change, its name and place on disk do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// XXH3-128 of the first `length` decompressed bytes: up to 1024, as many as were delivered first.
    pub hash: [u64; 2],
    pub length: u32,
    /// Tells files apart that begin alike; 0 for the first.
    pub twin: u32,
}

/// The furthest cursor of each partition of each source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(SourceNumber, Cursor)>", into = "Vec<(SourceNumber, Cursor)>")]
pub struct Cursors(BTreeMap<(SourceNumber, Partition), Cursor>);

impl Cursors {
    /// Adds a cursor. If there are several of a partition, the furthest one counts.
    pub fn add(&mut self, source: SourceNumber, cursor: Cursor) {
        let known = self.0.entry((source, cursor.partition())).or_insert_with(|| cursor.clone());
        if known.is_before(&cursor) {
            *known = cursor;
        }
    }

    pub fn merge(&mut self, others: Cursors) {
        others.0.into_iter().for_each(|((source, _), cursor)| self.add(source, cursor));
    }

    /// Returns those of all sources.
    pub fn all(&self) -> impl Iterator<Item = &Cursor> {
        self.0.values()
    }

    /// Returns those of one source.
    pub fn of(&self, source: SourceNumber) -> impl Iterator<Item = &Cursor> {
        self.0.iter().filter(move |((of, _), _)| *of == source).map(|(_, cursor)| cursor)
    }
}

impl From<Vec<(SourceNumber, Cursor)>> for Cursors {
    fn from(all: Vec<(SourceNumber, Cursor)>) -> Cursors {
        let mut cursors = Cursors::default();
        all.into_iter().for_each(|(source, cursor)| cursors.add(source, cursor));
        cursors
    }
}

impl From<Cursors> for Vec<(SourceNumber, Cursor)> {
    fn from(cursors: Cursors) -> Vec<(SourceNumber, Cursor)> {
        cursors.0.into_iter().map(|((source, _), cursor)| (source, cursor)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u32, offset: u64) -> Cursor {
        let file = FileId { hash: [1, 2], length, twin: 0 };
        Cursor::File(FileCursor { file, path: "log".into(), offset, tail: [3, 4] })
    }

    #[test]
    fn the_cursor_that_is_further_counts_whichever_came_first() {
        let [first, second] = [SourceNumber(0), SourceNumber(1)];
        let all = vec![(first, file(5, 9)), (first, file(5, 7)), (first, file(6, 3)), (second, file(5, 1))];
        let cursors = Cursors::from(all);
        assert_eq!(cursors.of(first).cloned().collect::<Vec<_>>(), [file(5, 9), file(6, 3)]);
        let json = serde_json::to_string(&cursors).unwrap();
        assert_eq!(serde_json::from_str::<Cursors>(&json).unwrap(), cursors);
        let mut merged = Cursors::from(vec![(first, file(5, 8)), (second, file(5, 2))]);
        merged.merge(cursors);
        assert_eq!(Vec::from(merged), [(first, file(5, 9)), (first, file(6, 3)), (second, file(5, 2))]);
    }

    #[test]
    fn behind_an_accepted_gap_a_lower_offset_is_further() {
        let kafka = |offset, gaps| Cursor::Kafka(KafkaCursor { topic: "orders".into(), partition: 3, offset, gaps });
        let source = SourceNumber(1);
        let all = vec![(source, kafka(9, 0)), (source, kafka(0, 1)), (source, kafka(100, 0)), (source, file(1, 1))];
        let cursors = Cursors::from(all);
        assert_eq!(cursors.of(source).cloned().collect::<Vec<_>>(), [file(1, 1), kafka(0, 1)]);
        let json = serde_json::to_string(&cursors).unwrap();
        assert_eq!(serde_json::from_str::<Cursors>(&json).unwrap(), cursors);
        let pinned = r#"{"topic":"orders","partition":3,"offset":0,"gaps":1}"#;
        assert!(json.contains(pinned), "{json}");
    }

    #[test]
    fn of_a_backfill_the_last_cursor_counts_and_its_encoding_is_pinned() {
        let backfill = |number, state| {
            Cursor::Backfill(Box::new(BackfillCursor {
                backfill: "2023".into(),
                source: "web".into(),
                content: [1, 2],
                number,
                state,
                place: BackfillPlace { file: 1, offset: 9 },
                from: 5,
                done: Amount { records: 3, bytes: 9 },
                all: Amount { records: 4, bytes: 12 },
                files: 2,
                began_ms: 7,
            }))
        };
        let all = [backfill(2, BackfillState::Paused), backfill(1, BackfillState::Open), file(5, 9)];
        let cursors = Cursors::from(all.map(|cursor| (SourceNumber(0), cursor)).to_vec());
        assert_eq!(cursors.all().count(), 2);
        assert!(cursors.all().any(|cursor| *cursor == backfill(2, BackfillState::Paused)));
        let json = serde_json::to_string(&cursors).unwrap();
        assert_eq!(serde_json::from_str::<Cursors>(&json).unwrap(), cursors);
        let pinned = concat!(
            r#"{"backfill":"2023","source":"web","content":[1,2],"number":2,"state":"paused","#,
            r#""place":{"file":1,"offset":9},"from":5,"done":{"records":3,"bytes":9},"all":{"records":4,"bytes":12},"#,
            r#""files":2,"began_ms":7}"#,
        );
        assert!(json.contains(pinned), "{json}");
    }

    /// Deliveries and snapshots hold these bytes, written by release 0.1.0.
    #[test]
    fn the_encoding_of_cursors_is_pinned() {
        let one = r#"{"file":{"hash":[1,2],"length":5,"twin":0},"path":"log","offset":9,"tail":[3,4]}"#;
        assert_eq!(serde_json::to_string(&file(5, 9)).unwrap(), one);
        assert_eq!(serde_json::from_str::<Cursor>(one).unwrap(), file(5, 9));
        let all = Cursors::from(vec![(SourceNumber(7), file(5, 9))]);
        assert_eq!(serde_json::to_string(&all).unwrap(), format!("[[7,{one}]]"));
    }
}
