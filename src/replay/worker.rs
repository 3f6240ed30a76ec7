//! A worker of a replay: takes records, decodes them into the graph, and hands over the views at the end. It shares the loop
//! with the workers of a run ([`drive`]).

use super::gather::{Gathering, Seen};
use crate::error::Error;
use crate::landing::history::{self, Landed, Taken};
use crate::plan::Plan;
use crate::source::{Chunk, Chunks, Next};
use crate::worker::drive::{Turn, Work, drive};
use dataflows::classify::{Definitions, Why};
use dataflows::engine::Engine;
use dataflows::ingest::Verdict;
use dataflows::views::Views;
use dataflows::{DeadLetter, Descriptor, EventTime, Position, Rule, SignatureId, Tick};
use headwater_decode::Decoder;
use headwater_decode::account::Account;
use headwater_decode::interpret::Range;
use headwater_decode::usage::Usage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::worker::Worker;

/// The number of ticks that may be in flight: enough to hide the round trips of progress, few enough to bound the
/// records that wait in the operators.
const IN_FLIGHT: Tick = 3;

/// The counts of one worker.
#[derive(Debug, Default)]
pub struct Tally {
    /// Events that held one path both dotted and nested.
    pub ambiguous: u64,
    /// Events outside of the asked range of event time.
    pub outside: u64,
    /// Users, types and carried texts that were cut.
    pub texts_cut: u64,
    /// Events of which something unreadable was mended.
    pub repaired: u64,
    /// Where the bytes of the input went.
    pub account: Account,
    /// Fields of rules that some event has, by index in the plan.
    pub fields: BTreeSet<usize>,
    /// What was used of the configuration.
    pub usage: Usage,
    /// Rules that give some event its class: by their order.
    pub rules: BTreeSet<u32>,
    /// By rule that fits some event to which another one gives the class: those others.
    pub preceded: BTreeMap<u32, BTreeSet<u32>>,
    definitions: Definitions,
    pub duplicates: u64,
    pub duplicates_unchecked: u64,
    /// The positions of duplicates, if [`Observer::wants_repeats`].
    pub repeats: Vec<Position>,
    keeps_repeats: bool,
    /// Records that another one with the same identity and another payload came before.
    pub conflicts: Vec<Position>,
    /// Events of a sequence that have no value of the field that it is followed for, by sequence.
    pub keyless: BTreeMap<u16, u64>,
    /// What was seen of the events, if [`Observer::wants_seen`].
    pub seen: Option<Box<Seen>>,
}

/// Receives the dead letters and counts of a worker. An error ends the worker's part in the run.
pub trait Observer {
    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), Error>;
    /// Records the number of events of a chunk.
    fn decoded(&mut self, events: u64);
    /// Records the largest time of events with a user, if the plan has sequences.
    fn at(&mut self, time: EventTime);
    /// Returns whether another worker has failed, so that going on is in vain.
    fn stopped(&self) -> bool;
    /// Records the latest time of a chunk's events. Is called only if there are states.
    fn happened(&mut self, _latest: EventTime) {}
    /// Returns whether what classes follow from is to be gathered.
    fn wants_seen(&self) -> bool {
        false
    }
    /// Returns whether the positions of duplicates are to be kept.
    fn wants_repeats(&self) -> bool {
        false
    }
}

/// Runs the graph over the whole source. After an error the inputs are closed, so that no other worker waits. `now`: the
/// time as of which states are read, if it is known.
pub fn run(
    worker: &mut Worker,
    plan: &Arc<Plan>,
    (range, now): (Range, Option<EventTime>),
    latest: Option<EventTime>,
    mut source: Feed<'_>,
    observer: &mut impl Observer,
) -> Result<(Tally, Views), Error> {
    let mut settings = plan.graph();
    settings.states.now = now;
    let mut engine = Engine::new(worker, settings);
    let mut batch = Gathering { seen: observer.wants_seen().then(Box::default), ..Gathering::default() };
    if worker.index() == 0 {
        batch.batch.input.rules.clone_from(&plan.rules);
        batch.batch.input.learns = isize::from(plan.learn);
    }
    engine.send(&mut batch.batch.input);
    let mut reading = Reading {
        decoder: Decoder::new(plan.spec(), range).expecting(latest),
        batch,
        letters: Vec::new(),
        tally: Tally { keeps_repeats: observer.wants_repeats(), ..Tally::of(plan) },
        settled: 0,
        sequences: !plan.sequences.is_empty(),
        source: &mut source,
        has_states: !plan.states.is_empty() || !plan.counts.is_empty(),
        observer,
    };
    let driven = drive(worker, &mut engine, &mut reading);
    let Reading { mut tally, batch: Gathering { batch, seen }, .. } = reading;
    let (views, verdicts) = engine.close(worker);
    tally.add(verdicts);
    (tally.ambiguous, tally.outside, tally.texts_cut) = (batch.ambiguous, batch.outside, batch.texts_cut);
    tally.repaired = batch.repaired;
    tally.account.add(&batch.account);
    (tally.fields, tally.usage, tally.keyless) = (batch.met, batch.usage, batch.keyless);
    tally.seen = seen;
    driven.map(|()| (tally, views))
}

/// What a worker reads: all workers together read all of it.
pub enum Feed<'s> {
    Files(&'s Chunks, Box<Chunk>),
    Landing(history::Reader),
}

impl<'s> Feed<'s> {
    /// Returns the feed of files.
    pub fn of_files(chunks: &'s Chunks) -> Feed<'s> {
        Feed::Files(chunks, Box::default())
    }

    fn tick(&self) -> Tick {
        match self {
            Feed::Files(chunks, _) => chunks.tick(),
            Feed::Landing(reader) => reader.tick(),
        }
    }

    /// Decodes the next records, if they are of a tick up to `limit`. What is no record comes as dead letters.
    fn next(
        &mut self,
        limit: Tick,
        decoder: &mut Decoder,
        into: &mut Gathering,
        letters: &mut Vec<DeadLetter>,
    ) -> Result<Taken, Error> {
        match self {
            Feed::Files(chunks, chunk) => match chunks.next(limit, chunk).map_err(Error::run("read the sources"))? {
                Next::Chunk => {
                    decoder.read(&chunk.block(), into);
                    into.batch.account.add(&chunk.account);
                    letters.append(&mut chunk.dead_letters);
                    Ok(Taken::Rows(chunk.tick))
                }
                Next::Wait => Ok(Taken::Wait),
                Next::End => Ok(Taken::End),
            },
            Feed::Landing(reader) => {
                let each = |row: Landed<'_>| match row {
                    Landed::Record(block, place, _) => {
                        decoder.place(place);
                        decoder.read(&block, into);
                    }
                    Landed::Letter(letter) => {
                        into.batch.account.dead_letters += letter.payload.len() as u64;
                        letters.push(letter);
                    }
                };
                reader.next(limit, each).map_err(Error::run("read the landing"))
            }
        }
    }
}

/// The work of a worker of a replay.
struct Reading<'s, 'f, O> {
    source: &'s mut Feed<'f>,
    observer: &'s mut O,
    decoder: Decoder,
    batch: Gathering,
    letters: Vec<DeadLetter>,
    tally: Tally,
    /// The ticks before this one are in the views.
    settled: Tick,
    /// Whether the plan has sequences.
    sequences: bool,
    has_states: bool,
}

impl<O: Observer> Work for Reading<'_, '_, O> {
    fn settled(&mut self, engine: &mut Engine, upper: Tick) -> Result<(), Error> {
        self.settled = upper;
        engine.compact(upper);
        self.tally.add(engine.verdicts());
        Ok(())
    }

    /// Takes what is next in the source, of any file: whichever worker is free.
    fn turn(&mut self, engine: &mut Engine) -> Result<Turn, Error> {
        let Reading { source, observer, decoder, batch, letters, tally, settled, sequences, has_states } = self;
        if observer.stopped() {
            return Ok(Turn::Ends);
        }
        let limit = settled.saturating_add(IN_FLIGHT);
        match source.next(limit, decoder, batch, letters)? {
            Taken::Rows(tick) => {
                engine.advance_to(tick);
                let Gathering { batch, seen } = batch;
                observer.decoded(batch.input.records.len() as u64);
                if *sequences {
                    let events = batch.input.records.iter().map(|record| &record.event);
                    let times = events.filter(|event| event.user.is_some()).filter_map(|event| event.time.ok());
                    times.max().into_iter().for_each(|time| observer.at(time));
                }
                if *has_states {
                    let latest = batch.input.records.iter().filter_map(|record| record.event.at()).max();
                    latest.into_iter().for_each(|latest| observer.happened(latest));
                }
                for letter in letters.drain(..).chain(batch.dead_letters.drain(..)) {
                    observer.dead_letter(&letter)?;
                }
                tally.classify(&batch.input.signatures);
                if let Some(seen) = seen {
                    seen.take(&batch.input);
                }
                engine.send(&mut batch.input);
                Ok(Turn::Works)
            }
            Taken::Wait => {
                engine.advance_to(source.tick());
                Ok(Turn::Waits)
            }
            Taken::End => Ok(Turn::Ends),
        }
    }
}

impl Tally {
    fn of(plan: &Plan) -> Tally {
        Tally { definitions: Definitions::new(plan.rules.clone(), &BTreeSet::new()), ..Tally::default() }
    }

    /// Notes the rules that give these signatures their class.
    fn classify(&mut self, signatures: &[(SignatureId, Descriptor)]) {
        for (_, descriptor) in signatures {
            if let Why::Rule(rule) = self.definitions.classify(descriptor).1 {
                self.rules.insert(rule.order);
                let fits = |other: &&Rule| other.order != rule.order && other.claims(descriptor);
                for other in self.definitions.rules().iter().filter(fits) {
                    self.preceded.entry(other.order).or_default().insert(rule.order);
                }
            }
        }
    }

    fn add(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            match verdict {
                Verdict::Duplicate(position) => {
                    self.duplicates += 1;
                    self.repeats.extend(self.keeps_repeats.then_some(position));
                }
                Verdict::NotChecked(_) => self.duplicates_unchecked += 1,
                Verdict::Conflict(position) => self.conflicts.push(position),
            }
        }
    }
}
