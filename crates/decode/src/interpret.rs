//! Reading -> [`Record`]: picks the user, the time, the type, the id and the fields from the values of one pass, and
//! answers the tests of the rules.
//!
//! Strings do not travel with the records. Each reader keeps bounded caches of the strings that it has sent. It sends
//! the string behind a key only when the key is new to it. A repeat does no harm.

use crate::defaults;
use crate::longest::{LONGEST, bounded};
use crate::names::Names;
use crate::path::Path;
use crate::reading::{PathSet, Reading, Slot, Value};
use crate::spec::{Candidate, EventsPlan, FieldPlan, Format, Spec};
use crate::time::TimeReader;
use crate::{Harvest, Read};
use dataflows::engine::Input;
use dataflows::identity::payload_hash;
use dataflows::rules::{Predicate, Test};
use dataflows::{
    DeadLetter, Decimal, Descriptor, Details, Event, EventId, EventTime, Identity, Measure, NoTime, Position, Reason,
    Record, ShapeId, SignatureId,
};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Distinct strings that a reader remembers having sent. What is forgotten is sent again when it comes again.
const REMEMBERED: usize = 1 << 18;

type Seen<K> = HashSet<K, foldhash::fast::FixedState>;

/// The output of decoding, reused from block to block.
#[derive(Default)]
pub struct Batch {
    /// For the graph.
    pub input: Input,
    pub dead_letters: Vec<DeadLetter>,
    /// Events that held one path both dotted and nested.
    pub ambiguous: u64,
    /// Events outside of the asked range of event time.
    pub outside: u64,
    /// Events whose time was too far in the future, and counts as that of reception.
    pub skewed: u64,
    /// Users, types and carried texts that were longer than [`LONGEST`] and were cut.
    pub texts_cut: u64,
    /// The fields that tests ask for and that some event has.
    pub met: BTreeSet<usize>,
}

/// The lengths of a [`Batch`] at one moment.
pub struct BatchMark {
    records: usize,
    names: usize,
    signatures: usize,
    dead_letters: usize,
    ambiguous: u64,
    outside: u64,
    skewed: u64,
    texts_cut: u64,
}

/// Each event becomes a record, a dead letter, or is outside of the asked range.
impl Harvest for Batch {
    type Mark = BatchMark;

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let fault = match read {
            Ok(reading) => return interpreter.record(reading, position, payload, self),
            Err(fault) => fault,
        };
        let length = payload.len();
        let kept = match fault.reason {
            Reason::TooLarge => length.min(interpreter.events().limits.event_bytes),
            _ => length,
        };
        self.dead_letters.push(DeadLetter {
            position,
            reason: fault.reason,
            message: fault.message,
            payload: payload[..kept].to_vec(),
            length: length as u64,
        });
    }

    fn finish(&mut self, interpreter: &mut Interpreter) {
        interpreter.finish(self);
    }

    fn mark(&self) -> BatchMark {
        BatchMark {
            records: self.input.records.len(),
            names: self.input.names.len(),
            signatures: self.input.signatures.len(),
            dead_letters: self.dead_letters.len(),
            ambiguous: self.ambiguous,
            outside: self.outside,
            skewed: self.skewed,
            texts_cut: self.texts_cut,
        }
    }

    fn back_to(&mut self, mark: BatchMark) {
        self.input.records.truncate(mark.records);
        self.input.names.truncate(mark.names);
        self.input.signatures.truncate(mark.signatures);
        self.dead_letters.truncate(mark.dead_letters);
        (self.ambiguous, self.outside) = (mark.ambiguous, mark.outside);
        (self.skewed, self.texts_cut) = (mark.skewed, mark.texts_cut);
    }
}

/// Half-open range of event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    pub from: Option<EventTime>,
    pub to: Option<EventTime>,
}

impl Range {
    /// Returns whether a time lies in the range. An event without a time lies in no range, except in the whole.
    fn contains(&self, time: Result<EventTime, NoTime>) -> bool {
        match time {
            Ok(time) => self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to),
            Err(_) => *self == Range::default(),
        }
    }
}

/// The role of a value in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    User,
    Time,
    Kind,
    Id,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::User, Role::Time, Role::Kind, Role::Id];

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Time => "time",
            Role::Kind => "type",
            Role::Id => "id",
        }
    }
}

/// Interprets the events of one source in one format.
pub struct Interpreter {
    spec: Arc<Spec>,
    source: u16,
    /// By role: its candidates, each with the slots of its parts.
    candidates: [Vec<Vec<Slot>>; 4],
    /// By slot and role: the index of the first candidate that begins with it.
    ranks: Vec<[u16; 4]>,
    /// By field: the slots of its candidates.
    fields: Vec<Vec<Slot>>,
    time: TimeReader,
    paths: Arc<PathSet>,
    range: Range,
    names: Names,
    signatures: Seen<SignatureId>,
    texts: Seen<Arc<str>>,
    /// Scratch.
    joined: String,
    encoded: Vec<u8>,
    /// Texts that were cut since [`Interpreter::texts_cut`] was asked last.
    cut: Cell<u64>,
    /// Fields that tests ask for and that no event had so far.
    not_met: Vec<usize>,
    /// When the records at hand were received, if that is known.
    pub received: Option<EventTime>,
}

/// No candidate begins with this slot.
const NO_RANK: u16 = u16::MAX;

impl Interpreter {
    pub fn new(spec: Arc<Spec>, source: u16, format: Format, range: Range) -> Interpreter {
        let events = &spec.sources[source as usize];
        let mut paths = PathSet::default();
        let candidates = Role::ALL.map(|role| {
            candidates(events, format, role)
                .iter()
                .map(|one| one.parts.iter().map(|path| paths.add(path)).collect())
                .collect::<Vec<Vec<_>>>()
        });
        let slots = |field: &FieldPlan| field.candidates.iter().map(|path| paths.add(path)).collect();
        let fields = spec.fields.iter().map(slots).collect();
        let mut ranks = vec![[NO_RANK; 4]; paths.len()];
        for (role, candidates) in candidates.iter().enumerate() {
            for (rank, parts) in candidates.iter().enumerate().rev() {
                ranks[parts[0] as usize][role] = rank as u16;
            }
        }
        let mut not_met: Vec<usize> = spec.tests.iter().map(|test| test.field).collect();
        not_met.sort_unstable();
        not_met.dedup();
        let time = TimeReader::new(&events.zone).expect("the zone was checked when the specification was made");
        Interpreter {
            source,
            candidates,
            ranks,
            fields,
            time,
            paths: Arc::new(paths),
            range,
            names: Names::default(),
            signatures: Seen::default(),
            texts: Seen::default(),
            joined: String::new(),
            encoded: Vec::new(),
            cut: Cell::new(0),
            not_met,
            received: None,
            spec,
        }
    }

    /// Returns the settings for the events of its source.
    pub fn events(&self) -> &EventsPlan {
        &self.spec.sources[self.source as usize]
    }

    /// Returns the paths that a format is to look for.
    pub fn paths(&self) -> &Arc<PathSet> {
        &self.paths
    }

    /// Puts the event that was read at `position` into the batch, which is complete after [`Interpreter::finish`].
    pub fn record(&mut self, reading: &Reading, position: Position, payload: &[u8], batch: &mut Batch) {
        let chosen = self.choose(reading);
        let time = self.effective(self.time(reading, chosen[Role::Time as usize]), batch);
        if !self.range.contains(time) {
            batch.outside += 1;
            return;
        }
        batch.ambiguous += u64::from(reading.ambiguous);
        if !self.not_met.is_empty() {
            let mut not_met = std::mem::take(&mut self.not_met);
            not_met.retain(|field| {
                let exists = self.exists(reading, *field);
                if exists {
                    batch.met.insert(*field);
                }
                !exists
            });
            self.not_met = not_met;
        }
        let signature = self.signature(reading, chosen[Role::Kind as usize], batch);
        let details = self.details(reading);
        let mut record = Record { event: Event { user: None, time, signature, details }, identity: None };
        let mut joined = std::mem::take(&mut self.joined);
        let user = chosen[Role::User as usize].and_then(|chosen| self.text(reading, Role::User, chosen, &mut joined));
        match (user, self.horizon(chosen[Role::Id as usize])) {
            (Some(user), None) => self.names.later(user.text, batch.input.records.len()),
            (user, Some((id, horizon))) => {
                let user = user.map(|user| self.names.key(user.text, &mut batch.input));
                record.event.user = user;
                record.identity = self.text(reading, Role::Id, id, &mut joined).map(|id| {
                    let id = EventId::of(user, id.text);
                    Box::new(Identity { id, payload: payload_hash(payload), position, horizon })
                });
            }
            (None, None) => {}
        }
        self.joined = joined;
        batch.texts_cut += self.texts_cut();
        batch.input.records.push(record);
    }

    /// Returns the time that counts: one that is further behind the time of reception than clocks may be wrong is that
    /// of reception. What is not known to have been received at some time has the time that it says.
    pub fn effective(&self, time: Result<EventTime, NoTime>, batch: &mut Batch) -> Result<EventTime, NoTime> {
        let max_future = self.events().max_future;
        match (time, self.received) {
            (Ok(time), Some(received)) if time.micros() - received.micros() > max_future => {
                batch.skewed += 1;
                Ok(received)
            }
            _ => time,
        }
    }

    /// Completes the records of a batch, before it is sent.
    pub fn finish(&mut self, batch: &mut Batch) {
        self.names.resolve(&mut batch.input);
    }

    /// Returns the candidate that gives the id of an event, and the horizon of its duplicates in microseconds. `None`
    /// if duplicates are not recognised.
    fn horizon(&self, id: Option<usize>) -> Option<(usize, i64)> {
        Some((id?, self.events().dedupe?))
    }

    /// Returns by role the index of the first candidate that is present.
    pub fn choose(&self, reading: &Reading) -> [Option<usize>; 4] {
        let mut best = [NO_RANK; 4];
        for slot in reading.slots() {
            let ranks = &self.ranks[slot as usize];
            best.iter_mut().zip(ranks).for_each(|(best, rank)| *best = (*best).min(*rank));
        }
        best.map(|rank| (rank != NO_RANK).then_some(rank as usize))
    }

    /// Returns the number of texts that were cut since the last call.
    pub fn texts_cut(&self) -> u64 {
        self.cut.take()
    }

    /// Returns the text of a candidate; several parts are joined into `joined`, without those that are absent. One that
    /// is kept, that of a user or a type, is bounded.
    pub fn text<'a>(
        &self,
        reading: &'a Reading,
        role: Role,
        candidate: usize,
        joined: &'a mut String,
    ) -> Option<Value<'a>> {
        let parts = &self.candidates[role as usize][candidate];
        let first = reading.first(parts[0])?;
        let kept = matches!(role, Role::User | Role::Kind);
        if parts.len() == 1 {
            if !kept || first.text.len() <= LONGEST {
                return Some(first);
            }
            joined.clear();
            joined.push_str(&self.bounded(first.text));
            return Some(Value { kind: first.kind, text: joined });
        }
        joined.clear();
        joined.push_str(first.text);
        for value in parts[1..].iter().filter_map(|slot| reading.first(*slot)) {
            joined.push_str(&self.events().join);
            joined.push_str(value.text);
        }
        if kept && joined.len() > LONGEST {
            *joined = self.bounded(joined).into_owned();
        }
        Some(Value { kind: dataflows::ValueKind::String, text: joined })
    }

    fn bounded<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.cut.set(self.cut.get() + u64::from(text.len() > LONGEST));
        bounded(text)
    }

    /// Returns the paths of a candidate.
    pub fn parts(&self, role: Role, candidate: usize) -> impl Iterator<Item = &Path> {
        self.candidates[role as usize][candidate].iter().map(|slot| self.paths.path(*slot))
    }

    /// Returns the slot that gives the values of a field: that of the first candidate that is present.
    pub fn field(&self, reading: &Reading, field: usize) -> Option<Slot> {
        self.fields[field].iter().copied().find(|slot| reading.first(*slot).is_some())
    }

    pub fn time(&self, reading: &Reading, candidate: Option<usize>) -> Result<EventTime, NoTime> {
        let mut joined = String::new();
        let value = candidate.and_then(|candidate| self.text(reading, Role::Time, candidate, &mut joined));
        value.map_or(Err(NoTime::Absent), |value| self.time.read(value).ok_or(NoTime::Unreadable))
    }

    fn signature(&mut self, reading: &Reading, kind: Option<usize>, batch: &mut Batch) -> SignatureId {
        let mut joined = std::mem::take(&mut self.joined);
        let kind = kind.and_then(|candidate| self.text(reading, Role::Kind, candidate, &mut joined));
        let signature = self.signature_id(reading, kind);
        if !self.signatures.contains(&signature) {
            if self.signatures.len() >= REMEMBERED {
                self.signatures.clear();
            }
            self.signatures.insert(signature);
            batch.input.signatures.push((signature, self.descriptor(reading, kind)));
        }
        self.joined = joined;
        signature
    }

    /// Returns the signature of shape, type and answers. It is equal exactly when the [`Self::descriptor`]s are.
    pub fn signature_id(&mut self, reading: &Reading, kind: Option<Value<'_>>) -> SignatureId {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        encoded.extend(self.spec.tests.iter().map(|test| u8::from(self.answer(reading, test))));
        // A type that is absent differs from every type: lengths are stored one up.
        encoded.extend(kind.map_or(0, |kind| kind.text.len() as u64 + 1).to_le_bytes());
        encoded.extend_from_slice(kind.map_or("", |kind| kind.text).as_bytes());
        let signature = SignatureId::of(shape(reading), &encoded);
        self.encoded = encoded;
        signature
    }

    /// Returns everything that the rules may look at.
    pub fn descriptor(&self, reading: &Reading, kind: Option<Value<'_>>) -> Descriptor {
        let answers = self.spec.tests.iter().map(|test| self.answer(reading, test)).collect();
        Descriptor { shape: shape(reading), kind: kind.map(|kind| Arc::from(kind.text)), answers }
    }

    /// Returns whether something is at one of the paths of a field: a value, an object or an array, an empty one too.
    pub fn exists(&self, reading: &Reading, field: usize) -> bool {
        self.fields[field].iter().any(|slot| reading.has(*slot))
    }

    fn answer(&self, reading: &Reading, test: &Test) -> bool {
        if test.predicate == Predicate::Exists {
            return self.exists(reading, test.field);
        }
        self.field(reading, test.field)
            .is_some_and(|slot| reading.all(slot).any(|value| test.predicate.holds(value.text)))
    }

    fn details(&mut self, reading: &Reading) -> Option<Box<Details>> {
        let Spec { sums, carry, .. } = &*self.spec;
        if sums.is_empty() && carry.is_empty() {
            return None;
        }
        let measure = |field: usize| {
            let mut measure = Measure::default();
            for value in self.field(reading, field).into_iter().flat_map(|slot| reading.all(slot)) {
                measure.add(&match Decimal::summand(value.text) {
                    Some(sum) => Measure { sum, numbers: 1, others: 0 },
                    None => Measure { sum: Decimal::ZERO, numbers: 0, others: 1 },
                });
            }
            measure
        };
        let sums = sums.iter().map(|field| measure(*field)).collect();
        let slots: SmallVec<[_; 2]> = carry.iter().map(|field| self.field(reading, *field)).collect();
        let mut texts = std::mem::take(&mut self.texts);
        let mut carry = |slot| reading.first(slot).map(|value| intern(&mut texts, &self.bounded(value.text)));
        let carried = slots.into_iter().map(|slot| slot.and_then(&mut carry)).collect();
        self.texts = texts;
        Some(Box::new(Details { sums, carried }))
    }
}

fn shape(reading: &Reading) -> ShapeId {
    reading.shape.expect("interpretation follows a reading without fault, and that has a shape")
}

/// Returns the configured candidates, else the built-in ones of the format.
fn candidates(events: &EventsPlan, format: Format, role: Role) -> Vec<Candidate> {
    match role {
        Role::User => events.user.clone().unwrap_or_else(|| defaults::user(format)),
        Role::Time => events.time.clone().unwrap_or_else(|| defaults::time(format)),
        Role::Kind => events.kind.clone().unwrap_or_else(|| defaults::kind(format)),
        Role::Id => events.id.clone(),
    }
}

fn intern(texts: &mut Seen<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = texts.get(text) {
        return Arc::clone(known);
    }
    if texts.len() >= REMEMBERED {
        texts.clear();
    }
    let text: Arc<str> = Arc::from(text);
    texts.insert(Arc::clone(&text));
    text
}
