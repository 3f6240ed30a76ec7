//! Learned classes on the command line: `explain --learned` says what they follow from, and payloads with keys that are never
//! the same fill no memory.

use crate::headwater::{Folder, csv};
use std::fmt::Write;

const CONFIG: &str = "[[source]]\nname = 'web'\npaths = 'web.jsonl'\n[events]\nuser = ['user.id', 'id']\ntime = 'ts'\ntype = 'type'\n\
                      [classes]\nlearn = true\n";

fn events() -> String {
    let mut lines = String::new();
    for second in 10..50 {
        let ts = format!("2024-05-01T10:00:{second}Z");
        writeln!(
            lines,
            r#"{{"type":"click","user":{{"id":"ann"}},"ts":"{ts}","details":{{"button":"buy","page":"/p"}}}}"#
        )
        .unwrap();
        writeln!(
            lines,
            r#"{{"type":"search","user":{{"id":"ann"}},"ts":"{ts}","details":{{"query":"tea","results":7}}}}"#
        )
        .unwrap();
    }
    lines
}

fn explain(folder: &Folder, event: &str, more: &[&str]) -> String {
    folder.write("event.json", event);
    let run = folder.headwater(["explain", "learn.toml", "event.json"].iter().chain(more));
    assert_eq!(run.code(), 0, "{}", run.stderr());
    run.stdout().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn explain_says_what_a_learned_class_follows_from() {
    let folder = Folder::new();
    folder.write("learn.toml", CONFIG);
    folder.write("web.jsonl", events());
    let flat = r#"{"id":"bob","ts":"2024-05-01T10:02:00Z","button":"buy","page":"/q"}"#;
    let said = explain(&folder, flat, &["--learned"]);
    for words in [
        "class click learned: no rule and no type gives one",
        "over `search`, the runner-up; at least 6.0 bits are needed",
        // 40 events, cut to the two upper bits.
        "support 32 events of `click`, counted in steps; at least 16 are needed",
        "fit 4 of 5 names and answers",
        "the nearest shape of `click`: details.button string, details.page string, ts string, type string, user.id string",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // The replay has the same class.
    folder.write("web.jsonl", events() + flat + "\n");
    assert_eq!(folder.replay("learn.toml", [""; 0]).numbers("classes")["click"], 41);

    let sensor = r#"{"id":"hall","ts":"2024-05-01T10:04:00Z","celsius":21,"humidity":40}"#;
    let said = explain(&folder, sensor, &["--learned"]);
    assert!(said.contains("class unclassified learned none: it is most like"), "{said}");
    assert!(said.contains(" margin ") && said.contains(" like "), "{said}");
    let said = explain(&folder, sensor, &[]);
    assert!(said.contains("class unclassified by rules and type; --learned says which one"), "{said}");
    folder.write("none.toml", CONFIG.replace("true", "false"));
    let run = folder.headwater(["explain", "none.toml", "event.json", "--learned"]);
    assert!(run.code() == 2 && run.said().contains("none.toml learns no classes"), "{}", run.said());
    // Rules and types come first, and nothing is to be learned from no events.
    let typed = r#"{"type":"click","id":"bob","ts":"2024-05-01T10:02:00Z"}"#;
    assert!(explain(&folder, typed, &["--learned"]).contains("class click the type, as no rule claims it"));
    folder.write("web.jsonl", "");
    assert!(explain(&folder, flat, &["--learned"]).contains("there is nothing to learn from"));
}

/// A tenant sends payloads with keys that are never the same, typed ones and others. The shapes that are not kept apart are one
/// row, and they neither teach nor learn.
#[test]
fn keys_that_are_never_the_same_fill_no_memory() {
    let folder = Folder::new();
    folder.write("learn.toml", CONFIG);
    let mut lines = events();
    for n in 0..50_000 {
        writeln!(lines, r#"{{"type":"noise","id":"u{n}","ts":"2024-05-01T11:00:00Z","a{n}":1,"b{n}":2}}"#).unwrap();
        writeln!(lines, r#"{{"id":"v{n}","ts":"2024-05-01T11:00:00Z","c{n}":1}}"#).unwrap();
    }
    lines += r#"{"id":"bob","ts":"2024-05-01T12:00:00Z","button":"buy","page":"/q"}"#;
    folder.write("web.jsonl", lines);
    let replay = folder.replay("learn.toml", [""; 0]);
    assert_eq!(replay.number("events"), 100_081);
    let classes = replay.numbers("classes");
    assert_eq!(
        (classes["search"], classes["noise"] + classes["unclassified"]),
        (40, 100_000 + 41 - classes["click"]),
        "{classes:?}"
    );
    let rows = csv(folder.read("out/shapes.csv").as_bytes());
    assert_eq!(rows.len(), 4097);
    let overflow = rows.iter().find(|row| row["shape"] == "overflow").unwrap();
    assert!(overflow["events"].parse::<u64>().unwrap() > 90_000, "{overflow:?}");
    assert!(replay.number("peak_rss_bytes") < 1 << 30, "{}", replay.summary);
}
