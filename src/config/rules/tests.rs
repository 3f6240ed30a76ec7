//! Rules against a slow and obvious evaluator of predicates, in both forms, with any earlier tests.

use crate::config::{self, Overrides};
use crate::plan::Plan;
use crate::queue::definitions::Definitions;
use dataflows::{Position, classify};
use headwater_decode::framing::Framing;
use headwater_decode::interpret::{Batch, Range};
use headwater_decode::spec::Format;
use headwater_decode::{Block, Decoder};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

fn plan(text: &str) -> Plan {
    let overrides = Overrides { without_files: true, live: true, ..Overrides::default() };
    let source = "[[source]]\nname = 'web'\nkind = 'http'\n[fields]\nn = ['a.n', 'n']\n";
    config::parse("test.toml", &format!("{source}{text}"), Path::new("/"), &overrides)
        .unwrap_or_else(|error| panic!("{:?}\n{text}", miette::Report::new(error)))
}

/// The class of each event.
fn classes(plan: Plan, events: &[Value]) -> Vec<String> {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let definitions = classify::Definitions::new(plan.rules.clone(), &BTreeSet::new());
    let (mut batch, position) = (Batch::default(), Position { source: 0, part: 0, offset: 0 });
    let (format, framing, bytes) = (Format::Json, Framing::Lines, lines.as_bytes());
    let block = Block { position, format, framing, header: None, received: None, bytes };
    Decoder::new(plan.spec(), Range::default()).read(&block, &mut batch);
    assert_eq!(batch.input.records.len(), events.len(), "{:?}", batch.dead_letters);
    let descriptors: BTreeMap<_, _> = batch.input.signatures.into_iter().collect();
    let class = |record: &dataflows::Record| definitions.classify(&descriptors[&record.event.signature]).0.to_owned();
    batch.input.records.iter().map(class).collect()
}

/// A predicate on `n` (a field with two candidates), `t` (a path) or `xs[].v` (a path with several values).
#[derive(Clone, Debug)]
enum Asked {
    All(Vec<Asked>),
    Any(Vec<Asked>),
    Not(Box<Asked>),
    Null(usize),
    Compare(usize, &'static str, Literal),
    Between(usize, Literal, Literal),
    In(usize, Vec<Literal>, bool),
    Like(usize, String),
}

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Literal {
    Text(String),
    /// In halves.
    Number(i32),
    Truth(bool),
}

const FIELDS: [(&str, &[&str]); 3] = [("n", &["/a/n", "/n"]), ("t", &["/t"]), ("xs[].v", &["/xs"])];
const OPS: [&str; 8] = ["=", "==", "<>", "!=", "<", "<=", ">", ">="];

impl Literal {
    fn text(&self) -> String {
        match self {
            Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Literal::Number(halves) => (f64::from(*halves) / 2.0).to_string(),
            Literal::Truth(truth) => truth.to_string(),
        }
    }

    /// Returns the order of a value beside it, if they can be compared.
    fn ordering(&self, value: &str) -> Option<std::cmp::Ordering> {
        match self {
            Literal::Text(text) => Some(value.cmp(text)),
            Literal::Truth(truth) => Some(value.cmp(if *truth { "true" } else { "false" })),
            Literal::Number(halves) => value.trim().parse::<f64>().ok()?.partial_cmp(&(f64::from(*halves) / 2.0)),
        }
    }
}

impl Asked {
    fn text(&self) -> String {
        let joined = |of: &[Asked], word: &str| {
            format!("({})", of.iter().map(Asked::text).collect::<Vec<_>>().join(&format!(" {word} ")))
        };
        match self {
            Asked::All(of) => joined(of, "and"),
            Asked::Any(of) => joined(of, "or"),
            Asked::Not(asked) => format!("not {}", asked.text()),
            Asked::Null(field) => format!("{} is null", FIELDS[*field].0),
            Asked::Compare(field, op, literal) => format!("{} {op} {}", FIELDS[*field].0, literal.text()),
            Asked::Between(field, low, high) => {
                format!("{} between {} and {}", FIELDS[*field].0, low.text(), high.text())
            }
            Asked::In(field, literals, null) => {
                let mut values: Vec<String> = literals.iter().map(Literal::text).collect();
                values.extend(null.then(|| "null".to_owned()));
                format!("{} in ({})", FIELDS[*field].0, values.join(", "))
            }
            Asked::Like(field, prefix) => format!("{} like '{prefix}%'", FIELDS[*field].0),
        }
    }

    /// Returns whether the predicate chooses the event; `None` if that is unknown.
    fn truth(&self, event: &Value) -> Option<bool> {
        let of_values = |field: usize, fits: &dyn Fn(&str) -> bool| {
            exists(event, field).then(|| values(event, field).iter().any(|value| fits(value)))
        };
        match self {
            Asked::All(of) => {
                let truths: Vec<_> = of.iter().map(|asked| asked.truth(event)).collect();
                if truths.contains(&Some(false)) {
                    Some(false)
                } else {
                    truths.iter().all(|t| *t == Some(true)).then_some(true)
                }
            }
            Asked::Any(of) => {
                let truths: Vec<_> = of.iter().map(|asked| asked.truth(event)).collect();
                if truths.contains(&Some(true)) {
                    Some(true)
                } else {
                    truths.iter().all(|t| *t == Some(false)).then_some(false)
                }
            }
            Asked::Not(asked) => asked.truth(event).map(|truth| !truth),
            Asked::Null(field) => Some(!exists(event, *field)),
            Asked::Compare(field, op, literal) => {
                let fits = |value: &str| {
                    literal.ordering(value).is_some_and(|ordering| match *op {
                        "<" => ordering.is_lt(),
                        "<=" => ordering.is_le(),
                        ">" => ordering.is_gt(),
                        ">=" => ordering.is_ge(),
                        _ => ordering.is_eq(),
                    })
                };
                of_values(*field, &fits).map(|truth| truth != matches!(*op, "<>" | "!="))
            }
            Asked::Between(field, low, high) => of_values(*field, &|value| {
                low.ordering(value).is_some_and(std::cmp::Ordering::is_ge)
                    && high.ordering(value).is_some_and(std::cmp::Ordering::is_le)
            }),
            Asked::In(field, literals, null) => {
                let fits =
                    |value: &str| literals.iter().any(|one| one.ordering(value).is_some_and(std::cmp::Ordering::is_eq));
                of_values(*field, &fits).or(null.then_some(true))
            }
            Asked::Like(field, prefix) => of_values(*field, &|value| value.starts_with(prefix.as_str())),
        }
    }
}

fn is_there(value: &Value) -> bool {
    !matches!(value, Value::Null) && *value != json!("")
}

/// The values at one of the paths of a field that are there, with those that have no text.
fn at<'e>(event: &'e Value, field: usize, path: &str) -> Vec<&'e Value> {
    let found = event.pointer(path);
    let all: Vec<&Value> = match (field, found) {
        (2, Some(Value::Array(items))) => items.iter().filter_map(|item| item.get("v")).collect(),
        (2, _) | (_, None) => Vec::new(),
        (_, Some(value)) => vec![value],
    };
    all.into_iter().filter(|value| is_there(value)).collect()
}

fn exists(event: &Value, field: usize) -> bool {
    FIELDS[field].1.iter().any(|path| !at(event, field, path).is_empty())
}

/// Of the first path that has some.
fn values(event: &Value, field: usize) -> Vec<String> {
    let texts = |path: &&str| -> Vec<String> {
        let text = |value: &&Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            _ => None,
        };
        at(event, field, path).iter().filter_map(text).collect()
    };
    FIELDS[field].1.iter().map(texts).find(|values| !values.is_empty()).unwrap_or_default()
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        "[ab2-]{1,2}|it's".prop_map(Literal::Text),
        (-5..6_i32).prop_map(Literal::Number),
        any::<bool>().prop_map(Literal::Truth),
    ]
}

fn asked() -> impl Strategy<Value = Asked> {
    let leaf = prop_oneof![
        (0..3_usize).prop_map(Asked::Null),
        (0..3_usize, prop::sample::select(&OPS[..]), literal()).prop_map(|(of, op, with)| Asked::Compare(of, op, with)),
        (0..3_usize, -5..3_i32, 0..4_i32).prop_map(|(of, low, more)| Asked::Between(
            of,
            Literal::Number(low),
            Literal::Number(low + more)
        )),
        (0..3_usize, "[ab]{1,2}", "[ab2]{0,2}").prop_map(|(of, low, more)| Asked::Between(
            of,
            Literal::Text(low.clone()),
            Literal::Text(low + &more)
        )),
        (0..3_usize, prop::collection::vec(literal(), 1..4), any::<bool>())
            .prop_map(|(of, literals, null)| Asked::In(of, literals, null)),
        (0..3_usize, "[ab2]{1,2}").prop_map(|(of, prefix)| Asked::Like(of, prefix)),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Asked::All),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Asked::Any),
            inner.prop_map(|asked| Asked::Not(Box::new(asked))),
        ]
    })
}

fn event() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        2 => "[ab2-]{1,2}|it's".prop_map(Value::from),
        2 => (-5..6_i32).prop_map(|halves| if halves % 2 == 0 { json!(halves / 2) } else { json!(f64::from(halves) / 2.0) }),
        1 => (-3..4_i32).prop_map(|number| json!(format!(" {number}.0 "))),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop::sample::select(vec![Value::Null, json!(""), json!({}), json!({ "x": 1 })]),
    ];
    let maybe = || prop::option::weighted(0.6, value.clone());
    let items = prop::option::weighted(0.7, prop::collection::vec(maybe(), 0..3));
    (maybe(), maybe(), maybe(), items).prop_map(|(inner, n, t, items)| {
        let mut event = json!({ "user_id": "u", "time": 1_700_000_000 });
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                event[key] = value;
            }
        };
        put("a", inner.map(|n| json!({ "n": n })));
        put("n", n);
        put("t", t);
        let item = |v: Option<Value>| v.map_or(json!({}), |v| json!({ "v": v }));
        put("xs", items.map(|items| items.into_iter().map(item).collect()));
        event
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Of the plan as it is, as a replay has it, and after other definitions, as a run has it.
    #[test]
    fn a_class_has_the_events_that_its_predicate_means(
        asked in prop::collection::vec(asked(), 1..4),
        before in prop::collection::vec(asked(), 0..3),
        events in prop::collection::vec(event(), 1..12),
    ) {
        let config = |of: &[Asked]| {
            let mut text = String::new();
            for (index, asked) in of.iter().enumerate() {
                write!(text, "[[class]]\nname = 'c{index}'\nwhen = \"\"\"\n{}\"\"\"\n", asked.text()).unwrap();
            }
            text
        };
        let expected: Vec<String> = events.iter().map(|event| {
            let first = asked.iter().position(|asked| asked.truth(event) == Some(true));
            first.map_or("unclassified".into(), |index| format!("c{index}"))
        }).collect();
        let replayed = plan(&config(&asked));
        prop_assert_eq!(&classes(replayed.clone(), &events), &expected, "{}", config(&asked));
        let definitions = Definitions::default().followed_by(&plan(&config(&before)), None).followed_by(&replayed, None);
        let bytes = serde_json::to_vec(&definitions).unwrap();
        let definitions: Definitions = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&classes(definitions.plan(&replayed, &[]).unwrap(), &events), &expected);
        // What the outline shows is the same rule again.
        let shown = crate::plan::shown::shown(&replayed);
        let again = shown.iter().enumerate().fold(String::new(), |mut text, (index, when)| {
            write!(text, "[[class]]\nname = 'c{index}'\nwhen = \"\"\"\n{when}\"\"\"\n").unwrap();
            text
        });
        prop_assert_eq!(&classes(plan(&again), &events), &expected, "{}", again);
    }
}

#[test]
fn the_table_is_a_short_form_of_the_text() {
    for (table, text) in [
        ("{ t = 'a' }", "t = 'a'"),
        ("{ t = 404, n = true }", "t = '404' and n = true"),
        ("{ n = 2.5 }", "n = 2.5"),
        ("{ n = { in = ['b', 'a', 3, true, 'a'] } }", "n in ('a', 'b', '3', true)"),
        ("{ t = { prefix = '/p/' } }", "t like '/p/%'"),
        ("{ t = { prefix = '/p_' } }", "t starts_with '/p_'"),
        ("{ t = { prefix = ['/p', '/q'] } }", "t starts_with ('/q', '/p')"),
        ("{ t = { suffix = ['.css'] } }", "t ends_with '.css'"),
        ("{ t = { contains = ['A', 'b'], nocase = true } }", "t contains ('a', 'B') nocase"),
        ("{ t = { in = ['A'], nocase = true } }", "t = 'a' nocase"),
        ("{ t = { matches = 'a|b' } }", "t matches 'a|b'"),
        ("{ t = { not = { contains = 'a' } } }", "not t contains 'a'"),
        ("{ t = { not = 'a' } }", "t <> 'a'"),
        ("{ t = { exists = true }, n = { exists = false } }", "n is null and t is not null"),
        ("{ n = { min = 0.01 } }", "n >= 0.01"),
        ("{ n = { max = 2 } }", "n <= 2"),
        ("{ n = { min = 1, max = 2.5 } }", "n between 1 and 2.5"),
        ("{ t = { prefix = 'a', exists = true, min = 1 } }", "t like 'a%' and t is not null and t >= 1"),
        ("{ 'a.\"b c\"[]' = 'x' }", "a.\"b c\"[] = 'x'"),
        ("{ 'case:concept:name' = 'x', '@t' = 'y', 'a-b' = 'z' }", "a-b='z' and @t='y' and case:concept:name='x'"),
    ] {
        let of = |when: &str| plan(&format!("[[class]]\nname = 'x'\nwhen = {when}\n"));
        let (table, text) = (of(table), of(&format!("'''{text}'''")));
        let named = |plan: &Plan| Definitions::default().followed_by(plan, None);
        let (table, text) = (named(&table), named(&text));
        let sorted = |definitions: &Definitions| {
            let dataflows::Conditions::All(all) = &definitions.rules[0].when else { panic!("a list") };
            let mut asked: Vec<String> = all
                .iter()
                .map(|conditions| {
                    let dataflows::Conditions::One(condition) = conditions else { panic!("one: {conditions:?}") };
                    format!("{:?} {}", definitions.tests[condition.test as usize], condition.answer)
                })
                .collect();
            asked.sort();
            asked
        };
        assert_eq!(sorted(&table), sorted(&text));
    }
}

#[test]
fn a_mistake_is_underlined_within_the_expression() {
    for (when, underlined, message, help) in [
        ("'price >= cheap'", "cheap", "expected a text in quotes, a number, true, false or null, not `cheap`", ""),
        ("\"page = \\\"a\\\" && n = 1\"", "&", "`&` means nothing here; write `and`", ""),
        ("'''\nn = 1\nor t like '%x'\n'''", "'%x'", "`like` takes the beginning", "starts_with"),
        ("'n = '", "'", "not the end", ""),
        ("'t = \"\"'", "\"\"", "an empty text counts as absent: write `is null`", ""),
        ("'a[0] = 1'", "a[0]", "stray bracket", ""),
        ("'n between 2 and 1'", "2 and 1", "write the smaller one first", ""),
        ("'n = 0.0000001'", "0.0000001", "at most six behind it", ""),
    ] {
        let text = format!("[[class]]\nname = 'x'\nwhen = {when}\n");
        let overrides = Overrides { without_files: true, ..Overrides::default() };
        let error = config::parse("test.toml", &text, Path::new("/"), &overrides).unwrap_err();
        let report: &dyn miette::Diagnostic = &error;
        let label = report.labels().unwrap().next().unwrap();
        assert_eq!(&text[label.offset()..label.offset() + label.len()], underlined, "{text}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().contains(help), "{error}");
    }
}
