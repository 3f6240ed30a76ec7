//! History comes into a running engine while events do. In the end the rows are those of a replay of both, although the
//! engine and the client are killed on the way. What cannot come in is said, and none of it is in.

mod refused;

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::kill::seed;
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{MEANING, OFTEN, folder, run_toml};
use crate::headwater::{Folder, Run, own_address};
use crate::patience::{eventually, wait_until};
use flate2::Compression;
use flate2::write::GzEncoder;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A client that brings history in.
struct Bringing(Child);

impl Bringing {
    /// `headwater backfill run.toml FILES… MORE` in a folder.
    fn start(folder: &Folder, address: SocketAddr, files: &[&str], more: &[&str]) -> Bringing {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.args(["backfill", "run.toml"]).args(files).args(more);
        command.args(["--url", &format!("http://{address}"), "--json"]).current_dir(folder.path(""));
        let said = File::options().create(true).append(true).open(folder.path("client.err")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        Bringing(command.spawn().unwrap())
    }

    /// Waits until it ends: its exit code, `None` by a signal.
    fn end(mut self) -> Option<i32> {
        eventually("the client ends", || self.0.try_wait().unwrap()).code()
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Bringing {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Runs `headwater backfill run.toml MORE` to its end.
fn backfill(folder: &Folder, address: SocketAddr, more: &[&str]) -> Run {
    let url = format!("http://{address}");
    folder.headwater(["backfill", "run.toml"].iter().chain(more).copied().chain(["--url", &url]))
}

/// Returns how far a backfill is.
fn report(client: &mut Client, name: &str) -> Option<Value> {
    let (status, report) = client.get_json(&format!("/v1/backfills/{name}"))?;
    (status == 200).then_some(report)
}

fn records(client: &mut Client, name: &str) -> u64 {
    report(client, name).map_or(0, |report| report["records"].as_u64().unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes events as files of several forms. Returns their names in the order in which they are read.
fn write(folder: &Folder, events: &[Event]) -> Vec<&'static str> {
    let third = events.len().div_ceil(3);
    let parts: Vec<&[Event]> = events.chunks(third).collect();
    folder.write("history/a.jsonl", lines(parts[0]) + "{\"no\": \n");
    folder.write("history/b.jsonl.gz", gzip(lines(parts[1]).as_bytes()));
    let array: Vec<Value> = parts[2].iter().map(Event::json).collect();
    folder.write("history/c.json", serde_json::to_string_pretty(&array).unwrap());
    vec!["history/a.jsonl", "history/b.jsonl.gz", "history/c.json"]
}

#[test]
fn history_beside_live_events_gives_the_rows_of_a_replay_whatever_is_killed() {
    let mut rng = Rng::new(seed());
    for workers in 1..=3 {
        let folder = folder(OFTEN);
        // Late history: it joins sessions of live events, and begins others between them.
        let mut any = |number: u64| {
            let user = format!("user {}", rng.below(40));
            Event::any(&mut rng, user, PAST_MS, 4_000_000, Some(number.to_string()))
        };
        let events: Vec<Event> = (0..16_000).map(&mut any).collect();
        // Some events of history come live too.
        let history = &events[..12_000];
        let live: Vec<&Event> = events[2000..3000].iter().chain(&events[12_000..]).collect();
        let files = write(&folder, history);
        let mut posts = live.chunks(100);
        let mut kills = 0;
        let mut process = Process::start(&folder, "data", workers, Restart::No);
        let mut address = process.ready();
        loop {
            let mut bringing = Bringing::start(&folder, address, &["history"], &["--rate", "20000", "--share", "100"]);
            let mut client = Client::new(address);
            let before = records(&mut client, "history");
            let more = 500 + rng.below(1500);
            wait_until("a part of history has come in", || {
                if let Some(batch) = posts.next() {
                    assert_eq!(client.post(&lines(batch.iter().copied())), Outcome::Acknowledged);
                }
                bringing.has_ended() || records(&mut client, "history") >= before + more
            });
            if bringing.has_ended() {
                assert_eq!(bringing.end(), Some(0), "{}", folder.read("client.err"));
                break;
            }
            kills += 1;
            match rng.below(3) {
                0 => bringing.kill(),
                with_client => {
                    // The client either goes on by itself, or begins again.
                    process.kill();
                    if with_client == 1 {
                        bringing.kill();
                    }
                    process = Process::start(&folder, "data", workers, Restart::No);
                    let former = std::mem::replace(&mut address, process.ready());
                    assert_ne!(former, address);
                }
            }
        }
        assert!(kills > 2, "{kills} kills");
        let mut client = Client::new(address);
        for batch in posts {
            assert_eq!(client.post(&lines(batch.iter().copied())), Outcome::Acknowledged);
        }
        let report = report(&mut client, "history").unwrap();
        assert_eq!((&report["state"], &report["records"]), (&"done".into(), &12_001.into()), "{report}");
        assert_eq!(report["bytes"], report["bytes_total"]);
        // A repeated call brings nothing.
        assert_eq!(Bringing::start(&folder, address, &files, &[]).end(), Some(0));
        client.published();
        process.drain();
        let published = Published::read(&folder.path("data"));
        same("sessions", &published.sessions(), &sessions(&events));
        folder.write("live.jsonl", lines(live));
        published.is_replayed_from(&folder, &["live.jsonl", "history"]);
    }
}

#[test]
fn a_client_goes_on_by_itself_when_the_engine_is_started_again() {
    let folder = folder(OFTEN);
    let mut rng = Rng::new(1);
    let any = |_| Event::any(&mut rng, "u".into(), PAST_MS, 9_000_000, None);
    let events: Vec<Event> = (0..6000).map(any).collect();
    write(&folder, &events);
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let listen = listener.local_addr().unwrap().to_string();
    drop(listener);
    let process = Process::start_with(&folder, "data", 2, Restart::Supervisor, None, &["--listen", &listen]);
    let address = process.ready();
    let bringing = Bringing::start(&folder, address, &["history"], &["--rate", "6000", "--share", "100"]);
    let mut client = Client::new(address);
    for life in 1..3 {
        let before = records(&mut client, "history");
        wait_until("a part of history has come in", || records(&mut client, "history") > before);
        rustix::process::kill_process(process.working_soon(), rustix::process::Signal::KILL).unwrap();
        process.ready_again(life);
    }
    assert_eq!(bringing.end(), Some(0), "{}", folder.read("client.err"));
    process.drain();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&events));
    published.is_replayed_from(&folder, &["history"]);
}

#[test]
fn a_pause_holds_the_client_and_cancel_is_refused() {
    let folder = folder("");
    let mut rng = Rng::new(2);
    let any = |_| Event::any(&mut rng, "u".into(), PAST_MS, 9_000_000, None);
    let events: Vec<Event> = (0..9000).map(any).collect();
    write(&folder, &events);
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    let mut bringing =
        Bringing::start(&folder, address, &["history"], &["--rate", "9000", "--share", "100", "--name", "old"]);
    let mut client = Client::new(address);
    wait_until("a part of history has come in", || records(&mut client, "old") > 0);
    let paused = backfill(&folder, address, &["pause"]);
    assert_eq!(paused.code(), 0, "{}", paused.stderr());
    assert!(paused.stdout().contains("paused"), "{}", paused.stdout());
    let at = records(&mut client, "old");
    // The client has asked again by then.
    sleep(Duration::from_millis(1500));
    assert!(at < 9001 && records(&mut client, "old") == at && !bringing.has_ended());
    let cancelled = backfill(&folder, address, &["cancel", "--name", "old"]);
    assert!(cancelled.code() == 1 && cancelled.said().contains("cannot be taken back"), "{}", cancelled.stderr());
    // The pause is durable.
    process.kill();
    bringing.kill();
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    assert_eq!(report(&mut client, "old").unwrap()["state"], "paused");
    let bringing = Bringing::start(&folder, address, &["history"], &["--name", "old"]);
    let resumed = backfill(&folder, address, &["resume", "--name", "old"]);
    assert_eq!(resumed.code(), 0, "{}", resumed.stderr());
    assert_eq!(bringing.end(), Some(0), "{}", folder.read("client.err"));
    let status = backfill(&folder, address, &["status"]);
    assert!(
        status.stdout().contains("backfill old of `collector`: done, 100 %, 9,001 of 9,001 records"),
        "{}",
        status.stdout()
    );
    let status = folder.headwater(["status", "--url", &format!("http://{address}")]);
    assert!(status.stdout().contains("backfill old of"), "{}", status.stdout());
    let metrics = backfill(&folder, address, &["pause"]);
    assert!(metrics.code() == 2 && metrics.said().contains("no backfill is open"), "{}", metrics.stderr());
    process.drain();
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions(&events));
}

#[test]
fn a_range_of_times_comes_in_and_the_rest_later() {
    let folder = folder("");
    let mut rng = Rng::new(3);
    let any = |_| Event::any(&mut rng, "u".into(), PAST_MS, 900_000, None);
    let events: Vec<Event> = (0..3000).map(any).collect();
    write(&folder, &events);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let middle = PAST_MS + 400_000;
    let to = middle.to_string();
    let run = backfill(&folder, address, &["history", "--name", "first", "--to", &to, "--json"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let before: Vec<&Event> = events.iter().filter(|event| event.time < middle).collect();
    let report: Value = serde_json::from_str(&run.stdout()).unwrap();
    // A record that cannot be read is in every range.
    assert_eq!(report["records"], before.len() + 1, "{report}");
    let run = backfill(&folder, address, &["history", "--name", "second", "--from", &to]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    process.drain();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&events));
    assert_eq!(published.rows(Collection::DEAD_LETTERS).len(), 2);
}

/// Of history an action leaves decisions out, or only says what it would have done; as its `replay` says.
#[test]
fn actions_take_history_as_they_say() {
    let action = |replay: &str| {
        format!("[[action]]\nname = \"{replay}\"\non = \"events\"\ndo = \"count\"\nreplay = \"{replay}\"\n")
    };
    let actions = ["skip", "shadow", "fire"].map(action).concat();
    let folder = Folder::new();
    folder.write("run.toml", run_toml("", &format!("{MEANING}{actions}")));
    let event = |number: i64| Event {
        user: "u".into(),
        time: PAST_MS + number * 1000,
        id: None,
        price: None,
        page: Some(number as u64),
    };
    folder.write("history.jsonl", lines(&(0..5).map(event).collect::<Vec<_>>()));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    assert_eq!(client.post(&lines(&[event(100), event(101)])), Outcome::Acknowledged);
    let run = backfill(&folder, address, &["history.jsonl"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    client.published();
    process.drain();
    let decisions = Published::read(&folder.path("data")).rows(Collection::ACTIONS);
    let of = |action: &str, verdict: &str| {
        decisions.iter().filter(|row| row["action"] == action && row["decision"] == verdict).count()
    };
    let counts = ["skip", "shadow", "fire"].map(|action| (of(action, "counted"), of(action, "would_have_fired")));
    assert_eq!(counts, [(2, 0), (2, 5), (7, 0)], "{decisions:?}");
}

/// What came in by a backfill lands as other events do, and replays as its files do.
#[test]
fn history_lands() {
    let folder = Folder::new();
    let landing = "[landing]\nvisible_every = \"100ms\"\n";
    folder.write("run.toml", run_toml("", &format!("{landing}{MEANING}")));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"history\"\n{MEANING}"));
    let mut rng = Rng::new(4);
    let any = |number: u64| Event::any(&mut rng, "u".into(), PAST_MS, 900_000, Some((number / 2).to_string()));
    let events: Vec<Event> = (0..3000).map(any).collect();
    write(&folder, &events);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let run = backfill(&folder, address, &["history"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let mut client = Client::new(address);
    wait_until("all has landed", || client.get_json("/v1/status").unwrap().1["landing"]["lag_ticks"] == 0);
    process.drain();
    let of_files = folder.replay("replay.toml", [""; 0]);
    let of_landing = folder.replay("run.toml", ["--landing"]);
    assert_eq!(of_files.sessions, of_landing.sessions);
    assert_eq!(of_files.counts, of_landing.counts);
    assert_eq!(of_files.number("dead_letters"), of_landing.number("dead_letters"));
}
