//! What changed in a tick -> the block that is published: names and classes resolved, in canonical form.

use super::{Contribution, Fed, Kept, Published, Shared};
use crate::decode;
use crate::error::Error;
use crate::log::delivery::{Delivery, place};
use crate::log::output::{Block, Rows};
use crate::log::partition::Reader;
use crate::replay::resolve::{Classes, Scratch};
use crate::rows::{self, Collection};
use dataflows::changes::Changes;
use dataflows::counts::ClassHour;
use dataflows::engine::Engine;
use dataflows::ingest::Verdict;
use dataflows::sessionize::{Late, Lineage};
use dataflows::{DeadLetter, Position, Reason, SignatureId, Tick, UserKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A worker's view of what its changes refer to.
pub(super) struct Publish {
    classes: Arc<Classes>,
    /// The last tick that changed them.
    labelled: Option<Tick>,
    /// Multiplicities are events.
    counts: BTreeMap<ClassHour, i64>,
    scratch: Scratch,
    readers: Vec<Reader>,
}

impl Publish {
    pub fn new(shared: &Shared) -> Publish {
        Publish {
            classes: Arc::default(),
            labelled: None,
            counts: BTreeMap::new(),
            scratch: Scratch::default(),
            readers: shared.readers.clone(),
        }
    }

    /// Takes what a snapshot brought back, which was published before.
    pub fn resume(&mut self, changes: Changes) {
        Arc::make_mut(&mut self.classes).update(changes.classes);
        for (row, diff) in changes.counts {
            *self.counts.entry(row).or_insert(0) += diff as i64;
        }
    }

    /// The classes after the last tick, and which tick changed them last.
    pub fn classes(&self) -> (&Arc<Classes>, Option<Tick>) {
        (&self.classes, self.labelled)
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
        let block = self.block(engine, &fed, changes, shared)?;
        let published = Published { worker, bound: Arc::clone(&bound), block, arrivals };
        shared.published.send(published).map_err(|_| Error::run("publish")("the publisher has ended"))?;
        if bound.snapshot {
            let Kept { dirty, cursors } = std::mem::take(kept);
            let contribution = Contribution { bound, dirty, cursors };
            shared.snapshots.send(contribution).map_err(|_| Error::run("take a snapshot")("nobody takes it"))?;
        }
        Ok(())
    }

    fn block(&mut self, engine: &mut Engine, fed: &Fed, changes: Changes, shared: &Shared) -> Result<Block, Error> {
        let mut block = Block::new(fed.bound.tick, fed.bound.now_ms);
        let Changes { sessions, classes, counts, closings, late, lineage, .. } = changes;
        let mut add = |collection: Collection, rows: Rows| {
            let added = if rows.is_empty() { Ok(()) } else { block.add(collection.name(), rows) };
            added.map_err(Error::run("publish"))
        };
        let mut all = self.relabel(engine, fed.bound.tick, classes);
        let users = sessions.iter().map(|((user, _), _)| *user);
        let users = users.chain(closings.iter().map(|((user, _), _)| *user));
        let users = users.chain(late.iter().map(|late| late.user)).chain(lineage.iter().map(|moved| moved.user));
        let names = names(engine, users.collect());
        let name = |user: &UserKey| names.get(user).map_or("", |name| name);
        for ((user, session), diff) in &sessions {
            let row = self.scratch.row(*user, name(user), session, &self.classes, rows::session);
            all.push((row, *diff as i64));
        }
        add(Collection::Sessions, all)?;
        add(Collection::Counts, self.counted(counts))?;
        let gap = shared.plan.sessions.gap;
        let closed = |((user, session), diff): &(_, isize)| (rows::closing(name(user), session, gap), *diff as i64);
        add(Collection::Closings, closings.iter().map(closed).collect())?;
        let row = |row: &Late| (rows::late(name(&row.user), self.classes.name(row.signature), row), 1);
        add(Collection::Late, late.iter().map(row).collect())?;
        let row = |row: &Lineage| (rows::lineage(name(&row.user), row), 1);
        add(Collection::SessionLineage, lineage.iter().map(row).collect())?;
        let row = |letter: &DeadLetter| {
            let source = &shared.plan.sources[usize::from(letter.position.source)].name;
            (rows::dead_letter(source, letter), 1)
        };
        add(Collection::DeadLetters, fed.dead_letters.iter().map(row).collect())?;
        Ok(block)
    }

    /// Takes new classes. Of signatures that had another one, every session is rewritten; no event is read again.
    fn relabel(
        &mut self,
        engine: &mut Engine,
        tick: Tick,
        changes: Vec<((SignatureId, dataflows::classify::Class), isize)>,
    ) -> Rows {
        if !changes.is_empty() {
            self.labelled = Some(tick);
        }
        let moved: BTreeSet<SignatureId> =
            changes.iter().filter(|(_, diff)| *diff < 0).map(|((signature, _), _)| *signature).collect();
        if moved.is_empty() {
            if !changes.is_empty() {
                Arc::make_mut(&mut self.classes).update(changes);
            }
            return Rows::new();
        }
        let mut before = Vec::new();
        engine.views().sessions_before(tick, &mut |user, session| {
            if session.counts().any(|(signature, _)| moved.contains(&signature)) {
                before.push((user, session.clone()));
            }
        });
        let names = names(engine, before.iter().map(|(user, _)| *user).collect());
        let mut all = Rows::new();
        for diff in [-1, 1] {
            for (user, session) in &before {
                let name = names.get(user).map_or("", |name| name);
                all.push((self.scratch.row(*user, name, session, &self.classes, rows::session), diff));
            }
            if diff == -1 {
                Arc::make_mut(&mut self.classes).update(changes.clone());
            }
        }
        all
    }

    /// Multiplicities become values.
    fn counted(&mut self, changes: Vec<(ClassHour, isize)>) -> Rows {
        let mut sums: BTreeMap<ClassHour, i64> = BTreeMap::new();
        for (row, diff) in changes {
            *sums.entry(row).or_insert(0) += diff as i64;
        }
        let mut all = Rows::new();
        for (row, diff) in sums.into_iter().filter(|(_, diff)| *diff != 0) {
            let encode = |events: i64| rows::count(&row.0, row.1, events.unsigned_abs());
            let events = self.counts.get(&row).copied().unwrap_or(0);
            if events != 0 {
                all.push((encode(events), -1));
            }
            if events + diff != 0 {
                all.push((encode(events + diff), 1));
                self.counts.insert(row, events + diff);
            } else {
                self.counts.remove(&row);
            }
        }
        all
    }

    /// The dead letter of a record that conflicts with another one; its payload is read again, since a graph carries
    /// none.
    fn conflict(&mut self, position: Position, shared: &Shared) -> Result<DeadLetter, Error> {
        shared.metrics.dead_letter(Reason::ConflictingDuplicate);
        let (record, byte) = place(position.offset);
        let events = &shared.plan.sources[usize::from(position.source)].events;
        let mut payload = Vec::new();
        let read = self.readers[position.part as usize].read(record, record + 1, |record| {
            let Some(delivery) = Delivery::decode(record.payload) else { return };
            let records = delivery.framing.records(delivery.events);
            let found = records.into_iter().find(|(start, bytes)| (*start..start + bytes.len()).contains(&byte));
            let Some((start, bytes)) = found else { return };
            let parts = decode::events_of(events, bytes);
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

fn names(engine: &mut Engine, mut users: Vec<UserKey>) -> BTreeMap<UserKey, Arc<str>> {
    users.sort_unstable();
    users.dedup();
    let mut names = BTreeMap::new();
    engine.views().names_of(users, |user, name| drop(names.insert(user, Arc::clone(name))));
    names
}
