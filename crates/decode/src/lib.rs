//! Bytes -> [`dataflows::Record`] or [`dataflows::DeadLetter`]. Decoding knows nothing of transports: it gets a block
//! of whole records and the position where it begins.
//!
//! ```text
//! block --framing--> payloads --json|csv|clf--> Reading (values at paths, shape) --interpret--> Record
//!                               mend: of what one bad unit would make unreadable
//! ```

#![warn(missing_docs)]

mod absent;
pub mod account;
pub mod bucket;
pub mod clf;
pub mod csv;
pub mod defaults;
mod derived;
pub mod detect;
mod embedded;
pub mod fault;
mod format;
pub mod framing;
pub mod guard;
pub mod interpret;
pub mod json;
mod lately;
mod leaves;
pub mod log;
pub mod longest;
mod mend;
pub mod messages;
mod names;
pub mod pairs;
pub mod path;
pub mod path_set;
#[cfg(test)]
#[path = "../../../tests/patience.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod patience;
pub mod prefix;
pub mod reading;
mod source;
pub mod spec;
pub mod syntax;
mod tabular;
pub mod time;
mod tokens;
pub mod transform;
mod unwrap;
pub mod usage;
mod wanted;

use crate::account::Account;
use crate::guard::guarded;
use dataflows::{EventTime, Position, Reason};
use fault::Fault;
use framing::Framing;
use interpret::Interpreter;
use json::JsonReader;
use mend::Mended;
use messages::Message;
use reading::Reading;
use source::SourceDecoder;
use spec::{EventsPlan, Format, Spec};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Whole records of one part of a source.
#[derive(Clone, Copy, Debug)]
pub struct Block<'b> {
    /// Of the first byte.
    pub position: Position,
    /// Of its events.
    pub format: Format,
    /// How its records follow each other.
    pub framing: Framing,
    /// Of CSV: the header row of the part.
    pub header: Option<&'b Arc<[u8]>>,
    /// When it was received, if that is known: see [`interpret::Interpreter::effective`].
    pub received: Option<EventTime>,
    /// Records, none of them cut.
    pub bytes: &'b [u8],
}

/// One worker's decoder of all sources.
pub struct Decoder {
    spec: Arc<Spec>,
    range: interpret::Range,
    /// Event times after this one are counted.
    latest: Option<EventTime>,
    /// See [`Decoder::place`].
    begins_at: Option<u64>,
    of_positions: bool,
    /// By source: the format that it was last seen in.
    sources: Vec<Option<SourceDecoder>>,
    reading: Reading,
}

/// A framed record of a block, and the message that it is of, if it came in one.
#[derive(Clone, Copy)]
struct Framed<'b> {
    offset: usize,
    payload: &'b [u8],
    message: Option<&'b Message<'b>>,
    /// That of what stands before it.
    time: Option<&'b str>,
}

impl Decoder {
    /// Makes a decoder of the sources of `spec`. Events outside of `range` are only counted.
    pub fn new(spec: Spec, range: interpret::Range) -> Decoder {
        let sources = spec.sources.iter().map(|_| None).collect();
        let reading = Reading::default();
        Decoder { spec: Arc::new(spec), range, latest: None, begins_at: None, of_positions: true, sources, reading }
    }

    /// Says where in its file each block from now on begins, for the order of events of the same time. `None`: that is not
    /// known, and their content orders them. Without a call, the offset of a position is the place.
    pub fn place(&mut self, begins_at: Option<u64>) {
        (self.begins_at, self.of_positions) = (begins_at, false);
    }

    /// Returns the decoder that counts event times after `latest` as hard to believe.
    #[must_use]
    pub fn expecting(self, latest: Option<EventTime>) -> Decoder {
        Decoder { latest, ..self }
    }

    /// Reads every record of the block into the harvest; one that makes this panic is [`Reason::Poison`], and the others
    /// are as if it were not there.
    pub fn read<H: Harvest>(&mut self, block: &Block<'_>, harvest: &mut H) {
        let framed = |(offset, payload)| Framed { offset, payload, message: None, time: None };
        self.read_framed(block, || block.framing.records(block.bytes).map(framed), true, harvest);
    }

    /// As [`Decoder::read`], of a block of [`messages`], whose values are framed as the block says. A value that is above
    /// the size limit is one record. False if these are no messages.
    pub fn read_messages<H: Harvest>(&mut self, block: &Block<'_>, harvest: &mut H) -> bool {
        let Some(messages) = messages::read(block.bytes) else { return false };
        let limit = self.spec.sources[block.position.source as usize].limits.event_bytes;
        let records = || messages.iter().flat_map(|(at, message)| message.records(*at, block.framing, limit));
        self.read_framed(block, records, false, harvest);
        true
    }

    /// `gaps`: the records are all of the block, and what is between them counts too.
    fn read_framed<'b, H: Harvest, I: Iterator<Item = Framed<'b>>>(
        &mut self,
        block: &Block<'_>,
        records: impl Fn() -> I,
        gaps: bool,
        harvest: &mut H,
    ) {
        let mut account = Account::default();
        if self.attempt(block, records(), gaps, &mut account, harvest).is_ok() {
            return harvest.account(&account);
        }
        let mut end = 0;
        for record in records() {
            let Framed { offset, payload, .. } = record;
            let mut one = Account::default();
            if let Err(panic) = self.attempt(block, std::iter::once(record), false, &mut one, harvest) {
                let fault = Fault::new(Reason::Poison, format!("a defect of the decoder: {panic}"));
                let interpreter = &mut self.source(block).0.interpreter;
                harvest.event(interpreter, Err(fault), block.position.behind(offset), payload);
                one = Account::default();
                one.dead_letters = payload.len() as u64;
            }
            if gaps {
                one.between(block.framing, &block.bytes[end..offset]);
                end = offset + payload.len();
            }
            account.add(&one);
        }
        if gaps {
            account.between(block.framing, &block.bytes[end..]);
        }
        harvest.account(&account);
    }

    /// Reads all of the records, or none: a panic leaves the harvest as it was, and forgets what it may have left half
    /// done. `gaps`: the records are all of the block, and what is between them counts too.
    ///
    /// # Errors
    /// What the panic said.
    fn attempt<'b, H: Harvest>(
        &mut self,
        block: &Block<'_>,
        records: impl Iterator<Item = Framed<'b>>,
        gaps: bool,
        account: &mut Account,
        harvest: &mut H,
    ) -> Result<(), String> {
        let mark = harvest.mark();
        let outcome = guarded(|| {
            let (source, reading) = self.source(block);
            let mut end = 0;
            for record in records {
                let Framed { offset, payload, .. } = record;
                if gaps {
                    account.between(block.framing, &block.bytes[end..offset]);
                    end = offset + payload.len();
                }
                source.record(reading, block.position.behind(offset), record, account, harvest);
            }
            if gaps {
                account.between(block.framing, &block.bytes[end..]);
            }
            harvest.finish(&mut source.interpreter);
            if let Some(lines) = &mut source.lines {
                harvest.finish(&mut lines.interpreter);
            }
        });
        if outcome.is_err() {
            *account = Account::default();
            harvest.back_to(mark);
            self.sources[block.position.source as usize] = None;
            self.reading = Reading::default();
        }
        outcome
    }

    /// Returns the decoder that reads the block.
    fn source(&mut self, block: &Block<'_>) -> (&mut SourceDecoder, &mut Reading) {
        let Decoder { spec, range, latest, begins_at, of_positions, sources, reading } = self;
        let places = match of_positions {
            true => Some((0, 0)),
            false => begins_at.map(|base| (block.position.offset, base)),
        };
        let source = &mut sources[block.position.source as usize];
        let kept = source.take().filter(|source| source.format == block.format);
        let source = source.insert(kept.unwrap_or_else(|| SourceDecoder::new(spec, block, *range)));
        source.received = block.received;
        source.interpreter.places = places;
        source.interpreter.latest = *latest;
        source.follow(block);
        if source.unwrap.is_some() {
            let of_lines = Block { format: Format::Clf, header: None, ..*block };
            let lines = source.lines.get_or_insert_with(|| Box::new(SourceDecoder::new(spec, &of_lines, *range)));
            lines.interpreter.latest = *latest;
            lines.interpreter.places = places;
        }
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

    /// Where the bytes of a block went.
    fn account(&mut self, _: &Account) {}

    /// There are no more events for now.
    fn finish(&mut self, _: &mut Interpreter) {}

    /// Returns the present amount, for [`Harvest::back_to`].
    fn mark(&self) -> Self::Mark;

    /// Forgets what came after the mark.
    fn back_to(&mut self, mark: Self::Mark);
}

impl Message<'_> {
    /// Returns the records in the value, which lies at `at`.
    fn records(&self, at: usize, framing: Framing, limit: usize) -> impl Iterator<Item = Framed<'_>> {
        let whole = self.value.len() > limit;
        let framed = (!whole).then(|| framing.records(self.value)).into_iter().flatten();
        let all = whole.then_some((0, self.value)).into_iter().chain(framed);
        all.map(move |(offset, payload)| Framed { offset: at + offset, payload, message: Some(self), time: None })
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
    let mut mended = Mended::of_bytes(record);
    for _ in 0..3 {
        found.clear();
        let mut whole = None;
        reader.read(mended.text.as_bytes(), &mut Reading::default(), |part, read| match read {
            Err(fault) if part.bytes.len() == mended.text.len() => whole = Some(fault),
            _ => found.push(mended.origin(part.offset)..mended.origin(part.offset + part.bytes.len())),
        });
        let better = match whole.map(|fault| fault.reason) {
            None => return found,
            Some(Reason::NoJson) => {
                let better = mend::surrogates(&mended.text);
                mend::no_numbers(better.as_deref().unwrap_or(&mended.text)).or(better)
            }
            // Whether they matter is known to the decoder, and where elements lie does not depend on it.
            Some(Reason::DuplicateKey) => mend::repeats(&mended.text, &HashSet::new()),
            Some(_) => None,
        };
        let Some(better) = better else { break };
        mended.text = better;
    }
    found.clear();
    found.push(0..record.len());
    found
}
