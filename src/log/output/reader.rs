//! Following the output log tick by tick, at the reader's own pace.

use super::{Block, OutputLog};
use crate::log::error::LogError;
use crate::log::partition::Reader;
use dataflows::Tick;
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
    readers: Vec<Reader>,
    end: Tick,
    read: VecDeque<Vec<Block>>,
}

impl OutputReader {
    /// Begins with the tick `next`.
    pub fn new(log: Arc<OutputLog>, next: Tick) -> OutputReader {
        OutputReader { log, next, readers: Vec::new(), end: next, read: VecDeque::new() }
    }

    /// The tick that comes next.
    pub fn position(&self) -> Tick {
        self.next
    }

    /// The blocks of the next tick, one per worker of its time; `None` if it is not whole yet.
    ///
    /// # Errors
    /// [`LogError::Gone`], [`LogError::Corrupt`], [`LogError::Read`].
    pub fn tick(&mut self) -> Result<Option<Vec<Block>>, LogError> {
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
        let upto = self.readers.iter().map(|reader| reader.within(from, upto, BYTES)).min().unwrap_or(upto);
        let mut ticks: VecDeque<Vec<Block>> = (from..upto).map(|_| Vec::new()).collect();
        for reader in &mut self.readers {
            let mut damaged = None;
            reader.read(from, upto, |record| match Block::decode(record.payload) {
                Some(block) if block.tick == record.offset => ticks[(block.tick - from) as usize].push(block),
                _ => damaged = Some(record.offset),
            })?;
            if let Some(tick) = damaged {
                return Err(self.log.damaged(tick));
            }
        }
        self.read = ticks;
        Ok(true)
    }
}
