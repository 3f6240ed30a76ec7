//! Bad input is data: each bad record is one dead letter with reason, place and original bytes; the good ones count.

use super::{event, session};
use crate::headwater::Folder;
use base64::Engine as _;
use serde_json::Value;
use std::io::Write as _;

/// A record, and the reason and payload that its dead letter is to have; `None` for a good one.
type Case = (Vec<u8>, Option<(&'static str, usize)>);

fn good(time: i64) -> Case {
    (event("u", time, "a").into(), None)
}

fn bad(reason: &'static str, record: impl Into<Vec<u8>>) -> Case {
    let record = record.into();
    let kept = record.len();
    (record, Some((reason, kept)))
}

/// Replays the lines of `cases`, joined by `newline`; there is to be one dead letter for each bad line, and no other.
fn check(config: &str, head: &[u8], cases: &[Case], newline: &str) {
    let folder = Folder::new();
    folder.write("headwater.toml", config);
    let mut content = head.to_vec();
    let mut wanted = Vec::new();
    for (record, reason) in cases {
        if let Some((reason, kept)) = reason {
            wanted.push((*reason, content.len() as u64, record[..*kept].to_vec(), record.len() as u64));
        }
        content.extend_from_slice(record);
        content.extend_from_slice(newline.as_bytes());
    }
    let path = folder.write("events.log", content);
    for workers in ["1", "3"] {
        let replay = folder.replay("headwater.toml", ["events.log", "--workers", workers]);
        let mut seen = Vec::new();
        for letter in replay.dead_letters() {
            assert_eq!(letter["source"], "files", "{letter}");
            assert_eq!(
                std::path::Path::new(letter["path"].as_str().unwrap()).file_name(),
                path.file_name(),
                "{letter}"
            );
            assert!(!letter["message"].as_str().unwrap().is_empty(), "{letter}");
            seen.push((letter["reason"].clone(), letter["offset"].clone(), payload(&letter), letter["length"].clone()));
        }
        let wanted_values: Vec<_> = wanted
            .iter()
            .map(|(reason, offset, payload, length)| {
                (Value::from(*reason), Value::from(*offset), payload.clone(), Value::from(*length))
            })
            .collect();
        assert_eq!(seen, wanted_values);
        assert_eq!(replay.number("dead_letters"), wanted.len() as u64);
        for (reason, count) in replay.numbers("dead_letter_reasons") {
            assert_eq!(count, wanted.iter().filter(|(other, ..)| *other == reason).count() as u64, "{reason}");
        }
        let good = cases.iter().filter(|(_, reason)| reason.is_none()).count() as u64;
        assert_eq!(replay.number("events"), good);
        assert_eq!(replay.rows().iter().map(|row| row.3).sum::<u64>(), good);
    }
}

fn payload(letter: &Value) -> Vec<u8> {
    match letter["payload"].as_str() {
        Some(text) => text.into(),
        None => base64::engine::general_purpose::STANDARD.decode(letter["payload_base64"].as_str().unwrap()).unwrap(),
    }
}

const LIMITS: &str = "[events]\nmax_bytes = \"1KiB\"\nmax_depth = 5\nmax_keys = 8\n";

fn json_cases() -> Vec<Case> {
    let keys = |count: usize| (0..count).map(|n| format!(r#""k{n}":1"#)).collect::<Vec<_>>().join(",");
    let huge = format!(r#"{{"user_id":"u","text":"{}"}}"#, "x".repeat(3000));
    vec![
        good(0),
        bad("not_utf8", b"{\"user_id\":\xff\xfe,\"timestamp\":1}".as_slice()),
        good(1),
        bad("no_json", r#"{"user_id":"u","timestamp":1"#),
        bad("no_json", "free text, as processes print it"),
        bad("no_json", r#"{"user_id":"u"} {"user_id":"v"}"#),
        good(2),
        bad("not_an_object", "42"),
        bad("not_an_object", r#"["u",1]"#),
        bad("not_an_object", "null"),
        bad("duplicate_key", r#"{"user_id":"u","timestamp":1577836801,"user_id":"v"}"#),
        bad("duplicate_key", r#"{"user_id":"u","user\u005fid":"v"}"#),
        good(3),
        (huge.into_bytes(), Some(("too_large", 1024))),
        good(4),
        bad("too_deep", format!(r#"{{"a":{}1{}}}"#, "[".repeat(5), "]".repeat(5))),
        bad("too_many_keys", format!("{{{}}}", keys(9))),
        // Just within the limits.
        (format!(r#"{{"user_id":"u","timestamp":1577836805,{}}}"#, keys(6)).into(), None),
        (format!(r#"{{"user_id":"u","timestamp":1577836805,"a":{}1{}}}"#, "[".repeat(4), "]".repeat(4)).into(), None),
    ]
}

#[test]
fn each_bad_json_line_is_one_dead_letter() {
    check(LIMITS, b"", &json_cases(), "\n");
}

#[test]
fn windows_line_ends_byte_order_mark_and_blank_lines_are_no_records() {
    check(LIMITS, b"\xef\xbb\xbf", &json_cases(), "\r\n");
    check(LIMITS, b"\n\n", &json_cases(), "\n\n \n");
}

#[test]
fn each_bad_csv_row_is_one_dead_letter() {
    let row = |text: &str| (text.as_bytes().to_vec(), None);
    let cases = [
        row("u,1,a"),
        bad("wrong_field_count", "u,1"),
        bad("wrong_field_count", "u,1,a,b"),
        row("u,2,\"two\nlines\""),
        // What is no UTF-8 is mended, but that does not give it another number of fields.
        bad("not_utf8", b"u,1,a,\xff".as_slice()),
        row("u,3,\"a \"\"quoted\"\" type\""),
    ];
    check("", b"user_id,timestamp,event\n", &cases, "\n");
    check("", b"\xef\xbb\xbfuser_id,timestamp,event\r\n", &cases, "\r\n");
}

#[test]
fn each_bad_access_log_line_is_one_dead_letter() {
    let line = |request: &str| {
        (format!(r#"203.0.113.9 - - [17/May/2015:10:05:03 +0000] "{request}" 200 12"#).into_bytes(), None)
    };
    let cases = [
        line("GET / HTTP/1.1"),
        bad("no_log_line", "server started"),
        line("HEAD /a?b=c HTTP/1.0"),
        // What a TLS client sends to a plain port is an event without a method.
        line(r"\x16\x03\x01"),
        bad("not_utf8", b"203.0.113.9 - - [17/May/2015:10:05:03 +0000] GET /\xff".as_slice()),
    ];
    check("", b"", &cases, "\n");
}

#[test]
fn a_truncated_last_line_counts_if_it_parses() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    let whole = format!("{}\n{}", event("u", 0, "a"), event("u", 1, "a"));
    folder.write("whole.jsonl", &whole);
    let replay = folder.replay("headwater.toml", ["whole.jsonl"]);
    assert_eq!((replay.rows(), replay.number("dead_letters")), (vec![session("u", 0, 1, 2)], 0));

    folder.write("cut.jsonl", &whole[..whole.len() - 1]);
    let replay = folder.replay("headwater.toml", ["cut.jsonl"]);
    assert_eq!(replay.rows(), [session("u", 0, 0, 1)]);
    assert_eq!(replay.dead_letters()[0]["reason"], "no_json");
}

#[test]
fn damaged_compression_is_one_dead_letter_and_the_rest_counts() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    let lines: String = (0..20_000).map(|n| event(&format!("u{}", n % 7), n, "a") + "\n").collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(lines.as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    folder.write("a-cut.jsonl.gz", &gz[..gz.len() * 2 / 3]);
    folder.write("b-whole.jsonl", event("v", 0, "a"));
    let replay = folder.replay("headwater.toml", ["a-cut.jsonl.gz", "b-whole.jsonl"]);
    assert_eq!(replay.numbers("dead_letter_reasons")["damaged_input"], 1);
    // A line that was cut in two is a dead letter of its own.
    assert!(replay.number("dead_letters") <= 2);
    let events = replay.number("events");
    assert!(10_000 < events && events < 20_001, "{events}");
    assert!(replay.rows().contains(&session("v", 0, 0, 1)), "the next file is read");
}

#[test]
fn events_without_user_or_time_have_a_class_and_no_session() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    let lines = [
        event("u", 0, "a"),
        r#"{"timestamp":1577836801,"event_type":"b"}"#.into(),
        r#"{"user_id":"","timestamp":1577836801,"event_type":"b"}"#.into(),
        r#"{"user_id":"u","event_type":"c"}"#.into(),
        r#"{"user_id":"u","timestamp":"soon","event_type":"c"}"#.into(),
        r#"{"event_type":"c"}"#.into(),
        r#"{"user_id":"u","timestamp":1577836802}"#.into(),
    ];
    folder.write("events.jsonl", lines.join("\n"));
    let replay = folder.replay("headwater.toml", ["events.jsonl"]);
    assert_eq!(replay.rows(), [session("u", 0, 2, 2)]);
    assert_eq!((replay.number("events"), replay.number("dead_letters")), (7, 0));
    let classes: Vec<_> = replay.numbers("classes").into_iter().collect();
    assert_eq!(classes, [("a", 1), ("b", 2), ("c", 3), ("unclassified", 1)].map(|(name, n)| (name.to_string(), n)));
    let sessionless: Vec<_> = replay.numbers("sessionless").into_iter().collect();
    let wanted = [("no_time", 1), ("no_user", 3), ("unreadable_time", 1)];
    assert_eq!(sessionless, wanted.map(|(reason, n)| (reason.to_string(), n)));
    let hours = "class,hour,events\n\
        a,2020-01-01T00:00:00Z,1\n\
        b,2020-01-01T00:00:00Z,2\n\
        c,,3\n\
        unclassified,2020-01-01T00:00:00Z,1\n";
    assert_eq!(replay.counts, hours);
}
