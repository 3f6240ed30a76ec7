//! Rules in the language of predicates, from either form of the configuration.

use super::Plan;
use dataflows::rules::{Condition, Conditions, Place, Predicate, Rule, Test};
use headwater_decode::spec::FieldPlan;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Bound;

/// Returns the conditions of a rule, all of which have to hold.
pub fn all(plan: &Plan, rule: &Rule) -> Vec<String> {
    match &rule.when {
        Conditions::All(all) => all.iter().map(|conditions| conditions_shown(plan, conditions, true)).collect(),
        other => vec![conditions_shown(plan, other, false)],
    }
}

/// Returns what a test asks.
pub fn test(plan: &Plan, test: &Test) -> String {
    asked(&name(&plan.fields[test.field]), &test.predicate)
}

/// Returns rules over the tests of a plan as a file: its `[[class]]` blocks, and the `[fields]` that they name.
pub fn file(plan: &Plan, rules: &[Rule]) -> String {
    let mut named = BTreeSet::new();
    for rule in rules {
        rule.when.each(&mut |Condition { test, .. }| {
            named.extend(plan.tests.get(test as usize).map(|test| test.field));
        });
    }
    let needs_name = |field: &FieldPlan| !is_path(field) || name(field) != field.name;
    let mut text = String::new();
    // Writing to a text cannot fail.
    for field in named.into_iter().map(|field| &plan.fields[field]).filter(|field| needs_name(field)) {
        if text.is_empty() {
            text += "[fields]\n";
        }
        let paths: Vec<String> = field.candidates.iter().map(|path| quoted(&path.to_string())).collect();
        let _ = writeln!(text, "{} = [{}]", quoted(&field.name), paths.join(", "));
    }
    for rule in rules {
        let Rule { name, priority, sessions, .. } = rule;
        text += if text.is_empty() { "[[class]]\n" } else { "\n[[class]]\n" };
        let _ = writeln!(text, "name = {}", quoted(name));
        if *priority != 0 {
            let _ = writeln!(text, "priority = {priority}");
        }
        if !sessions {
            text += "sessions = false\n";
        }
        let _ = writeln!(text, "when = {}", quoted(&conditions_shown(plan, &rule.when, false)));
    }
    text
}

/// Returns whether a field is a path that has no other name.
fn is_path(field: &FieldPlan) -> bool {
    matches!(&field.candidates[..], [path] if path.to_string() == field.name)
}

/// Returns the name of a field as a predicate has it: in quotes, where it has signs or the word `not`.
fn name(field: &FieldPlan) -> Cow<'_, str> {
    let name = field.name.as_str();
    let signs = |c: char| c.is_whitespace() || "=<>!(),'\"&|".contains(c);
    let after_not = name.get(..3).filter(|word| word.eq_ignore_ascii_case("not")).map(|_| &name[3..]);
    let is_not = after_not.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
    // A path has quotes of its own.
    let is_plain = !name.contains(signs) && !is_not || is_path(field) && name.contains('"');
    match is_plain {
        true => name.into(),
        false => format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")).into(),
    }
}

/// Returns a text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Each rule of a plan as one predicate.
#[cfg(test)]
pub(crate) fn shown(plan: &Plan) -> Vec<String> {
    plan.rules.iter().map(|rule| conditions_shown(plan, &rule.when, false)).collect()
}

/// Writes conditions in the language of predicates. `within`: in a list, where another list is in parentheses.
fn conditions_shown(plan: &Plan, conditions: &Conditions, within: bool) -> String {
    let (of, word) = match conditions {
        Conditions::One(condition) => return condition_shown(plan, *condition),
        Conditions::All(of) => (of, " and "),
        Conditions::Any(of) => (of, " or "),
    };
    let shown = of.iter().map(|conditions| conditions_shown(plan, conditions, true)).collect::<Vec<_>>().join(word);
    if within { format!("({shown})") } else { shown }
}

fn condition_shown(plan: &Plan, condition: Condition) -> String {
    let test = &plan.tests[condition.test as usize];
    let field = &name(&plan.fields[test.field]);
    match (&test.predicate, condition.answer) {
        (Predicate::Exists, true) => format!("{field} is not null"),
        (Predicate::Exists, false) => format!("{field} is null"),
        (predicate, true) => asked(field, predicate),
        (predicate, false) => format!("not ({})", asked(field, predicate)),
    }
}

fn asked(field: &str, predicate: &Predicate) -> String {
    let text = |text: &String| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\'\'"));
    let one_of = |values: Vec<String>| match values.as_slice() {
        [only] => format!("{field} = {only}"),
        several => format!("{field} in ({})", several.join(", ")),
    };
    match predicate {
        Predicate::Exists => format!("{field} is not null"),
        Predicate::OneOf(texts) => one_of(texts.iter().map(text).collect()),
        Predicate::Numbers(numbers) => one_of(numbers.iter().map(ToString::to_string).collect()),
        Predicate::Prefix(prefix) => format!("{field} starts_with {}", text(prefix)),
        Predicate::Texts(texts) => {
            let of: Vec<_> = texts.texts.iter().map(text).collect();
            let of = if let [only] = of.as_slice() { only.clone() } else { format!("({})", of.join(", ")) };
            let word = match texts.place {
                Place::Whole if texts.texts.len() == 1 => "=",
                Place::Whole => "in",
                Place::Start => "starts_with",
                Place::End => "ends_with",
                Place::Within => "contains",
            };
            format!("{field} {word} {of}{}", if texts.fold { " nocase" } else { "" })
        }
        Predicate::Matches(pattern) => format!("{field} matches {}", text(&pattern.as_str().to_owned())),
        Predicate::Range { min, max } => {
            let bound =
                |bound: &Option<f64>| bound.map_or(Bound::Unbounded, |number| Bound::Included(number.to_string()));
            within(field, bound(min), bound(max))
        }
        Predicate::Number { min, max } => {
            within(field, min.map(|number| number.to_string()), max.map(|number| number.to_string()))
        }
        Predicate::Text { min, max } => within(field, min.as_ref().map(text), max.as_ref().map(text)),
    }
}

fn within(field: &str, min: Bound<String>, max: Bound<String>) -> String {
    let one = |op: &str, bound: &str| format!("{field} {op} {bound}");
    let (low, high) = match (&min, &max) {
        (Bound::Included(min), Bound::Included(max)) => return format!("{field} between {min} and {max}"),
        (min, max) => (
            match min {
                Bound::Included(min) => Some(one(">=", min)),
                Bound::Excluded(min) => Some(one(">", min)),
                Bound::Unbounded => None,
            },
            match max {
                Bound::Included(max) => Some(one("<=", max)),
                Bound::Excluded(max) => Some(one("<", max)),
                Bound::Unbounded => None,
            },
        ),
    };
    low.into_iter().chain(high).collect::<Vec<_>>().join(" and ")
}
