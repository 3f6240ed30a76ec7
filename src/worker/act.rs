//! Rows and calls of a tick -> decisions of actions, as rows of `actions`.
//!
//! ```text
//! changed rows ── own part of a condition ──▶ edges by key ─┐
//!                                                           ├─ looked up as of the tick? ──▶ decision
//! calls of events, with what they look up ──────────────────┘
//! ```
//! A decision is a function of the tick: of its changes, its clock, and the states as of it. All rows of a key are at one
//! worker, and so is the state of their user. So each decision is made once, whatever the number of workers.

use super::Start;
use crate::collections::actions::{self, Decision, Verdict};
use crate::collections::{self, Collection, Row, Schema, Schemas, Value};
use crate::error::Error;
use crate::fingerprint::{Canonical, hex};
use crate::plan::{ActionBegins, ActionPlan, Do, EVENTS, Edge, Looked, On, Plan, Replay, Timing};
use crate::queue::reference::{Cell, Tables};
use crate::queue::sequencer::Bound;
use dataflows::engine::Engine;
use dataflows::look_up::{Answered, Found};
use dataflows::record::Cause;
use dataflows::{EventTime, Tick, UserKey};
use headwater_log::output::consolidate;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One worker's way of deciding.
pub(super) struct Act {
    schemas: Schemas,
    /// By index: the actions on rows of a collection.
    on_rows: Vec<(Collection, usize)>,
}

/// The rows of one tick that fit the own part of a condition, by action and key, each as often as it comes.
pub(super) struct Edges<'a> {
    act: &'a Act,
    plan: Option<&'a Arc<Plan>>,
    rows: BTreeMap<(usize, Vec<u8>), Vec<(Vec<u8>, i64)>>,
    /// Rows that are there without having changed are no edges.
    pub still: bool,
}

impl Act {
    pub fn new(start: &Start) -> Act {
        let plan = &start.plan;
        let of_rows = |(index, action): (usize, &ActionPlan)| match action.on {
            On::Rows { collection, .. } => Some((collection, index)),
            On::Events { .. } => None,
        };
        Act {
            schemas: start.latest().schemas(),
            on_rows: plan.actions.iter().enumerate().filter_map(of_rows).collect(),
        }
    }

    /// Begins a tick, at which `plan` is in force.
    pub fn tick<'a>(&'a self, plan: Option<&'a Arc<Plan>>) -> Edges<'a> {
        Edges { act: self, plan, rows: BTreeMap::new(), still: false }
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
    }

    /// Decides, and gives each decision to `add` as a row of `actions`. `calls` are those of the tick.
    pub fn decide(
        self,
        engine: &mut Engine,
        (bound, tables): (&Bound, &Tables),
        calls: Vec<Answered>,
        add: &mut dyn FnMut(Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Edges { act, plan, rows, .. } = self;
        let Some(plan) = plan else { return Ok(()) };
        let at = At { plan, tables, now: micros(bound.now_ms) };
        for ((index, key), rows) in rows {
            let action = &plan.actions[index];
            let On::Rows { collection, edge, .. } = action.on else { continue };
            let Some(bytes) = edge_of(edge, rows) else { continue };
            let Some(row) = collection.decode(&bytes) else { continue };
            let schema = act.schemas.of(collection);
            let value = |name: &str| schema.column(name).map(|column| row.value(column));
            let user = value("user").and_then(Value::text);
            let entity = user.as_deref().map(UserKey::of);
            let states = action.looks_up.states.iter();
            let look = |state: &u16| engine.views().entity(usize::from(*state), entity?, bound.tick);
            let found: Found = states.map(look).collect();
            if !at.holds(action, user.as_deref(), &[], &found) {
                continue;
            }
            let time = TIMES.iter().find_map(|name| value(name)).and_then(|time| match time {
                Value::Integer(micros) => EventTime::from_micros(*micros),
                _ => None,
            });
            let id = Id::Row(&key, bound.tick);
            let cause = object(&row, schema, &(0..schema.columns.len()).collect::<Vec<_>>());
            let cause = String::from_utf8_lossy(&cause);
            let seen = Seen { on: collection.name(), user: user.as_deref(), cause: &cause, time, received: None };
            at.decision(action, id, &seen).map_or(Ok(()), &mut *add)?;
        }
        for Answered { call, found } in calls {
            let (action, cause) = (&plan.actions[usize::from(call.action)], &*call.cause);
            if !at.holds(action, cause.user.as_deref(), &cause.values, &found) {
                continue;
            }
            let id = match &cause.id {
                Some(id) => Id::Event(id.bytes(), cause.time),
                None => Id::Place(cause.position.part, cause.position.offset),
            };
            let shown = event(plan, cause);
            let (time, received) = (cause.time, cause.received);
            let seen = Seen { on: EVENTS, user: cause.user.as_deref(), cause: &shown, time, received };
            at.decision(action, id, &seen).map_or(Ok(()), &mut *add)?;
        }
        Ok(())
    }
}

/// The columns that say when what a row is about happened: the first that a collection has counts.
const TIMES: [&str; 4] = ["closed_us", "end_us", "last_seen_us", "time_us"];

/// What makes the key of a decision.
enum Id<'i> {
    /// An event whose duplicates are recognised, and its time: another event with this id may come much later.
    Event([u8; 16], Option<EventTime>),
    /// The place of a record in the queue.
    Place(u32, u64),
    /// The key of a row, and the tick of its change: a row may enter again later.
    Row(&'i [u8], Tick),
}

impl Id<'_> {
    /// Returns the key: 128 bits, so that no two decisions have the same by chance.
    fn key(&self, action: &str) -> String {
        let mut to = Canonical::new("headwater decision v1");
        to.text(action);
        match self {
            Id::Event(id, time) => {
                to.number(0).list(id, |to, byte| _ = to.number(u64::from(*byte)));
                to.option(*time, |to, time| _ = to.signed(time.micros()));
            }
            Id::Place(part, offset) => _ = to.number(1).number(u64::from(*part)).number(*offset),
            Id::Row(key, tick) => _ = to.number(2).list(key, |to, byte| _ = to.number(u64::from(*byte))).number(*tick),
        }
        hex(&to.finish()[..16])
    }
}

/// What a decision shows of its cause.
struct Seen<'s> {
    on: &'s str,
    user: Option<&'s str>,
    cause: &'s str,
    time: Option<EventTime>,
    received: Option<EventTime>,
}

/// A tick, at which actions decide.
struct At<'a> {
    plan: &'a Plan,
    tables: &'a Tables,
    now: EventTime,
}

impl At<'_> {
    /// Returns whether the part of a condition holds that asks for what is looked up. `user` names the entities, if they are
    /// users: no condition asks for the name of another entity. `shown`: the values of an event that decisions show.
    fn holds(&self, action: &ActionPlan, user: Option<&str>, shown: &[Option<Arc<str>>], found: &Found) -> bool {
        let Some(filter) = &action.looks_up.filter else { return true };
        let rows = action.looks_up.states.iter().zip(found).map(|(state, entity)| {
            let state = &self.plan.states[usize::from(*state)];
            let since = state.partial_since().map(micros);
            let encode = |values: &[dataflows::state::Value<'_>]| {
                collections::state::encode(user.unwrap_or_default(), values, since)
            };
            let bytes = entity.as_ref().map(|entity| entity.read(&state.definition, self.now, encode));
            (state.schema.collection(), bytes.unwrap_or_default())
        });
        let rows: Vec<_> = rows.collect();
        let rows: Vec<Option<Row<'_>>> = rows.iter().map(|(of, bytes)| of.decode(bytes)).collect();
        let value = |looked: &Looked| match *looked {
            Looked::State(state, column) => rows[state].as_ref().map_or(Value::Null, |row| row.value(column).clone()),
            Looked::Table(table, column) => match self.cell(table, column, user, shown) {
                Some(Cell::Text(text)) => Value::Text(text),
                Some(Cell::Number(number)) => Value::Decimal(*number),
                None => Value::Null,
            },
        };
        filter.matches(&Row::new(action.looks_up.columns.iter().map(value)))
    }

    /// Returns the value of a table in the row of the user, or of the value that an event has of a field.
    fn cell(&self, table: usize, column: usize, user: Option<&str>, shown: &[Option<Arc<str>>]) -> Option<&Cell> {
        let plan = &self.plan.tables[table];
        let key = match plan.per {
            None => user?,
            Some(field) => shown.get(self.plan.shown.iter().position(|one| *one == field)?)?.as_deref()?,
        };
        self.tables.get(&plan.name)?.get(key, column)
    }

    /// Returns the row of a decision; `None`: the cause is history that the action leaves out.
    fn decision(&self, action: &ActionPlan, id: Id<'_>, seen: &Seen<'_>) -> Option<Vec<u8>> {
        let Seen { on, user, cause, time, received } = *seen;
        let verdict = self.verdict(action, time, received)?;
        let key = id.key(&action.name);
        Some(actions::encode(&Decision {
            action: &action.name,
            key: &key,
            verdict: verdict.name(),
            act: action.act.name(),
            on,
            user,
            cause,
            decided: self.now,
            time,
            received,
            due: due(action.timing, self.now),
        }))
    }

    fn verdict(&self, action: &ActionPlan, time: Option<EventTime>, received: Option<EventTime>) -> Option<Verdict> {
        let since = match action.begins {
            Some(ActionBegins::Since(since)) => since.map(micros),
            Some(ActionBegins::Later) | None => return None,
        };
        // When the events of a backfill were received is not known. A change of a row is never history.
        let is_before = |received| since.is_some_and(|since| received < since);
        let is_history = matches!(action.on, On::Events { .. }) && received.is_none_or(is_before);
        let age = time.map(|time| self.now.micros().saturating_sub(time.micros()));
        let is_old = action.max_age.zip(age).is_some_and(|(most, age)| age > most);
        match (is_history, action.replay) {
            (true, Replay::Skip) => None,
            _ if is_old => Some(Verdict::TooOld),
            (true, Replay::Shadow) => Some(Verdict::WouldHaveFired),
            _ if action.act == Do::Count => Some(Verdict::Counted),
            _ => Some(Verdict::Fired),
        }
    }
}

/// Returns when a decision of that time is handed over; `None`: at once.
fn due(timing: Timing, decided: EventTime) -> Option<EventTime> {
    match timing {
        Timing::Now => None,
        Timing::Every(every) => EventTime::from_micros((decided.micros().div_euclid(every) + 1).saturating_mul(every)),
    }
}

/// Returns the row at which a view's key makes an edge: of the rows that fit, those that go and those that come.
fn edge_of(edge: Edge, mut rows: Vec<(Vec<u8>, i64)>) -> Option<Vec<u8>> {
    consolidate(&mut rows)?;
    let (gone, come): (Vec<_>, Vec<_>) =
        rows.into_iter().filter(|(_, diff)| *diff != 0).partition(|(_, diff)| *diff < 0);
    let first = |rows: Vec<(Vec<u8>, i64)>| rows.into_iter().next().map(|(row, _)| row);
    match edge {
        Edge::Enter if gone.is_empty() => first(come),
        Edge::Leave if come.is_empty() => first(gone),
        Edge::Change if !gone.is_empty() => first(come),
        Edge::Enter | Edge::Leave | Edge::Change => None,
    }
}

/// Returns columns of a row as a JSON object.
fn object(row: &Row<'_>, schema: &Schema, columns: &[usize]) -> Vec<u8> {
    let mut json = Vec::new();
    row.json(schema, columns.iter().copied(), &mut json);
    json
}

/// Returns an event as a JSON object: what every event has, and the fields of the configuration.
fn event(plan: &Plan, cause: &Cause) -> String {
    let text = |text: &Option<Arc<str>>| serde_json::Value::from(text.as_deref());
    let mut object = serde_json::Map::new();
    object.insert("user".into(), text(&cause.user));
    object.insert("time".into(), cause.time.map(crate::text::rfc3339).into());
    object.insert("class".into(), serde_json::Value::from(&*cause.class));
    object.insert("type".into(), text(&cause.kind));
    let fields = plan.shown.iter().zip(&cause.values);
    let fields: serde_json::Map<_, _> =
        fields.map(|(field, value)| (plan.fields[*field].name.clone(), text(value))).collect();
    object.insert("fields".into(), fields.into());
    serde_json::Value::from(object).to_string()
}

fn micros(ms: i64) -> EventTime {
    EventTime::from_micros(ms.saturating_mul(1000)).unwrap_or(EventTime::MIN)
}
