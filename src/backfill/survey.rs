//! Reads all files once before anything is sent: so a file that is damaged or of an unknown format is found while nothing
//! is in yet, and one that changes later is noticed before any of the change is sent.

use super::cut::{Cut, Pieces, Trouble};
use crate::queue::cursor::Amount;
use crate::source::Part;
use crate::text::progress::{Progress, ProgressMode};
use headwater_decode::interpret::Range;
use std::fs;
use std::time::SystemTime;
use xxhash_rust::xxh3::Xxh3;

/// Troubles that are shown together.
const SHOWN: usize = 10;

/// What lies in the files.
pub struct Survey {
    pub files: Vec<Surveyed>,
    /// XXH3-128 of all content in its order, and of the range.
    pub content: [u64; 2],
    pub all: Amount,
}

/// What lies in a file.
pub struct Surveyed {
    /// The hash of each unit.
    pub units: Vec<u64>,
    /// Decompressed.
    pub bytes: u64,
    stamp: Stamp,
}

/// What changes when a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Survey {
    /// # Errors
    /// What is wrong with files, at most ten of them.
    pub fn of(
        parts: &[Part],
        (range, limit): (Range, usize),
        pieces: &mut Pieces,
        mode: ProgressMode,
    ) -> Result<Survey, Vec<Trouble>> {
        let stored = parts.iter().filter_map(|part| part.stored().ok().flatten()).sum();
        let progress = Progress::start(stored, mode);
        let mut content = Xxh3::new();
        for bound in [range.from, range.to] {
            content.update(&bound.map_or(i64::MIN, |time| time.micros()).to_le_bytes());
        }
        let (mut files, mut all, mut troubles) = (Vec::new(), Amount::default(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            match Surveyed::of(index, part, limit, pieces, &mut content, &mut all) {
                Ok(file) => files.push(file),
                Err(trouble) => troubles.push(trouble),
            }
            if troubles.len() == SHOWN {
                break;
            }
            progress.tick(part.stored().ok().flatten().unwrap_or(0), 0);
        }
        let content = content.digest128();
        match troubles.is_empty() {
            true => Ok(Survey { files, content: [(content >> 64) as u64, content as u64], all }),
            false => Err(troubles),
        }
    }
}

impl Surveyed {
    fn of(
        index: usize,
        part: &Part,
        limit: usize,
        pieces: &mut Pieces,
        content: &mut Xxh3,
        all: &mut Amount,
    ) -> Result<Surveyed, Trouble> {
        let stamp = Stamp::of(part);
        let mut cut = Cut::open(index, part, limit)?;
        let mut units = Vec::new();
        while let Some(unit) = cut.next()? {
            units.push(unit.hash());
            content.update(unit.chunk.header.as_deref().unwrap_or_default());
            content.update(unit.bytes);
            all.records += pieces.count(&unit);
        }
        let bytes = cut.bytes();
        content.update(&bytes.to_le_bytes());
        all.bytes += bytes;
        match stamp == Stamp::of(part) {
            true => Ok(Surveyed { units, bytes, stamp }),
            false => Err(Trouble::Changed { path: part.path.display().to_string() }),
        }
    }

    /// Returns whether the file looks as it did.
    pub fn is_same(&self, part: &Part) -> bool {
        self.stamp == Stamp::of(part)
    }
}

impl Stamp {
    /// Of a file that is not there: none that any file has.
    fn of(part: &Part) -> Stamp {
        let metadata = fs::metadata(part.file()).ok();
        let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        Stamp { length: metadata.map_or(u64::MAX, |metadata| metadata.len()), modified }
    }
}
