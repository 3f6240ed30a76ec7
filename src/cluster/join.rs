//! How the hosts of a run come together. The first host leads; any of them may start first.
//!
//! ```text
//! host 1                                host 2, 3 …
//! Gathers: waits for all links    ◀──── Link                    Waits: to hear of the generation
//! the generation: epoch, round    ────▶
//! Joins: waits for all of them    ◀──── Files, Mesh ──▶ lower hosts; Mesh ◀── higher hosts    Joins
//! Runs                                                                                         Runs
//! ```
//! If a host goes away before all are connected, all begin again at the top, in a new round. Later, a host that loses
//! another one ends its process, and its supervisor starts it again: then the epoch is a new one.

use super::gate::{Gate, Stage};
use super::greet::{self, GreetError, Hello, Purpose, Terms};
use super::sealed::Sealed;
use super::socket::Socket;
use crate::error::Error;
use crate::plan::HostsPlan;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the hosts may take to connect to each other, once all are there.
const JOINING: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take.
const CONNECTING: Duration = Duration::from_secs(1);
/// Time between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// Time between two log lines that say for whom a host waits. The first one comes sooner.
const REMIND: Duration = Duration::from_secs(10);
const REMIND_FIRST: Duration = Duration::from_secs(1);

/// The sockets of this process to the other processes of its run, by process. There is none to itself.
pub struct Joined {
    pub process: usize,
    /// For the records and the progress of timely.
    pub mesh: Vec<Option<Socket>>,
    /// For the messages of ports: between process 0 and each other one.
    pub links: Vec<Option<Socket>>,
    /// For reading files of process 0. None on one host, where all processes see the same files.
    pub files: Vec<Option<Sealed>>,
    /// The other hosts are refused there while this process works.
    pub gate: Option<Gate>,
}

impl From<super::mesh::Sockets> for Joined {
    fn from(sockets: super::mesh::Sockets) -> Joined {
        let all = |streams: Vec<Option<_>>| streams.into_iter().map(|stream| stream.map(Socket::Pair)).collect();
        let (mesh, links) = (all(sockets.mesh), all(sockets.links));
        Joined { process: sockets.process, mesh, links, files: Vec::new(), gate: None }
    }
}

impl Joined {
    /// Makes the connections that this process cannot work without end it when they end.
    fn vital(self) -> Joined {
        let sealed = |socket: &Option<Socket>| {
            if let Some(Socket::Sealed(sealed)) = socket {
                sealed.make_vital();
            }
        };
        self.mesh.iter().chain(&self.links).for_each(sealed);
        // The host that leads finds out by the link.
        if self.process > 0 {
            self.files.iter().flatten().for_each(Sealed::make_vital);
        }
        self
    }
}

/// Leads: waits until all other hosts are there, however long it takes, and connected.
///
/// # Errors
/// If the gate has closed.
pub fn lead(hosts: &Arc<HostsPlan>, gate: Gate, epoch: u64) -> Result<Joined, Error> {
    let others = 1..hosts.addresses.len();
    for round in 1.. {
        gate.enter(Stage::Gathers { epoch });
        let links = gather(hosts, &gate)?;
        gate.enter(Stage::Joins { epoch, round });
        let told = links.iter().flatten().try_for_each(|link| tell_generation(link.clone(), epoch, round));
        let wanted = others.clone().flat_map(|host| [(host, Purpose::Mesh), (host, Purpose::Files)]).collect();
        let joined = told.map_err(GreetError::from).and_then(|()| collect(hosts, &gate, wanted, (epoch, round)));
        match joined {
            Ok(mut arrived) => {
                gate.enter(Stage::Runs { epoch, round });
                let mut of = |purpose| by_place(hosts, &mut arrived, purpose);
                let mesh = sockets(of(Purpose::Mesh));
                let files = of(Purpose::Files);
                tracing::info!(epoch, hosts = hosts.addresses.len(), "all hosts are connected");
                return Ok(Joined { process: 0, mesh, links: sockets(links), files, gate: Some(gate) }.vital());
            }
            Err(error) => tracing::warn!(%error, epoch, round, "the hosts could not connect to each other: again"),
        }
    }
    unreachable!("rounds have no end")
}

/// Follows: waits until the host that leads is there, and all are connected.
///
/// # Errors
/// If the gate has closed.
pub fn follow(hosts: &Arc<HostsPlan>, gate: Gate) -> Result<Joined, Error> {
    loop {
        gate.enter(Stage::Waits);
        let link = call(hosts);
        let (epoch, round) = match hear_generation(link.clone()) {
            Ok(generation) => generation,
            Err(error) => {
                tracing::debug!(%error, "the host that leads is gone before all were there");
                thread::sleep(AGAIN);
                continue;
            }
        };
        gate.enter(Stage::Joins { epoch, round });
        match join(hosts, &gate, (epoch, round)) {
            Ok((mesh, files)) => {
                gate.enter(Stage::Runs { epoch, round });
                let (mut links, mut all_files) = (none(hosts), none(hosts));
                links[0] = Some(Socket::Sealed(link));
                all_files[0] = Some(files);
                tracing::info!(epoch, hosts = hosts.addresses.len(), "all hosts are connected");
                let gate = Some(gate);
                return Ok(Joined { process: hosts.own, mesh, links, files: all_files, gate }.vital());
            }
            Err(error) => tracing::warn!(%error, epoch, round, "the hosts could not connect to each other: again"),
        }
    }
}

/// Waits for the links of all other hosts.
fn gather(hosts: &Arc<HostsPlan>, gate: &Gate) -> Result<Vec<Option<Sealed>>, Error> {
    let mut links: Vec<Option<Sealed>> = none(hosts);
    let mut reminder = Reminder::new();
    loop {
        let missing: Vec<usize> = (1..links.len()).filter(|host| links[*host].is_none()).collect();
        if missing.is_empty() {
            return Ok(links);
        }
        reminder.remind(|| {
            let missing: Vec<String> = missing.iter().map(|host| hosts.name(*host)).collect();
            tracing::info!(missing = missing.join(", "), "waiting for other hosts");
        });
        // Anything else is of an earlier round.
        if let Some((Hello { purpose: Purpose::Link, from, .. }, link)) = arrival(gate, AGAIN)?
            && links[from].replace(link).is_some_and(|before| !before.is_broken())
        {
            tracing::warn!(host = hosts.name(from), "the host has connected again: only one may say this --host");
        }
        for link in &mut links {
            if link.as_ref().is_some_and(Sealed::is_broken) {
                *link = None;
            }
        }
    }
}

/// Waits for these connections of a generation.
fn collect(
    hosts: &HostsPlan,
    gate: &Gate,
    mut wanted: Vec<(usize, Purpose)>,
    (epoch, round): (u64, u64),
) -> Result<Vec<(usize, Purpose, Sealed)>, GreetError> {
    let deadline = Instant::now() + JOINING;
    let mut arrived = Vec::new();
    while !wanted.is_empty() {
        if Instant::now() > deadline {
            let mut missing: Vec<usize> = wanted.iter().map(|(host, _)| *host).collect();
            missing.dedup();
            let missing: Vec<String> = missing.into_iter().map(|host| hosts.name(host)).collect();
            return Err(GreetError::Later(format!("no connection from {}", missing.join(", "))));
        }
        let Some((hello, sealed)) = arrival(gate, AGAIN).map_err(io::Error::other)? else { continue };
        let found = wanted.iter().position(|wanted| *wanted == (hello.from, hello.purpose));
        if let Some(at) = found.filter(|_| (hello.epoch, hello.round) == (epoch, round)) {
            wanted.remove(at);
            arrived.push((hello.from, hello.purpose, sealed));
        }
    }
    Ok(arrived)
}

fn arrival(gate: &Gate, patience: Duration) -> Result<Option<(Hello, Sealed)>, Error> {
    use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
    match gate.arrivals.recv_timeout(patience) {
        Ok(arrival) => Ok(Some(arrival)),
        Err(Timeout) => Ok(None),
        Err(Disconnected) => Err(Error::run("listen for the other hosts")("the listener has ended")),
    }
}

/// Returns the connections of this purpose, by place.
fn by_place(hosts: &HostsPlan, arrived: &mut Vec<(usize, Purpose, Sealed)>, purpose: Purpose) -> Vec<Option<Sealed>> {
    let mut all = none(hosts);
    for (host, _, sealed) in arrived.extract_if(.., |(_, of, _)| *of == purpose) {
        all[host] = Some(sealed);
    }
    all
}

/// Returns a place for each host.
fn none<T>(hosts: &HostsPlan) -> Vec<Option<T>> {
    hosts.addresses.iter().map(|_| None).collect()
}

fn sockets(sealed: Vec<Option<Sealed>>) -> Vec<Option<Socket>> {
    sealed.into_iter().map(|sealed| sealed.map(Socket::Sealed)).collect()
}

/// Calls the host that leads until it answers, however long that takes.
fn call(hosts: &Arc<HostsPlan>) -> Sealed {
    let mut reminder = Reminder::new();
    let mut mistake = String::new();
    loop {
        let error = match dial(hosts, 0, Purpose::Link, (0, 0)) {
            Ok(link) => return link,
            Err(error) => error,
        };
        let why = error.to_string();
        if error.is_mistake() && mistake != why {
            mistake.clone_from(&why);
            tracing::error!(host = hosts.name(0), why, "the host that leads does not work with this one");
        }
        reminder.remind(|| tracing::info!(missing = hosts.name(0), why, "waiting for the host that leads"));
        thread::sleep(AGAIN);
    }
}

/// Connects to all lower hosts, at once, and waits for the higher ones.
fn join(
    hosts: &Arc<HostsPlan>,
    gate: &Gate,
    generation: (u64, u64),
) -> Result<(Vec<Option<Socket>>, Sealed), GreetError> {
    let deadline = Instant::now() + JOINING;
    let wanted: Vec<_> = (hosts.own + 1..hosts.addresses.len()).map(|host| (host, Purpose::Mesh)).collect();
    let lower = (0..hosts.own).map(|host| (host, Purpose::Mesh)).chain([(0, Purpose::Files)]);
    let (dialled, arrived) = thread::scope(|scope| {
        let dial = |(host, purpose)| {
            scope.spawn(move || dial_until(hosts, host, purpose, generation, deadline).map(|it| (host, purpose, it)))
        };
        let dialling: Vec<_> = lower.map(dial).collect();
        let arrived = collect(hosts, gate, wanted, generation);
        let dialled = dialling.into_iter().map(|dialled| dialled.join().expect("a panic ends the process"));
        (dialled.collect::<Result<Vec<_>, _>>(), arrived)
    });
    let mut all = dialled?;
    all.extend(arrived?);
    let mesh = sockets(by_place(hosts, &mut all, Purpose::Mesh));
    let (_, _, files) = all.pop().ok_or_else(|| GreetError::Later("no connection for files".into()))?;
    Ok((mesh, files))
}

fn dial_until(
    hosts: &HostsPlan,
    to: usize,
    purpose: Purpose,
    generation: (u64, u64),
    deadline: Instant,
) -> Result<Sealed, GreetError> {
    loop {
        match dial(hosts, to, purpose, generation) {
            Err(error) if Instant::now() > deadline => {
                return Err(GreetError::Later(format!("{}: {error}", hosts.name(to))));
            }
            Err(_) => thread::sleep(AGAIN),
            sealed => return sealed,
        }
    }
}

/// Makes one attempt to connect to another host.
fn dial(hosts: &HostsPlan, to: usize, purpose: Purpose, generation: (u64, u64)) -> Result<Sealed, GreetError> {
    let (epoch, round) = generation;
    let own = Hello { purpose, from: hosts.own, to, terms: Terms::of(hosts), epoch, round };
    let mut failed = GreetError::Io(io::Error::other("its name has no address"));
    for address in hosts.addresses[to].to_socket_addrs()? {
        let sealed = TcpStream::connect_timeout(&address, CONNECTING)
            .map_err(GreetError::from)
            .and_then(|tcp| greet::dial(tcp, &hosts.key, &own, hosts.name(to)));
        match sealed {
            Ok((_, sealed)) => return Ok(sealed),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Tells another host the generation: epoch and round.
fn tell_generation(mut link: Sealed, epoch: u64, round: u64) -> io::Result<()> {
    link.write_all(&[epoch.to_le_bytes(), round.to_le_bytes()].concat())
}

fn hear_generation(mut link: Sealed) -> io::Result<(u64, u64)> {
    let (mut epoch, mut round) = ([0; 8], [0; 8]);
    link.read_exact(&mut epoch)?;
    link.read_exact(&mut round)?;
    Ok((u64::from_le_bytes(epoch), u64::from_le_bytes(round)))
}

/// When to say again for whom a host waits.
struct Reminder {
    next: Instant,
}

impl Reminder {
    fn new() -> Reminder {
        Reminder { next: Instant::now() + REMIND_FIRST }
    }

    fn remind(&mut self, say: impl FnOnce()) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + REMIND;
            say();
        }
    }
}

#[cfg(test)]
mod tests;
