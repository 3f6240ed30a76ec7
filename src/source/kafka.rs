//! Topics of Kafka. Their records are copied into the durable queue, each once, with what Kafka has beside their values.
//!
//! ```text
//! looker: topics, partitions, ends ─┐
//! queue of a partition ─ head ─┐    ▼
//! queue of a partition ─ head ─┴─ merge by time ─▶ messages + cursors ─▶ delivery
//! ```

use super::{Deliver, Polled, Source};
use crate::observe::sources::{PartitionReport, SourceState, SourceStatus};
use crate::plan::{Gaps, KafkaPlan, SourcePlan};
use crate::queue::cursor::{Cursor, KafkaCursor};
use crate::queue::delivery::Delivery;
use crate::queue::intake::Refusal;
use crate::queue::numbers::SourceNumber;
use client::{Extent, Look, Looker, Place, connect};
use headwater_decode::framing::{Dialect, Framing};
use headwater_decode::messages::{Headers, Message, Writer};
use headwater_decode::spec::Format;
use headwater_decode::syntax::Header;
use headwater_decode::{csv, detect};
use merge::Merge;
use parts::{Connected, Head, Part};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, park_timeout};
use std::time::{Duration, Instant};

pub mod client;
mod merge;
mod parts;
#[cfg(test)]
mod tests;

/// Bytes of messages of a delivery that has more than one.
const BATCH_BYTES: usize = 1 << 20;
/// Largest limit of a value, so that one that is too large fits into a delivery, with what is beside it.
pub const EVENT_BYTES: usize = 15 << 20;
/// The time between two looks at the brokers: a new partition is read, and the lag is right, after that.
const LOOK: Duration = Duration::from_secs(3);
/// The time before a client that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The wait for records. A notification ends it.
const IDLE: Duration = Duration::from_millis(50);
/// Cursors behind records that were passed become durable without other records after that.
const PASSED: Duration = Duration::from_secs(1);
/// A partition that had been read to its end is behind again at this lag.
const BEHIND: i64 = 100_000;

/// The topics of one source.
///
/// - **Order.** That of each partition. Partitions that are behind are merged by the times of their records.
/// - **Once.** A position is the offset behind a record that was read, and becomes durable with it. Only records of
///   committed transactions are read. Kafka keeps no position of ours: there is no group, and no commit.
/// - **Beginning.** At the first start ever, where the configuration says, at the same moment in all partitions. That is
///   remembered before a record is read. What has no cursor later, a new partition or topic, is read from its beginning.
/// - **Gaps.** If a position lies before the beginning of a partition, records were lost; behind its end, the topic is
///   another one. The source then halts, before anything else is delivered, until an operator accepts the gap. A topic
///   that was deleted and made again, and is as long as before, shows nothing of that.
/// - **Passed.** Records without a value, or with blanks as value, are no events. They are counted.
/// - **Errors.** A broker that is away, a topic that is missing, a secret that is wrong: the status says so, and it is
///   tried again, for ever.
pub struct KafkaSource {
    number: SourceNumber,
    plan: KafkaPlan,
    name: String,
    format: Format,
    /// Of each value.
    framing: Framing,
    header: Option<Vec<u8>>,
    event_bytes: usize,
    status: Arc<SourceStatus>,
    /// That are durable.
    cursors: BTreeMap<Place, KafkaCursor>,
    /// There has been a look at the brokers: what appears later is new.
    looked: bool,
    connected: Option<Connected>,
    /// When a client may be made.
    again: Option<Instant>,
    refused: Option<Parcel>,
    halted: bool,
    /// When a delivery was durable.
    delivered: Instant,
}

/// The next delivery. It counts when it is durable.
struct Parcel {
    cursors: Vec<KafkaCursor>,
    messages: Vec<u8>,
    records: u64,
}

impl Source for KafkaSource {
    fn poll(&mut self, deliver: &mut Deliver<'_>) -> Result<Polled, Refusal> {
        if let Some(parcel) = self.refused.take() {
            self.hand_over(parcel, deliver)?;
        }
        if self.halted || !self.connect() {
            return Ok(Polled::Nothing);
        }
        self.serve();
        self.look(deliver)?;
        match self.gather() {
            Some(parcel) => self.hand_over(parcel, deliver)?,
            None => park_timeout(IDLE),
        }
        Ok(Polled::More)
    }
}

impl KafkaSource {
    /// `cursors`: those of its deliveries. Those of other kinds of sources are of no use here.
    pub fn new(
        number: SourceNumber,
        plan: &SourcePlan,
        kafka: &KafkaPlan,
        cursors: Vec<Cursor>,
        status: Arc<SourceStatus>,
    ) -> KafkaSource {
        let own = cursors.into_iter().filter_map(|cursor| match cursor {
            Cursor::Kafka(cursor) => Some((place_of(&cursor), cursor)),
            Cursor::File(_) | Cursor::Backfill(_) => None,
        });
        let format = plan.format.unwrap_or(Format::Json);
        let (framing, header) = framing(format, plan);
        KafkaSource {
            number,
            plan: kafka.clone(),
            name: plan.name.clone(),
            format,
            framing,
            header,
            event_bytes: plan.events.limits.event_bytes,
            status,
            cursors: own.collect(),
            looked: false,
            connected: None,
            again: None,
            refused: None,
            halted: false,
            delivered: Instant::now(),
        }
    }

    /// Makes the client, unless there is one. Returns whether there is.
    fn connect(&mut self) -> bool {
        if self.connected.is_some() {
            return true;
        }
        if self.again.is_some_and(|again| Instant::now() < again) {
            return false;
        }
        match connect(&self.plan) {
            Ok(consumer) => {
                let thread = thread::current();
                let wake = move || thread.unpark();
                let looker = Looker::spawn(Arc::clone(&consumer), self.plan.topics.clone(), wake);
                self.connected = Some(Connected { consumer, looker, asked: None, parts: Vec::new() });
                true
            }
            Err(why) => {
                self.again = Some(Instant::now() + RETRY);
                self.enter(SourceState::Failing, Some(why));
                false
            }
        }
    }

    fn enter(&self, state: SourceState, why: Option<String>) {
        if self.status.enter(state, why.clone()) {
            let (source, why) = (self.name.as_str(), why.unwrap_or_default());
            match state {
                SourceState::Halted => tracing::error!(source, why, "the source halts"),
                SourceState::Failing => {
                    tracing::warn!(source, why, "a source of Kafka cannot be read; it is tried again")
                }
                _ => tracing::info!(source, "the source is read"),
            }
        }
    }

    /// Serves what is of no partition's queue: errors, and records that came before a queue was split off.
    fn serve(&mut self) {
        let Some(connected) = &mut self.connected else { return };
        let (consumer, mut failure) = (Arc::clone(&connected.consumer), None);
        connected.parts.iter_mut().for_each(|part| part.begin_to_settle(self.event_bytes, &self.status));
        while let Some(event) = consumer.poll(Duration::ZERO) {
            match event {
                Ok(message) => {
                    let of = |part: &&mut Part| {
                        part.place.partition == message.partition() && *part.place.topic == *message.topic()
                    };
                    if let Some(part) = connected.parts.iter_mut().find(of) {
                        let head = Head::of(&message, self.event_bytes, &self.status);
                        part.came_early(head);
                    }
                }
                Err(KafkaError::PartitionEOF(_)) => {}
                // It does not say of which partition. The next look does.
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    connected.parts.iter_mut().for_each(Part::may_be_out_of_range);
                }
                Err(error) => {
                    let code = error.rdkafka_error_code();
                    let reason = consumer.context().take();
                    // The name of a group is not used.
                    if code != Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
                        let code = code.map_or_else(|| error.to_string(), |code| code.to_string());
                        failure = Some(reason.map_or(code.clone(), |reason| format!("{code}: {reason}")));
                    }
                }
            }
        }
        connected.parts.iter_mut().for_each(Part::settle);
        if failure.is_some() {
            self.enter(SourceState::Failing, failure);
        }
    }

    /// Asks for a look when one is due, and takes its answer.
    fn look(&mut self, deliver: &mut Deliver<'_>) -> Result<(), Refusal> {
        let is_first = self.cursors.is_empty() && !self.looked;
        let Some(connected) = &mut self.connected else { return Ok(()) };
        if connected.asked.is_none_or(|asked| asked.elapsed() >= LOOK) {
            connected.asked = Some(Instant::now());
            connected.looker.ask(is_first.then_some(self.plan.start));
        }
        match connected.looker.answer() {
            None => Ok(()),
            Some(Err(why)) => {
                self.enter(SourceState::Failing, Some(why));
                Ok(())
            }
            Some(Ok(look)) => self.take(&look, is_first, deliver),
        }
    }

    fn take(&mut self, look: &Look, is_first: bool, deliver: &mut Deliver<'_>) -> Result<(), Refusal> {
        if is_first && !look.partitions.is_empty() {
            let start = |(place, extent): (&Place, &Extent)| cursor(place, extent.start, 0);
            let cursors = look.partitions.iter().map(start).collect();
            self.hand_over(Parcel { cursors, messages: Writer::default().finish(), records: 0 }, deliver)?;
        }
        self.looked = true;
        self.close_gaps(look, deliver)?;
        if self.halted {
            return Ok(());
        }
        let Some(connected) = &mut self.connected else { return Ok(()) };
        let mut failures = look.failures.clone();
        let known = |parts: &[Part], place: &Place| parts.iter().any(|part| part.place == *place);
        let fresh = look.partitions.iter().filter(|(place, _)| !known(&connected.parts, place));
        let fresh = fresh.map(|(place, extent)| {
            let cursor = self.cursors.get(place);
            let (offset, gaps) = cursor.map_or((extent.low, 0), |cursor| (cursor.offset, cursor.gaps));
            (place.clone(), offset, gaps)
        });
        let fresh: Vec<_> = fresh.collect();
        if let Err(why) = connected.assign(&fresh) {
            failures.push(why);
        }
        for part in &mut connected.parts {
            if let Some(extent) = look.partitions.get(&part.place) {
                part.end = extent.high;
                if part.caught_up && part.end - part.position > BEHIND {
                    (part.caught_up, part.silent) = (false, Instant::now());
                }
            }
        }
        self.report();
        match failures.is_empty() {
            true => self.enter(SourceState::Reading, None),
            false => self.enter(SourceState::Failing, Some(failures.join("; "))),
        }
        Ok(())
    }

    fn report(&self) {
        let Some(connected) = &self.connected else { return };
        let report = |part: &Part| {
            let position = self.cursors.get(&part.place).map_or(part.position, |cursor| cursor.offset);
            let end = part.end.max(position);
            PartitionReport { partition: part.place.to_string(), position, end, lag: end - position }
        };
        let mut all: Vec<_> = connected.parts.iter().collect();
        all.sort_by(|one, other| one.place.cmp(&other.place));
        self.status.partitions(all.into_iter().map(report).collect());
    }

    /// Halts at the first partition whose position the brokers do not have; or goes on behind the gap.
    fn close_gaps(&mut self, look: &Look, deliver: &mut Deliver<'_>) -> Result<(), Refusal> {
        let Some(connected) = &self.connected else { return Ok(()) };
        let lost = connected.parts.iter().filter(|part| part.out_of_range);
        let lost: Vec<_> = lost
            .filter_map(|part| {
                Some((part.place.clone(), part.position, part.gaps, part.is_fresh, look.partitions.get(&part.place)?))
            })
            .collect();
        for (place, position, gaps, is_fresh, extent) in lost {
            let Some(what) = gap(position, extent) else {
                // It is there after all.
                self.restart(&place, position, gaps);
                continue;
            };
            let why = format!("{place}: {what}");
            let accepted = self.plan.gaps == Gaps::Accept || self.plan.gaps == Gaps::AcceptAtStart && is_fresh;
            if !accepted {
                let help =
                    format!("{why}. `headwater run … --accept-gap {}` goes on at offset {}", self.name, extent.low);
                self.enter(SourceState::Halted, Some(help));
                (self.halted, self.connected) = (true, None);
                return Ok(());
            }
            tracing::warn!(source = self.name, why, offset = extent.low, "a gap is accepted");
            self.status.metrics.gaps.inc();
            let cursors = vec![cursor(&place, extent.low, gaps + 1)];
            self.restart(&place, extent.low, gaps + 1);
            self.hand_over(Parcel { cursors, messages: Writer::default().finish(), records: 0 }, deliver)?;
        }
        Ok(())
    }

    /// Reads a partition from an offset.
    fn restart(&mut self, place: &Place, offset: i64, gaps: u32) {
        let Some(connected) = &mut self.connected else { return };
        connected.parts.retain(|part| part.place != *place);
        let mut old = TopicPartitionList::new();
        old.add_partition(&place.topic, place.partition);
        let ended = connected.consumer.incremental_unassign(&old).map_err(|error| error.to_string());
        if let Err(why) = ended.and_then(|()| connected.assign(&[(place.clone(), offset, gaps)])) {
            self.enter(SourceState::Failing, Some(why));
        }
        // Another gap is a new one.
        let parts = self.connected.iter_mut().flat_map(|connected| &mut connected.parts);
        parts.filter(|part| part.place == *place).for_each(|part| part.is_fresh = false);
    }

    /// Takes the records that are at hand, up to those of one delivery.
    fn gather(&mut self) -> Option<Parcel> {
        let parts = &mut self.connected.as_mut()?.parts;
        let (mut merge, mut writer, mut records) = (Merge::default(), Writer::default(), 0);
        let mut waits = false;
        for (index, part) in parts.iter_mut().enumerate() {
            part.refill(self.event_bytes, &self.status);
            match &part.head {
                Some(head) => merge.add(index, head.time_ms, &mut part.latest),
                None => waits |= part.is_awaited(),
            }
        }
        while !waits && let Some(index) = merge.next() {
            let part = &mut parts[index];
            let Some(head) = part.head.take_if(|head| writer.is_empty() || writer.len() + head.bytes() <= BATCH_BYTES)
            else {
                break;
            };
            writer.push(&Message {
                topic: &part.place.topic,
                partition: part.place.partition,
                offset: head.offset,
                time_ms: head.time_ms,
                key: head.key.as_deref(),
                headers: Headers::of(&head.headers),
                value: &head.value,
            });
            records += 1;
            part.position = head.offset + 1;
            part.refill(self.event_bytes, &self.status);
            match &part.head {
                Some(head) => merge.add(index, head.time_ms, &mut part.latest),
                None => waits = part.is_awaited(),
            }
        }
        let is_durable =
            |part: &Part| self.cursors.get(&part.place).is_some_and(|cursor| cursor.offset == part.position);
        let moved = parts.iter().filter(|part| !is_durable(part));
        let cursors: Vec<_> = moved.map(|part| cursor(&part.place, part.position, part.gaps)).collect();
        let due = !writer.is_empty() || !cursors.is_empty() && self.delivered.elapsed() >= PASSED;
        due.then(|| Parcel { cursors, messages: writer.finish(), records })
    }

    fn hand_over(&mut self, parcel: Parcel, deliver: &mut Deliver<'_>) -> Result<(), Refusal> {
        let delivery = Delivery {
            source: self.number,
            format: self.format,
            framing: self.framing,
            messages: true,
            header: self.header.as_deref(),
            cursors: parcel.cursors.iter().cloned().map(Cursor::Kafka).collect(),
            events: &parcel.messages,
        };
        if let Err(refusal) = deliver(&delivery) {
            self.refused = Some(parcel);
            return Err(refusal);
        }
        self.delivered = Instant::now();
        self.status.metrics.records.inc_by(parcel.records);
        self.cursors.extend(parcel.cursors.into_iter().map(|cursor| (place_of(&cursor), cursor)));
        Ok(())
    }
}

/// Returns how the records of a value are framed, and what says how they are written. The configuration has to say all of
/// it, as it is not recognised.
fn framing(format: Format, plan: &SourcePlan) -> (Framing, Option<Vec<u8>>) {
    let syntax = &plan.syntax;
    match &syntax.header {
        Header::Names(names) if format == Format::Csv => {
            let dialect = Dialect {
                delimiter: syntax.delimiter.unwrap_or(b','),
                quote: syntax.quote.unwrap_or(Some(b'"')),
                escape: syntax.escape,
                comment: syntax.comment,
                fields: names.len() as u32,
                ..Dialect::default()
            };
            (Framing::Rows(dialect), Some(csv::header(names, dialect)))
        }
        _ => match detect::open(b"", Some(format), syntax, plan.events.limits.event_bytes, true) {
            // A value may be an object over several lines, or some of them.
            Ok(opened) if format == Format::Json && opened.header.is_none() => (Framing::JsonValues, None),
            Ok(opened) => (opened.framing, opened.header.map(|header| header.to_vec())),
            // The configuration was checked: a layout of lines is named.
            Err(_) => (Framing::Lines, None),
        },
    }
}

/// Says why the brokers do not have a position; `None` if they do.
fn gap(position: i64, Extent { low, high, .. }: &Extent) -> Option<String> {
    if position < *low {
        return Some(format!("the records from offset {position} to {low} are gone: Kafka removed them unread"));
    }
    (position > *high).then(|| {
        format!("it ends at offset {high}, and was read up to {position}: the topic was made again, or cut off")
    })
}

fn cursor(place: &Place, offset: i64, gaps: u32) -> KafkaCursor {
    KafkaCursor { topic: place.topic.to_string(), partition: place.partition, offset, gaps }
}

fn place_of(cursor: &KafkaCursor) -> Place {
    Place { topic: cursor.topic.as_str().into(), partition: cursor.partition }
}
