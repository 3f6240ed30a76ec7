//! The changes that one sink takes, in the order of the output log, in batches.

use crate::collections::filter::Filter;
use crate::collections::{Collection, Row, Schemas};
use crate::plan::{ChangeKind, SinkPlan};
use dataflows::Tick;
use headwater_log::error::LogError;
use headwater_log::histories::{Histories, StartId};
use headwater_log::output::{OutputLog, OutputReader, Pieces};
use headwater_log::segment::LogId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

/// Bytes of a batch, unless a single change is larger.
const BYTES: usize = 1 << 20;
/// Ticks without anything to take that are passed at once.
const TICKS: Tick = 4096;

/// A place in the changes of a collection: a tick, and how many of its changes are before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Position {
    pub tick: Tick,
    pub index: u64,
}

/// A change as it is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The same whenever this change is handed over.
    pub key: String,
    /// `{"key":"…","tick":…,"collection":"…","diff":1,"row":{…}}`
    pub json: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Not empty.
    pub changes: Vec<Change>,
    /// Behind the last one.
    pub upto: Position,
}

/// A change whose row cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub change: Change,
    pub upto: Position,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Batch(Batch),
    /// There is nothing to take before [`Changes::position`].
    Nothing {
        /// That is not all that is published.
        more: bool,
    },
    /// The ticks between are no longer kept.
    Gap {
        from: Position,
        oldest: Position,
    },
    Unreadable(Unreadable),
}

pub(super) struct Changes {
    outputs: Arc<OutputLog>,
    schemas: Arc<Schemas>,
    reader: OutputReader,
    collection: Collection,
    filter: Option<Filter>,
    kind: ChangeKind,
    /// Hashed so far: what is the same in the keys of all changes.
    keys: blake3::Hasher,
    histories: Arc<Histories>,
    /// Of `position.tick`: changes of the kind that is taken, with their index; and what comes after them in the tick.
    tick: VecDeque<(u64, Vec<u8>, i64)>,
    pieces: Option<(Pieces, u64)>,
    position: Position,
}

impl Changes {
    pub fn new(
        log: LogId,
        histories: Arc<Histories>,
        plan: &SinkPlan,
        outputs: Arc<OutputLog>,
        schemas: Arc<Schemas>,
        position: Position,
    ) -> Changes {
        let mut keys = blake3::Hasher::new();
        keys.update(&log.0);
        // Neither name can contain the separator.
        for name in [plan.name.as_str(), plan.collection.name()] {
            keys.update(name.as_bytes()).update(b"/");
        }
        Changes {
            reader: OutputReader::new(Arc::clone(&outputs), position.tick),
            outputs,
            schemas,
            collection: plan.collection,
            filter: plan.when.as_ref().map(|when| when.filter.clone()),
            kind: plan.changes,
            keys,
            histories,
            tick: VecDeque::new(),
            pieces: None,
            position,
        }
    }

    /// Returns the position before which every change was handed out or does not fit the sink.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Begins at `position` again.
    pub fn restart(&mut self, position: Position) {
        self.reader = OutputReader::new(Arc::clone(&self.outputs), position.tick);
        self.tick.clear();
        self.pieces = None;
        self.position = position;
    }

    /// Returns at most `limit` changes.
    ///
    /// # Errors
    /// If the output log cannot be read. Then only [`Changes::restart`] helps.
    pub fn next(&mut self, limit: usize) -> Result<Next, LogError> {
        let first = self.position.tick;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        loop {
            while let Some((index, row, diff)) = self.tick.front() {
                if changes.len() == limit || bytes > BYTES {
                    return Ok(Next::Batch(Batch { changes, upto: self.position }));
                }
                let (tick, upto) = (self.position.tick, Position { index: index + 1, ..self.position });
                match self.collection.decode(row) {
                    Some(row) if self.filter.as_ref().is_none_or(|filter| filter.matches(&row)) => {
                        let change = self.change(tick, *index, *diff, Some(&row));
                        bytes += change.json.len();
                        changes.push(change);
                    }
                    Some(_) => {}
                    None if changes.is_empty() => {
                        let change = self.change(tick, *index, *diff, None);
                        self.tick.pop_front();
                        self.position = upto;
                        return Ok(Next::Unreadable(Unreadable { change, upto }));
                    }
                    // After what comes before it.
                    None => return Ok(Next::Batch(Batch { changes, upto: self.position })),
                }
                self.tick.pop_front();
                self.position = upto;
            }
            if self.pieces.is_none() && self.reader.position() > self.position.tick {
                self.position = Position { tick: self.reader.position(), index: 0 };
            }
            let far = self.position.tick - first >= TICKS;
            if changes.len() == limit || bytes > BYTES || (far && !changes.is_empty()) {
                return Ok(Next::Batch(Batch { changes, upto: self.position }));
            }
            if far {
                return Ok(Next::Nothing { more: true });
            }
            match self.read() {
                Ok(true) => {}
                // First what comes before.
                _ if !changes.is_empty() => return Ok(Next::Batch(Batch { changes, upto: self.position })),
                Ok(false) => return Ok(Next::Nothing { more: false }),
                Err(LogError::Gone { oldest, .. }) => {
                    let (from, oldest) = (self.position, Position { tick: oldest, index: 0 });
                    self.restart(oldest);
                    return Ok(Next::Gap { from, oldest });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes in the next changes of this tick, or of the next one. Returns false if that is not published yet.
    fn read(&mut self) -> Result<bool, LogError> {
        if self.pieces.is_none() {
            let Some(output) = self.reader.tick()? else { return Ok(false) };
            self.pieces = Some((output.pieces(self.collection.name(), self.collection.same_key()), 0));
        }
        let Some((pieces, first)) = &mut self.pieces else { return Ok(true) };
        let read = pieces.next_piece().map_err(|error| self.outputs.gone(self.position.tick, error))?;
        let (kind, before, begin) = (self.kind, self.position.index, *first);
        if let Some(piece) = read {
            *first += piece.rows.len() as u64;
            let taken = (begin..).zip(piece.rows).filter(|(index, (_, diff))| *index >= before && kind.takes(*diff));
            self.tick.extend(taken.map(|(index, (row, diff))| (index, row, diff)));
            if !piece.last {
                return Ok(true);
            }
        }
        self.pieces = None;
        Ok(true)
    }

    /// `row`: `None` if it cannot be read.
    fn change(&self, tick: Tick, index: u64, diff: i64, row: Option<&Row<'_>>) -> Change {
        let mut hash = self.keys.clone();
        // Ticks of another copy of this folder have the same numbers. Those of releases that knew of no starts keep the
        // keys that they gave.
        let start = self.histories.of_tick(tick);
        if start != StartId::default() {
            hash.update(&start.0);
        }
        hash.update(&tick.to_le_bytes()).update(&index.to_le_bytes());
        // 128 bits: no two changes have the same by chance.
        let key = hash.finalize().to_hex()[..32].to_owned();
        let (collection, mut json) = (self.collection.name(), Vec::new());
        write!(json, "{{\"key\":\"{key}\",\"tick\":{tick},\"collection\":\"{collection}\",\"diff\":{diff},\"row\":")
            .expect("memory can be written to");
        match row {
            Some(row) => {
                let schema = self.schemas.of(self.collection);
                row.json(schema, 0..schema.columns.len(), &mut json);
            }
            None => json.extend_from_slice(b"null"),
        }
        json.push(b'}');
        Change { key, json }
    }
}
