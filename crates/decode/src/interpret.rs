//! Reading -> [`Record`]: picks the user, the time, the type, the id and the fields from the values of one pass, and
//! answers the tests of the rules.
//!
//! Strings do not travel with the records. Each reader keeps bounded caches of the strings that it has sent. It sends
//! the string behind a key only when the key is new to it. A repeat does no harm.

mod batch;
mod call;
mod choices;
mod choose;
mod contribute;
mod count;
mod cues;
mod details;
mod link;
mod steps;

pub use batch::{Batch, BatchMark};
pub use choose::Chosen;

use crate::absent::{self, Absent};
use crate::defaults;
use crate::longest::{LONGEST, bounded};
use crate::names::Names;
use crate::path::Path;
use crate::path_set::PathSet;
use crate::reading::{Reading, Slot, Value};
use crate::spec::{Candidate, CountSpec, CueSpec, EventsPlan, FieldPlan, Format, Spec, StateSpec, Ties};
use crate::time::TimeReader;
use crate::usage::Used;
use call::Called;
use choices::Choices;
use choose::Ranks;
use contribute::Asked;
use count::Counts;
use cues::Cues;
use dataflows::classify::{Definitions, Why};
use dataflows::identity::payload_hash;
use dataflows::rules::{Predicate, Test};
use dataflows::{Descriptor, Event, EventId, EventTime, Identity, NoTime, Position, Record, ShapeId, SignatureId};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use steps::Steps;

/// Distinct strings that a reader remembers having sent. What is forgotten is sent again when it comes again.
const REMEMBERED: usize = 1 << 18;

type Seen<K> = HashSet<K, foldhash::fast::FixedState>;

/// Half-open range of event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first time; `None`: there is no lower bound.
    pub from: Option<EventTime>,
    /// Behind the last time; `None`: there is no upper bound.
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
    /// Whose event it is.
    User,
    /// When it happened.
    Time,
    /// Its type.
    Kind,
    /// What recognises its duplicates.
    Id,
}

impl Role {
    /// Every role, in the order of [`Used::roles`](crate::usage::Used).
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
    format: Format,
    /// By role: its candidates, each with the slots of its parts.
    candidates: [Vec<Vec<Slot>>; 4],
    /// By slot and role: the index of the first candidate that begins with it.
    ranks: Vec<Ranks>,
    choices: Choices,
    absent: Absent,
    /// Where the day may stand beside a time of day, if the times are the built-in ones.
    days: Vec<Slot>,
    /// Every value is a text, whatever it was where it came from.
    is_text: bool,
    /// By field: the slots of its candidates.
    fields: Vec<Vec<Slot>>,
    time: TimeReader,
    paths: Arc<PathSet>,
    range: Range,
    names: Names,
    signatures: Seen<SignatureId>,
    /// The rules, if classes matter to sessions; and the signatures of classes that are kept out of them.
    rules: Option<Definitions>,
    apart: Seen<SignatureId>,
    /// Under session policies.
    cues: Option<Cues>,
    /// If there are sequences.
    steps: Option<Steps>,
    /// Of states.
    asked: Asked,
    /// Of counts.
    counts: Counts,
    /// Of actions.
    called: Called,
    texts: Seen<Arc<str>>,
    /// The slot of `order`, and whether ties follow the log.
    order: Option<Slot>,
    by_place: bool,
    /// The offset of a position, and the place in its file that stands for it; `None`: places are not known.
    pub places: Option<(u64, u64)>,
    /// Scratch.
    joined: String,
    encoded: Vec<u8>,
    /// Texts that were cut since [`Interpreter::texts_cut`] was asked last.
    cut: Cell<u64>,
    /// Since the last block was finished.
    used: Used,
    /// Slots of configured paths at which no event had anything so far.
    unseen: Vec<Slot>,
    /// Event times after this one are counted.
    pub latest: Option<EventTime>,
    /// When the records at hand were received, if that is known.
    pub received: Option<EventTime>,
    /// Something in the record at hand was mended before it was read.
    pub repaired: bool,
}

/// No candidate begins with this slot.
const NO_RANK: u16 = u16::MAX;

impl Interpreter {
    /// Makes an interpreter of the events of one source in one format.
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
        let fields: Vec<Vec<Slot>> = spec.fields.iter().map(slots).collect();
        let order = events.order.as_ref().map(|path| paths.add(path));
        let days = match events.time {
            None => defaults::days().iter().map(|path| paths.add(path)).collect(),
            Some(_) => Vec::new(),
        };
        let own = [events.user.is_some(), events.time.is_some(), events.kind.is_some(), true];
        let configured = candidates.iter().zip(own).filter(|(_, own)| *own).flat_map(|(all, _)| all.iter().flatten());
        let mut unseen: Vec<Slot> = configured.chain(fields.iter().flatten()).chain(&order).copied().collect();
        unseen.sort_unstable();
        unseen.dedup();
        let mut ranks = vec![[NO_RANK; 4]; paths.len()];
        for (role, candidates) in candidates.iter().enumerate() {
            for (rank, parts) in candidates.iter().enumerate().rev() {
                ranks[parts[0] as usize][role] = rank as u16;
            }
        }
        let time = TimeReader::of(&events.times()).expect("the zone was checked when the specification was made");
        let used = Used::new(std::array::from_fn(|role| candidates[role].len()), paths.len());
        Interpreter {
            source,
            format,
            candidates,
            ranks,
            absent: Absent::new(events.absent.as_deref()),
            days,
            choices: Choices::default(),
            is_text: format != Format::Json,
            fields,
            time,
            paths: Arc::new(paths),
            range,
            names: Names::default(),
            signatures: Seen::default(),
            rules: (!spec.rules.is_empty()
                || spec.cues.as_ref().is_some_and(CueSpec::names_classes)
                || !spec.sequences.is_empty()
                || spec.states.iter().any(StateSpec::names_classes)
                || spec.counts.iter().any(CountSpec::names_classes)
                || !spec.actions.is_empty())
            .then(|| Definitions::new(spec.rules.clone(), &BTreeSet::new())),
            apart: Seen::default(),
            cues: spec.cues.as_ref().map(|cues| Cues::new(cues, source)),
            steps: (!spec.sequences.is_empty()).then(Steps::default),
            asked: Asked::default(),
            counts: Counts::default(),
            called: Called::default(),
            texts: Seen::default(),
            order,
            by_place: events.ties.unwrap_or(Ties::of(format)) == Ties::Log,
            places: Some((0, 0)),
            joined: String::new(),
            encoded: Vec::new(),
            cut: Cell::new(0),
            used,
            unseen,
            latest: None,
            received: None,
            repaired: false,
            spec,
        }
    }

    /// Returns the settings for the events of its source.
    pub fn events(&self) -> &EventsPlan {
        &self.spec.sources[self.source as usize]
    }

    /// Returns the slot of a path of the configuration.
    pub fn slot(&self, path: &Path) -> Option<Slot> {
        self.paths.of(path)
    }

    /// Returns the paths that a format is to look for.
    pub fn paths(&self) -> &Arc<PathSet> {
        &self.paths
    }

    /// Puts the event that was read at `position` into the batch, which is complete after [`Interpreter::finish`].
    pub fn record(&mut self, reading: &Reading, position: Position, payload: &[u8], batch: &mut Batch) {
        if let Some(leaves) = &reading.leaves {
            batch.input.shapes.push((shape(reading), Arc::clone(leaves)));
        }
        let mut chosen = self.best_again(reading);
        let stated = self.settle(reading, &mut chosen[Role::Time as usize]);
        let time = self.effective(stated, batch);
        if !self.range.contains(time) {
            batch.outside += 1;
            return;
        }
        batch.ambiguous += u64::from(reading.ambiguous);
        self.count(reading, &chosen, stated);
        let signature = self.signature(reading, chosen[Role::Kind as usize], batch);
        let rank = self.rank_of(reading, position);
        let steps = time.ok().and_then(|time| self.steps(reading, time, (signature, rank), batch));
        let time = match time {
            Ok(time) if self.apart.contains(&signature) => Err(NoTime::Apart(time)),
            time => time,
        };
        let details = self.details(reading, time.ok(), signature, rank);
        let contributions = match time {
            Ok(time) | Err(NoTime::Apart(time)) if !self.spec.states.is_empty() => {
                self.contributions(reading, time, signature, rank, &mut batch.input)
            }
            _ => None,
        };
        let mut record = Record {
            event: Event {
                user: None,
                time,
                signature,
                details,
                steps,
                contributions,
                calls: None,
                counted: None,
                links: None,
            },
            identity: None,
        };
        let mut joined = std::mem::take(&mut self.joined);
        let user = chosen[Role::User as usize].map(|chosen| self.text(reading, Role::User, chosen, &mut joined));
        if self.spec.links.is_some() {
            record.event.links = self.links(reading, user.map(|user| user.text));
        }
        let calls = self.called.has(signature);
        if !self.spec.counts.is_empty() {
            let time = record.event.at();
            record.event.counted = self.counted(reading, user.map(|user| user.text), time, signature);
        }
        let who = user.filter(|_| calls).map(|user| Arc::from(user.text));
        match (user, self.horizon(chosen[Role::Id as usize])) {
            (Some(user), None) => self.names.later(user.text, batch.input.records.len()),
            (user, Some((id, horizon))) => {
                let user = user.map(|user| self.names.key(user.text, &mut batch.input));
                record.event.user = user;
                let id = EventId::of(user, self.text(reading, Role::Id, id, &mut joined).text);
                record.identity = Some(Box::new(Identity { id, payload: payload_hash(payload), position, horizon }));
            }
            (None, None) => {}
        }
        self.joined = joined;
        if calls {
            self.call(reading, position, who, &mut record, &mut batch.input);
        }
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
        let Used { roles, seen, .. } = &self.used;
        let empty = Used::new(std::array::from_fn(|role| roles[role].len() - 1), seen.len());
        let used = std::mem::replace(&mut self.used, empty);
        for test in &self.spec.tests {
            if self.fields[test.field].iter().any(|slot| used.has_seen(*slot)) {
                batch.met.insert(test.field);
            }
        }
        batch.usage.entry((self.source, self.format)).or_default().add(&used);
    }

    /// Counts what was used of an event.
    #[inline]
    fn count(&mut self, reading: &Reading, chosen: &[Option<Chosen>; 4], stated: Result<EventTime, NoTime>) {
        self.used.event(chosen.map(|chosen| chosen.map(|chosen| chosen.candidate)));
        if let Ok(time) = stated {
            self.used.early += u64::from(absent::is_early(time));
            self.used.late += u64::from(self.latest.is_some_and(|latest| time > latest));
        }
        if !self.unseen.is_empty() {
            let seen = &mut self.used.seen;
            reading.slots().chain(reading.containers().iter().copied()).for_each(|slot| seen[slot as usize] = true);
            self.unseen.retain(|slot| !seen[*slot as usize]);
        }
    }

    /// Returns the candidate that gives the id of an event, and the horizon of its duplicates in microseconds. `None`
    /// if duplicates are not recognised.
    fn horizon(&self, id: Option<Chosen>) -> Option<(Chosen, i64)> {
        Some((id?, self.events().dedupe?))
    }

    /// Returns the number of texts that were cut since the last call.
    pub fn texts_cut(&self) -> u64 {
        self.cut.take()
    }

    fn bounded<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.cut.set(self.cut.get() + u64::from(text.len() > LONGEST));
        bounded(text)
    }

    /// Returns the paths of a candidate.
    pub fn parts(&self, role: Role, chosen: Chosen) -> impl Iterator<Item = &Path> {
        self.candidates[role as usize][chosen.candidate].iter().map(|slot| self.paths.path(*slot))
    }

    /// Returns the slot that gives the values of a field: that of the first candidate that is present.
    pub fn field(&self, reading: &Reading, field: usize) -> Option<Slot> {
        self.fields[field].iter().copied().find(|slot| reading.first(*slot).is_some())
    }

    fn signature(&mut self, reading: &Reading, kind: Option<Chosen>, batch: &mut Batch) -> SignatureId {
        let mut joined = std::mem::take(&mut self.joined);
        let kind = kind.map(|chosen| self.text(reading, Role::Kind, chosen, &mut joined));
        let signature = self.signature_id(reading, kind);
        if !self.signatures.contains(&signature) {
            if self.signatures.len() >= REMEMBERED {
                self.signatures.clear();
                self.apart.clear();
                self.cues.iter_mut().for_each(Cues::forget);
                self.steps.iter_mut().for_each(Steps::forget);
                self.asked.forget();
                self.counts.forget();
                self.called.forget();
            }
            self.signatures.insert(signature);
            let descriptor = self.descriptor(reading, kind);
            let mut class_of = "";
            if let Some(rules) = &self.rules {
                let (class, why) = rules.classify(&descriptor);
                if matches!(why, Why::Rule(rule) if !rule.sessions) {
                    self.apart.insert(signature);
                }
                self.cues.iter_mut().for_each(|cues| cues.classify(signature, class));
                self.steps.iter_mut().for_each(|steps| steps.classify(signature, class, &self.spec.sequences));
                class_of = class;
            }
            if !self.spec.states.is_empty() {
                self.asked.classify(signature, &descriptor, class_of, &self.spec.states);
            }
            if !self.spec.counts.is_empty() {
                self.counts.classify(signature, &descriptor, class_of, &self.spec.counts);
            }
            if !self.spec.actions.is_empty() {
                self.called.classify(signature, &descriptor, class_of, &self.spec.actions);
            }
            batch.input.signatures.push((signature, descriptor));
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
}

fn shape(reading: &Reading) -> ShapeId {
    reading.shape.expect("interpretation follows a reading without fault, and that has a shape")
}

/// Returns the configured candidates, else the built-in ones of the format.
pub fn candidates(events: &EventsPlan, format: Format, role: Role) -> Vec<Candidate> {
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
