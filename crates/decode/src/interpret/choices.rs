//! The choices made for earlier events. Those of one writer have values at the same paths, and so the same candidates.

use super::choose::{Best, Ranks};
use crate::reading::{Reading, Slot};

/// The best candidates by the slots that have values, remembered for a bounded number of shapes. A choice is a function
/// of the slots alone, so what is remembered changes no answer.
#[derive(Default)]
pub(super) struct Choices {
    /// By the last bits of the shape. Empty until the first event.
    made: Vec<Choice>,
}

#[derive(Clone, Default)]
struct Choice {
    slots: Vec<Slot>,
    best: Best,
}

/// Shapes whose choice is remembered at a time. A power of two.
const REMEMBERED: usize = 64;

/// Values of an event whose choice is remembered. Few events have more at paths that are asked for.
const LONGEST: usize = 64;

impl Choices {
    /// Returns by role the first candidate that has a value, whatever the value is.
    #[inline]
    pub fn of(&mut self, reading: &Reading, ranks: &[Ranks]) -> Best {
        let shape = reading.shape.map_or(0, |shape| shape.0);
        match self.made.get(shape as usize % REMEMBERED) {
            Some(choice) if reading.is_at(&choice.slots) => choice.best,
            _ => self.make(reading, ranks),
        }
    }

    #[cold]
    fn make(&mut self, reading: &Reading, ranks: &[Ranks]) -> Best {
        let best = Best::of(reading, ranks);
        if reading.len() <= LONGEST {
            self.made.resize(REMEMBERED, Choice::default());
            let shape = reading.shape.map_or(0, |shape| shape.0);
            let choice = &mut self.made[shape as usize % REMEMBERED];
            choice.slots.clear();
            choice.slots.extend(reading.slots());
            choice.best = best;
        }
        best
    }
}
