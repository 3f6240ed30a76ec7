//! Rules are data of a run: others are applied while it runs, and what subscribers have is what a replay with these rules
//! writes. Versions stay over kills and restarts, with any number of workers and processes.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::Published;
use super::run_toml;
use crate::headwater::{Folder, Run};
use crate::patience::wait_until;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const MEANING: &str = r#"
[events]
user = ["user"]
time = ["time"]
type = ["kind"]
id = ["id"]
dedupe = "7d"

[fields]
price = ["price"]
page = ["page"]

[sessions]
gap = "2s"
sum = { revenue = "price" }
carry = ["page"]
"#;

/// Makes every test.
const FIRST: &str = r#"
[[class]]
name = "purchase"
when = { price = { min = 1 } }
[[class]]
name = "home"
when = "page = 1 or page is null"
[[class]]
name = "shop"
priority = 2
when = "page = 2 and price is not null"
"#;

const OTHERS: [&str; 3] = [
    "[[class]]\nname = 'bought'\nwhen = 'price >= 1'\n[[class]]\nname = 'home'\nwhen = 'not (page = 1)'\n",
    "[[class]]\nname = 'shop'\nwhen = 'page = 1 or page = 2'\n",
    "[[class]]\nname = 'home'\npriority = -1\nwhen = 'page is null'\n[[class]]\nname = 'shop'\nwhen = { price = { min = 1 } }\n",
];

/// One snapshot at most is taken, so that all of the queue stays: ticks are computed again from the first one.
const SNAPSHOTS: &str = "snapshot = \"1h\"\n";

fn write(folder: &Folder, rules: &str, more: &str) {
    folder.write("run.toml", run_toml(SNAPSHOTS, &format!("{MEANING}{more}{rules}")));
}

fn rules(folder: &Folder, verb: &str, address: SocketAddr, more: &[&str]) -> Run {
    let url = format!("http://{address}");
    folder.headwater(["rules", verb, &url].iter().chain(more))
}

fn answer(run: &Run) -> Value {
    assert_eq!(run.code(), 0, "{}", run.stderr());
    serde_json::from_str(&run.stdout()).unwrap()
}

/// No two events of a user are at one time: which of them is first depends on all tests that there are, and a replay has fewer.
fn batch(rng: &mut Rng, sent: &[Event]) -> Vec<Event> {
    let mut batch: Vec<Event> = Vec::new();
    while batch.len() < 8 {
        let user = rng.below(12);
        let event = Event::any(rng, format!("user {user}"), PAST_MS, 600_000, None);
        let is_tie = |other: &Event| (&other.user, other.time) == (&event.user, event.time);
        if !sent.iter().chain(&batch).any(is_tie) {
            batch.push(event);
        }
    }
    batch
}

#[test]
fn applied_rules_give_what_a_replay_with_them_gives_through_kills_and_restarts() {
    for (seed, learn) in [(1, false), (2, true), (3, false)] {
        let folder = Folder::new();
        let learning = if learn { "[classes]\nlearn = true\n" } else { "" };
        write(&folder, FIRST, learning);
        let mut rng = Rng::new(seed);
        let mut sent: Vec<Event> = Vec::new();
        let (mut holds, mut version, mut texts) = (FIRST.to_owned(), 1, vec![FIRST.to_owned()]);
        for life in 0..4 {
            let (workers, processes) = (1 + rng.below(3) as usize, if life == 2 { "2" } else { "1" });
            let more = ["--processes", processes];
            let process = Process::start_with(&folder, "data", workers, Restart::No, None, &more);
            let address = process.ready();
            let mut client = Client::new(address);
            let listed = answer(&rules(&folder, "list", address, &["--json"]));
            assert_eq!(listed["versions"].as_array().unwrap().len(), version, "{listed}");
            for _ in 0..6 {
                for _ in 0..rng.below(4) {
                    let batch = batch(&mut rng, &sent);
                    assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
                    sent.extend(batch);
                }
                let (changed, text) = if rng.below(4) == 0 {
                    let back = rng.below(version as u64);
                    let number = (back + 1).to_string();
                    (rules(&folder, "rollback", address, &[&number, "--json"]), texts[back as usize].clone())
                } else {
                    let text = OTHERS[rng.below(3) as usize];
                    folder.write("new.toml", text);
                    (rules(&folder, "apply", address, &["new.toml", "--json", "--by", "ann"]), text.to_owned())
                };
                let changed = answer(&changed);
                assert_eq!(changed["changed"].as_bool().unwrap(), text != holds, "{changed}");
                if text != holds {
                    version += 1;
                    assert!(changed["tick"].is_u64(), "{changed}");
                    holds.clone_from(&text);
                    texts.push(text);
                }
                assert_eq!(changed["version"].as_u64().unwrap(), version as u64, "{changed}");
            }
            client.published();
            // Others end without a snapshot: the next one computes their ticks again.
            drop(if life == 1 { process.drain() } else { process.kill() });
        }
        folder.write(
            "replay.toml",
            format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{MEANING}{learning}{holds}"),
        );
        let published = Published::read_ticks(&folder.path("data"));
        published.is_replayed(&folder, &lines(&sent));
        published.computed_again(&folder, "copy", |copy| {
            let process = Process::start(&folder, copy, 2, Restart::No);
            process.ready();
            process.drain();
        });
        let classes = |row: &Value| row["classes"].as_object().map_or(0, serde_json::Map::len);
        assert!(published.rows(Collection::SESSIONS).iter().any(|row| classes(row) > 1));
    }
}

fn put(address: SocketAddr, query: &str, head: &str, text: &str) -> (u16, Value) {
    let length = text.len();
    let request =
        format!("PUT /v1/rules{query} HTTP/1.0\r\nhost: {address}\r\n{head}content-length: {length}\r\n\r\n{text}");
    let mut stream = TcpStream::connect(address).unwrap();
    // A server that refuses may close before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return (0, Value::Null) };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

/// What is wrong with a file is said with its place, before anything is sent, and also by the server. Nothing changes.
#[test]
fn rules_that_cannot_hold_are_refused_with_what_is_wrong_and_nothing_changes() {
    let folder = Folder::new();
    write(&folder, FIRST, "");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let same = |when: &str, name: &str| format!("[[class]]\nname = '{name}'\nwhen = \"{when}\"\n");
    let many = |rules: usize| same("page = 1", "x").repeat(rules);
    let cases = [
        ("[[class]\nname = 1", 2, "this is not TOML", "line 1: "),
        ("", 2, "no [[class]]", "line 1: "),
        ("[sessions]\ngap = \"1m\"\n", 2, "no [[class]]", "line 1: "),
        ("[[class]]\nname = 'a'\n", 2, "has no `when`", "line 1: "),
        ("[[class]]\nname = 'a'\nwhen = { page = { matches = '(' } }\n", 2, "unclosed group", "line 3: "),
        ("[[class]]\nname = 'a'\nwehn = 'page = 1'\n", 2, "unknown key `wehn`", "line 3: "),
        (&(same("page = 1", "a") + &same("page = 1", "b")), 1, "contradicts rule 1", "contradicts rule 1"),
        (&same("page = 3 and price >= 1", "a"), 1, "page = 3", "what no rule of this data folder has asked"),
        (&format!("[fields]\npage = 'p'\n{}", same("page = 1", "a")), 1, "page = 1", "rule 1 `a`"),
        (&many(10_001), 2, "10,001 rules", "line 1: the file has 10,001 rules"),
    ];
    for (text, code, said, answered) in cases {
        folder.write("new.toml", text);
        let run = rules(&folder, "apply", address, &["new.toml"]);
        let (shown, of) = (run.said(), &text[..text.len().min(80)]);
        assert_eq!(run.code(), code, "{of}: {shown}");
        assert!(shown.contains(said), "{of}: {shown}");
        let (status, body) = put(address, "", "", text);
        assert!(matches!(status, 400 | 409 | 413), "{of}: {status} {body}");
        assert!(body["error"]["message"].as_str().unwrap().contains(answered), "{of}: {body}");
    }
    folder.write("new.toml", format!("{}# {}", same("page = 1", "a"), "x".repeat(5 << 20)));
    let run = rules(&folder, "apply", address, &["new.toml"]);
    assert!(run.code() == 2 && run.said().contains("at most 4,194,304"), "{}", run.said());
    let (status, body) = put(address, "", "", "\u{0}");
    assert_eq!((status, body["error"]["code"].as_str()), (400, Some("rules")));
    for (query, head) in [("?expect=x", ""), ("", "if-match: \"x\"\r\n"), (&*format!("?by={}", "x".repeat(300)), "")] {
        assert_eq!(put(address, query, head, OTHERS[0]).0, 400);
    }
    for version in ["0", "7", "99999999999999999999", "x"] {
        assert_ne!(rules(&folder, "rollback", address, &[version]).code(), 0);
        assert_ne!(rules(&folder, "show", address, &[version]).code(), 0);
    }
    assert_eq!(answer(&rules(&folder, "list", address, &["--json"]))["versions"].as_array().unwrap().len(), 1);
    // As many as there may be.
    folder.write("new.toml", many(10_000));
    let changed = answer(&rules(&folder, "apply", address, &["new.toml", "--json"]));
    assert_eq!((changed["version"].as_u64(), changed["rules"].as_u64()), (Some(2), Some(10_000)));
    assert!(changed["notes"].as_array().unwrap().len() < 30, "each of them asks the same: {changed}");
    process.drain();
}

/// Two people look at the same version, and both change it. One of them has to look again.
#[test]
fn of_two_changes_of_one_version_one_is_refused_and_the_same_rules_change_nothing() {
    let folder = Folder::new();
    write(&folder, FIRST, "");
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    let applied = |text: &'static str| std::thread::spawn(move || put(address, "?by=ann", "if-match: \"1\"\r\n", text));
    let outcomes = [applied(OTHERS[0]), applied(OTHERS[1])].map(|thread| thread.join().unwrap());
    let mut statuses = outcomes.each_ref().map(|(status, _)| *status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{outcomes:?}");
    let (_, refused) = outcomes.iter().find(|(status, _)| *status == 412).unwrap();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("at version 2") && message.contains("by ann") && message.contains("not at 1"),
        "{message}"
    );
    let shown = rules(&folder, "show", address, &["2"]).stdout();
    folder.write("again.toml", &shown);
    let again = rules(&folder, "apply", address, &["again.toml", "--expect", "2"]).stdout();
    assert!(again.starts_with("nothing has changed: version 2 has these rules, applied from"), "{again}");
    let conflict = rules(&folder, "rollback", address, &["1", "--expect", "1"]);
    assert_eq!(conflict.code(), 1);
    assert!(conflict.said().contains("not at 1"), "{}", conflict.said());
    process.drain();
}

/// A start with the configuration as it was keeps what was applied, and says so. One with other rules does what it always
/// has done, and says what it replaces.
#[test]
fn a_start_says_which_rules_hold() {
    let folder = Folder::new();
    write(&folder, FIRST, "");
    folder.write("new.toml", OTHERS[1]);
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    assert_eq!(rules(&folder, "apply", address, &["new.toml", "--by", "ann"]).code(), 0);
    process.drain();

    write(&folder, FIRST, "[[sequence]]\nname = 's'\nsteps = ['home', 'shop']\nwithin = '1h'\n");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let said = "rules that were applied hold, and not those of the configuration: `headwater rules list` shows them. They \
                hold until others are applied, or the [[class]] blocks of the configuration change";
    assert_eq!(process.logged(said, 0)["version"], 2);
    let url = format!("http://{address}");
    let status = folder.headwater(["status", "--url", &url]).stdout();
    assert!(status.contains("rules    version 2, applied from new.toml by ann at "), "{status}");
    let plan = folder.headwater(["plan", "run.toml"]).stdout();
    let words = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("in the data folder holds version 2, applied from new.toml by ann at "), "{plan}");
    // Steps of what was read stay, as after a restart.
    folder.write("new.toml", OTHERS[0]);
    let changed = answer(&rules(&folder, "apply", address, &["new.toml", "--json"]));
    assert!(changed["notes"][0].as_str().unwrap().starts_with("sequences `s`: "), "{changed}");
    process.drain();
    let doctor = folder.headwater(["doctor", "data"]).stdout();
    assert!(doctor.contains("version 3, applied from new.toml at "), "{doctor}");

    let edited = FIRST.replace("page = 2", "page = 1");
    write(&folder, &edited, "");
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    let said = "the [[class]] blocks of the configuration have changed since rules were applied: they hold from now on. \
                `headwater rules rollback` brings the version before back";
    assert_eq!((&process.logged(said, 0)["version"], &process.logged(said, 0)["before"]), (&4.into(), &3.into()));
    assert_eq!(rules(&folder, "rollback", address, &["3"]).code(), 0);
    let listed = rules(&folder, "list", address, &[]).stdout();
    assert!(listed.starts_with("version 5: 2 rules, rolled back to version 3 at "), "{listed}");
    assert!(
        listed.contains("  holds\n") && listed.contains("version 4: 3 rules, of the configuration since "),
        "{listed}"
    );
    process.drain();
}

/// Whatever ends the process while rules change: what was answered holds after the next start, and rows are those of the rules
/// that hold.
#[test]
fn a_process_that_ends_while_rules_change_keeps_what_it_has_answered() {
    let folder = Folder::new();
    write(&folder, FIRST, "");
    let (mut answered, mut sent) = (1, Vec::<Event>::new());
    let mut rng = Rng::new(5);
    for life in 0..6 {
        let process = Process::start(&folder, "data", 1 + life % 3, Restart::No);
        let address = process.ready();
        let mut client = Client::new(address);
        let held = answer(&rules(&folder, "list", address, &["--json"]))["versions"].as_array().unwrap().len();
        assert!(held >= answered && held <= answered + 1, "{held} versions, and {answered} were answered");
        answered = held;
        for _ in 0..6 {
            let batch = batch(&mut rng, &sent);
            assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
            sent.extend(batch);
        }
        let changing = std::thread::spawn(move || {
            let mut changed = 0;
            for turn in 0.. {
                match put(address, "", "", OTHERS[turn % 3]) {
                    (200, answer) => changed += usize::from(answer["changed"] == true),
                    (0 | 503, _) => return changed,
                    other => panic!("{other:?}"),
                }
            }
            changed
        });
        std::thread::sleep(std::time::Duration::from_millis(rng.below(150)));
        drop(if life % 2 == 0 { process.kill() } else { process.drain() });
        answered += changing.join().unwrap();
    }
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let last = answer(&rules(&folder, "list", address, &["--json"]))["versions"].as_array().unwrap().len();
    let holds = rules(&folder, "show", address, &[&last.to_string()]).stdout();
    Client::new(address).published();
    process.drain();
    folder
        .write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{MEANING}{holds}"));
    Published::read(&folder.path("data")).is_replayed(&folder, &lines(&sent));
}

/// Of three shapes, one has a type, and two have none.
fn untyped(minute: usize) -> String {
    let mut lines = Vec::new();
    for second in 0..30 {
        let ts = format!("2024-05-01T10:{minute:02}:{second:02}Z");
        lines.push(json!({ "user": "ann", "time": ts, "kind": "view", "page": second % 3 }));
        lines.push(json!({ "user": "bob", "time": ts, "button": "buy" }));
        lines.push(json!({ "user": "bob", "time": ts, "button": "buy", "price": 1 }));
        lines.push(json!({ "user": "eve", "time": ts, "celsius": 21, "humidity": second }));
    }
    lines.iter().map(|line| line.to_string() + "\n").collect()
}

fn label(folder: &Folder, address: SocketAddr, more: &[&str]) -> Value {
    let url = format!("http://{address}");
    answer(&folder.headwater(["label", &url, "--json"].iter().chain(more)))
}

fn counted(address: SocketAddr) -> BTreeMap<String, u64> {
    let mut classes = BTreeMap::new();
    for row in Client::new(address).get_json("/v1/collections/counts/rows").unwrap().1["rows"].as_array().unwrap() {
        *classes.entry(row["class"].as_str().unwrap().to_owned()).or_insert(0) += row["events"].as_u64().unwrap();
    }
    classes
}

/// A label gives events a class that have none, teaches, stays over kills, and leaves nothing when it is taken back.
#[test]
fn a_label_holds_for_all_events_of_its_shape_until_it_is_taken_back() {
    let folder = Folder::new();
    let learn = "[classes]\nlearn = true\n";
    write(&folder, "[[class]]\nname = 'home'\nwhen = 'page = 0'\n", learn);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    assert_eq!(client.post(&untyped(0)), Outcome::Acknowledged);
    client.published();
    let before = counted(address);
    let queue = label(&folder, address, &["--queue"]);
    let worth: Vec<u64> = queue.as_array().unwrap().iter().map(|one| one["unclassified"].as_u64().unwrap()).collect();
    assert_eq!(worth, [30, 30, 30], "{queue}");
    let with = |path: &str, without: &str| {
        let shapes = queue.as_array().unwrap();
        let paths =
            |one: &&Value| one["paths"].as_str().is_some_and(|all| all.contains(path) && !all.contains(without));
        shapes.iter().find(paths).unwrap()["shape"].as_str().unwrap().to_owned()
    };
    let (button, heat) = (with("button", "price"), with("celsius", "price"));
    let given = label(&folder, address, &[&button, "click", "--by", "ann"]);
    assert_eq!((&given["changed"], &given["sessions"]), (&true.into(), &1.into()), "{given}");
    // The other shape with a button learns from it.
    let expected = |click: u64, warm: u64, none: u64| {
        let all = [("click", click), ("home", 10), ("unclassified", none), ("view", 20), ("warm", warm)];
        all.into_iter()
            .filter(|(_, events)| *events > 0)
            .map(|(class, n)| (class.to_owned(), n))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(counted(address), expected(60, 0, 30));
    assert_eq!(label(&folder, address, &[&button, "click"])["changed"], false);
    label(&folder, address, &[&heat, "warm"]);
    assert_eq!(counted(address), expected(60, 30, 0));
    assert_eq!(label(&folder, address, &["--queue"])[0]["why"], "learned");
    process.kill();

    let process = Process::start_with(&folder, "data", 1, Restart::No, None, &["--processes", "2"]);
    let address = process.ready();
    let listed = label(&folder, address, &["--list"]);
    assert_eq!((listed["labels"].as_array().unwrap().len(), counted(address)), (2, expected(60, 30, 0)), "{listed}");
    process.drain();
    // From a snapshot, with a configuration that has changed.
    write(&folder, "[[class]]\nname = 'home'\nwhen = 'page = 0 and user is not null'\n", learn);
    let process = Process::start(&folder, "data", 3, Restart::No);
    let address = process.ready();
    Client::new(address).published();
    assert_eq!(counted(address)["warm"], 30);
    label(&folder, address, &[&button, "--remove"]);
    label(&folder, address, &[&heat, "--remove"]);
    process.drain();
    write(&folder, "[[class]]\nname = 'home'\nwhen = 'page = 0'\n", learn);
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    // Its first tick relabels, and may come after it is ready.
    Client::new(address).published();
    wait_until("the rules of the start hold", || counted(address) == before);
    for wrong in [&["2ca3", "a"][..], &["2ca34cd287291897", ""], &["2ca34cd287291897", "unclassified"]] {
        let run = folder.headwater(["label", &format!("http://{address}")].iter().chain(wrong));
        assert_ne!(run.code(), 0, "{wrong:?}");
    }
    process.drain();
    let published = Published::read_ticks(&folder.path("data"));
    let changes = published.changes(Collection::LABEL_CHANGES);
    let causes: Vec<&str> = changes.iter().map(|change| change["row"]["cause"].as_str().unwrap()).collect();
    assert_eq!(causes.iter().filter(|cause| **cause == "label").count(), 4, "{causes:?}");
    assert_eq!(causes.iter().filter(|cause| **cause == "learned").count(), 2, "{causes:?}");
    published.computed_again(&folder, "copy", |copy| {
        let process = Process::start(&folder, copy, 2, Restart::No);
        process.ready();
        process.drain();
    });
}
