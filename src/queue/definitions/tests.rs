use super::*;
use crate::config::{self, Overrides};
use headwater_decode::spec::SequenceSpec;

fn plan(classes: &str) -> Plan {
    let text = format!("[fields]\nbutton = ['a.b', 'c']\n[sessions]\nsum = {{ x = 'price' }}\n{classes}");
    let overrides = Overrides { without_files: true, ..Overrides::default() };
    config::parse("test.toml", &text, std::path::Path::new("/"), &overrides).unwrap()
}

/// Builds that knew one model wrote `true` for it. They refuse what another one wrote.
#[test]
fn the_model_of_learned_classes_is_written() {
    let mut definitions = Definitions::default();
    let mut written = |learn| {
        definitions.learn = learn;
        let json = serde_json::to_string(&definitions).unwrap();
        assert_eq!(serde_json::from_str::<Definitions>(&json).unwrap(), definitions);
        json
    };
    assert_eq!(written(None), r#"{"tests":[],"rules":[]}"#);
    assert_eq!(written(Some(1)), r#"{"tests":[],"rules":[],"learn":true}"#);
    assert_eq!(written(Some(2)), r#"{"tests":[],"rules":[],"learn":2}"#);
    let learns = Definitions::default().followed_by(&plan("[classes]\nlearn = true"), None);
    assert_eq!(learns.learn, Some(MODEL));
}

#[test]
fn tests_keep_their_places_and_rules_follow() {
    let buy = "[[class]]\nname = 'buy'\nwhen = { button = 'one click' }";
    let look = "[[class]]\nname = 'look'\nwhen = { page = { prefix = '/item' } }";
    let first = Definitions::default().followed_by(&plan(buy), None);
    let wanted = |test| [Condition { test, answer: true }].into_iter().collect::<Conditions>();
    assert_eq!((first.tests.len(), &first.rules[0].when), (1, &wanted(0)));
    assert_eq!(first.followed_by(&plan(buy), None), first, "nothing has changed");
    // The order of the file has changed, and one is new.
    let second = first.followed_by(&plan(&format!("{look}\n{buy}")), None);
    assert_eq!(second.tests[..1], first.tests);
    let by_name = |name: &str| &second.rules.iter().find(|rule| rule.name == name).unwrap().when;
    assert_eq!((by_name("look"), by_name("buy")), (&wanted(1), &wanted(0)));
    // A test that no rule makes any more keeps its place.
    let third = second.followed_by(&plan(look), None);
    assert_eq!((&third.tests, third.rules.len()), (&second.tests, 1));
    let effective = third.plan(&plan(look), &[]).unwrap();
    assert_eq!((effective.tests.len(), effective.rules), (2, third.rules));
    assert_eq!(effective.fields[effective.tests[0].field].name, "button");
    assert_eq!(effective.fields[effective.sessions.sums[0].1].name, "price");
}

/// A sequence keeps its beginning until something of it changes, and its place while it may have rows.
#[test]
fn sequences_keep_their_beginnings_and_have_a_place_while_they_may_have_rows() {
    let a = "[[sequence]]\nname = 'a'\nsteps = ['x', 'y?', 'z']\nwithin = '1h'\nper = 'package'\nby = ['button']\n\
             except = [{ class = 'w', between = ['x', 'z'] }]\n";
    let b = "[[sequence]]\nname = 'b'\nsteps = ['x']\nwithin = '1h'\n";
    let changed = a.replace("1h", "2h");
    let first = Definitions::default().followed_by(&plan(a), None);
    assert_eq!(first.followed_by(&plan(a), Some(7)), first, "nothing has changed");
    let second = first.followed_by(&plan(&format!("{b}{a}")), Some(7));
    let since = |of: &Definitions| of.sequences.iter().map(|named| named.since_ms).collect::<Vec<_>>();
    assert_eq!((since(&first), since(&second)), (vec![None], vec![Some(7), None]));
    let third = second.followed_by(&plan(&changed), Some(8));
    assert_eq!(since(&third), [Some(8)]);
    let all = [(1, first), (4, second), (9, third)];
    // Of each, in the places of all: name, length and whether steps come.
    let of = |control| {
        let plans = plans(&all, &plan(&changed), control).unwrap();
        let of = |plan: &Plan| {
            let of = plan.sequences.iter();
            of.map(|one| (one.name.clone(), one.definition.within(), one.begins.clone().unwrap().counts)).collect()
        };
        plans.iter().map(|(_, plan)| of(plan)).collect::<Vec<Vec<_>>>()
    };
    let hour = 3_600_000_000;
    let row = |a: bool, b: bool, again: bool| {
        vec![("a".to_owned(), hour, a), ("b".to_owned(), hour, b), ("a".to_owned(), 2 * hour, again)]
    };
    let whole = [row(true, false, false), row(true, true, false), row(false, false, true)];
    assert_eq!(of(0), whole);
    assert_eq!(of(4), whole, "the record is not taken yet");
    assert_eq!(of(10)[2], [("a".to_owned(), 2 * hour, true)], "nothing is left of the others");
    let plans = plans(&all, &plan(&changed), 0).unwrap();
    let (_, last) = plans.last().unwrap();
    let (old, new) = (&last.sequences[0], &last.sequences[2]);
    assert_ne!(old.begins.as_ref().unwrap().id, new.begins.as_ref().unwrap().id);
    assert_eq!((&old.spec, &new.by), (&new.spec, &vec!["button".to_owned()]));
    assert_eq!(last.spec().sequences[0], SequenceSpec::default());
    assert_eq!(last.spec().sequences[2], new.spec);
    assert_eq!(last.fields[new.spec.per.unwrap()].candidates, [Path::parse("package").unwrap()]);
    assert_eq!(new.definition, plan(&changed).sequences[0].definition);
}

/// A test of an earlier release keeps its place and its answers, in any form of the rule.
#[test]
fn a_test_through_floating_point_answers_its_exact_form() {
    let test = |field: &str, predicate| NamedTest { field: field.into(), candidates: vec![field.into()], predicate };
    let range = |min, max| Predicate::Range { min, max };
    let former = Definitions {
        tests: vec![test("price", range(Some(0.01), None)), test("n", range(Some(2.5), Some(2.5)))],
        rules: Vec::new(),
        learn: None,
        states: Vec::new(),
        sequences: Vec::new(),
        counts: Vec::new(),
        identity: None,
        actions: Vec::new(),
        labels: Default::default(),
    };
    let table = "[[class]]\nname = 'x'\nwhen = { price = { min = 0.01 }, n = 2.5 }";
    let text = "[[class]]\nname = 'x'\nwhen = 'n = 2.5 and price >= 0.01'";
    for classes in [table, text] {
        let now = former.followed_by(&plan(classes), None);
        assert_eq!(now.tests, former.tests, "{classes}");
        assert!(now.are_former());
    }
    let more = former.followed_by(&plan("[[class]]\nname = 'x'\nwhen = 'price > 0.01 or n = 2.5'"), None);
    assert_eq!((more.tests.len(), more.are_former()), (3, false));
}
