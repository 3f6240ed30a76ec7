//! The result of one pass over a payload: the values at the wanted paths, and the shape of the whole. The formats
//! (json, csv, clf) fill it, and interpretation turns it into a record.

use dataflows::leaves::Leaves;
use dataflows::{ShapeId, ValueKind};
use std::sync::Arc;

/// Index of a path in a [`PathSet`](crate::path_set::PathSet).
pub type Slot = u32;

/// Reused from record to record: no allocation once warm.
#[derive(Debug, Default)]
pub struct Reading {
    /// Values in the order in which they were met.
    found: Vec<Found>,
    /// Their texts, one after the other.
    text: String,
    /// Of the objects and arrays that are there, empty ones too, and of the objects that keys with dots stand for. They
    /// have no value, but they exist.
    containers: Vec<Slot>,
    /// Values before the first that is inherited; `None`: none is.
    own: Option<usize>,
    /// Of the whole payload; `None` until a format has read one.
    pub shape: Option<ShapeId>,
    /// The leaves of the shape, if the reader has not said them before.
    pub leaves: Option<Arc<Leaves>>,
    /// Some path was present both as a dotted key and nested, in the same object or array element. Of their values,
    /// only the nested one was kept.
    pub ambiguous: bool,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    slot: Slot,
    kind: ValueKind,
    /// Of an element: it lies around it.
    inherited: bool,
    start: u32,
    end: u32,
}

/// A scalar that is present: never null, never the empty string, never an object or array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// Its kind in the payload.
    pub kind: ValueKind,
    /// Strings: decoded. Numbers: exactly as written. Booleans: `true` or `false`.
    pub text: &'a str,
}

impl Clone for Reading {
    fn clone(&self) -> Reading {
        let mut clone = Reading::default();
        clone.clone_from(self);
        clone
    }

    /// Allocates nothing once warm.
    fn clone_from(&mut self, other: &Reading) {
        let Reading { found, text, containers, own, shape, leaves, ambiguous } = other;
        self.found.clone_from(found);
        self.text.clone_from(text);
        self.containers.clone_from(containers);
        self.leaves.clone_from(leaves);
        (self.own, self.shape, self.ambiguous) = (*own, *shape, *ambiguous);
    }
}

impl Reading {
    /// Forgets everything, for the next record.
    pub fn clear(&mut self) {
        self.found.clear();
        self.text.clear();
        self.containers.clear();
        self.own = None;
        self.shape = None;
        self.leaves = None;
        self.ambiguous = false;
    }

    /// Keeps a scalar. Null and the empty string are absent, so they are not kept. The texts of one reading together
    /// stay below 4 GiB; formats ensure it by the size of the payload.
    #[inline]
    pub fn push(&mut self, slot: Slot, kind: ValueKind, text: &str) {
        self.push_of(slot, kind, text, false);
    }

    /// Keeps a scalar. `inherited`: the event is an element of an array, and the scalar lies around that.
    #[inline]
    pub fn push_of(&mut self, slot: Slot, kind: ValueKind, text: &str, inherited: bool) {
        if text.is_empty() || kind == ValueKind::Null {
            return;
        }
        let start = self.text.len() as u32;
        self.text.push_str(text);
        if inherited && self.own.is_none() {
            self.own = Some(self.found.len());
        }
        self.found.push(Found { slot, kind, inherited, start, end: self.text.len() as u32 });
    }

    /// Keeps the value of an index at another slot, too.
    pub fn push_same(&mut self, slot: Slot, index: usize) {
        self.found.push(Found { slot, ..self.found[index] });
    }

    /// Returns the slot of the value of an index.
    #[inline]
    pub fn slot_of(&self, index: usize) -> Slot {
        self.found[index].slot
    }

    /// Returns whether the value of an index lies around the element that was read.
    pub fn is_inherited(&self, index: usize) -> bool {
        self.found[index].inherited
    }

    /// Returns the number of values before the first that is inherited.
    #[inline]
    pub fn own(&self) -> usize {
        self.own.unwrap_or(self.found.len())
    }

    /// Notes that there is an object or an array.
    #[inline]
    pub fn contain(&mut self, slot: Slot) {
        self.containers.push(slot);
    }

    /// Returns the slots of the objects and arrays that are there.
    pub fn containers(&self) -> &[Slot] {
        &self.containers
    }

    /// Drops each object or array whose number `keep` refuses; what lies in it stays.
    pub fn retain_containers(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut number = 0;
        self.containers.retain(|_| {
            number += 1;
            keep(number - 1)
        });
    }

    /// Drops everything at the slots that `at` names.
    pub fn remove(&mut self, at: impl Fn(Slot) -> bool) {
        self.found.retain(|found| !at(found.slot));
        self.containers.retain(|slot| !at(*slot));
        self.own = self.found.iter().position(|found| found.inherited);
    }

    /// Keeps each slot of [`Reading::containers`] once: an array may hold very many objects.
    pub fn dedup_containers(&mut self) {
        self.containers.sort_unstable();
        self.containers.dedup();
    }

    /// Returns whether a value, an object or an array is at a path.
    #[inline]
    pub fn has(&self, slot: Slot) -> bool {
        self.first(slot).is_some() || self.containers.contains(&slot)
    }

    /// Returns the first value at a path.
    #[inline]
    pub fn first(&self, slot: Slot) -> Option<Value<'_>> {
        self.all(slot).next()
    }

    /// Returns all values at a path, in the order of the payload.
    #[inline]
    pub fn all(&self, slot: Slot) -> impl Iterator<Item = Value<'_>> {
        self.found.iter().filter(move |found| found.slot == slot).map(|found| self.value(found))
    }

    /// Returns the number of values that were kept.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Returns whether no value was kept.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Returns the slots of the values that were kept, in their order.
    #[inline]
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        self.found.iter().map(|found| found.slot)
    }

    /// Returns whether the values that were kept are at `slots`, in their order.
    #[inline]
    pub fn is_at(&self, slots: &[Slot]) -> bool {
        self.found.len() == slots.len() && self.found.iter().zip(slots).all(|(found, slot)| found.slot == *slot)
    }

    /// Returns the first byte of the text of an index.
    #[inline]
    pub fn first_byte(&self, index: usize) -> u8 {
        // No text is empty.
        self.text.as_bytes()[self.found[index].start as usize]
    }

    /// Returns the value that was kept as number `index`, and its slot.
    pub fn nth(&self, index: usize) -> (Slot, Value<'_>) {
        let found = &self.found[index];
        (found.slot, self.value(found))
    }

    /// Drops each value whose number `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut number = 0;
        self.found.retain(|_| {
            number += 1;
            keep(number - 1)
        });
        self.own = self.found.iter().position(|found| found.inherited);
    }

    #[inline]
    fn value(&self, found: &Found) -> Value<'_> {
        Value { kind: found.kind, text: &self.text[found.start as usize..found.end as usize] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_the_empty_string_are_absent() {
        let mut reading = Reading::default();
        reading.push(0, ValueKind::Null, "null");
        reading.push(0, ValueKind::String, "");
        assert!(reading.is_empty());
        reading.push(0, ValueKind::Bool, "false");
        reading.push(1, ValueKind::String, "é");
        reading.push(0, ValueKind::Number, "1.50");
        let texts = |reading: &Reading, slot| reading.all(slot).map(|value| value.text.to_owned()).collect::<Vec<_>>();
        assert_eq!(texts(&reading, 0), ["false", "1.50"]);
        assert_eq!(reading.first(1), Some(Value { kind: ValueKind::String, text: "é" }));
        assert_eq!(reading.nth(2).1.text, "1.50");
        reading.retain(|index| index != 0);
        assert_eq!((texts(&reading, 0), reading.len()), (vec!["1.50".to_owned()], 2));
        reading.contain(2);
        reading.contain(3);
        reading.retain_containers(|index| index != 1);
        assert_eq!([0, 1, 2, 3].map(|slot| reading.has(slot)), [true, true, true, false]);
        assert_eq!((reading.first(2), reading.len()), (None, 2));
        reading.push_of(1, ValueKind::String, "around", true);
        let own = |reading: &Reading| (reading.own(), reading.len(), reading.clone().own());
        assert_eq!(own(&reading), (2, 3, 2));
        reading.remove(|slot| slot == 0);
        assert_eq!(own(&reading), (1, 2, 1));
        reading.clear();
        assert_eq!((reading.first(0), reading.len(), reading.has(2)), (None, 0, false));
    }
}
