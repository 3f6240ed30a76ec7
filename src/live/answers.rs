//! What a worker answers to those who read its views, a chunk at a time between ticks.

use crate::filter::Filter;
use crate::reads::{Chunk, Rank, Reads, Request, Wanted};
use crate::replay::resolve::{Classes, Scratch};
use crate::rows::{self, Collection, Row};
use dataflows::changes::Changes;
use dataflows::close::deadline;
use dataflows::engine::Engine;
use dataflows::scan::SessionScan;
use dataflows::sessionize::Session;
use dataflows::{EventTime, SessionId, Tick, UserKey};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Rows that a chunk has at least, unless it is the last.
const CHUNK_ROWS: usize = 256;
/// Rows that are looked at before the worker goes on with other things.
const TURN_ROWS: usize = 4096;

/// How it stands with the answers of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    Done,
    /// Those who read have to take what there is first.
    Waits,
    /// There is more to be read.
    Works,
}

/// What one worker answers.
pub(super) struct Answers {
    worker: usize,
    gap: i64,
    scans: VecDeque<Scan>,
    /// `None` until somebody reads by session id.
    by_id: Option<ById>,
    scratch: Scratch,
}

impl Answers {
    pub fn new(worker: usize, gap: i64) -> Answers {
        Answers { worker, gap, scans: VecDeque::new(), by_id: None, scratch: Scratch::default() }
    }

    /// Takes what changed in a tick.
    pub fn tick(&mut self, tick: Tick, changes: &Changes) {
        if let Some(by_id) = &mut self.by_id {
            by_id.tick(tick, changes);
        }
    }

    /// Ticks before `since` cannot be asked for any more.
    pub fn forget(&mut self, since: Tick) {
        if let Some(by_id) = &mut self.by_id {
            by_id.forget(since);
        }
    }

    /// Answers, and goes on with answers. `done`: ticks before it are in `classes`; the last one that changed them is
    /// `labelled`.
    pub fn turn(
        &mut self,
        engine: &mut Engine,
        reads: &Reads,
        classes: &Arc<Classes>,
        labelled: Option<Tick>,
        done: Tick,
    ) -> Answering {
        for request in reads.requests(self.worker) {
            let classes = if labelled.is_some_and(|labelled| labelled > request.tick) {
                Arc::new(Classes::before(engine.views(), request.tick + 1))
            } else {
                Arc::clone(classes)
            };
            let answer = self.begin(engine, &request, classes, done);
            self.scans.extend(answer);
        }
        let mut left = TURN_ROWS;
        for _ in 0..self.scans.len() {
            let Some(mut scan) = self.scans.pop_front() else { break };
            if scan.turn(self.gap, &mut self.scratch, &mut left) {
                self.scans.push_back(scan);
            }
        }
        match left {
            _ if self.scans.is_empty() => Answering::Done,
            0 => Answering::Works,
            _ => Answering::Waits,
        }
    }

    fn begin(&mut self, engine: &mut Engine, request: &Request, classes: Arc<Classes>, done: Tick) -> Option<Scan> {
        let Request { collection, tick, now_ms, wanted, filter, limit, answer, .. } = request;
        let mut scan = Scan {
            rows: None,
            users: None,
            after: None,
            left: *limit,
            collection: *collection,
            classes,
            now: EventTime::from_micros(now_ms.div_euclid(1000).saturating_mul(1_000_000)).unwrap_or(EventTime::MIN),
            filter: filter.clone(),
            chunk: Chunk::new(),
            answer: answer.clone(),
        };
        match collection {
            Collection::Sessions | Collection::Closings => {
                let mut rows = engine.views().scan(tick + 1);
                match wanted {
                    Wanted::All => {}
                    Wanted::After(rank) => {
                        rows.seek(rank.0);
                        scan.after = Some(*rank);
                    }
                    Wanted::Of { users, ids } => {
                        let mut users = users.clone();
                        if !ids.is_empty() {
                            let by_id = self.by_id.get_or_insert_with(|| ById::new(engine, [tick + 1, done]));
                            users.extend(ids.iter().flat_map(|id| by_id.users(*id)));
                        }
                        users.sort_unstable();
                        users.dedup();
                        scan.users = Some(users.into());
                    }
                }
                scan.rows = Some(rows);
            }
            Collection::Counts => engine.views().counts_before(tick + 1, &mut |class, hour, events| {
                scan.offer(None, || rows::count(class, hour, events));
            }),
            // Journals hold nothing.
            Collection::Late | Collection::SessionLineage | Collection::DeadLetters => {}
        }
        Some(scan)
    }
}

/// An answer that is being given.
struct Scan {
    /// `None` once all rows have been read.
    rows: Option<SessionScan>,
    /// Those that are wanted; `None`: all.
    users: Option<VecDeque<UserKey>>,
    /// Rows up to this one are not wanted.
    after: Option<Rank>,
    /// Rows that may still be given.
    left: usize,
    collection: Collection,
    classes: Arc<Classes>,
    /// In whole seconds.
    now: EventTime,
    filter: Option<Arc<Filter>>,
    chunk: Chunk,
    answer: mpsc::Sender<Chunk>,
}

impl Scan {
    /// Goes on. Returns whether there is more to be said.
    fn turn(&mut self, gap: i64, scratch: &mut Scratch, left: &mut usize) -> bool {
        loop {
            if self.left == 0 {
                self.rows = None;
            }
            if self.chunk.len() >= CHUNK_ROWS || self.rows.is_none() {
                if self.chunk.is_empty() {
                    return false;
                }
                match self.answer.try_send(std::mem::take(&mut self.chunk)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(chunk)) => {
                        self.chunk = chunk;
                        return true;
                    }
                    // Nobody listens any more.
                    Err(TrySendError::Closed(_)) => return false,
                }
                continue;
            }
            if *left == 0 {
                return true;
            }
            self.step(gap, scratch, left);
        }
    }

    /// Reads the sessions of the next user.
    fn step(&mut self, gap: i64, scratch: &mut Scratch, left: &mut usize) {
        let Some(mut rows) = self.rows.take() else { return };
        if let Some(users) = &mut self.users {
            let Some(user) = users.pop_front() else { return };
            rows.seek(user);
            if rows.user() != Some(user) {
                *left = left.saturating_sub(1);
                self.rows = Some(rows);
                return;
            }
        }
        let mut looked = 1;
        let more = rows.step(&mut |user, name, session| {
            looked += 1;
            let rank = (user, session.start);
            if self.after.is_some_and(|after| rank <= after) {
                return;
            }
            if self.collection == Collection::Sessions {
                let classes = Arc::clone(&self.classes);
                self.offer(Some(rank), || scratch.row(user, name, session, &classes, rows::session));
            } else if deadline(session.end, gap) <= self.now {
                self.offer(Some(rank), || rows::closing(name, session, gap));
            }
        });
        *left = left.saturating_sub(looked);
        self.rows = more.map(|_| rows);
    }

    fn offer(&mut self, rank: Option<Rank>, row: impl FnOnce() -> Vec<u8>) {
        if self.left == 0 {
            return;
        }
        let row = row();
        let wanted = |filter: &Arc<Filter>| Row::decode(self.collection, &row).is_some_and(|row| filter.matches(&row));
        if self.filter.as_ref().is_none_or(wanted) {
            self.left -= 1;
            self.chunk.push((rank, row));
        }
    }
}

/// Whose session an id is of: ids are hashes, which nothing can be read from.
struct ById {
    /// By half of the id.
    users: HashMap<u64, UserKey, foldhash::fast::FixedState>,
    /// Those for which there was no place.
    others: Vec<(u64, UserKey)>,
    /// Sessions that are gone since this tick, before which they can still be asked for.
    gone: VecDeque<(Tick, u64, UserKey)>,
}

impl ById {
    /// Of the sessions before these ticks.
    fn new(engine: &mut Engine, ticks: [Tick; 2]) -> ById {
        let mut by_id = ById { users: HashMap::default(), others: Vec::new(), gone: VecDeque::new() };
        for tick in ticks {
            let mut rows = engine.views().scan(tick);
            while rows.step(&mut |user, _, session: &Session| by_id.add(session.id(user), user)).is_some() {}
        }
        by_id
    }

    fn users(&self, id: SessionId) -> Vec<UserKey> {
        let bits = id.bits();
        let others = self.others.iter().filter(|(other, _)| *other == bits).map(|(_, user)| *user);
        self.users.get(&bits).copied().into_iter().chain(others).collect()
    }

    fn add(&mut self, id: SessionId, user: UserKey) {
        let bits = id.bits();
        match self.users.get(&bits) {
            None => drop(self.users.insert(bits, user)),
            Some(known) if *known == user => self.gone.retain(|(_, gone, of)| (*gone, *of) != (bits, user)),
            Some(_) => self.others.push((bits, user)),
        }
    }

    fn tick(&mut self, tick: Tick, changes: &Changes) {
        let mut starts: BTreeMap<(UserKey, EventTime), isize> = BTreeMap::new();
        for ((user, session), diff) in &changes.sessions {
            *starts.entry((*user, session.start)).or_insert(0) += diff;
        }
        for ((user, start), diff) in starts {
            let id = SessionId::of(user, start);
            match diff {
                0 => {}
                1.. => self.add(id, user),
                ..0 => self.gone.push_back((tick, id.bits(), user)),
            }
        }
    }

    fn forget(&mut self, since: Tick) {
        while let Some((_, bits, user)) = self.gone.pop_front_if(|(tick, ..)| *tick < since) {
            if self.users.get(&bits) == Some(&user) {
                self.users.remove(&bits);
            }
            self.others.retain(|other| *other != (bits, user));
        }
    }
}
