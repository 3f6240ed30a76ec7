//! Inputs -> Outputs: the one graph for history and live stream. The only file that knows the order of the stages.

use crate::classify::{ClassTrace, classify};
use crate::counts::{CountTrace, SessionlessTrace, tally};
use crate::identity::{SignatureId, UserKey};
use crate::ingest::{Dedupe, Verdict, ingest};
use crate::record::Record;
use crate::rules::{Descriptor, Rule};
use crate::sessionize::{Rejection, Replacement, SessionTrace, sessionize};
use crate::time::Tick;
use differential_dataflow::VecCollection;
use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBatcher, ValSpine};
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;

/// What enters, on every worker. All inputs share the ticks of one sequencer.
pub struct Inputs<'s> {
    pub records: Stream<'s, Tick, Vec<Record>>,
    /// The strings behind user keys; repeats are fine.
    pub names: VecCollection<'s, Tick, (UserKey, Arc<str>), isize>,
    /// What the signatures of the records stand for; repeats are fine. In at the tick of the first record or before.
    pub signatures: VecCollection<'s, Tick, (SignatureId, Descriptor), isize>,
    pub rules: VecCollection<'s, Tick, Rule, isize>,
    pub replacements: Stream<'s, Tick, Vec<Replacement>>,
}

/// The part of the plan that the graph depends on.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Microseconds.
    pub gap: i64,
    /// `None`: no record carries an identity.
    pub dedupe: Option<Dedupe>,
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
    /// Journal: records that did not simply count.
    pub verdicts: Stream<'s, Tick, Vec<(Verdict, Tick)>>,
    /// Journal: replacements that did not apply.
    pub rejections: Stream<'s, Tick, Vec<(Rejection, Tick)>>,
}

pub type NameTrace = TraceAgent<ValSpine<UserKey, Arc<str>, Tick, isize>>;

pub fn pipeline<'s>(inputs: Inputs<'s>, settings: Settings) -> Outputs<'s> {
    let workers = inputs.records.scope().peers();
    let (events, verdicts) = ingest(inputs.records, settings.dedupe);
    let classes = classify(inputs.signatures, inputs.rules);
    let tally = tally(events);
    let counts = tally.counts(classes.clone());
    let sessionless = tally.sessionless();
    let (sessions, rejections) = sessionize(tally.visits, inputs.replacements, settings.gap);
    let by_owner = Exchange::new(move |((user, _), _, _): &((UserKey, Arc<str>), Tick, isize)| user.worker(workers));
    let names = arrange_core::<_, _, ValBatcher<_, _, _, _>, _>(inputs.names.inner, by_owner, "Names", ValBatcher::new);
    Outputs { sessions, names, classes, counts, sessionless, verdicts, rejections }
}
