//! Events of one time, as in logs with whole seconds: the log says which came first.

use super::replay;
use crate::headwater::{Folder, csv};

/// Requests of one second.
fn lines(pages: &[&str], second: u32) -> String {
    let line = |page: &&str| {
        format!("203.0.113.5 - - [01/May/2024:10:00:{second:02} +0000] \"GET {page} HTTP/1.1\" 200 5 \"-\" \"curl\"\n")
    };
    pages.iter().map(line).collect()
}

const FIRST: [&str; 3] = ["/landing", "/assets/a.css", "/assets/b.js"];
const LAST: [&str; 3] = ["/cart", "/checkout", "/a-thanks"];

const CARRY: &str = "[sessions]\ncarry = [\"path\"]\n[[class]]\nname = \"asset\"\nwhen = { path = { prefix = \"/assets\" } }\n\
                     [[class]]\nname = \"page\"\nwhen = { path = { prefix = \"/\" } }\n";

/// Entry and exit page, first and last class of the only session.
fn ends(config: &str, name: &str, content: &str) -> [String; 4] {
    let rows = replay(config, name, content).sessions;
    assert_eq!(rows.len(), 1, "{rows:?}");
    ["entry_path", "exit_path", "first_class", "last_class"].map(|column| rows[0][column].clone())
}

#[test]
fn among_requests_of_one_second_the_log_says_which_came_first() {
    let log = lines(&FIRST, 1) + &lines(&LAST, 9);
    assert_eq!(ends(CARRY, "access.log", &log), ["/landing", "/a-thanks", "page", "page"]);
    let by_content = format!("[events]\nties = \"content\"\n{CARRY}");
    assert_eq!(ends(&by_content, "access.log", &log)[..2], ["/assets/a.css", "/checkout"]);
}

#[test]
fn where_one_event_comes_first_in_the_log_its_number_in_the_session_is_lower() {
    let folder = Folder::new();
    folder.write("headwater.toml", CARRY);
    folder.write("access.log", lines(&FIRST, 1) + &lines(&LAST, 9));
    let run =
        folder.headwater(["replay", "headwater.toml", "access.log", "--events", "--format", "csv", "--out", "out"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let rows = csv(folder.read("out/session_events.csv").as_bytes());
    let numbered: Vec<_> = rows.iter().map(|row| row["number"].parse::<usize>().unwrap()).collect();
    assert_eq!(numbered, [1, 2, 3, 4, 5, 6]);
    for (row, page) in rows.iter().zip(FIRST.iter().chain(&LAST)) {
        assert!(row["payload"].contains(page), "{page} is not in {row:?}");
    }
}

/// Numbers that are no numbers come last, whatever they are.
#[test]
fn a_number_orders_events_of_one_time_before_the_log_does() {
    let event = |seq: &str, page: &str| {
        format!(
            "{{\"user\":\"u\",\"time\":\"2024-05-01T10:00:00Z\",\"type\":\"{page}\",\"seq\":{seq},\"path\":\"{page}\"}}\n"
        )
    };
    let events = event("10", "/j") + &event("\"-2\"", "/z") + &event("9.5", "/b") + &event("null", "/a");
    let config = |events: &str| format!("[events]\n{events}\n[sessions]\ncarry = \"path\"\n");
    assert_eq!(ends(&config(""), "events.jsonl", &events)[..2], ["/a", "/z"]);
    assert_eq!(ends(&config("order = \"seq\""), "events.jsonl", &events)[..2], ["/z", "/a"]);
    let known = events.lines().take(3).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(ends(&config("order = \"seq\""), "events.jsonl", &known)[..2], ["/z", "/j"]);
    assert_eq!(ends(&config("ties = \"log\""), "events.jsonl", &events)[..2], ["/j", "/a"]);
}
