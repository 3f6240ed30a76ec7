//! `--events`: every event is there once, in the session that holds it.

use super::event;
use crate::headwater::{Folder, csv};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

const GAP: i64 = 1800;

/// More events than one range of the spool takes, as JSON and as compressed CSV; every tenth is sent twice, and some have
/// no user or no time.
fn load(folder: &Folder) -> Vec<(Option<String>, Option<i64>, String)> {
    folder.write(
        "headwater.toml",
        "[events]\nid = \"id\"\n[fields]\nprice = [\"price\"]\npage = [\"page\"]\n\
         [sessions]\nsum = { price = \"price\" }\ncarry = [\"page\", \"user\"]\n",
    );
    let (mut json, mut table, mut events) =
        (String::new(), String::from("id,user_id,timestamp,event_type\n"), Vec::new());
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for n in 0..140_000 {
        let user = (n % 97 != 0).then(|| format!("u{}", random(3000)));
        let time = (n % 89 != 0).then(|| super::START + random(500_000) as i64 / 10);
        let line = if n % 3 == 0 {
            let (user, time) =
                (user.clone().unwrap_or_default(), time.map(|time| time.to_string()).unwrap_or_default());
            let line = format!("e{n},{user},{time},kind {}", n % 5);
            (0..1 + usize::from(n % 10 == 0)).for_each(|_| table += &format!("{line}\n"));
            line
        } else {
            let user = user.as_ref().map(|user| format!(r#""user_id":"{user}","#)).unwrap_or_default();
            let time = time.map(|time| format!(r#""timestamp":{time},"#)).unwrap_or_default();
            let line = format!(r#"{{{user}{time}"event_type":"view","id":"e{n}","price":0.5,"page":"/{}"}}"#, n % 7);
            (0..1 + usize::from(n % 10 == 0)).for_each(|_| json += &format!("{line}\n"));
            line
        };
        events.push((user, time, line));
    }
    folder.write("events.jsonl", json + "bad\n");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(table.as_bytes()).unwrap();
    folder.write("events.csv.gz", gzip.finish().unwrap());
    events
}

#[test]
fn every_event_is_in_its_session() {
    let folder = Folder::new();
    let events = load(&folder);
    let mut outputs = BTreeSet::new();
    for workers in ["1", "2", "3"] {
        let replay =
            folder.replay("headwater.toml", ["events.jsonl", "events.csv.gz", "--events", "--workers", workers]);
        assert_eq!((replay.number("events"), replay.number("dead_letters")), (140_000, 1));
        outputs.insert(folder.read("out/session_events.csv"));
        assert_eq!(outputs.len(), 1, "equal at {workers} workers");
        if workers != "1" {
            continue;
        }
        let rows = csv(outputs.first().unwrap().as_bytes());
        let found: BTreeSet<_> = rows
            .iter()
            .map(|row| {
                let time = row["time"].parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
                (Some(row["user"].clone()).filter(|user| !user.is_empty()), time, row["payload"].clone())
            })
            .collect();
        assert_eq!(rows.len(), events.len(), "each once");
        assert!(found == events.iter().cloned().collect());

        // By id: when its events happened, in the order of the file.
        let mut sessions: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for row in rows.iter().filter(|row| !row["session_id"].is_empty()) {
            let times = sessions.entry(&row["session_id"]).or_default();
            times.push(row["time"].parse::<jiff::Timestamp>().unwrap().as_second());
            assert_eq!(row["number"], times.len().to_string());
        }
        assert!(
            sessions.values().all(|times| times.is_sorted() && times.windows(2).all(|pair| pair[1] - pair[0] <= GAP))
        );
        assert_eq!(sessions.len(), replay.sessions.len());
        for session in &replay.sessions {
            let times = &sessions[session["session_id"].as_str()];
            let ends = ["start_us", "end_us"].map(|name| session[name].parse::<i64>().unwrap() / 1_000_000);
            assert_eq!(
                (ends, session["events"].clone()),
                ([times[0], times[times.len() - 1]], times.len().to_string())
            );
        }
        let without = rows.iter().filter(|row| row["session_id"].is_empty());
        assert!(
            without.clone().count() > 100
                && without.clone().all(|row| row["user"].is_empty() || row["time"].is_empty())
        );
        let purchase = rows.iter().find(|row| row["payload"].starts_with('{')).unwrap();
        assert_eq!((purchase["price"].as_str(), purchase["class"].as_str()), ("0.5", "view"));
        assert!(purchase["page"].starts_with('/') && purchase["source"] == "files");
        assert!(purchase.contains_key("field_user"), "{:?}", purchase.keys());
    }
}

#[test]
fn the_range_and_the_format_are_those_of_the_sessions() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    let lines: Vec<String> = (0..10).map(|n| event("ann", n * 60, "view")).collect();
    folder.write("events.jsonl", lines.join("\n"));
    let replay = |more: &[&str]| {
        let run = folder.headwater([&["replay", "headwater.toml", "events.jsonl", "--out", "out"], more].concat());
        assert_eq!(run.code(), 0, "{}", run.stderr());
    };
    replay(&["--events", "--format", "jsonl", "--from", "1577836920", "--to", "1577837100"]);
    assert_eq!(folder.read("out/session_events.jsonl").lines().count(), 3);
    replay(&["--events"]);
    assert!(folder.path("out/session_events.parquet").exists() && !folder.path("out/session_events.jsonl").exists());
    replay(&[]);
    assert!(!folder.path("out/session_events.parquet").exists(), "it would contradict the sessions");
}

/// The table left out their times.
#[test]
fn events_of_a_class_without_sessions_have_their_time() {
    let folder = Folder::new();
    folder.write("headwater.toml", "[[class]]\nname = \"bot\"\nwhen = \"event_type = 'probe'\"\nsessions = false\n[fields]\nevent_type = \"event_type\"\n");
    let lines = [event("ann", 0, "view"), event("ann", 60, "probe"), event("ann", 120, "view")];
    folder.write("events.jsonl", lines.join("\n"));
    folder.replay("headwater.toml", ["events.jsonl", "--events"]);
    let rows = csv(folder.read("out/session_events.csv").as_bytes());
    let of = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("class"), ["view", "bot", "view"]);
    assert_eq!(of("number"), ["1", "", "2"]);
    assert!(of("time").iter().all(|time| time.starts_with("2020-01-01")), "{:?}", of("time"));
}

#[cfg(unix)]
#[test]
fn what_can_be_read_once_only_is_refused() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    let pipe = folder.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let run = folder.headwater(["replay", "headwater.toml", "pipe", "--events", "--out", "out"]);
    assert_eq!(run.code(), 2);
    assert!(run.stderr().contains("reads its sources twice"), "{}", run.stderr());
}
