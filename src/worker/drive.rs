//! The loop of a worker: lets the graph work, between what feeds it and what takes its results. Runs and replays differ
//! in both, and share the loop.

use crate::error::Error;
use dataflows::Tick;
use dataflows::engine::Engine;
use std::time::Duration;
use timely::worker::Worker;

/// The longest sleep of a worker without work. A notification ends it.
const IDLE: Duration = Duration::from_millis(100);

/// What a worker does beside the graph.
pub trait Work {
    /// Takes the results of the ticks before `upper`, which are settled. Is called whenever that is later than before.
    ///
    /// # Errors
    /// Why it cannot go on.
    fn settled(&mut self, engine: &mut Engine, upper: Tick) -> Result<(), Error>;

    /// Feeds the graph with what there is for the next tick, if that may come already.
    ///
    /// # Errors
    /// Why it cannot go on.
    fn turn(&mut self, engine: &mut Engine) -> Result<Turn, Error>;
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to be done: operators have a turn.
    Works,
    /// Ticks are in the graph, or something else is about to come.
    Waits,
    /// There is nothing to do until the thread is woken.
    Idle,
    /// Nothing comes any more, and all has been taken.
    Ends,
}

/// Works until the end.
///
/// # Errors
/// As [`Work`].
pub fn drive(worker: &mut Worker, engine: &mut Engine, work: &mut impl Work) -> Result<(), Error> {
    let mut seen = 0;
    loop {
        let settled = engine.settled();
        if settled > seen {
            work.settled(engine, settled)?;
            seen = settled;
        }
        match work.turn(engine)? {
            Turn::Works => Engine::step(worker),
            Turn::Waits => Engine::wait(worker),
            Turn::Idle => Engine::park(worker, IDLE),
            Turn::Ends => return Ok(()),
        }
    }
}
