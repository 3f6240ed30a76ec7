//! Processes are killed at random, any of the one to three that a run has, over and over, while clients send. In the end each acknowledged event counts once,
//! and a refused event does not count. An event without an answer counts once or not at all. Subscribers follow at the
//! same time and are cut off as well. At each progress they have exactly the published rows, and in the end every
//! change once.
//!
//! ```sh
//! HEADWATER_KILL_ROUNDS=1000 HEADWATER_KILL_SEED=7 cargo test --release --locked kill -- --nocapture
//! ```

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::subscriber::{Subscriber, Truth};
use super::{OFTEN, folder};
use crate::headwater::Folder;
use headwater::queue::intake::wall_ms;
use headwater_log::vfs::model::Rng;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Each takes somewhat more than a second.
const ROUNDS: u64 = 50;
/// Clients that give their events ids, and send a batch until it is acknowledged, whatever happens in between; some of
/// them again later.
const PERSISTENT: u64 = 2;
/// Clients that send a batch once, and write down what they know of it.
const CARELESS: u64 = 2;

/// Bounds of ticks, of which each round has one. Where there is little memory, ticks that change more than a few sessions
/// are published in blocks; where there is more, those of other rounds are read as blocks, and computed again without.
const TIGHT: &str = r#"{ "memory": 6000, "block": 1500, "piece": 4000 }"#;
const ROOMY: &str = r#"{ "piece": 4000 }"#;

/// Returns what moments and events are drawn from: `HEADWATER_KILL_SEED`, of which `random` is another one each time.
pub fn seed() -> u64 {
    let seed = match env::var("HEADWATER_KILL_SEED").as_deref() {
        Err(_) => 13,
        Ok("random") => wall_ms() as u64,
        Ok(text) => text.parse().expect("HEADWATER_KILL_SEED is a number or `random`"),
    };
    eprintln!("HEADWATER_KILL_SEED={seed}");
    seed
}

#[test]
fn killed_at_random_nothing_is_lost_and_nothing_counts_twice() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = number("HEADWATER_KILL_ROUNDS").unwrap_or(ROUNDS);
    let seed = seed();
    let mut rng = Rng::new(seed);
    let folder = folder(OFTEN);
    let mut persistent: Vec<_> = (0..PERSISTENT).map(|number| Persistent::new(number, rng.next_u64())).collect();
    let mut careless: Vec<_> = (0..CARELESS).map(|number| Careless::new(number, rng.next_u64())).collect();
    let mut subscribers: Vec<_> =
        subscribers().into_iter().map(|(subscriber, _)| (subscriber, Rng::new(rng.next_u64()))).collect();
    let mut seen = Seen::default();
    for round in 0..rounds {
        self::round(&folder, &mut rng, &mut persistent, &mut careless, &mut subscribers, &mut seen, round);
    }

    let process = Process::start_bounded(&folder, "data", 1 + rng.below(3) as usize, Restart::No, Some(ROOMY));
    let address = process.ready();
    for client in &mut persistent {
        while client.sending.is_some() {
            client.send(&mut Client::new(address));
        }
    }
    Client::new(address).published();
    for (subscriber, _) in &mut subscribers {
        subscriber.finish(address);
        is_uninterrupted(subscriber, address);
    }
    seen.note(&process.drain().stderr);

    let mut truths: Vec<_> = self::subscribers().into_iter().map(|(_, truth)| truth).collect();
    let published = Published::read_for(&folder.path("data"), &mut truths);
    for ((subscriber, _), truth) in subscribers.iter().zip(&truths) {
        subscriber.check(truth);
        let Subscriber { collection, points, cuts, deltas, .. } = subscriber;
        eprintln!("{collection}: {} points, {cuts} cuts, {} frames of changes", points.len(), deltas.len());
        assert!(rounds < ROUNDS || *cuts > rounds / 2, "{collection}: {cuts} cuts");
    }
    let ours = published.sessions();
    let users: BTreeSet<&str> = ours.iter().map(|row| row.0.as_str()).collect();
    let mut counted: Vec<&Event> = persistent.iter().flat_map(|client| client.acknowledged.iter().flatten()).collect();
    let mut known = [0_u64; 3];
    for (outcome, batch) in careless.iter().flat_map(|client| &client.sent) {
        known[*outcome as usize] += 1;
        match outcome {
            Outcome::Acknowledged => counted.extend(batch),
            Outcome::Unknown if users.contains(batch[0].user.as_str()) => counted.extend(batch),
            Outcome::Unknown | Outcome::Refused => {}
        }
    }
    let theirs = sessions(counted.iter().copied());
    same("sessions", &ours, &theirs);
    published.is_replayed(&folder, &lines(counted.iter().copied()));

    seen.ready.sort_unstable();
    let share = |of: usize| seen.ready[(seen.ready.len() * of / 100).min(seen.ready.len() - 1)].as_millis();
    eprintln!(
        "{rounds} rounds, {} starts, {} events in {} ticks, of which {} were published in blocks; of batches sent once {} acknowledged, {} refused, {} unknown; \
         {} snapshots, {} restarts from one, {} ticks computed again and equal, files of the log removed up to {}; \
         ready after {} ms (median), {} ms (99%), {} ms (longest)",
        seen.ready.len(),
        counted.len(),
        published.upper,
        seen.large.len(),
        known[0],
        known[1],
        known[2],
        seen.snapshots,
        seen.resumed,
        seen.compared,
        oldest_file(&folder),
        share(50),
        share(99),
        share(100),
    );
    // Else the rounds have not shown what they are for.
    if rounds >= ROUNDS {
        assert!(known[0] > rounds && known[2] > rounds / 10, "{known:?}");
        assert!(seen.large.len() as u64 > rounds, "{} large ticks", seen.large.len());
        assert!(seen.snapshots > rounds / 2 && seen.resumed > rounds / 2 && seen.compared > rounds, "{seen:?}");
        assert!(oldest_file(&folder) > 0);
    }
}

/// Returns the subscribers, each with the rows that it should see.
fn subscribers() -> [(Subscriber, Truth); 4] {
    let all = |row: &Value| Some(row.clone());
    let users = |row: &Value| {
        let wanted = row["events"].as_u64() >= Some(5) && row["user"].as_str().unwrap().starts_with("user 1");
        wanted.then(|| json!({ "user": row["user"], "events": row["events"] }))
    };
    [
        (Subscriber::new("sessions", "", "snapshot=true"), Truth::new("sessions", all)),
        (
            Subscriber::new(
                "sessions",
                "filter=events%20%3E%3D%205%20and%20user%20starts_with%20%22user%201%22&columns=user,events",
                "",
            ),
            Truth::new("sessions", users),
        ),
        (Subscriber::new("counts", "", ""), Truth::new("counts", all)),
        (Subscriber::new("late", "", "from=0"), Truth::new("late", all)),
    ]
}

/// The frames of changes that came in pieces are those that come at once.
fn is_uninterrupted(subscriber: &Subscriber, address: SocketAddr) {
    let Subscriber { collection, query, since, .. } = subscriber;
    let mut again = Subscriber::new(collection, query, format!("snapshot=false&from={since}"));
    again.finish(address);
    let ticks = |subscriber: &Subscriber| {
        subscriber.deltas.iter().map(|frame| frame[..40.min(frame.len())].to_owned()).collect()
    };
    let (ours, theirs): (Vec<String>, Vec<String>) = (ticks(subscriber), ticks(&again));
    same("ticks", &ours, &theirs);
    assert!(subscriber.deltas == again.deltas, "{}: frames of the same ticks differ", subscriber.collection);
}

/// The output of the processes.
#[derive(Debug, Default)]
struct Seen {
    ready: Vec<Duration>,
    snapshots: u64,
    resumed: u64,
    compared: u64,
    /// Ticks that were published in blocks, whole or not.
    large: BTreeSet<u64>,
}

impl Seen {
    fn note(&mut self, stderr: &str) {
        let lines = |what: &str| stderr.matches(what).count() as u64;
        self.snapshots += lines(r#""message":"snapshot""#);
        self.resumed += lines(r#""message":"goes on from a snapshot""#);
        self.compared += lines(r#""message":"computed again: the same""#);
        let lines = stderr.lines().filter(|line| line.contains("a large tick is published in blocks"));
        let tick = |line: &str| serde_json::from_str::<Value>(line).ok()?["fields"]["tick"].as_u64();
        self.large.extend(lines.filter_map(tick));
        let fault =
            ["another one than before", "cannot be trusted", "damaged", "panicked"].map(|what| stderr.contains(what));
        assert_eq!(fault, [false; 4], "{stderr}");
    }
}

/// The tick that the oldest file of the remap begins with: above 0, files have been removed.
fn oldest_file(folder: &Folder) -> u64 {
    let names = std::fs::read_dir(folder.path("data/log/remap")).unwrap();
    let base = |name: String| name.strip_suffix(".seg").unwrap().parse().unwrap();
    names.map(|entry| base(entry.unwrap().file_name().into_string().unwrap())).min().unwrap()
}

/// The end of a round.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The process that works is killed; if it is looked after, it works again after that.
    Kill,
    /// It stands still for a while, and is killed.
    Stop,
    /// It stands still for a while, goes on, and is killed.
    Pause,
    /// The one that looks after it is killed.
    Supervisor,
    /// It is asked to stop.
    Drain,
    /// It is killed before it is ready.
    Early,
}

const ENDS: [End; 8] =
    [End::Kill, End::Kill, End::Kill, End::Stop, End::Pause, End::Supervisor, End::Drain, End::Early];

fn round(
    folder: &Folder,
    rng: &mut Rng,
    persistent: &mut [Persistent],
    careless: &mut [Careless],
    subscribers: &mut [(Subscriber, Rng)],
    seen: &mut Seen,
    round: u64,
) {
    let end = ENDS[rng.below(ENDS.len() as u64) as usize];
    let (workers, processes) = (1 + rng.below(3) as usize, [1, 1, 2, 3][rng.below(4) as usize]);
    let victim = rng.below(processes) as usize;
    let supervised = matches!(end, End::Supervisor) || rng.below(3) == 0;
    let restart = if supervised { Restart::Supervisor } else { Restart::No };
    let moment = Duration::from_micros(rng.below(1_500_000));
    let pause = Duration::from_micros(rng.below(200_000));
    // Between two batches of a client: all at once in some rounds, few and far between in others.
    let pace = Duration::from_micros([1_000, 3_000, 10_000, 50_000][rng.below(4) as usize]);
    let bounds = if rng.below(3) == 0 { TIGHT } else { ROOMY };
    eprintln!(
        "round {round}: {end:?} of {victim} after {moment:?}, {processes} x {workers} workers, {restart:?}, {bounds}"
    );
    let more = ["--processes", &processes.to_string()];
    let process = Process::start_with(folder, "data", workers, restart, Some(bounds), &more);
    if let End::Early = end {
        sleep(moment / 15);
        return seen.note(&process.kill().stderr);
    }
    let (address, took) = process.ready_again(0);
    seen.ready.push(took);
    while_clients_send(address, pace, persistent, careless, subscribers, || {
        sleep(moment);
        let working = process.working_of(victim).unwrap();
        match end {
            End::Stop | End::Pause => {
                kill_process(working, Signal::STOP).unwrap();
                sleep(pause);
                if let End::Pause = end {
                    kill_process(working, Signal::CONT).unwrap();
                    sleep(pause);
                }
                kill_process(working, Signal::KILL).unwrap();
            }
            End::Kill => kill_process(working, Signal::KILL).unwrap(),
            End::Supervisor => process.signal(Signal::KILL),
            End::Drain => process.signal(Signal::TERM),
            End::Early => {}
        }
    });
    let restarted = matches!(end, End::Kill | End::Stop | End::Pause) && restart == Restart::Supervisor;
    if restarted {
        let (address, _) = process.ready_again(1);
        while_clients_send(address, pace, persistent, careless, subscribers, || {
            sleep(pause);
            kill_process(process.working_of(victim).unwrap(), Signal::KILL).unwrap();
        });
    }
    let ended = if restarted { process.kill() } else { process.end() };
    if let End::Drain = end {
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    seen.note(&ended.stderr);
}

/// Lets clients send during `work`, and until no server answers.
fn while_clients_send(
    address: SocketAddr,
    pace: Duration,
    persistent: &mut [Persistent],
    careless: &mut [Careless],
    subscribers: &mut [(Subscriber, Rng)],
    work: impl FnOnce(),
) {
    let over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in persistent {
            scope.spawn(move || {
                let mut connection = Client::new(address);
                while client.send(&mut connection) == Outcome::Acknowledged || !over.load(Ordering::Acquire) {
                    sleep(pace);
                }
            });
        }
        for client in careless {
            scope.spawn(move || {
                let mut connection = Client::new(address);
                while client.send(&mut connection) == Outcome::Acknowledged || !over.load(Ordering::Acquire) {
                    sleep(pace);
                }
            });
        }
        for (subscriber, rng) in subscribers {
            scope.spawn(move || subscriber.follow_in_pieces(address, rng, over));
        }
        work();
        over.store(true, Ordering::Release);
    });
}

struct Persistent {
    number: u64,
    rng: Rng,
    batches: u64,
    sending: Option<Vec<Event>>,
    /// Batches.
    acknowledged: Vec<Vec<Event>>,
}

impl Persistent {
    fn new(number: u64, seed: u64) -> Persistent {
        Persistent { number, rng: Rng::new(seed), batches: 0, sending: None, acknowledged: Vec::new() }
    }

    /// Sends the batch that is not acknowledged yet, or the next one.
    fn send(&mut self, connection: &mut Client) -> Outcome {
        let Persistent { number, rng, batches, acknowledged, .. } = self;
        if self.sending.is_none() && !acknowledged.is_empty() && rng.below(20) == 0 {
            return connection.post(&lines(&acknowledged[rng.below(acknowledged.len() as u64) as usize]));
        }
        let batch = self.sending.get_or_insert_with(|| {
            *batches += 1;
            let any = |event| {
                let (user, id) = (rng.below(30), format!("{number}-{batches}-{event}"));
                // Most are late, and touch sessions that are there.
                Event::any(rng, format!("user {user}"), PAST_MS, 600_000, Some(id))
            };
            (0..1 + *batches % 20).map(any).collect()
        });
        let outcome = connection.post(&lines(batch.iter()));
        if outcome == Outcome::Acknowledged {
            self.acknowledged.extend(self.sending.take());
        }
        outcome
    }
}

struct Careless {
    number: u64,
    rng: Rng,
    sent: Vec<(Outcome, Vec<Event>)>,
}

impl Careless {
    fn new(number: u64, seed: u64) -> Careless {
        Careless { number, rng: Rng::new(seed), sent: Vec::new() }
    }

    /// Sends a batch of a user of its own, some of it now: sessions that end while the process works.
    fn send(&mut self, connection: &mut Client) -> Outcome {
        let user = format!("client {} batch {}", self.number, self.sent.len());
        let from = if self.sent.len().is_multiple_of(20) { wall_ms() / 250 * 250 } else { PAST_MS };
        let events = 1 + self.rng.below(20);
        let batch: Vec<_> = (0..events).map(|_| Event::any(&mut self.rng, user.clone(), from, 20_000, None)).collect();
        let outcome = connection.post(&lines(&batch));
        // A batch that reached no server says nothing, and there would be many of them.
        if outcome != Outcome::Refused || self.sent.last().is_none_or(|last| last.0 != Outcome::Refused) {
            self.sent.push((outcome, batch));
        }
        outcome
    }
}
