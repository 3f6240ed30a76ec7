//! What is wrong with rules by themselves, whatever the events: one that can never hold, and one that others always precede.
//!
//! A rule's conditions are taken apart into ways to hold, each a list of answers to tests. From the answers of one way others
//! follow, such as "has a value" from "is one of these". An earlier rule that certainly holds under a way precedes it. So
//! nothing is reported that is not so. Rules with too many ways, and tests by pattern, may go unnoticed.

use super::Plan;
use dataflows::classify::Definitions;
use dataflows::decimal::Exact;
use dataflows::rules::{Condition, Conditions, Predicate, Rule, Test};
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

/// Ways to hold that are looked at. A rule that has more is taken to be fine.
const WAYS: usize = 256;

/// Something wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// From 1, in the order of the configuration.
    pub rule: u32,
    pub class: String,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its conditions exclude each other.
    NeverHolds,
    /// An earlier rule asks the same, and gives this class.
    Equals(u32, String),
    /// Wherever it holds, one of these comes first: rule and class.
    Preceded(Vec<(u32, String)>),
}

impl Lint {
    /// Returns the fault as a sentence.
    pub fn message(&self) -> String {
        let Lint { rule, class, fault } = self;
        match fault {
            Fault::NeverHolds => format!("rule {rule} (`{class}`) never holds: its conditions exclude each other"),
            Fault::Equals(other, known) if known == class => {
                format!("rule {rule} (`{class}`) asks the same as rule {other}, which gives this class too")
            }
            Fault::Equals(other, known) => format!(
                "rule {rule} (`{class}`) contradicts rule {other} (`{known}`): both ask the same, and rule {other} comes first"
            ),
            Fault::Preceded(others) => {
                let named = |(rule, class): &(u32, String)| format!("rule {rule} (`{class}`)");
                let all = others.iter().map(named).collect::<Vec<_>>().join(" or ");
                format!(
                    "rule {rule} (`{class}`) gives no event its class: wherever it holds, {all} holds too and comes first"
                )
            }
        }
    }
}

/// Returns the faults of the rules of a plan, in the order in which they are tried.
pub fn lint(plan: &Plan) -> Vec<Lint> {
    let definitions = Definitions::new(plan.rules.clone(), &BTreeSet::new());
    let asked = Asked::of(plan);
    let (mut lints, mut before) = (Vec::new(), Vec::<(&Rule, Vec<Way>)>::new());
    for rule in definitions.rules() {
        let Some(ways) = ways(&rule.when) else { continue };
        let ways: Vec<Way> = ways.into_iter().filter(|way| asked.can_be(way)).collect();
        if let Some(fault) = fault(&asked, rule, &ways, &before) {
            lints.push(Lint { rule: rule.order + 1, class: rule.name.clone(), fault });
        }
        before.push((rule, ways));
    }
    lints
}

fn fault(asked: &Asked<'_>, rule: &Rule, ways: &[Way], before: &[(&Rule, Vec<Way>)]) -> Option<Fault> {
    if ways.is_empty() {
        return Some(Fault::NeverHolds);
    }
    let named = |other: &Rule| (other.order + 1, other.name.clone());
    let mut preceded = Vec::new();
    for way in ways {
        let holds = |(other, _): &&(&Rule, Vec<Way>)| other.when.hold_by(&|test| asked.answer(way, test));
        let (other, own) = before.iter().find(holds)?;
        let same = |way: &Way| rule.when.hold_by(&|test| asked.answer(way, test));
        if !own.is_empty() && own.iter().all(same) {
            let (order, class) = named(other);
            // It may be preceded by others for its other ways, but this one is all of it.
            let all = ways.iter().all(|way| other.when.hold_by(&|test| asked.answer(way, test)));
            if all {
                return Some(Fault::Equals(order, class));
            }
        }
        if !preceded.contains(&named(other)) {
            preceded.push(named(other));
        }
    }
    Some(Fault::Preceded(preceded))
}

/// Answers that hold together.
type Way = Vec<Condition>;

/// Returns the ways in which conditions hold; `None`: there are too many.
fn ways(conditions: &Conditions) -> Option<Vec<Way>> {
    match conditions {
        Conditions::One(condition) => Some(vec![vec![*condition]]),
        Conditions::Any(any) => {
            let mut all = Vec::new();
            for conditions in any {
                all.extend(ways(conditions)?);
            }
            (all.len() <= WAYS).then_some(all)
        }
        Conditions::All(of) => {
            let mut all: Vec<Way> = vec![Vec::new()];
            for conditions in of {
                let own = ways(conditions)?;
                if all.len() * own.len() > WAYS {
                    return None;
                }
                all = all.iter().flat_map(|way| own.iter().map(move |more| [&way[..], more].concat())).collect();
            }
            Some(all)
        }
    }
}

/// The tests of a plan.
struct Asked<'p> {
    tests: &'p [Test],
    /// By field: an event has at most one value of it.
    single: HashMap<usize, bool>,
}

impl<'p> Asked<'p> {
    fn of(plan: &'p Plan) -> Asked<'p> {
        let single = |test: &Test| {
            let one = |path: &headwater_decode::path::Path| !path.to_string().contains("[]");
            (test.field, plan.fields[test.field].candidates.iter().all(one))
        };
        Asked { tests: &plan.tests, single: plan.tests.iter().map(single).collect() }
    }

    /// Returns whether the answers of a way do not exclude each other.
    fn can_be(&self, way: &Way) -> bool {
        way.iter().all(|condition| self.answer(way, condition.test) != Some(!condition.answer))
    }

    /// Returns the answer to a test that follows from those of a way.
    fn answer(&self, way: &Way, test: u32) -> Option<bool> {
        let Test { field, predicate } = self.tests.get(test as usize)?;
        let mut answer = None;
        for given in way {
            if given.test == test {
                // A way with both answers is none.
                answer = if answer == Some(!given.answer) { return Some(!given.answer) } else { Some(given.answer) };
                continue;
            }
            let Some(Test { field: of, predicate: known }) = self.tests.get(given.test as usize) else { continue };
            if of != field {
                continue;
            }
            let follows = match given.answer {
                true if implies(known, predicate) => Some(true),
                true if self.single[field] && excludes(known, predicate) => Some(false),
                false if implies(predicate, known) => Some(false),
                _ => None,
            };
            match (answer, follows) {
                (Some(answer), Some(follows)) if answer != follows => return Some(follows),
                (None, follows) => answer = follows,
                _ => {}
            }
        }
        answer
    }
}

/// Returns whether each value that one predicate holds for is certainly one that the other holds for.
fn implies(one: &Predicate, other: &Predicate) -> bool {
    match (one, other) {
        (_, Predicate::Exists) => true,
        _ if one == other => true,
        (Predicate::OneOf(texts), _) => texts.iter().all(|text| other.holds(text)),
        (Predicate::Numbers(numbers), Predicate::Numbers(_) | Predicate::Number { .. }) => {
            numbers.iter().all(|number| other.holds(&number.to_string()))
        }
        (Predicate::Number { min, max }, Predicate::Number { min: low, max: high }) => {
            let exact = |bound: &Bound<dataflows::Decimal>| bound.map(Exact::from);
            is_within((exact(min), exact(max)), (exact(low), exact(high)))
        }
        (Predicate::Text { min, max }, Predicate::Text { min: low, max: high }) => {
            is_within((min.as_ref(), max.as_ref()), (low.as_ref(), high.as_ref()))
        }
        (Predicate::Prefix(prefix), Predicate::Prefix(shorter)) => prefix.starts_with(shorter.as_str()),
        _ => false,
    }
}

/// Returns whether there is certainly no value that both predicates hold for.
fn excludes(one: &Predicate, other: &Predicate) -> bool {
    match (one, other) {
        (Predicate::OneOf(texts), _) => !texts.iter().any(|text| other.holds(text)),
        (_, Predicate::OneOf(texts)) => !texts.iter().any(|text| one.holds(text)),
        (Predicate::Numbers(numbers), Predicate::Numbers(_) | Predicate::Number { .. }) => {
            !numbers.iter().any(|number| other.holds(&number.to_string()))
        }
        (Predicate::Number { .. }, Predicate::Numbers(numbers)) => {
            !numbers.iter().any(|number| one.holds(&number.to_string()))
        }
        (Predicate::Number { min, max }, Predicate::Number { min: low, max: high }) => {
            let exact = |bound: &Bound<dataflows::Decimal>| bound.map(Exact::from);
            is_below(exact(max), exact(low)) || is_below(exact(high), exact(min))
        }
        (Predicate::Text { min, max }, Predicate::Text { min: low, max: high }) => {
            is_below(max.as_ref(), low.as_ref()) || is_below(high.as_ref(), min.as_ref())
        }
        (Predicate::Prefix(one), Predicate::Prefix(other)) => {
            !one.starts_with(other.as_str()) && !other.starts_with(one.as_str())
        }
        _ => false,
    }
}

/// Returns whether what lies between the bounds `one` lies between those of `other`.
fn is_within<T: Ord>(one: (Bound<T>, Bound<T>), other: (Bound<T>, Bound<T>)) -> bool {
    let low = match (&one.0, &other.0) {
        (_, Bound::Unbounded) => true,
        (Bound::Unbounded, _) => false,
        (Bound::Included(min), Bound::Excluded(low)) => min > low,
        (Bound::Included(min) | Bound::Excluded(min), Bound::Included(low) | Bound::Excluded(low)) => min >= low,
    };
    let high = match (&one.1, &other.1) {
        (_, Bound::Unbounded) => true,
        (Bound::Unbounded, _) => false,
        (Bound::Included(max), Bound::Excluded(high)) => max < high,
        (Bound::Included(max) | Bound::Excluded(max), Bound::Included(high) | Bound::Excluded(high)) => max <= high,
    };
    low && high
}

/// Returns whether everything up to the upper bound `high` is below the lower bound `low`.
fn is_below<T: Ord>(high: Bound<T>, low: Bound<T>) -> bool {
    match (&high, &low) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(high), Bound::Included(low)) => high < low,
        (Bound::Included(high) | Bound::Excluded(high), Bound::Included(low) | Bound::Excluded(low)) => high <= low,
    }
}

#[cfg(test)]
mod tests;
