//! Events come one by one, in any order and any pieces, over several connections. Their rows equal those of a replay of
//! all of them. The outputs name the cases that depend on the order.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::folder;
use super::process::{Process, Restart};
use super::published::{Published, same};
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::Value;

#[test]
fn any_interleaving_gives_the_sessions_of_a_replay() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let any = |number: u64| {
            let user = format!("user {}", rng.below(8));
            Event::any(&mut rng, user, PAST_MS, 200_000, Some(number.to_string()).filter(|_| number.is_multiple_of(2)))
        };
        let events: Vec<Event> = (0..2000).map(any).collect();
        // What has an id may come again.
        let mut sent: Vec<&Event> = events.iter().collect();
        sent.extend(events.iter().filter(|event| event.id.is_some()).step_by(3));
        for at in (1..sent.len()).rev() {
            sent.swap(at, rng.below(at as u64 + 1) as usize);
        }

        let folder = folder("");
        let process = Process::start(&folder, "data", 1 + seed as usize % 3, Restart::No);
        let address = process.ready();
        std::thread::scope(|scope| {
            for (connection, own) in sent.chunks(sent.len().div_ceil(3)).enumerate() {
                let mut rng = Rng::new(seed << 8 | connection as u64);
                scope.spawn(move || {
                    let mut client = Client::new(address);
                    let mut rest = own;
                    while !rest.is_empty() {
                        let (batch, after) = rest.split_at((1 + rng.below(60) as usize).min(rest.len()));
                        rest = after;
                        let array = Value::from_iter(batch.iter().map(|event| event.json())).to_string();
                        let (media_type, body) = match rng.below(2) {
                            0 => ("application/json", array),
                            _ => ("application/x-ndjson", lines(batch.iter().copied())),
                        };
                        let (outcome, answer) = client.post_as(media_type, &body);
                        assert_eq!((outcome, &answer["accepted"]), (Outcome::Acknowledged, &batch.len().into()));
                    }
                });
            }
        });
        process.drain();
        let published = Published::read(&folder.path("data"));
        same("sessions", &published.sessions(), &sessions(&events));
        published.is_replayed(&folder, &lines(&events));
    }
}

#[test]
fn the_first_of_conflicting_records_counts_and_the_others_are_dead_letters() {
    let folder = folder("");
    let process = Process::start(&folder, "data", 2, Restart::Supervisor);
    let mut client = Client::new(process.ready());
    let event = |time, price, id: &str| Event {
        user: "u".into(),
        time: PAST_MS + time,
        id: Some(id.into()),
        price: Some(price),
        page: None,
    };
    let mut all = String::new();
    for (events, damaged) in [
        (vec![event(0, 1, "a"), event(0, 1, "a"), event(1000, 1, "b")], "{\"user\": \n"),
        (vec![event(0, 2, "a"), event(5000, 1, "c")], ""),
        (vec![event(0, 1, "a"), event(5000, 3, "c")], "[]\n"),
    ] {
        let body = lines(&events) + damaged;
        assert_eq!(client.post(&body), Outcome::Acknowledged);
        client.published();
        all += &body;
    }
    process.drain();
    let published = Published::read(&folder.path("data"));
    let user = || "u".to_owned();
    assert_eq!(
        published.sessions(),
        [(user(), PAST_MS, PAST_MS + 1000, 2), (user(), PAST_MS + 5000, PAST_MS + 5000, 1)]
    );
    let letters = published.rows(Collection::DEAD_LETTERS);
    let conflicts = letters.iter().filter(|letter| letter["reason"] == "conflicting_duplicate");
    let mut payloads: Vec<_> = conflicts.map(|letter| letter["payload"].as_str().unwrap().to_owned()).collect();
    payloads.sort();
    assert_eq!(payloads, [event(0, 2, "a").json().to_string(), event(5000, 3, "c").json().to_string()]);
    published.is_replayed(&folder, &all);
}

/// Of payloads that come at once under one id one counts, and each other one is a dead letter: whichever connection, worker and
/// process reads them.
#[test]
fn payloads_that_come_at_once_under_one_id_are_all_told_but_the_first() {
    const IDS: usize = 50;
    const PAYLOADS: usize = 20;
    for workers in 1..4 {
        let folder = folder("snapshot = \"1h\"");
        let mut process = Process::start(&folder, "data", workers, Restart::No);
        let post = |process: &Process, from: usize| {
            let address = process.ready();
            std::thread::scope(|scope| {
                for payload in from..from + PAYLOADS / 2 {
                    scope.spawn(move || {
                        let event = |id: usize| Event {
                            user: format!("user {}", id % 7),
                            time: PAST_MS + payload as i64,
                            id: Some(format!("id {id}")),
                            price: Some(payload as u64),
                            page: None,
                        };
                        let events: Vec<Event> = (0..IDS).map(event).collect();
                        assert_eq!(Client::new(address).post(&lines(&events)), Outcome::Acknowledged);
                    });
                }
            });
        };
        // Ten payloads of each id; then it is killed and computes them again, and ten others come.
        post(&process, 0);
        process.kill();
        process = Process::start(&folder, "data", 1 + workers % 3, Restart::No);
        post(&process, PAYLOADS / 2);
        let mut client = Client::new(process.ready());
        client.published();
        process.kill();
        let process = Process::start(&folder, "data", workers, Restart::No);
        Client::new(process.ready()).published();
        process.drain();

        let published = Published::read(&folder.path("data"));
        let letters = published.rows(Collection::DEAD_LETTERS);
        let conflicts: Vec<_> = letters.iter().filter(|letter| letter["reason"] == "conflicting_duplicate").collect();
        assert_eq!((conflicts.len(), letters.len()), (IDS * (PAYLOADS - 1), IDS * (PAYLOADS - 1)));
        let payloads: std::collections::BTreeSet<_> =
            conflicts.iter().map(|letter| letter["payload"].as_str().unwrap()).collect();
        assert_eq!(payloads.len(), conflicts.len(), "each of another payload");
        let counted: u64 = published.rows(Collection::SESSIONS).iter().map(|row| row["events"].as_u64().unwrap()).sum();
        assert_eq!(counted, IDS as u64, "one of each id counts");
    }
}

#[test]
fn an_event_that_comes_late_changes_what_was_closed_and_is_told() {
    let folder = folder("");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    // Two sessions; then an event that makes them one.
    let mut events = Vec::new();
    for time in [0, 4000, 2000] {
        let event = Event { user: "u".into(), time: PAST_MS + time, id: None, price: None, page: None };
        assert_eq!(client.post(&lines([&event])), Outcome::Acknowledged);
        client.published();
        events.push(event);
    }
    process.drain();
    let published = Published::read(&folder.path("data"));
    assert_eq!(published.sessions(), sessions(&events));
    let late = published.rows(Collection::LATE);
    assert_eq!(late.len(), 1);
    assert_eq!(late[0]["time_us"], (PAST_MS + 2000) * 1000);
    let moved = published.rows(Collection::SESSION_LINEAGE);
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!(moved[0]["new_id"], published.rows(Collection::SESSIONS)[0]["session_id"]);
}
