//! Group commit: many threads append to one partition and wait; one sync makes all of their records durable.
//!
//! The first thread leads: it writes and syncs the gathered records. Threads that come during the sync gather for the
//! next round. So a slower sync makes a larger round, and no thread waits for a timer. Tasks, which may not block, put
//! their records and have a thread lead.

use super::error::LogError;
use super::partition::{Commit, Partition, Reader};
use super::segment::PAYLOAD_BYTES;
use crate::sync::{Condvar, Mutex, MutexGuard};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

/// A partition that threads share.
#[derive(Debug)]
pub struct Group {
    partition: Mutex<Partition>,
    round: Mutex<Round>,
    done: Condvar,
}

/// The records that gather while another round is being synced.
#[derive(Debug, Default)]
struct Round {
    payloads: Vec<u8>,
    /// Received time, and where the payload ends in `payloads`.
    records: Vec<(i64, usize)>,
    /// A thread is writing an earlier round.
    led: bool,
    /// The outcome of its records, when that is known.
    written: Arc<Written>,
}

#[derive(Debug, Default)]
struct Written {
    commit: OnceLock<Commit>,
    /// Of tasks that wait.
    wakers: Mutex<Vec<Waker>>,
}

impl Written {
    fn set(&self, commit: Commit) {
        let _ = self.commit.set(commit);
        let wakers = mem::take(&mut *lock(&self.wakers));
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// A record that was put into a round. Gives its offset once it is durable; fails as [`Group::append`].
#[derive(Debug)]
#[must_use = "a caller that drops it does not learn the outcome of the record"]
pub struct Put {
    n: u64,
    written: Arc<Written>,
}

impl Future for Put {
    type Output = Result<u64, LogError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<u64, LogError>> {
        if self.written.commit.get().is_none() {
            lock(&self.written.wakers).push(context.waker().clone());
        }
        // After the waker is there: if the round is written meanwhile, either this sees it or the waker is woken.
        self.written.commit.get().map_or(Poll::Pending, |commit| Poll::Ready(commit.offset(self.n)))
    }
}

impl Group {
    /// Makes the appending side of a partition.
    pub fn new(partition: Partition) -> Group {
        Group { partition: Mutex::new(partition), round: Mutex::default(), done: Condvar::new() }
    }

    /// Appends a record, and gives its offset once it is durable.
    ///
    /// `received_ms`: milliseconds since 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the payload is larger than [`PAYLOAD_BYTES`]; else as [`Commit::offset`]: after
    /// [`LogError::Full`] the record is not stored, after any other error it may be.
    pub fn append(&self, received_ms: i64, payload: &[u8]) -> Result<u64, LogError> {
        let mut round = lock(&self.round);
        let put = round.put(received_ms, payload)?;
        loop {
            if let Some(commit) = put.written.commit.get() {
                return commit.offset(put.n);
            }
            // If no thread leads and our round is not written, it is the one that gathers.
            round = self.turn(round);
        }
    }

    /// Puts a record into the round that gathers. Some thread has to [`Group::lead`] afterwards.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the payload is larger than [`PAYLOAD_BYTES`].
    pub fn put(&self, received_ms: i64, payload: &[u8]) -> Result<Put, LogError> {
        lock(&self.round).put(received_ms, payload)
    }

    /// Writes the round that gathers, once no other one is being written. Blocks for a sync. Returns whether there was
    /// one, or another thread has written it.
    pub fn lead(&self) -> bool {
        let mut round = lock(&self.round);
        if round.records.is_empty() {
            return false;
        }
        let ours = Arc::clone(&round.written);
        while ours.commit.get().is_none() {
            round = self.turn(round);
        }
        true
    }

    /// Writes the round that gathers, or waits for the thread that writes another one.
    fn turn<'g>(&'g self, mut round: MutexGuard<'g, Round>) -> MutexGuard<'g, Round> {
        if round.led {
            return self.done.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        let ours = mem::replace(&mut *round, Round { led: true, ..Round::default() });
        drop(round);
        let commit = lock(&self.partition).commit(ours.records());
        ours.written.set(commit);
        round = lock(&self.round);
        round.led = false;
        self.done.notify_all();
        round
    }

    /// Locks the partition for actions of the owner: low watermarks.
    pub fn partition(&self) -> MutexGuard<'_, Partition> {
        lock(&self.partition)
    }

    /// Returns a reader of what is durable.
    pub fn reader(&self) -> Reader {
        self.partition().reader()
    }
}

impl Round {
    fn put(&mut self, received_ms: i64, payload: &[u8]) -> Result<Put, LogError> {
        if payload.len() > PAYLOAD_BYTES {
            let size = payload.len();
            return Err(LogError::Refused(format!("a record of {size} bytes is larger than {PAYLOAD_BYTES}")));
        }
        let n = self.records.len() as u64;
        self.payloads.extend_from_slice(payload);
        self.records.push((received_ms, self.payloads.len()));
        Ok(Put { n, written: Arc::clone(&self.written) })
    }

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
