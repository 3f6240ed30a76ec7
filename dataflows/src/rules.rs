//! The user's definitions as data. A rule is a row of an input collection: adding, changing or dropping one is an
//! update at a tick, and history follows by itself.
//!
//! Rules never see an event. Each atomic test that any rule makes ([`Test`]) is answered once per event while it is
//! decoded, and the answers are part of the event's signature ([`Descriptor`]); a rule combines answers. So the number
//! of signatures is bounded by the tests and the types, whatever values the fields take, and a changed rule relabels
//! signatures without reading one event again. A rule that needs a test which no signature answered is a replay.

mod text;

pub use text::{Pattern, Place, TextTest};

use crate::decimal::{Decimal, Exact};
use crate::identity::{ShapeId, SignatureId};
use serde::{Deserialize, Serialize};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Class of an event that has no type and that no rule claims.
pub const UNCLASSIFIED: &str = "unclassified";

/// One atomic question about a field, asked of every event.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Index of the field in the plan.
    pub field: usize,
    /// What is asked of it.
    pub predicate: Predicate,
}

/// Holds for a field if it holds for any of its values (a path through an array has several).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicate {
    /// The field has a value, or is an object or an array.
    Exists,
    /// The text of a value is one of these. Sorted.
    OneOf(Vec<String>),
    /// The text of a value begins so.
    Prefix(String),
    /// As releases up to 0.1.0 compared numbers, through floating point; bounds are inclusive. Only data folders that they
    /// wrote still ask it, since the answers of their events are those.
    Range {
        /// `None`: no lower bound.
        min: Option<f64>,
        /// `None`: no upper bound.
        max: Option<f64>,
    },
    /// A value is a number, or a text that is one, and equals one of these. Sorted.
    Numbers(Vec<Decimal>),
    /// A value is a number, or a text that is one, within these bounds.
    Number {
        /// The lower one.
        min: Bound<Decimal>,
        /// The upper one.
        max: Bound<Decimal>,
    },
    /// The text of a value is within these bounds, in the order of its bytes.
    Text {
        /// The lower one.
        min: Bound<String>,
        /// The upper one.
        max: Bound<String>,
    },
    /// The text of a value has one of these somewhere.
    Texts(TextTest),
    /// Some part of the text of a value matches.
    Matches(Pattern),
}

impl Predicate {
    /// Returns whether the predicate holds for the text of a value.
    pub fn holds(&self, value: &str) -> bool {
        match self {
            Predicate::Exists => true,
            Predicate::OneOf(texts) => texts.binary_search_by(|text| text.as_str().cmp(value)).is_ok(),
            Predicate::Prefix(prefix) => value.starts_with(prefix.as_str()),
            Predicate::Range { min, max } => value.trim().parse::<f64>().is_ok_and(|number| {
                number.is_finite() && min.is_none_or(|min| min <= number) && max.is_none_or(|max| number <= max)
            }),
            Predicate::Numbers(numbers) => Exact::parse(value)
                .is_some_and(|number| numbers.binary_search_by(|other| Exact::from(*other).cmp(&number)).is_ok()),
            Predicate::Number { min, max } => {
                Exact::parse(value).is_some_and(|number| (min.map(Exact::from), max.map(Exact::from)).contains(&number))
            }
            Predicate::Text { min, max } => {
                let within = (min.as_ref().map(String::as_str), max.as_ref().map(String::as_str));
                RangeBounds::<&str>::contains(&within, &value)
            }
            Predicate::Texts(texts) => texts.holds(value),
            Predicate::Matches(pattern) => pattern.matches(value),
        }
    }

    /// Returns what releases up to 0.1.0 asked instead; `None` if they asked the same, or could not ask it.
    pub fn former(&self) -> Option<Predicate> {
        let float = |bound: &Bound<Decimal>| match bound {
            Bound::Included(number) => Some(Some(number.to_string().parse().ok()?)),
            Bound::Excluded(_) => None,
            Bound::Unbounded => Some(None),
        };
        match self {
            Predicate::Numbers(numbers) => match numbers.as_slice() {
                [number] => {
                    let number = Bound::Included(*number);
                    Some(Predicate::Range { min: float(&number)?, max: float(&number)? })
                }
                _ => None,
            },
            Predicate::Number { min, max } => Some(Predicate::Range { min: float(min)?, max: float(max)? }),
            _ => None,
        }
    }
}

/// What the rules may look at of all events that share a signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Descriptor {
    /// The paths and kinds of their leaves.
    pub shape: ShapeId,
    /// The value of the type field: the default class.
    pub kind: Option<Arc<str>>,
    /// The answer to each [`Test`] of the plan, in its order.
    pub answers: Vec<bool>,
}

impl Descriptor {
    /// Returns the id of the signature that it describes, as readers of events compute it.
    pub fn signature(&self) -> SignatureId {
        let mut encoded: Vec<u8> = self.answers.iter().map(|answer| u8::from(*answer)).collect();
        // A type that is absent differs from every type: lengths are stored one up.
        let kind = self.kind.as_deref();
        encoded.extend(kind.map_or(0, |kind| kind.len() as u64 + 1).to_le_bytes());
        encoded.extend_from_slice(kind.unwrap_or_default().as_bytes());
        SignatureId::of(self.shape, &encoded)
    }

    /// Returns what the reader of the same event sees that asks these of its tests alone, in this order.
    #[must_use]
    pub fn asked(&self, tests: &[usize]) -> Descriptor {
        let answers = tests.iter().map(|test| self.answers.get(*test).copied().unwrap_or(false)).collect();
        Descriptor { answers, ..self.clone() }
    }
}

/// A declared class: events for which its conditions hold belong to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// The class that it gives.
    pub name: String,
    /// Higher goes first.
    pub priority: i64,
    /// Among equal priorities, lower goes first: the order in the configuration.
    pub order: u32,
    /// The answers that it wants.
    pub when: Conditions,
    /// Events of the class are part of sessions. Readers of records heed it: the graph does not look at it.
    pub sessions: bool,
}

/// Wanted answers, combined. There is no `not`: it is a condition that wants the other answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Conditions {
    /// This one.
    One(Condition),
    /// None of them: every event.
    All(Vec<Conditions>),
    /// None of them: no event.
    Any(Vec<Conditions>),
}

/// The answer to one test that a rule wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// Index of the test in the plan.
    pub test: u32,
    /// The answer that is wanted.
    pub answer: bool,
}

impl Rule {
    /// Tells whether events with this descriptor are of the rule's class, if no other rule comes before it.
    pub fn claims(&self, descriptor: &Descriptor) -> bool {
        self.when.hold(&descriptor.answers)
    }
}

impl Conditions {
    /// Tells whether they hold for certain. A test that has no answer is unknown: neither answer to it is there.
    pub fn hold(&self, answers: &[bool]) -> bool {
        self.hold_by(&|test| answers.get(test as usize).copied())
    }

    /// As [`Conditions::hold`], with a function that answers a test, or says that there is no answer.
    pub fn hold_by(&self, answer: &impl Fn(u32) -> Option<bool>) -> bool {
        match self {
            Conditions::One(condition) => answer(condition.test) == Some(condition.answer),
            Conditions::All(all) => all.iter().all(|conditions| conditions.hold_by(answer)),
            Conditions::Any(any) => any.iter().any(|conditions| conditions.hold_by(answer)),
        }
    }

    /// Calls `with` for each single condition.
    pub fn each(&self, with: &mut impl FnMut(Condition)) {
        match self {
            Conditions::One(condition) => with(*condition),
            Conditions::All(of) | Conditions::Any(of) => of.iter().for_each(|conditions| conditions.each(with)),
        }
    }

    /// Returns the conditions with others in the place of each single one.
    #[must_use]
    pub fn replace(&self, with: &impl Fn(Condition) -> Conditions) -> Conditions {
        let each = |of: &[Conditions]| of.iter().map(|conditions| conditions.replace(with)).collect();
        match self {
            Conditions::One(condition) => with(*condition),
            Conditions::All(all) => Conditions::All(each(all)),
            Conditions::Any(any) => Conditions::Any(each(any)),
        }
    }

    /// Returns the same conditions of other tests.
    #[must_use]
    pub fn map(&self, test: &impl Fn(u32) -> u32) -> Conditions {
        let each = |of: &[Conditions]| of.iter().map(|conditions| conditions.map(test)).collect();
        match self {
            Conditions::One(condition) => Conditions::One(Condition { test: test(condition.test), ..*condition }),
            Conditions::All(all) => Conditions::All(each(all)),
            Conditions::Any(any) => Conditions::Any(each(any)),
        }
    }
}

/// All of them have to hold.
impl FromIterator<Condition> for Conditions {
    fn from_iter<I: IntoIterator<Item = Condition>>(conditions: I) -> Conditions {
        Conditions::All(conditions.into_iter().map(Conditions::One).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::literal(text).unwrap()
    }

    #[test]
    fn numbers_are_compared_exactly() {
        let at_least = Predicate::Number { min: Bound::Included(number("0.01")), max: Bound::Unbounded };
        let above = Predicate::Number { min: Bound::Excluded(number("0.01")), max: Bound::Included(number("2")) };
        let equal = Predicate::Numbers(vec![number("0.01"), number("9007199254740993")]);
        for (value, expected) in [
            ("0.01", [true, false, true]),
            (" 1e-2 ", [true, false, true]),
            ("0.0100000000000000000000001", [true, true, false]),
            ("0.0099999999999999999999999", [false, false, false]),
            ("2.0", [true, true, false]),
            ("2.0000001", [true, false, false]),
            ("9007199254740992", [true, false, false]),
            ("9007199254740993", [true, false, true]),
            ("1e300", [true, false, false]),
            ("-1e300", [false, false, false]),
            ("NaN", [false, false, false]),
            ("one", [false, false, false]),
        ] {
            assert_eq!([&at_least, &above, &equal].map(|predicate| predicate.holds(value)), expected, "{value}");
        }
    }

    #[test]
    fn texts_are_in_the_order_of_their_bytes() {
        let of_may = Predicate::Text { min: Bound::Included("2024-05".into()), max: Bound::Excluded("2024-06".into()) };
        for (value, expected) in [("2024-05-31", true), ("2024-06", false), ("2024-04-30", false), ("2024-05", true)] {
            assert_eq!(of_may.holds(value), expected, "{value}");
        }
    }

    /// Data folders of those releases hold these tests, and the answers to them.
    #[test]
    fn what_former_releases_asked_is_known() {
        let included = |text| Bound::Included(number(text));
        let range = |min, max| Some(Predicate::Range { min, max });
        let of = |min, max| Predicate::Number { min, max }.former();
        assert_eq!(of(included("0.01"), Bound::Unbounded), range(Some(0.01), None));
        assert_eq!(of(included("1"), included("2.5")), range(Some(1.0), Some(2.5)));
        assert_eq!(of(Bound::Excluded(number("1")), Bound::Unbounded), None);
        assert_eq!(Predicate::Numbers(vec![number("2.5")]).former(), range(Some(2.5), Some(2.5)));
        assert_eq!(Predicate::Numbers(vec![number("1"), number("2")]).former(), None);
        assert_eq!(Predicate::Exists.former(), None);
    }

    #[test]
    fn a_test_without_an_answer_is_unknown() {
        let one = |test, answer| Conditions::One(Condition { test, answer });
        let either = Conditions::Any(vec![one(0, true), one(5, true), one(5, false)]);
        assert!(either.hold(&[true]));
        assert!(!either.hold(&[false]));
        assert!(!Conditions::All(vec![one(0, false), one(5, false)]).hold(&[false]));
        assert!(Conditions::All(vec![]).hold(&[]) && !Conditions::Any(vec![]).hold(&[true]));
    }
}
