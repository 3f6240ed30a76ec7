//! Process 0's ends of the links to the other processes of a run, in which workers are too.

use super::desk::Lines;
use super::{fail, spawn};
use crate::cluster::link::{self, Begin, Remote};
use crate::error::Error;
use crate::observe::status::Status;
use crate::worker::port::{Desk, In, Line, Tell};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

/// The socket to one other process, and what is to be written to it.
pub(super) type Other = (UnixStream, Receiver<(usize, In)>);

/// Returns the sending ends of the ports of all workers: `local` are those of this process, `links` lead to the others, each
/// of which has as many.
pub(super) fn lines(local: &[Arc<Line>], links: Vec<UnixStream>) -> (Vec<Other>, Lines) {
    let mut lines: Lines = local.iter().map(|line| Arc::clone(line) as Arc<dyn Tell>).collect();
    let mut others = Vec::new();
    for link in links {
        let (to, messages) = channel();
        for _ in local {
            lines.push(Arc::new(Remote { worker: lines.len(), to: to.clone() }));
        }
        others.push((link, messages));
    }
    (others, lines)
}

/// Starts the threads that write to the other processes, each of which has `threads` workers, and read from them. Returns
/// those that read: they end when all ports have closed. If another process ends before, this one does.
///
/// # Errors
/// If the sockets cannot be used.
pub(super) fn start(
    others: Vec<Other>,
    threads: usize,
    begin: &Begin,
    desk: &Arc<super::desk::Desk>,
    status: &Arc<Status>,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut reading = Vec::new();
    for (process, (stream, messages)) in (1..).zip(others) {
        let from = stream.try_clone().map_err(Error::run("use the sockets of this run"))?;
        let begin = begin.clone();
        spawn("link", move || match link::write(stream, begin, &messages) {
            // Whether it may be gone, the thread that reads finds out.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            written => written.map_err(Error::run(format!("speak to process {process} of this run"))),
        });
        let (desk, status) = (Arc::clone(desk) as Arc<dyn Desk>, Arc::clone(status));
        reading.push(spawn("link", move || {
            let read = link::read(from, threads, &*desk, &mut |bytes| status.other_resident(process, bytes));
            // The end of the process comes before that of the publisher, which is not why it ends.
            read.map_err(|error| -> Error { fail(&error) })
        }));
    }
    Ok(reading)
}
