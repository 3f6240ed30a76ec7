//! The decisions of one tick: what is taken back, what a gate lets pass, what is due, and what is new.

use super::at::{At, Id as Key, Seen, TIMES, event, micros, multiple_after, object};
use super::waits::{Id, Stage, Wait, Waits};
use super::{Act, Change, Closings, Edges, place};
use crate::collections::actions::Verdict;
use crate::collections::{self, Collection, Row, Schema, Value};
use crate::error::Error;
use crate::plan::{ActionPlan, GatePlan, Looked, On, Otherwise, Timing};
use crate::queue::reference::Tables;
use crate::queue::sequencer::Bound;
use dataflows::engine::Engine;
use dataflows::look_up::{Answered, Found};
use dataflows::record::Call;
use dataflows::{EventTime, UserKey, resolve};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Edges<'_> {
    /// Decides, and gives each decision to `add` as a row of `actions`. `calls` are those of the tick.
    pub fn decide(
        self,
        engine: &mut Engine,
        (bound, tables): (&Bound, &Arc<Tables>),
        mut calls: Vec<Answered>,
        waits: &mut Waits,
        add: &mut dyn FnMut(Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Edges { act, plan, rows, closings, .. } = self;
        let Some(plan) = plan else { return Ok(()) };
        let at = At { plan, tables, tick: bound.tick, now: micros(bound.now_ms) };
        let mut tick = Deciding { act, at, engine, waits, add };
        let mut causes = tick.changed(rows)?;
        tick.closed(closings, &mut causes)?;
        tick.open(tables)?;
        tick.due()?;
        causes.into_iter().try_for_each(|cause| tick.on_row(cause))?;
        if plan.actions.iter().any(|action| action.gate.is_some()) {
            // The first of them have a place at the gate.
            calls.sort_by_key(|answered| answered.call.cause.position);
        }
        calls.into_iter().try_for_each(|call| tick.on_call(call))
    }
}

/// A row that an action decides on.
struct OnRow {
    action: usize,
    collection: Collection,
    /// Of the row.
    key: Vec<u8>,
    bytes: Vec<u8>,
}

/// A tick at which actions decide.
struct Deciding<'t, 'w> {
    act: &'t Act,
    at: At<'t>,
    engine: &'w mut Engine,
    waits: &'w mut Waits,
    add: &'w mut dyn FnMut(Vec<u8>) -> Result<(), Error>,
}

impl<'t> Deciding<'t, '_> {
    fn action(&self, index: usize) -> &'t ActionPlan {
        &self.at.plan.actions[index]
    }

    fn schema(&self, collection: Collection) -> &'t Schema {
        self.act.schemas.of(collection)
    }

    /// Takes back what follows from rows that are gone. Returns the rows that are new to an action.
    fn changed(&mut self, rows: BTreeMap<(usize, Vec<u8>), Vec<(Vec<u8>, i64)>>) -> Result<Vec<OnRow>, Error> {
        let mut causes = Vec::new();
        for ((index, key), rows) in rows {
            let action = self.action(index);
            let On::Rows { collection, edge, .. } = action.on else { continue };
            let change = Change::of(rows);
            match action.timing {
                Timing::Settled(after) if change.gone.is_some() || change.come.is_some() => {
                    let any = change.gone.as_ref().or(change.come.as_ref());
                    any.map_or(Ok(()), |row| self.take_back(index, collection, &key, row))?;
                    if let Some(bytes) = change.come {
                        self.settle(index, collection, key, &bytes, after);
                    }
                }
                Timing::Settled(_) => {}
                Timing::Now | Timing::Every(_) | Timing::Closed => {
                    if let Some(row) = change.gone.as_ref().filter(|_| action.compensate && change.leaves()) {
                        self.take_back(index, collection, &key, row)?;
                    }
                    if action.timing != Timing::Closed {
                        causes.extend(change.edge(edge).map(|bytes| OnRow { action: index, collection, key, bytes }));
                    }
                }
            }
        }
        Ok(causes)
    }

    /// Adds the sessions that are closed, and takes back what follows from those that are open again.
    fn closed(&mut self, closings: BTreeMap<Vec<u8>, Closings>, causes: &mut Vec<OnRow>) -> Result<(), Error> {
        let mut wanted = BTreeMap::new();
        for (key, Closings { user, start, rows }) in closings {
            let change = Change::of(rows);
            if let Some(row) = &change.gone {
                let (act, plan) = (self.act, self.at.plan);
                for index in act.on_closed.iter().filter(|index| plan.actions[**index].compensate) {
                    self.take_back(*index, Collection::CLOSINGS, &key, row)?;
                }
            }
            if change.come.is_some() {
                wanted.insert((user, start), key);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let mut closed = Vec::new();
        let of: BTreeSet<(UserKey, EventTime)> = wanted.keys().copied().collect();
        self.engine.sessions_of(self.at.tick, &of, &mut |row| {
            if let resolve::Row::Session(session) = row
                && let Some(key) = wanted.get(&(session.key, session.start))
            {
                closed.push((key.clone(), collections::sessions::encode(session)));
            }
        });
        for (key, bytes) in closed {
            let Some(row) = Collection::SESSIONS.decode(&bytes) else { continue };
            for index in &self.act.on_closed {
                let action = self.action(*index);
                let On::Rows { when, .. } = &action.on else { continue };
                if when.as_ref().is_none_or(|when| when.matches(&row)) {
                    let (key, bytes) = (key.clone(), bytes.clone());
                    causes.push(OnRow { action: *index, collection: Collection::SESSIONS, key, bytes });
                }
            }
        }
        Ok(())
    }

    /// Takes back what an action remembers of a row.
    fn take_back(&mut self, index: usize, of: Collection, key: &[u8], row: &[u8]) -> Result<(), Error> {
        let schema = self.schema(of);
        let Some(place) = of.decode(row).and_then(|row| place(&row, schema)) else { return Ok(()) };
        for id in self.waits.of_row(place, number(index), key) {
            let Some(wait) = self.waits.take(&id) else { continue };
            let verdict = match wait.stage {
                Stage::Gate | Stage::Queued => Verdict::Cancelled,
                Stage::Made => Verdict::Undone,
                // Nothing has been decided.
                Stage::Settling => continue,
            };
            self.write(index, &wait.key, verdict, &wait.seen())?;
        }
        Ok(())
    }

    /// Waits until a row has not changed for `after` microseconds.
    fn settle(&mut self, index: usize, collection: Collection, key: Vec<u8>, bytes: &[u8], after: i64) {
        let schema = self.schema(collection);
        let Some(row) = collection.decode(bytes) else { return };
        let Some(place) = place(&row, schema) else { return };
        let due = later(self.at.now, after);
        let wait = self.wait(index, Stage::Settling, (key, [0; 16]), Verdict::Fired, &Shown::of(&row, schema).seen());
        self.waits.add(place, number(index), Wait { due: Some(due), ..wait });
    }

    /// Lets the causes pass whose gate is open.
    fn open(&mut self, tables: &Arc<Tables>) -> Result<(), Error> {
        if !self.waits.has_gates() {
            return Ok(());
        }
        let gates = || self.at.plan.actions.iter().filter(|action| action.gate.is_some());
        let asks_tables = |action: u16| {
            let columns = &self.at.plan.actions[usize::from(action)].looks_up.columns;
            columns.iter().any(|looked| matches!(looked, Looked::Table(..)))
        };
        let mut ids = self.waits.looked_at(self.at.now, tables, asks_tables);
        let states: BTreeSet<u16> = gates().flat_map(|action| action.looks_up.states.iter().copied()).collect();
        for state in states {
            for entity in self.engine.views().touched(usize::from(state), self.at.tick) {
                ids.extend(self.waits.of(entity, Stage::Gate).cloned());
            }
        }
        for id in ids {
            let index = usize::from(id.action);
            let action = self.action(index);
            let (Some(gate), Some(wait)) = (&action.gate, self.waits.get(&id)) else { continue };
            let shown = self.shown(action, &wait.cause);
            let user = wait.user.clone();
            let found = self.found(action, Some(id.place));
            if self.at.holds(Some(&gate.filter), action, (user.as_deref(), &shown), &found) {
                let Some(wait) = self.waits.take(&id) else { continue };
                self.make(index, Some(id.place), wait)?;
            } else {
                self.look_again(&id);
            }
        }
        Ok(())
    }

    /// Remembers when the clock alone may open a gate.
    fn look_again(&mut self, id: &Id) {
        let At { tick, now, .. } = self.at;
        let states = self.action(usize::from(id.action)).looks_up.states.iter();
        let views = self.engine.views();
        let next = states.filter_map(|state| views.expires(usize::from(*state), id.place, tick, now)).min();
        self.waits.again_at(id, next);
    }

    /// Ends what the clock ends.
    fn due(&mut self) -> Result<(), Error> {
        while let Some((id, wait)) = self.waits.take_due(self.at.now) {
            let index = usize::from(id.action);
            let action = self.action(index);
            match wait.stage {
                Stage::Gate => {
                    let Some(gate) = &action.gate else { continue };
                    let verdict = at_deadline(gate, wait.verdict);
                    self.make(index, Some(id.place), Wait { verdict, ..wait })?;
                }
                Stage::Queued => self.make(index, Some(id.place), wait)?,
                Stage::Settling => {
                    let found = self.found(action, Some(id.place));
                    let filter = action.looks_up.filter.as_ref();
                    if !self.at.holds(filter, action, (wait.user.as_deref(), &[]), &found) {
                        continue;
                    }
                    let Some(verdict) = self.at.verdict(action, wait.time, None) else { continue };
                    let key = Key::Row(&wait.row, self.at.tick).key(&action.name);
                    self.make(index, Some(id.place), Wait { key, verdict, ..wait })?;
                }
                Stage::Made => {}
            }
        }
        Ok(())
    }

    fn on_row(&mut self, cause: OnRow) -> Result<(), Error> {
        let OnRow { action: index, collection, key: of_row, bytes } = cause;
        let action = self.action(index);
        let schema = self.schema(collection);
        let Some(row) = collection.decode(&bytes) else { return Ok(()) };
        let shown = Shown::of(&row, schema);
        let place = place(&row, schema);
        let found = self.found(action, shown.user.as_deref().map(UserKey::of));
        if !self.at.holds(action.looks_up.filter.as_ref(), action, (shown.user.as_deref(), &[]), &found) {
            return Ok(());
        }
        let Some(verdict) = self.at.verdict(action, shown.time, None) else { return Ok(()) };
        let key = Key::Row(&of_row, self.at.tick).key(&action.name);
        self.decide(index, place, (of_row, key), (verdict, &shown.seen()), (&[], &found))
    }

    fn on_call(&mut self, Answered { call, found }: Answered) -> Result<(), Error> {
        let (index, cause) = (usize::from(call.action), &*call.cause);
        let action = self.action(index);
        let user = cause.user.as_deref();
        if !self.at.holds(action.looks_up.filter.as_ref(), action, (user, &cause.values), &found) {
            return Ok(());
        }
        let Some(verdict) = self.at.verdict(action, cause.time, cause.received) else { return Ok(()) };
        let id = match &cause.id {
            Some(id) => Key::Event(id.bytes(), cause.time),
            None => Key::Place(cause.position.part, cause.position.offset),
        };
        let shown = event(self.at.plan, cause, self.at.decorations(action, cause, &found));
        let seen = Seen { user, cause: &shown, time: cause.time, received: cause.received };
        let key = (Vec::new(), id.key(&action.name));
        let place = call.entity.filter(|entity| *entity != Call::no_entity());
        self.decide(index, place, key, (verdict, &seen), (&cause.values, &found))
    }

    /// Decides on a cause that fits the condition, or lets it wait.
    fn decide(
        &mut self,
        index: usize,
        place: Option<UserKey>,
        key: (Vec<u8>, [u8; 16]),
        (verdict, seen): (Verdict, &Seen<'_>),
        (shown, found): (&[Option<Arc<str>>], &Found),
    ) -> Result<(), Error> {
        let action = self.action(index);
        let acts = matches!(verdict, Verdict::Fired | Verdict::Counted);
        let waits = acts || verdict == Verdict::WouldHaveFired;
        if let Some(gate) = action.gate.as_ref().filter(|_| waits) {
            let verdict = match place {
                _ if self.at.holds(Some(&gate.filter), action, (seen.user, shown), found) => verdict,
                // No wait changes what is looked up.
                None => at_deadline(gate, verdict),
                Some(place) if self.waits.at_gate(place, number(index)) >= gate.limit => Verdict::Overflowed,
                Some(place) => {
                    let wait = self.wait(index, Stage::Gate, key, verdict, seen);
                    let due = Some(later(self.at.now, gate.deadline));
                    let id = self.waits.add(place, number(index), Wait { due, ..wait });
                    self.look_again(&id);
                    return Ok(());
                }
            };
            let wait = self.wait(index, Stage::Made, key, verdict, seen);
            return self.make(index, place, wait);
        }
        if !action.compensate || !acts {
            return self.write(index, &key.1, verdict, seen);
        }
        match (action.timing, place) {
            (Timing::Every(every), Some(place)) => {
                let wait = self.wait(index, Stage::Queued, key, verdict, seen);
                self.waits.add(place, number(index), Wait { due: multiple_after(every, self.at.now), ..wait });
                Ok(())
            }
            _ => {
                let wait = self.wait(index, Stage::Made, key, verdict, seen);
                self.make(index, place, wait)
            }
        }
    }

    /// Writes a decision, and remembers it if it may be taken back.
    fn make(&mut self, index: usize, place: Option<UserKey>, wait: Wait) -> Result<(), Error> {
        self.write(index, &wait.key, wait.verdict, &wait.seen())?;
        let acts = matches!(wait.verdict, Verdict::Fired | Verdict::Counted | Verdict::FiredAtDeadline);
        if let Some(place) = place.filter(|_| acts && self.action(index).compensate) {
            self.waits.add(place, number(index), Wait { stage: Stage::Made, due: None, ..wait });
        }
        Ok(())
    }

    fn write(&mut self, index: usize, key: &[u8; 16], verdict: Verdict, seen: &Seen<'_>) -> Result<(), Error> {
        let row = self.at.decision(self.action(index), key, verdict, seen);
        (self.add)(row)
    }

    fn wait(
        &self,
        index: usize,
        stage: Stage,
        (row, key): (Vec<u8>, [u8; 16]),
        verdict: Verdict,
        seen: &Seen<'_>,
    ) -> Wait {
        let Seen { user, cause, time, received } = *seen;
        let (user, cause) = (user.map(str::to_owned), cause.to_owned());
        let action = self.action(index).name.clone();
        Wait { action, stage, row, key, due: None, verdict, user, cause, time, received }
    }

    /// Returns what an action looks up of the states of an entity, which is at this worker.
    fn found(&mut self, action: &ActionPlan, entity: Option<UserKey>) -> Found {
        let (tick, views) = (self.at.tick, self.engine.views());
        action.looks_up.states.iter().map(|state| views.entity(usize::from(*state), entity?, tick)).collect()
    }

    /// Returns the values of the fields of an event, if the action asks a table by one of them.
    fn shown(&self, action: &ActionPlan, cause: &str) -> Vec<Option<Arc<str>>> {
        let by_field =
            |looked: &Looked| matches!(looked, Looked::Table(table, _) if self.at.plan.tables[*table].per.is_some());
        match action.looks_up.columns.iter().any(by_field) {
            true => self.at.shown(cause),
            false => Vec::new(),
        }
    }
}

/// What is decided on a cause that waits at its deadline.
fn at_deadline(gate: &GatePlan, verdict: Verdict) -> Verdict {
    match (gate.otherwise, verdict) {
        (Otherwise::Drop, _) => Verdict::Dropped,
        (Otherwise::Fire, Verdict::WouldHaveFired) => Verdict::WouldHaveFired,
        (Otherwise::Fire, _) => Verdict::FiredAtDeadline,
    }
}

/// A row as decisions show it.
struct Shown {
    user: Option<String>,
    cause: String,
    time: Option<EventTime>,
}

impl Shown {
    fn of(row: &Row<'_>, schema: &Schema) -> Shown {
        let value = |name: &str| schema.column(name).map(|column| row.value(column));
        let time = TIMES.iter().find_map(|name| value(name)).and_then(|time| match time {
            Value::Integer(micros) => EventTime::from_micros(*micros),
            _ => None,
        });
        let cause = object(row, schema, &(0..schema.columns.len()).collect::<Vec<_>>());
        let user = value("user").and_then(Value::text).map(std::borrow::Cow::into_owned);
        Shown { user, cause: String::from_utf8_lossy(&cause).into_owned(), time }
    }

    fn seen(&self) -> Seen<'_> {
        Seen { user: self.user.as_deref(), cause: &self.cause, time: self.time, received: None }
    }
}

fn later(now: EventTime, micros: i64) -> EventTime {
    EventTime::from_micros(now.micros().saturating_add(micros)).unwrap_or(EventTime::MAX)
}

/// A file with more actions than that does not fit into memory.
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}
