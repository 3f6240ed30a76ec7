//! The sockets between the processes of a run. The supervisor makes all of them, and sends each process its own over one
//! more socket, which is the standard input of that process.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Processes of a run, at most. All sockets of one have to fit into one message, which takes 253.
pub const PROCESSES: usize = 64;
/// Sockets of one process: to each other one for timely, and for ports.
const SOCKETS: usize = 2 * (PROCESSES - 1);
/// Version of the message, in its first byte. Then come the number of the process and the number of processes.
const VERSION: u8 = 1;

/// The sockets of one process, by the process at the other end. There is none to itself.
#[derive(Debug)]
pub struct Sockets {
    pub process: usize,
    /// For the records and the progress of timely.
    pub mesh: Vec<Option<UnixStream>>,
    /// For the messages of ports: between process 0 and each other one.
    pub links: Vec<Option<UnixStream>>,
}

/// Makes the sockets of all processes.
///
/// # Errors
/// If the system has no more.
pub fn create(processes: usize) -> io::Result<Vec<Sockets>> {
    let none = || (0..processes).map(|_| None).collect();
    let mut all: Vec<Sockets> =
        (0..processes).map(|process| Sockets { process, mesh: none(), links: none() }).collect();
    for first in 0..processes {
        for second in first + 1..processes {
            let (one, other) = UnixStream::pair()?;
            (all[first].mesh[second], all[second].mesh[first]) = (Some(one), Some(other));
            if first == 0 {
                let (one, other) = UnixStream::pair()?;
                (all[0].links[second], all[second].links[0]) = (Some(one), Some(other));
            }
        }
    }
    Ok(all)
}

impl Sockets {
    /// Hands them on to the process at the other end of `to`, in one message.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(self, to: &UnixStream) -> io::Result<()> {
        let head = [VERSION, self.process as u8, self.mesh.len() as u8];
        let sockets: Vec<BorrowedFd<'_>> = self.mesh.iter().chain(&self.links).flatten().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("there are more sockets than one message takes"));
        }
        match sendmsg(to, &[IoSlice::new(&head)], &mut ancillary, SendFlags::empty())? {
            sent if sent == head.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Takes the sockets of this process.
    ///
    /// # Errors
    /// Those of the socket; or if this is no message of [`Sockets::send`].
    pub fn receive(from: impl AsFd) -> io::Result<Sockets> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut head = [0; 3];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(from, &mut [IoSliceMut::new(&mut head)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        if received.bytes != head.len() || head[0] != VERSION {
            return Err(invalid("the supervisor is another version, or none"));
        }
        let (process, processes) = (usize::from(head[1]), usize::from(head[2]));
        let mut streams = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                streams.extend(sockets.map(UnixStream::from));
            }
        }
        let linked = |other: usize| (process == 0 || other == 0) && other != process;
        let wanted = processes.saturating_sub(1) + (0..processes).filter(|other| linked(*other)).count();
        if process >= processes || streams.len() != wanted {
            return Err(invalid("the supervisor has sent other sockets than announced"));
        }
        let mut streams = streams.into_iter();
        let mesh = (0..processes).map(|other| if other == process { None } else { streams.next() }).collect();
        let links = (0..processes).map(|other| if linked(other) { streams.next() } else { None }).collect();
        Ok(Sockets { process, mesh, links })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn each_process_gets_one_end_of_each_of_its_sockets() {
        for processes in [2, 3, PROCESSES] {
            let received: Vec<Sockets> = create(processes)
                .unwrap()
                .into_iter()
                .map(|sockets| {
                    let (control, standard_input) = UnixStream::pair().unwrap();
                    sockets.send(&control).unwrap();
                    Sockets::receive(&standard_input).unwrap()
                })
                .collect();
            let speak = |from: &Option<UnixStream>, to: &Option<UnixStream>, number: u8| {
                from.as_ref().unwrap().write_all(&[number]).unwrap();
                let mut heard = [0];
                to.as_ref().unwrap().read_exact(&mut heard).unwrap();
                assert_eq!(heard, [number]);
            };
            for (process, sockets) in received.iter().enumerate() {
                assert_eq!(sockets.process, process);
                assert!(sockets.mesh[process].is_none() && sockets.links[process].is_none());
                for other in (0..processes).filter(|other| *other != process) {
                    speak(&sockets.mesh[other], &received[other].mesh[process], other as u8);
                    assert_eq!(sockets.links[other].is_some(), process == 0 || other == 0);
                }
                if process > 0 {
                    speak(&sockets.links[0], &received[0].links[process], 7);
                }
            }
        }
    }

    #[test]
    fn what_is_no_message_of_a_supervisor_is_refused() {
        let (mut control, standard_input) = UnixStream::pair().unwrap();
        control.write_all(&[VERSION, 1, 2]).unwrap();
        assert!(Sockets::receive(&standard_input).is_err(), "there are no sockets");
        control.write_all(&[9, 1, 2]).unwrap();
        assert!(Sockets::receive(&standard_input).is_err());
        control.write_all(&[VERSION, 0, 0]).unwrap();
        assert!(Sockets::receive(&standard_input).is_err());
        drop(control);
        assert!(Sockets::receive(&standard_input).is_err());
    }
}
