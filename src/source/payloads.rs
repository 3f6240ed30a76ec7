//! Reads single records again, long after they were handed out.

use super::cutter::Cutter;
use super::{Chunk, Chunking, Part, SourceError};
use dataflows::Position;
use std::sync::Arc;

/// Calls `found` for each of `positions` with the whole framed record that contains it, and the record's own offset.
///
/// `parts` and `chunking.event_bytes` have to be those of the run that made the positions, and `positions` sorted. Each
/// part that they name is streamed through once, up to the last of them; memory is bounded as in the run.
///
/// # Errors
/// As in the run; and if no record lies at a position any more.
pub fn payloads(
    parts: &[Part],
    chunking: Chunking,
    positions: &[Position],
    mut found: impl FnMut(Position, u64, &[u8]),
) -> Result<(), SourceError> {
    let mut chunk = Chunk::default();
    for wanted in positions.chunk_by(|left, right| left.part == right.part) {
        let part = wanted[0].part as usize;
        let changed =
            |position: &Position| SourceError::Changed { path: parts[part].path.clone(), offset: position.offset };
        let mut wanted = wanted.iter().peekable();
        let mut cutter = Cutter::open(part, &parts[part], chunking, Arc::default())?;
        while wanted.peek().is_some() && cutter.next(&mut chunk)? {
            if wanted.peek().is_some_and(|position| position.offset >= cutter.consumed()) {
                continue;
            }
            for (at, record) in chunk.framing.records(&chunk.bytes) {
                let start = chunk.offset + at as u64;
                while let Some(position) = wanted.next_if(|position| position.offset < start + record.len() as u64) {
                    if position.offset < start {
                        return Err(changed(position));
                    }
                    found(*position, start, record);
                }
            }
        }
        if let Some(position) = wanted.next() {
            return Err(changed(position));
        }
    }
    Ok(())
}
