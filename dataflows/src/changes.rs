//! What changed at one worker, tick by tick, taken out of the graph: what is published, and what snapshots are made of.

use crate::classify::Class;
use crate::close::Closing;
use crate::counts::{ClassHour, SignatureHour};
use crate::identity::{SignatureId, UserKey};
use crate::ingest::{IdRow, Verdict};
use crate::pipeline::Outputs;
use crate::record::Sessionless;
use crate::sessionize::{Late, Lineage, Session};
use crate::time::Tick;
use differential_dataflow::trace::Span;
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::operators::{Inspect, Probe};
use timely::dataflow::{ProbeHandle, Stream};

/// The changes of one tick, as the operators gave them: neither sorted nor consolidated.
#[derive(Debug, Default)]
pub struct Changes {
    pub sessions: Vec<((UserKey, Session), isize)>,
    pub classes: Vec<((SignatureId, Class), isize)>,
    /// Of the multiplicity, which is the number of events.
    pub counts: Vec<(ClassHour, isize)>,
    pub closings: Vec<(Closing, isize)>,
    pub late: Vec<Late>,
    pub lineage: Vec<Lineage>,
    pub verdicts: Vec<Verdict>,
    pub ids: Vec<(IdRow, isize)>,
    pub by_signature: Vec<(SignatureHour, isize)>,
    pub by_reason: Vec<(Sessionless, isize)>,
}

/// Collects changes until their tick is complete.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    changes: Rc<RefCell<BTreeMap<Tick, Changes>>>,
    /// Of the first tick only classes and counts are collected.
    skip_restored: Rc<Cell<bool>>,
}

impl Collector {
    /// Collects what the outputs say; `probe` then says which ticks are complete.
    pub fn watch(&self, outputs: &Outputs<'_>, probe: &ProbeHandle<Tick>) {
        self.spans(&outputs.sessions.stream, probe, true, |changes, user, session, diff| {
            changes.sessions.push(((*user, session.clone()), diff));
        });
        self.spans(&outputs.classes.stream, probe, false, |changes, signature, class, diff| {
            changes.classes.push(((*signature, Class::clone(class)), diff));
        });
        let counts = |changes: &mut Changes, row: &ClassHour, (): &(), diff| changes.counts.push((row.clone(), diff));
        self.spans(&outputs.counts.stream, probe, false, counts);
        self.updates(&outputs.closings, probe, |changes, row, diff| changes.closings.push((row.clone(), diff)));
        self.updates(&outputs.ids, probe, |changes, row, diff| changes.ids.push((*row, diff)));
        self.updates(&outputs.by_signature, probe, |changes, row, diff| changes.by_signature.push((*row, diff)));
        self.updates(&outputs.by_reason, probe, |changes, row, diff| changes.by_reason.push((*row, diff)));
        self.journal(&outputs.late, probe, |changes, row| changes.late.push(row.clone()));
        self.journal(&outputs.lineage, probe, |changes, row| changes.lineage.push(row.clone()));
        self.journal(&outputs.verdicts, probe, |changes, row| changes.verdicts.push(*row));
    }

    /// See [`crate::engine::Engine::skip_restored`].
    pub fn skip_restored(&self) {
        self.skip_restored.set(true);
    }

    /// The changes of the ticks before `upper`, in order; ticks without any are left out.
    pub fn take(&self, upper: Tick) -> BTreeMap<Tick, Changes> {
        let mut all = self.changes.borrow_mut();
        let rest = all.split_off(&upper);
        std::mem::replace(&mut *all, rest)
    }

    fn updates<R: Clone + 'static>(
        &self,
        stream: &Stream<'_, Tick, Vec<(R, Tick, isize)>>,
        probe: &ProbeHandle<Tick>,
        add: impl Fn(&mut Changes, &R, isize) + 'static,
    ) {
        let Collector { changes: all, skip_restored } = self.clone();
        let add = move |(row, tick, diff): &(R, Tick, isize)| {
            if *tick > 0 || !skip_restored.get() {
                add(all.borrow_mut().entry(*tick).or_default(), row, *diff);
            }
        };
        stream.clone().inspect(add).probe_with(probe);
    }

    fn journal<R: Clone + 'static>(
        &self,
        stream: &Stream<'_, Tick, Vec<(R, Tick)>>,
        probe: &ProbeHandle<Tick>,
        add: impl Fn(&mut Changes, &R) + 'static,
    ) {
        let all = Rc::clone(&self.changes);
        let add = move |(row, tick): &(R, Tick)| add(all.borrow_mut().entry(*tick).or_default(), row);
        stream.clone().inspect(add).probe_with(probe);
    }

    fn spans<B>(
        &self,
        stream: &Stream<'_, Tick, Vec<Span<Tick, B>>>,
        probe: &ProbeHandle<Tick>,
        skippable: bool,
        add: impl Fn(&mut Changes, Key<'_, B>, Val<'_, B>, isize) + 'static,
    ) where
        B: Navigable + Clone + 'static,
        B::Cursor: Cursor<Time = Tick, Diff = isize>,
    {
        let Collector { changes: all, skip_restored } = self.clone();
        let add = move |span: &Span<Tick, B>| {
            let Some(batch) = &span.inner else { return };
            // The first tick is a batch of its own.
            if skippable && skip_restored.get() && span.upper().elements() == [1] {
                return;
            }
            let mut all = all.borrow_mut();
            let mut cursor = batch.cursor();
            while let Some(key) = cursor.get_key(batch) {
                while let Some(value) = cursor.get_val(batch) {
                    cursor.map_times(batch, |tick, diff| {
                        let changes = all.entry(B::Cursor::owned_time(tick)).or_default();
                        add(changes, key, value, B::Cursor::owned_diff(diff));
                    });
                    cursor.step_val(batch);
                }
                cursor.step_key(batch);
            }
        };
        stream.clone().inspect(add).probe_with(probe);
    }
}

type Key<'b, B> = <<B as Navigable>::Cursor as Cursor>::Key<'b>;
type Val<'b, B> = <<B as Navigable>::Cursor as Cursor>::Val<'b>;
