//! One worker's instance of the graph: the sending ends of its inputs and the reading ends of its views. Everything that
//! touches timely's generics is compiled here, once; the world sees plain functions.

mod input;

pub use input::{Input, Roots};

use crate::changes::{Changes, Collect, Collector};
use crate::close::Deadlines;
use crate::counts::SignatureHour;
use crate::describe::Fact;
use crate::forget::{Dropped, Forgotten, SharedNotes, Withdrawal};
use crate::group::Added;
use crate::group_by::{Counting, Groups, contribute, group};
use crate::identity::UserKey;
use crate::ingest::{IdRow, Verdict};
use crate::parcel::{Kinds, Parcel, Unpacked, unpack};
use crate::pipeline::{Inputs, KeptRow, Outputs, Restored, Settings, pipeline};
use crate::resolve::{Classes, Resolver, Row, SessionResolver, TakeRows};
use crate::scan::Names;
use crate::sequence::{Effort, StepRow, Track};
use crate::sessionize::{MarkRow, Replacement, Session};
use crate::state::{self, Follow, RestoredEntity};
use crate::stitch::LinkRow;
use crate::time::{EventTime, Tick};
use crate::views::Views;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::generic::operator::empty;
use timely::dataflow::operators::vec::Input as _;
use timely::progress::Antichain;
use timely::worker::Worker;

/// How long a worker that has nothing to do sleeps at most before it looks again.
const PATIENCE: Duration = Duration::from_millis(1);

/// A running graph that is being fed.
pub struct Engine {
    feed: Feed,
    views: Views,
    collector: Collector,
    deadlines: Rc<Deadlines>,
    /// If there are sequences and a clock.
    effort: Option<Rc<Effort>>,
    /// By state that is followed.
    followed: BTreeMap<u16, Follow>,
    resolver: Resolver,
    /// The events of users who are about to be forgotten.
    notes: SharedNotes,
}

impl Engine {
    /// Builds the graph. Every worker has to do so with equal settings. With a clock, changes are collected and have to
    /// be taken ([`Engine::changes`]); without one, verdicts alone are.
    pub fn new(worker: &mut Worker, settings: Settings) -> Engine {
        Engine::with_groups(worker, settings, None)
    }

    /// Does the same. `groups` says to which groups of counts the rows of views belong; without it, only events are counted.
    pub fn with_groups(worker: &mut Worker, settings: Settings, groups: Option<Arc<dyn Groups>>) -> Engine {
        let mut parcels = Sender::new();
        let mut restored = RestoredFeed::default();
        let notes = SharedNotes::default();
        let (views, collector, deadlines, effort) = worker.dataflow(|scope| {
            let has_sequences = !settings.sequences.definitions.is_empty();
            let has_states = !settings.states.definitions.is_empty();
            let kinds = Kinds {
                clock: settings.clock,
                sequences: settings.clock && has_sequences,
                states: settings.clock && has_states,
                links: settings.clock && settings.identities.is_some(),
            };
            let unpacked = unpack(scope.input_from(&mut parcels), kinds);
            let Unpacked { records, facts, clock, ended, .. } = unpacked;
            let Unpacked { replacements, replaced_entities, dropped, unlinked, withdrawals, .. } = unpacked;
            let ids = match settings.dedupe {
                Some(_) => scope.input_from(restored.ids.insert(Sender::new())),
                None => empty(scope),
            };
            let has_counts = !settings.counts.is_empty();
            let entities = has_states.then(|| scope.input_from(restored.entities.insert(Sender::new())));
            let marks = settings.policies.map(|_| scope.input_from(restored.marks.insert(Sender::new())));
            let inputs = Inputs {
                records,
                facts,
                // Deletions come with the control partition of a running cluster; finite sources have none.
                replacements: replacements.unwrap_or_else(|| empty(scope)),
                replaced_entities: has_states.then(|| replaced_entities.unwrap_or_else(|| empty(scope))),
                dropped,
                unlinked,
                withdrawals,
                notes: Rc::clone(&notes),
                clock,
                ended,
                restored: Restored {
                    sessions: scope.input_from(&mut restored.sessions),
                    marks,
                    entities,
                    ids,
                    steps: has_sequences.then(|| scope.input_from(restored.steps.insert(Sender::new()))),
                    links: settings.identities.map(|_| scope.input_from(restored.links.insert(Sender::new()))),
                    by_signature: scope.input_from(&mut restored.by_signature),
                    groups: has_counts.then(|| scope.input_from(restored.groups.insert(Sender::new()))),
                    kept: settings.keeps.then(|| scope.input_from(restored.kept.insert(Sender::new()))),
                },
            };
            let mut outputs = pipeline(inputs, &settings);
            let counting = Counting { counts: Arc::clone(&settings.counts), rows: groups };
            for _ in 0..counting.levels() {
                let added = contribute(&outputs, || Views::of(&outputs), outputs.groups.last(), &counting);
                let groups = group(added, &counting);
                outputs.groups.push(groups);
            }
            let collect = if settings.clock { Collect::Everything } else { Collect::Verdicts };
            let collector = Collector::watch(&outputs, collect);
            let Outputs {
                sessions,
                names,
                classes,
                counts,
                shapes,
                users,
                closed,
                activities,
                funnels,
                followed,
                groups,
                stitched,
                states,
                ..
            } = outputs;
            let views = Views {
                sessions: sessions.trace,
                names,
                classes: classes.trace,
                counts: counts.trace,
                shapes: shapes.trace,
                users: users.map(|users| users.trace),
                activities: activities.map(|activities| activities.trace),
                funnels: funnels.map(|funnels| funnels.trace),
                groups: groups.into_iter().map(|groups| groups.trace).collect(),
                identities: stitched.map(|stitched| stitched.identities.trace),
                states: states.map_or_else(Vec::new, |states| states.tables),
                clocks: BTreeMap::new(),
                restored_sessionless: BTreeMap::new(),
                collector: collector.clone(),
            };
            let deadlines = closed.map_or_else(Rc::default, |closed| closed.deadlines);
            (views, collector, deadlines, followed.map(|(_, effort)| effort))
        });
        let leads = worker.index() == 0;
        let feed = Feed { parcels, workers: worker.peers(), leads, now_ms: None, restored: Some(restored) };
        let (followed, resolver) = (BTreeMap::new(), Resolver::default());
        Engine { feed, views, collector, deadlines, effort, followed, resolver, notes }
    }

    /// Collects nothing of the tick that a snapshot comes back at: it would be a copy of all rows, which were published
    /// before. Has to be called before anything is sent, and [`Engine::resume`] when that tick is settled.
    pub fn skip_restored(&mut self) {
        self.collector.skip_restored();
    }

    /// Goes on from what a snapshot has brought back, of which no changes are collected.
    pub fn resume(&mut self) {
        self.resolver.resume(&mut self.views, 1);
    }

    /// Takes what a snapshot has brought back for this worker of what the caller keeps by key, when its tick is settled.
    pub fn kept(&mut self) -> Vec<KeptRow> {
        self.collector.kept()
    }

    /// Sends a part of a snapshot at the current tick.
    ///
    /// # Panics
    /// After the first [`Engine::advance_to`].
    pub fn restore(&mut self, roots: &mut Roots) {
        let restored = self.feed.restored.as_mut().expect("a snapshot comes back before anything else");
        let tick = *self.feed.parcels.time();
        restored.sessions.send_batch(&mut roots.sessions);
        match &mut restored.ids {
            Some(ids) => ids.send_batch(&mut roots.ids),
            // Without duplicates recognised, ids are of no use.
            None => roots.ids.clear(),
        }
        match &mut restored.marks {
            Some(marks) => marks.send_batch(&mut roots.marks),
            // Without session policies, marks are of no use.
            None => roots.marks.clear(),
        }
        match &mut restored.entities {
            Some(entities) => entities.send_batch(&mut roots.entities),
            None => roots.entities.clear(),
        }
        match &mut restored.steps {
            Some(steps) => steps.send_batch(&mut roots.steps),
            None => roots.steps.clear(),
        }
        match &mut restored.groups {
            Some(groups) => groups.send_batch(&mut roots.groups),
            None => roots.groups.clear(),
        }
        match &mut restored.links {
            Some(links) => links.send_batch(&mut roots.links),
            // Without identities, links are of no use.
            None => roots.links.clear(),
        }
        match &mut restored.kept {
            Some(kept) => kept.send_batch(&mut roots.kept),
            None => roots.kept.clear(),
        }
        let rows = roots.by_signature.drain(..).map(|(row, count)| (row, tick, count));
        restored.by_signature.send_batch(&mut rows.collect());
        if !roots.names.is_empty() {
            let names = roots.names.drain(..).map(|((user, name), times)| (user, name, times));
            let workers = self.feed.workers;
            let facts = names.map(|(user, name, times)| Fact::named(user, name, times, workers)).collect();
            self.feed.send(Parcel { facts, ..Parcel::default() });
        }
        for (reason, count) in roots.by_reason.drain(..) {
            *self.views.restored_sessionless.entry(reason).or_insert(0) += count;
        }
    }

    /// Sets the clock of the current tick, in milliseconds since 1970. It goes with what is sent next, or alone.
    pub fn now(&mut self, now_ms: i64) {
        self.feed.now_ms = Some(now_ms);
        if !self.views.states.is_empty() {
            self.views.clocks.insert(*self.feed.parcels.time(), now_ms);
        }
    }

    /// Sends at the current tick, and takes the rows out of `input`.
    pub fn send(&mut self, input: &mut Input) {
        let workers = self.feed.workers;
        // The next batch will be about as large: growing to it step by step would copy it twice.
        let next = Vec::with_capacity(input.records.len());
        let mut facts: Vec<Fact> = input.names.drain(..).map(|(user, name)| Fact::name(user, name, workers)).collect();
        for (signature, descriptor) in input.signatures.drain(..) {
            facts.extend(Fact::signature(signature, descriptor, workers));
        }
        facts.extend(input.shapes.drain(..).flat_map(|(shape, leaves)| Fact::shape(shape, leaves, workers)));
        facts.extend(input.rules.drain(..).flat_map(|rule| Fact::rule(rule, 1, workers)));
        facts.extend(input.rules_gone.drain(..).flat_map(|rule| Fact::rule(rule, -1, workers)));
        for (labels, diff) in [(&mut input.labels, 1), (&mut input.labels_gone, -1)] {
            facts.extend(labels.drain(..).flat_map(|(shape, class)| Fact::label(shape, class, diff, workers)));
        }
        if input.learns != 0 {
            facts.extend(Fact::learns(std::mem::take(&mut input.learns), workers));
        }
        let ended = std::mem::take(&mut input.ended);
        let mut parcel = Parcel { ended, ..Parcel::default() };
        self.forget(input, &mut facts, &mut parcel);
        self.feed.send(Parcel { records: std::mem::replace(&mut input.records, next), facts, ..parcel });
    }

    /// Takes out what is to be forgotten, and notes what may be.
    fn forget(&mut self, input: &mut Input, facts: &mut Vec<Fact>, parcel: &mut Parcel) {
        let (workers, leads) = (self.feed.workers, self.feed.leads);
        for user in input.kept.drain(..) {
            self.notes.borrow_mut().end(user);
            facts.extend(leads.then(|| Fact::unname(user, false, workers)));
        }
        for Forgotten { user, sums, sequences, steps, states } in input.forgotten.drain(..) {
            let Some(user) = user else { continue };
            parcel.withdrawals.push(Withdrawal::Again(user));
            parcel.unlinked.push(user);
            if !leads {
                continue;
            }
            facts.push(Fact::unname(user, true, workers));
            parcel.replacements.push(Replacement::of_all(user));
            parcel.replaced_entities.extend(states.into_iter().map(|state| state::Replacement::of_all(state, user)));
            let tracks = sequences.into_iter().map(|sequence| Dropped::Track(Track { key: user, sequence }));
            parcel.dropped.extend(tracks.chain(steps.into_iter().map(Dropped::Steps)));
            let sums = sums.into_iter().map(|(by, events)| Withdrawal::Sum(by, -(events.cast_signed() as isize)));
            parcel.withdrawals.extend(sums);
        }
        // The next time comes behind the last one.
        for user in input.noted.drain(..) {
            self.notes.borrow_mut().begin(user, *self.feed.parcels.time());
            facts.extend(leads.then(|| Fact::doubt(user, workers)));
        }
    }

    /// Promises to send nothing more before `tick`.
    pub fn advance_to(&mut self, tick: Tick) {
        if self.feed.parcels.time() < &tick {
            if self.feed.now_ms.is_some() {
                self.feed.send(Parcel::default());
            }
            // What is restored is complete.
            self.feed.restored = None;
            self.feed.parcels.advance_to(tick);
        }
    }

    /// Returns the tick before which everything is in the views, at all workers; [`Tick::MAX`] when the inputs are closed and
    /// all is done.
    pub fn settled(&self) -> Tick {
        self.collector.settled()
    }

    /// Forgets how the views were before `tick`: times before it are not told apart any more.
    pub fn compact(&mut self, tick: Tick) {
        let settled = Antichain::from_elem(self.settled().max(tick));
        self.views.allow_compaction(Antichain::from_elem(tick).borrow(), settled.borrow());
    }

    /// Takes the changes at this worker in the ticks before `upper`, which has to be settled.
    pub fn changes(&mut self, upper: Tick) -> BTreeMap<Tick, Changes> {
        self.collector.take(upper)
    }

    /// Gives the rows that a tick changes to `take`, resolved: see [`Resolver::tick`]. `changes` are those of
    /// [`Engine::changes`].
    pub fn resolve(&mut self, tick: Tick, changes: Changes, take: &mut dyn TakeRows) -> ControlFlow<()> {
        self.resolver.tick(&mut self.views, tick, changes, take)
    }

    /// Returns how many sessions the last tick that was resolved has given again, as events of theirs got another class.
    pub fn moved_sessions(&self) -> u64 {
        self.resolver.moved()
    }

    /// Gives the rows of sessions, each by its user and its start, as they are after `tick`. That has been resolved and has
    /// not been compacted away.
    pub fn sessions_of(&mut self, tick: Tick, wanted: &BTreeSet<(UserKey, EventTime)>, take: &mut dyn FnMut(Row<'_>)) {
        let classes = self.classes(tick);
        let (mut scan, mut resolver) = (self.views.scan(tick + 1), SessionResolver::default());
        let mut last = None;
        for (user, _) in wanted {
            if last.replace(*user) == Some(*user) {
                continue;
            }
            scan.seek(*user);
            if scan.user() == Some(*user) {
                scan.step(&mut |user, name, session| {
                    if wanted.contains(&(user, session.start)) {
                        resolver.row(user, name, session, &classes, |row| take(Row::Session(row)));
                    }
                });
            }
        }
    }

    /// Gives the totals of all users after `tick`: see [`Resolver::begin_users`].
    pub fn begin_users(&mut self, tick: Tick, take: &mut dyn TakeRows) -> ControlFlow<()> {
        self.resolver.begin_users(&mut self.views, tick, take)
    }

    /// Gives the totals of all shapes after `tick`, as rows that come.
    pub fn begin_shapes(&mut self, tick: Tick, take: &mut dyn TakeRows) -> ControlFlow<()> {
        let mut taken = ControlFlow::Continue(());
        self.views.shapes_before(tick + 1, &mut |shape, totals| {
            if taken.is_continue() {
                taken = take.row(Row::Shape(shape, totals), 1);
            }
        });
        taken
    }

    /// Gives the groups of a count after `tick`, as rows that come.
    pub fn begin_groups(&mut self, count: u16, tick: Tick, take: &mut dyn TakeRows) -> ControlFlow<()> {
        let mut taken = ControlFlow::Continue(());
        self.views.groups_before(count, tick + 1, &mut |key, totals| {
            if taken.is_continue() {
                taken = take.row(Row::Group(key, totals), 1);
            }
        });
        taken
    }

    /// Begins to follow a state, of which all rows before `tick` have been said.
    pub fn follow_state(&mut self, state: u16, tick: Tick) {
        if let Some((table, now)) = self.views.state_before(state, tick) {
            self.followed.insert(state, Follow::new(&table.borrow(), tick, now));
        }
    }

    /// Gives the rows of a state that a tick changes, or all of them if it is not followed yet. Ticks come in order and are
    /// settled, and the one before has not been compacted away.
    pub fn state_rows(&mut self, state: u16, tick: Tick, take: &mut dyn TakeRows) -> ControlFlow<()> {
        let Some((table, now)) = self.views.state_before(state, tick + 1) else { return ControlFlow::Continue(()) };
        let mut row = |name: &str, values: &[state::Value<'_>], diff| take.row(Row::State(state, name, values), diff);
        if let Some(follow) = self.followed.get_mut(&state) {
            let (names, mut begun) = (&mut self.views.names, None);
            let mut name = |entity| begun.get_or_insert_with(|| Names::begin(names)).of(entity);
            return follow.tick(&table.borrow(), &mut name, (tick, now), &mut row);
        }
        let mut taken = ControlFlow::Continue(());
        if let Some(mut scan) = self.views.scan_state(usize::from(state), tick + 1, now) {
            let mut each = |_, name: &str, values: &[state::Value<'_>]| {
                if taken.is_continue() {
                    taken = row(name, values, 1);
                }
            };
            while scan.step(&mut each).is_some() {}
        }
        self.follow_state(state, tick + 1);
        taken
    }

    /// Returns the classes after `tick`, which has been resolved and has not been compacted away.
    pub fn classes(&mut self, tick: Tick) -> Arc<Classes> {
        self.resolver.classes(&mut self.views, tick)
    }

    /// Returns the first time at which a tick would close a session of this worker, let an attempt expire, or change a row of
    /// a state that is followed, as far as it has come.
    pub fn next_deadline(&self) -> Option<EventTime> {
        let expires = self.effort.as_ref().and_then(|effort| effort.next.get());
        let changes = self.followed.values().filter_map(Follow::next);
        self.deadlines.next.get().into_iter().chain(expires).chain(changes).min()
    }

    /// Returns how often operators of this worker have given way to others within a tick: a sign of life in long ticks.
    pub fn turns(&self) -> u64 {
        self.deadlines.turns.get() + self.effort.as_ref().map_or(0, |effort| effort.turns.get())
    }

    /// Returns the views as they are, ticks that are not settled included as far as they have come.
    pub fn views(&mut self) -> &mut Views {
        &mut self.views
    }

    /// Takes what ingest decided on records that did not simply count, since the last call. Without a clock: with one, see
    /// [`Engine::changes`].
    pub fn verdicts(&mut self) -> Vec<Verdict> {
        self.collector.take(Tick::MAX).into_values().flat_map(|changes| changes.verdicts).collect()
    }

    /// Lets the operators work.
    pub fn step(worker: &mut Worker) {
        worker.step();
    }

    /// Lets the operators work, and sleeps for at most a millisecond when there is nothing to do.
    pub fn wait(worker: &mut Worker) {
        worker.step_or_park(Some(PATIENCE));
    }

    /// Lets the operators work, and when there is nothing to do sleeps until the thread is unparked, at most for `patience`.
    pub fn park(worker: &mut Worker, patience: Duration) {
        worker.step_or_park(Some(patience));
    }

    /// Closes the inputs and works until all is done, on all workers.
    pub fn close(mut self, worker: &mut Worker) -> (Views, Vec<Verdict>) {
        self.feed.parcels = Sender::new();
        self.feed.restored = None;
        while self.settled() != Tick::MAX {
            Engine::wait(worker);
        }
        let verdicts = self.verdicts();
        (self.views, verdicts)
    }
}

struct Feed {
    parcels: Sender<Parcel>,
    /// How many there are.
    workers: usize,
    /// This one says what is to be said once.
    leads: bool,
    /// To go with the next parcel.
    now_ms: Option<i64>,
    /// Until the first tick is over.
    restored: Option<RestoredFeed>,
}

impl Feed {
    fn send(&mut self, parcel: Parcel) {
        self.parcels.send(Parcel { now_ms: self.now_ms.take(), ..parcel });
        // Operators may begin with it.
        self.parcels.flush();
    }
}

#[derive(Default)]
struct RestoredFeed {
    sessions: Sender<(UserKey, Session)>,
    /// If there are session policies.
    marks: Option<Sender<MarkRow>>,
    /// If there are states.
    entities: Option<Sender<RestoredEntity>>,
    /// If there are sequences.
    steps: Option<Sender<StepRow>>,
    /// If there are identities.
    links: Option<Sender<LinkRow>>,
    /// If duplicates are recognised.
    ids: Option<Sender<IdRow>>,
    by_signature: Sender<(SignatureHour, Tick, isize)>,
    /// If there are counts.
    groups: Option<Sender<Added>>,
    /// If the caller keeps rows.
    kept: Option<Sender<KeptRow>>,
}

type Sender<R> = InputHandle<Tick, CapacityContainerBuilder<Vec<R>>>;
