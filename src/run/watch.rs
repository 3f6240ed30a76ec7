//! The threads that watch the others: signals, progress, space, and readiness.

use super::spawn;
use crate::ending::end;
use crate::error::{EXIT_AGAIN, Error};
use crate::observe::status::{Phase, Status};
use crate::queue::intake::Intake;
use crate::queue::sequencer::Ticks;
use crate::read::reads::Reads;
use dataflows::Tick;
use headwater_log::reserve::Reserve;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ends the process when a tick is not done for longer than `stuck` and no worker gives a sign of life. Its supervisor
/// then starts it again.
pub(super) fn progress(ticks: &Arc<Ticks>, stuck: Duration) {
    let ticks = Arc::clone(ticks);
    spawn("watchdog", move || -> Result<(), Error> {
        let mut watchdog = Watchdog::new(stuck, Instant::now());
        loop {
            sleep(Duration::from_secs(1));
            if let Some(tick) = watchdog.look(&ticks, Instant::now()) {
                let (workers, threads) = (ticks.behind(tick), threads().join(", "));
                let seconds = stuck.as_secs();
                tracing::error!(tick, seconds, ?workers, threads, "a tick has got stuck: the process ends");
                end(EXIT_AGAIN);
            }
        }
    });
}

/// The state of the ticks in flight at the last look.
pub(crate) struct Watchdog {
    stuck: Duration,
    /// The oldest tick, signs of life, since when that is so.
    seen: (Option<Tick>, u64),
    since: Instant,
}

impl Watchdog {
    pub fn new(stuck: Duration, now: Instant) -> Watchdog {
        Watchdog { stuck, seen: (None, 0), since: now }
    }

    /// Looks at the ticks: returns the one that has got stuck.
    pub fn look(&mut self, ticks: &Ticks, now: Instant) -> Option<Tick> {
        let seen = (ticks.oldest().map(|(tick, _)| tick), ticks.beats());
        if seen != self.seen {
            (self.seen, self.since) = (seen, now);
        }
        seen.0.filter(|_| now.duration_since(self.since) > self.stuck + ticks.patience())
    }
}

/// Returns name and state (proc(5): R computes, D waits for a disk, S for something else) of each thread of this
/// process.
fn threads() -> Vec<String> {
    let thread = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        Some(format!("{name} {}", rest.split_whitespace().next()?))
    };
    let mut threads: Vec<_> = std::fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(thread).collect();
    threads.sort();
    threads
}

/// Takes the reserve again when there is space for it.
pub(super) fn space(reserve: Arc<Reserve>) {
    spawn("space", move || -> Result<(), Error> {
        loop {
            sleep(Duration::from_secs(1));
            if reserve.is_held() {
                continue;
            }
            match reserve.take() {
                Ok(true) => tracing::info!("there is space again: the reserve is held, events are taken"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "no space can be set aside: no events are taken"),
            }
        }
    });
}

/// Stops the intake on SIGTERM or SIGINT.
pub(super) fn signals(status: &Arc<Status>, intake: &Arc<Intake>) -> Result<(), Error> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::run("handle signals"))?;
    let (status, intake) = (Arc::clone(status), Arc::clone(intake));
    spawn("signals", move || {
        if signals.forever().next().is_some() {
            tracing::info!("draining: no more events are taken");
            status.enter(Phase::Draining);
            intake.drain();
        }
        Ok(())
    });
    Ok(())
}

/// Sets the phase to ready when the ticks before `recovered` are done and the views can be read. In a new data folder
/// that takes the first tick, which takes what is defined, and no events. Where a collection `begins`, it takes one tick
/// more: before that tick the collection would be read as empty.
pub(super) fn ready(
    ticks: &Arc<Ticks>,
    recovered: Tick,
    begins: bool,
    reads: &Arc<Reads>,
    status: &Arc<Status>,
    started: Instant,
) {
    let (ticks, reads, status) = (Arc::clone(ticks), Arc::clone(reads), Arc::clone(status));
    spawn("readiness", move || {
        let first = (recovered + Tick::from(begins)).max(1);
        let readable = || *reads.upper().borrow() >= first;
        while ticks.all_done() < recovered || !ticks.all_joined() || !readable() {
            sleep(Duration::from_millis(2));
        }
        status.proceed(Phase::Recovering, Phase::Ready);
        tracing::info!(tick = recovered, ms = started.elapsed().as_millis() as u64, "ready");
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_told_with_what_they_do() {
        let (wait, waits) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::Builder::new().name("in (parens)".into()).spawn(move || waits.recv()).unwrap();
        let began = Instant::now();
        while !threads().contains(&"in (parens) S".to_owned()) {
            assert!(began.elapsed() < crate::patience::PATIENCE, "{:?}", threads());
        }
        drop(wait);
        assert!(waiting.join().unwrap().is_err());
    }
}
