//! Session -> [`UserTotals`]: when each user was first and last seen, and how much there is of them.
//!
//! A view of the sessions. A tick costs the sessions that it changes, not the user's history: numbers are sums of changes,
//! and the first and the last time move with the sessions that come. Only when the first or the last session goes and
//! none takes its place, as after a deletion, the user's sessions are read again.
//!
//! A replay builds no totals on its way: [`UserTotals::of`] makes them of the sessions when these are read.

use crate::identity::UserKey;
use crate::operators::{Capabilities, Fold, Keyed, Own, Past, Rows, Turn, Written};
use crate::sessionize::{Session, SessionSpine, SessionTrace};
use crate::time::{EventTime, Tick, TotalTime};
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::trace::{Builder, Span, TraceReader};
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use timely::progress::Antichain;

/// What there is of one user. The key, the user, is held beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UserTotals {
    /// Time of the user's first event.
    pub first_seen: EventTime,
    /// Time of the user's last event.
    pub last_seen: EventTime,
    /// Number of sessions.
    pub sessions: u64,
    /// Number of events in sessions.
    pub events: u64,
}

/// Totals by user: one row for each, and none for a user without sessions.
pub type UserSpine<T = Tick> = ValSpine<UserKey, UserTotals, T, isize>;
/// Reads [`UserSpine`].
pub type UserTrace<T = Tick> = TraceAgent<UserSpine<T>>;

/// Shared with the trace of the sessions.
type SessionBatch<T> = <SessionSpine<T> as TraceReader>::Batch;

impl UserTotals {
    /// Returns the totals of a user's sessions; `None`: there are none.
    pub fn of<'s>(sessions: impl IntoIterator<Item = &'s Session>) -> Option<UserTotals> {
        sessions.into_iter().fold(None, |totals, session| Some(UserTotals::with(totals, session)))
    }

    /// Adds a session to the totals of others.
    pub fn with(totals: Option<UserTotals>, session: &Session) -> UserTotals {
        let Session { start, end, events, .. } = *session;
        match totals {
            None => UserTotals { first_seen: start, last_seen: end, sessions: 1, events },
            Some(totals) => UserTotals {
                first_seen: totals.first_seen.min(start),
                last_seen: totals.last_seen.max(end),
                sessions: totals.sessions + 1,
                events: totals.events + events,
            },
        }
    }

    /// Returns the totals after some sessions have gone (-1) and some have come (1). `None` if these do not say it: the
    /// first or the last session has gone, or all have.
    fn after(self, changes: &[(&Session, isize)]) -> Option<UserTotals> {
        let UserTotals { mut first_seen, mut last_seen, mut sessions, mut events } = self;
        let come = || changes.iter().filter(|(_, diff)| *diff > 0).map(|(session, _)| *session);
        let gone = || changes.iter().filter(|(_, diff)| *diff < 0).map(|(session, _)| *session);
        let (first, last) = (come().map(|session| session.start).min(), come().map(|session| session.end).max());
        if first.is_some_and(|first| first <= first_seen) {
            first_seen = first?;
        } else if gone().any(|session| session.start == first_seen) {
            return None;
        }
        if last.is_some_and(|last| last >= last_seen) {
            last_seen = last?;
        } else if gone().any(|session| session.end == last_seen) {
            return None;
        }
        for (session, diff) in changes {
            sessions = sessions.checked_add_signed(*diff as i64)?;
            events = events.checked_add_signed(session.events as i64 * *diff as i64)?;
        }
        Some(UserTotals { first_seen, last_seen, sessions, events })
    }
}

/// Returns the totals of each user. `sessions` and their trace are followed as far as they are `written` at this worker,
/// which is where a user's row is, too.
pub fn users<'s, T: TotalTime>(
    sessions: Arranged<'s, SessionTrace<T>>,
    written: Written<T>,
) -> Arranged<'s, UserTrace<T>> {
    let mut operator = Keyed::<T, Users<T>>::new("Users", sessions.stream.scope());
    let (own, users) = operator.arranged();
    operator.following(sessions.stream, written, |_, arrivals| {
        arrivals.each(|waiting, _, spans| waiting.append(spans));
    });
    operator.build(Users { own, sessions: sessions.trace, rows: Rows::default() });
    users
}

/// One worker's totals.
struct Users<T: TotalTime> {
    own: Own<UserSpine<T>>,
    /// Not compacted beyond the tick that is folded.
    sessions: SessionTrace<T>,
    rows: Rows<UserKey, UserTotals, T>,
}

impl<T: TotalTime> Fold<T> for Users<T> {
    /// A tick has one batch at most.
    type Waiting = Vec<Span<T, SessionBatch<T>>>;

    fn tick(&mut self, tick: &T, waiting: &mut Self::Waiting, _: &Capabilities<T>) -> Turn {
        let spans = std::mem::take(waiting);
        assert!(spans.len() <= 1, "tick {tick:?} has {} batches of sessions, not one", spans.len());
        let Some(span) = spans.into_iter().next() else { return Turn::Done };
        let upper = span.upper().clone();
        let batch = span.inner.map(|batch| self.fold(tick, &batch, &upper));
        self.own.write(batch.flatten().map(Rc::new));
        self.sessions.set_logical_compaction(upper.borrow());
        self.sessions.set_physical_compaction(upper.borrow());
        Turn::Done
    }
}

type UserBatch<T> = <ValBuilder<UserKey, UserTotals, T, isize> as Builder>::Output;

impl<T: TotalTime> Users<T> {
    /// The batch of a tick that changes these sessions. All sessions before `upper` are in their trace.
    fn fold(&mut self, tick: &T, batch: &SessionBatch<T>, upper: &Antichain<T>) -> Option<UserBatch<T>> {
        let before = self.own.past();
        let mut before = Past::new(&before);
        let mut builder = ValBuilder::default();
        let mut cursor = batch.cursor();
        let mut changes: Vec<(&Session, isize)> = Vec::new();
        while let Some(user) = cursor.get_key(batch) {
            changes.clear();
            while let Some(session) = cursor.get_val(batch) {
                cursor.map_times(batch, |_, diff| changes.push((session, *diff)));
                cursor.step_val(batch);
            }
            before.key(user);
            let old = before.peek().copied();
            let new = match old {
                None => UserTotals::of(changes.iter().map(|(session, _)| *session)),
                Some(old) => old.after(&changes).or_else(|| self.read_again(user, upper)),
            };
            if old != new {
                let mut rows = [(old, -1), (new, 1)].map(|(totals, diff)| Some(((*user, totals?), tick.clone(), diff)));
                // In the order of an arrangement.
                rows.sort_unstable();
                self.rows.extend(&mut builder, rows.into_iter().flatten());
            }
            cursor.step_key(batch);
        }
        self.rows.finish(builder)
    }

    /// The totals of all sessions of a user before `upper`.
    fn read_again(&mut self, user: &UserKey, upper: &Antichain<T>) -> Option<UserTotals> {
        let batches = self.sessions.batches_through(upper.borrow());
        let batches = batches.expect("sessions are not compacted beyond the tick that is folded");
        let mut sessions = Past::new(&batches);
        sessions.key(user);
        let mut totals = None;
        while let Some(session) = sessions.peek() {
            totals = Some(UserTotals::with(totals, session));
            sessions.step();
        }
        totals
    }
}
