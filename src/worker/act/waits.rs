//! What actions remember from tick to tick: causes that wait, and decisions that may be taken back.
//!
//! All of it is at the worker of the entity, and a snapshot brings it back there. So what follows from it is a function of the
//! ticks, at any number of workers.

use super::at::Seen;
use crate::collections::actions::Verdict;
use crate::plan::{ActionPlan, Plan, Timing};
use crate::queue::reference::Tables;
use dataflows::pipeline::KeptRow;
use dataflows::{EventTime, UserKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why something is remembered. Snapshots hold it by its place: a new one comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Stage {
    /// A gate holds the cause back.
    Gate,
    /// The decision is to be handed over with others, and may be taken back until then.
    Queued,
    /// The row has changed a short time ago.
    Settling,
    /// The decision was made, and may be taken back.
    Made,
}

/// Something that an action remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wait {
    /// The name of the action.
    pub action: String,
    pub stage: Stage,
    /// The key of the row; empty of events.
    pub row: Vec<u8>,
    /// The key of the decision; zeros while a row settles.
    pub key: [u8; 16],
    /// When the clock ends it, if it does.
    pub due: Option<EventTime>,
    /// What is decided if nothing comes between.
    pub verdict: Verdict,
    pub user: Option<String>,
    /// As a JSON object.
    pub cause: String,
    pub time: Option<EventTime>,
    pub received: Option<EventTime>,
}

/// A row of a snapshot, behind the key of the entity.
#[derive(Serialize, Deserialize)]
enum Written<W> {
    V1(W),
}

/// The place of something that is remembered. That of one entity, stage, action and row follows each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub place: UserKey,
    pub stage: Stage,
    /// By index.
    pub action: u16,
    pub row: Vec<u8>,
    pub key: [u8; 16],
}

impl Wait {
    pub fn seen(&self) -> Seen<'_> {
        let Wait { user, cause, time, received, .. } = self;
        Seen { user: user.as_deref(), cause, time: *time, received: *received }
    }

    fn written(&self, place: UserKey) -> Vec<u8> {
        let row = postcard::to_extend(&Written::V1(self), place.bytes().to_vec());
        row.expect("what is remembered is plain data, and memory can be written to")
    }
}

/// Returns whether an action as it is configured remembers for this reason.
fn remembers(action: &ActionPlan, stage: Stage) -> bool {
    match stage {
        Stage::Gate => action.gate.is_some(),
        Stage::Queued => action.compensate && matches!(action.timing, Timing::Every(_)),
        Stage::Settling => matches!(action.timing, Timing::Settled(_)),
        Stage::Made => action.compensate,
    }
}

/// What the actions of one worker remember.
#[derive(Debug, Default)]
pub(in crate::worker) struct Waits {
    held: BTreeMap<Id, Wait>,
    /// In the order in which the clock ends them.
    due: BTreeSet<(EventTime, Id)>,
    /// The causes at gates that the clock may let pass, each with the next time at which it may.
    again: BTreeSet<(EventTime, Id)>,
    times: BTreeMap<Id, EventTime>,
    /// Gates that have come back with a snapshot, and have not been looked at.
    back: BTreeSet<Id>,
    /// The number of causes at a gate, by entity and action.
    gates: BTreeMap<(UserKey, u16), u32>,
    /// By action: what waits.
    waiting: BTreeMap<u16, u64>,
    /// `waiting` has changed since it was said.
    unsaid: bool,
    /// As of the last tick.
    tables: Option<Arc<Tables>>,
    /// Rows of the snapshot that went and came since the last one.
    dirty: BTreeMap<Vec<u8>, i64>,
}

impl Waits {
    /// Takes what a snapshot has brought back. Returns how much there was of which action that does not remember it any more:
    /// the next snapshot has none of it.
    pub fn restore(&mut self, rows: Vec<KeptRow>, plan: &Plan) -> BTreeMap<String, u64> {
        let mut gone = BTreeMap::new();
        for (place, row) in rows {
            let Some(wait) = read(&row) else { continue };
            let known = (0..).zip(&plan.actions).find(|(_, action)| action.name == wait.action);
            match known.filter(|(_, action)| remembers(action, wait.stage)) {
                Some((index, _)) => {
                    let id = self.put(place, index, wait);
                    if id.stage == Stage::Gate {
                        self.back.insert(id);
                    }
                }
                None => {
                    *gone.entry(wait.action.clone()).or_insert(0) += 1;
                    self.note(wait.written(place), -1);
                }
            }
        }
        gone
    }

    /// Remembers something.
    pub(super) fn add(&mut self, place: UserKey, action: u16, wait: Wait) -> Id {
        self.note(wait.written(place), 1);
        self.put(place, action, wait)
    }

    fn put(&mut self, place: UserKey, action: u16, wait: Wait) -> Id {
        let id = Id { place, stage: wait.stage, action, row: wait.row.clone(), key: wait.key };
        self.due.extend(wait.due.map(|due| (due, id.clone())));
        if id.stage == Stage::Gate {
            *self.gates.entry((place, action)).or_insert(0) += 1;
        }
        if id.stage != Stage::Made {
            *self.waiting.entry(action).or_insert(0) += 1;
            self.unsaid = true;
        }
        self.held.insert(id.clone(), wait);
        id
    }

    /// Forgets something, and returns it.
    pub(super) fn take(&mut self, id: &Id) -> Option<Wait> {
        let wait = self.held.remove(id)?;
        self.note(wait.written(id.place), -1);
        if let Some(due) = wait.due {
            self.due.remove(&(due, id.clone()));
        }
        self.again_at(id, None);
        if id.stage == Stage::Gate {
            let place = (id.place, id.action);
            let left = self.gates.get(&place).map_or(0, |number| number - 1);
            match left {
                0 => drop(self.gates.remove(&place)),
                left => drop(self.gates.insert(place, left)),
            }
        }
        if id.stage != Stage::Made {
            let waiting = self.waiting.entry(id.action).or_insert(1);
            *waiting -= 1;
            self.unsaid = true;
        }
        Some(wait)
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Wait> {
        self.held.get(id)
    }

    /// Looks at a cause at a gate again at a time, or at none.
    pub(super) fn again_at(&mut self, id: &Id, time: Option<EventTime>) {
        if let Some(before) = self.times.remove(id) {
            self.again.remove(&(before, id.clone()));
        }
        if let Some(time) = time {
            self.times.insert(id.clone(), time);
            self.again.insert((time, id.clone()));
        }
    }

    /// Returns the number of causes of an entity that an action's gate holds back.
    pub(super) fn at_gate(&self, place: UserKey, action: u16) -> u32 {
        self.gates.get(&(place, action)).copied().unwrap_or(0)
    }

    pub(super) fn has_gates(&self) -> bool {
        !self.gates.is_empty()
    }

    /// Returns what is remembered of an entity for a reason.
    pub(super) fn of(&self, place: UserKey, stage: Stage) -> impl Iterator<Item = &Id> {
        let first = Id { place, stage, action: 0, row: Vec::new(), key: [0; 16] };
        self.held.range(first..).map(|(id, _)| id).take_while(move |id| (id.place, id.stage) == (place, stage))
    }

    /// Returns what an action remembers of a row.
    pub(super) fn of_row(&self, place: UserKey, action: u16, row: &[u8]) -> Vec<Id> {
        let mut all = Vec::new();
        for stage in [Stage::Gate, Stage::Queued, Stage::Settling, Stage::Made] {
            let first = Id { place, stage, action, row: row.to_vec(), key: [0; 16] };
            let same = |id: &&Id| (id.place, id.stage, id.action, &*id.row) == (place, stage, action, row);
            all.extend(self.held.range(first..).map(|(id, _)| id).take_while(same).cloned());
        }
        all
    }

    /// Returns the causes at gates that are to be looked at at any rate: since the clock may let them pass, since they have
    /// come back, or since the tables are others than those of the last tick, which `asks` them.
    pub(super) fn looked_at(
        &mut self,
        now: EventTime,
        tables: &Arc<Tables>,
        asks: impl Fn(u16) -> bool,
    ) -> BTreeSet<Id> {
        let mut all = std::mem::take(&mut self.back);
        while let Some((_, id)) = self.again.first().filter(|(time, _)| *time <= now).cloned() {
            self.again_at(&id, None);
            all.insert(id);
        }
        let same = self.tables.as_ref().is_some_and(|before| Arc::ptr_eq(before, tables));
        if !same {
            let gates = self.held.keys().filter(|id| id.stage == Stage::Gate && asks(id.action));
            all.extend(gates.cloned());
            self.tables = Some(Arc::clone(tables));
        }
        all
    }

    /// Takes the next of those that the clock ends by `now`.
    pub(super) fn take_due(&mut self, now: EventTime) -> Option<(Id, Wait)> {
        let (_, id) = self.due.first().filter(|(time, _)| *time <= now).cloned()?;
        let wait = self.take(&id)?;
        Some((id, wait))
    }

    /// Returns the first time at which the clock does something.
    pub fn next(&self) -> Option<EventTime> {
        let first = |of: &BTreeSet<(EventTime, Id)>| of.first().map(|(time, _)| *time);
        first(&self.due).into_iter().chain(first(&self.again)).min()
    }

    /// Returns what waits, by action, if that has changed since it was asked.
    pub fn news(&mut self) -> Option<Vec<(u16, u64)>> {
        std::mem::take(&mut self.unsaid).then(|| self.waiting.iter().map(|(action, many)| (*action, *many)).collect())
    }

    /// Returns the rows of the next snapshot that go and that come.
    pub fn changed(&mut self) -> Vec<(Vec<u8>, i64)> {
        std::mem::take(&mut self.dirty).into_iter().collect()
    }

    fn note(&mut self, row: Vec<u8>, diff: i64) {
        let times = self.dirty.entry(row.clone()).or_insert(0);
        *times += diff;
        if *times == 0 {
            self.dirty.remove(&row);
        }
    }
}

/// Reads a row of a snapshot, behind the key of the entity.
fn read(row: &[u8]) -> Option<Wait> {
    postcard::from_bytes(row).ok().map(|Written::V1(wait)| wait)
}

/// Returns whether these are the bytes of a row of a snapshot, behind the key of the entity.
pub(in crate::worker) fn is_one(row: &[u8]) -> bool {
    read(row).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Overrides};

    fn at(micros: i64) -> EventTime {
        EventTime::from_micros(micros).unwrap()
    }

    fn wait(key: u8) -> Wait {
        Wait {
            action: "a".into(),
            stage: Stage::Gate,
            row: Vec::new(),
            key: [key; 16],
            due: Some(at(1_000_000)),
            verdict: Verdict::Fired,
            user: Some("u".into()),
            cause: "{}".into(),
            time: None,
            received: Some(at(1_000_000)),
        }
    }

    /// Snapshots hold these bytes: another encoding is another variant of [`Written`].
    #[test]
    fn the_encoding_is_pinned() {
        let place = UserKey::from_bytes([0x11; 16]).unwrap();
        let row = wait(0x22).written(place);
        let expected =
            format!("{}000161{}{}0180897a00010175027b7d000180897a", "11".repeat(16), "0000", "22".repeat(16));
        assert_eq!(crate::fingerprint::hex(&row), expected);
        assert_eq!(read(&row[16..]), Some(wait(0x22)));
    }

    #[test]
    fn what_a_snapshot_has_is_what_was_left_of_it() {
        let text = "[[source]]\nname = 's'\nkind = 'http'\n[[state]]\nname = 'x'\nper = 'user'\ncolumns.n = { count = true }\n\
                    [[action]]\nname = 'a'\non = 'events'\ndo = 'gate'\nuntil = 'state.x.n > 3'\ndeadline = '1h'\nsink = 'f'\n\
                    [[sink]]\nname = 'f'\nkind = 'file'\npath = 'f'\n";
        let overrides = Overrides { live: true, ..Overrides::default() };
        let plan = config::parse("run.toml", text, std::path::Path::new("/"), &overrides).unwrap();
        let place = UserKey::of("u");
        let mut waits = Waits::default();
        let ids: Vec<Id> = (0..3).map(|key| waits.add(place, 0, wait(key))).collect();
        assert_eq!((waits.at_gate(place, 0), waits.next()), (3, Some(at(1_000_000))));
        waits.again_at(&ids[1], Some(at(5)));
        assert_eq!(waits.next(), Some(at(5)));
        assert_eq!(waits.take(&ids[1]), Some(wait(1)));
        assert_eq!((waits.take(&ids[1]), waits.next()), (None, Some(at(1_000_000))));
        let rows = waits.changed();
        assert_eq!(rows, [0, 2].map(|key| (wait(key).written(place), 1)));
        assert_eq!(waits.changed(), []);
        let kept = |row: &Vec<u8>| (place, row[16..].to_vec());
        let mut back = Waits::default();
        let gone = back.restore(rows.iter().map(|(row, _)| kept(row)).collect(), &plan);
        assert!(gone.is_empty() && back.changed().is_empty());
        assert_eq!((back.at_gate(place, 0), back.news()), (2, Some(vec![(0, 2)])));
        assert_eq!(back.of(place, Stage::Gate).collect::<Vec<_>>(), [&ids[0], &ids[2]]);
        assert_eq!(back.take_due(at(1_000_000)).unwrap().0, ids[0]);
        assert_eq!(back.changed(), [(wait(0).written(place), -1)]);
        // Of an action that is gone, or does not remember it any more.
        let others = [Wait { action: "b".into(), ..wait(4) }, Wait { stage: Stage::Made, ..wait(5) }];
        let mut other = Waits::default();
        let gone = other.restore(others.iter().map(|wait| kept(&wait.written(place))).collect(), &plan);
        assert_eq!(gone, BTreeMap::from([("a".into(), 1), ("b".into(), 1)]));
        let mut expected = others.map(|wait| (wait.written(place), -1));
        expected.sort();
        assert_eq!((other.changed(), other.news()), (expected.to_vec(), None));
    }
}
