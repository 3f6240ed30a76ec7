//! Process 0's ends of the links to the other processes of a run, in which workers are too.

use super::desk::Lines;
use super::{fail, spawn};
use crate::cluster::files;
use crate::cluster::join::Joined;
use crate::cluster::link::{self, Begin, Remote};
use crate::cluster::sealed::Sealed;
use crate::cluster::socket::Socket;
use crate::error::Error;
use crate::observe::status::Status;
use crate::worker::port::{Desk, In, Line, Tell};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

/// What is to be written to one other process.
pub(super) type Messages = Receiver<(usize, In)>;

/// The links, while a run lasts.
#[derive(Default)]
pub(super) struct Links {
    /// The threads that read from the other processes: they end when all ports have closed.
    pub reading: Vec<JoinHandle<()>>,
    /// Those to other hosts.
    pub hosts: Vec<Sealed>,
}

/// Returns the sending ends of the ports of all workers: `local` are those of this process, and each of the `others` has as
/// many.
pub(super) fn lines(local: &[Arc<Line>], others: usize) -> (Vec<Messages>, Lines) {
    let mut lines: Lines = local.iter().map(|line| Arc::clone(line) as Arc<dyn Tell>).collect();
    let mut messages = Vec::new();
    for _ in 0..others {
        let (to, of_other) = channel();
        for _ in local {
            lines.push(Arc::new(Remote { worker: lines.len(), to: to.clone() }));
        }
        messages.push(of_other);
    }
    (messages, lines)
}

/// Starts the threads that write to the other processes, and read from them. If another process ends before its ports have
/// closed, this one does. Other hosts can read what workers need of the data folder `folder`.
///
/// # Errors
/// If the sockets cannot be used.
pub(super) fn start(
    joined: &mut Joined,
    messages: Vec<Messages>,
    folder: &Path,
    begin: &Begin,
    desk: &Arc<super::desk::Desk>,
    status: &Arc<Status>,
) -> Result<Links, Error> {
    let mut links = Links::default();
    for files in joined.files.drain(..).flatten() {
        let log = folder.join("log");
        // A host that is gone has nothing more to ask: its link says so.
        let serve = move || files::serve(files.clone(), files, &log).or(Ok(()));
        spawn("files", serve);
    }
    for (process, (stream, messages)) in (1..).zip(joined.links.drain(..).flatten().zip(messages)) {
        let from = stream.try_clone().map_err(Error::run("use the sockets of this run"))?;
        if let Socket::Sealed(sealed) = &stream {
            links.hosts.push(sealed.clone());
        }
        let (begin, threads) = (begin.clone(), begin.threads);
        spawn("link", move || match link::write(stream, begin, &messages) {
            // Whether it may be gone, the thread that reads finds out.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            written => written.map_err(Error::run(format!("speak to process {process} of this run"))),
        });
        let (desk, status) = (Arc::clone(desk) as Arc<dyn Desk>, Arc::clone(status));
        links.reading.push(spawn("link", move || {
            let read = link::read(from, threads, &*desk, &mut |bytes| status.other_resident(process, bytes));
            // The end of the process comes before that of the publisher, which is not why it ends.
            read.map_err(|error| -> Error { fail(&error) })
        }));
    }
    Ok(links)
}

/// Tells another host that there is nothing more to do.
pub(super) fn say_end(link: &Sealed) {
    // It may have ended already.
    let _ = link.shutdown(Shutdown::Write);
}
