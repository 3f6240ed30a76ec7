//! Group commit: many threads append to one partition and wait; one sync makes all of them durable.
//!
//! The first to come leads: it writes and syncs what has gathered. Those who come meanwhile gather for the next round, so
//! that a round is as large as a sync is slow, and nobody waits for a timer.

use super::error::LogError;
use super::partition::{Partition, Reader};
use super::segment::PAYLOAD_BYTES;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

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
    /// Offset of the round's first record, once it is durable.
    result: Arc<OnceLock<Result<u64, LogError>>>,
}

impl Group {
    pub fn new(partition: Partition) -> Group {
        Group { partition: Mutex::new(partition), round: Mutex::default(), done: Condvar::new() }
    }

    /// Appends records (received time in milliseconds since 1970-01-01T00:00:00Z, payload), which get consecutive
    /// offsets, and returns once they are durable.
    ///
    /// # Errors
    /// As [`Partition::append`] and [`Partition::sync`]. After an error the records may still turn up after a crash:
    /// whoever sends them again has to send the same event ids.
    pub fn append(&self, records: &[(i64, &[u8])]) -> Result<Range<u64>, LogError> {
        if let Some((_, payload)) = records.iter().find(|(_, payload)| payload.len() > PAYLOAD_BYTES) {
            let size = payload.len();
            return Err(LogError::Refused(format!("a record of {size} bytes is larger than {PAYLOAD_BYTES}")));
        }
        let mut round = lock(&self.round);
        let (first, result) = (round.records.len() as u64, round.result.clone());
        for (received_ms, payload) in records {
            round.payloads.extend_from_slice(payload);
            let end = round.payloads.len();
            round.records.push((*received_ms, end));
        }
        loop {
            if let Some(result) = result.get() {
                return result.clone().map(|base| base + first..base + first + records.len() as u64);
            }
            if round.led {
                round = self.done.wait(round).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // Nobody leads and our round has no result: it is the one that gathers.
            let ours = mem::replace(&mut *round, Round { led: true, ..Round::default() });
            drop(round);
            let written = write(&mut lock(&self.partition), &ours);
            round = lock(&self.round);
            round.led = false;
            let _ = ours.result.set(written);
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

fn write(partition: &mut Partition, round: &Round) -> Result<u64, LogError> {
    let base = partition.next();
    let mut start = 0;
    for (received_ms, end) in &round.records {
        partition.append(*received_ms, &round.payloads[start..*end])?;
        start = *end;
    }
    partition.sync()?;
    Ok(base)
}

/// A thread that panics ends the process, so nothing half done is seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
