//! What actions look up in tables, and decisions that are handed over in batches.

use super::actions::{Decision, start};
use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::journals::copy_all;
use super::process::{Process, Restart};
use super::published::Published;
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::Folder;
use crate::patience::wait_until;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::fs;

/// A table is looked up as of the tick. A file that changes is taken while the process runs, one with a mistake is not, and
/// what is computed again sees what was seen.
#[test]
fn a_table_that_changes_is_seen_from_a_tick_on_and_a_wrong_file_leaves_it() {
    let folder = Folder::new();
    let tables = r#"
[[table]]
name = "plans"
path = "plans.csv"
key = "user"
columns.plan = "text"
columns.limit = "number"

[[table]]
name = "pages"
path = "pages.jsonl"
key = "page"
per = "page"
columns.name = "text"

[[state]]
name = "shopper"
per = "user"
columns.spent = { sum = "price" }

[[decorate]]
to = "events"
with = ["plans.plan", "plans.limit", "state.shopper.spent", "pages.name"]

[[action]]
name = "over"
on = "events"
when = 'price > 0 and plans.limit < 3'
do = "count"

[[action]]
name = "shop"
on = "events"
when = 'pages.name = "shop"'
do = "count"

[[action]]
name = "strangers"
on = "users"
when = 'plans.plan is null'
do = "count"
"#;
    folder.write("run.toml", run_toml("", &format!("{MEANING}{tables}")));
    folder.write("pages.jsonl", "{\"page\": 1, \"name\": \"shop\"}\n");
    let wrong = Process::start(&folder, "data", 1, Restart::No).end();
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("cannot read the table `plans`"), "{}", wrong.stderr);
    folder.write("plans.csv", "user,plan,limit\nann,free,2\nbob,pro,10\n");
    let post = |address, user: &str| {
        let event = Event { user: user.into(), time: PAST_MS, id: None, price: Some(3), page: Some(1) };
        let mut client = Client::new(address);
        assert_eq!(client.post(&lines(&[event])), Outcome::Acknowledged);
        client.published();
    };
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    ["ann", "bob", "eve"].into_iter().for_each(|user| post(address, user));
    // It is there twice.
    folder.write("plans.csv", "user,plan,limit\nann,free,2\nann,pro,10\n");
    process.logged("the file of a table is not taken: the content before it stays", 0);
    post(address, "ann");
    let published = || Client::new(address).get_json("/v1/status").unwrap().1["published"].as_u64().unwrap();
    let before = published();
    folder.write("plans.csv", "user,plan,limit\nann,pro,10\nbob,free,1\n");
    process.logged("the content of a table has changed", 0);
    wait_until("a tick has the table", || published() > before);
    ["ann", "bob"].into_iter().for_each(|user| post(address, user));
    process.kill();
    let process = Process::start(&folder, "data", 1, Restart::No);
    post(process.ready(), "bob");
    process.drain();
    let published = Published::read_ticks(&folder.path("data"));
    let decisions: Vec<Decision> = published.changes(Collection::ACTIONS).iter().map(Decision::of).collect();
    let of = |action: &str| {
        let own = decisions.iter().filter(|one| one.action == action);
        own.map(|one| one.row["user"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of("over"), ["ann", "ann", "bob", "bob"]);
    assert_eq!(of("shop"), ["ann", "bob", "eve", "ann", "ann", "bob", "bob"]);
    assert_eq!(of("strangers"), ["eve"]);
    // As of the tick of each event.
    let with: Vec<String> =
        decisions.iter().filter(|one| one.action == "shop").map(|one| one.cause()["with"].to_string()).collect();
    let expected =
        [("free", 2, 3), ("pro", 10, 3), ("", 0, 3), ("free", 2, 6), ("pro", 10, 9), ("free", 1, 6), ("free", 1, 9)];
    let expected = expected.map(|(plan, limit, spent)| {
        let (plan, limit) = if plan.is_empty() { (Value::Null, Value::Null) } else { (plan.into(), limit.into()) };
        serde_json::json!({ "pages.name": "shop", "plans.limit": limit, "plans.plan": plan, "state.shopper.spent": spent })
    });
    assert_eq!(with, expected.map(|with| with.to_string()));
    copy_all(&folder.path("data"), &folder.path("copy"));
    for computed in ["log/out", "log/state"] {
        fs::remove_dir_all(folder.path("copy").join(computed)).unwrap();
    }
    let process = start(&folder, "copy", 1, 2);
    process.ready();
    process.drain();
    let again = Published::read_ticks(&folder.path("copy"));
    assert!(published.ticks.iter().zip(&again.ticks).all(|(ours, theirs)| ours == theirs));
}

/// One definition bound to the stream and to a cadence gives the same decisions. Those of the batch are handed over later,
/// and not before they are due, also if the process ends in between.
#[test]
fn a_batch_hands_over_the_decisions_of_the_stream_later() {
    let folder = Folder::new();
    let action = |name: &str, timing: &str| {
        format!(
            "[[action]]\nname = '{name}'\non = 'events'\nwhen = 'price >= 2 and state.shopper.events > 2'\n\
             timing = '{timing}'\ndo = 'notify'\nsink = '{name}'\n\
             [[sink]]\nname = '{name}'\nkind = 'file'\npath = '{name}.jsonl'\nfrom = 'start'\n"
        )
    };
    let state = "[[state]]\nname = 'shopper'\nper = 'user'\ncolumns.events = { count = true }\n";
    let actions = format!("{state}{}{}", action("now", "now"), action("batch", "every 3s"));
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{actions}")));
    let mut rng = Rng::new(11);
    for life in 0..3 {
        let process = Process::start(&folder, "data", 1 + life, Restart::No);
        let mut client = Client::new(process.ready());
        for _ in 0..30 {
            let any = |_| Event::any(&mut rng, "ann".into(), PAST_MS, 600_000, None);
            let batch: Vec<Event> = (0..5).map(any).collect();
            assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
        }
        client.published();
        drop(if life == 1 { process.kill() } else { process.drain() });
    }
    let rows = |name: &str| -> Vec<Value> {
        let text = fs::read_to_string(folder.path(format!("{name}.jsonl"))).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["row"].clone()).collect()
    };
    let process = Process::start(&folder, "data", 2, Restart::No);
    process.ready();
    wait_until("the last batch is handed over", || rows("batch").len() == rows("now").len());
    process.drain();
    let wall_us = headwater::queue::intake::wall_ms() * 1000;
    // Within a tick, decisions are in the order of their keys.
    let sorted = |name: &str| {
        let mut rows = rows(name);
        rows.sort_by_key(|row| format!("{} {}", row["cause"], row["decided_us"]));
        rows
    };
    let (now, batch) = (sorted("now"), sorted("batch"));
    assert!(now.len() > 50 && now.iter().all(|row| row["due_us"].is_null()));
    for (now, batch) in now.iter().zip(&batch) {
        for column in ["cause", "decided_us", "user", "time_us", "decision"] {
            assert_eq!(now[column], batch[column]);
        }
        let (decided, due) = (batch["decided_us"].as_i64().unwrap(), batch["due_us"].as_i64().unwrap());
        assert!(due % 3_000_000 == 0 && due > decided && due <= decided + 3_000_000 && due <= wall_us, "{batch}");
    }
}
