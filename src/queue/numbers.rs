//! The two ways to name a source: its number, which is durable, and its index in the configuration at hand.

use crate::collections::place::SourceIndex;
use serde::{Deserialize, Serialize};

/// The number of a source in a data folder. A `Source` record of the control partition gives it to a name, for ever.
/// Deliveries and cursors carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceNumber(pub u16);

/// The numbers of the sources of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// By index.
    numbers: Vec<SourceNumber>,
    /// By number. Numbers of sources that are no longer configured have none.
    indexes: Vec<Option<SourceIndex>>,
}

impl Numbers {
    /// `numbers`: of each source of the configuration, in its order. No two are equal.
    pub fn new(numbers: Vec<SourceNumber>) -> Numbers {
        let end = numbers.iter().map(|number| usize::from(number.0) + 1).max().unwrap_or(0);
        let mut indexes = vec![None; end];
        for (index, number) in (0..).map(SourceIndex).zip(&numbers) {
            indexes[usize::from(number.0)] = Some(index);
        }
        Numbers { numbers, indexes }
    }

    /// Returns the numbers of the sources, in the order of the configuration.
    pub fn all(&self) -> &[SourceNumber] {
        &self.numbers
    }

    /// # Panics
    /// If the configuration has no source of this index.
    pub fn number(&self, index: SourceIndex) -> SourceNumber {
        self.numbers[usize::from(index.0)]
    }

    /// Returns the index of a source; `None` if the configuration does not have it any more.
    pub fn index(&self, number: SourceNumber) -> Option<SourceIndex> {
        self.indexes.get(usize::from(number.0)).copied().flatten()
    }

    /// Returns the number of sources of the configuration.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_number_wherever_it_stands() {
        let numbers = Numbers::new([5, 0, 2].map(SourceNumber).to_vec());
        assert_eq!(numbers.count(), 3);
        let indexes: Vec<_> = (0..8).map(|number| numbers.index(SourceNumber(number)).map(|index| index.0)).collect();
        assert_eq!(indexes, [Some(1), None, Some(2), None, None, Some(0), None, None]);
        assert!([0, 1, 2].map(SourceIndex).iter().all(|index| numbers.index(numbers.number(*index)) == Some(*index)));
    }
}
