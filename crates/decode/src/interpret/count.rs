//! What an event adds to counts: for each one whose condition holds, the key of a group and the values that are summed.
//!
//! As with states, a class is the one that the rules give when the event is read.

use super::{Interpreter, intern};
use crate::reading::Reading;
use crate::spec::{By, CountSpec};
use dataflows::group::{Cell, GroupKey, Sum, Totals};
use dataflows::record::Counted;
use dataflows::{Decimal, Descriptor, EventTime, SignatureId};
use std::collections::HashMap;
use std::sync::Arc;

/// By signature, the counts whose condition holds. Signatures that none counts are left out.
#[derive(Default)]
pub(super) struct Counts {
    fits: HashMap<SignatureId, Arc<Fit>, foldhash::fast::FixedState>,
}

/// The events of one signature, as counts see them.
struct Fit {
    class: Arc<str>,
    kind: Option<Arc<str>>,
    /// Indexes in the specification. Not empty.
    counts: Vec<usize>,
}

impl Counts {
    /// Remembers which counts count the events of a signature.
    pub fn classify(&mut self, signature: SignatureId, descriptor: &Descriptor, class: &str, counts: &[CountSpec]) {
        let holds = |count: &CountSpec| {
            let when = count.when.as_ref();
            when.is_none_or(|when| when.holds(&descriptor.answers, class))
        };
        let counts: Vec<usize> = (0..counts.len()).filter(|index| holds(&counts[*index])).collect();
        if !counts.is_empty() {
            let fit = Fit { class: Arc::from(class), kind: descriptor.kind.clone(), counts };
            self.fits.insert(signature, Arc::new(fit));
        }
    }

    pub fn forget(&mut self) {
        self.fits.clear();
    }
}

impl Interpreter {
    /// Returns what an event adds to counts, if there is anything.
    pub(super) fn counted(
        &mut self,
        reading: &Reading,
        user: Option<&str>,
        time: Option<EventTime>,
        signature: SignatureId,
    ) -> Option<Box<Counted>> {
        let fit = self.counts.fits.get(&signature).map(Arc::clone)?;
        let spec = Arc::clone(&self.spec);
        let mut counted = Counted::new();
        for index in &fit.counts {
            let CountSpec { number, by, sums, .. } = &spec.counts[*index];
            let text = |text: Option<Arc<str>>| text.map_or(Cell::Null, Cell::Text);
            let cells = by.iter().map(|by| match by {
                By::Field(field) => text(self.shown(reading, *field)),
                By::User => text(user.map(|user| intern(&mut self.texts, user))),
                By::Class => Cell::Text(Arc::clone(&fit.class)),
                By::Type => text(fit.kind.clone()),
                By::Time(bucket) => time.map_or(Cell::Null, |time| Cell::Time(bucket.start(time))),
            });
            let key = GroupKey { count: *number, cells: Some(cells.collect()) };
            let sums = sums.iter().map(|field| self.summed(reading, *field)).collect();
            counted.push((key, Totals { rows: 1, sums }));
        }
        Some(Box::new(counted))
    }

    /// Returns the sum of all values that an event has of a field.
    fn summed(&self, reading: &Reading, field: usize) -> Sum {
        let mut sum = Sum::default();
        for value in self.field(reading, field).into_iter().flat_map(|slot| reading.all(slot)) {
            match Decimal::summand(value.text) {
                Some(number) => {
                    sum.sum = sum.sum.saturating_add(number);
                    sum.numbers += 1;
                }
                None => sum.others += 1,
            }
        }
        sum
    }
}
