//! What a run of decoding used of what was configured: which candidates gave users, times, types and ids, which paths
//! had a value, and how many times are hard to believe. Counted per event, and handed over with each block.

use crate::reading::Slot;
use crate::spec::Format;
use std::collections::BTreeMap;

/// The counts of the events of one source in one format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By role: events by the candidate that gave the value; the last number is of those without one.
    pub roles: [Vec<u64>; 4],
    /// By slot: some event has a value, an object or an array there.
    pub seen: Vec<bool>,
    /// Event times before 1990.
    pub early: u64,
    /// Event times after the latest that can be expected.
    pub late: u64,
}

/// Counts by source and format.
pub type Usage = BTreeMap<(u16, Format), Used>;

impl Used {
    /// Makes counts of 0: by role the number of candidates, and the number of slots.
    pub fn new(candidates: [usize; 4], slots: usize) -> Used {
        Used { roles: candidates.map(|count| vec![0; count + 1]), seen: vec![false; slots], early: 0, late: 0 }
    }

    /// Adds other counts of the same source and format.
    pub fn add(&mut self, other: &Used) {
        for (sums, counts) in self.roles.iter_mut().zip(&other.roles) {
            sums.resize(counts.len(), 0);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.seen.resize(other.seen.len(), false);
        self.seen.iter_mut().zip(&other.seen).for_each(|(seen, other)| *seen |= other);
        self.early += other.early;
        self.late += other.late;
    }

    /// Counts an event by the candidates that were chosen for it.
    #[inline]
    pub fn event(&mut self, chosen: [Option<usize>; 4]) {
        for (counts, chosen) in self.roles.iter_mut().zip(chosen) {
            let last = counts.len() - 1;
            counts[chosen.unwrap_or(last)] += 1;
        }
    }

    /// Returns whether some event has something at a slot.
    pub fn has_seen(&self, slot: Slot) -> bool {
        self.seen.get(slot as usize).copied().unwrap_or(false)
    }
}

/// Adds the counts of another worker.
pub fn add(to: &mut Usage, other: &Usage) {
    for (of, used) in other {
        to.entry(*of).or_default().add(used);
    }
}
