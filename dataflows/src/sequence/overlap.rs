//! Every event of the first step as an attempt of its own.

use super::definition::Definition;
use super::event::{Activity, State};
use crate::step::StepEvent;
use crate::time::EventTime;
use std::collections::VecDeque;

/// Gives each attempt that begins among `events`, up to `last`: what becomes of one is known from the events up to `within`
/// after it. `events` come in order, and those of one time joined where they do not follow each other.
///
/// Attempts of one level advance and break together, and earlier ones never lag behind later ones: each moves once a level.
pub(super) fn overlap(events: &[StepEvent], definition: &Definition, last: EventTime, emit: &mut impl FnMut(Activity)) {
    let required = definition.required();
    // Of the level of each, in the order of their starts.
    let mut levels: Vec<VecDeque<Activity>> = vec![VecDeque::new(); required.len()];
    for event in events {
        for level in &mut levels {
            while let Some(activity) =
                level.pop_front_if(|activity| event.time.micros() - activity.start.time.micros() > definition.within())
            {
                emit(activity);
            }
        }
        for (_, except) in definition.excepts().iter().enumerate().filter(|(bit, _)| event.breaks >> bit & 1 == 1) {
            for level in except.from..except.to {
                if level + 1 == except.to && event.is(required[usize::from(except.to)]) {
                    continue;
                }
                for mut activity in levels[usize::from(level)].drain(..) {
                    activity.end(State::Broken, event.time);
                    emit(activity);
                }
            }
        }
        for optional in definition.optional().iter().filter(|optional| event.is(optional.step)) {
            let before = usize::from(optional.after);
            if !event.is(required[before]) {
                levels[before - 1].iter_mut().for_each(|activity| activity.pass(optional.step, event.time));
            }
        }
        for level in (0..required.len()).rev().filter(|level| event.is(required[*level])) {
            let mut advanced = if level == 0 {
                VecDeque::from_iter((event.time <= last).then(|| Activity::begin(event.clone())))
            } else {
                let mut advanced = std::mem::take(&mut levels[level - 1]);
                advanced.iter_mut().for_each(|activity| activity.reach(required[level], event.time));
                advanced
            };
            if level + 1 < required.len() {
                levels[level].append(&mut advanced);
                continue;
            }
            for mut activity in advanced {
                activity.end(State::Matched, event.time);
                emit(activity);
            }
        }
    }
    levels.into_iter().flatten().for_each(emit);
}
