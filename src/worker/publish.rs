//! Changes of a tick -> published rows: encodes what the graph resolves, and brings the rows into canonical form.

use super::begun::{Begun, Says};
use super::gather::{Gather, Output, Overflow};
use super::{Contribution, Fed, Kept, Published, Shared};
use crate::collections::place::place;
use crate::collections::{self, Collection};
use crate::error::Error;
use crate::queue::delivery::Delivery;
use crate::queue::sequencer::Ticks;
use dataflows::changes::Changes;
use dataflows::engine::Engine;
use dataflows::ingest::Verdict;
use dataflows::resolve::{Row, TakeRows};
use dataflows::{DeadLetter, Position, Reason};
use headwater_log::error::LogError;
use headwater_log::partition::Reader;
use std::ops::ControlFlow;
use std::sync::Arc;

/// One worker's way of publishing.
pub(super) struct Publish {
    begun: Begun,
    overflow: Overflow,
    readers: Vec<Reader>,
}

impl Publish {
    pub fn new(shared: &Shared) -> Publish {
        let control = shared.resume.as_ref().map_or(0, |resume| resume.control);
        Publish {
            begun: Begun::new(shared.begins.clone(), control),
            overflow: Overflow {
                folder: shared.plan.data_dir.clone(),
                reserve: Arc::clone(&shared.reserve),
                memory: shared.memory,
            },
            readers: shared.readers.clone(),
        }
    }

    /// Returns which collections have begun, as of the last tick.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// Publishes a tick that is settled, and contributes to its snapshot.
    pub fn tick(
        &mut self,
        engine: &mut Engine,
        worker: usize,
        mut fed: Fed,
        changes: Changes,
        kept: &mut Kept,
        shared: &Shared,
    ) -> Result<(), Error> {
        let bound = Arc::clone(&fed.bound);
        for letter in &fed.dead_letters {
            shared.metrics.dead_letter(letter.reason);
        }
        for verdict in &changes.verdicts {
            match verdict {
                Verdict::Duplicate(_) => drop(shared.metrics.duplicates.inc()),
                Verdict::Conflict(position) => fed.dead_letters.push(self.conflict(*position, shared)?),
                Verdict::NotChecked(_) => {}
            }
        }
        let arrivals = std::mem::take(&mut fed.arrivals);
        let output = self.output(engine, &fed, changes, shared).map_err(Error::run("publish"))?;
        shared.published.put(Published { worker, bound: Arc::clone(&bound), output, arrivals })?;
        if bound.snapshot {
            let Kept { dirty, cursors } = std::mem::take(kept);
            let contribution = Contribution { bound, dirty, cursors };
            shared.snapshots.send(contribution).map_err(|_| Error::run("take a snapshot")("no thread takes it"))?;
        }
        Ok(())
    }

    fn output(
        &mut self,
        engine: &mut Engine,
        fed: &Fed,
        mut changes: Changes,
        shared: &Shared,
    ) -> Result<Output, LogError> {
        let says = self.begun.tick(Collection::USERS, &fed.bound);
        let mut rows = Encode {
            out: Gather::new(fed.bound.tick, fed.bound.now_ms, &self.overflow),
            gap: shared.plan.sessions.gap,
            ticks: &shared.ticks,
            failed: None,
        };
        if says != Says::Changes {
            changes.users.clear();
        }
        let mut taken = engine.resolve(fed.bound.tick, changes, &mut rows);
        if says == Says::Whole && taken.is_continue() {
            taken = engine.begin_users(fed.bound.tick, &mut rows);
        }
        let Encode { mut out, failed, .. } = rows;
        if taken.is_break() {
            failed.map_or(Ok(()), Err)?;
        }
        for letter in &fed.dead_letters {
            let source = &shared.plan.sources[usize::from(letter.position.source)].name;
            out.add(Collection::DEAD_LETTERS, collections::dead_letters::encode(source, letter), 1)?;
        }
        out.finish()
    }

    /// Returns the dead letter of a record that conflicts with another one; its payload is read again, since a graph
    /// carries none.
    fn conflict(&mut self, position: Position, shared: &Shared) -> Result<DeadLetter, Error> {
        shared.metrics.dead_letter(Reason::ConflictingDuplicate);
        let (record, byte) = place(position.offset);
        let events = &shared.plan.sources[usize::from(position.source)].events;
        let mut payload = Vec::new();
        let read = self.readers[position.part as usize].read(record, record + 1, |record| {
            let Some(delivery) = Delivery::decode(record.payload) else { return };
            let Some((start, bytes)) = delivery.record_at(byte, events.limits.event_bytes) else { return };
            let parts = headwater_decode::events_of(events, bytes);
            let part = parts.into_iter().find(|part| part.start == byte - start);
            payload.extend_from_slice(part.map_or(bytes, |part| &bytes[part]));
        });
        read.map_err(Error::run("read the log"))?;
        Ok(DeadLetter {
            position,
            reason: Reason::ConflictingDuplicate,
            message: "another record with the same id and another payload came first".into(),
            length: payload.len() as u64,
            payload,
        })
    }
}

/// Encodes the rows of a tick as the graph gives them.
struct Encode<'s> {
    out: Gather<'s>,
    gap: i64,
    ticks: &'s Ticks,
    /// Why no other row is taken.
    failed: Option<LogError>,
}

impl TakeRows for Encode<'_> {
    fn row(&mut self, row: Row<'_>, diff: isize) -> ControlFlow<()> {
        let (collection, row) = collections::encode(&row, self.gap);
        match self.out.add(collection, row, diff as i64) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn alive(&mut self) {
        self.ticks.beat();
    }
}
