//! What comes out of sequences: activities.

use super::definition::Definition;
use crate::close::deadline;
use crate::step::StepEvent;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// How far an activity has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Not all steps have come, and they still may.
    Open,
    /// Not all steps have come in time.
    Expired,
    /// All steps have come.
    Matched,
    /// An exception came between two steps.
    Broken,
}

impl State {
    /// Every state, in the order of declaration.
    pub const ALL: [State; 4] = [State::Open, State::Expired, State::Matched, State::Broken];

    /// Returns the stable name of this state in outputs.
    pub fn code(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Expired => "expired",
            State::Matched => "matched",
            State::Broken => "broken",
        }
    }
}

/// Stands for a step that has not come.
const NONE: i64 = -1;

/// A match of a sequence, or an attempt at one, with its evidence. The key and the sequence are held beside it.
///
/// Ordered by its first event, of which no other activity of its key and sequence begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Activity {
    /// The event of the first step.
    pub start: StepEvent,
    /// How far it has come.
    pub state: State,
    /// The number of required steps that have come.
    pub reached: u8,
    /// Microseconds from the first step to each further one, or [`NONE`].
    after: [i64; Definition::STEPS - 1],
    /// Microseconds from the first step to the last one of a match, or to the exception, or [`NONE`].
    ended: i64,
}

impl Activity {
    /// An attempt that begins.
    pub(super) fn begin(start: StepEvent) -> Activity {
        Activity { start, state: State::Open, reached: 1, after: [NONE; Definition::STEPS - 1], ended: NONE }
    }

    /// Less than or equal to the activity that begins with this event: where to seek to.
    pub(super) fn at(start: StepEvent) -> Activity {
        Activity { start, state: State::Open, reached: 0, after: [i64::MIN; Definition::STEPS - 1], ended: i64::MIN }
    }

    /// Takes a required step.
    pub(super) fn reach(&mut self, step: u8, time: EventTime) {
        self.reached += 1;
        self.after[usize::from(step) - 1] = time.micros() - self.start.time.micros();
    }

    /// Takes an optional step, if it has none yet.
    pub(super) fn pass(&mut self, step: u8, time: EventTime) {
        let after = &mut self.after[usize::from(step) - 1];
        if *after == NONE {
            *after = time.micros() - self.start.time.micros();
        }
    }

    /// Ends it in a state that no clock changes.
    pub(super) fn end(&mut self, state: State, time: EventTime) {
        self.state = state;
        self.ended = time.micros() - self.start.time.micros();
    }

    /// Returns the time of each step of the sequence; `None`: it has not come.
    pub fn times(&self, definition: &Definition) -> impl Iterator<Item = Option<EventTime>> {
        let others = self.after[..definition.steps() - 1].iter().map(|after| self.time(*after));
        std::iter::once(Some(self.start.time)).chain(others)
    }

    /// Returns when its last step or the exception came; `None` of one that is given up.
    pub fn ended(&self) -> Option<EventTime> {
        self.time(self.ended)
    }

    /// Returns the microseconds that a match took.
    pub fn took(&self) -> Option<i64> {
        (self.state == State::Matched).then_some(self.ended)
    }

    fn time(&self, after: i64) -> Option<EventTime> {
        (after != NONE).then(|| EventTime::from_micros(self.start.time.micros() + after)).flatten()
    }

    /// Returns when it expires unless it ends before: the first whole second at which no event can be its next step any more.
    pub fn deadline(&self, definition: &Definition) -> EventTime {
        deadline(self.start.time, definition.within())
    }

    /// Returns it as it is at `now`.
    #[must_use]
    pub fn at_time(self, now: EventTime, definition: &Definition) -> Activity {
        let state = match self.state {
            State::Open if self.deadline(definition) <= now => State::Expired,
            state => state,
        };
        Activity { state, ..self }
    }
}
