//! `label_changes`: signatures that got another class when people applied rules or gave a label.

use super::{Begins, Column, Definition, Held, Kind, Nature, Row, Value, encoded, no_key};
use dataflows::SignatureId;
use dataflows::classify::{Label, Layer};
use std::collections::BTreeMap;

pub(super) const DEFINITION: Definition = Definition {
    name: "label_changes",
    nature: Nature::Journal,
    key: &["signature"],
    lookup: &["signature", "shape"],
    columns: |_| {
        Column::plain([
            ("signature", Kind::Text),
            ("shape", Kind::Text),
            ("old_class", Kind::Text),
            ("new_class", Kind::Text),
            ("cause", Kind::Text),
        ])
    },
    decode,
    same_key: no_key,
    held: Held::Nothing,
    begins: Begins::WithTheFolder,
};

/// What people have changed at a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// The version of the rules that was applied last.
    pub rules: Option<u64>,
    /// A label was given or taken back.
    pub label: bool,
}

impl Causes {
    /// Returns whether there is any.
    pub fn any(self) -> bool {
        self.rules.is_some() || self.label
    }

    fn of(self, before: Layer, after: Layer) -> String {
        let learns = [before, after].contains(&Layer::Learned);
        let undeclared = |layer| matches!(layer, Layer::Learned | Layer::Nothing);
        match self.rules {
            _ if learns && undeclared(before) && undeclared(after) => "learned".to_owned(),
            Some(version) if !(self.label && [before, after].contains(&Layer::Label)) => format!("rules {version}"),
            _ => "label".to_owned(),
        }
    }
}

/// Returns the rows of a tick: `changes` are those of all labels, and what people have changed is `causes`.
pub fn rows(changes: &[((SignatureId, Label), isize)], causes: Causes) -> Vec<Vec<u8>> {
    let before = changes.iter().filter(|(_, diff)| *diff < 0).map(|((signature, label), _)| (*signature, label));
    let before: BTreeMap<SignatureId, &Label> = before.collect();
    let mut rows = Vec::new();
    for ((signature, after), _) in changes.iter().filter(|(_, diff)| *diff > 0) {
        // What is new has no class of before.
        let Some(before) = before.get(signature).filter(|before| before.class != after.class) else { continue };
        let shape = after.shape.map(|shape| shape.to_string());
        let shape = shape.as_deref().unwrap_or(dataflows::classify::OVERFLOW);
        let cause = causes.of(before.layer, after.layer);
        rows.push(encode(&signature.to_string(), shape, [&before.class, &after.class], &cause));
    }
    rows
}

pub(super) fn encode(signature: &str, shape: &str, [before, after]: [&str; 2], cause: &str) -> Vec<u8> {
    encoded(&(signature, shape, before, after, cause))
}

fn decode(bytes: &[u8]) -> Option<Row<'_>> {
    let (signature, shape, before, after, cause) = postcard::from_bytes(bytes).ok()?;
    Some(Row::new([signature, shape, before, after, cause].map(Value::Text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataflows::ShapeId;

    #[test]
    fn what_gets_another_class_is_said_with_its_cause_and_nothing_else_is() {
        let label =
            |id, class: &str, layer| (SignatureId(id), Label { class: class.into(), layer, shape: Some(ShapeId(5)) });
        let changes = [
            (label(1, "a", Layer::Kind), -1),
            (label(1, "b", Layer::Rule(0)), 1),
            (label(2, "a", Layer::Kind), -1),
            (label(2, "a", Layer::Rule(0)), 1),
            (label(3, "new", Layer::Kind), 1),
            (label(4, "a", Layer::Learned), -1),
            (label(4, "b", Layer::Learned), 1),
            (label(5, "unclassified", Layer::Nothing), -1),
            (label(5, "b", Layer::Label), 1),
        ];
        let causes = |rules, label| {
            let rows = rows(&changes, Causes { rules, label });
            let cause = |row: &Vec<u8>| decode(row).unwrap().value(4).text().unwrap().into_owned();
            rows.iter().map(cause).collect::<Vec<_>>()
        };
        assert_eq!(causes(Some(3), false), ["rules 3", "learned", "rules 3"]);
        assert_eq!(causes(None, true), ["label", "learned", "label"]);
        assert_eq!(causes(Some(3), true), ["rules 3", "learned", "label"]);
    }
}
