//! Events on disk between the two halves of a second reading: one file for each range of users, and one for the events
//! without a user.

use crate::tables::Error;
use dataflows::record::Rank;
use dataflows::{Details, EventTime, NoTime, Position, Record, SignatureId, UserKey};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Events of a range, if they are spread evenly: about 64 MiB of them.
const RANGE_EVENTS: u64 = 1 << 17;
/// Each is an open file.
const MOST_RANGES: u64 = 256;
/// Bytes of a range that a worker gathers before it writes them.
const BUFFER_BYTES: usize = 64 << 10;

/// Written by all workers, and then read range by range.
pub(super) struct Spool {
    files: Vec<(PathBuf, Mutex<File>)>,
    events: AtomicU64,
}

/// An event as it is spooled.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Spooled<'a> {
    pub user: Option<UserKey>,
    pub time: Option<EventTime>,
    /// Its class is kept out of sessions.
    pub is_apart: bool,
    pub signature: SignatureId,
    pub details: Option<Cow<'a, Details>>,
    pub position: Position,
    #[serde(borrow)]
    pub payload: &'a [u8],
}

impl<'a> Spooled<'a> {
    pub fn new(record: &'a Record, position: Position, payload: &'a [u8]) -> Spooled<'a> {
        let event = &record.event;
        Spooled {
            user: event.user,
            time: event.at(),
            is_apart: matches!(event.time, Err(NoTime::Apart(_))),
            signature: event.signature,
            details: event.details.as_deref().map(Cow::Borrowed),
            position,
            payload,
        }
    }

    /// Returns all events of a range, as [`Spool::read`] gives its bytes.
    pub fn all(bytes: &'a [u8]) -> io::Result<Vec<Spooled<'a>>> {
        let (mut events, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let (event, behind) = postcard::take_from_bytes(rest).map_err(io::Error::other)?;
            events.push(event);
            rest = behind;
        }
        Ok(events)
    }

    /// Events without a time come last. Those of one time are ordered as sessions order them, and then as the log is.
    pub fn order(&self) -> (Option<UserKey>, bool, Option<EventTime>, Rank, SignatureId, Position) {
        let rank = self.details.as_deref().map_or(Rank::default(), |details| details.rank);
        (self.user, self.time.is_none(), self.time, rank, self.signature, self.position)
    }
}

impl Spool {
    /// `folder` is [`crate::tables::Staging::scratch`].
    pub fn new(folder: &Path, events: u64) -> Result<Spool, Error> {
        let ranges = (events / RANGE_EVENTS + 1).min(MOST_RANGES);
        let file = |range| {
            let path = folder.join(format!("events-{range}"));
            let file = File::options().read(true).write(true).create_new(true).open(&path);
            match file {
                Ok(file) => Ok((path, Mutex::new(file))),
                Err(source) => Err(Error::new("create", &path, source)),
            }
        };
        // One more, for those without a user.
        Ok(Spool { files: (0..=ranges).map(file).collect::<Result<_, _>>()?, events: AtomicU64::new(0) })
    }

    /// Returns the number of ranges, that of no user included.
    pub fn ranges(&self) -> usize {
        self.files.len()
    }

    /// Returns the number of events of writers that have finished.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Takes the bytes of a range off the disk.
    pub fn read(&self, range: usize) -> Result<Vec<u8>, Error> {
        let (path, file) = &self.files[range];
        let mut file = file.lock().expect("a worker panicked while it was writing");
        let mut bytes = Vec::new();
        file.rewind()
            .and_then(|()| file.read_to_end(&mut bytes))
            .and_then(|_| file.set_len(0))
            .map_err(|source| Error::new("read back", path, source))?;
        Ok(bytes)
    }
}

/// One worker's way into the spool.
pub(super) struct Writer<'s> {
    spool: &'s Spool,
    /// By range.
    buffers: Vec<Vec<u8>>,
    events: u64,
}

impl<'s> Writer<'s> {
    pub fn new(spool: &'s Spool) -> Writer<'s> {
        Writer { spool, buffers: vec![Vec::new(); spool.ranges()], events: 0 }
    }

    pub fn push(&mut self, event: &Spooled<'_>) -> Result<(), Error> {
        let users = self.spool.ranges() - 1;
        let range = event.user.map_or(users, |user| user.worker(users) as usize);
        let buffer = std::mem::take(&mut self.buffers[range]);
        self.buffers[range] = postcard::to_extend(event, buffer).expect("memory can be written to");
        self.events += 1;
        if self.buffers[range].len() >= BUFFER_BYTES { self.flush(range) } else { Ok(()) }
    }

    pub fn finish(mut self) -> Result<(), Error> {
        (0..self.buffers.len()).try_for_each(|range| self.flush(range))?;
        self.spool.events.fetch_add(self.events, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self, range: usize) -> Result<(), Error> {
        let (path, file) = &self.spool.files[range];
        let mut file = file.lock().expect("a worker panicked while it was writing");
        file.write_all(&self.buffers[range]).map_err(|source| Error::new("write", path, source))?;
        self.buffers[range].clear();
        Ok(())
    }
}
