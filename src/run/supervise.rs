//! The supervisor: starts the working process again when it fails, passes signals on, and gives up after repeated
//! failures.

use crate::ending::end;
use crate::error::Error;
use crate::text::{printable_json, printable_lines};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
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

/// Starts the same command again, as the process that works, for as long as it takes.
///
/// # Errors
/// If it cannot be started.
pub fn supervise() -> Result<ExitCode, Error> {
    let failed = || Error::run("start the process that works");
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1]).map_err(Error::run("handle signals"))?;
    let mut failures: VecDeque<Instant> = VecDeque::new();
    let mut back_off = BACK_OFF.0;
    loop {
        let this = std::env::current_exe().map_err(failed())?;
        let started = Instant::now();
        let mut child = Command::new(this)
            .args(std::env::args_os().skip(1))
            .env(SUPERVISED, std::process::id().to_string())
            .spawn()
            .map_err(failed())?;
        let Attended { ended, asked, progress } = attend(&mut child, &mut signals).map_err(failed())?;
        match ended.code() {
            Some(0..=2) => return Ok(ExitCode::from(ended.code().unwrap_or(0) as u8)),
            // It had not begun to handle signals, so nothing was in flight.
            None if asked && matches!(ended.signal(), Some(SIGTERM | SIGINT)) => return Ok(ExitCode::SUCCESS),
            _ if asked => return Ok(ExitCode::from(1)),
            _ => {}
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

/// Waits for the process to end, and passes signals on.
fn attend(child: &mut std::process::Child, signals: &mut Signals) -> std::io::Result<Attended> {
    let (mut asked, mut progress) = (false, false);
    loop {
        let ended = child.try_wait()?;
        let mut end = false;
        for signal in signals.pending() {
            progress |= signal == SIGUSR1;
            end |= signal != SIGUSR1;
        }
        if let Some(ended) = ended {
            return Ok(Attended { ended, asked, progress });
        }
        if end {
            asked = true;
            if let Some(id) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
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
