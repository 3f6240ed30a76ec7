//! `[[class]]`: declared rules. Both forms of `when` become one predicate. That becomes atomic tests without repeats,
//! and the answers that the rule wants.

use super::error::Problems;
use super::expression;
use super::fields::Fields;
use super::typed::{self, Asked, Class, Number, Predicates, Scalar, When};
use crate::collections::predicate::{self, Literal, Op, Predicate};
use crate::collections::predicate::{Found, Kind, Name, Names};
use dataflows::Decimal;
use dataflows::rules::{self, Condition, Conditions, Pattern, Place, Rule, Test, TextTest};
use headwater_decode::spec::StateWhen;
use std::ops::{Bound, Range};
use toml::Spanned;

const ASKED_HELP: &str = "write a value, or a table such as { in = [\"a\", \"b\"] }, { prefix = \"a\" }, \
                          { contains = \"a\" }, { exists = true } or { min = 1, max = 2 }";

const WHEN_HELP: &str =
    "say which events are meant, such as when = { page = \"checkout\" } or when = \"page like '/p/%'\"";

/// The class of an event, in a predicate that may ask for it: no field has this index.
const CLASS: usize = usize::MAX;

/// The names that a predicate of a state may use: those of fields, and `class`.
pub(super) struct WithClass<'f>(pub &'f mut Fields);

impl Names for WithClass<'_> {
    type Field = usize;

    const NOUN: &'static str = Fields::NOUN;
    const EMPTY_IS_ABSENT: bool = Fields::EMPTY_IS_ABSENT;

    fn find(&mut self, name: &Name) -> Result<Found<usize>, String> {
        match is_class(&name.text, self.0) {
            true => Ok(Found { field: CLASS, kind: Kind::Any }),
            false => self.0.find(name),
        }
    }
}

/// A field of that name comes first.
fn is_class(name: &str, fields: &Fields) -> bool {
    name == "class" && fields.named(name).is_none()
}

/// Adds the tests that any rule makes, and returns the rules over them. `text` is that of the file.
pub(super) fn compile(
    text: &str,
    classes: &[Spanned<Class>],
    fields: &mut Fields,
    tests: &mut Tests,
    problems: &mut Problems,
) -> Vec<Rule> {
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
        let Some(when) = &typed.when else {
            problems.push(class.span(), format!("class `{name}` has no `when`"), WHEN_HELP);
            continue;
        };
        let predicate = match when.get_ref() {
            When::Table(table) => {
                if table.is_empty() {
                    problems.push(when.span(), format!("class `{name}` would claim every event"), WHEN_HELP);
                }
                Some(of_table(table, fields, false, problems))
            }
            When::Text(typed) => match predicate::parse(typed, fields) {
                Ok(predicate) => Some(predicate),
                Err(error) => {
                    problems.push(expression::place(text, when.span(), &error), error.message, expression::HELP);
                    None
                }
            },
        };
        if let Some(predicate) = predicate {
            let when = flat(tests.conditions(&predicate, true));
            rules.push(Rule { name, priority: typed.priority, order, when, sessions: typed.sessions.unwrap_or(true) });
        }
    }
    rules
}

/// The tests so far.
#[derive(Default)]
pub(super) struct Tests {
    pub tests: Vec<Test>,
    /// Those of the class that the state at hand makes.
    classes: Vec<rules::Predicate>,
}

impl Tests {
    /// Returns the conditions of a state, and the tests of the class among them.
    pub fn of_state(&mut self, predicate: &Predicate<usize>) -> (Conditions, Vec<rules::Predicate>) {
        let conditions = flat(self.conditions(predicate, true));
        (conditions, std::mem::take(&mut self.classes))
    }

    /// Returns the conditions under which the predicate is certainly true, or certainly false if that is `wanted`. With
    /// an absent field it is neither, unless it asks for exactly that.
    fn conditions(&mut self, predicate: &Predicate<usize>, wanted: bool) -> Conditions {
        use rules::Predicate as Asked;
        let included = |literal: &Literal| Bound::Included(literal.clone());
        match predicate {
            Predicate::All(of) | Predicate::Any(of) => {
                let each = of.iter().map(|predicate| self.conditions(predicate, wanted)).collect();
                let all = matches!(predicate, Predicate::All(_)) == wanted;
                if all { Conditions::All(each) } else { Conditions::Any(each) }
            }
            Predicate::Not(predicate) => self.conditions(predicate, !wanted),
            Predicate::Compare(field, Op::Equal, Literal::Null) => self.one(*field, Asked::Exists, !wanted),
            Predicate::Compare(field, Op::NotEqual, Literal::Null) => self.one(*field, Asked::Exists, wanted),
            Predicate::Compare(_, _, Literal::Null) => Conditions::Any(Vec::new()),
            Predicate::Compare(field, op, literal) => {
                let (min, max) = match op {
                    Op::Equal | Op::NotEqual => {
                        let wanted = wanted == (*op == Op::Equal);
                        let asked = match literal {
                            Literal::Text(text) => Asked::OneOf(vec![text.clone()]),
                            Literal::Number(number) => Asked::Numbers(vec![*number]),
                            Literal::Null => Asked::Exists,
                        };
                        return self.value(*field, asked, wanted);
                    }
                    Op::Less => (Bound::Unbounded, Bound::Excluded(literal.clone())),
                    Op::AtMost => (Bound::Unbounded, included(literal)),
                    Op::Greater => (Bound::Excluded(literal.clone()), Bound::Unbounded),
                    Op::AtLeast => (included(literal), Bound::Unbounded),
                };
                self.within(*field, min, max, wanted)
            }
            Predicate::Between(field, low, high) => self.within(*field, included(low), included(high), wanted),
            Predicate::In(field, values) => {
                let mut each = Vec::new();
                if !values.texts().is_empty() {
                    each.push(self.value(*field, Asked::OneOf(values.texts().to_vec()), wanted));
                }
                if !values.numbers().is_empty() {
                    each.push(self.value(*field, Asked::Numbers(values.numbers().to_vec()), wanted));
                }
                if values.null() {
                    each.push(self.one(*field, Asked::Exists, !wanted));
                }
                if wanted { Conditions::Any(each) } else { Conditions::All(each) }
            }
            Predicate::StartsWith(field, prefix) => self.value(*field, Asked::Prefix(prefix.clone()), wanted),
            Predicate::Texts(field, texts) => self.value(*field, Asked::Texts(texts.clone()), wanted),
            Predicate::Matches(field, pattern) => self.value(*field, Asked::Matches(pattern.clone()), wanted),
            // The parser takes it of columns of classes only, and an event has none.
            Predicate::Has(..) => Conditions::Any(Vec::new()),
        }
    }

    fn within(&mut self, field: usize, min: Bound<Literal>, max: Bound<Literal>, wanted: bool) -> Conditions {
        let is_number = |bound: &Bound<Literal>| {
            matches!(bound, Bound::Included(Literal::Number(_)) | Bound::Excluded(Literal::Number(_)))
        };
        let number = |literal| if let Literal::Number(number) = literal { number } else { Decimal::ZERO };
        let text = |literal| if let Literal::Text(text) = literal { text } else { String::new() };
        // Where there are two, both are numbers, or none is.
        let asked = match is_number(&min) || is_number(&max) {
            true => rules::Predicate::Number { min: min.map(number), max: max.map(number) },
            false => rules::Predicate::Text { min: min.map(text), max: max.map(text) },
        };
        self.value(field, asked, wanted)
    }

    /// Returns the test of values. The answer that no value fits has to be certain too, and for an absent field it is
    /// not.
    fn value(&mut self, field: usize, asked: rules::Predicate, wanted: bool) -> Conditions {
        let condition = self.one(field, asked, wanted);
        if wanted {
            return condition;
        }
        Conditions::All(vec![condition, self.one(field, rules::Predicate::Exists, true)])
    }

    fn one(&mut self, field: usize, predicate: rules::Predicate, answer: bool) -> Conditions {
        if field == CLASS {
            self.classes.push(predicate);
            // As below.
            return Conditions::One(Condition { test: StateWhen::CLASSES + self.classes.len() as u32 - 1, answer });
        }
        let test = Test { field, predicate };
        let index = self.tests.iter().position(|known| *known == test).unwrap_or_else(|| {
            self.tests.push(test);
            self.tests.len() - 1
        });
        // A file with 2^32 tests would not fit into memory.
        Conditions::One(Condition { test: index as u32, answer })
    }
}

/// Returns the same conditions as one list, all of which have to hold, in canonical order. It has no inner lists of its
/// own kind, and no list of one.
fn flat(conditions: Conditions) -> Conditions {
    match simple(conditions) {
        Conditions::All(all) => Conditions::All(all),
        other => Conditions::All(vec![other]),
    }
}

fn simple(conditions: Conditions) -> Conditions {
    let (of, all) = match conditions {
        Conditions::One(condition) => return Conditions::One(condition),
        Conditions::All(of) => (of, true),
        Conditions::Any(of) => (of, false),
    };
    let inner = of.into_iter().map(simple).flat_map(|conditions| match conditions {
        Conditions::All(inner) if all => inner,
        Conditions::Any(inner) if !all => inner,
        other => vec![other],
    });
    let mut inner: Vec<Conditions> = inner.collect();
    inner.sort_unstable();
    inner.dedup();
    match inner.len() {
        1 => inner.remove(0),
        _ if all => Conditions::All(inner),
        _ => Conditions::Any(inner),
    }
}

/// Returns the predicate of the short form: all of its entries. `class`: it may ask for the class.
pub(super) fn of_table(
    table: &typed::Named<Spanned<Asked>>,
    fields: &mut Fields,
    class: bool,
    problems: &mut Problems,
) -> Predicate<usize> {
    let mut all = Vec::new();
    for (name, asked) in typed::in_order(table) {
        let index = match class && is_class(name.get_ref(), fields) {
            true => Some(CLASS),
            false => fields.resolve(name.get_ref(), name.span(), problems),
        };
        // So that mistakes in the values are reported too.
        let field = index.unwrap_or_default();
        match asked.get_ref() {
            Asked::Equals(scalar) => {
                let literal = literal(scalar, asked.span(), problems);
                all.extend(literal.map(|literal| Predicate::Compare(field, Op::Equal, literal)));
            }
            Asked::All(predicates) => ask_all(field, predicates, asked.span(), problems, &mut all),
        }
    }
    Predicate::All(all)
}

fn ask_all(
    field: usize,
    table: &Predicates,
    span: Range<usize>,
    problems: &mut Problems,
    all: &mut Vec<Predicate<usize>>,
) {
    let Predicates { one_of, prefix, suffix, contains, matches, nocase, not, exists, min, max } = table;
    let before = all.len();
    let faults = problems.len();
    let fold = nocase.as_ref().is_some_and(|fold| *fold.get_ref());
    if let Some(list) = one_of {
        if list.get_ref().is_empty() {
            problems.push(list.span(), "no event is one of an empty list", "name at least one value");
        }
        let mut texts = Vec::new();
        for scalar in list.get_ref() {
            if let Scalar::Float(number) = scalar.get_ref() {
                problems.push(
                    scalar.span(),
                    format!("{number} is compared as a number, which a list cannot do"),
                    "write it in quotes to compare texts, or give a range: { min = 1, max = 2 }",
                );
            } else {
                texts.extend(literal(scalar.get_ref(), scalar.span(), problems));
            }
        }
        all.push(if fold {
            let texts = texts.into_iter().filter_map(|literal| match literal {
                Literal::Text(text) => Some(text),
                _ => None,
            });
            Predicate::Texts(field, TextTest::new(Place::Whole, texts, true))
        } else {
            Predicate::In(field, texts.into_iter().collect())
        });
    }
    for (place, texts) in [(Place::Start, prefix), (Place::End, suffix), (Place::Within, contains)] {
        let Some(typed) = texts else { continue };
        let texts: Vec<(&String, Range<usize>)> = match typed.get_ref() {
            typed::OneOrMany::One(text) => vec![(text, typed.span())],
            typed::OneOrMany::Many(texts) => texts.iter().map(|text| (text.get_ref(), text.span())).collect(),
        };
        if texts.is_empty() {
            problems.push(typed.span(), "no text is one of an empty list", "name at least one text");
        }
        for (_, span) in texts.iter().filter(|(text, _)| text.is_empty()) {
            problems.push(span.clone(), "every text has an empty one", "write { exists = true }");
        }
        all.push(match (place, fold, texts.as_slice()) {
            (Place::Start, false, [(prefix, _)]) => Predicate::StartsWith(field, (*prefix).clone()),
            _ => {
                let texts = texts.into_iter().map(|(text, _)| text.clone());
                Predicate::Texts(field, TextTest::new(place, texts, fold))
            }
        });
    }
    if let Some(typed) = matches {
        let text = typed.get_ref();
        match Pattern::new(&if fold { format!("(?i){text}") } else { text.clone() }) {
            Ok(pattern) => all.push(Predicate::Matches(field, pattern)),
            Err(wrong) => problems.push(typed.span(), wrong, "write one such as \"(?i)bot|spider\""),
        }
    }
    if let Some(not) = not {
        let mut inner = Vec::new();
        match not.get_ref() {
            Asked::Equals(scalar) => {
                let literal = literal(scalar, not.span(), problems);
                inner.extend(literal.map(|literal| Predicate::Compare(field, Op::Equal, literal)));
            }
            Asked::All(predicates) => ask_all(field, predicates, not.span(), problems, &mut inner),
        }
        all.push(Predicate::Not(Box::new(Predicate::All(inner))));
    }
    if let Some(exists) = exists {
        let op = if *exists { Op::NotEqual } else { Op::Equal };
        all.push(Predicate::Compare(field, op, Literal::Null));
    }
    let mut bound = |bound: &Option<Spanned<Number>>| {
        bound.as_ref().and_then(|bound| {
            let number = match *bound.get_ref() {
                Number::Integer(number) => Decimal::from(number),
                Number::Float(float) => number(float, bound.span(), problems)?,
            };
            Some((number, bound.span()))
        })
    };
    all.extend(match (bound(min), bound(max)) {
        (Some((min, _)), Some((max, span))) if min > max => {
            problems.push(
                span,
                format!("no number is at least {min} and at most {max}"),
                "`min` must not be greater than `max`; both count as within",
            );
            None
        }
        (Some((min, _)), Some((max, _))) => Some(Predicate::Between(field, Literal::Number(min), Literal::Number(max))),
        (Some((min, _)), None) => Some(Predicate::Compare(field, Op::AtLeast, Literal::Number(min))),
        (None, Some((max, _))) => Some(Predicate::Compare(field, Op::AtMost, Literal::Number(max))),
        (None, None) => None,
    });
    if all.len() == before && problems.len() == faults {
        match nocase {
            Some(nocase) => problems.push(
                nocase.span(),
                "`nocase` with no text beside it",
                "add what is compared, such as { contains = \"bot\", nocase = true }",
            ),
            None => problems.push(span, "no predicate: the table is empty", ASKED_HELP),
        }
    }
}

/// Returns the meaning of a value of the short form: a number with a point is compared as a number, everything else by
/// its text.
fn literal(scalar: &Scalar, span: Range<usize>, problems: &mut Problems) -> Option<Literal> {
    Some(match scalar {
        Scalar::Text(text) if text.is_empty() => {
            problems.push(span, "an empty text counts as absent", "write { exists = false }");
            return None;
        }
        Scalar::Text(text) => Literal::Text(text.clone()),
        Scalar::Integer(number) => Literal::Text(number.to_string()),
        Scalar::Boolean(truth) => Literal::Text(truth.to_string()),
        Scalar::Float(float) => Literal::Number(number(*float, span, problems)?),
    })
}

fn number(number: f64, span: Range<usize>, problems: &mut Problems) -> Option<Decimal> {
    let decimal = Decimal::literal(&number.to_string());
    if decimal.is_none() {
        let help = match number.is_finite() {
            true => "write at most 25 digits before the point, and at most six behind it",
            false => "write a finite number, or leave it out",
        };
        problems.push(span, format!("{number} cannot be compared with"), help);
    }
    decimal
}

#[cfg(test)]
mod tests;
