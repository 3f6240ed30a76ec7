//! Signature -> class. The class of a signature follows from the rules, which are an input like any other: a changed
//! rule relabels signatures, and whatever counts signatures follows without one event being read again.

use crate::identity::{SignatureId, kind_rank};
use crate::rules::{Descriptor, Rule, UNCLASSIFIED};
use crate::time::Tick;
use differential_dataflow::VecCollection;
use differential_dataflow::collection::AsCollection;
use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBatcher, ValSpine};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::{Broadcast, ToStream};

/// Class of events whose type is one too many, see [`MAX_KINDS`].
pub const OVERFLOW: &str = "overflow";

/// Types that keep a class of their own. Of more, those with the least ranks (a hash) keep it, which does not depend
/// on the order in which they came; events of the others are of the class [`OVERFLOW`] unless a rule claims them. Such
/// a type field is rather an identifier, and each of its values would be a class in every output.
pub const MAX_KINDS: usize = 4096;

/// The name of a class.
pub type Class = Arc<str>;

pub type ClassTrace = TraceAgent<ValSpine<SignatureId, Class, Tick, isize>>;

/// Why an event has its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'a> {
    Rule(&'a Rule),
    /// The value of the type field.
    Kind,
    /// The value of the type field is one too many.
    Overflow,
    /// There is neither a rule that claims it nor a type.
    Nothing,
}

/// Everything that decides on classes, besides the event.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Definitions {
    /// In the order in which they are tried.
    rules: Vec<Rule>,
    /// Types of a greater rank overflow.
    cut: Option<u64>,
}

impl Definitions {
    pub fn new(mut rules: Vec<Rule>, mut kinds: Vec<u64>) -> Definitions {
        rules.sort_unstable_by(|one, other| {
            (other.priority, one.order, &one.name, &one.when).cmp(&(
                one.priority,
                other.order,
                &other.name,
                &other.when,
            ))
        });
        kinds.sort_unstable();
        let cut = (kinds.len() > MAX_KINDS).then(|| kinds[MAX_KINDS - 1]);
        Definitions { rules, cut }
    }

    /// In the order in which they are tried.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

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

/// Returns the class of every signature, whole on each worker. Signatures may come repeatedly.
pub fn classify<'s>(
    signatures: VecCollection<'s, Tick, (SignatureId, Descriptor), isize>,
    rules: VecCollection<'s, Tick, Rule, isize>,
) -> Arranged<'s, ClassTrace> {
    /// One thing that the definitions are made of.
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    enum Part {
        /// Always there, so that there are definitions even without rules and types.
        Base,
        Kind(u64),
        Rule(Rule),
    }
    let scope = signatures.scope();
    let signatures = signatures.distinct_total();
    let kinds = signatures.clone().flat_map(|(_, descriptor)| descriptor.kind.as_deref().map(kind_rank));
    let base = (scope.index() == 0).then_some((((), Part::Base), 0, 1));
    let definitions = base
        .to_stream(scope)
        .as_collection()
        .concat(kinds.distinct_total().map(|kind| ((), Part::Kind(kind))))
        .concat(rules.map(|rule| ((), Part::Rule(rule))))
        .reduce_named("Definitions", |(), parts, output| {
            let (mut rules, mut kinds) = (Vec::new(), Vec::new());
            for (part, _) in parts {
                match part {
                    Part::Base => {}
                    Part::Kind(kind) => kinds.push(*kind),
                    Part::Rule(rule) => rules.push(rule.clone()),
                }
            }
            output.push((Definitions::new(rules, kinds), 1));
        });
    let classes = signatures
        .map(|signature| ((), signature))
        .join_map(definitions, |(), (signature, descriptor), definitions| {
            (*signature, Class::from(definitions.classify(descriptor).0))
        })
        .consolidate();
    // Everywhere: each worker resolves the sessions that it owns.
    let everywhere = classes.inner.broadcast();
    arrange_core::<_, _, ValBatcher<_, _, _, _>, _>(everywhere, Pipeline, "Classes", ValBatcher::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ShapeId;
    use crate::rules::Condition;

    fn rule(name: &str, priority: i64, order: u32, when: &[(u32, bool)]) -> Rule {
        let when = when.iter().map(|&(test, answer)| Condition { test, answer }).collect();
        Rule { name: name.into(), priority, order, when }
    }

    fn descriptor(kind: Option<&str>, answers: &[bool]) -> Descriptor {
        Descriptor { shape: ShapeId(0), kind: kind.map(Arc::from), answers: answers.to_vec() }
    }

    #[test]
    fn higher_priority_goes_first_then_the_order_of_the_configuration() {
        let rules =
            vec![rule("late", 0, 1, &[(0, true)]), rule("early", 0, 0, &[(0, true)]), rule("high", 5, 9, &[(1, true)])];
        let definitions = Definitions::new(rules, vec![]);
        assert_eq!(definitions.classify(&descriptor(None, &[true, true])).0, "high");
        assert_eq!(definitions.classify(&descriptor(None, &[true, false])).0, "early");
        assert_eq!(definitions.classify(&descriptor(Some("kind"), &[false, false])), ("kind", Why::Kind));
        assert_eq!(definitions.classify(&descriptor(None, &[false, false])), (UNCLASSIFIED, Why::Nothing));
    }

    #[test]
    fn all_conditions_have_to_hold_and_an_unanswered_test_does_not() {
        let definitions = Definitions::new(vec![rule("both", 0, 0, &[(0, true), (1, false)])], vec![]);
        assert_eq!(definitions.classify(&descriptor(None, &[true, false])).0, "both");
        assert_eq!(definitions.classify(&descriptor(None, &[true, true])).0, UNCLASSIFIED);
        assert_eq!(definitions.classify(&descriptor(None, &[true])).0, UNCLASSIFIED);
    }

    #[test]
    fn of_too_many_types_the_least_ranks_keep_their_class_in_any_order() {
        let names: Vec<String> = (0..MAX_KINDS + 100).map(|n| format!("type {n}")).collect();
        let mut ranks: Vec<u64> = names.iter().map(|name| kind_rank(name)).collect();
        let overflowed = |definitions: &Definitions| -> Vec<&String> {
            names.iter().filter(|name| definitions.classify(&descriptor(Some(name), &[])).0 == OVERFLOW).collect()
        };
        let forward = Definitions::new(vec![], ranks.clone());
        ranks.reverse();
        let backward = Definitions::new(vec![], ranks);
        assert_eq!(overflowed(&forward).len(), 100);
        assert_eq!(overflowed(&forward), overflowed(&backward));
    }
}
