//! The user's definitions as data. A rule is a row of an input collection: adding, changing or dropping one is an
//! update at a tick, and history follows by itself.
//!
//! Rules never see an event. Each atomic test that any rule makes ([`Test`]) is answered once per event while it is
//! decoded, and the answers are part of the event's signature ([`Descriptor`]); a rule combines answers. So the number
//! of signatures is bounded by the tests and the types, whatever values the fields take, and a changed rule relabels
//! signatures without reading one event again. A rule that needs a test which no signature answered is a replay.

use crate::identity::ShapeId;
use serde::{Deserialize, Serialize};
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
    /// A value is a number, or a text that is one, within these inclusive bounds.
    Range {
        /// `None`: no lower bound.
        min: Option<f64>,
        /// `None`: no upper bound.
        max: Option<f64>,
    },
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

/// A declared class: events for which all conditions hold belong to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// The class that it gives.
    pub name: String,
    /// Higher goes first.
    pub priority: i64,
    /// Among equal priorities, lower goes first: the order in the configuration.
    pub order: u32,
    /// All of these have to hold; none: it claims every event.
    pub when: Vec<Condition>,
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
    /// A test that the descriptor does not answer does not hold, whatever answer is wanted.
    pub fn claims(&self, descriptor: &Descriptor) -> bool {
        self.when.iter().all(|condition| descriptor.answers.get(condition.test as usize) == Some(&condition.answer))
    }
}
