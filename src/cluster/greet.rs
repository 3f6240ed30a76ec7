//! The handshake of two hosts: Noise with a key that all hosts have. Each says who it is and what it works on, and both
//! compare.
//!
//! ```text
//! dials                                    answers
//! prefix ─ length ─ e, psk: Hello ───────▶                     prefix = "HWHOST" ─ version: u16
//!        ◀──────────────────────────────── prefix ─ length ─ e, ee: Answer
//! a sign of life ────────────────────────▶                     so a repeated first message opens nothing
//! ```
//! A length of 0 as the answer: the first message was not written with this key.

use super::sealed::Sealed;
use crate::fingerprint::hex;
use crate::plan::HostsPlan;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use snow::{Builder, HandshakeState};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a handshake may take, at most. A host that is silent during it holds a place for no longer.
pub const DEADLINE: Duration = Duration::from_secs(2);
/// NNpsk0: each process that has the key is a host, and each connection has keys of its own.
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const NAME: &[u8; 6] = b"HWHOST";
/// Of everything that hosts say to each other. Hosts of different versions do not work together.
const VERSION: u16 = 1;
/// Bytes of a message of a handshake, at most.
const MESSAGE: usize = 2048;

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// Messages of ports, to the host that leads.
    Link,
    /// Records and progress of timely.
    Mesh,
    /// Reading files of the host that leads.
    Files,
}

/// What a host says of itself. Both sides send one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub purpose: Purpose,
    /// The place of the sender in the file of hosts, from 0 on, and the place at which it looks for the other.
    pub from: usize,
    pub to: usize,
    pub terms: Terms,
    /// The generation that the sender works on, and the number of its attempt to start; 0 before it has heard of one.
    pub epoch: u64,
    pub round: u64,
}

/// What has to be equal at all hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub release: String,
    pub hosts: usize,
    /// Fingerprint of the file of hosts.
    pub list: [u8; 32],
    /// Worker threads of each host.
    pub workers: usize,
    /// Fingerprint of the configuration.
    pub program: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    hello: Hello,
    /// Why the connection is not used.
    refused: Option<String>,
}

/// Why two hosts do not come together.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no host of headwater")]
    Foreign,
    #[error(
        "version {theirs} of messages between hosts there, {} here: install the same release on all hosts",
        VERSION
    )]
    Version { theirs: u16 },
    #[error("it does not have the same key: give all hosts the same key file")]
    Key,
    /// Something that has to be equal is not.
    #[error("{0}")]
    Differs(String),
    /// It is not the time for this.
    #[error("{0}")]
    Later(String),
}

impl GreetError {
    /// Returns whether an operator has to correct something.
    pub fn is_mistake(&self) -> bool {
        matches!(self, GreetError::Version { .. } | GreetError::Key | GreetError::Differs(_))
    }
}

impl Terms {
    /// Those of this host.
    pub fn of(hosts: &HostsPlan) -> Terms {
        Terms {
            release: env!("CARGO_PKG_VERSION").into(),
            hosts: hosts.addresses.len(),
            list: hosts.list,
            workers: hosts.workers,
            program: hosts.program,
        }
    }

    /// Returns what differs, with both values.
    fn difference(&self, theirs: &Terms) -> Option<String> {
        let Terms { release, hosts, list, workers, program } = self;
        let short = |fingerprint: &[u8; 32]| hex(fingerprint)[..12].to_owned();
        let differs = |what: &str, here: &dyn fmt::Display, there: &dyn fmt::Display, help: &str| {
            Some(format!("{what}: {here} here, {there} there: {help}"))
        };
        if *release != theirs.release {
            differs("the release differs", release, &theirs.release, "install the same on all hosts")
        } else if *hosts != theirs.hosts {
            differs("the number of hosts differs", hosts, &theirs.hosts, "give all hosts the same file of hosts")
        } else if *list != theirs.list {
            let (here, there) = (short(list), short(&theirs.list));
            differs("the fingerprint of the hosts differs", &here, &there, "give all hosts the same file of hosts")
        } else if *workers != theirs.workers {
            differs("the number of workers differs", workers, &theirs.workers, "give all hosts the same --workers")
        } else if *program != theirs.program {
            let (here, there) = (short(program), short(&theirs.program));
            let help = "give all hosts the same configuration";
            differs("the fingerprint of the configuration differs", &here, &there, help)
        } else {
            None
        }
    }
}

impl Hello {
    /// Compares with what the other side says. `from` of this side is its own place.
    fn compare(&self, theirs: &Hello) -> Result<(), GreetError> {
        if let Some(what) = self.terms.difference(&theirs.terms) {
            return Err(GreetError::Differs(what));
        }
        let place = |place: usize| place + 1;
        if theirs.from == self.from || theirs.from >= self.terms.hosts {
            let what = format!("it says that it is host {}: say another --host there", place(theirs.from));
            return Err(GreetError::Differs(what));
        }
        if theirs.to != self.from {
            let (to, own) = (place(theirs.to), place(self.from));
            let what = format!("it looks for host {to} at this address, and this is host {own}: correct --host");
            return Err(GreetError::Differs(what));
        }
        Ok(())
    }
}

/// Makes the handshake with the host that was dialled. Returns what it says, and the sealed connection.
///
/// # Errors
/// Why they do not come together. Nothing has been agreed then.
pub fn dial(mut tcp: TcpStream, key: &[u8; 32], own: &Hello, peer: String) -> Result<(Hello, Sealed), GreetError> {
    let deadline = Instant::now() + DEADLINE;
    let prologue = prefix();
    let noise = Builder::new(pattern()).psk(0, key).and_then(|builder| builder.prologue(&prologue));
    let mut noise = noise.and_then(Builder::build_initiator).map_err(io::Error::other)?;
    let mut first = prefix().to_vec();
    add(&mut first, &mut noise, own)?;
    tcp.write_all(&first)?;
    read_prefix(&mut tcp, deadline)?;
    let message = read_message(&mut tcp, deadline)?;
    if message.is_empty() {
        return Err(GreetError::Key);
    }
    let Answer { hello, refused } = open(&mut noise, &message)?;
    own.compare(&hello)?;
    if hello.from != own.to {
        let what = format!("it is host {}, not host {}: correct the file of hosts", hello.from + 1, own.to + 1);
        return Err(GreetError::Differs(what));
    }
    if let Some(why) = refused {
        return Err(GreetError::Later(why));
    }
    let noise = noise.into_stateless_transport_mode().map_err(io::Error::other)?;
    let sealed = Sealed::new(peer, tcp, noise)?;
    sealed.give_sign()?;
    Ok((hello, sealed))
}

/// Makes the handshake with a host that has dialled. `admit` says what this side says of itself, and whether it can use
/// the connection now.
///
/// # Errors
/// As [`dial`].
pub fn answer(
    mut tcp: TcpStream,
    key: &[u8; 32],
    admit: impl FnOnce(&Hello) -> (Hello, Option<String>, String),
) -> Result<(Hello, Sealed), GreetError> {
    let deadline = Instant::now() + DEADLINE;
    if let Err(error) = read_prefix(&mut tcp, deadline) {
        if matches!(error, GreetError::Version { .. }) {
            // The other side says the same of this one.
            let _ = tcp.write_all(&prefix());
        }
        return Err(error);
    }
    let prologue = prefix();
    let noise = Builder::new(pattern()).psk(0, key).and_then(|builder| builder.prologue(&prologue));
    let mut noise = noise.and_then(Builder::build_responder).map_err(io::Error::other)?;
    let message = read_message(&mut tcp, deadline)?;
    let theirs: Hello = open(&mut noise, &message).inspect_err(|error| {
        if matches!(error, GreetError::Key) {
            let _ = tcp.write_all(&[&prefix()[..], &[0, 0]].concat());
        }
    })?;
    let (own, refused, peer) = admit(&theirs);
    let mut reply = prefix().to_vec();
    add(&mut reply, &mut noise, &Answer { hello: own.clone(), refused: refused.clone() })?;
    tcp.write_all(&reply)?;
    own.compare(&theirs)?;
    if let Some(why) = refused {
        return Err(GreetError::Later(why));
    }
    let noise = noise.into_stateless_transport_mode().map_err(io::Error::other)?;
    patience(&tcp, deadline)?;
    let sealed = Sealed::new(peer, tcp, noise)?;
    sealed.first_sign()?;
    Ok((theirs, sealed))
}

fn pattern() -> snow::params::NoiseParams {
    PATTERN.parse().expect("it is a name of Noise")
}

fn prefix() -> [u8; 8] {
    let [low, high] = VERSION.to_le_bytes();
    let [a, b, c, d, e, f] = *NAME;
    [a, b, c, d, e, f, low, high]
}

/// Adds a message of the handshake, with its length.
fn add(to: &mut Vec<u8>, noise: &mut HandshakeState, payload: &impl Serialize) -> Result<(), GreetError> {
    let payload = postcard::to_allocvec(payload).map_err(io::Error::other)?;
    let mut message = [0; MESSAGE];
    let length = noise.write_message(&payload, &mut message).map_err(io::Error::other)?;
    to.extend_from_slice(&(length as u16).to_le_bytes());
    to.extend_from_slice(&message[..length]);
    Ok(())
}

fn open<T: DeserializeOwned>(noise: &mut HandshakeState, message: &[u8]) -> Result<T, GreetError> {
    let mut payload = [0; MESSAGE];
    let length = noise.read_message(message, &mut payload).map_err(|_| GreetError::Key)?;
    postcard::from_bytes(&payload[..length]).map_err(|_| GreetError::Foreign)
}

fn read_prefix(tcp: &mut TcpStream, deadline: Instant) -> Result<(), GreetError> {
    let mut bytes = [0; 8];
    read_by(tcp, &mut bytes, deadline)?;
    let theirs = u16::from_le_bytes([bytes[6], bytes[7]]);
    match bytes.starts_with(NAME) {
        false => Err(GreetError::Foreign),
        true if theirs != VERSION => Err(GreetError::Version { theirs }),
        true => Ok(()),
    }
}

fn read_message(tcp: &mut TcpStream, deadline: Instant) -> Result<Vec<u8>, GreetError> {
    let mut length = [0; 2];
    read_by(tcp, &mut length, deadline)?;
    let length = usize::from(u16::from_le_bytes(length));
    if length > MESSAGE {
        return Err(GreetError::Foreign);
    }
    let mut message = vec![0; length];
    read_by(tcp, &mut message, deadline)?;
    Ok(message)
}

/// Fills the buffer before the deadline, however slowly the bytes come.
fn read_by(tcp: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        patience(tcp, deadline)?;
        match tcp.read(&mut buffer[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(too_slow()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets reads wait until the deadline.
fn patience(tcp: &TcpStream, deadline: Instant) -> io::Result<()> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(too_slow()),
        left => tcp.set_read_timeout(Some(left)),
    }
}

fn too_slow() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("it has not said who it is within {} s", DEADLINE.as_secs()))
}

#[cfg(test)]
pub(crate) mod tests;
