//! A socket to another process of a run: one end of a pair on the same host, or a sealed one to another host.

use super::sealed::Sealed;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use timely::communication::allocator::zero_copy::stream::Stream;

#[derive(Debug)]
pub enum Socket {
    Pair(UnixStream),
    Sealed(Sealed),
}

impl Socket {
    /// Returns another handle to the same socket.
    ///
    /// # Errors
    /// If the process has no more file descriptors.
    pub fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Socket::Pair(pair) => pair.try_clone().map(Socket::Pair),
            Socket::Sealed(sealed) => Ok(Socket::Sealed(sealed.clone())),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Pair(pair) => pair.read(buffer),
            Socket::Sealed(sealed) => sealed.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Pair(pair) => pair.write(bytes),
            Socket::Sealed(sealed) => sealed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Pair(pair) => pair.flush(),
            Socket::Sealed(sealed) => sealed.flush(),
        }
    }
}

impl Stream for Socket {
    fn try_clone(&self) -> io::Result<Socket> {
        Socket::try_clone(self)
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Socket::Pair(pair) => pair.set_nonblocking(nonblocking),
            // It always blocks, and timely asks for nothing else.
            Socket::Sealed(_) if nonblocking => Err(io::ErrorKind::Unsupported.into()),
            Socket::Sealed(_) => Ok(()),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Socket::Pair(pair) => pair.shutdown(how),
            Socket::Sealed(sealed) => sealed.shutdown(how),
        }
    }
}
