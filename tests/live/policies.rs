//! Under session policies a run that is stopped and started, with any number of workers and processes, gives the sessions of
//! a replay. The marks that policies need come back from a checkpoint, and another policy is refused.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::Published;
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::Folder;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use std::collections::BTreeSet;
use std::ops::Range;

const POLICIES: &str = r#"[sessions]
max_duration = "3s"
max_events = 4
split_on = "page"
split_at = "midnight"
zone = "+01:44"
start = "purchase"
end = "view"
"#;

/// An event without a price has no class, and neither starts nor ends a session.
const ALIVE: &str = r#"[sessions]
max_duration = "2s"
keepalive = ["unclassified"]
gap_by_class = { purchase = "2s", view = "300ms" }
gap_by_source = { collector = "700ms" }
"#;

fn folder(policies: &str) -> Folder {
    // Of three events one has a price of 2 or 3: it starts a session. A purchase of 1 ends one.
    let classes = "[[class]]\nname = \"view\"\nwhen = \"price = 1\"\n";
    let other = MEANING
        .replace("price = { min = 1 }", "price = { min = 2 }")
        .replace("name = \"purchase\"", "name = \"purchase\"\npriority = 1");
    let meaning = other.replace("[sessions]\n", policies) + classes;
    let meaning = meaning.replace("type = [\"kind\"]", "type = [\"none\"]");
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, &meaning));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
    folder
}

#[test]
fn a_run_that_starts_again_and_again_gives_the_sessions_of_a_replay() {
    let reasons = check(POLICIES, 0..2);
    let all = ["end", "gap", "max_duration", "max_events", "split_at", "split_on", "start"];
    assert_eq!(reasons, all.map(str::to_owned).into());
}

#[test]
fn so_does_one_in_which_events_have_gaps_of_their_own_or_only_extend_sessions() {
    let reasons = check(ALIVE, 2..4);
    assert_eq!(reasons, ["gap", "max_duration"].map(str::to_owned).into());
}

/// Returns the reasons why sessions ended.
fn check(policies: &str, seeds: Range<u64>) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let any = |number: u64| {
            let user = format!("user {}", rng.below(12));
            Event::any(&mut rng, user, PAST_MS, 200_000, Some(number.to_string()).filter(|_| number.is_multiple_of(2)))
        };
        let events: Vec<Event> = (0..1500).map(any).collect();
        let folder = folder(policies);
        let mut sessions = 0;
        for (life, own) in events.chunks(500).enumerate() {
            let (workers, processes) = (1 + (seed as usize + life) % 3, 1 + life % 2);
            let more = ["--processes", &processes.to_string()];
            let process = Process::start_with(&folder, "data", workers, Restart::No, None, &more);
            let mut client = Client::new(process.ready());
            if life > 0 {
                process.logged("goes on from a snapshot", 0);
            }
            for some in own.chunks(37) {
                assert_eq!(client.post(&lines(some)), Outcome::Acknowledged);
            }
            client.published();
            sessions = client.get_json("/v1/status").unwrap().1["sessions"].as_u64().unwrap();
            process.drain();
        }
        let published = Published::read(&folder.path("data"));
        let rows = published.rows(Collection::SESSIONS);
        assert_eq!(rows.len() as u64, sessions, "the status of a run that went on says how many there are");
        reasons.extend(rows.iter().map(|row| row["ended_by"].as_str().unwrap().to_owned()));
        published.is_replayed(&folder, &lines(&events));
    }
    reasons
}

#[test]
fn another_policy_is_refused() {
    let folder = folder(POLICIES);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let event = Event { user: "u".into(), time: PAST_MS, id: None, price: None, page: None };
    assert_eq!(client.post(&lines([&event])), Outcome::Acknowledged);
    client.published();
    process.drain();
    let run = folder.read("run.toml");
    for (from, to) in [("max_events = 4", "max_events = 5"), (POLICIES, "[sessions]\n")] {
        folder.write("run.toml", run.replace(from, to));
        let ended = Process::start(&folder, "data", 2, Restart::No).end();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("another `gap`, other"), "{}", ended.stderr);
    }
    folder.write("run.toml", run);
    let process = Process::start(&folder, "data", 1, Restart::No);
    process.ready();
    process.drain();
}
