//! Predicates over the rows of a collection. Readers and sinks use them to choose rows.

#[cfg(test)]
mod tests;

use super::predicate::{self, Found, Kind, Literal, Name, Names, Op, Predicate, PredicateError, Values};
use super::{Row, Schema, Value};
use crate::text::nearest::nearest;
use dataflows::Decimal;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cmp::Ordering;

/// A predicate, bound to the columns of one collection.
pub type Filter = Predicate<Field>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Field {
    Column(usize),
    /// Events of one class, in the column of classes.
    Class(usize, String),
}

/// A value that a matching row has in a column: `(column, text)`.
pub type Anchor = (usize, String);

impl Filter {
    /// Reads a filter of the rows of `schema`.
    ///
    /// # Errors
    /// Where it is wrong, and what would be right.
    pub fn parse(text: &str, schema: &Schema) -> Result<Filter, PredicateError> {
        predicate::parse(text, &mut Columns(schema))
    }

    /// Rows that have `value` in one of the columns that the collection is looked up by.
    pub fn of_key(value: &str, schema: &Schema) -> Filter {
        let columns = schema.collection.lookup().iter().filter_map(|name| schema.column(name));
        let equal = |column| Filter::Compare(Field::Column(column), Op::Equal, Literal::Text(value.to_owned()));
        Filter::any(columns.map(equal).collect())
    }

    pub fn matches(&self, row: &Row<'_>) -> bool {
        self.truth(row) == Some(true)
    }

    /// Returns whether the filter chooses the row; `None` if that is unknown.
    fn truth(&self, row: &Row<'_>) -> Option<bool> {
        match self {
            Filter::All(all) => decided(all.iter().map(|filter| filter.truth(row)), false),
            Filter::Any(any) => decided(any.iter().map(|filter| filter.truth(row)), true),
            Filter::Not(filter) => filter.truth(row).map(|truth| !truth),
            Filter::Compare(field, op, literal) => compare(&field.value(row), *op, literal),
            Filter::Between(field, low, high) => {
                let value = field.value(row);
                Some(compare(&value, Op::AtLeast, low)? && compare(&value, Op::AtMost, high)?)
            }
            Filter::In(field, values) => has(values, &field.value(row)),
            Filter::StartsWith(field, prefix) => of_text(&field.value(row), |text| text.starts_with(prefix.as_str())),
            Filter::Texts(field, texts) => of_text(&field.value(row), |text| texts.holds(text)),
            Filter::Matches(field, pattern) => of_text(&field.value(row), |text| pattern.matches(text)),
            Filter::Has(field, class) => {
                let (Field::Column(column) | Field::Class(column, _)) = field;
                Some(events(row.value(*column), class) > 0)
            }
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

    /// Returns whether releases up to 0.1.0 took rows that this does not take: there `not` of an unknown comparison was
    /// true.
    pub fn took_unknown(&self, schema: &Schema) -> bool {
        self.negates(&|field: &Field| matches!(field, Field::Column(column) if schema.columns[*column].nullable))
    }
}

/// Returns whether a test of a text holds; `None` if there is no value.
fn of_text(value: &Value<'_>, test: impl FnOnce(&str) -> bool) -> Option<bool> {
    match value {
        Value::Null | Value::Absent => None,
        value => Some(value.text().is_some_and(|text| test(&text))),
    }
}

/// Returns whether one of them is `decisive`; else unknown if one of them is.
fn decided(truths: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    let mut unknown = false;
    for truth in truths {
        match truth {
            Some(truth) if truth == decisive => return Some(decisive),
            Some(_) => {}
            None => unknown = true,
        }
    }
    (!unknown).then_some(!decisive)
}

/// The names that a filter may use: the columns of a collection.
pub struct Columns<'s>(pub &'s Schema);

impl Names for Columns<'_> {
    type Field = Field;

    const NOUN: &'static str = "column";
    const EMPTY_IS_ABSENT: bool = false;

    fn find(&mut self, name: &Name) -> Result<Found<Field>, String> {
        let Columns(schema) = self;
        let kind = |column: usize| match schema.columns[column].kind {
            super::Kind::Text | super::Kind::Time | super::Kind::Object => Kind::Text,
            super::Kind::Integer | super::Kind::Decimal => Kind::Number,
            super::Kind::Classes => Kind::Classes,
        };
        if let [column, class] = name.parts.as_slice()
            && let Some(column) = schema.column(column)
            && kind(column) == Kind::Classes
        {
            return Ok(Found { field: Field::Class(column, class.clone()), kind: Kind::Number });
        }
        // The name of a column may have dots.
        let text = name.parts.join(".");
        if let Some(column) = schema.column(&text) {
            return Ok(Found { field: Field::Column(column), kind: kind(column) });
        }
        let names = || schema.columns.iter().map(|column| column.name.as_str());
        let help = match nearest(&text, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the columns are {}", names().collect::<Vec<_>>().join(", ")),
        };
        Err(format!("there is no column `{text}`: {help}"))
    }
}

impl Field {
    /// Returns the value that a row has in it.
    pub(crate) fn value<'r, 'b>(&self, row: &'r Row<'b>) -> Cow<'r, Value<'b>> {
        match self {
            Field::Column(column) => Cow::Borrowed(row.value(*column)),
            Field::Class(column, class) => Cow::Owned(Value::Integer(events(row.value(*column), class))),
        }
    }
}

fn events(classes: &Value<'_>, class: &str) -> i64 {
    let Value::Classes(classes) = classes else { return 0 };
    // The most frequent values of a state are not in the order of names.
    let found = classes.iter().find(|(name, _)| *name == class);
    found.map_or(0, |(_, events)| i64::try_from(*events).unwrap_or(i64::MAX))
}

fn compare(value: &Value<'_>, op: Op, literal: &Literal) -> Option<bool> {
    let is_null = matches!(value, Value::Null | Value::Absent);
    match (op, literal) {
        (Op::Equal, Literal::Null) => return Some(is_null),
        (Op::NotEqual, Literal::Null) => return Some(!is_null),
        (_, Literal::Null) => return None,
        _ if is_null => return None,
        _ => {}
    }
    let ordering = match (value, literal) {
        (value, Literal::Text(other)) => value.text().map(|text| text.as_ref().cmp(other.as_str())),
        (Value::Integer(number), Literal::Number(other)) => Some(Decimal::from(*number).cmp(other)),
        (Value::Decimal(number), Literal::Number(other)) => Some(number.cmp(other)),
        _ => None,
    };
    Some(match op {
        Op::Equal => ordering == Some(Ordering::Equal),
        Op::NotEqual => ordering != Some(Ordering::Equal),
        Op::Less => ordering == Some(Ordering::Less),
        Op::Greater => ordering == Some(Ordering::Greater),
        Op::AtMost => ordering.is_some_and(Ordering::is_le),
        Op::AtLeast => ordering.is_some_and(Ordering::is_ge),
    })
}

/// Returns whether one of the values equals that of a row.
fn has(values: &Values, value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Null | Value::Absent => values.null().then_some(true),
        Value::Integer(number) => Some(values.has_number(Decimal::from(*number))),
        Value::Decimal(number) => Some(values.has_number(*number)),
        // The text of some has to be made first.
        value => Some(!values.texts().is_empty() && value.text().is_some_and(|text| values.has_text(&text))),
    }
}
