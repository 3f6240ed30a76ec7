//! Reads: each worker that gets a request answers, at a tick that it still has.

use super::check;
use crate::collections::Collection;
use crate::queue::sequencer::Bound;
use crate::read::reads::{Reads, Unreadable, Wanted};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread;
use dataflows::Tick;
use shuttle::future::block_on;
use std::sync::Arc;
use std::time::Instant;

const WORKERS: usize = 2;
const TICKS: Tick = 4;

fn bound(tick: Tick) -> Bound {
    let queue = vec![0..tick; 1];
    let (digest, at) = ([0; 32], Instant::now());
    Bound { tick, now_ms: tick as i64, queue, control: 0..0, digest, step: None, snapshot: false, at }
}

/// Acts like [`crate::worker`] on requests: answers with a row for the tick, and compacts as far as it may.
fn work(reads: &Reads, worker: usize, over: &AtomicBool) {
    reads.join(worker);
    let (mut done, mut forgotten) = (0, 0);
    loop {
        let last = over.load(Ordering::SeqCst);
        if done < TICKS {
            done += 1;
        }
        forgotten = reads.since(done).max(forgotten);
        let requests = reads.requests(worker);
        let asked = !requests.is_empty();
        for request in requests {
            assert!(request.tick >= forgotten, "tick {} is asked for, those before {forgotten} are gone", request.tick);
            // The reader may have gone.
            let _ = request.answer.try_send(vec![(None, request.tick.to_le_bytes().to_vec())]);
        }
        if last && !asked {
            return;
        }
        if done == TICKS && !asked {
            thread::park();
        }
    }
}

#[test]
fn a_reader_is_answered_by_each_worker_for_a_tick_that_is_not_forgotten() {
    check(6_000, || {
        let reads = Reads::new(WORKERS, None, vec![0]);
        let over = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (reads, over) = (Arc::clone(&reads), Arc::clone(&over));
                thread::spawn(move || {
                    work(&reads, worker, &over);
                })
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
                while let Some(chunk) = block_on(answer.chunks.recv()) {
                    let rows: Vec<_> = chunk.into_iter().map(|(_, row)| row).collect();
                    assert_eq!(rows, [answer.tick.to_le_bytes().to_vec()]);
                    answers += 1;
                }
                assert_eq!(answers, WORKERS);
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
