//! Sequences, after every check.

use crate::collections::sequences::{SequenceSchema, step_names};
use dataflows::EventTime;
use dataflows::sequence::Definition;
use headwater_decode::spec::SequenceSpec;

/// A sequence: what is recognised, and what decoding looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequencePlan {
    pub name: String,
    pub definition: Definition,
    /// The fields of the breakdown, as they were typed.
    pub by: Vec<String>,
    pub spec: SequenceSpec,
    /// Of a run.
    pub begins: Option<SequenceBegins>,
}

/// Since when a sequence of a run is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceBegins {
    /// Steps come: it was in the configuration when the events at hand came.
    pub counts: bool,
    /// Milliseconds since 1970; `None`: since the first event of the data folder.
    pub since_ms: Option<i64>,
    /// Tells this beginning from others, and from those of other definitions.
    pub id: [u8; 16],
}

impl SequencePlan {
    /// Returns what rows name.
    pub fn schema(&self) -> SequenceSchema {
        let since = self.begins.as_ref().and_then(|begins| begins.since_ms);
        SequenceSchema {
            name: self.name.clone(),
            definition: self.definition.clone(),
            steps: step_names(&self.spec.steps),
            by: self.by.clone(),
            since: since.and_then(|ms| EventTime::from_micros(ms.saturating_mul(1000))),
        }
    }

    /// Returns whether steps come.
    pub fn counts(&self) -> bool {
        self.begins.as_ref().is_none_or(|begins| begins.counts)
    }

    /// Returns what decoding reads.
    pub(super) fn spec(&self) -> SequenceSpec {
        if self.counts() { self.spec.clone() } else { SequenceSpec::default() }
    }
}
