use super::*;
use crate::config::{self, Overrides};
use proptest::prelude::*;

fn plan(rules: &str) -> Plan {
    let overrides = Overrides { without_files: true, ..Overrides::default() };
    let text = format!("[fields]\nitem = ['items[].id']\n{rules}");
    config::parse("test.toml", &text, std::path::Path::new("/"), &overrides)
        .unwrap_or_else(|error| panic!("{error:?} {rules}"))
}

/// The rules `r1`, `r2` and so on, each with its condition and priority.
fn rules(of: &[(&str, i64)]) -> String {
    let each = of.iter().enumerate();
    each.map(|(at, (when, priority))| {
        format!("[[class]]\nname = \"r{}\"\npriority = {priority}\nwhen = \"\"\"{when}\"\"\"\n", at + 1)
    })
    .collect()
}

fn faults(of: &[(&str, i64)]) -> Vec<String> {
    lint(&plan(&rules(of))).iter().map(Lint::message).collect()
}

#[test]
fn rules_that_are_fine_are_not_reported() {
    let fine: &[&[(&str, i64)]] = &[
        &[("a = 'x'", 0), ("a = 'y'", 0), ("a is not null", 0), ("b = 1 or a is null", 0)],
        &[("a = 'x' and b = 'y'", 0), ("a = 'x'", 0)],
        &[("a = 'x'", 0), ("a = 'x' and b = 'y'", 1)],
        &[("a > 1", 0), ("a >= 1", 0), ("a >= 0", 0)],
        &[("a between 1 and 3 and a between 3 and 5", 0)],
        // Another value of an array may be the other one.
        &[("item = 'x' and item = 'y'", 0)],
        &[("item = 'x'", 0), ("item = 'y' and item = 'z'", 0)],
        &[("a starts_with '/p' and a = '/p/1'", 0)],
        &[("not (a = 'x')", 0), ("a is null", 0)],
        &[("a matches 'x'", 0), ("a matches 'xy'", 0)],
    ];
    for of in fine {
        assert_eq!(faults(of), Vec::<String>::new(), "{of:?}");
    }
}

#[test]
fn faults_are_named() {
    let never = "rule 1 (`r1`) never holds: its conditions exclude each other";
    for when in [
        "a = 'x' and a = 'y'",
        "a = 'x' and a is null",
        "a > 3 and a < 3",
        "a between 1 and 2 and a = 5",
        "a starts_with '/p' and a starts_with '/q'",
        "a in ('x', 'y') and not (a in ('x', 'y', 'z'))",
        "a = 'x' and (a = 'y' or a is null)",
        "a = 'x' and not (a = 'x')",
    ] {
        assert_eq!(faults(&[(when, 0)]), [never], "{when}");
    }
    let one = |of: &[(&str, i64)]| {
        let faults = faults(of);
        assert_eq!(faults.len(), 1, "{of:?}: {faults:?}");
        faults[0].clone()
    };
    let contradicts = "rule 2 (`r2`) contradicts rule 1 (`r1`): both ask the same, and rule 1 comes first";
    assert_eq!(one(&[("a = 'x' and b = 1", 0), ("b = 1 and a = 'x'", 0)]), contradicts);
    let preceded = "rule 2 (`r2`) gives no event its class: wherever it holds, rule 1 (`r1`) holds too and comes first";
    for (first, second) in [
        ("a is not null", "a = 'x'"),
        ("a in ('x', 'y')", "a = 'x' and b = 1"),
        ("a >= 1", "a > 1"),
        ("a >= 1", "a = 5"),
        ("a starts_with '/p'", "a = '/p/1' or a = '/p/2'"),
        ("a is null or b = 1", "a is null"),
    ] {
        assert_eq!(one(&[(first, 0), (second, 0)]), preceded, "{first} / {second}");
    }
    // By priority, whatever the order of the file.
    assert!(one(&[("a = 'x'", 0), ("a is not null", 9)]).starts_with("rule 1 (`r1`) gives no event"));
    // Two others together.
    let both = one(&[("a = 'x'", 0), ("a = 'y'", 0), ("a = 'x' or a = 'y' and b = 1", 0)]);
    assert!(
        both.starts_with("rule 3 (`r3`) gives") && both.contains("rule 1 (`r1`)") && both.contains("rule 2 (`r2`)"),
        "{both}"
    );
    let same = "[[class]]\nname = 'p'\nwhen = \"a = 'x'\"\n".repeat(2);
    let said: Vec<String> = lint(&plan(&same)).iter().map(Lint::message).collect();
    assert_eq!(said, ["rule 2 (`p`) asks the same as rule 1, which gives this class too"]);
}

proptest! {
    /// What is reported is so for every event: of two fields, each absent or one of some values.
    #[test]
    fn nothing_is_reported_that_is_not_so(picked in prop::collection::vec((0usize..14, 0usize..14, 0usize..3), 1..5)) {
        const ATOMS: [&str; 14] = [
            "a = 'x'", "a in ('x', 'y')", "a is null", "a is not null", "a starts_with 'x'", "a starts_with 'xz'", "not (a = 'x')",
            "b = 1", "b > 1", "b >= 1", "b between 0 and 2", "b < 1", "not (b > 1)", "b = '1'",
        ];
        const A: [Option<&str>; 5] = [None, Some("x"), Some("y"), Some("xz"), Some("7")];
        const B: [Option<&str>; 7] = [None, Some("0"), Some("1"), Some("1.5"), Some("2"), Some("3"), Some("x")];
        let texts: Vec<String> = picked.iter().map(|(one, other, word)| match word {
            0 => ATOMS[*one].to_owned(),
            1 => format!("{} and {}", ATOMS[*one], ATOMS[*other]),
            _ => format!("{} or {}", ATOMS[*one], ATOMS[*other]),
        }).collect();
        let of: Vec<(&str, i64)> = texts.iter().map(|text| (text.as_str(), 0)).collect();
        let plan = plan(&rules(&of));
        let lints = lint(&plan);
        for a in A {
            for b in B {
                let value = |field: usize| if plan.fields[field].name == "a" { a } else { b };
                let answer = |test: u32| {
                    let Test { field, predicate } = &plan.tests[test as usize];
                    Some(value(*field).is_some_and(|value| predicate.holds(value)))
                };
                let holds = |rule: u32| plan.rules[rule as usize - 1].when.hold_by(&answer);
                for Lint { rule, fault, .. } in &lints {
                    match fault {
                        Fault::NeverHolds => prop_assert!(!holds(*rule), "{texts:?} {rule} {a:?} {b:?}"),
                        Fault::Equals(other, _) => prop_assert_eq!(holds(*rule), holds(*other), "{:?} {} {:?} {:?}", texts, rule, a, b),
                        Fault::Preceded(others) => {
                            prop_assert!(!holds(*rule) || others.iter().any(|(other, _)| holds(*other)), "{texts:?} {rule} {a:?} {b:?}");
                        }
                    }
                }
            }
        }
    }
}
