//! NUL bytes, marks, line ends, encodings, compression, and what is no log.

use super::{counts, gzip, property, refused, replay, skipped};
use crate::headwater::Folder;
use proptest::prelude::*;

fn line(number: usize) -> String {
    format!(r#"{{"user_id":"u{}","ts":"2024-05-01T10:{:02}:00Z","event":"e"}}"#, number % 2, number % 60)
}

/// A writer that does not append leaves NUL bytes when its file is truncated; a crash leaves them at the end, or behind a
/// half record. Where they stand between records they are padding, and no event is lost.
#[test]
fn nul_bytes_around_records_are_padding() {
    let lines: Vec<String> = (0..4).map(line).collect();
    for config in ["", "[[source]]\nname = 'a'\npaths = 'x'\nformat = 'json'"] {
        for nuls in [1, 4, 511, 70_000, 2 << 20] {
            let nuls = "\0".repeat(nuls);
            let text = format!("{nuls}{}\n{nuls}{}\n{}\n{nuls}\n{}\n{nuls}", lines[0], lines[1], lines[2], lines[3]);
            let replay = replay(config, "app.jsonl", &text);
            assert_eq!(counts(&replay), (4, 2, 0), "{}", nuls.len());
            assert_eq!(skipped(&replay, "padding"), 4 * nuls.len() as u64);
        }
    }
    // What was written before the crash is lost, and only that.
    let torn = format!("{}\n{{\"user_id\":\"u1\",{}{}\n", lines[0], "\0".repeat(100), lines[1]);
    assert_eq!(counts(&replay("", "app.jsonl", torn)), (2, 2, 1));
    let rows = format!("user_id,ts,event\nu1,2024-05-01,a\n{}u1,2024-05-01,\"b\n", "\0".repeat(5000));
    assert_eq!(counts(&replay("", "app.csv", rows.clone() + &"\0".repeat(50) + "u2,2024-05-01,c\n")), (2, 2, 1));
}

#[test]
fn a_mark_may_stand_before_any_record() {
    let lines: Vec<String> = (0..3).map(|number| format!("\u{feff}{}", line(number))).collect();
    for text in [lines.join("\n"), format!("[{}]", lines.join(",")), format!("\u{feff}{}", lines.join("\r\n"))] {
        let replay = replay("", "app.json", &text);
        assert_eq!(counts(&replay), (3, 2, 0), "{text}");
        assert_eq!(skipped(&replay, "byte_order_marks"), 3 * text.matches('\u{feff}').count() as u64);
    }
    let parts = "\u{feff}user_id,ts,event\nu1,2024-05-01T10:00:00Z,a\n".repeat(2);
    let replay = replay("", "app.csv", parts);
    assert_eq!((counts(&replay), skipped(&replay, "headers")), ((2, 1, 0), 33));
}

#[test]
fn lines_may_end_with_a_carriage_return_alone() {
    for config in ["", "[[source]]\nname = 'a'\npaths = 'x'\nformat = 'csv'"] {
        let rows = "user_id,ts,event\ru1,2024-05-01T10:00:00Z,\"a\rb\"\ru1,2024-05-01T10:01:00Z,b\r";
        assert_eq!(counts(&replay(config, "mac.csv", rows)), (2, 1, 0));
    }
    assert_eq!(counts(&replay("", "mac.json", [line(0), line(1)].join("\r"))), (2, 2, 0));
    let log = "1.2.3.4 - - [01/May/2024:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5\r".repeat(3);
    assert_eq!(counts(&replay("", "mac.log", log)), (3, 1, 0));
}

#[test]
fn one_bad_unit_does_not_make_an_event_bad() {
    let time = "\"ts\":\"2024-05-01T10:00:00Z\",\"event\":\"a\"";
    let bad: [Vec<u8>; 5] = [
        format!("{{\"user_id\":\"u1\",{time},\"title\":\"great \\ud83d\"}}").into(),
        [format!("{{\"user_id\":\"u1\",{time},\"title\":\"caf").as_bytes(), b"\xe9\"}"].concat(),
        format!("{{\"user_id\":\"u1\",{time},\"x\":1,\"x\":2}}").into(),
        format!("{{\"user_id\":\"u1\",{time},\"user_id\":\"u1\"}}").into(),
        [format!("{{\"user_id\":\"u1\",{time},\"x\":1,\"x\":\"\\udc00").as_bytes(), b"\xff\"}"].concat(),
    ];
    for line in bad {
        let replay = replay("", "app.jsonl", [&line[..], b"\n"].concat());
        assert_eq!((counts(&replay), replay.number("repaired")), ((1, 1, 0), 1), "{}", String::from_utf8_lossy(&line));
    }
    // What is asked for has to be clear.
    let unclear = format!("{{\"user_id\":\"u1\",{time},\"user_id\":\"u2\"}}");
    assert_eq!(replay("", "app.jsonl", unclear).numbers("dead_letter_reasons")["duplicate_key"], 1);
    let header =
        [&b"user_id,ts,event,st\xe4dt\n"[..], b"u1,2024-05-01T10:00:00Z,a,x\nu1,2024-05-01T10:01:00Z,b,y\n"].concat();
    assert_eq!(counts(&replay("", "app.csv", header)), (2, 1, 0));
}

#[test]
fn other_encodings_are_read() {
    let rows = "user_id\tts\tevent\nMüller\t2024-05-01T10:00:00Z\ta\nMüller\t2024-05-01T10:01:00Z\t€\n";
    let marked = format!("\u{feff}{rows}");
    let little: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = marked.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let latin: Vec<u8> = rows.chars().map(|char| if char == '€' { 0x80 } else { u32::from(char) as u8 }).collect();
    let of = |encoding: &str| format!("[[source]]\nname = 'a'\npaths = 'x'\nencoding = '{encoding}'");
    let bare = rows.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases =
        [(String::new(), gzip(&big)), (String::new(), little), (of("utf-16le"), bare), (of("windows-1252"), latin)];
    for (config, content) in cases {
        let replay = replay(&config, "rows.tsv", content);
        assert_eq!((counts(&replay), replay.number("repaired")), ((2, 1, 0), 0), "{config}");
        assert_eq!(replay.sessions[0]["user"], "Müller");
        assert_eq!(replay.numbers("classes").keys().collect::<Vec<_>>(), ["a", "€"]);
    }
}

#[test]
fn padding_behind_gzip_and_a_second_layer_of_it_are_read() {
    let text = [line(0), line(1)].join("\n");
    let mut padded = gzip(text.as_bytes());
    padded.extend([0; 1000]);
    padded.extend(gzip(b"\n"));
    padded.extend([0; 24]);
    let found = replay("", "app.gz", padded);
    assert_eq!((counts(&found), skipped(&found, "padding")), ((2, 2, 0), 1024));
    assert_eq!(counts(&replay("", "app.gz", gzip(&gzip(text.as_bytes())))), (2, 2, 0));
    // What is no padding is damage.
    let found = replay("", "app.gz", [gzip(text.as_bytes()), b"garbage".to_vec()].concat());
    assert_eq!(counts(&found), (2, 2, 1));
}

#[test]
fn what_is_no_log_is_named_with_what_to_do() {
    let cases: [(&[u8], &[&str]); 7] = [
        (b"\xfd7zXZ\0\0\x04", &["compressed with xz", "xz -d"]),
        (b"\x04\x22\x4d\x18\x60", &["compressed with lz4", "lz4 -d"]),
        (b"BZh91AY&SY\x01\x02", &["compressed with bzip2", "bzip2 -d"]),
        (b"PK\x03\x04\x14\0", &["a zip archive", "unpack it"]),
        (b"Obj\x01\x02\x16", &["an Avro file", "convert it"]),
        (b"<?xml version=\"1.0\"?>\n<log xes.version=\"1.0\">\n", &["in XES", "as CSV"]),
        (b"---\nuser: u1\ntime: 2024-05-01\n", &["it is YAML", "JSON"]),
    ];
    for (content, says) in cases {
        refused("", "file", content, says);
        refused("", "file", gzip(content), says);
    }
    // Plain, it is read.
    refused("", "file", gzip(b"PAR1\x15\x04\x15\x20PAR1"), &["a Parquet file", "convert it"]);
    let config = "[[source]]\nname = 'a'\npaths = 'x'\nformat = 'json'";
    refused(config, "file", b"\xfd7zXZ\0\0\x04", &["compressed with xz"]);
}

#[test]
fn a_record_that_is_too_large_names_the_setting() {
    let config = "[events]\nmax_bytes = 50";
    let replay = replay(config, "app.jsonl", format!("{{\"user_id\":\"{}\"}}\n", "u".repeat(100)));
    assert!(replay.dead_letters()[0]["message"].as_str().unwrap().contains("`max_bytes`"));
}

#[test]
fn what_tools_leave_beside_logs_is_none() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    folder.write("in/part-0.json.gz", gzip(line(0).as_bytes()));
    for name in ["_SUCCESS", "_committed_1", "_started_1", ".part-0.json.gz.crc", "part-0.json.gz.crc", "_metadata"] {
        folder.write(&format!("in/{name}"), "{\"added\":[]}");
    }
    for paths in ["in", "in/*"] {
        assert_eq!(counts(&folder.replay("headwater.toml", [paths])), (1, 1, 0), "{paths}");
    }
}

/// Any bytes, in any storage and format: each is in an event, in a dead letter, or was skipped for a reason.
#[test]
fn every_byte_is_accounted_for() {
    let content = prop::collection::vec(
        prop_oneof![
            4 => Just(line(1).into_bytes()),
            2 => Just(b"u1,2024-05-01T10:00:00Z,\"a\n".to_vec()),
            1 => Just(b"1.2.3.4 - - [01/May/2024:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5".to_vec()),
            1 => Just(b"user_id,ts,event\n".to_vec()),
            1 => Just(b"#Fields: date time c-ip\n2024-05-01 10:00:00 1.2.3.4\n".to_vec()),
            1 => Just(b"user=u1 time=2024-05-01T10:00:00Z event=a".to_vec()),
            1 => Just(b"{\"user_id\":\"u1\",\"events\":[]}".to_vec()),
            2 => prop::sample::select(vec!["\n", "\r\n", "\r", " \n", "[", "]", ",", "\"", "\u{feff}"]).prop_map(|text| text.as_bytes().to_vec()),
            1 => (1..5000_usize).prop_map(|count| vec![0; count]),
            1 => prop::collection::vec(any::<u8>(), 0..9),
        ],
        0..24,
    );
    let formats = ["json", "csv", "clf", "ltsv", "logfmt", "log", "text"];
    let input = (content, 0..formats.len(), 0..3_usize, any::<bool>());
    property(&input, |(content, format, storage, small)| {
        let content = content.concat();
        let layout = if formats[format] == "log" { "layout = '$host $user [$time] \"$request\" $status'" } else { "" };
        let limit = if small { "max_bytes = 40" } else { "" };
        let config = format!(
            "[events]\nexplode = 'events'\n{limit}\n[[source]]\nname = 'a'\npaths = 'x'\nformat = '{}'\n{layout}",
            formats[format]
        );
        // Told by their first bytes, whatever the format.
        prop_assume!(
            !content.starts_with(b"\x1f\x8b")
                && !content.starts_with(&[0xff, 0xfe])
                && !content.starts_with(&[0xfe, 0xff])
        );
        let folder = Folder::new();
        folder.write("headwater.toml", &config);
        let (stored, padding) = match storage {
            0 => (content.clone(), 0),
            1 => ([gzip(&content), vec![0; 7]].concat(), 7),
            _ => (zstd::encode_all(&content[..], 1).unwrap(), 0),
        };
        folder.write("file", stored);
        let run = folder.headwater(["replay", "headwater.toml", "file", "--out", "out", "--json"]);
        // A header that is longer than a record may be.
        prop_assume!(run.code() == 0);
        let summary: serde_json::Value = serde_json::from_str(&run.stdout()).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let skipped: u64 = summary["skipped"].as_object().unwrap().values().map(|skip| number(&skip["bytes"])).sum();
        prop_assert_eq!(number(&summary["bytes_read"]), content.len() as u64 + padding, "{}", summary);
        let of_records = number(&summary["bytes_events"]) + number(&summary["bytes_dead_letters"]);
        prop_assert_eq!(of_records + skipped, content.len() as u64 + padding);
        Ok(())
    });
}
