//! Record -> [`Event`]: once per event id.
//!
//! Identity is (user, event id) (docs/identity.md). Equal payloads under one identity: one counts. Unequal ones: the
//! first in log order counts and the others are dead letters. Records further apart in event time than the horizon are
//! not duplicates: ids may be used again. Records without an identity pass.
//!
//! Known ids are bounded in memory. When they are too many, those with the oldest event times are forgotten; a record
//! as old as these whose id is not known is let through and counted as not checked. Within the bound the outcome
//! depends on the records alone, except for conflicts, which are reported.

use crate::hashed::Hashed;
use crate::identity::EventId;
use crate::operators::{Capabilities, Fold, Keyed, Output, Turn};
use crate::record::{Event, Identity, Position, Record};
use crate::time::{EventTime, Tick, TotalTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;

/// How duplicates are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedupe {
    /// Ids that all workers together remember, at about [`Dedupe::BYTES_PER_ID`] each. Beyond that the oldest are
    /// forgotten.
    pub ids: usize,
}

impl Dedupe {
    /// A table entry of 48 bytes and its control byte, just after the table has doubled.
    pub const BYTES_PER_ID: usize = 112;
}

/// What became of a record that did not simply count. A row of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Another record with the same identity and payload counts.
    Duplicate(Position),
    /// Another record with the same identity and another payload came first and counts: a dead letter.
    Conflict(Position),
    /// It counts, but its id had been forgotten, so it may be a duplicate.
    NotChecked(Position),
}

/// A row of what is known of ids: all that recognising duplicates remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IdRow {
    /// An event that counted.
    Counted {
        /// Its identity.
        id: EventId,
        /// See [`crate::identity::payload_hash`].
        payload: [u64; 2],
        /// When it happened, if it says so.
        time: Option<EventTime>,
    },
    /// Ids of this shard, of events up to this time, may have been forgotten.
    Forgotten {
        /// See [`EventId::shard`].
        shard: u8,
        /// The latest event time of what was forgotten.
        upto: EventTime,
    },
}

impl IdRow {
    fn shard(&self) -> u8 {
        match self {
            IdRow::Counted { id, .. } => id.shard(),
            IdRow::Forgotten { shard, .. } => *shard,
        }
    }
}

/// What the operator says beside the records that count: of which kind, is in the row, as each stream more is tracked tick
/// by tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// Journal: a record did not simply count.
    Verdict(Verdict),
    /// A row of what is known is added (1) or taken away (-1), for snapshots.
    Id(IdRow, isize),
}

/// What [`ingest`] gives.
pub struct Ingested<'s, T: TotalTime = Tick> {
    /// The records that count.
    pub records: Stream<'s, T, Vec<Record>>,
    /// What became of the others; `None`: all count.
    pub entries: Option<Stream<'s, T, Vec<(Entry, T)>>>,
}

/// Lets each event through once. `restored` is what was known when a snapshot was taken; it comes at a tick before those
/// of all records, and gives no output.
pub fn ingest<'s, T: TotalTime>(
    records: Stream<'s, T, Vec<Record>>,
    restored: Stream<'s, T, Vec<IdRow>>,
    dedupe: Option<Dedupe>,
) -> Ingested<'s, T> {
    let scope = records.scope();
    let Some(dedupe) = dedupe else { return Ingested { records, entries: None } };
    let here = scope.index() as u64;
    let mut operator = Keyed::<T, Ingesting<T>>::new("Ingest", scope);
    let (counted, count_stream) = operator.output();
    let (entries, entry_stream) = operator.output();
    let route = move |record: &Record| record.identity.as_ref().map_or(here, |known| u64::from(known.id.shard()));
    operator.passing(records, Exchange::new(route), |fold, arrivals| {
        let mut counted = fold.counted.activate();
        arrivals.each(|waiting, capability, records| {
            let mut session = counted.session(capability);
            for record in records.drain(..) {
                match record.identity {
                    Some(identity) => waiting.push((identity.id.bits(), record.event, identity)),
                    None => session.give(record),
                }
            }
        });
    });
    // Ids come back in any order, and before the first record asks for them.
    operator.input(restored, Exchange::new(|row: &IdRow| u64::from(row.shard())), |fold, arrivals| {
        arrivals.at_once(|rows| rows.drain(..).for_each(|row| fold.ids.restore(row)));
    });
    operator.build(Ingesting { ids: Ids::new(dedupe.ids), counted, entries });
    Ingested { records: count_stream, entries: Some(entry_stream) }
}

/// Says which of some records count, given in log order, without forgetting any.
#[derive(Debug, Default)]
pub struct Once(BTreeMap<EventId, Vec<Counted>>);

impl Once {
    /// Returns whether a record counts.
    pub fn admit(&mut self, identity: &Identity, time: Option<EventTime>) -> bool {
        let known = self.0.entry(identity.id).or_default();
        let counts = !known.iter().any(|counted| counted.is_near(identity, time));
        if counts {
            known.push(Counted { payload: identity.payload, time });
        }
        counts
    }
}

/// Records with an identity, each behind the leading bits of its id.
type Waiting = Vec<(u64, Event, Box<Identity>)>;

/// One worker's ids.
struct Ingesting<T: TotalTime> {
    ids: Ids,
    counted: Output<T, Record>,
    entries: Output<T, (Entry, T)>,
}

impl<T: TotalTime> Fold<T> for Ingesting<T> {
    type Waiting = Waiting;

    fn tick(&mut self, tick: &T, waiting: &mut Waiting, at: &Capabilities<T>) -> Turn {
        let Ingesting { ids, counted, entries } = self;
        counted.send(at, |counted| {
            entries.send(at, |entries| {
                let mut count = |event| counted.give(Record { event, identity: None });
                let mut say = |entry| entries.give((entry, tick.clone()));
                ids.tick(std::mem::take(waiting), &mut count, |verdict| say(Entry::Verdict(verdict)));
                ids.changes.drain(..).for_each(|(row, diff)| say(Entry::Id(row, diff)));
            });
        });
        Turn::Done
    }
}

/// What one worker knows of the ids of its shards. What is forgotten and when is decided shard by shard, so that it does
/// not depend on the number of workers.
struct Ids {
    shards: Vec<Shard>,
    /// Events that each shard remembers.
    limit: usize,
    /// Since they were last taken.
    changes: Vec<(IdRow, isize)>,
}

/// The ids of one shard that counted.
#[derive(Default)]
struct Shard {
    known: Hashed<EventId, Counted>,
    /// Further events of ids that were used again outside of the horizon.
    again: BTreeMap<EventId, Vec<Counted>>,
    /// In both.
    events: usize,
    /// Ids of events up to this time may have been forgotten.
    forgotten: Option<EventTime>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    payload: [u64; 2],
    time: Option<EventTime>,
}

impl Counted {
    /// Returns whether another record of this id is the same event.
    fn is_near(&self, other: &Identity, time: Option<EventTime>) -> bool {
        match (self.time, time) {
            (Some(one), Some(time)) => one.micros().abs_diff(time.micros()) <= other.horizon.unsigned_abs(),
            _ => true,
        }
    }

    fn row(&self, id: EventId) -> IdRow {
        IdRow::Counted { id, payload: self.payload, time: self.time }
    }
}

impl Ids {
    fn new(limit: usize) -> Ids {
        let shards = (0..EventId::SHARDS).map(|_| Shard::default()).collect();
        Ids { shards, limit: (limit / EventId::SHARDS).max(1), changes: Vec::new() }
    }

    /// Decides on the records of one tick, in the order of the log. Ids that are too many by then are forgotten.
    fn tick(&mut self, mut records: Waiting, mut event: impl FnMut(Event), mut verdict: impl FnMut(Verdict)) {
        // Ticks follow the log; within one, position decides which of two conflicting records came first.
        // The leading bits of ids are at hand; identities are looked at where these are equal.
        records.sort_unstable_by(|(bits, _, one), (other_bits, _, other)| {
            let rest = || (one.id, one.position).cmp(&(other.id, other.position));
            bits.cmp(other_bits).then_with(rest)
        });
        for (_, of_record, identity) in records {
            let (counts, said) = self.admit(&identity, of_record.at());
            if counts {
                event(of_record);
            }
            said.into_iter().for_each(&mut verdict);
        }
        self.forget();
    }

    fn restore(&mut self, row: IdRow) {
        let shard = &mut self.shards[usize::from(row.shard())];
        match row {
            IdRow::Counted { id, payload, time } => shard.insert(id, Counted { payload, time }),
            IdRow::Forgotten { upto, .. } => shard.forgotten = shard.forgotten.max(Some(upto)),
        }
    }

    /// Whether the record counts, and what is to be said about it.
    fn admit(&mut self, identity: &Identity, time: Option<EventTime>) -> (bool, Option<Verdict>) {
        let position = identity.position;
        let near = |counted: &&Counted| counted.is_near(identity, time);
        let shard = &mut self.shards[usize::from(identity.id.shard())];
        let first = shard.known.get(&identity.id);
        let again = shard.again.get(&identity.id);
        let mut matches = first.into_iter().chain(again.into_iter().flatten()).filter(near).peekable();
        if matches.peek().is_some() {
            let verdict = if matches.any(|counted| counted.payload == identity.payload) {
                Verdict::Duplicate(position)
            } else {
                Verdict::Conflict(position)
            };
            return (false, Some(verdict));
        }
        if time.is_some() && time <= shard.forgotten {
            return (true, Some(Verdict::NotChecked(position)));
        }
        let counted = Counted { payload: identity.payload, time };
        shard.insert(identity.id, counted);
        self.changes.push((counted.row(identity.id), 1));
        (true, None)
    }

    /// Of each shard that has too many, forgets the older half. Ids of events without a time go first.
    fn forget(&mut self) {
        for (number, shard) in (0..=u8::MAX).zip(&mut self.shards) {
            if shard.events > self.limit {
                shard.forget(number, &mut self.changes);
            }
        }
    }
}

impl Shard {
    fn insert(&mut self, id: EventId, counted: Counted) {
        self.events += 1;
        if let Some(counted) = self.known.insert_new(id, counted) {
            self.again.entry(id).or_default().push(counted);
        }
    }

    /// Each event goes by its own time, whichever of its id came first: what stays follows from the rows alone, so it is
    /// the same after a snapshot, and nothing later than `forgotten` is missing.
    fn forget(&mut self, number: u8, changes: &mut Vec<(IdRow, isize)>) {
        let mut times: Vec<_> = self.again.values().flatten().map(|counted| counted.time).collect();
        // A median of them is all that is used.
        self.known.values_in_no_order(|counted| times.push(counted.time));
        let middle = times.len() / 2;
        let (_, cut, _) = times.select_nth_unstable(middle);
        let cut = *cut;
        let gone = changes.len();
        let mut keep = |id: &EventId, counted: &Counted| {
            let kept = counted.time > cut;
            if !kept {
                changes.push((counted.row(*id), -1));
            }
            kept
        };
        self.again.retain(|id, others| {
            others.retain(|counted| keep(id, counted));
            !others.is_empty()
        });
        let again = &mut self.again;
        // What goes is sorted below.
        self.known.retain_in_no_order(|id, counted| {
            if keep(id, counted) {
                return true;
            }
            let Some(others) = again.get_mut(id) else { return false };
            let Some(other) = others.pop() else { return false };
            if others.is_empty() {
                again.remove(id);
            }
            *counted = other;
            true
        });
        self.events -= changes.len() - gone;
        changes[gone..].sort_unstable();
        let forgotten = self.forgotten.max(cut);
        let row = |upto| IdRow::Forgotten { shard: number, upto };
        if forgotten != self.forgotten {
            changes.extend(self.forgotten.map(|upto| (row(upto), -1)));
            changes.extend(forgotten.map(|upto| (row(upto), 1)));
        }
        self.forgotten = forgotten;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::payload_hash;

    fn identity(id: &str, payload: &str, offset: u64) -> Identity {
        Identity {
            id: EventId::of(None, id),
            payload: payload_hash(payload.as_bytes()),
            position: Position { source: 0, part: 0, offset },
            horizon: 10,
        }
    }

    fn time(micros: i64) -> Option<EventTime> {
        EventTime::from_micros(micros)
    }

    /// Names of ids of one shard, so that they compete.
    fn of_shard(shard: u8, names: usize) -> Vec<String> {
        let all = (0..9999).map(|n: u32| n.to_string());
        all.filter(|name| EventId::of(None, name).shard() == shard).take(names).collect()
    }

    #[test]
    fn one_of_equal_payloads_counts_and_unequal_ones_conflict() {
        let mut ids = Ids::new(100);
        let at = |offset| Position { source: 0, part: 0, offset };
        assert_eq!(ids.admit(&identity("a", "x", 0), time(0)), (true, None));
        assert_eq!(ids.admit(&identity("a", "x", 1), time(0)), (false, Some(Verdict::Duplicate(at(1)))));
        assert_eq!(ids.admit(&identity("a", "y", 2), time(10)), (false, Some(Verdict::Conflict(at(2)))));
        assert_eq!(ids.admit(&identity("b", "x", 3), time(0)), (true, None));
    }

    #[test]
    fn an_id_used_again_outside_the_horizon_is_another_event_whatever_comes_between() {
        let mut ids = Ids::new(100);
        let at = |offset| Position { source: 0, part: 0, offset };
        assert_eq!(ids.admit(&identity("a", "x", 0), time(0)), (true, None));
        assert_eq!(ids.admit(&identity("a", "y", 1), time(11)), (true, None));
        assert_eq!(ids.admit(&identity("a", "x", 2), time(0)), (false, Some(Verdict::Duplicate(at(2)))));
        assert_eq!(ids.admit(&identity("a", "y", 3), time(11)), (false, Some(Verdict::Duplicate(at(3)))));
    }

    #[test]
    fn forgotten_ids_are_said_to_be_unchecked() {
        let mut ids = Ids::new(4 * EventId::SHARDS);
        let names = of_shard(7, 7);
        for (n, name) in (0..).zip(&names[..6]) {
            assert_eq!(ids.admit(&identity(name, "x", 0), time(n)), (true, None));
        }
        assert_eq!(ids.changes.len(), 6);
        ids.forget();
        assert!(ids.shards[7].events <= 4);
        let at = Position { source: 0, part: 0, offset: 0 };
        assert_eq!(ids.admit(&identity(&names[0], "x", 0), time(0)), (true, Some(Verdict::NotChecked(at))));
        assert_eq!(ids.admit(&identity(&names[5], "x", 0), time(5)), (false, Some(Verdict::Duplicate(at))));
        assert_eq!(ids.admit(&identity(&names[6], "x", 0), time(9)), (true, None));
        // What is left of the changes is what another one needs to go on alike.
        let mut changes = ids.changes.clone();
        differential_dataflow::consolidation::consolidate(&mut changes);
        assert!(changes.iter().all(|(_, diff)| *diff == 1), "{changes:?}");
        let mut other = Ids::new(4 * EventId::SHARDS);
        changes.into_iter().for_each(|(row, _)| other.restore(row));
        for (n, name) in (0..).zip(&names) {
            let again = identity(name, "x", 0);
            assert_eq!(other.admit(&again, time(n)), ids.admit(&again, time(n)));
        }
    }

    #[test]
    fn an_event_whose_id_is_used_again_is_forgotten_by_its_own_time() {
        let mut ids = Ids::new(4 * EventId::SHARDS);
        let names = of_shard(7, 5);
        for (n, name) in (0..).zip(&names) {
            assert_eq!(ids.admit(&identity(name, "x", 0), time(n)), (true, None));
        }
        assert_eq!(ids.admit(&identity(&names[0], "x", 0), time(100)), (true, None));
        ids.forget();
        // Later than all that is forgotten: it must not count twice without a word.
        let at = Position { source: 0, part: 0, offset: 0 };
        assert_eq!(ids.admit(&identity(&names[0], "x", 0), time(100)), (false, Some(Verdict::Duplicate(at))));
        assert_eq!(ids.admit(&identity(&names[0], "x", 0), time(0)), (true, Some(Verdict::NotChecked(at))));
    }

    #[test]
    fn what_is_forgotten_does_not_depend_on_the_order_in_which_rows_came_back() {
        let names = of_shard(7, 5);
        let mut ids = Ids::new(4 * EventId::SHARDS);
        // Out of the order of their times, as rows of snapshots are not.
        for (n, at) in [(0, 100), (0, 0), (0, 50), (1, 30)] {
            assert_eq!(ids.admit(&identity(&names[n], "x", 0), time(at)), (true, None));
        }
        let mut rows: Vec<_> = ids.changes.drain(..).map(|(row, _)| row).collect();
        rows.sort_unstable();
        let go_on = |ids: &mut Ids| {
            let more = [(2, 40), (3, 60), (4, 70)].map(|(n, at)| ids.admit(&identity(&names[n], "x", 0), time(at)));
            ids.forget();
            ids.changes.sort_unstable();
            let old = [(0, 0), (0, 50), (0, 100), (1, 30)];
            (more, old.map(|(n, at)| ids.admit(&identity(&names[n], "x", 0), time(at))), ids.changes.clone())
        };
        let mut restored = Ids::new(4 * EventId::SHARDS);
        rows.into_iter().for_each(|row| restored.restore(row));
        assert_eq!(go_on(&mut restored), go_on(&mut ids));
    }
}
