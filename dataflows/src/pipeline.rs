//! Inputs -> Outputs: the one graph for history and live stream. The only file that knows the order of the stages.

use crate::classify::ClassTrace;
use crate::close::{Closed, close};
use crate::counts::{CountTrace, CountedBy, Parts, SignatureHour, Tally, count, tally};
use crate::describe::{Described, Fact, NameTrace, Unnamed, describe};
use crate::forget::{Dropped, SharedNotes, Withdrawal};
use crate::group::{Added, Definition, GroupTrace, Over};
use crate::identity::UserKey;
use crate::ingest::{self, Dedupe, IdRow, Ingested, ingest};
use crate::learn::Learning;
use crate::look_up::{Answered, LookUps, look_up};
use crate::record::Record;
use crate::sequence::{ActivityTrace, Effort, FunnelTrace, Sequenced, Sequences, StepRow, StepSpans, funnel, sequence};
use crate::sessionize::{
    self, Bounds, MarkRow, MarkSpans, Policies, Replacement, Session, SessionTrace, Sessionized, sessionize,
};
use crate::shapes::{ShapeTrace, shapes};
use crate::state::{self, Accumulated, RestoredEntity, States, accumulate};
use crate::stitch::{self, LinkRow, Stitched, stitch};
use crate::time::{Tick, TotalTime};
use crate::users::{UserTrace, users};
use crate::weigh::weigh;
use differential_dataflow::operators::arrange::Arranged;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::operators::Concat;

/// What enters, on every worker. All inputs share the ticks of one sequencer.
pub struct Inputs<'s, T: TotalTime = Tick> {
    /// Decoded records, whichever worker has read them.
    pub records: Stream<'s, T, Vec<Record>>,
    /// What records stand for, and rules: at the tick of the first record that it is about, or before.
    pub facts: Stream<'s, T, Vec<Fact>>,
    /// Deletions and corrections.
    pub replacements: Stream<'s, T, Vec<Replacement>>,
    /// The same of the entities of states, if there are states.
    pub replaced_entities: Option<Stream<'s, T, Vec<state::Replacement>>>,
    /// What goes from sequences; `None`: nothing does, or there are none.
    pub dropped: Option<Stream<'s, T, Vec<Dropped>>>,
    /// The users whose links go, on each worker; `None`: none do, or there are no identities.
    pub unlinked: Option<Stream<'s, T, Vec<UserKey>>>,
    /// What goes from the sums of this worker; `None`: nothing does.
    pub withdrawals: Option<Stream<'s, T, Vec<Withdrawal>>>,
    /// The events of users who are about to be forgotten.
    pub notes: SharedNotes<T>,
    /// The `now_ms` of each tick, on each worker; `None`: nothing is ever closed.
    pub clock: Option<Stream<'s, T, Vec<i64>>>,
    /// The sequences that are not followed any more, on each worker; `None`: there are none, or all are followed to the end.
    pub ended: Option<Stream<'s, T, Vec<u16>>>,
    /// What a snapshot brings back.
    pub restored: Restored<'s, T>,
}

/// What a snapshot brings back, at the tick at which it was taken and before everything else. Names and signatures come
/// back as facts; the sums by reason are of no stage.
pub struct Restored<'s, T: TotalTime = Tick> {
    /// All sessions.
    pub sessions: Stream<'s, T, Vec<(UserKey, Session)>>,
    /// Under session policies: the marks of all events with a session.
    pub marks: Option<Stream<'s, T, Vec<MarkRow>>>,
    /// The entities of states, if there are states.
    pub entities: Option<Stream<'s, T, Vec<RestoredEntity>>>,
    /// What is known of ids.
    pub ids: Stream<'s, T, Vec<IdRow>>,
    /// All step events, if there are sequences.
    pub steps: Option<Stream<'s, T, Vec<StepRow>>>,
    /// All links, if there are identities.
    pub links: Option<Stream<'s, T, Vec<LinkRow>>>,
    /// The number of events by signature and hour.
    pub by_signature: Stream<'s, T, Vec<(SignatureHour, T, isize)>>,
    /// The groups of counts over events, if there are any.
    pub groups: Option<Stream<'s, T, Vec<Added>>>,
    /// What the caller keeps by key beside the graph, if it does: the graph brings it to the worker of its key.
    pub kept: Option<Stream<'s, T, Vec<KeptRow>>>,
}

/// A row that the caller keeps, with the key whose worker it is for.
pub type KeptRow = (UserKey, Vec<u8>);

/// The part of the plan that the graph depends on.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Microseconds.
    pub gap: i64,
    /// What delimits sessions beside the gap, if anything does.
    pub policies: Option<Policies>,
    /// `None`: no record carries an identity.
    pub dedupe: Option<Dedupe>,
    /// What a learned class needs; `None`: none is learned, whatever facts say, and nothing is weighed.
    pub learning: Option<Learning>,
    /// The sequences to recognise.
    pub sequences: Sequences,
    /// What is kept of entities.
    pub states: States,
    /// What persons may be; `None`: no aliases are joined.
    pub identities: Option<stitch::Rules>,
    /// What actions on events look up; `None`: there are none.
    pub look_ups: Option<LookUps>,
    /// What is counted by keys of the configuration.
    pub counts: Arc<[Definition]>,
    /// Whether the caller keeps rows by key beside the graph, which snapshots bring back.
    pub keeps: bool,
    /// Whether an engine has a clock: without one, nothing is ever closed, no attempt expires, and states are read at the
    /// end alone.
    pub clock: bool,
}

/// What leaves. The arrangements are shared by every later stage and subscriber; a handle that is not advanced holds
/// back compaction.
pub struct Outputs<'s, T: TotalTime = Tick> {
    /// View: the sessions of each user, counted by signature. A user's sessions and name are at the same worker, and
    /// the users of worker i come before those of worker i+1.
    pub sessions: Arranged<'s, SessionTrace<T>>,
    /// View: the string of each user key. It is written as far as the classes are.
    pub names: NameTrace<T>,
    /// The names that go with users who are forgotten.
    pub unnamed: Unnamed<T>,
    /// View: the label of each signature, whole on each worker.
    pub classes: Arranged<'s, ClassTrace<T>>,
    /// View: the number of events by class and hour.
    pub counts: Arranged<'s, CountTrace<T>>,
    /// View: totals of each shape.
    pub shapes: Arranged<'s, ShapeTrace<T>>,
    /// View: totals of each user, if there is a clock: without one the end alone is read, and the sessions say it.
    pub users: Option<Arranged<'s, UserTrace<T>>>,
    /// The sessions that are closed, if there is a clock.
    pub closed: Option<Closed<'s, T>>,
    /// View: the activities, if there are sequences. A track is at the worker of its key.
    pub activities: Option<Arranged<'s, ActivityTrace<T>>>,
    /// View: the counts of activities, if there are sequences and a clock: without one the end alone is read, and the
    /// activities say it.
    pub funnels: Option<Arranged<'s, FunnelTrace<T>>>,
    /// The step events, for snapshots, and what it took to follow them: if there are sequences and a clock.
    pub followed: Option<(StepSpans<'s, T>, Rc<Effort>)>,
    /// Journal of records that did not simply count, and with the sessions and sums what snapshots are made of; `None`:
    /// every record counts.
    pub ingested: Option<Stream<'s, T, Vec<(ingest::Entry, T)>>>,
    /// Journals of late events, of sessions that go on under another id, and of replacements that did not apply.
    pub sessionized: Stream<'s, T, Vec<(sessionize::Entry, T)>>,
    /// Under session policies: the marks of events, for snapshots.
    pub marks: Option<MarkSpans<'s, T>>,
    /// Which aliases are one person, if there are identities.
    pub stitched: Option<Stitched<'s, T>>,
    /// The entities of states, if there are states.
    pub states: Option<Accumulated<'s, T>>,
    /// Journal of the actions that events call, with what they look up, if there are any on events.
    pub calls: Option<Stream<'s, T, Vec<(Answered, T)>>>,
    /// What events add to groups, with what was restored of these, if there are counts over events.
    pub counted: Option<Stream<'s, T, Vec<Added>>>,
    /// View: the groups of the counts, by level. An engine adds them: they follow from the other views.
    pub groups: Vec<Arranged<'s, GroupTrace<T>>>,
    /// The number of events by signature and hour, and of those without a session by reason: of this worker's own events,
    /// and without what was restored.
    pub sums: Stream<'s, T, Vec<(CountedBy, T, isize)>>,
    /// See [`Restored::kept`]; whichever worker has read it.
    pub kept: Option<Stream<'s, T, Vec<KeptRow>>>,
}

/// Builds the graph: see the drawing of the crate.
pub fn pipeline<'s, T: TotalTime>(inputs: Inputs<'s, T>, settings: &Settings) -> Outputs<'s, T> {
    let Inputs { records, facts, replacements, replaced_entities, dropped, unlinked, withdrawals, .. } = inputs;
    let Inputs { notes, clock, ended, restored, .. } = inputs;
    let Ingested { records, entries: ingested } = ingest(records, restored.ids, settings.dedupe);
    let (records, facts) = match settings.learning {
        Some(_) => {
            let weighed = weigh(records, restored.by_signature.clone(), withdrawals.clone());
            (weighed.records, facts.concat(weighed.facts))
        }
        None => (records, facts),
    };
    let Described { names, classes, leaves, unnamed } = describe(facts, settings.learning);
    let parts = Parts {
        steps: !settings.sequences.definitions.is_empty(),
        contributions: !settings.states.definitions.is_empty(),
        calls: settings.look_ups.is_some(),
        counted: settings.counts.iter().any(|count| count.over == Over::Events),
        links: settings.identities.is_some(),
    };
    let classified = classes.stream.clone();
    let Tally { visits, steps, contributions, calls, counted: added, links, sums, by_label } =
        tally(records, restored.by_signature, classified, (withdrawals, notes), parts);
    let counts = count(by_label.clone());
    let shapes = shapes(by_label, leaves);
    let bounds = Bounds { gap: settings.gap, policies: settings.policies };
    let Sessionized { sessions, written, entries: sessionized, marks } =
        sessionize(visits, replacements, (restored.sessions, restored.marks), bounds);
    let sequenced = steps.zip(restored.steps);
    let sequenced = sequenced.map(|(steps, restored)| {
        sequence((steps, restored), clock.clone(), (ended, dropped), settings.sequences.clone())
    });
    let (activities, followed) = sequenced
        .map(|Sequenced { activities, counts, events, effort, .. }| (activities, (counts, (events, effort))))
        .unzip();
    let (counted, followed) = followed.filter(|_| clock.is_some()).unzip();
    let funnels = counted.map(funnel);
    let users = clock.is_some().then(|| users(sessions.clone(), written.clone()));
    let entered = contributions.zip(replaced_entities).zip(restored.entities);
    let states = entered.map(|((contributions, replacements), restored)| {
        let inputs = state::Inputs { contributions, replacements, restored };
        accumulate(inputs, &settings.states, settings.clock)
    });
    let entered = links.zip(restored.links).zip(settings.identities);
    let stitched = entered.map(|((seen, restored), rules)| stitch(stitch::Inputs { seen, unlinked, restored }, rules));
    let calls = calls.zip(settings.look_ups.clone());
    let calls = calls.map(|(calls, look_ups)| look_up(calls, states.as_ref(), look_ups));
    let added = added.map(|added| match restored.groups {
        Some(groups) => added.concat(groups),
        None => added,
    });
    let closed = clock.map(|clock| close(sessions.stream.clone(), written, clock, settings.gap));
    Outputs {
        sessions,
        names,
        unnamed,
        classes,
        counts,
        shapes,
        users,
        closed,
        activities,
        funnels,
        followed,
        ingested,
        sessionized,
        marks,
        stitched,
        states,
        calls,
        counted: added,
        groups: Vec::new(),
        sums,
        kept: restored.kept,
    }
}
