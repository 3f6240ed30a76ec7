//! Opens a partition: turns the files that a crash has left into a partition again, or into an error that names file
//! and place.
//!
//! 1. Files without a header hold nothing: creating them was cut short. They are removed.
//! 2. Every segment but the last has to end where the next one begins: its seal says so. A reader verifies the bytes
//!    before the seal. A segment without a seal is read as a whole.
//! 3. The last one is read as a whole. It may end in a torn write, which is cut off. Bytes that a mark covers were
//!    durable and cannot be torn.
//! 4. The last one and the folder are synced before any caller acts on what was read. The process may have been killed
//!    between a write and its sync, so the bytes may be visible and not durable.
//! 5. Only then are the segments below the low watermark removed.

use super::{Active, Context, Partition, Place, Segment, Shared, create};
use crate::error::LogError;
use crate::segment::{self, HEADER, Header, SEAL, Scan, Seal, SparseIndex};
use crate::vfs::{Role, SyncStep, VfsFile, read_all};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

impl Partition {
    /// Opens the partition at `place`, or creates it. Reads the last segment; of the others it is made sure that they
    /// are there to their ends.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]; [`LogError::Foreign`] if it belongs to another log or to a later generation;
    /// [`LogError::Full`]; [`LogError::Read`]; [`LogError::Poisoned`].
    pub fn open(context: Context, place: Place) -> Result<Partition, LogError> {
        let names = context.vfs.list(&place.dir).map_err(LogError::Read)?;
        let mut partition = Partition::recover(context, place, &names)?;
        if partition.active.size > HEADER as u64 {
            partition.mark()?;
        }
        Ok(partition)
    }

    /// Opens as [`Partition::open`] does, with the sorted names of the files that may belong to the partition.
    /// Everything in them is durable then, to the last byte.
    pub(crate) fn recover(context: Context, place: Place, names: &[String]) -> Result<Partition, LogError> {
        context.poison.check()?;
        let found = find(&context, &place, names)?;
        Partition::of_segments(context, place, found)
    }

    /// Returns the partition of these segments.
    pub(super) fn of_segments(context: Context, place: Place, mut found: Vec<Found>) -> Result<Partition, LogError> {
        let Some(last) = found.pop() else {
            let (active, segment) = create(&context, &place, place.start, place.start)?;
            let shared = Shared { segments: vec![segment], durable: place.start, low: place.start };
            let shared = Arc::new(Mutex::new(shared));
            let next = place.start;
            return Ok(Partition { context, place, active, next, kept: next, shared });
        };
        let Last { active, segment, low, next, intact } = open_last(&context, last)?;
        let (garbage, mut segments) = check_chain(&context, &place, found, &segment, low)?;

        // Everything above only looked, but for the removal of files without a header.
        let active = restore(&context, &place, active, intact)?;
        // The output log syncs the folder that its sets share when it begins another one, before it removes any.
        if place.role != Role::Output {
            sync_entries(&context, &place)?;
        }
        segments.push(Segment { size: active.size, ..segment });
        let shared = Arc::new(Mutex::new(Shared { segments, durable: next, low }));
        context.remove(&garbage)?;
        Ok(Partition { context, place, active, next, kept: next, shared })
    }
}

/// A file with a header that is right.
pub(super) struct Found {
    pub path: PathBuf,
    pub header: Header,
    /// Bytes.
    pub size: u64,
}

impl Found {
    /// Returns the seal that it ends with, if there is one.
    pub fn seal(&self, file: &dyn VfsFile) -> Result<Option<Seal>, LogError> {
        let Some(at) = self.size.checked_sub((HEADER + SEAL) as u64) else { return Ok(None) };
        let mut bytes = [0; SEAL];
        file.read_at(at + HEADER as u64, &mut bytes).map_err(LogError::Read)?;
        Ok(Seal::decode(&bytes, &self.header, self.size))
    }
}

/// Returns the segments among the files of these names that have a header, in order. Holds none of them open: there may
/// be many.
pub(super) fn find(context: &Context, place: &Place, names: &[String]) -> Result<Vec<Found>, LogError> {
    let (mut found, mut empty) = (Vec::new(), Vec::new());
    for name in names {
        let base = name.strip_prefix(&place.prefix).and_then(|name| name.strip_suffix(".seg"));
        let Some(base) = base.filter(|base| base.len() == 20).and_then(|base| base.parse().ok()) else { continue };
        let path = place.path(base);
        let file = context.vfs.open(&path).map_err(LogError::Read)?;
        let size = file.size().map_err(LogError::Read)?;
        let mut bytes = vec![0; HEADER.min(size as usize)];
        file.read_at(0, &mut bytes).map_err(LogError::Read)?;
        match Header::decode(&bytes, place.role, place.part) {
            // Records are only written behind a durable header, so there has never been one here.
            Err(what) if size <= HEADER as u64 => empty.push((base, path, what)),
            Err(what) => return Err(LogError::corrupt(&path, 0, what)),
            Ok(header) if header.base != base => {
                return Err(LogError::corrupt(&path, 40, format!("the first offset is {}", header.base)));
            }
            Ok(header) if header.id != context.id || header.epoch > context.epoch => {
                let name = |id: [u8; 16], epoch| format!("log {:032x}, epoch {epoch}", u128::from_be_bytes(id));
                let (ours, theirs) = (name(context.id.0, context.epoch), name(header.id.0, header.epoch));
                return Err(LogError::Foreign { dir: place.dir.clone(), ours, theirs });
            }
            Ok(header) => found.push(Found { path, header, size }),
        }
    }
    for (base, path, what) in empty {
        // Where earlier segments were removed, there was a durable header.
        if found.is_empty() && base != place.start {
            return Err(LogError::corrupt(&path, 0, what));
        }
        context.vfs.remove(&path).map_err(|error| context.poison.set(error))?;
    }
    // The names are sorted and have equal length.
    Ok(found)
}

struct Last {
    active: Active,
    segment: Segment,
    low: u64,
    next: u64,
    /// The bytes that are not known to be durable, up to the torn write.
    intact: Vec<u8>,
}

fn open_last(context: &Context, last: Found) -> Result<Last, LogError> {
    let Found { path, header, .. } = last;
    let file = context.vfs.open(&path).map_err(LogError::Read)?;
    let bytes = read_all(&*file).map_err(LogError::Read)?;
    let Scan { end, next, low, durable, received_ms, index, fault } = segment::scan(&bytes, &header);
    if let Some(fault) = fault {
        let torn = !matches!(fault, segment::Fault::Content(_)) && !segment::was_durable(&bytes, end, &header);
        if !torn {
            return Err(LogError::corrupt(&path, end, fault.what()));
        }
    }
    let seed = header.seed();
    let active =
        Active { file, base: header.base, seed, size: end, floor: durable, sealed: 0, buffer: Vec::new(), kept: 0 };
    let segment = Segment { path, base: header.base, seed, size: end, received_ms, index };
    Ok(Last { active, segment, low, next, intact: bytes[durable as usize..end as usize].to_vec() })
}

/// Checks the segments before the last one: gives the paths of those below `low`, and the others.
pub(super) fn check_chain(
    context: &Context,
    place: &Place,
    found: Vec<Found>,
    last: &Segment,
    low: u64,
) -> Result<(Vec<PathBuf>, Vec<Segment>), LogError> {
    let ends: Vec<u64> = found.iter().skip(1).map(|found| found.header.base).chain([last.base]).collect();
    let (mut garbage, mut segments) = (Vec::new(), Vec::new());
    for (found, end) in found.into_iter().zip(ends) {
        // They may be there in part, as their removal was cut short.
        match end <= low {
            true => garbage.push(found.path),
            false => segments.push(full(context, found, end)?),
        }
    }
    let first = segments.first().map_or(last.base, |segment| segment.base);
    if first > low.max(place.start) {
        let path = segments.first().map_or(&last.path, |segment| &segment.path);
        let what = format!("the segments from offset {} to {first} are missing", low.max(place.start));
        return Err(LogError::corrupt(path, 0, what));
    }
    Ok((garbage, segments))
}

/// Returns a segment that another one follows, which begins with record `end`.
fn full(context: &Context, found: Found, end: u64) -> Result<Segment, LogError> {
    let file = context.vfs.open(&found.path).map_err(LogError::Read)?;
    let seal = found.seal(&*file)?.filter(|seal| seal.next == end);
    let Found { path, header, size } = found;
    let (base, seed) = (header.base, header.seed());
    if let Some(Seal { received_ms, .. }) = seal {
        return Ok(Segment { path, base, seed, size, received_ms, index: SparseIndex::default() });
    }
    // It was written before there were seals, or is damaged.
    let bytes = read_all(&*file).map_err(LogError::Read)?;
    let Scan { next, end: size, received_ms, index, fault, .. } = segment::scan(&bytes, &header);
    if let Some(fault) = fault {
        return Err(LogError::corrupt(&path, size, fault.what()));
    }
    if next != end {
        let what = format!("it ends before offset {next}, the next segment begins with {end}");
        return Err(LogError::corrupt(&path, size, what));
    }
    Ok(Segment { path, base, seed, size, received_ms, index })
}

/// Cuts off the torn write and makes the rest durable. The rest is written again: a failed sync of the process before
/// may have left pages that are marked clean and are not on disk. Another sync alone would skip them.
fn restore(context: &Context, place: &Place, mut active: Active, intact: Vec<u8>) -> Result<Active, LogError> {
    let poison = |error| context.poison.set(error);
    active.file.truncate(active.size).map_err(poison)?;
    if !intact.is_empty() {
        active.file.write_at(active.floor, &intact).map_err(poison)?;
    }
    active.file.sync(place.site(SyncStep::Reopen)).map_err(poison)?;
    active.floor = active.size;
    Ok(active)
}

fn sync_entries(context: &Context, place: &Place) -> Result<(), LogError> {
    let synced = context.vfs.sync_dir(&place.dir, place.site(SyncStep::ReopenEntries));
    synced.map_err(|error| context.poison.set(error))
}
