//! Reading a partition while it is written.

use super::{Place, Segment, Shared, lock};
use crate::log::error::LogError;
use crate::log::segment::{self, FRAME, Fault, Kind, Record};
use crate::log::vfs::{Vfs, VfsFile};
use std::sync::{Arc, Mutex};

/// How much is read at once, unless a record is larger.
const WINDOW_BYTES: usize = 256 << 10;

/// The reading end of a partition: sees what is durable, and only that.
#[derive(Debug)]
pub struct Reader {
    vfs: Arc<dyn Vfs>,
    place: Place,
    shared: Arc<Mutex<Shared>>,
    window: Vec<u8>,
    /// The segment that was read last, by base.
    open: Option<(u64, Box<dyn VfsFile>)>,
}

impl Clone for Reader {
    fn clone(&self) -> Reader {
        Reader::new(self.vfs.clone(), self.place.clone(), self.shared.clone())
    }
}

impl Reader {
    pub(super) fn new(vfs: Arc<dyn Vfs>, place: Place, shared: Arc<Mutex<Shared>>) -> Reader {
        Reader { vfs, place, shared, window: Vec::new(), open: None }
    }

    /// Records below this offset can be read.
    pub fn durable(&self) -> u64 {
        lock(&self.shared).durable
    }

    /// Records below this offset cannot be read any more.
    pub fn low(&self) -> u64 {
        lock(&self.shared).low
    }

    /// Calls `each` with the records from `from` up to, not including, `upto`, in order. Their checksums are verified
    /// once more.
    ///
    /// # Errors
    /// [`LogError::Gone`] below the low watermark; [`LogError::Refused`] beyond what is durable;
    /// [`LogError::Corrupt`]; [`LogError::Read`]. `each` has seen the records before the one that could not be read.
    pub fn read(&mut self, from: u64, upto: u64, mut each: impl FnMut(Record<'_>)) -> Result<(), LogError> {
        let mut next = from;
        while next < upto {
            let segment = self.segment(next, upto)?;
            next = self.read_segment(&segment, next, upto, &mut each)?;
        }
        Ok(())
    }

    /// How far records from `from` on go that together have about `bytes`: at least one record, at most up to `upto`.
    pub fn within(&self, from: u64, upto: u64, bytes: u64) -> u64 {
        let shared = lock(&self.shared);
        let first = shared.segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        let mut left = bytes;
        let mut end = from;
        for segment in &shared.segments[first..] {
            let start = if segment.base <= from { segment.index.before(from) } else { 0 };
            if let Some(cut) = segment.index.beyond(start + left) {
                end = cut;
                break;
            }
            left -= segment.size.saturating_sub(start).min(left);
            end = upto;
        }
        end.clamp((from + 1).min(upto), upto)
    }

    /// The one that holds record `next`.
    fn segment(&self, next: u64, upto: u64) -> Result<Segment, LogError> {
        let shared = lock(&self.shared);
        if next < shared.low {
            return Err(LogError::Gone { position: next, oldest: shared.low });
        }
        if upto > shared.durable {
            return Err(LogError::Refused(format!("{upto} is beyond what is durable, {}", shared.durable)));
        }
        let at = shared.segments.partition_point(|segment| segment.base <= next);
        let below = || LogError::Gone { position: next, oldest: shared.low };
        Ok(shared.segments[at.checked_sub(1).ok_or_else(below)?].clone())
    }

    /// Reads on from record `next` to the end of the segment or `upto`: gives where it stopped.
    fn read_segment(
        &mut self,
        segment: &Segment,
        mut next: u64,
        upto: u64,
        each: &mut impl FnMut(Record<'_>),
    ) -> Result<u64, LogError> {
        let mut at = segment.index.before(next);
        let mut wanted = WINDOW_BYTES;
        let start = next;
        while next < upto && at < segment.size {
            let size = wanted.min((segment.size - at) as usize);
            let mut window = std::mem::take(&mut self.window);
            window.resize(size, 0);
            self.file(segment)?.read_at(at, &mut window).map_err(LogError::Read)?;
            let mut used = 0;
            wanted = WINDOW_BYTES;
            while next < upto && used < size {
                let frame = match segment::decode(&window[used..], segment.seed) {
                    Ok(frame) => frame,
                    Err(Fault::Short(frame)) if at + (used + frame) as u64 <= segment.size => {
                        wanted = frame.max(WINDOW_BYTES).max(FRAME);
                        break;
                    }
                    Err(fault) => return Err(LogError::corrupt(&segment.path, at + used as u64, fault.what())),
                };
                if frame.kind == Kind::Record && frame.record.offset >= start {
                    if frame.record.offset != next {
                        let what = format!("offset {} instead of {next}", frame.record.offset);
                        return Err(LogError::corrupt(&segment.path, at + used as u64, what));
                    }
                    each(frame.record);
                    next += 1;
                }
                used += frame.size;
            }
            self.window = window;
            at += used as u64;
        }
        if next == start {
            let what = format!("record {start} is not where it should be");
            return Err(LogError::corrupt(&segment.path, at, what));
        }
        Ok(next)
    }

    fn file(&mut self, segment: &Segment) -> Result<&dyn VfsFile, LogError> {
        let open = match self.open.take() {
            Some(open) if open.0 == segment.base => open,
            _ => (segment.base, self.vfs.open(&self.place.path(segment.base)).map_err(LogError::Read)?),
        };
        Ok(&*self.open.insert(open).1)
    }
}
