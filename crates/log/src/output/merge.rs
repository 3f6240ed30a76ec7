//! Rows of several sources, in one order.

use super::block::{Canonical, RowStream, too_often};
use crate::Tick;
use crate::error::LogError;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// Rows of several sources, each sorted by bytes, merged in that order. Equal rows are added up, and left out if they come to
/// nothing.
pub struct Merge<I> {
    collection: String,
    sources: Vec<I>,
    /// The next row of each source, the source, how often the row is there.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize, i64)>>,
    begun: bool,
}

impl<I: Iterator<Item = Result<(Vec<u8>, i64), LogError>>> Merge<I> {
    /// `collection`: named in errors.
    pub fn new(collection: &str, sources: Vec<I>) -> Merge<I> {
        Merge { collection: collection.to_owned(), sources, heads: BinaryHeap::new(), begun: false }
    }

    fn read(&mut self) -> Result<Option<(Vec<u8>, i64)>, LogError> {
        if !std::mem::replace(&mut self.begun, true) {
            (0..self.sources.len()).try_for_each(|source| self.fill(source))?;
        }
        while let Some(Reverse((row, source, mut sum))) = self.heads.pop() {
            self.fill(source)?;
            while self.heads.peek().is_some_and(|Reverse((other, ..))| *other == row) {
                let Some(Reverse((_, source, diff))) = self.heads.pop() else { break };
                sum = sum.checked_add(diff).ok_or_else(|| too_often(&self.collection))?;
                self.fill(source)?;
            }
            if sum != 0 {
                return Ok(Some((row, sum)));
            }
        }
        Ok(None)
    }

    fn fill(&mut self, source: usize) -> Result<(), LogError> {
        let next = self.sources[source].next().transpose()?;
        self.heads.extend(next.map(|(row, diff)| Reverse((row, source, diff))));
        Ok(())
    }
}

impl<I: Iterator<Item = Result<(Vec<u8>, i64), LogError>>> Iterator for Merge<I> {
    type Item = Result<(Vec<u8>, i64), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The rows of several workers for one tick, as if they were of one.
pub struct Union<'r>(pub Vec<&'r dyn Canonical>);

impl Canonical for Union<'_> {
    fn tick(&self) -> (Tick, i64) {
        self.0.first().map_or((0, 0), |one| one.tick())
    }

    fn collections(&self) -> Vec<String> {
        self.0.iter().flat_map(|one| one.collections()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn rows<'r>(&'r self, collection: &str) -> Result<RowStream<'r>, LogError> {
        let sources = self.0.iter().map(|one| one.rows(collection)).collect::<Result<_, _>>()?;
        Ok(Box::new(Merge::new(collection, sources)))
    }
}
