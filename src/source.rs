//! The places that raw records come from. A source knows how bytes are stored and how records are framed, never their
//! meaning. [`Source`] is the contract of those that feed a run; [`Chunks`] are the files of a replay.
//!
//! ```text
//! of a run     follow: files that grow -> deliveries to the durable queue
//!              kafka: topics -> deliveries of messages
//! of a replay  file: parts in order, ticks, workers    payloads: positions -> the records that lie there
//! of both      expand: what the user wrote -> paths    content: path -> decompressed bytes
//!              cutter: decompressed bytes -> chunks of whole records
//! ```

use crate::collections::place::SourceIndex;
use crate::observe::sources::SourceStatus;
use crate::plan::{SourceKind, SourcePlan};
use crate::queue::cursor::Cursor;
use crate::queue::delivery::Delivery;
use crate::queue::intake::Refusal;
use crate::queue::numbers::SourceNumber;
use archive::Member;
use content::Content;
use dataflows::{DeadLetter, Position, Tick};
use follow::Follower;
use headwater_decode::Block;
use headwater_decode::account::Account;
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use headwater_decode::syntax::Syntax;
use kafka::KafkaSource;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

mod archive;
mod content;
mod cutter;
mod expand;
mod file;
pub mod follow;
mod foreign;
mod gzip;
pub mod kafka;
mod parquet;
mod payloads;
mod probe;
#[cfg(test)]
mod tests;
mod text;

pub use cutter::Cutter;
pub use expand::expand;
pub use file::Chunks;
pub use payloads::payloads;
pub use probe::{Probed, probe};

/// A source that feeds a run: it is polled by a thread of its own ([`crate::run`]), and hands deliveries to the queue.
///
/// - **Partitions.** A source has any number of partitions, which come and go: files, or the partitions of topics. The
///   records of a partition are delivered in its order. There is no order between partitions.
/// - **Positions.** A delivery carries the [`Cursor`] of each partition that it has records of: where to go on behind
///   them. Both become durable together. A cursor may also come without records, so that a beginning is remembered.
/// - **Once.** So each record is delivered once, after any crash, as long as what was read stays what it was. What a
///   source cannot promise, its own page says.
/// - **Resuming.** A source is opened with the furthest cursor of each partition, whatever configuration or release made
///   it. It keeps no other memory.
/// - **Back-pressure.** A refused delivery is not durable. The source returns the refusal, and the next poll begins with
///   the same delivery, byte for byte. The driver pauses this source, and no other one.
/// - **Received time.** The queue records when a delivery came. A source whose records carry a time of their own
///   reception puts it beside each record.
/// - **End.** A finite source ends when everything is delivered, and starts again with nothing left. Others never end.
/// - **Errors.** What a source cannot read is logged once, tried again, and keeps no other source waiting. Only refusals
///   are returned. Bad content is data.
/// - **Stopping.** A poll returns within a second or so unless a delivery waits for the disk, and is not called again
///   when the intake is drained.
///
/// Clients that post are no source of this kind. They keep their own place, and the answer 202 says that it may move.
pub trait Source: Send {
    /// Delivers what is new, or some of it.
    ///
    /// # Errors
    /// Those of `deliver`.
    fn poll(&mut self, deliver: &mut Deliver<'_>) -> Result<Polled, Refusal>;
}

/// Returns when the delivery is durable.
pub type Deliver<'d> = dyn FnMut(&Delivery<'_>) -> Result<(), Refusal> + 'd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Polled {
    /// There was something, or there is more: no reason to wait before the next poll.
    More,
    Nothing,
    /// Everything has been delivered, and nothing will be added.
    End,
}

/// Opens a source for a run, to go on behind `cursors`. `None` if clients post to it.
///
/// # Errors
/// What no later poll could mend.
pub fn open(
    number: SourceNumber,
    plan: &SourcePlan,
    cursors: Vec<Cursor>,
    status: &Arc<SourceStatus>,
) -> Result<Option<Box<dyn Source>>, SourceError> {
    let source: Option<Box<dyn Source>> = match plan.kind {
        SourceKind::File { .. } => Some(Box::new(Follower::new(number, plan, cursors)?)),
        SourceKind::Http => None,
        SourceKind::Kafka => {
            let open = |kafka| KafkaSource::new(number, plan, kafka, cursors, Arc::clone(status));
            plan.kafka.as_ref().map(|kafka| -> Box<dyn Source> { Box::new(open(kafka)) })
        }
    };
    Ok(source)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    Chunk,
    /// Not yet: above the limit.
    Wait,
    /// Everything has been handed out.
    End,
}

/// Whole records that follow each other in a part.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub tick: Tick,
    /// Index of the part; [`dataflows::Position::part`] of its records.
    pub part: usize,
    pub source: SourceIndex,
    pub format: Format,
    pub framing: Framing,
    /// Of CSV: the header row, without line end. Shared by all chunks of a part.
    pub header: Option<Arc<[u8]>>,
    /// Offset of `bytes[0]` in the decompressed part.
    pub offset: u64,
    /// To be split by [`Framing::records`]. May be empty.
    pub bytes: Vec<u8>,
    /// Bytes up to here that are not records, as dead letters.
    pub dead_letters: Vec<DeadLetter>,
    /// Where the bytes went that are not in `bytes`: those before this chunk and since the one before.
    pub account: Account,
}

impl Chunk {
    /// Returns the records, to be decoded. When they were received is not known.
    pub fn block(&self) -> Block<'_> {
        let position = Position { source: self.source.0, part: self.part as u32, offset: self.offset };
        let Chunk { format, framing, header, bytes, .. } = self;
        Block { position, format: *format, framing: *framing, header: header.as_ref(), received: None, bytes }
    }
}

impl Default for Chunk {
    /// Returns an empty chunk, to be filled.
    fn default() -> Chunk {
        Chunk {
            tick: 0,
            part: 0,
            source: SourceIndex(0),
            format: Format::Json,
            framing: Framing::Lines,
            header: None,
            offset: 0,
            bytes: Vec::new(),
            dead_letters: Vec::new(),
            account: Account::default(),
        }
    }
}

/// One file of a replay.
#[derive(Clone, Debug)]
pub struct Part {
    pub source: SourceIndex,
    pub path: PathBuf,
    /// As configured; detected from the content when absent.
    pub format: Option<Format>,
    /// As configured.
    pub syntax: Arc<Syntax>,
    /// It lies in an archive, and `path` is how it is shown.
    pub member: Option<Member>,
}

impl Part {
    /// Returns the files that a path stands for: itself, or those in an archive.
    ///
    /// # Errors
    /// If it is an archive that cannot be read.
    pub fn of(
        source: SourceIndex,
        path: PathBuf,
        format: Option<Format>,
        syntax: &Arc<Syntax>,
    ) -> Result<Vec<Part>, SourceError> {
        let part = |path, member| Part { source, path, format, syntax: Arc::clone(syntax), member };
        // What cannot be looked at is reported when it is opened.
        let members = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => archive::members(&path, metadata.len())?,
            _ => None,
        };
        Ok(match members {
            Some(members) => members.into_iter().map(|(path, member)| part(path, Some(member))).collect(),
            None => vec![part(path, None)],
        })
    }

    /// Returns the path of the file on disk.
    pub fn file(&self) -> &Path {
        self.member.as_ref().map_or(&self.path, Member::archive)
    }

    /// Returns the bytes as they are stored; `None` of what is no regular file.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn stored(&self) -> Result<Option<u64>, SourceError> {
        if let Some(member) = &self.member {
            return Ok(Some(member.stored()));
        }
        let metadata = std::fs::metadata(&self.path).map_err(|error| SourceError::io("open", &self.path, error))?;
        Ok(metadata.is_file().then_some(metadata.len()))
    }

    /// Opens the content. Stored bytes are counted in `stored` as they are read, but for those of an archive.
    fn content(&self, stored: Arc<AtomicU64>) -> Result<Content, SourceError> {
        let encoding = self.syntax.encoding;
        match &self.member {
            Some(member) => Content::of(&self.path, Box::new(member.reader()), Some("tar"), encoding),
            None => Content::open(&self.path, encoding, stored),
        }
    }
}

/// Sizes in bytes of decompressed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunking {
    /// Of a chunk that holds more than one record. Larger ones amortise the lock, smaller ones share work evenly.
    pub chunk_bytes: usize,
    /// The bytes of the input that one tick takes.
    pub tick_bytes: u64,
    /// Largest record. A larger one becomes a dead letter; the memory for reading is bounded by a small multiple.
    pub event_bytes: usize,
}

impl Default for Chunking {
    fn default() -> Chunking {
        Chunking { chunk_bytes: 1 << 20, tick_bytes: 128 << 20, event_bytes: 1 << 20 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// As stored, that is, compressed; what damage makes unreadable included.
    pub bytes_read: u64,
    /// Of regular files, when the source was opened; what is no regular file counts nothing here.
    pub bytes_total: u64,
    /// Read to their end.
    pub parts_read: usize,
    pub parts_total: usize,
}

/// Why a source cannot be read. The run fails; bad content is never one of these.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    #[error("no file matches `{}`", pattern.display())]
    NoMatch { pattern: PathBuf },
    #[error("cannot use `{}` as a pattern: {message}", pattern.display())]
    Pattern { pattern: PathBuf, message: &'static str },
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// `open`, `read`, `list`.
        doing: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },
    #[error("cannot detect the format of `{}`: {advice}", path.display())]
    UnknownFormat { path: PathBuf, advice: String },
    #[error("cannot read `{}`: {what}; {advice}", path.display())]
    Foreign { path: PathBuf, what: &'static str, advice: &'static str },
    #[error("cannot read the header of `{}`: its first row has more than {limit} bytes; is it CSV?", path.display())]
    LongHeader { path: PathBuf, limit: usize },
    #[error("cannot follow the files of `{name}`: `max_bytes` is more than {limit}")]
    LargeRecords { name: String, limit: usize },
    #[error("cannot read the record at offset {offset} of `{}` again: the file has changed", path.display())]
    Changed { path: PathBuf, offset: u64 },
}

/// The advice on a file of which nothing is known.
const ADVICE: &str = "set `format` for its source, to `\"json\"`, `\"csv\"`, `\"clf\"`, `\"log\"`, `\"ltsv\"`, `\"logfmt\"` or `\"text\"`";

impl SourceError {
    fn unknown(path: &Path, advice: Option<String>) -> SourceError {
        SourceError::UnknownFormat { path: path.to_path_buf(), advice: advice.unwrap_or_else(|| ADVICE.into()) }
    }

    fn io(doing: &'static str, path: &Path, source: io::Error) -> SourceError {
        SourceError::Io { doing, path: path.to_path_buf(), source: Arc::new(source) }
    }
}
