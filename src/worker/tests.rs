//! The loop of a worker, with a snapshot that is made up.

use super::port::{Desk, Line, Local, Tell};
use super::*;
use crate::config::{self, Overrides};
use crate::queue::sequencer::{Minted, Ticks};
use crate::run::announce;
use crate::run::watch::Watchdog;
use dataflows::UserKey;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The restore of a large snapshot took longer than a tick may, and the process ended, over and over.
#[test]
fn however_long_a_restore_takes_the_watchdog_hears_that_it_makes_progress() {
    const STUCK: Duration = Duration::from_secs(30);
    let text = "[[source]]\nname = 's'\nkind = 'http'\n";
    let overrides = Overrides { live: true, ..Overrides::default() };
    let plan = Arc::new(config::parse("run.toml", text, Path::new("/"), &overrides).unwrap());
    let line = Arc::new(Line::default());
    let lines = vec![Arc::clone(&line) as Arc<dyn Tell>];
    let ticks = Arc::new(Ticks::new(1, 8, announce(&lines)));
    let at = Instant::now();
    // A tick waits to be computed, as after a process was killed.
    ticks.bind(minted(8, at));
    ticks.end();
    let clock = Mutex::new((Watchdog::new(STUCK, at), at));
    let watched = Arc::clone(&ticks);
    let read = move |shard: u8, each: &mut dyn FnMut(&str, &[u8], i64)| {
        let mut clock = clock.lock().unwrap();
        let (watchdog, now) = &mut *clock;
        // Each shard takes a while, and is large or not.
        for row in 0..if shard.is_multiple_of(64) { 40_000_u32 } else { 0 } {
            let name = format!("\u{1}{row}");
            let key = UserKey::of(&name).bytes();
            each("names", &[&key[..], &[name.len() as u8], name.as_bytes()].concat(), 1);
            if row % 20_000 == 0 {
                *now += STUCK * 2 / 3;
                assert_eq!(watchdog.look(&watched, *now), None, "row {row} of shard {shard}");
            }
        }
        *now += STUCK * 2 / 3;
        assert_eq!(watchdog.look(&watched, *now), None, "shard {shard}");
        Ok(())
    };
    let start = Start {
        plan,
        readers: Vec::new(),
        control: None,
        sources: Arc::default(),
        definitions: Vec::new(),
        begins: BTreeMap::new(),
        resume: Some(Resume { tick: 7, now_ms: 8, control: 0, read: Box::new(read) }),
        memory: MEMORY_BYTES,
    };
    let desk = Arc::new(Watched { ticks: Arc::clone(&ticks), blocks: AtomicUsize::new(0) });
    let (start, of_worker) = (Arc::new(start), Arc::clone(&desk));
    let worker = timely::execute(timely::Config::process(1), move |worker| {
        let mut port = Local::open(0, Arc::clone(&line), Arc::clone(&of_worker) as Arc<dyn Desk>);
        run(worker, &start, &mut port).unwrap();
    });
    worker.unwrap().join().into_iter().for_each(Result::unwrap);
    assert_eq!((ticks.all_done(), desk.blocks.load(Ordering::SeqCst)), (9, 1));
    assert_eq!(ticks.patience(), Duration::ZERO, "what is left has to be as fast as always");
}

/// The desk of a run, as far as ticks go.
struct Watched {
    ticks: Arc<Ticks>,
    blocks: AtomicUsize,
}

impl Desk for Watched {
    fn take(&self, worker: usize, out: Out) -> Result<(), Error> {
        match out {
            Out::Restored { .. } => self.ticks.restored(worker),
            Out::Alive { rows: 0 } => self.ticks.beat(),
            Out::Alive { rows } => self.ticks.restores(rows),
            Out::Done { upper, deadline } => self.ticks.done(worker, upper, deadline),
            Out::Block { told, .. } => drop(self.blocks.fetch_add(usize::from(told.is_some()), Ordering::SeqCst)),
            out => panic!("{out:?}"),
        }
        Ok(())
    }

    fn closed(&self, _: usize) {}
}

fn minted(tick: Tick, at: Instant) -> Minted {
    let bound = Bound { tick, now_ms: 9, queue: Vec::new(), control: 0..0, snapshot: false };
    Minted { bound, digest: [0; 32], step: None, at }
}

/// While rows are arranged no worker says anything; how long that may take follows their number.
#[test]
fn a_worker_that_hangs_is_found_all_the_same() {
    const STUCK: Duration = Duration::from_secs(30);
    let (ticks, at) = (Ticks::new(2, 0, Box::new(|_| {})), Instant::now());
    let mut watchdog = Watchdog::new(STUCK, at);
    let mut look = |seconds| watchdog.look(&ticks, at + Duration::from_secs(seconds));
    assert_eq!(look(1000), None, "nothing is in flight");
    ticks.bind(minted(0, at));
    assert_eq!((look(1001), look(1031)), (None, None));
    ticks.restores(1_000_000);
    assert_eq!((look(1032), look(1082), look(1083)), (None, None, Some(0)));
    ticks.beat();
    assert_eq!(look(1084), None);
    [0, 1].into_iter().for_each(|worker| ticks.restored(worker));
    assert_eq!((look(1114), look(1115)), (None, Some(0)));
}
