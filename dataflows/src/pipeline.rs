//! Inputs -> Outputs: the one graph for history and live stream. The only file that knows the order of the stages.

use crate::classify::{ClassTrace, Classified, classify};
use crate::close::{Closing, Deadlines, close};
use crate::counts::{CountTrace, SessionlessTrace, SignatureHour, Tally, tally};
use crate::identity::{SignatureId, UserKey};
use crate::ingest::{Dedupe, IdRow, Ingested, Verdict, ingest};
use crate::record::{Record, Sessionless};
use crate::rules::{Descriptor, Rule};
use crate::sessionize::{Late, Lineage, Rejection, Replacement, Session, SessionTrace, Sessionized, sessionize};
use crate::time::Tick;
use differential_dataflow::VecCollection;
use differential_dataflow::collection::AsCollection;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBatcher, ValSpine};
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::generic::operator::empty;

/// What enters, on every worker. All inputs share the ticks of one sequencer.
pub struct Inputs<'s> {
    pub records: Stream<'s, Tick, Vec<Record>>,
    /// The strings behind user keys; repeats are fine.
    pub names: VecCollection<'s, Tick, (UserKey, Arc<str>), isize>,
    /// What the signatures of the records stand for; repeats are fine. In at the tick of the first record or before.
    pub signatures: VecCollection<'s, Tick, (SignatureId, Descriptor), isize>,
    pub rules: VecCollection<'s, Tick, Rule, isize>,
    pub replacements: Stream<'s, Tick, Vec<Replacement>>,
    /// The `now_ms` of each tick, on each worker.
    pub clock: Stream<'s, Tick, Vec<i64>>,
    pub restored: Restored<'s>,
}

/// What a snapshot brings back, at the tick at which it was taken and before everything else. Names and signatures come
/// back through their own inputs.
pub struct Restored<'s> {
    pub sessions: Stream<'s, Tick, Vec<(UserKey, Session)>>,
    pub ids: Stream<'s, Tick, Vec<IdRow>>,
    pub by_signature: Stream<'s, Tick, Vec<(SignatureHour, Tick, isize)>>,
    pub by_reason: Stream<'s, Tick, Vec<(Sessionless, Tick, isize)>>,
}

/// The part of the plan that the graph depends on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Microseconds.
    pub gap: i64,
    /// `None`: no record carries an identity.
    pub dedupe: Option<Dedupe>,
    /// Whether there is a clock: without one, nothing is ever closed.
    pub clock: bool,
}

/// What leaves. The arrangements are shared by every later stage and subscriber; a handle that is not advanced holds
/// back compaction.
pub struct Outputs<'s> {
    /// View: the sessions of each user, counted by signature. A user's sessions and name are at the same worker, and
    /// the users of worker i come before those of worker i+1.
    pub sessions: Arranged<'s, SessionTrace>,
    /// View: the string of each user key.
    pub names: Arranged<'s, NameTrace>,
    /// View: the class of each signature, whole on each worker.
    pub classes: Arranged<'s, ClassTrace>,
    /// View: events by class and hour.
    pub counts: Arranged<'s, CountTrace>,
    /// View: events without a session, by reason.
    pub sessionless: Arranged<'s, SessionlessTrace>,
    /// View of sessions and clock: the sessions that are closed.
    pub closings: Stream<'s, Tick, Vec<(Closing, Tick, isize)>>,
    pub deadlines: Rc<Deadlines>,
    /// Journal: records that did not simply count.
    pub verdicts: Stream<'s, Tick, Vec<(Verdict, Tick)>>,
    /// Journal: events that came late.
    pub late: Stream<'s, Tick, Vec<(Late, Tick)>>,
    /// Journal: sessions that go on under another id.
    pub lineage: Stream<'s, Tick, Vec<(Lineage, Tick)>>,
    /// Journal: replacements that did not apply.
    pub rejections: Stream<'s, Tick, Vec<(Rejection, Tick)>>,
    // With the sessions, what snapshots are made of. Of this worker's own events, and without what was restored.
    pub ids: Stream<'s, Tick, Vec<(IdRow, Tick, isize)>>,
    pub by_signature: Stream<'s, Tick, Vec<(SignatureHour, Tick, isize)>>,
    pub by_reason: Stream<'s, Tick, Vec<(Sessionless, Tick, isize)>>,
}

pub type NameTrace = TraceAgent<ValSpine<UserKey, Arc<str>, Tick, isize>>;

pub fn pipeline<'s>(inputs: Inputs<'s>, settings: Settings) -> Outputs<'s> {
    let scope = inputs.records.scope();
    let workers = scope.peers();
    let Restored { sessions: restored, ids: restored_ids, by_signature: past_signatures, by_reason: past_reasons } =
        inputs.restored;
    let Ingested { events, verdicts, ids } = ingest(inputs.records, restored_ids, settings.dedupe);
    let Classified { changes, classes } = classify(inputs.signatures, inputs.rules);
    let Tally { visits, by_signature, by_reason, by_class } = tally(events, past_signatures, changes);
    let counts = by_class.as_collection().arrange_by_self_named("Counts");
    let sessionless = by_reason.clone().concat(past_reasons).as_collection().arrange_by_self_named("Sessionless");
    let Sessionized { sessions, written, rejections, late, lineage } =
        sessionize(visits, inputs.replacements, restored, settings.gap);
    let (closings, deadlines) = match settings.clock {
        true => close(sessions.stream.clone(), written, inputs.clock, settings.gap),
        false => (empty(scope), Rc::default()),
    };
    let by_owner = Exchange::new(move |((user, _), _, _): &((UserKey, Arc<str>), Tick, isize)| user.worker(workers));
    let names = arrange_core::<_, _, ValBatcher<_, _, _, _>, _>(inputs.names.inner, by_owner, "Names", ValBatcher::new);
    Outputs {
        sessions,
        names,
        classes,
        counts,
        sessionless,
        closings,
        deadlines,
        verdicts,
        late,
        lineage,
        rejections,
        ids,
        by_signature,
        by_reason,
    }
}
