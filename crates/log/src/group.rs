//! Group commit: many threads append to one partition and wait; one sync makes all of their records durable.
//!
//! The first to come leads: it writes and syncs what has gathered. Those who come meanwhile gather for the next round, so
//! that a round is as large as a sync is slow, and nobody waits for a timer.

use super::error::LogError;
use super::partition::{Commit, Partition, Reader};
use super::segment::PAYLOAD_BYTES;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::mem;
use std::sync::{Arc, OnceLock, PoisonError};

/// A partition that threads share.
#[derive(Debug)]
pub struct Group {
    partition: Mutex<Partition>,
    round: Mutex<Round>,
    done: Condvar,
}

/// What gathers while another round is being synced.
#[derive(Debug, Default)]
struct Round {
    payloads: Vec<u8>,
    /// Received time, and where the payload ends in `payloads`.
    records: Vec<(i64, usize)>,
    /// Somebody is writing an earlier round.
    led: bool,
    /// What became of its records, once that is known.
    commit: Arc<OnceLock<Commit>>,
}

impl Group {
    pub fn new(partition: Partition) -> Group {
        Group { partition: Mutex::new(partition), round: Mutex::default(), done: Condvar::new() }
    }

    /// Appends a record, and gives its offset once it is durable.
    ///
    /// `received_ms`: milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the payload is larger than [`PAYLOAD_BYTES`]; else as [`Commit::offset`]: after
    /// [`LogError::Full`] the record is not there, after any other error nobody knows.
    pub fn append(&self, received_ms: i64, payload: &[u8]) -> Result<u64, LogError> {
        if payload.len() > PAYLOAD_BYTES {
            let size = payload.len();
            return Err(LogError::Refused(format!("a record of {size} bytes is larger than {PAYLOAD_BYTES}")));
        }
        let mut round = lock(&self.round);
        let (n, commit) = (round.records.len() as u64, round.commit.clone());
        round.payloads.extend_from_slice(payload);
        let end = round.payloads.len();
        round.records.push((received_ms, end));
        loop {
            if let Some(commit) = commit.get() {
                return commit.offset(n);
            }
            if round.led {
                round = self.done.wait(round).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // Nobody leads and our round is not written: it is the one that gathers.
            let ours = mem::replace(&mut *round, Round { led: true, ..Round::default() });
            drop(round);
            let written = lock(&self.partition).commit(ours.records());
            round = lock(&self.round);
            round.led = false;
            let _ = ours.commit.set(written);
            self.done.notify_all();
        }
    }

    /// For what only the owner may do: low watermarks.
    pub fn partition(&self) -> MutexGuard<'_, Partition> {
        lock(&self.partition)
    }

    pub fn reader(&self) -> Reader {
        self.partition().reader()
    }
}

impl Round {
    fn records(&self) -> impl Iterator<Item = (i64, &[u8])> {
        let mut start = 0;
        self.records.iter().map(move |(received_ms, end)| {
            let payload = &self.payloads[start..*end];
            start = *end;
            (*received_ms, payload)
        })
    }
}

/// A thread that panics ends the process, so nothing half done is seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
