//! The promise: `plan` shows what a replay would read and do. It reads no event and writes nothing. An error that would
//! stop the replay stops it in the same way. For the sources of a run it shows the place and the settings.

use crate::headwater::Folder;
use serde_json::{Value, json};

const CONFIG: &str = r#"
    [[source]]
    name = "app"
    kind = "file"
    paths = ["logs/*.jsonl"]

    [[source]]
    name = "web"
    kind = "file"
    paths = ["access.log"]
    [source.events]
    type = [["method", "status"]]

    [events]
    time = "ts"
    id = "event_id"
    join = " "

    [fields]
    button = ["event_details.button_type", "button_type"]

    [sessions]
    gap = "45m"
    sum = { revenue = "price" }
    carry = ["page"]

    [[class]]
    name = "visit"
    when = { page = { prefix = "/product/" }, coupon = { exists = false } }

    [[class]]
    name = "purchase"
    priority = 10
    when = { button = "one-click purchase", price = { min = 0.01 } }
"#;

fn shop() -> Folder {
    let folder = Folder::new();
    folder.write("headwater.toml", CONFIG);
    // Not one of these is an event that could be read: the plan must not care.
    folder.write("logs/a.jsonl", "{\"a\":1}\n{\"a\":2}\n");
    folder.write("logs/b.jsonl", "{\"a\":1,\"a\":2}\n");
    folder.write("access.log", "::1 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 -\n");
    folder
}

fn plan(folder: &Folder, more: &[&str]) -> String {
    let run = folder.headwater(["plan", "headwater.toml"].iter().chain(more));
    assert_eq!(run.code(), 0, "{}", run.stderr());
    assert_eq!(run.stderr(), "");
    run.stdout()
}

#[test]
fn the_text_shows_everything_within_80_columns() {
    let folder = shop();
    let text = plan(&folder, &["--workers", "3"]);
    for line in [
        "  reads        3 files, 90 B",
        "  workers      3",
        "  gap          45 min",
        "source app",
        "  format       json, one object a line (told by the content)",
        "  time         ts (configured)",
        "  id           event_id (configured)",
        "  dedupe       an id again within 7 d of event time is a duplicate",
        "source web",
        "  format       clf, lines of a web server (told by the content)",
        "  user         host | ip (built-in)",
        "  type         method + \" \" + status (configured)",
        "  limits       1.00 MiB a record, 64 levels, 4,096 keys",
        "  button       event_details.button_type, button_type",
        "  sum          revenue of price",
        "  carry        page",
        "  ingest       one record for each event id counts",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in\n{text}");
    }
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} in\n{text}"));
    assert!(at("purchase     priority 10: ") < at("visit        priority 0: "));
    assert!(text.contains("page starts_with '/product/'"), "{text}");
    assert!(text.contains("coupon is null"), "{text}");
    assert!(text.contains("button = 'one-click purchase'"), "{text}");
    assert!(!text.contains('\x1b'), "no colours without a terminal");
    let own = folder.path("");
    for line in text.lines().filter(|line| !line.contains(own.to_str().unwrap().trim_end_matches('/'))) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(!folder.path("data").exists());
}

#[test]
fn json_has_the_same_for_programs() {
    let folder = shop();
    let plan: Value = serde_json::from_str(&plan(&folder, &["--json", "--gap", "5m", "--format", "csv"])).unwrap();
    assert_eq!((&plan["gap_s"], &plan["files"], &plan["bytes"]), (&json!(300.0), &json!(3), &json!(90)));
    let app = &plan["sources"][0];
    assert_eq!(app["files"][1]["format"], "json");
    assert_eq!(app["time"], json!({ "from": "configured", "paths": { "any": ["ts"] } }));
    assert_eq!(app["user"]["from"], "built-in");
    assert!(app["user"]["paths"]["json"].as_array().unwrap().contains(&json!("user_id")));
    assert_eq!(plan["sources"][1]["type"]["paths"]["any"], json!(["method + \" \" + status"]));
    assert_eq!(plan["rules"][0]["class"], "purchase");
    assert!(plan["outputs"][2]["path"].as_str().unwrap().ends_with("data/sessions.csv"), "{plan}");
    let columns = plan["outputs"][2]["columns"].as_array().unwrap();
    for column in ["session_id", "revenue", "entry_page"] {
        assert!(columns.contains(&json!(column)), "{column} in {columns:?}");
    }
}

#[test]
fn what_stops_a_replay_stops_its_plan_with_the_same_words() {
    let folder = shop();
    folder.write("wrong.toml", "[sessions]\ngapp = \"30m\"\n");
    folder.write("prose.txt", "some prose\nwithout any form\n");
    folder.write("empty.toml", "");
    for (code, arguments) in [
        (2, &["wrong.toml", "access.log"][..]),
        (2, &["empty.toml"]),
        (2, &["nowhere.toml"]),
        (1, &["empty.toml", "nowhere.log"]),
        (1, &["empty.toml", "prose.txt"]),
    ] {
        let [plan, replay] = ["plan", "replay"].map(|verb| folder.headwater([verb].iter().chain(arguments)));
        assert_eq!((plan.code(), replay.code()), (code, code), "{arguments:?}: {}", plan.stderr());
        assert_eq!(plan.stderr(), replay.stderr());
    }
}

/// `plan` passed what `run` refused: a file of tokens that is not there, and `max_bytes` above what a delivery holds, with
/// exit code 1 instead of 2. All checks of a start that need no data folder are made by both, before anything is touched.
#[test]
fn what_stops_a_run_stops_its_plan_with_the_same_words_and_nothing_is_touched() {
    let folder = Folder::new();
    folder.write("web.log", "::1 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 -\n");
    let posted = "[[source]]\nname = 'collector'\nkind = 'http'\n";
    let followed = "[[source]]\nname = 'web'\npaths = ['web.log']\nfollow = true\n";
    folder.write("tokens.toml", "[[token]]\nname = 'a'\n");
    let sink = "[[sink]]\nname = 's'\ncollection = 'closings'\nkind = 'file'\npath = 'nowhere/s.jsonl'\n";
    for (what, config) in [
        ("nowhere.toml", format!("[cluster]\ntokens = 'nowhere.toml'\n{posted}")),
        ("without `sha256`", format!("[cluster]\ntokens = 'tokens.toml'\n{posted}")),
        ("16776191 bytes a record", format!("[events]\nmax_bytes = '16MiB'\n{followed}")),
        ("16776191 bytes a record", format!("{followed}[source.events]\nmax_bytes = '1GiB'\n{posted}")),
        ("cannot write", format!("{posted}{sink}")),
    ] {
        folder.write("headwater.toml", &config);
        let [plan, run] = ["plan", "run"].map(|verb| folder.headwater([verb, "headwater.toml"]));
        assert_eq!((plan.code(), run.code()), (2, 2), "{config}\n{}\n{}", plan.stderr(), run.stderr());
        assert_eq!(plan.stderr(), run.stderr());
        assert!(plan.stderr().replace("\n", " ").contains(what), "{what}: {}", plan.stderr());
        assert!(!folder.path("data").exists(), "{config}");
    }
    // A run waits for what is followed, so its plan does too.
    folder.write("prose.log", "some prose\nwithout any form\n");
    folder.write("headwater.toml", "[[source]]\nname = 'web'\npaths = ['prose.log']\nfollow = true\n");
    assert!(plan(&folder, &[]).contains("not yet: cannot detect"));
    // What is replayed needs none of that; its plan says what a run would refuse.
    folder.write("headwater.toml", "[events]\nmax_bytes = '16MiB'\n[[source]]\nname = 'web'\npaths = ['web.log']\n");
    let text = plan(&folder, &[]);
    assert!(text.contains("\nrun  a run refuses what this replay takes\n"), "{text}");
    assert_eq!(folder.headwater(["run", "headwater.toml"]).code(), 2);
}

#[test]
fn what_a_run_takes_in_is_shown_too() {
    let folder = Folder::new();
    let config = r#"
        [cluster]
        listen = "127.0.0.1:8080"
        [http]
        rate = 50
        [[source]]
        name = "collector"
        kind = "http"
        [[source]]
        name = "web"
        paths = ["access.log*"]
        follow = true
    "#;
    folder.write("headwater.toml", config);
    let text = plan(&folder, &[]);
    for line in [
        "  listen       127.0.0.1:8080",
        "  limits       1.00 MiB a request, 50 requests a second",
        "  tokens       none: every client that reaches it may post",
        "  kind         http",
        "  posted to    POST /v1/events",
        "  format       json (the only one that can be posted)",
        "  follow       a run goes on with what is added to its files",
        "  files        none yet",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in\n{text}");
    }
    folder.write("access.log", "::1 - - [17/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\" 200 -\n");
    let outline: Value = serde_json::from_str(&plan(&folder, &["--json"])).unwrap();
    let [posted, followed] = [&outline["sources"][0], &outline["sources"][1]];
    assert_eq!(
        (&posted["kind"], &posted["posted_to"], &posted["follow"]),
        (&json!("http"), &json!("/v1/events"), &json!(false))
    );
    assert_eq!(posted["user"]["paths"].as_object().unwrap().keys().collect::<Vec<_>>(), ["json"]);
    assert_eq!(
        (&followed["kind"], &followed["follow"], &followed["files"][0]["format"]),
        (&json!("file"), &json!(true), &json!("clf"))
    );
    assert_eq!((&outline["http"]["rate"], &outline["http"]["tokens"]), (&json!(50), &Value::Null));
}

#[test]
fn sinks_are_shown_and_a_replay_says_that_it_has_none_of_them() {
    let folder = shop();
    let sinks = r#"
[[sink]]
name = "big"
collection = "sessions"
when = 'revenue >= 100'
kind = "file"
path = "big.jsonl"

[[sink]]
name = "crm"
collection = "closings"
changes = "all"
from = "start"
kind = "http"
url = "https://hooks.example/changes"
headers = { authorization = { file = "crm.secret" } }
"#;
    folder.write("headwater.toml", format!("{CONFIG}{sinks}"));
    let text = plan(&folder, &[]);
    let shown = "\
sink crm  of a run; a replay has none of them
  posts to     https://hooks.example/changes
  takes        rows that are added or removed, of closings
  headers      authorization
  begins       at its first start, with the oldest tick that is kept
";
    assert!(text.ends_with(shown), "{text}");
    assert!(
        text.contains("\n  takes        rows that are added, of sessions\n  when         revenue >= 100\n"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&plan(&folder, &["--json"])).unwrap();
    assert_eq!((&json["sinks"][0]["name"], &json["sinks"][1]["headers"]), (&json!("big"), &json!(["authorization"])));

    folder.write("one.jsonl", "{\"user\":\"u\",\"ts\":\"2024-05-01T12:00:00Z\"}\n");
    folder.write("one.toml", format!("[events]\ntime = 'ts'\n[sessions]\nsum = {{ revenue = 'price' }}\n{sinks}"));
    let run = folder.headwater(["replay", "one.toml", "one.jsonl", "--out", "out"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    assert!(run.stdout().ends_with("\n2 sinks act in `headwater run` only\n"), "{}", run.stdout());
    assert!(!folder.path("big.jsonl").exists());
}
