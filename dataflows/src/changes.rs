//! What changed at one worker, tick by tick, taken out of the graph: what is published, and what snapshots are made of.

use crate::classify::Label;
use crate::close::Closing;
use crate::counts::{ClassHour, CountedBy, SignatureHour};
use crate::describe::Unnamed;
use crate::group::{Group, GroupKey, Totals};
use crate::identity::{ShapeId, SignatureId, UserKey};
use crate::ingest::{self, IdRow, Verdict};
use crate::look_up::Answered;
use crate::operators::each;
use crate::operators::rows::{Key, Val};
use crate::pipeline::{KeptRow, Outputs};
use crate::record::Sessionless;
use crate::sequence::{Activity, Counts, FunnelKey, StepEvent, StepRow, Track};
use crate::sessionize::{self, Late, Lineage, Mark, Session};
use crate::shapes::ShapeTotals;
use crate::stitch::{Identity, LinkRow, Moved};
use crate::time::Tick;
use crate::users::UserTotals;
use differential_dataflow::trace::Span;
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// The changes of one tick, as the operators gave them: neither sorted nor consolidated.
#[derive(Debug, Default)]
pub struct Changes {
    /// Names that go with users who are forgotten, and as often as they had been said, for snapshots.
    pub names_gone: Vec<((UserKey, Arc<str>), isize)>,
    /// Sessions that go (-1) and that come (1).
    pub sessions: Vec<((UserKey, Session), isize)>,
    /// Labels of signatures that go and that come.
    pub classes: Vec<((SignatureId, Label), isize)>,
    /// Numbers of events by class and hour that go and that come.
    pub counts: Vec<((ClassHour, u64), isize)>,
    /// Totals of shapes that go and that come.
    pub shapes: Vec<((Option<ShapeId>, Arc<ShapeTotals>), isize)>,
    /// Totals of users that go and that come.
    pub users: Vec<((UserKey, UserTotals), isize)>,
    /// Sessions that were closed (1) or opened again (-1).
    pub closings: Vec<(Closing, isize)>,
    /// Activities that go and that come.
    pub activities: Vec<((Track, Activity), isize)>,
    /// Rows of funnels that go and that come.
    pub funnels: Vec<((FunnelKey, Counts), isize)>,
    /// Identities that go and that come.
    pub identities: Vec<(Identity, isize)>,
    /// Aliases that are of another person.
    pub identity_changes: Vec<Moved>,
    /// Events that came late.
    pub late: Vec<Late>,
    /// Sessions that go on under another id.
    pub lineage: Vec<Lineage>,
    /// Groups of counts that go and that come.
    pub groups: Vec<(Group, isize)>,
    /// Marks of events that go and that come, for snapshots.
    pub marks: Vec<((UserKey, Mark), isize)>,
    /// Step events that go and that come, for snapshots.
    pub steps: Vec<StepRow>,
    /// Links that go and that come, for snapshots.
    pub links: Vec<(LinkRow, isize)>,
    /// Actions that events call.
    pub calls: Vec<Answered>,
    /// Records that did not simply count.
    pub verdicts: Vec<Verdict>,
    /// Rows of what is known of ids, for snapshots.
    pub ids: Vec<(IdRow, isize)>,
    /// Events by signature and hour, for snapshots.
    pub by_signature: Vec<(SignatureHour, isize)>,
    /// Events without a session by reason, for snapshots.
    pub by_reason: Vec<(Sessionless, isize)>,
    /// Events of this worker that were there before, and have another class since.
    pub moved: isize,
}

/// Collects changes until their tick is complete.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    changes: Rc<RefCell<BTreeMap<Tick, Changes>>>,
    /// Sums of all ticks: a view with a row for each of three reasons needs no arrangement.
    sessionless: Rc<RefCell<BTreeMap<Sessionless, isize>>>,
    /// What a snapshot has brought back of what the caller keeps.
    kept: Rc<RefCell<Vec<KeptRow>>>,
    /// Where the names that go are.
    unnamed: Unnamed,
    /// The same by signature, if nothing but verdicts is collected: the changes have it otherwise.
    by_signature: Rc<RefCell<BTreeMap<SignatureId, isize>>>,
    /// Nothing of the first tick is collected.
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
    /// worker. The names are read where they lie: they are written as far as the classes.
    pub fn watch(outputs: &Outputs<'_>, collect: Collect) -> Collector {
        let collector = Collector {
            changes: Rc::default(),
            sessionless: Rc::default(),
            kept: Rc::default(),
            unnamed: Rc::clone(&outputs.unnamed),
            by_signature: Rc::default(),
            skip_restored: Rc::default(),
            settled: Rc::new(Cell::new(0)),
        };
        let Collector { changes, sessionless, kept, unnamed: _, by_signature, skip_restored, settled } =
            collector.clone();
        let workers = outputs.sessions.stream.scope().peers();
        let mut builder = OperatorBuilder::new("Watch".to_string(), outputs.sessions.stream.scope());
        let mut sessions = builder.new_input(outputs.sessions.stream.clone(), Pipeline);
        let mut classes = builder.new_input(outputs.classes.stream.clone(), Pipeline);
        let mut counts = builder.new_input(outputs.counts.stream.clone(), Pipeline);
        let mut shapes = builder.new_input(outputs.shapes.stream.clone(), Pipeline);
        let mut sums = builder.new_input(outputs.sums.clone(), Pipeline);
        let mut sessionized = builder.new_input(outputs.sessionized.clone(), Pipeline);
        let marks = outputs.marks.clone();
        let mut marks = marks.map(|marks| builder.new_input(marks, Pipeline));
        let users = outputs.users.as_ref().map(|users| users.stream.clone());
        let mut users = users.map(|users| builder.new_input(users, Pipeline));
        let ingested = outputs.ingested.clone();
        let mut ingested = ingested.map(|entries| builder.new_input(entries, Pipeline));
        let rejected = outputs.states.as_ref().map(|states| states.rejections.clone());
        let mut rejected = rejected.map(|rejections| builder.new_input(rejections, Pipeline));
        let called = outputs.calls.clone();
        let mut called = called.map(|calls| builder.new_input(calls, Pipeline));
        let closed = outputs.closed.as_ref().map(|closed| closed.closings.clone());
        let mut closed = closed.map(|closings| builder.new_input(closings, Pipeline));
        // Without a clock its frontier alone matters: who reads at the end waits for it.
        let activities = outputs.activities.as_ref().map(|activities| activities.stream.clone());
        let mut activities = activities.map(|activities| builder.new_input(activities, Pipeline));
        let funnels = outputs.funnels.as_ref().map(|funnels| funnels.stream.clone());
        let mut funnels = funnels.map(|funnels| builder.new_input(funnels, Pipeline));
        let groups = outputs.groups.iter().map(|groups| builder.new_input(groups.stream.clone(), Pipeline));
        let mut groups: Vec<_> = groups.collect();
        let steps = outputs.followed.as_ref().map(|(steps, _)| steps.clone());
        let mut steps = steps.map(|steps| builder.new_input(steps, Pipeline));
        let stitched = outputs.stitched.as_ref();
        let mut identities = stitched.map(|of| builder.new_input(of.identities.stream.clone(), Pipeline));
        let mut moved = stitched.map(|of| builder.new_input(of.moved.clone(), Pipeline));
        let mut links = stitched.map(|of| builder.new_input(of.links.clone(), Pipeline));
        let to_owner = move |(key, _): &KeptRow| key.worker(workers);
        let restored = outputs.kept.clone();
        let mut restored = restored.map(|rows| builder.new_input(rows, Exchange::new(to_owner)));
        builder.build(move |_capabilities| {
            move |frontiers| {
                let mut changes = changes.borrow_mut();
                let mut to = Destination { changes: &mut changes, collect, skip_restored: skip_restored.get() };
                sessions.for_each(|_, spans| {
                    to.spans(spans, |changes, user: &UserKey, session: &Session, diff| {
                        changes.sessions.push(((*user, session.clone()), diff));
                    });
                });
                classes.for_each(|_, spans| {
                    to.spans(spans, |changes, signature: &SignatureId, label: &Label, diff| {
                        changes.classes.push(((*signature, label.clone()), diff));
                    });
                });
                counts.for_each(|_, spans| {
                    to.spans(spans, |changes, row: &ClassHour, events: &u64, diff| {
                        changes.counts.push(((row.clone(), *events), diff));
                    });
                });
                shapes.for_each(|_, spans| {
                    to.spans(spans, |changes, shape: &Option<ShapeId>, totals: &Arc<ShapeTotals>, diff| {
                        changes.shapes.push(((*shape, Arc::clone(totals)), diff));
                    });
                });
                if let Some(marks) = &mut marks {
                    marks.for_each(|_, spans| {
                        to.spans(spans, |changes, user: &UserKey, mark: &Mark, diff| {
                            changes.marks.push(((*user, mark.clone()), diff));
                        });
                    });
                }
                if let Some(users) = &mut users {
                    users.for_each(|_, spans| {
                        to.spans(spans, |changes, user: &UserKey, totals: &UserTotals, diff| {
                            changes.users.push(((*user, *totals), diff));
                        });
                    });
                }
                sums.for_each(|_, rows| {
                    for (row, tick, diff) in rows.drain(..) {
                        match row {
                            CountedBy::Reason(reason) => *sessionless.borrow_mut().entry(reason).or_insert(0) += diff,
                            CountedBy::Signature((signature, _)) if collect == Collect::Verdicts => {
                                *by_signature.borrow_mut().entry(signature).or_insert(0) += diff;
                            }
                            CountedBy::Signature(_) | CountedBy::Moved => {}
                        }
                        let Some(changes) = to.own(tick) else { continue };
                        match row {
                            CountedBy::Signature(row) => changes.by_signature.push((row, diff)),
                            CountedBy::Reason(reason) => changes.by_reason.push((reason, diff)),
                            CountedBy::Moved => changes.moved += diff,
                        }
                    }
                });
                sessionized.for_each(|_, entries| {
                    for (entry, tick) in entries.drain(..) {
                        if let sessionize::Entry::Outside(diff) = entry {
                            *sessionless.borrow_mut().entry(Sessionless::KeepAlive).or_insert(0) += diff;
                        }
                        let Some(changes) = to.any(tick) else { continue };
                        match entry {
                            sessionize::Entry::Outside(diff) => changes.by_reason.push((Sessionless::KeepAlive, diff)),
                            sessionize::Entry::Late(late) => changes.late.push(late),
                            sessionize::Entry::Lineage(lineage) => changes.lineage.push(lineage),
                            // Of no output yet: nothing asks for replacements.
                            sessionize::Entry::Rejection(_) => {}
                        }
                    }
                });
                if let Some(ingested) = &mut ingested {
                    ingested.for_each(|_, entries| {
                        for (entry, tick) in entries.drain(..) {
                            match entry {
                                ingest::Entry::Verdict(verdict) => {
                                    to.changes.entry(tick).or_default().verdicts.push(verdict);
                                }
                                ingest::Entry::Id(row, diff) => {
                                    to.own(tick).into_iter().for_each(|changes| changes.ids.push((row, diff)));
                                }
                            }
                        }
                    });
                }
                // Of no output yet, as those of sessions: its frontier alone matters.
                if let Some(rejected) = &mut rejected {
                    rejected.for_each(|_, entries| entries.clear());
                }
                if let Some(called) = &mut called {
                    called.for_each(|_, calls| {
                        for (call, tick) in calls.drain(..) {
                            if let Some(changes) = to.any(tick) {
                                changes.calls.push(call);
                            }
                        }
                    });
                }
                if let Some(closed) = &mut closed {
                    closed.for_each(|_, rows| {
                        for (row, tick, diff) in rows.drain(..) {
                            to.own(tick).into_iter().for_each(|changes| changes.closings.push((row, diff)));
                        }
                    });
                }
                if let Some(activities) = &mut activities {
                    activities.for_each(|_, spans| {
                        to.spans(spans, |changes, track: &Track, activity: &Activity, diff| {
                            changes.activities.push(((*track, activity.clone()), diff));
                        });
                    });
                }
                if let Some(funnels) = &mut funnels {
                    funnels.for_each(|_, spans| {
                        to.spans(spans, |changes, key: &FunnelKey, counts: &Counts, diff| {
                            changes.funnels.push(((key.clone(), counts.clone()), diff));
                        });
                    });
                }
                for groups in &mut groups {
                    groups.for_each(|_, spans| {
                        to.spans(spans, |changes, key: &GroupKey, totals: &Totals, diff| {
                            changes.groups.push(((key.clone(), totals.clone()), diff));
                        });
                    });
                }
                if let Some(steps) = &mut steps {
                    steps.for_each(|_, spans| {
                        to.spans(spans, |changes, track: &Track, event: &StepEvent, diff| {
                            changes.steps.push(((*track, event.clone()), diff));
                        });
                    });
                }
                if let Some(identities) = &mut identities {
                    identities.for_each(|_, spans| {
                        to.spans(spans, |changes, _: &UserKey, identity: &Identity, diff| {
                            changes.identities.push((identity.clone(), diff));
                        });
                    });
                }
                if let Some(moved) = &mut moved {
                    moved.for_each(|_, rows| {
                        for (row, tick) in rows.drain(..) {
                            to.own(tick).into_iter().for_each(|changes| changes.identity_changes.push(row.clone()));
                        }
                    });
                }
                if let Some(links) = &mut links {
                    links.for_each(|_, rows| {
                        for (row, tick, diff) in rows.drain(..) {
                            to.own(tick).into_iter().for_each(|changes| changes.links.push((row.clone(), diff)));
                        }
                    });
                }
                if let Some(restored) = &mut restored {
                    restored.for_each(|_, rows| kept.borrow_mut().append(rows));
                }
                let least = frontiers.iter().filter_map(|frontier| frontier.frontier().first().copied()).min();
                settled.set(least.unwrap_or(Tick::MAX));
            }
        });
        collector
    }

    /// Returns the number of events that belong to no session, by reason: of this worker, and without what was restored.
    pub fn sessionless(&self) -> BTreeMap<Sessionless, isize> {
        self.sessionless.borrow().clone()
    }

    /// Takes what has come back of what the caller keeps.
    pub fn kept(&self) -> Vec<KeptRow> {
        std::mem::take(&mut *self.kept.borrow_mut())
    }

    /// Returns the number of events by signature, of this worker.
    pub fn by_signature(&self) -> BTreeMap<SignatureId, isize> {
        self.by_signature.borrow().clone()
    }

    /// Leaves out what the first tick restores: see [`crate::engine::Engine::skip_restored`].
    pub fn skip_restored(&self) {
        self.skip_restored.set(true);
    }

    /// Returns the tick before which everything has been collected, at all workers.
    pub fn settled(&self) -> Tick {
        self.settled.get()
    }

    /// Takes the changes of the ticks before `upper`, in order. Ticks without any are left out.
    pub fn take(&self, upper: Tick) -> BTreeMap<Tick, Changes> {
        let mut all = self.changes.borrow_mut();
        for (tick, name, times) in self.unnamed.borrow_mut().extract_if(.., |(tick, ..)| *tick < upper) {
            all.entry(tick).or_default().names_gone.push((name, times));
        }
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
    /// Returns the changes of a tick, if they are collected.
    fn any(&mut self, tick: Tick) -> Option<&mut Changes> {
        (self.collect == Collect::Everything).then(|| self.changes.entry(tick).or_default())
    }

    /// Returns the changes of a tick, if they are collected and were not restored.
    fn own(&mut self, tick: Tick) -> Option<&mut Changes> {
        if tick > 0 || !self.skip_restored { self.any(tick) } else { None }
    }

    /// Adds the rows of batches, if they are collected and were not restored.
    fn spans<B>(&mut self, spans: &mut Vec<Span<Tick, B>>, add: impl Fn(&mut Changes, Key<'_, B>, Val<'_, B>, isize))
    where
        B: Navigable,
        B::Cursor: Cursor<Time = Tick, Diff = isize>,
    {
        for span in spans.drain(..) {
            // The first tick is a batch of its own.
            let restored = self.skip_restored && span.upper().elements() == [1];
            let Some(batch) = &span.inner else { continue };
            if self.collect != Collect::Everything || restored {
                continue;
            }
            each(batch, |key, value, tick, diff| add(self.changes.entry(tick).or_default(), key, value, diff));
        }
    }
}
