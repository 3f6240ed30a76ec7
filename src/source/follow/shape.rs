//! Recognises format and framing of a file, when there is enough of it to be sure.

use super::reader::Reader;
use crate::source::SourceError;
use crate::source::cutter::head;
use headwater_decode::detect::{self, Detected, HEAD_BYTES};
use headwater_decode::framing::{Framing, Scanner};
use headwater_decode::spec::Format;
use memchr::memchr;
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
        let mut head = head(|into| reader.fill(&mut read, into))?;
        let is_final =
            question.is_final || head.len() == HEAD_BYTES || question.is_compressed && reader.damage().is_none();
        let Some(Detected { format, framing }) = recognise(&head, question, is_final) else {
            if is_final && !head.is_empty() || question.is_settled && memchr(b'\n', &head).is_some() {
                return Err(SourceError::UnknownFormat { path: question.path.to_path_buf() });
            }
            return Ok(None);
        };
        let mut header = None;
        let mut length = 0;
        if framing == Framing::Csv {
            let limit = question.event_bytes;
            let mut ended = head.len() < HEAD_BYTES;
            let mut end = Scanner::new(Framing::Csv).end(&head);
            while end.is_none() && !ended && head.len() <= limit + 2 {
                let filled = head.len();
                head.resize(2 * filled, 0);
                let more = reader.fill(&mut read, &mut head[filled..])?;
                ended = more < filled;
                head.truncate(filled + more);
                end = Scanner::new(Framing::Csv).end(&head);
            }
            length = match end {
                None if ended && !question.is_final => return Ok(None),
                end => end.unwrap_or(head.len()),
            };
            let row = &head[..length - Framing::Csv.terminator(&head[..length])];
            if row.len() > limit {
                return Err(SourceError::LongHeader { path: question.path.to_path_buf(), limit });
            }
            header = Some(Arc::from(row));
        }
        Ok(Some(Shape { format, framing, header, start: read - head.len() as u64 + length as u64 }))
    }
}

/// `None` if the head is of no known format, or what follows may still show that it is another one: `{` may begin a line
/// or an object of many lines, and a line of prose looks like a header.
fn recognise(head: &[u8], question: &Question<'_>, is_final: bool) -> Option<Detected> {
    let detected = match question.format {
        Some(format) => Detected { format, framing: detect::framing(format, head) },
        None => detect::detect(head)?,
    };
    if is_final {
        return Some(detected);
    }
    let mut records = detected.framing.records(&head[..detected.framing.boundary(head)?]).map(|(_, record)| record);
    let is_object = |record: &[u8]| {
        record.starts_with(b"{") && Framing::JsonValues.boundary(record) == Some(record.trim_ascii_end().len())
    };
    let is_sure = question.is_settled
        || match detected.format {
            Format::Json => records.any(is_object),
            Format::Csv => records.nth(1).is_some(),
            Format::Clf => true,
        };
    is_sure.then_some(detected)
}
