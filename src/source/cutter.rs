//! Cuts the content of one part into chunks of whole records, with memory bounded by the chunk and the largest record.

use super::content::Content;
use super::foreign;
use super::{Chunk, Chunking, Part, SourceError};
use crate::collections::place::SourceIndex;
use dataflows::{DeadLetter, Position, Reason};
use headwater_decode::account::{Account, Skip};
use headwater_decode::detect::{self, Detected, HEAD_BYTES, Opened, Refused};
use headwater_decode::fault::Fault;
use headwater_decode::framing::{Ends, Framing, MARK, RUN, Scanner};
use headwater_decode::spec::Format;
use headwater_decode::syntax::Syntax;
use memchr::{memchr, memmem, memrchr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

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
    /// What stands before the first record, until a chunk has it.
    above: Account,
    /// What is worth telling a user about the part.
    notes: Vec<String>,
}

impl Cutter {
    /// Recognises what the part is and stops before its first record. `part` is its index. Stored bytes are counted in
    /// `stored` as they are read.
    pub fn open(part: usize, plan: &Part, chunking: Chunking, stored: Arc<AtomicU64>) -> Result<Cutter, SourceError> {
        let mut content = plan.content(stored)?;
        let event_bytes = chunking.event_bytes.max(1);
        let mut head = Head::read(&plan.syntax, |into| content.fill(into))?;
        let mut is_whole = head.bytes.len() < HEAD_BYTES;
        let question = Question { path: &plan.path, format: plan.format, syntax: &plan.syntax, event_bytes };
        let opened = loop {
            match question.answer(&head, is_whole) {
                // Nothing can be misread in nothing; and damage alone must not end the run.
                Err(SourceError::UnknownFormat { .. }) if head.bytes.is_empty() || content.damage().is_some() => {
                    let (format, framing) = (Format::Json, detect::framing_of_json(&head.bytes));
                    break Opened {
                        format,
                        framing,
                        header: None,
                        start: 0,
                        above: Account::default(),
                        notes: Vec::new(),
                    };
                }
                Err(error) => return Err(error),
                Ok(Some(opened)) => break opened,
                Ok(None) => {
                    let filled = head.bytes.len();
                    head.bytes.resize(2 * filled, 0);
                    let more = content.fill(&mut head.bytes[filled..])?;
                    is_whole = more < filled;
                    head.bytes.truncate(filled + more);
                }
            }
        };
        content.unread(&head.bytes[opened.start..]);
        let Opened { format, framing, header, .. } = opened;
        let mut above = head.above;
        above.add(&opened.above);
        let chunk_bytes = chunking.chunk_bytes.max(1);
        let source = plan.source;
        Ok(Cutter {
            content,
            part,
            source,
            format,
            framing,
            header,
            chunk_bytes,
            event_bytes,
            ends: None,
            done: false,
            above,
            notes: opened.notes,
        })
    }

    pub fn detected(&self) -> Detected {
        Detected { format: self.format, framing: self.framing }
    }

    pub fn compression(&self) -> Option<&'static str> {
        self.content.compression()
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
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
        chunk.account = std::mem::take(&mut self.above);
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
            let fields = Fields::of(self.format, self.header.as_ref(), &bytes[..survey.whole]);
            if fields.header.is_some() {
                self.header = fields.header;
                chunk.header.clone_from(&self.header);
            }
            let end = match survey {
                _ if fields.end.is_some() => fields.end.unwrap_or_default(),
                Survey { whole: 0, large: Some(large) } => {
                    chunk.account.before(self.framing, &bytes[..large.start]);
                    let letter = self.pass(large, chunk.offset, bytes, filled, &mut chunk.account)?;
                    chunk.dead_letters.push(letter);
                    bytes.clear();
                    return Ok(true);
                }
                Survey { whole, large: Some(_) } => whole,
                Survey { .. } if ended => filled,
                Survey { whole: 0, .. } => {
                    if self.framing.separators(&bytes[..filled]) == filled {
                        self.note(&bytes[..filled]);
                        chunk.account.before(self.framing, &bytes[..filled]);
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
        let padding = self.content.padding();
        chunk.account.skip(Skip::Padding, padding as usize);
        let Some(damage) = self.content.damage().or(open) else { return chunk.account.total() > 0 };
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
        account: &mut Account,
    ) -> Result<DeadLetter, SourceError> {
        let start = large.start;
        let payload = buffer[start..start + self.event_bytes].to_vec();
        let mut from = start;
        let mut length = 0;
        // Its last bytes tell the length of its line end, which may be cut in two.
        let mut last = Vec::new();
        loop {
            let end = large.end.unwrap_or(filled);
            length += (end - from) as u64;
            last.extend_from_slice(&buffer[end.saturating_sub(TERMINATOR).max(from)..end]);
            last.drain(..last.len().saturating_sub(TERMINATOR));
            if large.end.is_some() || filled == 0 {
                self.content.unread(&buffer[end..filled]);
                break;
            }
            from = 0;
            filled = self.content.fill(buffer)?;
            large.end = large.scanner.end(&buffer[..filled]);
        }
        let terminator = self.framing.terminator(&last) as u64;
        length -= terminator;
        account.dead_letters += length;
        account.skip(Skip::Separator, terminator as usize);
        let Fault { reason, message } = Fault::too_large(length, self.event_bytes);
        let position = self.position(offset + start as u64);
        Ok(DeadLetter { position, reason, message, payload, length })
    }

    fn position(&self, offset: u64) -> Position {
        // A greater number of parts does not fit into memory.
        Position { source: self.source.0, part: self.part as u32, offset }
    }
}

/// Bytes of the longest terminator: a run of NUL bytes, or fewer of them and a line end.
const TERMINATOR: usize = RUN + 2;

/// Lines of a W3C log that name other fields than before, among whole lines: each such line begins a chunk, whose
/// header it is.
pub struct Fields {
    /// That of the first line, if it is such a line.
    pub header: Option<Arc<[u8]>>,
    /// Where the next such line is.
    pub end: Option<usize>,
}

impl Fields {
    /// Begins such a line.
    pub const BEGIN: &'static [u8] = headwater_decode::log::FIELDS.as_bytes();

    /// `header`: the one that holds before `lines`.
    pub fn of(format: Format, header: Option<&Arc<[u8]>>, lines: &[u8]) -> Fields {
        let none = Fields { header: None, end: None };
        let is_of_fields = |header: &&Arc<[u8]>| format == Format::Log && header.starts_with(Fields::BEGIN);
        let Some(before) = header.filter(is_of_fields) else { return none };
        let mut first: Option<Arc<[u8]>> = None;
        for at in memmem::find_iter(lines, Fields::BEGIN).filter(|at| *at == 0 || lines[at - 1] == b'\n') {
            let line = Fields::line(&lines[at..]);
            if *line == **first.as_ref().unwrap_or(before) {
                continue;
            }
            if at > 0 {
                return Fields { header: first, end: Some(at) };
            }
            first = Some(Arc::from(line));
        }
        Fields { header: first, end: None }
    }

    /// Returns the first line, without what ends it.
    pub fn line(lines: &[u8]) -> &[u8] {
        lines[..memchr(b'\n', lines).unwrap_or(lines.len())].trim_ascii_end()
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
        let mut whole = 0;
        let mut ends = Ends::new(framing, bytes);
        loop {
            let end = ends.next(false);
            let span = &bytes[whole..end.unwrap_or(bytes.len())];
            let separators = framing.separators(span);
            if span.len() - separators > limit + framing.terminator(span) {
                let start = whole + separators;
                let mut scanner = Scanner::new(framing);
                if end.is_none() {
                    scanner.end(&bytes[start..]);
                }
                return Survey { whole, large: Some(Large { start, end, scanner }) };
            }
            match end {
                Some(end) => whole = end,
                None => return Survey { whole, large: None },
            }
        }
    }
}

/// The first bytes of a content, for recognition.
pub struct Head {
    /// [`HEAD_BYTES`], or all. Marks, NUL bytes, blank lines and lines that are to be skipped stand above.
    pub bytes: Vec<u8>,
    pub above: Account,
    /// What it is if it can be no log.
    foreign: Option<foreign::Foreign>,
}

impl Head {
    /// `fill` goes on where it stopped, and fills everything before the end.
    pub fn read(
        syntax: &Syntax,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, SourceError>,
    ) -> Result<Head, SourceError> {
        let mut bytes = vec![0; HEAD_BYTES];
        let mut filled = fill(&mut bytes)?;
        let foreign = foreign::binary(&bytes[..filled]);
        let mut above = Account::default();
        let mut lines = syntax.skip;
        loop {
            let passed = leading(&bytes[..filled], &mut lines, &mut above);
            if passed == 0 {
                break;
            }
            bytes.copy_within(passed..filled, 0);
            filled -= passed;
            filled += fill(&mut bytes[filled..])?;
        }
        bytes.truncate(filled);
        Ok(Head { bytes, above, foreign })
    }
}

/// Counts what `bytes` begins with and is no record; returns its length. `lines`: how many are to be skipped yet.
fn leading(bytes: &[u8], lines: &mut usize, above: &mut Account) -> usize {
    let nuls = bytes.iter().take_while(|byte| **byte == 0).count();
    if nuls > 0 {
        above.skip(Skip::Padding, nuls);
        return nuls;
    }
    if bytes.starts_with(MARK) {
        above.skip(Skip::Mark, MARK.len());
        return MARK.len();
    }
    if *lines > 0 {
        let end = memchr(b'\n', bytes).map(|at| at + 1);
        *lines -= usize::from(end.is_some());
        let length = end.unwrap_or(bytes.len());
        above.skip(Skip::Above, length);
        return length;
    }
    let blank = blank_lines(bytes);
    above.before(Framing::Lines, &bytes[..blank]);
    blank
}

/// Returns the length of the blank lines at the start. The line of the first other byte counts whole: a header may
/// begin with tabs.
fn blank_lines(bytes: &[u8]) -> usize {
    match bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
        Some(first) => memrchr(b'\n', &bytes[..first]).map_or(0, |at| at + 1),
        None => bytes.len(),
    }
}

/// The data from which a content is recognised, beside its head.
pub struct Question<'q> {
    pub path: &'q Path,
    pub format: Option<Format>,
    pub syntax: &'q Syntax,
    pub event_bytes: usize,
}

impl Question<'_> {
    /// Returns what the content is. `None`: there has to be more of its head. `is_whole`: there is no more.
    ///
    /// # Errors
    /// If it is not recognised, or cannot be a log.
    pub fn answer(&self, head: &Head, is_whole: bool) -> Result<Option<Opened>, SourceError> {
        let Question { path, format, syntax, event_bytes } = *self;
        let foreign = |(what, advice)| SourceError::Foreign { path: path.to_path_buf(), what, advice };
        if let Some(found) = head.foreign {
            return Err(foreign(found));
        }
        let opened = detect::open(&head.bytes, format, syntax, event_bytes, is_whole);
        let is_long = head.bytes.len() > event_bytes.saturating_add(2);
        match opened {
            Ok(opened) if opened.header.as_ref().is_some_and(|header| header.len() > event_bytes) => {
                Err(SourceError::LongHeader { path: path.to_path_buf(), limit: event_bytes })
            }
            Ok(opened) => Ok(Some(opened)),
            Err(Refused::More) if is_long || is_whole => {
                Err(SourceError::LongHeader { path: path.to_path_buf(), limit: event_bytes })
            }
            Err(Refused::More) => Ok(None),
            Err(Refused::Unknown(advice)) => match foreign::text(&head.bytes) {
                Some(found) => Err(foreign(found)),
                None => Err(SourceError::unknown(path, advice)),
            },
        }
    }
}
