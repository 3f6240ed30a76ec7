//! Processes are killed while sinks hand over what was published. In the end a file has each change that its sink takes
//! once and in order, a receiver has each of them at least once, and one that never answers has held up nobody.

use super::client::Client;
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, folder, run_toml};
use crate::headwater::{Folder, own_address};
use headwater::log::vfs::model::Rng;
use headwater::rows::Collection;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::Duration;

const ROUNDS: u64 = 12;

#[test]
fn killed_at_random_sinks_hand_over_each_change_and_a_file_has_it_once() {
    let seed = super::kill::seed();
    let mut rng = Rng::new(seed);
    let receiver = Receiver::start(rng.next_u64());
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
    receiver.calm.store(true, Ordering::Release);
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
        .changes(Collection::Sessions)
        .into_iter()
        .filter(|change| change["row"]["events"].as_u64() >= Some(2))
        .collect()
}

fn without_key(change: &Value) -> Value {
    let mut change = change.clone();
    assert!(change.as_object_mut().unwrap().remove("key").is_some());
    change
}

fn event(rng: &mut Rng) -> Event {
    let user = format!("user {}", rng.below(30));
    Event::any(rng, user, PAST_MS, 600_000, None)
}

/// Until nobody answers any more.
fn send(address: SocketAddr, mut rng: Rng, stopped: &AtomicBool) {
    let mut connection = Client::new(address);
    while !stopped.load(Ordering::Acquire) {
        let batch: Vec<Event> = (0..1 + rng.below(10)).map(|_| event(&mut rng)).collect();
        connection.post(&lines(&batch));
        sleep(Duration::from_millis(5));
    }
}

/// Takes changes. Now and then it fails, before or after it has taken them.
struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Value>>>,
    failed: Arc<AtomicU64>,
    calm: Arc<AtomicBool>,
}

impl Receiver {
    fn start(seed: u64) -> Receiver {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Receiver { address, received: Arc::default(), failed: Arc::default(), calm: Arc::default() };
        let (received, failed, calm) =
            (Arc::clone(&receiver.received), Arc::clone(&receiver.failed), Arc::clone(&receiver.calm));
        thread::spawn(move || {
            let mut rng = Rng::new(seed);
            for stream in listener.incoming() {
                let (mut rng, received) = (Rng::new(rng.next_u64()), Arc::clone(&received));
                let (failed, calm) = (Arc::clone(&failed), Arc::clone(&calm));
                thread::spawn(move || {
                    // A process that was killed leaves it at that.
                    let _gone = serve(stream.unwrap(), &mut rng, &received, &failed, &calm);
                });
            }
        });
        receiver
    }
}

fn serve(
    stream: TcpStream,
    rng: &mut Rng,
    received: &Mutex<Vec<Value>>,
    failed: &AtomicU64,
    calm: &AtomicBool,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        let chance = if calm.load(Ordering::Acquire) { 9 } else { rng.below(12) };
        if chance != 0 {
            received.lock().unwrap().extend(body["changes"].as_array().unwrap().iter().cloned());
        }
        match chance {
            0 | 1 => {
                failed.fetch_add(1, Ordering::Relaxed);
                stream.get_mut().write_all(b"HTTP/1.1 503 busy\r\ncontent-length: 0\r\n\r\n")?;
            }
            2 => {
                failed.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            _ => stream.get_mut().write_all(b"HTTP/1.1 204 taken\r\n\r\n")?,
        }
    }
}
