//! Actions in an outline.

use super::render::{section, table};
use crate::plan::{ActionPlan, GatePlan, Looked, On, Plan, Timing};
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
    /// When it does not decide at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decides: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateOutline>,
    /// What decorates its events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// A decision whose cause is gone is taken back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compensate: bool,
}

/// What holds causes back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateOutline {
    pub until: String,
    pub deadline_s: f64,
    pub otherwise: &'static str,
    pub limit: u32,
}

impl GateOutline {
    fn of(gate: &GatePlan) -> GateOutline {
        let GatePlan { until, filter: _, deadline, otherwise, limit } = gate;
        let deadline_s = *deadline as f64 / 1e6;
        GateOutline { until: until.clone(), deadline_s, otherwise: otherwise.name(), limit: *limit }
    }
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
                Timing::Every(every) => Some(every as f64 / 1e6),
                Timing::Now | Timing::Settled(_) | Timing::Closed => None,
            },
            decides: match action.timing {
                Timing::Now | Timing::Every(_) => None,
                Timing::Settled(after) => Some(format!("when a row has not changed for {}", span(after as f64 / 1e6))),
                Timing::Closed => Some("when a session is closed".to_owned()),
            },
            gate: action.gate.as_ref().map(GateOutline::of),
            with: action.looks_up.shown.iter().map(|(name, _)| name.clone()).collect(),
            compensate: action.compensate,
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
        rows.extend(self.decides.iter().map(|when| ("decides", when.clone())));
        if let Some(GateOutline { until, deadline_s, otherwise, limit }) = &self.gate {
            rows.push(("holds until", until.clone()));
            rows.push(("at most", format!("{}, then {otherwise}; {limit} of one entity", span(*deadline_s))));
        }
        if !self.with.is_empty() {
            rows.push(("adds", self.with.join(", ")));
        }
        if self.compensate {
            rows.push(("takes back", "decisions whose cause is gone".to_owned()));
        }
        rows.extend(self.every_s.map(|every| ("every", span(every))));
        rows.extend(self.max_age_s.map(|age| ("max age", span(age))));
        rows.extend(self.replay.map(|replay| ("history", replay.to_owned())));
        table(text, &rows)
    }
}
