//! `headwater test` compares the rows of a replay with those that a file expects, and says what differs, and where the file
//! is wrong.

use crate::headwater::Folder;

const CONFIG: &str = r#"
    [[source]]
    name = "web"
    paths = "web.jsonl"

    [[source]]
    name = "app"
    kind = "http"

    [events]
    user = "user"
    time = "ts"
    type = "type"
    id = "id"
    dedupe = "7d"

    [sessions]
    gap = "30m"
    sum = { revenue = "price" }

    [[class]]
    name = "purchase"
    when = "price >= 0.01"

    [[class]]
    name = "monitor"
    sessions = false
    when = "type = 'ping'"

    [[state]]
    name = "shopper"
    per = "user"
    columns.events = { count = true }
    columns.lately = { count = true, window = "1h" }
    columns.spent = { sum = "price" }
    columns.types = { top = "type", k = 2 }

    [[sequence]]
    name = "buys"
    steps = ["view", "purchase"]
    within = "1h"
"#;

fn test(cases: &str, more: &[&str]) -> (i32, String, String) {
    let folder = Folder::new();
    folder.write("headwater.toml", CONFIG);
    folder.write("t.toml", cases);
    folder.write("events/a.jsonl", "{\"user\":\"a\",\"ts\":\"2024-05-01T10:00:00Z\",\"type\":\"x\"}\n");
    folder.write("events/b.jsonl", "{\"user\":\"b\",\"ts\":\"2024-05-01T09:00:00Z\",\"type\":\"y\"}\n");
    let run = folder.headwater(["test", "t.toml"].iter().chain(more));
    (run.code(), run.stdout(), run.said())
}

/// Every table in one case: nothing that a replay writes is out of reach.
#[test]
fn a_case_may_expect_all_that_a_replay_gives() {
    let cases = r#"
[[case]]
name = "everything"
now = 2024-05-01T12:00:00Z
classes = ["view", "purchase", "monitor", "view", "click"]
dead_letters = { no_json = 1, conflicting_duplicate = 1 }
sessionless = { class_apart = 1, no_user = 1 }
users = [{ user = "ann", events = 2, sessions = 1 }, { user = "bob" }]
counts = [
    { class = "view", hour = "2024-05-01T10:00:00Z", events = 1 },
    { class = "view", hour = 2024-05-01T11:00:00Z },
    { class = "purchase" },
    { class = "monitor" },
    { class = "click" },
]
shapes = [
    { events = 2, classes = { view = 1, click = 1 } },
    { class = "purchase", why = "rule 1" },
    { class = "monitor" },
    { class = "view", why = "type", events = 1 },
]
session_events = [
    { user = "ann", number = 1, revenue = "" },
    { user = "ann", class = "purchase", number = 2, revenue = 2.5, source = "web" },
    { class = "monitor", session_id = "" },
    { class = "view", user = "", source = "app" },
    { user = "bob", class = "click" },
]
events.web = '''
{"user":"ann","ts":"2024-05-01T10:00:00Z","type":"view","id":"1"}
{"user":"ann","ts":"2024-05-01T10:10:00Z","price":"2.50","type":"click","id":"2"}
{"user":"bob","ts":"2024-05-01T11:00:00Z","type":"ping"}
no
{"user":"ann","ts":"2024-05-01T10:00:00Z","type":"another","id":"1"}
'''
events.app = '''
{"ts":"2024-05-01T11:30:00Z","type":"view"}
{"user":"bob","ts":"2024-05-01T11:40:00Z","type":"click","id":"3"}
'''
[[case.sessions]]
user = "ann"
start = 2024-05-01T12:00:00+02:00
events = 2
revenue = 2.500
classes = { view = 1, purchase = 1 }
[[case.sessions]]
user = "bob"
revenue = ""
[[case.activities]]
sequence = "buys"
key = "ann"
state = "matched"
[[case.funnels]]
sequence = "buys"
[[case.state.shopper]]
user = "ann"
events = 2
lately = 0
spent = 2.5
types = { view = 1, click = 1 }
[[case.state.shopper]]
user = "bob"
spent = ""
"#;
    let (code, stdout, said) = test(cases, &[]);
    // Whatever differs is printed.
    assert_eq!((code, stdout.as_str()), (0, "t.toml\n  ok    everything\n\n1 case: 1 passed, 0 failed\n"), "{said}");
}

#[test]
fn what_differs_is_said_and_the_exit_code_is_1() {
    let cases = r#"
[[case]]
name = "good"
files.web = ["events/b.jsonl", "events/a.jsonl"]
classes = ["x", "y"]

[[case]]
name = "bad"
events.web = '''
{"user":"ann","ts":"2024-05-01T10:00:00Z","type":"view"}
{"user":"ann","ts":"2024-05-01T10:10:00Z","price":2,"type":"click"}
no
'''
classes = ["view", "click", "click"]
sessionless = { no_time = 1 }
sessions = [{ user = "ann", events = 3, revenue = 2 }, { user = "cat" }]
state.shopper = []
"#;
    let (code, stdout, _) = test(cases, &["--junit", "r.xml"]);
    assert_eq!(code, 1);
    let expected = r#"t.toml
  ok    good
  FAIL  bad

bad  t.toml:7
  dead_letters: expected none, found no_json = 1
"#;
    assert!(stdout.starts_with(expected), "{stdout}");
    for line in [
        "  sessionless: expected no_time = 1, found none",
        "  classes: expected those of 3 events, found 2 events",
        r#"  event 2: expected "click", found "purchase"  {"user":"ann","ts":"2024-05-01T10:10:00Z","price":2,"type":"click"}"#,
        r#"  event 3: expected "click", found no event"#,
        "  sessions: 2 expected, 1 found; 2 missing, 1 not expected",
        r#"  - { user = "ann", events = 3, revenue = 2 }  (line 16)"#,
        r#"  + { user = "ann", events = 2, revenue = 2 }"#,
        "      events is 2",
        r#"  - { user = "cat" }  (line 16)"#,
        "  state.shopper: 0 expected, 1 found; 0 missing, 1 not expected",
        "2 cases: 1 passed, 1 failed",
    ] {
        assert!(stdout.lines().any(|found| found == line), "{line} in {stdout}");
    }
    let (code, stdout, _) = test(cases, &["--only", "goo"]);
    assert_eq!((code, stdout.as_str()), (0, "t.toml\n  ok    good\n\n1 case: 1 passed, 0 failed\n"));
    let (code, _, said) = test(cases, &["--only", "ugly"]);
    assert!(code == 2 && said.contains("no case has `ugly` in its name"), "{said}");
}

#[test]
fn a_case_may_say_whose_ids_are() {
    let folder = Folder::new();
    let config = "[[source]]\nname = \"web\"\npaths = \"*.jsonl\"\n";
    let identity = "[identity]\nlinks = [[\"cookie\", \"user\"]]\n";
    let case = |of: &str| {
        let line = r#"{"user":"ann","ts":"2024-05-01T10:00:00Z","cookie":"c1"}"#;
        let rows = format!("{{ id = \"c1\", kind = \"cookie\", ids = 2 }}, {{ id = \"ann\", identity = \"{of}\" }}");
        format!("[[case]]\nname = \"log-in\"\nevents = '{line}'\nidentities = [{rows}]\n")
    };
    for (config, of, code) in [
        (format!("{config}{identity}"), "c1", 0),
        (format!("{config}{identity}"), "ann", 1),
        (config.to_owned(), "c1", 2),
    ] {
        folder.write("headwater.toml", config);
        folder.write("t.test.toml", case(of));
        let run = folder.headwater(["test", "t.test.toml"]);
        assert_eq!(run.code(), code, "{}{}", run.stdout(), run.stderr());
        let why = "there are no identities: the configuration has no [identity]";
        assert!(code != 2 || run.stderr().contains(why), "{}", run.stderr());
    }
}

/// The guide shows a case that fails, which its own test cannot run.
#[test]
fn the_failure_in_the_guide_is_printed_so() {
    let page = include_str!("../../docs/guide/testing.md");
    let block = |head: &str| page.split_once(head).unwrap().1.split_once("```").unwrap().0;
    let folder = Folder::new();
    folder.write("headwater.toml", block("```toml file headwater.toml\n"));
    folder.write("shop.test.toml", block("```toml file shop.test.toml\n"));
    let run = folder.headwater(["test", "shop.test.toml"]);
    assert_eq!((run.code(), run.stdout().as_str()), (1, block("```text\n")), "{}", run.stderr());
}

#[test]
fn a_source_that_cannot_be_read_fails_its_case_alone() {
    let cases = "[[case]]\nname = 'a'\nfiles.web = 'gone.jsonl'\nsessions = []\n\
                 [[case]]\nname = 'b'\nfiles.web = 'events/a.jsonl'\nclasses = ['x']\n";
    let (code, stdout, _) = test(cases, &[]);
    assert!(code == 1 && stdout.contains("  FAIL  a\n  ok    b\n") && stdout.contains("gone.jsonl"), "{stdout}");
}

/// No case runs: a mistake of the file comes before the first one.
#[test]
fn mistakes_of_the_file_are_told_at_their_line() {
    let case = "[[case]]\nname = 'a'\nevents.web = ''\n";
    for (cases, told, line) in [
        (String::new(), "the file has no case", 1),
        ("config = 'other.toml'\n".into(), "there is no configuration", 1),
        ("case = 1".into(), "wrong type", 1),
        (format!("{case}sesions = []"), "did you mean `sessions`?", 4),
        (format!("{case}[[case.sessions]]\nuser = 'a'\nevent = 1"), "did you mean `events`?", 6),
        (format!("{case}sessions = [{{ events = 'one' }}]"), "write a number", 4),
        (format!("{case}state.shoper = []"), "did you mean `shopper`?", 4),
        (format!("{case}dead_letters = {{ bad_json = 1 }}"), "did you mean `no_json`?", 4),
        (format!("{case}now = 'soon'\nsessions = []"), "`now` is no time", 4),
        (format!("{case}actions = []"), "a replay has no `actions`", 4),
        (case.into(), "a case that expects nothing", 1),
        (format!("{case}sessions = []\n{case}sessions = []"), "another case `a`", 5),
        ("[[case]]\nname = 'a'\nevents = ''\nsessions = []".into(), "write events.web = …", 3),
        ("[[case]]\nname = 'a'\nevents.wep = ''\nsessions = []".into(), "did you mean `web`?", 3),
        ("[[case]]\nname = 'a'\nevents.web = ['']\nsessions = []".into(), "write its lines as one text", 3),
        ("[[case]]\nname = 'a'\nsessions = []".into(), "a case without events", 1),
        ("[[case]]\nevents.web = ''\nsessions = []".into(), "a [[case]] without `name`", 1),
        (format!("{case}files.web = 'a'\nsessions = []"), "has both events and files", 1),
    ] {
        let (code, stdout, said) = test(&cases, &[]);
        assert!(code == 2 && stdout.is_empty(), "{cases}: {code} {stdout}");
        assert!(said.contains(told) && said.contains(&format!("t.toml:{line}:")), "{told}, line {line}: {said}");
    }
    let folder = Folder::new();
    let run = folder.headwater(["test", "gone.toml"]);
    assert!(run.code() == 2 && run.said().contains("cannot read the test file gone.toml"), "{}", run.said());
}
