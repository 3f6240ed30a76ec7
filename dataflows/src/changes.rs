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
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

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
#[derive(Clone)]
pub(crate) struct Collector {
    changes: Rc<RefCell<BTreeMap<Tick, Changes>>>,
    /// Of the first tick only classes and counts are collected.
    skip_restored: Rc<Cell<bool>>,
    /// The least tick that may still change anything, here or elsewhere.
    settled: Rc<Cell<Tick>>,
}

/// What is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collect {
    Everything,
    Verdicts,
}

impl Collector {
    /// Reads all outputs in one operator: one for each would have the progress of each tracked, tick by tick, by every
    /// worker.
    pub fn watch(outputs: &Outputs<'_>, collect: Collect) -> Collector {
        let collector =
            Collector { changes: Rc::default(), skip_restored: Rc::default(), settled: Rc::new(Cell::new(0)) };
        let Collector { changes, skip_restored, settled } = collector.clone();
        let mut builder = OperatorBuilder::new("Watch".to_string(), outputs.sessions.stream.scope());
        let mut sessions = builder.new_input(outputs.sessions.stream.clone(), Pipeline);
        let mut names = builder.new_input(outputs.names.stream.clone(), Pipeline);
        let mut classes = builder.new_input(outputs.classes.stream.clone(), Pipeline);
        let mut counts = builder.new_input(outputs.counts.stream.clone(), Pipeline);
        let mut sessionless = builder.new_input(outputs.sessionless.stream.clone(), Pipeline);
        let mut closings = builder.new_input(outputs.closings.clone(), Pipeline);
        let mut ids = builder.new_input(outputs.ids.clone(), Pipeline);
        let mut by_signature = builder.new_input(outputs.by_signature.clone(), Pipeline);
        let mut by_reason = builder.new_input(outputs.by_reason.clone(), Pipeline);
        let mut late = builder.new_input(outputs.late.clone(), Pipeline);
        let mut lineage = builder.new_input(outputs.lineage.clone(), Pipeline);
        let mut verdicts = builder.new_input(outputs.verdicts.clone(), Pipeline);
        builder.build(move |_capabilities| {
            move |frontiers| {
                let mut changes = changes.borrow_mut();
                let mut to = Destination { changes: &mut changes, collect, skip_restored: skip_restored.get() };
                sessions.for_each(|_, spans| {
                    to.spans(spans, true, |changes, user, session: &Session, diff| {
                        changes.sessions.push(((*user, session.clone()), diff));
                    });
                });
                names.for_each(|_, spans| spans.clear());
                classes.for_each(|_, spans| {
                    to.spans(spans, false, |changes, signature, class, diff| {
                        changes.classes.push(((*signature, Class::clone(class)), diff));
                    });
                });
                counts.for_each(|_, spans| {
                    to.spans(spans, false, |changes, row: &ClassHour, (), diff| {
                        changes.counts.push((row.clone(), diff));
                    });
                });
                sessionless.for_each(|_, spans| spans.clear());
                closings.for_each(|_, rows| to.updates(rows, |changes| &mut changes.closings));
                ids.for_each(|_, rows| to.updates(rows, |changes| &mut changes.ids));
                by_signature.for_each(|_, rows| to.updates(rows, |changes| &mut changes.by_signature));
                by_reason.for_each(|_, rows| to.updates(rows, |changes| &mut changes.by_reason));
                late.for_each(|_, rows| to.journal(rows, |changes| &mut changes.late));
                lineage.for_each(|_, rows| to.journal(rows, |changes| &mut changes.lineage));
                verdicts.for_each(|_, rows| {
                    for (verdict, tick) in rows.drain(..) {
                        to.changes.entry(tick).or_default().verdicts.push(verdict);
                    }
                });
                let least = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
                settled.set(least.unwrap_or(Tick::MAX));
            }
        });
        collector
    }

    /// See [`crate::engine::Engine::skip_restored`].
    pub fn skip_restored(&self) {
        self.skip_restored.set(true);
    }

    /// Everything before this tick has been collected, at all workers.
    pub fn settled(&self) -> Tick {
        self.settled.get()
    }

    /// The changes of the ticks before `upper`, in order; ticks without any are left out.
    pub fn take(&self, upper: Tick) -> BTreeMap<Tick, Changes> {
        let mut all = self.changes.borrow_mut();
        let rest = all.split_off(&upper);
        std::mem::replace(&mut *all, rest)
    }
}

/// Where changes go.
struct Destination<'c> {
    changes: &'c mut BTreeMap<Tick, Changes>,
    collect: Collect,
    skip_restored: bool,
}

impl Destination<'_> {
    fn updates<R>(&mut self, rows: &mut Vec<(R, Tick, isize)>, list: impl Fn(&mut Changes) -> &mut Vec<(R, isize)>) {
        for (row, tick, diff) in rows.drain(..) {
            if self.collect == Collect::Everything && (tick > 0 || !self.skip_restored) {
                list(self.changes.entry(tick).or_default()).push((row, diff));
            }
        }
    }

    fn journal<R>(&mut self, rows: &mut Vec<(R, Tick)>, list: impl Fn(&mut Changes) -> &mut Vec<R>) {
        for (row, tick) in rows.drain(..) {
            if self.collect == Collect::Everything {
                list(self.changes.entry(tick).or_default()).push(row);
            }
        }
    }

    /// `skippable`: what was restored is left out.
    fn spans<B>(
        &mut self,
        spans: &mut Vec<Span<Tick, B>>,
        skippable: bool,
        add: impl Fn(&mut Changes, Key<'_, B>, Val<'_, B>, isize),
    ) where
        B: Navigable,
        B::Cursor: Cursor<Time = Tick, Diff = isize>,
    {
        for span in spans.drain(..) {
            // The first tick is a batch of its own.
            let restored = self.skip_restored && span.upper().elements() == [1];
            let Some(batch) = &span.inner else { continue };
            if self.collect != Collect::Everything || skippable && restored {
                continue;
            }
            let mut cursor = batch.cursor();
            while let Some(key) = cursor.get_key(batch) {
                while let Some(value) = cursor.get_val(batch) {
                    cursor.map_times(batch, |tick, diff| {
                        let changes = self.changes.entry(B::Cursor::owned_time(tick)).or_default();
                        add(changes, key, value, B::Cursor::owned_diff(diff));
                    });
                    cursor.step_val(batch);
                }
                cursor.step_key(batch);
            }
        }
    }
}

type Key<'b, B> = <<B as Navigable>::Cursor as Cursor>::Key<'b>;
type Val<'b, B> = <<B as Navigable>::Cursor as Cursor>::Val<'b>;
