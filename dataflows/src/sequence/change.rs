//! What the changes of one tick do to the activities of one key: a plain function of its step events before the tick and
//! of the changes.
//!
//! ```text
//! events      . . a   . b .   a . b    a  .   b     of one key, before the tick
//! change                    +
//! rebuild           [······]                        the state just before the change, from a part of the past
//! in step                   [·······]               two passes, over the events before and after the tick
//!                                    ^ in equal states: they give the same from here on
//! ```
//!
//! What the pass over the old events gives is retracted, and what the other one gives is asserted. Nothing else is read: not
//! the activities either, which are computed again. A change reaches back 2 `within` at most: an attempt that is open at the
//! change began at most one before it, and the match that covers that attempt at most one before that.

use super::definition::{Definition, Repeat, Ties};
use super::event::Activity;
use super::overlap::overlap;
use super::scan::Scan;
use crate::step::StepEvent;
use crate::time::EventTime;
use differential_dataflow::consolidation::consolidate;

/// The step events that a key had before this tick, in order.
pub(super) trait Known {
    /// Forgets how far reading has come.
    fn rewind(&mut self);
    /// Skips the events below `least`, if that lies ahead of what was read.
    fn seek(&mut self, least: &StepEvent);
    /// The event at hand, and how often it is there.
    fn peek(&mut self) -> Option<(&StepEvent, isize)>;
    /// Goes on to the next one.
    fn step(&mut self);
}

/// Computes changes of activities. Its memory is used again from key to key.
#[derive(Debug)]
pub(super) struct Change {
    /// Events of the past that are read before it is called dense.
    sparse: usize,
    /// Step events that were read, of the past and of changes.
    pub read: u64,
    /// What has changed.
    pub activities: Vec<(Activity, isize)>,
}

impl Change {
    pub fn new(sparse: usize) -> Change {
        Change { sparse, read: 0, activities: Vec::new() }
    }

    /// Leaves the changes of activities, consolidated: as they are without a clock. `changes` come sorted, one for each event.
    ///
    /// # Panics
    /// If more events go than there are.
    pub fn apply(&mut self, definition: &Definition, changes: &[(StepEvent, isize)], known: &mut impl Known) {
        self.activities.clear();
        match definition.repeat() {
            Repeat::Tight => self.tight(definition, changes, known),
            Repeat::Overlap => self.overlapping(definition, changes, known),
        }
        consolidate(&mut self.activities);
    }

    fn tight(&mut self, definition: &Definition, changes: &[(StepEvent, isize)], known: &mut impl Known) {
        let mut changes = Changes { rest: changes, ties: definition.ties() };
        // The state that the passes ended in, and when; only if the past was long to read.
        let mut ended: Option<(Scan, EventTime)> = None;
        while let Some(first) = changes.next_event() {
            let read = self.read;
            let near = |at: EventTime| first.time.micros() - at.micros() < 2 * definition.within();
            let mut old = match ended.take() {
                Some((scan, at)) if near(at) => self.read_on(scan, &first, definition, known),
                _ => self.rebuild(&first, definition, known),
            };
            let dear = self.read - read > 8 * self.sparse as u64;
            if let Some(at) = self.in_step(&mut old, definition, &mut changes, known)
                && dear
            {
                ended = Some((old, at));
            }
        }
    }

    /// Runs two passes from the state before the next change until their states agree. Returns when that was; `None`: no event
    /// followed within reach, and the passes are finished. `old` is the state that they end in.
    fn in_step(
        &mut self,
        old: &mut Scan,
        definition: &Definition,
        changes: &mut Changes<'_>,
        known: &mut impl Known,
    ) -> Option<EventTime> {
        let Change { read, activities, .. } = self;
        let mut new = old.clone();
        let mut at = changes.next_event()?.time;
        loop {
            let next_change = changes.next_event().map(|event| event.time);
            let next = known.peek().map(|(event, _)| event.time).into_iter().chain(next_change).min();
            // Nothing acts across such a pause.
            if next.is_none_or(|next| next.micros() - at.micros() > definition.within()) {
                old.finish(&mut |activity| activities.push((activity, -1)));
                new.finish(&mut |activity| activities.push((activity, 1)));
                return None;
            }
            if old == &new && next_change.is_none_or(|change| Some(change) > next) {
                return Some(at);
            }
            let (before, after) = changes.next(known, read);
            at = next.unwrap_or(at);
            let mut retract = |activity| activities.push((activity, -1));
            match &before {
                Some(event) => old.step(event, definition, &mut retract),
                None => old.expire(at, definition, &mut retract),
            }
            let mut assert = |activity| activities.push((activity, 1));
            match &after {
                Some(event) => new.step(event, definition, &mut assert),
                None => new.expire(at, definition, &mut assert),
            }
        }
    }

    /// Goes on from an earlier state to the one just before `first`.
    fn read_on(&mut self, mut scan: Scan, first: &StepEvent, definition: &Definition, known: &mut impl Known) -> Scan {
        while let Some(event) = next_known(known, definition.ties(), first, &mut self.read) {
            scan.step(&event, definition, &mut |_| {});
        }
        scan.expire(first.time, definition, &mut |_| {});
        scan
    }

    /// Computes the state just before `first`, and leaves the events there.
    ///
    /// It is exact although a part of the past is read only: once an attempt in it has come as far as the last level, the
    /// earlier ones do not matter. From there on all matches are seen, so an attempt that began later, or is known to be
    /// covered, is as it would be.
    fn rebuild(&mut self, first: &StepEvent, definition: &Definition, known: &mut impl Known) -> Scan {
        let far = 2 * definition.within();
        let (mut back, mut most) = (far, self.sparse);
        loop {
            known.rewind();
            known.seek(&StepEvent::at(first.time.saturating_sub(back)));
            let begin = known.peek().map(|(event, _)| event.time);
            let mut scan = Scan::default();
            let (mut complete, mut read) = (None, 0);
            while read < most
                && let Some(event) = next_known(known, definition.ties(), first, &mut self.read)
            {
                read += 1;
                scan.step(&event, definition, &mut |_| {});
                if complete.is_none() && definition.levels() > 1 && scan.last(definition).is_some() {
                    complete = Some(event);
                }
            }
            let ahead = known.peek().map(|(event, _)| event).filter(|event| *event < first);
            if let Some(ahead) = ahead {
                // Dense: as long as these events took.
                let took = ahead.time.micros() - begin.map_or(ahead.time.micros(), EventTime::micros);
                (back, most) = (took.clamp(1, far), usize::MAX);
                continue;
            }
            let since = complete.as_ref();
            let as_it_would_be = |start: &StepEvent| since.is_some_and(|since| start >= since);
            let exact = definition.levels() == 1
                || since.is_some()
                    && scan.attempts().all(|attempt| attempt.covered || as_it_would_be(&attempt.activity.start));
            if back >= far || exact {
                scan.expire(first.time, definition, &mut |_| {});
                return scan;
            }
            (back, most) = ((back.saturating_mul(4)).min(far), usize::MAX);
        }
    }

    /// Of each stretch of changes computes all attempts that it can touch, before and after.
    fn overlapping(&mut self, definition: &Definition, changes: &[(StepEvent, isize)], known: &mut impl Known) {
        let within = definition.within();
        for stretch in changes.chunk_by(|(one, _), (other, _)| other.time.micros() - one.time.micros() <= 2 * within) {
            let [(first, _), .., (last, _)] = stretch else {
                let [(only, _)] = stretch else { continue };
                self.stretch(definition, (only.time, only.time), stretch, known);
                continue;
            };
            self.stretch(definition, (first.time, last.time), stretch, known);
        }
    }

    fn stretch(
        &mut self,
        definition: &Definition,
        (first, last): (EventTime, EventTime),
        changes: &[(StepEvent, isize)],
        known: &mut impl Known,
    ) {
        let within = definition.within();
        let from = first.saturating_sub(within);
        known.rewind();
        known.seek(&StepEvent::at(from));
        let mut changes = Changes { rest: changes, ties: definition.ties() };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        loop {
            let next = known.peek().map(|(event, _)| event.time);
            let next = next.into_iter().chain(changes.next_event().map(|event| event.time)).min();
            if next.is_none_or(|next| next.micros() - last.micros() > within) {
                break;
            }
            let (old, new) = changes.next(known, &mut self.read);
            before.extend(old);
            after.extend(new);
        }
        for (events, diff) in [(before, -1), (after, 1)] {
            overlap(&events, definition, last, &mut |activity| self.activities.push((activity, diff)));
        }
    }
}

/// Changes that were not taken yet.
struct Changes<'c> {
    rest: &'c [(StepEvent, isize)],
    ties: Ties,
}

impl Changes<'_> {
    /// The event of the next change, or, where events of one time are one, the least of its time.
    fn next_event(&self) -> Option<StepEvent> {
        let (event, _) = self.rest.first()?;
        Some(match self.ties {
            Ties::Ordered => event.clone(),
            Ties::Apart => StepEvent::at(event.time),
        })
    }

    /// Takes the next event or change, whichever comes first: the event as it was before this tick, and as it is after it.
    /// Where events of one time are one, takes all of the next time.
    fn next(&mut self, known: &mut impl Known, read: &mut u64) -> (Option<StepEvent>, Option<StepEvent>) {
        let (mut before, mut after) = self.next_alone(known, read);
        if self.ties == Ties::Apart {
            let Some(time) = before.as_ref().or(after.as_ref()).map(|event| event.time) else { return (None, None) };
            while known.peek().is_some_and(|(event, _)| event.time == time)
                || self.rest.first().is_some_and(|(event, _)| event.time == time)
            {
                let (old, new) = self.next_alone(known, read);
                join(&mut before, old);
                join(&mut after, new);
            }
        }
        (before, after)
    }

    fn next_alone(&mut self, known: &mut impl Known, read: &mut u64) -> (Option<StepEvent>, Option<StepEvent>) {
        *read += 1;
        let change = self.rest.first().map(|(event, _)| event);
        let present = known.peek().filter(|(event, _)| change.is_none_or(|change| *event <= change));
        let (event, times) = match (present, change) {
            (Some((event, times)), _) => (event.clone(), times),
            (None, Some(change)) => (change.clone(), 0),
            (None, None) => return (None, None),
        };
        let diff = match change {
            Some(change) if *change == event => {
                let diff = self.rest[0].1;
                self.rest = &self.rest[1..];
                diff
            }
            _ => 0,
        };
        if times != 0 {
            known.step();
        }
        assert!(times >= 0 && times + diff >= 0, "{diff} come to {times} step events {event:?}");
        // Equal events are one.
        let before = (times > 0).then(|| event.clone());
        (before, (times + diff > 0).then_some(event))
    }
}

/// Where events of one time are one, it is what any of them is.
fn join(one: &mut Option<StepEvent>, other: Option<StepEvent>) {
    match (one, other) {
        (Some(one), Some(other)) => one.join(&other),
        (one @ None, other) => *one = other,
        (Some(_), None) => {}
    }
}

/// Takes the next event before `end`; where events of one time are one, all of its time.
fn next_known(known: &mut impl Known, ties: Ties, end: &StepEvent, read: &mut u64) -> Option<StepEvent> {
    let mut event = known.peek().map(|(event, _)| event).filter(|event| *event < end)?.clone();
    known.step();
    *read += 1;
    while ties == Ties::Apart
        && let Some((other, _)) = known.peek().filter(|(other, _)| other.time == event.time)
    {
        event.join(other);
        known.step();
        *read += 1;
    }
    Some(event)
}
