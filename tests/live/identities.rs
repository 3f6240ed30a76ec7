//! Identities in a run: they are what a replay of all events writes, after kills, with another number of workers at each
//! start, with late events, repeated ids and a user who is forgotten. What was published adds up to them, and the journal says
//! each alias that has become another person's.

use super::client::{Client, Outcome};
use super::events::PAST_MS;
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, folders, run_toml};
use crate::headwater::Folder;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const IDENTITY: &str = r#"
[identity]
links = [["cookie", "user"], ["device", "user"]]
unique = "device"
cap = 6
"#;

type Row = Map<String, Value>;
type Rows = BTreeMap<String, Row>;

fn folder(identity: &str) -> Folder {
    let folder = Folder::new();
    configure(&folder, identity);
    folder
}

fn configure(folder: &Folder, identity: &str) {
    let meaning = format!("{MEANING}{identity}");
    folder.write("run.toml", run_toml(OFTEN, &meaning));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
}

/// Persons have a few users, cookies and devices each; now and then one has another person's.
fn any(rng: &mut Rng, number: u64) -> Value {
    let person = rng.below(12);
    let mut of = |many: u64| if rng.below(12) == 0 { rng.below(12 * many) } else { person * many + rng.below(many) };
    let (user, cookie, device) = (of(2), of(3), of(1));
    let mut event = json!({
        "user": format!("user {user}"),
        "time": PAST_MS + rng.below(400_000) as i64,
        "kind": "view",
    });
    match rng.below(3) {
        0 => event["cookie"] = format!("c{cookie}").into(),
        1 => event["device"] = device.into(),
        _ => event["cookie"] = "unknown".into(),
    }
    if number.is_multiple_of(2) {
        event["id"] = number.to_string().into();
    }
    event
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| event.to_string() + "\n").collect()
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn by_key(rows: impl IntoIterator<Item = Value>) -> Rows {
    let mut all = Rows::new();
    for row in rows {
        let mut row = row.as_object().unwrap().clone();
        // All events of the folder count.
        assert!(row.remove("partial_since").is_none_or(|since| since.is_null()));
        let key = json!([row["kind"], row["id"]]).to_string();
        assert!(all.insert(key, row).is_none(), "two rows have one key");
    }
    all
}

/// Of a run, a few at a time.
fn rows(address: SocketAddr, query: &str) -> Rows {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let (status, body) = folders::get(address, &format!("/v1/collections/identities/rows?limit=3{query}{after}"));
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        rows.extend(page["rows"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return by_key(rows),
        }
    }
}

/// The updates of a collection since the first tick.
fn updates(address: SocketAddr, collection: &str) -> Vec<Value> {
    let path = format!("/v1/collections/{collection}/changes?from=0&until=caught_up");
    let (status, text) = folders::get(address, &path);
    assert_eq!(status, 200, "{text}");
    let frames = parsed(&text);
    frames.iter().filter_map(|frame| frame["updates"].as_array()).flatten().cloned().collect()
}

/// The view as its changes add up.
fn followed(address: SocketAddr) -> Rows {
    let mut rows = BTreeMap::<String, i64>::new();
    for update in updates(address, "identities") {
        *rows.entry(update["row"].to_string()).or_insert(0) += update["diff"].as_i64().unwrap();
    }
    rows.retain(|_, times| *times != 0);
    assert!(rows.values().all(|times| *times == 1), "{rows:?}");
    by_key(rows.keys().map(|row| serde_json::from_str(row).unwrap()))
}

type Of = BTreeMap<String, String>;

fn alias(kind: &Value, id: &Value) -> String {
    format!("{} {}", kind.as_str().unwrap(), id.as_str().unwrap())
}

/// Of each alias that is not its own person: whose it is.
fn of(rows: &Rows) -> Of {
    let of = rows.values().map(|row| (alias(&row["kind"], &row["id"]), alias(&row["identity_kind"], &row["identity"])));
    of.filter(|(alias, of)| alias != of).collect()
}

/// The same, as the journal says.
fn journaled(address: SocketAddr) -> Of {
    let mut of = Of::new();
    for update in updates(address, "identity_changes") {
        let row = &update["row"];
        let id = alias(&row["kind"], &row["id"]);
        let [old, new] = [("old_kind", "old"), ("new_kind", "new")].map(|(kind, id)| alias(&row[kind], &row[id]));
        assert_eq!(of.get(&id).unwrap_or(&id), &old, "{row}");
        match id == new {
            true => of.remove(&id),
            false => of.insert(id, new),
        };
    }
    of
}

fn replayed(folder: &Folder, events: &[Value], workers: usize) -> Rows {
    folder.write("events.jsonl", lines(events));
    let workers = workers.to_string();
    let arguments = ["replay", "replay.toml", "--out", "out", "--format", "jsonl", "--workers", &workers];
    let run = folder.headwater(arguments);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    by_key(parsed(&folder.read("out/identities.jsonl")))
}

fn post(client: &mut Client, events: &[Value]) {
    for some in events.chunks(23) {
        assert_eq!(client.post(&lines(some)), Outcome::Acknowledged);
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_joins_what_a_replay_does() {
    let folder = folder(IDENTITY);
    let mut rng = Rng::new(3);
    let mut events: Vec<Value> = Vec::new();
    for life in 0..5 {
        let process = Process::start(&folder, "data", 1 + life % 3, Restart::No);
        let address = process.ready();
        let mut client = Client::new(address);
        if life > 0 {
            // What was before is there from the start.
            assert_eq!(rows(address, ""), replayed(&folder, &events, 1));
        }
        let own: Vec<Value> = (0..60).map(|number| any(&mut rng, life as u64 * 60 + number)).collect();
        post(&mut client, &own);
        // Repeated ids count once.
        let with_ids: Vec<Value> = own.iter().filter(|event| event["id"].is_string()).cloned().collect();
        post(&mut client, &with_ids);
        events.extend(own);
        if life == 2 {
            // What only the events of this user join comes apart.
            let before = followed(address);
            let run = folder.headwater(["forget", &format!("http://{address}"), "user 4", "--json"]);
            assert_eq!(run.code(), 0, "{}", run.stderr());
            let receipt: Value = serde_json::from_str(&run.stdout()).unwrap();
            assert_eq!((&receipt["state"], &receipt["rows"]["identities"]), (&json!("done"), &json!(1)), "{receipt}");
            events.retain(|event| event["user"] != "user 4");
            assert_ne!(followed(address), before);
        }
        client.published();
        let expected = replayed(&folder, &events, 1 + life % 3);
        let has = |column: &str| expected.values().any(|row| row[column].as_i64().unwrap() > 0);
        assert!(
            ["links", "capped", "refused"].into_iter().all(has) || life == 0,
            "else it does not show what it is for"
        );
        assert!(expected.values().all(|row| row["id"] != "unknown"));
        assert_eq!(rows(address, ""), expected);
        assert_eq!(followed(address), expected);
        assert_eq!(journaled(address), of(&expected));
        let (status, file) = folders::get(address, "/v1/collections/identities.jsonl");
        assert_eq!((status, by_key(parsed(&file))), (200, expected.clone()));
        for format in ["csv", "parquet"] {
            let mut raw = Client::new(address);
            assert_eq!(raw.get(&format!("/v1/collections/identities.{format}")), Some(200), "{format}");
        }
        // By id.
        let one: Rows = expected
            .iter()
            .filter(|(_, row)| row["id"] == "user 7")
            .map(|(key, row)| (key.clone(), row.clone()))
            .collect();
        assert_eq!(rows(address, "&key=user%207"), one);
        assert_eq!(rows(address, "&key=unknown"), Rows::new());
        match life % 2 {
            0 => drop(process.kill()),
            _ => drop(process.drain()),
        }
    }
    let process = Process::start(&folder, "data", 2, Restart::No);
    process.ready();
    process.drain();
    // Computed again, each tick is what it was.
    let published = Published::read_ticks(&folder.path("data"));
    let sum = published.rows(Collection::IDENTITIES);
    for workers in 1..=3 {
        let again = published.computed_again(&folder, &format!("copy with {workers} workers"), |copy| {
            let process = Process::start(&folder, copy, workers, Restart::No);
            process.ready();
            process.drain();
        });
        same("identities", &again.rows(Collection::IDENTITIES), &sum);
    }
}

#[test]
fn identities_that_come_later_say_so_and_stay_as_they_are() {
    let folder = folder("");
    let mut rng = Rng::new(5);
    let events: Vec<Value> = (0..40).map(|number| any(&mut rng, number)).collect();
    let process = Process::start(&folder, "data", 1, Restart::No);
    post(&mut Client::new(process.ready()), &events);
    assert_eq!(folders::get(process.ready(), "/v1/collections/identities/rows").0, 404);
    process.drain();
    configure(&folder, IDENTITY);
    for life in 0..2 {
        let process = Process::start(&folder, "data", 2, Restart::No);
        let address = process.ready();
        if life == 0 {
            let begins =
                "identities begin with the events from now on: their rows say `partial_since`. A replay has them whole";
            process.logged(begins, 0);
        }
        let event = json!({"user": "new", "time": PAST_MS, "kind": "view", "cookie": "mine"});
        let mut client = Client::new(address);
        post(&mut client, &[event]);
        client.published();
        let (_, body) = folders::get(address, "/v1/collections/identities/rows");
        let body: Value = serde_json::from_str(&body).unwrap();
        let ids =
            body["rows"].as_array().unwrap().iter().map(|row| (row["id"].clone(), row["partial_since"].is_string()));
        let mut ids: Vec<_> = ids.collect();
        ids.sort_by_key(|(id, _)| id.to_string());
        assert_eq!(ids, [(json!("mine"), true), (json!("new"), true)]);
        process.drain();
    }
    // What was said of persons cannot be taken back.
    for (other, why) in [
        (IDENTITY.replace("cap = 6", "cap = 7"), "has joined ids by another [identity]"),
        (String::new(), "publishes identities, and the configuration has no [identity]"),
    ] {
        configure(&folder, &other);
        let run = folder.headwater(["run", "run.toml", "--data-dir", "data"]);
        assert_eq!(run.code(), 2);
        assert!(run.said().contains(why), "{}", run.stderr());
    }
}

#[test]
fn a_user_whose_links_name_other_ids_is_not_forgotten_in_silence() {
    let folder = folder("\n[identity]\nlinks = [[\"cookie\", \"device\"]]\n");
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    let event = json!({"user": "ann", "time": PAST_MS, "kind": "view", "cookie": "c1", "device": "d1"});
    post(&mut Client::new(address), &[event]);
    let url = format!("http://{address}");
    let run = folder.headwater(["forget", &url, "ann"]);
    assert_ne!(run.code(), 0);
    let why = "events of the user stay in `identities`, by another key";
    assert!(run.stderr().contains(why) || run.stdout().contains(why), "{}{}", run.stdout(), run.stderr());
    assert_eq!(rows(address, "").len(), 2);
    process.drain();
}
