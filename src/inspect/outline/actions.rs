//! Actions in an outline.

use super::render::{section, table};
use crate::plan::{ActionPlan, Looked, On, Plan, Timing};
use crate::text::{Text, span};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActionOutline {
    pub name: String,
    pub on: &'static str,
    /// Of views.
    pub edge: Option<&'static str>,
    pub when: Option<String>,
    /// Collections whose rows it looks up as of the tick.
    pub looks_up: Vec<String>,
    /// Between two batches; `None`: decisions are handed over at once.
    pub every_s: Option<f64>,
    #[serde(rename = "do")]
    pub act: &'static str,
    pub sink: Option<String>,
    pub max_age_s: Option<f64>,
    /// Of events.
    pub replay: Option<&'static str>,
}

impl ActionOutline {
    pub(super) fn of(plan: &Plan, action: &ActionPlan) -> ActionOutline {
        let edge = match &action.on {
            On::Rows { collection, edge, .. } if collection.is_view() => Some(edge.name()),
            On::Rows { .. } | On::Events { .. } => None,
        };
        let states = action.looks_up.states.iter();
        let states = states.map(|state| plan.states[usize::from(*state)].schema.collection_name());
        let tables = action.looks_up.columns.iter().filter_map(|looked| match looked {
            Looked::Table(table, _) => Some(*table),
            Looked::State(..) => None,
        });
        let tables: BTreeSet<usize> = tables.collect();
        let tables = tables.into_iter().map(|table| format!("the table {}", plan.tables[table].name));
        ActionOutline {
            name: action.name.clone(),
            on: action.on.name(),
            edge,
            when: action.when.clone(),
            looks_up: states.chain(tables).collect(),
            every_s: match action.timing {
                Timing::Now => None,
                Timing::Every(every) => Some(every as f64 / 1e6),
            },
            act: action.act.name(),
            sink: action.sink.clone(),
            max_age_s: action.max_age.map(|micros| micros as f64 / 1e6),
            replay: action.is_on_events().then(|| action.replay.name()),
        }
    }

    pub(super) fn write(&self, text: &mut Text) -> fmt::Result {
        section(text, &format!("action {}", self.name), "of a run; a replay has none of them")?;
        let on = match self.edge {
            Some(edge) => format!("{}: rows that {edge}", self.on),
            None => format!("{}: each, once", self.on),
        };
        let mut rows = vec![("on", on)];
        rows.extend(self.when.iter().map(|when| ("when", when.clone())));
        if !self.looks_up.is_empty() {
            rows.push(("looks up", format!("{}, as of the tick", self.looks_up.join(", "))));
        }
        rows.push((
            "does",
            match &self.sink {
                Some(sink) => format!("{}, by the sink {sink}", self.act),
                None => self.act.to_owned(),
            },
        ));
        rows.extend(self.every_s.map(|every| ("every", span(every))));
        rows.extend(self.max_age_s.map(|age| ("max age", span(age))));
        rows.extend(self.replay.map(|replay| ("history", replay.to_owned())));
        table(text, &rows)
    }
}
