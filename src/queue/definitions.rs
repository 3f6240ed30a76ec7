//! The user's definitions as data of the control partition: the tests that the decoder answers for every event, and the
//! rules that combine the answers. They change at a tick, like any other input, and without a new program.
//!
//! Tests are only ever added. An event that was read before a test existed has no answer to it, and never will. Its
//! other answers keep their places.

mod counts;
mod identity;
mod sequences;

pub use counts::NamedCount;
pub use identity::NamedIdentity;
pub use sequences::NamedSequence;

use crate::fingerprint::{Canonical, hex};
use crate::plan::{
    ActionBegins, ActionPlan, CountBegins, CountPlan, Counted, On, Plan, SequencePlan, StateBegins, StatePlan, shown,
};
use crate::queue::labels::Labels;
use dataflows::learn::MODEL;
use dataflows::rules::{Condition, Conditions, Predicate, Rule, Test};
use dataflows::state::{Aggregate, Fold, Read};
use headwater_decode::path::Path;
use headwater_decode::spec::{FieldPlan, StateWhen};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tests and rules in a record of the control partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Definitions {
    /// All that were ever made, in order.
    pub tests: Vec<NamedTest>,
    /// Their conditions name tests by their place in the list.
    #[serde(with = "written")]
    pub rules: Vec<Rule>,
    /// The model that classes are learned by: [`dataflows::learn::MODEL`] of the program that wrote this. Written only if
    /// there is one, so that others are as earlier releases wrote them.
    #[serde(with = "learned", default, skip_serializing_if = "Option::is_none")]
    pub learn: Option<u32>,
    /// The states for which events count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<NamedState>,
    /// The sequences that are followed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<NamedSequence>,
    /// What is counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<NamedCount>,
    /// Which ids are one person, if that is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<NamedIdentity>,
    /// The actions that decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<NamedAction>,
    /// Classes that people have given to shapes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

/// An action that does not depend on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedAction {
    pub name: String,
    /// Milliseconds since 1970: what was received before is history. `None`: nothing is.
    pub since_ms: Option<i64>,
}

/// A state that does not depend on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedState {
    pub name: String,
    /// Of what it keeps. With another one it begins again.
    pub fingerprint: String,
    /// Milliseconds since 1970: events count that were received from then on. `None`: all do.
    pub since_ms: Option<i64>,
    /// Of one whose changes are published: a fingerprint of what its rows have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
}

impl NamedState {
    /// Returns what tells this beginning from others.
    pub fn id(&self) -> [u8; 16] {
        let mut to = Canonical::new("headwater state v1");
        to.text(&self.name).text(&self.fingerprint).option(self.since_ms, |to, since| {
            to.signed(since);
        });
        *to.finish().first_chunk().expect("a fingerprint has 32 bytes")
    }
}

/// A test that does not depend on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedTest {
    pub field: String,
    /// Paths as they are written.
    pub candidates: Vec<String>,
    pub predicate: Predicate,
}

impl NamedTest {
    fn of(plan: &Plan, test: &Test) -> NamedTest {
        let FieldPlan { name, candidates } = &plan.fields[test.field];
        let candidates = candidates.iter().map(Path::to_string).collect();
        NamedTest { field: name.clone(), candidates, predicate: test.predicate.clone() }
    }

    /// Returns whether an answer to this test counts as the answer to `asked`: the same test, or the same through
    /// floating point. So events keep the answers that an earlier release gave them.
    fn answers(&self, asked: &NamedTest) -> bool {
        let NamedTest { field, candidates, predicate } = asked;
        let same = self.predicate == *predicate || Some(&self.predicate) == predicate.former().as_ref();
        same && self.field == *field && self.candidates == *candidates
    }
}

/// Rules as control records hold them. A list means all of its items. So rules that releases up to 0.1.0 could have are
/// written as those wrote them.
pub(super) mod written {
    use super::{Condition, Conditions, Rule};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        name: String,
        priority: i64,
        order: u32,
        when: When,
        /// Written only if it is false, so that other rules are as releases up to 0.1.0 wrote them.
        #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
        sessions: bool,
    }

    fn yes() -> bool {
        true
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum When {
        All(Vec<When>),
        Any { any: Vec<When> },
        One(Condition),
    }

    impl When {
        fn of(conditions: &Conditions) -> When {
            match conditions {
                Conditions::One(condition) => When::One(*condition),
                Conditions::All(all) => When::All(all.iter().map(When::of).collect()),
                Conditions::Any(any) => When::Any { any: any.iter().map(When::of).collect() },
            }
        }

        fn read(self) -> Conditions {
            match self {
                When::One(condition) => Conditions::One(condition),
                When::All(all) => Conditions::All(all.into_iter().map(When::read).collect()),
                When::Any { any } => Conditions::Any(any.into_iter().map(When::read).collect()),
            }
        }
    }

    pub fn serialize<S: Serializer>(rules: &[Rule], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(rules.iter().map(|Rule { name, priority, order, when, sessions }| Written {
            name: name.clone(),
            priority: *priority,
            order: *order,
            when: When::of(when),
            sessions: *sessions,
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
        let rules = Vec::<Written>::deserialize(deserializer)?;
        let read = |Written { name, priority, order, when, sessions }| {
            let when = when.read();
            Rule { name, priority, order, when, sessions }
        };
        Ok(rules.into_iter().map(read).collect())
    }
}

/// The model as control records hold it: `true` is the first one, of builds that knew no other, and others are numbers. A
/// program that knows no numbers refuses the record.
mod learned {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        First(bool),
        Model(u32),
    }

    pub(super) fn serialize<S: Serializer>(learn: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
        match learn {
            None => Written::First(false),
            Some(1) => Written::First(true),
            Some(model) => Written::Model(*model),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::First(learn) => learn.then_some(1),
            Written::Model(model) => Some(model),
        })
    }
}

/// A test that no rule of a data folder has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The rules that make it, each with its number.
    pub rules: Vec<String>,
    /// In the language of conditions.
    pub test: String,
}

/// What answers a test of a plan.
enum Answered {
    By(u32),
    /// It holds where one of these does.
    AnyOf(Vec<u32>),
}

impl Answered {
    fn condition(&self, answer: bool) -> Conditions {
        let one = |test: &u32| Conditions::One(Condition { test: *test, answer });
        match self {
            Answered::By(test) => one(test),
            Answered::AnyOf(tests) if answer => Conditions::Any(tests.iter().map(one).collect()),
            Answered::AnyOf(tests) => Conditions::All(tests.iter().map(one).collect()),
        }
    }
}

impl Definitions {
    /// Returns the rules of `plan` over the tests that there are.
    ///
    /// # Errors
    /// The tests that are missing.
    pub fn rules_of(&self, plan: &Plan) -> Result<Vec<Rule>, Vec<Missing>> {
        let places: Vec<Option<Answered>> = plan.tests.iter().map(|test| self.answered(plan, test)).collect();
        let mut missing: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for rule in &plan.rules {
            rule.when.each(&mut |Condition { test, .. }| {
                let named = format!("rule {} `{}`", rule.order + 1, rule.name);
                match places.get(test as usize) {
                    Some(Some(_)) => {}
                    _ => {
                        let rules = missing.entry(test).or_default();
                        rules.extend((rules.last() != Some(&named)).then_some(named));
                    }
                }
            });
        }
        if !missing.is_empty() {
            let test = |test: u32| shown::test(plan, &plan.tests[test as usize]);
            return Err(missing.into_iter().map(|(of, rules)| Missing { rules, test: test(of) }).collect());
        }
        let moved = |condition: Condition| match places.get(condition.test as usize) {
            Some(Some(answered)) => answered.condition(condition.answer),
            _ => Conditions::One(condition),
        };
        Ok(plan.rules.iter().map(|rule| Rule { when: rule.when.replace(&moved), ..rule.clone() }).collect())
    }

    /// Returns what answers a test. That a value is one of a list follows from the tests of each value, where these are older:
    /// they were made of more events.
    fn answered(&self, plan: &Plan, test: &Test) -> Option<Answered> {
        let place = |predicate: &Predicate| {
            let named = NamedTest { predicate: predicate.clone(), ..NamedTest::of(plan, test) };
            self.tests.iter().position(|known| known.answers(&named)).map(|place| place as u32)
        };
        let each: Vec<Predicate> = match &test.predicate {
            Predicate::OneOf(texts) => texts.iter().map(|text| Predicate::OneOf(vec![text.clone()])).collect(),
            Predicate::Numbers(numbers) => numbers.iter().map(|number| Predicate::Numbers(vec![*number])).collect(),
            _ => Vec::new(),
        };
        let own = place(&test.predicate);
        let each = each.iter().map(place).collect::<Option<Vec<u32>>>().filter(|each| each.len() > 1);
        let is_older = |each: &Vec<u32>| own.is_none_or(|own| each.iter().all(|one| *one < own));
        each.filter(is_older).map(Answered::AnyOf).or(own.map(Answered::By))
    }

    /// Returns the definitions of `plan`, as a continuation of these. `since_ms`: when a state or a sequence that is new begins;
    /// `None`: with the first event.
    pub fn followed_by(&self, plan: &Plan, since_ms: Option<i64>) -> Definitions {
        let mut tests = self.tests.clone();
        let places: Vec<u32> = plan
            .tests
            .iter()
            .map(|test| {
                let named = NamedTest::of(plan, test);
                let place = tests.iter().position(|known| known.answers(&named)).unwrap_or_else(|| {
                    tests.push(named);
                    tests.len() - 1
                });
                place as u32
            })
            .collect();
        let moved = |rule: &Rule| Rule { when: rule.when.map(&|test| places[test as usize]), ..rule.clone() };
        let state = |state: &StatePlan| {
            let (name, fingerprint) = (state.schema.name.clone(), fingerprint(plan, state));
            let known = self.states.iter().find(|known| (&known.name, &known.fingerprint) == (&name, &fingerprint));
            let since_ms = known.map_or(since_ms, |known| known.since_ms);
            NamedState { name, fingerprint, since_ms, rows: state.changes.then(|| rows_of(state)) }
        };
        let states = plan.states.iter().map(state).collect();
        let sequence = |sequence: &SequencePlan| {
            let named = NamedSequence::of(plan, sequence, since_ms);
            self.sequences.iter().find(|known| known.is_as(&named)).cloned().unwrap_or(named)
        };
        let sequences = plan.sequences.iter().map(sequence).collect();
        let action = |action: &ActionPlan| {
            let known = self.actions.iter().find(|known| known.name == action.name);
            known.cloned().unwrap_or(NamedAction { name: action.name.clone(), since_ms })
        };
        let actions = plan.actions.iter().map(action).collect();
        let count = |count: &CountPlan| {
            let named = NamedCount::of(plan, count, since_ms);
            self.counts.iter().find(|known| known.is_as(&named)).cloned().unwrap_or(named)
        };
        let counts = plan.counts.iter().map(count).collect();
        let identity = plan.identity.as_ref().map(|identity| {
            let fingerprint = identity::fingerprint(plan, identity);
            let known = self.identity.as_ref().filter(|known| known.fingerprint == fingerprint);
            known.cloned().unwrap_or(NamedIdentity { fingerprint, since_ms })
        });
        let rules = plan.rules.iter().map(moved).collect();
        let (learn, labels) = (plan.learn.then_some(MODEL), self.labels.clone());
        Definitions { rules, tests, learn, states, sequences, counts, identity, actions, labels }
    }

    /// Returns whether they publish other rows of a state than the plan does.
    pub fn have_other_rows(&self, plan: &Plan, state: &StatePlan) -> bool {
        let published = self.states.iter().filter(|known| known.name == state.schema.name && known.rows.is_some());
        let same = |known: &NamedState| {
            (&known.fingerprint, &known.rows) == (&fingerprint(plan, state), &Some(rows_of(state)))
        };
        !published.into_iter().all(same)
    }

    /// Returns whether they publish other rows of a count than the plan does.
    pub fn have_other_groups(&self, plan: &Plan, count: &CountPlan) -> bool {
        let asked = NamedCount::of(plan, count, None);
        self.counts.iter().any(|known| known.name == asked.name && !known.is_as(&asked))
    }

    /// Returns whether they join other ids than the plan does, or by other rules.
    pub fn join_otherwise(&self, plan: &Plan) -> bool {
        let wanted = plan.identity.as_ref().map(|identity| identity::fingerprint(plan, identity));
        self.identity.as_ref().is_some_and(|known| Some(&known.fingerprint) != wanted.as_ref())
    }

    /// Returns whether rows follow from them that are published: of sequences or of states.
    pub fn have_rows(&self) -> bool {
        !self.sequences.is_empty() || self.states.iter().any(|state| state.rows.is_some())
    }

    /// Returns whether releases up to 0.1.0 can read them.
    pub fn are_former(&self) -> bool {
        let former = |test: &NamedTest| {
            let since =
                matches!(test.predicate, Predicate::Numbers(_) | Predicate::Number { .. } | Predicate::Text { .. });
            !since && !matches!(test.predicate, Predicate::Texts(_) | Predicate::Matches(_))
        };
        let one = |conditions: &Conditions| matches!(conditions, Conditions::One(_));
        let list = |rule: &Rule| matches!(&rule.when, Conditions::All(all) if all.iter().all(one));
        self.learn.is_none()
            && self.tests.iter().all(former)
            && self.rules.iter().all(|rule| list(rule) && rule.sessions)
    }

    /// Returns the plan, with these definitions in place of its own. `all`: the sequences that it has a place for, in which
    /// steps come of its own alone.
    ///
    /// # Errors
    /// If a path is none for this program.
    pub fn plan(&self, plan: &Plan, all: &[&NamedSequence]) -> Result<Plan, String> {
        let place = |test: &Test| {
            let named = NamedTest::of(plan, test);
            // What was not asked has no answer.
            self.tests
                .iter()
                .position(|known| known.answers(&named))
                .map_or(StateWhen::CLASSES - 1, |place| place as u32)
        };
        let places: Vec<u32> = plan.tests.iter().map(place).collect();
        let moved = |test: u32| places.get(test as usize).copied().unwrap_or(test);
        let mut states = plan.states.clone();
        for state in &mut states {
            let (name, fingerprint) = (&state.schema.name, fingerprint(plan, state));
            let named = self.states.iter().find(|named| (&named.name, &named.fingerprint) == (name, &fingerprint));
            state.begins = Some(
                named.map_or(StateBegins::Later, |named| StateBegins::Since { ms: named.since_ms, id: named.id() }),
            );
            for when in state.inputs.iter_mut().filter_map(|input| input.when.as_mut()) {
                when.conditions = when.conditions.map(&moved);
            }
        }
        let mut counts = plan.counts.clone();
        for count in &mut counts {
            let asked = NamedCount::of(plan, count, None);
            let named = self.counts.iter().find(|named| named.is_as(&asked));
            count.begins = Some(
                named.map_or(CountBegins::Later, |named| CountBegins::Since { ms: named.since_ms, id: named.id() }),
            );
            if let Counted::Events { when: Some(when), .. } = &mut count.of {
                when.conditions = when.conditions.map(&moved);
            }
        }
        let mut identity = plan.identity.clone();
        if let Some(identity) = &mut identity {
            let fingerprint = identity::fingerprint(plan, identity);
            let named = self.identity.as_ref().filter(|named| named.fingerprint == fingerprint);
            identity.begins = Some(
                named.map_or(StateBegins::Later, |named| StateBegins::Since { ms: named.since_ms, id: named.id() }),
            );
        }
        let mut actions = plan.actions.clone();
        for action in &mut actions {
            let named = self.actions.iter().find(|named| named.name == action.name);
            action.begins = Some(named.map_or(ActionBegins::Later, |named| ActionBegins::Since(named.since_ms)));
            if let On::Events { when: Some(when) } = &mut action.on {
                when.conditions = when.conditions.map(&moved);
            }
        }
        let (rules, tests) = (self.rules.clone(), Vec::new());
        let labels = self.labels.clone();
        let learn = self.learn.is_some();
        let mut plan = Plan { rules, learn, tests, states, counts, identity, actions, labels, ..plan.clone() };
        for NamedTest { field, candidates, predicate } in &self.tests {
            let candidates = candidates.iter().map(|path| Path::parse(path)).collect::<Result<Vec<_>, _>>()?;
            let same = |known: &FieldPlan| known.name == *field && known.candidates == candidates;
            let index = plan.fields.iter().position(same).unwrap_or_else(|| {
                plan.fields.push(FieldPlan { name: field.clone(), candidates: candidates.clone() });
                plan.fields.len() - 1
            });
            plan.tests.push(Test { field: index, predicate: predicate.clone() });
        }
        let sequence = |named: &&NamedSequence| named.plan(&mut plan.fields, self.sequences.contains(*named));
        plan.sequences = all.iter().map(sequence).collect::<Result<_, _>>()?;
        Ok(plan)
    }
}

/// Returns the definitions of all times as plans, each with the offset in the control partition from which it holds. All of
/// them have the same sequences, in the same places: those that are followed at any tick from which on the control partition
/// has been taken up to `control`.
///
/// # Errors
/// If a path is none for this program.
pub fn plans(definitions: &[(u64, Definitions)], plan: &Plan, control: u64) -> Result<Vec<(u64, Arc<Plan>)>, String> {
    let before = definitions.partition_point(|(offset, _)| *offset < control);
    let mut all = Vec::<&NamedSequence>::new();
    for named in definitions[before.saturating_sub(1)..].iter().flat_map(|(_, of)| &of.sequences) {
        if !all.contains(&named) {
            all.push(named);
        }
    }
    definitions.iter().map(|(offset, of)| Ok((*offset, Arc::new(of.plan(plan, &all)?)))).collect()
}

/// Returns the fingerprint of the rules of a plan. It does not depend on the numbers of tests.
pub fn rules_fingerprint(plan: &Plan) -> String {
    let asked = |test: u32| serde_json::to_string(&NamedTest::of(plan, &plan.tests[test as usize]));
    let mut to = Canonical::new("headwater rules v1");
    to.list(&plan.rules, |to, Rule { name, priority, order, when, sessions }| {
        to.text(name).signed(*priority).number(u64::from(*order)).number(u64::from(*sessions));
        fingerprint_of(when, to, &|test| asked(test).expect("texts and numbers are always JSON"));
    });
    hex(&to.finish()[..16])
}

/// Returns the fingerprint of what a state keeps: of which events, for which entity. Names of columns are none of it.
pub fn fingerprint(plan: &Plan, state: &StatePlan) -> String {
    let field = |to: &mut Canonical, field: usize| {
        let FieldPlan { name: _, candidates } = &plan.fields[field];
        to.list(candidates, |to, path| {
            to.text(&path.to_string());
        });
    };
    let mut to = Canonical::new("headwater state definition v1");
    to.option(state.per, |to, per| field(to, per));
    for (input, aggregate) in state.inputs.iter().zip(&state.definition.aggregates) {
        let Aggregate { fold, window } = aggregate;
        match fold {
            Fold::Count => to.number(0),
            Fold::Sum => to.number(1),
            Fold::First => to.number(2),
            Fold::Last => to.number(3),
            Fold::Min => to.number(4),
            Fold::Max => to.number(5),
            Fold::Values { cap } => to.number(6).number(u64::from(*cap)),
            Fold::Decay { half_life } => to.number(7).signed(*half_life),
        };
        to.option(*window, |to, window| {
            to.signed(window.hop()).signed(window.hops());
        });
        to.option(input.take.field(), |to, of| field(to, of));
        to.option(input.when.as_ref(), |to, when| fingerprint_when(plan, to, when));
    }
    hex(&to.finish()[..16])
}

/// Returns the fingerprint of what the rows of a state have, in which order.
fn rows_of(state: &StatePlan) -> String {
    let mut to = Canonical::new("headwater state rows v1");
    to.list(&state.definition.columns, |to, read| match read {
        Read::Whole(aggregate) => {
            to.number(0).number(u64::from(*aggregate));
        }
        Read::Top { aggregate, k } => {
            to.number(1).number(u64::from(*aggregate)).number(u64::from(*k));
        }
    });
    hex(&to.finish()[..16])
}

/// Adds a condition on events.
fn fingerprint_when(plan: &Plan, to: &mut Canonical, StateWhen { conditions, classes }: &StateWhen) {
    let asked = |test: u32| match test.checked_sub(StateWhen::CLASSES) {
        None => serde_json::to_string(&NamedTest::of(plan, &plan.tests[test as usize])),
        Some(class) => serde_json::to_string(&classes[class as usize]),
    };
    fingerprint_of(conditions, to, &|test| asked(test).expect("texts and numbers are always JSON"));
}

fn fingerprint_of(conditions: &Conditions, to: &mut Canonical, asked: &dyn Fn(u32) -> String) {
    match conditions {
        Conditions::One(Condition { test, answer }) => {
            to.number(u64::from(*answer)).text(&asked(*test));
        }
        Conditions::All(of) | Conditions::Any(of) => {
            to.number(if matches!(conditions, Conditions::All(_)) { 2 } else { 3 });
            to.list(of, |to, conditions| fingerprint_of(conditions, to, asked));
        }
    }
}

#[cfg(test)]
mod tests;
