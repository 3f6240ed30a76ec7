//! One record of the queue: whole events that arrived together, as raw bytes, with the settings to read them. Their
//! framing is fixed here, so a later configuration does not change it.

use crate::collections::place::DELIVERY_BYTES;
use crate::queue::cursor::Cursor;
use crate::queue::numbers::SourceNumber;
use headwater_decode::csv;
use headwater_decode::framing::{Dialect, Framing};
use headwater_decode::messages;
use headwater_decode::spec::Format;

/// With at most one cursor. What needs no more is written like this, so that earlier releases read it too.
const ONE_CURSOR: u8 = 1;
/// With a list of cursors, and perhaps messages.
const CURSORS: u8 = 2;
/// Flags of a delivery. Version 1 has the first one alone.
const HEADER: u8 = 1;
const MESSAGES: u8 = 2;

/// Whole events of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub source: SourceNumber,
    pub format: Format,
    pub framing: Framing,
    /// The events are the values of [`messages`], each to be split by `framing`.
    pub messages: bool,
    /// Of CSV: the header row.
    pub header: Option<&'a [u8]>,
    /// Where to go on after these events, in each partition that they are of. None if the sender keeps its own place.
    pub cursors: Vec<Cursor>,
    /// To be split by `framing`, or messages.
    pub events: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Returns the payload of a record of the queue.
    ///
    /// # Panics
    /// If `events` has more than [`DELIVERY_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.events.len() <= DELIVERY_BYTES, "a delivery of {} bytes", self.events.len());
        let (version, cursors) = match self.cursors.as_slice() {
            several if self.messages => (CURSORS, serde_json::to_vec(several)),
            [] => (ONE_CURSOR, Ok(Vec::new())),
            [one] => (ONE_CURSOR, serde_json::to_vec(one)),
            several => (CURSORS, serde_json::to_vec(several)),
        };
        let cursors = cursors.expect("text and numbers are always JSON");
        // Up to release 0.1.0 the dialect of rows followed from their header. It stands before the header now.
        let header = match self.framing {
            Framing::Rows(dialect) => [&dialect.encode()[..], self.header.unwrap_or_default()].concat(),
            _ => self.header.unwrap_or_default().to_vec(),
        };
        let mut bytes = Vec::with_capacity(14 + header.len() + cursors.len() + self.events.len());
        bytes.push(version);
        bytes.extend_from_slice(&self.source.0.to_le_bytes());
        bytes.push(match self.format {
            Format::Json => 0,
            Format::Csv => 1,
            Format::Clf => 2,
            Format::Log => 3,
            Format::Ltsv => 4,
            Format::Logfmt => 5,
            Format::Text => 6,
        });
        bytes.push(match self.framing {
            Framing::Lines => 0,
            Framing::JsonValues => 2,
            Framing::Rows(_) => 3,
            Framing::CrLines => 4,
        });
        let flags = [(self.header.is_some(), HEADER), (self.messages, MESSAGES)];
        bytes.push(flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        for field in [&header, &cursors] {
            bytes.extend_from_slice(&(field.len() as u32).to_le_bytes());
            bytes.extend_from_slice(field);
        }
        bytes.extend_from_slice(self.events);
        bytes
    }

    /// `None` if this is no delivery that this program knows.
    pub fn decode(payload: &'a [u8]) -> Option<Delivery<'a>> {
        let (head, mut rest) = payload.split_first_chunk::<6>()?;
        let version = head[0];
        if !matches!(version, ONE_CURSOR | CURSORS) {
            return None;
        }
        let format = Format::ALL.get(usize::from(head[3])).copied()?;
        let mut field = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (field, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(field)
        };
        let (mut header, cursors) = (field()?, field()?);
        let known = if version == ONE_CURSOR { HEADER } else { HEADER | MESSAGES };
        let cursors = match version {
            _ if head[5] & !known != 0 => return None,
            ONE_CURSOR if cursors.is_empty() => Vec::new(),
            ONE_CURSOR => vec![serde_json::from_slice(cursors).ok()?],
            _ => serde_json::from_slice(cursors).ok()?,
        };
        let framing = match head[4] {
            0 => Framing::Lines,
            1 => former_rows(header),
            2 => Framing::JsonValues,
            3 => {
                let (dialect, after) = header.split_first_chunk()?;
                header = after;
                Framing::Rows(Dialect::decode(dialect)?)
            }
            4 => Framing::CrLines,
            _ => return None,
        };
        Some(Delivery {
            source: SourceNumber(u16::from_le_bytes([head[1], head[2]])),
            format,
            framing,
            messages: head[5] & MESSAGES != 0,
            header: (head[5] & HEADER != 0).then_some(header),
            cursors,
            events: rest,
        })
    }

    /// Returns where in their file the events begin; `None`: they are of no file.
    pub fn begins_at(&self) -> Option<u64> {
        match self.cursors.as_slice() {
            [Cursor::File(behind)] => Some(behind.offset.saturating_sub(self.events.len() as u64)),
            [Cursor::Backfill(behind)] => Some(behind.from),
            _ => None,
        }
    }

    /// Returns whether the events are history that was brought in later: when they were received is not known.
    pub fn is_history(&self) -> bool {
        matches!(self.cursors.as_slice(), [Cursor::Backfill(_)])
    }

    /// Returns the record in which `byte` of the events lies, with where it begins. Of a message above `limit` that is the
    /// whole value.
    pub fn record_at(&self, byte: usize, limit: usize) -> Option<(usize, &'a [u8])> {
        let within = |(start, record): &(usize, &[u8])| (*start..start + record.len()).contains(&byte);
        if !self.messages {
            return self.framing.records(self.events).find(within);
        }
        let messages = messages::read(self.events)?.into_iter();
        let (at, value) = messages.map(|(at, message)| (at, message.value)).find(within)?;
        match value.len() > limit {
            true => Some((at, value)),
            false => self.framing.records(value).map(|(start, record)| (at + start, record)).find(within),
        }
    }
}

/// Returns the framing of rows as releases up to 0.1.0 delivered them.
fn former_rows(header: &[u8]) -> Framing {
    let dialect = Dialect { delimiter: csv::delimiter(header), ..Dialect::default() };
    let fields = csv::names(header, dialect).map_or(0, |names| names.len());
    Framing::Rows(Dialect { fields: fields as u32, ..dialect })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::place::{SourceIndex, place, position};
    use crate::queue::cursor::{FileCursor, FileId};

    /// A run and a replay see one event at the same place of its file.
    #[test]
    fn events_of_a_file_begin_where_their_cursor_says() {
        let cursor = |offset| {
            let file = FileId { hash: [1, 2], length: 5, twin: 0 };
            Cursor::File(FileCursor { file, path: "log".into(), offset, tail: [3, 4] })
        };
        let delivery = |cursors| Delivery {
            source: SourceNumber(0),
            format: Format::Clf,
            framing: Framing::Lines,
            messages: false,
            header: None,
            cursors,
            events: b"0123456789",
        };
        assert_eq!(delivery(vec![cursor(1010)]).begins_at(), Some(1000));
        assert_eq!(delivery(vec![]).begins_at(), None);
        assert_eq!(delivery(vec![cursor(10), cursor(20)]).begins_at(), None);
    }

    #[test]
    fn a_position_is_a_record_and_a_byte_of_it_in_that_order() {
        let at = |record, byte| position(SourceIndex(1), 2, record, byte);
        assert_eq!(place(at(7, DELIVERY_BYTES).offset), (7, DELIVERY_BYTES));
        assert!(at(7, DELIVERY_BYTES) < at(8, 0) && at(7, 0) < at(7, 1));
    }

    /// Queues hold these bytes.
    #[test]
    fn the_encoding_of_version_1_is_pinned() {
        let delivery = Delivery {
            source: SourceNumber(258),
            format: Format::Csv,
            framing: Framing::Rows(Dialect { fields: 2, ..Dialect::default() }),
            messages: false,
            header: Some(b"u,t"),
            cursors: Vec::new(),
            events: b"a,1\n",
        };
        let former = b"\x01\x02\x01\x01\x01\x01\x03\0\0\0u,t\0\0\0\0a,1\n";
        assert_eq!(Delivery::decode(former), Some(delivery.clone()));
        let bytes = b"\x01\x02\x01\x01\x03\x01\x13\0\0\0,\x01\"\0\0\n\0\0\x02\0\0\0\0\0\x10\0u,t\0\0\0\0a,1\n";
        assert_eq!(delivery.encode(), bytes);
        assert_eq!(Delivery::decode(bytes), Some(delivery));
    }

    #[test]
    fn a_record_is_found_by_any_of_its_bytes() {
        let message = |value| messages::Message {
            topic: "t",
            partition: 0,
            offset: 1,
            time_ms: None,
            key: Some(b"key"),
            headers: messages::Headers::of(b"\0"),
            value,
        };
        let mut writer = messages::Writer::default();
        let large = "x".repeat(31);
        [br#"[{"a":1}, {"a":2}]"#.as_slice(), large.as_bytes()].iter().for_each(|value| writer.push(&message(value)));
        let events = writer.finish();
        let (format, framing, header) = (Format::Json, Framing::JsonValues, None);
        let delivery = |messages, events| Delivery {
            source: SourceNumber(0),
            format,
            framing,
            messages,
            header,
            cursors: Vec::new(),
            events,
        };
        let in_messages = delivery(true, &events);
        for record in [r#"{"a":1}"#, r#"{"a":2}"#, &large] {
            let start = events.windows(record.len()).position(|window| window == record.as_bytes()).unwrap();
            for byte in start..start + record.len() {
                assert_eq!(in_messages.record_at(byte, 30), Some((start, record.as_bytes())));
            }
        }
        assert_eq!(in_messages.record_at(0, 30), None);
        assert_eq!(delivery(false, br#"{"a":1}"#).record_at(3, 30), Some((0, br#"{"a":1}"#.as_slice())));
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let cursor = |length| {
            let file = FileId { hash: [1, u64::MAX], length, twin: 0 };
            Cursor::File(FileCursor { file, path: "/var/log/ü.csv".into(), offset: 77, tail: [2, 3] })
        };
        let csv = Delivery {
            source: SourceNumber(3),
            format: Format::Csv,
            framing: Framing::Rows(Dialect { spaced: true, ..Dialect::default() }),
            messages: false,
            header: Some(b"user,time"),
            cursors: vec![cursor(9)],
            events: b"a,1\n",
        };
        let json = Delivery {
            format: Format::Json,
            framing: Framing::JsonValues,
            header: None,
            cursors: Vec::new(),
            ..csv.clone()
        };
        let several = Delivery { cursors: vec![cursor(9), cursor(10)], ..csv.clone() };
        let messages = Delivery { messages: true, header: None, cursors: Vec::new(), ..csv.clone() };
        let clf = Delivery { format: Format::Clf, framing: Framing::CrLines, header: None, events: b"", ..csv.clone() };
        for delivery in [csv, json, clf, several, messages] {
            let bytes = delivery.encode();
            assert_eq!(Delivery::decode(&bytes), Some(delivery.clone()));
            let whole = bytes.len() - delivery.events.len();
            assert!((0..whole).all(|length| Delivery::decode(&bytes[..length]).is_none()));
        }
        assert_eq!(Delivery::decode(b"\x03\0\0\0\0\0\0\0\0\0\0\0\0\0"), None);
    }
}
