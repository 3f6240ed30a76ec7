//! What one decision needs: the conditions as of a tick, its key, its verdict and its row.

use crate::collections::actions::{self, Decision, Verdict};
use crate::collections::filter::Filter;
use crate::collections::{self, Row, Schema, Value};
use crate::fingerprint::{Canonical, hex};
use crate::plan::{ActionBegins, ActionPlan, Do, Looked, On, Plan, Replay};
use crate::queue::reference::{Cell, Tables};
use dataflows::look_up::Found;
use dataflows::record::Cause;
use dataflows::{EventTime, Tick};
use std::sync::Arc;

/// The columns that say when what a row is about happened: the first that a collection has counts.
pub(super) const TIMES: [&str; 4] = ["closed_us", "end_us", "last_seen_us", "time_us"];

/// What makes the key of a decision.
pub(super) enum Id<'i> {
    /// An event whose duplicates are recognised, and its time: another event with this id may come much later.
    Event([u8; 16], Option<EventTime>),
    /// The place of a record in the queue.
    Place(u32, u64),
    /// The key of a row, and the tick of its change: a row may enter again later.
    Row(&'i [u8], Tick),
}

impl Id<'_> {
    /// Returns the key: 128 bits, so that no two decisions have the same by chance.
    pub fn key(&self, action: &str) -> [u8; 16] {
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
        *to.finish().first_chunk().expect("a fingerprint has 32 bytes")
    }
}

/// What a decision shows of its cause.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'s> {
    pub user: Option<&'s str>,
    /// As a JSON object.
    pub cause: &'s str,
    pub time: Option<EventTime>,
    pub received: Option<EventTime>,
}

/// A tick, at which actions decide.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub plan: &'a Plan,
    pub tables: &'a Tables,
    pub tick: Tick,
    pub now: EventTime,
}

impl At<'_> {
    /// Returns whether a filter holds that asks for what an action looks up. `user` names the entities, if they are
    /// users: no condition asks for the name of another entity. `shown`: the values of an event that decisions show.
    pub fn holds(
        &self,
        filter: Option<&Filter>,
        action: &ActionPlan,
        (user, shown): (Option<&str>, &[Option<Arc<str>>]),
        found: &Found,
    ) -> bool {
        filter.is_none_or(|filter| self.look(action, (user, shown), found, |row| filter.matches(row)))
    }

    /// Returns what decorates an event, by the names of the configuration; `None`: nothing does.
    pub fn decorations(
        &self,
        action: &ActionPlan,
        cause: &Cause,
        found: &Found,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        let names = &action.looks_up.shown;
        (!names.is_empty()).then(|| {
            self.look(action, (cause.user.as_deref(), &cause.values), found, |row| {
                let value = |column: usize| {
                    let mut json = Vec::new();
                    row.value(column).json(&mut json);
                    serde_json::from_slice(&json).unwrap_or_default()
                };
                names.iter().map(|(name, column)| (name.clone(), value(*column))).collect()
            })
        })
    }

    /// Calls `take` with the columns that an action looks up.
    fn look<R>(
        &self,
        action: &ActionPlan,
        (user, shown): (Option<&str>, &[Option<Arc<str>>]),
        found: &Found,
        take: impl FnOnce(&Row<'_>) -> R,
    ) -> R {
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
        take(&Row::new(action.looks_up.columns.iter().map(value)))
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

    /// Returns the row of a decision.
    pub fn decision(&self, action: &ActionPlan, key: &[u8; 16], verdict: Verdict, seen: &Seen<'_>) -> Vec<u8> {
        let Seen { user, cause, time, received } = *seen;
        let due = action.batches().and_then(|every| multiple_after(every, self.now));
        actions::encode(&Decision {
            action: &action.name,
            key: &hex(key),
            verdict: verdict.name(),
            act: action.act.name(),
            on: action.on.name(),
            user,
            cause,
            decided: self.now,
            time,
            received,
            due,
        })
    }

    /// Returns the values of the fields that the object of an event shows, as [`event`] has made it.
    pub fn shown(&self, cause: &str) -> Vec<Option<Arc<str>>> {
        let cause: serde_json::Value = serde_json::from_str(cause).unwrap_or_default();
        let fields = &cause["fields"];
        self.plan.shown.iter().map(|field| fields[&self.plan.fields[*field].name].as_str().map(Arc::from)).collect()
    }

    /// Returns what is decided on a cause; `None`: it is history that the action leaves out.
    pub fn verdict(
        &self,
        action: &ActionPlan,
        time: Option<EventTime>,
        received: Option<EventTime>,
    ) -> Option<Verdict> {
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

/// Returns the first multiple of `every` microseconds since 1970 that is after a time.
pub(super) fn multiple_after(every: i64, time: EventTime) -> Option<EventTime> {
    EventTime::from_micros((time.micros().div_euclid(every) + 1).saturating_mul(every))
}

/// Returns columns of a row as a JSON object.
pub(super) fn object(row: &Row<'_>, schema: &Schema, columns: &[usize]) -> Vec<u8> {
    let mut json = Vec::new();
    row.json(schema, columns.iter().copied(), &mut json);
    json
}

/// Returns an event as a JSON object: what every event has, and the fields of the configuration.
/// `with`: what decorates it.
pub(super) fn event(plan: &Plan, cause: &Cause, with: Option<serde_json::Map<String, serde_json::Value>>) -> String {
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
    object.extend(with.map(|with| ("with".into(), with.into())));
    serde_json::Value::from(object).to_string()
}

pub(super) fn micros(ms: i64) -> EventTime {
    EventTime::from_micros(ms.saturating_mul(1000)).unwrap_or(EventTime::MIN)
}
