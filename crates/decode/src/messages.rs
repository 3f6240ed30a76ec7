//! Messages: records that came with data beside their bytes, as those of Kafka do. Their framing is not found in the
//! bytes but was made when they were copied, so that what a broker said of a record stays with it.
//!
//! ```text
//! list of partitions: count, then of each: topic (length, bytes), partition
//! message, message, …: partition's place in the list, offset, time, key, headers, value
//! ```
//! Numbers are LEB128; signed ones are zigzag. A text that may be absent has its length plus one in front, or 0.

use crate::path::{Path, Step};
use crate::reading::{PathSet, Reading, Slot};
use dataflows::ValueKind;
use std::fmt::Write;

/// The name under which paths reach what a message has beside its value, such as `kafka.key`.
pub const ROOT: &str = "kafka";

/// Writes messages one after the other.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    partitions: Vec<(String, i32)>,
    messages: Vec<u8>,
}

/// One message, with its place and what its sender put beside the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'m> {
    pub topic: &'m str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970-01-01T00:00:00Z; `None` if the message has no time.
    pub time_ms: Option<i64>,
    pub key: Option<&'m [u8]>,
    pub headers: Headers<'m>,
    pub value: &'m [u8],
}

/// The headers of a message, encoded: a count, then names and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'m>(&'m [u8]);

/// The headers of a message that is to be written.
#[derive(Clone, Debug, Default)]
pub struct HeadersWriter {
    count: u64,
    bytes: Vec<u8>,
}

impl HeadersWriter {
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) {
        self.count += 1;
        number(&mut self.bytes, name.len() as u64);
        self.bytes.extend_from_slice(name.as_bytes());
        optional(&mut self.bytes, value);
    }

    /// Returns the headers as a message has them.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 2);
        number(&mut bytes, self.count);
        bytes.extend_from_slice(&self.bytes);
        bytes
    }
}

impl<'m> Headers<'m> {
    /// `bytes`: made by [`HeadersWriter`].
    pub fn of(bytes: &'m [u8]) -> Headers<'m> {
        Headers(bytes)
    }

    /// Returns names and values in their order.
    pub fn iter(self) -> impl Iterator<Item = (&'m str, Option<&'m [u8]>)> {
        let mut from = Cursor(self.0);
        let count = from.number().unwrap_or(0);
        (0..count).map_while(move |_| from.header())
    }
}

impl Writer {
    /// Appends a message.
    pub fn push(&mut self, message: &Message<'_>) {
        let same = |(topic, partition): &(String, i32)| *partition == message.partition && topic == message.topic;
        let place = self.partitions.iter().position(same).unwrap_or_else(|| {
            self.partitions.push((message.topic.to_owned(), message.partition));
            self.partitions.len() - 1
        });
        let to = &mut self.messages;
        number(to, place as u64);
        number(to, zigzag(message.offset));
        number(to, message.time_ms.map_or(0, |time| zigzag(time).saturating_add(1)));
        optional(to, message.key);
        to.extend_from_slice(message.headers.0);
        number(to, message.value.len() as u64);
        to.extend_from_slice(message.value);
    }

    /// Returns the bytes of all messages, without those of the list of partitions.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns what [`read`] reads.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.messages.len() + 64);
        number(&mut bytes, self.partitions.len() as u64);
        for (topic, partition) in &self.partitions {
            number(&mut bytes, topic.len() as u64);
            bytes.extend_from_slice(topic.as_bytes());
            number(&mut bytes, zigzag(i64::from(*partition)));
        }
        bytes.extend_from_slice(&self.messages);
        bytes
    }
}

/// Returns the messages, each with the offset of its value in `bytes`; `None` if these are no messages.
pub fn read(bytes: &[u8]) -> Option<Vec<(usize, Message<'_>)>> {
    let mut from = Cursor(bytes);
    let mut partitions = Vec::new();
    for _ in 0..from.number()? {
        let topic = from.text()?;
        partitions.push((topic, i32::try_from(unzigzag(from.number()?)).ok()?));
    }
    let mut messages = Vec::new();
    while !from.0.is_empty() {
        let (topic, partition) = *partitions.get(usize::try_from(from.number()?).ok()?)?;
        let offset = unzigzag(from.number()?);
        let time_ms = from.number()?.checked_sub(1).map(unzigzag);
        let key = from.optional()?;
        let before = from.0;
        for _ in 0..from.number()? {
            from.header()?;
        }
        let headers = Headers(&before[..before.len() - from.0.len()]);
        let value = from.bytes()?;
        let at = bytes.len() - from.0.len() - value.len();
        messages.push((at, Message { topic, partition, offset, time_ms, key, headers, value }));
    }
    Some(messages)
}

struct Cursor<'m>(&'m [u8]);

impl<'m> Cursor<'m> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'m [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn bytes(&mut self) -> Option<&'m [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'m str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn optional(&mut self) -> Option<Option<&'m [u8]>> {
        match self.number()?.checked_sub(1) {
            None => Some(None),
            Some(length) => Some(Some(self.take(length)?)),
        }
    }

    fn header(&mut self) -> Option<(&'m str, Option<&'m [u8]>)> {
        Some((self.text()?, self.optional()?))
    }
}

fn number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn optional(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    number(to, bytes.map_or(0, |bytes| bytes.len() as u64 + 1));
    to.extend_from_slice(bytes.unwrap_or_default());
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The wanted paths that lead to what a message has beside its value.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    wanted: Vec<(Slot, Field)>,
    reading: Reading,
    text: String,
}

#[derive(Clone, Debug)]
enum Field {
    Topic,
    Partition,
    Offset,
    Time,
    Key,
    Header(String),
}

impl Field {
    /// `None` also of a path that is derived from one of these: its value follows from that of the other.
    fn of(path: &Path) -> Option<Field> {
        let names = path.steps().iter().map(|step| match step {
            Step::Key(key) if path.is_plain() => Some(key.as_str()),
            _ => None,
        });
        match names.collect::<Option<Vec<_>>>()?.as_slice() {
            [ROOT, "topic"] => Some(Field::Topic),
            [ROOT, "partition"] => Some(Field::Partition),
            [ROOT, "offset"] => Some(Field::Offset),
            [ROOT, "timestamp"] => Some(Field::Time),
            [ROOT, "key"] => Some(Field::Key),
            // Dots descend, and a name of a header may have some.
            [ROOT, "headers", name @ ..] if !name.is_empty() => Some(Field::Header(name.join("."))),
            _ => None,
        }
    }
}

impl Beside {
    pub fn new(paths: &PathSet) -> Beside {
        let slots = (0..paths.len() as Slot).filter_map(|slot| Some((slot, Field::of(paths.path(slot))?)));
        Beside { wanted: slots.collect(), ..Beside::default() }
    }

    /// Returns the reading of a value with what the message has beside it. At those paths, the message counts and the
    /// value does not: its sender cannot feign another key or topic.
    pub fn add<'r>(&'r mut self, message: &Message<'_>, reading: &'r mut Reading) -> &'r mut Reading {
        if self.wanted.is_empty() {
            return reading;
        }
        let Beside { wanted, reading: both, text } = self;
        both.clone_from(reading);
        both.remove(|slot| wanted.iter().any(|(wanted, _)| *wanted == slot));
        for (slot, field) in wanted.iter() {
            text.clear();
            let number = match field {
                Field::Topic => {
                    both.push(*slot, ValueKind::String, message.topic);
                    continue;
                }
                Field::Key => {
                    both.push(*slot, ValueKind::String, readable(message.key, text));
                    continue;
                }
                Field::Header(name) => {
                    // As clients of Kafka do: of several headers of a name, the last.
                    let last = message.headers.iter().filter(|(own, _)| own == name).last();
                    both.push(*slot, ValueKind::String, readable(last.and_then(|(_, value)| value), text));
                    continue;
                }
                Field::Partition => Some(i64::from(message.partition)),
                Field::Offset => Some(message.offset),
                Field::Time => message.time_ms,
            };
            if let Some(number) = number {
                let _infallible = write!(text, "{number}");
                both.push(*slot, ValueKind::Number, text);
            }
        }
        both
    }
}

/// Returns bytes as text: as they are, or as hexadecimal digits behind `0x` if they are no UTF-8.
fn readable<'t>(bytes: Option<&'t [u8]>, text: &'t mut String) -> &'t str {
    let Some(bytes) = bytes else { return "" };
    if let Ok(as_they_are) = std::str::from_utf8(bytes) {
        return as_they_are;
    }
    text.push_str("0x");
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Framing;
    use crate::interpret::{Batch, Range};
    use crate::spec::{Candidate, EventsPlan, Format, Limits, Spec};
    use crate::{Block, Decoder};
    use dataflows::{EventTime, Position, Reason};
    use proptest::collection::vec;
    use proptest::prelude::*;

    type Own = (String, i32, i64, Option<i64>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, Vec<u8>);

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..200)
    }

    fn own() -> impl Strategy<Value = Own> {
        let topic = prop_oneof![Just("orders".to_owned()), "[a-z.]{1,9}"];
        let headers = vec(("[a-z]{0,3}", proptest::option::of(bytes())), 0..4);
        // A time of `i64::MIN` has no place: it is 292 million years ago.
        let time = proptest::option::of(i64::MIN + 1..=i64::MAX);
        (topic, any::<i32>(), any::<i64>(), time, proptest::option::of(bytes()), headers, bytes())
    }

    fn written(all: &[Own]) -> Vec<u8> {
        let mut writer = Writer::default();
        for (topic, partition, offset, time_ms, key, headers, value) in all {
            let mut encoded = HeadersWriter::default();
            headers.iter().for_each(|(name, value)| encoded.push(name, value.as_deref()));
            let encoded = encoded.finish();
            writer.push(&Message {
                topic,
                partition: *partition,
                offset: *offset,
                time_ms: *time_ms,
                key: key.as_deref(),
                headers: Headers::of(&encoded),
                value,
            });
        }
        writer.finish()
    }

    fn back(message: &Message<'_>) -> Own {
        let headers = message.headers.iter().map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)));
        let Message { topic, partition, offset, time_ms, key, value, .. } = *message;
        (topic.into(), partition, offset, time_ms, key.map(<[u8]>::to_vec), headers.collect(), value.to_vec())
    }

    proptest! {
        #[test]
        fn messages_come_back_as_they_were_and_their_values_lie_where_it_says(all in vec(own(), 0..20)) {
            let bytes = written(&all);
            let read = read(&bytes).unwrap();
            prop_assert_eq!(read.iter().map(|(_, message)| back(message)).collect::<Vec<_>>(), all);
            for (at, message) in read {
                prop_assert_eq!(&bytes[at..at + message.value.len()], message.value);
            }
        }

        #[test]
        fn other_bytes_are_refused_or_read_but_never_a_panic(bytes in vec(any::<u8>(), 0..100)) {
            let _any = read(&bytes);
        }

        #[test]
        fn cut_messages_are_refused(all in vec(own(), 1..4), cut in 1..20_usize) {
            let bytes = written(&all);
            let cut = bytes.len().saturating_sub(cut);
            // A cut between two messages leaves the ones before.
            let whole = |read: Vec<(usize, Message<'_>)>| read.len() < all.len();
            prop_assert!(read(&bytes[..cut]).is_none_or(whole));
        }
    }

    #[test]
    fn values_become_events_with_what_is_beside_them_and_their_own_received_time() {
        let candidates = |texts: &[&str]| {
            let one = |text: &&str| Candidate { parts: vec![Path::parse(text).unwrap()] };
            Some(texts.iter().map(one).collect())
        };
        let events = EventsPlan {
            user: candidates(&["user", "kafka.key"]),
            time: candidates(&["t", "kafka.timestamp"]),
            kind: None,
            id: Vec::new(),
            join: "/".into(),
            zone: "UTC".into(),
            time_unit: None,
            time_formats: Vec::new(),
            absent: None,
            dedupe: None,
            max_future: 0,
            explode: None,
            limits: Limits { event_bytes: 60, ..Limits::default() },
        };
        let spec = Spec {
            sources: vec![events],
            syntaxes: Vec::new(),
            fields: Vec::new(),
            tests: Vec::new(),
            rules: Vec::new(),
            sums: Vec::new(),
            carry: Vec::new(),
        };
        let mut decoder = Decoder::new(spec, Range::default());
        const START_MS: i64 = 1_700_000_000_000;
        let value = |key: Option<&str>, time_ms: i64, value: &str| -> Own {
            (
                "t".into(),
                0,
                0,
                Some(START_MS + time_ms),
                key.map(|key| key.as_bytes().to_vec()),
                Vec::new(),
                value.into(),
            )
        };
        let long = "x".repeat(61);
        // The last but one says that it happened after it was received.
        let bytes = written(&[
            value(Some("bob"), 5, r#"{"user":"ann"}"#),
            value(Some("bob"), 6, r#"[{"a":1},{"a":2}]"#),
            value(None, 7, &long),
            value(Some("bob"), 8, r#"{"t":"2030-01-01T00:00:00Z"}"#),
            value(None, 9, r#"{"t":"#),
        ]);
        let block = Block {
            position: Position { source: 0, part: 0, offset: 0 },
            format: Format::Json,
            framing: Framing::JsonValues,
            header: None,
            received: EventTime::from_micros(1),
            bytes: &bytes,
        };
        let mut batch = Batch::default();
        assert!(decoder.read_messages(&block, &mut batch));
        let times = batch.input.records.iter().map(|record| record.event.time.unwrap().micros() - START_MS * 1000);
        assert_eq!(times.collect::<Vec<_>>(), [5000, 6000, 6000, 8000]);
        assert_eq!(batch.skewed, 1);
        let mut names: Vec<_> = batch.input.names.iter().map(|(_, name)| name.to_string()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names, ["ann", "bob"]);
        let letters: Vec<_> =
            batch.dead_letters.iter().map(|letter| (letter.reason, letter.position.offset as usize)).collect();
        let at = |text: &str| bytes.windows(text.len()).rposition(|window| window == text.as_bytes()).unwrap();
        assert_eq!(letters, [(Reason::TooLarge, at(&long)), (Reason::NoJson, at(r#"{"t":"#))]);
        assert!(!decoder.read_messages(&Block { bytes: b"\x01", ..block }, &mut batch));
    }

    /// Queues hold these bytes.
    #[test]
    fn the_encoding_of_messages_is_pinned() {
        let header = ("h".to_owned(), Some(b"v".to_vec()));
        let all = [
            ("t".to_owned(), 3, 300, Some(-1), Some(b"k".to_vec()), vec![header, ("n".into(), None)], b"{}".to_vec()),
            ("t".to_owned(), 3, 301, None, None, Vec::new(), b"".to_vec()),
        ];
        let expected = b"\x01\x01t\x06\x00\xd8\x04\x02\x02k\x02\x01h\x02v\x01n\x00\x02{}\x00\xda\x04\x00\x00\x00\x00";
        assert_eq!(written(&all), expected);
    }

    #[test]
    fn paths_reach_what_is_beside_the_value_and_nothing_in_it_counts_there() {
        let mut paths = PathSet::default();
        let mut slot = |text| paths.add(&Path::parse(text).unwrap());
        let texts = ["kafka.key", "kafka.headers.trace.id", "kafka.timestamp", "kafka.offset", "kafka.partition"];
        let [key, trace, time, offset, partition] = texts.map(&mut slot);
        let (topic, missing, user) = (slot("kafka.topic"), slot("kafka.headers.none"), slot("user"));
        let mut headers = HeadersWriter::default();
        headers.push("trace.id", Some(b"first"));
        headers.push("trace.id", Some(b"last"));
        let headers = headers.finish();
        let message = Message {
            topic: "orders",
            partition: 2,
            offset: 77,
            time_ms: Some(1_700_000_000_123),
            key: Some(b"ann"),
            headers: Headers::of(&headers),
            value: b"",
        };
        let mut reading = Reading::default();
        reading.push(key, ValueKind::String, "feigned");
        reading.push(user, ValueKind::String, "u1");
        let mut beside = Beside::new(&paths);
        let text = |reading: &Reading, slot| reading.all(slot).map(|value| value.text.to_owned()).collect::<Vec<_>>();
        let both = beside.add(&message, &mut reading);
        let found = [key, trace, time, offset, partition, topic, missing, user].map(|slot| text(both, slot).join(","));
        assert_eq!(found, ["ann", "last", "1700000000123", "77", "2", "orders", "", "u1"]);
        assert_eq!(both.first(time).unwrap().kind, ValueKind::Number);
        // A key that is absent is absent, whatever the value has there; one that is no text comes in hexadecimal.
        let none = Message { key: None, time_ms: None, ..message };
        assert_eq!(text(beside.add(&none, &mut reading), key), Vec::<String>::new());
        assert_eq!(text(beside.add(&none, &mut reading), time), Vec::<String>::new());
        let binary = Message { key: Some(&[0, 255]), ..message };
        assert_eq!(text(beside.add(&binary, &mut reading), key), ["0x00ff"]);
    }
}
