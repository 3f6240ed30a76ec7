//! The supervisor: starts the working processes again when one fails, passes signals on, and gives up after repeated
//! failures.

use crate::cluster::mesh::{self, Sockets};
use crate::ending::end;
use crate::error::{EXIT_AGAIN, EXIT_ELSEWHERE, Error};
use crate::text::{printable_json, printable_lines};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// Set for the process that works: the process that looks after it.
const SUPERVISED: &str = "HEADWATER_SUPERVISED";
/// It failed again and again (EX_TEMPFAIL of sysexits.h).
const EXIT_GIVEN_UP: u8 = 75;
/// Exit code that no parent sees.
const EXIT_ALONE: i32 = 1;
/// After this number of failures within [`WITHIN`], with nothing new published, the supervisor gives up.
const FAILURES: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);
/// How long process 0 may take to end, when another one of the run has.
const GRACE: Duration = Duration::from_secs(1);
/// Before it is started again: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

pub fn is_supervised() -> bool {
    std::env::var_os(SUPERVISED).is_some()
}

/// Sends log lines to standard error. `HEADWATER_LOG` says which ones, as `info` or `headwater::server=debug`.
pub fn log_lines(json: bool) {
    let filter = EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let color = !json && crate::text::wants_color();
    let stderr = move || OneLine { out: std::io::stderr(), json, color };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    match json {
        true => lines.json().init(),
        false => lines.with_ansi(color).init(),
    }
}

/// Writes each log event as one line: control characters within it are escaped. File names and answers of receivers
/// are logged, and must neither forge a line nor steer a terminal.
struct OneLine<W> {
    out: W,
    /// An event is an object of JSON.
    json: bool,
    /// Lets colours pass, which the formatter writes, and no other escape sequence: an error that it formats keeps its.
    color: bool,
}

impl<W: Write> Write for OneLine<W> {
    /// Expects a whole event, as the formatter of `tracing_subscriber` hands it over.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let escaped = match self.json {
            true => printable_json(line).into_owned(),
            false => printable_lines(line, self.color),
        };
        self.out.write_all((escaped.replace('\n', "\\n") + "\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Makes the kernel kill this process when its supervisor ends, so that no two processes work on one folder. If that
/// has ended before this call, this process ends at once.
pub fn end_with_parent() {
    let Ok(parent) = std::env::var(SUPERVISED) else { return };
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        tracing::warn!("this process would outlive the one that looks after it");
    }
    if std::os::unix::process::parent_id().to_string() != parent {
        tracing::error!("the process that looks after this one has ended");
        end(EXIT_ALONE);
    }
}

/// Returns the sockets of this process to the others of the run. They come from the supervisor, through the standard
/// input.
///
/// # Errors
/// If there is no supervisor, or it hands over something else.
pub(super) fn sockets(processes: usize) -> Result<Sockets, Error> {
    const FAILED: &str = "take the sockets of this run";
    let sockets = Sockets::receive(std::io::stdin()).map_err(Error::run(FAILED))?;
    match sockets.mesh.len() {
        handed if handed == processes => Ok(sockets),
        handed => {
            Err(Error::run(FAILED)(format!("they are those of {handed} processes, and there should be {processes}")))
        }
    }
}

/// Starts the same command again, as the processes that work, for as long as it takes. If one of several fails, all are
/// started again, since they have worked on parts of the same ticks. With `once`, they are not started again.
///
/// # Errors
/// If they cannot be started.
pub fn supervise(processes: usize, once: bool) -> Result<ExitCode, Error> {
    let failed = || Error::run("start the process that works");
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).map_err(Error::run("handle signals"))?;
    let mut failures: VecDeque<Instant> = VecDeque::new();
    let mut back_off = BACK_OFF.0;
    loop {
        let started = Instant::now();
        let mut children = start(processes).map_err(failed())?;
        let Attended { ended, asked, progress } = attend(&mut children, &mut signals).map_err(failed())?;
        match ended.code() {
            Some(0..=2) => return Ok(ExitCode::from(ended.code().unwrap_or(0) as u8)),
            // It had not begun to handle signals, so nothing was in flight.
            None if asked && matches!(ended.signal(), Some(SIGTERM | SIGINT)) => return Ok(ExitCode::SUCCESS),
            // Another host has left first. Nothing is lost, and the next start computes the rest.
            Some(EXIT_ELSEWHERE) if asked => return Ok(ExitCode::SUCCESS),
            _ if asked => return Ok(ExitCode::from(1)),
            code if once => return Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))),
            _ => {}
        }
        if ended.code() == Some(EXIT_ELSEWHERE) {
            // No failure of this host, so it never gives up for this.
            tracing::warn!("another host of the run is lost: the process is started again, and waits for it");
            std::thread::sleep(BACK_OFF.0);
            if signals.pending().any(|signal| signal != SIGUSR1) {
                return Ok(ExitCode::SUCCESS);
            }
            continue;
        }
        if started.elapsed() > WITHIN {
            back_off = BACK_OFF.0;
        }
        if progress {
            failures.clear();
        }
        failures.push_back(Instant::now());
        while failures.front().is_some_and(|failure| failure.elapsed() > WITHIN) {
            failures.pop_front();
        }
        if failures.len() >= FAILURES {
            tracing::error!(%ended, failures = FAILURES, seconds = WITHIN.as_secs(), "it fails again and again: not started again");
            return Ok(ExitCode::from(EXIT_GIVEN_UP));
        }
        tracing::error!(%ended, ms = back_off.as_millis() as u64, "the process has failed and is started again");
        std::thread::sleep(back_off);
        if signals.pending().any(|signal| signal != SIGUSR1) {
            return Ok(ExitCode::SUCCESS);
        }
        back_off = (2 * back_off).min(BACK_OFF.1);
    }
}

/// Starts the processes that work. The first one is process 0.
fn start(processes: usize) -> io::Result<Vec<Child>> {
    let this = std::env::current_exe()?;
    let command = || {
        let mut command = Command::new(&this);
        command.args(std::env::args_os().skip(1)).env(SUPERVISED, std::process::id().to_string());
        command
    };
    if processes == 1 {
        return Ok(vec![command().spawn()?]);
    }
    let mut children = Vec::new();
    for sockets in mesh::create(processes)? {
        let (control, standard_input) = UnixStream::pair()?;
        sockets.send(&control)?;
        let spawned = command().stdin(Stdio::from(OwnedFd::from(standard_input))).spawn();
        match spawned {
            Ok(child) => children.push(child),
            Err(error) => {
                end_all(&mut children);
                return Err(error);
            }
        }
    }
    Ok(children)
}

/// Ends what is still there, at once.
fn end_all(children: &mut [Child]) {
    for child in children.iter_mut() {
        // It may have ended meanwhile.
        let _ = child.kill();
    }
    for child in children {
        let _ = child.wait();
    }
}

/// Tells the process that looks after this one that something new is published: starting again is not in vain.
pub fn tell_progress() {
    let parent = std::env::var(SUPERVISED).ok().and_then(|parent| parent.parse().ok()).and_then(Pid::from_raw);
    if let Some(parent) = parent {
        // If it has ended, this process is about to.
        let _ = kill_process(parent, Signal::USR1);
    }
}

struct Attended {
    ended: ExitStatus,
    /// It was asked to end.
    asked: bool,
    /// It has published something new.
    progress: bool,
}

/// Returns how a process has ended, if it does so in time.
fn ends_within(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        match child.try_wait()? {
            None if began.elapsed() < patience => std::thread::sleep(Duration::from_millis(5)),
            ended => return Ok(ended),
        }
    }
}

/// Waits for the processes to end, and passes signals on to process 0, which lets the others come to their end. When
/// process 0 ends, or another one fails, the rest is ended at once.
fn attend(children: &mut [Child], signals: &mut Signals) -> io::Result<Attended> {
    let (mut asked, mut progress) = (false, false);
    loop {
        let mut ended = None;
        for (process, child) in children.iter_mut().enumerate() {
            // Another one than process 0 that ends well has no more to do.
            let over = child.try_wait()?.filter(|status| process == 0 || !status.success());
            if let Some(status) = over.filter(|_| ended.is_none()) {
                ended = Some((process, status));
            }
        }
        let mut end = false;
        for signal in signals.pending() {
            progress |= signal == SIGUSR1;
            end |= signal != SIGUSR1;
        }
        if let Some((process, status)) = ended {
            if process > 0 {
                tracing::error!(process, %status, "a process of the run has failed");
            }
            // It may have failed because process 0 has ended, or is about to: that says how a start would end.
            let first = match process {
                0 => Some(status),
                _ => ends_within(&mut children[0], GRACE)?.filter(|first| first.code().is_some()),
            };
            end_all(children);
            return Ok(Attended { ended: first.unwrap_or(ExitStatus::from_raw(EXIT_AGAIN << 8)), asked, progress });
        }
        if end {
            asked = true;
            if let Some(id) = children.first().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw)
            {
                // It may have ended meanwhile.
                let _ = kill_process(id, Signal::TERM);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod line_tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A file's name with a line end forged a line of the log, and one with an escape sequence cleared the screen.
    #[test]
    fn a_logged_value_cannot_forge_a_line_or_steer_a_terminal() {
        let evil = "a\r\n2026-01-01 ERROR forged\x1b[2J\u{9b}2J\x07\u{2028}é";
        for color in [false, true] {
            let shared = Shared::default();
            let out = shared.clone();
            let writer = move || OneLine { out: out.clone(), json: false, color };
            let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(color).finish();
            tracing::subscriber::with_default(subscriber, || {
                let error = io::Error::other(evil);
                tracing::warn!("cannot read {evil}");
                tracing::warn!(path = evil, %error, "cannot read");
                tracing::warn!(?error, "cannot read");
            });
            let log = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
            assert_eq!(log.lines().count(), 3, "{log:?}");
            assert!(log.contains('é') && log.ends_with('\n'), "{log:?}");
            assert!(!log.contains("\x1b[2J"), "{log:?}");
            let other = |char: char| char.is_control() && char != '\n' && !(color && char == '\x1b');
            assert!(!log.contains(other) && !log.contains('\u{2028}'), "{log:?}");
        }
    }
}
