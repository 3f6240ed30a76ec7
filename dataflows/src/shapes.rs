//! Sums by label -> shapes: what there is of each shape, with its leaves and its classes. A view of all events, with a
//! session or without.
//!
//! ```text
//! tally ─ sums by label and hour ─▶ (exchange, by shape) ─┐
//! describe ─ leaves, whole on each worker ────────────────┴─▶ shapes ─ a row for each shape that has events
//! ```
//!
//! A tick costs the shapes that it has events of, not their hours.

use crate::classify::{Class, Label, Layer};
use crate::identity::ShapeId;
use crate::leaves::Leaves;
use crate::operators::{Capabilities, Fold, Keyed, Own, Rows, Turn};
use crate::time::{EventTime, Tick, TotalTime};
use differential_dataflow::consolidation::consolidate;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};

/// A label and the start of an hour; `None` for events without a time.
pub type LabelHour = (Label, Option<EventTime>);

/// What there is of one shape. The key is held beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShapeTotals {
    /// `None`: they are not known, or this is the row of many shapes.
    pub leaves: Option<Arc<Leaves>>,
    /// Sorted, no repeats. A shape has several if a type or tests tell its events apart.
    pub classes: Vec<ClassTotals>,
    /// Starts of the first and the last hour with events that have a time.
    pub hours: Option<(EventTime, EventTime)>,
}

/// The events of a shape that have one class for one reason.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClassTotals {
    /// The class.
    pub class: Class,
    /// What gave it.
    pub layer: Layer,
    /// How many.
    pub events: u64,
}

impl ShapeTotals {
    /// Returns the number of events.
    pub fn events(&self) -> u64 {
        self.classes.iter().map(|totals| totals.events).sum()
    }
}

/// Totals by shape; `None`: of all shapes that are not kept apart.
pub type ShapeSpine<T = Tick> = ValSpine<Option<ShapeId>, Arc<ShapeTotals>, T, isize>;
/// Reads [`ShapeSpine`].
pub type ShapeTrace<T = Tick> = TraceAgent<ShapeSpine<T>>;

/// Returns the totals of each shape, at one worker each. `leaves` come to each worker whole; `None`: they are forgotten.
pub fn shapes<'s, T: TotalTime>(
    by_label: Stream<'s, T, Vec<(LabelHour, T, isize)>>,
    leaves: Stream<'s, T, Vec<(ShapeId, Option<Arc<Leaves>>)>>,
) -> Arranged<'s, ShapeTrace<T>> {
    let scope = by_label.scope();
    let (index, peers) = (scope.index() as u64, scope.peers() as u64);
    let mut operator = Keyed::<T, Shapes<T>>::new("Shapes", scope);
    let (own, shapes) = operator.arranged();
    let owner = |shape: Option<ShapeId>| shape.map_or(0, |shape| shape.0);
    let by_shape = Exchange::new(move |((label, _), _, _): &(LabelHour, T, isize)| owner(label.shape));
    operator.input(by_label, by_shape, |_, arrivals| {
        arrivals.each(|waiting, _, rows| waiting.sums.extend(rows.drain(..).map(|(row, _, diff)| (row, diff))));
    });
    operator.input(leaves, Pipeline, move |_, arrivals| {
        arrivals.each(|waiting, _, rows| {
            waiting.leaves.extend(rows.drain(..).filter(|(shape, _)| owner(Some(*shape)) % peers == index));
        });
    });
    operator.build(Shapes { own, shapes: BTreeMap::new(), leaves: BTreeMap::new(), rows: Rows::default() });
    shapes
}

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Waiting {
    sums: Vec<(LabelHour, isize)>,
    leaves: Vec<(ShapeId, Option<Arc<Leaves>>)>,
}

/// One worker's shapes.
struct Shapes<T: TotalTime> {
    own: Own<ShapeSpine<T>>,
    shapes: BTreeMap<Option<ShapeId>, Shape>,
    leaves: BTreeMap<ShapeId, Arc<Leaves>>,
    rows: Rows<Option<ShapeId>, Arc<ShapeTotals>, T>,
}

/// One shape.
#[derive(Default)]
struct Shape {
    classes: BTreeMap<(Class, Layer), i64>,
    hours: BTreeMap<Option<EventTime>, i64>,
    /// As it stands in the trace.
    row: Option<Arc<ShapeTotals>>,
}

impl<T: TotalTime> Fold<T> for Shapes<T> {
    type Waiting = Waiting;

    fn tick(&mut self, tick: &T, waiting: &mut Waiting, _: &Capabilities<T>) -> Turn {
        let Waiting { mut sums, leaves } = std::mem::take(waiting);
        consolidate(&mut sums);
        let mut changed = BTreeSet::new();
        for (shape, leaves) in leaves {
            match leaves {
                Some(leaves) => self.leaves.insert(shape, leaves),
                None => self.leaves.remove(&shape),
            };
            changed.insert(Some(shape));
        }
        for ((Label { class, layer, shape }, hour), diff) in sums {
            changed.insert(shape);
            let of = self.shapes.entry(shape).or_default();
            add(&mut of.classes, (class, layer), diff);
            add(&mut of.hours, hour, diff);
        }
        let mut builder = ValBuilder::default();
        for key in changed {
            let Some(shape) = self.shapes.get_mut(&key) else { continue };
            let new = shape.totals(key.and_then(|key| self.leaves.get(&key)));
            let old = std::mem::replace(&mut shape.row, new.clone());
            if old != new {
                let mut rows = [(old, -1), (new, 1)].map(|(totals, diff)| Some(((key, totals?), tick.clone(), diff)));
                // In the order of an arrangement.
                rows.sort_unstable();
                self.rows.extend(&mut builder, rows.into_iter().flatten());
            }
            if shape.classes.is_empty() {
                self.shapes.remove(&key);
            }
        }
        self.own.write(self.rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}

impl Shape {
    /// Returns the row; `None`: there are no events.
    fn totals(&self, leaves: Option<&Arc<Leaves>>) -> Option<Arc<ShapeTotals>> {
        let timed = || {
            let hours = self.hours.range((Bound::Excluded(None), Bound::Unbounded));
            hours.filter(|(_, events)| **events > 0).filter_map(|(hour, _)| *hour)
        };
        let hours = timed().next().zip(timed().next_back());
        let class = |((class, layer), events): (&(Class, Layer), &i64)| ClassTotals {
            class: Class::clone(class),
            layer: *layer,
            events: events.unsigned_abs(),
        };
        let classes: Vec<ClassTotals> = self.classes.iter().filter(|(_, events)| **events > 0).map(class).collect();
        (!classes.is_empty()).then(|| Arc::new(ShapeTotals { leaves: leaves.cloned(), classes, hours }))
    }
}

/// Adds to the number of a key; there is none for 0. It is below 0 while more events have gone than had come, as in
/// [`crate::counts`].
fn add<K: Ord>(numbers: &mut BTreeMap<K, i64>, key: K, diff: isize) {
    match numbers.entry(key) {
        std::collections::btree_map::Entry::Occupied(entry) if entry.get() + diff as i64 == 0 => _ = entry.remove(),
        entry => *entry.or_insert(0) += diff as i64,
    }
}
