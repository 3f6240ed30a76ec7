//! Frames for programs: each line as it came.
//!
//! ```text
//! frames ── held ── progress ── standard output ── flush ── token
//!              ╳ connection lost: what is held is void
//! ```
//! Lines are held until the progress that follows them, so that no written line ever has to be taken back. The token is
//! kept after the lines before it. A process that is killed in between writes that part again in its next run.

use super::resume::{ResumeFile, Saver};
use super::stop::{lock_soon, on_signals};
use crate::error::Error;
use crate::text::{printable, printable_json};
use headwater_client::ClientError;
use headwater_client::{Builder, Event, Subscription};
use headwater_client::{Head, Progress};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Seek, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tempfile::SpooledTempFile;

/// So much of a batch is held in memory, what is larger in a file.
const HELD_BYTES: usize = 8 << 20;

/// Follows a collection. `out` is standard output.
///
/// # Errors
/// As [`super::subscribe`].
pub(super) fn follow(wanted: Builder, resume: Option<&Path>, out: File) -> Result<(), Error> {
    let attempt = format!("follow `{}`", wanted.collection());
    let file = resume.map(ResumeFile::new);
    let name = resume.map(|path| printable(&path.display().to_string())).unwrap_or_default();
    let token = file.as_ref().map(ResumeFile::read).transpose().map_err(Error::run(format!("read {name}")))?.flatten();
    let wanted = match token {
        Some(token) => {
            eprintln!("goes on after the token in {name}");
            wanted.resume(token)
        }
        None if file.is_some() => {
            eprintln!("{name} does not exist yet: begins without a token");
            wanted
        }
        None => wanted,
    };
    let synced = out.try_clone().map_err(Error::run(attempt.clone()))?;
    let is_file = synced.metadata().is_ok_and(|metadata| metadata.is_file());
    let saver = file.map(|file| {
        Saver::start(move |token| {
            // The token must not outlive a loss of power that takes away what it stands for.
            if is_file {
                synced.sync_data()?;
            }
            file.write(token)
        })
    });
    let saver = saver.transpose().map_err(Error::run(format!("write {name}")))?;
    let is_terminal = out.is_terminal();
    let output = Arc::new(Mutex::new(Output { is_terminal, ..Output::new(out, saver) }));
    let stopped = Arc::clone(&output);
    let stop = move |_| {
        let outcome = lock_soon(&stopped).map_or(Ok(()), |mut output| output.finish());
        Some(outcome.map_or_else(complain, |()| 0))
    };
    on_signals(&[SIGINT, SIGTERM], stop).map_err(Error::run("handle signals"))?;

    let mut subscription = wanted.build().map_err(|error| super::failed(&attempt, error))?;
    let outcome = pass_on(&mut subscription, &output);
    let finished = lock(&output).finish().map_err(Failed::Write);
    match outcome.and(finished) {
        Ok(()) => Ok(()),
        // The reader has seen enough: `headwater subscribe … | head`.
        Err(Failed::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failed::Write(error)) => Err(Error::run("write what has come")(error)),
        Err(Failed::Read(
            error @ (ClientError::Expired { .. }
            | ClientError::ProgramChanged { .. }
            | ClientError::OtherHistory { .. }),
        )) if resume.is_some() => {
            let help = format!("{error}; remove {name} and run again to begin with a snapshot");
            Err(Error::run(attempt)(help))
        }
        Err(Failed::Read(error)) => Err(super::failed(&attempt, error)),
    }
}

fn complain(error: io::Error) -> i32 {
    eprintln!("cannot write what has come: {error}");
    1
}

enum Failed {
    Read(ClientError),
    Write(io::Error),
}

fn pass_on<W: Write>(subscription: &mut Subscription, output: &Mutex<Output<W>>) -> Result<(), Failed> {
    let mut away = false;
    loop {
        match subscription.next_event().map_err(Failed::Read)? {
            None => return Ok(()),
            Some(Event::Line(head, line)) => {
                let mut output = lock(output);
                match head {
                    Head::Error(refusal) => {
                        output.discard().and_then(|()| output.last(line)).map_err(Failed::Write)?;
                        return Err(Failed::Read(refusal.into()));
                    }
                    Head::Progress(Progress { token, .. }) => {
                        output.hold(line).and_then(|()| output.commit(&token)).map_err(Failed::Write)?;
                    }
                    Head::Hello(hello) => {
                        output.hold(line).map_err(Failed::Write)?;
                        drop(output);
                        if std::mem::take(&mut away) {
                            match subscription.begins_with_a_snapshot(&hello) {
                                true => {
                                    eprintln!(
                                        "connected again; the snapshot begins again, and nothing of it was \
                                               written"
                                    )
                                }
                                false => eprintln!("connected again, and goes on where it was"),
                            }
                        }
                    }
                    _ => output.hold(line).map_err(Failed::Write)?,
                }
            }
            Some(Event::Lost(reason) | Event::Waiting(reason)) => {
                lock(output).discard().map_err(Failed::Write)?;
                // Once for all attempts.
                if !std::mem::replace(&mut away, true) {
                    eprintln!("no connection to {}: {}; trying again", subscription.url(), printable(&reason));
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines on their way out.
struct Output<W: Write> {
    held: SpooledTempFile,
    out: BufWriter<W>,
    saver: Option<Saver>,
    /// Then lines are made fit for one.
    is_terminal: bool,
}

impl<W: Write> Output<W> {
    fn new(out: W, saver: Option<Saver>) -> Output<W> {
        Output {
            held: SpooledTempFile::new(HELD_BYTES),
            out: BufWriter::with_capacity(64 << 10, out),
            saver,
            is_terminal: false,
        }
    }

    fn hold(&mut self, line: &str) -> io::Result<()> {
        match self.is_terminal {
            true => self.held.write_all(printable_json(line).as_bytes())?,
            false => self.held.write_all(line.as_bytes())?,
        }
        self.held.write_all(b"\n")
    }

    /// Writes what is held, and then keeps the token.
    fn commit(&mut self, token: &str) -> io::Result<()> {
        self.held.rewind()?;
        io::copy(&mut self.held, &mut self.out)?;
        self.out.flush()?;
        self.discard()?;
        self.saver.as_mut().map_or(Ok(()), |saver| saver.save(token))
    }

    fn discard(&mut self) -> io::Result<()> {
        if self.held.is_rolled() {
            self.held = SpooledTempFile::new(HELD_BYTES);
        }
        self.held.set_len(0)?;
        self.held.rewind()
    }

    /// Writes a line that nothing follows.
    fn last(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{}", printable_json(line))?;
        self.out.flush()
    }

    /// Waits until the token of what has been written is kept.
    fn finish(&mut self) -> io::Result<()> {
        self.saver.as_mut().map_or(Ok(()), Saver::finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The effects on the outside world, in order.
    #[derive(Clone, Default)]
    struct World(Arc<Mutex<Vec<Did>>>);

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Did {
        Write(String),
        Flush,
        Keep(String),
    }

    impl Write for World {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).push(Did::Write(String::from_utf8(bytes.to_vec()).unwrap()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            lock(&self.0).push(Did::Flush);
            Ok(())
        }
    }

    fn output(world: &World) -> Output<World> {
        let keeps = world.clone();
        let saver = Saver::start(move |token| {
            lock(&keeps.0).push(Did::Keep(token.to_owned()));
            Ok(())
        });
        Output::new(world.clone(), Some(saver.unwrap()))
    }

    /// Were the process killed after any step, the token kept by then would stand for lines that have been flushed.
    #[test]
    fn whenever_it_ends_the_token_stands_for_what_was_written() {
        let world = World::default();
        let mut output = output(&world);
        for number in 0..200 {
            output.hold(&format!("line {number}")).unwrap();
            output.hold(&format!("progress {number}")).unwrap();
            output.commit(&number.to_string()).unwrap();
        }
        output.finish().unwrap();
        let (mut written, mut flushed, mut kept) = (String::new(), 0, None);
        for did in lock(&world.0).iter() {
            match did {
                Did::Write(text) => written += text,
                Did::Flush => flushed = written.len(),
                Did::Keep(token) => {
                    let until = format!("progress {token}\n");
                    assert!(written[..flushed].contains(&until), "{token} is kept before it is written");
                    kept = Some(token.clone());
                }
            }
        }
        assert_eq!(kept.as_deref(), Some("199"));
        let expected: String = (0..200).map(|number| format!("line {number}\nprogress {number}\n")).collect();
        assert_eq!(written, expected);
    }

    #[test]
    fn what_is_void_is_not_written_however_large_it_is() {
        let world = World::default();
        let mut output = output(&world);
        let large = "x".repeat(HELD_BYTES / 3);
        for lines in [1, 4] {
            for _ in 0..lines {
                output.hold(&large).unwrap();
            }
            assert_eq!(output.held.is_rolled(), lines == 4, "the case is the one that is meant");
            output.discard().unwrap();
        }
        for _ in 0..4 {
            output.hold(&large).unwrap();
        }
        output.commit("1").unwrap();
        output.hold("after").unwrap();
        output.commit("2").unwrap();
        output.finish().unwrap();
        let written: String = lock(&world.0)
            .iter()
            .filter_map(|did| if let Did::Write(text) = did { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(written, format!("{large}\n").repeat(4) + "after\n");
    }
}
