//! Counts by keys of the configuration in a run: rows are what a slow, obvious oracle counts of the events, and what a replay
//! of them writes; after kills, with another number of workers at each start, with late events that join sessions, and
//! repeated ids. What was published adds up to them. A count that is new says since when it counts.

use super::client::{Client, Outcome};
use super::events::{self, Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::{MEANING, OFTEN, folders, run_toml};
use crate::headwater::Folder;
use headwater_log::vfs::model::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

const COUNTS: &str = r#"
[[count]]
name = "pages"
over = "events"
by = ["page", "class", { minute = "time" }]
sum = { spent = "price" }

[[count]]
name = "buys"
over = "events"
when = 'class = "purchase"'

[[count]]
name = "lengths"
over = "sessions"
by = ["events", { day = "start_us", zone = "Europe/Berlin" }]
sum = { revenue = "revenue", all = "events" }

[[count]]
name = "entries"
over = "sessions"
by = ["entry_page"]
when = "classes.purchase >= 1"

[[count]]
name = "visitors"
over = "users"
by = ["sessions"]

[[count]]
name = "closed"
over = "closings"
by = ["events"]

[[count]]
name = "classes"
over = "counts"
by = ["class"]
sum = { events = "events" }

[[count]]
name = "users"
over = "events"
by = ["user", { hour = "time" }]

[[count]]
name = "active"
over = "count.users"
by = ["hour"]

[[count]]
name = "few"
over = "sessions"
by = ["user"]
limit = 3
"#;

const NAMES: [&str; 10] =
    ["pages", "buys", "lengths", "entries", "visitors", "closed", "classes", "users", "active", "few"];

fn folder(counts: &str) -> Folder {
    let folder = Folder::new();
    configure(&folder, counts);
    folder
}

fn configure(folder: &Folder, counts: &str) {
    let meaning = format!("{MEANING}{counts}");
    folder.write("run.toml", run_toml(OFTEN, &meaning));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
}

fn get(address: SocketAddr, path: &str) -> Value {
    let (status, body) = folders::get(address, path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

type Row = Map<String, Value>;

fn sorted(rows: impl IntoIterator<Item = Row>) -> Vec<String> {
    let mut rows: Vec<String> = rows.into_iter().map(|row| Value::Object(row).to_string()).collect();
    rows.sort();
    rows
}

/// All rows, a few at a time, without `partial_since`.
fn rows(address: SocketAddr, count: &str) -> Vec<String> {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(address, &format!("/v1/collections/count.{count}/rows?limit=3{after}"));
        for row in page["rows"].as_array().unwrap() {
            let mut row = row.as_object().unwrap().clone();
            assert_eq!(row.remove("partial_since"), Some(Value::Null));
            rows.push(row);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return sorted(rows),
        }
    }
}

fn replayed(folder: &Folder, events: &str) {
    folder.write("events.jsonl", events);
    let run = folder.headwater(["replay", "replay.toml", "--out", "out", "--format", "jsonl"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
}

fn written(folder: &Folder, count: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.path(format!("out/count.{count}.jsonl"))).unwrap();
    sorted(text.lines().map(|line| serde_json::from_str(line).unwrap()))
}

/// The changes since the first tick, added up. At no tick has a row come twice.
fn followed(address: SocketAddr, count: &str) -> Vec<String> {
    let (status, text) =
        folders::get(address, &format!("/v1/collections/count.{count}/changes?from=0&until=caught_up"));
    assert_eq!(status, 200, "{text}");
    let frames = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut rows = BTreeMap::<String, i64>::new();
    for update in frames.filter_map(|mut frame| frame["updates"].as_array_mut().map(std::mem::take)).flatten() {
        let mut row = update["row"].as_object().unwrap().clone();
        row.remove("partial_since");
        *rows.entry(Value::Object(row).to_string()).or_insert(0) += update["diff"].as_i64().unwrap();
    }
    rows.retain(|_, times| *times != 0);
    assert!(rows.values().all(|times| *times == 1), "{rows:?}");
    rows.into_keys().collect()
}

/// Counts the events one by one.
fn pages(events: &[Event]) -> Vec<String> {
    let mut rows = BTreeMap::<_, (i64, Option<u64>)>::new();
    for event in events {
        let class = if event.price.is_some_and(|price| price >= 1) { "purchase" } else { "view" };
        let row = rows.entry((event.page, class, event.time / 60_000)).or_default();
        row.0 += 1;
        row.1 = row.1.into_iter().chain(event.price).reduce(|one, other| one + other);
    }
    let row = |((page, class, minute), (count, spent)): ((Option<u64>, &str, i64), (i64, Option<u64>))| {
        let minute = jiff::Timestamp::from_second(minute * 60).unwrap().to_string();
        let page = page.map(|page| page.to_string());
        let row = json!({
            "page": page, "class": class, "minute": minute, "overflow": 0, "count": count,
            "spent": spent, "spent_not_numbers": 0,
        });
        row.as_object().unwrap().clone()
    };
    sorted(rows.into_iter().map(row))
}

/// Counts the sessions of the events by user; of more than three users, those with the most sessions or least, whichever:
/// the sum of all rows.
fn check_few(rows: &[String], events: &[Event]) {
    let sessions = events::sessions(events);
    let users: std::collections::BTreeSet<&String> = sessions.iter().map(|(user, ..)| user).collect();
    let rows: Vec<Row> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows.len(), users.len().min(4));
    let all: i64 = rows.iter().map(|row| row["count"].as_i64().unwrap()).sum();
    assert_eq!(all, sessions.len() as i64);
    for row in rows.iter().filter(|row| row["overflow"] == 0) {
        let own = sessions.iter().filter(|(user, ..)| *user == row["user"]).count();
        assert_eq!(row["count"], own);
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_counts_as_the_oracle_and_as_a_replay() {
    let folder = folder(COUNTS);
    let mut rng = Rng::new(11);
    let any = |number: u64| {
        let user = format!("user {}", rng.below(12));
        Event::any(&mut rng, user, PAST_MS, 200_000, Some(number.to_string()).filter(|_| number.is_multiple_of(2)))
    };
    let events: Vec<Event> = (0..800).map(any).collect();
    let mut sent = 0;
    for (life, own) in events.chunks(200).enumerate() {
        let more = ["--processes", if life == 2 { "2" } else { "1" }];
        let process = Process::start_with(&folder, "data", 1 + life % 3, Restart::No, None, &more);
        let address = process.ready();
        let mut client = Client::new(address);
        if sent > 0 {
            assert_eq!(rows(address, "pages"), pages(&events[..sent]), "what was before is there from the start");
        }
        for some in own.chunks(37) {
            assert_eq!(client.post(&lines(some)), Outcome::Acknowledged);
            // Repeated ids count once.
            let with_ids = some.iter().filter(|event| event.id.is_some());
            assert_eq!(client.post(&lines(with_ids)), Outcome::Acknowledged);
        }
        client.published();
        sent += own.len();
        assert_eq!(rows(address, "pages"), pages(&events[..sent]));
        check_few(&rows(address, "few"), &events[..sent]);
        replayed(&folder, &lines(&events[..sent]));
        for name in NAMES {
            let now = rows(address, name);
            // The clock of a run is the present, and that of a replay is the largest event time.
            if name != "closed" {
                assert_eq!(now, written(&folder, name), "{name}");
            }
            assert_eq!(followed(address, name), now, "{name}");
        }
        let closed: i64 = rows(address, "closed")
            .iter()
            .map(|row| serde_json::from_str::<Row>(row).unwrap()["count"].as_i64().unwrap())
            .sum();
        assert_eq!(closed, events::sessions(&events[..sent]).len() as i64);
        drop(if life % 2 == 0 { process.kill() } else { process.drain() });
    }
}

/// A count over events that is added counts from then on, and says so. One over a view is whole. A start without one that was
/// published is refused, and so is one with another definition.
#[test]
fn a_count_that_is_added_to_a_folder_begins_with_it() {
    let folder = folder("");
    let event = |user: &str, time: i64| Event {
        user: user.into(),
        time: PAST_MS + time,
        id: None,
        price: Some(2),
        page: Some(1),
    };
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    assert_eq!(client.post(&lines(&[event("ann", 0), event("bob", 0), event("ann", 60_000)])), Outcome::Acknowledged);
    client.published();
    drop(process.drain());
    let events = "[[count]]\nname = 'e'\nover = 'events'\nby = ['user']\n";
    let sessions = "[[count]]\nname = 's'\nover = 'sessions'\nby = ['user']\n";
    configure(&folder, &format!("{events}{sessions}"));
    for life in 0..2 {
        let process = Process::start(&folder, "data", 1 + life, Restart::No);
        let address = process.ready();
        let mut client = Client::new(address);
        if life == 0 {
            // It joins both sessions of ann.
            let late: Vec<Event> = (1..60).map(|second| event("ann", second * 1000)).collect();
            assert_eq!(client.post(&lines(&late)), Outcome::Acknowledged);
            client.published();
        }
        let of_events = get(address, "/v1/collections/count.e/rows");
        let row = &of_events["rows"][0];
        assert_eq!(
            (of_events["rows"].as_array().unwrap().len(), &row["user"], &row["count"]),
            (1, &json!("ann"), &json!(59))
        );
        assert!(row["partial_since"].is_string(), "{row}");
        let expected = [("ann", 1), ("bob", 1)]
            .map(|(user, count)| json!({ "user": user, "overflow": 0, "count": count }).to_string());
        assert_eq!(rows(address, "s"), expected);
        assert_eq!(followed(address, "s"), expected);
        drop(process.drain());
    }
    for (counts, why) in [
        (sessions.to_owned(), "the configuration has no such"),
        (format!("{events}{}", sessions.replace("'user'", "'events'")), "its definition has changed"),
    ] {
        configure(&folder, &counts);
        let refused = Process::start(&folder, "data", 1, Restart::No).end();
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}

/// An alarm is an action on the rows of a count: it fires when a row passes the threshold, and once.
#[test]
fn an_action_on_a_count_fires_when_a_row_passes_its_threshold() {
    let counts = "[[count]]\nname = 'views'\nover = 'events'\nby = [{ hour = 'time' }]\n\
                  [[action]]\nname = 'busy'\non = 'count.views'\nwhen = 'count > 5'\ndo = 'count'\n";
    let folder = folder(counts);
    let process = Process::start(&folder, "data", 3, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    for time in 0..9 {
        let event = Event { user: "ann".into(), time: PAST_MS + time, id: None, price: None, page: None };
        assert_eq!(client.post(&lines(&[event])), Outcome::Acknowledged);
        client.published();
    }
    let (status, text) = folders::get(address, "/v1/collections/actions/changes?from=0&until=caught_up");
    assert_eq!(status, 200, "{text}");
    let frames = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let made: Vec<Value> =
        frames.filter_map(|mut frame| frame["updates"].as_array_mut().map(std::mem::take)).flatten().collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!((&made[0]["row"]["action"], &made[0]["row"]["cause"]["count"]), (&json!("busy"), &json!(6)));
    drop(process.drain());
}
