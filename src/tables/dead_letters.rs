//! The journal `dead_letters`. Workers write theirs to spool files as they come, complete except for the names. At the
//! end the spools are merged in log order. Memory holds only an index: 24 bytes for each dead letter.

use super::{Error, Staging, scratch_file};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataflows::{DeadLetter, Position, Reason};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

/// Name of the journal's file in the output folder.
pub const DEAD_LETTERS_FILE: &str = "dead_letters.jsonl";

/// The dead letters of one worker, in any order.
pub struct DeadLetterSpool {
    path: PathBuf,
    file: BufWriter<File>,
    /// Where each line begins.
    index: Vec<(Position, u64)>,
    end: u64,
    reasons: BTreeMap<Reason, u64>,
    line: Vec<u8>,
}

impl DeadLetterSpool {
    /// `folder` is [`Staging::scratch`]; `worker` is unique among the spools in it.
    pub fn new(folder: &Path, worker: usize) -> Result<DeadLetterSpool, Error> {
        let path = folder.join(format!("dead-letters-{worker}"));
        let file = scratch_file(&path).map_err(|source| Error::new("create", &path, source))?;
        Ok(DeadLetterSpool {
            path,
            file: BufWriter::with_capacity(1 << 16, file),
            index: Vec::new(),
            end: 0,
            reasons: BTreeMap::new(),
            line: Vec::new(),
        })
    }

    pub fn push(&mut self, letter: &DeadLetter) -> Result<(), Error> {
        self.line.clear();
        rest_of_object(letter, &mut self.line)
            .and_then(|()| self.file.write_all(&self.line))
            .map_err(|source| Error::new("write", &self.path, source))?;
        self.index.push((letter.position, self.end));
        self.end += self.line.len() as u64;
        *self.reasons.entry(letter.reason).or_default() += 1;
        Ok(())
    }

    /// Returns the number of dead letters by reason.
    pub fn reasons(&self) -> &BTreeMap<Reason, u64> {
        &self.reasons
    }
}

/// Writes all dead letters in the order of their positions: one JSON object per line with `source`, `path`, `offset`,
/// `reason`, `message`, `length`, and `payload` or, where that is not UTF-8, `payload_base64`. `resolve` names the
/// source and the path of a position.
pub fn merge<'a>(
    spools: Vec<DeadLetterSpool>,
    staging: &Staging,
    resolve: impl Fn(Position) -> (&'a str, &'a str),
) -> Result<(), Error> {
    let mut readers = Vec::new();
    for spool in spools {
        let failed = |source| Error::new("read back", &spool.path, source);
        let file = spool.file.into_inner().map_err(|error| failed(error.into_error()))?;
        readers.push(SortedSpool::new(spool.index, file).map_err(failed)?);
    }
    let mut out = BufWriter::with_capacity(1 << 16, staging.create(DEAD_LETTERS_FILE)?);
    write_merged(readers, &mut out, resolve)
        .map_err(|source| Error::new("write", &staging.target(DEAD_LETTERS_FILE), source))
}

fn write_merged<'a>(
    mut spools: Vec<SortedSpool>,
    out: &mut impl Write,
    resolve: impl Fn(Position) -> (&'a str, &'a str),
) -> io::Result<()> {
    let heads = spools.iter_mut().enumerate().filter_map(|(index, spool)| Some(Reverse((spool.head()?, index))));
    let mut heap: BinaryHeap<_> = heads.collect();
    // Letters of one position are ordered by content, whichever worker had them.
    let mut lines = Vec::new();
    while let Some(Reverse((position, index))) = heap.pop() {
        lines.push(spools[index].take()?);
        heap.extend(spools[index].head().map(|next| Reverse((next, index))));
        if heap.peek().is_none_or(|Reverse((next, _))| *next != position) {
            let (source, path) = resolve(position);
            lines.sort_unstable();
            for line in lines.drain(..) {
                out.write_all(b"{\"source\":")?;
                serde_json::to_writer(&mut *out, source)?;
                out.write_all(b",\"path\":")?;
                serde_json::to_writer(&mut *out, path)?;
                out.write_all(&line)?;
            }
        }
    }
    out.flush()
}

/// A spool being read in the order of positions.
struct SortedSpool {
    index: std::iter::Peekable<std::vec::IntoIter<(Position, u64)>>,
    file: BufReader<File>,
    /// Where `file` stands.
    at: u64,
}

impl SortedSpool {
    fn new(mut index: Vec<(Position, u64)>, mut file: File) -> io::Result<SortedSpool> {
        file.rewind()?;
        index.sort_unstable();
        Ok(SortedSpool { index: index.into_iter().peekable(), file: BufReader::new(file), at: 0 })
    }

    fn head(&mut self) -> Option<Position> {
        self.index.peek().map(|(position, _)| *position)
    }

    /// Returns the line of the head. Mostly it is the next one in the file, and is in the buffer already.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        if let Some((_, start)) = self.index.next() {
            // Both are offsets in a file, which cannot be longer than `i64::MAX`.
            self.file.seek_relative(start as i64 - self.at as i64)?;
            self.at = start + self.file.read_until(b'\n', &mut line)? as u64;
        }
        Ok(line)
    }
}

/// The object of `letter` without its beginning, `{"source":…,"path":…`, and with the line feed: the only one, since
/// JSON escapes those of the payload.
fn rest_of_object(letter: &DeadLetter, out: &mut Vec<u8>) -> io::Result<()> {
    write!(out, ",\"offset\":{},\"reason\":\"{}\",\"message\":", letter.position.offset, letter.reason.code())?;
    serde_json::to_writer(&mut *out, &letter.message)?;
    write!(out, ",\"length\":{},", letter.length)?;
    match std::str::from_utf8(&letter.payload) {
        Ok(payload) => {
            out.extend_from_slice(b"\"payload\":");
            serde_json::to_writer(&mut *out, payload)?;
        }
        Err(_) => write!(out, "\"payload_base64\":\"{}\"", STANDARD.encode(&letter.payload))?,
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}
