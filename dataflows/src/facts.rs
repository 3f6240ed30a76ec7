//! What classes follow from, gathered outside of a graph: labels under any rules are a function of it.
//!
//! ```text
//! signatures, events of each, leaves of shapes ─┬─ rules of today ──▶ labels
//!                                               └─ other rules ─────▶ labels
//! ```
//! A graph labels by the same code, tick by tick ([`crate::describe`]).

use crate::classify::{Class, Classifier, Label, News};
use crate::identity::{ShapeId, SignatureId};
use crate::learn::{Guess, Learning, step};
use crate::leaves::{Dictionary, Leaves};
use crate::rules::{Descriptor, Rule};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that is known of some events.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What each signature stands for.
    pub signatures: BTreeMap<SignatureId, Descriptor>,
    /// The leaves of each shape.
    pub shapes: BTreeMap<ShapeId, Arc<Leaves>>,
    /// The number of events of each signature.
    pub events: BTreeMap<SignatureId, u64>,
}

impl Facts {
    /// Adds what is known of other events.
    pub fn add(&mut self, other: Facts) {
        self.signatures.extend(other.signatures);
        self.shapes.extend(other.shapes);
        for (signature, events) in other.events {
            *self.events.entry(signature).or_default() += events;
        }
    }

    /// Returns what a reader of the same events would know that asks these tests alone, in this order, and the signature that each
    /// one becomes.
    pub fn asked(&self, tests: &[usize]) -> (Facts, BTreeMap<SignatureId, SignatureId>) {
        let mut facts = Facts { shapes: self.shapes.clone(), ..Facts::default() };
        let mut became = BTreeMap::new();
        for (signature, descriptor) in &self.signatures {
            let descriptor = descriptor.asked(tests);
            let id = descriptor.signature();
            became.insert(*signature, id);
            *facts.events.entry(id).or_default() += self.events.get(signature).copied().unwrap_or(0);
            facts.signatures.insert(id, descriptor);
        }
        (facts, became)
    }

    /// Labels all signatures under these rules. `learning`: what a learned class needs, if classes are learned.
    pub fn under(&self, rules: &[Rule], learning: Option<Learning>) -> Labels {
        self.with(rules, &[], learning)
    }

    /// As [`Facts::under`], with classes that a person has given to shapes.
    pub fn with(&self, rules: &[Rule], labels: &[(ShapeId, Class)], learning: Option<Learning>) -> Labels {
        let mut leaves = Dictionary::default();
        leaves.tick(self.shapes.iter().map(|(shape, leaves)| (*shape, Arc::clone(leaves))).collect());
        let arcs = self.signatures.iter().map(|(signature, descriptor)| (*signature, Arc::new(descriptor.clone())));
        let news = News {
            signatures: arcs.collect(),
            rules: rules.iter().map(|rule| (Arc::new(rule.clone()), 1)).collect(),
            weights: self.events.iter().map(|(signature, events)| (*signature, step(*events))).collect(),
            learns: isize::from(learning.is_some()),
            labels: labels.iter().map(|label| (label.clone(), 1)).collect(),
            leaves: true,
        };
        let mut classifier = Classifier::new(learning);
        let mut labels = BTreeMap::new();
        for ((signature, label), diff) in classifier.tick(news, &leaves) {
            // A label goes before the next one comes.
            if diff > 0 {
                labels.insert(signature, label);
            }
        }
        Labels { labels, classifier, leaves }
    }
}

/// The labels of signatures under some rules.
pub struct Labels {
    labels: BTreeMap<SignatureId, Label>,
    classifier: Classifier,
    leaves: Dictionary,
}

impl Labels {
    /// Returns the label of a signature, if it is known.
    pub fn of(&self, signature: SignatureId) -> Option<&Label> {
        self.labels.get(&signature)
    }

    /// Returns all labels, in the order of signatures.
    pub fn all(&self) -> impl Iterator<Item = (SignatureId, &Label)> {
        self.labels.iter().map(|(signature, label)| (*signature, label))
    }

    /// Returns what the model says of an event with this descriptor and these leaves, whether its class holds or not; `None`:
    /// nothing was learned.
    pub fn guess(&mut self, descriptor: &Descriptor, leaves: &Leaves) -> Option<Guess> {
        self.classifier.guess(descriptor, leaves, &self.leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::Layer;
    use crate::identity::ValueKind;
    use crate::leaves::Leaf;
    use crate::rules::Condition;

    fn facts(signatures: &[(u64, Option<&str>, bool, u64, &[&str])]) -> Facts {
        let mut facts = Facts::default();
        for (id, kind, answer, events, paths) in signatures {
            let shape = ShapeId(*id);
            let descriptor = Descriptor { shape, kind: kind.map(Arc::from), answers: vec![*answer] };
            let leaf = |path: &&str| Leaf { path: (*path).to_owned(), kind: ValueKind::String };
            facts.signatures.insert(SignatureId(*id), descriptor);
            facts.shapes.insert(shape, Arc::new(Leaves::of(paths.iter().map(leaf).collect())));
            facts.events.insert(SignatureId(*id), *events);
        }
        facts
    }

    #[test]
    fn signatures_that_differ_in_other_tests_become_one() {
        let mut facts = facts(&[]);
        for (answers, events) in [([true, false], 3), ([true, true], 4), ([false, true], 5)] {
            let descriptor = Descriptor { shape: ShapeId(1), kind: None, answers: answers.to_vec() };
            facts.events.insert(descriptor.signature(), events);
            facts.signatures.insert(descriptor.signature(), descriptor);
        }
        let (first, became) = facts.asked(&[0]);
        let mut events: Vec<u64> = first.events.values().copied().collect();
        events.sort_unstable();
        assert_eq!((events, became.len(), first.signatures.len()), (vec![5, 7], 3, 2));
        let (turned, _) = facts.asked(&[1, 0]);
        assert_eq!(turned.signatures.len(), 3);
        assert_eq!(facts.asked(&[0, 1]).0.signatures, facts.signatures);
    }

    #[test]
    fn labels_follow_from_facts_and_rules() {
        let facts = facts(&[
            (1, Some("click"), false, 100, &["type", "details.button", "details.page"]),
            (2, Some("search"), false, 100, &["type", "details.query", "details.results"]),
            (3, None, true, 5, &["button", "page"]),
            (4, None, false, 5, &["celsius"]),
        ]);
        let classes = |rules: &[Rule], learning| -> Vec<(String, Layer)> {
            let labels = facts.under(rules, learning);
            labels.all().map(|(_, label)| (label.class.to_string(), label.layer)).collect()
        };
        let own =
            |of: &[(&str, Layer)]| of.iter().map(|(class, layer)| ((*class).to_owned(), *layer)).collect::<Vec<_>>();
        let (click, search) = (("click", Layer::Kind), ("search", Layer::Kind));
        let (nothing, learned) = (("unclassified", Layer::Nothing), ("click", Layer::Learned));
        assert_eq!(classes(&[], None), own(&[click, search, nothing, nothing]));
        assert_eq!(classes(&[], Some(Learning::default())), own(&[click, search, learned, nothing]));
        let when = [Condition { test: 0, answer: true }].into_iter().collect();
        let rule = Rule { name: "tap".into(), priority: 0, order: 0, when, sessions: true };
        let ruled = ("tap", Layer::Rule(0));
        assert_eq!(classes(&[rule], Some(Learning::default())), own(&[click, search, ruled, nothing]));

        let mut labels = facts.under(&[], Some(Learning::default()));
        let guess = labels.guess(&facts.signatures[&SignatureId(3)], &facts.shapes[&ShapeId(3)]).unwrap();
        assert_eq!((&*guess.class, guess.second.as_deref(), guess.like), ("click", Some("search"), ShapeId(1)));
        assert!(guess.holds(Learning::default()));
        assert_eq!(facts.under(&[], None).guess(&facts.signatures[&SignatureId(3)], &facts.shapes[&ShapeId(3)]), None);
    }
}
