//! The same events in every form that a log takes on disk give the same sessions.

use super::{START, event, session};
use crate::headwater::{Folder, Row};
use std::io::Write as _;
use std::process::{Command, Stdio};

fn lines() -> Vec<String> {
    vec![event("u", 0, "a"), event("v", 5, "b"), event("u", 60, "b"), event("u", 7200, "a")]
}

fn sessions() -> Vec<Row> {
    vec![session("u", 0, 60, 2), session("u", 7200, 7200, 1), session("v", 5, 5, 1)]
}

fn check(config: &str, name: &str, content: impl AsRef<[u8]>) {
    let folder = Folder::new();
    folder.write("headwater.toml", config);
    folder.write(name, content);
    let replay = folder.replay("headwater.toml", [name]);
    assert_eq!(replay.rows(), sessions(), "{name}");
    assert_eq!((replay.number("events"), replay.number("dead_letters")), (4, 0), "{name}");
}

fn gzip(content: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &str) -> Vec<u8> {
    zstd::encode_all(content.as_bytes(), 1).unwrap()
}

#[test]
fn line_ends() {
    check("", "unix.jsonl", lines().join("\n") + "\n");
    check("", "windows.jsonl", lines().join("\r\n") + "\r\n");
    check("", "mark.jsonl", format!("\u{feff}{}", lines().join("\n")));
    check("", "blank.jsonl", format!("\n\n{}\n \n\n", lines().join("\n\n")));
}

/// Headwater recognises compression by content, and ignores the name. A gzip or zstd file may have several members, one
/// after the other, cut even inside a line.
#[test]
fn compression() {
    let text = lines().join("\n");
    let (one, two) = text.split_at(text.len() / 3);
    check("", "events.jsonl.gz", gzip(&text));
    check("", "events.jsonl", gzip(&text));
    check("", "members.gz", [gzip(one), gzip(two)].concat());
    check("", "events.jsonl.zst", zstd(&text));
    check("", "frames.zst", [zstd(one), zstd(two)].concat());
    check("", "plain.gz", &text);
}

#[test]
fn json_arrays_and_pretty_printed_json() {
    check("", "array.json", format!("[{}]", lines().join(",")));
    check("", "array.json.gz", gzip(&format!("[\n  {}\n]\n", lines().join(",\n  "))));
    let pretty = |line: String| {
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&line).unwrap()).unwrap()
    };
    let pretty: Vec<String> = lines().into_iter().map(pretty).collect();
    check("", "pretty.json", pretty.join("\n"));
    check("", "pretty-array.json", format!("[\n{}\n]", pretty.join(",\n")));
}

/// Brackets separate, however deep: each object is an event, whatever else is there is a dead letter. As when it is posted.
#[test]
fn arrays_in_arrays() {
    let [a, b, c, d] = &lines()[..] else { unreachable!("there are four") };
    check("", "nested.json", format!("[[{a},{b}],[],[[{c}]],{d}]"));
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    folder.write("nested.json", format!("[[{a},{b}],[{c},7],[\"x\",[null]],{d}]"));
    let replay = folder.replay("headwater.toml", ["nested.json"]);
    assert_eq!((replay.rows(), replay.number("events")), (sessions(), 4));
    let letters: Vec<_> =
        replay.dead_letters().iter().map(|one| (one["reason"].clone(), one["payload"].clone())).collect();
    assert_eq!(letters, ["7", "\"x\"", "null"].map(|payload| ("not_an_object".into(), payload.into())));
}

#[test]
fn arrays_inside_objects() {
    let of = |user: &str, times: &[i64]| {
        let events: Vec<String> = times.iter().map(|time| format!(r#"{{"ts":{},"type":"a"}}"#, START + time)).collect();
        format!(r#"{{"user_id":"{user}","batch":{{"events":[{}]}}}}"#, events.join(","))
    };
    let config = "[events]\nexplode = \"batch.events\"\n";
    check(config, "nested.jsonl", [of("u", &[7200, 60]), of("v", &[5]), of("v", &[]), of("u", &[0])].join("\n"));
}

#[test]
fn delimited_rows() {
    let row = |(user, time, kind): (&str, i64, &str)| format!("{user},{},{kind}", START + time);
    let rows = [("u", 0, "a"), ("v", 5, "b"), ("u", 60, "b"), ("u", 7200, "a")].map(row).join("\r\n");
    check("", "rows.csv", format!("user_id,timestamp,event\r\n{rows}\r\n"));
    check("", "semicolons.csv", format!("user_id,timestamp,event\n{rows}").replace(',', ";"));
    check("", "tabs.tsv.zst", zstd(&format!("user_id,timestamp,event\n{rows}").replace(',', "\t")));
}

#[test]
fn access_log_lines() {
    let line = |(host, time): (&str, &str)| {
        format!("{host} - - [01/Jan/2020:{time} +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"curl/8\"")
    };
    let lines: Vec<String> =
        [("u", "00:00:00"), ("v", "00:00:05"), ("u", "00:01:00"), ("u", "02:00:00")].map(line).into();
    check("", "access.log", lines.join("\n"));
    let common: Vec<&str> = lines.iter().map(|line| line.split(" \"-\"").next().unwrap()).collect();
    check("", "common.log.gz", gzip(&common.join("\n")));
}

#[test]
fn files_folders_and_globs() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    for (number, line) in lines().iter().enumerate() {
        folder.write(&format!("logs/2024/{number}.jsonl"), line);
    }
    folder.write("logs/2024/.hidden.jsonl", event("w", 0, "a"));
    let forms: [&[&str]; 5] = [
        &["logs"],
        &["logs/2024/*.jsonl"],
        &["logs/**/*.jsonl"],
        &["logs/2024/3.jsonl", "logs/2024/[0-2].jsonl"],
        // Named twice is read once.
        &["logs", "logs/2024/1.jsonl"],
    ];
    for form in forms {
        assert_eq!(folder.replay("headwater.toml", form).rows(), sessions(), "{form:?}");
    }
}

/// Several sources in one run, each with its own words; paths start from the configuration's folder.
#[test]
fn several_sources_share_their_users() {
    let folder = Folder::new();
    let config = r#"
        [[source]]
        name = "app"
        kind = "file"
        paths = ["app/*.jsonl"]

        [[source]]
        name = "web"
        kind = "file"
        paths = ["web.csv"]
        [source.events]
        user = "visitor"
        time = "seen"
        type = "page"
    "#;
    folder.write("shop/headwater.toml", config);
    folder.write("shop/app/1.jsonl", [event("u", 0, "a"), event("v", 5, "b")].join("\n"));
    folder.write("shop/web.csv", "visitor,seen,page\nu,2020-01-01 00:01:00,b\nu,x\nv,2020-01-01 00:00:08,a\n");
    let replay = folder.replay("shop/headwater.toml", [""; 0]);
    assert_eq!(replay.rows(), [session("u", 0, 60, 2), session("v", 5, 8, 2)]);
    assert_eq!(replay.dead_letters()[0]["source"], "web");
}

#[test]
fn an_empty_file_has_no_events() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    folder.write("empty.jsonl", "");
    let replay = folder.replay("headwater.toml", ["empty.jsonl"]);
    assert_eq!((replay.rows(), replay.number("events"), replay.number("users")), (vec![], 0, 0));
}

/// A replay cannot read the events that clients post to a run. It reads the files beside them.
#[test]
fn a_source_that_is_posted_to_has_nothing_to_replay() {
    let folder = Folder::new();
    let posted = "[[source]]\nname = 'collector'\nkind = 'http'\n";
    folder.write("headwater.toml", format!("{posted}[[source]]\nname = 'app'\npaths = 'app.jsonl'\nfollow = true\n"));
    folder.write("app.jsonl", lines().join("\n"));
    let replay = folder.replay("headwater.toml", [""; 0]);
    assert_eq!((replay.rows(), replay.number("files")), (sessions(), 1));

    folder.write("posted.toml", posted);
    let run = folder.headwater(["replay", "posted.toml"]);
    assert_eq!(run.code(), 2);
    assert!(run.stderr().contains("headwater run posted.toml"), "{}", run.stderr());
    // Saved elsewhere, they can be.
    assert_eq!(folder.replay("posted.toml", ["app.jsonl"]).rows(), sessions());
}

/// Only a configuration could come first, and `-` was a file of that name.
#[cfg(unix)]
#[test]
fn standard_input_is_a_log() {
    let folder = Folder::new();
    folder.write("empty.toml", "");
    let log = [event("ann", 0, "view"), event("ann", 60, "buy")].join("\n");
    for arguments in [&["replay", "-"][..], &["replay", "empty.toml", "-"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_headwater"));
        child.current_dir(folder.path("")).args(arguments).args(["--out", "out", "--format", "csv"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(log.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(folder.read("out/sessions.csv").lines().count(), 2, "{arguments:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(arguments.len() > 2 || text.contains("paths = [\"/dev/stdin\"]"), "{text}");
        assert!(text.contains(&format!("in 1 file, {} B", log.len())), "{text}");
    }
}

/// It was longer than what detection looks at.
#[test]
fn a_header_may_have_many_thousand_columns() {
    let folder = Folder::new();
    let names: String = (0..20_000).map(|number| format!(",column_{number}")).collect();
    folder.write("empty.toml", "");
    let rows = (0..2).map(|_| "\nann,1577836800".to_owned() + &",".repeat(20_000)).collect::<String>();
    folder.write("wide.csv", format!("user_id,ts{names}{rows}\n"));
    let replay = folder.replay("empty.toml", ["wide.csv"]);
    let letters = &replay.summary["dead_letter_reasons"];
    assert_eq!(replay.number("events") + letters["too_many_keys"].as_u64().unwrap_or(0), 2, "{}", replay.summary);
}

#[test]
fn a_replay_of_nothing_says_so() {
    let folder = Folder::new();
    folder.write("empty.toml", "");
    for (name, content, code) in [("a.jsonl", "", "no_records"), ("b.jsonl", "{'user': 1}\n", "only_dead_letters")] {
        folder.write(name, content);
        let replay = folder.replay("empty.toml", [name]);
        assert_eq!(replay.summary["notices"][0]["code"], code, "{}", replay.summary);
    }
}

#[test]
fn spellings_of_one_user_are_told() {
    let folder = Folder::new();
    folder.write("empty.toml", "");
    let lines: Vec<_> = ["Ann", "ann", "ANN ", "bob"].iter().map(|user| event(user, 0, "view")).collect();
    folder.write("events.jsonl", lines.join("\n"));
    let replay = folder.replay("empty.toml", ["events.jsonl"]);
    let notices = replay.summary["notices"].to_string();
    assert!(notices.contains("users_differ_in_case") && notices.contains("2 of 4 users"), "{notices}");
}
