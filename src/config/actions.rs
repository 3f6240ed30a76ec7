//! `[[action]]`: what is decided on events and on changes of collections, and what follows.

mod decorate;
mod gate;
mod look_ups;
mod loops;
mod timing;
mod undo;

use look_ups::{Terms, terms};
pub(super) use loops::check as check_loops;

use super::error::{Problems, choose, one_of};
use super::events::duration;
use super::fields::Fields;
use super::rules::{Tests, WithClass};
use super::typed::{Action, Decorate, Sink};
use crate::collections::actions::Verdict;
use crate::collections::filter::{Columns, Filter};
use crate::collections::predicate::{Names, Predicate};
use crate::collections::{Collection, Held, Schemas};
use crate::plan::{
    ActionPlan, Do, EVENTS, Edge, GatePlan, Looked, LooksUp, On, Otherwise, Replay, StatePlan, TablePlan,
};
use headwater_decode::spec::StateWhen;
use std::collections::HashSet;
use std::ops::Range;
use toml::Spanned;

const NAME_CHARS: usize = 64;
const DO_HELP: &str = "write do = \"notify\", \"route\", \"gate\" or \"count\"";

/// What actions may name.
pub(super) struct Known<'k> {
    pub states: &'k [StatePlan],
    pub tables: &'k [TablePlan],
    pub schemas: &'k Schemas,
    pub sinks: &'k [Spanned<Sink>],
}

pub(super) fn check(
    text: &str,
    (typed, decorations): (&[Spanned<Action>], &[Spanned<Decorate>]),
    known: &Known<'_>,
    fields: &mut Fields,
    tests: &mut Tests,
    problems: &mut Problems,
) -> Vec<ActionPlan> {
    let mut names = HashSet::new();
    let decorations = decorate::check(decorations, known, problems);
    let mut each = Checking { text, known, decorations, fields, tests, problems };
    let mut plans: Vec<ActionPlan> = Vec::new();
    for table in typed {
        let Some(plan) = each.action(table, &mut names) else { continue };
        let other = plans.iter().find(|other| other.sink.is_some() && other.sink == plan.sink);
        let other = other.filter(|other| other.batches() != plan.batches());
        if let (Some(other), Some(sink)) = (other, &table.get_ref().sink) {
            let message = format!("`{}` hands over at other times by this sink", other.name);
            each.problems.push(sink.span(), message, "name another [[sink]]: one sink has one timing");
        }
        plans.push(plan);
    }
    plans
}

struct Checking<'c, 'k> {
    text: &'c str,
    known: &'c Known<'k>,
    /// What is added to events.
    decorations: LooksUp,
    fields: &'c mut Fields,
    tests: &'c mut Tests,
    problems: &'c mut Problems,
}

impl Checking<'_, '_> {
    /// `None` only if something was wrong.
    fn action(&mut self, table: &Spanned<Action>, names: &mut HashSet<String>) -> Option<ActionPlan> {
        let typed = table.get_ref();
        let name = self.name(table, names);
        let act = self.act(table);
        let sink = act.and_then(|act| self.sink(table, act));
        let replay = one_of(typed.replay.as_ref(), "replay", &Replay::ALL.map(|one| (one.name(), one)), self.problems);
        let max_age = typed.max_age.as_ref().and_then(|age| duration(age, self.problems));
        let timing = self.timing(typed.timing.as_ref());
        let objective = self.objective(typed.objective.as_ref(), timing);
        let edge = one_of(typed.edge.as_ref(), "edge", &Edge::ALL.map(|one| (one.name(), one)), self.problems);
        let (on, mut looks_up) = self.on(table, edge)?;
        let gate = self.gate(table, act, (&on, timing), &mut looks_up);
        if let On::Events { .. } = on {
            self.decorate(table, &mut looks_up);
        }
        self.entity(table, &on, &mut looks_up);
        self.fits(typed, &on, timing);
        let compensate = self.compensate(typed, &on, timing);
        if let (Some(replay), On::Rows { collection, .. }) = (&typed.replay, &on) {
            let message = format!("an action on `{}` has no `replay`", collection.name());
            let help = "leave `replay` out: a change of a row is never history. Old rows are left out by `max_age`";
            self.problems.push(replay.span(), message, help);
        }
        Some(ActionPlan {
            name,
            on,
            when: typed.when.as_ref().map(|when| when.get_ref().0.clone()),
            looks_up,
            timing,
            act: act?,
            sink,
            max_age,
            objective,
            replay: replay.unwrap_or(Replay::Skip),
            gate,
            compensate,
            begins: None,
        })
    }

    fn name(&mut self, table: &Spanned<Action>, names: &mut HashSet<String>) -> String {
        let Some(typed) = &table.get_ref().name else {
            let help = "add name = \"...\": its decisions are known by it";
            self.problems.push(table.span(), "an [[action]] without `name`", help);
            return String::new();
        };
        let name = typed.get_ref();
        let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        if name.is_empty() || name.len() > NAME_CHARS || !name.chars().all(fits) {
            let help = format!("write at most {NAME_CHARS} letters, digits, `-` and `_`");
            self.problems.push(typed.span(), format!("`{name}` is no name of an action"), help);
        } else if !names.insert(name.to_ascii_lowercase()) {
            let message = format!("two actions have the name `{name}`");
            self.problems.push(typed.span(), message, "give each action a name of its own");
        }
        name.clone()
    }

    fn act(&mut self, table: &Spanned<Action>) -> Option<Do> {
        let Some(act) = &table.get_ref().act else {
            self.problems.push(table.span(), "an [[action]] without `do`", DO_HELP);
            return None;
        };
        one_of(Some(act), "do", &Do::ALL.map(|one| (one.name(), one)), self.problems)
    }

    /// Returns the sink that hands decisions over, if there is one of that name.
    fn sink(&mut self, table: &Spanned<Action>, act: Do) -> Option<String> {
        let Some(sink) = &table.get_ref().sink else {
            if act != Do::Count {
                let message = format!("an [[action]] with do = \"{}\" and without `sink`", act.name());
                let help = "name a [[sink]] without `collection`, such as sink = \"payments\"";
                self.problems.push(table.span(), message, help);
            }
            return None;
        };
        if act == Do::Count {
            let help = "leave `sink` out: its decisions are in the collection `actions`";
            self.problems.push(sink.span(), "an action that counts has no `sink`", help);
            return None;
        }
        let name = sink.get_ref();
        let named = |of: &&Spanned<Sink>| of.get_ref().name.as_ref().is_some_and(|of| of.get_ref() == name);
        match self.known.sinks.iter().find(named) {
            Some(of) if of.get_ref().collection.is_some() => {
                let message = format!("the sink `{name}` hands over the changes of a collection");
                let help = "name a [[sink]] without `collection`: it hands over the decisions of actions";
                self.problems.push(sink.span(), message, help);
            }
            Some(_) => return Some(name.clone()),
            None => {
                let all = self.known.sinks.iter().filter_map(|sink| sink.get_ref().name.as_ref());
                let all: Vec<&str> = all.map(|name| name.get_ref().as_str()).collect();
                let help = match all.is_empty() {
                    true => format!("add a [[sink]] with name = \"{name}\" and without `collection`"),
                    false => choose(name, &all, &format!("the sinks are: `{}`", all.join("`, `"))),
                };
                self.problems.push(sink.span(), format!("there is no sink `{name}`"), help);
            }
        }
        None
    }

    /// Returns what the action decides on, and what it looks up.
    fn on(&mut self, table: &Spanned<Action>, edge: Option<Edge>) -> Option<(On, LooksUp)> {
        let typed = table.get_ref();
        let names: Vec<&str> = [EVENTS].into_iter().chain(Collection::ALL.map(Collection::name)).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| *name != Collection::ACTIONS.name()).collect();
        let help = format!("write on = \"{EVENTS}\", or a collection: `{}`", names[1..].join("`, `"));
        let Some(on) = &typed.on else {
            self.problems.push(table.span(), "an [[action]] without `on`", help);
            return None;
        };
        if on.get_ref() == EVENTS {
            self.no_edge(typed.edge.as_ref(), "an event comes once");
            return self.on_events(table);
        }
        let collection = match self.known.schemas.named(on.get_ref()) {
            Some(collection) if collection == Collection::ACTIONS => {
                self.problems.push(on.span(), "an action on the decisions of actions would call itself", help);
                return None;
            }
            Some(collection) if collection.held() == Held::State => {
                let message = format!("`{}` has no changes: its rows are made when they are read", on.get_ref());
                let help =
                    format!("write on = \"events\" and a condition such as when = '{}.COLUMN < 300'", on.get_ref());
                self.problems.push(on.span(), message, help);
                return None;
            }
            Some(collection) => collection,
            None => {
                let message = format!("unknown collection `{}`", on.get_ref());
                self.problems.push(on.span(), message, choose(on.get_ref(), &names, &help));
                return None;
            }
        };
        if !collection.is_view() {
            self.no_edge(typed.edge.as_ref(), &format!("rows of `{}` only come", collection.name()));
        }
        let schema = self.known.schemas.of(collection);
        let when = match &typed.when {
            Some(when) => {
                let user = schema.column("user").is_some();
                Some(self.terms(when.span(), &when.get_ref().0, &mut Columns(schema), user)?)
            }
            None => None,
        };
        let (filter, looks_up) = match when {
            Some(Terms { own, looks_up }) => (own, looks_up),
            None => (None, LooksUp::default()),
        };
        Some((On::Rows { collection, when: filter, edge: edge.unwrap_or(Edge::Enter) }, looks_up))
    }

    fn no_edge(&mut self, edge: Option<&Spanned<String>>, why: &str) {
        if let Some(edge) = edge {
            self.problems.push(edge.span(), format!("only an action on a view has `edge`: {why}"), "leave `edge` out");
        }
    }

    fn on_events(&mut self, table: &Spanned<Action>) -> Option<(On, LooksUp)> {
        let Some(when) = &table.get_ref().when else { return Some((On::Events { when: None }, LooksUp::default())) };
        let (span, text) = (when.span(), when.get_ref().0.clone());
        let (own, looks_up) = {
            let Checking { text: file, known, fields, problems, .. } = self;
            let mut names = WithClass(fields);
            let Terms { own, looks_up } = terms(file, known, span.clone(), &text, &mut names, (true, true), problems)?;
            (own, looks_up)
        };
        let when = own.map(|own: Predicate<usize>| {
            let (conditions, classes) = self.tests.of_state(&own);
            StateWhen { conditions, classes }
        });
        Some((On::Events { when }, looks_up))
    }

    /// Checks that all states are of the same entities, and says which these are.
    fn entity(&mut self, table: &Spanned<Action>, on: &On, looks_up: &mut LooksUp) {
        let Action { when, until, .. } = table.get_ref();
        let span = until.as_ref().or(when.as_ref()).map_or(table.span(), Spanned::span);
        let states = self.known.states;
        let of_states = |state: &u16| states[usize::from(*state)].per;
        if let On::Rows { collection, .. } = on {
            let of_field = looks_up.states.iter().find(|state| of_states(state).is_some());
            if let Some(schema) = of_field.map(|state| &states[usize::from(*state)].schema) {
                let (state, of) = (schema.collection_name(), collection.name());
                let message = format!("`{state}` is per `{}`, and a row of `{of}` is of a user", schema.key);
                let help = "ask for a state with per = \"user\", or write on = \"events\"";
                self.problems.push(span, message, help);
            }
            return;
        }
        let mut tables = looks_up.columns.iter().filter_map(|looked| match looked {
            Looked::Table(table, _) => Some(self.known.tables[*table].per),
            Looked::State(..) => None,
        });
        let first = looks_up.states.first().map(of_states);
        // What waits does so by the key of its table, if it asks for no state.
        looks_up.entity = first.or_else(|| until.as_ref().and_then(|_| tables.next())).flatten();
        if looks_up.states.iter().map(of_states).any(|per| per != looks_up.entity) {
            let help = "make an action for each, or keep both states per the same field";
            self.problems.push(span, "the condition asks for states of different entities", help);
        }
    }

    fn terms<N: Names>(
        &mut self,
        span: Range<usize>,
        text: &str,
        names: &mut N,
        user: bool,
    ) -> Option<Terms<N::Field>> {
        terms(self.text, self.known, span, text, names, (user, false), self.problems)
    }
}

/// Returns the filter of a sink that hands over the decisions of these actions.
pub(super) fn of_sink(sink: &str, actions: &[ActionPlan], schemas: &Schemas) -> Option<(String, Filter)> {
    let of_sink = || actions.iter().filter(|action| action.sink.as_deref() == Some(sink));
    let names: Vec<String> = of_sink().map(|action| format!("'{}'", action.name)).collect();
    if names.is_empty() {
        return None;
    }
    let mut verdicts = vec![Verdict::Fired];
    let fires_late = |gate: &GatePlan| gate.otherwise == Otherwise::Fire;
    if of_sink().any(|action| action.gate.as_ref().is_some_and(fires_late)) {
        verdicts.push(Verdict::FiredAtDeadline);
    }
    if of_sink().any(|action| action.compensate) {
        verdicts.push(Verdict::Undone);
    }
    let decisions = match &verdicts[..] {
        [one] => format!("= '{}'", one.name()),
        all => format!("in ({})", all.iter().map(|one| format!("'{}'", one.name())).collect::<Vec<_>>().join(", ")),
    };
    let text = format!("action in ({}) and decision {decisions}", names.join(", "));
    let filter = Filter::parse(&text, schemas.of(Collection::ACTIONS)).ok()?;
    Some((text, filter))
}
