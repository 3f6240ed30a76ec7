//! The decoder of one source: reads a framed record, mends it where one bad unit would make it unreadable, and says where
//! its bytes went.

use crate::account::{Account, Skip};
use crate::clf::ClfReader;
use crate::csv::CsvReader;
use crate::fault::Fault;
use crate::framing::{Dialect, Framing};
use crate::interpret::{self, Interpreter};
use crate::json::JsonReader;
use crate::log::{Heading, LogReader};
use crate::mend::{self, Mended};
use crate::messages::{Beside, Message};
use crate::pairs::{Pairs, PairsReader};
use crate::path::Path;
use crate::path_set::PathSet;
use crate::prefix::{self, Prefix};
use crate::reading::{Reading, Slot};
use crate::spec::{Format, Spec};
use crate::syntax::Encoding;
use crate::unwrap::Unwrap;
use crate::{Block, Framed, Harvest};
use dataflows::{EventTime, Position, Reason, ValueKind};
use std::collections::HashSet;
use std::sync::Arc;

/// Reads the records of one source in one format.
pub struct SourceDecoder {
    pub format: Format,
    pub interpreter: Interpreter,
    /// When the block at hand was received. A message may say it of itself.
    pub received: Option<EventTime>,
    /// Those of the interpreter.
    paths: Arc<PathSet>,
    encoding: Encoding,
    /// Names of keys that a setting asks for; made when a payload has to be mended.
    asked: Option<HashSet<String>>,
    /// Of JSON and pairs: what says how they are wrapped.
    heading: Option<Arc<[u8]>>,
    prefix: Option<Prefix>,
    /// Where its time is wanted.
    prefix_time: Option<Slot>,
    /// Times that lack the year count.
    without_year: bool,
    pub unwrap: Option<Unwrap>,
    /// Reads what was unwrapped and is a line of an access log.
    pub lines: Option<Box<SourceDecoder>>,
    reader: Reader,
    beside: Beside,
}

enum Reader {
    Json(JsonReader),
    Csv { header: Arc<[u8]>, dialect: Dialect, reader: Result<CsvReader, Fault> },
    Clf(ClfReader),
    Log { heading: Arc<[u8]>, reader: Result<LogReader, Fault> },
    Pairs(PairsReader),
}

impl Reader {
    /// Returns why a record is no event, if it is none by its first bytes.
    fn skips(&self, payload: &[u8]) -> Option<Skip> {
        match self {
            Reader::Csv { dialect, .. } if dialect.is_comment(payload) => Some(Skip::Comment),
            Reader::Csv { header, .. } if **header == *payload => Some(Skip::Header),
            Reader::Log { reader: Ok(reader), .. } if reader.is_comment(payload) => Some(Skip::Comment),
            Reader::Log { reader: Ok(reader), .. } if reader.is_header(payload) => Some(Skip::Header),
            _ => None,
        }
    }
}

/// The number of events and dead letters of one record.
#[derive(Default)]
struct Yield {
    events: usize,
    dead_letters: usize,
}

impl SourceDecoder {
    pub fn new(spec: &Arc<Spec>, block: &Block<'_>, range: interpret::Range) -> SourceDecoder {
        let source = block.position.source;
        let interpreter = Interpreter::new(Arc::clone(spec), source, block.format, range);
        let events = interpreter.events();
        let reader = match block.format {
            Format::Json => {
                let paths = Arc::clone(interpreter.paths());
                Reader::Json(JsonReader::new(paths, events.explode.as_ref(), events.limits))
            }
            Format::Csv => csv_reader(block, &interpreter),
            Format::Clf => Reader::Clf(ClfReader::new(interpreter.paths())),
            Format::Log => log_reader(block, &interpreter),
            Format::Ltsv => Reader::Pairs(PairsReader::new(Pairs::Ltsv, interpreter.paths(), events.limits.keys)),
            Format::Logfmt => Reader::Pairs(PairsReader::new(Pairs::Logfmt, interpreter.paths(), events.limits.keys)),
            Format::Text => Reader::Pairs(PairsReader::new(Pairs::Text, interpreter.paths(), events.limits.keys)),
        };
        let without_year = events.year.is_some();
        let encoding = spec.syntaxes.get(usize::from(source)).map_or(Encoding::Utf8, |syntax| syntax.encoding);
        let paths = Arc::clone(interpreter.paths());
        let beside = Beside::new(&paths);
        SourceDecoder {
            format: block.format,
            interpreter,
            received: block.received,
            encoding,
            asked: None,
            heading: None,
            prefix: None,
            prefix_time: Path::parse(Prefix::TIME).ok().and_then(|path| paths.of(&path)),
            without_year,
            unwrap: None,
            lines: None,
            reader,
            beside,
            paths,
        }
    }

    /// Another part may have another header.
    pub fn follow(&mut self, block: &Block<'_>) {
        if let (Reader::Csv { header, dialect, .. }, Some(other)) = (&self.reader, block.header)
            && (header != other || block.framing != Framing::Rows(*dialect))
        {
            self.reader = csv_reader(block, &self.interpreter);
        }
        if let (Reader::Log { heading, .. }, Some(other)) = (&self.reader, block.header)
            && heading != other
        {
            self.reader = log_reader(block, &self.interpreter);
        }
        if matches!(self.reader, Reader::Json(_) | Reader::Pairs(_)) && self.heading.as_ref() != block.header {
            self.heading = block.header.cloned();
            let heading = block.header.map(|text| Heading::parse(text));
            let path = heading.as_ref().and_then(|heading| Path::parse(&heading.layout).ok());
            let interpreter = &self.interpreter;
            let unwrap = |path: &Path| Unwrap::new(path, interpreter.paths(), interpreter.events().limits);
            self.unwrap = path.filter(|_| matches!(self.reader, Reader::Json(_))).as_ref().map(unwrap);
            self.prefix = heading.and_then(|heading| heading.prefix);
        }
    }

    /// Does not look into records above the size limit. Posted records have not been through the cutter of files, which
    /// passes them. Of a followed file only the beginning of such a record comes here.
    pub fn record(
        &mut self,
        reading: &mut Reading,
        position: Position,
        Framed { payload, message, .. }: Framed<'_>,
        account: &mut Account,
        harvest: &mut impl Harvest,
    ) {
        let time_ms = message.and_then(|message| message.time_ms);
        let received = time_ms.and_then(|time_ms| EventTime::from_micros(time_ms.saturating_mul(1000)));
        self.interpreter.received = received.or(self.received);
        let limit = self.interpreter.events().limits.event_bytes;
        if payload.len() > limit {
            account.dead_letters += payload.len() as u64;
            let fault = Fault::too_large(payload.len() as u64, limit);
            return harvest.event(&mut self.interpreter, Err(fault), position, payload);
        }
        if let Some(skip) = self.reader.skips(payload) {
            return account.skip(skip, payload.len());
        }
        // What stands before a record counts with it.
        let whole = payload.len();
        let before = self.prefix.as_ref().and_then(|prefix| prefix.of_line(payload)).unwrap_or(0);
        let time = if before == 0 { None } else { prefix::time(&payload[..before], self.without_year) };
        let (position, payload) = (position.behind(before), &payload[before..]);
        let record = Framed { offset: 0, payload, message, time };
        self.interpreter.repaired = false;
        let read = match self.encoding.is_of_bytes() && !payload.is_ascii() {
            true => {
                let text = Mended::of_encoding(payload, self.encoding);
                let origin = |offset| text.origin(offset);
                self.read(reading, position, record, text.text.as_bytes(), origin, harvest)
            }
            false => self.read(reading, position, record, payload, |offset| offset, harvest),
        };
        let found = match read {
            Ok(found) => found,
            Err(fault) => self.mend(reading, position, record, fault, harvest),
        };
        match found {
            Yield { events: 1.., .. } => account.events += whole as u64,
            Yield { dead_letters: 1.., .. } => account.dead_letters += whole as u64,
            _ => account.skip(Skip::NoElements, whole),
        }
    }

    /// Reads `text`, which stands for the payload; `origin` gives the offsets in that.
    ///
    /// # Errors
    /// A fault of the payload as a whole. Nothing was harvested then.
    fn read(
        &mut self,
        reading: &mut Reading,
        position: Position,
        record: Framed<'_>,
        text: &[u8],
        origin: impl Fn(usize) -> usize,
        harvest: &mut impl Harvest,
    ) -> Result<Yield, Fault> {
        if self.unwrap.is_some()
            && let Some(found) = self.unwrapped(reading, position, record, text, harvest)
        {
            return Ok(found);
        }
        let payload = record.payload;
        let SourceDecoder { interpreter, reader, paths, beside, prefix_time, .. } = self;
        let record = Known { message: record.message, time: record.time.zip(*prefix_time) };
        let mut found = Yield::default();
        let mut document = None;
        match reader {
            Reader::Json(reader) if !reader.explodes() => {
                reader.read_whole(text, reading)?;
                document = Some(text);
            }
            Reader::Json(reader) => {
                let mut whole = None;
                // One payload may hold several events.
                reader.read(text, reading, |part, read| {
                    match &read {
                        Err(fault) if part.bytes.len() == text.len() => return whole = Some(fault.clone()),
                        Err(_) => found.dead_letters += 1,
                        Ok(_) => found.events += 1,
                    }
                    let (start, end) = (origin(part.offset), origin(part.offset + part.bytes.len()));
                    let around = (part.bytes.len() < text.len()).then_some(text);
                    let read = read.map(|reading| complete(beside, paths, record, (Some(part.bytes), around), reading));
                    harvest.event(interpreter, read, position.behind(start), &payload[start..end]);
                });
                return whole.map_or(Ok(found), Err);
            }
            Reader::Csv { reader: Ok(reader), .. } => reader.read(text, reading)?,
            Reader::Csv { reader: Err(fault), .. } => return Err(fault.clone()),
            Reader::Clf(reader) => reader.read(text, reading)?,
            Reader::Log { reader: Ok(reader), .. } => reader.read(text, reading)?,
            Reader::Log { reader: Err(fault), .. } => return Err(fault.clone()),
            Reader::Pairs(reader) => reader.read(text, reading)?,
        }
        let reading = complete(beside, paths, record, (document, None), reading);
        harvest.event(interpreter, Ok(reading), position, payload);
        found.events = 1;
        Ok(found)
    }

    /// Reads the event that lies as a text in the object `text`. `None` if there is none, or if it is of no known form: the
    /// object is the event then.
    fn unwrapped(
        &mut self,
        reading: &mut Reading,
        position: Position,
        record: Framed<'_>,
        text: &[u8],
        harvest: &mut impl Harvest,
    ) -> Option<Yield> {
        let wrapped = self.unwrap.as_mut()?.read(text)?;
        let Reader::Json(reader) = &mut self.reader else { return None };
        let one = Some(Yield { events: 1, dead_letters: 0 });
        let payload = record.payload;
        let known = |slot: Option<Slot>| Known { message: record.message, time: record.time.zip(slot) };
        if wrapped.text.starts_with('{') {
            let mut event = None;
            reader.read(wrapped.text.as_bytes(), reading, |_, read| {
                event = read.ok().map(|reading| wrapped.around(reading));
            });
            let mut event = event?;
            let document = (Some(wrapped.text.as_bytes()), None);
            let known = known(self.prefix_time);
            let event = complete(&mut self.beside, &self.paths, known, document, &mut event);
            harvest.event(&mut self.interpreter, Ok(event), position, payload);
            return one;
        }
        let lines = self.lines.as_mut()?;
        let Reader::Clf(reader) = &mut lines.reader else { return None };
        reader.read(wrapped.text.as_bytes(), reading).ok()?;
        // They are of the record, not of the form of its text.
        lines.interpreter.received = self.interpreter.received;
        lines.interpreter.repaired = self.interpreter.repaired;
        let known = known(lines.prefix_time);
        let reading = complete(&mut lines.beside, &lines.paths, known, (None, None), reading);
        harvest.event(&mut lines.interpreter, Ok(reading), position, payload);
        one
    }

    /// Reads a payload without the units that make it unreadable. If that does not help, it is a dead letter.
    #[cold]
    fn mend(
        &mut self,
        reading: &mut Reading,
        position: Position,
        record: Framed<'_>,
        first: Fault,
        harvest: &mut impl Harvest,
    ) -> Yield {
        let payload = record.payload;
        let mut mended = match self.encoding.is_of_bytes() {
            true => Mended::of_encoding(payload, self.encoding),
            false => Mended::of_bytes(payload),
        };
        let mut fault = first.clone();
        self.interpreter.repaired = true;
        loop {
            let is_json = matches!(self.reader, Reader::Json(_));
            let better = match fault.reason {
                // Only at first.
                Reason::NotUtf8 if self.encoding.is_of_bytes() => None,
                Reason::NotUtf8 => Some(mended.text.clone()),
                Reason::NoJson if is_json => {
                    let better = mend::surrogates(&mended.text);
                    mend::no_numbers(better.as_deref().unwrap_or(&mended.text)).or(better)
                }
                Reason::DuplicateKey if is_json => {
                    let asked = self.asked.get_or_insert_with(|| mend::asked(self.interpreter.paths()));
                    mend::repeats(&mended.text, asked)
                }
                _ => None,
            };
            let Some(better) = better else { break };
            mended.text = better;
            let origin = |offset| mended.origin(offset);
            match self.read(reading, position, record, mended.text.as_bytes(), origin, harvest) {
                Ok(found) => return found,
                // It did not help.
                Err(other) if other.reason == fault.reason => break,
                Err(other) => fault = other,
            }
        }
        self.interpreter.repaired = false;
        harvest.event(&mut self.interpreter, Err(first), position, payload);
        Yield { events: 0, dead_letters: 1 }
    }
}

/// What is known of a record beside its payload.
#[derive(Clone, Copy)]
struct Known<'k> {
    message: Option<&'k Message<'k>>,
    /// The time of its prefix, and where that is wanted.
    time: Option<(&'k str, Slot)>,
}

/// Adds to a reading what is beside the value of its message, if it came in one, the time of its prefix, and then what
/// follows from its values. `document`: see [`reading::PathSet::derived`].
#[inline]
fn complete<'r>(
    beside: &'r mut Beside,
    paths: &PathSet,
    Known { message, time }: Known<'_>,
    (document, around): (Option<&[u8]>, Option<&[u8]>),
    reading: &'r mut Reading,
) -> &'r Reading {
    if message.is_none() && time.is_none() && paths.derived().is_empty() {
        return reading;
    }
    let reading = match message {
        Some(message) => beside.add(message, reading),
        None => reading,
    };
    if let Some((time, slot)) = time
        && !reading.has(slot)
    {
        reading.push_of(slot, ValueKind::String, time, true);
    }
    if !paths.derived().is_empty() {
        paths.derived().fill(document, around, reading);
    }
    reading
}

fn log_reader(block: &Block<'_>, interpreter: &Interpreter) -> Reader {
    let heading = block.header.cloned().unwrap_or_default();
    let reader = LogReader::new(&Heading::parse(&heading), interpreter.paths());
    let reader = reader.map_err(|message| Fault::new(Reason::NoLogLine, message));
    Reader::Log { heading, reader }
}

fn csv_reader(block: &Block<'_>, interpreter: &Interpreter) -> Reader {
    let header = block.header.cloned().unwrap_or_default();
    let dialect = match block.framing {
        Framing::Rows(dialect) => dialect,
        _ => Dialect::default(),
    };
    let reader = CsvReader::new(&header, dialect, interpreter.paths(), &interpreter.events().limits);
    Reader::Csv { header, dialect, reader }
}
