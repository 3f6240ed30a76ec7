//! The histories of a data folder: each start has a random id, and the file `HISTORY` says where in the log it began. A
//! restored backup that runs is another history than its original, although its log, its ticks and its offsets have the
//! same numbers. Tokens, sink keys and cursors name a start, and are checked against this list.
//!
//! ```text
//! starts    a ────── b ──────── c ───▶      a backup taken within b, restored:   a ────── b ── d ───▶
//! ticks     0 … 41   42 … 99    100 …                                            0 … 41   42…60  61 …
//! ```
//! A statement of start `b` holds in both histories up to tick 61, and in the first one alone from there on.

use crate::Tick;
use crate::durable;
use crate::epoch;
use crate::segment::LogId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// In the data folder.
pub const FILE: &str = "HISTORY";

const VERSION: u32 = 1;
/// Starts that are kept, and more if ticks of theirs still are. What older ones have given out is taken for that of
/// another history: clients begin again.
const KEPT: usize = 1024;

/// A start of a data folder, in whichever copy of it. Zeros: one before there were ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StartId(pub [u8; 8]);

impl StartId {
    /// Parses the text that [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<StartId> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits)?;
        Some(StartId(number.to_be_bytes()))
    }
}

impl fmt::Display for StartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl Serialize for StartId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StartId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<StartId, D::Error> {
        let text = String::deserialize(deserializer)?;
        StartId::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no id of a start")))
    }
}

/// A place in the log: everything before it had happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The next tick.
    pub tick: Tick,
    /// By part of the queue: the next offset.
    pub queue: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Start {
    id: StartId,
    epoch: u64,
    at: Place,
}

/// The starts of a data folder up to this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histories {
    version: u32,
    log: LogId,
    /// Everything before it is of starts without an id, that is, of releases up to 0.1.0.
    origin: Place,
    /// Oldest first; the last one is this one.
    starts: Vec<Start>,
}

impl Histories {
    /// Returns the first start of a log, at `at`.
    pub fn first(log: LogId, id: StartId, epoch: u64, at: Place) -> Histories {
        let start = Start { id, epoch, at: at.clone() };
        Histories { version: VERSION, log, origin: at, starts: vec![start] }
    }

    /// Reads the histories of a folder; `None` if no start was recorded there.
    ///
    /// # Errors
    /// If the file cannot be read, or is not as it was written.
    pub fn load(folder: &Path) -> io::Result<Option<Histories>> {
        let bytes = match fs::read(folder.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let found: Histories = serde_json::from_slice(&bytes)?;
        let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if found.version != VERSION {
            return wrong(format!("version {}, this program knows {VERSION}", found.version));
        }
        let places = || found.starts.iter().map(|start| &start.at);
        if found.starts.is_empty() || !places().is_sorted_by(|one, next| one.tick <= next.tick) {
            return wrong("its starts are not in order".into());
        }
        Ok(Some(found))
    }

    /// Checks that a log that has reached `at` can be the recorded one.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, log: LogId, at: &Place) -> Result<(), String> {
        let last = self.starts.last().map_or(&self.origin, |start| &start.at);
        let short = last.queue.iter().zip(&at.queue).any(|(then, now)| then > now);
        if self.log != log {
            Err("it is of another log".into())
        } else if last.tick > at.tick || short {
            let (then, now) = (last.tick, at.tick);
            Err(format!("a start began at tick {then}, and the log goes to tick {now} or lacks events of then"))
        } else {
            Ok(())
        }
    }

    /// Writes down that a start begins at `at`, durably, before anything of it is given out. Ticks before `oldest` cannot
    /// be read any more.
    ///
    /// # Errors
    /// If the file cannot be written: then it is what it was.
    pub fn begin(
        folder: &Path,
        found: Option<Histories>,
        log: LogId,
        epoch: u64,
        at: Place,
        oldest: Tick,
    ) -> io::Result<Histories> {
        let id = StartId(epoch::random()?);
        let histories = match found {
            None => Histories::first(log, id, epoch, at),
            Some(mut histories) => {
                histories.starts.push(Start { id, epoch, at });
                histories.forget(oldest);
                histories
            }
        };
        durable::replace(&folder.join(FILE), &serde_json::to_vec(&histories)?)?;
        Ok(histories)
    }

    fn forget(&mut self, oldest: Tick) {
        let surplus = self.starts.len().saturating_sub(KEPT);
        let over = self.starts.iter().skip(1).take_while(|next| next.at.tick <= oldest).count();
        self.starts.drain(..surplus.min(over));
    }

    /// This start.
    pub fn current(&self) -> StartId {
        self.starts.last().map_or_else(StartId::default, |start| start.id)
    }

    /// Returns the start that bound a tick.
    pub fn of_tick(&self, tick: Tick) -> StartId {
        let behind = self.starts.partition_point(|start| start.at.tick <= tick);
        behind.checked_sub(1).map_or_else(StartId::default, |index| self.starts[index].id)
    }

    /// Returns whether statements of start `id` about the ticks before `upper` hold here.
    pub fn has_ticks(&self, id: StartId, upper: Tick) -> bool {
        self.end(id).is_some_and(|end| end.is_none_or(|end| upper <= end.tick))
    }

    /// Returns whether the record that start `id` has put at `offset` of a part of the queue is here.
    pub fn has_record(&self, id: StartId, part: u32, offset: u64) -> bool {
        let before = |end: &Place| end.queue.get(part as usize).is_some_and(|end| offset < *end);
        self.end(id).is_some_and(|end| end.is_none_or(before))
    }

    /// Returns the place where a start ended: `Some(None)` if it is this one, `None` if it is not of this history.
    fn end(&self, id: StartId) -> Option<Option<&Place>> {
        if id == StartId::default() {
            return Some(Some(&self.origin));
        }
        let index = self.starts.iter().position(|start| start.id == id)?;
        Some(self.starts.get(index + 1).map(|next| &next.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId([7; 16]);

    fn at(tick: Tick) -> Place {
        Place { tick, queue: vec![tick * 10, 0] }
    }

    fn begin(folder: &Path, epoch: u64, tick: Tick) -> Histories {
        let found = Histories::load(folder).unwrap();
        Histories::begin(folder, found, LOG, epoch, at(tick), 0).unwrap()
    }

    #[test]
    fn a_restored_copy_that_goes_on_is_another_history() {
        let [ours, copy] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        // An older release has come to tick 3.
        let first = begin(ours.path(), 4, 3);
        begin(ours.path(), 5, 42);
        fs::copy(ours.path().join(FILE), copy.path().join(FILE)).unwrap();
        // Both go on as epoch 6, the copy from an earlier tick: it was taken while start 5 was running.
        let (theirs, ours) = (begin(copy.path(), 6, 61), begin(ours.path(), 6, 100));
        let (a, b) = (first.current(), ours.of_tick(50));
        assert_ne!(theirs.current(), ours.current());
        assert_eq!([0, 2, 3, 41, 42].map(|tick| ours.of_tick(tick)), [StartId::default(), StartId::default(), a, a, b]);
        assert_eq!((ours.of_tick(99), ours.of_tick(100)), (b, ours.current()));
        for (id, upper, here, there) in [
            (StartId::default(), 3, true, true),
            (StartId::default(), 4, false, false),
            (a, 42, true, true),
            (a, 43, false, false),
            (b, 61, true, true),
            (b, 62, true, false),
            (b, 101, false, false),
            (ours.current(), 1000, true, false),
            (theirs.current(), 61, false, true),
            (StartId([9; 8]), 0, false, false),
        ] {
            assert_eq!((ours.has_ticks(id, upper), theirs.has_ticks(id, upper)), (here, there), "{id} {upper}");
            let offset = (upper * 10).saturating_sub(1);
            let record = |of: &Histories| of.has_record(id, 0, offset);
            assert_eq!((record(&ours), record(&theirs)), (here, there), "{id} {offset}");
        }
        assert!(!ours.has_record(b, 7, 0), "there is no such part");
    }

    #[test]
    fn old_starts_are_forgotten_once_their_ticks_are() {
        let at = |tick| Place { tick, queue: Vec::new() };
        let mut all = Histories::first(LOG, StartId([1; 8]), 1, at(0));
        for epoch in 2..=(KEPT as u64 + 100) {
            let id = StartId((epoch << 8).to_be_bytes());
            all.starts.push(Start { id, epoch, at: at(epoch) });
        }
        let whole = all.clone();
        all.forget(0);
        assert_eq!(all, whole, "all ticks are kept");
        all.forget(50);
        assert_eq!(all.of_tick(50), whole.of_tick(50));
        assert_eq!(all.starts.len(), whole.starts.len() - 49);
        all.forget(5000);
        assert_eq!(all.starts.len(), KEPT);
    }

    #[test]
    fn what_is_damaged_or_of_another_time_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Histories::load(folder.path()).unwrap(), None);
        let histories = begin(folder.path(), 1, 5);
        assert_eq!(Histories::load(folder.path()).unwrap().as_ref(), Some(&histories));
        assert_eq!(histories.check(LOG, &at(5)), Ok(()));
        assert!(histories.check(LogId([8; 16]), &at(5)).unwrap_err().contains("another log"));
        assert!(histories.check(LOG, &at(4)).unwrap_err().contains("began at tick 5"));
        for wrong in ["", "{}", "{\"version\":2}"] {
            fs::write(folder.path().join(FILE), wrong).unwrap();
            assert!(Histories::load(folder.path()).is_err(), "{wrong}");
        }
        assert_eq!(StartId::parse("00000000000000ff"), Some(StartId([0, 0, 0, 0, 0, 0, 0, 255])));
        assert_eq!(StartId::parse("+0000000000000ff"), None);
    }
}
