//! The members of a gzip file, one after the other, and the padding between and behind them.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads all members. NUL bytes behind a member are padding, as tapes and fixed blocks make it; RFC 1952 does not know
/// them, and gzip skips them too.
pub struct Members<R> {
    /// `None` at the end.
    member: Option<GzDecoder<R>>,
    padding: Arc<AtomicU64>,
}

impl<R: BufRead> Members<R> {
    /// Bytes of padding are counted in `padding`.
    pub fn new(stored: R, padding: Arc<AtomicU64>) -> Members<R> {
        Members { member: Some(GzDecoder::new(stored)), padding }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let length = member.read(into)?;
            if length > 0 || into.is_empty() {
                return Ok(length);
            }
            let Some(member) = self.member.take() else { break };
            let mut stored = member.into_inner();
            loop {
                let block = stored.fill_buf()?;
                let zeros = block.iter().take_while(|byte| **byte == 0).count();
                let is_over = zeros < block.len();
                if block.is_empty() {
                    return Ok(0);
                }
                stored.consume(zeros);
                self.padding.fetch_add(zeros as u64, Ordering::Relaxed);
                if is_over {
                    break;
                }
            }
            self.member = Some(GzDecoder::new(stored));
        }
        Ok(0)
    }
}
