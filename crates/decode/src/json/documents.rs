//! Small documents for the property tests.

use super::oracle::Doc;
use proptest::prelude::*;

/// Small objects in which equal keys, equal paths by dots and by nesting, and all kinds of values are frequent.
pub fn objects() -> impl Strategy<Value = Doc> {
    objects_of(prop::sample::select(vec!["a", "b", "c", "a.b", "b.c", "a.b.c", ".", "", "[]", "é\"\n𝄞"]), 0..5)
}

/// The same without dots.
pub fn objects_without_dots() -> impl Strategy<Value = Doc> {
    objects_of(prop::sample::select(vec!["a", "b", "c", "d", "", "[]", "é\"\n𝄞"]), 0..4)
}

fn objects_of(
    keys: impl Strategy<Value = &'static str> + Clone + 'static,
    size: std::ops::Range<usize>,
) -> impl Strategy<Value = Doc> {
    let number = prop_oneof![
        Just("0".to_owned()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?",
        "-?[1-9][0-9]{0,3}"
    ];
    let scalar = prop_oneof![
        Just(Doc::Null),
        any::<bool>().prop_map(Doc::Bool),
        number.prop_map(Doc::Number),
        prop_oneof![Just(String::new()), "[a-z]{1,3}", "\\PC{0,40}", ".{0,3}"].prop_map(Doc::String),
    ];
    let inner = keys.clone();
    let value = scalar.prop_recursive(4, 24, 4, move |inner_value| {
        let field = (inner.clone().prop_map(str::to_owned), inner_value.clone());
        prop_oneof![
            prop::collection::vec(inner_value, 0..4).prop_map(Doc::Array),
            prop::collection::vec(field, 0..4).prop_map(Doc::Object),
        ]
    });
    prop::collection::vec((keys.prop_map(str::to_owned), value), size).prop_map(Doc::Object)
}
