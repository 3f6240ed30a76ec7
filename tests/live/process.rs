//! A running `headwater run`: started, watched, and stopped in every possible way.

use super::client::Client;
use crate::headwater::{Folder, own_address};
use crate::patience::{PATIENCE, eventually, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The supervisor that starts it again after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    No,
    Supervisor,
}

pub struct Process {
    child: Child,
    restart: Restart,
    /// Of the run: with several there is always a process that looks after them.
    processes: usize,
    started: Instant,
    lines: Arc<Lines>,
    reader: Option<JoinHandle<()>>,
}

/// The lines that it has written to standard error.
#[derive(Default)]
struct Lines {
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

/// The end of a process.
pub struct Ended {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stderr: String,
}

impl Process {
    /// `headwater run run.toml` in `folder`, on the data folder `data` in it.
    pub fn start(folder: &Folder, data: impl AsRef<Path>, workers: usize, restart: Restart) -> Process {
        Process::start_bounded(folder, data, workers, restart, None)
    }

    /// As [`Process::start`], with `bounds` of ticks that are smaller than always (`src/run/bounds.rs`).
    pub fn start_bounded(
        folder: &Folder,
        data: impl AsRef<Path>,
        workers: usize,
        restart: Restart,
        bounds: Option<&str>,
    ) -> Process {
        Process::start_with(folder, data, workers, restart, bounds, &[])
    }

    /// As [`Process::start_bounded`], with more arguments.
    pub fn start_with(
        folder: &Folder,
        data: impl AsRef<Path>,
        workers: usize,
        restart: Restart,
        bounds: Option<&str>,
        more: &[&str],
    ) -> Process {
        Process::start_within(&[], folder, data, workers, restart, bounds, more)
    }

    /// As [`Process::start_with`], by the command `within`, which becomes the process that it starts.
    pub fn start_within(
        within: &[&str],
        folder: &Folder,
        data: impl AsRef<Path>,
        workers: usize,
        restart: Restart,
        bounds: Option<&str>,
        more: &[&str],
    ) -> Process {
        let at = more.iter().position(|argument| *argument == "--processes");
        let processes = at.map_or(1, |at| more[at + 1].parse().unwrap());
        let mut words = within.iter().copied().chain([env!("CARGO_BIN_EXE_headwater")]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let listen = SocketAddr::new(own_address(), 0).to_string();
        command.args(["run", "run.toml", "--log-json"]).args(more);
        if !more.contains(&"--listen") {
            command.args(["--listen", &listen]);
        }
        command.arg("--data-dir").arg(folder.path(data)).args(["--workers", &workers.to_string()]);
        if restart == Restart::No {
            command.arg("--no-restart");
        }
        command.current_dir(folder.path("")).env("HEADWATER_LOG", "info,headwater::run=debug");
        command.envs(bounds.map(|bounds| ("HEADWATER_TEST_BOUNDS", bounds)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Lines::default());
        let of_reader = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                of_reader.seen.lock().unwrap().lines.push(line);
                of_reader.more.notify_all();
            }
            of_reader.seen.lock().unwrap().ended = true;
            of_reader.more.notify_all();
        });
        Process { child, restart, processes, started, lines, reader: Some(reader) }
    }

    /// Waits for the `life`-th process that works (0 is the first) to answer /readyz with 200: where it listens, and how
    /// long that took since the start.
    pub fn ready_again(&self, life: usize) -> (SocketAddr, Duration) {
        let address = self.logged("listening", life)["address"].as_str().unwrap().parse().unwrap();
        let mut client = Client::new(address);
        // Nothing can be waited for but the answer itself.
        wait_until("the process is ready", || client.get("/readyz") == Some(200) || self.seen_end());
        assert!(!self.seen_end(), "never ready:\n{}", self.stderr());
        (address, self.started.elapsed())
    }

    pub fn ready(&self) -> SocketAddr {
        self.ready_again(0).0
    }

    /// Waits for the `nth` line of the log with this message: its fields.
    pub fn logged(&self, message: &str, nth: usize) -> Value {
        let seen = self.lines.seen.lock().unwrap();
        let missing = |seen: &mut Seen| !seen.ended && logged(&seen.lines, message).nth(nth).is_none();
        let (seen, _) = self.lines.more.wait_timeout_while(seen, PATIENCE, missing).unwrap();
        let found = logged(&seen.lines, message).nth(nth);
        found.unwrap_or_else(|| panic!("no `{message}`:\n{}", seen.lines.join("\n")))
    }

    /// The process that works: this one, or the one that it looks after, if there is one just now.
    pub fn working(&self) -> Option<Pid> {
        self.working_of(0)
    }

    /// That one, or the `number`-th of several, of which 0 is the first.
    pub fn working_of(&self, number: usize) -> Option<Pid> {
        let id = self.child.id();
        if self.restart == Restart::No && self.processes == 1 {
            return Pid::from_raw(id as i32);
        }
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(children.split_whitespace().nth(number)?.parse().ok()?)
    }

    /// Waits until there is one that works.
    pub fn working_soon(&self) -> Pid {
        eventually("a process works", || self.working())
    }

    fn outer(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32).unwrap()
    }

    /// Asks it to stop, and waits until it has: it has to say that all is well.
    pub fn drain(self) -> Ended {
        self.signal(Signal::TERM);
        let ended = self.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.outer(), signal).unwrap();
    }

    /// Kills the processes that are left.
    pub fn kill(mut self) -> Ended {
        self.kill_all();
        self.end()
    }

    /// Waits until it and the one that it looks after have ended.
    pub fn end(mut self) -> Ended {
        let working = self.working();
        let began = Instant::now();
        let code = eventually("the process ends, or it is too late to say what it has said", || {
            let ended = self.child.try_wait().unwrap().map(|status| status.code());
            assert!(began.elapsed() < PATIENCE * 9 / 10, "it does not end:\n{}", self.stderr());
            ended
        });
        // Its parent's end kills it, but no process can wait for the child of another one.
        wait_until("it does not outlive its supervisor", || !working.is_some_and(is_alive));
        self.reader.take().unwrap().join().unwrap();
        Ended { code, stderr: self.stderr() }
    }

    fn seen_end(&self) -> bool {
        self.lines.seen.lock().unwrap().ended
    }

    pub fn stderr(&self) -> String {
        self.lines.seen.lock().unwrap().lines.join("\n")
    }

    fn kill_all(&mut self) {
        let working = self.working();
        let _gone = self.child.kill();
        if let Some(working) = working {
            let _gone = kill_process(working, Signal::KILL);
        }
    }
}

impl Ended {
    /// The fields of each line of the log with this message.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let lines: Vec<String> = self.stderr.lines().map(str::to_owned).collect();
        logged(&lines, message).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reader.is_some() {
            self.kill_all();
            let _gone = self.child.wait();
        }
    }
}

fn logged<'l>(lines: &'l [String], message: &'l str) -> impl Iterator<Item = Value> + 'l {
    let fields = lines.iter().filter_map(|line| Some(serde_json::from_str::<Value>(line).ok()?["fields"].take()));
    fields.filter(move |fields| fields["message"] == message)
}

/// It has neither ended nor left all but its number behind.
fn is_alive(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
}
