//! The root states as rows of a snapshot: the input with which a graph goes on as if it had never stopped. All other
//! state follows from them.

use super::act;
use crate::plan::{CountBegins, Plan, SequencePlan, StateBegins};
use dataflows::counts::SignatureHour;
use dataflows::engine::{Input, Roots};
use dataflows::group::{Group, GroupKey};
use dataflows::group_by::cells_hash;
use dataflows::ingest::IdRow;
use dataflows::leaves::Leaves;
use dataflows::link::Link;
use dataflows::rules::Descriptor;
use dataflows::sequence::{StepRow, Track};
use dataflows::sessionize::{Mark, Session};
use dataflows::state::{Changed, Definition, Entity};
use dataflows::stitch::LinkRow;
use dataflows::{Sessionless, ShapeId, SignatureId, UserKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The changes of the root states since the last snapshot, at one worker.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Dirty {
    pub sessions: Vec<((UserKey, Session), isize)>,
    /// As often as they were said, also across snapshots. Those of users who are forgotten go.
    pub names: Vec<((UserKey, Arc<str>), isize)>,
    pub signatures: Vec<(SignatureId, Descriptor)>,
    /// Repeats are fine.
    pub shapes: Vec<(ShapeId, Arc<Leaves>)>,
    /// Under session policies.
    pub marks: Vec<((UserKey, Mark), isize)>,
    pub ids: Vec<(IdRow, isize)>,
    pub by_signature: Vec<(SignatureHour, isize)>,
    pub by_reason: Vec<(Sessionless, isize)>,
    /// Of identities.
    pub links: Vec<(LinkRow, isize)>,
    /// Of states, as their rows are written.
    pub entities: Vec<(Vec<u8>, i64)>,
    /// Step events of sequences, as their rows are written.
    pub steps: Vec<(Vec<u8>, i64)>,
    /// What actions remember, as its rows are written.
    pub waits: Vec<(Vec<u8>, i64)>,
    /// Groups of counts over events, as their rows are written.
    pub groups: Vec<(Vec<u8>, i64)>,
    /// Rows of the sessions when they were last consolidated.
    compact: usize,
}

/// Rows by the name of their state.
pub type Rows = BTreeMap<String, Vec<(Vec<u8>, i64)>>;

const SESSIONS: &str = "sessions";
const NAMES: &str = "names";
const SIGNATURES: &str = "signatures";
const SHAPES: &str = "shapes";
const MARKS: &str = "marks";
const IDS: &str = "ids";
const BY_SIGNATURE: &str = "by_signature";
const BY_REASON: &str = "by_reason";
const ENTITIES: &str = "entities";
const STEPS: &str = "steps";
const LINKS: &str = "links";
const WAITS: &str = "waits";
const GROUPS: &str = "groups";

/// By name, in the order in which they are to be read: what others refer to comes first.
pub const STATES: [&str; 13] =
    [NAMES, SIGNATURES, SHAPES, SESSIONS, MARKS, IDS, BY_SIGNATURE, BY_REASON, ENTITIES, STEPS, LINKS, WAITS, GROUPS];

impl Dirty {
    /// Keeps memory in proportion to what changed, not to how often it did.
    pub fn consolidate(&mut self) {
        if self.sessions.len() > 2 * self.compact + (1 << 16) {
            differential_dataflow::consolidation::consolidate(&mut self.sessions);
            differential_dataflow::consolidation::consolidate(&mut self.by_signature);
            self.compact = self.sessions.len();
        }
    }

    /// Returns what is behind the first `rows` rows of each state, which stay; `None` if that is nothing.
    pub fn split_off(&mut self, rows: usize) -> Option<Dirty> {
        fn tail<R>(of: &mut Vec<R>, rows: usize) -> Vec<R> {
            if of.len() > rows { of.split_off(rows) } else { Vec::new() }
        }
        let Dirty {
            sessions,
            marks,
            names,
            signatures,
            shapes,
            ids,
            by_signature,
            by_reason,
            entities,
            steps,
            links,
            waits,
            groups,
            compact,
        } = self;
        let rest = Dirty {
            sessions: tail(sessions, rows),
            marks: tail(marks, rows),
            names: tail(names, rows),
            signatures: tail(signatures, rows),
            shapes: tail(shapes, rows),
            ids: tail(ids, rows),
            by_signature: tail(by_signature, rows),
            by_reason: tail(by_reason, rows),
            entities: tail(entities, rows),
            steps: tail(steps, rows),
            links: tail(links, rows),
            waits: tail(waits, rows),
            groups: tail(groups, rows),
            compact: *compact,
        };
        (!rest.is_empty()).then_some(rest)
    }

    /// Adds the rows of `other`.
    pub fn extend(&mut self, other: Dirty) {
        let Dirty {
            sessions,
            marks,
            names,
            signatures,
            shapes,
            ids,
            by_signature,
            by_reason,
            entities,
            steps,
            links,
            waits,
            groups,
            compact: _,
        } = other;
        self.sessions.extend(sessions);
        self.marks.extend(marks);
        self.names.extend(names);
        self.signatures.extend(signatures);
        self.shapes.extend(shapes);
        self.ids.extend(ids);
        self.by_signature.extend(by_signature);
        self.by_reason.extend(by_reason);
        self.entities.extend(entities);
        self.steps.extend(steps);
        self.links.extend(links);
        self.waits.extend(waits);
        self.groups.extend(groups);
    }

    fn is_empty(&self) -> bool {
        let Dirty {
            sessions,
            marks,
            names,
            signatures,
            shapes,
            ids,
            by_signature,
            by_reason,
            entities,
            steps,
            links,
            waits,
            groups,
            compact: _,
        } = self;
        let lengths = [
            sessions.len(),
            marks.len(),
            names.len(),
            signatures.len(),
            shapes.len(),
            ids.len(),
            by_signature.len(),
            by_reason.len(),
            entities.len(),
            steps.len(),
            links.len(),
            waits.len(),
            groups.len(),
        ];
        lengths.iter().all(|length| *length == 0)
    }

    /// Returns the rows, neither sorted nor consolidated. The first byte of each says its shard: identities are evenly
    /// distributed.
    pub fn rows(mut self) -> Rows {
        differential_dataflow::consolidation::consolidate(&mut self.sessions);
        let mut rows = Rows::new();
        let mut add = |state: &str, of: Vec<(Vec<u8>, i64)>| drop(rows.insert(state.to_owned(), of));
        add(SESSIONS, encode(self.sessions, |(user, session)| (user.bytes().to_vec(), session)));
        add(MARKS, encode(self.marks, |(user, mark)| (user.bytes().to_vec(), mark)));
        add(NAMES, encode(self.names, |(user, name)| (user.bytes().to_vec(), name)));
        let once = self.signatures.into_iter().map(|row| (row, 1)).collect();
        add(SIGNATURES, encode(once, |(signature, descriptor)| (signature.0.to_be_bytes().to_vec(), descriptor)));
        let once = self.shapes.into_iter().map(|row| (row, 1)).collect();
        add(SHAPES, encode(once, |(shape, leaves)| (shape.0.to_be_bytes().to_vec(), leaves)));
        add(
            IDS,
            encode(self.ids, |row| {
                let key = match row {
                    IdRow::Counted { id, .. } => id.bytes().to_vec(),
                    IdRow::Forgotten { shard, .. } => vec![shard],
                };
                (key, row)
            }),
        );
        let by_signature = self.by_signature;
        add(BY_SIGNATURE, encode(by_signature, |(signature, hour)| (signature.0.to_be_bytes().to_vec(), hour)));
        add(BY_REASON, encode(self.by_reason, |reason| (vec![0], reason)));
        add(ENTITIES, self.entities);
        // Only where there are any, so that the snapshots of other folders stay as they were.
        if !self.steps.is_empty() {
            add(STEPS, self.steps);
        }
        differential_dataflow::consolidation::consolidate(&mut self.links);
        if !self.links.is_empty() {
            let shard = |(link, first): LinkRow| (shard(&link).bytes().to_vec(), (link, first));
            add(LINKS, encode(self.links, shard));
        }
        if !self.waits.is_empty() {
            add(WAITS, self.waits);
        }
        if !self.groups.is_empty() {
            add(GROUPS, self.groups);
        }
        rows
    }
}

/// Returns what tells where the row of a link lies: it says nothing else.
fn shard(link: &Link) -> UserKey {
    let [one, other] = link.ends();
    UserKey::of(&format!("{}\0{}\0{}\0{}", one.kind, one.text, other.kind, other.text))
}

/// Returns the key's bytes, and behind them the value's.
fn encode<R, V: Serialize>(rows: Vec<(R, isize)>, split: impl Fn(R) -> (Vec<u8>, V)) -> Vec<(Vec<u8>, i64)> {
    let encoded = rows.into_iter().map(|(row, diff)| {
        let (key, value) = split(row);
        let row = postcard::to_extend(&value, key).expect("states are plain data, and memory can be written to");
        (row, diff as i64)
    });
    encoded.collect()
}

/// The states and sequences of a plan, to which entities and step events come back.
#[derive(Debug, Default)]
pub struct Folds {
    /// By state: what tells its rows from others, once events count for it.
    known: Vec<(Option<[u8; 16]>, Arc<Definition>)>,
    /// By sequence: what tells its rows from others.
    sequences: Vec<[u8; 16]>,
    /// By count over events: what tells its rows from others, once events count for it.
    counts: Vec<Option<[u8; 16]>>,
    /// Rows of states that are no longer there, to be taken out of the next snapshot.
    pub gone: Vec<(Vec<u8>, i64)>,
}

impl Folds {
    pub fn of(plan: &Plan) -> Folds {
        let known = plan.states.iter().map(|state| {
            let id = match &state.begins {
                Some(StateBegins::Since { id, .. }) => Some(*id),
                Some(StateBegins::Later) | None => None,
            };
            (id, Arc::clone(&state.definition))
        });
        let id = |sequence: &SequencePlan| sequence.begins.as_ref().map_or([0; 16], |begins| begins.id);
        let sequences = plan.sequences.iter().map(id).collect();
        let counts = plan.counts.iter().map(|count| match count.begins {
            Some(CountBegins::Since { id, .. }) if count.is_of_events() => Some(id),
            _ => None,
        });
        Folds { known: known.collect(), sequences, counts: counts.collect(), gone: Vec::new() }
    }

    /// Returns the rows of changed entities, given by state.
    pub fn rows(&self, changed: Vec<Vec<Changed>>) -> Vec<(Vec<u8>, i64)> {
        let mut rows = Vec::new();
        for ((id, _), changed) in self.known.iter().zip(changed) {
            let Some(id) = id else { continue };
            rows.extend(encode(changed, |(entity, state)| ([entity.bytes(), *id].concat(), state)));
        }
        rows
    }

    /// Returns the rows of step events that go and that come.
    pub fn step_rows(&self, mut steps: Vec<StepRow>) -> Vec<(Vec<u8>, i64)> {
        differential_dataflow::consolidation::consolidate(&mut steps);
        encode(steps, |(track, event)| {
            ([track.key.bytes(), self.sequences[usize::from(track.sequence)]].concat(), event)
        })
    }

    /// Returns the rows of groups that go and that come: of counts over events alone, as others follow from the views.
    pub fn group_rows(&self, mut groups: Vec<(Group, isize)>) -> Vec<(Vec<u8>, i64)> {
        groups.retain(|((key, _), _)| self.counts[usize::from(key.count)].is_some());
        differential_dataflow::consolidation::consolidate(&mut groups);
        encode(groups, |(GroupKey { count, cells }, totals)| {
            let id = self.counts[usize::from(count)].unwrap_or_default();
            let shard = cells.as_ref().map_or(0, |cells| cells_hash(cells));
            ([&shard.to_be_bytes()[..], &id].concat(), (cells, totals))
        })
    }

    fn restore_group(&self, row: &[u8], roots: &mut Roots) -> Option<()> {
        let id = row.get(8..24)?;
        // A start that has no such count is refused.
        let count = self.counts.iter().position(|known| known.is_some_and(|known| known == *id))? as u16;
        let (cells, totals) = value(row, 24)?;
        roots.groups.push((GroupKey { count, cells }, totals));
        Some(())
    }

    fn restore_step(&self, row: &[u8], count: i64, roots: &mut Roots) -> Option<()> {
        let (key, id) = (user(row)?, row.get(16..32)?);
        let sequence = self.sequences.iter().position(|known| known == id)? as u16;
        roots.steps.push(((Track { key, sequence }, value(row, 32)?), count as isize));
        Some(())
    }

    fn restore(&mut self, row: &[u8], count: i64, roots: &mut Roots) -> Option<()> {
        let (entity, id) = (user(row)?, row.get(16..32)?);
        let known = (0..).zip(&self.known).find(|(_, (known, _))| known.is_some_and(|known| known == *id));
        let Some((number, (_, definition))) = known else {
            self.gone.push((row.to_vec(), -count));
            return Some(());
        };
        let state: Entity = value(row, 32).filter(|state: &Entity| state.is_of(definition))?;
        roots.entities.push((number, entity, state));
        Some(())
    }
}

/// Adds a row of a state to what goes into the graph. `None` if these are not the bytes of one.
pub fn restore(
    state: &str,
    row: &[u8],
    count: i64,
    roots: &mut Roots,
    input: &mut Input,
    folds: &mut Folds,
) -> Option<()> {
    match state {
        ENTITIES => folds.restore(row, count, roots)?,
        STEPS => folds.restore_step(row, count, roots)?,
        GROUPS => folds.restore_group(row, roots)?,
        LINKS => roots.links.push(value(row, 16)?),
        WAITS => roots.kept.push((user(row)?, row.get(16..).filter(|row| act::is_one(row))?.to_vec())),
        SESSIONS => roots.sessions.push((user(row)?, value(row, 16)?)),
        NAMES => roots.names.push(((user(row)?, value(row, 16)?), count as isize)),
        SIGNATURES => input.signatures.push((signature(row)?, value(row, 8)?)),
        SHAPES => input.shapes.push((ShapeId(signature(row)?.0), value(row, 8)?)),
        MARKS => roots.marks.push((user(row)?, value(row, 16)?, count as isize)),
        IDS if row.len() > 16 => roots.ids.push(value(row, 16)?),
        IDS => roots.ids.push(value(row, 1)?),
        BY_SIGNATURE => roots.by_signature.push(((signature(row)?, value(row, 8)?), count as isize)),
        BY_REASON => roots.by_reason.push((value(row, 1)?, count as isize)),
        _ => return None,
    }
    Some(())
}

fn user(row: &[u8]) -> Option<UserKey> {
    row.first_chunk().and_then(|bytes| UserKey::from_bytes(*bytes))
}

fn signature(row: &[u8]) -> Option<SignatureId> {
    row.first_chunk().map(|bytes| SignatureId(u64::from_be_bytes(*bytes)))
}

fn value<V: DeserializeOwned>(row: &[u8], from: usize) -> Option<V> {
    postcard::from_bytes(row.get(from..)?).ok()
}

#[cfg(test)]
mod tests;
