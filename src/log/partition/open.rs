//! Opening a partition: what a crash has left becomes a partition again, or an error that names file and place.
//!
//! 1. Files without a header hold nothing: creating them was cut short. They are removed.
//! 2. Every segment but the last has to be whole and end where the next one begins.
//! 3. The last one may end in a torn write, which is cut off; what a mark says was durable cannot be torn.
//! 4. The last one and the folder are synced before anything that was read is acted upon: the process may have been
//!    killed between a write and its sync, and what it left is visible, not durable.
//! 5. Only then are the segments below the low watermark removed.

use super::{Active, Context, Partition, Place, Segment, Shared, create};
use crate::log::error::LogError;
use crate::log::segment::{self, HEADER, Header, Scan};
use crate::log::vfs::{Role, SyncStep, VfsFile, read_all};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

impl Partition {
    /// Opens the partition at `place`, or creates it. Reads and checks all of it.
    ///
    /// # Errors
    /// [`LogError::Corrupt`]; [`LogError::Foreign`] if it belongs to another log or to a later generation;
    /// [`LogError::Full`]; [`LogError::Read`]; [`LogError::Poisoned`].
    pub fn open(context: Context, place: Place) -> Result<Partition, LogError> {
        context.poison.check()?;
        let mut found = find(&context, &place)?;
        let Some(last) = found.pop() else {
            let (active, segment) = create(&context, &place, place.start, place.start)?;
            let shared = Shared { segments: vec![segment], durable: place.start, low: place.start };
            let shared = Arc::new(Mutex::new(shared));
            return Ok(Partition { next: place.start, context, place, active, shared });
        };
        let Last { active, segment, low, next, intact } = open_last(last)?;
        let (garbage, mut segments) = check_chain(&place, found, &segment, low)?;

        // Everything above only looked, but for the removal of files without a header.
        let active = restore(&context, &place, active, intact)?;
        // The output log has synced the folder that its sets share.
        if place.role != Role::Output {
            sync_entries(&context, &place)?;
        }
        segments.push(Segment { size: active.size, ..segment });
        let shared = Arc::new(Mutex::new(Shared { segments, durable: next, low }));
        let mut partition = Partition { context, place, active, next, shared };
        partition.remove(&garbage)?;
        partition.mark()?;
        Ok(partition)
    }
}

/// A file with a header that is right.
struct Found {
    path: PathBuf,
    header: Header,
    file: Box<dyn VfsFile>,
}

/// The segments that have a header, in order.
fn find(context: &Context, place: &Place) -> Result<Vec<Found>, LogError> {
    let (mut found, mut empty) = (Vec::new(), Vec::new());
    for name in context.vfs.list(&place.dir).map_err(LogError::Read)? {
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
            Ok(header) => found.push(Found { path, header, file }),
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

fn open_last(last: Found) -> Result<Last, LogError> {
    let Found { path, header, file } = last;
    let bytes = read_all(&*file).map_err(LogError::Read)?;
    let Scan { end, next, low, durable, received_ms, index, fault } = segment::scan(&bytes, &header);
    if let Some(fault) = fault {
        let torn = !matches!(fault, segment::Fault::Content(_)) && !segment::was_durable(&bytes, end, &header);
        if !torn {
            return Err(LogError::corrupt(&path, end, fault.what()));
        }
    }
    let seed = header.seed();
    let active = Active { file, base: header.base, seed, size: end, floor: durable, buffer: Vec::new() };
    let segment = Segment { path, base: header.base, seed, size: end, received_ms, index };
    Ok(Last { active, segment, low, next, intact: bytes[durable as usize..end as usize].to_vec() })
}

/// Checks the segments before the last one: gives the paths of those below `low`, and the others.
fn check_chain(
    place: &Place,
    found: Vec<Found>,
    last: &Segment,
    low: u64,
) -> Result<(Vec<PathBuf>, Vec<Segment>), LogError> {
    let ends: Vec<u64> = found.iter().skip(1).map(|found| found.header.base).chain([last.base]).collect();
    let (mut garbage, mut segments) = (Vec::new(), Vec::new());
    for (Found { path, header, file }, end) in found.into_iter().zip(ends) {
        // They may be there in part, as their removal was cut short.
        if end <= low {
            garbage.push(path);
            continue;
        }
        let bytes = read_all(&*file).map_err(LogError::Read)?;
        let scan = segment::scan(&bytes, &header);
        if let Some(fault) = scan.fault {
            return Err(LogError::corrupt(&path, scan.end, fault.what()));
        }
        if scan.next != end {
            let what = format!("it ends before offset {}, the next segment begins with {end}", scan.next);
            return Err(LogError::corrupt(&path, scan.end, what));
        }
        let (base, seed, received_ms) = (header.base, header.seed(), scan.received_ms);
        segments.push(Segment { path, base, seed, size: scan.end, received_ms, index: scan.index });
    }
    let first = segments.first().map_or(last.base, |segment| segment.base);
    if first > low.max(place.start) {
        let path = segments.first().map_or(&last.path, |segment| &segment.path);
        let what = format!("the segments from offset {} to {first} are missing", low.max(place.start));
        return Err(LogError::corrupt(path, 0, what));
    }
    Ok((garbage, segments))
}

/// Cuts off the torn write and makes the rest durable. It is written once more, as a sync that failed in the process
/// before may have left pages that are marked clean and are not on disk: another sync alone would skip them.
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
