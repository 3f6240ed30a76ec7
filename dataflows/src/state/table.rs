//! The entities of one worker: their state as it was before some tick, and the items of later ticks, which readers add.
//!
//! ```text
//! items of ticks that may still be read ── each by entity ──▶ a reader adds those before its tick
//!      │ compact                                                     │
//!      ▼                                                             ▼
//! entities by shard ────────────────── copy of one entity ─────▶ row as of the tick
//! ```
//! So a reader sees an entity as of any tick that is not compacted away, and no row is made before it is read.

use super::cells::Entity;
use super::{Definition, Item, Replacement, Value};
use crate::hashed::Hashed;
use crate::identity::UserKey;
use crate::time::{EventTime, TotalTime};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Shards of a worker's range of keys, in the order of keys: a scan sorts the keys of one at a time.
const SHARDS: usize = 256;

/// The entities of one state at one worker.
pub struct Table<T: TotalTime> {
    definition: Arc<Definition>,
    /// Whose entities these are, of how many workers.
    worker: usize,
    workers: usize,
    /// As they were before `since`.
    shards: Vec<Hashed<UserKey, Entity>>,
    /// Changes of the ticks from `since` on, by entity.
    later: BTreeMap<T, Vec<Change>>,
    since: T,
    history: History,
    /// What the next snapshot takes.
    dirty: Hashed<UserKey, Option<Entity>>,
    /// The tick of the last snapshot.
    snapshot: Option<T>,
    /// Ticks that readers hold, how often, and the time of these readers.
    held: BTreeMap<T, (usize, EventTime)>,
    counts: Counts,
}

/// Whether readers ask for ticks of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    Kept,
    /// Each tick is compacted at once. One reader comes at the end, with this time or the latest event time.
    None {
        now: Option<EventTime>,
    },
}

/// What a worker has taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values, by aggregate.
    pub taken: Vec<u64>,
    /// Of these: values that are no number where one is asked for.
    pub not_numbers: Vec<u64>,
    /// The latest event time.
    pub latest: Option<EventTime>,
}

/// A change of an entity. A replacement comes before the items of its tick.
#[derive(Clone, Debug)]
enum Change {
    Replace(Replacement),
    Add(UserKey, Item),
}

impl Change {
    fn entity(&self) -> UserKey {
        match self {
            Change::Replace(replacement) => replacement.entity,
            Change::Add(entity, _) => *entity,
        }
    }
}

/// A row of a snapshot that goes (-1) or comes (1).
pub type Changed = ((UserKey, Entity), isize);

impl<T: TotalTime> Table<T> {
    pub(super) fn new(definition: Arc<Definition>, (worker, workers): (usize, usize), history: History) -> Table<T> {
        let aggregates = definition.aggregates.len();
        let counts = Counts { taken: vec![0; aggregates], not_numbers: vec![0; aggregates], latest: None };
        Table {
            definition,
            worker,
            workers,
            shards: (0..SHARDS).map(|_| Hashed::default()).collect(),
            later: BTreeMap::new(),
            since: T::minimum(),
            history,
            dirty: Hashed::default(),
            snapshot: None,
            held: BTreeMap::new(),
            counts,
        }
    }

    /// Returns what its columns are.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// Returns what has been taken in, without what was restored.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    fn shard(&self, entity: UserKey) -> usize {
        (entity.within(self.workers) >> 56) as usize
    }

    /// Takes an entity of a snapshot.
    ///
    /// # Panics
    /// If its cells are those of another definition.
    pub(super) fn restore(&mut self, entity: UserKey, state: Entity) {
        assert!(state.is_of(&self.definition), "the restored state of {entity:?} is of another definition");
        let shard = self.shard(entity);
        let before = self.shards[shard].insert_new(entity, state);
        assert!(before.is_none(), "the state of {entity:?} is restored twice");
    }

    /// Takes the changes of a tick. Returns the replacements that do not apply.
    pub(super) fn tick(
        &mut self,
        tick: &T,
        items: Vec<(UserKey, Item)>,
        replacements: Vec<Replacement>,
    ) -> Vec<Replacement> {
        let (mut rejected, mut changes) = (Vec::new(), Vec::with_capacity(items.len() + replacements.len()));
        let mut before = None;
        for replacement in replacements {
            // One for each entity: the next one has not seen what the first leaves.
            let repeated = before.replace(replacement.entity) == Some(replacement.entity);
            let found = self.as_of(replacement.entity, Bound::Excluded(tick)).map_or(0, |entity| entity.items);
            if replacement.items.is_none_or(|items| found == items) && !repeated {
                changes.push(Change::Replace(replacement));
            } else {
                rejected.push(replacement);
            }
        }
        for (entity, item) in items {
            self.counts.latest = self.counts.latest.max(Some(item.time));
            for (aggregate, given) in &item.given {
                let aggregate = usize::from(*aggregate);
                self.counts.taken[aggregate] += 1;
                self.counts.not_numbers[aggregate] += u64::from(*given == super::Given::NotNumber);
            }
            changes.push(Change::Add(entity, item));
        }
        // Stable: replacements stay in front.
        changes.sort_by_key(Change::entity);
        match self.history {
            History::Kept if changes.is_empty() => {}
            History::Kept => drop(self.later.insert(tick.clone(), changes)),
            History::None { now } => self.fold(changes, now.or(self.counts.latest), false),
        }
        rejected
    }

    /// Forgets how entities were before `since`, as far as no reader holds that. `now` is the clock of the first tick that
    /// may still be read.
    pub fn compact(&mut self, since: &T, now: EventTime) {
        // A reader that has been there for long sees what has left the windows of later ones.
        let held = self.held.first_key_value();
        let (since, now) = held.map_or((since, now), |(tick, (_, then))| (tick.min(since), now.min(*then)));
        let since = since.clone();
        while let Some(first) = self.later.first_entry() {
            if *first.key() >= since {
                break;
            }
            let (tick, changes) = first.remove_entry();
            let dirty = self.snapshot.as_ref().is_none_or(|snapshot| tick > *snapshot);
            // The last snapshot has taken the entity as it is: with the hops that it had then.
            self.fold(changes, dirty.then_some(now), dirty);
        }
        self.since = self.since.clone().max(since);
    }

    /// Brings the changes of the first tick into the entities. `now`: hops that no reader at that time sees are dropped.
    /// `dirty`: the next snapshot takes what changes.
    fn fold(&mut self, changes: Vec<Change>, now: Option<EventTime>, dirty: bool) {
        for changes in changes.chunk_by(|one, other| one.entity() == other.entity()) {
            let entity = changes[0].entity();
            let shard = self.shard(entity);
            let entities = &mut self.shards[shard];
            if dirty && self.dirty.get(&entity).is_none() {
                self.dirty.insert_new(entity, entities.get(&entity).cloned());
            }
            let state = entities.or_default(entity);
            now.iter().for_each(|now| state.expire(&self.definition, *now));
            changes.iter().for_each(|change| apply(state, change, &self.definition));
            if state.items == 0 {
                entities.remove(&entity);
            }
        }
    }

    /// Returns an entity as of the ticks up to a bound; `None`: it has no item.
    fn as_of(&self, entity: UserKey, upto: Bound<&T>) -> Option<Cow<'_, Entity>> {
        let mut state = self.shards[self.shard(entity)].get(&entity).map(Cow::Borrowed);
        for (_, changes) in self.later.range((Bound::Unbounded, upto)) {
            let from = changes.partition_point(|change| change.entity() < entity);
            for change in changes[from..].iter().take_while(|change| change.entity() == entity) {
                let state = state.get_or_insert_with(|| Cow::Owned(Entity::default())).to_mut();
                apply(state, change, &self.definition);
            }
        }
        state.filter(|state| state.items > 0)
    }

    /// Returns an entity as it is after `tick`; `None`: it has no item.
    ///
    /// # Panics
    /// If that tick has been compacted away.
    pub fn entity(&self, entity: UserKey, tick: &T) -> Option<Entity> {
        assert!(*tick >= self.since, "an entity after {tick:?} is asked for, compacted to {:?}", self.since);
        self.as_of(entity, Bound::Included(tick)).map(Cow::into_owned)
    }

    /// Calls `row` with the values of an entity's columns as of the ticks before `tick`, for a reader at `now`. Returns
    /// whether there is a row.
    ///
    /// # Panics
    /// If that tick has been compacted away.
    pub fn row(&self, entity: UserKey, tick: &T, now: EventTime, row: impl FnOnce(&[Value<'_>])) -> bool {
        assert!(
            *tick >= self.since || self.history != History::Kept,
            "rows before {tick:?} are asked for, compacted to {:?}",
            self.since
        );
        let Some(state) = self.as_of(entity, Bound::Excluded(tick)) else { return false };
        let mut values = Vec::with_capacity(self.definition.columns.len());
        state.row(&self.definition, now, &mut values);
        row(&values);
        true
    }

    /// Calls `rows` with the rows of an entity as of the ticks before one tick and before a later one, each for a reader at its
    /// own time; `None`: there is no row.
    pub(super) fn both<R>(
        &self,
        entity: UserKey,
        (old, then): (&T, EventTime),
        (new, now): (&T, EventTime),
        rows: &mut dyn FnMut(Option<&[Value<'_>]>, Option<&[Value<'_>]>) -> R,
    ) -> R {
        let [old, new] = [old, new].map(|tick| self.as_of(entity, Bound::Excluded(tick)));
        let (mut of_old, mut of_new) = (Vec::new(), Vec::new());
        old.iter().for_each(|state| state.row(&self.definition, then, &mut of_old));
        new.iter().for_each(|state| state.row(&self.definition, now, &mut of_new));
        rows(old.is_some().then_some(of_old.as_slice()), new.is_some().then_some(of_new.as_slice()))
    }

    /// Returns the first time after `now` at which a hop of an entity leaves its window, as it is before `tick`.
    pub(crate) fn expires(&self, entity: UserKey, tick: &T, now: EventTime) -> Option<EventTime> {
        self.as_of(entity, Bound::Excluded(tick))?.expires(&self.definition, now)
    }

    /// Returns the entities that a tick changes, in order.
    pub(crate) fn touched(&self, tick: &T) -> Vec<UserKey> {
        let mut entities: Vec<UserKey> = self.later.get(tick).into_iter().flatten().map(Change::entity).collect();
        entities.dedup();
        entities
    }

    /// Returns whether an entity is known, at the last tick or at one that is not compacted away.
    pub(super) fn has(&self, entity: UserKey) -> bool {
        self.shards[self.shard(entity)].get(&entity).is_some()
            || self.later.values().any(|changes| changes.binary_search_by_key(&entity, Change::entity).is_ok())
    }

    /// Returns the entities of a shard that may have a row before `tick`, in order; `None`: there is no such shard.
    pub(super) fn keys(&self, shard: usize, tick: &T) -> Option<Vec<UserKey>> {
        let mut keys = self.shards.get(shard)?.sorted_keys();
        let known = keys.len();
        for (_, changes) in self.later.range(..tick) {
            let from = changes.partition_point(|change| self.shard(change.entity()) < shard);
            let of_shard = changes[from..].iter().map(Change::entity);
            keys.extend(of_shard.take_while(|entity| self.shard(*entity) == shard));
        }
        if keys.len() > known {
            keys.sort_unstable();
            keys.dedup();
        }
        Some(keys)
    }

    /// Returns the first shard that may have an entity from this one on, which may be at another worker.
    pub(super) fn shard_from(&self, entity: UserKey) -> usize {
        match entity.worker(self.workers).cmp(&(self.worker as u64)) {
            Ordering::Less => 0,
            Ordering::Equal => self.shard(entity),
            Ordering::Greater => SHARDS,
        }
    }

    pub(super) fn hold(&mut self, tick: T, now: EventTime) {
        let held = self.held.entry(tick).or_insert((0, now));
        *held = (held.0 + 1, held.1.min(now));
    }

    pub(super) fn release(&mut self, tick: &T) {
        if let Some((times, _)) = self.held.get_mut(tick) {
            *times -= 1;
            if *times == 0 {
                self.held.remove(tick);
            }
        }
    }

    /// Returns what has changed since the last snapshot, up to and with `tick`, which has not been compacted away beyond.
    pub fn snapshot(&mut self, tick: &T) -> Vec<Changed> {
        let before = self.snapshot.as_ref();
        let from = before.map_or(Bound::Unbounded, Bound::Excluded);
        let mut dirty = std::mem::take(&mut self.dirty);
        for (_, changes) in self.later.range((from, Bound::Included(tick))) {
            for change in changes {
                let entity = change.entity();
                if dirty.get(&entity).is_some() {
                    continue;
                }
                let old = match before {
                    Some(before) => self.as_of(entity, Bound::Included(before)).map(Cow::into_owned),
                    None => self.shards[self.shard(entity)].get(&entity).cloned(),
                };
                dirty.insert_new(entity, old);
            }
        }
        let mut rows = Vec::new();
        for (entity, old) in dirty.into_sorted() {
            let new = self.as_of(entity, Bound::Included(tick)).map(Cow::into_owned);
            if old != new {
                rows.extend(old.map(|old| ((entity, old), -1)));
                rows.extend(new.map(|new| ((entity, new), 1)));
            }
        }
        self.snapshot = Some(tick.clone());
        rows
    }
}

fn apply(state: &mut Entity, change: &Change, definition: &Definition) {
    match change {
        Change::Replace(replacement) => {
            *state = Entity::default();
            replacement.survivors.iter().for_each(|item| state.add(item, definition));
        }
        Change::Add(_, item) => state.add(item, definition),
    }
}
