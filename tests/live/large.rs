//! A tick of many blocks: sinks and subscribers get through it, at any kill of a process and with any answer of a
//! receiver.

use super::act::without_key;
use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::receiver::{Answer, Receiver};
use super::subscriber::{Subscriber, Truth};
use super::{MEANING, folder, run_toml};
use crate::headwater::Folder;
use crate::patience::{eventually, wait_until};
use headwater::collections::Collection;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Each has a session that a renamed class relabels: two changes.
const USERS: u64 = 1500;
/// A tick that relabels them all is some hundred blocks, and some dozen pieces.
const BOUNDS: &str = r#"{ "memory": 20000, "block": 2000, "piece": 10000 }"#;
const LARGE: &str = "a large tick is published in blocks";

/// When the process is killed that publishes a large tick, or hands it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    /// There are files of its blocks.
    Writing,
    /// The file of a sink has grown.
    FileGrowing,
    /// A receiver has taken a part of it, and does not answer with anything but 500 any more.
    ReceiverFailing,
}

#[test]
fn a_tick_of_many_blocks_is_handed_over_as_any_other() {
    // Changes that the receiver takes before it fails.
    let room = Arc::new(AtomicU64::new(u64::MAX));
    let left = Arc::clone(&room);
    let receiver = Receiver::start(move |changes| {
        let take = |left: u64| left.checked_sub(changes);
        match left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Answer::Take,
            Err(_) => Answer::Fail,
        }
    });
    let folder = folder("");
    let name_class = |name: &str| {
        let meaning = MEANING.replace("purchase", name);
        let takes = "collection = 'sessions'\nchanges = 'all'\nfrom = 'start'\n";
        let (file, http) = ("kind = 'file'\npath = 'changes.jsonl'\nbatch = 10", "kind = 'http'\nbatch = 50");
        let sinks = format!(
            "[[sink]]\nname = 'file'\n{file}\n{takes}[[sink]]\nname = 'receiver'\n{http}\n\
             url = 'http://{}/'\nallow_private = true\n{takes}",
            receiver.address
        );
        folder.write("run.toml", run_toml("", &format!("{meaning}{sinks}")));
    };
    let start = |workers| Process::start_bounded(&folder, "data", workers, Restart::No, Some(BOUNDS));

    name_class("purchase");
    let process = start(2);
    let address = process.ready();
    let mut client = Client::new(address);
    let buyers: Vec<Event> = (0..USERS)
        .map(|user| Event { user: format!("user {user}"), time: PAST_MS, id: None, price: Some(3), page: None })
        .collect();
    buyers.chunks(100).for_each(|some| assert_eq!(client.post(&lines(some)), Outcome::Acknowledged));
    client.published();
    let mut subscriber = Subscriber::new("sessions", "", "snapshot=true");
    subscriber.finish(address);
    wait_until("the receiver has them", || receiver.received.lock().unwrap().len() as u64 == USERS);
    process.drain();

    let kills = [Killed::ReceiverFailing, Killed::Writing, Killed::FileGrowing];
    for (round, killed) in kills.into_iter().enumerate() {
        name_class(&format!("buyer {round}"));
        let (taken, failed) = (receiver.received.lock().unwrap().len(), receiver.failed.load(Ordering::Relaxed));
        let (written, blocks) = (file_len(&folder), block_ticks(&folder));
        if killed == Killed::ReceiverFailing {
            room.store(USERS, Ordering::Release);
        }
        let process = start(1 + round % 3);
        match killed {
            Killed::Writing => wait_until("there are blocks", || block_ticks(&folder) != blocks),
            Killed::FileGrowing => wait_until("the file has grown", || file_len(&folder) > written),
            Killed::ReceiverFailing => {
                is_cut_within(&mut subscriber, &process);
                let fails = || receiver.failed.load(Ordering::Relaxed) > failed + 1;
                wait_until("the receiver has failed", fails);
            }
        }
        process.signal(Signal::KILL);
        process.end();
        let [file, http] = ["file", "receiver"].map(|sink| cursor(&folder, sink));
        let took = receiver.received.lock().unwrap().len() - taken;
        eprintln!("{killed:?}: cursor of the file {file:?}, of the receiver {http:?}, which took {took} changes");
        if killed == Killed::ReceiverFailing {
            assert_eq!((http.1, took as u64), (USERS, USERS), "half of the tick");
            // The next process meets a receiver that fails, too.
            let failed = receiver.failed.load(Ordering::Relaxed);
            let process = start(3);
            wait_until("the receiver has failed", || receiver.failed.load(Ordering::Relaxed) > failed);
            room.store(u64::MAX, Ordering::Release);
            subscriber.finish(process.ready());
            process.signal(Signal::KILL);
            process.end();
        }
    }
    name_class("customer");
    let process = start(2);
    let large = process.logged(LARGE, 0)["tick"].as_u64().unwrap();
    is_cut_within(&mut subscriber, &process);
    subscriber.finish(process.ready());
    let handed_over = |sink: &str| wait_until(sink, || cursor(&folder, sink).0 > large);
    ["file", "receiver"].into_iter().for_each(handed_over);
    process.drain();

    let mut truths = [Truth::new("sessions", |row| Some(row.clone()))];
    Published::read_for(&folder.path("data"), &mut truths);
    subscriber.check(&truths[0]);
    let published = Published::read_ticks(&folder.path("data"));
    let mut expected = published.changes(Collection::SESSIONS);
    expected.sort_by_key(Value::to_string);
    let relabelled = expected.iter().filter(|change| change["tick"] == large).count();
    assert_eq!(relabelled as u64, 2 * USERS);
    let text = folder.read("changes.jsonl");
    let in_file: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ticks: Vec<u64> = in_file.iter().map(|change| change["tick"].as_u64().unwrap()).collect();
    assert!(ticks.is_sorted());
    let keys: BTreeSet<&str> = in_file.iter().map(|change| change["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), in_file.len());
    let mut once: Vec<Value> = in_file.iter().map(without_key).collect();
    once.sort_by_key(Value::to_string);
    same("the file", &once, &expected);
    let mut by_key = BTreeMap::new();
    for change in receiver.received.lock().unwrap().iter() {
        let known = by_key.insert(change["key"].to_string(), without_key(change));
        assert!(known.as_ref().is_none_or(|known| *known == without_key(change)), "{change}");
    }
    let mut once: Vec<Value> = by_key.into_values().collect();
    once.sort_by_key(Value::to_string);
    same("the receiver", &once, &expected);
}

/// A subscriber that goes on from its token is cut off before it has all of a large tick, and has to begin that again.
fn is_cut_within(subscriber: &mut Subscriber, process: &Process) {
    process.logged(LARGE, 0);
    let address = process.ready();
    let (points, cuts, token) = (subscriber.points.len(), subscriber.cuts, subscriber.token.clone());
    // The tick has more; whatever comes before it fits.
    eventually("the subscriber is cut off", || {
        subscriber.follow(address, Some(100_000));
        (subscriber.cuts > cuts).then_some(())
    });
    assert!(token.is_some() && subscriber.points.len() <= points + 2, "{:?}", subscriber.points);
}

fn file_len(folder: &Folder) -> u64 {
    fs::metadata(folder.path("changes.jsonl")).map_or(0, |file| file.len())
}

/// The ticks that have files of blocks.
fn block_ticks(folder: &Folder) -> BTreeSet<u64> {
    let names = fs::read_dir(folder.path("data/log/out")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let tick = |name: String| name.split('-').nth(3).and_then(|tick| tick.parse().ok());
    names.filter(|name| name.split('-').count() == 5).filter_map(tick).collect()
}

/// Tick of a sink's cursor, and how many of its changes were handed over.
fn cursor(folder: &Folder, sink: &str) -> (u64, u64) {
    let cursor: Value = serde_json::from_str(&folder.read(&format!("data/sinks/{sink}/cursor.json"))).unwrap();
    let number = |key: &str| cursor["position"][key].as_u64().unwrap();
    (number("tick"), number("index"))
}
