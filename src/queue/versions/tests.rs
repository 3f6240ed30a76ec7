use super::*;
use crate::config::{self, Overrides};

fn plan(rules: &str) -> Plan {
    let text = format!("[[source]]\nname = 'web'\nkind = 'http'\n{rules}");
    let overrides = Overrides { without_files: true, live: true, ..Overrides::default() };
    config::parse("test.toml", &text, std::path::Path::new("/"), &overrides).unwrap()
}

fn rule(name: &str, when: &str) -> String {
    format!("[[class]]\nname = '{name}'\nwhen = \"{when}\"\n")
}

/// A data folder, start by start.
#[derive(Default)]
struct DataFolder {
    control: Vec<Control>,
}

impl DataFolder {
    fn versions(&self) -> Versions {
        let mut versions = Versions::default();
        for (offset, record) in (0..).zip(&self.control) {
            versions.record(offset, 7, &Control::decode(&record.encode()).unwrap());
        }
        versions
    }

    fn definitions(&self) -> Definitions {
        let mut last = Definitions::default();
        for record in &self.control {
            match record {
                Control::Definitions { definitions } => last = definitions.clone(),
                Control::Rules { applied } => last.rules.clone_from(&applied.rules),
                _ => {}
            }
        }
        last
    }

    /// Starts with rules in the configuration. Returns the classes of the rules that hold.
    fn start(&mut self, rules: &str) -> Vec<String> {
        let (known, plan) = (self.definitions(), plan(rules));
        let (wanted, own) = at_start(&self.versions(), Some(&known), known.followed_by(&plan, None), &plan, 9);
        if known != wanted || self.control.is_empty() {
            self.control.push(Control::Definitions { definitions: wanted });
        }
        self.control.extend(own.map(|applied| Control::Rules { applied }));
        self.definitions().rules.iter().map(|rule| rule.name.clone()).collect()
    }

    /// Applies rules to a run of a configuration.
    fn apply(&mut self, configured: &str, rules: &str) -> u64 {
        let version = self.versions().last().unwrap().number + 1;
        let applied = Applied {
            version,
            at_ms: 8,
            by: "ann".into(),
            origin: Origin::File("new.toml".into()),
            configured: crate::queue::definitions::rules_fingerprint(&plan(configured)),
            rules: self.definitions().rules_of(&plan(rules)).unwrap(),
        };
        self.control.push(Control::Rules { applied });
        version
    }
}

/// An operator edits the sinks of a configuration weeks after rules were applied, and starts again: the applied rules must not
/// be lost. An operator edits the rules: those must hold, as they always have.
#[test]
fn applied_rules_hold_until_those_of_the_configuration_change() {
    let (a, b) = (rule("a", "x = '1'"), rule("b", "x = '1' or y = '2'"));
    let both = format!("{a}{}", rule("b", "y = '2'"));
    let mut folder = DataFolder::default();
    assert_eq!(folder.start(&both), ["a", "b"]);
    assert_eq!(folder.apply(&both, &b), 2);
    assert_eq!(folder.start(&both), ["b"]);
    // A setting that asks for another test is no change of the rules.
    let state = "[[state]]\nname = 's'\nper = 'user'\ncolumns.n = { count = true, when = 'z > 1' }\n";
    assert_eq!(folder.start(&format!("{both}{state}")), ["b"]);
    assert_eq!(folder.versions().last().unwrap().number, 2);
    // The configuration takes them over: from now on they are its own.
    assert_eq!(folder.start(&b), ["b"]);
    let last = folder.versions().last().unwrap().clone();
    assert_eq!((last.number, last.is_applied()), (3, false));
    assert_eq!(folder.start(&both), ["a", "b"]);
    // Others than before are applied, and the configuration changes.
    assert_eq!(folder.apply(&both, &b), 5);
    assert_eq!(folder.start(&a), ["a"]);
    let versions = folder.versions();
    let origins: Vec<_> = versions.all().iter().map(|version| (version.number, version.is_applied())).collect();
    assert_eq!(origins, [(1, false), (2, true), (3, false), (4, false), (5, true), (6, false)]);
}

#[test]
fn the_fingerprint_of_rules_knows_everything_that_a_rule_says_and_no_numbers_of_tests() {
    let (a, b) = (rule("a", "x = '1'"), rule("b", "y = '2'"));
    let of = |rules: &str| crate::queue::definitions::rules_fingerprint(&plan(rules));
    let original = of(&format!("{a}{b}"));
    let state = "[[state]]\nname = 's'\nper = 'user'\ncolumns.n = { count = true, when = 'y > 1' }\n";
    assert_eq!(of(&format!("{state}{a}{b}")), original);
    for other in [
        format!("{b}{a}"),
        a.clone(),
        format!("{a}{b}priority = 1\n"),
        format!("{a}{b}sessions = false\n"),
        format!("{a}{}", rule("c", "y = '2'")),
        format!("{a}{}", rule("b", "y = '3'")),
        format!("{a}{}", rule("b", "y is null")),
        format!("[fields]\ny = 'q'\n{a}{b}"),
    ] {
        assert_ne!(of(&other), original, "{other}");
    }
}

/// The parser joins "x = '1' or x = '2'" to a list, which no rule has asked. It follows from the tests that there are. A
/// configuration that takes such rules over must not make the list a new test, of which earlier events know nothing.
#[test]
fn a_list_of_values_follows_from_the_tests_of_each() {
    let each =
        format!("{}{}{}", rule("a", "x = '1'"), rule("b", "x = '2'"), rule("c", "y = 1 or y is null or x is null"));
    let either = format!("{}{}", rule("a", "x = '1' or x = '2'"), rule("n", "not (x in ('1', '2')) and y = 1"));
    let mut folder = DataFolder::default();
    folder.start(&each);
    assert_eq!(folder.apply(&each, &either), 2);
    let rules = folder.definitions().rules;
    let holds = |rule: usize, answers: &[bool]| rules[rule].when.hold(answers);
    let tests = folder.definitions().tests.len();
    assert!(holds(0, &[true, false]) && holds(0, &[false, true]) && !holds(0, &[false, false]));
    assert_eq!(folder.start(&either), ["a", "n"]);
    assert_eq!(folder.start(&either), ["a", "n"]);
    assert_eq!(folder.definitions().rules, rules);
    // Where the list was asked from the beginning, nothing changes.
    assert!(folder.definitions().tests.len() >= tests);
    let mut other = DataFolder::default();
    other.start(&either);
    let before = other.definitions().rules;
    other.start(&format!("{either}{}", rule("d", "x = '2'")));
    assert_eq!(other.definitions().rules[..2], before[..2]);
}

#[test]
fn a_test_counts_as_asked_although_no_rule_asks_it_any_more() {
    let mut folder = DataFolder::default();
    folder.start(&format!("{}{}", rule("a", "x = '1'"), rule("b", "y = '2'")));
    folder.start(&rule("a", "x = '1'"));
    assert_eq!(folder.apply(&rule("a", "x = '1'"), &rule("b", "not (y = '2')").replace("not (y = '2')", "y = '2'")), 3);
    let missing = folder.definitions().rules_of(&plan(&format!(
        "{}{}{}",
        rule("c", "y = '2' and z = 'it'"),
        rule("d", "z = 'it' and z = 'it'"),
        rule("e", "q matches 'x+' nocase").replace(" nocase", "")
    )));
    let missing = missing.unwrap_err();
    let shown: Vec<_> = missing.iter().map(|missing| (missing.test.as_str(), missing.rules.join(", "))).collect();
    assert_eq!(shown, [("z = 'it'", "rule 1 `c`, rule 2 `d`".to_owned()), ("q matches 'x+'", "rule 3 `e`".to_owned())]);
}
