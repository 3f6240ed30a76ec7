//! Processes are killed while sinks hand over what was published. In the end a file has each change of its sink once
//! and in order, and a receiver has each of them at least once. A receiver that never answers has held up no other
//! sink.

use super::client::Client;
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::receiver::{Answer, Receiver};
use super::{MEANING, OFTEN, folder, run_toml};
use crate::headwater::{Folder, own_address};
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

const ROUNDS: u64 = 12;

#[test]
fn killed_at_random_sinks_hand_over_each_change_and_a_file_has_it_once() {
    let seed = super::kill::seed();
    let mut rng = Rng::new(seed);
    let (calm, mut of_receiver) = (Arc::new(AtomicBool::new(false)), Rng::new(rng.next_u64()));
    let is_calm = Arc::clone(&calm);
    // Now and then it fails, before or after it has taken what it was sent.
    let receiver = Receiver::start(move |_| match of_receiver.below(12) {
        _ if is_calm.load(Ordering::Acquire) => Answer::Take,
        0 => Answer::Fail,
        1 => Answer::TakeAndFail,
        2 => Answer::TakeAndLeave,
        _ => Answer::Take,
    });
    // It takes connections, and never says a word.
    let silent = TcpListener::bind((own_address(), 0)).unwrap();
    let folder = folder("");
    let sinks = sinks(receiver.address, silent.local_addr().unwrap());
    folder.write("run.toml", run_toml(OFTEN, &format!("{MEANING}{sinks}")));
    for round in 0..ROUNDS {
        let process = Process::start(&folder, "data", 1 + rng.below(3) as usize, Restart::No);
        let address = process.ready();
        let (stopped, of_client) = (AtomicBool::new(false), Rng::new(rng.next_u64()));
        thread::scope(|scope| {
            let stopped = &stopped;
            scope.spawn(move || send(address, of_client, stopped));
            sleep(Duration::from_micros(rng.below(800_000)));
            match round % 4 {
                3 => drop(process.drain()),
                _ => {
                    process.signal(Signal::KILL);
                    process.end();
                }
            }
            stopped.store(true, Ordering::Release);
        });
    }
    calm.store(true, Ordering::Release);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    Client::new(address).post(&lines(&[event(&mut rng), event(&mut rng)]));
    Client::new(address).published();
    // What is left comes before the end.
    process.drain();

    let expected = expected(&folder);
    let text = folder.read("changes.jsonl");
    let in_file: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    same("the file", &in_file.iter().map(without_key).collect::<Vec<_>>(), &expected);
    let received = receiver.received.lock().unwrap().clone();
    let (mut by_key, mut repeated) = (BTreeMap::new(), 0);
    for change in &received {
        let known = by_key.insert(change["key"].to_string(), without_key(change));
        assert!(known.as_ref().is_none_or(|known| *known == without_key(change)), "{change}");
        repeated += u64::from(known.is_some());
    }
    let mut once: Vec<Value> = by_key.into_values().collect();
    let mut sorted = expected.clone();
    [&mut once, &mut sorted].into_iter().for_each(|all| all.sort_by_key(Value::to_string));
    same("the receiver", &once, &sorted);
    let failed = receiver.failed.load(Ordering::Relaxed);
    eprintln!("{} changes, {repeated} of them repeated to the receiver, which failed {failed} times", expected.len());
    // Else it has not shown what it is for.
    assert!(expected.len() > 100 && failed > 0 && repeated > 0, "{} {failed} {repeated}", expected.len());

    // A start that finds nothing new writes nothing.
    let process = Process::start(&folder, "data", 1, Restart::No);
    process.ready();
    process.drain();
    assert_eq!(self::expected(&folder).len(), expected.len());
    assert_eq!(folder.read("changes.jsonl"), text);
    assert!(!folder.path("data/sinks/file/dead_letters.jsonl").exists());
}

fn sinks(receiver: SocketAddr, silent: SocketAddr) -> String {
    let takes = "collection = 'sessions'\nwhen = 'events >= 2'\nchanges = 'all'\nfrom = 'start'\n";
    let http = |name: &str, to: SocketAddr| {
        format!("[[sink]]\nname = '{name}'\nkind = 'http'\nurl = 'http://{to}/'\nallow_private = true\n{takes}")
    };
    format!(
        "[[sink]]\nname = 'file'\nkind = 'file'\npath = 'changes.jsonl'\nbatch = 7\n{takes}{}batch = 7\n{}",
        http("receiver", receiver),
        http("silent", silent)
    )
}

/// From the output log, by its own rule: removals first, and then by their bytes.
fn expected(folder: &Folder) -> Vec<Value> {
    let published = Published::read_ticks(&folder.path("data"));
    published
        .changes(Collection::SESSIONS)
        .into_iter()
        .filter(|change| change["row"]["events"].as_u64() >= Some(2))
        .collect()
}

pub fn without_key(change: &Value) -> Value {
    let mut change = change.clone();
    assert!(change.as_object_mut().unwrap().remove("key").is_some());
    change
}

fn event(rng: &mut Rng) -> Event {
    let user = format!("user {}", rng.below(30));
    Event::any(rng, user, PAST_MS, 600_000, None)
}

/// Sends until no server answers any more.
fn send(address: SocketAddr, mut rng: Rng, stopped: &AtomicBool) {
    let mut connection = Client::new(address);
    while !stopped.load(Ordering::Acquire) {
        let batch: Vec<Event> = (0..1 + rng.below(10)).map(|_| event(&mut rng)).collect();
        connection.post(&lines(&batch));
        sleep(Duration::from_millis(5));
    }
}
