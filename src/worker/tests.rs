//! The loop of a worker, with a snapshot that is made up.

use super::*;
use crate::config::{self, Overrides};
use crate::run::watch::Watchdog;
use dataflows::UserKey;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Instant;

/// The restore of a large snapshot took longer than a tick may, and the process ended, over and over.
#[test]
fn however_long_a_restore_takes_the_watchdog_hears_that_it_makes_progress() {
    const STUCK: Duration = Duration::from_secs(30);
    let text = "[[source]]\nname = 's'\nkind = 'http'\n";
    let overrides = Overrides { live: true, ..Overrides::default() };
    let plan = Arc::new(config::parse("run.toml", text, Path::new("/"), &overrides).unwrap());
    let ticks = Arc::new(Ticks::new(1, 8));
    let (digest, snapshot, at) = ([0; 32], false, Instant::now());
    // A tick waits to be computed, as after a process was killed.
    ticks.bind(Bound { tick: 8, now_ms: 9, queue: Vec::new(), control: 0..0, digest, step: None, snapshot, at });
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
    let (published, outputs) = mpsc::channel();
    let (snapshots, _contributions) = mpsc::channel();
    let shared = Shared {
        plan,
        ticks: Arc::clone(&ticks),
        metrics: Arc::new(Metrics::new()),
        reads: Reads::new(1, Some((7, 8)), Vec::new()),
        readers: Vec::new(),
        sources: Arc::default(),
        definitions: Vec::new(),
        begins: BTreeMap::new(),
        resume: Some(Resume { tick: 7, now_ms: 8, control: 0, read: Box::new(read) }),
        published: Publishing::new(1, published),
        snapshots,
        reserve: Arc::new(Reserve::none()),
        memory: MEMORY_BYTES,
    };
    let shared = Arc::new(shared);
    let worker = timely::execute(timely::Config::process(1), move |worker| run(worker, &shared).unwrap());
    worker.unwrap().join().into_iter().for_each(Result::unwrap);
    assert_eq!((ticks.all_done(), outputs.try_iter().count()), (9, 1));
    assert_eq!(ticks.patience(), Duration::ZERO, "what is left has to be as fast as always");
}

/// While rows are arranged no worker says anything; how long that may take follows their number.
#[test]
fn a_worker_that_hangs_is_found_all_the_same() {
    const STUCK: Duration = Duration::from_secs(30);
    let (ticks, at) = (Ticks::new(2, 0), Instant::now());
    let mut watchdog = Watchdog::new(STUCK, at);
    let mut look = |seconds| watchdog.look(&ticks, at + Duration::from_secs(seconds));
    let (digest, snapshot, queue) = ([0; 32], false, Vec::new());
    assert_eq!(look(1000), None, "nothing is in flight");
    ticks.bind(Bound { tick: 0, now_ms: 9, queue, control: 0..0, digest, step: None, snapshot, at });
    assert_eq!((look(1001), look(1031)), (None, None));
    ticks.restores(1_000_000);
    assert_eq!((look(1032), look(1082), look(1083)), (None, None, Some(0)));
    ticks.beat();
    assert_eq!(look(1084), None);
    [0, 1].into_iter().for_each(|worker| ticks.restored(worker));
    assert_eq!((look(1114), look(1115)), (None, Some(0)));
}
