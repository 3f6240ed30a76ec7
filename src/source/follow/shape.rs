//! Recognises format and framing of a file, when there is enough of it to be sure.

use super::reader::Reader;
use crate::source::SourceError;
use crate::source::cutter::{self, Fields, Head};
use headwater_decode::detect::{HEAD_BYTES, Opened};
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use headwater_decode::syntax::Syntax;
use memchr::{memchr, memmem, memrchr};
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Shape {
    pub format: Format,
    pub framing: Framing,
    /// Of CSV.
    pub header: Option<Arc<[u8]>>,
    /// Offset of the first record.
    pub start: u64,
}

/// The data from which a shape is recognised.
pub struct Question<'q> {
    pub path: &'q Path,
    pub format: Option<Format>,
    pub syntax: &'q Syntax,
    pub event_bytes: usize,
    /// Nothing has been added for some time.
    pub is_settled: bool,
    /// Nothing will be added.
    pub is_final: bool,
    /// Its end tells whether it is complete.
    pub is_compressed: bool,
}

impl Shape {
    /// `reader` is new. `None`: there is too little to tell.
    ///
    /// # Errors
    /// As [`crate::source::cutter::Cutter::open`].
    pub fn tell(question: &Question<'_>, reader: &mut Reader) -> Result<Option<Shape>, SourceError> {
        let mut read = 0;
        let mut head = Head::read(question.syntax, |into| reader.fill(&mut read, into))?;
        let mut ended = head.bytes.len() < HEAD_BYTES;
        let is_final = question.is_final || !ended || question.is_compressed && reader.damage().is_none();
        if head.bytes.is_empty() {
            return Ok(None);
        }
        let Question { path, format, syntax, event_bytes, .. } = *question;
        let asked = cutter::Question { path, format, syntax, event_bytes };
        loop {
            match asked.answer(&head, ended) {
                // More of it may tell.
                Err(SourceError::UnknownFormat { .. })
                    if !(is_final || question.is_settled && memchr(b'\n', &head.bytes).is_some()) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error),
                Ok(Some(opened)) if is_final || is_sure(&head.bytes, &opened, question) => {
                    let Opened { format, framing, header, start, .. } = opened;
                    let start = read - head.bytes.len() as u64 + start as u64;
                    return Ok(Some(Shape { format, framing, header, start }));
                }
                Ok(Some(_)) => return Ok(None),
                Ok(None) => {
                    let filled = head.bytes.len();
                    head.bytes.resize(2 * filled, 0);
                    let more = reader.fill(&mut read, &mut head.bytes[filled..])?;
                    ended = more < filled;
                    head.bytes.truncate(filled + more);
                }
            }
        }
    }
}

impl Shape {
    /// Takes the header that holds at `offset`: in a W3C log it may be another one than at first. `reader` is new.
    pub fn go_to(&mut self, offset: u64, reader: &mut Reader) -> Result<(), SourceError> {
        let is_of_fields = |header: &Arc<[u8]>| self.format == Format::Log && header.starts_with(Fields::BEGIN);
        if !self.header.as_ref().is_some_and(is_of_fields) {
            return Ok(());
        }
        let (mut at, mut lines) = (0, Vec::new());
        while at < offset {
            let from = lines.len();
            let wanted = (offset - at).min(STEP);
            lines.resize(from + wanted as usize, 0);
            let filled = reader.fill(&mut at, &mut lines[from..])?;
            lines.truncate(from + filled);
            let whole = memrchr(b'\n', &lines).map_or(0, |at| at + 1);
            let begins = memmem::rfind_iter(&lines[..whole], Fields::BEGIN);
            if let Some(last) = begins.into_iter().find(|at| *at == 0 || lines[at - 1] == b'\n') {
                self.header = Some(Arc::from(Fields::line(&lines[last..])));
            }
            lines.drain(..whole);
            if filled == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Bytes that are looked through at once.
const STEP: u64 = 256 << 10;

/// Returns whether nothing that follows can show that it is of another format: `{` may begin a line or an object of many
/// lines, and a line of prose looks like a header.
fn is_sure(head: &[u8], opened: &Opened, question: &Question<'_>) -> bool {
    let Some(boundary) = opened.framing.boundary(&head[opened.start..]) else { return false };
    let mut records = opened.framing.records(&head[opened.start..opened.start + boundary]).map(|(_, record)| record);
    let is_object = |record: &[u8]| {
        record.starts_with(b"{") && Framing::JsonValues.boundary(record) == Some(record.trim_ascii_end().len())
    };
    question.is_settled
        || match opened.format {
            Format::Json => records.any(is_object),
            Format::Csv => records.next().is_some(),
            Format::Clf | Format::Log => true,
            Format::Ltsv | Format::Logfmt | Format::Text => records.nth(1).is_some(),
        }
}
