//! What events and the changes of views add to groups, summed by this worker: the rows of a tick become as many sums as they
//! have groups.

use super::{Counting, Groups};
use crate::changes::Changes;
use crate::group::{Added, GroupKey, GroupTrace, Over, Totals};
use crate::operators::trace::SpanOf;
use crate::operators::{Capabilities, Fold, Keyed, Output, Turn, each};
use crate::pipeline::Outputs;
use crate::resolve::{Resolver, Row, TakeRows};
use crate::time::Tick;
use crate::views::Views;
use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::Span;
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::progress::Antichain;

/// Rows that are resolved at once, so that those of a snapshot are not all in memory twice.
const PIECE: usize = 1 << 14;

/// Returns what the counts of one level add, by group. `views` are read by this stage alone; `below` are the groups of the
/// level below.
pub fn contribute<'s>(
    outputs: &Outputs<'s>,
    views: impl FnOnce() -> Views,
    below: Option<&Arranged<'s, GroupTrace>>,
    counting: &Counting,
) -> Stream<'s, Tick, Vec<Added>> {
    let mut operator = Keyed::<Tick, Contribute>::new("Contribute", outputs.sessions.stream.scope());
    let (sums, stream) = operator.output();
    let level = u8::from(below.is_some());
    let rows = counting.rows.clone();
    if let Some(below) = below {
        operator.input(below.stream.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, spans| {
                take(spans, |key, totals, diff| {
                    waiting.changes.groups.push(((GroupKey::clone(key), Totals::clone(totals)), diff));
                })
            });
        });
        operator.build(Contribute { sums, rows, resolver: None });
        return stream;
    }
    if let Some(counted) = &outputs.counted {
        operator.input(counted.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, added| {
                for (key, totals) in added.drain(..) {
                    waiting.sums.entry(key).or_default().add(&totals, 1);
                }
            });
        });
    }
    if rows.is_none() {
        operator.build(Contribute { sums, rows, resolver: None });
        return stream;
    }
    let has = |over| counting.has(level, over);
    let sessions = has(Over::Sessions);
    // Names are written as far as the classes are. Where a class changes, all sessions with it are read again.
    operator.input(outputs.classes.stream.clone(), Pipeline, move |_, arrivals| {
        arrivals.each(|waiting, _, spans| {
            take(spans, |signature, label, diff| {
                if sessions {
                    waiting.changes.classes.push(((*signature, Clone::clone(label)), diff));
                }
            });
        });
    });
    operator.input(outputs.sessions.stream.clone(), Pipeline, move |_, arrivals| {
        arrivals.each(|waiting, _, spans| waiting.sessions.extend(spans.drain(..).filter(|_| sessions)));
    });
    if has(Over::Counts) {
        operator.input(outputs.counts.stream.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, spans| {
                take(spans, |row, events, diff| {
                    waiting.changes.counts.push(((Clone::clone(row), *events), diff));
                })
            });
        });
    }
    if has(Over::Shapes) {
        operator.input(outputs.shapes.stream.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, spans| {
                take(spans, |shape, totals, diff| {
                    waiting.changes.shapes.push(((*shape, Arc::clone(totals)), diff));
                })
            });
        });
    }
    if let Some(users) = outputs.users.as_ref().filter(|_| has(Over::Users)) {
        operator.input(users.stream.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, spans| {
                take(spans, |user, totals, diff| {
                    waiting.changes.users.push(((*user, *totals), diff));
                })
            });
        });
    }
    if let Some(closed) = outputs.closed.as_ref().filter(|_| has(Over::Closings)) {
        operator.input(closed.closings.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, rows| {
                waiting.changes.closings.extend(rows.drain(..).map(|(row, _, diff)| (row, diff)));
            });
        });
    }
    if let Some(activities) = outputs.activities.as_ref().filter(|_| has(Over::Activities)) {
        operator.input(activities.stream.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, spans| {
                take(spans, |track, activity, diff| {
                    waiting.changes.activities.push(((*track, Clone::clone(activity)), diff));
                })
            });
        });
    }
    if let Some(funnels) = outputs.funnels.as_ref().filter(|_| has(Over::Funnels)) {
        operator.input(funnels.stream.clone(), Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, spans| {
                take(spans, |key, counts, diff| {
                    waiting.changes.funnels.push(((Clone::clone(key), Clone::clone(counts)), diff));
                })
            });
        });
    }
    operator.build(Contribute { sums, rows, resolver: Some((Resolver::default(), views())) });
    stream
}

/// Calls `row` with the rows of batches.
fn take<B>(
    spans: &mut Vec<Span<Tick, B>>,
    mut row: impl FnMut(<B::Cursor as Cursor>::Key<'_>, <B::Cursor as Cursor>::Val<'_>, isize),
) where
    B: Navigable,
    B::Cursor: Cursor<Time = Tick, Diff = isize>,
{
    for batch in spans.drain(..).filter_map(|span| span.inner) {
        each(&batch, |key, value, _, diff| row(key, value, diff));
    }
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Waiting {
    /// Of events.
    sums: BTreeMap<GroupKey, Totals>,
    sessions: Vec<SpanOf<crate::sessionize::SessionSpine>>,
    /// Of the other views.
    changes: Changes,
}

/// One worker's part.
struct Contribute {
    sums: Output<Tick, Added>,
    rows: Option<Arc<dyn Groups>>,
    /// Unless there are none but events, or groups.
    resolver: Option<(Resolver, Views)>,
}

impl Fold<Tick> for Contribute {
    type Waiting = Waiting;

    fn tick(&mut self, tick: &Tick, waiting: &mut Waiting, at: &Capabilities<Tick>) -> Turn {
        let Waiting { sums, sessions, changes } = std::mem::take(waiting);
        let mut adding = Adding { sums, rows: self.rows.as_deref() };
        for ((key, totals), diff) in &changes.groups {
            adding.add(&Row::Group(key, totals), *diff);
        }
        if let Some((resolver, views)) = &mut self.resolver {
            // What a row adds is taken whatever it is: nothing breaks off.
            let _ = resolver.tick(views, *tick, changes, &mut adding);
            let mut piece = Vec::new();
            let mut resolve = |sessions: &mut Vec<_>| {
                let changes = Changes { sessions: std::mem::take(sessions), ..Changes::default() };
                let _ = resolver.tick(views, *tick, changes, &mut adding);
            };
            for batch in sessions.into_iter().filter_map(|span| span.inner) {
                each(&batch, |user, session, _, diff| {
                    piece.push(((*user, Clone::clone(session)), diff));
                    if piece.len() >= PIECE {
                        resolve(&mut piece);
                    }
                });
            }
            resolve(&mut piece);
            let behind = Antichain::from_elem(*tick + 1);
            views.allow_compaction(behind.borrow(), behind.borrow());
        }
        let added = adding.sums.into_iter().filter(|(_, totals)| *totals != Totals::default());
        self.sums.give(at, added);
        Turn::Done
    }
}

/// Sums what rows add.
struct Adding<'r> {
    sums: BTreeMap<GroupKey, Totals>,
    rows: Option<&'r dyn Groups>,
}

impl Adding<'_> {
    fn add(&mut self, row: &Row<'_>, diff: isize) {
        let Adding { sums, rows } = self;
        if let Some(rows) = rows {
            rows.of(row, &mut |(key, totals)| sums.entry(key).or_default().add(&totals, diff as i64));
        }
    }
}

impl TakeRows for Adding<'_> {
    fn row(&mut self, row: Row<'_>, diff: isize) -> ControlFlow<()> {
        self.add(&row, diff);
        ControlFlow::Continue(())
    }
}
