//! Event -> [`Session`]: neighbouring events of a user belong together iff they are at most the gap apart.
//!
//! The operator reads its own output. Its only state is the arrangement that it returns: the sessions of each user,
//! ordered by end, shared with every later stage and subscriber. A tick's events find the sessions within reach, are
//! merged into them, and at most (sessions within reach retracted + one asserted) leaves. So cost follows the
//! neighbourhood of a change, never the length of a user's history, and any arrival order accumulates to the same
//! sessions. Only a deletion can split a session; it comes as a [`Replacement`] that brings the surviving events.
//!
//! Deliberately absent: events. They are never arranged, so memory follows the sessions.

mod buckets;
mod fold;
mod past;
mod session;

pub use session::{Carried, Session, SessionDetails};

use crate::identity::{SessionId, SignatureId, UserKey};
use crate::record::{Details, Event, NoTime, Sessionless};
use crate::time::{EventTime, Tick};
use buckets::Buckets;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::trace::{Builder, Description, ExertionLogic, Span, Trace, TraceReader};
use fold::{Fold, Folded};
use past::Sessions;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::progress::{Antichain, Stamp};

/// An event that can belong to a session: it has a user and a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Visit {
    pub user: UserKey,
    pub time: EventTime,
    pub signature: SignatureId,
    pub details: Option<Box<Details>>,
}

impl Visit {
    /// Or why the event, which has a class all the same, belongs to no session.
    #[inline]
    pub fn of(event: Event) -> Result<Visit, Sessionless> {
        match (event.user, event.time) {
            (Some(user), Ok(time)) => Ok(Visit { user, time, signature: event.signature, details: event.details }),
            (None, _) => Err(Sessionless::NoUser),
            (Some(_), Err(NoTime::Absent)) => Err(Sessionless::NoTime),
            (Some(_), Err(NoTime::Unreadable)) => Err(Sessionless::UnreadableTime),
        }
    }
}

/// Sessions to be taken away, and what is left of them: how a deletion or a correction enters (design §5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Replacement {
    pub user: UserKey,
    /// The range that was resolved, inclusive.
    pub from: EventTime,
    pub to: EventTime,
    /// The sessions that were seen to intersect the range, sorted. If others do now, the replacement is rejected.
    pub sessions: Vec<SessionId>,
    /// The events of these sessions that remain, all of this user.
    pub survivors: Vec<Visit>,
}

/// A replacement that did not apply: the sessions had changed meanwhile. A row of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rejection {
    pub replacement: Replacement,
    /// The sessions that intersect the range now, sorted.
    pub found: Vec<SessionId>,
}

/// An event that came late: it is before the start of what was its user's last session, so it changes another one, makes
/// one of its own, or extends the last one backwards. A row of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Late {
    pub user: UserKey,
    pub time: EventTime,
    pub signature: SignatureId,
    /// Start of the session that it belongs to now.
    pub session: EventTime,
}

/// A session that goes on under another id, since ids follow starts. A row of a journal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lineage {
    pub user: UserKey,
    /// Start that it had.
    pub old: EventTime,
    /// Start of the session that it is now, or that it is part of.
    pub new: EventTime,
    pub reason: Moved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Moved {
    /// An earlier event became its first.
    Extended,
    /// It was joined to an earlier one.
    Merged,
}

impl Moved {
    /// The stable name of this reason in outputs.
    pub fn code(self) -> &'static str {
        match self {
            Moved::Extended => "extended",
            Moved::Merged => "merged",
        }
    }
}

/// What [`sessionize`] gives; journals come with their ticks.
pub struct Sessionized<'s> {
    /// View: the sessions of each user.
    pub sessions: Arranged<'s, SessionTrace>,
    /// This worker's sessions before this tick have left, whatever others still have to do.
    pub done: Rc<Cell<Tick>>,
    /// Journal: replacements that did not apply.
    pub rejections: Stream<'s, Tick, Vec<(Rejection, Tick)>>,
    pub late: Stream<'s, Tick, Vec<(Late, Tick)>>,
    pub lineage: Stream<'s, Tick, Vec<(Lineage, Tick)>>,
}

pub type SessionSpine = ValSpine<UserKey, Session, Tick, isize>;
pub type SessionTrace = TraceAgent<SessionSpine>;

/// `gap` is in microseconds, at least 0 and at most 10^18. `restored` are the sessions of a snapshot; they come at a tick
/// of their own, before all else.
pub fn sessionize<'s>(
    visits: Stream<'s, Tick, Vec<Visit>>,
    replacements: Stream<'s, Tick, Vec<Replacement>>,
    restored: Stream<'s, Tick, Vec<(UserKey, Session)>>,
    gap: i64,
) -> Sessionized<'s> {
    let scope = visits.scope();
    let workers = scope.peers();
    let mut builder = OperatorBuilder::new("Sessionize".to_string(), scope);
    let info = builder.operator_info();
    let mut visits = builder.new_input(visits, Exchange::new(move |visit: &Visit| visit.user.worker(workers)));
    let by_user = Exchange::new(move |replacement: &Replacement| replacement.user.worker(workers));
    let mut replacements = builder.new_input(replacements, by_user);
    let by_user = Exchange::new(move |(user, _): &(UserKey, Session)| user.worker(workers));
    let mut restored = builder.new_input(restored, by_user);
    let (spans, span_stream) = builder.new_output::<Vec<Span<Tick, _>>>();
    let (rejected, rejected_stream) = builder.new_output();
    let (late, late_stream) = builder.new_output();
    let (lineage, lineage_stream) = builder.new_output();
    let mut spans = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(spans);
    let mut rejected = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(rejected);
    let mut late = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(late);
    let mut lineage = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(lineage);

    let logger = scope
        .worker()
        .logger_for::<differential_dataflow::logging::DifferentialEventBuilder>("differential/arrange")
        .map(Into::into);
    let activator = scope.activator_for(Rc::clone(&info.address));
    let mut spine = SessionSpine::new(info.clone(), logger.clone(), Some(activator));
    if let Some(exert) = scope.worker().config().get::<ExertionLogic>("differential/default_exert_logic") {
        spine.set_exert_logic(exert.clone());
    }
    let (mut sessions, mut writer) = TraceAgent::new(spine, info, logger);
    let trace = sessions.clone();
    let done = Rc::new(Cell::new(0));
    let told = Rc::clone(&done);

    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Pending> = BTreeMap::new();
        let mut lower = Antichain::from_elem(0);
        let mut worked =
            Worked { spare: Vec::new(), fold: Fold::new(gap), folded: Folded::default(), rows: Vec::new() };
        move |frontiers| {
            // Messages have a stamp: these inputs are fed with capabilities only.
            visits.for_each(|capability, data| {
                if let Some(waiting) = Pending::at(&mut pending, &capability, &mut worked.spare) {
                    data.drain(..).for_each(|visit| waiting.visits.push(visit, workers));
                }
            });
            replacements.for_each(|capability, data| {
                if let Some(waiting) = Pending::at(&mut pending, &capability, &mut worked.spare) {
                    waiting.replacements.append(data);
                }
            });
            restored.for_each(|capability, data| {
                if let Some(waiting) = Pending::at(&mut pending, &capability, &mut worked.spare) {
                    waiting.restored.append(data);
                }
            });
            let mut upper = frontiers[0].frontier().to_owned();
            upper.extend(frontiers[1].frontier().iter().copied());
            upper.extend(frontiers[2].frontier().iter().copied());

            let (mut spans, mut rejected) = (spans.activate(), rejected.activate());
            let (mut late, mut lineage) = (late.activate(), lineage.activate());
            while let Some(entry) = pending.first_entry().filter(|entry| !upper.less_equal(entry.key())) {
                let (tick, pending_tick) = entry.remove_entry();
                // More complete ticks wait: cut right behind this one; else cover all that is complete.
                let more = pending.first_key_value().is_some_and(|(next, _)| !upper.less_equal(next));
                let end = if more { Antichain::from_elem(tick + 1) } else { upper.clone() };
                // The frontier `lower` is a batch boundary: this operator wrote it.
                let past = sessions.batches_through(lower.borrow()).expect("own output up to the last cut");
                let Pending { at: [at_spans, at_rejected, at_late, at_lineage], visits, replacements, restored } =
                    pending_tick;
                let batch = if restored.is_empty() {
                    worked.tick(tick, past, visits, replacements)
                } else {
                    debug_assert!(past.is_empty() && replacements.is_empty(), "what is restored comes before all else");
                    worked.restore(tick, restored)
                };
                let since = Antichain::from_elem(0);
                let span = Span::new(Description::new(lower.clone(), end.clone(), since), batch.map(Rc::new));
                spans.session(&at_spans).give(span.clone());
                let Folded { rejections, late: came_late, lineage: moved, .. } = &mut worked.folded;
                rejected.session(&at_rejected).give_iterator(rejections.drain(..).map(|row| (row, tick)));
                late.session(&at_late).give_iterator(came_late.drain(..).map(|row| (row, tick)));
                lineage.session(&at_lineage).give_iterator(moved.drain(..).map(|row| (row, tick)));
                writer.insert(span, Stamp::from_elem(tick));
                lower = end;
                told.set(lower.first().copied().unwrap_or(Tick::MAX));
                sessions.set_logical_compaction(lower.borrow());
                sessions.set_physical_compaction(lower.borrow());
            }
            if lower != upper {
                lower.clone_from(&upper);
                told.set(lower.first().copied().unwrap_or(Tick::MAX));
                writer.seal(upper);
                sessions.set_logical_compaction(lower.borrow());
                sessions.set_physical_compaction(lower.borrow());
            }
            writer.exert();
        }
    });
    Sessionized {
        sessions: Arranged { stream: span_stream, trace },
        done,
        rejections: rejected_stream,
        late: late_stream,
        lineage: lineage_stream,
    }
}

/// What has arrived for a tick that is not complete yet.
struct Pending {
    /// By output.
    at: [Capability<Tick>; 4],
    visits: Buckets,
    replacements: Vec<Replacement>,
    restored: Vec<(UserKey, Session)>,
}

impl Pending {
    /// What waits for the tick of a message; `None` if that makes no claim.
    fn at<'p>(
        pending: &'p mut BTreeMap<Tick, Pending>,
        capability: &InputCapability<Tick>,
        spare: &mut Vec<Buckets>,
    ) -> Option<&'p mut Pending> {
        let waiting = pending.entry(*capability.least()?);
        Some(match waiting {
            Entry::Occupied(waiting) => waiting.into_mut(),
            Entry::Vacant(place) => {
                let [spans, rejected, late, lineage] = [0, 1, 2, 3].map(|port| capability.retain_least(port));
                let visits = spare.pop().unwrap_or_else(Buckets::new);
                let at = [spans?, rejected?, late?, lineage?];
                place.insert(Pending { at, visits, replacements: Vec::new(), restored: Vec::new() })
            }
        })
    }
}

/// Reused scratch of [`Worked::tick`].
struct Worked {
    /// Emptied, to be used again.
    spare: Vec<Buckets>,
    fold: Fold,
    folded: Folded,
    rows: Vec<((UserKey, Session), Tick, isize)>,
}

type SessionBuilder = ValBuilder<UserKey, Session, Tick, isize>;
type SessionBatch = <SessionBuilder as Builder>::Output;

impl Worked {
    /// Rows are pushed to the batch builder in pieces of this size, so that scratch stays in cache.
    const ROWS: usize = 1 << 13;

    /// The batch of one tick: visits and replacements of each user, folded into the user's sessions.
    fn tick(
        &mut self,
        tick: Tick,
        past: Vec<Rc<SessionBatch>>,
        mut visits: Buckets,
        mut replacements: Vec<Replacement>,
    ) -> Option<SessionBatch> {
        replacements.sort_unstable();
        let batch = self.fold_users(tick, &mut Sessions::new(&past), &mut visits.sorted(), &replacements);
        visits.clear();
        self.spare.push(visits);
        batch
    }

    /// The batch of the tick that a snapshot comes back at.
    fn restore(&mut self, tick: Tick, mut restored: Vec<(UserKey, Session)>) -> Option<SessionBatch> {
        restored.sort_unstable();
        // Columns that grow would be copied again and again.
        let mut builder = SessionBuilder::with_capacity(restored.len(), restored.len(), restored.len());
        let mut restored = restored.into_iter().peekable();
        while restored.peek().is_some() {
            self.rows.extend(restored.by_ref().take(Self::ROWS).map(|row| (row, tick, 1)));
            builder.push(&mut self.rows);
            self.rows.clear();
        }
        builder.done()
    }

    /// `buckets` are sorted and each user's visits in one, `replacements` sorted.
    fn fold_users<'v>(
        &mut self,
        tick: Tick,
        past: &mut Sessions<'_>,
        buckets: &mut impl Iterator<Item = &'v [Visit]>,
        mut replacements: &[Replacement],
    ) -> Option<SessionBatch> {
        let mut builder = SessionBuilder::default();
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
            past.user(user);
            self.fold.apply(user, past, own, replaced, &mut self.folded);
            self.rows.extend(self.folded.changes.drain(..).map(|(session, diff)| ((user, session), tick, diff)));
            if self.rows.len() >= Self::ROWS {
                builder.push(&mut self.rows);
                self.rows.clear();
            }
        }
        if !self.rows.is_empty() {
            builder.push(&mut self.rows);
            self.rows.clear();
        }
        builder.done()
    }
}
