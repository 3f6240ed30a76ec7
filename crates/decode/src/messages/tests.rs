use super::*;
use crate::framing::Framing;
use crate::interpret::{Batch, Range};
use crate::spec::{Candidate, EventsPlan, Format, Limits, Spec};
use crate::{Block, Decoder};
use dataflows::{EventTime, Position, Reason};
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

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
        max_future: 0,
        limits: Limits { event_bytes: 60, ..Limits::default() },
        ..EventsPlan::default()
    };
    let spec = Spec { sources: vec![events], ..Spec::default() };
    let mut decoder = Decoder::new(spec, Range::default());
    const START_MS: i64 = 1_700_000_000_000;
    let value = |key: Option<&str>, time_ms: i64, value: &str| -> Own {
        ("t".into(), 0, 0, Some(START_MS + time_ms), key.map(|key| key.as_bytes().to_vec()), Vec::new(), value.into())
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

/// A container's log line within an object counts as the object does: its time of reception, what is hard to believe of
/// its time, and what was mended.
#[test]
fn unwrapped_lines_are_received_and_mended_as_their_message() {
    const START_MS: i64 = 1_700_000_000_000;
    let events = EventsPlan { max_future: 0, ..EventsPlan::default() };
    let spec = Spec { sources: vec![events], ..Spec::default() };
    let line = |year: &str, agent: &[u8]| {
        let head =
            format!(r#"{{"log":"203.0.113.5 - - [01/May/{year}:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \""#);
        [head.as_bytes(), agent, br#"\"","stream":"stdout","time":"x"}"#].concat()
    };
    let own = |time_ms: Option<i64>, value| -> Own { ("t".into(), 0, 0, time_ms, None, Vec::new(), value) };
    let bytes = written(&[
        own(Some(START_MS + 7), line("2030", b"curl")),
        own(Some(START_MS + 8), line("2020", b"caf\xe9")),
        own(None, line("2030", b"curl")),
    ]);
    let header = Arc::<[u8]>::from(&b"log"[..]);
    let block = Block {
        position: Position { source: 0, part: 0, offset: 0 },
        format: Format::Json,
        framing: Framing::JsonValues,
        header: Some(&header),
        received: EventTime::from_micros(START_MS * 1000),
        bytes: &bytes,
    };
    let mut batch = Batch::default();
    let mut decoder = Decoder::new(spec, Range::default()).expecting(EventTime::from_micros(START_MS * 1000));
    assert!(decoder.read_messages(&block, &mut batch));
    assert!(batch.dead_letters.is_empty(), "{:?}", batch.dead_letters);
    let times: Vec<_> = batch.input.records.iter().map(|record| record.event.time.unwrap().micros() / 1000).collect();
    assert_eq!(times, [START_MS + 7, 1_588_327_200_000, START_MS]);
    assert_eq!((batch.skewed, batch.repaired), (2, 1));
    let late: u64 = batch.usage.values().map(|used| used.late).sum();
    assert_eq!(late, 2);
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
