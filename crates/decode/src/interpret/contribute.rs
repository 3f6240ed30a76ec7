//! What an event contributes to states: for each state an entity, and a value for each aggregate whose condition holds.
//!
//! As with session policies, a class is the one that the rules give when the event is read.

use super::{Interpreter, intern};
use crate::reading::Reading;
use crate::spec::{StateSpec, Take};
use dataflows::record::{Contributions, Rank};
use dataflows::state::{Contribution, Given, Item};
use dataflows::{Decimal, Descriptor, EventTime, SignatureId};
use std::collections::HashMap;

/// By signature and state, the aggregates whose condition holds: a bit for each.
#[derive(Default)]
pub(super) struct Asked {
    bits: HashMap<SignatureId, Box<[u64]>, foldhash::fast::FixedState>,
}

impl Asked {
    /// Remembers which conditions the events of a signature fulfil.
    pub fn classify(&mut self, signature: SignatureId, descriptor: &Descriptor, class: &str, states: &[StateSpec]) {
        let bits = states.iter().map(|state| {
            let holds = state.inputs.iter().map(|input| {
                let when = input.when.as_ref();
                when.is_none_or(|when| when.holds(&descriptor.answers, class))
            });
            holds.enumerate().fold(0, |bits, (index, holds)| bits | u64::from(holds) << index)
        });
        self.bits.insert(signature, bits.collect());
    }

    pub fn forget(&mut self) {
        self.bits.clear();
    }
}

impl Interpreter {
    /// Returns what an event of this time contributes. Names of entities go into `names`.
    pub(super) fn contributions(
        &mut self,
        reading: &Reading,
        time: EventTime,
        signature: SignatureId,
        rank: Rank,
        input: &mut dataflows::engine::Input,
    ) -> Option<Box<Contributions>> {
        let spec = std::sync::Arc::clone(&self.spec);
        let mut contributions = Contributions::new();
        for (index, state) in spec.states.iter().enumerate() {
            let bits = self.asked.bits.get(&signature).map_or(0, |bits| bits[index]);
            if bits == 0 {
                continue;
            }
            let entity = match state.entity {
                None => None,
                Some(field) => {
                    let value = self.field(reading, field).and_then(|slot| reading.first(slot));
                    let Some(value) = value.filter(|value| !self.absent.has(value.text)) else { continue };
                    let text = self.bounded(value.text).into_owned();
                    Some(self.names.key(&text, input))
                }
            };
            let mut given = Vec::with_capacity(bits.count_ones() as usize);
            for (aggregate, taken) in (0..).zip(&state.inputs) {
                if bits >> aggregate & 1 == 1 {
                    self.give(reading, aggregate, taken.take, &mut given);
                }
            }
            if !given.is_empty() {
                let item = Item { time, rank, given: given.into_boxed_slice() };
                contributions.push(Contribution { state: state.number, entity, item });
            }
        }
        (!contributions.is_empty()).then(|| Box::new(contributions))
    }

    fn give(&mut self, reading: &Reading, aggregate: u8, take: Take, given: &mut Vec<(u8, Given)>) {
        let values = |field| self.field(reading, field).into_iter().flat_map(|slot| reading.all(slot));
        match take {
            Take::Event => given.push((aggregate, Given::Event)),
            Take::Numbers(field) => given.extend(values(field).map(|value| {
                let number = Decimal::summand(value.text);
                (aggregate, number.map_or(Given::NotNumber, Given::Number))
            })),
            Take::Text(field) | Take::Texts(field) => {
                let most = if matches!(take, Take::Text(_)) { 1 } else { usize::MAX };
                let mut texts = std::mem::take(&mut self.texts);
                let values = self.field(reading, field).into_iter().flat_map(|slot| reading.all(slot));
                for value in values.filter(|value| !value.text.is_empty()).take(most) {
                    given.push((aggregate, Given::Text(intern(&mut texts, &self.bounded(value.text)))));
                }
                self.texts = texts;
            }
        }
    }
}
