//! `[[sequence]]`: the steps, what belongs to one attempt, and what activities are broken down by.

use super::error::Problems;
use super::events::{duration, texts};
use super::fields::Fields;
use super::typed;
use crate::plan::SequencePlan;
use crate::text::nearest::nearest;
use dataflows::sequence::{Definition, Invalid, Repeat, Ties};
use headwater_decode::spec::SequenceSpec;
use std::collections::HashSet;
use std::ops::Range;
use toml::Spanned;

const STEPS_HELP: &str = "name 1 to 8 classes in their order, such as steps = [\"cart\", \"shipping?\", \"purchase\"]";
/// A sequence has a number of 16 bits, and its name a column.
const MOST: usize = 1000;

pub(super) fn check(
    sequences: &[Spanned<typed::Sequence>],
    fields: &mut Fields,
    problems: &mut Problems,
) -> Vec<SequencePlan> {
    if let Some(one_too_many) = sequences.get(MOST) {
        problems.push(one_too_many.span(), format!("more than {MOST} sequences"), "leave some out");
    }
    let mut names = HashSet::new();
    let mut plans = Vec::new();
    for sequence in sequences {
        let typed = sequence.get_ref();
        let name = match &typed.name {
            Some(name) if name.get_ref().is_empty() => {
                problems.push(name.span(), "a sequence without a name", "write the name that its funnel will have");
                continue;
            }
            Some(name) if !names.insert(name.get_ref()) => {
                let message = format!("two sequences have the name `{}`", name.get_ref());
                problems.push(name.span(), message, "give each its own name");
                continue;
            }
            Some(name) => name.get_ref().clone(),
            None => {
                problems.push(sequence.span(), "a [[sequence]] without `name`", "add name = \"...\"");
                continue;
            }
        };
        plans.extend(one(name, sequence, fields, problems));
    }
    plans
}

fn one(
    name: String,
    sequence: &Spanned<typed::Sequence>,
    fields: &mut Fields,
    problems: &mut Problems,
) -> Option<SequencePlan> {
    let typed = sequence.get_ref();
    let Some(typed_steps) = &typed.steps else {
        problems.push(sequence.span(), format!("sequence `{name}` has no `steps`"), STEPS_HELP);
        return None;
    };
    let steps: Vec<(&str, bool, Range<usize>)> = texts(typed_steps)
        .into_iter()
        .map(|(text, span)| match text.strip_suffix('?') {
            Some(class) => (class, true, span),
            None => (text.as_str(), false, span),
        })
        .collect();
    for (class, _, span) in &steps {
        if class.is_empty() {
            problems.push(span.clone(), "a step without a class", "name a class of a rule, or a type");
        }
    }
    let within = match &typed.within {
        Some(within) => duration(within, problems),
        None => {
            let help = "add the longest time from the first step to the last one, such as within = \"1h\"";
            problems.push(sequence.span(), format!("sequence `{name}` has no `within`"), help);
            None
        }
    };
    let per = typed.per.as_ref().and_then(|per| self::per(per, fields, problems));
    let by = typed.by.iter().flat_map(texts);
    let by: Vec<(String, usize)> =
        by.filter_map(|(text, span)| Some((text.clone(), fields.resolve(text, span, problems)?))).collect();
    let (names, by) = by.into_iter().unzip();
    let repeat = choose(typed.repeat.as_ref(), &[("tight", Repeat::Tight), ("overlap", Repeat::Overlap)], problems);
    let ties = choose(typed.ties.as_ref(), &[("ordered", Ties::Ordered), ("apart", Ties::Apart)], problems);
    let mut excepts = Vec::new();
    for except in typed.except.iter().flat_map(|excepts| excepts.get_ref()) {
        excepts.push(self::except(except, &steps, problems)?);
    }
    let optional: Vec<bool> = steps.iter().map(|(_, optional, _)| *optional).collect();
    let between: Vec<(usize, usize)> = excepts.iter().map(|(_, between)| *between).collect();
    let definition = Definition::new(within?, &optional, &between, repeat, ties);
    let definition = definition.inspect_err(|invalid| {
        let (span, help) = match invalid {
            Invalid::Steps(_) => (typed_steps.span(), STEPS_HELP),
            Invalid::OptionalEnd => (typed_steps.span(), "take the `?` off the first and the last step"),
            Invalid::Within(_) => {
                let within = typed.within.as_ref().map_or(sequence.span(), Spanned::span);
                (within, "write a duration such as \"1h\" or \"30d\"")
            }
            Invalid::Excepts(_) | Invalid::Between(..) => {
                let excepts = typed.except.as_ref().map_or(sequence.span(), Spanned::span);
                (excepts, "name two steps of the sequence without `?`, such as between = [\"cart\", \"purchase\"]")
            }
        };
        problems.push(span, invalid.to_string(), help);
    });
    let spec = SequenceSpec {
        steps: steps.iter().map(|(class, ..)| (*class).to_owned()).collect(),
        excepts: excepts.into_iter().map(|(class, _)| class).collect(),
        per: per.flatten(),
        by,
    };
    Some(SequencePlan { name, definition: definition.ok()?, by: names, spec, begins: None })
}

/// Returns the field that a sequence is followed for; `None` of it: for users.
fn per(per: &Spanned<String>, fields: &mut Fields, problems: &mut Problems) -> Option<Option<usize>> {
    match per.get_ref().as_str() {
        "user" => Some(None),
        later @ ("session" | "identity") => {
            let message = format!("sequences cannot be followed per {later} yet");
            problems.push(per.span(), message, "write per = \"user\", or name a field");
            None
        }
        field => fields.resolve(field, per.span(), problems).map(Some),
    }
}

/// Returns the class of an exception, and the steps that it lies between.
fn except(
    except: &Spanned<typed::Except>,
    steps: &[(&str, bool, Range<usize>)],
    problems: &mut Problems,
) -> Option<(String, (usize, usize))> {
    let typed = except.get_ref();
    let help = "write { class = \"logout\", between = [\"cart\", \"purchase\"] }";
    let Some(class) = typed.class.as_ref().filter(|class| !class.get_ref().is_empty()) else {
        problems.push(except.span(), "an exception without `class`", help);
        return None;
    };
    let Some(between) = &typed.between else {
        return Some((class.get_ref().clone(), (0, steps.len().saturating_sub(1))));
    };
    let [from, to] = between.get_ref().as_slice() else {
        problems.push(between.span(), format!("`between` names {} steps", between.get_ref().len()), help);
        return None;
    };
    let mut find = |step: &Spanned<String>, last: bool| {
        let is = |(class, ..): &(&str, bool, Range<usize>)| class == step.get_ref();
        let found = if last { steps.iter().rposition(is) } else { steps.iter().position(is) };
        if found.is_none() {
            let near = nearest(step.get_ref(), steps.iter().map(|(class, ..)| *class));
            let help = near.map_or_else(|| "name a step of `steps`".into(), |near| format!("did you mean `{near}`?"));
            problems.push(step.span(), format!("`{}` is no step of the sequence", step.get_ref()), help);
        }
        found
    };
    let (from, to) = (find(from, false), find(to, true));
    Some((class.get_ref().clone(), (from?, to?)))
}

/// Returns what a word stands for, or the default.
fn choose<C: Copy + Default>(typed: Option<&Spanned<String>>, words: &[(&str, C)], problems: &mut Problems) -> C {
    let Some(typed) = typed else { return C::default() };
    let found = words.iter().find(|(word, _)| word == typed.get_ref());
    if found.is_none() {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        problems.push(
            typed.span(),
            format!("unknown word `{}`", typed.get_ref()),
            format!("write {}", all.join(" or ")),
        );
    }
    found.map_or_else(C::default, |(_, choice)| *choice)
}
