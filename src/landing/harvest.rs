//! Deliveries -> rows: decodes them a second time, as the workers do, and keeps the payloads as they came.

use super::around::Around;
use super::rows::{Mark, Row, Rows, Span};
use crate::collections::place::{place, position};
use crate::plan::Plan;
use crate::queue::delivery::Delivery;
use crate::queue::forgets::Forgotten;
use crate::queue::forgotten::comes_back;
use crate::queue::numbers::Numbers;
use dataflows::classify::Definitions;
use dataflows::{EventTime, NoTime, Position, SignatureId, UserKey};
use headwater_decode::framing::Framing;
use headwater_decode::interpret::{Batch, Interpreter, Range, Role};
use headwater_decode::reading::Reading;
use headwater_decode::spec::Format;
use headwater_decode::{Block, Decoder, Harvest, Read};
use headwater_log::segment::Record;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Decodes under the definitions that are in force at a tick.
pub struct Reader {
    plan: Arc<Plan>,
    decoder: Decoder,
    rows: Gather,
    /// Of CSV: the header row of the last delivery, so that the decoder sees that it is the same one.
    header: Option<Arc<[u8]>>,
}

/// The rows of both tables.
struct Gather {
    definitions: Definitions,
    /// The configured fields are the first ones of the plan.
    fields: usize,
    events: Rows,
    letters: Rows,
    /// Class and shape of signatures.
    signatures: HashMap<SignatureId, (u32, u32), foldhash::fast::FixedState>,
    /// Ticks up to this one are in the table of dead letters already.
    lettered: Option<u64>,
    /// Of the delivery at hand.
    at: At,
    around: Around,
    /// Users who were forgotten: from a tick on, history from before a time does not come back.
    forgotten: HashMap<UserKey, Vec<(u64, i64)>>,
    /// Counts what only a worker publishes.
    scratch: Batch,
    joined: String,
}

#[derive(Clone, Copy)]
struct At {
    tick: u64,
    day: i32,
    /// They came by a backfill.
    is_history: bool,
    /// Where in their file its events begin, if they are of one.
    begins_at: Option<u64>,
    format: Format,
    /// Numbers of a text in the rows of events and of dead letters, as of the dialect.
    header: Option<[u32; 2]>,
    dialect: Option<[u32; 2]>,
}

impl Reader {
    /// `fields`: how many of the plan's fields have a column. Dead letters of ticks up to `lettered` are passed.
    pub fn new(plan: &Arc<Plan>, fields: usize, lettered: Option<u64>) -> Reader {
        Reader {
            plan: Arc::clone(plan),
            decoder: Decoder::new(plan.spec(), Range::default()),
            rows: Gather {
                definitions: definitions(plan),
                fields,
                events: Rows::default(),
                letters: Rows::default(),
                signatures: HashMap::default(),
                lettered,
                at: At {
                    tick: 0,
                    day: 0,
                    is_history: false,
                    begins_at: None,
                    format: Format::Json,
                    header: None,
                    dialect: None,
                },
                around: Around::default(),
                forgotten: HashMap::new(),
                scratch: Batch::default(),
                joined: String::new(),
            },
            header: None,
        }
    }

    /// Takes the definitions of `plan` from now on, if they are others than before.
    pub fn define(&mut self, plan: &Arc<Plan>) {
        if !Arc::ptr_eq(&self.plan, plan) {
            self.decoder = Decoder::new(plan.spec(), Range::default());
            self.rows.definitions = definitions(plan);
            self.rows.signatures.clear();
            self.plan = Arc::clone(plan);
        }
    }

    /// Holds back history of users who were forgotten.
    pub fn forget(&mut self, users: &[Forgotten]) {
        self.rows.forgotten.clear();
        for one in users {
            self.rows.forgotten.entry(one.user).or_default().push((one.before, one.asked_ms));
        }
    }

    /// Reads a record of the queue.
    ///
    /// # Errors
    /// If it is no delivery of a source that is configured.
    pub fn read(&mut self, tick: u64, part: u32, record: &Record<'_>, sources: &Numbers) -> Result<(), String> {
        let offset = record.offset;
        let delivery = Delivery::decode(record.payload);
        let delivery = delivery.ok_or_else(|| format!("record {offset} of part {part} is no delivery"))?;
        let source = sources.index(delivery.source).ok_or(
            "there are events of a source that is no longer in the configuration and have not landed: put it back \
             until they have",
        )?;
        if delivery.header.is_some() && self.header.as_deref() != delivery.header {
            self.header = delivery.header.map(Arc::from);
        }
        self.rows.begin(tick, record.received_ms, &delivery);
        self.rows.around = Around::of(&delivery, &self.plan.sources[usize::from(source.0)].events);
        let received = EventTime::from_micros(record.received_ms.saturating_mul(1000));
        let block = Block {
            position: position(source, part, offset, 0),
            format: delivery.format,
            framing: delivery.framing,
            header: delivery.header.and(self.header.as_ref()),
            received: received.filter(|_| !delivery.is_history()),
            bytes: delivery.events,
        };
        if !delivery.messages {
            self.decoder.read(&block, &mut self.rows);
        } else if !self.decoder.read_messages(&block, &mut self.rows) {
            return Err(format!("record {offset} of part {part} is no list of messages"));
        }
        Ok(())
    }

    /// Returns the rows of events and of dead letters.
    pub fn rows(&self) -> (&Rows, &Rows) {
        (&self.rows.events, &self.rows.letters)
    }

    /// Returns the memory that the rows take.
    pub fn memory(&self) -> usize {
        self.rows.events.memory() + self.rows.letters.memory()
    }

    /// Forgets the rows.
    pub fn clear(&mut self) {
        let Gather { events, letters, signatures, .. } = &mut self.rows;
        events.clear();
        letters.clear();
        signatures.clear();
    }
}

fn definitions(plan: &Plan) -> Definitions {
    Definitions::new(plan.rules.clone(), &BTreeSet::new())
}

impl Gather {
    fn begin(&mut self, tick: u64, received_ms: i64, delivery: &Delivery<'_>) {
        let mut both = |bytes: &[u8]| [&mut self.events, &mut self.letters].map(|rows| rows.names.number(bytes));
        let header = delivery.header.map(&mut both);
        let dialect = match delivery.framing {
            Framing::Rows(dialect) => Some(both(&dialect.encode())),
            _ => None,
        };
        let day = received_ms.div_euclid(DAY_MS) as i32;
        let (begins_at, format) = (delivery.begins_at(), delivery.format);
        let is_history = delivery.is_history();
        self.at = At { tick, day, is_history, begins_at, format, header, dialect };
    }

    fn put(&mut self, interpreter: &mut Interpreter, reading: &Reading, position: Position, payload: &[u8]) {
        let (chosen, stated) = interpreter.choose_with_time(reading);
        let time = interpreter.effective(stated, &mut self.scratch);
        let mut joined = std::mem::take(&mut self.joined);
        let mut text = |interpreter: &Interpreter, rows: &mut Rows, role: Role| {
            let value = interpreter.text(reading, role, chosen[role as usize]?, &mut joined);
            Some(rows.put(value.text.as_bytes()))
        };
        let mark = self.events.mark();
        let user = text(interpreter, &mut self.events, Role::User);
        let id = text(interpreter, &mut self.events, Role::Id);
        let kind = chosen[Role::Kind as usize].map(|chosen| interpreter.text(reading, Role::Kind, chosen, &mut joined));
        let signature = interpreter.signature_id(reading, kind);
        let (class, shape) = match self.signatures.get(&signature) {
            Some(known) => *known,
            None => {
                let descriptor = interpreter.descriptor(reading, kind);
                let (class, _) = self.definitions.classify(&descriptor);
                let names = &mut self.events.names;
                let of = (names.number(class.as_bytes()), names.number(descriptor.shape.to_string().as_bytes()));
                self.signatures.insert(signature, of);
                of
            }
        };
        self.joined = joined;
        interpreter.texts_cut();
        if user.is_some_and(|user| self.is_held(user, time)) {
            return self.events.back_to(mark);
        }
        let fields = self.events.next_field();
        for field in 0..self.fields {
            let value = interpreter.field(reading, field).and_then(|slot| reading.first(slot));
            self.events.field(value.map(|value| value.text));
        }
        let row = Row {
            class,
            user,
            time: match time {
                Ok(time) | Err(NoTime::Apart(time)) => Some(time.micros()),
                Err(NoTime::Absent | NoTime::Unreadable) => None,
            },
            shape: Some(shape),
            id,
            fields,
            ..self.row(0, interpreter, position, payload)
        };
        let payload = self.events.put(payload);
        self.events.rows.push(Row { payload, ..row });
    }

    /// Returns whether an event of history is of a user who was forgotten after it.
    fn is_held(&self, user: Span, time: Result<EventTime, NoTime>) -> bool {
        if !self.at.is_history || self.forgotten.is_empty() {
            return false;
        }
        let time = match time {
            Ok(time) | Err(NoTime::Apart(time)) => Some(time),
            Err(NoTime::Absent | NoTime::Unreadable) => None,
        };
        let user = std::str::from_utf8(self.events.get(user)).map(UserKey::of);
        let forgotten = user.ok().and_then(|user| self.forgotten.get(&user));
        let held = |(from, asked_ms): &(u64, i64)| self.at.tick >= *from && !comes_back(time, *asked_ms);
        forgotten.is_some_and(|all| all.iter().any(held))
    }

    /// Returns the part of a row that is alike in both tables. `table`: 0 for events, 1 for dead letters.
    fn row(&mut self, table: usize, interpreter: &Interpreter, position: Position, payload: &[u8]) -> Row {
        let At { tick, day, is_history: _, begins_at, format, header, dialect } = self.at;
        let (_, byte) = place(position.offset);
        let rows = if table == 0 { &mut self.events } else { &mut self.letters };
        let around = self.around.put(table, byte, payload.len(), rows);
        Row {
            day,
            received: interpreter.received.map(EventTime::micros),
            is_text: std::str::from_utf8(payload).is_ok(),
            length: payload.len() as u64,
            source: position.source,
            part: position.part,
            place: begins_at.map(|begin| begin + byte as u64),
            around,
            tick,
            format,
            header: header.map(|numbers| numbers[table]),
            dialect: dialect.map(|numbers| numbers[table]),
            ..Row::at(position.offset)
        }
    }
}

impl Harvest for Gather {
    type Mark = [Mark; 2];

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let fault = match read {
            Ok(reading) => return self.put(interpreter, reading, position, payload),
            Err(fault) => fault,
        };
        if self.lettered.is_some_and(|upto| self.at.tick <= upto) {
            return;
        }
        let kept = payload.len().min(interpreter.events().limits.event_bytes);
        let row = self.row(1, interpreter, position, payload);
        let letters = &mut self.letters;
        let class = letters.names.number(fault.reason.code().as_bytes());
        let (id, payload) = (Some(letters.put(fault.message.as_bytes())), letters.put(&payload[..kept]));
        let is_text = std::str::from_utf8(letters.get(payload)).is_ok();
        letters.rows.push(Row { class, id, payload, is_text, ..row });
    }

    fn mark(&self) -> Self::Mark {
        [self.events.mark(), self.letters.mark()]
    }

    fn back_to(&mut self, [events, letters]: Self::Mark) {
        self.events.back_to(events);
        self.letters.back_to(letters);
        self.around.forget();
    }
}
