//! A snapshot that was written survives any crash, whole. Scripts are crashed at every single operation, in recovery too,
//! in the manner of the log's. A store that leaves out any one sync is caught.

use super::*;
use crate::state::site;
use crate::vfs::model::Crash;
use crate::vfs::{SyncSite, SyncStep};
use std::env;
use std::time::Instant;

const STEPS: usize = 14;
const CRASHES: [Crash; 5] = [Crash::Kill, Crash::PowerClean, Crash::PowerTorn, Crash::PowerKept, Crash::PowerTorn];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    tick: u64,
    extra: Vec<u8>,
    rows: Model,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Ended {
    Done,
    /// The process is gone, or has to go.
    Stopped,
}

/// A store in use.
struct World {
    fs: ModelFs,
    store: Option<StateStore>,
    epoch: u64,
    /// The snapshots that were written or found, the newest last.
    durable: Vec<Expected>,
    /// The snapshot that an unfinished write may have made durable.
    attempted: Option<Expected>,
    /// With what no snapshot has yet.
    current: Model,
    anew: bool,
    rng: Rng,
}

impl World {
    fn new(fs: ModelFs, script: u64) -> World {
        let (durable, current) = (Vec::new(), Model::new());
        World { fs, store: None, epoch: 0, durable, attempted: None, current, anew: false, rng: Rng::new(!script) }
    }

    /// The same, crashed, on a file system of its own.
    fn fork(&self, seed: u64) -> World {
        let (durable, attempted) = (self.durable.clone(), self.attempted.clone());
        World { epoch: self.epoch, durable, attempted, ..World::new(self.fs.fork(seed), seed) }
    }

    fn crash(&mut self, crash: Crash) {
        self.fs.crash(crash);
        self.store = None;
    }

    fn open(&mut self) -> Result<Ended, String> {
        self.store = None;
        self.epoch += 1;
        let (store, damages) = match StateStore::open(context(self.fs.clone(), self.epoch), Path::new(DIR)) {
            Ok(opened) => opened,
            Err(LogError::Full(_)) => return self.open(),
            Err(LogError::Poisoned(_)) => return Ok(Ended::Stopped),
            Err(error) => return Err(format!("{error} ({error:?})")),
        };
        if let Some(damage) = damages.first() {
            return Err(format!("a crash is taken for damage: {damage:?}"));
        }
        self.store = Some(store);
        let found = self.found()?;
        let attempted = self.attempted.take();
        if found.is_some() && found == attempted {
            self.durable.extend(attempted);
        }
        self.anew = false;
        self.current = found.as_ref().map(|found| found.rows.clone()).unwrap_or_default();
        if found.as_ref() == self.durable.last() { Ok(Ended::Done) } else { Err("another snapshot was written".into()) }
    }

    /// Returns the rows of the store.
    fn found(&self) -> Result<Option<Expected>, String> {
        let store = self.store.as_ref().ok_or("the store is not open")?;
        let Some(generation) = store.generation() else { return Ok(None) };
        let rows = rows(store).map_err(|error| error.to_string())?;
        Ok(Some(Expected { tick: generation.tick, extra: generation.extra.clone(), rows }))
    }

    fn check(&self) -> Result<(), String> {
        if self.found()?.as_ref() != self.durable.last() {
            return Err("another snapshot was written".into());
        }
        let [.., older, newest] = self.durable.as_slice() else { return Ok(()) };
        let release = self.store.as_ref().and_then(StateStore::release_tick);
        if release != Some(older.tick.min(newest.tick)) {
            return Err(format!(
                "the log is released behind {release:?}, the older snapshot is of tick {}",
                older.tick
            ));
        }
        // The older one is whole too.
        let mut fallen = World { durable: self.durable[..self.durable.len() - 1].to_vec(), ..self.fork(0) };
        fallen.crash(Crash::PowerKept);
        let manifest = fallen.fs.files().into_keys().rfind(|file| file.extension().is_some_and(|of| of == "gen"));
        fallen.fs.flip(&manifest.ok_or("there is no manifest")?, 70, 0);
        let opened = StateStore::open(context(fallen.fs.clone(), self.epoch), Path::new(DIR));
        let (store, damages) = opened.map_err(|error| format!("the older snapshot: {error}"))?;
        fallen.store = Some(store);
        let right = damages.len() == 1 && fallen.found()?.as_ref() == Some(older);
        if right { Ok(()) } else { Err("the older snapshot is not the one before".into()) }
    }

    fn step(&mut self, steps: usize) -> Result<Ended, String> {
        for _ in 0..steps {
            let ended = match self.rng.below(10) {
                0 => self.open()?,
                1 => {
                    self.anew = true;
                    self.current.clear();
                    self.store.as_mut().ok_or("the store is not open")?.restart();
                    Ended::Done
                }
                _ => self.write()?,
            };
            if ended == Ended::Stopped {
                return Ok(ended);
            }
        }
        Ok(Ended::Done)
    }

    fn write(&mut self) -> Result<Ended, String> {
        let changes = some_changes(&mut self.rng);
        apply(&mut self.current, &changes);
        let last = self.durable.last().map_or(0, |last| last.tick);
        let tick = if self.anew { last / 2 } else { last + 1 + self.rng.below(3) };
        let snapshot = snapshot(tick, changes);
        let expected = Expected { tick, extra: snapshot.extra.clone(), rows: self.current.clone() };
        self.attempted = Some(expected.clone());
        match self.store.as_mut().ok_or("the store is not open")?.write(snapshot) {
            Ok(_) => {
                self.durable.push(expected);
                self.attempted = None;
                self.anew = false;
                let found = self.found()?;
                if found.as_ref() == self.durable.last() { Ok(Ended::Done) } else { Err("rows are not right".into()) }
            }
            Err(LogError::Full(_)) => {
                self.attempted = None;
                Ok(Ended::Done)
            }
            Err(LogError::Poisoned(_)) => Ok(Ended::Stopped),
            Err(error) => Err(format!("{error} ({error:?})")),
        }
    }
}

/// Runs a script until it ends or crashes.
fn run(fs: &ModelFs, script: u64) -> Result<(World, Ended), String> {
    let mut world = World::new(fs.clone(), script);
    let ended = match world.open()? {
        Ended::Done => world.step(STEPS)?,
        Ended::Stopped => Ended::Stopped,
    };
    Ok((world, ended))
}

fn any_crash(rng: &mut Rng) -> Crash {
    CRASHES[rng.below(CRASHES.len() as u64) as usize]
}

fn done(ended: Ended) -> Result<(), String> {
    if ended == Ended::Done { Ok(()) } else { Err("the store stopped by itself".into()) }
}

/// A crash has happened: crashes, recovers, checks, and goes on in one of several ways to the next crash.
fn aftermath(mut world: World, first: Crash, seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    world.crash(first);
    if rng.below(2) == 0 {
        // And again, while recovering.
        world.fs.crash_at(world.fs.operations() + rng.below(8));
        let _crashed_or_not = world.open()?;
        world.crash(any_crash(&mut rng));
    }
    done(world.open()?)?;
    world.check()?;
    if rng.below(2) == 0 {
        world.fs.crash_at(world.fs.operations() + rng.below(40));
        let _crashed_or_not = world.step(4)?;
    }
    world.crash(any_crash(&mut rng));
    done(world.open()?)?;
    world.check()
}

/// Ends a script at every operation, `variants` times each, until the `budget` of schedules is used up: crashes it, or, if
/// `fault` is given, lets the disk fail.
fn end_everywhere(
    script: u64,
    fault: Option<Fault>,
    variants: u64,
    skip: Option<SyncSite>,
    budget: &mut u64,
) -> Result<(), String> {
    let prepared = || {
        let fs = model_fs(script);
        if let Some(site) = skip {
            fs.skip(site);
        }
        // Some scripts run out of space for a while.
        if fault.is_none() && script % 3 == 1 {
            let from = 20 + script * 37 % 200;
            fs.fail(from..from + 1 + script % 4, Fault::Full);
        }
        fs
    };
    let whole = prepared();
    done(run(&whole, script)?.1)?;
    for at in prepared().operations()..whole.operations() {
        let fs = prepared();
        match fault {
            None => fs.crash_at(at),
            Some(fault) => fs.fail(at..at + 1, fault),
        }
        let (world, ended) = run(&fs, script)?;
        assert_eq!(ended, Ended::Stopped, "script {script}, operation {at}");
        for variant in 0..variants {
            let seed = script << 40 | at << 16 | variant;
            let ended = aftermath(world.fork(seed), CRASHES[variant as usize % CRASHES.len()], seed);
            ended.map_err(|violation| format!("script {script}, operation {at}, variant {variant}: {violation}"))?;
            *budget -= 1;
            if *budget == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn budget(release: u64) -> u64 {
    if cfg!(debug_assertions) { release / 20 } else { release }
}

/// A number of schedules from the environment, for longer runs.
fn schedules(default: u64) -> u64 {
    let set = env::var("HEADWATER_CRASH_SCHEDULES").ok();
    set.map_or(default, |number| number.parse().expect("HEADWATER_CRASH_SCHEDULES is a number"))
}

#[test]
fn no_snapshot_that_was_written_is_lost() {
    let started = Instant::now();
    let (wanted, mut script) = (schedules(budget(4_000)), 0);
    let mut budget = wanted;
    while budget > 0 {
        end_everywhere(script, None, 5, None, &mut budget).unwrap_or_else(|violation| panic!("{violation}"));
        script += 1;
    }
    println!("{wanted} schedules of {script} scripts in {:.1} s, no violation", started.elapsed().as_secs_f64());
}

#[test]
fn a_disk_that_fails_ends_the_process_and_loses_no_snapshot_that_was_written() {
    let (mut budget, mut script) = (budget(2_000), 100);
    while budget > 0 {
        let ended = end_everywhere(script, Some(Fault::Io), 5, None, &mut budget);
        ended.unwrap_or_else(|violation| panic!("{violation}"));
        script += 1;
    }
}

#[test]
fn a_store_that_leaves_out_one_sync_is_caught() {
    let whole = model_fs(0);
    done(run(&whole, 0).unwrap().1).unwrap();
    let sites = SyncStep::STATE.map(site);
    assert_eq!(whole.sites(), sites.into(), "the script reaches every site");
    let mut missed = Vec::new();
    for site in sites {
        let limit = 5_000;
        let (mut budget, mut script) = (limit, 0);
        let caught = loop {
            match end_everywhere(script, None, 10, Some(site), &mut budget) {
                Err(violation) => break Some(violation),
                Ok(()) if budget == 0 => break None,
                Ok(()) => script += 1,
            }
        };
        match caught {
            Some(violation) => println!("{site:?}: after {} schedules: {violation}", limit - budget),
            None => missed.push(site),
        }
    }
    assert!(missed.is_empty(), "left out and not noticed: {missed:?}");
}
