//! The backfills of a data folder: how far each one is, and which client goes on with it. History comes in chunks, each of
//! which is a delivery with a cursor; so a chunk and the place behind it become durable together.
//!
//! ```text
//! client ─ open, chunk ─▶ Backfills: does it go on from the known place? ─ step ─▶ intake ─ durable ─▶ the new place
//! start ── cursors of the deliveries that are durable ─▶ Backfills
//! ```

use crate::fingerprint::{Canonical, hex};
use crate::observe::backfills::{BackfillReport, BackfillStage};
use crate::plan::{Plan, SourcePlan};
use crate::queue::cursor::{Amount, BackfillCursor, BackfillPlace, BackfillState, Cursor, Cursors};
use headwater_decode::spec::Candidate;
use headwater_decode::syntax::Header;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Backfills of one data folder. Each is remembered for ever, so that no files come in twice.
const MOST: usize = 1000;
/// Bytes of a name.
const NAME_BYTES: usize = 64;
/// A client that has sent nothing for so long is shown as gone.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a request to a backfill is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no backfill `{0}`")]
    Unknown(String),
    #[error("a name has letters, digits, `.`, `_` and `-`, at most {NAME_BYTES}")]
    Name,
    #[error(
        "the backfill `{0}` has begun with other files, or other times: name the same ones to go on, or give this one another \
         --name"
    )]
    Other(String),
    #[error("these files are in already, as backfill `{0}`: again, each of their events would count twice")]
    Same(String),
    #[error("the data folder has {MOST} backfills, which are all that it can have")]
    Many,
    /// Nothing is wrong: the client waits.
    #[error("the backfill `{0}` is paused")]
    Paused(String),
    #[error("the backfill `{0}` is done")]
    Done(String),
    #[error("another client goes on with the backfill `{0}`")]
    Lease(String),
    /// Nothing is wrong: the engine has started again, and the client has to open the backfill.
    #[error("the client has to open the backfill `{0}`")]
    Closed(String),
    #[error("the chunk does not go on from where the backfill is: its client has to open it again")]
    Place,
    /// Another request is about to become durable.
    #[error("another request of the backfill is being stored")]
    Busy,
}

/// What a client says of its backfill when it opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub name: String,
    pub source: String,
    pub content: [u64; 2],
    pub files: u32,
    pub all: Amount,
}

/// What a client says of a chunk: it has read from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    pub after: BackfillPlace,
    pub to: BackfillPlace,
    /// Offset of the first event in its file.
    pub from: u64,
    pub records: u64,
    /// Bytes of the files that are behind the client with this chunk.
    pub bytes: u64,
    /// There is no other.
    pub last: bool,
}

/// The answer to what is asked for.
#[derive(Debug)]
pub enum Asked {
    /// It has to become durable first.
    Step(Step),
    /// It is so already.
    Already,
}

pub struct Backfills {
    known: Mutex<BTreeMap<String, Known>>,
    epoch: u64,
}

struct Known {
    cursor: BackfillCursor,
    /// Nothing of it is durable yet.
    is_fresh: bool,
    /// A step has not been taken yet.
    is_busy: bool,
    client: Option<Client>,
    /// Clients so far, of this start.
    clients: u64,
}

/// The client that goes on with a backfill.
struct Client {
    lease: String,
    /// When it came, and how many bytes were in by then.
    since: Instant,
    before: u64,
    last: Instant,
}

/// A cursor on its way into the log. Dropped, nothing has happened.
#[derive(Debug)]
pub struct Step {
    of: Arc<Backfills>,
    pub cursor: BackfillCursor,
}

impl Backfills {
    /// `cursors`: the furthest ones that are durable. `epoch`: of this start.
    pub fn new(cursors: &Cursors, epoch: u64) -> Arc<Backfills> {
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        for cursor in cursors.all() {
            let Cursor::Backfill(cursor) = cursor else { continue };
            let before = known.get(&cursor.backfill).map(|known| known.cursor.number);
            if before.is_none_or(|before| before < cursor.number) {
                let cursor = BackfillCursor::clone(cursor);
                let one = Known { cursor, is_fresh: false, is_busy: false, client: None, clients: 0 };
                known.insert(one.cursor.backfill.clone(), one);
            }
        }
        Arc::new(Backfills { known: Mutex::new(known), epoch })
    }

    /// Begins a backfill, or lets a client go on with it. Chunks of its former client are refused from now on. Returns the
    /// lease of the client.
    ///
    /// # Errors
    /// [`Refused::Name`], [`Refused::Other`], [`Refused::Same`], [`Refused::Many`], [`Refused::Done`], [`Refused::Busy`].
    pub fn open(self: &Arc<Backfills>, opening: &Opening, now_ms: i64) -> Result<(String, Asked), Refused> {
        let Opening { name, source, content, files, all } = opening;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(fits) {
            return Err(Refused::Name);
        }
        let mut known = self.lock();
        let is_same = |cursor: &BackfillCursor| (&cursor.source, &cursor.content) == (source, content);
        match known.get_mut(name) {
            Some(one) if one.is_busy => Err(Refused::Busy),
            Some(one) if !is_same(&one.cursor) || (one.cursor.files, one.cursor.all) != (*files, *all) => {
                Err(Refused::Other(name.clone()))
            }
            Some(one) if one.cursor.state == BackfillState::Done => Err(Refused::Done(name.clone())),
            Some(one) => Ok((one.let_in(self.epoch), Asked::Already)),
            None => {
                if let Some((other, _)) = known.iter().find(|(_, one)| is_same(&one.cursor)) {
                    return Err(Refused::Same(other.clone()));
                }
                if known.len() >= MOST {
                    return Err(Refused::Many);
                }
                let cursor = BackfillCursor {
                    backfill: name.clone(),
                    source: source.clone(),
                    content: *content,
                    number: 0,
                    state: BackfillState::Open,
                    place: BackfillPlace::default(),
                    from: 0,
                    done: Amount::default(),
                    all: *all,
                    files: *files,
                    began_ms: now_ms,
                };
                let mut one = Known { cursor: cursor.clone(), is_fresh: true, is_busy: true, client: None, clients: 0 };
                let lease = one.let_in(self.epoch);
                known.insert(name.clone(), one);
                Ok((lease, Asked::Step(Step { of: Arc::clone(self), cursor })))
            }
        }
    }

    /// Takes a chunk. One that has been taken is taken no other time.
    ///
    /// # Errors
    /// [`Refused::Unknown`], [`Refused::Lease`], [`Refused::Closed`], [`Refused::Paused`], [`Refused::Done`],
    /// [`Refused::Place`], [`Refused::Busy`].
    pub fn advance(self: &Arc<Backfills>, name: &str, lease: &str, chunk: Advance) -> Result<Asked, Refused> {
        let mut known = self.lock();
        let one = known.get_mut(name).ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        let client = one.client.as_mut().ok_or_else(|| Refused::Closed(name.to_owned()))?;
        if client.lease != lease {
            return Err(Refused::Lease(name.to_owned()));
        }
        client.last = Instant::now();
        if one.is_busy {
            return Err(Refused::Busy);
        }
        let moves = chunk.to > chunk.after;
        let is_taken = if chunk.last { one.cursor.state == BackfillState::Done } else { moves };
        if one.cursor.place == chunk.to && is_taken {
            return Ok(Asked::Already);
        }
        match one.cursor.state {
            BackfillState::Paused => return Err(Refused::Paused(name.to_owned())),
            BackfillState::Done => return Err(Refused::Done(name.to_owned())),
            BackfillState::Open if one.cursor.place != chunk.after || !moves && chunk.to != chunk.after => {
                return Err(Refused::Place);
            }
            BackfillState::Open if !moves && !chunk.last => return Err(Refused::Place),
            BackfillState::Open => {}
        }
        let done = one.cursor.done;
        let cursor = BackfillCursor {
            number: one.cursor.number + 1,
            state: if chunk.last { BackfillState::Done } else { BackfillState::Open },
            place: chunk.to,
            from: chunk.from,
            done: Amount { records: done.records + chunk.records, bytes: done.bytes + chunk.bytes },
            ..one.cursor.clone()
        };
        one.is_busy = true;
        Ok(Asked::Step(Step { of: Arc::clone(self), cursor }))
    }

    /// Pauses a backfill, or resumes it.
    ///
    /// # Errors
    /// [`Refused::Unknown`], [`Refused::Done`], [`Refused::Busy`].
    pub fn pause(self: &Arc<Backfills>, name: &str, pauses: bool) -> Result<Asked, Refused> {
        let mut known = self.lock();
        let one = known.get_mut(name).ok_or_else(|| Refused::Unknown(name.to_owned()))?;
        if one.is_busy {
            return Err(Refused::Busy);
        }
        let state = if pauses { BackfillState::Paused } else { BackfillState::Open };
        match one.cursor.state {
            BackfillState::Done => Err(Refused::Done(name.to_owned())),
            same if same == state => Ok(Asked::Already),
            _ => {
                let (number, from) = (one.cursor.number + 1, one.cursor.place.offset);
                let cursor = BackfillCursor { number, state, from, ..one.cursor.clone() };
                one.is_busy = true;
                // The speed is that since then.
                if let Some(client) = &mut one.client {
                    (client.since, client.before) = (Instant::now(), one.cursor.done.bytes);
                }
                Ok(Asked::Step(Step { of: Arc::clone(self), cursor }))
            }
        }
    }

    /// Returns how far a backfill is.
    pub fn report(&self, name: &str) -> Option<BackfillReport> {
        self.lock().get(name).filter(|one| !one.is_fresh).map(Known::report)
    }

    /// Returns how far all are, by name.
    pub fn reports(&self) -> Vec<BackfillReport> {
        self.lock().values().filter(|one| !one.is_fresh).map(Known::report).collect()
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Backfills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backfills").finish_non_exhaustive()
    }
}

impl Step {
    /// Records that the cursor is durable.
    pub fn taken(self) {
        if let Some(one) = self.of.lock().get_mut(&self.cursor.backfill) {
            (one.cursor, one.is_fresh) = (self.cursor.clone(), false);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut known = self.of.lock();
        let Some(one) = known.get_mut(&self.cursor.backfill) else { return };
        one.is_busy = false;
        if one.is_fresh {
            known.remove(&self.cursor.backfill);
        }
    }
}

impl Known {
    fn let_in(&mut self, epoch: u64) -> String {
        self.clients += 1;
        let (lease, now) = (format!("{epoch}-{}", self.clients), Instant::now());
        self.client = Some(Client { lease: lease.clone(), since: now, before: self.cursor.done.bytes, last: now });
        lease
    }

    fn report(&self) -> BackfillReport {
        let BackfillCursor { backfill, source, state, place, done, all, files, began_ms, .. } = &self.cursor;
        let client = self.client.as_ref().filter(|client| client.last.elapsed() < SILENCE);
        let stage = match (state, client) {
            (BackfillState::Done, _) => BackfillStage::Done,
            (BackfillState::Paused, _) => BackfillStage::Paused,
            (BackfillState::Open, Some(_)) => BackfillStage::Running,
            (BackfillState::Open, None) => BackfillStage::Waiting,
        };
        let running = client.filter(|_| stage == BackfillStage::Running);
        let speed = running.map(|client| {
            done.bytes.saturating_sub(client.before) as f64 / client.since.elapsed().as_secs_f64().max(1e-3)
        });
        let left = all.bytes.saturating_sub(done.bytes) as f64;
        BackfillReport {
            name: backfill.clone(),
            source: source.clone(),
            state: stage,
            file: place.file,
            offset: place.offset,
            files: *files,
            records: done.records,
            records_total: all.records,
            bytes: done.bytes,
            bytes_total: all.bytes,
            began_ms: *began_ms,
            eta_s: speed.filter(|speed| *speed > 0.0).map(|speed| (left / speed).ceil() as u64),
        }
    }
}

/// Returns the fingerprint of the settings by which a client cuts files of a source into records, and takes those of a
/// range of times. The client and the engine compare theirs; it is not stored.
pub fn settings(plan: &Plan, source: &SourcePlan) -> String {
    let (syntax, events) = (&source.syntax, &source.events);
    let mut to = Canonical::new("headwater backfill v1");
    to.option(source.format, |to, format| _ = to.text(format.name()));
    let bytes = [syntax.delimiter, syntax.quote.map(Option::unwrap_or_default), syntax.escape, syntax.comment];
    for byte in bytes {
        to.option(byte, |to, byte| _ = to.number(u64::from(byte)));
    }
    match &syntax.header {
        Header::First => to.number(0),
        Header::Absent => to.number(1),
        Header::Names(names) => to.number(2).list(names, |to, name| _ = to.text(name)),
    };
    to.number(syntax.skip as u64).text(syntax.encoding.name()).number(events.limits.event_bytes as u64);
    to.option(syntax.layout.as_deref(), |to, layout| _ = to.text(layout));
    to.option(syntax.prefix.as_ref(), |to, prefix| _ = to.text(prefix.name()));
    to.option(syntax.unwrap.as_ref(), |to, path| _ = to.text(&path.to_string()));
    to.option(events.explode.as_ref(), |to, path| _ = to.text(&path.to_string()));
    // A row that names none of these is no header.
    let candidates = |to: &mut Canonical, all: &[Candidate]| {
        to.list(all, |to, one| _ = to.list(&one.parts, |to, path| _ = to.text(&path.to_string())));
    };
    for of in [&events.user, &events.time, &events.kind] {
        to.option(of.as_deref(), candidates);
    }
    candidates(&mut to, &events.id);
    to.list(&plan.fields, |to, field| _ = to.list(&field.candidates, |to, path| _ = to.text(&path.to_string())));
    // What the time of an event is.
    to.text(&events.zone).option(events.time_unit, |to, unit| _ = to.text(unit.name()));
    to.list(&events.time_formats, |to, format| _ = to.text(format));
    if let Some(year) = events.year {
        to.signed(year.into());
    }
    hex(&to.finish()[..16])
}

#[cfg(test)]
mod tests;
