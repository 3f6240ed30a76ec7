//! With a landing, a user is forgotten exactly although the queue is released, processes are killed, and several run
//! together. In the end no file of the landing has a byte of the user.

use super::super::client::Client;
use super::super::events::{Event, PAST_MS, lines, sessions};
use super::super::landing::LANDING;
use super::super::process::{Process, Restart};
use super::super::published::{Published, same};
use super::super::{MEANING, OFTEN, run_toml};
use super::{any, forget, has, post, receipt};
use crate::headwater::Folder;
use crate::patience::wait_until;
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::thread::sleep;
use std::time::Duration;

const STATES: &str = r#"
[[state]]
name = "shopper"
per = "user"
columns.events = { count = true }
columns.pages = { top = "page", k = 2, cap = 8 }

[[sequence]]
name = "twice"
steps = ["view", "purchase"]
within = "1h"
"#;

fn folder(more: &str) -> Folder {
    let folder = Folder::new();
    let meaning = format!("{MEANING}{more}");
    folder.write("run.toml", run_toml(OFTEN, &format!("{LANDING}{meaning}")));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
    folder
}

fn landed(client: &mut Client, forget: u64) {
    wait_until("the user has left the landing", || {
        let listed = client.get_json("/v1/forget").map_or(Value::Null, |(_, listed)| listed);
        let all = listed["forgets"].as_array().cloned().unwrap_or_default();
        all.iter().any(|one| one["forget"] == forget && one["disk"].get("landed_rows").is_some())
    });
}

#[test]
fn no_file_of_the_landing_has_a_byte_of_the_user() {
    const NAME: &str = "a-name-that-is-nowhere-else";
    let folder = folder(STATES);
    let mut rng = Rng::new(3);
    let mut events: Vec<Event> = (0..2000).map(|number| any(&mut rng, number, 5)).collect();
    // The first and the last one too, of all users: those are in the statistics of files.
    events.iter_mut().step_by(7).for_each(|event| event.user = NAME.into());
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    for batch in events.chunks(200) {
        post(&mut client, batch);
        sleep(Duration::from_millis(150));
    }
    wait_until("some has landed", || has(&folder, "data/landing/events", NAME));
    let gone = receipt(&forget(&folder, address, &[NAME, "--json"]));
    let of_user = events.iter().filter(|event| event.user == NAME).count();
    assert_eq!(gone["events"], of_user, "{gone}");
    for view in ["sessions", "users", "closings", "state.shopper"] {
        assert!(gone["rows"][view].as_u64().is_some_and(|rows| rows > 0), "{view} of {gone}");
    }
    landed(&mut client, 1);
    let (status, states) = client.get_json("/v1/collections/state.shopper/rows").unwrap();
    assert!(status == 200 && !states.to_string().contains(NAME), "{states}");
    // What is posted later needs commits, and with them the files of before go.
    let mut number = 10_000;
    wait_until("no file has a byte of the user", || {
        number += 1;
        post(&mut client, &[any(&mut rng, number, 3)]);
        !has(&folder, "data/landing", NAME)
    });
    process.drain();
    assert!(!has(&folder, "data/log/control", NAME) && !has(&folder, "data/landing", NAME));
    // A replay of the landing has the rest.
    let of_landing = folder.replay("run.toml", ["--landing"]);
    assert_eq!(of_landing.rows(), Published::read(&folder.path("data")).sessions());
}

#[test]
fn killed_at_random_users_are_forgotten_exactly() {
    for processes in [1, 2] {
        let folder = folder(STATES);
        let mut rng = Rng::new(40 + processes);
        let mut stays: Vec<Event> = Vec::new();
        let mut number = 0;
        let several = processes.to_string();
        for round in 0..6u64 {
            let workers = 1 + rng.below(3) as usize;
            let more = ["--processes", several.as_str()];
            let process = Process::start_with(&folder, "data", workers, Restart::No, None, &more);
            let address = process.ready();
            let mut client = Client::new(address);
            let events: Vec<Event> = (number..number + 400).map(|number| any(&mut rng, number, 6)).collect();
            number += 400;
            post(&mut client, &events);
            stays.extend(events);
            let user = format!("user {}", rng.below(6));
            if round % 2 == 0 {
                // It is durable, and finished whether the process lives or not.
                let url = format!("http://{address}");
                let mut asking = std::process::Command::new(env!("CARGO_BIN_EXE_headwater"))
                    .args(["forget", &url, &user])
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn()
                    .unwrap();
                let asked = rng.below(60);
                sleep(Duration::from_millis(asked));
                process.kill();
                asking.wait().unwrap();
                // Whether it was durable, the next process says.
                let process = Process::start_with(&folder, "data", workers, Restart::No, None, &more);
                let address = process.ready();
                receipt(&forget(&folder, address, &[&user, "--json"]));
                process.kill();
            } else {
                receipt(&forget(&folder, address, &[&user, "--json"]));
                process.kill();
            }
            stays.retain(|event| event.user != user);
        }
        let process = Process::start(&folder, "data", 2, Restart::No);
        process.ready();
        process.drain();
        let published = Published::read(&folder.path("data"));
        same("sessions", &published.sessions(), &sessions(&stays));
        published.is_replayed(&folder, &lines(&stays));
    }
}

/// Without a landing, a queue that was released cannot be read back.
#[test]
fn where_events_are_gone_it_is_refused_and_in_part_it_is_done() {
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, MEANING));
    let event = |number: i64| Event {
        user: "u".into(),
        time: PAST_MS + number,
        id: Some(number.to_string()),
        price: None,
        page: None,
    };
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    let mut number = 0;
    let oldest = folder.path("data/log/wal/00");
    let names = |folder: &std::path::Path| {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let first = names(&oldest);
    wait_until("a part of the queue is released", || {
        let events: Vec<Event> = (number..number + 500).map(event).collect();
        number += 500;
        post(&mut client, &events);
        names(&oldest).first() != first.first()
    });
    let refused = forget(&folder, address, &["u"]);
    assert!(refused.code() == 1 && refused.said().contains("cannot be read back any more"), "{}", refused.stderr());
    let users = || Client::new(address).get_json("/v1/collections/users/rows").unwrap().1.to_string();
    assert!(users().contains("\"u\""));
    let gone = receipt(&forget(&folder, address, &["u", "--partial", "--json"]));
    assert_eq!((&gone["state"], &gone["partial"]), (&"done".into(), &true.into()), "{gone}");
    assert!(gone["events"].as_i64().unwrap() < number && !gone["stays"][0].is_null(), "{gone}");
    assert!(!users().contains("\"u\""));
    process.drain();
    assert!(Published::read(&folder.path("data")).sessions().is_empty());
}
