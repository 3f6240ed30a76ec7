//! `[[class]]`: declared rules, compiled to atomic tests without repeats and the answers that each rule wants.

use super::error::Problems;
use super::fields::Fields;
use super::typed::{self, Class, Predicate as Typed, Predicates, Scalar};
use dataflows::rules::{Condition, Predicate, Rule, Test};
use std::ops::Range;
use toml::Spanned;

const PREDICATE_HELP: &str = "write a value, or a table such as { in = [\"a\", \"b\"] }, { prefix = \"a\" }, \
                              { exists = true } or { min = 1, max = 2 }";

const WHEN_HELP: &str = "say which events are meant, such as when = { page = \"checkout\" }";

/// The tests that any rule makes, and the rules over them.
pub(super) fn compile(
    classes: &[Spanned<Class>],
    fields: &mut Fields,
    problems: &mut Problems,
) -> (Vec<Test>, Vec<Rule>) {
    let mut tests = Tests(Vec::new());
    let mut rules = Vec::new();
    for (order, class) in (0..).zip(classes) {
        let typed = class.get_ref();
        let name = match &typed.name {
            Some(name) if name.get_ref().is_empty() => {
                problems.push(
                    name.span(),
                    "a class without a name",
                    "write the name that its events are counted under",
                );
                continue;
            }
            Some(name) => name.get_ref().clone(),
            None => {
                problems.push(class.span(), "a [[class]] without `name`", "add name = \"...\"");
                continue;
            }
        };
        let Some(typed_when) = &typed.when else {
            problems.push(class.span(), format!("class `{name}` has no `when`"), WHEN_HELP);
            continue;
        };
        if typed_when.get_ref().is_empty() {
            problems.push(typed_when.span(), format!("class `{name}` would claim every event"), WHEN_HELP);
        }
        let mut when = Vec::new();
        for (field, predicate) in typed::in_order(typed_when.get_ref()) {
            let index = fields.resolve(field.get_ref(), field.span(), problems);
            let asked = ask(predicate.get_ref(), predicate.span(), problems);
            if let Some(field) = index {
                when.extend(asked.into_iter().map(|(predicate, answer)| tests.condition(field, predicate, answer)));
            }
        }
        when.sort_unstable();
        when.dedup();
        rules.push(Rule { name, priority: typed.priority, order, when });
    }
    (tests.0, rules)
}

struct Tests(Vec<Test>);

impl Tests {
    fn condition(&mut self, field: usize, predicate: Predicate, answer: bool) -> Condition {
        let test = Test { field, predicate };
        let index = self.0.iter().position(|known| *known == test).unwrap_or_else(|| {
            self.0.push(test);
            self.0.len() - 1
        });
        // A file with 2^32 tests would not fit into memory.
        Condition { test: index as u32, answer }
    }
}

/// The predicates that one entry of `when` stands for, each with the answer that is wanted.
fn ask(typed: &Typed, span: Range<usize>, problems: &mut Problems) -> Vec<(Predicate, bool)> {
    match typed {
        Typed::Equals(Scalar::Float(number)) => {
            let number = finite(*number, &span, problems);
            number.map(|number| (Predicate::Range { min: Some(number), max: Some(number) }, true)).into_iter().collect()
        }
        Typed::Equals(scalar) => {
            text(scalar, span, problems).map(|text| (Predicate::OneOf(vec![text]), true)).into_iter().collect()
        }
        Typed::All(table) => ask_all(table, span, problems),
    }
}

fn ask_all(table: &Predicates, span: Range<usize>, problems: &mut Problems) -> Vec<(Predicate, bool)> {
    let Predicates { one_of, prefix, exists, min, max } = table;
    let mut asked = Vec::new();
    if one_of.is_none() && prefix.is_none() && exists.is_none() && min.is_none() && max.is_none() {
        problems.push(span, "no predicate: the table is empty", PREDICATE_HELP);
    }
    if let Some(list) = one_of {
        if list.get_ref().is_empty() {
            problems.push(list.span(), "no event is one of an empty list", "name at least one value");
        }
        let mut texts: Vec<String> =
            list.get_ref().iter().filter_map(|scalar| text(scalar.get_ref(), scalar.span(), problems)).collect();
        texts.sort_unstable();
        texts.dedup();
        asked.push((Predicate::OneOf(texts), true));
    }
    if let Some(prefix) = prefix {
        if prefix.get_ref().is_empty() {
            problems.push(prefix.span(), "every text begins with an empty prefix", "write { exists = true }");
        }
        asked.push((Predicate::Prefix(prefix.get_ref().clone()), true));
    }
    if let Some(exists) = exists {
        asked.push((Predicate::Exists, *exists));
    }
    if min.is_some() || max.is_some() {
        let mut bound = |bound: &Option<Spanned<f64>>| {
            bound.as_ref().and_then(|bound| Some((finite(*bound.get_ref(), &bound.span(), problems)?, bound.span())))
        };
        let (min, max) = (bound(min), bound(max));
        if let (Some((min, _)), Some((max, span))) = (&min, &max)
            && min > max
        {
            problems.push(
                span.clone(),
                format!("no number is at least {min} and at most {max}"),
                "`min` must not be greater than `max`; both count as within",
            );
        }
        let value = |bound: Option<(f64, _)>| bound.map(|(number, _)| number);
        asked.push((Predicate::Range { min: value(min), max: value(max) }, true));
    }
    asked
}

/// What decoding makes of the value, to compare with: numbers by their decimal text.
fn text(scalar: &Scalar, span: Range<usize>, problems: &mut Problems) -> Option<String> {
    match scalar {
        Scalar::Text(text) if text.is_empty() => {
            problems.push(span, "an empty text counts as absent", "write { exists = false }");
            None
        }
        Scalar::Text(text) => Some(text.clone()),
        Scalar::Integer(number) => Some(number.to_string()),
        Scalar::Boolean(truth) => Some(truth.to_string()),
        Scalar::Float(number) => {
            problems.push(
                span,
                format!("{number} is compared as a number, which a list cannot do"),
                "write it in quotes to compare texts, or give a range: { min = 1, max = 2 }",
            );
            None
        }
    }
}

fn finite(number: f64, span: &Range<usize>, problems: &mut Problems) -> Option<f64> {
    if !number.is_finite() {
        problems.push(
            span.clone(),
            format!("{number} cannot be compared with"),
            "write a finite number, or leave it out",
        );
        return None;
    }
    Some(number)
}
