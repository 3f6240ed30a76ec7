//! Tar archives: each file in one is a part of its own, read where it lies.
//!
//! ```text
//! logs.tar.gz  ── decompressed, forward ─▶  ▐ header ▐ a.log ▐ header ▐ sub/b.log ▐
//!                                                     └─ part 0         └─ part 1
//! ```
//! All members of an archive share one reader, which begins again only for a member that lies behind it. Nothing is
//! unpacked to disk, so the names in an archive are never paths of a file.

use super::SourceError;
use super::content::{Content, unreadable};
use super::expand::is_aside;
use headwater_decode::syntax::Encoding;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a header, and the unit of everything in an archive.
const BLOCK: u64 = 512;
/// Where a header has the name of its format.
const MAGIC: std::ops::Range<usize> = 257..262;
/// Bytes that are skipped at once.
const STEP: usize = 64 << 10;

/// A file in an archive.
#[derive(Clone, Debug)]
pub struct Member {
    archive: Arc<Archive>,
    /// Its content in the decompressed archive.
    start: u64,
    size: u64,
    /// Its share of the stored bytes of the archive.
    stored: u64,
    /// Of the last member that can be read: why no other one can be.
    damage: Option<Arc<str>>,
}

struct Archive {
    path: PathBuf,
    /// Its reader, at some place.
    content: Mutex<Option<Content>>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// Returns the files in an archive, in its order, under the names by which they are shown; `None` if the file is no archive.
/// As in a folder, hidden files and what is no file are left out.
///
/// # Errors
/// If the file cannot be read, or is an archive in which no file can be.
pub fn members(path: &Path, bytes: u64) -> Result<Option<Vec<(PathBuf, Member)>>, SourceError> {
    let mut content = open(path)?;
    let mut head = [0; BLOCK as usize];
    if content.fill(&mut head)? < head.len() || &head[MAGIC] != b"ustar" {
        return Ok(None);
    }
    let archive = Arc::new(Archive { path: path.to_path_buf(), content: Mutex::new(None) });
    let mut read = Counted { content: open(path)?, read: Arc::default() };
    let taken = Arc::clone(&read.read);
    let mut found: Vec<(PathBuf, Member)> = Vec::new();
    // Behind the last member, and what its end is padded with.
    let mut end = 0;
    let mut all = tar::Archive::new(&mut read);
    let mut entries = all.entries().map_err(|error| SourceError::io("read", path, error))?;
    let damage = loop {
        let entry = match entries.next() {
            Some(Ok(entry)) => entry,
            Some(Err(error)) => break Some(error.to_string()),
            None => break None,
        };
        let (kind, start, size) = (entry.header().entry_type(), entry.raw_file_position(), entry.size());
        end = start.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
        if kind.is_gnu_sparse() {
            let (what, advice) = ("it is a tar archive of files with holes", "unpack it, and name the folder");
            return Err(SourceError::Foreign { path: path.to_path_buf(), what, advice });
        }
        let name = entry.path_bytes();
        let mut parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").peekable();
        let is_hidden = parts.clone().any(|part| part != b".." && is_aside(part));
        if !(kind.is_file() || kind.is_contiguous()) || parts.peek().is_none() || is_hidden {
            continue;
        }
        let mut shown = path.as_os_str().to_owned().into_vec();
        parts.for_each(|part| {
            shown.push(b'/');
            shown.extend_from_slice(part);
        });
        let member = Member { archive: Arc::clone(&archive), start, size, stored: 0, damage: None };
        found.push((PathBuf::from(OsString::from_vec(shown)), member));
    };
    let damage = damage.or_else(|| read.content.damage().map(str::to_owned));
    // It ends with blocks of zeros.
    let is_cut = taken.load(Ordering::Relaxed) < end.saturating_add(BLOCK);
    let damage = damage.or_else(|| is_cut.then(|| "it ends without the mark of an end".to_owned()));
    let all: u128 = found.iter().map(|(_, member)| u128::from(member.size)).sum();
    let Some((_, last)) = found.last_mut() else {
        let what = if damage.is_some() { "it is a damaged tar archive" } else { "it is a tar archive without a file" };
        return Err(SourceError::Foreign { path: path.to_path_buf(), what, advice: "name another one" });
    };
    last.damage = damage.map(Arc::from);
    let (mut before, mut size) = (0, 0);
    for (_, member) in &mut found {
        size += u128::from(member.size);
        let upto = (u128::from(bytes) * size).checked_div(all).unwrap_or(u128::from(bytes)) as u64;
        member.stored = upto - before;
        before = upto;
    }
    Ok(Some(found))
}

/// Opens what is in the compression of an archive, if it has one. Bytes stay as they are.
fn open(path: &Path) -> Result<Content, SourceError> {
    Content::open(path, Encoding::Latin1, Arc::default())
}

impl Member {
    /// Returns the path of the archive.
    pub fn archive(&self) -> &Path {
        &self.archive.path
    }

    /// Returns the member's share of the bytes of the archive as it is stored.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Returns a reader of the member from its start.
    pub fn reader(&self) -> impl Read + Send + use<> {
        MemberReader { member: self.clone(), at: 0 }
    }
}

struct MemberReader {
    member: Member,
    at: u64,
}

impl Read for MemberReader {
    /// Damage of the archive is an error behind the last byte that can be read.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Member { archive, start, size, damage, .. } = &self.member;
        let left = size - self.at;
        if left == 0 || into.is_empty() {
            return damage.as_ref().filter(|_| left == 0).map_or(Ok(0), |why| Err(io::Error::other(why.to_string())));
        }
        let wanted = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let filled = archive.read_at(start + self.at, &mut into[..wanted])?;
        if filled == 0 {
            let why = damage.as_deref().unwrap_or("the file has changed");
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why.to_owned()));
        }
        self.at += filled as u64;
        Ok(filled)
    }
}

impl Archive {
    /// Reads from a place in the decompressed archive; 0 bytes: it ends before.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let failed = |error| unreadable(io_of(error));
        // A reader that panicked is somewhere, and knows where.
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if content.as_ref().is_none_or(|content| content.offset() > at) {
            *content = Some(open(&self.path).map_err(failed)?);
        }
        let Some(content) = content.as_mut() else { return Ok(0) };
        let mut skipped = Vec::new();
        while content.offset() < at {
            skipped.resize(STEP.min(usize::try_from(at - content.offset()).unwrap_or(STEP)), 0);
            if content.fill(&mut skipped).map_err(failed)? == 0 {
                return Ok(0);
            }
        }
        content.fill(into).map_err(failed)
    }
}

/// Counts what is read of an archive.
struct Counted {
    content: Content,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let filled = self.content.fill(into).map_err(io_of)?;
        self.read.fetch_add(filled as u64, Ordering::Relaxed);
        Ok(filled)
    }
}

fn io_of(error: SourceError) -> io::Error {
    match error {
        SourceError::Io { source, .. } => io::Error::new(source.kind(), source),
        other => io::Error::other(other),
    }
}
