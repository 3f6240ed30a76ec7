//! Changes of a tick -> published rows: resolves names and classes, and brings the rows into canonical form.

use super::gather::{Gather, Output, Overflow};
use super::{Contribution, Fed, Kept, Published, Shared};
use crate::collections::classes::{Classes, Scratch};
use crate::collections::place::place;
use crate::collections::{self, Collection};
use crate::error::Error;
use crate::queue::delivery::Delivery;
use crate::queue::sequencer::Ticks;
use dataflows::changes::Changes;
use dataflows::counts::ClassHour;
use dataflows::engine::Engine;
use dataflows::ingest::Verdict;
use dataflows::sessionize::{Late, Lineage, Session};
use dataflows::{DeadLetter, Position, Reason, SignatureId, Tick, UserKey};
use headwater_log::error::LogError;
use headwater_log::partition::Reader;
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
    overflow: Overflow,
    readers: Vec<Reader>,
}

/// Rows after which the watchdog hears that a large tick makes progress.
const BEAT: usize = 1 << 14;

impl Publish {
    pub fn new(shared: &Shared) -> Publish {
        Publish {
            classes: Arc::default(),
            labelled: None,
            counts: BTreeMap::new(),
            scratch: Scratch::default(),
            overflow: Overflow {
                folder: shared.plan.data_dir.clone(),
                reserve: Arc::clone(&shared.reserve),
                memory: shared.memory,
            },
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

    /// Returns the classes after the last tick, and which tick changed them last.
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
        changes: Changes,
        shared: &Shared,
    ) -> Result<Output, LogError> {
        let overflow = self.overflow.clone();
        let mut out = Gather::new(fed.bound.tick, fed.bound.now_ms, &overflow);
        let Changes { mut sessions, classes, counts, mut closings, mut late, mut lineage, .. } = changes;
        self.relabel(engine, fed.bound.tick, classes, shared, &mut out)?;
        let Publish { scratch, classes, .. } = self;
        named(
            engine,
            &shared.ticks,
            &mut sessions,
            |((user, _), _)| *user,
            |((user, session), diff), name| {
                let row = scratch.row(*user, name, session, classes, collections::sessions::encode);
                out.add(Collection::SESSIONS, row, *diff as i64)
            },
        )?;
        self.counted(counts, &mut out)?;
        let gap = shared.plan.sessions.gap;
        named(
            engine,
            &shared.ticks,
            &mut closings,
            |(closing, _)| closing.user,
            |(closing, diff), name| {
                out.add(Collection::CLOSINGS, collections::closings::encode(name, closing, gap), *diff as i64)
            },
        )?;
        let classes = &self.classes;
        named(
            engine,
            &shared.ticks,
            &mut late,
            |late: &Late| late.user,
            |late, name| {
                out.add(Collection::LATE, collections::late::encode(name, classes.name(late.signature), late), 1)
            },
        )?;
        named(
            engine,
            &shared.ticks,
            &mut lineage,
            |moved: &Lineage| moved.user,
            |moved, name| out.add(Collection::SESSION_LINEAGE, collections::session_lineage::encode(name, moved), 1),
        )?;
        for letter in &fed.dead_letters {
            let source = &shared.plan.sources[usize::from(letter.position.source)].name;
            out.add(Collection::DEAD_LETTERS, collections::dead_letters::encode(source, letter), 1)?;
        }
        out.finish()
    }

    /// Takes new classes. Of signatures that had another one, every session is rewritten; no event is read again.
    fn relabel(
        &mut self,
        engine: &mut Engine,
        tick: Tick,
        changes: Vec<((SignatureId, dataflows::classify::Class), isize)>,
        shared: &Shared,
        out: &mut Gather<'_>,
    ) -> Result<(), LogError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.labelled = Some(tick);
        let moved: BTreeSet<SignatureId> =
            changes.iter().filter(|(_, diff)| *diff < 0).map(|((signature, _), _)| *signature).collect();
        let before = Arc::clone(&self.classes);
        Arc::make_mut(&mut self.classes).update(changes);
        if moved.is_empty() {
            return Ok(());
        }
        let Publish { scratch, classes, .. } = self;
        let (mut seen, mut added) = (0, Ok(()));
        let mut sessions = engine.views().scan(tick);
        let mut session = |user, name: &str, session: &Session| {
            seen += 1;
            if added.is_ok() && session.counts().any(|(signature, _)| moved.contains(&signature)) {
                let mut row =
                    |classes: &Classes| scratch.row(user, name, session, classes, collections::sessions::encode);
                let (old, new) = (row(&before), row(classes));
                added = out.add(Collection::SESSIONS, old, -1).and_then(|()| out.add(Collection::SESSIONS, new, 1));
            }
            if seen % BEAT == 0 {
                shared.ticks.beat();
            }
        };
        while sessions.step(&mut session).is_some() {}
        added
    }

    /// Multiplicities become values.
    fn counted(&mut self, changes: Vec<(ClassHour, isize)>, out: &mut Gather<'_>) -> Result<(), LogError> {
        let mut sums: BTreeMap<ClassHour, i64> = BTreeMap::new();
        for (row, diff) in changes {
            *sums.entry(row).or_insert(0) += diff as i64;
        }
        for (row, diff) in sums.into_iter().filter(|(_, diff)| *diff != 0) {
            let encode = |events: i64| collections::counts::encode(&row.0, row.1, events.unsigned_abs());
            let events = self.counts.get(&row).copied().unwrap_or(0);
            if events != 0 {
                out.add(Collection::COUNTS, encode(events), -1)?;
            }
            if events + diff != 0 {
                out.add(Collection::COUNTS, encode(events + diff), 1)?;
                self.counts.insert(row, events + diff);
            } else {
                self.counts.remove(&row);
            }
        }
        Ok(())
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
            let records = delivery.framing.records(delivery.events);
            let found = records.into_iter().find(|(start, bytes)| (*start..start + bytes.len()).contains(&byte));
            let Some((start, bytes)) = found else { return };
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

/// Calls `add` with every row and the name of its user, in the order of users.
fn named<R>(
    engine: &mut Engine,
    ticks: &Ticks,
    rows: &mut [R],
    user: impl Fn(&R) -> UserKey,
    mut add: impl FnMut(&R, &str) -> Result<(), LogError>,
) -> Result<(), LogError> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut named = 0;
    let mut each = |row: &R, name: &str| {
        named += 1;
        if named % BEAT == 0 {
            ticks.beat();
        }
        add(row, name)
    };
    rows.sort_unstable_by_key(&user);
    let (mut rest, mut added) = (&*rows, Ok(()));
    let users = rows.chunk_by(|one, other| user(one) == user(other)).map(|own| user(&own[0]));
    engine.views().names_of(users, |named, name| {
        let before = rest.partition_point(|row| user(row) < named);
        let end = before + rest[before..].partition_point(|row| user(row) == named);
        // Readers send the name of a user in the tick of the user's first event, or before: none comes without.
        if added.is_ok() {
            let mut own = rest[..end].iter().enumerate();
            added = own.try_for_each(|(at, row)| each(row, if at < before { "" } else { name }));
        }
        rest = &rest[end..];
    });
    added?;
    rest.iter().try_for_each(|row| each(row, ""))
}
