//! Cuts the content of one part into chunks of whole records, with memory bounded by the chunk and the largest record.

use super::content::Content;
use super::{Chunk, Chunking, Part, SourceError};
use crate::collections::place::SourceIndex;
use dataflows::{DeadLetter, Position, Reason};
use headwater_decode::detect::{self, Detected, HEAD_BYTES};
use headwater_decode::fault::Fault;
use headwater_decode::framing::{Framing, Scanner};
use headwater_decode::spec::Format;
use memchr::memrchr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub struct Cutter {
    content: Content,
    part: usize,
    source: SourceIndex,
    format: Format,
    framing: Framing,
    header: Option<Arc<[u8]>>,
    chunk_bytes: usize,
    event_bytes: usize,
    /// First and last byte so far that is not blank.
    ends: Option<(u8, u8)>,
    /// The end has been reported, and the damage that it may be due to.
    done: bool,
}

impl Cutter {
    /// Recognises what the part is and stops before its first record. `part` is its index. Stored bytes are counted in
    /// `stored` as they are read.
    pub fn open(part: usize, plan: &Part, chunking: Chunking, stored: Arc<AtomicU64>) -> Result<Cutter, SourceError> {
        let mut content = Content::open(&plan.path, stored)?;
        let head = head(|into| content.fill(into))?;
        let detected = match plan.format {
            Some(format) => Some(Detected { format, framing: detect::framing(format, &head) }),
            // Nothing can be misread in nothing; and damage alone must not end the run.
            None if head.is_empty() || content.damage().is_some() => {
                Some(detect::detect(&head).unwrap_or(Detected { format: Format::Json, framing: Framing::Lines }))
            }
            None => detect::detect(&head),
        };
        let Some(Detected { format, framing }) = detected else {
            return Err(SourceError::UnknownFormat { path: plan.path.clone() });
        };
        content.unread(&head);
        let event_bytes = chunking.event_bytes.max(1);
        let header = match framing {
            Framing::Csv => Some(header(&mut content, event_bytes)?),
            Framing::Lines | Framing::JsonValues => None,
        };
        let chunk_bytes = chunking.chunk_bytes.max(1);
        let source = plan.source;
        Ok(Cutter { content, part, source, format, framing, header, chunk_bytes, event_bytes, ends: None, done: false })
    }

    pub fn detected(&self) -> Detected {
        Detected { format: self.format, framing: self.framing }
    }

    pub fn compression(&self) -> Option<&'static str> {
        self.content.compression()
    }

    /// Bytes of the part that have been handed out, skipped or made dead letters.
    pub fn consumed(&self) -> u64 {
        self.content.offset()
    }

    /// Fills everything but the tick of `chunk`; false at the end. At most one record that is too large is passed per
    /// call, so that dead letters are as bounded as records.
    pub fn next(&mut self, chunk: &mut Chunk) -> Result<bool, SourceError> {
        chunk.part = self.part;
        chunk.source = self.source;
        chunk.format = self.format;
        chunk.framing = self.framing;
        chunk.header.clone_from(&self.header);
        chunk.dead_letters.clear();
        chunk.offset = self.content.offset();

        let bytes = &mut chunk.bytes;
        let mut filled = 0;
        loop {
            // Twice as much each time: looking at the same record again stays cheap.
            let target = self.chunk_bytes.max(2 * filled);
            // The old bytes stay where they are, to be overwritten: clearing them first would write twice.
            if bytes.len() < target {
                bytes.resize(target, 0);
            }
            filled += self.content.fill(&mut bytes[filled..target])?;
            let ended = filled < target;
            let survey = Survey::of(self.framing, &bytes[..filled], self.event_bytes);
            let end = match survey {
                Survey { whole: 0, large: Some(large) } => {
                    let letter = self.pass(large, chunk.offset, bytes, filled)?;
                    chunk.dead_letters.push(letter);
                    bytes.clear();
                    return Ok(true);
                }
                Survey { whole, large: Some(_) } => whole,
                Survey { .. } if ended => filled,
                Survey { whole: 0, .. } => {
                    if self.framing.separators(&bytes[..filled]) == filled {
                        self.note(&bytes[..filled]);
                        filled = 0;
                        chunk.offset = self.content.offset();
                    }
                    continue;
                }
                Survey { whole, .. } => whole,
            };
            self.content.unread(&bytes[end..filled]);
            bytes.truncate(end);
            self.note(bytes);
            return Ok(end > 0 || self.end(chunk));
        }
    }

    /// Remembers the ends of what has been handed out.
    fn note(&mut self, bytes: &[u8]) {
        if let [first, .., last] | [first @ last] = bytes.trim_ascii() {
            self.ends = Some((self.ends.map_or(*first, |(first, _)| first), *last));
        }
    }

    /// Returns false at the end of the content, but the first time true if there is damage to report.
    fn end(&mut self, chunk: &mut Chunk) -> bool {
        if std::mem::replace(&mut self.done, true) {
            return false;
        }
        // Cut within an element, that is a record that does not parse; between two, nothing else would tell.
        let open = self.framing == Framing::JsonValues && matches!(self.ends, Some((b'[', b'[' | b',' | b'}')));
        let open = open.then_some("the array is not closed: the file may have been cut short");
        let Some(damage) = self.content.damage().or(open) else { return false };
        let position = self.position(self.content.offset());
        let message = damage.to_string();
        let payload = Vec::new();
        chunk.dead_letters.push(DeadLetter { position, reason: Reason::DamagedInput, message, payload, length: 0 });
        true
    }

    /// Reads to the end of a record that is too large and lies in `buffer[..filled]` as far as it has been read;
    /// `offset` is that of the buffer, which is used up.
    fn pass(
        &mut self,
        mut large: Large,
        offset: u64,
        buffer: &mut [u8],
        mut filled: usize,
    ) -> Result<DeadLetter, SourceError> {
        let start = large.start;
        let payload = buffer[start..start + self.event_bytes].to_vec();
        let mut from = start;
        let mut length = 0;
        // Its last bytes tell the length of its line end, which may be cut in two.
        let mut last = [0; 2];
        loop {
            let end = large.end.unwrap_or(filled);
            length += (end - from) as u64;
            for byte in &buffer[end.saturating_sub(2).max(from)..end] {
                last = [last[1], *byte];
            }
            if large.end.is_some() || filled == 0 {
                self.content.unread(&buffer[end..filled]);
                break;
            }
            from = 0;
            filled = self.content.fill(buffer)?;
            large.end = large.scanner.end(&buffer[..filled]);
        }
        length -= self.framing.terminator(&last) as u64;
        let Fault { reason, message } = Fault::too_large(length, self.event_bytes);
        let position = self.position(offset + start as u64);
        Ok(DeadLetter { position, reason, message, payload, length })
    }

    fn position(&self, offset: u64) -> Position {
        // A greater number of parts does not fit into memory.
        Position { source: self.source.0, part: self.part as u32, offset }
    }
}

/// The records in a buffer that starts at a record boundary.
pub struct Survey {
    /// End of the last whole record before `large`; 0 if there is none.
    pub whole: usize,
    /// The first record that is too large, as far as the buffer shows.
    pub large: Option<Large>,
}

/// A record that is too large.
pub struct Large {
    pub start: usize,
    /// Absent while it goes on.
    pub end: Option<usize>,
    /// Where it ends in the buffer, or where the buffer ends in it.
    pub scanner: Scanner,
}

impl Survey {
    pub fn of(framing: Framing, bytes: &[u8], limit: usize) -> Survey {
        if bytes.len() <= limit {
            return Survey { whole: framing.boundary(bytes).unwrap_or(0), large: None };
        }
        let mut scanner = Scanner::new(framing);
        let mut whole = 0;
        loop {
            let end = scanner.end(&bytes[whole..]).map(|length| whole + length);
            let span = &bytes[whole..end.unwrap_or(bytes.len())];
            let separators = framing.separators(span);
            if span.len() - separators > limit + framing.terminator(span) {
                let start = whole + separators;
                return Survey { whole, large: Some(Large { start, end, scanner }) };
            }
            match end {
                Some(end) => whole = end,
                None => return Survey { whole, large: None },
            }
        }
    }
}

/// Returns the first bytes of the content without byte order mark and blank lines, for recognition: [`HEAD_BYTES`], or
/// all. `fill` goes on where it stopped, and fills everything before the end.
pub fn head(mut fill: impl FnMut(&mut [u8]) -> Result<usize, SourceError>) -> Result<Vec<u8>, SourceError> {
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = fill(&mut head)?;
    let mut skipped = if head[..filled].starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    loop {
        skipped += blank_lines(&head[skipped..filled]);
        if skipped == 0 {
            break;
        }
        head.copy_within(skipped..filled, 0);
        filled -= skipped;
        skipped = 0;
        filled += fill(&mut head[filled..])?;
    }
    head.truncate(filled);
    Ok(head)
}

/// Returns the length of the blank lines at the start. The line of the first other byte counts whole: a header may
/// begin with tabs.
fn blank_lines(bytes: &[u8]) -> usize {
    match bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
        Some(first) => memrchr(b'\n', &bytes[..first]).map_or(0, |at| at + 1),
        None => bytes.len(),
    }
}

/// Takes the first row.
fn header(content: &mut Content, limit: usize) -> Result<Arc<[u8]>, SourceError> {
    let mut row = vec![0; HEAD_BYTES];
    let mut filled = 0;
    loop {
        filled += content.fill(&mut row[filled..])?;
        let ended = filled < row.len();
        let end = Scanner::new(Framing::Csv).end(&row[..filled]).or(ended.then_some(filled));
        let header = &row[..end.unwrap_or(filled)];
        let header = &header[..header.len() - Framing::Csv.terminator(header)];
        if header.len() > limit {
            return Err(SourceError::LongHeader { path: content.path().to_path_buf(), limit });
        }
        if let Some(end) = end {
            let header = Arc::from(header);
            content.unread(&row[end..filled]);
            return Ok(header);
        }
        row.resize(2 * row.len(), 0);
    }
}
