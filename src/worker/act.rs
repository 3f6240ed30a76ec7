//! Rows and calls of a tick -> decisions of actions, as rows of `actions`.
//!
//! ```text
//! changed rows ── own part of a condition ──▶ edges by key ─┐
//!                                                           ├─ looked up as of the tick? ──▶ decision
//! calls of events, with what they look up ──────────────────┘            │   ▲
//!                                                                        ▼   │ opened, settled, due, taken back
//!                                                                        waits
//! ```
//! A decision is a function of the ticks: of their changes, their clocks, and the states as of them. All rows of a key are at
//! one worker, and so is the state of their user. So each decision is made once, whatever the number of workers.

mod at;
mod decide;
mod waits;

pub(super) use waits::{Waits, is_one};

use super::Start;
use crate::collections::{Collection, Row, Schema, Schemas, Value};
use crate::plan::{ActionBegins, ActionPlan, Edge, On, Plan, Timing};
use at::object;
use dataflows::{EventTime, UserKey};
use headwater_log::output::consolidate;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One worker's way of deciding.
pub(super) struct Act {
    schemas: Schemas,
    /// By index: the actions on rows of a collection.
    on_rows: Vec<(Collection, usize)>,
    /// By index: those on sessions that are closed.
    on_closed: Vec<usize>,
}

/// The rows of one tick that fit the own part of a condition, by action and key, each as often as it comes.
pub(super) struct Edges<'a> {
    act: &'a Act,
    plan: Option<&'a Arc<Plan>>,
    rows: BTreeMap<(usize, Vec<u8>), Vec<(Vec<u8>, i64)>>,
    /// By key: sessions that are closed or open again.
    closings: BTreeMap<Vec<u8>, Closings>,
    /// Rows that are there without having changed are no edges.
    pub still: bool,
}

/// The closings of one session.
struct Closings {
    user: UserKey,
    start: EventTime,
    rows: Vec<(Vec<u8>, i64)>,
}

impl Act {
    pub fn new(start: &Start) -> Act {
        let plan = &start.plan;
        let of_rows = |(index, action): (usize, &ActionPlan)| match action.on {
            On::Rows { collection, .. } => Some((collection, index)),
            On::Events { .. } => None,
        };
        let all = || plan.actions.iter().enumerate();
        Act {
            schemas: start.latest().schemas(),
            on_rows: all().filter_map(of_rows).collect(),
            on_closed: all().filter(|(_, one)| one.timing == Timing::Closed).map(|(index, _)| index).collect(),
        }
    }

    /// Begins a tick, at which `plan` is in force.
    pub fn tick<'a>(&'a self, plan: Option<&'a Arc<Plan>>) -> Edges<'a> {
        Edges { act: self, plan, rows: BTreeMap::new(), closings: BTreeMap::new(), still: false }
    }
}

impl Edges<'_> {
    /// Takes a row that goes (`diff` is negative) or comes.
    pub fn row(&mut self, collection: Collection, bytes: &[u8], diff: i64) {
        let Some(plan) = self.plan.filter(|_| !self.still) else { return };
        for (_, index) in self.act.on_rows.iter().filter(|(on, _)| *on == collection) {
            let action = &plan.actions[*index];
            let (On::Rows { when, .. }, Some(ActionBegins::Since(_))) = (&action.on, action.begins) else { continue };
            // Readers report bytes that are no row. An action does not decide on them.
            let Some(row) = collection.decode(bytes) else { continue };
            if when.as_ref().is_none_or(|when| when.matches(&row)) {
                let schema = self.act.schemas.of(collection);
                let key = match collection.is_view() {
                    true => object(&row, schema, &schema.key),
                    false => bytes.to_vec(),
                };
                self.rows.entry((*index, key)).or_default().push((bytes.to_vec(), diff));
            }
        }
        if collection == Collection::CLOSINGS && !self.act.on_closed.is_empty() {
            self.closing(bytes, diff);
        }
    }

    fn closing(&mut self, bytes: &[u8], diff: i64) {
        let schema = self.act.schemas.of(Collection::CLOSINGS);
        let Some(row) = Collection::CLOSINGS.decode(bytes) else { return };
        let start = schema.column("start_us").map(|column| row.value(column));
        let (Some(user), Some(Value::Integer(start))) = (place(&row, schema), start) else { return };
        let Some(start) = EventTime::from_micros(*start) else { return };
        let closings = Closings { user, start, rows: Vec::new() };
        let key = object(&row, schema, &schema.key);
        self.closings.entry(key).or_insert(closings).rows.push((bytes.to_vec(), diff));
    }
}

/// Returns whose row it is: of a user, or of what else an activity is of. All of those are at one worker.
fn place(row: &Row<'_>, schema: &Schema) -> Option<UserKey> {
    let column = schema.column("user").or_else(|| schema.column("key"))?;
    row.value(column).text().map(|text| UserKey::of(&text))
}

/// The rows of one key that go and that come in a tick.
#[derive(Default)]
struct Change {
    gone: Option<Vec<u8>>,
    come: Option<Vec<u8>>,
}

impl Change {
    fn of(mut rows: Vec<(Vec<u8>, i64)>) -> Change {
        if consolidate(&mut rows).is_none() {
            return Change::default();
        }
        let (gone, come): (Vec<_>, Vec<_>) =
            rows.into_iter().filter(|(_, diff)| *diff != 0).partition(|(_, diff)| *diff < 0);
        let first = |rows: Vec<(Vec<u8>, i64)>| rows.into_iter().next().map(|(row, _)| row);
        Change { gone: first(gone), come: first(come) }
    }

    /// Returns whether no row of the key is there any more.
    fn leaves(&self) -> bool {
        self.gone.is_some() && self.come.is_none()
    }

    /// Returns the row at which the key makes an edge.
    fn edge(self, edge: Edge) -> Option<Vec<u8>> {
        let Change { gone, come } = self;
        match edge {
            Edge::Enter if gone.is_none() => come,
            Edge::Leave if come.is_none() => gone,
            Edge::Change if gone.is_some() => come,
            Edge::Enter | Edge::Leave | Edge::Change => None,
        }
    }
}
