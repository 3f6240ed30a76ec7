//! One record of the queue: whole events that arrived together, as raw bytes, with the settings to read them. Their
//! framing is fixed here, so a later configuration does not change it.

use crate::collections::place::DELIVERY_BYTES;
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const VERSION: u8 = 1;

/// Whole events of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The source, by the number that a `Source` record of the control partition gives it.
    pub source: u16,
    pub format: Format,
    pub framing: Framing,
    /// Of CSV: the header row.
    pub header: Option<&'a [u8]>,
    /// The cursor of a followed file after these events.
    pub cursor: Option<Cursor>,
    /// To be split by `framing`.
    pub events: &'a [u8],
}

/// How far a followed file has been read: the newest one of a file says where to go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Identifies the file, under any name.
    pub file: FileId,
    /// Where it was found first.
    pub path: String,
    /// Decompressed bytes before this offset have been delivered.
    pub offset: u64,
    /// XXH3-128 of the last of these bytes, up to 1024: files that begin alike rarely go on alike.
    pub tail: [u64; 2],
}

/// The newest cursor of each file, by the number of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u16, Cursor)>", into = "Vec<(u16, Cursor)>")]
pub struct Cursors(BTreeMap<(u16, FileId), Cursor>);

impl Cursors {
    /// Adds a cursor. If there are several of a file, the furthest one counts.
    pub fn add(&mut self, source: u16, cursor: Cursor) {
        let known = self.0.entry((source, cursor.file)).or_insert_with(|| cursor.clone());
        if known.offset < cursor.offset {
            *known = cursor;
        }
    }

    pub fn merge(&mut self, others: Cursors) {
        others.0.into_iter().for_each(|((source, _), cursor)| self.add(source, cursor));
    }

    /// Returns those of one source.
    pub fn of(&self, source: u16) -> impl Iterator<Item = &Cursor> {
        self.0.iter().filter(move |((of, _), _)| *of == source).map(|(_, cursor)| cursor)
    }
}

impl From<Vec<(u16, Cursor)>> for Cursors {
    fn from(all: Vec<(u16, Cursor)>) -> Cursors {
        let mut cursors = Cursors::default();
        all.into_iter().for_each(|(source, cursor)| cursors.add(source, cursor));
        cursors
    }
}

impl From<Cursors> for Vec<(u16, Cursor)> {
    fn from(cursors: Cursors) -> Vec<(u16, Cursor)> {
        cursors.0.into_iter().map(|((source, _), cursor)| (source, cursor)).collect()
    }
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

impl<'a> Delivery<'a> {
    /// Returns the payload of a record of the queue.
    ///
    /// # Panics
    /// If `events` has more than [`DELIVERY_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.events.len() <= DELIVERY_BYTES, "a delivery of {} bytes", self.events.len());
        let cursor = self
            .cursor
            .as_ref()
            .map_or(Vec::new(), |cursor| serde_json::to_vec(cursor).expect("text and numbers are always JSON"));
        let header = self.header.unwrap_or_default();
        let mut bytes = Vec::with_capacity(14 + header.len() + cursor.len() + self.events.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.source.to_le_bytes());
        bytes.push(match self.format {
            Format::Json => 0,
            Format::Csv => 1,
            Format::Clf => 2,
        });
        bytes.push(match self.framing {
            Framing::Lines => 0,
            Framing::Csv => 1,
            Framing::JsonValues => 2,
        });
        bytes.push(u8::from(self.header.is_some()));
        for field in [header, &cursor] {
            bytes.extend_from_slice(&(field.len() as u32).to_le_bytes());
            bytes.extend_from_slice(field);
        }
        bytes.extend_from_slice(self.events);
        bytes
    }

    /// `None` if this is no delivery that this program knows.
    pub fn decode(payload: &'a [u8]) -> Option<Delivery<'a>> {
        let (head, mut rest) = payload.split_first_chunk::<6>()?;
        if head[0] != VERSION {
            return None;
        }
        let format = [Format::Json, Format::Csv, Format::Clf].get(usize::from(head[3])).copied()?;
        let framing = [Framing::Lines, Framing::Csv, Framing::JsonValues].get(usize::from(head[4])).copied()?;
        let mut field = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (field, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(field)
        };
        let (header, cursor) = (field()?, field()?);
        Some(Delivery {
            source: u16::from_le_bytes([head[1], head[2]]),
            format,
            framing,
            header: (head[5] == 1).then_some(header),
            cursor: if cursor.is_empty() { None } else { Some(serde_json::from_slice(cursor).ok()?) },
            events: rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::place::{place, position};

    #[test]
    fn a_position_is_a_record_and_a_byte_of_it_in_that_order() {
        let at = |record, byte| position(1, 2, record, byte);
        assert_eq!(place(at(7, DELIVERY_BYTES).offset), (7, DELIVERY_BYTES));
        assert!(at(7, DELIVERY_BYTES) < at(8, 0) && at(7, 0) < at(7, 1));
    }

    #[test]
    fn the_cursor_that_is_further_counts_whichever_came_first() {
        let cursor = |length, offset| Cursor {
            file: FileId { hash: [1, 2], length, twin: 0 },
            path: "log".into(),
            offset,
            tail: [0; 2],
        };
        let all = vec![(0, cursor(5, 9)), (0, cursor(5, 7)), (0, cursor(6, 3)), (1, cursor(5, 1))];
        let cursors = Cursors::from(all);
        assert_eq!(cursors.of(0).map(|cursor| cursor.offset).collect::<Vec<_>>(), [9, 3]);
        let json = serde_json::to_string(&cursors).unwrap();
        assert_eq!(serde_json::from_str::<Cursors>(&json).unwrap(), cursors);
        let mut merged = Cursors::from(vec![(0, cursor(5, 8)), (1, cursor(5, 2))]);
        merged.merge(cursors);
        assert_eq!(Vec::from(merged), [(0, cursor(5, 9)), (0, cursor(6, 3)), (1, cursor(5, 2))]);
    }

    /// Queues hold these bytes.
    #[test]
    fn the_encoding_of_version_1_is_pinned() {
        let delivery = Delivery {
            source: 258,
            format: Format::Csv,
            framing: Framing::Csv,
            header: Some(b"u,t"),
            cursor: None,
            events: b"a,1\n",
        };
        let bytes = b"\x01\x02\x01\x01\x01\x01\x03\0\0\0u,t\0\0\0\0a,1\n";
        assert_eq!(delivery.encode(), bytes);
        assert_eq!(Delivery::decode(bytes), Some(delivery));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let file = FileId { hash: [1, u64::MAX], length: 9, twin: 0 };
        let cursor = Cursor { file, path: "/var/log/ü.csv".into(), offset: 77, tail: [2, 3] };
        let csv = Delivery {
            source: 3,
            format: Format::Csv,
            framing: Framing::Csv,
            header: Some(b"user,time"),
            cursor: Some(cursor),
            events: b"a,1\n",
        };
        let json =
            Delivery { format: Format::Json, framing: Framing::JsonValues, header: None, cursor: None, ..csv.clone() };
        let clf = Delivery { format: Format::Clf, framing: Framing::Lines, header: None, events: b"", ..csv.clone() };
        for delivery in [csv, json, clf] {
            let bytes = delivery.encode();
            assert_eq!(Delivery::decode(&bytes), Some(delivery.clone()));
            let whole = bytes.len() - delivery.events.len();
            assert!((0..whole).all(|length| Delivery::decode(&bytes[..length]).is_none()));
        }
        assert_eq!(Delivery::decode(b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0"), None);
    }
}
