//! Stopping loses nothing, and starting again goes on. A process that cannot start prints the reason and ends with the exit
//! code that the help promises.

use super::client::{Client, Failure, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, folder, run_toml};
use crate::headwater::Folder;
use crate::patience::{PATIENCE, wait_until};
use headwater::queue::intake::wall_ms;
use headwater_log::vfs::model::Rng;
use rustix::process::{Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

/// Sends events from `clients` connections, each of a user of its own, until no more are taken; `then` is called when each
/// has had an answer. Returns the events that were acknowledged, and the last events of clients without an answer.
fn send_until_refused(process: &Process, clients: usize, then: impl FnOnce()) -> (Vec<Event>, Vec<(Event, Failure)>) {
    /// Long enough that there is always something on its way to the disk.
    const NOTE: usize = 200_000;
    let address = process.ready();
    let note = &format!(",\"note\":\"{}\"}}", "x".repeat(NOTE));
    let (acknowledged, unknown) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (acknowledged, unknown, answered) = (&acknowledged, &unknown, &answered);
            scope.spawn(move || {
                let mut connection = Client::new(address);
                for number in 0.. {
                    let user = format!("{address} {client}");
                    let event = Event { user, time: PAST_MS + number * 1000, id: None, price: None, page: None };
                    match connection.post(&event.json().to_string().replace('}', note)) {
                        Outcome::Acknowledged => {
                            acknowledged.lock().unwrap().push(event);
                            answered.fetch_add(usize::from(number == 0), Ordering::Relaxed);
                        }
                        Outcome::Unknown => {
                            let failure = connection.failure.take();
                            let failure = failure.unwrap_or_else(|| panic!("the disk of the tests is full: {event:?}"));
                            return unknown.lock().unwrap().push((event, failure));
                        }
                        Outcome::Refused => return,
                    }
                }
            });
        }
        // However slow the machine is, each client has had an answer before anything else happens.
        wait_until("an event of each client is taken", || answered.load(Ordering::Relaxed) == clients);
        then();
    });
    (acknowledged.into_inner().unwrap(), unknown.into_inner().unwrap())
}

/// A session that a snapshot had brought back was closed only when the next event came.
#[test]
fn a_session_is_closed_when_it_is_due_though_nothing_else_happens_since_the_start() {
    let folder = folder("");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    // Far enough that the next process is there by then, as a rule.
    let time = wall_ms() + 6_000;
    let event = Event { user: "a".into(), time, id: None, price: None, page: None };
    assert_eq!(client.post(&lines(&[event])), Outcome::Acknowledged);
    client.published();
    process.drain();
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    wait_until("the session is closed", || {
        let (status, page) = client.get_json("/v1/collections/closings/rows?limit=10").unwrap();
        assert_eq!(status, 200, "{page}");
        page["rows"][0]["user"] == "a"
    });
    process.drain();
    Published::read(&folder.path("data"));
}

#[test]
fn everything_acknowledged_is_published_before_it_has_stopped() {
    let folder = folder("");
    let mut rng = Rng::new(5);
    let mut all = Vec::new();
    for life in 0..10 {
        let restart = if life % 2 == 0 { Restart::Supervisor } else { Restart::No };
        let process = Process::start(&folder, "data", 1 + life % 3, restart);
        let (acknowledged, unknown) = send_until_refused(&process, 8, || {
            sleep(Duration::from_micros(20_000 + rng.below(60_000)));
            process.signal(if life % 3 == 0 { Signal::INT } else { Signal::TERM });
        });
        assert!(acknowledged.len() >= 8);
        all.extend(acknowledged);
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        // A server that stops closes a connection between two requests, and the next one may be on its way just then
        // (RFC 9112, 9.5). Those that have come are answered, however slow the disk is, unless a client is too slow to
        // send the rest: then the server says so.
        let cut_off = ended.stderr.contains("requests were cut off");
        for (event, failure) in &unknown {
            let told = failure.closed() && (failure.kept || cut_off);
            assert!(told, "no answer to {event:?}: {failure}\n{}", ended.stderr);
        }
        let ours = Published::read(&folder.path("data")).sessions();
        // An event without an answer is its user's last. It counts once, or not at all.
        let counts = |event: &Event| ours.iter().any(|row| (&row.0, row.2) == (&event.user, event.time));
        all.extend(unknown.into_iter().map(|(event, _)| event).filter(counts));
        same("sessions", &ours, &sessions(&all));
        // Nothing is left to be computed again.
        let again = Process::start(&folder, "data", 2, Restart::No);
        let ready = again.logged("ready", 0);
        let from = again.logged("goes on from a snapshot", 0);
        assert_eq!(from["tick"].as_u64().unwrap() + 1, ready["tick"].as_u64().unwrap());
        again.drain();
    }
}

#[test]
fn what_gathers_is_computed_together_and_a_stop_does_not_wait_for_more() {
    const TICK: u64 = 10;
    let folder = folder(&format!("tick = \"{TICK}s\""));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let began = Instant::now();
    let mut all = Vec::new();
    for number in 0..300 {
        let user = format!("user {}", number % 7);
        let event = Event { user, time: PAST_MS + number * 1000, id: None, price: None, page: None };
        assert!(matches!(client.post(&event.json().to_string()), Outcome::Acknowledged));
        all.push(event);
    }
    let ended = process.drain();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&all));
    // The rules, the first event, all others at the stop, its snapshot; and whatever a slow machine has waited for.
    assert!(published.upper <= 4 + began.elapsed().as_secs() / TICK, "{} ticks", published.upper);
}

#[test]
fn asked_to_stop_before_it_looks_for_signals_it_stops_as_asked() {
    let (folder, events) = folder_with_lives(1);
    for _ in 0..5 {
        let process = Process::start(&folder, "data", 2, Restart::Supervisor);
        let working = process.working_soon();
        let proc = |file: &str| fs::read(format!("/proc/{}/{file}", working.as_raw_nonzero())).unwrap_or_default();
        // Not before it is a program of its own: until then, the one that starts it waits.
        spin_until("the process is a program of its own", || {
            memchr::memmem::find(&proc("environ"), b"HEADWATER_SUPERVISED").is_some()
        });
        kill_process(working, Signal::STOP).unwrap();
        let says = |key: &str| -> String {
            let status = String::from_utf8(proc("status")).unwrap();
            status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned()
        };
        spin_until("the process stands still", || says("State:").starts_with('T'));
        process.signal(Signal::TERM);
        // The 15th bit of those that wait.
        wait_until("the signal waits", || u64::from_str_radix(&says("ShdPnd:"), 16).unwrap() & 1 << 14 != 0);
        kill_process(working, Signal::CONT).unwrap();
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions(&events));
}

/// Waits without sleeping until a condition holds that may not last for long; see [`wait_until`].
#[track_caller]
fn spin_until(awaited: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {awaited}");
        yield_now();
    }
}

#[test]
fn two_processes_on_one_folder() {
    let folder = folder("");
    let first = Process::start(&folder, "data", 2, Restart::Supervisor);
    let mut client = Client::new(first.ready());
    for restart in [Restart::No, Restart::Supervisor] {
        for signal in [Signal::STOP, Signal::CONT] {
            // One that stands still still has what it has.
            kill_process(first.working().unwrap(), signal).unwrap();
            let second = Process::start(&folder, "data", 1, restart).end();
            assert_eq!(second.code, Some(1), "{}", second.stderr);
            assert!(second.stderr.contains("is in use by another process"), "{}", second.stderr);
        }
    }
    let event = Event { user: "u".into(), time: PAST_MS, id: None, price: None, page: None };
    assert_eq!(client.post(&lines([&event])), Outcome::Acknowledged);
    first.drain();
    assert_eq!(Published::read(&folder.path("data")).sessions(), sessions([&event]));
}

/// A folder in which some events have been taken, and the process has been stopped, this many times.
fn folder_with_lives(lives: i64) -> (Folder, Vec<Event>) {
    let folder = folder("");
    let mut events = Vec::new();
    for life in 0..lives {
        events.extend(live(&folder, "data", life));
    }
    (folder, events)
}

/// Takes events of some users.
fn live(folder: &Folder, data: &str, life: i64) -> Vec<Event> {
    let process = Process::start(folder, data, 2, Restart::No);
    let mut client = Client::new(process.ready());
    let mut events = Vec::new();
    for number in 0..40 {
        let user = format!("user {}", number % 10);
        let time = PAST_MS + life * 100_000 + number * 500;
        let event = Event { user, time, id: Some(format!("{life} {number}")), price: Some(2), page: None };
        assert_eq!(client.post(&lines([&event])), Outcome::Acknowledged);
        events.push(event);
    }
    process.drain();
    events
}

/// The file in a folder whose name is the last, of those that end so.
fn last_file(folder: &Path, ending: &str) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.to_string_lossy().ends_with(ending)).max().unwrap()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_file_of_the_log_is_named_and_nothing_is_touched() {
    let (folder, _) = folder_with_lives(1);
    let log = folder.path("data/log");
    let files = [
        last_file(&log.join("wal/00"), ".seg"),
        last_file(&log.join("remap"), ".seg"),
        last_file(&log.join("control"), ".seg"),
        last_file(&log.join("out"), ".seg"),
    ];
    for file in files {
        // In the first frame, behind the header.
        flip(&file, 56 + 30);
        let before = fs::read(&file).unwrap();
        for restart in [Restart::No, Restart::Supervisor] {
            let ended = Process::start(&folder, "data", 2, restart).end();
            assert_eq!(ended.code, Some(1), "{}: {}", file.display(), ended.stderr);
            // Lines are broken where the terminal ends.
            let text: String = ended.stderr.split_whitespace().filter(|word| *word != "│").collect();
            let named = format!("`{}`isdamagedatbyte56", file.display());
            assert!(text.contains(&named), "{named}: {}", ended.stderr);
        }
        assert_eq!(fs::read(&file).unwrap(), before);
        flip(&file, 56 + 30);
    }
    live(&folder, "data", 1);
}

/// Opening reads the last file of each part. Damage before that is met by what is computed again, and by each further
/// start: none is tried.
#[test]
fn damage_that_recovery_meets_is_named_and_not_tried_again() {
    let folder = folder("segment = \"64KiB\"\n");
    let process = Process::start(&folder, "data", 1, Restart::No);
    let mut client = Client::new(process.ready());
    let part = folder.path("data/log/wal/00");
    let mut events = Vec::new();
    let began = Instant::now();
    while fs::read_dir(&part).unwrap().count() < 4 {
        assert!(began.elapsed() < PATIENCE, "the queue has no more files");
        let event = |at| Event { user: "u".into(), time: PAST_MS + at, id: None, price: None, page: None };
        let batch: Vec<_> = (0..100).map(|number| event(events.len() as i64 + number)).collect();
        assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
        events.extend(batch);
    }
    process.kill();
    let first = fs::read_dir(&part).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    flip(&first, 56 + 30);
    for restart in [Restart::No, Restart::Supervisor] {
        let ended = Process::start(&folder, "data", 2, restart).end();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        let told = ended.logged("the log is damaged: the process ends");
        let text: String = told[0]["error"].as_str().unwrap().split_whitespace().filter(|word| *word != "│").collect();
        assert!(text.contains(&format!("`{}`isdamagedatbyte56", first.display())), "{}", ended.stderr);
        // It is found before the process takes anything.
        assert_eq!(ended.logged("listening").len(), 0, "{}", ended.stderr);
    }
    flip(&first, 56 + 30);
    let process = Process::start(&folder, "data", 2, Restart::No);
    process.ready();
    process.drain();
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions(&events));
}

#[test]
fn the_older_snapshot_is_taken_when_the_newest_is_damaged() {
    let (folder, mut events) = folder_with_lives(3);
    flip(&last_file(&folder.path("data/log/state"), ".gen"), 100);
    let process = Process::start(&folder, "data", 3, Restart::No);
    process.ready();
    let damage = process.logged("a snapshot is damaged and not used", 0);
    assert!(damage["file"].as_str().unwrap().ends_with(".gen"), "{damage}");
    let ended = process.drain();
    // What it had published since then came out as before.
    assert!(!ended.logged("computed again: the same").is_empty(), "{}", ended.stderr);
    events.extend(live(&folder, "data", 3));
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&events));
    published.is_replayed(&folder, &lines(&events));
}

/// The snapshot holds everything that it was computed from, so a start goes on without it.
#[test]
fn without_what_was_published_it_goes_on_behind_the_snapshot() {
    let (folder, _) = folder_with_lives(2);
    fs::remove_dir_all(folder.path("data/log/out")).unwrap();
    let process = Process::start(&folder, "data", 3, Restart::No);
    process.ready();
    let snapshot = process.logged("goes on from a snapshot", 0)["tick"].as_u64().unwrap();
    process.drain();
    let ours = live(&folder, "data", 3);
    let log = super::published::open(&folder.path("data"));
    assert_eq!((log.outputs.oldest(), log.outputs.upper()), (snapshot + 1, log.remap.next()));
    let rows = |tick| -> usize {
        let blocks = log.outputs.read(tick).unwrap();
        blocks.iter().flat_map(|block| block.collections()).map(|(_, rows)| rows.len()).sum()
    };
    let all: usize = (log.outputs.oldest()..log.outputs.upper()).map(rows).sum();
    assert!(all >= ours.len());
}

#[test]
fn another_gap_is_refused() {
    let (folder, _) = folder_with_lives(1);
    folder.write("run.toml", run_toml("", &MEANING.replace("gap = \"2s\"", "gap = \"3s\"")));
    for restart in [Restart::No, Restart::Supervisor] {
        let ended = Process::start(&folder, "data", 2, restart).end();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("were made with another `gap`"), "{}", ended.stderr);
        assert!(ended.stderr.contains("help: put [sessions]"), "{}", ended.stderr);
    }
    folder.write("run.toml", run_toml("", MEANING));
    live(&folder, "data", 1);
}

#[test]
fn with_a_class_of_another_name_it_goes_on() {
    let (folder, mut events) = folder_with_lives(2);
    folder.write("run.toml", run_toml("", &MEANING.replace("purchase", "order")));
    events.extend(live(&folder, "data", 2));
    // Another time, with the same program again.
    events.extend(live(&folder, "data", 3));
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&events));
    folder.write("replay.toml", folder.read("replay.toml").replace("purchase", "order"));
    published.is_replayed(&folder, &lines(&events));
}

/// In both forms, with `or`, `not` and absent fields: what was read under other rules has the classes that a replay gives it,
/// as long as its tests are the same.
#[test]
fn other_rules_relabel_what_was_read_before() {
    let meaning = |classes: &str| format!("{}{classes}", &MEANING[..MEANING.find("[[class]]").unwrap()]);
    let before = meaning(
        "[[class]]\nname = 'a'\nwhen = { price = { min = 1 }, page = 1 }\n\
         [[class]]\nname = 'b'\nwhen = \"price < 3 and price is null or page is null or page like '2%'\"\n",
    );
    let after = meaning(
        "[[class]]\nname = 'x'\nwhen = \"not (price >= 1 and page = '1') and (price < 3 or not page like '2%')\"\n\
         [[class]]\nname = 'y'\nwhen = 'price is null or not price < 3'\n",
    );
    let folder = folder("");
    let mut rng = Rng::new(14);
    let mut events = Vec::new();
    for (life, meaning) in (0..).zip([before, after.clone()]) {
        folder.write("run.toml", run_toml("", &meaning));
        let process = Process::start(&folder, "data", 2, Restart::No);
        let mut client = Client::new(process.ready());
        for number in life * 10..life * 10 + 10 {
            // No two at the same time: which of them is the first depends on all tests that were ever made.
            let mut any = |at: i64| {
                let user = format!("user {}", rng.below(7));
                Event { time: PAST_MS + (number * 40 + at) * 250, ..Event::any(&mut rng, user, 0, 250, None) }
            };
            let batch: Vec<Event> = (0..40).map(&mut any).collect();
            assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
            events.extend(batch);
        }
        process.drain();
    }
    let published = Published::read(&folder.path("data"));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{after}"));
    published.is_replayed(&folder, &lines(&events));
}

#[test]
fn snapshots_are_taken_and_files_removed_while_it_works() {
    let folder = folder(OFTEN);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let oldest = || {
        let names = fs::read_dir(folder.path("data/log/wal/00")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).min().unwrap()
    };
    let first = oldest();
    let mut events = Vec::new();
    while oldest() == first {
        let number = events.len() as i64;
        let any = |at: i64| Event {
            user: format!("user {}", (number + at) % 7),
            time: PAST_MS + (number + at) * 100,
            id: None,
            price: None,
            page: Some(1),
        };
        let batch: Vec<_> = (0..100).map(any).collect();
        assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
        events.extend(batch);
        assert!(events.len() < 1_000_000, "nothing is removed");
    }
    process.drain();
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions(&events));
}

/// As long as something new is published between failures, starting again helps.
#[test]
fn failing_again_and_again_it_is_given_up_only_if_nothing_new_is_published() {
    let folder = folder("");
    let process = Process::start(&folder, "data", 2, Restart::Supervisor);
    let mut user = 0;
    for life in 0..6 {
        let mut client = Client::new(process.ready_again(life).0);
        let event = Event { user: format!("user {user}"), time: PAST_MS, id: None, price: None, page: None };
        assert_eq!(client.post(&lines(&[event])), Outcome::Acknowledged);
        user += 1;
        client.published();
        if life < 5 {
            kill_process(process.working_soon(), Signal::KILL).unwrap();
        }
    }
    process.drain();
    assert_eq!(Published::read(&folder.path("data")).sessions().len(), user);
}
