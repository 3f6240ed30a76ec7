//! Record -> [`Event`]: once per event id.
//!
//! Identity is (user, event id) (design §5). Equal payloads under one identity: one counts. Unequal ones: the first in
//! log order counts and the others are dead letters. Records further apart in event time than the horizon are not
//! duplicates: ids may be used again. Records without an identity pass.
//!
//! Known ids are bounded in memory. When they are too many, those with the oldest event times are forgotten; a record
//! as old as these whose id is not known is let through and counted as not checked. Within the bound the outcome
//! depends on the records alone, except for conflicts, which are reported.

use crate::identity::EventId;
use crate::record::{Event, Identity, Position, Record};
use crate::time::{EventTime, Tick};
use std::collections::{BTreeMap, HashMap};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::core::OkErr;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::generic::operator::empty;
use timely::dataflow::operators::vec::Map;

/// How duplicates are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedupe {
    /// Ids that one worker remembers, at about [`Dedupe::BYTES_PER_ID`] each. Beyond that the oldest are forgotten.
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

/// Returns the events, and the journal of verdicts with their ticks: one for each record that is not simply an event.
pub fn ingest<'s>(
    records: Stream<'s, Tick, Vec<Record>>,
    dedupe: Option<Dedupe>,
) -> (Stream<'s, Tick, Vec<Event>>, Stream<'s, Tick, Vec<(Verdict, Tick)>>) {
    let Some(dedupe) = dedupe else {
        let none = empty(records.scope());
        return (records.map(|record| record.event), none);
    };
    let here = records.scope().index() as u64;
    let route = Exchange::new(move |record: &Record| record.identity.as_ref().map_or(here, |known| known.id.bits()));
    records
        .unary_frontier::<CapacityContainerBuilder<Vec<Result<Event, (Verdict, Tick)>>>, _, _, _>(
            route,
            "Ingest",
            |_, _| {
                let mut pending = BTreeMap::new();
                let mut ids = Ids::new(dedupe.ids);
                move |(input, frontier), output| {
                    input.for_each(|capability, data: &mut Vec<Record>| {
                        // A message without a stamp makes no claim; this input is fed with capabilities only.
                        let Some(tick) = capability.least().copied() else { return };
                        let waiting = pending
                            .entry(tick)
                            .or_insert_with(|| (capability.retain_stamp(0), Vec::<(u64, Event, Box<Identity>)>::new()));
                        let mut session = output.session(&capability);
                        for record in data.drain(..) {
                            match record.identity {
                                Some(identity) => waiting.1.push((identity.id.bits(), record.event, identity)),
                                None => session.give(Ok(record.event)),
                            }
                        }
                    });
                    while let Some(entry) = pending.first_entry().filter(|entry| !frontier.less_equal(entry.key())) {
                        let (tick, (capability, mut records)) = entry.remove_entry();
                        // Ticks follow the log; within one, position decides which of two conflicting records came first.
                        // The leading bits of ids are at hand; identities are looked at where these are equal.
                        records.sort_unstable_by(|(bits, _, one), (other_bits, _, other)| {
                            let rest = || (one.id, one.position).cmp(&(other.id, other.position));
                            bits.cmp(other_bits).then_with(rest)
                        });
                        let mut session = output.session(&capability);
                        for (_, event, identity) in records {
                            let (counts, verdict) = ids.admit(&identity, event.time.ok());
                            if counts {
                                session.give(Ok(event));
                            }
                            if let Some(verdict) = verdict {
                                session.give(Err((verdict, tick)));
                            }
                        }
                        ids.forget();
                    }
                }
            },
        )
        .ok_err(|outcome| outcome)
}

/// The ids that counted.
struct Ids {
    known: HashMap<EventId, Counted, foldhash::fast::FixedState>,
    /// Further events of ids that were used again outside of the horizon.
    again: BTreeMap<EventId, Vec<Counted>>,
    limit: usize,
    /// Ids of events up to this time may have been forgotten.
    forgotten: Option<EventTime>,
}

#[derive(Clone, Copy)]
struct Counted {
    payload: [u64; 2],
    time: Option<EventTime>,
}

impl Ids {
    fn new(limit: usize) -> Ids {
        Ids { known: HashMap::default(), again: BTreeMap::new(), limit: limit.max(1), forgotten: None }
    }

    /// Whether the record counts, and what is to be said about it.
    fn admit(&mut self, identity: &Identity, time: Option<EventTime>) -> (bool, Option<Verdict>) {
        let position = identity.position;
        let near = |counted: &&Counted| match (counted.time, time) {
            (Some(one), Some(other)) => one.micros().abs_diff(other.micros()) <= identity.horizon.unsigned_abs(),
            _ => true,
        };
        let first = self.known.get(&identity.id);
        let again = self.again.get(&identity.id);
        let mut matches = first.into_iter().chain(again.into_iter().flatten()).filter(near).peekable();
        if matches.peek().is_some() {
            let verdict = if matches.any(|counted| counted.payload == identity.payload) {
                Verdict::Duplicate(position)
            } else {
                Verdict::Conflict(position)
            };
            return (false, Some(verdict));
        }
        if time.is_some() && time <= self.forgotten {
            return (true, Some(Verdict::NotChecked(position)));
        }
        let counted = Counted { payload: identity.payload, time };
        if first.is_some() {
            self.again.entry(identity.id).or_default().push(counted);
        } else {
            self.known.insert(identity.id, counted);
        }
        (true, None)
    }

    /// Forgets the older half when there are too many. Ids of events without a time go first.
    fn forget(&mut self) {
        if self.known.len() <= self.limit {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "only a median of them is used")]
        let mut times: Vec<_> = self.known.values().map(|counted| counted.time).collect();
        let middle = times.len() / 2;
        let (_, cut, _) = times.select_nth_unstable(middle);
        let cut = *cut;
        self.known.retain(|_, counted| counted.time > cut);
        self.again.retain(|id, _| self.known.contains_key(id));
        self.forgotten = self.forgotten.max(cut);
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
        let mut ids = Ids::new(4);
        for n in 0..6 {
            assert_eq!(ids.admit(&identity(&n.to_string(), "x", 0), time(n)), (true, None));
        }
        ids.forget();
        assert!(ids.known.len() <= 4);
        let at = Position { source: 0, part: 0, offset: 0 };
        assert_eq!(ids.admit(&identity("0", "x", 0), time(0)), (true, Some(Verdict::NotChecked(at))));
        assert_eq!(ids.admit(&identity("5", "x", 0), time(5)), (false, Some(Verdict::Duplicate(at))));
        assert_eq!(ids.admit(&identity("new", "x", 0), time(9)), (true, None));
    }
}
