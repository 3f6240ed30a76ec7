//! What one pass over a payload brings back: the values at the paths that were asked for, and the shape of the whole.
//! The formats (json, csv, clf) fill it; interpretation turns it into a record.

use crate::decode::path::Path;
use dataflows::{PathHash, ShapeId, ValueKind};
use std::collections::HashMap;

/// Index of a path in a [`PathSet`].
pub type Slot = u16;

/// The paths that are asked for, looked up by hash while descending.
#[derive(Clone, Debug, Default)]
pub struct PathSet {
    paths: Vec<Path>,
    slots: HashMap<u64, Slot, foldhash::fast::FixedState>,
}

impl PathSet {
    /// The slot of `path`, the same one if it was asked for before.
    pub fn add(&mut self, path: &Path) -> Slot {
        let paths = &mut self.paths;
        *self.slots.entry(path.hash().bits()).or_insert_with(|| {
            paths.push(path.clone());
            (paths.len() - 1) as Slot
        })
    }

    #[inline]
    pub fn slot(&self, path: PathHash) -> Option<Slot> {
        self.slots.get(&path.bits()).copied()
    }

    pub fn path(&self, slot: Slot) -> &Path {
        &self.paths[slot as usize]
    }

    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

/// Reused from record to record: no allocation once warm.
#[derive(Debug, Default)]
pub struct Reading {
    /// Values in the order in which they were met.
    found: Vec<Found>,
    /// Their texts, one after the other.
    text: String,
    /// Of the whole payload; `None` until a format has read one.
    pub shape: Option<ShapeId>,
    /// A path was present both as a dotted key and nested; the nested one counts.
    pub ambiguous: bool,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    slot: Slot,
    kind: ValueKind,
    /// Some key on the way contained a dot.
    dotted: bool,
    start: u32,
    end: u32,
}

/// A scalar that is present: never null, never the empty string, never an object or array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    pub kind: ValueKind,
    /// Strings: decoded. Numbers: exactly as written. Booleans: `true` or `false`.
    pub text: &'a str,
}

impl Reading {
    pub fn clear(&mut self) {
        self.found.clear();
        self.text.clear();
        self.shape = None;
        self.ambiguous = false;
    }

    /// Keeps a scalar. Null and the empty string are absent, so they are not kept.
    #[inline]
    pub fn push(&mut self, slot: Slot, kind: ValueKind, dotted: bool, text: &str) {
        if text.is_empty() || kind == ValueKind::Null {
            return;
        }
        let start = self.text.len() as u32;
        self.text.push_str(text);
        self.found.push(Found { slot, kind, dotted, start, end: self.text.len() as u32 });
    }

    fn value(&self, found: &Found) -> Value<'_> {
        Value { kind: found.kind, text: &self.text[found.start as usize..found.end as usize] }
    }

    /// The first value at a path; nested keys go before dotted ones.
    #[inline]
    pub fn first(&self, slot: Slot) -> Option<Value<'_>> {
        self.all(slot).next()
    }

    /// All values at a path, in the order of the payload; only the nested ones if there are both.
    pub fn all(&self, slot: Slot) -> impl Iterator<Item = Value<'_>> {
        let nested = self.ambiguous && self.found.iter().any(|found| found.slot == slot && !found.dotted);
        self.found
            .iter()
            .filter(move |found| found.slot == slot && !(nested && found.dotted))
            .map(|found| self.value(found))
    }
}
