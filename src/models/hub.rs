//! Publisher, hub and subscribers: each subscriber gets each tick once and in order, whether it keeps up or reads the
//! log. It gets the last one without waiting for a heartbeat.

use super::{check, log};
use crate::collections::sessions::{SessionRow, SessionSchema};
use crate::collections::{self, Collection, Schemas};
use crate::read::subscribe::frame::Encoding;
use crate::read::subscribe::hub::{Fresh, Hub};
use crate::read::subscribe::query::{Envelope, Parameters, Query};
use crate::read::subscribe::subscriber::{Start, Subscriber, Subscriptions};
use crate::read::subscribe::token::ResumeTokens;
use crate::sync::thread;
use axum::body::Bytes;
use dataflows::{EventTime, Tick, UserKey};
use headwater_log::output::Block;
use headwater_log::segment::LogId;
use headwater_log::vfs::model::ModelFs;
use serde_json::Value;
use shuttle::future::block_on;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const TICKS: Tick = 4;
const SUBSCRIBERS: usize = 2;

/// A block with one row.
fn block(tick: Tick) -> Block {
    let time = EventTime::from_micros(tick as i64).unwrap();
    let row = collections::sessions::encode(&SessionRow {
        key: UserKey::of("u"),
        user: "u",
        start: time,
        end: time,
        events: 1,
        classes: &[("view", 1)],
        first_class: "view",
        last_class: "view",
        sums: &[],
        carried: &[],
        ended_by: None,
    });
    let mut block = Block::new(tick, tick as i64);
    block.add("sessions", vec![(row, 1)]).unwrap();
    block
}

/// Takes frames until they say that there is everything: the ticks with changes, in order.
fn take(pieces: &mut mpsc::Receiver<Bytes>) -> Vec<Tick> {
    let (mut upper, mut ticks) = (0, Vec::new());
    while upper < TICKS {
        let piece = block_on(pieces.recv()).expect("a subscription lasts as long as the feed");
        for line in piece.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let frame: Value = serde_json::from_slice(line).unwrap();
            match frame["type"].as_str().unwrap() {
                "delta" => {
                    let tick = frame["tick"].as_u64().unwrap();
                    assert!(tick >= upper, "{frame} after progress to {upper}");
                    assert_eq!(frame["updates"].as_array().unwrap().len(), 1);
                    ticks.push(tick);
                }
                "progress" => upper = frame["upper"].as_u64().unwrap(),
                "hello" => {}
                _ => panic!("{frame}"),
            }
        }
    }
    ticks
}

#[test]
fn each_subscriber_gets_each_tick_once() {
    check(3_000, || {
        let log = log(&ModelFs::new(1), 1, 1);
        let schemas = Arc::new(Schemas::new(&SessionSchema::default(), false, &[]));
        let tokens = Arc::new(ResumeTokens::of(LogId([7; 16]), [0; 32]));
        let (hub, feed) = Hub::spawn(Arc::clone(&schemas), Arc::clone(&tokens), 0);
        let outputs = Arc::clone(&log.outputs);
        let subscriptions = Arc::new(Subscriptions::new(hub, outputs, schemas, tokens));
        let parameters = Parameters { filter: None, columns: None, envelope: Envelope::Diff, keys: Vec::new() };
        let schema = subscriptions.schemas.of(Collection::SESSIONS);
        let query = Arc::new(Query::new(schema, &parameters).unwrap());
        let (mut subscribers, mut takers) = (Vec::new(), Vec::new());
        for _ in 0..SUBSCRIBERS {
            let (client, mut pieces) = mpsc::channel::<Bytes>(1);
            let subscriber = Subscriber {
                subscriptions: Arc::clone(&subscriptions),
                query: Arc::clone(&query),
                encoding: Encoding::Lines,
                heartbeat: Duration::ZERO,
                upper: 0,
                until: None,
                client,
            };
            subscribers.push(thread::spawn(move || block_on(subscriber.run(Start::From(0)))));
            takers.push(thread::spawn(move || (take(&mut pieces), pieces)));
        }
        let joined = Arc::clone(&subscriptions);
        let publisher = thread::spawn(move || {
            for tick in 0..TICKS {
                // Subscribers that are behind read the log; the last tick is for subscribers that keep up.
                while tick + 1 == TICKS && joined.hub.subscribers() < SUBSCRIBERS {
                    thread::yield_now();
                }
                let block = block(tick);
                log.outputs.append(0, &block, None).unwrap();
                log.outputs.sync(0).unwrap();
                // One is read from the log, as large ones are.
                feed.put(Fresh { tick, blocks: (tick != 1).then(|| vec![block]) });
            }
            feed
        });
        let feed = publisher.join().unwrap();
        let mut clients = Vec::new();
        for taker in takers {
            let (ticks, pieces) = taker.join().unwrap();
            assert_eq!(ticks, (0..TICKS).collect::<Vec<_>>());
            clients.push(pieces);
        }
        drop(feed);
        // The process stops: none of them waits for more.
        subscribers.into_iter().for_each(|subscriber| subscriber.join().unwrap());
        assert_eq!((subscriptions.hub.subscribers(), subscriptions.hub.waiting()), (0, 0));
    });
}
