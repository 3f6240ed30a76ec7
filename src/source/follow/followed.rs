//! A file that is followed, and the part of it that has been read.

use super::known::Known;
use super::place::{Place, Stamp};
use super::reader::Reader;
use super::shape::Shape;
use crate::queue::cursor::FileId;
use crate::source::SourceError;
use headwater_decode::syntax::Encoding;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The time without a change after which a file counts as complete although it may still be written. This concerns a
/// file that was moved, or that no path matches any more. It also concerns one whose compression is cut short, or that
/// may be the copy of another one.
pub const SETTLED: Duration = Duration::from_secs(5);

/// A file that is followed.
pub struct Followed {
    pub place: Place,
    /// By which it was found last.
    pub path: PathBuf,
    /// It was not there before, or not with its present content.
    pub since: Instant,
    /// By which it was found first with that.
    pub first_path: String,
    pub stamp: Stamp,
    /// When it was last seen to change, move or vanish.
    pub changed: Instant,
    /// Not found any more by that path, or any other.
    pub gone: bool,
    /// Kept open, so that moving or removing it hides nothing.
    pub handle: Option<File>,
    /// Whether it stays open between turns.
    pub held: bool,
    /// The stamp with which everything in it was looked at.
    pub seen: Option<Stamp>,
    /// When to look again, though nothing changes.
    pub again: Option<Instant>,
    /// Read to its end, the unterminated rest too.
    pub done: bool,
    /// Of a plain file, as long as nothing of it has been delivered: how many of its first bytes were looked at, and what
    /// they are.
    pub head: Option<(usize, [u64; 2])>,
    /// `None`: it is not known yet which file this is.
    pub reading: Option<Reading>,
    /// Of its source.
    pub encoding: Encoding,
}

/// How far it has been read.
pub struct Reading {
    /// `None` as long as nothing of it has been delivered.
    pub id: Option<FileId>,
    pub offset: u64,
    /// As in a cursor.
    pub tail: [u64; 2],
    /// The first bytes, up to `offset`, while there is no id.
    pub head: Vec<u8>,
    /// `None` until there is enough to tell.
    pub shape: Option<Shape>,
}

impl Followed {
    pub fn new(place: Place, path: PathBuf, metadata: &Metadata, encoding: Encoding, now: Instant) -> Followed {
        Followed {
            place,
            first_path: path.to_string_lossy().into_owned(),
            path,
            since: now,
            stamp: Stamp::of(metadata),
            changed: now,
            gone: false,
            handle: None,
            held: false,
            seen: None,
            again: None,
            done: false,
            head: None,
            reading: None,
            encoding,
        }
    }

    pub fn note(&mut self, metadata: &Metadata, now: Instant) {
        let stamp = Stamp::of(metadata);
        if stamp != self.stamp {
            self.stamp = stamp;
            self.changed = now;
            self.done = false;
        }
    }

    /// Opens it unless it is open. `None`: under its path lies nothing any more, or another file.
    pub fn open(&mut self) -> Result<Option<&File>, SourceError> {
        if self.handle.is_none() {
            let failed = |error| SourceError::io("open", &self.path, error);
            let file = match File::open(&self.path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            if Place::of(&file.metadata().map_err(failed)?) != self.place {
                return Ok(None);
            }
            self.handle = Some(file);
        }
        Ok(self.handle.as_ref())
    }

    /// Returns a new reader of the open file.
    pub fn reader(&self) -> Result<Reader, SourceError> {
        let handle = self.handle.as_ref().ok_or(io::ErrorKind::NotFound);
        let handle = handle.map_err(|error| SourceError::io("open", &self.path, error.into()))?;
        Reader::new(&self.path, handle, self.encoding)
    }

    pub fn shape(&self) -> Option<&Shape> {
        self.reading.as_ref().and_then(|reading| reading.shape.as_ref())
    }

    /// Returns the file's present metadata; `None` if it is no longer here.
    pub fn look(&self) -> Option<Metadata> {
        match &self.handle {
            Some(handle) => handle.metadata().ok(),
            None => fs::metadata(&self.path).ok().filter(|metadata| Place::of(metadata) == self.place),
        }
    }

    pub fn is_settled(&self, now: Instant) -> bool {
        now >= self.changed + SETTLED
    }

    /// Returns whether it was looked at, and holds nothing yet but the beginning of a record.
    pub fn is_untouched(&self) -> bool {
        self.seen.is_some() && !self.done && self.reading.as_ref().is_none_or(|reading| reading.id.is_none())
    }

    /// Returns whether it has another name than when it was found first: it was rotated.
    pub fn is_renamed(&self) -> bool {
        self.path.to_string_lossy() != self.first_path
    }

    /// Returns whether there is something to look at.
    pub fn is_due(&self, now: Instant) -> bool {
        self.seen != Some(self.stamp) || self.again.is_some_and(|again| again <= now)
    }

    /// Records that another file has taken its place, in the same inode.
    pub fn restart(&mut self, known: &mut Known, now: Instant) {
        if let Some(Reading { id: Some(id), .. }) = self.reading.take() {
            known.release(id, &self.path, now, true);
        }
        self.first_path = self.path.to_string_lossy().into_owned();
        (self.since, self.changed, self.seen, self.done, self.head) = (now, now, None, false, None);
    }
}
