//! `headwater rules propose` prints rules that a configuration takes, and they give the classes that their remarks say.

use crate::headwater::Folder;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The class of each event is at `meta.kind`, which no built-in name is. Sensors write into the same log without it.
fn events() -> (String, BTreeMap<String, u64>) {
    let (mut lines, mut expected) = (String::new(), BTreeMap::<String, u64>::new());
    for n in 0..120u64 {
        let ts = 1_700_000_000 + n;
        let (class, mut event) = match n % 6 {
            0 | 1 => ("click", json!({"button": "buy", "page": format!("/p/{n}")})),
            2 => ("search", json!({"query": format!("q{n}"), "results": n})),
            // An optional leaf.
            3 => ("search", json!({"query": format!("q{n}")})),
            4 => ("login", json!({"method": "sso"})),
            _ => ("", json!({"celsius": n, "humidity": 40, "rack": {"row": n % 3}})),
        };
        event["user"] = format!("u{}", n % 7).into();
        event["ts"] = ts.into();
        match class {
            "" => *expected.entry("celsius".into()).or_default() += 1,
            class => {
                event["meta"] = json!({"kind": class, "trace": format!("t{n}"), "flag": n % 2 == 0});
                *expected.entry(class.into()).or_default() += 1;
            }
        }
        lines += &format!("{event}\n");
    }
    (lines, expected)
}

const CONFIG: &str = "[[source]]\nname = 'web'\npaths = 'web.jsonl'\n[events]\nuser = 'user'\ntime = 'ts'\n";

#[test]
fn what_is_proposed_gives_the_classes_that_it_says() {
    let folder = Folder::new();
    let (lines, expected) = events();
    folder.write("web.jsonl", lines);
    folder.write("web.toml", CONFIG);
    let run = folder.headwater(["rules", "propose", "web.toml"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let proposed = run.stdout();
    assert!(proposed.contains("# The value of meta.kind tells "), "{proposed}");
    assert!(proposed.contains("type = \"meta.kind\""), "{proposed}");
    assert!(proposed.contains("# 40 events, 33.3%, of 1 shape\n# {"), "{proposed}");
    assert!(proposed.contains("name = \"click\"\nwhen = { \"meta.kind\" = \"click\" }"), "{proposed}");
    // Said without a configuration too: the names of users and times are built in.
    let run = folder.headwater(["rules", "propose", "web.jsonl"]);
    assert!(run.code() == 0 && run.stdout().contains("# The value of meta.kind tells "), "{}", run.stdout());

    folder.write("proposed.toml", format!("{CONFIG}{proposed}"));
    let found = folder.replay("proposed.toml", [""; 0]);
    let classes = found.numbers("classes");
    assert_eq!(classes, expected, "{proposed}");
    assert!(found.summary["unmatched"] == json!([]), "{}", found.summary);
    assert!(!found.summary["notices"].to_string().contains("rule_fault"), "{}", found.summary);

    // A dry run says the same of the rules alone.
    folder.write("rules.toml", proposed);
    let run = folder.headwater(["rules", "diff", "web.toml", "rules.toml", "--json"]);
    let difference: Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!(difference["changed_events"], 120, "{difference}");
}

/// What has a class needs no rule: the type is as good as any other path.
#[test]
fn events_with_classes_need_no_rule() {
    let folder = Folder::new();
    let (lines, _) = events();
    let typed =
        lines.lines().filter(|line| line.contains("\"kind\"")).map(|line| format!("{line}\n")).collect::<String>();
    folder.write("web.jsonl", typed);
    folder.write("web.toml", format!("{CONFIG}type = 'meta.kind'\n"));
    let run = folder.headwater(["rules", "propose", "web.toml"]);
    assert!(run.code() == 0 && run.stdout().contains("nothing is proposed"), "{}{}", run.stdout(), run.stderr());
    assert!(!run.stdout().contains("[[class]]"), "{}", run.stdout());
}
