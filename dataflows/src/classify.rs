//! Signature -> class. The class of a signature follows from the rules, which are an input like any other: a changed
//! rule relabels signatures, and whatever counts signatures follows without one event being read again.

use crate::identity::{ShapeId, SignatureId, kind_rank};
use crate::leaves::{Least, Leaves};
use crate::rules::{Descriptor, Rule, UNCLASSIFIED};
use crate::time::Tick;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::ValSpine;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Class of events whose type is one too many, see [`MAX_KINDS`].
pub const OVERFLOW: &str = "overflow";

/// Types that keep a class of their own. Of more, those with the least ranks (a hash) keep it, which does not depend
/// on the order in which they came; events of the others are of the class [`OVERFLOW`] unless a rule claims them. Such
/// a type field is rather an identifier, and each of its values would be a class in every output.
pub const MAX_KINDS: usize = 4096;

/// Shapes that are kept apart in the view of shapes. Of more, those with the least ids (a hash) are, as with types; events
/// of the others are in one row. Payloads with keys that are never the same would otherwise fill the memory.
pub const MAX_SHAPES: usize = 4096;

/// The name of a class.
pub type Class = Arc<str>;

/// What is known of all events with one signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Label {
    /// The class.
    pub class: Class,
    /// What gave it.
    pub layer: Layer,
    /// `None`: it is one too many to be kept apart, see [`MAX_SHAPES`].
    pub shape: Option<ShapeId>,
}

/// What gives a class. The first that has an answer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Layer {
    /// The rule with this place in the configuration, from 0.
    Rule(u32),
    /// The value of the type field.
    Kind,
    /// The value of the type field is one too many.
    Overflow,
    /// There is neither a rule that claims it nor a type.
    Nothing,
}

/// Labels by signature.
pub type ClassSpine<T = Tick> = ValSpine<SignatureId, Label, T, isize>;
/// Reads [`ClassSpine`].
pub type ClassTrace<T = Tick> = TraceAgent<ClassSpine<T>>;

/// Why an event has its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    /// The rule that claims it.
    Rule(&'a Rule),
    /// The value of the type field.
    Kind,
    /// The value of the type field is one too many.
    Overflow,
    /// There is neither a rule that claims it nor a type.
    Nothing,
}

impl Why<'_> {
    /// Returns what gave the class.
    pub fn layer(self) -> Layer {
        match self {
            Why::Rule(rule) => Layer::Rule(rule.order),
            Why::Kind => Layer::Kind,
            Why::Overflow => Layer::Overflow,
            Why::Nothing => Layer::Nothing,
        }
    }
}

/// Everything that decides on classes, besides the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// In the order in which they are tried.
    rules: Vec<Rule>,
    /// Types of a greater rank overflow.
    cut: Option<u64>,
}

impl Definitions {
    /// `kinds`: the ranks of all types.
    pub fn new(mut rules: Vec<Rule>, kinds: &BTreeSet<u64>) -> Definitions {
        rules.sort_unstable_by(|one, other| {
            (other.priority, one.order, &one.name, &one.when).cmp(&(
                one.priority,
                other.order,
                &other.name,
                &other.when,
            ))
        });
        let last = || kinds.iter().nth(MAX_KINDS - 1).copied();
        let cut = if kinds.len() > MAX_KINDS { last() } else { None };
        Definitions { rules, cut }
    }

    /// In the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the class of a descriptor, and why it is that one.
    pub fn classify<'a>(&'a self, descriptor: &'a Descriptor) -> (&'a str, Why<'a>) {
        if let Some(rule) = self.rules.iter().find(|rule| rule.claims(descriptor)) {
            return (&rule.name, Why::Rule(rule));
        }
        match &descriptor.kind {
            Some(kind) if self.cut.is_some_and(|cut| kind_rank(kind) > cut) => (OVERFLOW, Why::Overflow),
            Some(kind) => (kind, Why::Kind),
            None => (UNCLASSIFIED, Why::Nothing),
        }
    }
}

/// What one worker knows of signatures and rules: after a tick it follows from all that has come, in whatever order.
///
/// It is asked tick by tick in one operator ([`crate::describe`]), instead of by `distinct`, `reduce` and `join`: each of
/// these waits for the progress of all workers, and a tick without a new signature, as nearly all are, would pay for each.
pub(crate) struct Classifier {
    known: BTreeMap<SignatureId, (Arc<Descriptor>, Label)>,
    rules: BTreeMap<Arc<Rule>, isize>,
    /// Ranks of the types.
    kinds: BTreeSet<u64>,
    definitions: Definitions,
    /// Of the known signatures.
    shapes: Least,
    /// Of shapes that are kept apart.
    by_shape: BTreeMap<ShapeId, Vec<SignatureId>>,
}

/// What came with a tick. Repeats are fine, and what has come stays.
#[derive(Default)]
pub(crate) struct News {
    pub signatures: Vec<(SignatureId, Arc<Descriptor>)>,
    pub rules: Vec<(Arc<Rule>, isize)>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.signatures.is_empty() && self.rules.is_empty()
    }
}

impl Default for Classifier {
    fn default() -> Classifier {
        Classifier {
            known: BTreeMap::new(),
            rules: BTreeMap::new(),
            kinds: BTreeSet::new(),
            definitions: Definitions::default(),
            shapes: Least::new(MAX_SHAPES),
            by_shape: BTreeMap::new(),
        }
    }
}

impl Classifier {
    /// Takes what came with a tick. Returns how the labels change, not consolidated.
    pub fn tick(&mut self, news: News) -> Vec<((SignatureId, Label), isize)> {
        let mut changes = Vec::new();
        if news.is_empty() {
            return changes;
        }
        for (rule, diff) in news.rules {
            let count = self.rules.entry(rule).or_default();
            *count += diff;
        }
        self.rules.retain(|_, count| *count != 0);
        let mut added = BTreeMap::new();
        for (signature, descriptor) in news.signatures {
            if !self.known.contains_key(&signature) {
                self.kinds.extend(descriptor.kind.as_deref().map(kind_rank));
                added.insert(signature, descriptor);
            }
        }
        for descriptor in added.values() {
            if let Some(gone) = self.shapes.offer(descriptor.shape) {
                for signature in self.by_shape.remove(&gone).unwrap_or_default() {
                    self.change(signature, &mut changes, |label| label.shape = None);
                }
            }
        }
        let rules = self.rules.keys().map(|rule| Rule::clone(rule)).collect();
        let definitions = Definitions::new(rules, &self.kinds);
        if definitions != self.definitions {
            self.definitions = definitions;
            for (signature, (descriptor, label)) in &mut self.known {
                let (class, why) = self.definitions.classify(descriptor);
                if (class, why.layer()) != (&*label.class, label.layer) {
                    changes.push(((*signature, label.clone()), -1));
                    (label.class, label.layer) = (Class::from(class), why.layer());
                    changes.push(((*signature, label.clone()), 1));
                }
            }
        }
        for (signature, descriptor) in added {
            let shape = Some(descriptor.shape).filter(|shape| self.shapes.has(*shape));
            if let Some(shape) = shape {
                self.by_shape.entry(shape).or_default().push(signature);
            }
            let (class, why) = self.definitions.classify(&descriptor);
            let label = Label { class: Class::from(class), layer: why.layer(), shape };
            changes.push(((signature, label.clone()), 1));
            self.known.insert(signature, (descriptor, label));
        }
        changes
    }

    /// Changes the label of a signature that is known.
    fn change(
        &mut self,
        signature: SignatureId,
        changes: &mut Vec<((SignatureId, Label), isize)>,
        change: impl FnOnce(&mut Label),
    ) {
        if let Some((_, label)) = self.known.get_mut(&signature) {
            changes.push(((signature, label.clone()), -1));
            change(label);
            changes.push(((signature, label.clone()), 1));
        }
    }
}

/// The leaves of shapes, as one worker knows them: of those with the least ids.
pub(crate) struct Dictionary {
    least: Least,
    leaves: BTreeMap<ShapeId, Arc<Leaves>>,
}

impl Default for Dictionary {
    fn default() -> Dictionary {
        Dictionary { least: Least::new(MAX_SHAPES), leaves: BTreeMap::new() }
    }
}

impl Dictionary {
    /// Takes the leaves of shapes; repeats are fine. Returns what changes; `None`: they are forgotten.
    pub fn tick(&mut self, shapes: Vec<(ShapeId, Arc<Leaves>)>) -> BTreeMap<ShapeId, Option<Arc<Leaves>>> {
        let mut changes = BTreeMap::new();
        for (shape, leaves) in shapes {
            if self.leaves.contains_key(&shape) {
                continue;
            }
            let gone = self.least.offer(shape);
            if gone != Some(shape) {
                changes.insert(shape, Some(Arc::clone(&leaves)));
                self.leaves.insert(shape, leaves);
            }
            if let Some(gone) = gone {
                self.leaves.remove(&gone);
                changes.insert(gone, None);
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ShapeId;
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
        let signature =
            |n: usize| (SignatureId(n as u64), Arc::new(descriptor(Some(&names[n]), &[n.is_multiple_of(10)])));
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
            let mut classifier = Classifier::default();
            let mut classes = BTreeMap::new();
            let mut tick = |signatures: &[usize], rules: Vec<(Arc<Rule>, isize)>| {
                let signatures = signatures.iter().chain(signatures).map(|n| signature(*n)).collect();
                for ((signature, label), diff) in classifier.tick(News { signatures, rules }) {
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
            let (mut classifier, mut dictionary) = (Classifier::default(), Dictionary::default());
            let (mut labels, mut leaves) = (BTreeMap::new(), BTreeMap::new());
            for some in order.chunks(at_once) {
                let signature = |shape: &ShapeId| {
                    let descriptor = Descriptor { shape: *shape, ..descriptor(None, &[]) };
                    (SignatureId(!shape.0), Arc::new(descriptor))
                };
                let news = News { signatures: some.iter().map(signature).collect(), rules: vec![] };
                for (row, diff) in classifier.tick(news) {
                    *labels.entry(row).or_insert(0) += diff;
                }
                leaves.extend(dictionary.tick(some.iter().map(|shape| (*shape, Arc::default())).collect()));
                assert!(dictionary.leaves.len() <= MAX_SHAPES && classifier.by_shape.len() <= MAX_SHAPES);
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
}
