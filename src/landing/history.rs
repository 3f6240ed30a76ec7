//! The tables of a landing, to be decoded again under today's configuration: what a replay of history reads.
//!
//! ```text
//! snapshot of both tables ─▶ row groups, one after the other ─▶ workers: rows ─▶ blocks of one record ─▶ decoder
//! ```
//! The version of each table is that of the moment when it is opened. A run may go on landing meanwhile, and joins files:
//! those of the version stay on disk for `vacuum_after`.

use super::Error;
use super::action::{self, Add};
use super::schema::Name;
use super::snapshot::Snapshot;
use super::store::Store;
use super::table::{disk, ticks};
use crate::collections::place::SourceIndex;
use crate::plan::Plan;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BinaryArray, PrimitiveArray, RecordBatch, StringArray};
use dataflows::{DeadLetter, EventTime, Position, Reason, Tick, UserKey};
use headwater_decode::Block;
use headwater_decode::framing::{Dialect, Framing};
use headwater_decode::spec::Format;
use headwater_log::vfs::RealFs;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Rows that a worker decodes before the graph has a turn.
const ROWS: usize = 2048;
/// The columns that are read.
const COLUMNS: [&str; 15] = [
    "received",
    "message",
    "length",
    "payload",
    "payload_bytes",
    "_hw_source",
    "_hw_part",
    "_hw_offset",
    "_hw_tick",
    "_hw_place",
    "_hw_format",
    "_hw_header",
    "_hw_dialect",
    "_hw_before",
    "_hw_after",
];

/// Both tables at one version, which the workers of a process read together, a row group at a time.
///
/// - **Once.** Each row is handed out once.
/// - **Order.** Positions are in the order in which the run took the records of a source: by tick, then by place in the
///   queue. So of two records with one id the same one counts. Other positions are those of the queue: see [`in_queue`].
/// - **Ticks.** A tick takes `tick_bytes` of uncompressed row groups. Where duplicates are recognised, it ends only between
///   files of which none has rows of ticks of the run that another one has too: what a tick takes first counts. So it may
///   take a joined day.
pub struct History {
    files: Vec<Stored>,
    sources: Sources,
    /// The first tick of all files.
    first: Tick,
    next: Mutex<State>,
    tick_bytes: u64,
    /// Whether what comes first counts.
    is_ordered: bool,
    // Copies for readers that do not wait for the lock.
    tick: AtomicU64,
    bytes_read: AtomicU64,
    /// How far the table of events has come.
    landed: Option<action::Landed>,
}

/// The sources of the configuration by name, and whether their records explode.
type Sources = HashMap<String, (SourceIndex, bool)>;

/// Bits of the place in a part of the queue, in an offset. Those above are the part.
const PART_SHIFT: u32 = 60;

/// Returns the position in the queue of a record with such a position: `_hw_part` and `_hw_offset`.
pub fn in_queue(position: Position) -> Position {
    let Position { source, offset, .. } = position;
    Position { source, part: (offset >> PART_SHIFT) as u32, offset: offset & ((1 << PART_SHIFT) - 1) }
}

/// A file of either table.
struct Stored {
    path: PathBuf,
    bytes: u64,
    /// Of dead letters: why they are.
    reason: Option<Reason>,
    /// The first and the last tick of the run that it may have rows of.
    ticks: (Tick, Tick),
    /// No file before it, in their order, has rows of its ticks or later ones.
    is_bound: bool,
}

struct State {
    file: usize,
    /// The file that row groups are taken of, and the next one.
    open: Option<(ArrowReaderMetadata, usize)>,
    /// Uncompressed bytes of the tick.
    bytes: u64,
    tick: Tick,
}

/// What a worker has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Rows of this tick.
    Rows(Tick),
    /// Not yet: above the limit.
    Wait,
    End,
}

/// A row of a landing.
pub enum Landed<'r> {
    /// A record to be decoded, with its place in its file if that is known. The row itself is the range of its bytes:
    /// more than that if the record explodes.
    Record(Block<'r>, Option<u64>, Range<usize>),
    /// A record of which the landing has a part only.
    Letter(DeadLetter),
}

impl History {
    /// Opens the landing of a plan. `tick_bytes`: uncompressed bytes of a tick.
    ///
    /// # Errors
    /// If there is none, or a table cannot be read.
    pub fn open(root: &Path, plan: &Plan, tick_bytes: u64) -> Result<History, Error> {
        let (mut files, mut landed) = (Vec::new(), None);
        for name in [Name::Events, Name::DeadLetters] {
            let table = root.join(name.text());
            let store = Store::new(Arc::new(RealFs), table.clone());
            let snapshot = store.names()?.map_or(Ok(None), |names| Snapshot::read(&store, &names))?;
            let snapshot = snapshot.ok_or_else(|| {
                Error::Refused(format!("{} is no landed table: a run with [landing] makes it", table.display()))
            })?;
            if name == Name::Events {
                landed.clone_from(&snapshot.landed);
            }
            let file = |(path, add): (String, Add)| {
                let folder = add.partition_values.get(name.folder()).and_then(Option::as_deref);
                let reason = Reason::ALL.into_iter().find(|reason| folder == Some(reason.code()));
                let reason = reason.filter(|_| name == Name::DeadLetters);
                // Of a name that the landing does not give, nothing is known.
                let ticks = ticks(&path).unwrap_or((0, Tick::MAX));
                Stored { path: table.join(disk(&path)), bytes: add.size.unsigned_abs(), reason, ticks, is_bound: false }
            };
            files.extend(snapshot.adds.into_iter().map(file));
        }
        let sources = (0..).map(SourceIndex).zip(&plan.sources);
        files.sort_by(|one, other| (one.ticks, &one.path).cmp(&(other.ticks, &other.path)));
        let mut last = None;
        for file in &mut files {
            file.is_bound = last.is_none_or(|last| last < file.ticks.0);
            last = last.max(Some(file.ticks.1));
        }
        let first = files.first().map_or(0, |file| file.ticks.0);
        Ok(History {
            files,
            sources: sources
                .map(|(index, source)| (source.name.clone(), (index, source.events.explode.is_some())))
                .collect(),
            first,
            next: Mutex::new(State { file: 0, open: None, bytes: 0, tick: 0 }),
            tick_bytes,
            is_ordered: plan.graph().dedupe.is_some(),
            tick: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            landed,
        })
    }

    /// Returns a reader for a worker.
    pub fn reader(self: &Arc<History>) -> Reader {
        Reader { history: Arc::clone(self), open: None, headers: HashMap::new() }
    }

    /// Returns a tick that no rows to come are before.
    pub fn tick(&self) -> Tick {
        self.tick.load(Ordering::Acquire)
    }

    /// Returns how many files the tables have.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Returns the stored bytes that were read, and those of all files.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_read.load(Ordering::Relaxed), self.files.iter().map(|file| file.bytes).sum())
    }

    /// Returns the last tick that has landed, and by part of the queue the offset behind the last record that has.
    pub fn landed(&self) -> Option<(Tick, &[u64])> {
        self.landed.as_ref().map(|landed| (landed.to, landed.queue.as_slice()))
    }

    /// Calls `each` with the events of a user, of the ticks in `ticks`, and the tick of each.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn events_of(
        &self,
        user: UserKey,
        ticks: Range<Tick>,
        mut each: impl FnMut(Tick, &Block<'_>, Option<u64>),
    ) -> Result<(), Error> {
        let mut headers = HashMap::new();
        let overlaps = |stored: &&Stored| stored.ticks.0 < ticks.end && stored.ticks.1 >= ticks.start;
        for stored in self.files.iter().filter(|stored| stored.reason.is_none()).filter(overlaps) {
            let metadata = stored.metadata()?;
            for group in 0..metadata.metadata().num_row_groups() {
                for batch in stored.rows_with(&metadata, group, Some("user"))? {
                    let batch = batch.map_err(|error| stored.failed(error))?;
                    let batch = super::rewrite::of_user(&batch, user, true).map_err(|error| stored.failed(error))?;
                    stored.each(&batch, self, &mut headers, |row| {
                        if let Landed::Record(block, place, _) = row {
                            let tick = self.first + Tick::from(block.position.part);
                            if ticks.contains(&tick) {
                                each(tick, &block, place);
                            }
                        }
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Calls `found` with the payload of each event whose position is in `wanted`, which is sorted. Reads all files.
    ///
    /// # Errors
    /// As [`Reader::next`].
    pub fn payloads(&self, wanted: &[Position], mut found: impl FnMut(Position, &[u8])) -> Result<(), Error> {
        let mut headers = HashMap::new();
        for stored in self.files.iter().filter(|stored| stored.reason.is_none()) {
            let metadata = stored.metadata()?;
            for group in 0..metadata.metadata().num_row_groups() {
                for batch in stored.rows(&metadata, group)? {
                    let batch = batch.map_err(|error| stored.failed(error))?;
                    stored.each(&batch, self, &mut headers, |row| match row {
                        Landed::Record(block, _, range) => {
                            let position = block.position.behind(range.start);
                            if wanted.binary_search(&position).is_ok() {
                                found(position, &block.bytes[range]);
                            }
                        }
                        Landed::Letter(_) => {}
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Returns the position of a record: the tick in the part, and the place in the queue in the offset.
    fn position(&self, source: SourceIndex, part: i32, offset: i64, tick: i64) -> Option<Position> {
        let (part, offset) = (u64::try_from(part).ok()?, u64::try_from(offset).ok()?);
        let fits = part < 1 << (u64::BITS - PART_SHIFT) && offset < 1 << PART_SHIFT;
        let tick = u64::try_from(tick).ok()?.saturating_sub(self.first);
        // More ticks than that are a year under load. Those behind are in the order of the queue.
        let tick = u32::try_from(tick).unwrap_or(u32::MAX);
        fits.then_some(Position { source: source.0, part: tick, offset: part << PART_SHIFT | offset })
    }

    /// Takes the next row group into `open`, if it belongs to a tick up to `limit`.
    fn take(&self, limit: Tick, open: &mut Option<Group>) -> Result<Taken, Error> {
        // Poisoned only if another worker panicked while it took one: what it left half-done must not be read.
        let mut next = self.next.lock().expect("a worker panicked while it took rows");
        let State { file, open: groups, bytes, tick } = &mut *next;
        while let Some(stored) = self.files.get(*file) {
            let (metadata, group) = match groups {
                Some(groups) => groups,
                None => groups.insert((stored.metadata()?, 0)),
            };
            if *group == metadata.metadata().num_row_groups() {
                (*file, *groups) = (*file + 1, None);
                self.bytes_read.fetch_add(stored.bytes, Ordering::Relaxed);
                continue;
            }
            if *bytes >= self.tick_bytes && (!self.is_ordered || *group == 0 && stored.is_bound) {
                (*bytes, *tick) = (0, *tick + 1);
                self.tick.store(*tick, Ordering::Release);
            }
            if *tick > limit {
                return Ok(Taken::Wait);
            }
            let rows = stored.rows(metadata, *group)?;
            *open = Some(Group { rows, tick: *tick, file: *file });
            *bytes += metadata.metadata().row_group(*group).total_byte_size().unsigned_abs();
            *group += 1;
            return Ok(Taken::Rows(*tick));
        }
        Ok(Taken::End)
    }
}

impl Stored {
    fn failed(&self, error: impl std::fmt::Display) -> Error {
        Error::Refused(format!("cannot read {}: {error}", self.path.display()))
    }

    fn metadata(&self) -> Result<ArrowReaderMetadata, Error> {
        let file = File::open(&self.path).map_err(|error| self.failed(error))?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        ArrowReaderMetadata::load(&file, options).map_err(|error| self.failed(error))
    }

    fn rows(&self, metadata: &ArrowReaderMetadata, group: usize) -> Result<ParquetRecordBatchReader, Error> {
        self.rows_with(metadata, group, None)
    }

    /// `more`: another column.
    fn rows_with(
        &self,
        metadata: &ArrowReaderMetadata,
        group: usize,
        more: Option<&'static str>,
    ) -> Result<ParquetRecordBatchReader, Error> {
        let file = File::open(&self.path).map_err(|error| self.failed(error))?;
        let columns = ProjectionMask::columns(metadata.parquet_schema(), COLUMNS.into_iter().chain(more));
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
        let builder = builder.with_projection(columns).with_row_groups(vec![group]).with_batch_size(ROWS);
        builder.build().map_err(|error| self.failed(error))
    }

    /// Calls `each` with every row of a batch.
    fn each(
        &self,
        batch: &RecordBatch,
        history: &History,
        headers: &mut HashMap<Vec<u8>, Arc<[u8]>>,
        mut each: impl FnMut(Landed<'_>),
    ) -> Result<(), Error> {
        let columns = Columns::of(batch).ok_or_else(|| self.failed("it is no file of a landing"))?;
        columns.each(self.reason, history, headers, &mut each).map_err(|why| self.failed(why))
    }
}

/// What a worker reads.
pub struct Reader {
    history: Arc<History>,
    open: Option<Group>,
    /// Header rows that were seen: the decoder knows one again by its place in memory.
    headers: HashMap<Vec<u8>, Arc<[u8]>>,
}

/// The rows of a row group.
struct Group {
    rows: ParquetRecordBatchReader,
    tick: Tick,
    /// Its index among the files.
    file: usize,
}

impl Reader {
    /// See [`History::tick`].
    pub fn tick(&self) -> Tick {
        self.history.tick()
    }

    /// Calls `each` with the next rows, at most some thousands.
    ///
    /// # Errors
    /// If a file cannot be read, is none of the landing, or has rows of a source that is not configured.
    pub fn next(&mut self, limit: Tick, each: impl FnMut(Landed<'_>)) -> Result<Taken, Error> {
        loop {
            let Some(group) = &mut self.open else {
                match self.history.take(limit, &mut self.open)? {
                    Taken::Rows(_) => continue,
                    other => return Ok(other),
                }
            };
            let stored = &self.history.files[group.file];
            match group.rows.next() {
                None => self.open = None,
                Some(batch) => {
                    let batch = batch.map_err(|error| stored.failed(error))?;
                    stored.each(&batch, &self.history, &mut self.headers, each)?;
                    return Ok(Taken::Rows(group.tick));
                }
            }
        }
    }
}

/// The columns of some rows. Those of one table alone are optional, as are those that older files lack.
struct Columns<'b> {
    received: &'b PrimitiveArray<TimestampMicrosecondType>,
    message: Option<&'b StringArray>,
    length: Option<&'b PrimitiveArray<Int64Type>>,
    text: &'b StringArray,
    bytes: &'b BinaryArray,
    source: &'b StringArray,
    part: &'b PrimitiveArray<Int32Type>,
    offset: &'b PrimitiveArray<Int64Type>,
    tick: &'b PrimitiveArray<Int64Type>,
    place: Option<&'b PrimitiveArray<Int64Type>>,
    format: &'b StringArray,
    header: &'b BinaryArray,
    dialect: &'b BinaryArray,
    around: Option<(&'b BinaryArray, &'b BinaryArray)>,
}

impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> Option<Columns<'b>> {
        let column = |name: &str| batch.column_by_name(name);
        let text = |name: &str| column(name)?.as_string_opt::<i32>();
        let bytes = |name: &str| column(name)?.as_binary_opt::<i32>();
        let long = |name: &str| column(name)?.as_primitive_opt::<Int64Type>();
        Some(Columns {
            received: column("received")?.as_primitive_opt()?,
            message: text("message"),
            length: long("length"),
            text: text("payload")?,
            bytes: bytes("payload_bytes")?,
            source: text("_hw_source")?,
            part: column("_hw_part")?.as_primitive_opt()?,
            offset: long("_hw_offset")?,
            tick: long("_hw_tick")?,
            place: long("_hw_place"),
            format: text("_hw_format")?,
            header: bytes("_hw_header")?,
            dialect: bytes("_hw_dialect")?,
            around: bytes("_hw_before").zip(bytes("_hw_after")),
        })
    }

    /// Calls `each` with every row. `reason`: of dead letters.
    fn each(
        &self,
        reason: Option<Reason>,
        history: &History,
        headers: &mut HashMap<Vec<u8>, Arc<[u8]>>,
        each: &mut impl FnMut(Landed<'_>),
    ) -> Result<(), String> {
        let mut last: Option<(&str, (SourceIndex, bool))> = None;
        let mut whole = Vec::new();
        for row in 0..self.text.len() {
            let payload = match (self.text.is_valid(row), self.bytes.is_valid(row)) {
                (true, _) => self.text.value(row).as_bytes(),
                (false, true) => self.bytes.value(row),
                (false, false) => return Err("it has rows without a payload".into()),
            };
            let name = self.source.value(row);
            let (source, explodes) = match last {
                Some((known, source)) if known == name => source,
                _ => *history.sources.get(name).ok_or_else(|| {
                    format!("it has events of source `{name}`, which the configuration does not have: put it back")
                })?,
            };
            last = Some((name, (source, explodes)));
            if explodes && self.around.is_none() {
                return Err(format!(
                    "its events of source `{name}` were landed by a version that did not keep what is around \
                     `explode`: replay the files of the source instead"
                ));
            }
            let mut position = history
                .position(source, self.part.value(row), self.offset.value(row), self.tick.value(row))
                .ok_or("it has places that no queue has")?;
            let length = self.length.map_or(payload.len() as u64, |lengths| lengths.value(row) as u64);
            if let Some(reason) = reason.filter(|_| length > payload.len() as u64) {
                let message = self.message.map_or("", |messages| messages.value(row)).to_owned();
                each(Landed::Letter(DeadLetter { position, reason, message, payload: payload.to_vec(), length }));
                continue;
            }
            let header = self.header.is_valid(row).then(|| {
                let bytes = self.header.value(row);
                if !headers.contains_key(bytes) {
                    headers.insert(bytes.to_vec(), bytes.into());
                }
                &headers[bytes]
            });
            let place = self.place.filter(|places| places.is_valid(row)).map(|places| places.value(row) as u64);
            let (mut bytes, mut range) = (payload, 0..payload.len());
            if let Some((befores, afters)) = self.around.filter(|(befores, _)| befores.is_valid(row)) {
                whole.clear();
                for part in [befores.value(row), payload, afters.value(row)] {
                    whole.extend_from_slice(part);
                }
                // The element is where it was.
                let before = befores.value(row).len();
                position.offset = position.offset.saturating_sub(before as u64);
                (bytes, range) = (&whole, before..before + payload.len());
            }
            let (format, framing) = self.form(row, bytes)?;
            let received = self.received.is_valid(row).then(|| EventTime::from_micros(self.received.value(row)));
            let block = Block { position, format, framing, header, received: received.flatten(), bytes };
            each(Landed::Record(block, place.map(|place| place.saturating_sub(range.start as u64)), range));
        }
        Ok(())
    }

    /// Returns how the payload of a row is read: it is one record.
    fn form(&self, row: usize, payload: &[u8]) -> Result<(Format, Framing), String> {
        let name = self.format.value(row);
        let format = Format::ALL.into_iter().find(|format| format.name() == name);
        let format = format.ok_or_else(|| format!("it has events of an unknown format `{name}`"))?;
        let dialect = self.dialect.is_valid(row).then(|| self.dialect.value(row));
        let framing = match dialect {
            Some(dialect) => {
                let dialect = dialect.try_into().ok().and_then(Dialect::decode);
                Framing::Rows(dialect.ok_or("it has rows in an unknown dialect of CSV")?)
            }
            None if format == Format::Json && payload.contains(&b'\n') => Framing::JsonValues,
            None => Framing::Lines,
        };
        Ok((format, framing))
    }
}
