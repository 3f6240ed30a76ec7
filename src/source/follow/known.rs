//! Which files have been read, and how far: the newest cursor of each, and which place on disk has that file now.

use super::place::Place;
use crate::queue::delivery::{Cursor, FileId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_128;

/// Bytes that recognise a file, at its beginning and before a cursor. Content that agrees in so many bytes is the same
/// content; what agrees in fewer may be two files that begin alike.
pub const MARK_BYTES: usize = 1024;

/// A cursor of fewer than [`MARK_BYTES`] goes over to another place only if that was there so soon after the old place
/// had let go of it. A file that appears later and begins alike is a new one.
const KINDRED: Duration = Duration::from_secs(5);

pub fn hash(bytes: &[u8]) -> [u64; 2] {
    let hash = xxh3_128(bytes);
    [(hash >> 64) as u64, hash as u64]
}

/// The last of `bytes` that a cursor remembers.
pub fn tail(bytes: &[u8]) -> [u64; 2] {
    hash(&bytes[bytes.len().saturating_sub(MARK_BYTES)..])
}

#[derive(Debug, Default)]
pub struct Known {
    cursors: BTreeMap<FileId, Cursor>,
    /// Of all ids.
    lengths: BTreeSet<u32>,
    holders: BTreeMap<FileId, Place>,
    released: BTreeMap<FileId, Released>,
}

/// How a place let go of a cursor.
#[derive(Debug)]
struct Released {
    at: Instant,
    place: Place,
    path: PathBuf,
    /// The place is still there, with other content.
    replaced: bool,
}

impl Known {
    pub fn new(cursors: Vec<Cursor>) -> Known {
        let mut known = Known::default();
        for cursor in cursors {
            if known.cursors.get(&cursor.file).is_none_or(|older| older.offset <= cursor.offset) {
                known.advance(cursor);
            }
        }
        known
    }

    pub fn cursors(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.values()
    }

    pub fn advance(&mut self, cursor: Cursor) {
        self.lengths.insert(cursor.file.length);
        self.cursors.insert(cursor.file, cursor);
    }

    /// Cursors of files that begin with `head`, as far as that was read at first; ascending by offset.
    pub fn alike(&self, head: &[u8]) -> Vec<Cursor> {
        let ids = self.lengths.range(..=head.len() as u32).flat_map(|length| {
            let hash = hash(&head[..*length as usize]);
            let id = |twin| FileId { hash, length: *length, twin };
            self.cursors.range(id(0)..=id(u32::MAX))
        });
        let mut alike: Vec<Cursor> = ids.map(|(_, cursor)| cursor.clone()).collect();
        alike.sort_by_key(|cursor| cursor.offset);
        alike
    }

    /// For a file that begins with `head`, and is none of those that are known.
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

    /// Whether what was found at `place` and `path`, first seen at `since` (of this process: at its `start`), may go on
    /// with a cursor that fits its content.
    pub fn is_free(&self, cursor: &Cursor, place: Place, path: &Path, since: Instant, start: Instant) -> bool {
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
