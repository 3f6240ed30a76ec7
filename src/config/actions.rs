//! `[[action]]`: what is decided on events and on changes of collections, and what follows.

mod look_ups;
mod loops;

use look_ups::{Terms, terms};
pub(super) use loops::check as check_loops;

use super::error::{Problems, choose, one_of};
use super::events::duration;
use super::fields::Fields;
use super::rules::{Tests, WithClass};
use super::typed::{Action, Sink};
use crate::collections::filter::{Columns, Filter};
use crate::collections::predicate::{Names, Predicate};
use crate::collections::{self, Collection, Held, Schemas};
use crate::observe::actions::{Objective, Origin};
use crate::plan::{ActionPlan, Do, EVENTS, Edge, LooksUp, On, Replay, StatePlan, TablePlan, Timing};
use crate::text::units;
use headwater_decode::spec::StateWhen;
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};
use toml::Spanned;

const NAME_CHARS: usize = 64;
const DO_HELP: &str = "write do = \"notify\", \"route\" or \"count\"";
/// Microseconds between two batches. The output log keeps decisions for 24 hours, if nothing else is said.
const EVERY: RangeInclusive<i64> = 1_000_000..=12 * 3_600_000_000;

/// What actions may name.
pub(super) struct Known<'k> {
    pub states: &'k [StatePlan],
    pub tables: &'k [TablePlan],
    pub schemas: &'k Schemas,
    pub sinks: &'k [Spanned<Sink>],
}

pub(super) fn check(
    text: &str,
    typed: &[Spanned<Action>],
    known: &Known<'_>,
    fields: &mut Fields,
    tests: &mut Tests,
    problems: &mut Problems,
) -> Vec<ActionPlan> {
    let mut names = HashSet::new();
    let mut each = Checking { text, known, fields, tests, problems };
    let mut plans: Vec<ActionPlan> = Vec::new();
    for table in typed {
        let Some(plan) = each.action(table, &mut names) else { continue };
        let other = plans.iter().find(|other| other.sink.is_some() && other.sink == plan.sink);
        if let (Some(other), Some(sink)) = (other.filter(|other| other.timing != plan.timing), &table.get_ref().sink) {
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
        let (on, looks_up) = self.on(table, edge)?;
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
        if act.get_ref() == "gate" {
            let help =
                "write do = \"route\" with a condition on state: an event that does not fit it is not handed over";
            self.problems.push(act.span(), "an action that holds events back is not in this version", help);
            return None;
        }
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

    fn timing(&mut self, timing: Option<&Spanned<String>>) -> Timing {
        let Some(typed) = timing else { return Timing::Now };
        let text = typed.get_ref().as_str();
        let (message, help) = match text.split_once(' ') {
            _ if text == "now" => return Timing::Now,
            Some(("every", every)) => match units::duration(every.trim()) {
                Ok(every) if EVERY.contains(&every) => return Timing::Every(every),
                Ok(_) => (
                    format!("`{every}` between two batches"),
                    "write every 1s to every 12h: the output log keeps decisions for a time",
                ),
                Err(wrong) => (wrong, units::DURATION_HELP),
            },
            _ if text == "closed" => (
                "`closed` is no timing of this version".to_owned(),
                "write on = \"closings\": its rows are the sessions whose gap has passed",
            ),
            _ => (format!("`{text}` is no timing of this version"), "write timing = \"now\", or \"every 1h\""),
        };
        self.problems.push(typed.span(), message, help);
        Timing::Now
    }

    fn objective(&mut self, typed: Option<&Spanned<String>>, timing: Timing) -> Option<Objective> {
        const HELP: &str = "write objective = \"250ms from arrival\", or \"2s from event\"";
        let typed = typed?;
        let text = typed.get_ref();
        if timing != Timing::Now {
            let help = "leave `objective` out: `timing` says when decisions are handed over";
            self.problems.push(typed.span(), "an action that hands over in batches has no objective", help);
            return None;
        }
        let froms = [("arrival", Origin::Arrival), ("event", Origin::Event)];
        let parts = text.split_once(" from ").and_then(|(within, from)| {
            let from = froms.iter().find(|(name, _)| *name == from.trim()).map(|(_, from)| *from)?;
            Some((within.trim(), from))
        });
        let Some((within, from)) = parts else {
            self.problems.push(typed.span(), format!("`{text}` is no objective"), HELP);
            return None;
        };
        match units::duration(within) {
            Ok(micros) => Some(Objective { within_ms: micros.div_euclid(1000), from }),
            Err(wrong) => {
                self.problems.push(typed.span(), wrong, HELP);
                None
            }
        }
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
                let terms = self.terms(when.span(), &when.get_ref().0, &mut Columns(schema), user)?;
                Some((when, terms))
            }
            None => None,
        };
        let (filter, looks_up) = match when {
            Some((when, Terms { own, looks_up })) => {
                if let Some(state) =
                    looks_up.states.iter().find(|state| self.known.states[usize::from(**state)].per.is_some())
                {
                    let schema = &self.known.states[usize::from(*state)].schema;
                    let message = format!(
                        "`{}` is per `{}`, and a row of `{}` is of a user",
                        schema.collection_name(),
                        schema.key,
                        collection.name()
                    );
                    self.problems.push(
                        when.span(),
                        message,
                        "ask for a state with per = \"user\", or write on = \"events\"",
                    );
                }
                (own, looks_up)
            }
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
        let (own, mut looks_up) = {
            let Checking { text: file, known, fields, problems, .. } = self;
            let mut names = WithClass(fields);
            let Terms { own, looks_up } = terms(file, known, span.clone(), &text, &mut names, (true, true), problems)?;
            (own, looks_up)
        };
        let of_states = |state: &u16| self.known.states[usize::from(*state)].per;
        let mut entities = looks_up.states.iter().map(of_states);
        looks_up.entity = entities.next().flatten();
        if looks_up.states.iter().map(of_states).any(|per| per != looks_up.entity) {
            let help = "make an action for each, or keep both states per the same field";
            self.problems.push(span, "the condition asks for states of different entities", help);
        }
        let when = own.map(|own: Predicate<usize>| {
            let (conditions, classes) = self.tests.of_state(&own);
            StateWhen { conditions, classes }
        });
        Some((On::Events { when }, looks_up))
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
    let of_sink = actions.iter().filter(|action| action.sink.as_deref() == Some(sink));
    let names: Vec<String> = of_sink.map(|action| format!("'{}'", action.name)).collect();
    if names.is_empty() {
        return None;
    }
    let fired = collections::actions::Verdict::Fired.name();
    let text = format!("action in ({}) and decision = '{fired}'", names.join(", "));
    let filter = Filter::parse(&text, schemas.of(Collection::ACTIONS)).ok()?;
    Some((text, filter))
}
