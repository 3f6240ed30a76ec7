//! Names and paths -> indexes of the plan's fields.

use super::error::Problems;
use super::events::{path, paths};
use super::typed::{self, Entries, Entry, Named};
use crate::collections::predicate::{Found, Kind, Name, Names};
use dataflows::PathHash;
use headwater_decode::path::Path;
use headwater_decode::spec::FieldPlan;
use std::collections::HashMap;
use std::ops::Range;
use toml::Spanned;

/// Named fields first; paths that are used directly come behind them when they are first met.
#[derive(Debug)]
pub(super) struct Fields {
    plan: Vec<FieldPlan>,
    by_name: HashMap<String, usize>,
    /// By hash, so that two spellings of one path are one field.
    by_path: HashMap<PathHash, usize>,
}

/// The names that a predicate on events may use.
impl Names for Fields {
    type Field = usize;

    const NOUN: &'static str = "field";
    const EMPTY_IS_ABSENT: bool = true;

    fn find(&mut self, name: &Name) -> Result<Found<usize>, String> {
        // In quotes, a field may have any name.
        let quoted = match name.parts.as_slice() {
            [only] => self.by_name.get(only),
            _ => None,
        };
        let field = match self.by_name.get(&name.text).or(quoted) {
            Some(index) => *index,
            None => self.direct(&name.text, Path::parse(&name.text)?),
        };
        Ok(Found { field, kind: Kind::Any })
    }
}

impl Fields {
    pub(super) fn check(typed: &Named<Spanned<Entries<Spanned<Entry>>>>, problems: &mut Problems) -> Fields {
        let mut fields = Fields { plan: Vec::new(), by_name: HashMap::new(), by_path: HashMap::new() };
        for (name, candidates) in typed::in_order(typed) {
            if name.get_ref().is_empty() {
                problems.push(name.span(), "a field without a name", "give it the name that rules and sums will use");
            }
            let candidates = paths(candidates, problems);
            fields.by_name.insert(name.get_ref().clone(), fields.plan.len());
            fields.plan.push(FieldPlan { name: name.get_ref().clone(), candidates });
        }
        fields
    }

    /// Adds the named fields that are not there.
    pub(super) fn inherit(&mut self, fields: &[FieldPlan]) {
        for field in fields.iter().filter(|field| !self.by_name.contains_key(&field.name)).cloned().collect::<Vec<_>>()
        {
            self.by_name.insert(field.name.clone(), self.plan.len());
            self.plan.push(field);
        }
    }

    /// Returns the index of the field of that name, else of that path.
    pub(super) fn resolve(&mut self, text: &str, span: Range<usize>, problems: &mut Problems) -> Option<usize> {
        if let Some(index) = self.by_name.get(text) {
            return Some(*index);
        }
        let path = path(text, span, problems)?;
        Some(self.direct(text, path))
    }

    /// Returns the index of the field that is a path used directly.
    fn direct(&mut self, text: &str, path: Path) -> usize {
        let plan = &mut self.plan;
        *self.by_path.entry(path.hash()).or_insert_with(|| {
            plan.push(FieldPlan { name: text.to_owned(), candidates: vec![path] });
            plan.len() - 1
        })
    }

    /// Returns the index of the field of that name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Returns the names of [fields].
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub(super) fn name(&self, field: usize) -> &str {
        &self.plan[field].name
    }

    pub(super) fn all(&self) -> &[FieldPlan] {
        &self.plan
    }

    pub(super) fn into_plan(self) -> Vec<FieldPlan> {
        self.plan
    }
}
