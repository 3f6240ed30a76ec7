//! Where records begin and end: [`Framing`] against its definition, byte by byte, and the source, which reads a file in
//! chunks, against a file that is seen whole.
//!
//! The first byte of the input chooses the format, the compression and the sizes; the rest is the content.

use dataflows::{DeadLetter, Position, Reason};
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater::collections::place::SourceIndex;
use headwater::source::{Chunk, Chunking, Chunks, Next, Part, SourceError, payloads};
use headwater_decode::detect;
use headwater_decode::framing::{Dialect, Framing};
use headwater_decode::spec::Format;
use headwater_decode::syntax::Syntax;
use oracle::{separators, spans};
use std::cell::LazyCell;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

#[path = "../../../crates/decode/src/framing/oracle.rs"]
mod oracle;

const FORMATS: [Format; 5] = [Format::Json, Format::Csv, Format::Clf, Format::Logfmt, Format::Text];
const COMPRESSED: u8 = 1 << 6;
const DAMAGED: u8 = 1 << 7;

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().unwrap());
}

pub fn check(data: &[u8]) {
    let Some((options, content)) = data.split_first() else { return };
    for framing in [Framing::Lines, Framing::CrLines, Framing::Rows(Dialect::default()), Framing::JsonValues] {
        slices(framing, content);
    }
    let format = FORMATS[usize::from(options % 4)];
    let chunking = Chunking {
        chunk_bytes: [1, 5, 64, 1 << 16][usize::from(options >> 2) % 4],
        tick_bytes: 50,
        event_bytes: [4, 20, 1 << 10, 1 << 20][usize::from(options >> 4) % 4],
    };
    FOLDER.with(|folder| chunks(&folder.path().join("content"), *options, content, format, chunking));
}

/// A stream may be cut at any boundary, and nothing of it gets lost.
fn slices(framing: Framing, bytes: &[u8]) {
    let ends = spans(framing, bytes);
    assert_eq!(framing.boundary(bytes), ends.last().copied(), "{framing:?}");
    let records: Vec<_> = framing.records(bytes).collect();
    assert_eq!(records, by_definition(framing, bytes).filter_map(Span::record).collect::<Vec<_>>(), "{framing:?}");
    for end in ends.iter().take(40) {
        let (left, right) = bytes.split_at(*end);
        // What is no JSON ends only with what follows it.
        assert!(framing == Framing::JsonValues || framing.boundary(left) == Some(*end));
        let halves = framing.records(left).chain(framing.records(right).map(|(at, record)| (at + end, record)));
        assert_eq!(halves.collect::<Vec<_>>(), records, "{framing:?} at {end}");
    }
    let mut between = bytes.to_vec();
    for (at, record) in &records {
        assert_eq!(&bytes[*at..at + record.len()], *record);
        between[*at..at + record.len()].fill(b' ');
    }
    let separates = |byte: &u8| match framing {
        Framing::JsonValues => byte.is_ascii_whitespace() || b",[]\x1e\0\xef\xbb\xbf".contains(byte),
        _ => byte.is_ascii_whitespace() || b"\0\xef\xbb\xbf".contains(byte),
    };
    assert!(between.iter().all(separates), "{framing:?}");
}

/// The bytes of a record with what stands around it.
#[derive(Clone, Copy)]
struct Span<'b> {
    framing: Framing,
    start: usize,
    /// Without separators before it and without its line end.
    bare: &'b [u8],
}

impl<'b> Span<'b> {
    /// `None` if it is blank.
    fn record(self) -> Option<(usize, &'b [u8])> {
        let record = match self.framing {
            Framing::Lines | Framing::CrLines if self.bare.iter().all(u8::is_ascii_whitespace) => &[],
            Framing::Lines | Framing::CrLines | Framing::Rows(_) => self.bare,
            Framing::JsonValues => self.bare.trim_ascii_end(),
        };
        (!record.is_empty()).then_some((self.start, record))
    }
}

fn by_definition(framing: Framing, bytes: &[u8]) -> impl Iterator<Item = Span<'_>> {
    spans_of(framing, bytes, spans(framing, bytes))
}

/// Rows are framed by the number of their fields, too: that has no slow answer here, and is taken as it is.
fn by_framing(framing: Framing, bytes: &[u8]) -> impl Iterator<Item = Span<'_>> {
    let mut ends = Vec::new();
    while let Some(length) = framing.end(&bytes[ends.last().copied().unwrap_or(0)..], true) {
        ends.push(ends.last().copied().unwrap_or(0) + length);
    }
    spans_of(framing, bytes, ends)
}

fn spans_of(framing: Framing, bytes: &[u8], mut ends: Vec<usize>) -> impl Iterator<Item = Span<'_>> {
    ends.push(bytes.len());
    let mut from = 0;
    ends.into_iter().map(move |end| {
        let span = &bytes[std::mem::replace(&mut from, end)..end];
        let before = separators(framing, span);
        let start = end - span.len() + before;
        let mut bare = &span[before..];
        if framing != Framing::JsonValues {
            bare = bare.strip_suffix(b"\n").unwrap_or(bare);
            bare = bare.strip_suffix(b"\r").unwrap_or(bare);
        }
        while let [rest @ .., 0] = bare {
            bare = rest;
        }
        Span { framing, start, bare }
    })
}

/// The records that a source hands out.
#[derive(Debug, Default, PartialEq)]
struct Found {
    header: Option<Vec<u8>>,
    records: Vec<(u64, Vec<u8>)>,
    /// Records that are too large: offset, first bytes and length.
    large: Vec<(u64, Vec<u8>, u64)>,
    damage: Vec<DeadLetter>,
}

fn chunks(path: &Path, options: u8, content: &[u8], format: Format, chunking: Chunking) {
    let damaged = options & DAMAGED != 0;
    if options & (COMPRESSED | DAMAGED) != 0 {
        // Two members, as appending to a compressed log makes them.
        let (one, other) = content.split_at(content.len() / 2);
        let member = |bytes: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let mut stored = [member(one), member(other)].concat();
        if damaged {
            // Somewhere, but the same place for the same content.
            let at =
                content.iter().fold(content.len(), |at, byte| at * 31 % 65_521 + usize::from(*byte)) % stored.len();
            match options & COMPRESSED != 0 {
                true => stored.truncate(at),
                false => stored[at] ^= 1 << (at % 8),
            }
        }
        fs::write(path, stored).unwrap();
    } else {
        fs::write(path, content).unwrap();
        let is_other = content.starts_with(&[0x1f, 0x8b])
            || content.starts_with(&[0xff, 0xfe])
            || content.starts_with(&[0xfe, 0xff])
            || matches!(content, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        if is_other {
            _ = read(path, None, chunking);
            return;
        }
    }
    if let Err(error) = read(path, None, chunking) {
        assert!(is_refusal(&error), "{error}");
    }
    let found = read(path, Some(format), chunking);
    if let Err(SourceError::Foreign { .. }) = found {
        return;
    }
    if damaged {
        // What is read is read as well as can be, and the run goes on.
        if let Ok(found) = found {
            assert!(found.damage.len() <= 1);
        }
        return;
    }
    let Some(expected) = whole(content, format, chunking.event_bytes) else {
        assert!(matches!(found, Err(SourceError::LongHeader { .. })));
        return;
    };
    let mut found = found.unwrap();
    // A part without a chunk has told no header.
    let expected = Found { header: expected.header.filter(|_| found.header.is_some()), ..expected };
    // An array that is not closed, and nothing else.
    for letter in std::mem::take(&mut found.damage) {
        assert_eq!((letter.reason, letter.position.offset), (Reason::DamagedInput, content.len() as u64));
        assert!(format == Format::Json && content.contains(&b'['));
    }
    assert_eq!(found, expected);
    again(path, format, chunking, &expected.records);
}

fn is_refusal(error: &SourceError) -> bool {
    use SourceError::{Foreign, LongHeader, UnknownFormat};
    matches!(error, UnknownFormat { .. } | LongHeader { .. } | Foreign { .. })
}

/// By looking at all of the content at once. `None` if the header is too long.
fn whole(content: &[u8], format: Format, limit: usize) -> Option<Found> {
    let mut start = 0;
    loop {
        let rest = &content[start..];
        let line = rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        start += match rest {
            [0, ..] => 1,
            [0xef, 0xbb, 0xbf, ..] => 3,
            [_, ..] if line.iter().all(u8::is_ascii_whitespace) => line.len(),
            _ => break,
        };
    }
    let opened = detect::open(&content[start..], Some(format), &Syntax::default(), limit, true).ok()?;
    let framing = opened.framing;
    let mut found = Found { header: opened.header.map(|header| header.to_vec()), ..Found::default() };
    if found.header.as_ref().is_some_and(|header| header.len() > limit) {
        return None;
    }
    start += opened.start;
    for span in by_framing(framing, &content[start..]) {
        let offset = (start + span.start) as u64;
        if span.bare.len() > limit {
            found.large.push((offset, span.bare[..limit].to_vec(), span.bare.len() as u64));
        } else if let Some((_, record)) = span.record() {
            found.records.push((offset, record.to_vec()));
        }
    }
    Some(found)
}

fn part(path: &Path, format: Option<Format>) -> Vec<Part> {
    vec![Part { source: SourceIndex(3), path: path.to_owned(), format, syntax: Arc::default(), member: None }]
}

fn read(path: &Path, format: Option<Format>, chunking: Chunking) -> Result<Found, SourceError> {
    let source = Chunks::open(part(path, format), chunking)?;
    let mut found = Found::default();
    let mut chunk = Chunk::default();
    let (mut tick, mut offset, mut bytes) = (0, 0, 0);
    loop {
        match source.next(u64::MAX, &mut chunk)? {
            Next::Chunk => {}
            Next::Wait => panic!("there is nothing to wait for"),
            Next::End => break,
        }
        assert!(chunk.tick >= tick && chunk.offset >= offset && (chunk.part, chunk.source) == (0, SourceIndex(3)));
        (tick, offset) = (chunk.tick, chunk.offset + chunk.bytes.len() as u64);
        // Each byte is in a chunk, or was skipped for a reason.
        bytes += chunk.account.total() + chunk.bytes.len() as u64;
        if chunk.dead_letters.is_empty() && !chunk.bytes.is_empty() {
            assert_eq!(bytes, offset);
        }
        // Memory is bounded by the chunk and the largest record, as buffers grow by doubling.
        assert!(chunk.bytes.capacity() <= 4 * (chunking.chunk_bytes + chunking.event_bytes.min(1 << 16) + 4));
        found.header = chunk.header.as_ref().map(|header| header.to_vec());
        for (at, record) in chunk.framing.records(&chunk.bytes) {
            found.records.push((chunk.offset + at as u64, record.to_vec()));
        }
        for letter in chunk.dead_letters.drain(..) {
            assert!((letter.position.source, letter.position.part) == (3, 0) && !letter.message.is_empty());
            match letter.reason {
                Reason::TooLarge => found.large.push((letter.position.offset, letter.payload, letter.length)),
                _ => found.damage.push(letter),
            }
        }
    }
    assert!(matches!(source.next(0, &mut chunk), Ok(Next::End)));
    assert_eq!((source.progress().parts_read, source.progress().bytes_read), (1, source.progress().bytes_total));
    Ok(found)
}

/// Each record is found again at its position.
fn again(path: &Path, format: Format, chunking: Chunking, records: &[(u64, Vec<u8>)]) {
    let position = |offset| Position { source: 3, part: 0, offset };
    let positions: Vec<Position> = records.iter().map(|(offset, _)| position(*offset)).collect();
    let mut found = Vec::new();
    payloads(&part(path, Some(format)), chunking, &positions, |position, start, record| {
        assert_eq!(position.offset, start);
        found.push((start, record.to_vec()));
    })
    .unwrap();
    assert_eq!(found, records);
}
