//! Sequences in a run: activities and funnels are what a replay of all events writes, after kills, with another number of
//! workers at each start, with late events and repeated ids. What was published adds up to them. An attempt that is given up
//! is said when its time is over, and taken back by a late step. A sequence that is new, changed or removed leaves the
//! others alone, and is computed again as it was.

use super::client::{Client, Outcome};
use super::events::PAST_MS;
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, folders, run_toml};
use crate::headwater::Folder;
use crate::patience::eventually;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

const CHECKOUT: &str = r#"
[[sequence]]
name = "checkout"
steps = ["cart", "shipping?", "purchase"]
within = "2d"
except = [{ class = "logout", between = ["cart", "purchase"] }]
by = ["page"]
"#;

/// Every visit is an attempt, so that several begin at once.
const PAGES: &str = r#"
[[sequence]]
name = "pages"
per = "page"
steps = ["view", "cart"]
within = "3s"
repeat = "overlap"
"#;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn folder(meaning: &str) -> Folder {
    let folder = Folder::new();
    configure(&folder, meaning);
    folder
}

fn configure(folder: &Folder, meaning: &str) {
    let meaning = format!("{MEANING}{meaning}");
    folder.write("run.toml", run_toml(OFTEN, &meaning));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
}

fn event(user: &str, time: i64, kind: &str) -> Value {
    json!({ "user": user, "time": time, "kind": kind })
}

/// A part of them is long over, and a part of a day ago: what is not done is open there, whenever the test runs.
fn any(rng: &mut Rng, number: u64, recent: i64) -> Value {
    let from = if rng.below(3) == 0 { recent } else { PAST_MS };
    let time = from + (rng.below(400) * 500) as i64;
    let kind = ["view", "view", "cart", "cart", "shipping", "logout", "order", "order"][rng.below(8) as usize];
    let mut event = event(&format!("user {}", rng.below(9)), time, kind);
    if kind == "order" {
        event["price"] = 3.into();
    }
    if rng.below(2) == 0 {
        event["page"] = format!("/{}", rng.below(4)).into();
    }
    if number.is_multiple_of(2) {
        event["id"] = number.to_string().into();
    }
    event
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| event.to_string() + "\n").collect()
}

fn get(address: SocketAddr, path: &str) -> Value {
    let (status, body) = folders::get(address, path);
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

type Rows = BTreeMap<String, Map<String, Value>>;

/// By their key.
fn by_key(rows: impl IntoIterator<Item = Value>) -> Rows {
    let mut all = Rows::new();
    for row in rows {
        let row = row.as_object().unwrap().clone();
        let funnel = || json!([row["sequence"], row["hour"], row["by"]]).to_string();
        let key = row.get("activity_id").map_or_else(funnel, Value::to_string);
        assert!(all.insert(key, row).is_none(), "two rows have one key");
    }
    all
}

/// Of a run, a few at a time, without `partial_since`.
fn rows(address: SocketAddr, collection: &str, query: &str) -> Rows {
    let (mut rows, mut after) = (Vec::new(), String::new());
    loop {
        let page = get(address, &format!("/v1/collections/{collection}/rows?limit=3{query}{after}"));
        rows.extend(page["rows"].as_array().unwrap().iter().cloned().map(whole));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return by_key(rows),
        }
    }
}

/// All events of the folder count.
fn whole(mut row: Value) -> Value {
    assert_eq!(row.as_object_mut().unwrap().remove("partial_since"), Some(Value::Null));
    row
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Of the changes since the first tick, added up.
fn followed(address: SocketAddr, collection: &str) -> Rows {
    let path = format!("/v1/collections/{collection}/changes?from=0&until=caught_up");
    let (status, text) = folders::get(address, &path);
    assert_eq!(status, 200, "{text}");
    let mut rows = BTreeMap::<String, i64>::new();
    for update in parsed(&text).iter().filter_map(|frame| frame["updates"].as_array()).flatten() {
        *rows.entry(update["row"].to_string()).or_insert(0) += update["diff"].as_i64().unwrap();
    }
    rows.retain(|_, times| *times != 0);
    assert!(rows.values().all(|times| *times == 1), "{rows:?}");
    by_key(rows.keys().map(|row| whole(serde_json::from_str(row).unwrap())))
}

fn replayed(folder: &Folder, events: &[Value], now: i64) -> [Rows; 2] {
    folder.write("events.jsonl", lines(events));
    let now = now.to_string();
    let run = folder.headwater(["replay", "replay.toml", "--out", "out", "--format", "jsonl", "--now", &now]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    ["activities", "funnels"].map(|name| by_key(parsed(&folder.read(&format!("out/{name}.jsonl")))))
}

#[test]
fn a_run_that_is_killed_again_and_again_recognises_what_a_replay_does() {
    let folder = folder(&format!("{CHECKOUT}{PAGES}"));
    let (mut rng, recent) = (Rng::new(7), now_ms() - 86_400_000);
    let events: Vec<Value> = (0..1000).map(|number| any(&mut rng, number, recent)).collect();
    let mut sent = 0;
    for (life, own) in events.chunks(200).enumerate() {
        let processes = if life == 3 { "2" } else { "1" };
        let more = ["--processes", processes];
        let process = Process::start_with(&folder, "data", 1 + life % 3, Restart::No, None, &more);
        let address = process.ready();
        let mut client = Client::new(address);
        if sent > 0 {
            // What was before is there from the start.
            let [activities, funnels] = replayed(&folder, &events[..sent], now_ms());
            assert_eq!(rows(address, "activities", ""), activities);
            assert_eq!(rows(address, "funnels", ""), funnels);
        }
        for some in own.chunks(23) {
            assert_eq!(client.post(&lines(some)), Outcome::Acknowledged);
            // Repeated ids count once.
            let with_ids: Vec<Value> = some.iter().filter(|event| event["id"].is_string()).cloned().collect();
            assert_eq!(client.post(&lines(&with_ids)), Outcome::Acknowledged);
        }
        client.published();
        sent += own.len();
        let [activities, funnels] = replayed(&folder, &events[..sent], now_ms());
        let states = activities.values().map(|row| row["state"].as_str().unwrap());
        let mut states: Vec<&str> = states.collect();
        states.sort_unstable();
        states.dedup();
        assert_eq!(states, ["broken", "expired", "matched", "open"], "else it does not show what it is for");
        assert_eq!(rows(address, "activities", ""), activities);
        assert_eq!(rows(address, "funnels", ""), funnels);
        assert_eq!(followed(address, "activities"), activities);
        assert_eq!(followed(address, "funnels"), funnels);
        let (status, file) = folders::get(address, "/v1/collections/activities.jsonl");
        assert_eq!((status, by_key(parsed(&file).into_iter().map(whole))), (200, activities.clone()));
        for format in ["csv", "parquet"] {
            let mut raw = Client::new(address);
            assert_eq!(raw.get(&format!("/v1/collections/activities.{format}")), Some(200), "{format}");
        }
        // By key, by id and by filter.
        let of = |wanted: &dyn Fn(&Map<String, Value>) -> bool| -> Rows {
            activities.iter().filter(|(_, row)| wanted(row)).map(|(key, row)| (key.clone(), row.clone())).collect()
        };
        assert_eq!(rows(address, "activities", "&key=user%203"), of(&|row| row["key"] == "user 3"));
        let one = activities.values().nth(7).unwrap()["activity_id"].as_str().unwrap().to_owned();
        assert_eq!(rows(address, "activities", &format!("&key={one}")), of(&|row| row["activity_id"] == one.as_str()));
        let filter = "&filter=sequence%20%3D%20%22checkout%22%20and%20state%20%3D%20%22expired%22";
        let expired = of(&|row| row["sequence"] == "checkout" && row["state"] == "expired");
        assert_eq!(rows(address, "activities", filter), expired);
        assert_eq!(rows(address, "activities", "&key=unknown"), Rows::new());
        match life % 2 {
            0 if processes == "1" => drop(process.kill()),
            _ => drop(process.drain()),
        }
    }
}

#[test]
fn an_abandoned_cart_is_a_message_and_a_late_purchase_takes_it_back() {
    let sink = "[[sink]]\nname = \"carts\"\ncollection = \"activities\"\nkind = \"file\"\npath = \"carts.jsonl\"\n\
                when = 'sequence = \"quick\" and state = \"expired\"'\nchanges = \"all\"\n";
    let quick = "[[sequence]]\nname = \"quick\"\nsteps = [\"cart\", \"purchase\"]\nwithin = \"2s\"\n";
    let folder = folder(&format!("{quick}{sink}"));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    let start = now_ms();
    assert_eq!(client.post(&lines(&[event("ann", start, "cart")])), Outcome::Acknowledged);
    client.published();
    let state = || {
        let rows = get(address, "/v1/collections/activities/rows?key=ann");
        rows["rows"].as_array().unwrap().iter().map(|row| row["state"].clone()).collect::<Vec<_>>()
    };
    // Nothing else happens: the clock alone lets it expire.
    eventually("the cart is abandoned", || (state() == ["expired"]).then_some(()));
    assert!(now_ms() - start > 2000, "it is abandoned too early");
    let messages = || -> Vec<Value> { parsed(&fs::read_to_string(folder.path("carts.jsonl")).unwrap_or_default()) };
    eventually("the message is written", || (messages().len() == 1).then_some(()));
    // A purchase that came late, and yet in time.
    let mut purchase = event("ann", start + 1500, "order");
    purchase["price"] = 2.into();
    assert_eq!(client.post(&lines(&[purchase])), Outcome::Acknowledged);
    client.published();
    assert_eq!(state(), ["matched"]);
    eventually("the message is taken back", || (messages().len() == 2).then_some(()));
    let said = messages();
    assert_eq!((&said[0]["diff"], &said[1]["diff"]), (&json!(1), &json!(-1)));
    assert_eq!(said[0]["row"], said[1]["row"]);
    assert_eq!(said[0]["row"]["step"], "cart");
    let run = folder.headwater(["funnel", "quick", "--url", &format!("http://{address}")]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let text = "quick  1 activity: 1 matched\n  step          reached  of first  of previous\n";
    assert!(run.stdout().starts_with(text), "{}", run.stdout());
    let run = folder.headwater(["funnel", "quik", "--url", &format!("http://{address}")]);
    assert_eq!(run.code(), 2);
    assert!(run.stderr().contains("did you mean `quick`?"), "{}", run.stderr());
    process.drain();
}

#[test]
fn a_sequence_that_is_new_changed_or_removed_leaves_the_others_alone() {
    let folder = folder(CHECKOUT);
    let (mut rng, recent) = (Rng::new(11), now_ms() - 86_400_000);
    let mut numbers = 0..;
    let longer = PAGES.replace("3s", "5s");
    let begins = |why: &str| {
        format!("begins with the events from now on, as {why}: its rows say `partial_since`. A replay has them whole")
    };
    let mut checkout: Vec<Value> = Vec::new();
    let lives: [(String, Option<&str>, bool); 4] = [
        (CHECKOUT.to_owned(), None, false),
        (format!("{PAGES}{CHECKOUT}"), Some("it is new"), false),
        (format!("{CHECKOUT}{longer}"), Some("its definition has changed"), true),
        (CHECKOUT.to_owned(), None, false),
    ];
    for (life, (sequences, why, killed)) in lives.iter().enumerate() {
        configure(&folder, sequences);
        let process = Process::start(&folder, "data", 1 + life % 3, Restart::No);
        let address = process.ready();
        if let Some(why) = why {
            process.logged(&begins(why), 0);
        }
        let own: Vec<Value> = (0..150).map(|_| any(&mut rng, numbers.next().unwrap(), recent)).collect();
        let mut client = Client::new(address);
        for some in own.chunks(50) {
            assert_eq!(client.post(&lines(some)), Outcome::Acknowledged);
        }
        client.published();
        checkout.extend(own.iter().cloned());
        let [expected, _] = replayed(&folder, &checkout, now_ms());
        let of = |rows: &Rows, name: &str| -> Rows {
            rows.iter()
                .filter(|(_, row)| row["sequence"] == name)
                .map(|(key, row)| (key.clone(), row.clone()))
                .collect()
        };
        let checkouts = "&filter=sequence%20%3D%20%22checkout%22";
        assert_eq!(rows(address, "activities", checkouts), of(&expected, "checkout"), "life {life}");
        let all = get(address, "/v1/collections/activities/rows?limit=10000");
        let pages: Vec<&Value> =
            all["rows"].as_array().unwrap().iter().filter(|row| row["sequence"] == "pages").collect();
        assert_eq!(pages.is_empty(), why.is_none(), "life {life}");
        if why.is_some() {
            // What it says of itself is what a replay of its own events says.
            assert!(pages.iter().all(|row| row["partial_since"].is_string()));
            let [alone, _] = replayed(&folder, &own, now_ms());
            let pages = pages.into_iter().map(|row| {
                let mut row = row.clone();
                row.as_object_mut().unwrap().remove("partial_since");
                row
            });
            assert_eq!(by_key(pages), of(&alone, "pages"), "life {life}");
        }
        drop(if *killed { process.kill() } else { process.drain() });
    }
    // What was published says the same, and is computed again as it was: with definitions that are gone since.
    let published = Published::read_ticks(&folder.path("data"));
    let sum = published.rows(Collection::ACTIVITIES);
    assert!(!sum.is_empty() && sum.iter().all(|row| row["sequence"] == "checkout"));
    assert!(!published.rows(Collection::FUNNELS).is_empty());
    for workers in 1..=3 {
        let again = published.computed_again(&folder, &format!("copy with {workers} workers"), |copy| {
            let process = Process::start(&folder, copy, workers, Restart::No);
            process.ready();
            process.drain();
        });
        same("activities", &again.rows(Collection::ACTIVITIES), &sum);
    }
    // Without any there are no collections of them.
    configure(&folder, "");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    process.logged("is no longer in the configuration: its rows are taken back", 0);
    assert_eq!(folders::get(address, "/v1/collections/activities/rows").0, 404);
    let mut client = Client::new(address);
    assert_eq!(client.post(&lines(&[event("ann", PAST_MS, "cart")])), Outcome::Acknowledged);
    client.published();
    process.drain();
    configure(&folder, CHECKOUT);
    let published = Published::read(&folder.path("data"));
    assert_eq!(published.rows(Collection::ACTIVITIES), Vec::<Value>::new());
    assert_eq!(published.rows(Collection::FUNNELS), Vec::<Value>::new());
}
