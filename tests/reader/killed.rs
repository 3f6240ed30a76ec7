//! The real server, killed again and again while it is read.

use super::history::{Rows, apply};
use crate::headwater::{Folder, own_address};
use crate::patience::PATIENCE;
use headwater_client::{ClientError, Query, Subscription, peek, post};
use headwater_log::vfs::model::Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A process that looks after one that works, on a port that stays the same.
struct Running {
    url: String,
    child: Child,
}

impl Running {
    fn start(folder: &Folder) -> Running {
        folder.write("run.toml", "[[source]]\nname = \"collector\"\nkind = \"http\"\n[sessions]\ngap = \"2s\"\n");
        let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.args(["run", "run.toml", "--data-dir", "data", "--workers", "2", "--listen", &address.to_string()]);
        command.current_dir(folder.path("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running { url: format!("http://{address}"), child: command.spawn().unwrap() }
    }

    /// The one that works, if there is one just now.
    fn working(&self) -> Option<Pid> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    }

    /// Posts events until the server takes them. Returns the ingest token.
    fn post(&self, events: &str) -> String {
        let began = Instant::now();
        loop {
            match post(&self.url, None, None, events.as_bytes()) {
                Ok(receipt) => return receipt.token,
                Err(error) => assert!(error.may_succeed_later(), "{error:?}"),
            }
            assert!(began.elapsed() < PATIENCE, "no process takes events");
            sleep(Duration::from_millis(10));
        }
    }

    fn rows(&self, query: &Query) -> Rows {
        let began = Instant::now();
        loop {
            match peek(&self.url, None, "sessions", query) {
                Ok(page) => return page.rows.into_iter().map(|row| (row.json().to_owned(), 1)).collect(),
                Err(ClientError::Refused { status: Some(503), .. } | ClientError::Unreachable { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
            assert!(began.elapsed() < PATIENCE);
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let working = self.working();
        let _gone = self.child.kill();
        if let Some(working) = working {
            let _gone = kill_process(working, Signal::KILL);
        }
        let _gone = self.child.wait();
    }
}

/// Late events reopen, merge and extend sessions, so rows come and go.
fn events(rng: &mut Rng) -> String {
    let event = |_| {
        let (user, time) = (rng.below(20), 1_700_000_000 + rng.below(300));
        json!({ "user_id": format!("u{user}"), "timestamp": time, "event_type": "view" }).to_string() + "\n"
    };
    (0..20).map(event).collect()
}

/// Keeps a replica until it has read the tick that `until` names. Returns its rows, and how often it began again.
fn follow(url: String, until: &Receiver<u64>) -> (Rows, usize) {
    let wanted = Subscription::builder(url, "sessions").heartbeat(Duration::from_millis(200));
    let mut subscription = wanted.back_off(Duration::from_millis(5), Duration::from_millis(50)).build().unwrap();
    let (mut rows, mut resets, mut last) = (Rows::new(), 0, None);
    loop {
        let batch = subscription.next_batch().unwrap().unwrap();
        if batch.reset {
            rows.clear();
            resets += 1;
        }
        apply(&mut rows, &batch.updates);
        assert!(rows.values().all(|times| *times == 1), "before {}: {rows:?}", batch.upper);
        last = last.or_else(|| until.try_recv().ok());
        if last.is_some_and(|last| batch.upper > last) {
            return (rows, resets);
        }
    }
}

#[test]
fn a_replica_outlives_its_server() {
    let folder = Folder::new();
    let server = Running::start(&folder);
    let mut rng = Rng::new(11);
    server.post(&events(&mut rng));
    let (done, until) = channel();
    let url = server.url.clone();
    let follower = std::thread::spawn(move || follow(url, &until));
    let mut kills = 0;
    let mut token = String::new();
    for _ in 0..60 {
        token = server.post(&events(&mut rng));
        if rng.below(8) == 0
            && let Some(working) = server.working()
        {
            kill_process(working, Signal::KILL).unwrap();
            kills += 1;
            // Five failures within a minute would be given up.
            if kills == 4 {
                break;
            }
        }
    }
    for _ in 0..10 {
        token = server.post(&events(&mut rng));
    }
    let query = Query { wait_for: Some(token), limit: Some(10_000), ..Query::default() };
    let truth = server.rows(&query);
    let upper = peek(&server.url, None, "sessions", &Query { limit: Some(1), ..Query::default() }).unwrap().as_of;
    done.send(upper).unwrap();
    let (rows, resets) = follower.join().unwrap();
    assert_eq!((rows.len(), resets), (truth.len(), 1));
    assert_eq!(rows, truth);
    assert!(kills > 1, "it was killed {kills} times");

    // A client that begins now has the same.
    let run = folder.headwater(["peek", "sessions", "--url", &server.url]);
    let printed: Rows = run.stdout().lines().map(|line| (line.to_owned(), 1)).collect();
    assert_eq!(printed, truth);
}
