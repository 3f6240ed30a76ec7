//! Deliveries of a tick -> input of the graph: decodes the deliveries of this worker's partitions.

use super::forget::{At, Forgetting};
use super::port::{Arrival, Told};
use super::{Fed, Start, labelled};
use crate::collections::label_changes::Causes;
use crate::collections::place::position;
use crate::error::Error;
use crate::plan::Plan;
use crate::queue::control::Control;
use crate::queue::cursor::Cursors;
use crate::queue::delivery::Delivery;
use crate::queue::reference::Tables;
use crate::queue::sequencer::Bound;
use crate::queue::timeline::Timeline;
use dataflows::EventTime;
use dataflows::engine::{Engine, Input};
use headwater_decode::interpret::{Batch, Range};
use headwater_decode::{Block, Decoder};
use headwater_log::partition::Reader;
use std::sync::Arc;

/// A worker's reading end of the queue.
pub(super) struct Feed<'s> {
    start: &'s Start,
    /// Parts of this worker, with their numbers.
    parts: Vec<(usize, Reader)>,
    worker: usize,
    /// With the definitions that are in force; `None` before there are any.
    plan: Option<Arc<Plan>>,
    decoder: Decoder,
    batch: Batch,
    /// Of CSV: the header row of the last delivery, so that the decoder sees that it is the same one.
    header: Option<Arc<[u8]>>,
    timeline: Timeline,
    control: Option<Reader>,
    /// Users who are forgotten.
    forgetting: Forgetting,
    /// As of the last tick.
    tables: Arc<Tables>,
}

impl<'s> Feed<'s> {
    /// # Errors
    /// If the tables as of the snapshot cannot be read back.
    pub fn new(start: &'s Start, worker: usize, workers: usize) -> Result<Feed<'s>, Error> {
        let plan = start.resume.as_ref().and_then(|resume| start.defined(resume.control)).cloned();
        let timeline = Timeline::new(&start.definitions, start.control.clone());
        let parts = start.readers.iter().enumerate().filter(|(part, _)| part % workers == worker);
        let mut feed = Feed {
            start,
            parts: parts.map(|(part, reader)| (part, reader.clone())).collect(),
            worker,
            decoder: Decoder::new(plan.as_ref().unwrap_or(&start.plan).spec(), Range::default()),
            plan,
            batch: Batch::default(),
            header: None,
            timeline,
            control: start.control.clone(),
            forgetting: Forgetting::default(),
            tables: Arc::default(),
        };
        feed.read_control(0..start.resume.as_ref().map_or(0, |resume| resume.control))?;
        Ok(feed)
    }

    /// Takes the contents of tables, and the users who are forgotten, that these records of the control partition have.
    /// Returns the users.
    fn read_control(&mut self, records: std::ops::Range<u64>) -> Result<Vec<At>, Error> {
        let Some(control) = self.control.as_mut().filter(|_| !records.is_empty()) else { return Ok(Vec::new()) };
        let (mut contents, mut users, mut wrong) = (Vec::new(), Vec::new(), None);
        let forgetting = &mut self.forgetting;
        let read = control.read(records.start, records.end, |record| match Control::decode(record.payload) {
            Ok(Control::Table { content }) => contents.push(content),
            Ok(other) => users.extend(forgetting.take(other)),
            Err(why) => wrong = Some(why),
        });
        read.map_err(Error::run("read the control partition"))?;
        wrong.map_or(Ok(()), |why| Err(Error::run("read the control partition")(why)))?;
        if !contents.is_empty() {
            let tables = Arc::make_mut(&mut self.tables);
            for content in contents {
                tables.insert(content.name.clone(), Arc::new(content.table()));
            }
        }
        Ok(users)
    }

    /// Tells the graph which users are forgotten from this tick on, and which ones may be.
    fn forget(&mut self, engine: &mut Engine, forgets: &[At]) {
        let Some(plan) = self.plan.as_ref().filter(|_| !forgets.is_empty()) else { return };
        // Names are said again: those of before go.
        self.decoder = Decoder::new(plan.spec(), Range::default());
        let mut input = Input::default();
        forgets.iter().for_each(|at| at.enter(plan, &mut input));
        self.forgetting.say(&mut input, 0);
        engine.send(&mut input);
    }

    /// Sends everything of a tick, at which the engine has to be.
    pub fn tick(&mut self, engine: &mut Engine, bound: Bound) -> Result<Fed, Error> {
        engine.now(bound.now_ms);
        self.define(engine, &bound)?;
        let forgets = self.read_control(bound.control.clone())?;
        self.forget(engine, &forgets);
        // Labels are whole on each worker.
        let causes = match self.worker {
            0 => self.timeline.causes(&bound.control).map_err(Error::run("read the control partition"))?,
            _ => Causes::default(),
        };
        let mut fed = Fed {
            dead_letters: Vec::new(),
            told: Told::default(),
            cursors: Cursors::default(),
            names: Vec::new(),
            forgets,
            signatures: Vec::new(),
            shapes: Vec::new(),
            tables: Arc::clone(&self.tables),
            plan: self.plan.clone(),
            causes,
            bound,
        };
        let Feed { start, parts, decoder, batch, header, forgetting, .. } = self;
        let mut wrong = None;
        for (part, reader) in parts {
            let offsets = fed.bound.queue[*part].clone();
            let read = reader.read(offsets.start, offsets.end, |record| {
                let Some(delivery) = Delivery::decode(record.payload) else {
                    wrong.get_or_insert(format!("record {} of part {part} is no delivery", record.offset));
                    return;
                };
                let Some(source) = start.sources.index(delivery.source) else {
                    wrong.get_or_insert(
                        "there are events of a source that is no longer in the configuration and have not been \
                         processed: put it back until they are"
                            .into(),
                    );
                    return;
                };
                if delivery.header.is_some() && header.as_deref() != delivery.header {
                    *header = delivery.header.map(Arc::from);
                }
                // As in a replay: nothing says when history was received.
                let is_history = delivery.is_history();
                let received = EventTime::from_micros(record.received_ms.saturating_mul(1000));
                let block = Block {
                    position: position(source, *part as u32, record.offset, 0),
                    format: delivery.format,
                    framing: delivery.framing,
                    header: delivery.header.and(header.as_ref()),
                    received: received.filter(|_| !is_history),
                    bytes: delivery.events,
                };
                decoder.place(delivery.begins_at());
                let before = batch.input.records.len();
                if !delivery.messages {
                    decoder.read(&block, batch);
                } else if !decoder.read_messages(&block, batch) {
                    wrong.get_or_insert(format!("record {} of part {part} is no list of messages", record.offset));
                    return;
                }
                match is_history {
                    true => forgetting.hold_back(&mut batch.input, before),
                    false => forgetting.say(&mut batch.input, before),
                }
                let times = batch.input.records[before..].iter().filter_map(|record| record.event.time.ok());
                let newest_ms = times.max().map(|time| time.micros().div_euclid(1000));
                if !is_history {
                    fed.told.arrivals.push(Arrival { received_ms: record.received_ms, newest_ms });
                }
                delivery.cursors.into_iter().for_each(|cursor| fed.cursors.add(delivery.source, cursor));
            });
            read.map_err(Error::run("read the log"))?;
            fed.dead_letters.append(&mut batch.dead_letters);
            fed.names.extend_from_slice(&batch.input.names);
            fed.signatures.extend_from_slice(&batch.input.signatures);
            fed.shapes.extend_from_slice(&batch.input.shapes);
            fed.told.events += batch.input.records.len() as u64;
            fed.told.texts_cut += std::mem::take(&mut batch.texts_cut);
            fed.told.repaired += std::mem::take(&mut batch.repaired);
            engine.send(&mut batch.input);
        }
        match wrong {
            Some(wrong) => Err(Error::run("process the log")(wrong)),
            None => Ok(fed),
        }
    }

    /// Takes the definitions that are in force from this tick on, if they are others than before.
    fn define(&mut self, engine: &mut Engine, bound: &Bound) -> Result<(), Error> {
        if !bound.control.is_empty() {
            self.timeline.reach(bound.control.end).map_err(Error::run("read the control partition"))?;
        }
        let Some(plan) = self.timeline.at(bound.control.end) else { return Ok(()) };
        if self.plan.as_ref().is_some_and(|before| Arc::ptr_eq(before, plan)) {
            return Ok(());
        }
        self.decoder = Decoder::new(plan.spec(), Range::default());
        let before = self.plan.replace(Arc::clone(plan));
        let followed = before.as_ref().map_or(&[][..], |before| &before.sequences);
        let ended = followed.iter().zip(&plan.sequences).zip(0..);
        let ended = ended.filter(|((before, now), _)| before.counts() && !now.counts()).map(|(_, index)| index);
        engine.send(&mut Input { ended: ended.collect(), ..Input::default() });
        if self.worker == 0 {
            let learned = before.as_ref().is_some_and(|before| before.learn);
            let learns = isize::from(plan.learn) - isize::from(learned);
            let labels_gone = before.as_ref().map_or(Vec::new(), |before| labelled(before));
            let rules_gone = before.map_or(Vec::new(), |before| before.rules.clone());
            let (rules, labels) = (plan.rules.clone(), labelled(plan));
            engine.send(&mut Input { rules, rules_gone, labels, labels_gone, learns, ..Input::default() });
        }
        Ok(())
    }
}
