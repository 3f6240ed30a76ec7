//! The process that looks after the one that works: starts it again when it fails, passes signals on, gives up when it
//! fails again and again.

use crate::error::Error;
use rustix::process::{Signal, set_parent_process_death_signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// Set for the process that works: the process that looks after it.
const SUPERVISED: &str = "HEADWATER_SUPERVISED";
/// It failed again and again (EX_TEMPFAIL of sysexits.h).
const EXIT_GIVEN_UP: u8 = 75;
/// Nobody is there to see it.
const EXIT_ALONE: i32 = 1;
/// So many failures within so long are too many.
const FAILURES: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);
/// Before it is started again: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

pub fn is_supervised() -> bool {
    std::env::var_os(SUPERVISED).is_some()
}

/// Where log lines go: standard error. `HEADWATER_LOG` says which ones, as `info` or `headwater::server=debug`.
pub fn log_lines(json: bool) {
    let filter = EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match json {
        true => lines.json().init(),
        false => lines.with_ansi(crate::text::wants_color()).init(),
    }
}

/// The kernel kills this process when the one that looks after it ends, so that no two work on one folder. If that has
/// ended before the kernel was told, this process ends at once.
pub fn end_with_parent() {
    let Ok(parent) = std::env::var(SUPERVISED) else { return };
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        tracing::warn!("this process would outlive the one that looks after it");
    }
    if std::os::unix::process::parent_id().to_string() != parent {
        tracing::error!("the process that looks after this one has ended");
        std::process::exit(EXIT_ALONE);
    }
}

/// Starts the same command again, as the process that works, for as long as it takes.
///
/// # Errors
/// If it cannot be started.
pub fn supervise() -> Result<ExitCode, Error> {
    let failed = || Error::run("start the process that works");
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::run("handle signals"))?;
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
        let (ended, asked) = attend(&mut child, &mut signals).map_err(failed())?;
        match ended.code() {
            Some(0..=2) => return Ok(ExitCode::from(ended.code().unwrap_or(0) as u8)),
            // It had not come so far as to look for signals: nothing was under way.
            None if asked && matches!(ended.signal(), Some(SIGTERM | SIGINT)) => return Ok(ExitCode::SUCCESS),
            _ if asked => return Ok(ExitCode::from(1)),
            _ => {}
        }
        if started.elapsed() > WITHIN {
            back_off = BACK_OFF.0;
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
        if signals.pending().next().is_some() {
            return Ok(ExitCode::SUCCESS);
        }
        back_off = (2 * back_off).min(BACK_OFF.1);
    }
}

/// Waits for the process to end, and passes signals on: how it ended, and whether it was asked to.
fn attend(child: &mut std::process::Child, signals: &mut Signals) -> std::io::Result<(ExitStatus, bool)> {
    let mut asked = false;
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok((ended, asked));
        }
        if signals.pending().next().is_some() {
            asked = true;
            let id = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(id) = id {
                // It may have ended meanwhile.
                let _ = rustix::process::kill_process(id, Signal::TERM);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
