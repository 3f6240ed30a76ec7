//! A pass over the step events of one key in their order.
//!
//! Attempts that have reached the same level advance, break and match together; of these only the latest counts, as a later
//! start that has got as far makes the earlier ones superfluous. An earlier attempt never lags behind a later one. So a pass
//! remembers one attempt for each level, and two passes in equal states give equal activities from there on.

use super::definition::Definition;
use super::event::{Activity, State};
use crate::step::StepEvent;
use crate::time::EventTime;

/// An attempt that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub activity: Activity,
    /// A match has ended since it began: it is not given up.
    pub covered: bool,
}

/// The latest attempt of each level, the number of required steps that it has reached less one. Attempts of higher levels
/// began earlier. This is all the state there is: nothing in it may depend on how it came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    levels: [Option<Attempt>; Definition::STEPS - 1],
}

impl Scan {
    /// The attempt of the last level before a match; while there is one, earlier attempts do not matter any more.
    pub fn last(&self, definition: &Definition) -> Option<&Attempt> {
        self.levels[..definition.levels() - 1].last()?.as_ref()
    }

    /// The attempts.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.levels.iter().flatten()
    }

    /// Ends the attempts that no event after `now`, or at it, can continue.
    pub fn expire(&mut self, now: EventTime, definition: &Definition, emit: &mut impl FnMut(Activity)) {
        for level in self.levels[..definition.levels() - 1].iter_mut().rev() {
            let Some(attempt) = level else { continue };
            if now.micros() - attempt.activity.start.time.micros() <= definition.within() {
                return;
            }
            level.take().into_iter().for_each(|attempt| give_up(attempt, emit));
        }
    }

    /// Ends all attempts.
    pub fn finish(&mut self, emit: &mut impl FnMut(Activity)) {
        self.levels.iter_mut().filter_map(Option::take).for_each(|attempt| give_up(attempt, emit));
    }

    /// Takes the next event.
    pub fn step(&mut self, event: &StepEvent, definition: &Definition, emit: &mut impl FnMut(Activity)) {
        self.expire(event.time, definition, emit);
        let required = definition.required();
        let mut breaks = event.breaks;
        while breaks != 0 {
            let except = definition.excepts().get(breaks.trailing_zeros() as usize);
            breaks &= breaks - 1;
            let Some(except) = except else { continue };
            for level in except.from..except.to {
                // An event that is itself the step behind the exception's range does not lie within it.
                let reaches_end = level + 1 == except.to && event.is(required[usize::from(except.to)]);
                if let Some(mut attempt) = self.levels[usize::from(level)].take_if(|_| !reaches_end) {
                    attempt.activity.end(State::Broken, event.time);
                    give_up(attempt, emit);
                }
            }
        }
        for optional in definition.optional() {
            let before = usize::from(optional.after);
            if event.is(optional.step)
                && !event.is(required[before])
                && let Some(attempt) = &mut self.levels[before - 1]
            {
                attempt.activity.pass(optional.step, event.time);
            }
        }
        // From the last step to the first, so that no event is two steps of one attempt.
        for level in (0..required.len()).rev().filter(|level| event.is(required[*level])) {
            let attempt = if level == 0 {
                Attempt { activity: Activity::begin(event.clone()), covered: false }
            } else {
                let Some(mut attempt) = self.levels[level - 1].take() else { continue };
                attempt.activity.reach(required[level], event.time);
                attempt
            };
            if level + 1 < required.len() {
                self.levels[level] = Some(attempt);
                continue;
            }
            let mut activity = attempt.activity;
            activity.end(State::Matched, event.time);
            emit(activity);
            // They all began after the match did.
            self.levels.iter_mut().flatten().for_each(|attempt| attempt.covered = true);
        }
    }
}

fn give_up(attempt: Attempt, emit: &mut impl FnMut(Activity)) {
    if !attempt.covered {
        emit(attempt.activity);
    }
}
