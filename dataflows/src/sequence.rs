//! Step event -> [`Activity`]: sequences that were completed, and attempts at them that were not.
//!
//! # Definition
//!
//! The answer is a function of the *set* of step events of one key, and of the clock. The order of arrival does not matter.
//! A key's events are ordered as [`StepEvent`] says.
//!
//! - An **attempt** begins with each event of the first step. It takes, one after the other, the next event of each required
//!   step, as long as that is at most `within` after the first one. No event is two steps of one attempt. The number of its
//!   required steps that have come is its **level**.
//! - An **optional** step is the first matching event strictly between its required neighbours; of an attempt that stopped,
//!   behind the last one reached. It never makes or breaks a match.
//! - An **exception** between two required steps breaks every attempt that has reached the first and not the second. The
//!   event of that second step itself does not lie between.
//! - A **match** is a complete attempt with no other complete attempt inside.
//! - An attempt is **given up** if it is not complete when its time is over or when it is broken, no match has ended since it
//!   began, and no later attempt has got as far by then. Until its time is over by the clock it is `open`, and then `expired`.
//!
//! Matches and attempts that are given up are the activities ([`Repeat::Tight`]); with [`Repeat::Overlap`] all attempts are.
//! [`funnel`] counts them, so a list and a bar agree.
//!
//! # Cost
//!
//! A change costs the events around it, not the key's history: see the pass over two states in `change`. It changes as many
//! activities as there are steps, about, and with `Overlap` as many as there are first steps within `within`.
//!
//! State: the step events, ordered by time, in one trace, and the activities in another, which readers share. Snapshots have
//! the events, as the activities follow from them.
//!
//! A sequence that is not followed any more takes back its rows, as if all of its events were deleted.
//!
//! Deliberately absent: events that are no step and no exception, and the positions of events.

mod change;
mod definition;
mod event;
mod funnel;
mod id;
mod overlap;
mod scan;

pub use crate::step::{Breakdown, Step, StepEvent, StepRow, Track};
pub use definition::{Definition, Invalid, Repeat, Ties};
pub use event::{Activity, State};
pub use funnel::{BUCKETS, Counts, Funnel, FunnelKey, FunnelSpine, FunnelTrace, funnel};
pub use id::ActivityId;

use crate::forget::Dropped;
use crate::operators::trace::SpanOf;
use crate::operators::{Capabilities, Fold, Keyed, Output, Own, Past, Rows, Turn, Written, each};
use crate::time::{EventTime, Tick, TotalTime};
use change::{Change, Known};
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};

/// Attempts that expire before other operators get their turn: millions may be due when a clock goes on by a day.
const TURN: usize = 1 << 16;

/// Step events by track, in their order.
pub type StepSpine<T = Tick> = ValSpine<Track, StepEvent, T, isize>;
/// Batches of step events, as they are written.
pub type StepSpans<'s, T = Tick> = Stream<'s, T, Vec<SpanOf<StepSpine<T>>>>;
/// Activities by track, in the order of their first events.
pub type ActivitySpine<T = Tick> = ValSpine<Track, Activity, T, isize>;
/// Reads [`ActivitySpine`].
pub type ActivityTrace<T = Tick> = TraceAgent<ActivitySpine<T>>;

/// The sequences to recognise.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// [`Track::sequence`] is an index among these.
    pub definitions: Vec<Definition>,
    /// How many events of the past are read before a key is called dense, and less is read than could matter. The answer does
    /// not depend on it.
    pub sparse: usize,
}

impl Sequences {
    /// Recognises these.
    pub fn new(definitions: Vec<Definition>) -> Sequences {
        Sequences { definitions, sparse: 64 }
    }
}

impl Default for Sequences {
    fn default() -> Self {
        Sequences::new(Vec::new())
    }
}

/// What it took to follow sequences, at this worker.
#[derive(Debug, Default)]
pub struct Effort {
    /// Step events that were read, those that came included.
    pub read: Cell<u64>,
    /// How often other operators had their turn while a tick let attempts expire.
    pub turns: Cell<u64>,
    /// The next deadline: the clock of no tick before it lets an attempt expire.
    pub next: Cell<Option<EventTime>>,
}

/// What [`sequence`] gives.
pub struct Sequenced<'s, T: TotalTime = Tick> {
    /// View: the activities of each track. A track is at the worker of its key.
    pub activities: Arranged<'s, ActivityTrace<T>>,
    /// How far this worker's activities are written, whatever others still have to do.
    pub written: Written<T>,
    /// The step events, for snapshots.
    pub events: StepSpans<'s, T>,
    /// How the counts of [`funnel`] change, of this worker's activities.
    pub counts: Stream<'s, T, Vec<(FunnelKey, Counts, T)>>,
    /// What it took.
    pub effort: Rc<Effort>,
}

/// Recognises sequences in `steps`, and in those that a snapshot brings back, which come at a tick before all others. `clock`
/// has, on each worker, the `now_ms` of every tick; without one, attempts stay open. `ended` has, on each worker, the
/// sequences that are not followed any more: all of theirs goes, and no step of them comes from that tick on. `dropped` has
/// what goes of single tracks, on any worker.
pub fn sequence<'s, T: TotalTime>(
    (steps, restored): (Stream<'s, T, Vec<StepRow>>, Stream<'s, T, Vec<StepRow>>),
    clock: Option<Stream<'s, T, Vec<i64>>>,
    (ended, dropped): (Option<Stream<'s, T, Vec<u16>>>, Option<Stream<'s, T, Vec<Dropped>>>),
    sequences: Sequences,
) -> Sequenced<'s, T> {
    let scope = steps.scope();
    let workers = scope.peers();
    let mut operator = Keyed::<T, Sequencing<T>>::new("Sequence", scope);
    let (own, activities) = operator.arranged();
    let (events, event_spans) = operator.arranged();
    let (counts, count_stream) = operator.output();
    for steps in [steps, restored] {
        let by_key = Exchange::new(move |((track, _), _): &StepRow| track.key.worker(workers));
        operator.input(steps, by_key, |_, arrivals| {
            arrivals.each(|waiting, _, rows| waiting.changes.append(rows));
        });
    }
    if let Some(clock) = clock {
        operator.input(clock, Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, times| waiting.now_ms = times.iter().copied().max().max(waiting.now_ms));
        });
    }
    if let Some(ended) = ended {
        operator.input(ended, Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, sequences| waiting.ended.append(sequences));
        });
    }
    if let Some(dropped) = dropped {
        let by_key = Exchange::new(move |dropped: &Dropped| dropped.key().worker(workers));
        operator.input(dropped, by_key, |_, arrivals| {
            arrivals.each(|waiting, _, rows| {
                for row in rows.drain(..) {
                    match row {
                        Dropped::Track(track) => waiting.dropped.push(track),
                        Dropped::Steps((row, times)) => waiting.changes.push((row, -times)),
                    }
                }
            });
        });
    }
    let effort = Rc::<Effort>::default();
    let written = own.written();
    let change = Change::new(sequences.sparse);
    operator.build(Sequencing {
        activities: own,
        events,
        counts,
        definitions: sequences.definitions,
        change,
        open: Open { now: EventTime::MIN, deadlines: BTreeSet::new() },
        begun: false,
        updates: Vec::new(),
        effort: Rc::clone(&effort),
    });
    Sequenced { activities, written, events: event_spans.stream, counts: count_stream, effort }
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Waiting {
    changes: Vec<StepRow>,
    now_ms: Option<i64>,
    ended: Vec<u16>,
    dropped: Vec<Track>,
}

/// One worker's sequences.
struct Sequencing<T: TotalTime> {
    activities: Own<ActivitySpine<T>>,
    events: Own<StepSpine<T>>,
    counts: Output<T, (FunnelKey, Counts, T)>,
    definitions: Vec<Definition>,
    change: Change,
    open: Open,
    /// Whether the changes of this tick were taken.
    begun: bool,
    /// What the tick changes.
    updates: Vec<((Track, Activity), isize)>,
    effort: Rc<Effort>,
}

/// The attempts that are open.
struct Open {
    now: EventTime,
    /// Of each, with its first event.
    deadlines: BTreeSet<(EventTime, Track, StepEvent)>,
}

impl<T: TotalTime> Fold<T> for Sequencing<T> {
    type Waiting = Waiting;

    /// In its first turn takes what the tick changes; in each one lets as many attempts expire as a turn may.
    fn tick(&mut self, tick: &T, waiting: &mut Waiting, at: &Capabilities<T>) -> Turn {
        if !self.begun {
            self.begun = true;
            self.begin(tick, std::mem::take(waiting));
        }
        let expired = self.expire();
        if expired == TURN {
            self.effort.turns.set(self.effort.turns.get() + 1);
            return Turn::Again;
        }
        self.begun = false;
        self.effort.next.set(self.open.deadlines.first().map(|(deadline, ..)| *deadline));
        self.updates.sort_unstable();
        let mut counts = BTreeMap::<FunnelKey, Counts>::new();
        for ((track, activity), diff) in &self.updates {
            let definition = &self.definitions[usize::from(track.sequence)];
            counts.entry(FunnelKey::of(*track, activity)).or_default().add(activity, definition, *diff as i64);
        }
        let changed = counts.into_iter().filter(|(_, counts)| *counts != Counts::default());
        self.counts.give(at, changed.map(|(key, counts)| (key, counts, tick.clone())));
        let (mut rows, mut builder) = (Rows::default(), ValBuilder::default());
        rows.extend(&mut builder, self.updates.drain(..).map(|(row, diff)| (row, tick.clone(), diff)));
        self.activities.write(rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}

impl<T: TotalTime> Sequencing<T> {
    /// Takes the changes and the clock of a tick.
    fn begin(&mut self, tick: &T, Waiting { mut changes, now_ms, ended, mut dropped }: Waiting) {
        let before = self.open.now;
        let now = now_ms.and_then(|ms| EventTime::from_micros(ms.saturating_mul(1000)));
        let now = now.map_or(before, |now| now.max(before));
        self.open.now = now;
        let batches = self.events.past();
        if !ended.is_empty() {
            // All of its events go, and with them what follows from them.
            for batch in &batches {
                each(batch, |track: &Track, event: &StepEvent, _, diff| {
                    if ended.contains(&track.sequence) {
                        changes.push(((*track, event.clone()), -diff));
                    }
                });
            }
        }
        dropped.sort_unstable();
        dropped.dedup();
        let mut past = Past::new(&batches);
        for track in dropped {
            past.key(&track);
            while let Some((event, times)) = past.counted() {
                changes.push(((track, StepEvent::clone(event)), -times));
                past.step();
            }
        }
        consolidate(&mut changes);
        let mut past = Past::new(&batches);
        let (mut rows, mut builder) = (Rows::default(), ValBuilder::default());
        let mut of_track = Vec::new();
        let mut changes = changes.into_iter().peekable();
        while let Some(((track, event), diff)) = changes.next() {
            of_track.clear();
            of_track.push((event, diff));
            while let Some(((_, event), diff)) = changes.next_if(|((other, _), _)| *other == track) {
                of_track.push((event, diff));
            }
            let definition = &self.definitions[usize::from(track.sequence)];
            past.key(&track);
            self.change.apply(definition, &of_track, &mut past);
            // What is retracted comes first: an attempt may go on under another row.
            self.change.activities.sort_by_key(|(_, diff)| *diff);
            for (activity, diff) in self.change.activities.drain(..) {
                let activity = activity.at_time(if diff < 0 { before } else { now }, definition);
                if activity.state == State::Open {
                    self.open.change((activity.deadline(definition), track, activity.start.clone()), diff);
                }
                self.updates.push(((track, activity), diff));
            }
            rows.extend(&mut builder, of_track.drain(..).map(|(event, diff)| ((track, event), tick.clone(), diff)));
        }
        self.effort.read.set(self.change.read);
        self.events.write(rows.finish(builder).map(Rc::new));
    }

    /// Lets attempts expire that were open before this tick, at most [`TURN`]. Returns how many.
    fn expire(&mut self) -> usize {
        let mut due: Vec<(Track, StepEvent)> =
            std::iter::from_fn(|| self.open.expire()).take(TURN).map(|(_, track, start)| (track, start)).collect();
        due.sort_unstable();
        let batches = self.activities.past();
        let mut past = Past::new(&batches);
        for of_track in due.chunk_by(|(one, _), (other, _)| one == other) {
            let track = of_track[0].0;
            past.key(&track);
            for (_, start) in of_track {
                past.seek(&Activity::at(start.clone()));
                let open = past.peek().filter(|activity| activity.start == *start);
                let open = open.expect("an attempt that is open has a row").clone();
                let mut expired = open.clone();
                expired.state = State::Expired;
                self.updates.extend([((track, open), -1), ((track, expired), 1)]);
            }
        }
        due.len()
    }
}

impl Open {
    fn change(&mut self, attempt: (EventTime, Track, StepEvent), diff: isize) {
        if diff > 0 {
            self.deadlines.insert(attempt);
        } else {
            self.deadlines.remove(&attempt);
        }
    }

    /// Takes the next attempt that is due.
    fn expire(&mut self) -> Option<(EventTime, Track, StepEvent)> {
        self.deadlines.first().filter(|(deadline, ..)| *deadline <= self.now)?;
        self.deadlines.pop_first()
    }
}

impl<B> Known for Past<'_, B, StepEvent>
where
    B: Navigable,
    B::Cursor: for<'a> Cursor<Val<'a> = &'a StepEvent, DiffGat<'a> = &'a isize>,
{
    fn rewind(&mut self) {
        Past::rewind(self);
    }

    fn seek(&mut self, least: &StepEvent) {
        Past::seek(self, least);
    }

    fn peek(&mut self) -> Option<(&StepEvent, isize)> {
        Past::counted(self)
    }

    fn step(&mut self) {
        Past::step(self);
    }
}
