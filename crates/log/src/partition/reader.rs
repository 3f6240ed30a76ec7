//! Reading a partition while it is written.

use super::{Context, Place, Segment, Shared, lock};
use crate::error::LogError;
use crate::segment::{self, FRAME, Fault, Frame, HEADER, Header, Kind, Record, SparseIndex};
use crate::vfs::{Vfs, VfsFile};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The bytes of one read, unless a record is larger.
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
    /// Another process writes the partition: where to look for what is new.
    other: Option<Context>,
    /// Where reading ended: the next record, the segment's base, and the byte behind the last frame.
    ended: Option<(u64, u64, u64)>,
}

/// A segment, as far as reading needs it.
struct Found {
    path: PathBuf,
    base: u64,
    seed: u32,
    /// Bytes that are durable.
    size: u64,
    /// Where to begin.
    start: u64,
    /// Its index knows all of it.
    complete: bool,
}

impl Clone for Reader {
    fn clone(&self) -> Reader {
        Reader { other: self.other.clone(), ..Reader::new(self.vfs.clone(), self.place.clone(), self.shared.clone()) }
    }
}

impl Reader {
    pub(super) fn new(vfs: Arc<dyn Vfs>, place: Place, shared: Arc<Mutex<Shared>>) -> Reader {
        Reader { vfs, place, shared, window: Vec::new(), open: None, other: None, ended: None }
    }

    /// Returns the reading end of a partition that another process writes, which says what is durable: see
    /// [`Reader::read`]. Changes nothing.
    pub(crate) fn of_other(context: Context, place: Place) -> Reader {
        let shared = Shared { segments: Vec::new(), durable: place.start, low: 0 };
        let reader = Reader::new(context.vfs.clone(), place, Arc::new(Mutex::new(shared)));
        Reader { other: Some(context), ..reader }
    }

    /// Returns the folder of its files.
    pub(crate) fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Records below this offset can be read.
    pub fn durable(&self) -> u64 {
        lock(&self.shared).durable
    }

    /// Records below this offset cannot be read any more.
    pub fn low(&self) -> u64 {
        lock(&self.shared).low
    }

    /// Returns the bytes of the files that hold the records from `from` on.
    pub fn bytes_from(&self, from: u64) -> u64 {
        let shared = lock(&self.shared);
        let first = shared.segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        shared.segments[first..].iter().map(|segment| segment.size).sum()
    }

    /// Calls `each` with the records from `from` up to, not including, `upto`, in order. Their checksums are verified
    /// again. If another process writes the partition, the records before `upto` have to be durable.
    ///
    /// # Errors
    /// [`LogError::Gone`] below the low watermark; [`LogError::Refused`] beyond what is durable;
    /// [`LogError::Corrupt`]; [`LogError::Read`]. `each` has seen the records before the one that could not be read.
    pub fn read(&mut self, from: u64, upto: u64, mut each: impl FnMut(Record<'_>)) -> Result<(), LogError> {
        if let Some(context) = self.other.as_ref().filter(|_| upto > self.durable()) {
            look(context, &self.place, &mut lock(&self.shared), upto)?;
        }
        let mut next = from;
        while next < upto {
            let mut segment = self.find(next, upto)?;
            // Who reads on, as most do, need not skip what lies between the index and there.
            if let Some((_, _, end)) = self.ended.filter(|(record, base, _)| (*record, *base) == (next, segment.base)) {
                segment.start = segment.start.max(end);
            }
            next = self.read_segment(&segment, next, upto, &mut each)?;
        }
        Ok(())
    }

    /// Returns the end of the records from `from` on that together have about `bytes`: at least one record, at most up
    /// to `upto`.
    pub fn within(&self, from: u64, upto: u64, bytes: u64) -> u64 {
        let (mut end, mut left) = (from, bytes);
        while end < upto {
            if let Ok(Found { complete: false, base, .. }) = self.find(end, upto) {
                // If it cannot be read, the next read reports why.
                let whole = self.find(base.max(self.low()), upto);
                let _ = whole.and_then(|segment| self.clone().walk(&segment, &mut |_, _| Ok(true)));
            }
            let shared = lock(&self.shared);
            let after = shared.segments.partition_point(|segment| segment.base <= end);
            let Some(segment) = after.checked_sub(1).map(|at| &shared.segments[at]) else { break };
            let start = segment.index.before(end);
            if let Some(cut) = segment.index.beyond(start + left) {
                end = cut;
                break;
            }
            left -= segment.size.saturating_sub(start).min(left);
            end = shared.segments.get(after).map_or(upto, |next| next.base);
        }
        end.clamp((from + 1).min(upto), upto)
    }

    /// Returns the segment that holds record `next`.
    fn find(&self, next: u64, upto: u64) -> Result<Found, LogError> {
        let shared = lock(&self.shared);
        if next < shared.low {
            return Err(LogError::Gone { position: next, oldest: shared.low });
        }
        if upto > shared.durable {
            return Err(LogError::Refused(format!("{upto} is beyond what is durable, {}", shared.durable)));
        }
        let at = shared.segments.partition_point(|segment| segment.base <= next);
        let below = || LogError::Gone { position: next, oldest: shared.low };
        let Segment { path, base, seed, size, index, .. } = &shared.segments[at.checked_sub(1).ok_or_else(below)?];
        let (start, complete) = (index.before(next), index.is_complete());
        Ok(Found { path: path.clone(), base: *base, seed: *seed, size: *size, start, complete })
    }

    /// Reads on from record `next` to the end of the segment or `upto`: gives where it stopped.
    fn read_segment(
        &mut self,
        segment: &Found,
        mut next: u64,
        upto: u64,
        each: &mut impl FnMut(Record<'_>),
    ) -> Result<u64, LogError> {
        let (start, mut end) = (next, segment.start);
        self.walk(segment, &mut |at, frame| {
            if frame.kind == Kind::Record && frame.record.offset >= start {
                if frame.record.offset != next {
                    let what = format!("offset {} instead of {next}", frame.record.offset);
                    return Err(LogError::corrupt(&segment.path, at, what));
                }
                each(frame.record);
                next += 1;
                end = at + frame.size as u64;
            }
            Ok(next < upto)
        })?;
        if next == start {
            let what = format!("record {start} is not where it should be");
            return Err(LogError::corrupt(&segment.path, segment.size, what));
        }
        self.ended = Some((next, segment.base, end));
        Ok(next)
    }

    /// Calls `each` with the frames of a segment and the bytes that they begin at, until it has had enough. What the
    /// index does not know yet is noted on the way.
    fn walk(
        &mut self,
        segment: &Found,
        each: &mut impl FnMut(u64, &Frame<'_>) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        let (mut at, mut wanted, mut more) = (segment.start, WINDOW_BYTES, true);
        let mut noted = SparseIndex::default();
        while more && at < segment.size {
            let size = wanted.min((segment.size - at) as usize);
            let mut window = std::mem::take(&mut self.window);
            window.resize(size, 0);
            self.file(segment)?.read_at(at, &mut window).map_err(LogError::Read)?;
            let mut used = 0;
            wanted = WINDOW_BYTES;
            while more && used < size {
                let place = at + used as u64;
                let frame = match segment::decode(&window[used..], segment.seed) {
                    Ok(frame) => frame,
                    Err(Fault::Short(frame)) if place + frame as u64 <= segment.size => {
                        wanted = frame.max(WINDOW_BYTES).max(FRAME);
                        break;
                    }
                    Err(fault) => return Err(LogError::corrupt(&segment.path, place, fault.what())),
                };
                if frame.kind == Kind::Record && !segment.complete {
                    noted.note(frame.record.offset, place);
                }
                more = each(place, &frame)?;
                used += frame.size;
            }
            self.window = window;
            at += used as u64;
        }
        if !segment.complete {
            if at >= segment.size {
                noted.extend(&SparseIndex::complete());
            }
            let mut shared = lock(&self.shared);
            let known = shared.segments.iter_mut().find(|known| known.base == segment.base);
            known.into_iter().for_each(|known| known.index.extend(&noted));
        }
        Ok(())
    }

    fn file(&mut self, segment: &Found) -> Result<&dyn VfsFile, LogError> {
        let open = match self.open.take() {
            Some(open) if open.0 == segment.base => open,
            _ => (segment.base, self.vfs.open(&self.place.path(segment.base)).map_err(LogError::Read)?),
        };
        Ok(&*self.open.insert(open).1)
    }
}

/// Looks at the files of a partition that another process writes, in which the records before `durable` are durable. What
/// is behind them may be half written, and is not read.
fn look(context: &Context, place: &Place, shared: &mut Shared, durable: u64) -> Result<(), LogError> {
    let size = |path: &Path| {
        let file = context.vfs.open(path).map_err(LogError::Read)?;
        let size = file.size().map_err(LogError::Read)?;
        Ok::<_, LogError>((file, size))
    };
    let names = context.vfs.list(&place.dir).map_err(LogError::Read)?;
    // Behind the list: a segment that another one follows does not grow any more.
    if let Some(last) = shared.segments.last_mut() {
        last.size = size(&last.path)?.1;
    }
    let known = shared.segments.last().map(|last| last.base);
    for name in names {
        let base = name.strip_prefix(&place.prefix).and_then(|name| name.strip_suffix(".seg"));
        let Some(base) = base.filter(|base| base.len() == 20).and_then(|base| base.parse().ok()) else { continue };
        if known.is_some_and(|known| base <= known) || base >= durable {
            continue;
        }
        let path = place.path(base);
        let (file, size) = size(&path)?;
        let mut bytes = vec![0; HEADER.min(size as usize)];
        file.read_at(0, &mut bytes).map_err(LogError::Read)?;
        let header = Header::decode(&bytes, place.role, place.part).and_then(|header| {
            let ours = header.id == context.id && header.epoch <= context.epoch && header.base == base;
            if ours { Ok(header) } else { Err("this is a segment of another log".into()) }
        });
        let header = header.map_err(|what| LogError::corrupt(&path, 0, what))?;
        let (seed, index) = (header.seed(), SparseIndex::default());
        shared.segments.push(Segment { path, base, seed, size, received_ms: i64::MIN, index });
    }
    shared.durable = durable;
    Ok(())
}
