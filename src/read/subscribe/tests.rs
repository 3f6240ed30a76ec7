//! Subscribers begin anywhere and take their frames at any pace, with a fast or a slow hub. Each gets the frames of an
//! oracle, which evaluates its query on JSON.

use super::frame::Encoding;
use super::hub::{Fresh, Hub};
use super::query::{Envelope, Parameters, Query};
use super::subscriber::{Start, Subscriber, Subscriptions};
use super::token::ResumeTokens;
use crate::collections::sessions::{SessionRow, SessionSchema};
use crate::collections::{self, Collection, Schemas};
use crate::patience::PATIENCE;
use axum::body::Bytes;
use dataflows::{EventTime, SessionId, Tick, UserKey};
use headwater_log::output::Block;
use headwater_log::partition::Limits;
use headwater_log::segment::LogId;
use headwater_log::vfs::RealFs;
use headwater_log::vfs::model::Rng;
use headwater_log::{Log, Settings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const LOG: LogId = LogId([5; 16]);
const WORKERS: u32 = 2;

/// Sessions of a few users that come, change and go.
struct World {
    rng: Rng,
    log: Log,
    subscriptions: Arc<Subscriptions>,
    feed: Option<super::hub::HubFeed>,
    /// By user and start: events.
    sessions: BTreeMap<(u64, i64), u64>,
    /// By tick: its updates, as rows.
    history: Vec<Vec<(Value, i64)>>,
    /// The length of names.
    padding: usize,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(seed: u64, padding: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { segment_bytes: 100_000, buffer_bytes: 5_000, block_bytes: 400, piece_bytes: 1_000 };
        let settings = Settings { id: LOG, epoch: 1, parts: 1, workers: WORKERS, limits };
        let log = Log::open(Arc::new(RealFs), &folder.path().join("log"), &settings).unwrap();
        let schemas = Arc::new(Schemas::new(&SessionSchema::default(), false, &[]));
        let tokens = Arc::new(ResumeTokens::of(LOG, [0; 32]));
        let (hub, feed) = Hub::spawn(Arc::clone(&schemas), Arc::clone(&tokens), 0);
        let subscriptions = Arc::new(Subscriptions::new(hub, Arc::clone(&log.outputs), schemas, tokens));
        let sessions = BTreeMap::new();
        let rng = Rng::new(seed);
        World { rng, log, subscriptions, feed: Some(feed), sessions, history: Vec::new(), padding, _folder: folder }
    }

    fn user(&self, user: u64) -> String {
        format!("user {user}{}", "x".repeat(self.padding))
    }

    fn row(&self, user: u64, start: i64, events: u64) -> (Vec<u8>, Value) {
        let name = self.user(user);
        let time = |at: i64| EventTime::from_micros(at).unwrap();
        let row = collections::sessions::encode(&SessionRow {
            key: UserKey::of(&name),
            user: &name,
            start: time(start),
            end: time(start + events as i64),
            events,
            classes: &[("view", events)],
            first_class: "view",
            last_class: "view",
            sums: &[],
            carried: &[],
            ended_by: None,
        });
        let json = json!({
            "session_id": SessionId::of(UserKey::of(&name), time(start)).to_string(),
            "user": name, "start_us": start, "end_us": start + events as i64, "duration_us": events, "events": events,
            "classes": { "view": events }, "first_class": "view", "last_class": "view",
        });
        (row, json)
    }

    /// Publishes a tick with about `changes` changes; `told`: the hub hears of it.
    fn tick(&mut self, changes: u64, told: bool) {
        let tick = self.history.len() as Tick;
        let mut blocks: Vec<Block> = (0..WORKERS).map(|_| Block::new(tick, tick as i64)).collect();
        let mut updates = Vec::new();
        for _ in 0..changes {
            let at = (self.rng.below(20), 1 + self.rng.below(50) as i64 * 1000);
            let before = self.sessions.get(&at).copied();
            let after = (self.rng.below(5) > 0).then(|| 1 + self.rng.below(9));
            let block = &mut blocks[(at.0 % u64::from(WORKERS)) as usize];
            for (events, diff) in [(before, -1), (after, 1)] {
                let Some(events) = events else { continue };
                let (row, json) = self.row(at.0, at.1, events);
                block.add("sessions", vec![(row, diff)]).unwrap();
                updates.push((json, diff));
            }
            match after {
                Some(events) => drop(self.sessions.insert(at, events)),
                None => drop(self.sessions.remove(&at)),
            }
        }
        for (worker, block) in blocks.iter().enumerate() {
            // How rows lie in the log is nothing to a subscriber.
            match self.rng.below(3) {
                0 => self.log.outputs.append_large(worker, block, None).unwrap(),
                _ => self.log.outputs.append(worker, block, None).unwrap(),
            }
            self.log.outputs.sync(worker).unwrap();
        }
        let bytes = blocks.iter().flat_map(|block| block.rows("sessions")).map(|(row, _)| row.len()).sum::<usize>();
        self.history.push(updates);
        if let Some(feed) = self.feed.as_ref().filter(|_| told) {
            feed.put(Fresh { tick, blocks: Some(blocks).filter(|_| bytes < self.log.outputs.piece_bytes) });
        }
    }

    fn query(&self, filter: Option<&str>, columns: Option<&str>, envelope: Envelope) -> Arc<Query> {
        let (filter, columns) = (filter.map(str::to_owned), columns.map(str::to_owned));
        let parameters = Parameters { filter, columns, envelope, keys: Vec::new() };
        Arc::new(Query::new(self.subscriptions.schemas.of(Collection::SESSIONS), &parameters).unwrap())
    }

    /// A subscriber that takes its frames with pauses of up to `pause`.
    fn follow(&mut self, query: &Arc<Query>, from: Tick, pause: Duration) -> Follower {
        let (client, pieces) = mpsc::channel::<Bytes>(1);
        let subscriber = Subscriber {
            subscriptions: Arc::clone(&self.subscriptions),
            query: Arc::clone(query),
            encoding: Encoding::Lines,
            heartbeat: Duration::from_millis(20),
            upper: from,
            until: None,
            client,
        };
        tokio::spawn(subscriber.run(Start::From(from)));
        Follower::start(pieces, pause, Rng::new(self.rng.next_u64()))
    }

    /// Drops the feed when each of them has a progress for every tick, and returns their frames.
    async fn finish(&mut self, followers: impl IntoIterator<Item = Follower>) -> Vec<Vec<Value>> {
        let mut all = Vec::new();
        let began = Instant::now();
        for follower in followers {
            while follower.upper.load(Ordering::Relaxed) < self.history.len() as Tick && !follower.frames.is_finished()
            {
                assert!(began.elapsed() < PATIENCE, "a subscriber is not told of the last tick");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            all.push(follower.frames);
        }
        self.feed = None;
        let mut frames = Vec::new();
        for follower in all {
            frames.push(follower.await.unwrap());
        }
        frames
    }
}

/// Takes what a subscriber gets.
struct Follower {
    /// The last progress that it got.
    upper: Arc<AtomicU64>,
    frames: tokio::task::JoinHandle<Vec<Value>>,
}

impl Follower {
    fn start(mut pieces: mpsc::Receiver<Bytes>, pause: Duration, mut rng: Rng) -> Follower {
        let upper = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&upper);
        let frames = tokio::spawn(async move {
            let (mut text, mut frames) = (Vec::new(), Vec::<Value>::new());
            while let Some(piece) = pieces.recv().await {
                text.extend_from_slice(&piece);
                let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let rest = text.split_off(whole);
                for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    frames.push(serde_json::from_slice(line).unwrap());
                }
                text = rest;
                if let Some(upper) =
                    frames.iter().rev().find_map(|frame| (frame["type"] == "progress").then(|| &frame["upper"]))
                {
                    told.store(upper.as_u64().unwrap(), Ordering::Relaxed);
                }
                if !pause.is_zero() {
                    tokio::time::sleep(Duration::from_micros(rng.below(pause.as_micros() as u64))).await;
                }
            }
            assert!(text.is_empty(), "a frame is cut off");
            frames
        });
        Follower { upper, frames }
    }
}

/// Returns the updates that the oracle expects of a tick.
fn updates(
    tick: &[(Value, i64)],
    wanted: &dyn Fn(&Value) -> bool,
    shown: &dyn Fn(&Value) -> Value,
) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for (row, diff) in tick.iter().filter(|(row, _)| wanted(row)) {
        *sums.entry(shown(row).to_string()).or_insert(0) += diff;
    }
    sums.retain(|_, diff| *diff != 0);
    sums
}

/// Checks the frames of a subscriber that began with tick `from`.
fn check(
    frames: &[Value],
    history: &[Vec<(Value, i64)>],
    from: Tick,
    wanted: &dyn Fn(&Value) -> bool,
    shown: &dyn Fn(&Value) -> Value,
) {
    assert_eq!(frames[0]["type"], "hello");
    let (mut upper, mut ticks) = (from, BTreeMap::<Tick, BTreeMap<String, i64>>::new());
    let mut open: Option<Tick> = None;
    for frame in &frames[1..] {
        match frame["type"].as_str().unwrap() {
            "delta" => {
                let tick = frame["tick"].as_u64().unwrap();
                assert!(tick >= upper && open.is_none_or(|open| open == tick), "{frame}");
                let updates = frame["updates"].as_array().unwrap();
                // A tick in pieces may end without an update.
                assert!(updates.len() <= 1000 && (!updates.is_empty() || open == Some(tick) && frame["last"] == true));
                let mut added = false;
                for update in updates {
                    let diff = update["diff"].as_i64().unwrap();
                    assert!(diff > 0 || !added, "removals come first");
                    added |= diff > 0;
                    // Rows that are shown in part may be equal, in several pieces.
                    *ticks.entry(tick).or_default().entry(update["row"].to_string()).or_default() += diff;
                }
                open = (frame["last"] == false).then_some(tick);
            }
            "progress" => {
                assert_eq!(open, None, "progress within a tick");
                let next = frame["upper"].as_u64().unwrap();
                assert!(next >= upper && ticks.keys().all(|tick| *tick < next), "{frame}");
                upper = next;
            }
            _ => panic!("{frame}"),
        }
    }
    assert_eq!(upper, history.len() as Tick, "the last frame says that there is everything");
    for (tick, changes) in (0..).zip(history).skip(from as usize) {
        let expected = updates(changes, wanted, shown);
        let mut found = ticks.remove(&tick).unwrap_or_default();
        found.retain(|_, diff| *diff != 0);
        assert_eq!(found, expected, "tick {tick}");
    }
    assert!(ticks.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_gets_the_same_frames_by_whatever_way_they_come() {
    type Shape<'s> = (Option<&'s str>, Option<&'s str>, fn(&Value) -> bool, fn(&Value) -> Value);
    let whole = |row: &Value| row.clone();
    let shapes: [Shape<'_>; 5] = [
        (None, None, |_| true, whole),
        (
            Some("user in (\"user 1\", \"user 7\", \"nobody\")"),
            None,
            |row| row["user"] == "user 1" || row["user"] == "user 7",
            whole,
        ),
        (
            Some("events >= 5 and not user = \"user 3\""),
            None,
            |row| row["events"].as_u64() >= Some(5) && row["user"] != "user 3",
            whole,
        ),
        (None, Some("user"), |_| true, |row| json!({ "user": row["user"] })),
        (
            Some("user = \"user 2\" or start_us = 1"),
            Some("session_id,events"),
            |row| row["user"] == "user 2" || row["start_us"] == 1,
            |row| json!({ "session_id": row["session_id"], "events": row["events"] }),
        ),
    ];
    for seed in 0..6 {
        let mut world = World::new(seed, 0);
        let mut running = Vec::new();
        for step in 0..120_u64 {
            if step % 10 == 0 {
                let (filter, columns, wanted, shown) = shapes[world.rng.below(5) as usize];
                let query = world.query(filter, columns, Envelope::Diff);
                let from = world.rng.below(world.history.len() as u64 + 1);
                let pause = Duration::from_millis([0, 0, 3][world.rng.below(3) as usize]);
                running.push((world.follow(&query, from, pause), (from, wanted, shown)));
            }
            let (changes, told) = (world.rng.below(30), world.rng.below(12) > 0);
            world.tick(changes, told);
            if world.rng.below(3) == 0 {
                tokio::time::sleep(Duration::from_micros(world.rng.below(3000))).await;
            }
        }
        // What the hub was not told is noticed with the next tick that it is.
        world.tick(1, true);
        let (followers, shapes): (Vec<_>, Vec<_>) = running.into_iter().unzip();
        let frames = world.finish(followers).await;
        for (frames, (from, wanted, shown)) in frames.iter().zip(shapes) {
            check(frames, &world.history, from, &wanted, &shown);
        }
        assert_eq!(world.subscriptions.hub.subscribers(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_takes_nothing_costs_little_and_gets_everything_later() {
    let mut world = World::new(9, 2000);
    let query = world.query(None, None, Envelope::Diff);
    let (client, pieces) = mpsc::channel::<Bytes>(1);
    let subscriber = Subscriber {
        subscriptions: Arc::clone(&world.subscriptions),
        query: Arc::clone(&query),
        encoding: Encoding::Lines,
        heartbeat: Duration::from_millis(20),
        upper: 0,
        until: None,
        client,
    };
    tokio::spawn(subscriber.run(Start::From(0)));
    let quick = world.follow(&query, 0, Duration::ZERO);
    let mut most = 0;
    for _ in 0..60 {
        world.tick(200, true);
        tokio::time::sleep(Duration::from_millis(5)).await;
        most = most.max(world.subscriptions.hub.waiting());
    }
    let all: usize = world.history.iter().flatten().map(|(row, _)| row.to_string().len()).sum();
    assert!(all > 20 << 20 && most < 10 << 20, "{most} of {all} bytes waited");
    let slow = Follower::start(pieces, Duration::ZERO, Rng::new(0));
    for frames in world.finish([slow, quick]).await {
        check(&frames, &world.history, 0, &|_| true, &Value::clone);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upserts_say_what_a_key_has_now() {
    let mut world = World::new(4, 0);
    let query = world.query(Some("events >= 3"), Some("user,events"), Envelope::Upsert);
    let subscriber = world.follow(&query, 0, Duration::ZERO);
    for _ in 0..80 {
        world.tick(20, true);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let frames = world.finish([subscriber]).await.remove(0);
    let mut ours: BTreeMap<String, Value> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| frame["type"] == "delta") {
        for update in frame["updates"].as_array().unwrap() {
            let key = update["key"]["session_id"].as_str().unwrap().to_owned();
            match &update["value"] {
                Value::Null => assert!(ours.remove(&key).is_some(), "{update}"),
                value => assert_ne!(ours.insert(key, value.clone()).as_ref(), Some(value), "it had that before"),
            }
        }
    }
    let rows = world.sessions.iter().filter(|(_, events)| **events >= 3).map(|((user, start), events)| {
        let (_, row) = world.row(*user, *start, *events);
        (row["session_id"].as_str().unwrap().to_owned(), json!({ "user": row["user"], "events": row["events"] }))
    });
    assert_eq!(ours, rows.collect());
}
