//! `headwater rules diff` says what a replay under other rules would give otherwise, and `plan` and `replay` say which rules
//! cannot give a class.

use crate::headwater::{Folder, Replay};
use headwater_log::vfs::model::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const HEAD: &str = r#"
    [[source]]
    name = "web"
    paths = "web.jsonl"

    [events]
    user = "user"
    time = "ts"
    type = "type"
    id = "id"
    dedupe = "7d"

    [sessions]
    gap = "30m"
"#;

/// A rule as a random choice of what it asks.
fn rule(rng: &mut Rng) -> String {
    let name = ["buy", "look", "x"][rng.below(3) as usize];
    let when = [
        "price > 3",
        "price is not null and type = 'x'",
        "page starts_with '/p'",
        "details.page = '/q' or count = 1",
        "type in ('look', 'y')",
        "not (page = '/p/1')",
    ];
    let (when, priority) = (when[rng.below(when.len() as u64) as usize], rng.below(3));
    format!("[[class]]\nname = \"{name}\"\npriority = {priority}\nwhen = \"{when}\"\n")
}

fn rules(rng: &mut Rng) -> String {
    let fields = ["", "[fields]\npage = ['page', 'details.page']\n"][rng.below(2) as usize];
    let rules: String = (0..rng.below(4)).map(|_| rule(rng)).collect();
    format!("[classes]\nlearn = {}\n{fields}{rules}", rng.below(2) == 0)
}

fn events(rng: &mut Rng) -> String {
    let mut lines = String::new();
    for n in 0..300 {
        let mut event =
            json!({ "user": format!("u{}", rng.below(9)), "ts": 1_700_000_000 + rng.below(40_000), "id": n });
        let kind = ["x", "look", "y", ""][rng.below(4) as usize];
        if !kind.is_empty() {
            event["type"] = kind.into();
        }
        let page = ["/p/1", "/p/2", "/q"][rng.below(3) as usize];
        match rng.below(5) {
            0 => event["price"] = rng.below(6).into(),
            1 => event["page"] = page.into(),
            2 => event["details"] = json!({ "page": page, "count": rng.below(3) }),
            3 => (event["page"], event["count"]) = (page.into(), rng.below(3).into()),
            _ => event["celsius"] = 20.into(),
        }
        lines += &format!("{event}\n");
        // A repeat, which counts once.
        if rng.below(10) == 0 {
            lines += &format!("{event}\n");
        }
    }
    lines
}

/// The classes of each session by its id, and the first and the last one.
fn sessions(replay: &Replay) -> BTreeMap<String, [String; 3]> {
    let row = |row: &BTreeMap<String, String>| {
        (row["session_id"].clone(), ["classes", "first_class", "last_class"].map(|column| row[column].clone()))
    };
    replay.sessions.iter().map(row).collect()
}

/// The class of each event by its place, with `--events`.
fn classes(folder: &Folder) -> BTreeMap<u64, String> {
    let rows = crate::headwater::csv(folder.read("out/session_events.csv").as_bytes());
    rows.iter().map(|row| (row["offset"].parse().unwrap(), row["class"].clone())).collect()
}

/// The oracle replays twice, and compares the rows.
#[test]
fn a_dry_run_says_what_two_replays_differ_in() {
    let mut changed = 0;
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let folder = Folder::new();
        folder.write("web.jsonl", events(&mut rng));
        let (before, after) = (rules(&mut rng), rules(&mut rng));
        folder.write("before.toml", format!("{HEAD}{before}"));
        folder.write("after.toml", format!("{HEAD}{after}"));
        // The rules alone, in half of the cases: the fields of before are known to them.
        let has_fields = after.contains("[fields]") || !before.contains("[fields]");
        let rules = if seed % 2 == 0 && has_fields { "rules.toml" } else { "after.toml" };
        folder.write("rules.toml", after);
        if !has_fields {
            continue;
        }

        let run = folder.headwater(["rules", "diff", "before.toml", rules, "--json", "--workers", "2"]);
        assert_eq!(run.code(), 0, "{}", run.stderr());
        let found: Value = serde_json::from_str(&run.stdout()).unwrap();

        let replay = |config: &str| {
            let replay = folder.replay(config, ["--events"]);
            let classes = classes(&folder);
            (replay, classes)
        };
        let ((one, of_one), (other, of_other)) = (replay("before.toml"), replay("after.toml"));
        let moved: Vec<(&String, &String)> =
            of_one.iter().map(|(at, class)| (class, &of_other[at])).filter(|(one, other)| one != other).collect();
        let context = format!("seed {seed}: {found}");
        assert_eq!(found["events"], one.number("events"), "{context}");
        assert_eq!(found["changed_events"], moved.len(), "{context}");
        let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
        moved.iter().for_each(|(one, other)| *expected.entry(((*one).clone(), (*other).clone())).or_default() += 1);
        let mut said: BTreeMap<(String, String), u64> = BTreeMap::new();
        for row in found["classes"].as_array().unwrap() {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            *said.entry((text("before"), text("after"))).or_default() += row["events"].as_u64().unwrap();
            let at = row["example"]["offset"].as_u64().unwrap();
            assert_eq!((&of_one[&at], &of_other[&at]), (&text("before"), &text("after")), "{context}");
        }
        assert_eq!(said, expected, "{context}");
        let (rows, others) = (sessions(&one), sessions(&other));
        let ids: BTreeSet<&String> = rows.keys().filter(|id| rows.get(*id) != others.get(*id)).collect();
        assert_eq!(
            (&found["sessions"], &found["changed_sessions"]),
            (&json!(rows.len()), &json!(ids.len())),
            "{context}"
        );
        for row in found["session_rows"].as_array().unwrap() {
            assert!(ids.contains(&row["session_id"].as_str().unwrap().to_owned()), "{context}");
        }
        let (one, other) = (one.numbers("classes"), other.numbers("classes"));
        for class in one.keys().chain(other.keys()) {
            let [before, after] = [&one, &other].map(|of| of.get(class).copied().unwrap_or(0));
            let row = found["counts"].as_array().unwrap().iter().find(|row| row["class"] == **class);
            assert_eq!(
                row.map(|row| (row["before"].as_u64(), row["after"].as_u64())),
                (before != after).then_some((Some(before), Some(after))),
                "{class}: {context}"
            );
        }
        changed += moved.len();
    }
    assert!(changed > 1000, "{changed}");
}

#[test]
fn a_dry_run_is_printed_with_examples() {
    let folder = Folder::new();
    let mut lines = String::new();
    for (user, second, page) in [("ann", 1, "/cart"), ("ann", 2, "/p/1"), ("bob", 3, "/p/2")] {
        lines += &format!(
            "{{\"user\":\"{user}\",\"ts\":\"2024-05-01T10:00:0{second}Z\",\"type\":\"view\",\"page\":\"{page}\"}}\n"
        );
    }
    folder.write("web.jsonl", lines);
    folder.write("shop.toml", HEAD);
    folder.write("new.toml", "[[class]]\nname = \"product\"\nwhen = \"page starts_with '/p/'\"\n");
    let run = folder.headwater(["rules", "diff", "shop.toml", "new.toml"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let path = folder.path("web.jsonl");
    let expected = format!(
        r#"rules of new.toml in place of those of shop.toml
  events    2 of 3 events would change
  sessions  2 of 2 sessions would change
  shapes    1 of 1 shape would change

classes
  view -> product: 2 events  type -> rule 1
    {} at 72
    {{"user":"ann","ts":"2024-05-01T10:00:02Z","type":"view","page":"/p/1"}}

counts
  product  0 -> 2
  view     3 -> 1
"#,
        path.display()
    );
    assert!(run.stdout().starts_with(&expected), "{}\n{expected}", run.stdout());
    assert!(run.stdout().contains("sessions, the first of them\n"), "{}", run.stdout());
    assert!(run.stdout().contains("  ann  2024-05-01T10:00:01Z  view 2 -> product 1, view 1\n"), "{}", run.stdout());
    assert!(run.stdout().contains("rule 1 (`product`): asks what no rule asked before"), "{}", run.stdout());

    // The place of a mistake is in the file of rules.
    folder.write("new.toml", "[[class]]\nname = \"product\"\nwen = \"page = 1\"\n");
    let run = folder.headwater(["rules", "diff", "shop.toml", "new.toml"]);
    assert!(run.code() == 2 && run.said().contains("did you mean `when`?"), "{}", run.said());
    assert!(run.said().contains("new.toml:3:"), "{}", run.said());
}

const FAULTY: &str = r#"
    [[class]]
    name = "any"
    priority = 1
    when = "page is not null"

    [[class]]
    name = "product"
    when = "page starts_with '/p/'"

    [[class]]
    name = "never"
    when = "page = 'a' and page = 'b'"

    [[class]]
    name = "both"
    when = "type = 'view'"
"#;

/// A rule that an earlier one always precedes gave no event its class, and all that was said was that it matched nothing.
#[test]
fn rules_that_cannot_give_a_class_are_told() {
    let folder = Folder::new();
    let event = |page: &str| {
        format!("{{\"user\":\"ann\",\"ts\":\"2024-05-01T10:00:00Z\",\"type\":\"view\",\"page\":\"{page}\"}}\n")
    };
    folder.write("web.jsonl", event("/p/1") + &event("/q"));
    folder.write("shop.toml", format!("{HEAD}{FAULTY}"));
    folder.write("none.toml", HEAD);
    let told = [
        "rule 2 (`product`) gives no event its class: wherever it holds, rule 1 (`any`) holds too and comes first",
        "rule 3 (`never`) never holds: its conditions exclude each other",
    ];
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for arguments in [
        &["plan", "shop.toml"][..],
        &["replay", "shop.toml", "--out", "out"],
        &["rules", "diff", "none.toml", "shop.toml"],
    ] {
        let run = folder.headwater(arguments);
        assert_eq!(run.code(), 0, "{}", run.stderr());
        let said = words(run.stdout());
        for message in told {
            assert_eq!(said.matches(message).count(), 1, "{message}: {said}");
        }
    }
    // By these events alone.
    let said = words(folder.headwater(["replay", "shop.toml", "--out", "out"]).stdout());
    assert!(said.contains("rule 4: rule 1 comes first where it holds"), "{said}");
    let said = words(folder.headwater(["rules", "diff", "none.toml", "shop.toml"]).stdout());
    assert!(
        said.contains("rule 4 (`both`) gives none of these events its class: rule 1 comes first where it holds"),
        "{said}"
    );
}
