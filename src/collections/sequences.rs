//! What the rows of `activities` and `funnels` name: the sequences, as they are configured.

use dataflows::EventTime;
use dataflows::sequence::{Breakdown, Definition};
use std::collections::BTreeMap;

/// The column of the time since which events count. A replay does not have it.
pub const PARTIAL: &str = "partial_since";

/// A sequence, as rows name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceSchema {
    pub name: String,
    pub definition: Definition,
    /// The names of the steps.
    pub steps: Vec<String>,
    /// The fields of the breakdown.
    pub by: Vec<String>,
    /// Events count that were received from then on; `None`: all do.
    pub since: Option<EventTime>,
}

impl SequenceSchema {
    /// Returns the values of a breakdown with their fields: `country=DE, platform=ios`. Two breakdowns never have one text:
    /// a value that could be taken for more than one is written as JSON, and so is one that is empty.
    pub fn breakdown(&self, by: &Breakdown) -> String {
        let values = self.by.iter().zip(by.iter());
        let values = values.map(|(field, value)| match value {
            None => format!("{field}="),
            Some(value) if value.is_empty() || value.contains([',', '"']) => {
                format!("{field}={}", serde_json::Value::from(&**value))
            }
            Some(value) => format!("{field}={value}"),
        });
        values.collect::<Vec<_>>().join(", ")
    }
}

/// Returns the names of steps: their classes, and behind the second and later ones of a class their number.
pub fn step_names(classes: &[String]) -> Vec<String> {
    let mut before = BTreeMap::<&String, usize>::new();
    let name = |class| {
        let before = before.entry(class).or_insert(0);
        *before += 1;
        if *before == 1 { class.clone() } else { format!("{class} {before}") }
    };
    classes.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::sequence::{Repeat, Ties};
    use std::sync::Arc;

    #[test]
    fn steps_of_one_class_have_numbers() {
        let classes = ["a", "b", "a", "a"].map(String::from);
        assert_eq!(step_names(&classes), ["a", "b", "a 2", "a 3"]);
    }

    #[test]
    fn no_two_breakdowns_have_one_text() {
        let definition = Definition::new(1, &[false], &[], Repeat::Tight, Ties::Ordered).unwrap();
        let by = ["a", "b"].map(String::from).to_vec();
        let schema = SequenceSchema { name: String::new(), definition, steps: Vec::new(), by, since: None };
        let of = |values: [Option<&str>; 2]| {
            schema.breakdown(&Arc::new(values.into_iter().map(|value| value.map(Arc::from)).collect()))
        };
        assert_eq!(of([Some("DE"), None]), "a=DE, b=");
        let values = [None, Some(""), Some("x"), Some("x, b=y"), Some("\"x\""), Some("x, b=")];
        let mut texts: Vec<String> = values.iter().flat_map(|one| values.iter().map(|two| of([*one, *two]))).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), values.len() * values.len(), "{texts:?}");
    }
}
