//! Bytes -> [`dataflows::Record`] or [`dataflows::DeadLetter`]. Decoding knows nothing of transports: it is given a
//! block of whole records and the position where it begins.
//!
//! ```text
//! block --framing--> payloads --json|csv|clf--> Reading (values at paths, shape) --interpret--> Record
//! ```

pub mod clf;
pub mod csv;
pub mod decimal;
pub mod defaults;
pub mod detect;
pub mod fault;
pub mod framing;
pub mod interpret;
pub mod json;
mod lately;
mod names;
pub mod path;
pub mod reading;
pub mod tabular;
pub mod time;

use crate::plan::{EventsPlan, Format, Limits, Plan};
use clf::ClfReader;
use csv::CsvReader;
use dataflows::{DeadLetter, EventTime, Position, Reason};
use fault::Fault;
use framing::Framing;
use interpret::{Batch, Interpreter};
use json::JsonReader;
use reading::Reading;
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
    plan: Arc<Plan>,
    range: interpret::Range,
    /// By source: the format that it was last seen in.
    sources: Vec<Option<SourceDecoder>>,
    reading: Reading,
}

struct SourceDecoder {
    format: Format,
    interpreter: Interpreter,
    reader: Reader,
}

enum Reader {
    Json(JsonReader),
    Csv { header: Arc<[u8]>, reader: Result<CsvReader, Fault> },
    Clf(ClfReader),
}

impl Decoder {
    pub fn new(plan: Arc<Plan>, range: interpret::Range) -> Decoder {
        let sources = plan.sources.iter().map(|_| None).collect();
        Decoder { plan, range, sources, reading: Reading::default() }
    }

    /// Decodes every record of the block into the batch: each becomes a record, a dead letter, or is outside of the
    /// asked range.
    pub fn decode(&mut self, block: &Block<'_>, batch: &mut Batch) {
        let limit = self.plan.sources[block.position.source as usize].events.limits.event_bytes;
        self.read(block, &mut |interpreter, read, position, payload| match read {
            Ok(reading) => interpreter.record(reading, position, payload, batch),
            Err(fault) => batch.dead_letters.push(dead_letter(fault, position, payload, limit)),
        });
        if let Some(source) = &mut self.sources[block.position.source as usize] {
            source.interpreter.finish(batch);
        }
    }

    /// Calls `each` for every event of the block, with its position and payload. Records above the size limit are not
    /// looked at: what is posted has not been through the cutter of files, which passes them, and of a file that is followed
    /// only the beginning of such a record comes here.
    pub fn read(&mut self, block: &Block<'_>, each: &mut Each<'_>) {
        let Decoder { plan, range, sources, reading } = self;
        let source = &mut sources[block.position.source as usize];
        let kept = source.take().filter(|source| source.format == block.format);
        let source = source.insert(kept.unwrap_or_else(|| SourceDecoder::new(plan, block, *range)));
        source.interpreter.received = block.received;
        let limits = &plan.sources[block.position.source as usize].events.limits;
        source.follow(block, limits);
        for (offset, payload) in block.framing.records(block.bytes) {
            let position = Position { offset: block.position.offset + offset as u64, ..block.position };
            if payload.len() > limits.event_bytes {
                let fault = Fault::too_large(payload.len() as u64, limits.event_bytes);
                each(&mut source.interpreter, Err(fault), position, payload);
            } else {
                source.record(reading, position, payload, each);
            }
        }
    }
}

/// What is made of one event.
pub type Each<'e> = dyn FnMut(&mut Interpreter, Result<&Reading, Fault>, Position, &[u8]) + 'e;

impl SourceDecoder {
    fn new(plan: &Arc<Plan>, block: &Block<'_>, range: interpret::Range) -> SourceDecoder {
        let interpreter = Interpreter::new(Arc::clone(plan), block.position.source, block.format, range);
        let events = &plan.sources[block.position.source as usize].events;
        let reader = match block.format {
            Format::Json => {
                let paths = Arc::clone(interpreter.paths());
                Reader::Json(JsonReader::new(paths, events.explode.as_ref(), events.limits))
            }
            Format::Csv => csv_reader(block, &interpreter, &events.limits),
            Format::Clf => Reader::Clf(ClfReader::new(interpreter.paths())),
        };
        SourceDecoder { format: block.format, interpreter, reader }
    }

    /// Another part may have another header.
    fn follow(&mut self, block: &Block<'_>, limits: &Limits) {
        if let (Reader::Csv { header, .. }, Some(other)) = (&self.reader, block.header)
            && header != other
        {
            self.reader = csv_reader(block, &self.interpreter, limits);
        }
    }

    fn record(&mut self, reading: &mut Reading, position: Position, payload: &[u8], each: &mut Each<'_>) {
        let interpreter = &mut self.interpreter;
        let read = match &mut self.reader {
            Reader::Json(reader) => {
                // One payload may hold several events.
                return reader.read(payload, reading, |part, read| {
                    let position = Position { offset: position.offset + part.offset as u64, ..position };
                    each(interpreter, read, position, part.bytes);
                });
            }
            Reader::Csv { reader: Ok(reader), .. } => reader.read(payload, reading),
            Reader::Csv { reader: Err(fault), .. } => Err(fault.clone()),
            Reader::Clf(reader) => reader.read(payload, reading),
        };
        each(interpreter, read.map(|()| &*reading), position, payload);
    }
}

/// Where the events of a framed record lie in it, in order: the record itself, or the elements it explodes into.
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

fn csv_reader(block: &Block<'_>, interpreter: &Interpreter, limits: &Limits) -> Reader {
    let header = block.header.cloned().unwrap_or_default();
    let reader = CsvReader::new(&header, csv::delimiter(&header), interpreter.paths(), limits);
    Reader::Csv { header, reader }
}

fn dead_letter(fault: Fault, position: Position, payload: &[u8], limit: usize) -> DeadLetter {
    let kept = if fault.reason == Reason::TooLarge { payload.len().min(limit) } else { payload.len() };
    DeadLetter {
        position,
        reason: fault.reason,
        message: fault.message,
        payload: payload[..kept].to_vec(),
        length: payload.len() as u64,
    }
}

#[cfg(test)]
mod tests;
