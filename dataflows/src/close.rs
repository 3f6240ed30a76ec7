//! Session, clock -> closing: a session is closed when its gap has passed, and open again when a late event changes it.
//!
//! A view of the sessions and the tick's clock: closings are equal wherever those are, whatever came before. The clock is
//! looked at in whole seconds, so that a tick that takes a millisecond longer closes nothing more.

use crate::identity::UserKey;
use crate::sessionize::{Session, SessionSpine};
use crate::time::{EventTime, Tick};
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use differential_dataflow::trace::{Span, TraceReader};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::operate::FrontierInterest;

/// Deadlines lie on whole seconds.
const GRID: i64 = 1_000_000;
/// Sessions that are closed before others get their turn: millions may be due in one second, and what has been said of
/// them waits in memory until it is taken.
const TURN: usize = 1 << 16;

/// A session that is closed: only what its row says, as many millions may be closed at once.
///
/// Ordered by end, as deadlines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Closing {
    pub end: EventTime,
    pub user: UserKey,
    pub start: EventTime,
    pub events: u64,
}

impl Closing {
    pub fn of(user: UserKey, session: &Session) -> Closing {
        Closing { end: session.end, user, start: session.start, events: session.events }
    }
}

pub type SessionSpans<'s> = Stream<'s, Tick, Vec<Span<Tick, SessionBatch>>>;

/// Shared with the trace of the sessions.
type SessionBatch = <SessionSpine as TraceReader>::Batch;

/// When a session that ends at `end` is closed: the first whole second at which no event can extend it any more.
pub fn deadline(end: EventTime, gap: i64) -> EventTime {
    let second = (end.micros().saturating_add(gap)).div_euclid(GRID) + 1;
    EventTime::from_micros(second.saturating_mul(GRID)).unwrap_or(EventTime::MAX)
}

/// What is known of the sessions of this worker that are open.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// The next one: the clock of no tick before it closes anything.
    pub next: Cell<Option<EventTime>>,
    /// How often others had their turn while a tick closed what was due in it.
    pub turns: Cell<u64>,
}

/// Returns the changes of the closed sessions. `clock` has, on each worker, the `now_ms` of every tick; each batch of
/// `sessions` holds those of one tick, and those before the tick `done` have come: with the progress of all workers it
/// would take them another round to agree.
pub fn close<'s>(
    sessions: SessionSpans<'s>,
    done: Rc<Cell<Tick>>,
    clock: Stream<'s, Tick, Vec<i64>>,
    gap: i64,
) -> (Stream<'s, Tick, Vec<(Closing, Tick, isize)>>, Rc<Deadlines>) {
    let scope = sessions.scope();
    let mut builder = OperatorBuilder::new("Close".to_string(), scope);
    let activator = scope.activator_for(builder.operator_info().address);
    let mut sessions = builder.new_input(sessions, Pipeline);
    let mut clock = builder.new_input(clock, Pipeline);
    // Without anything that waits, progress is no news.
    (0..2).for_each(|input| builder.set_notify_for(input, FrontierInterest::IfCapability));
    let (closings, stream) = builder.new_output();
    let mut closings = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(closings);
    let deadlines = Rc::<Deadlines>::default();
    let told = Rc::clone(&deadlines);
    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Pending> = BTreeMap::new();
        let mut open = Open { gap, now: EventTime::MIN, closings: BTreeMap::new() };
        let mut rows = Vec::new();
        // The tick that has not closed all that is due in it.
        let mut closes: Option<(Tick, Capability<Tick>)> = None;
        move |frontiers| {
            clock.for_each(|capability, data: &mut Vec<i64>| {
                if let Some(waiting) = Pending::at(&mut pending, *capability.least().unwrap_or(&0), &capability) {
                    waiting.now_ms = data.iter().copied().max().max(waiting.now_ms);
                }
            });
            sessions.for_each(|capability, spans| {
                for batch in spans.drain(..).filter_map(|span| span.inner) {
                    let mut tick = 0;
                    batch.cursor().map_times(&batch, |of_first, _| tick = *of_first);
                    if let Some(waiting) = Pending::at(&mut pending, tick, &capability) {
                        waiting.sessions.push(batch);
                    }
                }
            });
            let mut closings = closings.activate();
            let complete = |tick: &Tick| *tick < done.get() && !frontiers[1].less_equal(tick);
            let mut turn = TURN;
            loop {
                if let Some((tick, at)) = &closes {
                    let due = std::iter::from_fn(|| open.close()).take(turn).inspect(|_| turn -= 1);
                    closings.session(at).give_iterator(due.map(|(closing, times)| (closing, *tick, times)));
                    if turn == 0 {
                        // It may go on with nothing.
                        activator.activate();
                        told.turns.set(told.turns.get() + 1);
                        return;
                    }
                    closes = None;
                    told.next.set(open.next_deadline());
                }
                let Some(entry) = pending.first_entry().filter(|entry| complete(entry.key())) else { return };
                let (tick, Pending { at, now_ms, sessions }) = entry.remove_entry();
                open.tick(tick, &sessions, now_ms, &mut rows);
                let changes = rows.drain(..).map(|(row, diff)| (row, tick, diff));
                closings.session(&at).give_iterator(changes);
                closes = Some((tick, at));
            }
        }
    });
    (stream, deadlines)
}

/// What has arrived for a tick that is not complete yet.
struct Pending {
    at: Capability<Tick>,
    now_ms: Option<i64>,
    sessions: Vec<SessionBatch>,
}

impl Pending {
    /// What waits for `tick`, which the message of `capability` may speak of; `None` if that makes no claim.
    fn at<'p>(
        pending: &'p mut BTreeMap<Tick, Pending>,
        tick: Tick,
        capability: &InputCapability<Tick>,
    ) -> Option<&'p mut Pending> {
        Some(match pending.entry(tick) {
            Entry::Occupied(waiting) => waiting.into_mut(),
            Entry::Vacant(place) => {
                let at = capability.retain_least(0)?.delayed(&tick);
                place.insert(Pending { at, now_ms: None, sessions: Vec::new() })
            }
        })
    }
}

/// The sessions that are open.
struct Open {
    gap: i64,
    /// In whole seconds.
    now: EventTime,
    /// What is to be said when they are closed, each as often as it is there.
    closings: BTreeMap<Closing, isize>,
}

impl Open {
    /// Takes what a tick changes, and its clock. Appends the changes of what it closes or opens again at once,
    /// consolidated; then [`Open::close`] has what was open before and is due.
    fn tick(&mut self, tick: Tick, sessions: &[SessionBatch], now_ms: Option<i64>, rows: &mut Vec<(Closing, isize)>) {
        let before = self.now;
        let now = now_ms.map(|ms| ms.div_euclid(1000).saturating_mul(GRID)).and_then(EventTime::from_micros);
        self.now = self.now.max(now.unwrap_or(EventTime::MIN));
        // Of a snapshot come millions: a tree that is built of them at once takes less time and memory.
        let first = self.closings.is_empty();
        let mut opened = Vec::with_capacity(if first { sessions.iter().map(|batch| batch.updates).sum() } else { 0 });
        for batch in sessions {
            each(batch, tick, |user, session, diff| {
                let closing = Closing::of(*user, session);
                let deadline = deadline(closing.end, self.gap);
                let closed = if diff > 0 { deadline <= self.now } else { deadline <= before };
                match closed {
                    true => rows.push((closing, diff)),
                    false if first => opened.push((closing, diff)),
                    false => self.change(closing, diff),
                }
            });
        }
        if first {
            differential_dataflow::consolidation::consolidate(&mut opened);
            self.closings = opened.into_iter().collect();
        }
        differential_dataflow::consolidation::consolidate(rows);
    }

    /// A tick may assert the successor of a session before the session is gone, which may be told alike.
    fn change(&mut self, closing: Closing, diff: isize) {
        match self.closings.entry(closing) {
            Entry::Occupied(times) if *times.get() + diff == 0 => drop(times.remove()),
            Entry::Occupied(mut times) => *times.get_mut() += diff,
            Entry::Vacant(place) => drop(place.insert(diff)),
        }
    }

    /// Closes the next session that is due.
    fn close(&mut self) -> Option<(Closing, isize)> {
        let (gap, now) = (self.gap, self.now);
        let due = self.closings.first_entry().filter(|entry| deadline(entry.key().end, gap) <= now)?;
        Some(due.remove_entry())
    }

    fn next_deadline(&self) -> Option<EventTime> {
        self.closings.first_key_value().map(|(closing, _)| deadline(closing.end, self.gap))
    }
}

fn each(batch: &SessionBatch, tick: Tick, mut change: impl FnMut(&UserKey, &Session, isize)) {
    let mut cursor = batch.cursor();
    while let Some(user) = cursor.get_key(batch) {
        while let Some(session) = cursor.get_val(batch) {
            cursor.map_times(batch, |of_row, diff| {
                debug_assert_eq!(*of_row, tick);
                change(user, session, *diff);
            });
            cursor.step_val(batch);
        }
        cursor.step_key(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(micros: i64) -> EventTime {
        EventTime::from_micros(micros).unwrap()
    }

    /// In microseconds.
    fn deadline_of(end: i64, gap: i64) -> i64 {
        deadline(time(end), gap).micros()
    }

    #[test]
    fn the_deadline_is_the_first_whole_second_that_is_more_than_the_gap_away() {
        // An event at exactly the gap still extends the session, so a whole second there is too early.
        assert_eq!(deadline_of(1_999_999, 3_000_000), 5_000_000);
        assert_eq!(deadline_of(2_000_000, 3_000_000), 6_000_000);
        assert_eq!(deadline_of(2_000_001, 3_000_000), 6_000_000);
        assert_eq!(deadline_of(2_000_000, 2_999_999), 5_000_000);
        assert_eq!(deadline_of(2_000_000, 3_000_001), 6_000_000);
        assert_eq!(deadline_of(0, 0), 1_000_000);
        assert_eq!(deadline_of(999_999, 0), 1_000_000);
    }

    #[test]
    fn before_the_epoch_seconds_go_the_same_way() {
        assert_eq!(deadline_of(-1, 0), 0);
        assert_eq!(deadline_of(-1_000_000, 0), 0);
        assert_eq!(deadline_of(-1_000_001, 0), -1_000_000);
        assert_eq!(deadline_of(-4_000_000, 3_000_000), 0);
        assert_eq!(deadline_of(-4_000_001, 3_000_000), -1_000_000);
    }

    #[test]
    fn at_the_ends_of_time_it_stays_within_them() {
        let greatest_gap = 1_000_000_000_000_000_000;
        assert_eq!(deadline(EventTime::MAX, 0), EventTime::MAX);
        assert_eq!(deadline(EventTime::MAX, greatest_gap), EventTime::MAX);
        assert_eq!(deadline(EventTime::MIN, 0).micros(), EventTime::MIN.micros() + GRID);
        let last_second = EventTime::MAX.micros() + 1 - GRID;
        assert_eq!(deadline_of(last_second - 1, 0), last_second);
        assert_eq!(deadline(time(last_second), 0), EventTime::MAX);
    }
}
