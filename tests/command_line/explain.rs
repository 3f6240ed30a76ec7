//! `explain` shows how one event is read, and flat and nested forms of an event are read as the same.

use crate::headwater::Folder;

const CONFIG: &str = r#"
    [events]
    user = ["who.id", "user_id"]
    id = "id"

    [fields]
    button = ["event_details.button_type", "button_type"]

    [[class]]
    name = "order"
    priority = 3
    when = { button = { prefix = "one-click" } }
"#;

/// The line of an explanation that begins with `name`.
fn row<'t>(text: &'t str, name: &str) -> &'t str {
    let mut lines = text.lines().filter(|line| line.split_whitespace().next() == Some(name));
    lines.next().unwrap_or_else(|| panic!("{name} in {text}"))
}

fn explain(folder: &Folder, config: &str, event: &str) -> String {
    folder.write("headwater.toml", config);
    folder.write("event.json", event);
    let run = folder.headwater(["explain", "headwater.toml", "event.json"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    run.stdout()
}

#[track_caller]
fn assert_row(text: &str, name: &str, words: &[&str]) {
    let row = row(text, name);
    for word in words {
        assert!(row.contains(word), "{word} in {row}");
    }
}

#[test]
fn flat_and_nested_forms_are_the_same_event() {
    let folder = Folder::new();
    let button = r#"one-click purchase"#;
    let nested = explain(
        &folder,
        CONFIG,
        &format!(r#"{{"who":{{"id":7}},"ts":1700000000,"type":"click","event_details":{{"button_type":"{button}"}}}}"#),
    );
    let flat = explain(
        &folder,
        CONFIG,
        &format!(r#"{{"type":"click","event_details.button_type":"{button}","ts":1700000000,"who.id":7}}"#),
    );
    for text in [&nested, &flat] {
        assert_row(text, "user", &["7", "who.id"]);
        assert_row(text, "time", &["2023-11-14T22:13:20", "ts", "1700000000"]);
        assert_row(text, "type", &["click", "from type"]);
        assert_row(text, "id", &["-"]);
        assert_row(text, "button", &[button, "event_details.button_type"]);
        assert_row(text, "class", &["order", "rule", "3"]);
    }
    for name in ["shape", "signature", "class", "session"] {
        assert_eq!(row(&nested, name), row(&flat, name));
    }

    // Another prefix is another shape, but the named field unites the two for the rules.
    let renamed = explain(
        &folder,
        CONFIG,
        &format!(r#"{{"who":{{"id":7}},"ts":1700000000,"type":"click","button_type":"{button}"}}"#),
    );
    assert_ne!(row(&renamed, "shape"), row(&flat, "shape"));
    assert_row(&renamed, "button", &[button, "from button_type"]);
    assert_row(&renamed, "class", &["order"]);
}

#[test]
fn without_a_rule_the_type_is_the_class() {
    let folder = Folder::new();
    let text = explain(&folder, CONFIG, r#"{"user_id":"u","type":"click","id":"e1"}"#);
    assert_row(&text, "user", &["u", "user_id"]);
    assert_row(&text, "id", &["e1"]);
    assert_row(&text, "class", &["click", "type"]);
    assert_row(&text, "session", &["no"]);
    assert!(text.contains("no_time: it counts by class"), "{text}");
    assert_row(&explain(&folder, "", r#"{"a":1}"#), "class", &["unclassified"]);
}

#[test]
fn a_bad_event_is_explained_as_the_dead_letter_that_it_would_be() {
    let folder = Folder::new();
    let text = explain(&folder, "", r#"{"user_id":"u","user_id":"v"}"#);
    assert!(text.contains("duplicate_key"), "{text}");
}

#[test]
fn of_several_sources_one_is_named() {
    let folder = Folder::new();
    let config = r#"
        [[source]]
        name = "app"
        kind = "file"
        paths = ["app.jsonl"]

        [[source]]
        name = "web"
        kind = "file"
        paths = ["web.log"]
        format = "clf"
    "#;
    folder.write("headwater.toml", config);
    folder.write("line.log", "::1 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 -\n");
    let run = folder.headwater(["explain", "headwater.toml", "line.log"]);
    assert_eq!(run.code(), 2);
    assert!(run.stderr().contains("--source") && run.stderr().contains("web"), "{}", run.stderr());
    let run = folder.headwater(["explain", "headwater.toml", "line.log", "--source", "web"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    assert_row(&run.stdout(), "user", &["::1", "host"]);
    assert_row(&run.stdout(), "class", &["GET"]);
}

/// As the collector reads it: whatever is posted is JSON.
#[test]
fn an_event_that_is_posted() {
    let folder = Folder::new();
    let config = "[[source]]\nname = 'collector'\nkind = 'http'\n";
    let text = explain(&folder, config, r#"{"user_id":"u","type":"click","ts":1}"#);
    assert_row(&text, "user", &["u", "user_id"]);
    assert_row(&text, "class", &["click"]);
    assert!(explain(&folder, config, "user_id,type\nu,click\n").contains("no_json"));
}
