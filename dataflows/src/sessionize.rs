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
use fold::Fold;
use past::Sessions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
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

pub type SessionSpine = ValSpine<UserKey, Session, Tick, isize>;
pub type SessionTrace = TraceAgent<SessionSpine>;

/// Returns the arrangement of sessions by user, and the journal of rejected replacements with their ticks.
///
/// `gap` is in microseconds, at least 0 and at most 10^18.
pub fn sessionize<'s>(
    visits: Stream<'s, Tick, Vec<Visit>>,
    replacements: Stream<'s, Tick, Vec<Replacement>>,
    gap: i64,
) -> (Arranged<'s, SessionTrace>, Stream<'s, Tick, Vec<(Rejection, Tick)>>) {
    let scope = visits.scope();
    let workers = scope.peers();
    let mut builder = OperatorBuilder::new("Sessionize".to_string(), scope);
    let info = builder.operator_info();
    let mut visits = builder.new_input(visits, Exchange::new(move |visit: &Visit| visit.user.worker(workers)));
    let by_user = Exchange::new(move |replacement: &Replacement| replacement.user.worker(workers));
    let mut replacements = builder.new_input(replacements, by_user);
    let (spans, span_stream) = builder.new_output::<Vec<Span<Tick, _>>>();
    let (rejected, rejected_stream) = builder.new_output();
    let mut spans = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(spans);
    let mut rejected = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(rejected);

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

    builder.build(move |_capabilities| {
        let mut pending: BTreeMap<Tick, Pending> = BTreeMap::new();
        let mut lower = Antichain::from_elem(0);
        let mut worked = Worked {
            spare: Vec::new(),
            fold: Fold::new(gap),
            changes: Vec::new(),
            rows: Vec::new(),
            rejections: Vec::new(),
        };
        move |frontiers| {
            // `retain_least`: a message without a stamp makes no claim; these inputs are fed with capabilities only.
            visits.for_each(|capability, data| {
                if let (Some(spans), Some(rejected)) = (capability.retain_least(0), capability.retain_least(1)) {
                    let tick = *spans.time();
                    let waiting =
                        pending.entry(tick).or_insert_with(|| Pending::new(spans, rejected, &mut worked.spare));
                    data.drain(..).for_each(|visit| waiting.visits.push(visit, workers));
                }
            });
            replacements.for_each(|capability, data| {
                if let (Some(spans), Some(rejected)) = (capability.retain_least(0), capability.retain_least(1)) {
                    let tick = *spans.time();
                    let waiting =
                        pending.entry(tick).or_insert_with(|| Pending::new(spans, rejected, &mut worked.spare));
                    waiting.replacements.append(data);
                }
            });
            let mut upper = frontiers[0].frontier().to_owned();
            upper.extend(frontiers[1].frontier().iter().copied());

            let mut spans = spans.activate();
            let mut rejected = rejected.activate();
            while let Some(entry) = pending.first_entry().filter(|entry| !upper.less_equal(entry.key())) {
                let (tick, pending_tick) = entry.remove_entry();
                // More complete ticks wait: cut right behind this one; else cover all that is complete.
                let more = pending.first_key_value().is_some_and(|(next, _)| !upper.less_equal(next));
                let end = if more { Antichain::from_elem(tick + 1) } else { upper.clone() };
                // The frontier `lower` is a batch boundary: this operator wrote it.
                let past = sessions.batches_through(lower.borrow()).expect("own output up to the last cut");
                let Pending { spans: at_spans, rejected: at_rejected, visits, replacements } = pending_tick;
                let batch = worked.tick(tick, past, visits, replacements);
                let since = Antichain::from_elem(0);
                let span = Span::new(Description::new(lower.clone(), end.clone(), since), batch.map(Rc::new));
                spans.session(&at_spans).give(span.clone());
                let mut journal = rejected.session(&at_rejected);
                worked.rejections.drain(..).for_each(|rejection| journal.give((rejection, tick)));
                writer.insert(span, Stamp::from_elem(tick));
                lower = end;
                sessions.set_logical_compaction(lower.borrow());
                sessions.set_physical_compaction(lower.borrow());
            }
            if lower != upper {
                lower.clone_from(&upper);
                writer.seal(upper);
                sessions.set_logical_compaction(lower.borrow());
                sessions.set_physical_compaction(lower.borrow());
            }
            writer.exert();
        }
    });
    (Arranged { stream: span_stream, trace }, rejected_stream)
}

/// What has arrived for a tick that is not complete yet.
struct Pending {
    spans: Capability<Tick>,
    rejected: Capability<Tick>,
    visits: Buckets,
    replacements: Vec<Replacement>,
}

impl Pending {
    fn new(spans: Capability<Tick>, rejected: Capability<Tick>, spare: &mut Vec<Buckets>) -> Pending {
        Pending { spans, rejected, visits: spare.pop().unwrap_or_else(Buckets::new), replacements: Vec::new() }
    }
}

/// Reused scratch of [`Worked::tick`].
struct Worked {
    /// Emptied, to be used again.
    spare: Vec<Buckets>,
    fold: Fold,
    changes: Vec<(Session, isize)>,
    rows: Vec<((UserKey, Session), Tick, isize)>,
    rejections: Vec<Rejection>,
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
            self.fold.apply(past, own, replaced, &mut self.changes, &mut self.rejections);
            self.rows.extend(self.changes.drain(..).map(|(session, diff)| ((user, session), tick, diff)));
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
