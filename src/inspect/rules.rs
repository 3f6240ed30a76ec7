//! `headwater rules`: what other rules would change, as a dry run over events, and rules that events suggest. Writes nothing.
//!
//! ```text
//! events ─ one reading, under the tests of both ─▶ facts ─┬─ rules of before ─▶ labels ─┐
//!                             └─▶ sessions                └─ other rules ─────▶ labels ─┴─▶ what differs
//! ```

mod look;
mod propose;
mod render;

pub use propose::propose;

use crate::collections::shapes;
use crate::config;
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::lint::{Lint, lint};
use crate::replay::facts::{self, Example, Found};
use crate::replay::gather::Seen;
use crate::text::rfc3339;
use dataflows::classify::{Definitions, Label, Layer};
use dataflows::facts::{Facts, Labels};
use dataflows::learn::Learning;
use dataflows::rules::{Rule, Test};
use dataflows::sessionize::Session;
use dataflows::views::Views;
use dataflows::{SessionId, ShapeId, SignatureId, Tick};
use headwater_decode::syntax::Syntax;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Sessions that are given as examples.
const SESSIONS: usize = 5;

/// What other rules would change. Its fields are an interface: add to them, don't rename them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The configuration, and the file of the other rules.
    pub before: String,
    pub after: String,
    pub events: u64,
    /// Events that get another class.
    pub changed_events: u64,
    pub sessions: u64,
    /// Sessions whose row would be another one.
    pub changed_sessions: u64,
    pub shapes: u64,
    /// Shapes that have such events.
    pub changed_shapes: u64,
    pub dead_letters: u64,
    /// By falling number of events.
    pub classes: Vec<Moved>,
    /// Events of each class whose number changes.
    pub counts: Vec<Counted>,
    /// Of the shapes that change, by falling number of events.
    pub shape_rows: Vec<ShapeRow>,
    /// The first sessions that change.
    pub session_rows: Vec<SessionRow>,
    /// What the numbers do not say.
    pub notes: Vec<String>,
}

/// Events that go from one class to another one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moved {
    pub before: String,
    pub after: String,
    /// The layers that give both, as in the view `shapes`.
    pub why_before: String,
    pub why_after: String,
    pub events: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<Shown>,
}

/// An event as an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    pub source: String,
    /// Of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub offset: u64,
    /// Its beginning.
    pub payload: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counted {
    pub class: String,
    pub before: u64,
    pub after: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShapeRow {
    /// `None`: one of those that are not kept apart.
    pub shape: Option<String>,
    pub events: u64,
    pub before: BTreeMap<String, u64>,
    pub after: BTreeMap<String, u64>,
    pub paths: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionRow {
    pub session_id: String,
    pub user: String,
    pub start: String,
    pub before: BTreeMap<String, u64>,
    pub after: BTreeMap<String, u64>,
}

impl Difference {
    /// Returns one JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Returns what the rules of the file `rules` would change for the events of `plan`: those of its sources, or of its landing.
///
/// # Errors
/// If the file is wrong, or the events cannot be read.
pub fn diff(plan: &Plan, rules: &Path, landing: bool) -> Result<Difference, Error> {
    let other = config::load_rules(rules, plan)?;
    let (asked, places) = asked(plan, &other);
    let learning = |plan: &Plan| plan.learn.then(Learning::default);
    let (former, latter) = (plan.rules.clone(), other.rules.clone());
    let (learned, learns) = (learning(plan), learning(&other));
    let own: Vec<usize> = (0..plan.tests.len()).collect();
    let tests = places.clone();
    let prepare = move |seen: &Seen| Both {
        before: Side::of(&seen.facts, &own, &former, learned),
        after: Side::of(&seen.facts, &tests, &latter, learns),
    };
    let found = facts::read(&asked, landing, prepare, sessions)?;
    let mut difference = of(&asked, &found);
    (difference.before, difference.after) = (plan.config.display().to_string(), rules.display().to_string());
    difference.notes = notes(plan, &other, &places, &found);
    Ok(difference)
}

/// Returns the plan with the tests of both, by whose rules events are read; and the place of each test of `other` in it.
fn asked(plan: &Plan, other: &Plan) -> (Plan, Vec<usize>) {
    let mut asked = plan.clone();
    // Learned classes are none of a reading.
    asked.learn = false;
    let mut places = Vec::new();
    for Test { field, predicate } in &other.tests {
        let field = &other.fields[*field];
        let same = asked.fields.iter().position(|known| known.candidates == field.candidates);
        let field = same.unwrap_or_else(|| {
            asked.fields.push(field.clone());
            asked.fields.len() - 1
        });
        let test = Test { field, predicate: predicate.clone() };
        let place = asked.tests.iter().position(|known| *known == test).unwrap_or_else(|| {
            asked.tests.push(test);
            asked.tests.len() - 1
        });
        places.push(place);
    }
    for source in &mut asked.sources {
        let wanted = source.events.wanted(&asked.fields);
        source.syntax = Arc::new(Syntax { wanted, ..(*source.syntax).clone() });
    }
    (asked, places)
}

/// Labels under one set of rules, as a reading under these rules alone would have them.
struct Side {
    facts: Facts,
    labels: Labels,
    became: BTreeMap<SignatureId, SignatureId>,
}

impl Side {
    fn of(facts: &Facts, tests: &[usize], rules: &[Rule], learning: Option<Learning>) -> Side {
        let (facts, became) = facts.asked(tests);
        let labels = facts.under(rules, learning);
        Side { facts, labels, became }
    }

    fn label(&self, signature: SignatureId) -> Option<&Label> {
        self.labels.of(*self.became.get(&signature)?)
    }
}

/// Labels under the rules of before, and under the others.
struct Both {
    before: Side,
    after: Side,
}

impl Both {
    fn all(&self) -> impl Iterator<Item = (SignatureId, &Label, &Label)> {
        let both =
            |signature: &SignatureId| Some((*signature, self.before.label(*signature)?, self.after.label(*signature)?));
        self.before.became.keys().filter_map(both)
    }

    /// Returns the signatures that get another class.
    fn changed(&self) -> impl Iterator<Item = (SignatureId, &Label, &Label)> {
        self.all().filter(|(_, before, after)| before.class != after.class)
    }
}

/// Sessions at one worker.
struct Sessions {
    all: u64,
    changed: u64,
    /// The first that change.
    rows: Vec<SessionRow>,
}

fn sessions(both: &Both, views: &mut Views) -> Sessions {
    let changed: BTreeSet<SignatureId> = both.changed().map(|(signature, ..)| signature).collect();
    let mut sessions = Sessions { all: 0, changed: 0, rows: Vec::new() };
    let mut scan = views.scan(Tick::MAX);
    let mut each = |user, name: &str, session: &Session| {
        sessions.all += 1;
        if !session.counts().any(|(signature, _)| changed.contains(&signature)) {
            return;
        }
        let before = row(session, |signature| both.before.label(signature));
        let after = row(session, |signature| both.after.label(signature));
        // Two signatures may have changed places.
        if before == after {
            return;
        }
        sessions.changed += 1;
        if sessions.rows.len() < SESSIONS {
            let session_id = SessionId::of(user, session.start).to_string();
            let (start, user) = (rfc3339(session.start), name.to_owned());
            sessions.rows.push(SessionRow { session_id, user, start, before: before.0, after: after.0 });
        }
    };
    while scan.step(&mut each).is_some() {}
    sessions
}

/// Returns what a session's row has of classes: events by class, and the first and the last one.
fn row<'l>(
    session: &Session,
    label: impl Fn(SignatureId) -> Option<&'l Label>,
) -> (BTreeMap<String, u64>, [Option<&'l str>; 2]) {
    let class = |signature| label(signature).map(|label| &*label.class);
    let mut classes = BTreeMap::new();
    for (signature, events) in session.counts() {
        *classes.entry(class(signature).unwrap_or_default().to_owned()).or_default() += events;
    }
    (classes, [session.first, session.last].map(class))
}

fn of(plan: &Plan, found: &Found<Both, Sessions>) -> Difference {
    let Found { seen, prepared: both, parts, dead_letters, paths } = found;
    let events_of = |signature| seen.facts.events.get(&signature).copied().unwrap_or(0);
    let mut moved: BTreeMap<(&str, &str, Layer, Layer), (u64, Option<&Example>)> = BTreeMap::new();
    for (signature, before, after) in both.changed() {
        let key = (&*before.class, &*after.class, before.layer, after.layer);
        let (events, example) = moved.entry(key).or_default();
        *events += events_of(signature);
        let other = seen.examples.get(&signature);
        *example = [*example, other].into_iter().flatten().min_by_key(|example| example.position);
    }
    let shown = |example: &Example| {
        let payload = String::from_utf8_lossy(&example.payload);
        Shown {
            source: plan.sources[usize::from(example.position.source)].name.clone(),
            path: paths.get(example.position.part as usize).map(|path| path.display().to_string()),
            offset: example.position.offset,
            payload: if example.is_cut { format!("{payload}…") } else { payload.into_owned() },
        }
    };
    let mut classes: Vec<Moved> = moved
        .into_iter()
        // A signature all of whose records were duplicates has no event.
        .filter(|(_, (events, _))| *events > 0)
        .map(|((before, after, layer, other), (events, example))| Moved {
            before: before.to_owned(),
            after: after.to_owned(),
            why_before: shapes::why(layer).into_owned(),
            why_after: shapes::why(other).into_owned(),
            events,
            example: example.map(shown),
        })
        .collect();
    classes.sort_by_key(|moved| std::cmp::Reverse(moved.events));
    let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    let mut rows: BTreeMap<Option<ShapeId>, ShapeRow> = BTreeMap::new();
    for (signature, before, after) in both.all() {
        let events = events_of(signature);
        counts.entry(&before.class).or_default()[0] += events;
        counts.entry(&after.class).or_default()[1] += events;
        let row = rows.entry(before.shape).or_insert_with(|| ShapeRow {
            shape: before.shape.map(|shape| shape.to_string()),
            events: 0,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
            paths: before
                .shape
                .and_then(|shape| seen.facts.shapes.get(&shape))
                .map_or(String::new(), |own| shapes::paths(own)),
        });
        row.events += events;
        if events > 0 {
            *row.before.entry(before.class.to_string()).or_default() += events;
            *row.after.entry(after.class.to_string()).or_default() += events;
        }
    }
    rows.retain(|_, row| row.events > 0);
    let shapes = rows.len() as u64;
    let moves = both.changed().filter(|(signature, ..)| events_of(*signature) > 0);
    let moves: BTreeSet<Option<ShapeId>> = moves.map(|(_, before, _)| before.shape).collect();
    let rows = rows.into_iter().filter(|(shape, _)| moves.contains(shape));
    let mut shape_rows: Vec<ShapeRow> = rows.map(|(_, row)| row).collect();
    shape_rows.sort_by_key(|row| std::cmp::Reverse(row.events));
    let counted = counts.into_iter().filter(|(_, [before, after])| before != after);
    let sum = |of: fn(&Sessions) -> u64| parts.iter().map(of).sum();
    Difference {
        before: String::new(),
        after: String::new(),
        events: seen.facts.events.values().sum(),
        changed_events: classes.iter().map(|moved| moved.events).sum(),
        sessions: sum(|part| part.all),
        changed_sessions: sum(|part| part.changed),
        shapes,
        changed_shapes: shape_rows.len() as u64,
        dead_letters: *dead_letters,
        classes,
        counts: counted.map(|(class, [before, after])| Counted { class: class.to_owned(), before, after }).collect(),
        shape_rows,
        session_rows: parts.iter().flat_map(|part| &part.rows).take(SESSIONS).cloned().collect(),
        notes: Vec::new(),
    }
}

/// Returns what a run would do otherwise than these numbers say.
fn notes(plan: &Plan, other: &Plan, places: &[usize], found: &Found<Both, Sessions>) -> Vec<String> {
    let lints = lint(other);
    let mut notes: Vec<String> = lints.iter().map(Lint::message).collect();
    let told: BTreeSet<u32> = lints.iter().map(|lint| lint.rule).collect();
    notes.extend(
        idle(other, &found.prepared.after).into_iter().filter(|(rule, _)| !told.contains(rule)).map(|(_, why)| why),
    );
    let is_new = |rule: &&Rule| {
        let mut new = false;
        rule.when.each(&mut |condition| new |= places[condition.test as usize] >= plan.tests.len());
        new
    };
    let new: Vec<String> = other.rules.iter().filter(is_new).map(named).collect();
    if !new.is_empty() {
        notes.push(format!(
            "{}: asks what no rule asked before. A run that has read these events knows no answer: there the rule holds for \
             events from the change on. A replay gives the numbers above",
            new.join(", ")
        ));
    }
    let events = |signature| found.seen.facts.events.get(&signature).copied().unwrap_or(0);
    let apart = |rules: &[Rule], label: &Label| matches!(label.layer, Layer::Rule(order) if rules.iter().any(|rule| rule.order == order && !rule.sessions));
    let (mut leave, mut enter) = (0, 0);
    for (signature, before, after) in found.prepared.all() {
        match (apart(&plan.rules, before), apart(&other.rules, after)) {
            (false, true) => leave += events(signature),
            (true, false) => enter += events(signature),
            _ => {}
        }
    }
    if leave + enter > 0 {
        notes.push(format!(
            "by `sessions = false`, {leave} events would be kept out of sessions, and {enter} would be part of them: the \
             sessions above are those of before"
        ));
    }
    notes
}

/// Returns the rules that give none of the events its class, by their numbers, and why.
fn idle(other: &Plan, after: &Side) -> Vec<(u32, String)> {
    let mut idle = Vec::new();
    let definitions = Definitions::new(other.rules.clone(), &BTreeSet::new());
    for rule in definitions.rules() {
        let some = |signature: &SignatureId| after.facts.events.get(signature).is_some_and(|events| *events > 0);
        let fits =
            after.facts.signatures.iter().filter(|(signature, descriptor)| some(signature) && rule.claims(descriptor));
        let given: BTreeSet<Layer> =
            fits.filter_map(|(signature, _)| Some(after.labels.of(*signature)?.layer)).collect();
        if given.contains(&Layer::Rule(rule.order)) {
            continue;
        }
        let before: Vec<String> = given
            .iter()
            .filter_map(|layer| match layer {
                Layer::Rule(order) => Some(format!("rule {}", order + 1)),
                _ => None,
            })
            .collect();
        let why = match before.len() {
            0 => "none fits".to_owned(),
            1 => format!("{} comes first where it holds", before[0]),
            _ => format!("{} come first where it holds", before.join(", ")),
        };
        idle.push((rule.order + 1, format!("{} gives none of these events its class: {why}", named(rule))));
    }
    idle
}

fn named(rule: &Rule) -> String {
    format!("rule {} (`{}`)", rule.order + 1, rule.name)
}
