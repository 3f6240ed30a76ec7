//! Session, clock -> closing: a session is closed when its gap has passed, and open again when a late event changes it.
//!
//! A view of the sessions and the tick's clock: closings are equal wherever those are, whatever came before. The clock is
//! looked at in whole seconds, so that a tick that takes a millisecond longer closes nothing more.

use crate::identity::UserKey;
use crate::operators::trace::SpanOf;
use crate::operators::{Capabilities, Fold, Keyed, Output, Turn, Written, each};
use crate::sessionize::{Session, SessionSpine};
use crate::time::{EventTime, Tick, TotalTime};
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::trace::TraceReader;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

/// Deadlines lie on whole seconds.
const GRID: i64 = 1_000_000;
/// Sessions that are closed before others get their turn: millions may be due in one second, and what has been said of
/// them waits in memory until it is taken.
const TURN: usize = 1 << 16;

/// A session that is closed: only what its row says, as many millions may be closed at once.
///
/// Ordered as deadlines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Closing {
    /// See [`Session::until`].
    pub until: EventTime,
    /// Time of its last event.
    pub end: EventTime,
    /// Whose session it is.
    pub user: UserKey,
    /// Time of its first event.
    pub start: EventTime,
    /// Its number of events.
    pub events: u64,
}

impl Closing {
    /// Reduces a session to what its row says.
    pub fn of(user: UserKey, session: &Session) -> Closing {
        Closing { until: session.until(), end: session.end, user, start: session.start, events: session.events }
    }
}

/// Batches of sessions, as they are written.
pub type SessionSpans<'s, T = Tick> = Stream<'s, T, Vec<SpanOf<SessionSpine<T>>>>;

/// Shared with the trace of the sessions.
type SessionBatch<T> = <SessionSpine<T> as TraceReader>::Batch;

/// Returns when a session with this [`Session::until`] is closed: the first whole second at which no event can extend it any
/// more.
pub fn deadline(until: EventTime, gap: i64) -> EventTime {
    let second = (until.micros().saturating_add(gap)).div_euclid(GRID) + 1;
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

/// What [`close`] gives.
pub struct Closed<'s, T: TotalTime = Tick> {
    /// View of sessions and clock: the sessions that are closed.
    pub closings: Stream<'s, T, Vec<(Closing, T, isize)>>,
    /// What is known of those that are open.
    pub deadlines: Rc<Deadlines>,
}

/// Returns the changes of the closed sessions. `clock` has, on each worker, the `now_ms` of every tick. `sessions` are
/// followed as far as they are `written` at this worker.
pub fn close<'s, T: TotalTime>(
    sessions: SessionSpans<'s, T>,
    written: Written<T>,
    clock: Stream<'s, T, Vec<i64>>,
    gap: i64,
) -> Closed<'s, T> {
    let mut operator = Keyed::<T, Close<T>>::new("Close", sessions.scope());
    let (closings, stream) = operator.output();
    operator.following(sessions, written, |_, arrivals| {
        arrivals.each(|waiting, _, spans| waiting.sessions.extend(spans.drain(..).filter_map(|span| span.inner)));
    });
    operator.input(clock, Pipeline, |_, arrivals| {
        arrivals.each(|waiting, _, times| waiting.now_ms = times.iter().copied().max().max(waiting.now_ms));
    });
    let deadlines = Rc::<Deadlines>::default();
    let open = Open { gap, now: EventTime::MIN, closings: BTreeMap::new() };
    let (changes, rows) = (Vec::new(), Vec::new());
    operator.build(Close { closings, open, changes, rows, deadlines: Rc::clone(&deadlines) });
    Closed { closings: stream, deadlines }
}

/// What has arrived for a tick that is not complete yet.
struct Waiting<T: TotalTime> {
    now_ms: Option<i64>,
    sessions: Vec<SessionBatch<T>>,
}

impl<T: TotalTime> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { now_ms: None, sessions: Vec::new() }
    }
}

/// One worker's open sessions.
struct Close<T: TotalTime> {
    closings: Output<T, (Closing, T, isize)>,
    open: Open,
    /// Scratch: what a tick changes, and what it says.
    changes: Vec<(Closing, isize)>,
    rows: Vec<(Closing, isize)>,
    deadlines: Rc<Deadlines>,
}

impl<T: TotalTime> Fold<T> for Close<T> {
    type Waiting = Waiting<T>;

    /// In its first turn takes what the tick changes; in each one closes as many of those that are due as a turn may.
    fn tick(&mut self, tick: &T, waiting: &mut Waiting<T>, at: &Capabilities<T>) -> Turn {
        let Close { closings, open, changes, rows, deadlines } = self;
        let Waiting { now_ms, sessions } = std::mem::take(waiting);
        changes.reserve(sessions.iter().map(|batch| batch.updates).sum());
        for batch in &sessions {
            each(batch, |user: &UserKey, session: &Session, of_row, diff| {
                assert_eq!(of_row, *tick, "a batch of sessions is of its tick alone");
                changes.push((Closing::of(*user, session), diff));
            });
        }
        open.tick(changes, now_ms, rows);
        let before = rows.len();
        rows.extend(std::iter::from_fn(|| open.close()).take(TURN));
        let full = rows.len() - before == TURN;
        closings.give(at, rows.drain(..).map(|(row, diff)| (row, tick.clone(), diff)));
        if full {
            deadlines.turns.set(deadlines.turns.get() + 1);
            return Turn::Again;
        }
        deadlines.next.set(open.next_deadline());
        Turn::Done
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
    /// Takes the sessions that a tick changes out of `changes`, and its clock. Appends the changes of what it closes or opens
    /// again at once, consolidated; then [`Open::close`] has what was open before and is due.
    fn tick(&mut self, changes: &mut Vec<(Closing, isize)>, now_ms: Option<i64>, rows: &mut Vec<(Closing, isize)>) {
        let before = self.now;
        let now = now_ms.map(|ms| ms.div_euclid(1000).saturating_mul(GRID)).and_then(EventTime::from_micros);
        self.now = self.now.max(now.unwrap_or(EventTime::MIN));
        changes.retain(|(closing, diff)| {
            let deadline = deadline(closing.until, self.gap);
            let closed = if *diff > 0 { deadline <= self.now } else { deadline <= before };
            if closed {
                rows.push((*closing, *diff));
            }
            !closed
        });
        consolidate(rows);
        if self.closings.is_empty() {
            // Of a snapshot come millions: a tree that is built of them at once takes less time and memory.
            consolidate(changes);
            self.closings = std::mem::take(changes).into_iter().collect();
        } else {
            changes.drain(..).for_each(|(closing, diff)| self.change(closing, diff));
        }
    }

    /// A tick may assert the successor of a session before the session is gone, which may look alike.
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
        let due = self.closings.first_entry().filter(|entry| deadline(entry.key().until, gap) <= now)?;
        Some(due.remove_entry())
    }

    fn next_deadline(&self) -> Option<EventTime> {
        self.closings.first_key_value().map(|(closing, _)| deadline(closing.until, self.gap))
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

    /// Of one user; all times in whole seconds.
    fn closing(start: i64, end: i64) -> Closing {
        Closing {
            until: time(end * GRID),
            end: time(end * GRID),
            user: UserKey::of("u"),
            start: time(start * GRID),
            events: 2,
        }
    }

    /// Applies one tick, with its clock in seconds. Returns what it says.
    fn tick(open: &mut Open, changes: &[(Closing, isize)], now: i64) -> Vec<(Closing, isize)> {
        let mut rows = Vec::new();
        open.tick(&mut changes.to_vec(), Some(now * 1000), &mut rows);
        rows.extend(std::iter::from_fn(|| open.close()));
        rows
    }

    #[test]
    fn a_session_is_closed_when_its_gap_has_passed_and_opened_again_by_a_late_event() {
        let mut open = Open { gap: 10 * GRID, now: EventTime::MIN, closings: BTreeMap::new() };
        assert_eq!(tick(&mut open, &[(closing(0, 5), 1)], 15), []);
        assert_eq!(open.next_deadline(), Some(time(16 * GRID)));
        // An event at exactly the gap extends it, before it is closed.
        assert_eq!(tick(&mut open, &[(closing(0, 5), -1), (closing(0, 15), 1)], 16), []);
        assert_eq!(tick(&mut open, &[], 26), [(closing(0, 15), 1)]);
        assert_eq!(open.next_deadline(), None);
        // A late event extends what was closed: the closing is taken back, and another one is due.
        assert_eq!(tick(&mut open, &[(closing(0, 15), -1), (closing(0, 20), 1)], 27), [(closing(0, 15), -1)]);
        assert_eq!(tick(&mut open, &[], 31), [(closing(0, 20), 1)]);
        // What comes closed is said at once, and what goes and comes again alike is not said.
        assert_eq!(tick(&mut open, &[(closing(0, 2), 1)], 31), [(closing(0, 2), 1)]);
        assert_eq!(tick(&mut open, &[(closing(0, 2), -1), (closing(0, 2), 1)], 31), []);
        // A clock that is set back opens nothing.
        assert_eq!(tick(&mut open, &[], 1), []);
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
