//! Event -> [`Session`]: neighbouring events of a user belong together iff they are at most the gap apart.
//!
//! The operator reads its own output. Its only state is the arrangement that it returns: the sessions of each user,
//! ordered by end, shared with every later stage and subscriber. A tick's events find the sessions within reach, are
//! merged into them, and at most (sessions within reach retracted + one asserted) leaves. So cost follows the
//! neighbourhood of a change, never the length of a user's history, and any arrival order accumulates to the same
//! sessions. Only a deletion can split a session; it comes as a [`Replacement`] that brings the surviving events.
//!
//! Deliberately absent: events. They are never arranged, so memory follows the sessions.
//!
//! Session policies ([`Policies`]) are the exception: with them an event may split a session, so a second trace has a
//! [`Mark`] of each event. A late event reads the marks of its session and of those that follow in the run.

mod buckets;
mod cut;
mod fold;
mod policy;
mod session;

pub use policy::{Gaps, Mark, Policies};
pub use session::{Carried, EndedBy, Ranks, Session, SessionDetails, Tail};

use crate::identity::{SessionId, SignatureId, UserKey};
use crate::operators::trace::SpanOf;
use crate::operators::{self, Capabilities, Keyed, Output, Own, Past, Rows, Turn, Written};
use crate::record::{Details, Event, NoTime, Sessionless};
use crate::time::{EventTime, Tick, TotalTime};
use buckets::Buckets;
use cut::CutFold;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::Builder;
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use fold::{Fold, Folded};
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;

/// An event that can belong to a session: it has a user and a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Visit {
    /// Whose event it is.
    pub user: UserKey,
    /// When it happened.
    pub time: EventTime,
    /// What the rules may look at.
    pub signature: SignatureId,
    /// What sessions sum and carry of it.
    pub details: Option<Box<Details>>,
}

impl Visit {
    /// Makes a visit of an event.
    ///
    /// # Errors
    /// Why the event belongs to no session; it has a class all the same.
    #[inline]
    pub fn of(event: Event) -> Result<Visit, Sessionless> {
        match (event.user, event.time) {
            (Some(user), Ok(time)) => Ok(Visit { user, time, signature: event.signature, details: event.details }),
            (None, _) => Err(Sessionless::NoUser),
            (Some(_), Err(NoTime::Absent)) => Err(Sessionless::NoTime),
            (Some(_), Err(NoTime::Unreadable)) => Err(Sessionless::UnreadableTime),
            (Some(_), Err(NoTime::Apart(_))) => Err(Sessionless::Apart),
        }
    }
}

/// Sessions to be taken away, and what is left of them: how a deletion or a correction enters (docs/identity.md).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replacement {
    /// Whose sessions these are.
    pub user: UserKey,
    /// The range that was resolved, inclusive.
    pub from: EventTime,
    /// End of the range, inclusive.
    pub to: EventTime,
    /// The sessions that were seen to intersect the range, sorted. If others do now, the replacement is rejected. `None`:
    /// whichever are there, and all other events of the user.
    pub sessions: Option<Vec<SessionId>>,
    /// The events of these sessions that remain, all of this user. Those that lie outside of sessions stay in any case
    /// ([`Sessionless::KeepAlive`]).
    pub survivors: Vec<Visit>,
}

impl Replacement {
    /// Takes away all that a user has, whatever it is.
    pub fn of_all(user: UserKey) -> Replacement {
        Replacement { user, from: EventTime::MIN, to: EventTime::MAX, sessions: None, survivors: Vec::new() }
    }
}

/// A replacement that did not apply: the sessions had changed meanwhile. A row of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejection {
    /// As it came.
    pub replacement: Replacement,
    /// The sessions that intersect the range now, sorted.
    pub found: Vec<SessionId>,
}

/// An event that came late: it is before the start of what was its user's last session, so it changes another one, makes
/// one of its own, or extends the last one backwards. A row of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Late {
    /// Whose event it is.
    pub user: UserKey,
    /// When it happened.
    pub time: EventTime,
    /// What the rules may look at.
    pub signature: SignatureId,
    /// Start of the session that it belongs to now.
    pub session: EventTime,
}

/// A session that goes on under another id, since ids follow starts. A row of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lineage {
    /// Whose session it is.
    pub user: UserKey,
    /// Start that it had.
    pub old: EventTime,
    /// Start of the session that it is now, or that it is part of.
    pub new: EventTime,
    /// How it came to have another start.
    pub reason: Moved,
}

/// Why a session goes on under another id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Moved {
    /// An earlier event became its first.
    Extended,
    /// It was joined to an earlier one.
    Merged,
}

impl Moved {
    /// Returns the stable name of this reason in outputs.
    pub fn code(self) -> &'static str {
        match self {
            Moved::Extended => "extended",
            Moved::Merged => "merged",
        }
    }
}

/// What the operator says beside the sessions, all of it of journals: of which one, is in the row, as each stream more is
/// tracked tick by tick.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// An event came late.
    Late(Late),
    /// A session goes on under another id.
    Lineage(Lineage),
    /// A replacement did not apply.
    Rejection(Box<Rejection>),
    /// How many more events that only extend sessions lie outside of sessions than before ([`Sessionless::KeepAlive`]).
    Outside(isize),
}

/// What [`sessionize`] gives.
pub struct Sessionized<'s, T: TotalTime = Tick> {
    /// View: the sessions of each user.
    pub sessions: Arranged<'s, SessionTrace<T>>,
    /// How far this worker's sessions are written, whatever others still have to do.
    pub written: Written<T>,
    /// Journals, with their ticks.
    pub entries: Stream<'s, T, Vec<(Entry, T)>>,
    /// Under session policies: the marks of each user's events, for snapshots.
    pub marks: Option<MarkSpans<'s, T>>,
}

/// Marks by user, in the order of time.
pub type MarkSpine<T = Tick> = ValSpine<UserKey, Mark, T, isize>;
/// Batches of marks, as they are written.
pub type MarkSpans<'s, T = Tick> = Stream<'s, T, Vec<SpanOf<MarkSpine<T>>>>;
type MarkBuilder<T> = ValBuilder<UserKey, Mark, T, isize>;

/// A row of the marks that a snapshot brings back, and how often it is there.
pub type MarkRow = (UserKey, Mark, isize);

/// Sessions by user, in the order of their ends.
pub type SessionSpine<T = Tick> = ValSpine<UserKey, Session, T, isize>;
/// Reads [`SessionSpine`].
pub type SessionTrace<T = Tick> = TraceAgent<SessionSpine<T>>;
type SessionBuilder<T> = ValBuilder<UserKey, Session, T, isize>;

/// What delimits sessions.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In microseconds, at least 0 and at most 10^18.
    pub gap: i64,
    /// `None`: the gap alone delimits sessions, and no marks are kept.
    pub policies: Option<Policies>,
}

/// Makes sessions of visits. `restored` are the sessions of a snapshot, and under session policies the marks; they come at
/// a tick of their own, before all else.
pub fn sessionize<'s, T: TotalTime>(
    visits: Stream<'s, T, Vec<Visit>>,
    replacements: Stream<'s, T, Vec<Replacement>>,
    restored: (Stream<'s, T, Vec<(UserKey, Session)>>, Option<Stream<'s, T, Vec<MarkRow>>>),
    Bounds { gap, policies }: Bounds,
) -> Sessionized<'s, T> {
    let scope = visits.scope();
    let workers = scope.peers();
    let mut operator = Keyed::<T, Sessionizing<T>>::new("Sessionize", scope);
    let (own, sessions) = operator.arranged();
    let (entries, entry_stream) = operator.output();
    let (cut, marks) = policies
        .map(|policies| {
            let (own, marks) = operator.arranged();
            let cut = Cutting { own, fold: CutFold::new(gap, policies), rows: Rows::default() };
            // Nothing but this operator reads the trace.
            (cut, marks.stream)
        })
        .unzip();
    let (restored, restored_marks) = restored;
    let by_user = Exchange::new(move |visit: &Visit| visit.user.worker(workers));
    operator.input(visits, by_user, move |fold, arrivals| {
        arrivals.each(|waiting, _, visits| {
            let buckets = waiting.visits.get_or_insert_with(|| fold.spare.pop().unwrap_or_else(Buckets::new));
            visits.drain(..).for_each(|visit| buckets.push(visit, workers));
        });
    });
    let by_user = Exchange::new(move |replacement: &Replacement| replacement.user.worker(workers));
    operator.input(replacements, by_user, |_, arrivals| {
        arrivals.each(|waiting, _, replacements| waiting.replacements.append(replacements));
    });
    let by_user = Exchange::new(move |(user, _): &(UserKey, Session)| user.worker(workers));
    operator.input(restored, by_user, |_, arrivals| {
        arrivals.each(|waiting, _, restored| waiting.restored.append(restored));
    });
    if let Some(restored) = restored_marks {
        let by_user = Exchange::new(move |(user, ..): &MarkRow| user.worker(workers));
        operator.input(restored, by_user, |_, arrivals| {
            arrivals.each(|waiting, _, restored| waiting.restored_marks.append(restored));
        });
    }
    let written = own.written();
    operator.build(Sessionizing {
        own,
        entries,
        spare: Vec::new(),
        fold: Fold::new(gap),
        folded: Folded::default(),
        rows: Rows::default(),
        cut,
    });
    Sessionized { sessions, written, entries: entry_stream, marks }
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Waiting {
    visits: Option<Buckets>,
    replacements: Vec<Replacement>,
    restored: Vec<(UserKey, Session)>,
    restored_marks: Vec<MarkRow>,
}

/// One worker's sessions.
struct Sessionizing<T: TotalTime> {
    own: Own<SessionSpine<T>>,
    entries: Output<T, (Entry, T)>,
    /// Emptied, to be used again.
    spare: Vec<Buckets>,
    fold: Fold,
    folded: Folded,
    rows: Rows<UserKey, Session, T>,
    /// Under session policies.
    cut: Option<Cutting<T>>,
}

/// One worker's marks.
struct Cutting<T: TotalTime> {
    own: Own<MarkSpine<T>>,
    fold: CutFold,
    rows: Rows<UserKey, Mark, T>,
}

impl<T: TotalTime> operators::Fold<T> for Sessionizing<T> {
    type Waiting = Waiting;

    fn tick(&mut self, tick: &T, waiting: &mut Waiting, at: &Capabilities<T>) -> Turn {
        let Waiting { visits, replacements, restored, restored_marks } = std::mem::take(waiting);
        let past = self.own.past();
        // A user may have marks and no session.
        let batch = if restored.is_empty() && restored_marks.is_empty() {
            self.fold_users(tick, &past, visits, replacements)
        } else {
            let before = (past.len(), visits.map_or(0, |visits| visits.len()), replacements.len());
            assert_eq!(before, (0, 0, 0), "what is restored comes before all batches, visits and replacements");
            if let Some(cut) = &mut self.cut {
                cut.restore(tick, restored_marks);
            }
            self.restore(tick, restored)
        };
        self.own.write(batch.map(Rc::new));
        self.entries.give(at, self.folded.entries.drain(..).map(|entry| (entry, tick.clone())));
        Turn::Done
    }
}

type SessionBatch<T> = <SessionBuilder<T> as Builder>::Output;

impl<T: TotalTime> Sessionizing<T> {
    /// The batch of the tick that a snapshot comes back at.
    fn restore(&mut self, tick: &T, mut restored: Vec<(UserKey, Session)>) -> Option<SessionBatch<T>> {
        restored.sort_unstable();
        // Columns that grow would be copied again and again.
        let mut builder = SessionBuilder::with_capacity(restored.len(), restored.len(), restored.len());
        for row in restored {
            self.rows.extend(&mut builder, [(row, tick.clone(), 1)]);
        }
        self.rows.finish(builder)
    }

    /// The batch of one tick: visits and replacements of each user, folded into the user's sessions.
    fn fold_users(
        &mut self,
        tick: &T,
        past: &[Rc<SessionBatch<T>>],
        visits: Option<Buckets>,
        mut replacements: Vec<Replacement>,
    ) -> Option<SessionBatch<T>> {
        replacements.sort_unstable();
        let mut replacements = replacements.as_slice();
        let mut bucketed = visits.or_else(|| self.spare.pop()).unwrap_or_else(Buckets::new);
        let mut buckets = bucketed.sorted();
        let mut past = Past::new(past);
        let mut builder = SessionBuilder::default();
        let past_marks = self.cut.as_ref().map(|cut| cut.own.past()).unwrap_or_default();
        let mut past_marks = Past::new(&past_marks);
        let mut marks = MarkBuilder::default();
        let mut visits: &[Visit] = &[];
        loop {
            if visits.is_empty() {
                visits = buckets.next().unwrap_or_default();
            }
            let next = [visits.first().map(|visit| visit.user), replacements.first().map(|other| other.user)];
            let Some(user) = next.into_iter().flatten().min() else { break };
            let (own, others) = visits.split_at(visits.iter().take_while(|visit| visit.user == user).count());
            visits = others;
            let of_user = replacements.iter().take_while(|replacement| replacement.user == user).count();
            let (replaced, others) = replacements.split_at(of_user);
            replacements = others;
            past.key(&user);
            match &mut self.cut {
                None => self.fold.apply(user, &mut past, own, replaced, &mut self.folded),
                Some(cut) => {
                    past_marks.key(&user);
                    cut.fold.apply(user, &mut past, &mut past_marks, own, replaced, &mut self.folded);
                    let changes = cut.fold.marks.drain(..).map(|(mark, diff)| ((user, mark), tick.clone(), diff));
                    cut.rows.extend(&mut marks, changes);
                }
            }
            let changes = self.folded.changes.drain(..).map(|(session, diff)| ((user, session), tick.clone(), diff));
            self.rows.extend(&mut builder, changes);
        }
        drop(buckets);
        bucketed.clear();
        self.spare.push(bucketed);
        if let Some(cut) = &mut self.cut {
            cut.own.write(cut.rows.finish(marks).map(Rc::new));
        }
        self.rows.finish(builder)
    }
}

impl<T: TotalTime> Cutting<T> {
    /// Writes the batch of the tick that a snapshot comes back at.
    fn restore(&mut self, tick: &T, mut restored: Vec<MarkRow>) {
        restored.sort_unstable();
        let mut builder = MarkBuilder::with_capacity(restored.len(), restored.len(), restored.len());
        for (user, mark, times) in restored {
            self.rows.extend(&mut builder, [((user, mark), tick.clone(), times)]);
        }
        self.own.write(self.rows.finish(builder).map(Rc::new));
    }
}

impl<B> cut::Marks for Past<'_, B, Mark>
where
    B: Navigable,
    B::Cursor: for<'a> Cursor<Val<'a> = &'a Mark, DiffGat<'a> = &'a isize>,
{
    fn rewind(&mut self) {
        Past::rewind(self);
    }

    fn seek(&mut self, time: EventTime) {
        Past::seek(self, &Mark::at(time));
    }

    fn peek(&mut self) -> Option<(&Mark, isize)> {
        Past::counted(self)
    }

    fn step(&mut self) {
        Past::step(self);
    }
}

impl<B> fold::Past for Past<'_, B, Session>
where
    B: Navigable,
    B::Cursor: for<'a> Cursor<Val<'a> = &'a Session, DiffGat<'a> = &'a isize>,
{
    fn rewind(&mut self) {
        Past::rewind(self);
    }

    fn seek(&mut self, end: EventTime) {
        Past::seek(self, &Session::ending_at(end));
    }

    fn peek(&mut self) -> Option<&Session> {
        Past::peek(self)
    }

    fn step(&mut self) {
        Past::step(self);
    }
}
