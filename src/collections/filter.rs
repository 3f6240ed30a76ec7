//! Predicates over the rows of a collection: what readers and sinks say they want.
//!
//! ```text
//! any   = all ("or" all)*
//! all   = one ("and" one)*
//! one   = "not" one | "(" any ")" | FIELD op VALUE | FIELD "in" "(" VALUE ("," VALUE)* ")"
//!       | FIELD "starts_with" TEXT | FIELD "has" TEXT
//! op    = "=" | "!=" | "<" | "<=" | ">" | ">="
//! FIELD = a column, or classes.NAME: how many events of a class a session has
//! VALUE = "text" | 12 | -1.5 | null
//! ```
//! `has` asks whether a session has an event of a class. Nothing is less or greater than null.

mod parse;
#[cfg(test)]
mod tests;
mod values;

use crate::collections::{Row, Schema, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
pub use values::Values;

/// A filter that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter is wrong at character {at}: {message}")]
pub struct FilterError {
    /// From 1.
    pub at: usize,
    pub message: String,
}

/// A predicate, bound to the columns of one collection.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare(Field, Op, Literal),
    /// One of these.
    In(Field, Values),
    StartsWith(Field, String),
    /// The column of classes has this one.
    Has(usize, String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Column(usize),
    /// Events of one class, in the column of classes.
    Class(usize, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Text(String),
    /// In millionths.
    Number(i128),
}

/// A value that a matching row has in a column: `(column, text)`.
pub type Anchor = (usize, String);

impl Filter {
    /// Reads a filter of the rows of `schema`.
    ///
    /// # Errors
    /// Where it is wrong, and what would be right.
    pub fn parse(text: &str, schema: &Schema) -> Result<Filter, FilterError> {
        parse::filter(text, schema)
    }

    /// Rows that have `value` in one of the columns that the collection is looked up by.
    pub fn of_key(value: &str, schema: &Schema) -> Filter {
        let columns = schema.collection.lookup().iter().filter_map(|name| schema.column(name));
        let equal = |column| Filter::Compare(Field::Column(column), Op::Equal, Literal::Text(value.to_owned()));
        Filter::any(columns.map(equal).collect())
    }

    /// Rows that fit one of `filters`. What they say of equal values becomes one list for each field, in which a row's value
    /// is looked up.
    pub fn any(filters: Vec<Filter>) -> Filter {
        let mut lists: BTreeMap<Field, Vec<Literal>> = BTreeMap::new();
        let mut others = Vec::new();
        let flat = filters.into_iter().flat_map(|filter| match filter {
            Filter::Any(any) => any,
            filter => vec![filter],
        });
        for filter in flat {
            match filter {
                Filter::Compare(field, Op::Equal, literal) => lists.entry(field).or_default().push(literal),
                Filter::In(field, values) => lists.entry(field).or_default().extend(values.into_literals()),
                filter => others.push(filter),
            }
        }
        others.extend(lists.into_iter().map(|(field, literals)| Filter::one_of(field, literals)));
        if others.len() == 1 { others.remove(0) } else { Filter::Any(others) }
    }

    /// Rows that fit all of `filters`. Values that a field must not have become one list, as in [`Filter::any`].
    pub fn all(filters: Vec<Filter>) -> Filter {
        let mut lists: BTreeMap<Field, Vec<Literal>> = BTreeMap::new();
        let mut others = Vec::new();
        for filter in filters {
            match filter {
                Filter::Compare(field, Op::NotEqual, literal) => lists.entry(field).or_default().push(literal),
                filter => others.push(filter),
            }
        }
        let none_of = |(field, literals)| Filter::Not(Box::new(Filter::one_of(field, literals)));
        others.extend(lists.into_iter().map(none_of));
        if others.len() == 1 { others.remove(0) } else { Filter::All(others) }
    }

    fn one_of(field: Field, mut literals: Vec<Literal>) -> Filter {
        match literals.pop() {
            Some(literal) if literals.is_empty() => Filter::Compare(field, Op::Equal, literal),
            last => Filter::In(field, literals.into_iter().chain(last).collect()),
        }
    }

    pub fn matches(&self, row: &Row<'_>) -> bool {
        match self {
            Filter::All(all) => all.iter().all(|filter| filter.matches(row)),
            Filter::Any(any) => any.iter().any(|filter| filter.matches(row)),
            Filter::Not(filter) => !filter.matches(row),
            Filter::Compare(field, op, literal) => compare(&field.value(row), *op, literal),
            Filter::In(field, values) => values.has(&field.value(row)),
            Filter::StartsWith(field, prefix) => {
                field.value(row).text().is_some_and(|text| text.starts_with(prefix.as_str()))
            }
            Filter::Has(column, class) => events(row.value(*column), class) > 0,
        }
    }

    /// Returns how many comparisons a row may take.
    pub fn weight(&self) -> usize {
        match self {
            Filter::All(of) | Filter::Any(of) => of.iter().map(Filter::weight).sum(),
            Filter::Not(filter) => filter.weight(),
            Filter::In(_, values) => values.weight(),
            Filter::Compare(..) | Filter::StartsWith(..) | Filter::Has(..) => 1,
        }
    }

    /// Texts of which every matching row has at least one, each in its column: few, so that rows can be looked up. `None`
    /// if the filter names none.
    pub fn anchors(&self) -> Option<Vec<Anchor>> {
        match self {
            Filter::Compare(Field::Column(column), Op::Equal, Literal::Text(text)) => {
                Some(vec![(*column, text.clone())])
            }
            Filter::In(Field::Column(column), values) => {
                let texts = values.only_texts()?;
                Some(texts.iter().map(|text| (*column, text.clone())).collect())
            }
            Filter::All(all) => all.iter().filter_map(Filter::anchors).min_by_key(Vec::len),
            Filter::Any(any) => {
                any.iter().map(Filter::anchors).collect::<Option<Vec<_>>>().map(|anchors| anchors.concat())
            }
            _ => None,
        }
    }
}

impl Field {
    fn value<'r, 'b>(&self, row: &'r Row<'b>) -> Cow<'r, Value<'b>> {
        match self {
            Field::Column(column) => Cow::Borrowed(row.value(*column)),
            Field::Class(column, class) => Cow::Owned(Value::Integer(events(row.value(*column), class))),
        }
    }
}

fn events(classes: &Value<'_>, class: &str) -> i64 {
    let Value::Classes(classes) = classes else { return 0 };
    let found = classes.binary_search_by(|(name, _)| (*name).cmp(class));
    found.map_or(0, |index| i64::try_from(classes[index].1).unwrap_or(i64::MAX))
}

/// In millionths.
const ONE: i128 = 1_000_000;

fn compare(value: &Value<'_>, op: Op, literal: &Literal) -> bool {
    let ordering = match (value, literal) {
        (Value::Null | Value::Absent, Literal::Null) => Some(Ordering::Equal),
        (value, Literal::Text(other)) => value.text().map(|text| text.as_ref().cmp(other.as_str())),
        (Value::Integer(number), Literal::Number(other)) => Some((i128::from(*number) * ONE).cmp(other)),
        (Value::Decimal(number), Literal::Number(other)) => Some(number.cmp(other)),
        _ => None,
    };
    match (op, ordering) {
        (Op::Equal, ordering) => ordering == Some(Ordering::Equal),
        (Op::NotEqual, ordering) => ordering != Some(Ordering::Equal),
        (Op::Less, ordering) => ordering == Some(Ordering::Less),
        (Op::Greater, ordering) => ordering == Some(Ordering::Greater),
        (Op::AtMost, ordering) => ordering.is_some_and(Ordering::is_le) && *literal != Literal::Null,
        (Op::AtLeast, ordering) => ordering.is_some_and(Ordering::is_ge) && *literal != Literal::Null,
    }
}
