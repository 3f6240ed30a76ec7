//! Decisions of actions, in a folder whose processes are killed. They are what a slow oracle finds in the published views and
//! in the events of each tick. Computed again from the log at any number of workers, they have the same bytes. A file has
//! each of them once.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::Folder;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const ACTIONS: &str = r#"
[[state]]
name = "shopper"
per = "user"
columns.events = { count = true }
columns.spent = { sum = "price" }

[[state]]
name = "page"
per = "page"
columns.visits = { count = true }

[[action]]
name = "every"
on = "events"
do = "count"

[[action]]
name = "buy"
on = "events"
when = 'class = "purchase"'
do = "notify"
sink = "file"

[[action]]
name = "spender"
on = "events"
when = 'class = "purchase" and state.shopper.spent >= 40 and (state.shopper.events > 50 or state.shopper.spent < 60)'
do = "route"
sink = "file"

[[action]]
name = "page"
on = "events"
when = 'state.page.visits > 100'
do = "count"

[[action]]
name = "old"
on = "events"
when = 'price = 2'
do = "count"
max_age = "1d"

[[action]]
name = "busy"
on = "sessions"
when = 'events >= 3'
edge = "enter"
do = "notify"
sink = "file"

[[action]]
name = "calm"
on = "sessions"
when = 'events >= 3'
edge = "leave"
do = "count"

[[action]]
name = "grown"
on = "sessions"
when = 'events >= 3'
edge = "change"
do = "count"

[[action]]
name = "rich"
on = "sessions"
when = 'state.shopper.spent >= 40 and events >= 2'
do = "count"

[[action]]
name = "seen"
on = "users"
do = "count"

[[action]]
name = "lates"
on = "late"
do = "count"

[[sink]]
name = "file"
kind = "file"
path = "decisions.jsonl"
from = "start"
"#;

pub fn start(folder: &Folder, data: &str, workers: usize, processes: usize) -> Process {
    Process::start_with(folder, data, workers, Restart::No, None, &["--processes", &processes.to_string()])
}

/// Computes everything again at several numbers of workers and processes. Each tick has to come out with the same bytes.
pub fn same_when_computed_again(folder: &Folder, published: &Published) {
    for (workers, processes) in [(1, 1), (2, 1), (3, 1), (1, 2)] {
        published.computed_again(folder, &format!("copy {processes} x {workers}"), |copy| {
            let process = start(folder, copy, workers, processes);
            process.ready();
            process.drain();
        });
    }
}

#[test]
fn decisions_are_those_of_an_oracle_and_the_same_when_they_are_computed_again() {
    let folder = Folder::new();
    // Without snapshots, the whole log stays.
    folder.write("run.toml", run_toml("", &format!("{MEANING}{ACTIONS}")));
    let mut rng = Rng::new(3);
    let mut distinct = BTreeSet::new();
    let mut without_id = 0;
    for life in 0..4 {
        let process = start(&folder, "data", 1 + life % 3, 1);
        let mut client = Client::new(process.ready());
        for _ in 0..60 {
            let mut any = |_| {
                let (user, id) = (rng.below(10), rng.below(800));
                let id = Some(id.to_string()).filter(|_| rng.below(2) == 0);
                // Events of one id are equal, so that none is a conflict.
                let mut own = Rng::new(id.as_ref().map_or_else(|| rng.next_u64(), |id| id.parse().unwrap()));
                let user = if id.is_some() { own.below(10) } else { user };
                Event::any(&mut own, format!("user {user}"), PAST_MS, 600_000, id)
            };
            let batch: Vec<Event> = (0..10).map(&mut any).collect();
            for event in &batch {
                match &event.id {
                    Some(id) => drop(distinct.insert(id.clone())),
                    None => without_id += 1,
                }
            }
            assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
        }
        if life < 3 {
            process.kill();
        } else {
            client.published();
            process.drain();
        }
    }
    let published = Published::read_ticks(&folder.path("data"));
    let decisions: Vec<Decision> = published.changes(Collection::ACTIONS).iter().map(Decision::of).collect();
    let of = |action: &str| decisions.iter().filter(|one| one.action == action).collect::<Vec<_>>();
    assert_eq!(of("every").len(), distinct.len() + without_id, "each event that counts, once");
    check_events(&decisions);
    check_views(&published, &decisions);
    assert!(of("old").iter().all(|one| one.row["decision"] == "too_old") && of("old").len() > 50);
    let keys: BTreeSet<String> = decisions.iter().map(|one| one.row["key"].to_string()).collect();
    assert_eq!(keys.len(), decisions.len(), "no two decisions have a key");
    for action in ["buy", "spender", "page", "busy", "grown", "rich", "seen", "lates"] {
        assert!(of(action).len() > 5, "{action}: {}", of(action).len());
    }
    check_file(&folder, &decisions);
    same_when_computed_again(&folder, &published);
}

pub struct Decision {
    pub tick: u64,
    pub action: String,
    pub row: Value,
}

impl Decision {
    pub fn of(change: &Value) -> Decision {
        assert_eq!(change["diff"], 1, "{change}");
        let row = change["row"].clone();
        Decision { tick: change["tick"].as_u64().unwrap(), action: row["action"].as_str().unwrap().to_owned(), row }
    }

    pub fn cause(&self) -> &Value {
        &self.row["cause"]
    }

    pub fn field(&self, name: &str) -> Option<i64> {
        self.cause()["fields"][name].as_str().map(|text| text.parse().unwrap())
    }
}

/// The events of each tick are known from the action on all of them; sums of all up to a tick are kept in a map.
fn check_events(decisions: &[Decision]) {
    let every = decisions.iter().filter(|one| one.action == "every");
    let mut by_tick: BTreeMap<u64, Vec<&Decision>> = BTreeMap::new();
    every.for_each(|one| by_tick.entry(one.tick).or_default().push(one));
    let (mut spent, mut visits) = (BTreeMap::<String, (i64, i64)>::new(), BTreeMap::<i64, i64>::new());
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (tick, events) in by_tick {
        let user = |event: &Decision| event.cause()["user"].as_str().unwrap().to_owned();
        for event in &events {
            let sums = spent.entry(user(event)).or_default();
            *sums = (sums.0 + 1, sums.1 + event.field("price").unwrap_or(0));
            event.field("page").into_iter().for_each(|page| *visits.entry(page).or_default() += 1);
        }
        for event in events {
            let (count, sum) = spent[&user(event)];
            let buys = event.field("price") >= Some(1);
            assert_eq!(event.cause()["class"] == "purchase", buys, "{}", event.row);
            let page = event.field("page").is_some_and(|page| visits[&page] > 100);
            for (action, fits) in [
                ("buy", buys),
                ("spender", buys && sum >= 40 && (count > 50 || sum < 60)),
                ("page", page),
                ("old", event.field("price") == Some(2)),
            ] {
                if fits {
                    expected.entry(action).or_default().push(format!("{tick} {}", event.cause()));
                }
            }
        }
    }
    for (action, mut expected) in expected {
        let of = decisions.iter().filter(|one| one.action == action);
        let mut found: Vec<String> = of.map(|one| format!("{} {}", one.tick, one.cause())).collect();
        [&mut expected, &mut found].into_iter().for_each(|all| all.sort());
        same(action, &found, &expected);
    }
}

/// The whole view before and after each tick, compared row by row.
fn check_views(published: &Published, decisions: &[Decision]) {
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut add = |action, tick: u64, row: &Value| expected.entry(action).or_default().push(format!("{tick} {row}"));
    for (collection, key) in [(Collection::SESSIONS, "session_id"), (Collection::USERS, "user")] {
        let mut view: BTreeMap<String, Value> = BTreeMap::new();
        let mut changes: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for change in published.changes(collection) {
            changes.entry(change["tick"].as_u64().unwrap()).or_default().push(change);
        }
        for (tick, changes) in changes {
            let before = view.clone();
            for change in &changes {
                let (row, diff) = (&change["row"], change["diff"].as_i64().unwrap());
                let key = row[key].as_str().unwrap().to_owned();
                match diff {
                    1 => drop(view.insert(key, row.clone())),
                    _ => view.retain(|_, known| known != row),
                }
            }
            let keys: BTreeSet<&String> = before.keys().chain(view.keys()).collect();
            for key in keys {
                let (old, new) = (before.get(key), view.get(key));
                if collection == Collection::USERS {
                    new.filter(|_| old.is_none()).into_iter().for_each(|row| add("seen", tick, row));
                    continue;
                }
                let fits = |row: &&Value| row["events"].as_i64() >= Some(3);
                match (old.filter(fits), new.filter(fits)) {
                    (None, Some(row)) => add("busy", tick, row),
                    (Some(row), None) => add("calm", tick, row),
                    (Some(old), Some(row)) if old != row => add("grown", tick, row),
                    _ => {}
                }
            }
        }
    }
    for change in published.changes(Collection::LATE) {
        add("lates", change["tick"].as_u64().unwrap(), &change["row"]);
    }
    for (action, mut expected) in expected {
        let of = decisions.iter().filter(|one| one.action == action);
        let mut found: Vec<String> = of.map(|one| format!("{} {}", one.tick, one.cause())).collect();
        [&mut expected, &mut found].into_iter().for_each(|all| all.sort());
        // Equal late events of one tick are one decision.
        expected.dedup();
        same(action, &found, &expected);
    }
}

/// The file has each decision that fired, once and in order. A decision to route is its cause.
fn check_file(folder: &Folder, decisions: &[Decision]) {
    let text = folder.read("decisions.jsonl");
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fired = decisions.iter().filter(|one| one.row["decision"] == "fired");
    let expected = fired.map(|one| {
        let routed = one.row["do"] == "route";
        let row = if routed { one.cause().clone() } else { one.row.clone() };
        let collection = if routed { "events" } else { "actions" };
        serde_json::json!({ "tick": one.tick, "collection": collection, "diff": 1, "row": row })
    });
    same("the file", &found.iter().map(super::act::without_key).collect::<Vec<_>>(), &expected.collect::<Vec<_>>());
    assert!(found.iter().any(|line| line["collection"] == "events"));
    let keys: BTreeSet<&str> = found.iter().map(|line| line["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), found.len());
}

/// An action that is added later decides on what is received from then on. What waited in the log is history.
#[test]
fn an_action_begins_when_it_is_added_and_history_is_as_it_says() {
    let folder = Folder::new();
    let action = |name: &str, replay: &str| {
        format!("[[action]]\nname = '{name}'\non = 'events'\ndo = 'count'\nreplay = '{replay}'\n")
    };
    let event = |number: u64| Event {
        user: "ann".into(),
        time: PAST_MS,
        id: Some(number.to_string()),
        price: None,
        page: Some(number),
    };
    let first = action("first", "skip");
    let post = |address, event: Event| {
        let mut client = Client::new(address);
        assert_eq!(client.post(&lines(&[event])), Outcome::Acknowledged);
        client
    };
    let run = |cluster: &str, actions: &str| {
        folder.write("run.toml", run_toml(cluster, &format!("{MEANING}{actions}")));
    };
    // The second event is durable, and waits for a tick that this process never makes.
    run("tick = \"10s\"", &first);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    post(address, event(1)).published();
    post(address, event(2));
    process.kill();
    run(
        OFTEN,
        &format!("{first}{}{}{}", action("skips", "skip"), action("shadows", "shadow"), action("fires", "fire")),
    );
    let process = Process::start(&folder, "data", 1, Restart::No);
    post(process.ready(), event(3)).published();
    process.drain();
    let published = Published::read_ticks(&folder.path("data"));
    let found = published.changes(Collection::ACTIONS).into_iter().map(|change| {
        let row = &change["row"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        [text(&row["action"]), text(&row["cause"]["fields"]["page"]), text(&row["decision"])].join(" ")
    });
    let mut found: Vec<String> = found.collect();
    found.sort();
    let expected = [
        "fires 2 counted",
        "fires 3 counted",
        "first 1 counted",
        "first 2 counted",
        "first 3 counted",
        "shadows 2 would_have_fired",
        "shadows 3 counted",
        "skips 3 counted",
    ];
    assert_eq!(found, expected);
}
