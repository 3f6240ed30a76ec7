//! The table `session_events`: every event with its session. The graph keeps no events, so the sources are read a second
//! time, when the sessions are known.
//!
//! ```text
//! sources ─ decode ─▶ spool, by range of users ─ sort by user and time ─ join with the sessions ─▶ parts of the table
//! ```
//!
//! Memory holds the index of all sessions, and for each worker the events of one range of users.

mod spool;

use crate::collections::{Column, Kind, Storage, Value};
use crate::error::Error;
use crate::plan::Plan;
use crate::source::{Chunk, Chunks, Next};
use crate::tables::{self, OutputFormat, Part, Staging, Table, TableWriter};
use dataflows::views::Views;
use dataflows::{EventTime, Position, Record, SessionId, SignatureId, Tick, UserKey};
use headwater_decode::interpret::{Batch, BatchMark, Interpreter, Range};
use headwater_decode::{Decoder, Harvest, Read};
use spool::{Spool, Spooled, Writer};
use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

/// User, start and end of a session.
type Session = (UserKey, EventTime, EventTime);

/// What the events of one worker's users refer to, in the order of users.
pub struct Index {
    /// By user and time.
    sessions: Vec<Session>,
    names: Vec<(UserKey, Arc<str>)>,
    /// Equal at all workers.
    classes: HashMap<SignatureId, Arc<str>>,
}

impl Index {
    pub fn read(views: &mut Views) -> Index {
        let (mut sessions, mut names, mut classes) = (Vec::new(), Vec::new(), HashMap::new());
        views.sessions(&mut |user, session| sessions.push((user, session.start, session.end)));
        views.names(&mut |user, name| names.push((user, Arc::clone(name))));
        views.classes(&mut |signature, class| _ = classes.insert(signature, Arc::clone(class)));
        Index { sessions, names, classes }
    }

    /// Puts the indexes of all workers, in their order, together.
    fn join(indexes: Vec<Index>) -> Index {
        let mut all = Index { sessions: Vec::new(), names: Vec::new(), classes: HashMap::new() };
        for mut index in indexes {
            all.sessions.append(&mut index.sessions);
            all.names.append(&mut index.names);
            all.classes.extend(index.classes);
        }
        all
    }

    fn name(&self, user: UserKey) -> Option<&str> {
        let found = self.names.binary_search_by_key(&user, |(user, _)| *user);
        found.ok().map(|at| &*self.names[at].1)
    }

    fn sessions_of(&self, user: Option<UserKey>) -> &[Session] {
        let before = self.sessions.partition_point(|(other, ..)| Some(*other) < user);
        let own = self.sessions[before..].partition_point(|(other, ..)| Some(*other) == user);
        &self.sessions[before..before + own]
    }
}

/// Columns in front of sums and carried fields.
const HEAD: [(&str, Kind, Storage); 5] = [
    ("user", Kind::Text, Storage::Category { nullable: true }),
    ("time", Kind::Time, Storage::Distinct),
    ("class", Kind::Text, Storage::Category { nullable: false }),
    ("session_id", Kind::Text, Storage::Category { nullable: true }),
    ("number", Kind::Integer, Storage::Distinct),
];

/// Columns behind them.
const TAIL: [(&str, Kind, Storage); 4] = [
    ("source", Kind::Text, Storage::Category { nullable: false }),
    ("path", Kind::Text, Storage::Category { nullable: false }),
    ("offset", Kind::Integer, Storage::Distinct),
    ("payload", Kind::Text, Storage::Distinct),
];

/// Returns the columns under a configuration. A sum or a carried field whose name is that of another column has `field_`
/// in front.
pub fn event_table(plan: &Plan) -> Table {
    let column = |&(name, kind, storage): &(&str, Kind, Storage)| Column::new(name, kind, storage);
    let mut columns: Vec<Column> = HEAD.iter().map(column).collect();
    let mut taken: HashSet<String> = HEAD.iter().chain(&TAIL).map(|(name, ..)| (*name).to_owned()).collect();
    let mut free = |name: &str| {
        let mut name = name.to_owned();
        while !taken.insert(name.clone()) {
            name.insert_str(0, "field_");
        }
        name
    };
    let schema = plan.session_schema();
    columns.extend(schema.sums.iter().map(|name| Column::new(free(name), Kind::Decimal, Storage::Distinct)));
    let text = Storage::Category { nullable: true };
    columns.extend(schema.carried.iter().map(|name| Column::new(free(name), Kind::Text, text)));
    for column in &mut columns {
        column.nullable |= column.kind == Kind::Decimal || ["time", "number"].contains(&column.name.as_str());
    }
    columns.extend(TAIL.iter().map(column));
    Table { name: "session_events", columns }
}

/// What a second reading needs to know of the first.
pub struct First {
    /// By worker.
    pub indexes: Vec<Index>,
    /// Records that did not count: duplicates, and those that conflict with another one.
    pub repeats: HashSet<Position>,
    /// Events that counted.
    pub events: u64,
}

/// Reads all sources again and writes the parts of the table.
///
/// # Errors
/// What cannot be read or written; and if another number of events came than the first time.
pub fn write(
    plan: &Arc<Plan>,
    (range, format): (Range, OutputFormat),
    chunks: &Chunks,
    paths: &[String],
    staging: &Staging,
    first: First,
) -> Result<Vec<Part>, Error> {
    let spool = Spool::new(staging.scratch(), first.events).map_err(failed)?;
    each_worker(plan.workers, |_| read(plan, range, chunks, &first.repeats, &spool))?;
    let found = spool.events();
    if found != first.events {
        let difference = format!("{found} events at the second reading, {} at the first", first.events);
        return Err(Error::run("write the events")(format!("the sources have changed: {difference}")));
    }
    let index = Index::join(first.indexes);
    let table = event_table(plan);
    let ranges = spool.ranges();
    each_worker(plan.workers, |worker| {
        let mut writer = TableWriter::new(&table, format, staging.scratch(), worker).map_err(failed)?;
        for range in ranges * worker / plan.workers..ranges * (worker + 1) / plan.workers {
            let bytes = spool.read(range).map_err(failed)?;
            let mut events = Spooled::all(&bytes).map_err(Error::run("read back the events"))?;
            events.sort_unstable_by_key(Spooled::order);
            rows(plan, &index, paths, &events, |row| writer.write(row.into_iter())).map_err(failed)?;
        }
        writer.finish().map_err(failed)
    })
}

fn failed(error: tables::Error) -> Error {
    Error::run("write the events")(error)
}

/// Calls `work` on a thread for each worker, and returns the outcomes in order.
fn each_worker<R: Send>(workers: usize, work: impl Fn(usize) -> Result<R, Error> + Sync) -> Result<Vec<R>, Error> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Takes chunks until there are no more, and spools their events.
fn read(plan: &Plan, range: Range, chunks: &Chunks, repeats: &HashSet<Position>, spool: &Spool) -> Result<(), Error> {
    let mut decoder = Decoder::new(plan.spec(), range);
    let (mut events, mut writer, mut chunk) = (Events::default(), Writer::new(spool), Chunk::default());
    while chunks.next(Tick::MAX, &mut chunk).map_err(Error::run("read the sources"))? == Next::Chunk {
        decoder.read(&chunk.block(), &mut events);
        events
            .take(|record, position, payload| match repeats.contains(&position) {
                true => Ok(()),
                false => writer.push(&Spooled::new(record, position, payload)),
            })
            .map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// The records of a block, each with its payload.
#[derive(Default)]
struct Events {
    batch: Batch,
    /// Of each record: its position, and where its payload ends.
    ends: Vec<(Position, usize)>,
    payloads: Vec<u8>,
}

impl Harvest for Events {
    type Mark = (BatchMark, usize);

    fn event(&mut self, interpreter: &mut Interpreter, read: Read<'_>, position: Position, payload: &[u8]) {
        let before = self.batch.input.records.len();
        self.batch.event(interpreter, read, position, payload);
        // Else it is a dead letter, or outside of the range.
        if self.batch.input.records.len() > before {
            self.payloads.extend_from_slice(payload);
            self.ends.push((position, self.payloads.len()));
        }
    }

    fn finish(&mut self, interpreter: &mut Interpreter) {
        self.batch.finish(interpreter);
    }

    fn mark(&self) -> Self::Mark {
        (self.batch.mark(), self.ends.len())
    }

    fn back_to(&mut self, (batch, events): Self::Mark) {
        self.batch.back_to(batch);
        self.ends.truncate(events);
        self.payloads.truncate(self.ends.last().map_or(0, |(_, end)| *end));
    }
}

impl Events {
    /// Takes all events out.
    fn take<E>(&mut self, mut each: impl FnMut(&Record, Position, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut start = 0;
        for (record, (position, end)) in self.batch.input.records.iter().zip(&self.ends) {
            each(record, *position, &self.payloads[start..*end])?;
            start = *end;
        }
        let input = &mut self.batch.input;
        input.records.clear();
        input.names.clear();
        input.signatures.clear();
        self.batch.dead_letters.clear();
        self.ends.clear();
        self.payloads.clear();
        Ok(())
    }
}

/// Calls `write` with the row of each of the events, which are in their order.
fn rows<E>(
    plan: &Plan,
    index: &Index,
    paths: &[String],
    events: &[Spooled<'_>],
    mut write: impl FnMut(Vec<Value<'_>>) -> Result<(), E>,
) -> Result<(), E> {
    let (sums, carried) = (plan.sessions.sums.len(), plan.sessions.carry.len());
    for own in events.chunk_by(|one, other| one.user == other.user) {
        let user = own[0].user;
        let name = user.and_then(|user| index.name(user));
        let mut sessions = index.sessions_of(user).iter().peekable();
        let mut number = 0;
        for event in own {
            while sessions.next_if(|(_, _, end)| event.time.is_some_and(|time| *end < time)).is_some() {
                number = 0;
            }
            let holds = |(_, start, _): &&&Session| !event.is_apart && event.time.is_some_and(|time| *start <= time);
            let session = sessions.peek().filter(holds).map(|(user, start, _)| SessionId::of(*user, *start));
            number += i64::from(session.is_some());
            let source = &plan.sources[usize::from(event.position.source)].name;
            let details = event.details.as_deref();
            let mut row = Vec::with_capacity(HEAD.len() + sums + carried + TAIL.len());
            row.extend([
                Value::or_null(name, Value::Text),
                Value::or_null(event.time, Value::Time),
                Value::Text(index.classes.get(&event.signature).map_or("", |class| class)),
                Value::or_null(session, Value::Id),
                Value::or_null(session.map(|_| number), Value::Integer),
            ]);
            row.extend((0..sums).map(|at| {
                let sum = details.map(|details| details.sums[at]).filter(|sum| sum.numbers > 0);
                Value::or_null(sum, |sum| Value::Decimal(sum.sum))
            }));
            row.extend((0..carried).map(|at| {
                let text = details.and_then(|details| details.carried[at].as_deref());
                Value::or_null(text, Value::Text)
            }));
            let payload = String::from_utf8_lossy(event.payload);
            row.extend([
                Value::Text(source),
                Value::Text(&paths[event.position.part as usize]),
                Value::count(event.position.offset),
                Value::Text(&payload),
            ]);
            write(row)?;
        }
    }
    Ok(())
}
