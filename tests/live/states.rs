//! State per entity in a run: what a reader gets by key is what a replay of all events writes, after kills, with another
//! number of workers at each start, with late events and repeated ids. A state that is new or has changed says so.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::{MEANING, OFTEN, folders, run_toml};
use crate::headwater::Folder;
use crate::patience::eventually;
use headwater_log::vfs::model::Rng;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Over the whole history alone: the clock of a run is the present, and that of a replay is the largest event time.
const STATES: &str = r#"
[[state]]
name = "shopper"
per = "user"
columns.events = { count = true }
columns.buys = { count = true, when = 'class = "purchase" and price < 3' }
columns.spent = { sum = "price" }
columns.first_page = { first = "page" }
columns.last_page = { last = "page", when = { price = { exists = true } } }
columns.least = { min = "price" }
columns.most = { max = "price" }
columns.pages = { distinct = "page", cap = 2 }
columns.top = { top = "page", k = 2, cap = 2 }
columns.ever = { count = true, window = "100000d" }

[[state]]
name = "page"
per = "page"
columns.visits = { count = true }
columns.last_price = { last = "price" }
"#;

fn folder(states: &str) -> Folder {
    let folder = Folder::new();
    let meaning = format!("{MEANING}{states}");
    folder.write("run.toml", run_toml(OFTEN, &meaning));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
    folder
}

fn get(address: SocketAddr, path: &str) -> (u16, Value) {
    let (status, body) = folders::get(address, path);
    (status, serde_json::from_str(&body).unwrap())
}

type Rows = BTreeMap<String, Map<String, Value>>;

/// All rows by their key, without `partial_since`, a few at a time.
fn rows(address: SocketAddr, state: &str, key: &str) -> Rows {
    let (mut rows, mut after) = (Rows::new(), String::new());
    loop {
        let (status, page) = get(address, &format!("/v1/collections/state.{state}/rows?limit=3{after}"));
        assert_eq!(status, 200, "{page}");
        for row in page["rows"].as_array().unwrap() {
            let mut row = row.as_object().unwrap().clone();
            assert_eq!(row.remove("partial_since"), Some(Value::Null));
            let key = row[key].as_str().unwrap().to_owned();
            assert!(rows.insert(key, row).is_none(), "{rows:?}");
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return rows,
        }
    }
}

/// As [`rows`], of a file.
fn exported(address: SocketAddr, state: &str, key: &str) -> Rows {
    let (status, text) = folders::get(address, &format!("/v1/collections/state.{state}.jsonl"));
    assert_eq!(status, 200, "{text}");
    let row = |line: &str| {
        let mut row: Map<String, Value> = serde_json::from_str(line).unwrap();
        assert_eq!(row.remove("partial_since"), Some(Value::Null));
        (row[key].as_str().unwrap().to_owned(), row)
    };
    text.lines().map(row).collect()
}

fn replayed(folder: &Folder, events: &str, state: &str, key: &str) -> Rows {
    folder.write("events.jsonl", events);
    let run = folder.headwater(["replay", "replay.toml", "--out", "out", "--format", "jsonl"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let text = fs::read_to_string(folder.path(format!("out/state.{state}.jsonl"))).unwrap();
    let row = |line: &str| serde_json::from_str::<Map<String, Value>>(line).unwrap();
    text.lines().map(row).map(|row| (row[key].as_str().unwrap().to_owned(), row)).collect()
}

#[test]
fn a_run_that_is_killed_again_and_again_answers_as_a_replay_writes() {
    let folder = folder(STATES);
    let mut rng = Rng::new(5);
    let any = |number: u64| {
        let user = format!("user {}", rng.below(12));
        Event::any(&mut rng, user, PAST_MS, 200_000, Some(number.to_string()).filter(|_| number.is_multiple_of(2)))
    };
    let events: Vec<Event> = (0..1200).map(any).collect();
    let mut sent = 0;
    for (life, own) in events.chunks(300).enumerate() {
        let process = Process::start(&folder, "data", 1 + life % 3, Restart::No);
        let address = process.ready();
        let mut client = Client::new(address);
        // What was before is there from the start.
        if sent > 0 {
            let before = replayed(&folder, &lines(&events[..sent]), "shopper", "user");
            assert_eq!(rows(address, "shopper", "user"), before);
        }
        for some in own.chunks(37) {
            assert_eq!(client.post(&lines(some)), Outcome::Acknowledged);
            // Repeated ids count once.
            let with_ids = some.iter().filter(|event| event.id.is_some());
            assert_eq!(client.post(&lines(with_ids)), Outcome::Acknowledged);
        }
        client.published();
        sent += own.len();
        let all = lines(&events[..sent]);
        assert_eq!(rows(address, "shopper", "user"), replayed(&folder, &all, "shopper", "user"));
        assert_eq!(rows(address, "page", "page"), replayed(&folder, &all, "page", "page"));
        let (_, one) = get(address, "/v1/collections/state.shopper/rows?key=user%203&columns=user,events");
        let expected = &replayed(&folder, &all, "shopper", "user")["user 3"]["events"];
        assert_eq!((one["rows"].as_array().unwrap().len(), &one["rows"][0]["events"]), (1, expected));
        assert_eq!(exported(address, "shopper", "user"), rows(address, "shopper", "user"));
        let (_, none) = get(address, "/v1/collections/state.shopper/rows?key=no%20one");
        assert_eq!(none["rows"], Value::Array(Vec::new()));
        drop(if life % 2 == 0 { process.kill() } else { process.drain() });
    }
}

/// Of the changes since the first tick, added up.
fn followed(address: SocketAddr, state: &str, key: &str) -> Rows {
    let (status, text) =
        folders::get(address, &format!("/v1/collections/state.{state}/changes?from=0&until=caught_up"));
    assert_eq!(status, 200, "{text}");
    let frames = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut rows = BTreeMap::<String, i64>::new();
    for update in frames.filter_map(|mut frame| frame["updates"].as_array_mut().map(std::mem::take)).flatten() {
        *rows.entry(update["row"].to_string()).or_insert(0) += update["diff"].as_i64().unwrap();
    }
    rows.retain(|_, times| *times != 0);
    let row = |(row, times): (&String, &i64)| {
        assert_eq!(*times, 1, "{row}");
        let mut row: Map<String, Value> = serde_json::from_str(row).unwrap();
        assert_eq!(row.remove("partial_since"), Some(Value::Null));
        (row[key].as_str().unwrap().to_owned(), row)
    };
    rows.iter().map(row).collect()
}

#[test]
fn the_changes_of_a_state_that_is_followed_add_up_to_its_rows() {
    let sink = "[[sink]]\nname = 'pages'\ncollection = 'state.page'\nkind = 'file'\npath = 'pages.jsonl'\n\
                changes = 'all'\nfrom = 'start'\n";
    let states = STATES.replacen("per = \"user\"\n", "per = \"user\"\nchanges = true\n", 1);
    let folder = folder(&format!("{states}{sink}"));
    let mut rng = Rng::new(9);
    for life in 0..4 {
        let more = ["--processes", if life == 2 { "2" } else { "1" }];
        let process = Process::start_with(&folder, "data", 1 + life % 3, Restart::No, None, &more);
        let address = process.ready();
        let mut client = Client::new(address);
        for _ in 0..6 {
            let mut any = |_| {
                let user = format!("user {}", rng.below(12));
                Event::any(&mut rng, user, PAST_MS, 200_000, None)
            };
            let some: Vec<Event> = (0..20).map(&mut any).collect();
            assert_eq!(client.post(&lines(&some)), Outcome::Acknowledged);
        }
        client.published();
        for (state, key) in [("shopper", "user"), ("page", "page")] {
            let rows = rows(address, state, key);
            assert!(rows.len() > 3);
            assert_eq!(followed(address, state, key), rows, "life {life}");
        }
        drop(if life % 2 == 0 { process.kill() } else { process.drain() });
    }
    // What a sink was handed says the same.
    let mut handed = BTreeMap::<String, i64>::new();
    for line in folder.read("pages.jsonl").lines() {
        let change: Value = serde_json::from_str(line).unwrap();
        *handed.entry(change["row"].to_string()).or_insert(0) += change["diff"].as_i64().unwrap();
    }
    handed.retain(|_, times| *times != 0);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    assert!(handed.values().all(|times| *times == 1), "{handed:?}");
    assert_eq!(handed.len(), rows(address, "page", "page").len());
    process.drain();
    // Its rows can be taken back by nothing else than what has made them.
    let refused = |states: &str, why: &str| {
        folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{states}")));
        let ended = Process::start(&folder, "data", 2, Restart::No).end();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        let words: Vec<&str> = ended.stderr.split_whitespace().filter(|word| *word != "│").collect();
        assert!(words.join(" ").contains(why), "{}", ended.stderr);
    };
    refused(&states, "publishes the changes of `state.page`, and the configuration does not");
    refused(&format!("{}{sink}", states.replace("k = 2", "k = 1")), "`state.shopper`, and its definition has changed");
    refused(&format!("{}{sink}", states.replace("sum = \"price\"", "max = \"price\"")), "its definition has changed");
    refused(CHANGED, "publishes the changes of `state.");
}

/// Others than those that are followed.
const CHANGED: &str = "[[state]]\nname = 'other'\nper = 'user'\ncolumns.events = { count = true }\n";

#[test]
fn what_leaves_a_window_is_said_while_nothing_happens_and_after_a_restart() {
    const STATE: &str = "[[state]]\nname = 'recent'\nper = 'user'\nchanges = true\n\
                         columns.all = { count = true }\ncolumns.some = { count = true, window = '3s' }\n";
    let folder = folder(STATE);
    let post = |address: SocketAddr| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let event = Event { user: "u".into(), time: now, id: None, price: None, page: None };
        let mut client = Client::new(address);
        assert_eq!(client.post(&lines([&event])), Outcome::Acknowledged);
        client.published();
    };
    let counts = |address: SocketAddr| {
        let row = followed(address, "recent", "user")["u"].clone();
        (row["all"].as_u64().unwrap(), row["some"].as_u64().unwrap())
    };
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    post(address);
    eventually("the event leaves the window", || (counts(address) == (1, 0)).then_some(()));
    post(address);
    process.drain();
    // It is due while no process runs, or soon after.
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    eventually("the other one leaves it too", || (counts(address) == (2, 0)).then_some(()));
    assert_eq!(followed(address, "recent", "user"), rows(address, "recent", "user"));
    process.drain();
}

#[test]
fn a_state_that_is_new_or_changed_says_since_when_it_counts() {
    const FIRST: &str = "[[state]]\nname = 'a'\nper = 'user'\ncolumns.events = { count = true }\n";
    const SECOND: &str = "[[state]]\nname = 'b'\nper = 'user'\ncolumns.spent = { sum = 'price' }\n";
    let begins = |why: &str| {
        format!(
            "begins with the events from now on, as {why}: until then its rows say `partial_since`. A replay has them whole"
        )
    };
    let folder = folder(FIRST);
    let event = |n: u64| Event { user: "u".into(), time: PAST_MS + n as i64, id: None, price: None, page: None };
    let peek = |address: SocketAddr, state: &str| {
        let (status, page) = get(address, &format!("/v1/collections/state.{state}/rows?key=u"));
        assert_eq!(status, 200, "{page}");
        let row = page["rows"][0].clone();
        (row["events"].as_u64(), row.is_object().then(|| row["partial_since"].is_string()))
    };
    let start = |states: &str| {
        folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{states}")));
        let process = Process::start(&folder, "data", 2, Restart::No);
        let mut client = Client::new(process.ready());
        assert_eq!(client.post(&lines([&event(1)])), Outcome::Acknowledged);
        client.published();
        process
    };
    let process = start(FIRST);
    assert_eq!(peek(process.ready(), "a"), (Some(1), Some(false)));
    process.drain();
    // A second one leaves the first alone.
    let process = start(&format!("{FIRST}{SECOND}"));
    process.logged(&begins("it is new"), 0);
    assert_eq!(peek(process.ready(), "a"), (Some(2), Some(false)));
    let (_, changes) = get(process.ready(), "/v1/collections/state.a/changes");
    assert_eq!(changes["error"]["code"], "collection");
    process.drain();
    // Another definition begins again, whatever came before.
    let changed = FIRST.replace("count = true", "count = true, window = '40000d'");
    let process = start(&changed);
    process.logged(&begins("its definition has changed"), 0);
    process.logged("is no longer in the configuration: what it kept is dropped", 0);
    assert_eq!(peek(process.ready(), "a"), (Some(1), Some(true)));
    process.drain();
    // So does one that was there before: it has missed events.
    let process = start(FIRST);
    assert_eq!(peek(process.ready(), "a"), (Some(1), Some(true)));
    process.kill();
    let process = start(FIRST);
    assert_eq!(peek(process.ready(), "a"), (Some(2), Some(true)));
    process.drain();
}
