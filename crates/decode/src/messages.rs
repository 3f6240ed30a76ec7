//! Messages: records that came with data beside their bytes, as those of Kafka do. Their framing is not found in the
//! bytes but was made when they were copied, so that what a broker said of a record stays with it.
//!
//! ```text
//! list of partitions: count, then of each: topic (length, bytes), partition
//! message, message, …: partition's place in the list, offset, time, key, headers, value
//! ```
//! Numbers are LEB128; signed ones are zigzag. A text that may be absent has its length plus one in front, or 0.

use crate::path::{Path, Step};
use crate::path_set::PathSet;
use crate::reading::{Reading, Slot};
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
    /// Name of its topic.
    pub topic: &'m str,
    /// Its partition of the topic.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970-01-01T00:00:00Z; `None` if the message has no time.
    pub time_ms: Option<i64>,
    /// `None`: the message has no key.
    pub key: Option<&'m [u8]>,
    /// In the order of their sender.
    pub headers: Headers<'m>,
    /// The bytes that hold records.
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
    /// Adds a header; `None`: it has no value.
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

    /// Returns whether there is no message.
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
    /// Makes a reader of those of the paths that lead beside values.
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
mod tests;
