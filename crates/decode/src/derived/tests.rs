use crate::json::JsonReader;
use crate::path::Path;
use crate::path_set::PathSet;
use crate::reading::Reading;
use crate::spec::Limits;
use proptest::prelude::*;
use std::sync::Arc;

/// Returns the texts at a path of an event, joined.
fn at(path: &str, event: &str) -> String {
    read(path, None, event).remove(0)
}

/// Returns the texts at a path of each element of an array.
fn read(path: &str, explode: Option<&str>, payload: &str) -> Vec<String> {
    let mut paths = PathSet::default();
    let slot = paths.add(&Path::parse(path).unwrap());
    assert_eq!(paths.add(&Path::parse(path).unwrap()), slot);
    let paths = Arc::new(paths);
    let explode = explode.map(|path| Path::parse(path).unwrap());
    let mut reader = JsonReader::new(Arc::clone(&paths), explode.as_ref(), Limits::default());
    let mut texts = Vec::new();
    reader.read(payload.as_bytes(), &mut Reading::default(), |part, reading| {
        let reading = reading.unwrap();
        let around = (part.bytes.len() < payload.len()).then_some(payload.as_bytes());
        paths.derived().fill(Some(part.bytes), around, reading);
        texts.push(reading.all(slot).map(|value| value.text).collect::<Vec<_>>().join(","));
    });
    texts
}

const GA4: &str = r#"{"event_params": [{"key": "a", "value": {"string_value": "x"}},
    {"key": "ga_session_id", "value": {"int_value": "17"}}], "n": [{"key": 1, "value": 2.50}]}"#;

#[test]
fn an_entry_is_found_by_its_key() {
    assert_eq!(at("event_params[key=ga_session_id].value.int_value", GA4), "17");
    assert_eq!(at("event_params[key=a].value.string_value", GA4), "x");
    assert_eq!(at("event_params[key=b].value.string_value", GA4), "");
    assert_eq!(at("n[key=1].value", GA4), "2.50");
    assert_eq!(at(r#"attributes[key="user.id"].v"#, r#"{"attributes":[{"key":"user.id","v":"u1"}]}"#), "u1");
    assert_eq!(at("a.b[k=x].v", r#"{"a.b":[{"k":"x","v":1},{"k":"x","v":2}]}"#), "1,2");
}

#[test]
fn a_text_is_read_as_json() {
    let event = r#"{"log": "{\"user_id\": \"u1\", \"a\": [{\"b\": 1.0}, {\"b\": null}], \"t\": \"[2]\"}\n", "x": "{"}"#;
    assert_eq!(at("log{}.user_id", event), "u1");
    assert_eq!(at("log{}.a[].b", event), "1.0");
    assert_eq!(at("log{}.t{}[]", event), "2");
    assert_eq!(at("x{}.a", event), "");
    assert_eq!(at("log{}.user_id | regex \"u(.)\"", event), "1");
}

/// Each element has its own entry, and those without one that of the payload around them.
#[test]
fn an_element_comes_before_what_is_around_it() {
    let payload = r#"{"p":[{"k":"u","v":"outer"}],"e":[{"p":[{"k":"u","v":"own"}]},{"p":[]},{}]}"#;
    assert_eq!(read("p[k=u].v", Some("e"), payload), ["own", "outer", "outer"]);
    assert_eq!(read("x | lower", Some("e"), r#"{"x":"A","e":[{"x":"B"},{}]}"#), ["b", "a"]);
}

proptest! {
    /// A path through texts finds what the same path finds without them.
    #[test]
    fn a_text_holds_what_its_json_holds(value in "[a-z0-9\"\\\\ é]{1,8}", keys in prop::collection::vec("[a-c]", 1..4)) {
        let mut text = serde_json::to_string(&value).unwrap();
        for key in keys.iter().rev() {
            let object = format!("{{\"{key}\":{text}}}");
            text = serde_json::to_string(&object).unwrap();
        }
        let event = format!("{{\"x\":{text}}}");
        let path = keys.iter().fold("x".to_owned(), |path, key| format!("{path}{{}}.{key}"));
        prop_assert_eq!(at(&path, &event), value);
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}\",:a1 ]{0,30}") {
        let event = format!("{{\"x\":{}}}", serde_json::to_string(&text).unwrap());
        at("x{}.a", &event);
        at("x{}[a=1].a", &event);
    }
}
