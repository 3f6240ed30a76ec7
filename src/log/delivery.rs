//! One record of the queue: whole events that arrived together, as raw as they came, and what it takes to read them.
//! Where they were framed once they are never framed otherwise, whatever the configuration says later.

use crate::decode::framing::Framing;
use crate::plan::Format;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;

/// Bytes of events that one delivery can hold: positions have 24 bits for the place of an event in its delivery.
pub const DELIVERY_BYTES: usize = (1 << 24) - 1;

/// Whole events of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The source, by the number that a `Source` record of the control partition gives it.
    pub source: u16,
    pub format: Format,
    pub framing: Framing,
    /// Of CSV: the header row.
    pub header: Option<&'a [u8]>,
    /// Of a file that is followed: how far it has been read with these events.
    pub cursor: Option<Cursor>,
    /// To be split by `framing`.
    pub events: &'a [u8],
}

/// How far a followed file has been read: the newest one of a file says where to go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// What the file is recognised by, whatever it is called by now.
    pub file: FileId,
    /// Where it was found first.
    pub path: String,
    /// Decompressed bytes before this offset have been delivered.
    pub offset: u64,
    /// XXH3-128 of the last of these bytes, up to 1024: files that begin alike rarely go on alike.
    pub tail: [u64; 2],
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
    /// Payload of a record of the queue.
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
