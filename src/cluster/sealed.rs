//! A sealed socket: a TCP connection to another host, whose bytes Noise encrypts and authenticates.
//!
//! ```text
//! record = length: u16, little endian, of what follows ─ message of Noise, of: kind: u8 ─ bytes
//! ```
//! Each direction counts its records, so that none can be left out, repeated or moved. A host that has nothing to send
//! gives a sign of life each second. A host that is silent for longer than [`SILENCE`] is gone.

use crate::ending::end;
use crate::error::EXIT_ELSEWHERE;
use snow::StatelessTransportState;
use std::fmt;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// A host that sends nothing for so long is gone, or the network to it is. Then all hosts start again.
pub const SILENCE: Duration = Duration::from_secs(5);
/// The time between two signs of life. Several may be late or lost before the silence is too long.
const BEAT: Duration = Duration::from_secs(1);
/// Bytes that Noise adds to a message.
const TAG: usize = 16;
/// Bytes of a message of Noise, at most: the length has 16 bits. So no forged length asks for more memory.
const MESSAGE: usize = u16::MAX as usize;
/// Bytes of data in a record, at most.
const DATA: usize = MESSAGE - TAG - 1;
/// Records that are written with one call.
const RECORDS: usize = 4;

/// The first byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data = 0,
    /// A sign of life, without bytes.
    Alive = 1,
    /// The last record, without bytes. A connection that ends without it was cut off.
    End = 2,
}

/// A handle to a sealed connection. It closes when all handles are dropped.
#[derive(Clone)]
pub struct Sealed(Arc<Shared>);

struct Shared {
    /// As logs show it.
    peer: String,
    tcp: TcpStream,
    noise: StatelessTransportState,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    /// This process works with the other host: without the connection, it has to end.
    vital: AtomicBool,
    /// Nothing could be sent.
    broken: AtomicBool,
}

struct Incoming {
    from: BufReader<TcpStream>,
    /// Number of the next record.
    number: u64,
    message: Vec<u8>,
    /// The record that was received last: its kind, and the bytes that are not taken yet.
    plain: Vec<u8>,
    at: usize,
    end: usize,
    over: bool,
}

struct Outgoing {
    /// Number of the next record.
    number: u64,
    plain: Vec<u8>,
    records: Vec<u8>,
    sent: Instant,
    over: bool,
}

impl Sealed {
    /// Of a connection whose handshake is over. Starts its signs of life.
    ///
    /// # Errors
    /// If the system has no more threads or file descriptors.
    pub(super) fn new(peer: String, tcp: TcpStream, noise: StatelessTransportState) -> io::Result<Sealed> {
        tcp.set_write_timeout(None)?;
        tcp.set_nodelay(true)?;
        let from = BufReader::with_capacity(2 * MESSAGE, tcp.try_clone()?);
        let plain = vec![0; MESSAGE];
        let incoming = Incoming { from, number: 0, message: vec![0; MESSAGE], plain, at: 0, end: 0, over: false };
        let outgoing =
            Outgoing { number: 0, plain: Vec::new(), records: Vec::new(), sent: Instant::now(), over: false };
        let sealed = Sealed(Arc::new(Shared {
            peer,
            tcp,
            noise,
            incoming: Mutex::new(incoming),
            outgoing: Mutex::new(outgoing),
            vital: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }));
        let of_beats = Arc::downgrade(&sealed.0);
        thread::Builder::new().name("alive".into()).stack_size(256 << 10).spawn(move || beat(&of_beats))?;
        Ok(sealed)
    }

    /// Waits for a sign of life, until the socket's own time-out.
    ///
    /// # Errors
    /// If something else comes, or nothing.
    pub(super) fn first_sign(&self) -> io::Result<()> {
        match self.0.lock_incoming().receive(&self.0.noise)? {
            Kind::Alive => self.0.tcp.set_read_timeout(Some(SILENCE)),
            Kind::Data | Kind::End => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Gives a sign of life, and expects them from now on.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn give_sign(&self) -> io::Result<()> {
        self.0.tcp.set_read_timeout(Some(SILENCE))?;
        self.0.lock_outgoing().send(Kind::Alive, &[], &self.0)
    }

    /// Gives no more signs of life, though the connection stays.
    #[cfg(test)]
    pub(super) fn mute(&self) {
        self.0.lock_outgoing().over = true;
    }

    /// From now on, the process ends when the connection does before its time.
    pub fn make_vital(&self) {
        self.0.vital.store(true, Ordering::Release);
    }

    /// Returns whether a sign of life could not be sent.
    pub fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Acquire)
    }

    /// Returns the name of the other host for logs.
    pub fn peer(&self) -> &str {
        &self.0.peer
    }

    /// Ends one direction, or both. The other host sees that it was on purpose.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Read {
            let mut outgoing = self.0.lock_outgoing();
            if !outgoing.over {
                outgoing.send(Kind::End, &[], &self.0)?;
                outgoing.over = true;
            }
        }
        self.0.tcp.shutdown(how)
    }
}

/// Gives signs of life until the connection is gone.
fn beat(of: &Weak<Shared>) {
    loop {
        thread::sleep(BEAT);
        let Some(shared) = of.upgrade() else { return };
        let mut outgoing = shared.lock_outgoing();
        if outgoing.over {
            return;
        }
        if outgoing.sent.elapsed() >= BEAT / 2 && outgoing.send(Kind::Alive, &[], &shared).is_err() {
            // The thread that reads finds out why.
            shared.broken.store(true, Ordering::Release);
            return;
        }
    }
}

impl Shared {
    /// A thread that panics ends the process, so nothing half done is seen.
    fn lock_incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why the connection has ended. If it is vital, the process ends instead.
    fn lost(&self, error: io::Error) -> io::Error {
        self.broken.store(true, Ordering::Release);
        let error = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let what = format!("no sign of life for {} s", SILENCE.as_secs());
                io::Error::new(ErrorKind::TimedOut, what)
            }
            ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, "it was closed"),
            _ => error,
        };
        if self.vital.load(Ordering::Acquire) {
            tracing::error!(host = self.peer, %error, "the connection to another host is lost: this process ends");
            end(EXIT_ELSEWHERE);
        }
        error
    }
}

impl Incoming {
    /// Receives a record into `plain`.
    fn receive(&mut self, noise: &StatelessTransportState) -> io::Result<Kind> {
        let invalid = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
        let mut length = [0; 2];
        self.from.read_exact(&mut length)?;
        let length = usize::from(u16::from_le_bytes(length));
        let message = &mut self.message[..length];
        self.from.read_exact(message)?;
        let plain = noise.read_message(self.number, message, &mut self.plain);
        let plain = plain.map_err(|_| invalid("a record was not written with the key of this connection"))?;
        self.number += 1;
        let empty = plain == 1;
        match self.plain[..plain].first() {
            Some(0) => {
                (self.at, self.end) = (1, plain);
                Ok(Kind::Data)
            }
            Some(1) if empty => Ok(Kind::Alive),
            Some(2) if empty => Ok(Kind::End),
            _ => Err(invalid("a record of another version")),
        }
    }
}

impl Outgoing {
    fn send(&mut self, kind: Kind, bytes: &[u8], shared: &Shared) -> io::Result<()> {
        self.records.clear();
        self.add(kind, bytes, &shared.noise)?;
        self.write(shared)
    }

    /// Adds a record to those that are written next.
    fn add(&mut self, kind: Kind, bytes: &[u8], noise: &StatelessTransportState) -> io::Result<()> {
        self.plain.clear();
        self.plain.push(kind as u8);
        self.plain.extend_from_slice(bytes);
        let (start, length) = (self.records.len(), self.plain.len() + TAG);
        self.records.extend_from_slice(&(length as u16).to_le_bytes());
        self.records.resize(start + 2 + length, 0);
        let written = noise.write_message(self.number, &self.plain, &mut self.records[start + 2..]);
        written.map_err(io::Error::other)?;
        self.number += 1;
        Ok(())
    }

    fn write(&mut self, shared: &Shared) -> io::Result<()> {
        self.sent = Instant::now();
        (&shared.tcp).write_all(&self.records)
    }
}

impl Read for Sealed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let shared = &*self.0;
        let mut incoming = shared.lock_incoming();
        while incoming.at == incoming.end && !incoming.over && !buffer.is_empty() {
            match incoming.receive(&shared.noise).map_err(|error| shared.lost(error))? {
                Kind::Data | Kind::Alive => {}
                Kind::End => incoming.over = true,
            }
        }
        let (at, taken) = (incoming.at, buffer.len().min(incoming.end - incoming.at));
        buffer[..taken].copy_from_slice(&incoming.plain[at..at + taken]);
        incoming.at += taken;
        Ok(taken)
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shared = &*self.0;
        let mut outgoing = shared.lock_outgoing();
        if outgoing.over {
            return Err(ErrorKind::BrokenPipe.into());
        }
        outgoing.records.clear();
        let mut taken = 0;
        for data in bytes.chunks(DATA).take(RECORDS) {
            outgoing.add(Kind::Data, data, &shared.noise)?;
            taken += data.len();
        }
        outgoing.write(shared).map_err(|error| shared.lost(error))?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", self.0.peer)
    }
}
