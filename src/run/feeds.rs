//! Drives the sources of a run: a thread for each takes what its source has to the intake, until the source ends or the
//! intake is drained. A refusal pauses that source alone.

use super::history::History;
use super::spawn;
use crate::collections::place::SourceIndex;
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::observe::sources::{SourceState, SourceStatus};
use crate::observe::status::{Phase, Status};
use crate::plan::{Plan, SourceKind};
use crate::queue::delivery::Delivery;
use crate::queue::intake::{Intake, Refusal};
use crate::source::{self, Deliver, Polled, Source};
use headwater_log::error::LogError;
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// The time between two polls of a source that had nothing, or whose delivery was refused.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts a thread for each source that is polled.
pub(super) fn start(
    plan: &Plan,
    history: &History,
    intake: &Arc<Intake>,
    status: &Arc<Status>,
    metrics: &Metrics,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let mut threads = Vec::new();
    for (index, of) in (0..).map(SourceIndex).zip(&plan.sources) {
        let number = history.numbers.number(index);
        let cursors = history.cursors.of(number).cloned().collect();
        let failed = Error::run(format!("read the source `{}`", of.name));
        if of.kind == SourceKind::Http {
            continue;
        }
        let own = Arc::new(SourceStatus::new(&of.name, metrics));
        let Some(mut source) = source::open(number, of, cursors, &own).map_err(failed)? else { continue };
        status.sources.add(Arc::clone(&own));
        let (name, intake, status) = (of.name.clone(), Arc::clone(intake), Arc::clone(status));
        threads.push(spawn("source", move || {
            while status.phase() == Phase::Recovering || status.phase() == Phase::Starting {
                sleep(Duration::from_millis(10));
            }
            // One part for a source, so that its deliveries keep their order.
            let part = u32::from(number.0) % intake.parts().len() as u32;
            let mut deliver = |delivery: &Delivery<'_>| intake.append_to(part, delivery).map(|_| ());
            let driven = drive(&name, &mut *source, &own, &mut deliver, || intake.is_draining(), sleep);
            driven.map_err(Error::run(format!("deliver what was read from the source `{name}`")))
        }));
    }
    Ok(threads)
}

/// Polls until the source ends, or `draining` says so.
///
/// # Errors
/// The refusals after which a delivery may be durable or not: the process has to end.
fn drive(
    name: &str,
    source: &mut dyn Source,
    status: &SourceStatus,
    deliver: &mut Deliver<'_>,
    draining: impl Fn() -> bool,
    pause: impl Fn(Duration),
) -> Result<(), LogError> {
    let mut refused = None;
    while !draining() {
        match source.poll(deliver) {
            Ok(polled) => {
                if refused.take().is_some() {
                    status.enter(SourceState::Reading, None);
                    tracing::info!(source = name, "the source goes on");
                }
                match polled {
                    Polled::More => {}
                    Polled::Nothing => pause(PAUSE),
                    Polled::End => {
                        status.enter(SourceState::Ended, None);
                        return Ok(());
                    }
                }
            }
            Err(Refusal::Log(error)) if !matches!(error, LogError::Full(_)) => return Err(error),
            Err(refusal) => {
                // Once for each reason: a source may be refused for hours.
                let why = refusal.to_string();
                if refused.as_ref() != Some(&why) {
                    status.enter(SourceState::Paused, Some(why.clone()));
                    tracing::warn!(source = name, %refusal, "the source pauses");
                    refused = Some(why);
                }
                pause(PAUSE);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::numbers::SourceNumber;
    use headwater_decode::framing::Framing;
    use headwater_decode::spec::Format;
    use headwater_log::vfs::{Outcome, VfsError};
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::path::Path;

    /// A source in memory: what each poll has, and what was refused before it.
    struct Records {
        left: Vec<&'static [u8]>,
    }

    impl Source for Records {
        fn poll(&mut self, deliver: &mut Deliver<'_>) -> Result<Polled, Refusal> {
            let Some(events) = self.left.first().copied() else { return Ok(Polled::End) };
            if !events.is_empty() {
                let (format, framing, header, cursors) = (Format::Json, Framing::Lines, None, Vec::new());
                deliver(&Delivery {
                    source: SourceNumber(0),
                    format,
                    framing,
                    messages: false,
                    header,
                    cursors,
                    events,
                })?;
            }
            self.left.remove(0);
            Ok(if events.is_empty() { Polled::Nothing } else { Polled::More })
        }
    }

    /// Drives until the end, with these answers to deliveries and then none but success: what was durable, how often
    /// the driver paused, and how it ended.
    fn driven(
        left: &[&'static [u8]],
        answers: Vec<Result<(), Refusal>>,
        drained: usize,
    ) -> (Vec<Vec<u8>>, usize, Result<(), LogError>) {
        let (durable, pauses) = (RefCell::new(Vec::new()), Cell::new(0));
        let mut answers = answers.into_iter();
        let mut deliver = |delivery: &Delivery<'_>| {
            answers.next().unwrap_or(Ok(())).inspect(|()| durable.borrow_mut().push(delivery.events.to_vec()))
        };
        let mut source = Records { left: left.to_vec() };
        let draining = || durable.borrow().len() >= drained;
        let status = SourceStatus::new("test", &Metrics::new());
        let ended = drive("test", &mut source, &status, &mut deliver, draining, |_| pauses.set(pauses.get() + 1));
        (durable.into_inner(), pauses.get(), ended)
    }

    #[test]
    fn a_refusal_pauses_the_source_and_the_same_records_come_again() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let full = LogError::Full(VfsError::new("append to", Path::new("x"), Outcome::Failed, full));
        let answers = vec![Ok(()), Err(Refusal::Busy), Err(Refusal::NoSpace), Err(Refusal::Log(full))];
        let (durable, pauses, ended) = driven(&[b"a", b"", b"b", b"c"], answers, 9);
        assert_eq!((durable, pauses), (vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()], 4));
        assert!(ended.is_ok());
    }

    #[test]
    fn what_may_be_durable_ends_the_process_and_draining_ends_the_source() {
        let broken = LogError::Poisoned("a sync failed".into());
        let (durable, _, ended) = driven(&[b"a", b"b"], vec![Ok(()), Err(Refusal::Log(broken))], 9);
        assert_eq!(durable, [b"a"]);
        assert!(ended.is_err());
        assert_eq!(driven(&[b"a", b"b"], Vec::new(), 1).0, [b"a"]);
    }
}
