//! Classes follow from what has come, in any order.

use super::*;
use crate::identity::ShapeId;
use crate::leaves::Leaves;
use crate::rules::Condition;

fn rule(name: &str, priority: i64, order: u32, when: &[(u32, bool)]) -> Rule {
    let when = when.iter().map(|&(test, answer)| Condition { test, answer }).collect();
    Rule { name: name.into(), priority, order, when, sessions: true }
}

fn descriptor(kind: Option<&str>, answers: &[bool]) -> Descriptor {
    Descriptor { shape: ShapeId(0), kind: kind.map(Arc::from), answers: answers.to_vec() }
}

#[test]
fn higher_priority_goes_first_then_the_order_of_the_configuration() {
    let rules =
        vec![rule("late", 0, 1, &[(0, true)]), rule("early", 0, 0, &[(0, true)]), rule("high", 5, 9, &[(1, true)])];
    let definitions = Definitions::new(rules, &BTreeSet::new());
    assert_eq!(definitions.classify(&descriptor(None, &[true, true])).0, "high");
    assert_eq!(definitions.classify(&descriptor(None, &[true, false])).0, "early");
    assert_eq!(definitions.classify(&descriptor(Some("kind"), &[false, false])), ("kind", Why::Kind));
    assert_eq!(definitions.classify(&descriptor(None, &[false, false])), (UNCLASSIFIED, Why::Nothing));
}

#[test]
fn all_conditions_have_to_hold_and_an_unanswered_test_does_not() {
    let definitions = Definitions::new(vec![rule("both", 0, 0, &[(0, true), (1, false)])], &BTreeSet::new());
    assert_eq!(definitions.classify(&descriptor(None, &[true, false])).0, "both");
    assert_eq!(definitions.classify(&descriptor(None, &[true, true])).0, UNCLASSIFIED);
    assert_eq!(definitions.classify(&descriptor(None, &[true])).0, UNCLASSIFIED);
}

/// In one tick, in many, in whatever order, with rules that come and go: the classes are those that the definitions
/// give, and every change is one of what was there.
#[test]
fn classes_follow_from_what_has_come_in_any_order() {
    let names: Vec<String> = (0..MAX_KINDS + 100).map(|n| format!("type {n}")).collect();
    let signature = |n: usize| (SignatureId(n as u64), Arc::new(descriptor(Some(&names[n]), &[n.is_multiple_of(10)])));
    let (tens, all) = (Arc::new(rule("tens", 0, 0, &[(0, true)])), Arc::new(rule("all", 1, 1, &[])));
    let kinds: BTreeSet<u64> = names.iter().map(|name| kind_rank(name)).collect();
    let definitions = Definitions::new(vec![Rule::clone(&tens)], &kinds);
    let expected: BTreeMap<SignatureId, Class> =
        (0..names.len()).map(|n| (signature(n).0, Class::from(definitions.classify(&signature(n).1).0))).collect();
    // Of the hundred that are too many, a rule claims about every tenth.
    assert!((80..100).contains(&expected.values().filter(|class| &***class == OVERFLOW).count()));

    let forward: Vec<usize> = (0..names.len()).collect();
    let backward: Vec<usize> = forward.iter().rev().copied().collect();
    for (order, at_once) in [(&forward, names.len()), (&forward, 700), (&backward, 700), (&backward, names.len())] {
        let mut classifier = Classifier::new(None);
        let mut classes = BTreeMap::new();
        let mut tick = |signatures: &[usize], rules: Vec<(Arc<Rule>, isize)>| {
            let signatures = signatures.iter().chain(signatures).map(|n| signature(*n)).collect();
            for ((signature, label), diff) in
                classifier.tick(News { signatures, rules, ..News::default() }, &Dictionary::default())
            {
                *classes.entry((signature, label.class)).or_insert(0) += diff;
            }
            assert!(classes.values().all(|count| [0, 1].contains(count)));
        };
        tick(&[], vec![(all.clone(), 1)]);
        order.chunks(at_once).for_each(|some| tick(some, vec![]));
        tick(&[0], vec![(all.clone(), -1), (tens.clone(), 1)]);
        classes.retain(|_, count| *count != 0);
        // As pairs: a class that was not taken back would be hidden in a map.
        assert!(classes.into_keys().eq(expected.clone()));
    }
}

/// Whatever comes in whichever order and goes again, the labels are those of a classifier that gets what is left at once.
#[test]
fn learned_classes_follow_from_what_is_left() {
    use crate::leaves::Leaf;
    let leaf = |path: &str| Leaf { path: path.into(), kind: crate::ValueKind::String };
    let leaves = |names: &[&str]| Arc::new(Leaves::of(names.iter().map(|name| leaf(name)).collect()));
    let shapes = [
        (ShapeId(1), leaves(&["type", "user", "button"])),
        (ShapeId(2), leaves(&["type", "user", "price", "items[].price"])),
        (ShapeId(3), leaves(&["user", "button"])),
        (ShapeId(4), leaves(&["user", "price"])),
        (ShapeId(5), leaves(&["user", "temperature"])),
    ];
    let of = |shape: u64, kind: Option<&str>| {
        let descriptor = Descriptor { shape: ShapeId(shape), ..descriptor(kind, &[]) };
        (SignatureId(shape), Arc::new(descriptor))
    };
    let signatures = [of(1, Some("click")), of(2, Some("buy")), of(3, None), of(4, None), of(5, None)];
    let weight = |one: u64, weight: u64| (SignatureId(one), weight);
    let start = || (Classifier::new(Some(Learning::default())), Dictionary::default(), BTreeMap::new());
    let give = |to: &mut (Classifier, Dictionary, BTreeMap<(SignatureId, Label), isize>), mut news: News, known| {
        news.leaves = !to.1.tick(known).is_empty();
        for (row, diff) in to.0.tick(news, &to.1) {
            *to.2.entry(row).or_insert(0) += diff;
        }
        to.2.retain(|_, count| *count != 0);
    };
    let weights =
        |all: &[(u64, u64)]| News { weights: all.iter().map(|(of, to)| weight(*of, *to)).collect(), ..News::default() };
    let classes = |of: &BTreeMap<(SignatureId, Label), isize>| -> Vec<(u64, String)> {
        of.keys().map(|(signature, label)| (signature.0, label.class.to_string())).collect()
    };
    let named = |all: &[&str]| (1..).zip(all).map(|(of, class)| (of, (*class).to_owned())).collect::<Vec<_>>();

    let mut slow = start();
    give(&mut slow, News { signatures: signatures.to_vec(), learns: 1, ..weights(&[(3, 1), (1, 64)]) }, vec![]);
    give(&mut slow, weights(&[(2, 64)]), shapes.to_vec());
    assert_eq!(classes(&slow.2), named(&["click", "buy", "click", "buy", UNCLASSIFIED]));
    // Too few of one are left, then none, and then they are back.
    give(&mut slow, weights(&[(2, 8)]), vec![]);
    assert_eq!(classes(&slow.2), named(&["click", "buy", "click", UNCLASSIFIED, UNCLASSIFIED]));
    let rule = Arc::new(rule("warm", 0, 0, &[]));
    give(&mut slow, News { rules: vec![(Arc::clone(&rule), 1)], ..weights(&[(2, 0), (1, 0)]) }, vec![]);
    assert_eq!(classes(&slow.2), named(&["warm"; 5]));
    give(&mut slow, News { rules: vec![(rule, -1)], ..weights(&[(1, 48), (2, 32)]) }, vec![]);

    let mut at_once = start();
    let signatures = signatures.into_iter().rev().collect();
    give(&mut at_once, News { signatures, learns: 1, ..weights(&[(2, 32), (1, 48)]) }, shapes.to_vec());
    assert_eq!(slow.2, at_once.2);
    assert_eq!(classes(&slow.2), named(&["click", "buy", "click", "buy", UNCLASSIFIED]));
    give(&mut slow, News { learns: -1, ..News::default() }, vec![]);
    assert_eq!(classes(&slow.2)[2..], named(&["", "", UNCLASSIFIED, UNCLASSIFIED, UNCLASSIFIED])[2..]);
}

/// A label is for events that have no class: a shape may have many types, and a rule says more. Taken back, it leaves nothing.
#[test]
fn a_label_gives_a_class_where_nothing_else_does_and_goes_again() {
    let of = |id, kind: Option<&str>, answer| (SignatureId(id), Arc::new(descriptor(kind, &[answer])));
    let other = Descriptor { shape: ShapeId(9), ..descriptor(None, &[false]) };
    let signatures =
        vec![of(1, None, true), of(2, Some("view"), false), of(3, None, false), (SignatureId(4), Arc::new(other))];
    let rules = vec![(Arc::new(rule("ruled", 0, 0, &[(0, true)])), 1)];
    let mut classifier = Classifier::new(None);
    let mut tick = |news: News, all: &mut BTreeMap<(SignatureId, Label), isize>| {
        for (row, diff) in classifier.tick(news, &Dictionary::default()) {
            *all.entry(row).or_insert(0) += diff;
        }
        all.retain(|_, count| *count != 0);
        all.keys().map(|(_, label)| (label.class.to_string(), label.layer)).collect::<Vec<_>>()
    };
    let label = |class: &str, diff| News { labels: vec![((ShapeId(0), class.into()), diff)], ..News::default() };
    let mut all = BTreeMap::new();
    let row = |class: &str, layer| (class.to_owned(), layer);
    let [ruled, typed, none] =
        [row("ruled", Layer::Rule(0)), row("view", Layer::Kind), row(UNCLASSIFIED, Layer::Nothing)];
    // It may come before any event of its shape.
    tick(label("ours", 1), &mut all);
    let given = row("ours", Layer::Label);
    let wanted = [ruled.clone(), typed.clone(), given, none.clone()];
    assert_eq!(tick(News { signatures, rules, ..News::default() }, &mut all), wanted);
    let news =
        News { labels: [label("theirs", 1), label("ours", -1)].map(|news| news.labels).concat(), ..News::default() };
    let given = row("theirs", Layer::Label);
    assert_eq!(tick(news, &mut all), [ruled.clone(), typed.clone(), given, none.clone()]);
    assert_eq!(tick(label("theirs", -1), &mut all), [ruled, typed, none.clone(), none]);
}

/// Payloads with keys that are never the same. The shapes that are kept apart, and those with leaves, are those with the
/// least ids, whatever came first.
#[test]
fn of_too_many_shapes_those_with_the_least_ids_are_kept_apart() {
    let shapes: Vec<ShapeId> = (0..9000u64).map(|n| ShapeId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let mut least = shapes.clone();
    least.sort_unstable();
    let cut = least[MAX_SHAPES];
    let backward: Vec<ShapeId> = shapes.iter().rev().copied().collect();
    for (order, at_once) in [(&shapes, 9000), (&shapes, 700), (&backward, 700)] {
        let (mut classifier, mut dictionary) = (Classifier::new(None), Dictionary::default());
        let (mut labels, mut leaves) = (BTreeMap::new(), BTreeMap::new());
        for some in order.chunks(at_once) {
            let signature = |shape: &ShapeId| {
                let descriptor = Descriptor { shape: *shape, kind: None, answers: vec![] };
                (SignatureId(!shape.0), Arc::new(descriptor))
            };
            let news = News { signatures: some.iter().map(signature).collect(), ..News::default() };
            for (row, diff) in classifier.tick(news, &dictionary) {
                *labels.entry(row).or_insert(0) += diff;
            }
            leaves.extend(dictionary.tick(some.iter().map(|shape| (*shape, Arc::default())).collect()));
            assert!(classifier.by_shape.len() <= MAX_SHAPES);
        }
        labels.retain(|_, count| *count != 0);
        assert_eq!(labels.len(), shapes.len());
        for (signature, label) in labels.keys() {
            let shape = ShapeId(!signature.0);
            assert_eq!(label.shape, Some(shape).filter(|shape| *shape < cut));
        }
        leaves.retain(|_, leaves: &mut Option<Arc<Leaves>>| leaves.is_some());
        assert!(leaves.into_keys().eq(least[..MAX_SHAPES].iter().copied()));
    }
}
