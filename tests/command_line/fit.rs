//! Names of files, users, types and classes, and answers of servers, reach the screen in one piece: nothing in them
//! ends a line or controls the terminal.

use crate::headwater::{Folder, Run, own_address};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

/// A line of its own, and sequences that clear the screen and set a title.
const EVIL: &str = "evil\r\nError: forged\x1b[2J\x1b]0;title\x07\u{9b}2J\u{2028}\u{202e}";

/// The same within a text of JSON or TOML.
const WRITTEN: &str = r"evil\r\nError: forged\u001b[2J\u001b]0;title\u0007\u009b2J\u2028\u202e";

/// `shown`: it is in the output or among the errors.
fn check(run: &Run, code: i32, shown: bool) {
    let (out, errors) = (run.stdout(), run.stderr());
    assert_eq!(run.code(), code, "{out}\n{errors}");
    let unfit = |char: char| char != '\n' && (char.is_control() || matches!(char, '\u{2028}' | '\u{202e}'));
    for text in [&out, &errors] {
        for line in text.lines() {
            assert!(!line.contains(unfit), "{line:?} in {text}");
            assert!(!line.trim_start_matches(['│', ' ']).starts_with("Error: forged"), "{text}");
        }
    }
    assert_eq!(out.contains("forged") || errors.contains("forged"), shown, "{out}\n{errors}");
}

#[test]
fn names_of_files_do_not_steer_the_terminal() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    let event = r#"{"user_id":"ann","timestamp":1577836800,"action":"login"}"#;
    folder.write(&format!("logs/{EVIL}.jsonl"), format!("{event}\n{event}\n{event}\nno event\n"));
    let headwater = |arguments: &[&str]| folder.headwater(arguments);
    for format in [&[][..], &["--json"]] {
        check(&headwater(&[&["replay", "headwater.toml", "logs", "--out", EVIL], format].concat()), 0, true);
        check(&headwater(&[&["plan", "headwater.toml", "logs", "--out", EVIL], format].concat()), 0, true);
        check(&headwater(&[&["doctor", EVIL], format].concat()), 2, true);
    }
    let gone = format!("gone {EVIL}");
    folder.write(&format!("unknown/{EVIL}"), b"\x89PNG\r\n\x1a\n\0\0\0\0");
    check(&headwater(&["replay", "headwater.toml", &gone, "--out", "out"]), 1, true);
    check(&headwater(&["replay", "headwater.toml", "unknown", "--out", "out"]), 1, true);
    check(&headwater(&["explain", "headwater.toml", &gone]), 1, true);
    check(&headwater(&["plan", &gone]), 2, true);
    check(&headwater(&["doctor", &gone]), 2, true);
    folder.write("run.toml", "[[source]]\nname = 'app'\nkind = 'http'\n");
    check(&headwater(&["run", "run.toml", "--listen", EVIL, "--no-restart", "--data-dir", "data"]), 2, true);
    check(&headwater(&["peek", "sessions", "--url", EVIL]), 2, true);
}

#[test]
fn values_of_events_and_names_of_classes_do_not_steer_the_terminal() {
    let folder = Folder::new();
    folder.write(
        "headwater.toml",
        format!("[[class]]\nname = \"{WRITTEN}\"\nwhen = {{ page = \"{WRITTEN}\" }}\n[fields]\npage = ['page']\n"),
    );
    let event = format!(r#"{{"user_id":"{WRITTEN}","timestamp":1577836800,"action":"{WRITTEN}","page":"{WRITTEN}"}}"#);
    let other = format!(r#"{{"user_id":"{WRITTEN}","timestamp":1577836800,"action":"{WRITTEN}"}}"#);
    folder.write("events.jsonl", format!("{event}\n{other}\n"));
    for format in [&[][..], &["--json"]] {
        let replay = ["replay", "headwater.toml", "events.jsonl", "--out", "out"];
        check(&folder.headwater([&replay[..], format].concat()), 0, true);
        check(&folder.headwater([&["plan", "headwater.toml", "events.jsonl"][..], format].concat()), 0, true);
    }
    check(&folder.headwater(["explain", "headwater.toml", "events.jsonl"]), 0, true);
    check(&folder.headwater(["explain", "headwater.toml", "events.jsonl", "--source", EVIL]), 2, false);
}

/// Starts a server that gives this answer to every request.
fn server(status: &str, body: String) -> String {
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _gone = stream.read(&mut [0; 65536]);
            let _gone = stream.write_all((head.clone() + &body).as_bytes());
        }
    });
    url
}

#[test]
fn answers_of_servers_do_not_steer_the_terminal() {
    let folder = Folder::new();
    let asks = [&["peek", "sessions"][..], &["subscribe", "sessions"], &["status"]];
    let error = format!(r#"{{"error":{{"code":"{WRITTEN}","message":"{WRITTEN}"}}}}"#);
    for (status, body) in
        [("400 Bad", error.clone()), ("403 Forbidden", error), ("418 Odd", EVIL.into()), ("200 OK", EVIL.into())]
    {
        let url = server(status, body);
        for ask in asks {
            let run = folder.headwater(ask.iter().chain(&["--url", &url]));
            assert_ne!(run.code(), 0);
            // Of what is no answer at all, not everything is shown.
            check(&run, run.code(), status != "200 OK");
        }
    }
    let row = format!(r#"{{"user":"{EVIL}","{EVIL}":1}}"#).replace(['\r', '\n', '\x1b', '\x07'], "");
    let rows = format!(r#"{{"as_of":1,"rows":[{row}],"more":false}}"#).replace("evilError", "evil Error");
    check(&folder.headwater(["peek", "sessions", "--url", &server("200 OK", rows)]), 0, true);
}
