//! The slow and obvious answer: documents as trees, with everything that a JSON text can say (order, repeated keys, the
//! text of numbers). It computes the reading of a document by comparing everything with everything.
//!
//! The property tests beside this file use it, and `tests/fuzz/checks/json.rs` includes it: hence `super`.

use super::{PathSet, Reading};
use dataflows::{PathHash, ShapeId, ValueKind};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub enum Doc {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    String(String),
    Array(Vec<Doc>),
    Object(Vec<(String, Doc)>),
    /// An array whose elements are events of their own.
    Exploded,
}

/// `None` is the step into an array element.
pub type Steps = Vec<Option<String>>;

/// A leaf, a non-empty array or a non-empty object of a document.
#[derive(Clone, Debug)]
pub struct Item {
    pub steps: Steps,
    /// `None`: an array with elements, or an object with fields.
    pub leaf: Option<ValueKind>,
    /// An object with fields, or one that a key with dots stands for; it is compared with nothing.
    object: bool,
    /// An array whose elements are events of their own, which none of these has.
    exploded: bool,
    pub text: String,
    /// The innermost array element (or the root) that it belongs to, by the indexes on the way.
    scope: Vec<usize>,
    /// Whether a key since there contains a dot.
    dotted: bool,
    /// Items of the arrays around it.
    around: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub shape: ShapeId,
    pub ambiguous: bool,
    /// Per slot.
    pub values: Vec<Vec<(ValueKind, String)>>,
    /// Per slot: there is something, though it may have no value.
    pub exists: Vec<bool>,
}

impl Doc {
    /// Parses `text` with serde_json; `None` if it refuses it, or if it is nested deeper than `depth`. Level by level:
    /// so no number is converted, no key gets lost, and nothing depends on how deep serde_json would recurse.
    pub fn parse(text: &str, depth: usize) -> Option<Doc> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        let text = raw.get();
        let inner = |raw: &RawValue| Doc::parse(raw.get(), depth.checked_sub(1)?);
        Some(match text.as_bytes()[0] {
            b'{' | b'[' if depth == 0 => return None,
            b'{' => {
                let Fields(fields) = serde_json::from_str(text).ok()?;
                let field = |(key, value): (String, &RawValue)| Some((key, inner(value)?));
                Doc::Object(fields.into_iter().map(field).collect::<Option<_>>()?)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Doc::Array(items.into_iter().map(inner).collect::<Option<_>>()?)
            }
            b'"' => Doc::String(serde_json::from_str(text).ok()?),
            b't' | b'f' => Doc::Bool(serde_json::from_str(text).ok()?),
            b'n' => Doc::Null,
            _ => Doc::Number(text.to_owned()),
        })
    }

    /// Writes JSON text, with white space and escapes by `style`.
    pub fn text(&self, style: u64) -> String {
        let (mut text, mut style) = (String::new(), Style(style));
        self.write(&mut text, &mut style);
        text
    }

    fn write(&self, out: &mut String, style: &mut Style) {
        style.space(out);
        match self {
            Doc::Null => out.push_str("null"),
            Doc::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Doc::Number(text) => out.push_str(text),
            Doc::String(text) => style.quoted(text, out),
            Doc::Exploded => out.push_str("[]"),
            Doc::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.write(out, style);
                }
                style.space(out);
                out.push(']');
            }
            Doc::Object(fields) => {
                out.push('{');
                for (index, (key, value)) in fields.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    style.space(out);
                    style.quoted(key, out);
                    style.space(out);
                    out.push(':');
                    value.write(out, style);
                }
                style.space(out);
                out.push('}');
            }
        }
        style.space(out);
    }

    pub fn repeats_a_key(&self) -> bool {
        match self {
            Doc::Object(fields) => fields.iter().enumerate().any(|(index, (key, value))| {
                value.repeats_a_key() || fields[..index].iter().any(|(earlier, _)| earlier == key)
            }),
            Doc::Array(items) => items.iter().any(Doc::repeats_a_key),
            _ => false,
        }
    }

    /// Objects and arrays inside each other.
    pub fn depth(&self) -> usize {
        match self {
            Doc::Object(fields) => 1 + fields.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            Doc::Array(items) => 1 + items.iter().map(Doc::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Keys of all objects.
    pub fn keys(&self) -> usize {
        match self {
            Doc::Object(fields) => fields.iter().map(|(_, value)| 1 + value.keys()).sum(),
            Doc::Array(items) => items.iter().map(Doc::keys).sum(),
            _ => 0,
        }
    }

    /// Takes the elements out of every array that lies at `path`, but not within another one; `here` is the path of
    /// this document.
    pub fn explode(&mut self, path: PathHash, here: PathHash, elements: &mut Vec<Doc>) {
        match self {
            Doc::Array(items) if here == path => {
                elements.append(items);
                *self = Doc::Exploded;
            }
            Doc::Array(items) => items.iter_mut().for_each(|item| item.explode(path, here.element(), elements)),
            Doc::Object(fields) => {
                fields.iter_mut().for_each(|(key, value)| value.explode(path, here.key(key), elements));
            }
            _ => {}
        }
    }

    pub fn is_exploded(&self) -> bool {
        match self {
            Doc::Exploded => true,
            Doc::Object(fields) => fields.iter().any(|(_, value)| value.is_exploded()),
            Doc::Array(items) => items.iter().any(Doc::is_exploded),
            _ => false,
        }
    }

    pub fn items(&self) -> Vec<Item> {
        let root = Item {
            steps: vec![],
            leaf: None,
            object: false,
            exploded: false,
            text: String::new(),
            scope: vec![],
            dotted: false,
            around: vec![],
        };
        let mut items = Vec::new();
        self.collect(root, &mut items);
        items
    }

    fn collect(&self, mut here: Item, items: &mut Vec<Item>) {
        let (leaf, text) = match self {
            Doc::Null => (ValueKind::Null, ""),
            Doc::Bool(true) => (ValueKind::Bool, "true"),
            Doc::Bool(false) => (ValueKind::Bool, "false"),
            Doc::Number(text) => (ValueKind::Number, text.as_str()),
            Doc::String(text) => (ValueKind::String, text.as_str()),
            Doc::Array(elements) if elements.is_empty() => (ValueKind::EmptyArray, ""),
            Doc::Object(fields) if fields.is_empty() => (ValueKind::EmptyObject, ""),
            Doc::Exploded => return items.push(Item { exploded: true, ..here }),
            Doc::Array(elements) => {
                items.push(here.clone());
                here.around.push(items.len() - 1);
                here.steps.push(None);
                here.dotted = false;
                // The array and the index identify an element.
                here.scope.push(items.len() - 1);
                for (index, element) in elements.iter().enumerate() {
                    let mut there = here.clone();
                    there.scope.push(index);
                    element.collect(there, items);
                }
                return;
            }
            Doc::Object(fields) => {
                items.push(Item { object: true, ..here.clone() });
                for (key, value) in fields {
                    let names: Vec<_> = key.split('.').map(|name| Some(name.to_owned())).collect();
                    for until in 1..names.len() {
                        let steps = [&here.steps, &names[..until]].concat();
                        items.push(Item { object: true, steps, ..here.clone() });
                    }
                    let mut there = here.clone();
                    there.steps.extend(key.split('.').map(|key| Some(key.to_owned())));
                    there.dotted |= key.contains('.');
                    value.collect(there, items);
                }
                return;
            }
        };
        items.push(Item { leaf: Some(leaf), text: text.to_owned(), ..here });
    }
}

/// The fields of an object in their order, each key as often as it is there.
struct Fields<'t>(Vec<(String, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Fields<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Every;
        impl<'de> Visitor<'de> for Every {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Every)
    }
}

impl Item {
    pub fn path(&self) -> PathHash {
        self.steps.iter().fold(PathHash::ROOT, |path, step| match step {
            Some(key) => path.segment(key.as_bytes()),
            None => path.element(),
        })
    }

    fn same_place(&self, other: &Item) -> bool {
        self.steps == other.steps && self.scope == other.scope
    }

    /// An element of an array is its own place; only what keys lead to can be there twice.
    fn by_key(&self) -> bool {
        self.steps.last().is_some_and(Option::is_some)
    }
}

pub fn ambiguous(items: &[Item]) -> bool {
    items.iter().enumerate().any(|(index, one)| {
        let present = |item: &Item| !item.object && item.leaf != Some(ValueKind::Null);
        let twice = |other: &Item| one.same_place(other) && one.by_key() && present(other);
        present(one) && items[..index].iter().any(twice)
    })
}

/// The values at each path of `paths` that count: a dotted one does not if there is a nested one in the same place. Nor
/// does a value within a dotted array beside a nested value.
pub fn values(items: &[Item], paths: &PathSet) -> Vec<Vec<(ValueKind, String)>> {
    let counts = counts(items);
    let present: Vec<_> = (0..items.len())
        .filter(|index| !items[*index].text.is_empty() && counts[*index])
        .filter_map(|index| Some((items[index].path(), items[index].leaf?, &items[index].text)))
        .collect();
    let at = |slot: usize| {
        let wanted = paths.path(slot as u32).hash();
        let here = present.iter().filter(|(path, ..)| *path == wanted);
        here.map(|(_, leaf, text)| (*leaf, (*text).clone())).collect()
    };
    (0..paths.len()).map(at).collect()
}

/// Returns by path of `paths` whether something that counts is there, although it may have no value.
pub fn exists(items: &[Item], paths: &PathSet) -> Vec<bool> {
    let counts = counts(items);
    let there = |item: &Item| match item.leaf {
        None => !item.exploded,
        Some(ValueKind::EmptyArray | ValueKind::EmptyObject) => true,
        Some(_) => !item.text.is_empty(),
    };
    let at = |slot: usize| {
        let wanted = paths.path(slot as u32).hash();
        items.iter().zip(&counts).any(|(item, counts)| *counts && there(item) && item.path() == wanted)
    };
    (0..paths.len()).map(at).collect()
}

/// Returns the items that count. A dotted one, with its content, does not count if there is a nested one in the same
/// place.
fn counts(items: &[Item]) -> Vec<bool> {
    let outdone = |item: &Item| {
        let present = !item.object && item.leaf != Some(ValueKind::Null);
        let outdoes = |other: &Item| {
            let outdoing = !other.object && (other.leaf.is_none() || !other.text.is_empty());
            !other.dotted && item.same_place(other) && outdoing
        };
        item.dotted && present && items.iter().any(outdoes)
    };
    let outdone: Vec<bool> = items.iter().map(outdone).collect();
    let within = |item: &Item| item.around.iter().any(|array| outdone[*array]);
    items.iter().zip(&outdone).map(|(item, outdone)| !outdone && !within(item)).collect()
}

pub fn shape<'a>(items: impl IntoIterator<Item = &'a Item>) -> ShapeId {
    ShapeId::of(&mut items.into_iter().filter_map(|item| Some(item.path().leaf(item.leaf?))).collect())
}

pub fn expected(doc: &Doc, paths: &PathSet) -> Expected {
    let items = doc.items();
    Expected {
        shape: shape(&items),
        ambiguous: ambiguous(&items),
        values: values(&items, paths),
        exists: exists(&items, paths),
    }
}

pub fn observed(reading: &Reading, paths: &PathSet) -> Expected {
    let at = |slot| reading.all(slot).map(|value| (value.kind, value.text.to_owned())).collect();
    Expected {
        shape: reading.shape.unwrap(),
        ambiguous: reading.ambiguous,
        values: (0..paths.len() as u32).map(at).collect(),
        exists: (0..paths.len() as u32).map(|slot| reading.has(slot)).collect(),
    }
}

/// splitmix64.
struct Style(u64);

impl Style {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % below
    }

    fn space(&mut self, out: &mut String) {
        if self.next(4) == 0 {
            (0..=self.next(3)).for_each(|_| out.push([' ', '\t', '\n', '\r'][self.next(4) as usize]));
        }
    }

    fn quoted(&mut self, text: &str, out: &mut String) {
        out.push('"');
        for char in text.chars() {
            let must = matches!(char, '"' | '\\' | '\0'..='\x1f');
            if must || self.next(8) == 0 {
                let mut units = [0; 2];
                char.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            } else {
                out.push(char);
            }
        }
        out.push('"');
    }
}
