//! The events of a user, read back and counted as the graph has counted them.
//!
//! ```text
//! landing, then the queue ─────── decode ─ the user's records ─ each id once ─▶ numbers by signature and hour
//!                                                              │
//!                          what the graph says of the sessions ┴▶ the same? else refused, or in part
//! ```

use super::Shared;
use crate::collections::place::position;
use crate::landing::history::History;
use crate::plan::Plan;
use crate::queue::delivery::Delivery;
use crate::queue::forgets::Wanted;
use crate::queue::forgotten::{ReadBack, comes_back};
use crate::queue::timeline::Timeline;
use dataflows::counts::CountedBy;
use dataflows::ingest::Once;
use dataflows::sessionize::Visit;
use dataflows::{Event, EventTime, Record, SignatureId, Tick};
use headwater_decode::interpret::{Batch, Range};
use headwater_decode::{Block, Decoder};
use headwater_log::{CONTROL, QUEUE};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What came of reading back.
pub(super) enum Back {
    Whole(ReadBack),
    /// Some of it cannot be read, and stays.
    Part(ReadBack),
    Refused(String),
}

/// Numbers in one record of the control partition, which is kept for ever and read at each start.
const SUMS: usize = 1 << 20;
/// Bytes of the queue that are read together.
const READ_BYTES: u64 = 4 << 20;

impl Shared {
    /// Reads the events of a user back.
    ///
    /// # Errors
    /// What cannot be read, for people. It may be possible later.
    pub(super) fn read(&self, wanted: &Wanted) -> Result<Back, String> {
        let mut records = Vec::new();
        let landed = self.read_landing(wanted, &mut records)?;
        self.read_queue(wanted, &landed, &mut records)?;
        // In log order, so that of two records with one id the same one counts.
        records.sort_by_key(|(order, record)| (*order, record.identity.as_ref().map(|identity| identity.position)));
        let (mut once, mut other) = (Once::default(), Other::default());
        let (mut sums, mut sessions) = (BTreeMap::<CountedBy, u64>::new(), BTreeMap::<SignatureId, u64>::new());
        for (_, record) in records {
            if record.identity.as_ref().is_some_and(|identity| !once.admit(identity, record.event.at())) {
                continue;
            }
            other.take(&record.event, &self.plan);
            let hour = record.event.at().map(EventTime::hour);
            let signature = record.event.signature;
            *sums.entry(CountedBy::Signature((signature, hour))).or_default() += 1;
            match Visit::of(record.event) {
                Ok(_) => *sessions.entry(signature).or_default() += 1,
                Err(reason) => *sums.entry(CountedBy::Reason(reason)).or_default() += 1,
            }
        }
        let mut read = ReadBack {
            forget: wanted.asked.forget,
            before: wanted.before,
            queue: wanted.queue.clone(),
            sums: sums.into_iter().collect(),
            stays: Vec::new(),
        };
        if read.sums.len() > SUMS {
            let why = "the events of the user are of too many kinds and hours for one record";
            return Ok(Back::Refused(why.into()));
        }
        let missing = missing(&wanted.sessions, &sessions);
        let other = other.say(&self.plan);
        if missing.is_none() && other.is_none() {
            return Ok(Back::Whole(read));
        }
        read.stays = missing.into_iter().chain(other).collect();
        if wanted.asked.partial {
            return Ok(Back::Part(read));
        }
        let why = read.stays.join("; ");
        Ok(Back::Refused(format!("{why}. Ask again with --partial, and the rest is forgotten")))
    }

    /// Reads the landing, if there is one. Returns by part of the queue where it ends.
    fn read_landing(&self, wanted: &Wanted, records: &mut Vec<(Order, Record)>) -> Result<Vec<u64>, String> {
        let Some(landing) = &self.plan.landing else { return Ok(Vec::new()) };
        let failed = |error: crate::landing::Error| format!("the landing: {error}");
        let history = History::open(&landing.path, &self.plan, u64::MAX).map_err(failed)?;
        let Some((_, queue)) = history.landed() else { return Ok(Vec::new()) };
        let Plans { last, changes } = self.plans(wanted)?;
        let from = wanted.after.as_ref().map_or(0, |(tick, _)| *tick);
        let mut reading = Reading::default();
        let read = history.events_of(wanted.user, from..wanted.before, |tick, block, place| {
            let change = changes.iter().find(|change| change.tick > tick);
            let plan = change.map_or(&last, |change| &change.plan);
            reading.block(plan, block, place);
            let own = reading.batch.input.records.drain(..).filter(|one| one.event.user == Some(wanted.user));
            records.extend(own.map(|one| (Order::Landed(tick), one)));
            reading.clear();
        });
        read.map_err(failed)?;
        Ok(queue.to_vec())
    }

    /// Reads the queue, as far as it is kept, and has not `landed`.
    fn read_queue(&self, wanted: &Wanted, landed: &[u64], records: &mut Vec<(Order, Record)>) -> Result<(), String> {
        let log = |error| format!("the queue: {}", headwater_log::error::chain(&error));
        let Plans { last, changes } = self.plans(wanted)?;
        for (part, reader) in self.readers.iter().enumerate() {
            let mut reader = reader.clone();
            let after = wanted.after.as_ref().and_then(|(_, queue)| queue.get(part)).copied().unwrap_or(0);
            let landed = landed.get(part).copied().unwrap_or(0);
            let (mut from, upto) = (reader.low().max(after).max(landed), wanted.queue.get(part).copied().unwrap_or(0));
            let mut reading = Reading::default();
            while from < upto {
                // The offsets of one part that have the same definitions.
                let next = changes.iter().find(|change| change.queue[part] > from);
                let (plan, end) = match next {
                    Some(change) => (&change.plan, change.queue[part].min(upto)),
                    None => (&last, upto),
                };
                let end = reader.within(from, end, READ_BYTES).max(from + 1);
                let mut wrong = None;
                let read = reader.read(from, end, |record| {
                    if wrong.is_none() {
                        wrong = reading.take(self, plan, part as u32, &record, wanted, records).err();
                    }
                });
                read.map_err(log)?;
                wrong.map_or(Ok(()), Err)?;
                from = end;
            }
        }
        Ok(())
    }

    /// Returns what has held in the ticks before the user is noted: rules are applied while a run goes on.
    fn plans(&self, wanted: &Wanted) -> Result<Plans, String> {
        // By tick: the records of the control partition that the ticks before have taken, and where it begins.
        let mut ends: Vec<(Tick, u64, Vec<u64>)> = Vec::new();
        let parts = self.readers.len() as u32;
        // What this process binds becomes durable in the remap much later.
        let bindings = self.remap.clone().bindings(self.oldest, self.recovered, |binding| {
            let control = binding.uppers.get(&(CONTROL, 0)).copied().unwrap_or(0);
            let queue = (0..parts).map(|part| binding.uppers.get(&(QUEUE, part)).copied().unwrap_or(0)).collect();
            let next = (binding.tick + 1, control, queue);
            match ends.last_mut() {
                Some(last) if last.1 == control => *last = next,
                _ => ends.push(next),
            }
            Ok(())
        });
        bindings.map_err(|error| format!("the ticks: {}", headwater_log::error::chain(&error)))?;
        let ruled = wanted.ruled.iter().filter(|ruled| ruled.tick >= self.recovered);
        let upper =
            ruled.clone().map(|ruled| ruled.control.end).chain(ends.last().map(|(_, control, _)| *control)).max();
        ends.extend(ruled.map(|ruled| (ruled.tick, ruled.control.start, ruled.queue.clone())));
        let mut timeline = Timeline::new(&self.definitions, Some(self.control.clone()));
        let upper = upper.unwrap_or(0);
        timeline.reach(upper)?;
        let plan = |control: u64| Arc::clone(timeline.at(control).unwrap_or(&self.plan));
        let changes = ends.into_iter().map(|(tick, control, queue)| Change { tick, queue, plan: plan(control) });
        Ok(Plans { last: plan(upper), changes: changes.collect() })
    }
}

/// The definitions of all ticks.
struct Plans {
    last: Arc<Plan>,
    changes: Vec<Change>,
}

/// What has events of the user under other keys, from which this version cannot take them.
#[derive(Default)]
struct Other {
    states: BTreeSet<u16>,
    sequences: BTreeSet<u16>,
    counts: BTreeSet<u16>,
    /// Links of ids that are no users. Events of others may have the same ones.
    links: bool,
}

impl Other {
    fn take(&mut self, event: &Event, plan: &Plan) {
        let user = plan.identity.as_ref().and_then(|identity| identity.rules.user);
        let links = event.links.iter().flat_map(|links| links.iter());
        self.links |= links.into_iter().any(|link| !link.ends().iter().any(|end| Some(end.kind) == user));
        let states = event.contributions.iter().flat_map(|all| all.iter());
        self.states.extend(states.filter(|one| one.entity.is_some()).map(|one| one.state));
        let steps = event.steps.iter().flat_map(|all| all.iter());
        self.sequences.extend(steps.filter(|one| one.key.is_some()).map(|one| one.sequence));
        let counted = event.counted.iter().flat_map(|all| all.iter());
        self.counts.extend(counted.map(|(group, _)| group.count));
    }

    fn say(&self, plan: &Plan) -> Option<String> {
        let states = self.states.iter().filter_map(|index| plan.states.get(usize::from(*index)));
        let names = states.map(|state| format!("`{}`", state.schema.collection_name()));
        // Of definitions that are gone, the place may be another one's: the name is a hint, and not the reason.
        let sequences = self.sequences.iter().map(|index| plan.sequences.get(usize::from(*index)));
        let sequences =
            sequences.map(|one| one.map_or("a sequence".into(), |one| format!("the sequence `{}`", one.name)));
        let counts = self.counts.iter().filter_map(|index| plan.counts.get(usize::from(*index)));
        let counts = counts.map(|count| format!("`count.{}`", count.schema.name));
        let links = self.links.then(|| "`identities`".into());
        let names: Vec<String> = names.chain(sequences).chain(counts).chain(links).collect();
        (!names.is_empty()).then(|| format!("events of the user stay in {}, by another key", names.join(", ")))
    }
}

/// Definitions that need not hold any more.
struct Change {
    /// The first tick behind them.
    tick: Tick,
    /// By part of the queue: where that tick begins.
    queue: Vec<u64>,
    plan: Arc<Plan>,
}

/// The order of the log: what has landed is before what has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Landed(Tick),
    /// By received time.
    Queue(i64),
}

/// Decodes records as a worker does.
#[derive(Default)]
struct Reading {
    decoder: Option<(Arc<Plan>, Decoder)>,
    batch: Batch,
    header: Option<Arc<[u8]>>,
}

impl Reading {
    fn take(
        &mut self,
        shared: &Shared,
        plan: &Arc<Plan>,
        part: u32,
        record: &headwater_log::segment::Record<'_>,
        wanted: &Wanted,
        records: &mut Vec<(Order, Record)>,
    ) -> Result<(), String> {
        let Some(delivery) = Delivery::decode(record.payload) else {
            return Err(format!("record {} of part {part} of the queue is no delivery", record.offset));
        };
        let Some(source) = shared.sources.index(delivery.source) else {
            return Err("there are events of a source that is no longer in the configuration: put it back".into());
        };
        if delivery.header.is_some() && self.header.as_deref() != delivery.header {
            self.header = delivery.header.map(Arc::from);
        }
        let header = delivery.header.and(self.header.clone());
        let received = EventTime::from_micros(record.received_ms.saturating_mul(1000));
        let block = Block {
            position: position(source, part, record.offset, 0),
            format: delivery.format,
            framing: delivery.framing,
            header: header.as_ref(),
            received: received.filter(|_| !delivery.is_history()),
            bytes: delivery.events,
        };
        match delivery.messages {
            false => self.block(plan, &block, delivery.begins_at()),
            true => {
                let batch = &mut self.batch;
                decoder(&mut self.decoder, plan).read_messages(&block, batch);
            }
        }
        let is_history = delivery.is_history();
        let held = wanted.held.filter(|_| is_history);
        let is_held = |event: &Event| held.is_some_and(|asked_ms| !comes_back(event.at(), asked_ms));
        let own = self.batch.input.records.drain(..).filter(|one| one.event.user == Some(wanted.user));
        let own = own.filter(|one| !is_held(&one.event));
        records.extend(own.map(|one| (Order::Queue(record.received_ms), one)));
        self.clear();
        Ok(())
    }

    fn block(&mut self, plan: &Arc<Plan>, block: &Block<'_>, place: Option<u64>) {
        let decoder = decoder(&mut self.decoder, plan);
        decoder.place(place);
        decoder.read(block, &mut self.batch);
    }

    /// Forgets what is of no use here.
    fn clear(&mut self) {
        self.batch.dead_letters.clear();
        let input = &mut self.batch.input;
        (input.names, input.signatures, input.shapes) = Default::default();
    }
}

/// Returns the decoder of a plan.
fn decoder<'d>(known: &'d mut Option<(Arc<Plan>, Decoder)>, plan: &Arc<Plan>) -> &'d mut Decoder {
    if known.as_ref().is_some_and(|(known, _)| !Arc::ptr_eq(known, plan)) {
        *known = None;
    }
    let (_, decoder) = known.get_or_insert_with(|| (Arc::clone(plan), Decoder::new(plan.spec(), Range::default())));
    decoder
}

/// Says how many events of sessions were not read back, or were read as others than the graph has.
fn missing(sessions: &BTreeMap<SignatureId, u64>, read: &BTreeMap<SignatureId, u64>) -> Option<String> {
    if sessions == read {
        return None;
    }
    let all: u64 = sessions.values().sum();
    let common = |(by, many): (&SignatureId, &u64)| read.get(by).copied().unwrap_or(0).min(*many);
    let found: u64 = sessions.iter().map(common).sum();
    let more = read.values().sum::<u64>() > found;
    Some(match more {
        false => {
            format!("{} of {all} events of the user cannot be read back any more, and stay in the counts", all - found)
        }
        true => {
            format!("{found} of {all} events of the user are read back as they were counted: others stay in the counts")
        }
    })
}
