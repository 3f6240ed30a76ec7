//! Opening reads only the last segments. It still finds that all later bytes are there. Readers find the bytes that
//! have changed.

use super::*;
use crate::partition::Reader;
use crate::segment::SEAL;
use crate::vfs::model::{Crash, Rng};
use crate::vfs::{LockGuard, SyncSite, VfsError, VfsFile};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const ROOT: &str = "log";

/// A file system, and what is asked of it.
#[derive(Clone, Debug)]
struct Watched {
    fs: ModelFs,
    read: Arc<AtomicU64>,
    open: Arc<AtomicI64>,
}

#[derive(Debug)]
struct WatchedFile {
    file: Box<dyn VfsFile>,
    watch: Watched,
}

impl Watched {
    fn file(&self, file: Box<dyn VfsFile>) -> Box<dyn VfsFile> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Box::new(WatchedFile { file, watch: self.clone() })
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.watch.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl VfsFile for WatchedFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), VfsError> {
        self.file.append(bytes)
    }
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<(), VfsError> {
        self.file.write_at(at, bytes)
    }
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), VfsError> {
        self.watch.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_at(at, buffer)
    }
    fn size(&self) -> Result<u64, VfsError> {
        self.file.size()
    }
    fn truncate(&mut self, size: u64) -> Result<(), VfsError> {
        self.file.truncate(size)
    }
    fn sync(&mut self, site: SyncSite) -> Result<(), VfsError> {
        self.file.sync(site)
    }
}

impl Vfs for Watched {
    fn create_dir(&self, path: &Path) -> Result<(), VfsError> {
        self.fs.create_dir(path)
    }
    fn create(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        Ok(self.file(self.fs.create(path)?))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        Ok(self.file(self.fs.open(path)?))
    }
    fn list(&self, dir: &Path) -> Result<Vec<String>, VfsError> {
        self.fs.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        self.fs.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<(), VfsError> {
        self.fs.link(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), VfsError> {
        self.fs.remove(path)
    }
    fn sync_dir(&self, dir: &Path, site: SyncSite) -> Result<(), VfsError> {
        self.fs.sync_dir(dir, site)
    }
    fn lock(&self, path: &Path) -> Result<Option<LockGuard>, VfsError> {
        self.fs.lock(path)
    }
}

fn block(tick: u64, worker: u64) -> Block {
    let mut block = Block::new(tick, tick as i64 * 10);
    block.add("sessions", vec![(format!("{tick} {worker} {}", "x".repeat(200)).into_bytes(), 1)]).unwrap();
    block
}

/// Ticks of two records in part 0, each published.
fn write(log: &mut Log, ticks: u64) {
    for _ in 0..ticks {
        let tick = log.remap.next();
        for number in 0..2 {
            let payload = format!("{tick}.{number} {}", "y".repeat(90));
            log.queue[0].append(tick as i64, payload.as_bytes()).unwrap();
        }
        log.mint(tick as i64 * 10, &Uppers::new()).unwrap();
        for worker in 0..2 {
            log.outputs.append(worker, &block(tick, worker as u64), None).unwrap();
            log.outputs.sync(worker).unwrap();
        }
    }
}

/// Reads all of it: the queue's records and the outputs' ticks.
fn read(log: &Log) -> Result<(usize, u64), LogError> {
    let (mut reader, mut records) = (log.queue[0].reader(), 0);
    let (low, durable) = (reader.low(), reader.durable());
    reader.read(low, durable, |_| records += 1)?;
    let outputs = &log.outputs;
    for tick in outputs.oldest()..outputs.upper() {
        assert_eq!(outputs.read(tick)?, [block(tick, 0), block(tick, 1)]);
    }
    Ok((records, outputs.upper() - outputs.oldest()))
}

/// The segments in a folder of the log with their bytes, in order.
fn segments(fs: &ModelFs, dir: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let own = |(path, _): &(PathBuf, Vec<u8>)| path.parent() == Some(&Path::new(ROOT).join(dir));
    fs.files().into_iter().filter(own).collect()
}

/// Makes a folder in which some starts have written `ticks` ticks each.
fn written(starts: u64, ticks: u64) -> ModelFs {
    let fs = ModelFs::new(1);
    for start in 0..starts {
        write(&mut open(fs.clone(), Path::new(ROOT), 1 + start).unwrap(), ticks);
    }
    fs.crash(Crash::PowerKept);
    fs
}

/// The same with a file that is cut to `size` bytes, or gone, and what comes of reading it as a further start.
fn without(fs: &ModelFs, file: &Path, size: Option<usize>) -> Result<Log, LogError> {
    let fs = fs.fork(1);
    match size {
        Some(size) => fs.open(file).unwrap().truncate(size as u64).unwrap(),
        None => fs.remove(file).unwrap(),
    }
    open(fs, Path::new(ROOT), 99)
}

#[test]
fn opening_takes_as_much_however_much_is_kept() {
    let fs = ModelFs::new(1);
    let mut costs = Vec::new();
    for start in 0..20 {
        let watch = Watched { fs: fs.clone(), read: Arc::default(), open: Arc::default() };
        let mut log = open(watch.clone(), Path::new(ROOT), 1 + start).unwrap();
        costs.push((watch.read.load(Ordering::Relaxed), watch.open.load(Ordering::Relaxed)));
        write(&mut log, 50);
        // Ticks are read anyhow, and kept no longer than snapshots need them.
        log.release(log.remap.next()).unwrap();
        drop(log);
        assert_eq!(watch.open.load(Ordering::Relaxed), 0);
    }
    let files = segments(&fs, "out");
    let kept: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let (reads, handles): (Vec<u64>, Vec<i64>) = costs.into_iter().unzip();
    let looked = files.len() as u64 * (HEADER + SEAL) as u64;
    let grown = reads[19] - reads[2];
    assert!(grown <= looked && kept > 10 * looked, "{reads:?} bytes read of {kept} in {} files", files.len());
    assert_eq!(handles[2], handles[19], "those that are written to");
    assert_eq!(read(&open(fs, Path::new(ROOT), 99).unwrap()).unwrap().1, 1000);
}

#[test]
fn segments_that_are_not_there_to_their_ends_are_found_by_opening() {
    let fs = written(3, 30);
    for dir in ["wal/00", "remap", "out"] {
        let mut files = segments(&fs, dir);
        // What is written to at last may be torn.
        match dir {
            "out" => files.retain(|(file, _)| !file.to_string_lossy().contains("-00000000000000000003-")),
            _ => drop(files.pop()),
        }
        assert!(files.len() > 5, "{files:?}");
        for (file, bytes) in files {
            // Behind the last record lie one or two marks, and the seal.
            let record = bytes.len() - SEAL - 2 * (FRAME + 8) - 20;
            for size in [Some(0), Some(HEADER), Some(bytes.len() / 2), Some(record), None] {
                let opened = without(&fs, &file, size);
                let Err(LogError::Corrupt { file: named, .. }) = opened else {
                    panic!("{} of {size:?} bytes: {opened:?}", file.display())
                };
                assert!(named.starts_with(file.parent().unwrap()), "{}", named.display());
            }
        }
    }
    assert_eq!(read(&open(fs, Path::new(ROOT), 99).unwrap()).unwrap(), (180, 90));
}

#[test]
fn damage_before_the_last_segment_is_found_by_reading() {
    let whole = written(2, 30);
    let (mut caught, mut harmless) = (0, 0);
    for dir in ["wal/00", "out"] {
        let (file, bytes) = &segments(&whole, dir)[1];
        for at in HEADER..bytes.len() {
            let fs = whole.fork(1);
            fs.flip(file, at, (at % 8) as u8);
            match open(fs, Path::new(ROOT), 99).and_then(|log| read(&log)) {
                Err(LogError::Corrupt { file: named, .. }) => {
                    assert_eq!(&named, file);
                    caught += 1;
                }
                // A mark behind the last record, and all records.
                found => {
                    assert_eq!(found.unwrap(), (120, 60));
                    harmless += 1;
                }
            }
        }
    }
    assert!(caught > 10 * harmless, "{caught} {harmless}");
}

/// As programs before this one have written them.
#[test]
fn segments_without_seals_are_read() {
    let fs = written(3, 30);
    let mut cut = 0;
    for dir in ["wal/00", "remap", "out"] {
        for (file, bytes) in segments(&fs, dir) {
            let end = bytes.len().saturating_sub(SEAL);
            // The kind of a frame is its last byte before the payload.
            if bytes.get(end + FRAME - 1) == Some(&3) {
                fs.open(&file).unwrap().truncate(end as u64).unwrap();
                cut += 1;
            }
        }
    }
    assert!(cut > 20);
    for epoch in [8, 9] {
        assert_eq!(read(&open(fs.clone(), Path::new(ROOT), epoch).unwrap()).unwrap(), (180, 90));
    }
}

#[test]
fn how_far_bytes_go_is_known_as_before_a_restart() {
    let fs = ModelFs::new(1);
    let open = |epoch| {
        let limits = Limits { segment_bytes: 400_000, ..Limits::default() };
        Log::open(Arc::new(fs.clone()), Path::new(ROOT), &Settings { limits, ..settings(epoch) }).unwrap()
    };
    let log = open(1);
    let mut rng = Rng::new(1);
    for _ in 0..2000 {
        log.queue[0].partition().append(1, &vec![7; rng.below(2000) as usize]).unwrap();
    }
    log.queue[0].partition().sync().unwrap();
    let ask = |reader: &Reader| -> Vec<u64> {
        let mut rng = Rng::new(2);
        (0..200).map(|_| reader.within(rng.below(2000), 2000, rng.below(1_000_000))).collect()
    };
    let before = ask(&log.queue[0].reader());
    drop(log);
    let log = open(2);
    let mut reader = log.queue[0].reader();
    // Whatever has been read by then.
    for from in [1500, 700, 0] {
        reader.read(from, from + 100, |_| ()).unwrap();
    }
    assert_eq!(ask(&reader), before);
    assert!(segments(&fs, "wal/00").len() > 4);
}
