//! The gate: the only listener of a host for other hosts. Makes handshakes in parallel, each with a deadline, and admits
//! the connections that are due. Anything else is closed, and cannot disturb the hosts that work.

use super::greet::{self, GreetError, Hello, Purpose, Terms};
use super::sealed::Sealed;
use crate::error::Error;
use crate::plan::HostsPlan;
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections in a handshake. When one more comes, the oldest is closed: so silent clients keep no host out.
const HALF_OPEN: usize = 16;
/// Time between two log lines about connections that were not admitted.
const QUIET: Duration = Duration::from_secs(1);

/// Which connections are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// This host leads generation `epoch`, and waits for the links of all others.
    Gathers { epoch: u64 },
    /// This host waits to hear of a generation.
    Waits,
    /// The hosts of this generation connect to each other.
    Joins { epoch: u64, round: u64 },
    /// They are connected.
    Runs { epoch: u64, round: u64 },
}

/// An open gate. It stays open until the process ends.
pub struct Gate {
    shared: Arc<Shared>,
    pub arrivals: Receiver<(Hello, Sealed)>,
}

struct Shared {
    hosts: Arc<HostsPlan>,
    stage: Mutex<Stage>,
    half_open: Mutex<HalfOpen>,
    /// When the last log line was written, and the number of those left out since.
    said: Mutex<(Option<Instant>, u64)>,
}

/// The connections in a handshake, oldest first.
#[derive(Default)]
struct HalfOpen {
    next: u64,
    all: VecDeque<(u64, TcpStream)>,
}

impl Gate {
    /// Listens at the own address of this host.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn open(hosts: &Arc<HostsPlan>) -> Result<Gate, Error> {
        let address = &hosts.addresses[hosts.own];
        let failed = || Error::run(format!("listen on {address} for the other hosts"));
        let stage = if hosts.own == 0 { Stage::Gathers { epoch: 0 } } else { Stage::Waits };
        let shared = Arc::new(Shared {
            hosts: Arc::clone(hosts),
            stage: Mutex::new(stage),
            half_open: Mutex::default(),
            said: Mutex::default(),
        });
        let (to, arrivals) = channel();
        let addresses: Vec<_> = address.to_socket_addrs().map_err(failed())?.collect();
        let listener = TcpListener::bind(&addresses[..]).map_err(failed())?;
        let of_thread = Arc::clone(&shared);
        let accepting = thread::Builder::new().name("gate".into());
        accepting.spawn(move || of_thread.accept(&listener, &to)).map_err(failed())?;
        Ok(Gate { shared, arrivals })
    }

    /// Says which connections are due from now on. Connections that were due before may still arrive.
    pub fn enter(&self, stage: Stage) {
        *lock(&self.shared.stage) = stage;
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener, to: &Sender<(Hello, Sealed)>) {
        loop {
            let Ok((tcp, from)) = listener.accept() else {
                // There are no file descriptors, say.
                thread::sleep(Duration::from_millis(50));
                continue;
            };
            let Ok(number) = lock(&self.half_open).add(&tcp) else { continue };
            let (shared, to) = (Arc::clone(self), to.clone());
            let greeting = thread::Builder::new().name("greet".into()).stack_size(256 << 10).spawn(move || {
                let greeted = greet::answer(tcp, &shared.hosts.key, |theirs| shared.admit(theirs));
                lock(&shared.half_open).remove(number);
                match greeted {
                    // It is not taken if this process ends.
                    Ok(arrival) => drop(to.send(arrival)),
                    Err(error) => shared.say(&from.to_string(), &error),
                }
            });
            if greeting.is_err() {
                lock(&self.half_open).remove(number);
            }
        }
    }

    /// Returns what this host says of itself to the other, why it refuses the connection, and the name of the other.
    fn admit(&self, theirs: &Hello) -> (Hello, Option<String>, String) {
        let stage = *lock(&self.stage);
        let hosts = &self.hosts;
        let epochs = |epoch: u64, round: u64| {
            let (own, other) = (format!("{epoch}.{round}"), format!("{}.{}", theirs.epoch, theirs.round));
            (other != own).then(|| format!("generation {other} of the run is over: this host is in {own}"))
        };
        let (refused, epoch, round) = match (stage, theirs.purpose) {
            (Stage::Gathers { epoch }, Purpose::Link) => (None, epoch, 0),
            (Stage::Gathers { epoch }, _) => (Some("this host still waits for others".into()), epoch, 0),
            (Stage::Waits, Purpose::Link) => (Some("this host does not lead".into()), 0, 0),
            (Stage::Waits, _) => (Some("this host has not heard of the generation yet".into()), 0, 0),
            (Stage::Joins { epoch, round }, Purpose::Link) => {
                (Some("the hosts connect to each other just now".into()), epoch, round)
            }
            (Stage::Joins { epoch, round }, _) => (epochs(epoch, round), epoch, round),
            (Stage::Runs { epoch, round }, _) => {
                (Some(format!("the hosts work, and host {} among them", theirs.from + 1)), epoch, round)
            }
        };
        let own =
            Hello { purpose: theirs.purpose, from: hosts.own, to: theirs.from, terms: Terms::of(hosts), epoch, round };
        (own, refused, hosts.name(theirs.from))
    }

    /// Logs why a connection was not admitted, at most once a second.
    fn say(&self, from: &str, error: &GreetError) {
        let mut said = lock(&self.said);
        if said.0.is_some_and(|last| last.elapsed() < QUIET) {
            said.1 += 1;
            return;
        }
        let others = std::mem::take(&mut said.1);
        said.0 = Some(Instant::now());
        drop(said);
        match error {
            GreetError::Later(_) => tracing::debug!(from, %error, others, "a host has to wait"),
            // Probes of a load balancer do that all the time.
            GreetError::Io(closed) if closed.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::debug!(from, others, "a connection was closed before it has said anything");
            }
            _ => tracing::warn!(from, %error, others, "a connection was refused"),
        }
    }
}

impl HalfOpen {
    fn add(&mut self, tcp: &TcpStream) -> io::Result<u64> {
        let handle = tcp.try_clone()?;
        if self.all.len() >= HALF_OPEN
            && let Some((_, oldest)) = self.all.pop_front()
        {
            // Its thread ends by itself.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        self.next += 1;
        self.all.push_back((self.next, handle));
        Ok(self.next)
    }

    fn remove(&mut self, number: u64) {
        self.all.retain(|(other, _)| *other != number);
    }
}

/// A thread that panics ends the process, so nothing half done is seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
