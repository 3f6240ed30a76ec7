//! Recognises a part as a replay does, without reading on.

use super::cutter::Cutter;
use super::{Chunking, Part, SourceError};
use headwater_decode::detect::Detected;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// As stored.
    pub bytes: u64,
    /// `None` of what is no regular file: looking into a pipe would take from it.
    pub content: Option<Detected>,
    pub compression: Option<&'static str>,
}

/// # Errors
/// What would end a replay before the first record of this part.
pub fn probe(part: &Part, event_bytes: usize) -> Result<Probed, SourceError> {
    let Some(bytes) = part.stored()? else {
        return Ok(Probed { bytes: 0, content: None, compression: None });
    };
    let cutter = Cutter::open(0, part, Chunking { event_bytes, ..Chunking::default() }, Arc::default())?;
    Ok(Probed { bytes, content: Some(cutter.detected()), compression: cutter.compression() })
}
