//! Hands each tick, as it is published, to the subscribers that keep up. The hub decodes a row once, and looks up the
//! subscribers by the texts that their filters name. Subscribers with equal queries share their frames.
//!
//! No thread waits for a subscriber: one that takes too little loses its place and reads the output log instead. No
//! thread waits for the hub either: subscribers read the ticks that it has no time for from the log.

use super::frame::{self, Change, Dressed, Encoding};
use super::query::Query;
use super::token::ResumeTokens;
use crate::collections::filter::Anchor;
use crate::collections::{Collection, Row, Schemas};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use crate::sync::{Mutex, MutexGuard, thread};
use axum::body::Bytes;
use dataflows::Tick;
use headwater_log::output::{self, Block};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Ticks that wait for the hub.
const WAITING: usize = if cfg!(all(test, feature = "models")) { 1 } else { 64 };
/// After so long without a tick the hub looks whether one was left out.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that wait for one subscriber, unless one tick has more.
const QUEUE_BYTES: usize = 4 << 20;
/// Bytes that wait for all of them together. Frames that are shared count for each.
const ALL_BYTES: usize = 256 << 20;

/// A tick that is published.
pub struct Fresh {
    pub tick: Tick,
    /// `None`: subscribers read it from the log, piece by piece, as it is large.
    pub blocks: Option<Vec<Block>>,
}

/// The subscribers that keep up.
pub struct Hub {
    schemas: Arc<Schemas>,
    tokens: Arc<ResumeTokens>,
    state: Mutex<State>,
    waiting: Arc<AtomicUsize>,
    /// The tick after the last one that the hub had no time for.
    missed: AtomicU64,
}

struct State {
    /// The next tick.
    next: Tick,
    groups: Vec<Option<Group>>,
    by_key: HashMap<GroupKey, usize>,
    /// The groups that want rows with a text in a column.
    anchored: HashMap<(Collection, usize), HashMap<String, Vec<usize>>>,
    closed: bool,
}

/// The key of frames that subscribers share.
type GroupKey = (Collection, [u8; 8], Encoding);

/// Subscribers that get the same.
struct Group {
    key: GroupKey,
    query: Arc<Query>,
    /// The texts by which its rows are found; `None`: the hub has to check every row.
    anchors: Option<Vec<Anchor>>,
    members: Vec<Arc<Mailbox>>,
    /// Of the tick in hand: indices of its changes.
    wanted: Vec<usize>,
}

/// The frames that wait for one subscriber.
pub struct Mailbox {
    state: Mutex<Waiting>,
    news: Notify,
    all: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<(Tick, Bytes)>,
    bytes: usize,
    /// No more is coming: it has to be read from the log.
    cut: bool,
    closed: bool,
}

/// The next content of a mailbox.
pub enum Next {
    /// Frames, and the tick after them.
    Frames(Tick, Bytes),
    /// Nothing, for now.
    Nothing,
    /// Nothing any more: the rest is in the log.
    Cut,
    /// Nothing any more: the process is about to stop.
    Closed,
}

impl Hub {
    /// `next`: the next tick to be published. It runs until the feed is dropped.
    pub fn spawn(schemas: Arc<Schemas>, tokens: Arc<ResumeTokens>, next: Tick) -> (Arc<Hub>, HubFeed) {
        let state = State { next, groups: Vec::new(), by_key: HashMap::new(), anchored: HashMap::new(), closed: false };
        let waiting = Arc::new(AtomicUsize::new(0));
        let missed = AtomicU64::new(0);
        let hub = Arc::new(Hub { schemas, tokens, state: Mutex::new(state), waiting, missed });
        let (sender, ticks) = sync_channel(WAITING);
        let running = Arc::clone(&hub);
        let run = move || running.run(&ticks);
        thread::Builder::new().name("hub".into()).spawn(run).expect("the system has threads when a process starts");
        (Arc::clone(&hub), HubFeed { hub, sender })
    }

    fn run(&self, ticks: &Receiver<Fresh>) {
        loop {
            match ticks.recv_timeout(PATIENCE) {
                Ok(fresh) => self.tick(&fresh),
                Err(RecvTimeoutError::Timeout) => {
                    let mut state = lock(&self.state);
                    let missed = self.missed.load(Ordering::Acquire);
                    if missed > state.next {
                        state.skip(missed);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
        }
    }

    /// Returns the next tick.
    pub fn next(&self) -> Tick {
        lock(&self.state).next
    }

    /// Joins the hub if `from` is the next tick.
    pub fn join(&self, query: &Arc<Query>, encoding: Encoding, from: Tick) -> Option<Arc<Mailbox>> {
        let mut state = lock(&self.state);
        if state.next != from {
            return None;
        }
        let waiting = Waiting { closed: state.closed, ..Waiting::default() };
        let all = Arc::clone(&self.waiting);
        let mailbox = Arc::new(Mailbox { state: Mutex::new(waiting), news: Notify::new(), all });
        let key = (query.collection, query.fingerprint, encoding);
        let index = match state.by_key.get(&key) {
            Some(index) => *index,
            None => state.group(key, Arc::clone(query)),
        };
        if let Some(group) = &mut state.groups[index] {
            group.members.push(Arc::clone(&mailbox));
        }
        Some(mailbox)
    }

    pub fn leave(&self, query: &Query, encoding: Encoding, mailbox: &Arc<Mailbox>) {
        let mut state = lock(&self.state);
        let key = (query.collection, query.fingerprint, encoding);
        if let Some(index) = state.by_key.get(&key).copied() {
            if let Some(group) = &mut state.groups[index] {
                group.members.retain(|member| !Arc::ptr_eq(member, mailbox));
            }
            state.tidy(index);
        }
        drop(state);
        mailbox.cut();
    }

    /// Subscribers that keep up.
    pub fn subscribers(&self) -> usize {
        lock(&self.state).groups.iter().flatten().map(|group| group.members.len()).sum()
    }

    /// Bytes that wait for subscribers; those that are shared count for each.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Returns the next tick, if there is nothing in the mailbox: then its subscriber has everything below.
    pub fn idle_at(&self, mailbox: &Mailbox) -> Option<Tick> {
        let state = lock(&self.state);
        let waiting = lock(&mailbox.state);
        (waiting.frames.is_empty() && !waiting.cut).then_some(state.next)
    }

    /// Records that there will be no other tick. Subscribers end when they have every tick.
    fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for member in state.groups.iter().flatten().flat_map(|group| &group.members) {
            lock(&member.state).closed = true;
            member.news.notify_one();
        }
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Goes past a tick that no subscriber waits for, without waking the thread. Returns whether it has.
    fn pass(&self, tick: Tick) -> bool {
        // A lock that is held means that there is something to do with subscribers.
        let Ok(mut state) = self.state.try_lock() else { return false };
        let unwanted = state.by_key.is_empty() && state.next == tick;
        if unwanted {
            state.next = tick + 1;
        }
        unwanted
    }

    fn tick(&self, fresh: &Fresh) {
        let mut state = lock(&self.state);
        if fresh.tick < state.next {
            // It waited while a later one was missed, and has been skipped with it. Never back: a tick that was passed
            // does not come again.
            return;
        }
        if fresh.tick > state.next {
            state.skip(fresh.tick);
        }
        match &fresh.blocks {
            Some(blocks) => {
                for collection in self.schemas.collections() {
                    state.collection(fresh.tick, blocks, collection, self);
                }
                state.next = fresh.tick + 1;
            }
            None => state.skip(fresh.tick + 1),
        }
    }
}

/// The sending end of the hub.
pub struct HubFeed {
    hub: Arc<Hub>,
    sender: SyncSender<Fresh>,
}

impl HubFeed {
    /// Hands a published tick to the subscribers. Never waits.
    pub fn put(&self, fresh: Fresh) {
        if self.hub.pass(fresh.tick) {
            return;
        }
        if let Err(TrySendError::Full(fresh)) = self.sender.try_send(fresh) {
            self.hub.missed.store(fresh.tick + 1, Ordering::Release);
        }
    }
}

impl State {
    /// Goes on with a later tick. Those between are in the log: subscribers have to read them there.
    fn skip(&mut self, next: Tick) {
        for group in self.groups.iter_mut().flatten() {
            group.members.drain(..).for_each(|member| member.cut());
        }
        for index in 0..self.groups.len() {
            self.tidy(index);
        }
        self.next = next;
    }

    fn group(&mut self, key: GroupKey, query: Arc<Query>) -> usize {
        let index = self.groups.iter().position(Option::is_none).unwrap_or(self.groups.len());
        if index == self.groups.len() {
            self.groups.push(None);
        }
        let anchors = query.filter.as_ref().and_then(|filter| filter.anchors());
        for (column, text) in anchors.iter().flatten() {
            let texts = self.anchored.entry((key.0, *column)).or_default();
            let groups = texts.entry(text.clone()).or_default();
            if groups.last() != Some(&index) {
                groups.push(index);
            }
        }
        self.by_key.insert(key, index);
        self.groups[index] = Some(Group { key, query, anchors, members: Vec::new(), wanted: Vec::new() });
        index
    }

    /// Removes a group without members.
    fn tidy(&mut self, index: usize) {
        let Some(group) = self.groups[index].take_if(|group| group.members.is_empty()) else { return };
        self.by_key.remove(&group.key);
        for (column, text) in group.anchors.iter().flatten() {
            let place = (group.key.0, *column);
            let Some(texts) = self.anchored.get_mut(&place) else { continue };
            if let Some(groups) = texts.get_mut(text) {
                groups.retain(|other| *other != index);
                if groups.is_empty() {
                    texts.remove(text);
                }
            }
            if texts.is_empty() {
                self.anchored.remove(&place);
            }
        }
    }

    /// Hands out the rows of one collection.
    fn collection(&mut self, tick: Tick, blocks: &[Block], collection: Collection, hub: &Hub) {
        let State { groups, anchored, .. } = self;
        let of_collection = |group: &Option<Group>| group.as_ref().is_some_and(|group| group.key.0 == collection);
        if !groups.iter().any(of_collection) {
            return;
        }
        let changes = output::changes(blocks, collection.name());
        // What the output log holds was encoded by this process.
        let decoded: Vec<(Row<'_>, i64)> =
            changes.iter().filter_map(|(row, diff)| Some((collection.decode(row)?, *diff))).collect();
        let schema = hub.schemas.of(collection);
        let columns: Vec<_> = (0..schema.columns.len())
            .filter_map(|column| Some((column, anchored.get(&(collection, column))?)))
            .collect();
        // Those that no text leads to look at every row.
        let unanchored: Vec<usize> = (0..groups.len())
            .filter(|index| {
                let group = groups[*index].as_ref().filter(|group| group.key.0 == collection);
                group.is_some_and(|group| group.anchors.is_none())
            })
            .collect();
        let mut touched = BTreeSet::new();
        for (index, (row, _)) in decoded.iter().enumerate() {
            let by_text = columns.iter().flat_map(|(column, texts)| {
                row.value(*column).text().and_then(|text| texts.get(text.as_ref())).map_or(&[][..], Vec::as_slice)
            });
            for at in by_text.chain(&unanchored) {
                let Some(group) = &mut groups[*at] else { continue };
                if group.wanted.last() != Some(&index) && group.query.wants(row) {
                    group.wanted.push(index);
                    touched.insert(*at);
                }
            }
        }
        let mut dressed = Dressed::default();
        for at in touched {
            let Some(group) = &mut groups[at] else { continue };
            let wanted: Vec<Change<'_>> =
                group.wanted.drain(..).map(|index| (index, &decoded[index].0, decoded[index].1)).collect();
            let mut out = Vec::new();
            let (encoding, upper) = (group.key.2, tick + 1);
            frame::delta(encoding, &group.query, schema, tick, &wanted, &mut dressed, &mut out);
            if out.is_empty() {
                continue;
            }
            frame::progress(encoding, upper, &hub.tokens.encode(upper, &group.query), &mut out);
            let frames = Bytes::from(out);
            group.members.retain(|member| member.push(upper, &frames));
        }
        for index in 0..self.groups.len() {
            self.tidy(index);
        }
    }
}

impl Mailbox {
    /// Takes the next content of the mailbox.
    pub fn take(&self) -> Next {
        let mut waiting = lock(&self.state);
        if let Some((upper, frames)) = waiting.frames.pop_front() {
            waiting.bytes -= frames.len();
            self.all.fetch_sub(frames.len(), Ordering::Relaxed);
            return Next::Frames(upper, frames);
        }
        match (waiting.cut, waiting.closed) {
            (true, _) => Next::Cut,
            (_, true) => Next::Closed,
            _ => Next::Nothing,
        }
    }

    /// Returns when there is something new.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Adds frames. Returns whether the mailbox is still in use.
    fn push(&self, upper: Tick, frames: &Bytes) -> bool {
        let mut waiting = lock(&self.state);
        let all = self.all.load(Ordering::Relaxed);
        let full = waiting.bytes > 0 && waiting.bytes + frames.len() > QUEUE_BYTES || all > ALL_BYTES;
        if full {
            drop(waiting);
            self.cut();
            return false;
        }
        waiting.bytes += frames.len();
        self.all.fetch_add(frames.len(), Ordering::Relaxed);
        waiting.frames.push_back((upper, frames.clone()));
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// Closes the mailbox: its subscriber reads the log from here on, also for the waiting ticks.
    fn cut(&self) {
        let mut waiting = lock(&self.state);
        self.all.fetch_sub(waiting.bytes, Ordering::Relaxed);
        *waiting = Waiting { cut: true, closed: waiting.closed, ..Waiting::default() };
        drop(waiting);
        self.news.notify_one();
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
