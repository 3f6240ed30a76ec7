//! A look at the beginning of each file: the shapes of its events, and the values at paths that have few.

use crate::collections::place::SourceIndex;
use crate::error::Error;
use crate::plan::Plan;
use crate::replay::gather::{Gathering, Seen};
use crate::replay::parts_of;
use crate::source::{Chunk, Chunking, Chunks, Next, Part};
use dataflows::facts::Facts;
use dataflows::{Position, ShapeId, SignatureId, ValueKind};
use headwater_decode::interpret::{Interpreter, Range};
use headwater_decode::spec::Format;
use headwater_decode::{Decoder, Harvest, Read};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Chunks of 1 MiB that are read of each file.
const CHUNKS: usize = 8;
/// Files of each source that are read: the others are of the same kind.
const FILES: usize = 20;
/// Paths whose values are kept. Events may have any number.
const PATHS: usize = 1000;
/// Values that are kept of a path: one that has more is no tag.
const VALUES: usize = 64;
/// Bytes of a value that may be a tag.
const LONGEST: usize = 100;

/// What was seen.
#[derive(Default)]
pub(super) struct Look {
    pub facts: Facts,
    /// By path and value.
    pub values: BTreeMap<String, BTreeMap<String, Valued>>,
    /// Paths that have too many values, or too long ones.
    no_tags: BTreeSet<String>,
    seen: Seen,
    gathering: Gathering,
    /// Whether the events at hand are JSON.
    is_json: bool,
}

/// Events with one value at a path.
#[derive(Clone, Debug)]
pub(super) struct Valued {
    pub kind: ValueKind,
    pub events: u64,
    pub shapes: BTreeMap<ShapeId, u64>,
    /// The signature of the first event.
    pub first: Option<SignatureId>,
}

/// Looks at the files of all sources.
///
/// # Errors
/// If a file cannot be read, or is of no known format.
pub(super) fn look(plan: &Plan) -> Result<Look, Error> {
    let mut look =
        Look { gathering: Gathering { seen: Some(Box::default()), ..Gathering::default() }, ..Look::default() };
    let mut decoder = Decoder::new(plan.spec(), Range::default());
    let mut number = 0;
    for (index, source) in (0..).map(SourceIndex).zip(&plan.sources) {
        let event_bytes = source.events.limits.event_bytes;
        for part in parts_of(index, source)?.into_iter().take(FILES) {
            read(part, number, event_bytes, &mut decoder, &mut look).map_err(Error::run("look into the files"))?;
            number += 1;
        }
    }
    look.seen = *look.gathering.seen.take().unwrap_or_default();
    look.facts.shapes = std::mem::take(&mut look.seen.facts.shapes);
    Ok(look)
}

fn read(
    part: Part,
    number: u32,
    event_bytes: usize,
    decoder: &mut Decoder,
    look: &mut Look,
) -> Result<(), crate::source::SourceError> {
    let chunks = Chunks::open(vec![part], Chunking { event_bytes, ..Chunking::default() })?;
    let mut chunk = Chunk::default();
    for _ in 0..CHUNKS {
        if chunks.next(u64::MAX, &mut chunk)? != Next::Chunk {
            break;
        }
        look.is_json = chunk.format == Format::Json;
        let mut block = chunk.block();
        block.position.part = number;
        decoder.read(&block, look);
        let batch = &mut look.gathering.batch;
        if let Some(seen) = &mut look.gathering.seen {
            seen.take(&batch.input);
        }
        let input = &mut batch.input;
        input.records.clear();
        input.names.clear();
        input.signatures.clear();
        input.shapes.clear();
        batch.dead_letters.clear();
    }
    Ok(())
}

impl Harvest for Look {
    type Mark = <Gathering as Harvest>::Mark;

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let (before, told) = (self.gathering.batch.input.records.len(), self.gathering.batch.input.signatures.len());
        self.gathering.event(interpreter, read, position, payload);
        let input = &self.gathering.batch.input;
        let Some(record) = input.records.get(before) else { return };
        let signature = record.event.signature;
        self.facts.signatures.extend(input.signatures[told..].iter().cloned());
        let Some(shape) = self.facts.signatures.get(&signature).map(|descriptor| descriptor.shape) else { return };
        *self.facts.events.entry(signature).or_default() += 1;
        if self.is_json
            && let Ok(value) = serde_json::from_slice::<Value>(payload)
        {
            self.values_of(&mut String::new(), &value, (shape, signature));
        }
    }

    fn finish(&mut self, interpreter: &mut Interpreter) {
        self.gathering.finish(interpreter);
    }

    fn mark(&self) -> Self::Mark {
        self.gathering.mark()
    }

    fn back_to(&mut self, mark: Self::Mark) {
        self.gathering.back_to(mark);
    }
}

impl Look {
    /// Adds the scalars of an object, but for those within arrays: an event has one value of a tag.
    fn values_of(&mut self, path: &mut String, value: &Value, of: (ShapeId, SignatureId)) {
        let (text, kind) = match value {
            Value::Object(members) => {
                for (key, value) in members {
                    // A key that a path has to quote is no usual tag.
                    let is_plain = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.' | ':');
                    if key.is_empty() || !key.chars().all(is_plain) {
                        continue;
                    }
                    let length = path.len();
                    if length > 0 {
                        path.push('.');
                    }
                    path.push_str(key);
                    self.values_of(path, value, of);
                    path.truncate(length);
                }
                return;
            }
            Value::String(text) if !text.is_empty() => (text.clone(), ValueKind::String),
            Value::Bool(value) => (value.to_string(), ValueKind::Bool),
            Value::Number(number) if number.is_i64() => (number.to_string(), ValueKind::Number),
            _ => return,
        };
        let is_full = self.values.len() + self.no_tags.len() >= PATHS && !self.values.contains_key(path);
        if is_full || self.no_tags.contains(path) {
            return;
        }
        let values = self.values.entry(path.clone()).or_default();
        if text.len() > LONGEST || values.len() >= VALUES && !values.contains_key(&text) {
            self.values.remove(path);
            self.no_tags.insert(path.clone());
            return;
        }
        let (shape, signature) = of;
        let new = || Valued { kind, events: 0, shapes: BTreeMap::new(), first: None };
        let valued = values.entry(text).or_insert_with(new);
        valued.events += 1;
        *valued.shapes.entry(shape).or_default() += 1;
        valued.first.get_or_insert(signature);
    }

    pub fn events(&self) -> u64 {
        self.facts.events.values().sum()
    }

    /// Returns the first event of a signature.
    pub fn example(&self, signature: SignatureId) -> Option<String> {
        let example = self.seen.examples.get(&signature)?;
        let text = String::from_utf8_lossy(&example.payload);
        Some(if example.is_cut { format!("{text}…") } else { text.into_owned() })
    }

    /// Returns the place of the first event of a signature; those without one come last.
    pub fn place(&self, signature: SignatureId) -> (bool, Option<Position>) {
        let place = self.seen.examples.get(&signature).map(|example| example.position);
        (place.is_none(), place)
    }

    /// Returns how well the types of the events predict their shapes, as a path would.
    pub fn of_types(&self, entropy: impl Fn(std::vec::IntoIter<u64>) -> f64) -> f64 {
        let (mut all, mut by_kind) = (BTreeMap::<ShapeId, u64>::new(), BTreeMap::<&str, BTreeMap<ShapeId, u64>>::new());
        for (signature, descriptor) in &self.facts.signatures {
            let events = self.facts.events.get(signature).copied().unwrap_or(0);
            if let Some(kind) = &descriptor.kind {
                *all.entry(descriptor.shape).or_default() += events;
                *by_kind.entry(kind).or_default().entry(descriptor.shape).or_default() += events;
            }
        }
        let of = |shapes: &BTreeMap<ShapeId, u64>| entropy(shapes.values().copied().collect::<Vec<_>>().into_iter());
        let (covered, whole) = (all.values().sum::<u64>(), of(&all));
        if covered == 0 || whole <= 0.0 {
            return 0.0;
        }
        let rest = by_kind.values().map(|shapes| shapes.values().sum::<u64>() as f64 / covered as f64 * of(shapes));
        (whole - rest.sum::<f64>()) / whole * covered as f64 / self.events().max(1) as f64
    }
}
