//! `[[state]]`: what is kept of an entity, as columns.

use super::error::{Problems, choose};
use super::events::duration;
use super::expression;
use super::fields::Fields;
use super::rules::{Tests, WithClass};
use super::typed::{self, State, StateColumn, When};
use crate::collections::state::{PARTIAL, StateColumn as Configured, StateKind, StateSchema};
use crate::plan::StatePlan;
use dataflows::rules::Conditions;
use dataflows::state::{Aggregate, Definition, Fold, Read, Window};
use headwater_decode::spec::{StateInput, StateWhen, Take};
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use toml::Spanned;

const KINDS: &str = "write one of count = true, sum, first, last, min, max, distinct, top or decay = \"FIELD\"";
const PER: &str = "write \"user\", or the name of a field of [fields]";
/// Aggregates of a state: a bit of a word for each.
const MOST: usize = 64;
const NAME_CHARS: usize = 64;
/// Different values that a hop keeps, if it is not said.
const CAP: u32 = 1000;
const CAPS: RangeInclusive<i64> = 1..=100_000;
const K: u32 = 10;
const SECOND: i64 = 1_000_000;

/// Why a state has no changes to be followed.
pub(super) const DECAYS: &str = "a state with a column of `decay` changes all the time, so it cannot be followed";
pub(super) const DECAYS_HELP: &str = "read its rows, or move that column to a state of its own";

pub(super) fn check(
    text: &str,
    states: &[Spanned<State>],
    fields: &mut Fields,
    tests: &mut Tests,
    problems: &mut Problems,
) -> Vec<StatePlan> {
    let mut names = HashSet::new();
    let mut plans = Vec::new();
    for state in states {
        let name = name(state, &mut names, problems);
        let typed = state.get_ref();
        only_events(typed.over.as_ref(), problems);
        let per = per(state, fields, problems);
        if typed.columns.is_empty() {
            problems.push(
                state.span(),
                format!("the state `{name}` has no columns"),
                "add such as columns.events = { count = true }",
            );
        }
        let mut all = Columns { text, fields, tests, problems, inputs: Vec::new(), definition: Definition::default() };
        let key = per.map_or_else(|| "user".to_owned(), |field| all.fields.name(field).to_owned());
        let mut taken: HashSet<String> = [key.to_lowercase(), PARTIAL.to_owned()].into();
        let mut columns = Vec::new();
        for (name, column) in typed::in_order(&typed.columns) {
            if name.get_ref().is_empty() {
                all.problems.push(name.span(), "a column without a name", "give it a name");
            }
            let Some(kind) = all.column(column) else { continue };
            let configured = Configured { name: name.get_ref().clone(), kind };
            for column in configured.names() {
                if !taken.insert(column.to_lowercase()) {
                    let message = format!("two columns of the state would have the name `{column}`");
                    all.problems.push(name.span(), message, "give the column another name");
                }
            }
            columns.push(configured);
        }
        let Columns { inputs, definition, .. } = all;
        if inputs.len() > MOST {
            let message = format!("the state `{name}` keeps {} aggregates, and at most {MOST} fit", inputs.len());
            problems.push(state.span(), message, "make two states of it");
        }
        let schema = StateSchema { name, key, columns };
        let changes = typed.changes.as_ref().filter(|changes| *changes.get_ref());
        let plan = StatePlan {
            schema,
            per,
            inputs,
            definition: Arc::new(definition),
            changes: changes.is_some(),
            begins: None,
        };
        if let Some(changes) = changes.filter(|_| plan.decays()) {
            problems.push(changes.span(), DECAYS, DECAYS_HELP);
        }
        plans.push(plan);
    }
    plans
}

fn name(state: &Spanned<State>, names: &mut HashSet<String>, problems: &mut Problems) -> String {
    let Some(typed) = &state.get_ref().name else {
        problems.push(state.span(), "a [[state]] without `name`", "add name = \"...\": its rows are in state.NAME");
        return String::new();
    };
    let name = typed.get_ref();
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if name.is_empty() || name.len() > NAME_CHARS || !name.chars().all(fits) {
        let help = format!("write at most {NAME_CHARS} letters, digits, `-` and `_`: it is the name of a file too");
        problems.push(typed.span(), format!("`{name}` is no name of a state"), help);
    } else if !names.insert(name.to_ascii_lowercase()) {
        problems.push(typed.span(), format!("two states have the name `{name}`"), "give each state a name of its own");
    }
    name.clone()
}

/// Returns the field whose values are the entities; `None`: users are.
fn per(state: &Spanned<State>, fields: &Fields, problems: &mut Problems) -> Option<usize> {
    let Some(per) = &state.get_ref().per else {
        problems.push(state.span(), "a [[state]] without `per`", PER);
        return None;
    };
    let of = per.get_ref();
    match fields.named(of) {
        Some(field) => Some(field),
        None if of == "user" => None,
        None => {
            if ["identity", "session"].contains(&of.as_str()) {
                problems.push(per.span(), format!("a state per {of} is not in this version"), PER);
            } else {
                let names: Vec<&str> = fields.names().chain(["user"]).collect();
                let message = format!("`per` names no field of [fields]: `{of}`");
                problems.push(per.span(), message, choose(of, &names, PER));
            }
            None
        }
    }
}

fn only_events(over: Option<&Spanned<String>>, problems: &mut Problems) {
    if let Some(over) = over.filter(|over| over.get_ref() != "events") {
        let message = match over.get_ref().as_str() {
            "sessions" | "activities" => format!("a state over {} is not in this version", over.get_ref()),
            other => format!("a state over `{other}`"),
        };
        problems.push(over.span(), message, "leave `over` out: columns are over events");
    }
}

/// The columns of one state.
struct Columns<'c> {
    text: &'c str,
    fields: &'c mut Fields,
    tests: &'c mut Tests,
    problems: &'c mut Problems,
    inputs: Vec<StateInput>,
    definition: Definition,
}

impl Columns<'_> {
    /// Adds a column, and returns its kind. Columns of the same values share what is kept.
    fn column(&mut self, typed: &Spanned<StateColumn>) -> Option<StateKind> {
        let column = typed.get_ref();
        only_events(column.over.as_ref(), self.problems);
        let (kind, field) = self.kind(typed)?;
        for (key, span, of) in [
            ("cap", column.cap.as_ref().map(Spanned::span), matches!(kind, StateKind::Distinct | StateKind::Top)),
            ("k", column.k.as_ref().map(Spanned::span), kind == StateKind::Top),
            ("half_life", column.half_life.as_ref().map(Spanned::span), kind == StateKind::Decay),
            ("window", column.window.as_ref().map(Spanned::span), kind != StateKind::Decay),
        ] {
            if let Some(span) = span.filter(|_| !of) {
                self.problems.push(
                    span,
                    format!("a column of `{}` has no `{key}`", kind.name()),
                    format!("leave `{key}` out"),
                );
            }
        }
        let window = column.window.as_ref().and_then(|window| positive(window, self.problems)).map(Window::new);
        let cap = self.within(column.cap.as_ref(), CAP);
        let k = self.within(column.k.as_ref(), K);
        if kind == StateKind::Top && k > cap {
            let message = format!("the {k} most frequent of at most {cap} values");
            self.problems.push(
                column.k.as_ref().map_or(typed.span(), Spanned::span),
                message,
                "`k` must not be greater than `cap`",
            );
        }
        let fold = match kind {
            StateKind::Count => Fold::Count,
            StateKind::Sum => Fold::Sum,
            StateKind::First => Fold::First,
            StateKind::Last => Fold::Last,
            StateKind::Min => Fold::Min,
            StateKind::Max => Fold::Max,
            StateKind::Distinct | StateKind::Top => Fold::Values { cap },
            StateKind::Decay => {
                let Some(half_life) = &column.half_life else {
                    let help = "add such as half_life = \"7d\": after that time a value counts half";
                    self.problems.push(typed.span(), "a column of `decay` without `half_life`", help);
                    return None;
                };
                Fold::Decay { half_life: positive(half_life, self.problems)? }
            }
        };
        let take = match (kind, field) {
            (StateKind::Count, _) | (_, None) => Take::Event,
            (StateKind::Sum | StateKind::Min | StateKind::Max | StateKind::Decay, Some(field)) => Take::Numbers(field),
            (StateKind::First | StateKind::Last, Some(field)) => Take::Text(field),
            (StateKind::Distinct | StateKind::Top, Some(field)) => Take::Texts(field),
        };
        let when = match &column.when {
            Some(when) => Some(self.when(when)?),
            None => None,
        };
        let (input, aggregate) = (StateInput { when, take }, Aggregate { fold, window });
        let known = self
            .inputs
            .iter()
            .zip(&self.definition.aggregates)
            .position(|(one, other)| *one == input && *other == aggregate);
        let index = known.unwrap_or_else(|| {
            self.inputs.push(input);
            self.definition.aggregates.push(aggregate);
            self.inputs.len() - 1
        });
        // One with more aggregates than fit is refused.
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        let read = if kind == StateKind::Top { Read::Top { aggregate: index, k } } else { Read::Whole(index) };
        self.definition.columns.push(read);
        Some(kind)
    }

    /// Returns the kind of a column, and its field.
    fn kind(&mut self, typed: &Spanned<StateColumn>) -> Option<(StateKind, Option<usize>)> {
        let column = typed.get_ref();
        if let Some(step) = &column.step {
            let message = "a column of the step of a sequence is not in this version";
            self.problems.push(step.span(), message, KINDS);
            return None;
        }
        let fields = [
            (StateKind::Sum, &column.sum),
            (StateKind::First, &column.first),
            (StateKind::Last, &column.last),
            (StateKind::Min, &column.min),
            (StateKind::Max, &column.max),
            (StateKind::Distinct, &column.distinct),
            (StateKind::Top, &column.top),
            (StateKind::Decay, &column.decay),
        ];
        let mut found: Vec<(StateKind, Option<&Spanned<String>>, Range<usize>)> = Vec::new();
        found.extend(column.count.as_ref().map(|count| (StateKind::Count, None, count.span())));
        found.extend(
            fields.into_iter().filter_map(|(kind, field)| Some((kind, field.as_ref(), field.as_ref()?.span()))),
        );
        let [(kind, field, span)] = found.as_slice() else {
            match found.get(1) {
                None => self.problems.push(typed.span(), "a column that says nothing to be kept", KINDS),
                Some((kind, _, span)) => {
                    let message = format!("a column is one thing: `{}`, and `{}` too", found[0].0.name(), kind.name());
                    self.problems.push(span.clone(), message, "make two columns of it");
                }
            }
            return None;
        };
        if column.count.as_ref().is_some_and(|count| !count.get_ref()) {
            self.problems.push(
                span.clone(),
                "a count that does not count",
                "write count = true, or leave the column out",
            );
            return None;
        }
        let field = match field {
            Some(field) => Some(self.fields.resolve(field.get_ref(), field.span(), self.problems)?),
            None => None,
        };
        Some((*kind, field))
    }

    fn when(&mut self, when: &Spanned<When>) -> Option<StateWhen> {
        let predicate = match when.get_ref() {
            When::Table(table) => super::rules::of_table(table, self.fields, true, self.problems),
            When::Text(typed) => match crate::collections::predicate::parse(typed, &mut WithClass(self.fields)) {
                Ok(predicate) => predicate,
                Err(error) => {
                    let place = expression::place(self.text, when.span(), &error);
                    self.problems.push(place, error.message, expression::HELP);
                    return None;
                }
            },
        };
        let (conditions, classes): (Conditions, _) = self.tests.of_state(&predicate);
        Some(StateWhen { conditions, classes })
    }

    fn within(&mut self, typed: Option<&Spanned<i64>>, default: u32) -> u32 {
        let typed = typed.and_then(|typed| super::events::within(typed, CAPS, self.problems));
        typed.and_then(|number: usize| u32::try_from(number).ok()).unwrap_or(default)
    }
}

/// Returns a duration of a second or more.
fn positive(typed: &Spanned<typed::Duration>, problems: &mut Problems) -> Option<i64> {
    let micros = duration(typed, problems)?;
    if micros < SECOND {
        problems.push(typed.span(), "less than a second", "write \"1s\" or more");
        return None;
    }
    Some(micros)
}
