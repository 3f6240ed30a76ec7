//! The dead letters of conflicting duplicates: their payloads are read again, since a graph carries none.

use crate::error::Error;
use crate::landing::history::{self, History};
use crate::plan::Plan;
use crate::source::{self, Chunking, Part};
use crate::tables::DeadLetterSpool;
use dataflows::{DeadLetter, Position, Reason};

/// Reads the payloads of conflicting duplicates again, and makes dead letters of them.
pub(super) fn read(
    plan: &Plan,
    parts: &[Part],
    chunking: Chunking,
    mut conflicts: Vec<Position>,
    spool: &mut DeadLetterSpool,
) -> Result<(), Error> {
    conflicts.sort_unstable();
    let mut outcome = Ok(());
    // A record may explode into many events that conflict: it is taken apart once.
    let mut apart = (None, Vec::new());
    source::payloads(parts, chunking, &conflicts, |position, start, record| {
        if apart.0 != Some((position.part, start)) {
            let events = &plan.sources[position.source as usize].events;
            apart = (Some((position.part, start)), headwater_decode::events_of(events, record));
        }
        let offset = (position.offset - start) as usize;
        let found = apart.1.binary_search_by_key(&offset, |event| event.start);
        let payload = found.map_or(record, |index| &record[apart.1[index].clone()]);
        if outcome.is_ok() {
            outcome = spool.push(&conflict(position, payload));
        }
    })
    .map_err(Error::run("read conflicting duplicates again"))?;
    outcome.map_err(Error::run("write the output"))
}

/// As [`read`], from a landing.
pub(super) fn landed(
    history: &History,
    mut conflicts: Vec<Position>,
    spool: &mut DeadLetterSpool,
) -> Result<(), Error> {
    if conflicts.is_empty() {
        return Ok(());
    }
    conflicts.sort_unstable();
    let mut outcome = Ok(());
    let found = |position, payload: &[u8]| {
        if outcome.is_ok() {
            outcome = spool.push(&conflict(history::in_queue(position), payload));
        }
    };
    history.payloads(&conflicts, found).map_err(Error::run("read conflicting duplicates again"))?;
    outcome.map_err(Error::run("write the output"))
}

fn conflict(position: Position, payload: &[u8]) -> DeadLetter {
    DeadLetter {
        position,
        reason: Reason::ConflictingDuplicate,
        message: "another record with the same id and another payload came first".into(),
        payload: payload.to_vec(),
        length: payload.len() as u64,
    }
}
