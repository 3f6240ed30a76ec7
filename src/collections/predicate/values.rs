//! The values of a list, in which a value is looked up: a list may have thousands of values, and every row is looked
//! up.

use super::Literal;
use dataflows::Decimal;
use serde::{Deserialize, Serialize};

/// A set of literals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Values {
    null: bool,
    /// Sorted, without repeats.
    texts: Vec<String>,
    /// Sorted, without repeats.
    numbers: Vec<Decimal>,
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
    pub fn null(&self) -> bool {
        self.null
    }

    /// Sorted, without repeats.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Sorted, without repeats.
    pub fn numbers(&self) -> &[Decimal] {
        &self.numbers
    }

    pub fn has_text(&self, text: &str) -> bool {
        self.texts.binary_search_by(|other| other.as_str().cmp(text)).is_ok()
    }

    pub fn has_number(&self, number: Decimal) -> bool {
        self.numbers.binary_search(&number).is_ok()
    }

    /// Returns the texts, if there is nothing else.
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
