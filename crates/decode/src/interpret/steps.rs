//! Which steps of sequences an event is, by its class.
//!
//! A class is the one that the rules give when the event is read, as for the cues of session policies: an event keeps its
//! steps when rules change later.

use crate::spec::SequenceSpec;
use dataflows::SignatureId;
use smallvec::SmallVec;
use std::collections::HashMap;

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
