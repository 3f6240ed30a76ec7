use super::*;
use crate::config::{self, Overrides};

fn plan(rules: &str) -> Plan {
    let text = format!("[[source]]\nname = 'web'\nkind = 'http'\n{rules}");
    let overrides = Overrides { without_files: true, live: true, ..Overrides::default() };
    config::parse("test.toml", &text, std::path::Path::new("/"), &overrides).unwrap()
}

fn rules(names: &[&str]) -> String {
    names.iter().map(|name| format!("[[class]]\nname = '{name}'\nwhen = {{ x = '{name}' }}\n")).collect()
}

fn book(names: &[&str]) -> Arc<Rulebook> {
    let plan = plan(&rules(names));
    let definitions = Definitions::default().followed_by(&plan, None);
    let bound = Arc::new(definitions.plan(&plan, &[]).unwrap());
    let mut versions = Versions::default();
    versions.record(3, 5, &Control::Definitions { definitions: definitions.clone() });
    Rulebook::new(&plan, &bound, &definitions, versions)
}

fn asked(book: &Arc<Rulebook>, names: &[&str], expected: Option<u64>) -> Result<Asked, Refused> {
    let rules = book.bind(&plan(&rules(names))).unwrap();
    book.change(Change { rules, by: "ann".into(), origin: Origin::File("f".into()), expected, now_ms: 9 })
}

fn applied(book: &Arc<Rulebook>, names: &[&str], offset: u64) -> u64 {
    let Ok(Asked::Step(step)) = asked(book, names, None) else { panic!("{names:?} are others") };
    let number = step.number();
    step.durable(offset, 10);
    number
}

#[test]
fn one_change_is_on_its_way_at_a_time_and_one_that_is_given_up_has_not_happened() {
    let book = book(&["a", "b"]);
    let Ok(Asked::Step(step)) = asked(&book, &["a"], Some(1)) else { panic!("others") };
    assert_eq!(asked(&book, &["b"], None).unwrap_err(), Refused::Busy);
    drop(step);
    assert_eq!(book.report().versions.len(), 1);
    assert_eq!(applied(&book, &["b"], 4), 2);
    assert!(matches!(asked(&book, &["b"], None), Ok(Asked::Already(2))));
    let refused = asked(&book, &["a"], Some(1)).unwrap_err();
    assert!(matches!(&refused, Refused::Expected { expected: 1, is: 2, how } if how.contains("by ann")), "{refused}");
    assert!(matches!(asked(&book, &["a"], Some(2)), Ok(Asked::Step(_))));
}

/// Two changes may be bound to one tick. The last one is what the tick has changed.
#[test]
fn a_tick_says_what_its_versions_have_changed_and_says_it_once() {
    let book = book(&["a", "b"]);
    // The version of the configuration is noted in memory alone: it has no record of its own.
    assert_eq!(book.took(&(0..4), 0, 0, 0), []);
    assert_eq!((applied(&book, &["b"], 4), applied(&book, &["a"], 5)), (2, 3));
    assert_eq!(book.took(&(4..4), 6, 0, 0), []);
    let taken = |version, sessions, events| Taken { version, tick: 7, sessions, events };
    assert_eq!(book.took(&(4..6), 7, 20, 30), [taken(2, 0, 0), taken(3, 20, 30)]);
    assert_eq!(book.took(&(4..6), 7, 20, 30), []);
    assert_eq!(*book.taken().borrow(), 3);
    let report = book.report();
    assert_eq!(report.versions[2].effect(), "20 sessions and 30 events changed, at tick 7");
}

#[test]
fn a_version_is_shown_as_a_file_that_gives_the_same_rules() {
    let written = r#"
[fields]
"a b" = ["q.price", 'x."y z"']
price = "it's"
"not" = "n"
'say "it"' = "it"
[[class]]
name = "quo\"ted \\ '"
priority = -3
sessions = false
when = '''"a b" >= 0.5 and "not" = 1 and "say \"it\"" = 2 and x."y z" = 3 and not (page like '/it''s/%' or page is null)'''
[[class]]
name = "both"
when = { "user.id" = { in = ["1", "b"] }, price = { min = 1, max = 2.5 }, "items[].n" = { matches = "^a\\b" } }
[[class]]
name = "texts"
when = 'agent contains ("bot", "x\\y") nocase or agent ends_with "é" or day < "2026" or n in (1, 2.5) or s = true'
"#;
    let plan = plan(written);
    let definitions = Definitions::default().followed_by(&plan, None);
    let bound = definitions.plan(&plan, &[]).unwrap();
    let text = shown::file(&bound, &definitions.rules);
    let again = config::parse_rules("shown", &text, &self::plan_of_nothing()).unwrap();
    assert_eq!(
        definitions.rules_of(&again.plan).map_err(|missing| format!("{text}{missing:?}")),
        Ok(definitions.rules)
    );
}

fn plan_of_nothing() -> Plan {
    plan("")
}
