//! Which steps of sequences an event is, by its class.
//!
//! A class is the one that the rules give when the event is read, as for the cues of session policies: an event keeps its
//! steps when rules change later.

use super::{Batch, Interpreter, intern};
use crate::reading::Reading;
use crate::spec::SequenceSpec;
use dataflows::record::{self, Rank};
use dataflows::sequence::{Step, StepEvent};
use dataflows::{EventTime, SignatureId};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// What the events of a signature are of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub sequence: u16,
    /// A bit for each step.
    pub steps: u8,
    /// A bit for each exception.
    pub breaks: u8,
}

pub(super) type Parts = SmallVec<[Part; 2]>;

#[derive(Default)]
pub(super) struct Steps {
    parts: HashMap<SignatureId, Parts, foldhash::fast::FixedState>,
}

impl Steps {
    /// Remembers what the class of a signature is of each sequence.
    pub fn classify(&mut self, signature: SignatureId, class: &str, sequences: &[SequenceSpec]) {
        let bits =
            |named: &[String]| (0..).zip(named).fold(0, |bits, (bit, name)| bits | u8::from(name == class) << bit);
        let parts = (0..).zip(sequences).map(|(sequence, spec)| Part {
            sequence,
            steps: bits(&spec.steps),
            breaks: bits(&spec.excepts),
        });
        let parts: Parts = parts.filter(|part| part.steps != 0 || part.breaks != 0).collect();
        if !parts.is_empty() {
            self.parts.insert(signature, parts);
        }
    }

    pub fn forget(&mut self) {
        self.parts.clear();
    }

    /// Returns what an event of this signature is of each sequence.
    #[inline]
    pub fn of(&self, signature: SignatureId) -> Option<&Parts> {
        self.parts.get(&signature)
    }
}

impl Interpreter {
    /// Returns what an event is of sequences.
    #[inline]
    pub(super) fn steps(
        &mut self,
        reading: &Reading,
        time: EventTime,
        (signature, rank): (SignatureId, Rank),
        batch: &mut Batch,
    ) -> Option<Box<record::Steps>> {
        let parts = self.steps.as_ref()?.of(signature)?.clone();
        let content = rank.content(signature);
        let spec = Arc::clone(&self.spec);
        let mut texts = std::mem::take(&mut self.texts);
        let steps = parts.into_iter().filter_map(|Part { sequence, steps, breaks }| {
            let SequenceSpec { per, by, .. } = &spec.sequences[usize::from(sequence)];
            let first = |field: usize| {
                let value = reading.first(self.field(reading, field)?)?;
                (!self.absent.has(value.text)).then(|| self.bounded(value.text))
            };
            let key = match per.map(first) {
                None => None,
                Some(Some(text)) => Some(text.into_owned()),
                Some(None) => {
                    *batch.keyless.entry(sequence).or_default() += 1;
                    return None;
                }
            };
            let by = (!by.is_empty() && steps & 1 == 1).then(|| {
                Arc::new(by.iter().map(|field| first(*field).map(|text| intern(&mut texts, &text))).collect())
            });
            let key = key.map(|text| self.names.key(&text, &mut batch.input));
            Some(Step { sequence, key, event: StepEvent::new(time, steps, breaks, content, by) })
        });
        let steps: record::Steps = steps.collect();
        self.texts = texts;
        (!steps.is_empty()).then(|| Box::new(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_every_step_that_names_it() {
        let spec = |steps: &[&str], excepts: &[&str]| SequenceSpec {
            steps: steps.iter().map(|class| (*class).into()).collect(),
            excepts: excepts.iter().map(|class| (*class).into()).collect(),
            ..SequenceSpec::default()
        };
        let sequences = [spec(&["a", "b", "a"], &[]), spec(&["c"], &["x", "a"]), spec(&["b"], &[])];
        let mut steps = Steps::default();
        steps.classify(SignatureId(1), "a", &sequences);
        steps.classify(SignatureId(2), "y", &sequences);
        let part = |sequence, steps, breaks| Part { sequence, steps, breaks };
        assert_eq!(steps.of(SignatureId(1)).unwrap().as_slice(), [part(0, 0b101, 0), part(1, 0, 0b10)]);
        assert_eq!(steps.of(SignatureId(2)), None);
    }
}
