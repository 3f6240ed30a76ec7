//! `do = "gate"` of an action: until when a cause is held back, and what happens if that never comes.

use super::super::error::one_of;
use super::super::events::{duration, within};
use super::super::expression;
use super::super::typed::Action;
use super::look_ups::looked_up;
use super::{Checking, Looked, LooksUp};
use crate::collections::Collection;
use crate::collections::filter::Filter;
use crate::collections::state::{StateColumn, StateKind};
use crate::plan::{Do, GatePlan, On, Otherwise, Timing};
use std::ops::{Range, RangeInclusive};
use toml::Spanned;

/// Microseconds.
const DEADLINE: RangeInclusive<i64> = 1_000_000..=30 * 24 * 3_600_000_000;
const LIMIT: RangeInclusive<i64> = 1..=100_000;
const DEFAULT_LIMIT: u32 = 100;
const UNTIL_HELP: &str = "add until = \"...\", such as until = \"state.shopper.score >= 300\"";

impl Checking<'_, '_> {
    /// Returns the gate of an action, whose columns are added to what it looks up.
    pub(super) fn gate(
        &mut self,
        table: &Spanned<Action>,
        act: Option<Do>,
        (on, timing): (&On, Timing),
        looks_up: &mut LooksUp,
    ) -> Option<GatePlan> {
        let typed = table.get_ref();
        if act != Some(Do::Gate) {
            let keys = [
                ("until", typed.until.as_ref().map(Spanned::span)),
                ("deadline", typed.deadline.as_ref().map(Spanned::span)),
                ("otherwise", typed.otherwise.as_ref().map(Spanned::span)),
                ("limit", typed.limit.as_ref().map(Spanned::span)),
            ];
            for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
                let message = format!("`{key}` is of an action that holds back");
                self.problems.push(span, message, format!("write do = \"gate\", or leave `{key}` out"));
            }
            return None;
        }
        if timing != Timing::Now {
            let span = typed.timing.as_ref().map_or(table.span(), Spanned::span);
            let help = "leave `timing` out: `until` and `deadline` say when it is handed over";
            self.problems.push(span, "a gate has no timing of its own", help);
        }
        if let Some(objective) = &typed.objective {
            let help = "leave `objective` out: how long a gate holds is none of its latency";
            self.problems.push(objective.span(), "a gate has no objective", help);
        }
        let deadline = match &typed.deadline {
            None => {
                let help = "add such as deadline = \"10m\": what waits for ever would fill the memory";
                self.problems.push(table.span(), "a gate without `deadline`", help);
                None
            }
            Some(typed) => duration(typed, self.problems).filter(|deadline| {
                let fits = DEADLINE.contains(deadline);
                if !fits {
                    let message = format!("`{}` is no deadline of a gate", typed.get_ref().0);
                    self.problems.push(typed.span(), message, "write 1s to 30d");
                }
                fits
            }),
        };
        let otherwise = &Otherwise::ALL.map(|one| (one.name(), one));
        let otherwise = one_of(typed.otherwise.as_ref(), "otherwise", otherwise, self.problems);
        let limit = typed.limit.as_ref().and_then(|limit| within(limit, LIMIT, self.problems));
        let limit = limit.and_then(|limit| u32::try_from(limit).ok());
        let Some(until) = &typed.until else {
            self.problems.push(table.span(), "a gate without `until`", UNTIL_HELP);
            return None;
        };
        let text = until.get_ref().0.clone();
        let filter = self.until(until.span(), &text, on, looks_up)?;
        Some(GatePlan {
            until: text,
            filter,
            deadline: deadline?,
            otherwise: otherwise.unwrap_or(Otherwise::Drop),
            limit: limit.unwrap_or(DEFAULT_LIMIT),
        })
    }

    /// Returns the filter of a condition on what is looked up alone, whose columns are added to `looks_up`.
    fn until(&mut self, span: Range<usize>, text: &str, on: &On, looks_up: &mut LooksUp) -> Option<Filter> {
        let (user, events) = match on {
            On::Events { .. } => (true, true),
            On::Rows { collection, .. } => (self.has_user(*collection), false),
        };
        let filter = match looked_up(text, self.known, (user, events), looks_up) {
            Ok(filter) => filter,
            Err(error) => {
                let place = expression::place(self.text, span, &error);
                self.problems.push(place, error.message, expression::HELP);
                return None;
            }
        };
        let mut decays = None;
        filter.fields(&mut |field| {
            let crate::collections::filter::Field::Column(column) = field else { return };
            let Looked::State(place, column) = looks_up.columns[*column] else { return };
            let schema = &self.known.states[usize::from(looks_up.states[place])].schema;
            let name = &schema.columns()[column].name;
            let of = |of: &&StateColumn| of.kind == StateKind::Decay && of.names().contains(name);
            if schema.columns.iter().any(|one| of(&one)) {
                decays = Some(format!("`{}.{name}` decays: it changes all the time", schema.collection_name()));
            }
        });
        if let Some(message) = decays {
            let help = "ask for a column that changes with events or at the end of a window, such as a sum";
            self.problems.push(span, message, help);
        }
        Some(filter)
    }

    fn has_user(&self, collection: Collection) -> bool {
        self.known.schemas.of(collection).column("user").is_some()
    }
}
