//! The files that have been read: the newest cursor of each, and its present place on disk.

use super::place::Place;
use crate::queue::cursor::{FileCursor, FileId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_128;

/// Bytes that recognise a file, at its beginning and before a cursor. Content that agrees in this number of bytes is
/// the same content. Fewer equal bytes may be two files that begin alike.
pub const MARK_BYTES: usize = 1024;

/// A cursor of fewer than [`MARK_BYTES`] moves to another place only if that appears within this time after the old
/// place released the cursor. A file that appears later and begins alike is a new one.
const KINDRED: Duration = Duration::from_secs(5);

pub fn hash(bytes: &[u8]) -> [u64; 2] {
    let hash = xxh3_128(bytes);
    [(hash >> 64) as u64, hash as u64]
}

/// Returns the last of `bytes` that a cursor remembers.
pub fn tail(bytes: &[u8]) -> [u64; 2] {
    hash(&bytes[bytes.len().saturating_sub(MARK_BYTES)..])
}

#[derive(Debug, Default)]
pub struct Known {
    cursors: BTreeMap<FileId, FileCursor>,
    /// Of all ids.
    lengths: BTreeSet<u32>,
    holders: BTreeMap<FileId, Place>,
    released: BTreeMap<FileId, Released>,
}

/// The release of a cursor by a place.
#[derive(Debug)]
struct Released {
    at: Instant,
    place: Place,
    path: PathBuf,
    /// The place is still there, with other content.
    replaced: bool,
}

impl Known {
    pub fn new(cursors: Vec<FileCursor>) -> Known {
        let mut known = Known::default();
        for cursor in cursors {
            if known.cursors.get(&cursor.file).is_none_or(|older| older.offset <= cursor.offset) {
                known.advance(cursor);
            }
        }
        known
    }

    pub fn cursors(&self) -> impl Iterator<Item = &FileCursor> {
        self.cursors.values()
    }

    pub fn advance(&mut self, cursor: FileCursor) {
        self.lengths.insert(cursor.file.length);
        self.cursors.insert(cursor.file, cursor);
    }

    /// Cursors of files that begin with `head`, as far as that was read at first; ascending by offset.
    pub fn alike(&self, head: &[u8]) -> Vec<FileCursor> {
        let ids = self.lengths.range(..=head.len() as u32).flat_map(|length| {
            let hash = hash(&head[..*length as usize]);
            let id = |twin| FileId { hash, length: *length, twin };
            self.cursors.range(id(0)..=id(u32::MAX))
        });
        let mut alike: Vec<FileCursor> = ids.map(|(_, cursor)| cursor.clone()).collect();
        alike.sort_by_key(|cursor| cursor.offset);
        alike
    }

    /// Makes an id for a new file that begins with `head`.
    pub fn new_id(&self, head: &[u8]) -> FileId {
        let id = |twin| FileId { hash: hash(head), length: head.len() as u32, twin };
        let last = self.cursors.range(id(0)..=id(u32::MAX)).next_back();
        id(last.map_or(0, |(last, _)| last.twin + 1))
    }

    pub fn holder(&self, id: &FileId) -> Option<Place> {
        self.holders.get(id).copied()
    }

    pub fn hold(&mut self, id: FileId, place: Place) {
        self.holders.insert(id, place);
        self.released.remove(&id);
    }

    /// `replaced`: the file is still there, but its content is another.
    pub fn release(&mut self, id: FileId, path: &Path, now: Instant, replaced: bool) {
        if let Some(place) = self.holders.remove(&id) {
            self.released.insert(id, Released { at: now, place, path: path.to_path_buf(), replaced });
        }
    }

    /// Returns whether the file at `place` and `path` may go on with a cursor that fits its content. `since` is when it
    /// was first seen (in this process: at its `start`).
    pub fn is_free(&self, cursor: &FileCursor, place: Place, path: &Path, since: Instant, start: Instant) -> bool {
        if self.holders.contains_key(&cursor.file) {
            return false;
        }
        let released = self.released.get(&cursor.file);
        if released.is_some_and(|released| released.replaced && released.place == place) {
            return false;
        }
        if cursor.offset >= MARK_BYTES as u64 {
            return true;
        }
        let is_new = released.is_some_and(|released| released.path == path && released.place != place);
        !is_new && since <= released.map_or(start, |released| released.at) + KINDRED
    }
}
