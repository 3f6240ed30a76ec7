//! Predicates: the one language in which a configuration and a reader choose rows or events.
//!
//! ```text
//! any   = all ("or" all)*
//! all   = one ("and" one)*
//! one   = "not" one | "(" any ")" | FIELD test
//! test  = op VALUE | "is" ["not"] "null" | ["not"] "in" "(" VALUE ("," VALUE)* ")"
//!       | ["not"] "between" VALUE "and" VALUE | ["not"] "like" 'TEXT%' | ["not"] place texts ["nocase"]
//!       | ["not"] "matches" EXPRESSION | "has" TEXT
//! place = "starts_with" | "ends_with" | "contains"
//! texts = TEXT | "(" TEXT ("," TEXT)* ")"
//! op    = "=" | "<>" | "<" | "<=" | ">" | ">="     also == and !=
//! FIELD = of rows a column, or classes.NAME: how many events of a class a session has; of events a field, or a path
//! VALUE = 'text' | "text" | 12 | -1.5 | true | false | null
//! ```
//! A strict subset of SQL, with the same meaning. A comparison with a field that is null or absent is *unknown*, and so
//! is `not` of it. A predicate chooses a row or an event only if it is true. Beside SQL there are `has`, which asks
//! whether a session has an event of a class, the tests of a part of a text, and texts in double quotes. `nocase` behind
//! texts makes upper and lower case the same, also behind those of `=` and `in`. `= null` means `is null`, also
//! in a list.
//!
//! The tree knows neither rows nor events: `F` is a field of either. [`super::filter`] evaluates it on rows. For events
//! it becomes conditions on the answers of tests (`config/rules.rs`).

mod parse;
mod values;

pub use parse::{Found, Kind, Name, Names, parse};
pub use values::Values;

use dataflows::Decimal;
use dataflows::rules::{Pattern, TextTest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// A predicate that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at character {at}: {message}")]
pub struct PredicateError {
    /// From 1.
    pub at: usize,
    /// The same place in bytes, and where it ends.
    pub bytes: Range<usize>,
    pub message: String,
}

/// A predicate, bound to fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicate<F> {
    All(Vec<Predicate<F>>),
    Any(Vec<Predicate<F>>),
    Not(Box<Predicate<F>>),
    Compare(F, Op, Literal),
    /// From the first to the second, both included; both texts, or both numbers.
    Between(F, Literal, Literal),
    /// One of these.
    In(F, Values),
    StartsWith(F, String),
    /// Has one of some texts somewhere.
    Texts(F, TextTest),
    /// Matches a regular expression.
    Matches(F, Pattern),
    /// A column of classes has this one.
    Has(F, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    Null,
    Text(String),
    Number(Decimal),
}

impl<F: Ord> Predicate<F> {
    /// Any of them. Their comparisons with equal values become one list for each field, in which a value is looked up.
    pub fn any(predicates: Vec<Predicate<F>>) -> Predicate<F> {
        let mut lists: BTreeMap<F, Vec<Literal>> = BTreeMap::new();
        let mut others = Vec::new();
        let flat = predicates.into_iter().flat_map(|predicate| match predicate {
            Predicate::Any(any) => any,
            predicate => vec![predicate],
        });
        for predicate in flat {
            match predicate {
                Predicate::Compare(field, Op::Equal, literal) => lists.entry(field).or_default().push(literal),
                Predicate::In(field, values) => lists.entry(field).or_default().extend(values.into_literals()),
                predicate => others.push(predicate),
            }
        }
        others.extend(lists.into_iter().map(|(field, literals)| Predicate::one_of(field, literals)));
        if others.len() == 1 { others.remove(0) } else { Predicate::Any(others) }
    }

    /// Returns all of them. Values that a field must not have become one list, as in [`Predicate::any`].
    pub fn all(predicates: Vec<Predicate<F>>) -> Predicate<F> {
        let mut lists: BTreeMap<F, Vec<Literal>> = BTreeMap::new();
        let mut others = Vec::new();
        for predicate in predicates {
            match predicate {
                Predicate::Compare(field, Op::NotEqual, literal) => lists.entry(field).or_default().push(literal),
                predicate => others.push(predicate),
            }
        }
        let none_of = |(field, literals)| Predicate::Not(Box::new(Predicate::one_of(field, literals)));
        others.extend(lists.into_iter().map(none_of));
        if others.len() == 1 { others.remove(0) } else { Predicate::All(others) }
    }

    fn one_of(field: F, mut literals: Vec<Literal>) -> Predicate<F> {
        match literals.pop() {
            Some(literal) if literals.is_empty() => Predicate::Compare(field, Op::Equal, literal),
            last => Predicate::In(field, literals.into_iter().chain(last).collect()),
        }
    }
}

impl<F> Predicate<F> {
    /// Returns the largest number of comparisons that it takes.
    pub fn weight(&self) -> usize {
        match self {
            Predicate::All(of) | Predicate::Any(of) => of.iter().map(Predicate::weight).sum(),
            Predicate::Not(predicate) => predicate.weight(),
            Predicate::In(_, values) => values.weight(),
            Predicate::Texts(_, texts) => texts.texts.len(),
            Predicate::Compare(..)
            | Predicate::Between(..)
            | Predicate::StartsWith(..)
            | Predicate::Matches(..)
            | Predicate::Has(..) => 1,
        }
    }

    /// Returns the same predicate of other fields.
    pub fn map<G>(self, of: &impl Fn(F) -> G) -> Predicate<G> {
        let each = |all: Vec<Predicate<F>>| all.into_iter().map(|one| one.map(of)).collect();
        match self {
            Predicate::All(all) => Predicate::All(each(all)),
            Predicate::Any(any) => Predicate::Any(each(any)),
            Predicate::Not(predicate) => Predicate::Not(Box::new(predicate.map(of))),
            Predicate::Compare(field, op, literal) => Predicate::Compare(of(field), op, literal),
            Predicate::Between(field, low, high) => Predicate::Between(of(field), low, high),
            Predicate::In(field, values) => Predicate::In(of(field), values),
            Predicate::StartsWith(field, prefix) => Predicate::StartsWith(of(field), prefix),
            Predicate::Texts(field, texts) => Predicate::Texts(of(field), texts),
            Predicate::Matches(field, pattern) => Predicate::Matches(of(field), pattern),
            Predicate::Has(field, class) => Predicate::Has(of(field), class),
        }
    }

    /// Calls `each` with the field of every comparison.
    pub fn fields<'p>(&'p self, each: &mut impl FnMut(&'p F)) {
        match self {
            Predicate::All(of) | Predicate::Any(of) => of.iter().for_each(|predicate| predicate.fields(each)),
            Predicate::Not(predicate) => predicate.fields(each),
            Predicate::Compare(field, ..)
            | Predicate::Between(field, ..)
            | Predicate::In(field, _)
            | Predicate::StartsWith(field, _)
            | Predicate::Texts(field, _)
            | Predicate::Matches(field, _)
            | Predicate::Has(field, _) => each(field),
        }
    }

    /// Returns whether a test of the field of `asked` may be asked and then negated.
    pub fn negates(&self, asked: &impl Fn(&F) -> bool) -> bool {
        self.turned(false, asked)
    }

    fn turned(&self, inside: bool, asked: &impl Fn(&F) -> bool) -> bool {
        match self {
            Predicate::All(of) | Predicate::Any(of) => of.iter().any(|predicate| predicate.turned(inside, asked)),
            Predicate::Not(predicate) => predicate.turned(true, asked),
            Predicate::Compare(_, Op::Equal | Op::NotEqual, Literal::Null) => false,
            Predicate::Compare(field, Op::NotEqual, _) => asked(field),
            Predicate::Compare(field, ..)
            | Predicate::Between(field, ..)
            | Predicate::In(field, _)
            | Predicate::StartsWith(field, _)
            | Predicate::Texts(field, _)
            | Predicate::Matches(field, _)
            | Predicate::Has(field, _) => inside && asked(field),
        }
    }
}

impl Literal {
    /// Returns `true` unless it is null.
    pub fn is_value(&self) -> bool {
        *self != Literal::Null
    }
}
