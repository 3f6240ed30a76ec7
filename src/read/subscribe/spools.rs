//! Bounds the disk of unread snapshots: for each one, and for all by the free space. A reader that does not take its
//! snapshot is ended before a sender finds no space.

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All unread snapshots take at most this part of the free space. The rest is for the log.
const PART: u64 = 4;
/// When they come to hold this part of it, as the log grows, the largest are ended.
const SCARCE: u64 = 2;
/// A writer without room looks around so often.
const LOOK: Duration = Duration::from_millis(250);

/// The bounds of unread snapshots.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Unread bytes of one. Then the workers wait with the rest.
    pub each: u64,
    /// Unread bytes of all together, if there is much free space.
    pub all: u64,
    /// A reader that has taken nothing for so long is ended when others need the room.
    pub idle: Duration,
    /// Workers hold a snapshot for a reader so long, and as long again as its bytes take at `rate`. Then it is ended.
    pub patience: Duration,
    /// Bytes a second.
    pub rate: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            each: 256 << 20,
            all: 1 << 30,
            idle: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            rate: 1 << 20,
        }
    }
}

/// Why a snapshot does not come to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub code: &'static str,
    pub message: String,
}

/// The snapshots on their way.
#[derive(Debug)]
pub struct Spools {
    folder: PathBuf,
    bounds: Bounds,
    state: Mutex<State>,
    /// Rung when there may be room.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// On disk and unread.
    bytes: u64,
    spools: BTreeMap<u64, Spool>,
}

#[derive(Debug)]
struct Spool {
    file: Arc<File>,
    /// On disk and unread.
    bytes: u64,
    read: u64,
    began: Instant,
    /// When something was read last.
    taken: Instant,
    end: Option<Unfinished>,
}

/// The place of one snapshot, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    spools: Arc<Spools>,
    id: u64,
    pub file: Arc<File>,
}

impl Spools {
    /// Files are made in `folder`, and have no names.
    pub fn new(folder: &Path, bounds: Bounds) -> Arc<Spools> {
        let (state, room) = (Mutex::default(), Condvar::new());
        Arc::new(Spools { folder: folder.to_owned(), bounds, state, room })
    }

    /// # Errors
    /// If there can be no file.
    pub(super) fn begin(self: &Arc<Spools>) -> io::Result<Place> {
        let file = Arc::new(tempfile::tempfile_in(&self.folder)?);
        let now = Instant::now();
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        let spool = Spool { file: Arc::clone(&file), bytes: 0, read: 0, began: now, taken: now, end: None };
        state.spools.insert(id, spool);
        Ok(Place { spools: Arc::clone(self), id, file })
    }

    /// Returns the unread bytes of all.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Ends the largest snapshots as long as they hold too much of a disk that gets full.
    pub fn tidy(&self) {
        self.tidy_with(|| self.free());
    }

    /// `free` says how many bytes of the disk are free.
    fn tidy_with(&self, free: impl Fn() -> u64) {
        let mut state = self.lock();
        while state.bytes > 0 && state.bytes > (free() + state.bytes) / SCARCE {
            let largest = state.spools.iter().max_by_key(|(_, spool)| spool.bytes).map(|(id, _)| *id);
            let Some(largest) = largest else { break };
            state.end(largest, no_space());
        }
        drop(state);
        self.room.notify_all();
    }

    /// Ends all snapshots: a sender has found no space.
    pub fn clear(&self) {
        let mut state = self.lock();
        let ids: Vec<u64> = state.spools.keys().copied().collect();
        ids.into_iter().for_each(|id| state.end(id, no_space()));
        drop(state);
        self.room.notify_all();
    }

    /// Returns the free bytes of the disk.
    fn free(&self) -> u64 {
        // Unknown is as good as none: the reader hears of it.
        statvfs(&self.folder).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for room for `bytes` more.
    ///
    /// # Errors
    /// If the reader has gone or has been too slow, or there is no space.
    pub fn room(&self, bytes: u64) -> Result<(), Unfinished> {
        let Spools { bounds, room, .. } = &*self.spools;
        let mut state = self.spools.lock();
        loop {
            let now = Instant::now();
            let all = state.bytes;
            let limit = bounds.all.min((self.spools.free() + all) / PART);
            let spool = state.spool(self.id)?;
            let (fits, fits_all) = (spool.bytes + bytes <= bounds.each, all + bytes <= limit);
            if fits && fits_all {
                spool.bytes += bytes;
                state.bytes += bytes;
                return Ok(());
            }
            let patience = bounds.patience + Duration::from_secs(spool.read / bounds.rate.max(1));
            if now.saturating_duration_since(spool.began) >= patience {
                let end = if spool.bytes > 0 { too_slow() } else { no_space() };
                state.end(self.id, end);
            } else if let Some(idle) = (!fits_all).then(|| state.idle(now, bounds.idle)).flatten() {
                state.end(idle, too_slow());
            } else {
                state = room.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Gives the space of what has been read back, which is everything below `upto`.
    ///
    /// # Errors
    /// If the snapshot has been ended: what was read is void.
    pub fn has_read(&self, upto: u64) -> Result<(), Unfinished> {
        let holes = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // A file system that cannot do it keeps the bytes until the end, and they count until then.
        let given_back = fallocate(&self.file, holes, 0, upto).is_ok();
        let mut state = self.spools.lock();
        let spool = state.spool(self.id)?;
        let bytes = upto.saturating_sub(spool.read);
        (spool.read, spool.taken) = (upto, Instant::now());
        if given_back {
            spool.bytes = spool.bytes.saturating_sub(bytes);
            state.bytes = state.bytes.saturating_sub(bytes);
        }
        drop(state);
        self.spools.room.notify_all();
        Ok(())
    }

    /// # Errors
    /// If the snapshot has been ended.
    pub fn holds(&self) -> Result<(), Unfinished> {
        self.spools.lock().spool(self.id).map(|_| ())
    }

    /// Gives up the place: the writer finds out.
    pub fn leave(&self) {
        let mut state = self.spools.lock();
        state.end(self.id, too_slow());
        state.spools.remove(&self.id);
        drop(state);
        self.spools.room.notify_all();
    }
}

impl State {
    fn spool(&mut self, id: u64) -> Result<&mut Spool, Unfinished> {
        let gone = || Unfinished { code: "internal", message: "the reader has gone".into() };
        let spool = self.spools.get_mut(&id).ok_or_else(gone)?;
        spool.end.clone().map_or(Ok(spool), Err)
    }

    /// Returns the one that has been left for longest, if that is long.
    fn idle(&self, now: Instant, patience: Duration) -> Option<u64> {
        let idle = |spool: &Spool| spool.bytes > 0 && now.saturating_duration_since(spool.taken) >= patience;
        let left = self.spools.iter().filter(|(_, spool)| idle(spool));
        left.min_by_key(|(_, spool)| spool.taken).map(|(id, _)| *id)
    }

    /// Ends a snapshot and frees its space at once; its reader gets an error when it asks for more.
    fn end(&mut self, id: u64, why: Unfinished) {
        let Some(spool) = self.spools.get_mut(&id) else { return };
        self.bytes -= spool.bytes;
        spool.bytes = 0;
        spool.end.get_or_insert(why);
        // If it cannot be cut, its space is free when both ends have let go of it.
        let _ = spool.file.set_len(0);
    }
}

fn too_slow() -> Unfinished {
    let message = "the snapshot was taken too slowly, and its room was needed: begin again".into();
    Unfinished { code: "timeout", message }
}

fn no_space() -> Unfinished {
    Unfinished { code: "busy", message: "there is no space for the snapshot now: begin again later".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    const KIB: u64 = 1 << 10;
    const HOUR: Duration = Duration::from_secs(3600);

    /// Snapshots of which these numbers of bytes are unread, as they are on disk.
    fn unread(bytes: &[u64]) -> (tempfile::TempDir, Arc<Spools>, Vec<Place>) {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds { each: u64::MAX, all: u64::MAX / 4, idle: HOUR, patience: HOUR, rate: 1 };
        let spools = Spools::new(folder.path(), bounds);
        let spool = bytes.iter().map(|bytes| {
            let place = spools.begin().unwrap();
            place.room(*bytes).unwrap();
            place.file.write_all_at(&vec![1; *bytes as usize], 0).unwrap();
            place
        });
        let spool = spool.collect();
        (folder, spools, spool)
    }

    fn on_disk(places: &[Place]) -> u64 {
        places.iter().map(|place| place.file.metadata().unwrap().len()).sum()
    }

    fn codes(places: &[Place]) -> Vec<&'static str> {
        places.iter().map(|place| place.holds().map_or_else(|end| end.code, |()| "holds")).collect()
    }

    /// A disk of 2 MiB, of which the log has taken all but what is unread and `left`.
    #[test]
    fn as_a_disk_gets_full_the_largest_end_until_the_others_hold_half_of_what_is_free() {
        let sizes = [300 * KIB, 100 * KIB, 200 * KIB, 50 * KIB];
        let cases = [
            (650, ["holds", "holds", "holds", "holds"]),
            (649, ["busy", "holds", "holds", "holds"]),
            (50, ["busy", "holds", "holds", "holds"]),
            (49, ["busy", "holds", "busy", "holds"]),
            (0, ["busy", "holds", "busy", "holds"]),
        ];
        for (left, expected) in cases {
            let (_folder, spools, places) = unread(&sizes);
            let all: u64 = sizes.iter().sum();
            assert_eq!((spools.bytes(), on_disk(&places)), (all, all));
            // What has ended is free at once, although both ends still have the file open.
            spools.tidy_with(|| left * KIB + all - on_disk(&places));
            assert_eq!(codes(&places), expected, "{left} KiB");
            let kept = sizes.iter().zip(expected).filter(|(_, code)| *code == "holds").map(|(size, _)| size).sum();
            assert_eq!((spools.bytes(), on_disk(&places)), (kept, kept), "{left} KiB");
        }
    }

    #[test]
    fn without_any_space_all_end_and_their_writers_and_readers_hear_of_it() {
        // What was given back cannot be counted on: the log takes it.
        let (_folder, spools, places) = unread(&[KIB, KIB, 64 * KIB]);
        let taken = Mutex::new(0);
        spools.tidy_with(|| {
            let free = (66 * KIB).saturating_sub(on_disk(&places) + *taken.lock().unwrap());
            *taken.lock().unwrap() += free;
            0
        });
        assert_eq!(codes(&places), ["busy"; 3]);
        assert_eq!((spools.bytes(), on_disk(&places)), (0, 0));
        assert_eq!(places[0].room(1).unwrap_err().code, "busy");
        assert_eq!(places[2].has_read(KIB).unwrap_err().code, "busy");
        // The next one finds room when there is some.
        let next = spools.begin().unwrap();
        assert_eq!((next.room(KIB), next.holds()), (Ok(()), Ok(())));
        spools.tidy_with(|| u64::MAX / 4);
        assert_eq!(next.holds(), Ok(()));
    }

    #[test]
    fn what_is_read_is_given_back_and_costs_no_other_snapshot() {
        let (_folder, spools, places) = unread(&[400 * KIB, 300 * KIB]);
        places[0].has_read(396 * KIB).unwrap();
        assert_eq!(spools.bytes(), 304 * KIB);
        // A file system may keep a little more than is asked of it.
        let allocated: u64 = places.iter().map(|place| place.file.metadata().unwrap().blocks() * 512).sum();
        assert!(allocated <= 368 * KIB, "{allocated}");
        spools.tidy_with(|| 10 * KIB);
        assert_eq!(codes(&places), ["holds", "busy"], "the largest by what is unread");
        places.iter().for_each(Place::leave);
        assert_eq!(spools.bytes(), 0);
    }

    #[test]
    fn nothing_unread_is_nothing_to_end() {
        let (_folder, spools, places) = unread(&[]);
        spools.tidy_with(|| 0);
        let one = spools.begin().unwrap();
        spools.tidy_with(|| 0);
        spools.tidy();
        assert_eq!((places.len(), spools.bytes(), one.holds()), (0, 0, Ok(())));
    }
}
