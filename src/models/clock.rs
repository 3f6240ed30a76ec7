//! Intake, sequencer and ticks: each acknowledged delivery is in exactly one tick, and each worker gets each tick and
//! then the end. The sequencer and the ports are the real ones, on a log in memory. Senders and workers act like a
//! server and [`crate::worker`].

use super::{check, log};
use crate::error::Error;
use crate::observe::metrics::Metrics;
use crate::observe::status::Status;
use crate::plan::LogPlan;
use crate::queue::delivery::Delivery;
use crate::queue::intake::{Intake, Refusal};
use crate::queue::numbers::SourceNumber;
use crate::queue::sequencer::{Bound, Sequencer, Ticks};
use crate::run::announce;
use crate::sync::thread;
use crate::worker::port::{Desk, In, Line, Local, Out, Port, Tell};
use dataflows::Tick;
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use headwater_log::output::Retention;
use headwater_log::reserve::Reserve;
use headwater_log::vfs::model::ModelFs;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 2;
const PARTS: u32 = 2;

/// The desk of a run, as far as ticks go.
struct Ended(Arc<Ticks>);

impl Desk for Ended {
    fn take(&self, worker: usize, out: Out) -> Result<(), Error> {
        match out {
            Out::Restored { .. } => self.0.restored(worker),
            Out::Done { upper, deadline } => self.0.done(worker, upper, deadline),
            out => panic!("{out:?}"),
        }
        Ok(())
    }

    fn closed(&self, _: usize) {}
}

/// Takes ticks until there are no more.
fn work(mut port: impl Port) -> Vec<Bound> {
    port.send(Out::Restored { sessions: 0 }).unwrap();
    let (mut next, mut taken): (Tick, Vec<Bound>) = (0, Vec::new());
    loop {
        match port.next().unwrap() {
            Some(In::Tick(bound)) => {
                assert_eq!(bound.tick, next);
                taken.push(bound);
                next += 1;
                port.send(Out::Done { upper: next, deadline: None }).unwrap();
            }
            Some(In::End) => return taken,
            Some(message) => panic!("{message:?}"),
            None => thread::park(),
        }
    }
}

fn tell(lines: &[Arc<Line>]) -> Vec<Arc<dyn Tell>> {
    lines.iter().map(|line| Arc::clone(line) as Arc<dyn Tell>).collect()
}

#[test]
fn what_is_acknowledged_is_in_one_tick_and_each_worker_gets_it() {
    check(4_000, || {
        let log = log(&ModelFs::new(1), PARTS, WORKERS as u32);
        let intake = Arc::new(Intake::new(log.queue.clone(), WORKERS, Arc::new(Reserve::none())));
        let lines: Vec<Arc<Line>> = (0..WORKERS).map(|_| Arc::default()).collect();
        let ticks = Arc::new(Ticks::new(WORKERS, 0, announce(&tell(&lines))));
        let hour = Duration::from_secs(3600);
        let retention = Retention { bytes: u64::MAX, ms: i64::MAX };
        let plan = LogPlan { tick: Duration::ZERO, snapshot: hour, segment: 1 << 20, retention, reserve: 0 };
        let (status, metrics) = (Arc::new(Status::default()), Arc::new(Metrics::new()));
        let sequencer =
            Sequencer::recover(log, 0, plan, Arc::clone(&intake), Arc::clone(&ticks), status, metrics).unwrap();
        let sequencer = thread::spawn(move || sequencer.run().unwrap().remap.next());
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (line, desk) = (Arc::clone(&lines[worker]), Arc::new(Ended(Arc::clone(&ticks))));
                thread::spawn(move || work(Local::open(worker, line, desk)))
            })
            .collect();
        let send = |sender: usize| {
            let intake = Arc::clone(&intake);
            move || {
                let mut tickets = Vec::new();
                for _ in 0..2 {
                    let (format, framing) = (Format::Json, Framing::Lines);
                    let events = b"{}";
                    let delivery = Delivery {
                        source: SourceNumber(0),
                        format,
                        framing,
                        messages: false,
                        header: None,
                        cursors: Vec::new(),
                        events,
                    };
                    // One is a task, as those of the server are.
                    let handed_in = match sender {
                        0 => shuttle::future::block_on(intake.deliver(&delivery)),
                        _ => intake.append_to(sender as u32 % PARTS, &delivery),
                    };
                    match handed_in {
                        Ok(ticket) => tickets.push(ticket),
                        Err(Refusal::Draining) => break,
                        Err(refusal) => panic!("{refusal}"),
                    }
                }
                tickets
            }
        };
        let senders: Vec<_> = (0..3).map(|sender| thread::spawn(send(sender))).collect();
        let draining = Arc::clone(&intake);
        let drain = thread::spawn(move || draining.drain());
        let acknowledged: Vec<_> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
        drain.join().unwrap();
        let upper = sequencer.join().unwrap();
        for worker in workers {
            let taken = worker.join().unwrap();
            assert_eq!(taken.len() as Tick, upper, "each tick");
            for part in 0..PARTS as usize {
                let mut next = 0;
                for range in taken.iter().map(|bound| &bound.queue[part]) {
                    assert_eq!(range.start, next, "what one tick leaves the next one takes");
                    next = range.end;
                }
                let ours = acknowledged.iter().filter(|ticket| ticket.part as usize == part);
                for ticket in ours {
                    assert!(ticket.offset < next, "{ticket:?} is acknowledged and in no tick");
                }
            }
        }
    });
}
