//! The whole graph, fed from memory as the worker's loop feeds it.

use crate::sessions::{BATCH, IN_FLIGHT};
use crate::visits::Workload;
use dataflows::engine::{Engine, Input};
use dataflows::pipeline::Settings;
use dataflows::views::Views;
use dataflows::{Descriptor, Event, EventId, Identity, Position, Record, Rule, ShapeId, SignatureId, Tick, UserKey};
use std::sync::Arc;
use timely::worker::Worker;

/// One worker's instance.
pub struct Feed<'w> {
    worker: &'w mut Worker,
    engine: Engine,
    tick: Tick,
}

impl Feed<'_> {
    pub fn new(worker: &mut Worker, settings: Settings) -> Feed<'_> {
        let engine = Engine::new(worker, settings);
        Feed { worker, engine, tick: 0 }
    }

    /// Sends at one tick and closes the tick. First waits until few enough ticks are in flight.
    pub fn tick(&mut self, inputs: impl IntoIterator<Item = Input>) {
        while self.tick > self.engine.settled().saturating_add(IN_FLIGHT) {
            Engine::wait(self.worker);
        }
        for mut input in inputs {
            self.engine.send(&mut input);
            Engine::step(self.worker);
        }
        self.tick += 1;
        self.engine.advance_to(self.tick);
    }

    /// Works until all ticks are done, on all workers.
    pub fn finish(&mut self) {
        while self.engine.settled() < self.tick {
            Engine::wait(self.worker);
        }
    }

    /// A rule that claims what answers the only test with yes.
    pub fn relabel(&mut self, name: &str) {
        let when = [dataflows::Condition { test: 0, answer: true }].into_iter().collect();
        let rule = Rule { name: name.to_owned(), priority: self.tick as i64, order: 0, when, sessions: true };
        let rules = if self.worker.index() == 0 { vec![rule] } else { Vec::new() };
        self.tick([Input { rules, ..Input::default() }]);
    }

    pub fn close(self) -> Views {
        self.engine.close(self.worker).0
    }
}

/// The share of one worker in each tick of a workload.
pub struct Share<'a> {
    pub workload: &'a Workload,
    pub worker: usize,
    pub workers: usize,
    /// Microseconds; the horizon of the identities that the records carry.
    pub dedupe: Option<i64>,
    /// Users whose names were sent, by number.
    named: Vec<bool>,
    /// Whether the signatures were sent.
    described: bool,
}

impl Share<'_> {
    pub fn new(workload: &Workload, worker: usize, workers: usize, dedupe: Option<i64>) -> Share<'_> {
        Share { workload, worker, workers, dedupe, named: vec![false; workload.users.len()], described: false }
    }

    /// By tick, in batches.
    pub fn ticks(&mut self, range: std::ops::Range<usize>, tick: usize) -> Vec<Vec<Input>> {
        let starts = range.clone().step_by(tick);
        starts.map(|start| self.one_tick(start, (start + tick).min(range.end))).collect()
    }

    fn one_tick(&mut self, start: usize, end: usize) -> Vec<Input> {
        let at = |worker: usize| start + (end - start) * worker / self.workers;
        let (from, to) = (at(self.worker), at(self.worker + 1));
        (from..to).step_by(BATCH).map(|from| self.input(from, (from + BATCH).min(to))).collect()
    }

    fn input(&mut self, from: usize, to: usize) -> Input {
        let mut input = Input::default();
        for (position, visit) in (from..to).zip(self.workload.visits(from..to)) {
            let number = self.workload.arrivals[position].user as usize;
            if !std::mem::replace(&mut self.named[number], true) {
                input.names.push((visit.user, Arc::from(format!("user {number}"))));
            }
            let identity = self.dedupe.map(|horizon| identity(visit.user, position as u64, horizon));
            let event = Event {
                user: Some(visit.user),
                time: Ok(visit.time),
                signature: visit.signature,
                details: visit.details,
                steps: None,
                contributions: None,
                calls: None,
                counted: None,
                links: None,
            };
            input.records.push(Record { event, identity });
        }
        if !std::mem::replace(&mut self.described, true) {
            input.signatures = descriptors();
        }
        input
    }
}

fn identity(user: UserKey, position: u64, horizon: i64) -> Box<Identity> {
    let id = EventId::of(Some(user), &position.to_string());
    Box::new(Identity {
        id,
        payload: [id.bits(), position],
        position: Position { source: 0, part: 0, offset: position },
        horizon,
    })
}

/// Of all signatures of a workload: a type each; every other one answers the only test with yes.
fn descriptors() -> Vec<(SignatureId, Descriptor)> {
    let descriptor = |number: u8| Descriptor {
        shape: ShapeId(u64::from(number)),
        kind: Some(Arc::from(format!("type {number}"))),
        answers: vec![number.is_multiple_of(2)],
    };
    (0..crate::visits::SIGNATURES as u8)
        .map(|number| (crate::visits::signature_id(number), descriptor(number)))
        .collect()
}
