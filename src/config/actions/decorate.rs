//! `[[decorate]]`: what the events that actions decide on show of states and tables, as of the tick.

use super::super::error::{Problems, choose};
use super::super::typed::{Decorate, OneOrMany};
use super::look_ups::find;
use super::{Action, Checking, Known};
use crate::collections::Collection;
use crate::plan::{EVENTS, Looked, LooksUp};
use toml::Spanned;

const WITH: &str = "write such as with = [\"state.shopper.score\", \"plans.plan\"]";
const TO: &str = "write to = \"events\"";

/// Returns the columns that are added to events, under their names.
pub(super) fn check(typed: &[Spanned<Decorate>], known: &Known<'_>, problems: &mut Problems) -> LooksUp {
    let mut added = LooksUp::default();
    for table in typed {
        let of = table.get_ref();
        match &of.to {
            None => problems.push(table.span(), "a [[decorate]] without `to`", TO),
            Some(to) if to.get_ref() == EVENTS => {}
            Some(to) if known.schemas.named(to.get_ref()).is_some() => {
                let message = format!("rows of `{}` are not decorated", to.get_ref());
                let help = "write to = \"events\". A row of a view changes with its own events alone: ask for the state beside it, by its user";
                problems.push(to.span(), message, help);
            }
            Some(to) => {
                let names: Vec<&str> = [EVENTS].into_iter().chain(Collection::ALL.map(Collection::name)).collect();
                let message = format!("unknown collection `{}`", to.get_ref());
                problems.push(to.span(), message, choose(to.get_ref(), &names, TO));
            }
        }
        let names = match of.with.as_ref().map(|with| (with.get_ref(), with.span())) {
            None => {
                problems.push(table.span(), "a [[decorate]] without `with`", WITH);
                continue;
            }
            Some((OneOrMany::One(name), span)) => vec![(name, span)],
            Some((OneOrMany::Many(names), _)) => names.iter().map(|name| (name.get_ref(), name.span())).collect(),
        };
        for (name, span) in names {
            let column = match find(name, known, &mut added) {
                Ok(column) => column,
                Err(message) => {
                    problems.push(span, message, WITH);
                    continue;
                }
            };
            if added.shown.iter().any(|(known, _)| known == name) {
                problems.push(span, format!("`{name}` is added twice"), "name it once");
                continue;
            }
            let of_field = match added.columns[column] {
                Looked::State(place, _) => {
                    Some(&known.states[usize::from(added.states[place])]).filter(|of| of.per.is_some())
                }
                Looked::Table(..) => None,
            };
            if let Some(state) = of_field {
                let (state, key) = (state.schema.collection_name(), &state.schema.key);
                let message = format!("`{state}` is per `{key}`, and events are decorated by their user");
                problems.push(span, message, "name a state with per = \"user\", or a table, which may be per a field");
            }
            added.shown.push((name.clone(), column));
        }
    }
    added
}

impl Checking<'_, '_> {
    /// Adds what decorates events to what an action on events looks up.
    pub(super) fn decorate(&mut self, table: &Spanned<Action>, looks_up: &mut LooksUp) {
        let added = &self.decorations;
        let per = |state: &u16| self.known.states[usize::from(*state)].per;
        if let Some(state) =
            looks_up.states.iter().find(|state| per(state).is_some()).filter(|_| !added.states.is_empty())
        {
            let schema = &self.known.states[usize::from(*state)].schema;
            let (state, key) = (schema.collection_name(), &schema.key);
            let message = format!("`{state}` is per `{key}`, and [[decorate]] asks for states of users");
            let typed = table.get_ref();
            let span = typed.until.as_ref().or(typed.when.as_ref()).map_or(table.span(), Spanned::span);
            self.problems.push(span, message, "leave the states out of [[decorate]], or ask for a state of users here");
            return;
        }
        for (name, column) in &added.shown {
            let looked = match added.columns[*column] {
                Looked::Table(table, column) => Looked::Table(table, column),
                Looked::State(place, column) => {
                    let state = added.states[place];
                    let place = looks_up.states.iter().position(|known| *known == state).unwrap_or_else(|| {
                        looks_up.states.push(state);
                        looks_up.states.len() - 1
                    });
                    Looked::State(place, column)
                }
            };
            let column = super::look_ups::place_of(looked, &mut looks_up.columns);
            looks_up.shown.push((name.clone(), column));
        }
    }
}
