//! Gates: causes that are held back until what they look up holds, or until their deadline. A slow oracle goes through the
//! published ticks and finds the same decisions, also where processes were killed while causes waited.

use super::actions::{Decision, same_when_computed_again, start};
use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::Folder;
use crate::patience::wait_until;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

const GATES: &str = r#"
[[state]]
name = "shopper"
per = "user"
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
name = "rich"
on = "events"
when = "page >= 3"
do = "gate"
until = "state.shopper.spent >= 30"
deadline = "1h"
sink = "file"

[[action]]
name = "late"
on = "events"
when = "class = 'purchase'"
do = "gate"
until = "state.shopper.spent >= 20"
deadline = "1s"
otherwise = "fire"
sink = "file"

[[action]]
name = "tight"
on = "events"
when = "page = 1"
do = "gate"
until = "state.shopper.spent >= 25"
deadline = "2s"
limit = 1
sink = "other"

[[action]]
name = "page"
on = "events"
when = "price >= 2"
do = "gate"
until = "state.page.visits > 30"
deadline = "1h"
sink = "other"

[[action]]
name = "busy"
on = "sessions"
when = "events >= 3"
do = "gate"
until = "state.shopper.spent >= 20"
deadline = "1h"
sink = "other"

[[sink]]
name = "file"
kind = "file"
path = "decisions.jsonl"
from = "start"

[[sink]]
name = "other"
kind = "file"
path = "other.jsonl"
from = "start"
"#;

/// Returns what waits for an action.
fn waiting(address: SocketAddr, action: &str) -> u64 {
    let status = Client::new(address).get_json("/v1/status").unwrap().1;
    let of = status["actions"].as_array().unwrap().iter().find(|one| one["name"] == action);
    of.unwrap()["waiting"].as_u64().unwrap()
}

/// Runs processes on a folder, each of which gets events and is killed or asked to end. At the end of each, nothing waits any
/// more for the actions of `through`.
pub fn lives(folder: &Folder, seed: u64, kills: &[bool], through: &[&str]) {
    let mut rng = Rng::new(seed);
    for (life, kill) in kills.iter().enumerate() {
        let process = start(folder, "data", 1 + life % 3, 1);
        let address = process.ready();
        let mut client = Client::new(address);
        for _ in 0..30 {
            let mut any = |_| {
                let id = Some(rng.below(400).to_string()).filter(|_| rng.below(2) == 0);
                // Events of one id are equal, so that none is a conflict.
                let mut own = Rng::new(id.as_ref().map_or_else(|| rng.next_u64(), |id| id.parse().unwrap()));
                let user = own.below(10);
                Event::any(&mut own, format!("user {user}"), PAST_MS, 60_000, id)
            };
            let batch: Vec<Event> = (0..5).map(&mut any).collect();
            assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
        }
        client.published();
        if life % 2 == 1 {
            for action in through {
                wait_until("what waits is over", || waiting(address, action) == 0);
            }
        }
        drop(if *kill { process.kill() } else { process.drain() });
    }
}

#[test]
fn gates_open_and_end_as_an_oracle_says_and_the_same_when_they_are_computed_again() {
    let folder = Folder::new();
    // Without snapshots, the whole log stays.
    folder.write("run.toml", run_toml("", &format!("{MEANING}{GATES}")));
    lives(&folder, 5, &[true, true, true, false], &["late", "tight"]);
    let published = Published::read_ticks(&folder.path("data"));
    check(&folder, &published);
    same_when_computed_again(&folder, &published);
}

/// What waits comes back with a snapshot, at any number of workers.
#[test]
fn what_waits_at_gates_survives_snapshots() {
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{GATES}")));
    lives(&folder, 6, &[false, true, false, true, false, false], &["late", "tight"]);
    check(&folder, &Published::read_ticks(&folder.path("data")));
}

/// A cause of the oracle that waits.
#[derive(Clone, PartialEq)]
struct Held {
    cause: String,
    user: String,
    page: Option<i64>,
    due_ms: i64,
}

/// What is known as of a tick, by user and by page.
#[derive(Default)]
struct Known {
    spent: BTreeMap<String, i64>,
    visits: BTreeMap<i64, i64>,
}

/// Goes through the ticks, and compares what each action has decided at each.
fn check(folder: &Folder, published: &Published) {
    let decisions: Vec<Decision> = published.changes(Collection::ACTIONS).iter().map(Decision::of).collect();
    let keys: BTreeSet<String> = decisions.iter().map(|one| one.row["key"].to_string()).collect();
    assert_eq!(keys.len(), decisions.len(), "each cause has one decision");
    let mut by_tick: BTreeMap<u64, Vec<&Decision>> = BTreeMap::new();
    decisions.iter().for_each(|one| by_tick.entry(one.tick).or_default().push(one));
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (action, fits, opens, (deadline_ms, end, limit)) in gates() {
        let (mut known, mut held) = (Known::default(), Vec::<Held>::new());
        for (tick, (now_ms, _)) in published.ticks.iter().enumerate() {
            let of_tick = || by_tick.get(&(tick as u64)).into_iter().flatten();
            let events: Vec<&&Decision> = of_tick().filter(|one| one.action == "every").collect();
            for event in &events {
                let user = event.row["user"].as_str().unwrap().to_owned();
                *known.spent.entry(user).or_default() += event.field("price").unwrap_or(0);
                event.field("page").into_iter().for_each(|page| *known.visits.entry(page).or_default() += 1);
            }
            let mut expected: Vec<(&str, String)> = Vec::new();
            held.retain(|one| {
                let decision = match () {
                    () if opens(&known, one) => "fired",
                    () if one.due_ms <= *now_ms => end,
                    () => return true,
                };
                expected.push((decision, one.cause.clone()));
                false
            });
            for event in events.iter().filter(|event| fits(event)) {
                let user = event.row["user"].as_str().unwrap().to_owned();
                let (cause, page) = (event.cause().to_string(), event.field("page"));
                let one = Held { cause, user, page, due_ms: now_ms + deadline_ms };
                let has_entity = action != "page" || page.is_some();
                let of_user = held.iter().filter(|other| other.user == one.user).count();
                let decision = match () {
                    () if has_entity && opens(&known, &one) => "fired",
                    () if !has_entity => end,
                    () if of_user >= limit => "overflowed",
                    () => {
                        held.push(one);
                        continue;
                    }
                };
                expected.push((decision, one.cause));
            }
            let mut found: Vec<(&str, String)> = of_tick()
                .filter(|one| one.action == action)
                .map(|one| (one.row["decision"].as_str().unwrap(), one.cause().to_string()))
                .collect();
            seen.extend(found.iter().map(|(decision, _)| format!("{action} {decision}")));
            if limit < usize::MAX {
                // Which of a tick have a place at the gate, their place in the log says. Nothing else shows it.
                let user = |(decision, cause): &(_, String)| {
                    let cause: Value = serde_json::from_str(cause).unwrap();
                    (*decision, cause["user"].to_string())
                };
                let (mut ours, mut theirs): (Vec<_>, Vec<_>) =
                    (found.iter().map(user).collect(), expected.iter().map(user).collect());
                ours.sort();
                theirs.sort();
                same(&format!("{action} at {tick}"), &ours, &theirs);
                continue;
            }
            [&mut found, &mut expected].into_iter().for_each(|all| all.sort());
            same(&format!("{action} at {tick}"), &found, &expected);
        }
    }
    for decision in ["rich fired", "late fired", "late fired_at_deadline", "page fired", "page dropped"] {
        assert!(seen.contains(decision), "{decision}: {seen:?}");
    }
    for decision in ["tight fired", "tight dropped", "tight overflowed"] {
        assert!(seen.contains(decision), "{decision}: {seen:?}");
    }
    let busy: Vec<&Decision> = decisions.iter().filter(|one| one.action == "busy").collect();
    assert!(busy.len() > 5 && busy.iter().all(|one| one.row["decision"] == "fired"), "{}", busy.len());
    check_file(folder, &decisions);
}

type Fits = fn(&Decision) -> bool;
type Opens = fn(&Known, &Held) -> bool;

/// Each gate: which events fit, when it opens, its deadline, what is decided then, and its limit.
fn gates() -> [(&'static str, Fits, Opens, (i64, &'static str, usize)); 4] {
    const HOUR: i64 = 3_600_000;
    [
        (
            "rich",
            |event| event.field("page") >= Some(3),
            |known, one| known.spent.get(&one.user).copied().unwrap_or(0) >= 30,
            (HOUR, "dropped", usize::MAX),
        ),
        (
            "late",
            |event| event.field("price") >= Some(1),
            |known, one| known.spent.get(&one.user).copied().unwrap_or(0) >= 20,
            (1000, "fired_at_deadline", usize::MAX),
        ),
        (
            "tight",
            |event| event.field("page") == Some(1),
            |known, one| known.spent.get(&one.user).copied().unwrap_or(0) >= 25,
            (2000, "dropped", 1),
        ),
        (
            "page",
            |event| event.field("price") >= Some(2),
            |known, one| one.page.is_some_and(|page| known.visits.get(&page).copied().unwrap_or(0) > 30),
            (HOUR, "dropped", usize::MAX),
        ),
    ]
}

/// The file has the cause of each decision that lets it pass, once.
fn check_file(folder: &Folder, decisions: &[Decision]) {
    let text = folder.read("decisions.jsonl");
    let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let passed = ["fired", "fired_at_deadline"];
    let of_file = decisions.iter().filter(|one| ["rich", "late"].contains(&one.action.as_str()));
    let fired = of_file.filter(|one| passed.contains(&one.row["decision"].as_str().unwrap()));
    let mut expected: Vec<String> = fired.map(|one| format!("{} {}", one.tick, one.cause())).collect();
    let mut found: Vec<String> = found.iter().map(|line| format!("{} {}", line["tick"], line["row"])).collect();
    [&mut expected, &mut found].into_iter().for_each(|all| all.sort());
    same("the file", &found, &expected);
}

/// A table that changes opens a gate; and so does the clock alone, when an event leaves a window.
#[test]
fn a_table_and_the_clock_open_gates() {
    let folder = Folder::new();
    let gates = r#"
[[state]]
name = "shopper"
per = "user"
columns.recent = { count = true, window = "5s" }

[[table]]
name = "plans"
path = "plans.csv"
key = "user"
columns.limit = "number"

[[action]]
name = "calm"
on = "events"
do = "gate"
until = "state.shopper.recent = 0"
deadline = "1h"
sink = "file"

[[action]]
name = "allowed"
on = "events"
do = "gate"
until = "plans.limit >= 5"
deadline = "1h"
sink = "file"

[[sink]]
name = "file"
kind = "file"
path = "decisions.jsonl"
"#;
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{gates}")));
    folder.write("plans.csv", "user,limit\nann,2\nbob,7\n");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let wall_ms = headwater::queue::intake::wall_ms();
    let event = |user: &str| Event { user: user.into(), time: wall_ms, id: None, price: None, page: None };
    let mut client = Client::new(address);
    assert_eq!(client.post(&lines(&[event("ann"), event("bob"), event("eve")])), Outcome::Acknowledged);
    client.published();
    wait_until("bob is allowed", || waiting(address, "allowed") == 2);
    process.kill();
    let process = Process::start(&folder, "data", 3, Restart::No);
    let address = process.ready();
    folder.write("plans.csv", "user,limit\nann,5\nbob,7\n");
    wait_until("ann is allowed", || waiting(address, "allowed") == 1);
    wait_until("the window is empty", || waiting(address, "calm") == 0);
    process.drain();
    let published = Published::read_ticks(&folder.path("data"));
    let decisions: Vec<Decision> = published.changes(Collection::ACTIONS).iter().map(Decision::of).collect();
    let of = |action: &str| -> Vec<(u64, String)> {
        let own = decisions.iter().filter(|one| one.action == action);
        own.map(|one| (one.tick, format!("{} {}", one.row["user"], one.row["decision"]))).collect()
    };
    let allowed: Vec<String> = of("allowed").into_iter().map(|(_, text)| text).collect();
    assert_eq!(allowed, ["\"bob\" \"fired\"", "\"ann\" \"fired\""]);
    // Its hop is a second, and leaves the window five seconds later: at the first tick from then on the gate is open.
    let left = (wall_ms.div_euclid(1000) + 5) * 1000;
    let first = published.ticks.iter().position(|(now_ms, _)| *now_ms >= left).unwrap() as u64;
    let mut calm = of("calm");
    calm.sort();
    let expected = ["ann", "bob", "eve"].map(|user| (first, format!("\"{user}\" \"fired\"")));
    assert_eq!(calm, expected);
}
