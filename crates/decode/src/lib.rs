//! Bytes -> [`dataflows::Record`] or [`dataflows::DeadLetter`]. Decoding knows nothing of transports: it gets a block
//! of whole records and the position where it begins.
//!
//! ```text
//! block --framing--> payloads --json|csv|clf--> Reading (values at paths, shape) --interpret--> Record
//! ```

pub mod absent;
pub mod clf;
pub mod csv;
pub mod defaults;
mod derived;
pub mod detect;
pub mod fault;
pub mod framing;
pub mod guard;
pub mod interpret;
pub mod json;
mod lately;
pub mod longest;
pub mod messages;
mod names;
pub mod path;
#[cfg(test)]
#[path = "../../../tests/patience.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod patience;
pub mod reading;
pub mod spec;
pub mod tabular;
pub mod time;
pub mod transform;
pub mod usage;

use crate::guard::guarded;
use clf::ClfReader;
use csv::CsvReader;
use dataflows::{EventTime, Position, Reason};
use fault::Fault;
use framing::Framing;
use interpret::Interpreter;
use json::JsonReader;
use messages::{Beside, Message};
use reading::{PathSet, Reading};
use spec::{EventsPlan, Format, Spec};
use std::ops::Range;
use std::sync::Arc;

/// Whole records of one part of a source.
#[derive(Clone, Copy, Debug)]
pub struct Block<'b> {
    /// Of the first byte.
    pub position: Position,
    pub format: Format,
    pub framing: Framing,
    /// Of CSV: the header row of the part.
    pub header: Option<&'b Arc<[u8]>>,
    /// When it was received, if that is known: see [`interpret::Interpreter::effective`].
    pub received: Option<EventTime>,
    pub bytes: &'b [u8],
}

/// One worker's decoder of all sources.
pub struct Decoder {
    spec: Arc<Spec>,
    range: interpret::Range,
    /// Event times after this one are counted.
    latest: Option<EventTime>,
    /// By source: the format that it was last seen in.
    sources: Vec<Option<SourceDecoder>>,
    reading: Reading,
}

struct SourceDecoder {
    format: Format,
    interpreter: Interpreter,
    /// Those of the interpreter.
    paths: Arc<PathSet>,
    reader: Reader,
    beside: Beside,
}

/// A framed record of a block, and the message that it is of, if it came in one.
#[derive(Clone, Copy)]
struct Framed<'b> {
    offset: usize,
    payload: &'b [u8],
    message: Option<&'b Message<'b>>,
}

enum Reader {
    Json(JsonReader),
    Csv { header: Arc<[u8]>, reader: Result<CsvReader, Fault> },
    Clf(ClfReader),
}

impl Decoder {
    pub fn new(spec: Spec, range: interpret::Range) -> Decoder {
        let sources = spec.sources.iter().map(|_| None).collect();
        Decoder { spec: Arc::new(spec), range, latest: None, sources, reading: Reading::default() }
    }

    /// Returns the decoder that counts event times after `latest` as hard to believe.
    #[must_use]
    pub fn expecting(self, latest: Option<EventTime>) -> Decoder {
        Decoder { latest, ..self }
    }

    /// Reads every record of the block into the harvest; one that makes this panic is [`Reason::Poison`], and the others
    /// are as if it were not there.
    pub fn read<H: Harvest>(&mut self, block: &Block<'_>, harvest: &mut H) {
        let framed = |(offset, payload)| Framed { offset, payload, message: None };
        self.read_framed(block, || block.framing.records(block.bytes).map(framed), harvest);
    }

    /// As [`Decoder::read`], of a block of [`messages`], whose values are framed as the block says. A value that is above
    /// the size limit is one record. False if these are no messages.
    pub fn read_messages<H: Harvest>(&mut self, block: &Block<'_>, harvest: &mut H) -> bool {
        let Some(messages) = messages::read(block.bytes) else { return false };
        let limit = self.spec.sources[block.position.source as usize].limits.event_bytes;
        let records = || messages.iter().flat_map(|(at, message)| message.records(*at, block.framing, limit));
        self.read_framed(block, records, harvest);
        true
    }

    fn read_framed<'b, H: Harvest, I: Iterator<Item = Framed<'b>>>(
        &mut self,
        block: &Block<'_>,
        records: impl Fn() -> I,
        harvest: &mut H,
    ) {
        if self.attempt(block, records(), harvest).is_ok() {
            return;
        }
        for record in records() {
            if let Err(panic) = self.attempt(block, std::iter::once(record), harvest) {
                let fault = Fault::new(Reason::Poison, format!("a defect of the decoder: {panic}"));
                let interpreter = &mut self.source(block).0.interpreter;
                harvest.event(interpreter, Err(fault), block.position.behind(record.offset), record.payload);
            }
        }
    }

    /// Reads all of the records, or none: a panic leaves the harvest as it was, and forgets what it may have left half
    /// done.
    ///
    /// # Errors
    /// What the panic said.
    fn attempt<'b, H: Harvest>(
        &mut self,
        block: &Block<'_>,
        records: impl Iterator<Item = Framed<'b>>,
        harvest: &mut H,
    ) -> Result<(), String> {
        let mark = harvest.mark();
        let outcome = guarded(|| {
            let (source, reading) = self.source(block);
            for record in records {
                source.record(reading, block.position.behind(record.offset), record, harvest);
            }
            harvest.finish(&mut source.interpreter);
        });
        if outcome.is_err() {
            harvest.back_to(mark);
            self.sources[block.position.source as usize] = None;
            self.reading = Reading::default();
        }
        outcome
    }

    /// Returns the decoder that reads the block.
    fn source(&mut self, block: &Block<'_>) -> (&mut SourceDecoder, &mut Reading) {
        let Decoder { spec, range, latest, sources, reading } = self;
        let source = &mut sources[block.position.source as usize];
        let kept = source.take().filter(|source| source.format == block.format);
        let source = source.insert(kept.unwrap_or_else(|| SourceDecoder::new(spec, block, *range)));
        source.interpreter.received = block.received;
        source.interpreter.latest = *latest;
        source.follow(block);
        (source, reading)
    }
}

/// The reading of an event, or its fault.
pub type Read<'r> = Result<&'r Reading, Fault>;

/// The receiver of the events of blocks.
pub trait Harvest {
    /// The amount of harvest at one moment.
    type Mark;

    /// One event.
    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]);

    /// There are no more events for now.
    fn finish(&mut self, _: &mut Interpreter) {}

    fn mark(&self) -> Self::Mark;

    /// Forgets what came after the mark.
    fn back_to(&mut self, mark: Self::Mark);
}

impl SourceDecoder {
    fn new(spec: &Arc<Spec>, block: &Block<'_>, range: interpret::Range) -> SourceDecoder {
        let interpreter = Interpreter::new(Arc::clone(spec), block.position.source, block.format, range);
        let events = interpreter.events();
        let reader = match block.format {
            Format::Json => {
                let paths = Arc::clone(interpreter.paths());
                Reader::Json(JsonReader::new(paths, events.explode.as_ref(), events.limits))
            }
            Format::Csv => csv_reader(block, &interpreter),
            Format::Clf => Reader::Clf(ClfReader::new(interpreter.paths())),
        };
        let paths = Arc::clone(interpreter.paths());
        let beside = Beside::new(&paths);
        SourceDecoder { format: block.format, interpreter, paths, reader, beside }
    }

    /// Another part may have another header.
    fn follow(&mut self, block: &Block<'_>) {
        if let (Reader::Csv { header, .. }, Some(other)) = (&self.reader, block.header)
            && header != other
        {
            self.reader = csv_reader(block, &self.interpreter);
        }
    }

    /// Does not look into records above the size limit. Posted records have not been through the cutter of files, which
    /// passes them. Of a followed file only the beginning of such a record comes here.
    fn record(&mut self, reading: &mut Reading, position: Position, record: Framed<'_>, harvest: &mut impl Harvest) {
        let SourceDecoder { interpreter, reader, paths, beside, .. } = self;
        let derived = paths.derived();
        let Framed { payload, message, .. } = record;
        if let Some(time_ms) = message.and_then(|message| message.time_ms) {
            interpreter.received = EventTime::from_micros(time_ms.saturating_mul(1000)).or(interpreter.received);
        }
        let limit = interpreter.events().limits.event_bytes;
        if payload.len() > limit {
            let fault = Fault::too_large(payload.len() as u64, limit);
            return harvest.event(interpreter, Err(fault), position, payload);
        }
        let read = match reader {
            Reader::Json(reader) => {
                // One payload may hold several events.
                return reader.read(payload, reading, |part, read| {
                    let read = read.map(|reading| {
                        let reading = with_beside(beside, message, reading);
                        if !derived.is_empty() {
                            let around = (part.bytes.len() < payload.len()).then_some(payload);
                            derived.fill(Some(part.bytes), around, reading);
                        }
                        &*reading
                    });
                    harvest.event(interpreter, read, position.behind(part.offset), part.bytes);
                });
            }
            Reader::Csv { reader: Ok(reader), .. } => reader.read(payload, reading),
            Reader::Csv { reader: Err(fault), .. } => Err(fault.clone()),
            Reader::Clf(reader) => reader.read(payload, reading),
        };
        let read = read.map(|()| {
            let reading = with_beside(beside, message, reading);
            if !derived.is_empty() {
                derived.fill(None, None, reading);
            }
            &*reading
        });
        harvest.event(interpreter, read, position, payload);
    }
}

/// Adds to a reading what is beside the value of its message, if it came in one.
fn with_beside<'r>(beside: &'r mut Beside, message: Option<&Message<'_>>, reading: &'r mut Reading) -> &'r mut Reading {
    match message {
        Some(message) => beside.add(message, reading),
        None => reading,
    }
}

impl Message<'_> {
    /// Returns the records in the value, which lies at `at`.
    fn records(&self, at: usize, framing: Framing, limit: usize) -> impl Iterator<Item = Framed<'_>> {
        let whole = self.value.len() > limit;
        let framed = (!whole).then(|| framing.records(self.value)).into_iter().flatten();
        let all = whole.then_some((0, self.value)).into_iter().chain(framed);
        all.map(move |(offset, payload)| Framed { offset: at + offset, payload, message: Some(self) })
    }
}

/// Returns the ranges of the events of a framed record, in order: the record itself, or the elements it explodes into.
pub fn events_of(events: &EventsPlan, record: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if events.explode.is_none() {
        found.push(0..record.len());
        return found;
    }
    let mut reader = JsonReader::new(Arc::default(), events.explode.as_ref(), events.limits);
    reader.read(record, &mut Reading::default(), |part, _| found.push(part.offset..part.offset + part.bytes.len()));
    found
}

fn csv_reader(block: &Block<'_>, interpreter: &Interpreter) -> Reader {
    let header = block.header.cloned().unwrap_or_default();
    let limits = &interpreter.events().limits;
    let reader = CsvReader::new(&header, csv::delimiter(&header), interpreter.paths(), limits);
    Reader::Csv { header, reader }
}
