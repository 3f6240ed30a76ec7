//! The views of one worker: its arrangements, to be read.

use crate::changes::Collector;
use crate::classify::ClassTrace;
use crate::counts::CountTrace;
use crate::describe::NameTrace;
use crate::group::{GroupKey, GroupTrace, Totals};
use crate::identity::{ShapeId, SignatureId, UserKey};
use crate::pipeline::Outputs;
use crate::record::Sessionless;
use crate::scan::{ActivityScan, IdentityScan, Reading, SessionScan, UserScan};
use crate::sequence::{Activity, ActivityTrace, Counts, FunnelKey, FunnelTrace, Track};
use crate::sessionize::{Session, SessionTrace};
use crate::shapes::{ShapeTotals, ShapeTrace};
use crate::state::{self, Changed, SharedTable, StateScan};
use crate::stitch::{Identity, IdentityTrace};
use crate::time::{EventTime, Tick};
use crate::users::UserTrace;
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::cursor::Cursor;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::progress::frontier::AntichainRef;

/// The arrangements of one worker, to be read when all is done or as they were before a tick. Rows come in the order of keys;
/// each is at one worker, and the users of worker i come before those of worker i+1. Classes are whole at each.
pub struct Views {
    pub(crate) sessions: SessionTrace,
    pub(crate) names: NameTrace,
    pub(crate) classes: ClassTrace,
    pub(crate) counts: CountTrace,
    pub(crate) shapes: ShapeTrace,
    /// With a clock.
    pub(crate) users: Option<UserTrace>,
    /// If there are sequences.
    pub(crate) activities: Option<ActivityTrace>,
    /// If there are sequences and a clock.
    pub(crate) funnels: Option<FunnelTrace>,
    /// Of counts, by level.
    pub(crate) groups: Vec<GroupTrace>,
    /// If there are identities.
    pub(crate) identities: Option<IdentityTrace>,
    /// By state.
    pub(crate) states: Vec<SharedTable>,
    /// Of the ticks that states have not compacted away: their clocks in milliseconds since 1970, if there are states.
    pub(crate) clocks: BTreeMap<Tick, i64>,
    pub(crate) restored_sessionless: BTreeMap<Sessionless, isize>,
    pub(crate) collector: Collector,
}

impl Views {
    /// Returns the views of sessions and names, for a stage that resolves their changes.
    pub(crate) fn of(outputs: &Outputs<'_>) -> Views {
        Views {
            sessions: outputs.sessions.trace.clone(),
            names: outputs.names.clone(),
            classes: outputs.classes.trace.clone(),
            counts: outputs.counts.trace.clone(),
            shapes: outputs.shapes.trace.clone(),
            users: None,
            activities: None,
            funnels: None,
            identities: None,
            groups: Vec::new(),
            states: Vec::new(),
            clocks: BTreeMap::new(),
            restored_sessionless: BTreeMap::new(),
            collector: Collector::default(),
        }
    }

    /// Calls `row` with each session, in the order of user and end.
    pub fn sessions(&mut self, row: &mut dyn FnMut(UserKey, &Session)) {
        self.sessions_before(Tick::MAX, row);
    }

    /// Calls `row` with each user and name, in the order of users.
    pub fn names(&mut self, row: &mut dyn FnMut(UserKey, &Arc<str>)) {
        Reading::begin(&mut self.names).rows(Tick::MAX, |user, name, _| row(*user, name));
    }

    /// Calls `row` with each signature and its class, in the order of signatures.
    pub fn classes(&mut self, row: &mut dyn FnMut(SignatureId, &Arc<str>)) {
        self.classes_before(Tick::MAX, row);
    }

    /// Calls `row` with each signature and the number of its events at this worker, if there is no clock.
    pub fn signatures(&mut self, row: &mut dyn FnMut(SignatureId, u64)) {
        // Without a clock nothing comes back from before, so none is negative.
        self.collector
            .by_signature()
            .into_iter()
            .for_each(|(signature, events)| row(signature, events.unsigned_abs() as u64));
    }

    /// Calls `row` with class, start of the hour and number of events.
    pub fn counts(&mut self, row: &mut dyn FnMut(&Arc<str>, Option<EventTime>, u64)) {
        self.counts_before(Tick::MAX, row);
    }

    /// Calls `row` with each shape and its totals, in the order of shapes.
    pub fn shapes(&mut self, row: &mut dyn FnMut(Option<ShapeId>, &ShapeTotals)) {
        self.shapes_before(Tick::MAX, row);
    }

    /// Calls `row` with reason and number of events. That of one worker may be negative: another one may have counted an event
    /// before a restart. The sum over all workers is right.
    pub fn sessionless(&mut self, row: &mut dyn FnMut(Sessionless, isize)) {
        let mut counts = self.restored_sessionless.clone();
        for (reason, events) in self.collector.sessionless() {
            *counts.entry(reason).or_insert(0) += events;
        }
        counts.into_iter().for_each(|(reason, events)| row(reason, events));
    }

    /// Calls `each` with the names of `users`, which are this worker's and sorted, in their order. Each name is in the tick of
    /// its user's first event, or before.
    pub fn names_of(&mut self, users: impl IntoIterator<Item = UserKey>, mut each: impl FnMut(UserKey, &Arc<str>)) {
        let Reading { mut cursor, storage } = Reading::begin(&mut self.names);
        for user in users {
            cursor.seek_key(&storage, &user);
            if let Some(name) = cursor.get_val(&storage).filter(|_| cursor.get_key(&storage) == Some(&user)) {
                each(user, name);
            }
        }
    }

    /// Begins to read the sessions before `tick`, which has not been compacted away.
    pub fn scan(&mut self, tick: Tick) -> SessionScan {
        SessionScan::begin(&mut self.sessions, &mut self.names, tick)
    }

    /// Begins to read the totals of users before `tick`, which has not been compacted away. `None`: there is no
    /// clock, see [`resolve`](crate::resolve).
    pub fn scan_users(&mut self, tick: Tick) -> Option<UserScan> {
        self.users.as_mut().map(|users| UserScan::begin(users, &mut self.names, tick))
    }

    /// Begins to read the rows of a state, by its index, as of the ticks before `tick` and for a reader at `now`. The tick
    /// has not been compacted away. `None`: there is no such state.
    pub fn scan_state(&mut self, state: usize, tick: Tick, now: EventTime) -> Option<StateScan> {
        let table = Rc::clone(self.states.get(state)?);
        Some(StateScan::begin(table, &mut self.names, tick, now))
    }

    /// Returns the table of a state, and the clock of the last tick before `tick`. `None`: there is no such state.
    pub(crate) fn state_before(&self, state: u16, tick: Tick) -> Option<(SharedTable, EventTime)> {
        let table = Rc::clone(self.states.get(usize::from(state))?);
        let now_ms = self.clocks.range(..tick).next_back().map_or(i64::MIN, |(_, now_ms)| *now_ms);
        Some((table, EventTime::from_micros(now_ms.saturating_mul(1000)).unwrap_or(EventTime::MIN)))
    }

    /// Returns an entity of a state, by its index, as it is after `tick`, which has not been compacted away. `None`: it has no
    /// item, or is at another worker.
    pub fn entity(&self, state: usize, entity: UserKey, tick: Tick) -> Option<state::Entity> {
        self.states.get(state)?.borrow().entity(entity, &tick)
    }

    /// Returns the entities of a state, by its index, that `tick` changes, in order. The tick has not been compacted away.
    pub fn touched(&self, state: usize, tick: Tick) -> Vec<UserKey> {
        self.states.get(state).map_or(Vec::new(), |table| table.borrow().touched(&tick))
    }

    /// Returns the first time after `now` at which the clock alone changes the row of an entity of a state, by its index, as
    /// it is after `tick`. The tick has not been compacted away. Values that decay change all the time, and are left out.
    pub fn expires(&self, state: usize, entity: UserKey, tick: Tick, now: EventTime) -> Option<EventTime> {
        self.states.get(state)?.borrow().expires(entity, &(tick + 1), now)
    }

    /// Returns what this worker has taken in of each state, without what was restored.
    pub fn state_counts(&self) -> Vec<state::Counts> {
        self.states.iter().map(|table| table.borrow().counts().clone()).collect()
    }

    /// Returns how the entities of each state have changed since this was asked last, up to and with `tick`, which is settled
    /// and has not been compacted away.
    pub fn state_changes(&mut self, tick: Tick) -> Vec<Vec<Changed>> {
        self.states.iter().map(|table| table.borrow_mut().snapshot(&tick)).collect()
    }

    /// Calls `row` with the class of each signature before `tick`, which has not been compacted away.
    pub fn classes_before(&mut self, tick: Tick, row: &mut dyn FnMut(SignatureId, &Arc<str>)) {
        Reading::begin(&mut self.classes).rows(tick, |signature, label, _| row(*signature, &label.class));
    }

    /// Calls `row` with class, start of the hour and number of events before `tick`, which has not been compacted away.
    pub fn counts_before(&mut self, tick: Tick, row: &mut dyn FnMut(&Arc<str>, Option<EventTime>, u64)) {
        Reading::begin(&mut self.counts).rows(tick, |(class, hour), events, _| row(class, *hour, *events));
    }

    /// Calls `row` with each shape and its totals before `tick`, which has not been compacted away.
    pub fn shapes_before(&mut self, tick: Tick, row: &mut dyn FnMut(Option<ShapeId>, &ShapeTotals)) {
        Reading::begin(&mut self.shapes).rows(tick, |shape, totals, _| row(*shape, totals));
    }

    /// Calls `row` with each activity and the string behind its key, in the order of key, sequence and first event. Without a
    /// clock, those that are given up are open.
    pub fn activities(&mut self, row: &mut dyn FnMut(Track, &str, &Activity)) {
        let Some(activities) = &mut self.activities else { return };
        let Reading { mut cursor, storage } = Reading::begin(&mut self.names);
        let mut named: Option<(UserKey, Arc<str>)> = None;
        Reading::begin(activities).rows(Tick::MAX, |track, activity, _| {
            if named.as_ref().is_none_or(|(key, _)| *key != track.key) {
                cursor.seek_key(&storage, &track.key);
                let name = cursor.get_val(&storage).filter(|_| cursor.get_key(&storage) == Some(&track.key));
                // Readers send the name of a key in the tick of its first event, or before.
                named = Some((track.key, name.map(Arc::clone).unwrap_or_default()));
            }
            row(*track, named.as_ref().map_or("", |(_, name)| name), activity);
        });
    }

    /// Begins to read the activities before `tick`, which has not been compacted away. `None`: there are no sequences.
    pub fn scan_activities(&mut self, tick: Tick) -> Option<ActivityScan> {
        self.activities.as_mut().map(|activities| ActivityScan::begin(activities, &mut self.names, tick))
    }

    /// Calls `row` with what is known of each alias, in the order of keys.
    pub fn identities(&mut self, row: &mut dyn FnMut(&Identity)) {
        let identities = self.identities.iter_mut();
        identities.for_each(|trace| Reading::begin(trace).rows(Tick::MAX, |_, identity, _| row(identity)));
    }

    /// Begins to read the identities before `tick`, which has not been compacted away. `None`: there are none.
    pub fn scan_identities(&mut self, tick: Tick) -> Option<IdentityScan> {
        self.identities.as_mut().map(|identities| IdentityScan::begin(identities, tick))
    }

    /// Calls `row` with each row of the funnels at this worker; there is none without a clock.
    pub fn funnels(&mut self, row: &mut dyn FnMut(&FunnelKey, &Counts)) {
        self.funnels_before(Tick::MAX, row);
    }

    /// As [`Views::funnels`], before `tick`, which has not been compacted away.
    pub fn funnels_before(&mut self, tick: Tick, row: &mut dyn FnMut(&FunnelKey, &Counts)) {
        let funnels = self.funnels.iter_mut();
        funnels.for_each(|trace| Reading::begin(trace).rows(tick, |key, counts, _| row(key, counts)));
    }

    /// Calls `row` with each group of a count, by its index, before `tick`, which has not been compacted away: in the order of
    /// their values, and those beyond the limit first. All groups of a count are at one worker.
    pub fn groups_before(&mut self, count: u16, tick: Tick, row: &mut dyn FnMut(&GroupKey, &Totals)) {
        let of_count = |key: &GroupKey, totals: &Totals| {
            if key.count == count {
                row(key, totals);
            }
        };
        self.each_group(tick, of_count);
    }

    fn each_group(&mut self, tick: Tick, mut row: impl FnMut(&GroupKey, &Totals)) {
        let groups = self.groups.iter_mut();
        groups.for_each(|trace| Reading::begin(trace).rows(tick, |key, totals, _| row(key, totals)));
    }

    /// Calls `row` with the sessions before `tick`, which has not been compacted away.
    pub fn sessions_before(&mut self, tick: Tick, row: &mut dyn FnMut(UserKey, &Session)) {
        Reading::begin(&mut self.sessions).rows(tick, |user, session, _| row(*user, session));
    }

    /// Lets the traces forget times before `since`, and merge the batches before `settled`.
    pub(crate) fn allow_compaction(&mut self, since: AntichainRef<Tick>, settled: AntichainRef<Tick>) {
        allow(&mut self.sessions, since, settled);
        allow(&mut self.names, since, settled);
        allow(&mut self.classes, since, settled);
        allow(&mut self.counts, since, settled);
        allow(&mut self.shapes, since, settled);
        self.users.iter_mut().for_each(|users| allow(users, since, settled));
        self.activities.iter_mut().for_each(|activities| allow(activities, since, settled));
        self.funnels.iter_mut().for_each(|funnels| allow(funnels, since, settled));
        self.groups.iter_mut().for_each(|groups| allow(groups, since, settled));
        self.identities.iter_mut().for_each(|identities| allow(identities, since, settled));
        self.compact_states(since.first().copied().unwrap_or(Tick::MAX));
    }

    /// Readers ask for rows before `since + 1` and later ones: the clock of the tick `since` is the first that they have.
    fn compact_states(&mut self, since: Tick) {
        if self.states.is_empty() {
            return;
        }
        let rest = self.clocks.split_off(&since);
        let gone = std::mem::replace(&mut self.clocks, rest);
        // A tick without a clock of its own has that of the one before it.
        let now_ms = self.clocks.get(&since).or(gone.values().next_back()).copied();
        if let (Some((_, last)), false) = (gone.last_key_value(), self.clocks.contains_key(&since)) {
            self.clocks.insert(since, *last);
        }
        let now = now_ms.and_then(|ms| EventTime::from_micros(ms.saturating_mul(1000))).unwrap_or(EventTime::MIN);
        self.states.iter().for_each(|table| table.borrow_mut().compact(&since, now));
    }
}

/// Times before `since` are not told apart any more. Batches of settled ticks may be merged: a
/// reader takes all of them, and tells the times apart.
fn allow(trace: &mut impl TraceReader<Time = Tick>, since: AntichainRef<Tick>, settled: AntichainRef<Tick>) {
    trace.set_logical_compaction(since);
    trace.set_physical_compaction(settled);
}
