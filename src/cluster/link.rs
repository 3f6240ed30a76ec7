//! A link: the messages of the ports of one process's workers, as frames on a socket to process 0.
//!
//! ```text
//! frame = length: u32, little endian, of what follows ─ version: u8 ─ message: postcard
//! ```
//! Both ends are the same program, started together, so a frame of another version is an error and never translated.

use crate::collections::Collection;
use crate::error::Error;
use crate::queue::definitions::Definitions;
use crate::queue::numbers::SourceNumber;
use crate::read::reads::Request;
use crate::worker::port::{Checkpoint, Desk, In, Line, Out, Tell};
use dataflows::Tick;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const VERSION: u8 = 1;
/// Bytes of a frame, at most. A block has at most what a worker gathers in memory, and one row more.
const FRAME_BYTES: usize = 1 << 30;
/// Bytes that are written at once, unless a message is larger.
const BUFFER_BYTES: usize = 1 << 20;
/// Rows of each state in one part of a checkpoint.
const CHECKPOINT_ROWS: usize = 1 << 14;
/// A worker says that it makes progress at most so often.
const ALIVE: Duration = Duration::from_millis(100);

/// What the workers of another process begin with. The plan they have from the same configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// Fingerprint of what is computed: two configurations that differ must not work together.
    pub program: [u8; 32],
    /// Threads of each process.
    pub threads: usize,
    /// Which log it is, and its generation.
    pub log: [u8; 16],
    pub epoch: u64,
    /// Parts of the queue.
    pub parts: u32,
    /// Of the sources of the plan.
    pub numbers: Vec<SourceNumber>,
    #[serde(with = "as_json")]
    pub definitions: Vec<(u64, Definitions)>,
    pub begins: BTreeMap<Collection, u64>,
    pub resume: Option<Resume>,
    pub memory: usize,
}

/// The snapshot to go on from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Resume {
    pub sequence: u64,
    pub tick: Tick,
    pub now_ms: i64,
    pub control: u64,
}

/// Definitions have a form on disk, which shows the kinds of their parts.
mod as_json {
    use super::Definitions;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer, ser};

    pub fn serialize<S: Serializer>(all: &[(u64, Definitions)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(all).map_err(ser::Error::custom)?)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(u64, Definitions)>, D::Error> {
        serde_json::from_str(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A message of process 0. Workers are numbered from 0 on over all processes.
#[derive(Debug, Serialize, Deserialize)]
pub enum Down {
    /// The first one.
    Begin(Begin),
    Worker(usize, In),
}

/// A message to process 0.
#[derive(Debug, Serialize, Deserialize)]
pub enum Up {
    Worker(usize, Out),
    /// The port of a worker has closed.
    Closed(usize),
    /// A part of a checkpoint; the last part is an [`Out::Checkpoint`].
    Part(usize, Checkpoint),
    /// Bytes of memory that the process has.
    Resident(u64),
}

/// Appends a frame.
///
/// # Errors
/// If it would be too large.
pub(super) fn encode(frames: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    let start = frames.len();
    frames.extend_from_slice(&[0, 0, 0, 0, VERSION]);
    *frames = postcard::to_extend(message, std::mem::take(frames)).map_err(io::Error::other)?;
    let length = frames.len() - start - 4;
    if length > FRAME_BYTES {
        return Err(io::Error::other(format!("a message of {length} bytes between processes")));
    }
    frames[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// The receiving end of a link.
pub struct Incoming<R> {
    from: BufReader<R>,
    frame: Vec<u8>,
}

impl<R: Read> Incoming<R> {
    pub fn new(from: R) -> Incoming<R> {
        Incoming { from: BufReader::with_capacity(64 << 10, from), frame: Vec::new() }
    }

    /// Returns the next message; `None` when the other end has closed between two.
    ///
    /// # Errors
    /// Those of the socket; or if these are no bytes of a message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut length = [0; 4];
        if self.from.read(&mut length[..1])? == 0 {
            return Ok(None);
        }
        self.from.read_exact(&mut length[1..])?;
        let length = u32::from_le_bytes(length) as usize;
        if !(1..=FRAME_BYTES).contains(&length) {
            return Err(invalid(format!("a message of {length} bytes between processes")));
        }
        self.frame.clear();
        // What is announced need not come: memory grows with what does.
        (&mut self.from).take(length as u64).read_to_end(&mut self.frame)?;
        if self.frame.len() != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.frame[0] != VERSION {
            let version = self.frame[0];
            return Err(invalid(format!("version {version} of messages between processes, not {VERSION}")));
        }
        postcard::from_bytes(&self.frame[1..]).map(Some).map_err(|error| invalid(error.to_string()))
    }
}

impl<R: Read> Incoming<R> {
    /// Fills the buffer with the bytes behind the last message.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(buffer)
    }
}

/// The sending end of the messages to a worker in another process.
pub struct Remote {
    pub worker: usize,
    pub to: Sender<(usize, In)>,
}

impl Tell for Remote {
    fn tell(&self, message: In) {
        // The reader of the link finds out that the other process is gone, and ends this one.
        let _ = self.to.send((self.worker, message));
    }

    fn leave(&self, message: In) {
        self.tell(message);
    }
}

/// In process 0: writes what is for the workers of one other process, until all senders are gone.
///
/// # Errors
/// Those of the socket.
pub fn write(mut to: impl Write, begin: Begin, messages: &Receiver<(usize, In)>) -> io::Result<()> {
    let mut frames = Vec::new();
    encode(&mut frames, &Down::Begin(begin))?;
    to.write_all(&frames)?;
    while let Ok(first) = messages.recv() {
        frames.clear();
        for (worker, message) in [first].into_iter().chain(messages.try_iter()) {
            encode(&mut frames, &Down::Worker(worker, message))?;
            if frames.len() > BUFFER_BYTES {
                to.write_all(&frames)?;
                frames.clear();
            }
        }
        to.write_all(&frames)?;
    }
    Ok(())
}

/// In process 0: passes on to the desk what the workers of another process say, until all their ports have closed.
///
/// # Errors
/// If the other process is gone before, or says something else; those of the desk.
pub fn read(from: impl Read, mut workers: usize, desk: &dyn Desk, resident: &mut dyn FnMut(u64)) -> Result<(), Error> {
    const FAILED: &str = "hear of another process of this run";
    let mut incoming = Incoming::new(from);
    let mut parts: BTreeMap<usize, Checkpoint> = BTreeMap::new();
    while workers > 0 {
        match incoming.receive().map_err(Error::run(FAILED))? {
            Some(Up::Worker(worker, Out::Checkpoint(last))) => {
                let whole = match parts.remove(&worker) {
                    Some(first) => first.joined(last),
                    None => last,
                };
                desk.take(worker, Out::Checkpoint(whole))?;
            }
            Some(Up::Worker(worker, out)) => desk.take(worker, out)?,
            Some(Up::Part(worker, part)) => {
                let whole = match parts.remove(&worker) {
                    Some(first) => first.joined(part),
                    None => part,
                };
                parts.insert(worker, whole);
            }
            Some(Up::Closed(worker)) => {
                desk.closed(worker);
                workers -= 1;
            }
            Some(Up::Resident(bytes)) => resident(bytes),
            None => return Err(Error::run(FAILED)("it has ended")),
        }
    }
    Ok(())
}

/// The desk of the workers of another process than 0: writes what they say to the link.
pub struct Outgoing {
    state: Mutex<State>,
}

struct State {
    to: Box<dyn Write + Send>,
    /// Frames that are not written yet.
    frames: Vec<u8>,
    /// By worker: when it last said that it makes progress.
    alive: BTreeMap<usize, Instant>,
}

impl Outgoing {
    pub fn new(to: impl Write + Send + 'static) -> Outgoing {
        Outgoing { state: Mutex::new(State { to: Box::new(to), frames: Vec::new(), alive: BTreeMap::new() }) }
    }

    /// Says how much memory this process has.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn resident(&self, bytes: u64) -> io::Result<()> {
        self.lock().send(&Up::Resident(bytes), true)
    }

    /// A thread that panics ends the process, so nothing half done is seen.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn send(&mut self, message: &Up, now: bool) -> io::Result<()> {
        encode(&mut self.frames, message)?;
        if now || self.frames.len() > BUFFER_BYTES {
            self.to.write_all(&self.frames)?;
            self.frames.clear();
        }
        Ok(())
    }
}

impl Desk for Outgoing {
    fn take(&self, worker: usize, out: Out) -> Result<(), Error> {
        let mut state = self.lock();
        let sent = match out {
            Out::Alive { rows: 0 } if state.alive.get(&worker).is_some_and(|last| last.elapsed() < ALIVE) => Ok(()),
            Out::Alive { .. } => {
                state.alive.insert(worker, Instant::now());
                state.send(&Up::Worker(worker, out), true)
            }
            // The end of the tick follows.
            Out::Block { .. } => state.send(&Up::Worker(worker, out), false),
            Out::Checkpoint(mut checkpoint) => loop {
                let Some(part) = checkpoint.split(CHECKPOINT_ROWS) else {
                    break state.send(&Up::Worker(worker, Out::Checkpoint(checkpoint)), false);
                };
                if let Err(error) = state.send(&Up::Part(worker, part), false) {
                    break Err(error);
                }
            },
            Out::Restored { .. } | Out::Done { .. } | Out::Rows { .. } => state.send(&Up::Worker(worker, out), true),
        };
        sent.map_err(Error::run("tell process 0 of this run what a worker has done"))
    }

    fn closed(&self, worker: usize) {
        // If process 0 is gone, this one is about to end.
        let _ = self.lock().send(&Up::Closed(worker), true);
    }
}

/// In another process than 0: passes on to its workers what comes for them, until process 0 closes the link.
///
/// # Errors
/// Those of the socket; or if something else comes.
pub fn pass_on(incoming: &mut Incoming<impl Read>, first: usize, lines: &[Arc<Line>]) -> io::Result<()> {
    while let Some(message) = incoming.receive()? {
        let line = match message {
            Down::Worker(worker, message) => {
                worker.checked_sub(first).and_then(|index| lines.get(index)).map(|line| (line, message))
            }
            Down::Begin(_) => None,
        };
        let (line, message) = line.ok_or_else(|| io::Error::other("this message is for another process"))?;
        match message {
            In::Ask(Request::Since(_)) => line.leave(message),
            _ => line.tell(message),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
