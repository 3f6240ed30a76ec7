//! Reads: each worker that gets a request answers, at a tick that it still has.

use super::check;
use crate::collections::Collection;
use crate::error::Error;
use crate::queue::sequencer::Bound;
use crate::read::reads::{CHUNKS, Question, Reads, Request, Unreadable, Wanted};
use crate::run::ask;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread;
use crate::worker::port::{Desk, In, Line, Local, Out, Port, Tell};
use dataflows::Tick;
use shuttle::future::block_on;
use std::sync::Arc;

const WORKERS: usize = 2;
const TICKS: Tick = 4;

fn bound(tick: Tick) -> Bound {
    Bound { tick, now_ms: tick as i64, queue: vec![0..tick; 1], control: 0..0, snapshot: false }
}

/// The desk of a run, as far as reads go.
struct Answered(Arc<Reads>);

impl Desk for Answered {
    fn take(&self, worker: usize, out: Out) -> Result<(), Error> {
        let Out::Rows { number, chunk, last } = out else { panic!("{out:?}") };
        self.0.answered(worker, number, chunk, last);
        Ok(())
    }

    fn closed(&self, worker: usize) {
        self.0.ended(worker);
    }
}

/// Acts like [`crate::worker`] on questions: answers with rows for the tick, and compacts as far as it may. It gives a
/// chunk too many for those that it may give before one is taken.
fn work(mut port: impl Port, over: &AtomicBool) {
    let (mut done, mut since, mut forgotten) = (0, 0, 0);
    let mut answers: Vec<(Question, usize, usize)> = Vec::new();
    loop {
        let last = over.load(Ordering::SeqCst);
        if done < TICKS {
            done += 1;
        }
        let mut heard = false;
        while let Some(message) = port.next().unwrap() {
            heard = true;
            match message {
                In::Ask(Request::Rows(question)) => {
                    let tick = question.tick;
                    assert!(tick >= forgotten, "tick {tick} is asked for, those before {forgotten} are gone");
                    answers.push((question, CHUNKS, CHUNKS + 1));
                }
                In::Ask(Request::More(number)) => {
                    answers.iter_mut().filter(|(of, ..)| of.number == number).for_each(|(_, credit, _)| *credit += 1);
                }
                In::Ask(Request::Enough(number)) => answers.retain(|(of, ..)| of.number != number),
                In::Ask(Request::Since(tick)) => since = tick,
                message => panic!("{message:?}"),
            }
        }
        forgotten = since.min(done).max(forgotten);
        for (question, credit, left) in &mut answers {
            while *credit > 0 && *left > 0 {
                (*credit, *left) = (*credit - 1, *left - 1);
                let chunk = vec![(None, question.tick.to_le_bytes().to_vec())];
                port.send(Out::Rows { number: question.number, chunk, last: *left == 0 }).unwrap();
            }
        }
        answers.retain(|(_, _, left)| *left > 0);
        if last && !heard {
            return;
        }
        if done == TICKS && !heard {
            thread::park();
        }
    }
}

fn tell(lines: &[Arc<Line>]) -> Vec<Arc<dyn Tell>> {
    lines.iter().map(|line| Arc::clone(line) as Arc<dyn Tell>).collect()
}

#[test]
fn a_reader_is_answered_by_each_worker_for_a_tick_that_is_not_forgotten() {
    check(6_000, || {
        let lines: Vec<Arc<Line>> = (0..WORKERS).map(|_| Arc::default()).collect();
        let reads = Reads::new(WORKERS, None, vec![0], ask(&tell(&lines)));
        let over = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (line, over) = (Arc::clone(&lines[worker]), Arc::clone(&over));
                let desk = Arc::new(Answered(Arc::clone(&reads)));
                thread::spawn(move || work(Local::open(worker, line, desk), &over))
            })
            .collect();
        let handles: Vec<_> = workers.iter().map(|worker| worker.thread().clone()).collect();
        let publishing = Arc::clone(&reads);
        let publisher = thread::spawn(move || (0..TICKS).for_each(|tick| publishing.published(&bound(tick))));
        let ask = |first: Option<Tick>| {
            let reads = Arc::clone(&reads);
            move || {
                let upper = *reads.upper().borrow();
                let tick = first.map(|back| upper.saturating_sub(1 + back));
                let answer = reads.at(tick, Collection::SESSIONS, Wanted::default(), None, usize::MAX);
                let mut answer = match answer {
                    Ok(answer) => answer,
                    Err(Unreadable::Nothing) if upper == 0 => return,
                    Err(Unreadable::Gone { since }) => return assert!(tick.is_some_and(|tick| tick < since)),
                    Err(error) => panic!("{error:?} at {tick:?} of {upper}"),
                };
                assert!(tick.is_none_or(|tick| tick == answer.tick) && answer.tick + 1 >= upper.min(1));
                let mut answers = 0;
                while let Some(chunk) = block_on(answer.next()) {
                    let rows: Vec<_> = chunk.into_iter().map(|(_, row)| row).collect();
                    assert_eq!(rows, [answer.tick.to_le_bytes().to_vec()]);
                    answers += 1;
                }
                assert_eq!(answers, WORKERS * (CHUNKS + 1));
                // One that is given up in the middle holds no worker up.
                if let Ok(mut given_up) = reads.at(None, Collection::SESSIONS, Wanted::default(), None, usize::MAX) {
                    assert!(block_on(given_up.next()).is_some());
                }
            }
        };
        let askers = [None, Some(0), Some(1)].map(|first| thread::spawn(ask(first)));
        for asker in askers {
            asker.join().unwrap();
        }
        publisher.join().unwrap();
        over.store(true, Ordering::SeqCst);
        handles.iter().for_each(thread::Thread::unpark);
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
