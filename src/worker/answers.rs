//! Answers the readers of a worker's views, a chunk at a time between ticks.

use super::begun::Begun;
use super::by_id::ById;
use super::port::{Out, Port};
use crate::collections::filter::Filter;
use crate::collections::{self, Collection, Held, Naming};
use crate::error::Error;
use crate::plan::Plan;
use crate::read::reads::{CHUNKS, Chunk, Question, Rank, Whose};
use dataflows::changes::Changes;
use dataflows::close::{Closing, deadline};
use dataflows::engine::Engine;
use dataflows::resolve::{Classes, SessionResolver};
use dataflows::scan::{ActivityScan, IdentityScan, SessionScan, UserScan};
use dataflows::sequence::{Activity, ActivityId, FunnelKey, Track};
use dataflows::state::{StateScan, Value};
use dataflows::{EventTime, Tick, UserKey};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rows that a chunk has at least, unless it is the last.
const CHUNK_ROWS: usize = 256;
/// Rows that are looked at before the worker goes on with other things.
const TURN_ROWS: usize = 4096;

/// Comparisons of a filter that cost as much as a row that is looked at: a long filter holds no worker up.
const COMPARISONS: usize = 32;

/// The state of a worker's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    /// Nothing is asked, or the readers have to take rows first.
    Waits,
    /// There is more to be read.
    Works,
}

/// The answers of one worker.
pub(super) struct Answers {
    naming: Naming,
    scans: VecDeque<Scan>,
    /// `None` until the first read by session id.
    by_id: Option<ById>,
    resolver: SessionResolver,
}

impl Answers {
    pub fn new(plan: &Plan) -> Answers {
        Answers { naming: plan.naming(), scans: VecDeque::new(), by_id: None, resolver: SessionResolver::default() }
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

    /// The reader of a question has taken a chunk.
    pub fn more(&mut self, number: u64) {
        self.scans.iter_mut().filter(|scan| scan.number == number).for_each(|scan| scan.credit += 1);
    }

    /// No reader takes the answer to a question any more.
    pub fn end(&mut self, number: u64) {
        self.scans.retain(|scan| scan.number != number);
    }

    /// Goes on with answers.
    ///
    /// # Errors
    /// If the port fails.
    pub fn turn(&mut self, port: &mut dyn Port) -> Result<Answering, Error> {
        let mut left = TURN_ROWS;
        for _ in 0..self.scans.len() {
            let Some(mut scan) = self.scans.pop_front() else { break };
            if scan.turn(&self.naming, &mut self.resolver, &mut left, port)? {
                self.scans.push_back(scan);
            }
        }
        Ok(if left == 0 && !self.scans.is_empty() { Answering::Works } else { Answering::Waits })
    }

    /// Takes a question. The ticks before `done` have been resolved.
    pub fn begin(&mut self, engine: &mut Engine, question: Question, begun: &Begun, done: Tick) {
        let Question { number, collection, tick, now_ms, wanted, filter, limit } = question;
        let mut scan = Scan {
            number,
            credit: CHUNKS,
            rows: None,
            users: None,
            after: wanted.after,
            left: limit,
            collection,
            classes: engine.classes(tick),
            now: EventTime::from_micros(now_ms.div_euclid(1000).saturating_mul(1_000_000)).unwrap_or(EventTime::MIN),
            cost: 1 + filter.as_ref().map_or(0, |filter| filter.weight() / COMPARISONS),
            filter,
            chunk: Chunk::new(),
        };
        match collection.held() {
            _ if !begun.has(collection, tick) => {}
            Held::Users => {
                if let Some(mut rows) = engine.views().scan_users(tick + 1) {
                    if let Some(Whose { users, .. }) = &wanted.of {
                        scan.users = Some(sorted(users.clone(), wanted.after));
                    } else if let Some((user, ..)) = wanted.after {
                        rows.seek(user);
                    }
                    scan.rows = Some(Rows::Users(rows));
                }
            }
            Held::Sessions | Held::Closings => {
                let mut rows = engine.views().scan(tick + 1);
                if let Some(Whose { users, ids }) = &wanted.of {
                    let mut users = users.clone();
                    if !ids.is_empty() {
                        let by_id = self.by_id.get_or_insert_with(|| ById::new(engine, [tick + 1, done]));
                        users.extend(ids.iter().flat_map(|id| by_id.users(*id)));
                    }
                    scan.users = Some(sorted(users, wanted.after));
                } else if let Some((user, ..)) = wanted.after {
                    rows.seek(user);
                }
                scan.rows = Some(Rows::Sessions(rows));
            }
            Held::State => {
                let named = self.naming.states.iter().enumerate().find(|(_, (known, _))| *known == collection);
                let now = EventTime::from_micros(now_ms.saturating_mul(1000)).unwrap_or(EventTime::MIN);
                let read = named
                    .and_then(|(state, (_, since))| Some((engine.views().scan_state(state, tick + 1, now)?, *since)));
                if let Some((mut rows, since)) = read {
                    if let Some(Whose { users, .. }) = &wanted.of {
                        scan.users = Some(sorted(users.clone(), wanted.after));
                    } else if let Some((entity, ..)) = wanted.after {
                        rows.seek(entity);
                    }
                    scan.rows = Some(Rows::State(rows, since));
                }
            }
            Held::Activities => {
                if let Some(mut rows) = engine.views().scan_activities(tick + 1) {
                    if let Some(Whose { users, .. }) = &wanted.of {
                        scan.users = Some(sorted(users.clone(), wanted.after));
                    } else if let Some((key, ..)) = wanted.after {
                        rows.seek(key);
                    }
                    scan.rows = Some(Rows::Activities(rows));
                }
            }
            Held::Identities => {
                if let Some(mut rows) = engine.views().scan_identities(tick + 1) {
                    if let Some(Whose { users, .. }) = &wanted.of {
                        scan.users = Some(sorted(users.clone(), wanted.after));
                    } else if let Some((key, ..)) = wanted.after {
                        rows.seek(key);
                    }
                    scan.rows = Some(Rows::Identities(rows));
                }
            }
            Held::Funnels => {
                let sequence = |key: &FunnelKey| &self.naming.sequences[usize::from(key.sequence)];
                let mut rows = Vec::new();
                engine.views().funnels_before(tick + 1, &mut |key, counts| {
                    let rank = collections::funnels::rank(sequence(key), key);
                    if wanted.after.is_none_or(|after| rank > after) {
                        rows.push((rank, key.clone(), counts.clone()));
                    }
                });
                rows.sort_unstable_by_key(|(rank, ..)| *rank);
                for (rank, key, counts) in rows {
                    scan.offer(Some(rank), || collections::funnels::encode(sequence(&key), &key, &counts));
                }
            }
            Held::Groups => {
                let named = self.naming.counts.iter().zip(0..).find(|((_, known, _), _)| *known == collection);
                if let Some(((schema, _, since), count)) = named {
                    let mut rows = Vec::new();
                    engine.views().groups_before(count, tick + 1, &mut |key, totals| {
                        let rank = collections::count::rank(key.cells.as_ref());
                        if wanted.after.is_none_or(|after| rank > after) {
                            rows.push((rank, schema.encode(key.cells.as_ref(), totals, *since)));
                        }
                    });
                    rows.sort_unstable();
                    for (rank, row) in rows {
                        scan.offer(Some(rank), || row);
                    }
                }
            }
            Held::Counts => engine.views().counts_before(tick + 1, &mut |class, hour, events| {
                scan.offer(None, || collections::counts::encode(class, hour, events));
            }),
            Held::Shapes => engine.views().shapes_before(tick + 1, &mut |shape, totals| {
                scan.offer(None, || collections::shapes::encode(shape, totals));
            }),
            Held::Nothing => {}
        }
        self.scans.push_back(scan);
    }
}

/// Returns those of users that may have rows behind `after`, in the order in which they are read.
fn sorted(mut users: Vec<UserKey>, after: Option<Rank>) -> VecDeque<UserKey> {
    users.retain(|user| after.is_none_or(|(after, ..)| after <= *user));
    users.sort_unstable();
    users.dedup();
    users.into()
}

/// Rows that are read user by user.
enum Rows {
    Sessions(SessionScan),
    Users(UserScan),
    Activities(ActivityScan),
    Identities(IdentityScan),
    /// With the time since which events count.
    State(StateScan, Option<EventTime>),
}

impl Rows {
    fn seek(&mut self, user: UserKey) {
        match self {
            Rows::Sessions(rows) => rows.seek(user),
            Rows::Users(rows) => rows.seek(user),
            Rows::Activities(rows) => rows.seek(user),
            Rows::Identities(rows) => rows.seek(user),
            Rows::State(rows, _) => rows.seek(user),
        }
    }

    /// Returns whether the user that was sought may have a row.
    fn is_at(&self, user: UserKey) -> bool {
        match self {
            Rows::Sessions(rows) => rows.user() == Some(user),
            Rows::Users(rows) => rows.user() == Some(user),
            Rows::Activities(rows) => rows.key() == Some(user),
            Rows::Identities(rows) => rows.key() == Some(user),
            Rows::State(rows, _) => rows.has(user),
        }
    }
}

/// An answer that is being given.
struct Scan {
    /// Of the question.
    number: u64,
    /// Chunks that may be given before the reader has taken one.
    credit: usize,
    /// `None` once all rows have been read.
    rows: Option<Rows>,
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
    /// The cost of a row, in rows without a long filter.
    cost: usize,
    chunk: Chunk,
}

impl Scan {
    /// Goes on. Returns whether there is more to be said.
    fn turn(
        &mut self,
        naming: &Naming,
        resolver: &mut SessionResolver,
        left: &mut usize,
        port: &mut dyn Port,
    ) -> Result<bool, Error> {
        loop {
            if self.left == 0 {
                self.rows = None;
            }
            let last = self.rows.is_none();
            if self.chunk.len() >= CHUNK_ROWS || last {
                if !self.chunk.is_empty() {
                    let Some(credit) = self.credit.checked_sub(1) else { return Ok(true) };
                    self.credit = credit;
                }
                let chunk = std::mem::take(&mut self.chunk);
                port.send(Out::Rows { number: self.number, chunk, last })?;
                if last {
                    return Ok(false);
                }
                continue;
            }
            if *left == 0 {
                return Ok(true);
            }
            self.step(naming, resolver, left);
        }
    }

    /// Reads the rows of the next user.
    fn step(&mut self, naming: &Naming, resolver: &mut SessionResolver, left: &mut usize) {
        let Some(mut rows) = self.rows.take() else { return };
        if let Some(users) = &mut self.users {
            let Some(user) = users.pop_front() else { return };
            rows.seek(user);
            if !rows.is_at(user) {
                *left = left.saturating_sub(1);
                self.rows = Some(rows);
                return;
            }
        }
        let (gap, mut looked) = (naming.gap, 1);
        let after = self.after;
        let behind = move |rank| after.is_none_or(|after| rank > after);
        let more = match &mut rows {
            Rows::Sessions(rows) => rows.step(&mut |user, name, session| {
                looked += 1;
                let rank = (user, session.start, 0);
                if !behind(rank) {
                    return;
                }
                if self.collection.held() == Held::Sessions {
                    let classes = Arc::clone(&self.classes);
                    let row = || resolver.row(user, name, session, &classes, collections::sessions::encode);
                    self.offer(Some(rank), row);
                } else if deadline(session.until(), gap) <= self.now {
                    let row = || collections::closings::encode(name, &Closing::of(user, session), gap);
                    self.offer(Some(rank), row);
                }
            }),
            Rows::Activities(rows) => {
                // One key may have several sequences, and they may start at once.
                let (mut of_key, mut name) = (Vec::<(Rank, Track, Activity)>::new(), String::new());
                let more = rows.step(&mut |track, key, activity| {
                    looked += 1;
                    if of_key.is_empty() {
                        key.clone_into(&mut name);
                    }
                    let sequence = &naming.sequences[usize::from(track.sequence)];
                    let start = &activity.start;
                    let rank = (track.key, start.time, ActivityId::mark(&sequence.name, start));
                    if behind(rank) {
                        of_key.push((rank, track, activity.clone()));
                    }
                });
                of_key.sort_unstable_by_key(|(rank, ..)| *rank);
                for (rank, track, activity) in of_key {
                    let sequence = &naming.sequences[usize::from(track.sequence)];
                    self.offer(Some(rank), || collections::activities::encode(sequence, &name, &activity));
                }
                more
            }
            Rows::Identities(rows) => rows.step(&mut |key, identity| {
                looked += 1;
                // One text may be an id of several kinds.
                let rank = (key, EventTime::MIN, u64::from(identity.alias.kind));
                if behind(rank) {
                    self.offer(Some(rank), || collections::identities::encode(naming.identities(), identity));
                }
            }),
            Rows::State(rows, since) => rows.step(&mut |entity, name: &str, values: &[Value<'_>]| {
                looked += 1;
                // An entity has one row.
                let rank = (entity, EventTime::MIN, 0);
                if behind(rank) {
                    self.offer(Some(rank), || collections::state::encode(name, values, *since));
                }
            }),
            Rows::Users(rows) => rows.step(&mut |user, name, totals| {
                looked += 1;
                // A user has one row.
                let rank = (user, EventTime::MIN, 0);
                if behind(rank) {
                    self.offer(Some(rank), || collections::users::encode(name, totals));
                }
            }),
        };
        *left = left.saturating_sub(looked * self.cost);
        self.rows = more.map(|_| rows);
    }

    fn offer(&mut self, rank: Option<Rank>, row: impl FnOnce() -> Vec<u8>) {
        if self.left == 0 {
            return;
        }
        let row = row();
        let wanted = |filter: &Arc<Filter>| self.collection.decode(&row).is_some_and(|row| filter.matches(&row));
        if self.filter.as_ref().is_none_or(wanted) {
            self.left -= 1;
            self.chunk.push((rank, row));
        }
    }
}
