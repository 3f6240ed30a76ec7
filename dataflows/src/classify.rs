//! Signature -> class. The class of a signature follows from the rules, which are an input like any other: a changed
//! rule relabels signatures, and whatever counts signatures follows without one event being read again.

use crate::identity::{SignatureId, kind_rank};
use crate::rules::{Descriptor, Rule, UNCLASSIFIED};
use crate::time::Tick;
use differential_dataflow::operators::arrange::TraceAgent;
use differential_dataflow::trace::implementations::ValSpine;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Class of events whose type is one too many, see [`MAX_KINDS`].
pub const OVERFLOW: &str = "overflow";

/// Types that keep a class of their own. Of more, those with the least ranks (a hash) keep it, which does not depend
/// on the order in which they came; events of the others are of the class [`OVERFLOW`] unless a rule claims them. Such
/// a type field is rather an identifier, and each of its values would be a class in every output.
pub const MAX_KINDS: usize = 4096;

/// The name of a class.
pub type Class = Arc<str>;

/// Classes by signature.
pub type ClassSpine<T = Tick> = ValSpine<SignatureId, Class, T, isize>;
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
#[derive(Default)]
pub(crate) struct Classifier {
    known: BTreeMap<SignatureId, (Arc<Descriptor>, Class)>,
    rules: BTreeMap<Arc<Rule>, isize>,
    /// Ranks of the types.
    kinds: BTreeSet<u64>,
    definitions: Definitions,
}

impl Classifier {
    /// Takes what came with a tick. Returns how the classes change. Signatures may come repeatedly, and stay.
    pub fn tick(
        &mut self,
        signatures: Vec<(SignatureId, Arc<Descriptor>)>,
        rules: Vec<(Arc<Rule>, isize)>,
    ) -> Vec<((SignatureId, Class), isize)> {
        let mut changes = Vec::new();
        if signatures.is_empty() && rules.is_empty() {
            return changes;
        }
        for (rule, diff) in rules {
            let count = self.rules.entry(rule).or_default();
            *count += diff;
        }
        self.rules.retain(|_, count| *count != 0);
        let mut added = BTreeMap::new();
        for (signature, descriptor) in signatures {
            if !self.known.contains_key(&signature) {
                self.kinds.extend(descriptor.kind.as_deref().map(kind_rank));
                added.insert(signature, descriptor);
            }
        }
        let rules = self.rules.keys().map(|rule| Rule::clone(rule)).collect();
        let definitions = Definitions::new(rules, &self.kinds);
        if definitions != self.definitions {
            self.definitions = definitions;
            for (signature, (descriptor, class)) in &mut self.known {
                let now = self.definitions.classify(descriptor).0;
                if now != &**class {
                    let before = std::mem::replace(class, Class::from(now));
                    changes.push(((*signature, before), -1));
                    changes.push(((*signature, Class::clone(class)), 1));
                }
            }
        }
        for (signature, descriptor) in added {
            let class = Class::from(self.definitions.classify(&descriptor).0);
            changes.push(((signature, Class::clone(&class)), 1));
            self.known.insert(signature, (descriptor, class));
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
                for (row, diff) in classifier.tick(signatures, rules) {
                    *classes.entry(row).or_insert(0) += diff;
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
}
