//! Users are forgotten while events come, and processes are killed on the way. In the end the rows are those of a replay
//! without what the users did before.

mod landed;

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, folder, run_toml};
use crate::headwater::{Folder, Run};
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `headwater forget URL MORE` to its end.
fn forget(folder: &Folder, address: SocketAddr, more: &[&str]) -> Run {
    let url = format!("http://{address}");
    folder.headwater(["forget", &url].iter().chain(more))
}

fn receipt(run: &Run) -> Value {
    assert_eq!(run.code(), 0, "{}", run.stderr());
    serde_json::from_str(&run.stdout()).unwrap()
}

fn any(rng: &mut Rng, number: u64, users: u64) -> Event {
    let user = format!("user {}", rng.below(users));
    Event::any(rng, user, PAST_MS, 400_000, Some(number.to_string()))
}

fn post(client: &mut Client, events: &[Event]) {
    for batch in events.chunks(50) {
        assert_eq!(client.post(&lines(batch)), Outcome::Acknowledged);
    }
}

#[test]
fn a_user_goes_and_comes_back_and_the_rows_are_those_of_a_replay() {
    for workers in 1..=3 {
        let mut rng = Rng::new(workers as u64);
        let folder = folder("");
        let events: Vec<Event> = (0..3000).map(|number| any(&mut rng, number, 7)).collect();
        let (before, after) = events.split_at(1500);
        let process = Process::start(&folder, "data", workers, Restart::No);
        let address = process.ready();
        let mut client = Client::new(address);
        post(&mut client, before);
        // A payload that is there twice counts once.
        post(&mut client, &before[..200]);
        let gone = receipt(&forget(&folder, address, &["user 3", "--reason", "a ticket", "--json"]));
        let of_user = before.iter().filter(|event| event.user == "user 3").count();
        assert_eq!((&gone["state"], &gone["events"]), (&"done".into(), &of_user.into()), "{gone}");
        assert_eq!(gone["rows"]["users"], 1, "{gone}");
        assert!(!gone.to_string().contains("user 3"), "{gone}");
        // The same again finds nothing, as does a user who is not known.
        for user in ["user 3", "no such user"] {
            let nothing = receipt(&forget(&folder, address, &[user, "--json"]));
            assert_eq!((&nothing["state"], &nothing["events"]), (&"done".into(), &0.into()), "{nothing}");
            assert!(nothing.get("rows").is_none(), "{nothing}");
        }
        post(&mut client, after);
        client.published();
        // Computed again from the beginning, each tick has to be what it was.
        process.kill();
        let process = Process::start(&folder, "data", workers, Restart::No);
        let address = process.ready();
        let listed = forget(&folder, address, &["--list", "--json"]);
        let listed: Value = serde_json::from_str(&listed.stdout()).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
        assert_eq!(listed[0], gone);
        process.drain();
        // From a checkpoint, too.
        let process = Process::start(&folder, "data", workers, Restart::No);
        let address = process.ready();
        let more: Vec<Event> = (3000..3300).map(|number| any(&mut rng, number, 7)).collect();
        post(&mut Client::new(address), &more);
        process.drain();
        let stays = before.iter().filter(|event| event.user != "user 3").chain(after).chain(&more);
        let stays: Vec<Event> = stays.cloned().collect();
        let published = Published::read(&folder.path("data"));
        same("sessions", &published.sessions(), &sessions(&stays));
        published.is_replayed(&folder, &lines(&stays));
    }
}

/// The events that come while the user is forgotten are before or after, and nothing between.
#[test]
fn under_load_what_stays_of_a_user_is_what_came_last() {
    let mut rng = Rng::new(5);
    let folder = folder("");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let others: Vec<Event> = (0..4000).map(|number| any(&mut rng, number, 7)).collect();
    let mut own: Vec<Event> = (4000..12_000).map(|number| any(&mut rng, number, 1)).collect();
    own.iter_mut().for_each(|event| event.user = "the user".into());
    let over = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        scope.spawn(|| post(&mut Client::new(address), &others));
        let sending = scope.spawn(|| {
            let mut client = Client::new(address);
            let mut sent = 0;
            for batch in own.chunks(20) {
                assert_eq!(client.post(&lines(batch)), Outcome::Acknowledged);
                sent += batch.len();
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            sent
        });
        for _ in 0..3 {
            receipt(&forget(&folder, address, &["the user", "--json"]));
        }
        over.store(true, Ordering::Relaxed);
        sending.join().unwrap()
    });
    Client::new(address).published();
    process.drain();
    let published = Published::read(&folder.path("data"));
    let left: u64 = published.sessions().iter().filter(|row| row.0 == "the user").map(|row| row.3).sum();
    let stays: Vec<Event> = others.iter().chain(&own[sent - left as usize..sent]).cloned().collect();
    same("sessions", &published.sessions(), &sessions(&stays));
    published.is_replayed(&folder, &lines(&stays));
}

/// History from before does not come back by a backfill.
#[test]
fn history_of_a_user_who_was_forgotten_is_held_back() {
    let folder = folder("");
    let mut rng = Rng::new(9);
    let events: Vec<Event> = (0..600).map(|number| any(&mut rng, number, 3)).collect();
    folder.write("history.jsonl", lines(&events));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    receipt(&forget(&folder, address, &["user 1", "--json"]));
    let url = format!("http://{address}");
    let run = folder.headwater(["backfill", "run.toml", "history.jsonl", "--url", &url]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    // Live events of the user count, and have the name.
    let live: Vec<Event> = (600..650).map(|number| any(&mut rng, number, 3)).collect();
    post(&mut Client::new(address), &live);
    process.drain();
    let stays: Vec<Event> = events.iter().filter(|event| event.user != "user 1").chain(&live).cloned().collect();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&stays));
    published.is_replayed(&folder, &lines(&stays));
}

/// Of history that comes while a user is forgotten, nothing stays.
#[test]
fn a_backfill_that_goes_on_meanwhile_brings_nothing_back() {
    let folder = folder("");
    let mut rng = Rng::new(11);
    let events: Vec<Event> = (0..20_000).map(|number| any(&mut rng, number, 9)).collect();
    folder.write("history.jsonl", lines(&events));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let url = format!("http://{address}");
    let mut bringing = std::process::Command::new(env!("CARGO_BIN_EXE_headwater"))
        .args(["backfill", "run.toml", "history.jsonl", "--url", &url, "--rate", "8000", "--no-progress"])
        .current_dir(folder.path(""))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut client = Client::new(address);
    crate::patience::wait_until("a part of history is in", || {
        let report = client.get_json("/v1/backfills/history").map_or(Value::Null, |(_, report)| report);
        report["records"].as_u64().is_some_and(|records| records > 2000)
    });
    for user in ["user 1", "user 5", "user 1"] {
        receipt(&forget(&folder, address, &[user, "--json"]));
    }
    assert!(bringing.wait().unwrap().success());
    process.drain();
    let stays: Vec<Event> = events.into_iter().filter(|event| !["user 1", "user 5"].contains(&&*event.user)).collect();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&stays));
    published.is_replayed(&folder, &lines(&stays));
}

/// Rules that are applied to a run say which events are in sessions. What is read back has to be counted as it was, so that
/// no view has a row once all users are gone.
#[test]
fn events_are_read_back_by_the_rules_that_held() {
    const RULE: &str = "[[class]]\nname = 'home'\nwhen = 'page = 1'\n";
    let folder = folder("");
    folder.write("run.toml", run_toml("", &format!("{MEANING}{RULE}")));
    let mut rng = Rng::new(13);
    let events: Vec<Event> = (0..900).map(|number| any(&mut rng, number, 3)).collect();
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let url = format!("http://{address}");
    let mut client = Client::new(address);
    for (apart, some) in ["sessions = false\n", "", "sessions = false\n"].into_iter().zip(events.chunks(300)) {
        folder.write("new.toml", format!("{RULE}{apart}"));
        let applied = folder.headwater(["rules", "apply", &url, "new.toml"]);
        assert_eq!(applied.code(), 0, "{}", applied.stderr());
        post(&mut client, some);
    }
    for user in ["user 0", "user 1", "user 2"] {
        let of_user = events.iter().filter(|event| event.user == user).count();
        let gone = receipt(&forget(&folder, address, &[user, "--json"]));
        assert_eq!((&gone["state"], &gone["events"]), (&"done".into(), &of_user.into()), "{gone}");
    }
    process.drain();
    let published = Published::read(&folder.path("data"));
    for collection in [Collection::SESSIONS, Collection::USERS, Collection::COUNTS, Collection::SHAPES] {
        assert_eq!(published.rows(collection).len(), 0, "{collection:?}");
    }
}

/// A checkpoint has nothing of a user who is forgotten, and its name neither.
#[test]
fn no_checkpoint_has_the_name() {
    const NAME: &str = "a-name-that-is-nowhere-else";
    let folder = Folder::new();
    folder.write("run.toml", run_toml("", MEANING));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let event = |number: i64| Event {
        user: NAME.into(),
        time: PAST_MS + number * 1000,
        id: Some(number.to_string()),
        price: None,
        page: None,
    };
    post(&mut Client::new(process.ready()), &(0..100).map(event).collect::<Vec<_>>());
    process.drain();
    assert!(has(&folder, "data/log/state", NAME), "before");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    post(&mut Client::new(address), &(100..200).map(event).collect::<Vec<_>>());
    let gone = receipt(&forget(&folder, address, &[NAME, "--json"]));
    assert_eq!(gone["events"], 200, "{gone}");
    process.drain();
    // Two checkpoints are kept: with one more, both are from after it.
    let process = Process::start(&folder, "data", 2, Restart::No);
    let other = Event { user: "other".into(), ..event(0) };
    post(&mut Client::new(process.ready()), &[other]);
    process.drain();
    assert!(!has(&folder, "data/log/state", NAME));
    assert_eq!(Published::read(&folder.path("data")).rows(Collection::SESSIONS).len(), 1);
}

/// Returns whether a file below a folder has a text. A process may remove files meanwhile.
fn has(folder: &Folder, below: &str, text: &str) -> bool {
    let mut folders = vec![folder.path(below)];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|bytes| bytes == text.as_bytes()) {
                return true;
            }
        }
    }
    false
}
