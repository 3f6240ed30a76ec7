//! What goes into sequences: the steps that an event is.

use crate::identity::UserKey;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a sequence is followed for: one key of one sequence. Ordered by key, as workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Track {
    /// The user, or the hash of another field.
    pub key: UserKey,
    /// Index of the sequence among the definitions.
    pub sequence: u16,
}

/// The values that activities are broken down by; `None`: the event has no such value.
pub type Breakdown = Arc<Vec<Option<Arc<str>>>>;

/// An event that is a step of a sequence, or breaks one off.
///
/// The derived order is the one in which events follow each other: by time, then by the lowest step that they are, so that
/// events of one microsecond may follow each other, then by content. Equal step events are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepEvent {
    /// When it happened.
    pub time: EventTime,
    /// The lowest of its steps; one that is no step comes behind all of its time.
    lowest: u8,
    /// A bit for each step that it is.
    pub steps: u8,
    /// A bit for each exception that it is.
    pub breaks: u8,
    /// Tells events of one time and of the same steps apart.
    pub content: u32,
    /// Of a first step: what activities are broken down by.
    pub by: Option<Breakdown>,
}

impl StepEvent {
    /// Makes a step event of the bits of its steps and exceptions.
    pub fn new(time: EventTime, steps: u8, breaks: u8, content: u32, by: Option<Breakdown>) -> StepEvent {
        // Without a bit of the first step, a breakdown is of no activity.
        let by = by.filter(|_| steps & 1 == 1);
        StepEvent { time, lowest: steps.trailing_zeros() as u8, steps, breaks, content, by }
    }

    /// Less than or equal to all others of its time: where to seek to.
    pub(crate) fn at(time: EventTime) -> StepEvent {
        StepEvent { time, lowest: 0, steps: 0, breaks: 0, content: 0, by: None }
    }

    pub(crate) fn is(&self, step: u8) -> bool {
        self.steps >> step & 1 == 1
    }

    /// Takes what another event of the same time is.
    pub(crate) fn join(&mut self, other: &StepEvent) {
        if self.steps & 1 == 0 {
            self.by.clone_from(&other.by);
        }
        self.steps |= other.steps;
        self.breaks |= other.breaks;
    }
}

/// A step event that is not given to its track yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Step {
    /// Index of the sequence.
    pub sequence: u16,
    /// `None`: the user of the event.
    pub key: Option<UserKey>,
    /// What it is.
    pub event: StepEvent,
}

/// A step event of a track, and how often it comes.
pub type StepRow = ((Track, StepEvent), isize);
