//! `headwater forget`, on both sides: what a client asks and prints, and the thread of a run that reads the events of a user
//! back and says what has gone.

mod back;
pub mod client;

use crate::error::Error;
use crate::plan::Plan;
use crate::queue::forgets::{Forgets, Wanted};
use crate::queue::intake::Intake;
use crate::queue::numbers::Numbers;
use back::Back;
use headwater_log::Log;
use headwater_log::partition::Reader;
use headwater_log::remap::RemapReader;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Between two looks at whether the process stops.
const PATIENCE: Duration = Duration::from_millis(200);
/// The longest time for which reading back is tried again: until then no checkpoint is taken.
const TRYING: Duration = Duration::from_secs(120);

/// What the thread reads.
pub struct Shared {
    plan: Arc<Plan>,
    /// The definitions that the start has found as plans, each with the offset in the control partition from which it holds.
    definitions: Vec<(u64, Arc<Plan>)>,
    sources: Arc<Numbers>,
    readers: Vec<Reader>,
    remap: RemapReader,
    control: Reader,
    /// The oldest tick that it had when the process started.
    oldest: u64,
    /// Ticks before this one have happened before the process started.
    recovered: u64,
}

impl Shared {
    /// Returns what is read of a log, before the sequencer has it.
    pub fn new(log: &Log, plan: &Arc<Plan>, definitions: &[(u64, Arc<Plan>)], sources: &Arc<Numbers>) -> Shared {
        Shared {
            plan: Arc::clone(plan),
            definitions: definitions.to_vec(),
            sources: Arc::clone(sources),
            readers: log.queue.iter().map(|part| part.reader()).collect(),
            remap: log.remap.reader(),
            control: log.control.reader(),
            oldest: log.remap.low(),
            recovered: log.remap.next(),
        }
    }

    /// Starts the thread. It ends when the process is about to stop.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn start(self, intake: &Arc<Intake>) -> Result<JoinHandle<()>, Error> {
        let intake = Arc::clone(intake);
        let thread = thread::Builder::new().name("forget".into()).spawn(move || self.run(&intake));
        thread.map_err(Error::run("start the thread that forgets"))
    }

    fn run(self, intake: &Intake) {
        let forgets = Arc::clone(intake.forgets());
        let mut failing: Option<Instant> = None;
        while !intake.is_draining() {
            forgets.receipts().into_iter().for_each(|receipt| intake.put_control(receipt));
            let Some(wanted) = forgets.wanted(PATIENCE) else { continue };
            match self.read(&wanted) {
                Ok(Back::Whole(read) | Back::Part(read)) => {
                    failing = None;
                    intake.put_control(forgets.read_back(read));
                }
                Ok(Back::Refused(why)) => {
                    failing = None;
                    refuse(&forgets, intake, &wanted, why);
                }
                Err(why) if failing.get_or_insert_with(Instant::now).elapsed() > TRYING => {
                    failing = None;
                    refuse(&forgets, intake, &wanted, format!("the events of the user cannot be read back: {why}"));
                }
                Err(why) => {
                    tracing::warn!(forget = wanted.asked.forget, why, "cannot read events back, and tries again");
                    thread::sleep(PATIENCE);
                }
            }
        }
    }
}

fn refuse(forgets: &Forgets, intake: &Intake, wanted: &Wanted, why: String) {
    tracing::warn!(forget = wanted.asked.forget, why, "a user is not forgotten");
    intake.put_control(forgets.refuse(wanted.asked.forget, why));
}
