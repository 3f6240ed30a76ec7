//! What sessions take of an event beside its user and time: sums, carried values, cues, and its place among those of its
//! time.

use super::{Interpreter, intern};
use crate::reading::Reading;
use crate::spec::Spec;
use dataflows::record::{Cue, Rank};
use dataflows::{Decimal, Details, EventTime, Measure, Position, SignatureId};
use smallvec::SmallVec;

impl Interpreter {
    pub(super) fn details(
        &mut self,
        reading: &Reading,
        time: Option<EventTime>,
        signature: SignatureId,
        rank: Rank,
    ) -> Option<Box<Details>> {
        let Spec { sums, carry, .. } = &*self.spec;
        if sums.is_empty() && carry.is_empty() && self.cues.is_none() && rank == Rank::default() {
            return None;
        }
        let cue = self.cues.as_ref().map_or_else(Cue::default, |cues| {
            let value = cues.spec.split_on.and_then(|field| reading.first(self.field(reading, field)?));
            let value = value.filter(|value| !self.absent.has(value.text));
            cues.of(time, signature, value.map(|value| value.text))
        });
        let measure = |field: usize| {
            let mut measure = Measure::default();
            for value in self.field(reading, field).into_iter().flat_map(|slot| reading.all(slot)) {
                measure.add(&match Decimal::summand(value.text) {
                    Some(sum) => Measure { sum, numbers: 1, others: 0 },
                    None => Measure { sum: Decimal::ZERO, numbers: 0, others: 1 },
                });
            }
            measure
        };
        let sums = sums.iter().map(|field| measure(*field)).collect();
        let slots: SmallVec<[_; 2]> = carry.iter().map(|field| self.field(reading, *field)).collect();
        let mut texts = std::mem::take(&mut self.texts);
        let mut carry = |slot| reading.first(slot).map(|value| intern(&mut texts, &self.bounded(value.text)));
        let carried = slots.into_iter().map(|slot| slot.and_then(&mut carry)).collect();
        self.texts = texts;
        Some(Box::new(Details { sums, carried, cue, rank }))
    }

    /// Returns the order of an event among those of its time.
    #[inline]
    pub(super) fn rank_of(&self, reading: &Reading, position: Position) -> Rank {
        if self.order.is_none() && !self.by_place {
            return Rank::default();
        }
        let order = self.order.map(|slot| reading.first(slot).and_then(|value| whole(value.text)));
        let places = self.places.filter(|_| self.by_place);
        // One up: the first byte of a file is a place too.
        Rank::new(order, places.map_or(0, |(from, base)| base + (position.offset - from) + 1))
    }
}

/// Returns a number without its fraction.
fn whole(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    let of_decimal = |number: Decimal| i64::try_from(number.millionths().div_euclid(1_000_000)).ok();
    text.parse().ok().or_else(|| Decimal::summand(text).and_then(of_decimal))
}
