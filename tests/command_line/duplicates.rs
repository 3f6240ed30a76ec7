//! One event id counts once: equal payloads quietly, unequal ones with a dead letter that holds the losing bytes.

use super::{START, session};
use crate::headwater::Folder;
use crate::patience::PATIENCE;
use std::time::Instant;

const FIRST: &str = r#"{"id":"e1","user_id":"u","timestamp":1577836810,"event_type":"a"}"#;
const OTHER: &str = r#"{"id":"e1","user_id":"u","timestamp":1577836820,"event_type":"a"}"#;
const NEXT: &str = r#"{"id":"e2","user_id":"u","timestamp":1577836830,"event_type":"a"}"#;
/// The id of another user's event is another id.
const STRANGER: &str = r#"{"id":"e1","user_id":"v","timestamp":1577836810,"event_type":"a"}"#;

#[test]
fn equal_payloads_count_once_and_the_first_of_conflicting_ones_counts() {
    let folder = Folder::new();
    folder.write("headwater.toml", "[events]\nid = \"id\"\ndedupe = \"7d\"\n");
    folder.write("a.jsonl", [FIRST, FIRST, OTHER, NEXT, STRANGER].join("\n"));
    folder.write("b.jsonl", FIRST);
    for workers in ["1", "2", "3"] {
        let replay = folder.replay("headwater.toml", ["a.jsonl", "b.jsonl", "--workers", workers]);
        assert_eq!(replay.rows(), [session("u", 10, 30, 2), session("v", 10, 10, 1)]);
        assert_eq!(replay.number("events"), 3);
        assert_eq!(replay.number("duplicates"), 2);
        assert_eq!(replay.number("dead_letters"), 1);
        let letter = &replay.dead_letters()[0];
        assert_eq!(letter["reason"], "conflicting_duplicate");
        assert_eq!(letter["payload"], OTHER);
        assert_eq!(letter["offset"], 2 * (FIRST.len() + 1));
    }
}

#[test]
fn without_an_id_every_position_counts() {
    for config in ["", "[events]\nid = \"id\"\ndedupe = \"off\"\n"] {
        let folder = Folder::new();
        folder.write("headwater.toml", config);
        folder.write("a.jsonl", [FIRST, FIRST, OTHER, NEXT, STRANGER].join("\n"));
        let replay = folder.replay("headwater.toml", ["a.jsonl"]);
        assert_eq!(replay.rows(), [session("u", 10, 30, 4), session("v", 10, 10, 1)]);
        assert_eq!((replay.number("duplicates"), replay.number("dead_letters")), (0, 0));
    }
}

#[test]
fn a_conflicting_element_of_an_array_keeps_its_own_bytes() {
    let folder = Folder::new();
    folder.write("headwater.toml", "[events]\nid = \"id\"\nexplode = \"events\"\n");
    folder.write("a.jsonl", format!("{{\"user_id\":\"u\",\"events\":[{FIRST}, {OTHER}]}}\n{{\"events\":[{NEXT}]}}\n"));
    let replay = folder.replay("headwater.toml", ["a.jsonl"]);
    assert_eq!(replay.rows(), [session("u", 10, 30, 2)]);
    assert_eq!(replay.dead_letters()[0]["payload"], OTHER);
}

/// As when the id of the array is taken for that of its elements. A record is read again once, however many of its
/// elements are in conflict; once for each, this one would take minutes.
#[test]
fn many_conflicting_elements_of_one_array_take_no_time() {
    const ELEMENTS: usize = 40_000;
    let elements: Vec<_> = (0..ELEMENTS as i64).map(|at| format!("{{\"timestamp\":{}}}", START + 1000 + at)).collect();
    let folder = Folder::new();
    folder.write("headwater.toml", "[events]\nid = \"id\"\nexplode = \"events\"\n");
    folder.write("a.jsonl", format!("{{\"user_id\":\"u\",\"id\":1,\"events\":[{}]}}", elements.join(",")));
    let start = Instant::now();
    let replay = folder.replay("headwater.toml", ["a.jsonl"]);
    assert_eq!(replay.rows(), [session("u", 1000, 1000, 1)]);
    let letters = replay.dead_letters();
    assert_eq!(letters.len(), ELEMENTS - 1);
    assert!(letters.iter().zip(&elements[1..]).all(|(letter, element)| letter["payload"] == *element));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}
