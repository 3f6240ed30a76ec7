//! One JSON payload -> its events: the values at the wanted paths and the shape of the whole. The hot path.
//!
//! What is accepted is RFC 8259, whatever paths are asked for. It differs from serde_json (the arbiter of the tests) in
//! three points: numbers outside the range of f64 (`1e999`) are accepted, since no number is ever converted; nesting is
//! limited by [`Limits::depth`] instead of 128; a key that an object names twice is a fault instead of the last one
//! winning. As with serde_json, an escaped surrogate must have its other half.
//!
//! If several things are wrong, the fault is the first of: too large, not UTF-8, too deep, no JSON, no object, too many
//! keys, duplicate key.

mod depth;
mod descent;
mod layout;
mod template;

use crate::fault::Fault;
use crate::leaves::{self, Told};
use crate::path::{Path, Step};
use crate::path_set::PathSet;
use crate::reading::Reading;
use crate::spec::Limits;
use dataflows::leaves::Leaf;
use dataflows::{PathHash, Reason};
use descent::{Descent, Span};
use layout::{Layouts, Node, outdone};
use std::sync::Arc;
use template::Templates;

/// Reads payloads one after the other. Allocates nothing once it has seen payloads of the same size and layout; strings
/// without escapes are copied once, into the [`Reading`].
#[derive(Debug)]
pub struct JsonReader {
    paths: Arc<PathSet>,
    explode: Option<PathHash>,
    /// The steps of that path.
    exploded: Option<Box<[Step]>>,
    limits: Limits,
    found: Descent,
    layouts: Layouts,
    templates: Templates,
    /// Some path of the payload itself was ambiguous.
    ambiguous: bool,
    /// The part of the payload that belongs to the layout of each element of its exploded arrays: its leaves, each
    /// once.
    inherited: Vec<Node>,
    /// Their names, if some element was asked for its own.
    inherited_names: Option<Vec<Leaf>>,
    /// The nodes of one element, after those that it inherits.
    nodes: Vec<Node>,
    told: Told,
}

/// The bytes of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'p> {
    /// Of the first byte, within the payload.
    pub offset: usize,
    /// As they lie in the payload.
    pub bytes: &'p [u8],
}

impl JsonReader {
    /// Makes a reader. With `explode`, the elements of each array at that path of a payload are its events.
    pub fn new(paths: Arc<PathSet>, explode: Option<&Path>, limits: Limits) -> JsonReader {
        JsonReader {
            paths,
            explode: explode.map(Path::hash),
            exploded: explode.map(|path| path.steps().into()),
            limits,
            found: Descent::default(),
            layouts: Layouts::default(),
            templates: Templates::default(),
            ambiguous: false,
            inherited: Vec::new(),
            inherited_names: None,
            nodes: Vec::new(),
            told: Told::default(),
        }
    }

    /// Calls `each` once per event of `payload`, in order: the payload itself, or the elements of its exploded arrays
    /// (none, if these are empty). A payload without such an array is one event.
    ///
    /// The paths of an element begin at the element. What the payload holds beside the exploded arrays is inherited: at
    /// every path where the element has no value, it has those of the payload. Its shape has the leaves of both.
    ///
    /// A fault of the payload is one call for the whole payload, before any event is delivered; a fault of an element
    /// (no object, too many keys, duplicate key) is a call for that element, and the others go on.
    ///
    /// What `reading` held before is lost; what it holds afterwards means nothing.
    pub fn read<'p>(
        &mut self,
        payload: &'p [u8],
        reading: &mut Reading,
        mut each: impl FnMut(Part<'p>, Result<&mut Reading, Fault>),
    ) {
        let whole = Part { offset: 0, bytes: payload };
        match self.read_whole(payload, reading) {
            Err(fault) => each(whole, Err(fault)),
            Ok(()) if !self.found.exploded => each(whole, Ok(reading)),
            Ok(()) => {
                for index in 0..self.found.spans.len() {
                    let span = self.found.spans[index].clone();
                    let part = Part { offset: span.bytes.start, bytes: &payload[span.bytes.clone()] };
                    each(part, self.read_element(payload, &span, reading).map(|()| &mut *reading));
                }
            }
        }
    }

    /// Returns whether a payload may hold several events.
    pub fn explodes(&self) -> bool {
        self.explode.is_some()
    }

    /// Parses the payload. If nothing in it is to be exploded, `reading` holds its values afterwards.
    pub fn read_whole(&mut self, payload: &[u8], reading: &mut Reading) -> Result<(), Fault> {
        // Offsets into a payload are kept in 32 bits.
        let limit = self.limits.event_bytes.min(u32::MAX as usize);
        if payload.len() > limit {
            return Err(Fault::too_large(payload.len() as u64, limit));
        }
        let text = simdutf8::basic::from_utf8(payload).map_err(|_| not_utf8(payload))?;
        // What lies in a payload that is to be exploded depends on more than its layout.
        if self.explode.is_none()
            && let Some(shape) = self.templates.follow(text, &mut self.found.unescaped, reading)
        {
            reading.shape = Some(shape);
            return Ok(());
        }
        if depth::exceeds(payload, self.limits.depth) {
            let message = format!("nested deeper than the limit of {} levels", self.limits.depth);
            return Err(Fault::new(Reason::TooDeep, message));
        }
        self.found.run(text, &self.paths, self.explode)?;

        let whole = &mut self.found.whole;
        check(&whole.nodes, whole.keys, &self.limits)?;
        let (verdict, known) = self.layouts.verdict(&whole.nodes);
        if verdict.duplicate {
            return Err(duplicate_key());
        }
        // Learned at the second time: what comes once only would fill the memory.
        if known && self.explode.is_none() && !verdict.ambiguous {
            self.templates.learn(text, &whole.scalars, whole.values.containers(), verdict.shape);
        }
        if verdict.ambiguous {
            let holders = &whole.holders;
            let outdone = outdone(&whole.nodes, |node| holders.binary_search(&(node as u32)).is_ok());
            whole.values.retain(|index| !outdone[holders[index] as usize]);
            let holders = &whole.container_holders;
            whole.values.retain_containers(|index| !outdone[holders[index] as usize]);
        }
        if self.found.exploded {
            self.ambiguous = verdict.ambiguous;
            whole.values.dedup_containers();
            self.inherited.clear();
            self.inherited.extend(whole.nodes.iter().filter_map(|node| node.inherited()));
            self.inherited.sort_unstable();
            self.inherited.dedup();
            self.inherited_names = None;
            // Arrays in arrays have leaves without keys, and every element would go over all of them.
            let (leaves, limit) = (self.inherited.len(), self.limits.keys);
            if leaves > limit {
                let message =
                    format!("{leaves} leaves for each element to inherit are more than the limit of {limit} keys");
                return Err(Fault::new(Reason::TooManyKeys, message));
            }
        } else {
            std::mem::swap(reading, &mut whole.values);
            reading.shape = Some(verdict.shape);
            reading.leaves = match known {
                true => None,
                false => self.told.tell(verdict.shape, || leaves::of_document(text, None)),
            };
            reading.ambiguous = verdict.ambiguous;
        }
        Ok(())
    }

    /// Makes `reading` that of one element, together with what it inherits. Apart from the values at the asked paths,
    /// the time does not depend on the number of values beside the elements: a payload may hold both in great numbers.
    fn read_element(&mut self, payload: &[u8], span: &Span, reading: &mut Reading) -> Result<(), Fault> {
        let (whole, elements) = (&self.found.whole, &self.found.elements);
        let own = &elements.nodes[span.nodes.clone()];
        check(own, whole.keys + span.keys, &self.limits)?;
        // Where nodes of the elements lie in the common list. Neither list is longer than a payload has bytes.
        let by = self.inherited.len() as i64 - span.nodes.start as i64;
        self.nodes.clear();
        self.nodes.extend_from_slice(&self.inherited);
        self.nodes.extend(own.iter().map(|node| node.moved(by)));
        let (verdict, known) = self.layouts.verdict(&self.nodes);
        if verdict.duplicate {
            return Err(duplicate_key());
        }

        let holders = &elements.holders[span.values.clone()];
        let moved = |holder: u32| (i64::from(holder) + by) as usize;
        let outdone = verdict
            .ambiguous
            .then(|| outdone(&self.nodes, |node| holders.binary_search_by_key(&node, |holder| moved(*holder)).is_ok()));
        reading.clear();
        for (index, holder) in span.values.clone().zip(holders) {
            if outdone.as_ref().is_none_or(|outdone| !outdone[moved(*holder)]) {
                let (slot, value) = elements.values.nth(index);
                reading.push(slot, value.kind, value.text);
            }
        }
        for index in span.containers.clone() {
            let holder = moved(elements.container_holders[index]);
            if outdone.as_ref().is_none_or(|outdone| !outdone[holder]) {
                reading.contain(elements.values.containers()[index]);
            }
        }
        let own_values = reading.len();
        for index in 0..whole.values.len() {
            let (slot, value) = whole.values.nth(index);
            if (0..own_values).all(|own| reading.nth(own).0 != slot) {
                reading.push_of(slot, value.kind, value.text, true);
            }
        }
        whole.values.containers().iter().for_each(|slot| reading.contain(*slot));
        reading.shape = Some(verdict.shape);
        if !known {
            let JsonReader { told, exploded, inherited_names, .. } = self;
            reading.leaves = told.tell(verdict.shape, || {
                let text = |bytes| std::str::from_utf8(bytes).ok();
                if inherited_names.is_none() {
                    *inherited_names = leaves::of_document(text(payload)?, exploded.as_deref());
                }
                let own = leaves::of_document(text(&payload[span.bytes.clone()])?, None)?;
                Some([own, inherited_names.clone()?].concat())
            });
        }
        reading.ambiguous = verdict.ambiguous || self.ambiguous;
        Ok(())
    }
}

/// Checks that an event is an object with at most the allowed number of keys.
fn check(nodes: &[Node], keys: usize, limits: &Limits) -> Result<(), Fault> {
    if !nodes.first().is_some_and(|root| root.is_object()) {
        return Err(Fault::new(Reason::NotAnObject, "an event has to be a JSON object"));
    }
    if keys > limits.keys {
        return Err(Fault::new(Reason::TooManyKeys, format!("{keys} keys are more than the limit of {}", limits.keys)));
    }
    Ok(())
}

#[cold]
fn not_utf8(payload: &[u8]) -> Fault {
    // The fast check does not say where; this one reads up to there.
    let valid = payload.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
    Fault::new(Reason::NotUtf8, format!("not UTF-8 at byte {valid}"))
}

#[cold]
fn duplicate_key() -> Fault {
    Fault::new(Reason::DuplicateKey, "an object names the same key twice")
}

#[cfg(test)]
mod documents;
#[cfg(test)]
#[allow(dead_code, reason = "the check in `tests/fuzz` includes it and uses the rest")]
mod oracle;
#[cfg(test)]
mod tests;
