//! Follows the output log tick by tick, at the reader's own pace.

use super::entry::Entry;
use super::tick::{TickOutput, WorkerOutput};
use super::{OutputLog, WorkerReader};
use crate::Tick;
use crate::error::LogError;
use std::collections::VecDeque;
use std::sync::Arc;

/// Ticks that are read together, unless they are large.
const TICKS: Tick = 32;
/// Bytes of one worker that are read together, unless a tick is larger.
const BYTES: u64 = 1 << 20;

/// A reading end of the output log. It keeps what it reads together, and no more.
pub struct OutputReader {
    log: Arc<OutputLog>,
    next: Tick,
    /// Of the workers of the start that `next` belongs to, and where that start ends.
    readers: Vec<WorkerReader>,
    end: Tick,
    read: VecDeque<TickOutput>,
}

impl OutputReader {
    /// Begins with the tick `next`.
    pub fn new(log: Arc<OutputLog>, next: Tick) -> OutputReader {
        OutputReader { log, next, readers: Vec::new(), end: next, read: VecDeque::new() }
    }

    /// Returns the tick that comes next.
    pub fn position(&self) -> Tick {
        self.next
    }

    /// Reads the published rows of the next tick; `None` if it is not whole yet.
    ///
    /// # Errors
    /// [`LogError::Gone`], [`LogError::Corrupt`], [`LogError::Read`].
    pub fn tick(&mut self) -> Result<Option<TickOutput>, LogError> {
        if self.read.is_empty() && !self.fill()? {
            return Ok(None);
        }
        self.next += 1;
        Ok(self.read.pop_front())
    }

    fn fill(&mut self) -> Result<bool, LogError> {
        let upper = self.log.upper();
        if self.next >= upper {
            return Ok(false);
        }
        if self.next >= self.end {
            (self.readers, self.end) = self.log.readers(self.next)?;
        }
        let from = self.next;
        let upto = upper.min(self.end).min(from + TICKS);
        let upto = self.readers.iter().map(|reader| reader.ticks.within(from, upto, BYTES)).min().unwrap_or(upto);
        self.read = read(&mut self.readers, from, upto, self.log.piece_bytes)?;
        Ok(true)
    }
}

/// Reads the ticks from `from` up to, not including, `upto`.
pub(super) fn read(
    readers: &mut [WorkerReader],
    from: Tick,
    upto: Tick,
    piece_bytes: usize,
) -> Result<VecDeque<TickOutput>, LogError> {
    let output = |tick| TickOutput { tick, now_ms: 0, workers: Vec::new(), piece_bytes };
    let mut ticks: VecDeque<TickOutput> = (from..upto).map(output).collect();
    for WorkerReader { ticks: records, large } in readers {
        let mut damaged = None;
        records.read(from, upto, |record| {
            let tick = record.offset;
            let output = &mut ticks[(tick - from) as usize];
            let worker = match Entry::decode(record.payload, tick) {
                Some(Entry::Whole(block)) => Some((block.now_ms, WorkerOutput::Whole(block))),
                Some(Entry::Large(contents)) => {
                    large.reader(tick).map(|reader| (contents.now_ms, WorkerOutput::Large(contents, Box::new(reader))))
                }
                None => None,
            };
            match worker {
                Some((now_ms, worker)) => {
                    output.now_ms = now_ms;
                    output.workers.push(worker);
                }
                None => damaged = damaged.or(Some(tick)),
            }
        })?;
        if let Some(tick) = damaged {
            // Retention removes blocks after it has said so.
            let oldest = records.low();
            let gone = LogError::Gone { position: tick, oldest };
            let what = format!("what was published of tick {tick} is not canonical, or its blocks are missing");
            return Err(if tick < oldest { gone } else { LogError::corrupt(records.dir(), tick, what) });
        }
    }
    Ok(ticks)
}
