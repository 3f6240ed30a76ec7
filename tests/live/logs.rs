//! Names of files and answers of receivers reach the log of a run. They neither forge a line of it nor control the
//! terminal of its reader.

use super::MEANING;
use super::events::{Event, PAST_MS, lines};
use crate::headwater::{Folder, own_address};
use crate::patience::wait_until;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;

/// A line as the log writes them, and sequences that clear the screen and set a title.
const FORGED: &str = "\r\n2026-01-01T00:00:00.000000Z ERROR forged\x1b[2J\x1b]0;title\x07\u{9b}2J\u{2028}\u{202e}\x7f";

/// Answers whatever is posted with 400, and text.
fn receiver(text: String) -> SocketAddr {
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer =
                format!("HTTP/1.1 400 Bad\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            let mut head = [0; 65536];
            // One read has all of it, or a part; the answer is the same.
            let _gone = stream.read(&mut head).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    });
    address
}

/// Killed when it is dropped.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// The log of a run that has met a file and a receiver like that, up to where it has told of both.
fn log(format: &[&str]) -> String {
    let folder = Folder::new();
    let events: Vec<Event> =
        (0..4).map(|at| Event { user: "ann".into(), time: PAST_MS + at, id: None, price: None, page: None }).collect();
    folder.write("logs/good.jsonl", lines(&events));
    folder.write(&format!("logs/a file{}.jsonl", FORGED), "of no known format\nwhatever it is\n");
    let to = receiver(format!("an answer{FORGED}"));
    folder.write(
        "run.toml",
        format!(
            "[[source]]\nname = 'files'\nkind = 'file'\npaths = ['logs/*']\nfollow = true\n{MEANING}\n[[sink]]\nname = 'hook'\n\
             kind = 'http'\nurl = 'http://{to}/'\nallow_private = true\ncollection = 'sessions'\nchanges = 'all'\nfrom = 'start'\n"
        ),
    );
    let listen = SocketAddr::new(own_address(), 0).to_string();
    let log = fs::File::create(folder.path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(["run", "run.toml", "--data-dir", "data", "--no-restart", "--listen", &listen]).args(format);
    command.current_dir(folder.path("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut run = Run(command.spawn().unwrap());
    let read = || String::from_utf8(fs::read(folder.path("log")).unwrap()).unwrap_or_default();
    let told = |log: &str| log.contains("an answer") && log.contains("a file cannot be followed");
    wait_until("both are in the log", || told(&read()) || run.0.try_wait().unwrap().is_some());
    let log = read();
    assert!(told(&log), "{log}");
    log
}

/// No line but those of the log, and nothing in them that steers a terminal.
fn check(log: &str) {
    let unfit = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{202e}');
    for line in log.lines() {
        assert!(!line.contains(unfit), "{line:?}");
        assert!(!line.starts_with("2026-01-01"), "{line}");
    }
    let of = |text: &str| log.lines().filter(|line| line.contains(text)).collect::<Vec<_>>();
    for (text, told) in [("an answer", "not taken"), ("a file\\r", "cannot be followed")] {
        let lines = of(text);
        assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(told)), "{text}: {log}");
        assert!(lines.iter().all(|line| line.contains("ERROR forged")), "the whole of it is there: {log}");
    }
}

#[test]
fn what_others_say_is_one_line_of_the_log() {
    check(&log(&[]));
}

#[test]
fn what_others_say_is_one_line_of_the_log_as_json() {
    let log = log(&["--log-json"]);
    check(&log);
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
