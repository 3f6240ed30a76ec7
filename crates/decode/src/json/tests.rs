//! Against the oracle, against serde_json, and by example.

use super::documents;
use super::oracle::{self, Doc};
use super::*;
use dataflows::{ShapeId, ValueKind};
use proptest::prelude::*;

/// Fault or what was read, per event, with the bytes it came from.
type Outcome = (String, Result<oracle::Expected, Reason>);

fn path_set(paths: &[&str]) -> Arc<PathSet> {
    let mut set = PathSet::default();
    paths.iter().for_each(|path| _ = set.add(&Path::parse(path).unwrap()));
    Arc::new(set)
}

/// Every other path of the oracle's small documents.
fn some_paths() -> Arc<PathSet> {
    path_set(&[
        "a", "b", "a.b", "a.c", "b.c", "a.b.c", "a[]", "a[].b", "a.b[]", "a[].b.c", "b[].a[]", r#""[]""#, r#"a."""#,
    ])
}

fn read(reader: &mut JsonReader, payload: &[u8]) -> Vec<Outcome> {
    let paths = reader.paths.clone();
    let mut outcomes = Vec::new();
    reader.read(payload, &mut Reading::default(), |part, result| {
        assert_eq!(&payload[part.offset..part.offset + part.bytes.len()], part.bytes);
        let text = String::from_utf8_lossy(part.bytes).into_owned();
        if let Ok(reading) = &result {
            check_leaves(reading);
        }
        outcomes.push((text, result.map(|reading| oracle::observed(reading, &paths)).map_err(|fault| fault.reason)));
    });
    outcomes
}

/// Leaves are said once for each shape, and are those that its id was made of.
fn check_leaves(reading: &Reading) {
    let Some(leaves) = &reading.leaves else { return };
    let hash = |path: &str| if path.is_empty() { PathHash::ROOT } else { Path::parse(path).unwrap().hash() };
    let mut hashes = leaves.named.iter().map(|leaf| hash(&leaf.path).leaf(leaf.kind)).collect();
    assert_eq!((ShapeId::of(&mut hashes), leaves.more), (reading.shape.unwrap(), 0), "{leaves:?}");
}

fn read_once(payload: &str, paths: &[&str]) -> Result<oracle::Expected, Reason> {
    let mut outcomes = read(&mut JsonReader::new(path_set(paths), None, Limits::default()), payload.as_bytes());
    assert_eq!((outcomes.len(), outcomes[0].0.as_str()), (1, payload));
    outcomes.remove(0).1
}

fn exploding(paths: &[&str], explode: &str, payload: &str) -> Vec<(String, String)> {
    let mut reader = JsonReader::new(path_set(paths), Some(&Path::parse(explode).unwrap()), Limits::default());
    let values = |read: oracle::Expected| {
        let texts = |values: &Vec<(ValueKind, String)>| values.iter().map(|value| value.1.clone()).collect::<Vec<_>>();
        read.values.iter().map(|values| texts(values).join("+")).collect::<Vec<_>>().join(" ")
    };
    let outcomes = read(&mut reader, payload.as_bytes()).into_iter();
    outcomes.map(|(text, result)| (text, result.map_or_else(|reason| reason.code().to_owned(), values))).collect()
}

fn shape(payload: &str) -> ShapeId {
    read_once(payload, &[]).unwrap().shape
}

fn fault(payload: &[u8], limits: Limits) -> Option<Fault> {
    let mut fault = None;
    JsonReader::new(Arc::default(), None, limits)
        .read(payload, &mut Reading::default(), |_, result| fault = result.err());
    fault
}

#[test]
fn values_keep_their_text() {
    for (text, expected) in [
        ("18446744073709551616", "18446744073709551616"),
        ("-0", "-0"),
        ("1.10", "1.10"),
        ("1457741907.959400112", "1457741907.959400112"),
        ("1e999", "1e999"),
        ("0.1234567890123456789012345678901234567890", "0.1234567890123456789012345678901234567890"),
        ("true", "true"),
        (r#""\u00e9\ud834\udd1e\n\/""#, "é𝄞\n/"),
        (r#""plain""#, "plain"),
    ] {
        let read = read_once(&format!(r#"{{"x":{{"\u0061":{text}}},"last":1}}"#), &["x.a"]).unwrap();
        assert_eq!(read.values[0][0].1, expected);
    }
    for absent in ["null", r#""""#, "{}", "[]", r#"["x"]"#, r#"{"b":"x"}"#] {
        assert_eq!(read_once(&format!(r#"{{"a":{absent}}}"#), &["a"]).unwrap().values, [[]]);
    }
}

#[test]
fn nested_goes_before_dotted() {
    for (payload, ambiguous, expected) in [
        (r#"{"a.b":1,"a":{"b":2}}"#, true, "2"),
        (r#"{"a":{"b":2},"a.b":1}"#, true, "2"),
        (r#"{"a.b":1,"a":{"c":2}}"#, false, "1"),
        (r#"{"a.b":1,"a":{"b":null}}"#, false, "1"),
        (r#"{"a.b":1,"a":{"b":""}}"#, true, "1"),
        (r#"{"a.b":1,"a":{"b":[2]}}"#, true, ""),
        (r#"{"a.b":1,"a":{"b":{"c":2}}}"#, false, "1"),
        (r#"{"x":[{"a.b":1},{"a":{"b":2}}]}"#, false, "1+2"),
        (r#"{"x":[{"a.b":1,"a":{"b":2}},{"a.b":3}]}"#, true, "2+3"),
        (r#"{"x":[{"a.b":1},{"a":{"b":2}}],"c.d":1,"c":{"d":2}}"#, true, "1+2"),
        (r#"{"y.x":[{"a.b":1,"a":{"b":2}}],"x":[]}"#, true, "2"),
    ] {
        let read = read_once(payload, &["a.b", "x[].a.b", "y.x[].a.b"]).unwrap();
        let texts: Vec<_> = read.values.iter().flatten().map(|value| value.1.as_str()).collect();
        assert_eq!((read.ambiguous, texts.join("+").as_str()), (ambiguous, expected), "{payload}");
    }
    // An object stands beside a value, it is not outdone by one.
    let read = read_once(r#"{"a.b":{"c":1},"a":{"b":2},"x.y":3,"x":{"y":4}}"#, &["a.b.c", "a.b"]).unwrap();
    assert_eq!((read.ambiguous, read.values.iter().flatten().count()), (true, 2));
    let read = read_once(r#"{"a.b":[1],"a":{"b":[2]}}"#, &["a.b[]"]).unwrap();
    assert_eq!((read.ambiguous, read.values), (true, vec![vec![(ValueKind::Number, "2".to_owned())]]));
}

/// An object or an array was as if it were not there.
#[test]
fn what_exists_has_a_value_or_is_an_object_or_an_array() {
    for (payload, expected) in [
        (r#"{"a":1}"#, "a"),
        (r#"{"a":false}"#, "a"),
        (r#"{"a":null}"#, ""),
        (r#"{"a":""}"#, ""),
        (r#"{"a":{}}"#, "a"),
        (r#"{"a":[]}"#, "a"),
        (r#"{"a":[null]}"#, "a"),
        (r#"{"a":[{}]}"#, "a a[]"),
        (r#"{"a":[[]]}"#, "a a[]"),
        (r#"{"a":{"x":null}}"#, "a"),
        (r#"{"a":{"b":{"c":""}}}"#, "a a.b"),
        (r#"{"a.b":{}}"#, "a a.b"),
        (r#"{"a.b":null}"#, "a"),
        (r#"{"a":{"b":null}}"#, "a"),
        (r#"{"a.b.c":""}"#, "a a.b"),
        (r#"{"a.b":[{"c":{}}]}"#, "a a.b a.b[].c"),
        (r#"{"a":{"b":[{"c.d":1}]}}"#, "a a.b a.b[].c"),
        (r#"{"a.b":[{"c.d":1}],"a":{"b":1}}"#, "a a.b"),
        (r#"{"a.b":[{"c":{}}],"a":{"b":1}}"#, "a a.b"),
    ] {
        let paths = ["a", "a[]", "a.b", "a.b[].c"];
        // At the third time, and ever after, by a template.
        let mut reader = JsonReader::new(path_set(&paths), None, Limits::default());
        for time in 0..4 {
            let read = read(&mut reader, payload.as_bytes()).remove(0).1.unwrap();
            let there: Vec<_> = paths.iter().zip(read.exists).filter_map(|(path, is)| is.then_some(*path)).collect();
            assert_eq!(there.join(" "), expected, "{payload} for the {time}th time");
        }
    }
    // Of an array that is exploded the elements are there, each as an event, and not the array.
    let reader = || JsonReader::new(path_set(&["a", "b"]), Some(&Path::parse("a").unwrap()), Limits::default());
    let outcomes = read(&mut reader(), br#"{"a":[{"a":{}},{"b":[]},{}],"b":{}}"#);
    let exists: Vec<_> = outcomes.into_iter().map(|(_, read)| read.unwrap().exists).collect();
    assert_eq!(exists, [[true, true], [false, true], [false, true]]);
}

#[test]
fn a_key_twice_in_one_object_is_a_fault() {
    for payload in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"a.b":1,"a.b":2}"#,
        r#"{"a":{},"a":{}}"#,
        r#"{"a":{"b":1},"a":{"c":1}}"#,
        r#"{"a":[],"b":null,"a":[1]}"#,
        r#"{"x":[1,{"y":{"a":1,"a":null}}]}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert_eq!(read_once(payload, &["a"]), Err(Reason::DuplicateKey), "{payload}");
    }
    for payload in
        [r#"{"a":{"a":{"a":1}}}"#, r#"{"x":[{"a":1},{"a":1}]}"#, r#"{"a":1,"A":1,"a ":1}"#, r#"{"":{"":1},".":1}"#]
    {
        assert!(read_once(payload, &["a"]).is_ok(), "{payload}");
    }
}

#[test]
fn the_shape_is_the_set_of_leaves() {
    assert_eq!(shape(r#"{"a":{"b":1,"c":"x"}}"#), shape(r#"{"a.c":"y","a.b":2.5}"#));
    assert_eq!(shape(r#"{"a":[1,2,3]}"#), shape(r#"{"a":[4]}"#));
    assert_eq!(shape(r#"{"a":[{"b":1},{"c":1}]}"#), shape(r#"{"a":[{"b":1,"c":1}]}"#));
    let different = [
        "{}",
        r#"{"a":1}"#,
        r#"{"a":"1"}"#,
        r#"{"a":true}"#,
        r#"{"a":null}"#,
        r#"{"a":{}}"#,
        r#"{"a":[]}"#,
        r#"{"a":[1]}"#,
        r#"{"a":[[1]]}"#,
        r#"{"a":{"[]":1}}"#,
        r#"{"a[]":1}"#,
        r#"{"b":1}"#,
    ];
    for (index, one) in different.iter().enumerate() {
        different[..index].iter().for_each(|other| assert_ne!(shape(one), shape(other), "{one} {other}"));
    }
}

#[test]
fn guards() {
    let limits = Limits { event_bytes: 60, depth: 3, keys: 4 };
    for (payload, expected) in [
        (&br#"{"a":{"b":[1,2,3]},"c":1,"d":"[[[[[["}"#[..], None),
        (br#"{"a":1,"b":2,"c":3,"d":{"e":4}}"#, Some((Reason::TooManyKeys, "5 keys are more than the limit of 4"))),
        (br#"{"a":[[[1]]]}"#, Some((Reason::TooDeep, "nested deeper than the limit of 3 levels"))),
        (br#"[[[[ no json"#, Some((Reason::TooDeep, "nested deeper than the limit of 3 levels"))),
        (
            &[b' '; 61],
            Some((Reason::TooLarge, "the record has 61 bytes, more than the limit of 60 (`max_bytes` of [events])")),
        ),
        (b"{\"a\":\"\xff\"}", Some((Reason::NotUtf8, "not UTF-8 at byte 6"))),
        (b"", Some((Reason::NoJson, "ends before the JSON value is complete"))),
        (b" \n", Some((Reason::NoJson, "ends before the JSON value is complete"))),
        (br#"{"a":1"#, Some((Reason::NoJson, "ends before the JSON value is complete"))),
        (br#"{"a":"b"#, Some((Reason::NoJson, "ends before the JSON value is complete"))),
        (br#"{"a":1}{}"#, Some((Reason::NoJson, "expected nothing more after the value at byte 7"))),
        (br#"{"a" 1}"#, Some((Reason::NoJson, "expected `:` after a key at byte 5"))),
        (br#"{"a":1 "b":2}"#, Some((Reason::NoJson, "expected `,` or `}` at byte 7"))),
        (br#"{"a":1,}"#, Some((Reason::NoJson, "expected a key in quotes at byte 7"))),
        (br#"{a:1}"#, Some((Reason::NoJson, "expected a key in quotes or `}` at byte 1"))),
        (br#"{"a":[1 2]}"#, Some((Reason::NoJson, "expected `,` or `]` at byte 8"))),
        (br#"{"a":x}"#, Some((Reason::NoJson, "expected a value at byte 5"))),
        (br#"{"a":1,"a":2} x"#, Some((Reason::NoJson, "expected nothing more after the value at byte 14"))),
        (b"[]", Some((Reason::NotAnObject, "an event has to be a JSON object"))),
        (br#"[{"a":1}]"#, Some((Reason::NotAnObject, "an event has to be a JSON object"))),
        (br#""{}""#, Some((Reason::NotAnObject, "an event has to be a JSON object"))),
        (br#"{"a":1,"a":2}"#, Some((Reason::DuplicateKey, "an object names the same key twice"))),
    ] {
        let expected = expected.map(|(reason, message)| Fault::new(reason, message));
        assert_eq!(fault(payload, limits), expected, "{}", String::from_utf8_lossy(payload));
    }
    for (payload, start) in [
        (&br#"{"a":01}"#[..], "expected `,` or `}`"),
        (br#"{"a":-}"#, "expected a digit at byte 6"),
        (br#"{"a":1.}"#, "expected a digit at byte 7"),
        (br#"{"a":1e+}"#, "expected a digit at byte 8"),
        (br#"{"a":+1}"#, "expected a value"),
        (br#"{"a":nul}"#, "expected `true`, `false` or `null`"),
        (b"{\"a\":\"\x01\"}", "a string has a control character at byte 6"),
        (br#"{"\x":1}"#, "a string has an invalid escape at byte 2"),
        (br#"{"a":"\ud834"}"#, "a string has an invalid escape at byte 6"),
    ] {
        let fault = fault(payload, limits).unwrap();
        assert_eq!(fault.reason, Reason::NoJson);
        assert!(fault.message.starts_with(start), "{}", fault.message);
    }
}

/// A configured depth far beyond the stack of a thread: nothing here recurses.
#[test]
fn depth_is_limited_by_the_configuration_alone() {
    let deep = 200_000;
    let payload = format!("{{\"a\":{}{}}}", "[".repeat(deep - 1), "]".repeat(deep - 1));
    assert_eq!(fault(payload.as_bytes(), Limits { depth: deep, ..Limits::default() }), None);
    let fault = fault(payload.as_bytes(), Limits { depth: deep - 1, ..Limits::default() }).unwrap();
    assert_eq!(fault.reason, Reason::TooDeep);
}

#[test]
fn an_array_of_events_explodes() {
    let paths = ["user", "type", "ctx.ip", "tags[]"];
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    let payload = r#"{"user":"u","tags":["p","q"],"events": [ {"type":"x"} ,{"type":"y","user":"v","tags":["r"]},7,
        {"type":"z","type":"z"},{"user":null,"ctx.ip":"i"}],"ctx":{"ip":"j"}}"#;
    assert_eq!(
        exploding(&paths, "events", payload),
        pairs(&[
            (r#"{"type":"x"}"#, "u x j p+q"),
            (r#"{"type":"y","user":"v","tags":["r"]}"#, "v y j r"),
            ("7", "not_an_object"),
            (r#"{"type":"z","type":"z"}"#, "duplicate_key"),
            (r#"{"user":null,"ctx.ip":"i"}"#, "u  i p+q"),
        ])
    );
    for whole in [r#"{"user":"u"}"#, r#"{"user":"u","events":null}"#, r#"{"user":"u","events":{"type":"x"}}"#] {
        assert_eq!(exploding(&paths, "events", whole), pairs(&[(whole, "u   ")]));
    }
    assert_eq!(exploding(&paths, "events", r#"{"user":"u","events":[]}"#), []);
    for (faulty, code) in [
        (r#"{"user":"u","user":"u","events":[{"type":"x"}]}"#, "duplicate_key"),
        (r#"{"events":[{"type":"x"}],"events":[]}"#, "duplicate_key"),
        (r#"{"events":[{"type":"x"},]}"#, "no_json"),
        (r#"{"events":[{"type":"x"}"#, "no_json"),
        (r#"{"events":["#, "no_json"),
        (r#"[{"events":[{"type":"x"}]}]"#, "not_an_object"),
    ] {
        assert_eq!(exploding(&paths, "events", faulty), pairs(&[(faulty, code)]));
    }
    // Deeper, inside other arrays, written with dots, and more than one of them.
    let nested = r#"{"b":[{"events":[{"type":1}]},{"user":2,"events":[{"type":3},{"events":[{"type":5}]}]}]}"#;
    assert_eq!(
        exploding(&["type", "b[].user", "events[].type"], "b[].events", nested),
        pairs(&[(r#"{"type":1}"#, "1 2 "), (r#"{"type":3}"#, "3 2 "), (r#"{"events":[{"type":5}]}"#, " 2 5")])
    );
    let twice = r#"{"a.e":[{"type":1}],"a":{"e":[{"type":2}]}}"#;
    assert_eq!(exploding(&["type"], "a.e", twice), pairs(&[(r#"{"type":1}"#, "1"), (r#"{"type":2}"#, "2")]));
}

#[test]
fn keys_of_an_element_are_counted_with_those_it_inherits() {
    let limits = Limits { keys: 4, ..Limits::default() };
    let mut reader = JsonReader::new(Arc::default(), Some(&Path::parse("e").unwrap()), limits);
    let payload = br#"{"e":[{"x":1,"y":2},{"x":1,"y":2,"z":3},{"y":1}],"a":1}"#;
    let results: Vec<_> = read(&mut reader, payload).into_iter().map(|(_, result)| result.err()).collect();
    assert_eq!(results, [None, Some(Reason::TooManyKeys), None]);
}

/// The cost of an element must not grow with what lies beside the elements: half a megabyte would take minutes.
#[test]
fn many_elements_beside_many_values_take_no_time() {
    let (pads, elements) = (100_000, 100_000);
    let payload = format!(r#"{{"user":"u","pad":[{}0],"e":[{}{{}}]}}"#, "1,".repeat(pads), "{},".repeat(elements));
    let mut reader = JsonReader::new(path_set(&["user"]), Some(&Path::parse("e").unwrap()), Limits::default());
    let (mut users, start) = (0, std::time::Instant::now());
    reader.read(payload.as_bytes(), &mut Reading::default(), |_, result| users += result.unwrap().all(0).count());
    assert_eq!(users, elements + 1);
    assert!(start.elapsed() < crate::patience::PATIENCE, "{:?}", start.elapsed());
}

/// Nor may the leaves that elements inherit without a key for each: a megabyte of them would take an hour.
#[test]
fn an_element_inherits_no_more_leaves_than_there_may_be_keys() {
    let limits = Limits { keys: 4, ..Limits::default() };
    for (pad, expected) in
        [("[1,[1,[1,2]]]", None), ("[1,[1,[1,[2]]]]", None), ("[1,[1,[1,[\"x\",2]]]]", Some(Reason::TooManyKeys))]
    {
        let payload = format!(r#"{{"pad":{pad},"e":[{{}},{{"a":1}}]}}"#);
        let mut reader = JsonReader::new(Arc::default(), Some(&Path::parse("e").unwrap()), limits);
        let reasons: Vec<_> = read(&mut reader, payload.as_bytes()).into_iter().map(|(_, read)| read.err()).collect();
        let whole = expected.map_or(vec![None, None], |reason| vec![Some(reason)]);
        assert_eq!(reasons, whole, "{payload}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_reading_is_what_the_oracle_says(
        docs in prop::collection::vec((documents::objects(), any::<u64>()), 1..4)
    ) {
        let paths = some_paths();
        let mut reader = JsonReader::new(paths.clone(), None, Limits::default());
        // The layout is known the second time, and the third time the text follows a template: no answer changes.
        for (doc, style) in docs.iter().chain(&docs).chain(&docs) {
            let text = doc.text(*style);
            let expected =
                if doc.repeats_a_key() { Err(Reason::DuplicateKey) } else { Ok(oracle::expected(doc, &paths)) };
            prop_assert_eq!(read(&mut reader, text.as_bytes()), [(text, expected)]);
        }
    }

    /// A template is left at any byte that differs, be it valid or not.
    #[test]
    fn a_reader_that_knows_a_layout_reads_others_like_one_that_does_not(
        doc in documents::objects(),
        style in any::<u64>(),
        at in any::<prop::sample::Index>(),
        removed in 0..4_usize,
        put in prop_oneof![
            Just(String::new()), "[0-9a-z]{1,2}", r#"["\\{}\[\],:. tfn-]{1,3}"#, "\\PC", "[\x00-\x1f]"
        ],
    ) {
        let text = doc.text(style);
        let mut warm = JsonReader::new(some_paths(), None, Limits::default());
        (0..3).for_each(|_| _ = read(&mut warm, text.as_bytes()));
        let mut changed = text.into_bytes();
        let at = at.index(changed.len() + 1);
        let end = (at + removed).min(changed.len());
        changed.splice(at..end, put.into_bytes());
        let mut fresh = JsonReader::new(some_paths(), None, Limits::default());
        prop_assert_eq!(read(&mut warm, &changed), read(&mut fresh, &changed));
    }

    #[test]
    fn dotted_keys_and_nested_objects_are_the_same(doc in documents::objects_without_dots(), style in any::<u64>()) {
        fn flatten(doc: &Doc, choice: &mut u64) -> Doc {
            match doc {
                Doc::Object(fields) => Doc::Object(fields.iter().flat_map(|(key, value)| {
                    *choice = choice.rotate_left(1);
                    match flatten(value, choice) {
                        Doc::Object(inner) if *choice & 1 == 1 && !inner.is_empty() =>
                            inner.into_iter().map(|(below, value)| (format!("{key}.{below}"), value)).collect(),
                        value => vec![(key.clone(), value)],
                    }
                }).collect()),
                Doc::Array(items) => Doc::Array(items.iter().map(|item| flatten(item, choice)).collect()),
                scalar => scalar.clone(),
            }
        }
        if doc.repeats_a_key() {
            return Ok(());
        }
        let mut reader = JsonReader::new(some_paths(), None, Limits::default());
        let nested = read(&mut reader, doc.text(0).as_bytes()).remove(0).1.unwrap();
        let flat = read(&mut reader, flatten(&doc, &mut style.clone()).text(style).as_bytes()).remove(0).1.unwrap();
        prop_assert!(!nested.ambiguous);
        prop_assert_eq!(nested, flat);
    }

    #[test]
    fn elements_inherit_as_the_oracle_says(
        parent in documents::objects(), elements in prop::collection::vec(documents::objects(), 0..4), at in 0..5_usize,
        style in any::<u64>()
    ) {
        let Doc::Object(mut fields) = parent else { unreachable!() };
        let without = Doc::Object(fields.clone());
        fields.insert(at.min(fields.len()), ("events".into(), Doc::Array(elements.clone())));
        let doc = Doc::Object(fields);
        let paths = some_paths();
        let mut reader = JsonReader::new(paths.clone(), Some(&Path::parse("events").unwrap()), Limits::default());
        let outcomes = read(&mut reader, doc.text(style).as_bytes());
        if without.repeats_a_key() {
            prop_assert_eq!(outcomes, [(doc.text(style), Err(Reason::DuplicateKey))]);
            return Ok(());
        }
        prop_assert_eq!(outcomes.len(), elements.len());
        // An object with one key (the array) is not the leaf that an empty object is.
        let inherited = if without == Doc::Object(vec![]) { vec![] } else { without.items() };
        for ((text, result), element) in outcomes.iter().zip(&elements) {
            prop_assert_eq!(
                serde_json::from_str::<serde_json::Value>(text).unwrap(),
                serde_json::from_str::<serde_json::Value>(&element.text(0)).unwrap()
            );
            let own = element.items();
            let values = (oracle::values(&own, &paths).into_iter().zip(oracle::values(&inherited, &paths)))
                .map(|(own, inherited)| if own.is_empty() { inherited } else { own });
            let expected = oracle::Expected {
                shape: oracle::shape(own.iter().chain(&inherited)),
                exists: (oracle::exists(&own, &paths).into_iter().zip(oracle::exists(&inherited, &paths)))
                    .map(|(own, inherited)| own || inherited)
                    .collect(),
                ambiguous: oracle::ambiguous(&own) || oracle::ambiguous(&inherited),
                values: values.collect(),
            };
            let expected = if element.repeats_a_key() { Err(Reason::DuplicateKey) } else { Ok(expected) };
            prop_assert_eq!(result, &expected);
        }
    }

    #[test]
    fn serde_json_accepts_the_same(
        doc in documents::objects(), style in any::<u64>(), cuts in prop::collection::vec(any::<(u16, u8, u8)>(), 0..4)
    ) {
        // What a mutation writes: bytes that mean something in JSON, mostly.
        const BYTES: &[u8] = b"{}[]:,\"\\u0dD8Ee+-.1tfn /\n\x00\x1f\x7f\xc3\xa9\xff";
        let mut payload = doc.text(style).into_bytes();
        for (place, what, byte) in cuts {
            let place = place as usize % payload.len().max(1);
            let byte = BYTES[byte as usize % BYTES.len()];
            match what % 4 {
                0 => payload.insert(place, byte),
                1 => _ = payload.get_mut(place).map(|old| *old = byte),
                2 => payload.truncate(place),
                _ => _ = (!payload.is_empty()).then(|| payload.remove(place)),
            }
        }
        agrees_with_serde_json(&payload)?;
    }

    #[test]
    fn nothing_makes_it_panic(
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..80),
            "([{}\\[\\]:,\"\\\\ ]|\"e\":|\\\\u|d8|-|1|e|null|true|\"a\"){0,30}".prop_map(String::into_bytes),
        ]
    ) {
        let explode = Path::parse("e").unwrap();
        read(&mut JsonReader::new(some_paths(), Some(&explode), Limits::default()), &payload);
        agrees_with_serde_json(&payload)?;
    }
}

fn agrees_with_serde_json(payload: &[u8]) -> Result<(), TestCaseError> {
    let arbiter = serde_json::from_slice::<serde_json::Value>(payload);
    // It converts numbers, so it has to refuse those that no f64 can hold.
    if arbiter.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
        return Ok(());
    }
    let reason = fault(payload, Limits::default()).map(|fault| fault.reason);
    let accepted = !matches!(reason, Some(Reason::NoJson | Reason::NotUtf8));
    prop_assert_eq!(accepted, arbiter.is_ok(), "{:?} {:?}", arbiter, String::from_utf8_lossy(payload));
    Ok(())
}
