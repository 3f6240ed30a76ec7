//! Changes of a tick -> published rows: encodes what the graph resolves, and brings the rows into canonical form.

use super::act::{Act, Edges, Waits};
use super::begun::{Begun, Says};
use super::gather::Gather;
use super::port::{Checkpoint, Out, Port, Told};
use super::{Fed, Kept, Start};
use crate::collections::place::place;
use crate::collections::{self, Collection, Naming, label_changes};
use crate::error::Error;
use crate::queue::delivery::Delivery;
use dataflows::changes::Changes;
use dataflows::engine::Engine;
use dataflows::ingest::Verdict;
use dataflows::resolve::{Row, TakeRows};
use dataflows::{DeadLetter, EventTime, Position, Reason, Tick};
use headwater_log::partition::Reader;
use std::ops::ControlFlow;

/// One worker's way of publishing.
pub(super) struct Publish<'s> {
    start: &'s Start,
    naming: Naming,
    begun: Begun,
    act: Act,
    waits: Waits,
    readers: Vec<Reader>,
}

impl<'s> Publish<'s> {
    pub fn new(start: &'s Start) -> Publish<'s> {
        let control = start.resume.as_ref().map_or(0, |resume| resume.control);
        let begun = Begun::new(start.begins.clone(), control);
        let (naming, act, waits) = (start.latest().naming(), Act::new(start), Waits::default());
        Publish { start, naming, begun, act, waits, readers: start.readers.clone() }
    }

    /// Goes on with the states that are followed and with what actions remember, from the snapshot before `tick`.
    pub fn resume(&mut self, engine: &mut Engine, tick: Tick) {
        for (action, rows) in self.waits.restore(engine.kept(), &self.start.plan) {
            tracing::warn!(action, rows, "causes waited for an action that does not wait any more: nothing is decided");
        }
        for (index, state) in (0..).zip(&self.start.plan.states).filter(|(_, state)| state.changes) {
            if self.begun.has(state.schema.collection(), tick) {
                engine.follow_state(index, tick);
            }
        }
    }

    /// Returns the first time at which a tick would change something, by its clock alone.
    pub fn next_deadline(&self, engine: &Engine) -> Option<EventTime> {
        engine.next_deadline().into_iter().chain(self.waits.next()).min()
    }

    /// Returns which collections have begun, as of the last tick.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// Publishes a tick that is settled, and contributes to its snapshot.
    pub fn tick(
        &mut self,
        engine: &mut Engine,
        mut fed: Fed,
        changes: Changes,
        kept: &mut Kept,
        port: &mut dyn Port,
    ) -> Result<(), Error> {
        for verdict in &changes.verdicts {
            match verdict {
                Verdict::Duplicate(_) => fed.told.duplicates += 1,
                Verdict::Conflict(position) => fed.dead_letters.push(self.conflict(*position)?),
                Verdict::NotChecked(_) => {}
            }
        }
        for letter in &fed.dead_letters {
            *fed.told.dead_letters.entry(letter.reason).or_insert(0) += 1;
        }
        fed.told.sessions = changes.sessions.iter().map(|(_, diff)| *diff as i64).sum();
        let plan = &self.start.plan;
        let seen: Vec<_> = fed.forgets.iter().filter_map(|at| at.see(plan, engine, &fed.bound, &changes)).collect();
        fed.told.seen = seen;
        let told = std::mem::take(&mut fed.told);
        self.output(engine, &fed, changes, told, port)?;
        if fed.bound.snapshot {
            let changed = engine.views().state_changes(fed.bound.tick);
            kept.dirty.entities.append(&mut kept.folds.rows(changed));
            let steps = std::mem::take(&mut kept.steps);
            kept.dirty.steps.append(&mut kept.folds.step_rows(steps));
            let groups = std::mem::take(&mut kept.groups);
            kept.dirty.groups.append(&mut kept.folds.group_rows(groups));
            kept.dirty.waits.append(&mut self.waits.changed());
            let (dirty, cursors) = (std::mem::take(&mut kept.dirty), std::mem::take(&mut kept.cursors));
            port.send(Out::Checkpoint(Checkpoint { tick: fed.bound.tick, dirty, cursors }))?;
        }
        Ok(())
    }

    fn output(
        &mut self,
        engine: &mut Engine,
        fed: &Fed,
        mut changes: Changes,
        mut told: Told,
        port: &mut dyn Port,
    ) -> Result<(), Error> {
        let plan = &self.start.plan;
        let [users, shapes] = [Collection::USERS, Collection::SHAPES].map(|one| self.begun.tick(one, &fed.bound));
        let counts = plan.counts.iter().map(|count| self.begun.tick(count.schema.collection(), &fed.bound));
        let counts: Vec<Says> = counts.collect();
        let out = Gather::new(fed.bound.tick, fed.bound.now_ms, self.start.memory, port);
        let calls = std::mem::take(&mut changes.calls);
        told.moved.events = changes.moved.max(0).unsigned_abs() as u64;
        let edges = self.act.tick(fed.plan.as_ref());
        let relabelled = if fed.causes.any() { label_changes::rows(&changes.classes, fed.causes) } else { Vec::new() };
        let mut rows = Encode { out, naming: &self.naming, edges, failed: None };
        if users != Says::Changes {
            changes.users.clear();
        }
        if shapes != Says::Changes {
            changes.shapes.clear();
        }
        changes.groups.retain(|((key, _), _)| counts[usize::from(key.count)] == Says::Changes);
        let mut taken = engine.resolve(fed.bound.tick, changes, &mut rows);
        told.moved.sessions = engine.moved_sessions();
        rows.edges.still = true;
        if users == Says::Whole && taken.is_continue() {
            taken = engine.begin_users(fed.bound.tick, &mut rows);
        }
        if shapes == Says::Whole && taken.is_continue() {
            taken = engine.begin_shapes(fed.bound.tick, &mut rows);
        }
        for (index, _) in (0..).zip(&counts).filter(|(_, says)| **says == Says::Whole) {
            if taken.is_continue() {
                taken = engine.begin_groups(index, fed.bound.tick, &mut rows);
            }
        }
        for (index, state) in (0..).zip(&plan.states).filter(|(_, state)| state.changes) {
            // What a tick changes, or all rows at the one that begins with them.
            if taken.is_continue() && self.begun.tick(state.schema.collection(), &fed.bound) != Says::Nothing {
                taken = engine.state_rows(index, fed.bound.tick, &mut rows);
            }
        }
        rows.edges.still = false;
        let Encode { mut out, mut edges, failed, .. } = rows;
        if taken.is_break() {
            failed.map_or(Ok(()), Err)?;
        }
        for row in relabelled {
            edges.row(Collection::LABEL_CHANGES, &row, 1);
            out.add(Collection::LABEL_CHANGES, row, 1)?;
        }
        for letter in &fed.dead_letters {
            let source = &plan.sources[usize::from(letter.position.source)].name;
            let row = collections::dead_letters::encode(source, letter);
            edges.row(Collection::DEAD_LETTERS, &row, 1);
            out.add(Collection::DEAD_LETTERS, row, 1)?;
        }
        edges.decide(engine, (&fed.bound, &fed.tables), calls, &mut self.waits, &mut |row| {
            told.decisions.extend(collections::actions::decided(&row));
            out.add(Collection::ACTIONS, row, 1)
        })?;
        let named = |(action, many): (u16, u64)| (plan.actions[usize::from(action)].name.clone(), many);
        told.waiting = self.waits.news().map(|news| news.into_iter().map(named).collect());
        out.finish(told)
    }

    /// Returns the dead letter of a record that conflicts with another one; its payload is read again, since a graph
    /// carries none.
    fn conflict(&mut self, position: Position) -> Result<DeadLetter, Error> {
        let (record, byte) = place(position.offset);
        let events = &self.start.plan.sources[usize::from(position.source)].events;
        let mut payload = Vec::new();
        let read = self.readers[position.part as usize].read(record, record + 1, |record| {
            let Some(delivery) = Delivery::decode(record.payload) else { return };
            let Some((start, bytes)) = delivery.record_at(byte, events.limits.event_bytes) else { return };
            let parts = headwater_decode::events_of(events, bytes);
            let part = parts.into_iter().find(|part| part.start == byte - start);
            payload.extend_from_slice(part.map_or(bytes, |part| &bytes[part]));
        });
        read.map_err(Error::run("read the log"))?;
        Ok(DeadLetter {
            position,
            reason: Reason::ConflictingDuplicate,
            message: "another record with the same id and another payload came first".into(),
            length: payload.len() as u64,
            payload,
        })
    }
}

/// Encodes the rows of a tick as the graph gives them.
struct Encode<'p, 'e> {
    out: Gather<'p>,
    naming: &'p Naming,
    /// What actions decide on.
    edges: Edges<'e>,
    /// Why no other row is taken.
    failed: Option<Error>,
}

impl Encode<'_, '_> {
    fn taken(&mut self, taken: Result<(), Error>) -> ControlFlow<()> {
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl TakeRows for Encode<'_, '_> {
    fn row(&mut self, row: Row<'_>, diff: isize) -> ControlFlow<()> {
        let (collection, row) = collections::encode(&row, self.naming);
        self.edges.row(collection, &row, diff as i64);
        let taken = self.out.add(collection, row, diff as i64);
        self.taken(taken)
    }

    fn alive(&mut self) {
        if let Err(error) = self.out.alive() {
            self.failed.get_or_insert(error);
        }
    }
}
