//! Sequences in records of the control partition. A record has the whole definition: a run that goes on from a snapshot
//! follows the sequences that it finds there, until it comes to the tick at which the configuration has changed.

use crate::fingerprint::Canonical;
use crate::plan::{Plan, SequenceBegins, SequencePlan};
use dataflows::sequence::{Definition, Repeat, Ties};
use headwater_decode::path::Path;
use headwater_decode::spec::{FieldPlan, SequenceSpec};
use serde::{Deserialize, Serialize};

/// A sequence that does not depend on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSequence {
    pub name: String,
    /// Milliseconds since 1970: events count that were received from then on. `None`: all do.
    pub since_ms: Option<i64>,
    steps: Vec<Step>,
    /// Microseconds.
    within: i64,
    excepts: Vec<Except>,
    /// The paths of the field that it is followed for; `None`: users.
    per: Option<Vec<String>>,
    by: Vec<Field>,
    repeat: Repeat,
    ties: Ties,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    class: String,
    optional: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Except {
    class: String,
    /// Indexes of the steps between which it lies.
    between: (usize, usize),
}

/// A field of the breakdown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    name: String,
    /// Paths as they are written.
    candidates: Vec<String>,
}

impl NamedSequence {
    pub(super) fn of(plan: &Plan, sequence: &SequencePlan, since_ms: Option<i64>) -> NamedSequence {
        let SequencePlan { name, definition, by, spec, begins: _ } = sequence;
        let paths = |field: usize| plan.fields[field].candidates.iter().map(Path::to_string).collect::<Vec<_>>();
        let steps = spec.steps.iter().zip(definition.is_optional());
        let excepts = spec.excepts.iter().zip(definition.between());
        let by = by.iter().zip(&spec.by);
        NamedSequence {
            name: name.clone(),
            since_ms,
            steps: steps.map(|(class, optional)| Step { class: class.clone(), optional }).collect(),
            within: definition.within(),
            excepts: excepts.map(|(class, between)| Except { class: class.clone(), between }).collect(),
            per: spec.per.map(paths),
            by: by.map(|(name, field)| Field { name: name.clone(), candidates: paths(*field) }).collect(),
            repeat: definition.repeat(),
            ties: definition.ties(),
        }
    }

    /// Returns whether this is the same sequence, whenever both began.
    pub(super) fn is_as(&self, other: &NamedSequence) -> bool {
        NamedSequence { since_ms: None, ..self.clone() } == NamedSequence { since_ms: None, ..other.clone() }
    }

    /// Returns what tells this beginning from others, and from those of other definitions.
    fn id(&self) -> [u8; 16] {
        let mut to = Canonical::new("headwater sequence v1");
        to.text(&serde_json::to_string(self).expect("numbers and text are always JSON"));
        *to.finish().first_chunk().expect("a fingerprint has 32 bytes")
    }

    /// Returns the plan of it. `fields`: of all, to which its own are added. `counts`: steps come.
    ///
    /// # Errors
    /// If a path is none for this program, or the definition is no sequence for it.
    pub(super) fn plan(&self, fields: &mut Vec<FieldPlan>, counts: bool) -> Result<SequencePlan, String> {
        let NamedSequence { name, since_ms, steps, within, excepts, per, by, repeat, ties } = self;
        let optional: Vec<bool> = steps.iter().map(|step| step.optional).collect();
        let between: Vec<(usize, usize)> = excepts.iter().map(|except| except.between).collect();
        let definition = Definition::new(*within, &optional, &between, *repeat, *ties);
        let mut field = |name: &str, paths: &[String]| {
            let candidates = paths.iter().map(|path| Path::parse(path)).collect::<Result<Vec<_>, _>>()?;
            let known = fields.iter().position(|known| known.candidates == candidates);
            Ok::<usize, String>(known.unwrap_or_else(|| {
                fields.push(FieldPlan { name: name.to_owned(), candidates });
                fields.len() - 1
            }))
        };
        let spec = SequenceSpec {
            steps: steps.iter().map(|step| step.class.clone()).collect(),
            excepts: excepts.iter().map(|except| except.class.clone()).collect(),
            per: per.as_ref().map(|paths| field(name, paths)).transpose()?,
            by: by.iter().map(|by| field(&by.name, &by.candidates)).collect::<Result<_, _>>()?,
        };
        Ok(SequencePlan {
            name: name.clone(),
            definition: definition.map_err(|invalid| format!("the sequence `{name}`: {invalid}"))?,
            by: by.iter().map(|by| by.name.clone()).collect(),
            spec,
            begins: Some(SequenceBegins { counts, since_ms: *since_ms, id: self.id() }),
        })
    }
}
