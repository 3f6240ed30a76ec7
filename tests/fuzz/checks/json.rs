//! [`JsonReader`] against serde_json: acceptance, and the values that are read.
//!
//! The first byte of the input chooses limits and an array to explode. It also chooses whether the rest is a payload,
//! or choices for a document that is valid JSON. The differences in acceptance that `docs/robustness.md` lists are
//! checked here.

use super::Choices;
use dataflows::{PathHash, Reason};
use headwater_decode::json::{JsonReader, Part};
use headwater_decode::path::Path;
use headwater_decode::path_set::PathSet;
use headwater_decode::reading::Reading;
use headwater_decode::spec::Limits;
use oracle::{Doc, Expected, Item};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

#[allow(dead_code, reason = "the property tests use the rest")]
#[path = "../../../crates/decode/src/json/oracle.rs"]
mod oracle;

/// Deeper than serde_json goes, shallow enough for the recursion of the oracle.
const DEPTH: usize = 160;

const DOCUMENT: u8 = 1;
const EXPLODES: u8 = 1 << 1;
const TIGHT: u8 = 1 << 2;

const EXPLODED: [&str; 4] = ["e", "a.b", "b[].e", "a[].b[].c"];
const ASKED: [&str; 14] = [
    "a", "b", "a.b", "a.c", "b.c", "a.b.c", "a[]", "a[].b", "a.b[]", "a[].b.c", "b[].a[]", "\"[]\"", "a.\"\"", "e[].a",
];

/// One event: where its bytes lie, and what was read or why it was not.
type Outcome = (std::ops::Range<usize>, Result<Expected, Reason>);

pub fn check(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let explode = (options & EXPLODES != 0).then(|| Path::parse(EXPLODED[usize::from(options >> 3) % 4]).unwrap());
    let limits = match options & TIGHT != 0 {
        true => Limits { event_bytes: 300, depth: 4, keys: 6 },
        false => Limits { event_bytes: 1 << 20, depth: DEPTH, keys: 4096 },
    };
    if options & DOCUMENT == 0 {
        return payload(rest, explode.as_ref(), limits);
    }
    let mut choices = Choices(rest);
    let style = u64::from(choices.next()) << 8 | u64::from(choices.next());
    let doc = object(&mut choices, 5);
    let text = doc.text(style);
    assert_eq!(Doc::parse(&text, DEPTH), Some(doc), "{text}");
    payload(text.as_bytes(), explode.as_ref(), limits);
}

fn payload(payload: &[u8], explode: Option<&Path>, limits: Limits) {
    let doc = arbiter(payload);
    let mut paths = PathSet::default();
    ASKED.iter().for_each(|path| _ = paths.add(&Path::parse(path).unwrap()));
    for item in doc.iter().flat_map(Doc::items).take(64) {
        if !item.steps.is_empty() {
            paths.add(&path(&item.steps));
        }
    }
    let verdict = verdict(payload, doc.as_ref(), explode, limits);
    // What is accepted must not depend on what is asked for.
    for paths in [PathSet::default(), paths] {
        let paths = Arc::new(paths);
        let mut reader = JsonReader::new(Arc::clone(&paths), explode, limits);
        let outcomes = read(&mut reader, &paths, payload);
        verdict.confirm(payload, &outcomes, &paths);
        // Nothing stays of what was read before.
        read(&mut reader, &paths, &payload[..payload.len() / 2]);
        read(&mut reader, &paths, b"{\"a\":{\"b\":[1]},\"a.b\":[2],\"e\":[{\"a\":1},{}]}");
        // The second time the layout is known, from the third time on a template.
        (0..3).for_each(|_| assert_eq!(read(&mut reader, &paths, payload), outcomes));
        // A template is left where it does not fit.
        for changed in changed(payload) {
            let mut fresh = JsonReader::new(Arc::clone(&paths), explode, limits);
            assert_eq!(read(&mut reader, &paths, &changed), read(&mut fresh, &paths, &changed));
        }
    }
}

/// The payload cut, continued, and with single bytes replaced, removed or doubled; its own bytes choose.
fn changed(payload: &[u8]) -> Vec<Vec<u8>> {
    let Some((last, cut)) = payload.split_last() else { return Vec::new() };
    let mut all = vec![cut.to_vec(), [payload, &[*last]].concat(), [payload, b" "].concat(), [payload, b"1"].concat()];
    let mut seed = payload.iter().fold(payload.len(), |seed, byte| seed.wrapping_mul(31).wrapping_add((*byte).into()));
    for _ in 0..4 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (at, other) = ((seed >> 33) % payload.len(), payload[(seed >> 13) % payload.len()]);
        let mut changed = payload.to_vec();
        match seed >> 61 {
            0 | 1 => _ = changed.remove(at),
            2 | 3 => changed.insert(at, payload[at]),
            4 | 5 => changed[at] = other,
            bit => changed[at] ^= 1 << ((seed >> 5) % 5 + bit - 6),
        }
        all.push(changed);
    }
    all
}

/// Returns the document of serde_json, if it accepts the payload. Its two interfaces may differ only in the documented
/// points.
fn arbiter(payload: &[u8]) -> Option<Doc> {
    let value = serde_json::from_slice::<Value>(payload);
    let doc = std::str::from_utf8(payload).ok().and_then(|text| Doc::parse(text, DEPTH));
    match (&value, &doc) {
        (Ok(value), Some(doc)) => assert_eq!(value, &last_wins(doc)),
        (Ok(value), None) => panic!("serde_json accepts what the oracle refuses: {value}"),
        (Err(error), Some(doc)) => {
            let number = error.to_string().contains("number out of range") && has_huge_number(doc);
            let deep = error.to_string().contains("recursion limit exceeded") && doc.depth() >= 128;
            assert!(number || deep, "serde_json refuses what the oracle accepts: {error}");
        }
        (Err(_), None) => {}
    }
    doc
}

fn last_wins(doc: &Doc) -> Value {
    match doc {
        Doc::Null => Value::Null,
        Doc::Bool(truth) => Value::Bool(*truth),
        Doc::Number(text) => serde_json::from_str(text).unwrap(),
        Doc::String(text) => Value::String(text.clone()),
        Doc::Array(items) => Value::Array(items.iter().map(last_wins).collect()),
        Doc::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), last_wins(value))).collect())
        }
        Doc::Exploded => unreachable!("nothing was exploded"),
    }
}

fn has_huge_number(doc: &Doc) -> bool {
    match doc {
        Doc::Number(text) => text.parse::<f64>().unwrap().is_infinite(),
        Doc::Array(items) => items.iter().any(has_huge_number),
        Doc::Object(fields) => fields.iter().any(|(_, value)| has_huge_number(value)),
        _ => false,
    }
}

/// The expected result of a payload.
enum Verdict {
    /// The payload is refused, or (if it is no JSON) perhaps for its brackets.
    Refused(Reason),
    NoJson {
        may_be_deep: bool,
    },
    /// It is one event.
    Whole(Vec<Item>),
    /// It explodes; each element with what it holds.
    Elements {
        inherited: Vec<Item>,
        elements: Vec<(Doc, Result<Vec<Item>, Reason>)>,
    },
}

fn verdict(payload: &[u8], doc: Option<&Doc>, explode: Option<&Path>, limits: Limits) -> Verdict {
    if payload.len() > limits.event_bytes {
        return Verdict::Refused(Reason::TooLarge);
    }
    let Ok(text) = std::str::from_utf8(payload) else { return Verdict::Refused(Reason::NotUtf8) };
    let Some(doc) = doc else {
        // Nesting is looked at first, in text of whatever kind; the oracle refuses what is too deep for it.
        return Verdict::NoJson { may_be_deep: text.matches(['{', '[']).count() > limits.depth };
    };
    if doc.depth() > limits.depth {
        return Verdict::Refused(Reason::TooDeep);
    }
    let mut doc = doc.clone();
    let mut elements = Vec::new();
    if let Some(explode) = explode {
        doc.explode(explode.hash(), PathHash::ROOT, &mut elements);
    }
    if let Some(reason) = refused(&doc, 0, limits) {
        return Verdict::Refused(reason);
    }
    let items = doc.items();
    if !doc.is_exploded() {
        return Verdict::Whole(items);
    }
    let leaves: BTreeSet<u64> = items.iter().filter_map(|item| Some(item.path().leaf(item.leaf?))).collect();
    if leaves.len() > limits.keys {
        return Verdict::Refused(Reason::TooManyKeys);
    }
    let keys = doc.keys();
    let judged = |element: Doc| match refused(&element, keys, limits) {
        Some(reason) => (element, Err(reason)),
        None => {
            let items = element.items();
            (element, Ok(items))
        }
    };
    Verdict::Elements { inherited: items, elements: elements.into_iter().map(judged).collect() }
}

impl Verdict {
    fn confirm(&self, payload: &[u8], outcomes: &[Outcome], paths: &PathSet) {
        let whole = 0..payload.len();
        match self {
            Verdict::Refused(reason) => assert_eq!(outcomes, [(whole, Err(*reason))]),
            Verdict::NoJson { may_be_deep } => {
                let [(range, Err(reason))] = outcomes else { panic!("this is no JSON, and was read: {outcomes:?}") };
                assert!(*reason == Reason::NoJson || *may_be_deep && *reason == Reason::TooDeep, "{reason:?}");
                assert_eq!(*range, whole);
            }
            Verdict::Whole(items) => assert_eq!(outcomes, [(whole, Ok(expected(items, &[], paths)))]),
            Verdict::Elements { inherited, elements } => {
                assert_eq!(outcomes.len(), elements.len());
                let mut end = 0;
                for ((range, result), (element, items)) in outcomes.iter().zip(elements) {
                    // A payload that explodes is UTF-8.
                    let text = std::str::from_utf8(&payload[range.clone()]).unwrap();
                    assert!(end <= range.start && text.trim() == text);
                    assert_eq!(Doc::parse(text, DEPTH).as_ref(), Some(element));
                    assert_eq!(
                        *result,
                        items.as_ref().map(|own| expected(own, inherited, paths)).map_err(|reason| *reason)
                    );
                    end = range.end;
                }
            }
        }
    }
}

fn expected(own: &[Item], inherited: &[Item], paths: &PathSet) -> Expected {
    let values = (oracle::values(own, paths).into_iter().zip(oracle::values(inherited, paths)))
        .map(|(own, inherited)| if own.is_empty() { inherited } else { own })
        .collect();
    let ambiguous = oracle::ambiguous(own) || oracle::ambiguous(inherited);
    let exists = oracle::exists(own, paths).into_iter().zip(oracle::exists(inherited, paths));
    let exists = exists.map(|(own, inherited)| own || inherited).collect();
    Expected { shape: oracle::shape(own.iter().chain(inherited)), ambiguous, values, exists }
}

fn refused(doc: &Doc, keys_around: usize, limits: Limits) -> Option<Reason> {
    if !matches!(doc, Doc::Object(_)) {
        Some(Reason::NotAnObject)
    } else if doc.keys() + keys_around > limits.keys {
        Some(Reason::TooManyKeys)
    } else {
        doc.repeats_a_key().then_some(Reason::DuplicateKey)
    }
}

fn read(reader: &mut JsonReader, paths: &PathSet, payload: &[u8]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    reader.read(payload, &mut Reading::default(), |Part { offset, bytes }, result| {
        assert_eq!(&payload[offset..offset + bytes.len()], bytes);
        let result = result.map(|reading| oracle::observed(reading, paths)).map_err(|fault| {
            assert!(!fault.message.is_empty());
            fault.reason
        });
        outcomes.push((offset..offset + bytes.len(), result));
    });
    outcomes
}

/// As the configuration would write it.
fn path(steps: &oracle::Steps) -> Path {
    let mut text = String::new();
    for step in steps {
        match step {
            None => text.push_str("[]"),
            Some(key) => {
                text.push_str(if text.is_empty() { "\"" } else { ".\"" });
                text.push_str(&key.replace('\\', r"\\").replace('"', "\\\""));
                text.push('"');
            }
        }
    }
    Path::parse(&text).unwrap()
}

/// A document in which equal keys, equal paths by dots and by nesting, and all kinds of values are frequent.
fn value(choices: &mut Choices, depth: usize) -> Doc {
    match choices.below(8) {
        0 => Doc::Null,
        1 => Doc::Bool(choices.below(2) == 1),
        2 => Doc::Number(
            choices.of(&["0", "-0", "7", "1.50", "-1.5e-7", "1E999", "123456789012345678901234567890"]).into(),
        ),
        3 => Doc::String(
            choices.of(&["", "x", "é", "\u{1}\u{7f}", "\"\\/", "𝄞\u{10ffff}", "a long text without escapes"]).into(),
        ),
        4 => Doc::String(
            char::from_u32(u32::from(choices.next()) << 8 | u32::from(choices.next())).into_iter().collect(),
        ),
        _ if depth == 0 || choices.is_empty() => Doc::Object(Vec::new()),
        5 => Doc::Array((0..choices.below(4)).map(|_| value(choices, depth - 1)).collect()),
        _ => object(choices, depth - 1),
    }
}

fn object(choices: &mut Choices, depth: usize) -> Doc {
    const KEYS: [&str; 11] = ["a", "b", "c", "e", "a.b", "b.c", "a.b.c", ".", "", "[]", "é\"\n𝄞"];
    let count = choices.below(6);
    Doc::Object((0..count).map(|_| (choices.of(&KEYS).to_owned(), value(choices, depth))).collect())
}
