//! The changes that one sink takes, in the order of the output log, in batches.

use crate::collections::actions::Verdict;
use crate::collections::filter::Filter;
use crate::collections::{self, Collection, Row, Schema, Schemas};
use crate::observe::actions::Decided;
use crate::plan::{ChangeKind, Do, SinkPlan, SinkTarget};
use crate::queue::intake::wall_ms;
use dataflows::Tick;
use headwater_log::error::LogError;
use headwater_log::histories::{Histories, StartId};
use headwater_log::output::{OutputLog, OutputReader, Pieces};
use headwater_log::segment::LogId;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::ops::Range;
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
    /// Where the row is in it.
    pub row: Range<usize>,
    pub tick: Tick,
    /// Of the tick: milliseconds since 1970.
    pub now_ms: i64,
    /// The position behind it.
    pub behind: Position,
    /// The key of its row, for receivers that know keys: the text of its column, or an object of several. `None`: its
    /// collection has no key.
    pub of: Option<Vec<u8>>,
    pub value: Value,
    /// The decision of an action that it hands over.
    pub decided: Option<Box<Decided>>,
}

/// What a receiver that knows keys gets of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The change itself.
    Change,
    /// Its row: it takes the place of the one before.
    Row,
    /// There is no row of this key any more.
    Gone,
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
    /// There is nothing to take before [`ChangeReader::position`].
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

/// Reads the changes of one sink out of the output log, and says how far it has come.
pub(super) struct ChangeReader {
    outputs: Arc<OutputLog>,
    schemas: Arc<Schemas>,
    reader: OutputReader,
    collection: Collection,
    /// Of decisions to route, the cause is handed over.
    of_actions: bool,
    filter: Option<Filter>,
    kind: ChangeKind,
    /// Hashed so far: what is the same in the keys of all changes.
    keys: blake3::Hasher,
    histories: Arc<Histories>,
    /// Of `position.tick`: changes of the kind that is taken, with their index; and what comes after them in the tick.
    tick: VecDeque<(u64, Vec<u8>, i64)>,
    now_ms: i64,
    pieces: Option<(Pieces, u64)>,
    position: Position,
    /// The receiver knows keys.
    keyed: bool,
    /// Rows take the place of those before: a removal is left out if an addition of the same key is in the tick.
    upserts: bool,
}

impl ChangeReader {
    pub fn new(
        log: LogId,
        histories: Arc<Histories>,
        plan: &SinkPlan,
        outputs: Arc<OutputLog>,
        schemas: Arc<Schemas>,
        position: Position,
    ) -> ChangeReader {
        let mut keys = blake3::Hasher::new();
        keys.update(&log.0);
        // Neither name can contain the separator.
        for name in [plan.name.as_str(), plan.collection.name()] {
            keys.update(name.as_bytes()).update(b"/");
        }
        ChangeReader {
            reader: OutputReader::new(Arc::clone(&outputs), position.tick),
            outputs,
            schemas,
            collection: plan.collection,
            of_actions: plan.of_actions,
            filter: plan.when.as_ref().map(|when| when.filter.clone()),
            kind: plan.changes,
            keys,
            histories,
            tick: VecDeque::new(),
            now_ms: 0,
            pieces: None,
            position,
            keyed: matches!(plan.target, SinkTarget::Kafka(_)),
            upserts: plan.upserts(),
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
    /// If the output log cannot be read. Then only [`ChangeReader::restart`] helps.
    pub fn next(&mut self, limit: usize) -> Result<Next, LogError> {
        let first = self.position.tick;
        let (mut changes, mut bytes) = (Vec::new(), 0);
        loop {
            while let Some((index, encoded, diff)) = self.tick.front() {
                if changes.len() == limit || bytes > BYTES {
                    return Ok(Next::Batch(Batch { changes, upto: self.position }));
                }
                let (tick, upto) = (self.position.tick, Position { index: index + 1, ..self.position });
                match self.collection.decode(encoded) {
                    Some(row) if self.filter.as_ref().is_none_or(|filter| filter.matches(&row)) => {
                        if self.waits(&row) {
                            return Ok(match changes.is_empty() {
                                true => Next::Nothing { more: false },
                                false => Next::Batch(Batch { changes, upto: self.position }),
                            });
                        }
                        let mut change = self.change(tick, *index, *diff, Some(&row));
                        change.decided =
                            self.of_actions.then(|| collections::actions::decided(encoded)).flatten().map(Box::new);
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
            self.now_ms = output.now_ms;
            self.pieces = Some((output.pieces(self.collection.name(), self.collection.same_key()), 0));
        }
        let Some((mut pieces, begin)) = self.pieces.take() else { return Ok(true) };
        let read = pieces.next_piece().map_err(|error| self.outputs.gone(self.position.tick, error))?;
        let (kind, before) = (self.kind, self.position.index);
        if let Some(piece) = read {
            let (last, rows) = (piece.last, piece.rows.len() as u64);
            let replaced = if self.upserts { self.replaced(&piece.rows) } else { HashSet::new() };
            let taken = (begin..).zip(piece.rows).filter(|(index, (row, diff))| {
                *index >= before && kind.takes(*diff) && (*diff > 0 || !replaced.contains(row))
            });
            self.tick.extend(taken.map(|(index, (row, diff))| (index, row, diff)));
            if !last {
                self.pieces = Some((pieces, begin + rows));
            }
        }
        Ok(true)
    }

    /// Returns the rows of a piece that go while others of their key come, and are taken. All rows of a key are in one
    /// piece.
    fn replaced(&self, rows: &[(Vec<u8>, i64)]) -> HashSet<Vec<u8>> {
        let key = |row: &[u8]| self.key_of(&self.collection.decode(row)?);
        let taken = |row: &[u8]| {
            let row = self.collection.decode(row)?;
            self.filter.as_ref().is_none_or(|filter| filter.matches(&row)).then(|| self.key_of(&row))?
        };
        let added = rows.iter().filter(|(_, diff)| *diff > 0);
        let added: HashSet<Vec<u8>> = added.filter_map(|(row, _)| taken(row)).collect();
        let removed = rows.iter().filter(|(_, diff)| *diff < 0);
        removed
            .filter(|(row, _)| key(row).is_some_and(|key| added.contains(&key)))
            .map(|(row, _)| row.clone())
            .collect()
    }

    /// Returns the text of the only key column, or the object of several.
    fn key_of(&self, row: &Row<'_>) -> Option<Vec<u8>> {
        let schema = self.schemas.of(self.collection);
        match &schema.key[..] {
            [] => None,
            [column] => match row.value(*column).text() {
                Some(text) => Some(text.into_owned().into_bytes()),
                None => Some(json_of(row, schema, &[*column])),
            },
            columns => Some(json_of(row, schema, columns)),
        }
    }

    /// Returns whether a decision is handed over later. Those behind it are due at the same time, or after that.
    fn waits(&self, row: &Row<'_>) -> bool {
        let due = || Some(row.value(self.schemas.of(self.collection).column("due_us")?));
        matches!(due(), Some(collections::Value::Integer(due)) if self.of_actions && *due > wall_ms() * 1000)
    }

    /// Returns what a decision to route hands over; `None`: it hands over itself.
    fn routed(&self, row: &Row<'_>) -> Option<Routed> {
        let schema = self.schemas.of(self.collection);
        let text = |name: &str| row.value(schema.column(name)?).text().map(Cow::into_owned);
        let act = text("do")?;
        let routes = act == Do::Route.name() || act == Do::Gate.name();
        let undone = text("decision")? == Verdict::Undone.name();
        routes.then(|| Some(Routed { on: text("collection")?, cause: text("cause")?, user: text("user"), undone }))?
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
        let routed = row.filter(|_| self.of_actions).and_then(|row| self.routed(row));
        let collection = routed.as_ref().map_or(self.collection.name(), |routed| &*routed.on);
        let diff = if routed.as_ref().is_some_and(|routed| routed.undone) { -1 } else { diff };
        let mut json = Vec::new();
        write!(json, "{{\"key\":\"{key}\",\"tick\":{tick},\"collection\":\"{collection}\",\"diff\":{diff},\"row\":")
            .expect("memory can be written to");
        let start = json.len();
        match row {
            _ if routed.is_some() => json.extend(routed.iter().flat_map(|routed| routed.cause.bytes())),
            Some(row) => {
                let schema = self.schemas.of(self.collection);
                row.json(schema, 0..schema.columns.len(), &mut json);
            }
            None => json.extend_from_slice(b"null"),
        }
        let place = start..json.len();
        json.push(b'}');
        let value = match row {
            Some(_) if self.upserts && diff > 0 => Value::Row,
            Some(_) if self.upserts => Value::Gone,
            _ => Value::Change,
        };
        let of = row.filter(|_| self.keyed).and_then(|row| match &routed {
            Some(Routed { user: Some(user), .. }) => Some(user.as_bytes().to_vec()),
            _ => self.key_of(row),
        });
        Change {
            key,
            json,
            row: place,
            tick,
            now_ms: self.now_ms,
            behind: Position { tick, index: index + 1 },
            of,
            value,
            decided: None,
        }
    }
}

/// The cause of a decision to route.
struct Routed {
    on: String,
    /// As JSON.
    cause: String,
    user: Option<String>,
    /// It was handed over before, and is gone.
    undone: bool,
}

fn json_of(row: &Row<'_>, schema: &Schema, columns: &[usize]) -> Vec<u8> {
    let mut json = Vec::new();
    row.json(schema, columns.iter().copied(), &mut json);
    json
}
