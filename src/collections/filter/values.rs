//! The values of a list, in which a row's value is looked up: a list may have thousands, and is asked for every row.

use super::{Literal, ONE};
use crate::collections::Value;
use std::borrow::Cow;

/// A set of literals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    null: bool,
    /// Sorted, without repeats.
    texts: Vec<String>,
    /// In millionths; sorted, without repeats.
    numbers: Vec<i128>,
}

impl FromIterator<Literal> for Values {
    fn from_iter<I: IntoIterator<Item = Literal>>(literals: I) -> Values {
        let mut values = Values::default();
        for literal in literals {
            match literal {
                Literal::Null => values.null = true,
                Literal::Text(text) => values.texts.push(text),
                Literal::Number(number) => values.numbers.push(number),
            }
        }
        values.texts.sort_unstable();
        values.texts.dedup();
        values.numbers.sort_unstable();
        values.numbers.dedup();
        values
    }
}

impl Values {
    /// Whether one of the literals equals the value.
    pub fn has(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Null | Value::Absent => self.null,
            Value::Integer(number) => self.numbers.binary_search(&(i128::from(*number) * ONE)).is_ok(),
            Value::Decimal(number) => self.numbers.binary_search(number).is_ok(),
            Value::Classes(_) => false,
            Value::Text(_) | Value::Id(_) | Value::Session(..) | Value::Time(_) | Value::Bytes(_) => {
                let found = |text: Cow<'_, str>| self.texts.binary_search_by(|other| other.as_str().cmp(&text)).is_ok();
                !self.texts.is_empty() && value.text().is_some_and(found)
            }
        }
    }

    /// The texts, if there is nothing else.
    pub fn only_texts(&self) -> Option<&[String]> {
        (!self.null && self.numbers.is_empty()).then_some(&self.texts)
    }

    pub fn into_literals(self) -> impl Iterator<Item = Literal> {
        let texts = self.texts.into_iter().map(Literal::Text);
        let numbers = self.numbers.into_iter().map(Literal::Number);
        texts.chain(numbers).chain(self.null.then_some(Literal::Null))
    }

    /// Comparisons that a look-up takes.
    pub fn weight(&self) -> usize {
        1 + self.texts.len().max(self.numbers.len()).max(1).ilog2() as usize
    }
}
