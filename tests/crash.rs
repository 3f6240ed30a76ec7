//! An acknowledged record of the log survives any crash. The log runs on a file system that forgets unsynced bytes, and
//! is crashed at every single operation, in recovery too. A log that leaves out any one sync is caught.

mod check;
mod expected;
mod world;

use headwater_log::vfs::model::{Crash, Fault, ModelFs, Rng};
use headwater_log::vfs::{Role, SyncSite, SyncStep};
use std::collections::BTreeSet;
use std::env;
use std::time::Instant;
use world::{Broken, Ended, World};

/// Steps of a script.
const STEPS: usize = 200;
const CRASHES: [Crash; 5] = [Crash::Kill, Crash::PowerClean, Crash::PowerTorn, Crash::PowerKept, Crash::PowerTorn];

fn any_crash(rng: &mut Rng) -> Crash {
    CRASHES[rng.below(CRASHES.len() as u64) as usize]
}

/// Runs a script on `fs` until it ends or crashes.
fn run(fs: &ModelFs, script: u64, broken: Option<Broken>) -> Result<(World, Ended), String> {
    let mut world = World::new(fs.clone(), script, broken);
    let ended = world.start_and_step(STEPS)?;
    Ok((world, ended))
}

/// A crash has happened: crashes, recovers, checks, and goes on in one of several ways to the next crash.
fn aftermath(mut world: World, first: Crash, seed: u64) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    world.crash(first);
    if rng.below(2) == 0 {
        // And again, while recovering.
        let ahead = rng.below(40);
        world.fs.crash_at(world.fs.operations() + ahead);
        match world.open() {
            Ok(Ended::Done) => world.check()?,
            Ok(Ended::Stopped) => {}
            Err(violation) => return Err(format!("recovering: {violation}")),
        }
        world.crash(any_crash(&mut rng));
    }
    world.open()?.done()?;
    world.check()?;
    if rng.below(2) == 0 {
        let ahead = rng.below(60);
        world.fs.crash_at(world.fs.operations() + ahead);
        let _crashed_or_not = world.step(15)?;
        world.crash(any_crash(&mut rng));
        world.open()?.done()?;
        world.check()
    } else {
        // What was recovered once is what is recovered always.
        let before = world.recovered();
        world.crash(any_crash(&mut rng));
        world.open()?.done()?;
        world.check()?;
        if before == world.recovered() { Ok(()) } else { Err("another recovery gives something else".into()) }
    }
}

/// The way in which a script's process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Crash,
    /// By the log, as the disk fails.
    DiskFails,
}

/// The file system of a script.
fn prepared(end: End, script: u64, broken: Option<Broken>) -> ModelFs {
    let fs = ModelFs::new(script);
    if let Some(Broken::Sync(site)) = broken {
        fs.skip(site);
    }
    // Some scripts run out of space for a while.
    if end == End::Crash && script % 3 == 1 {
        let from = 60 + script * 37 % 400;
        fs.fail(from..from + 1 + script % 4, Fault::Full);
    }
    fs
}

/// Ends a script at every operation, `variants` times each, until the `budget` of schedules is used up.
fn end_everywhere(
    end: End,
    script: u64,
    variants: u64,
    broken: Option<Broken>,
    budget: &mut u64,
) -> Result<(), String> {
    let whole = prepared(end, script, broken);
    run(&whole, script, broken)?.1.done()?;
    for at in 0..whole.operations() {
        let fs = prepared(end, script, broken);
        match end {
            End::Crash => fs.crash_at(at),
            End::DiskFails => fs.fail(at..at + 1, Fault::Io),
        }
        let (world, ended) = run(&fs, script, broken)?;
        assert_eq!(ended, Ended::Stopped, "script {script}, operation {at}");
        for variant in 0..variants {
            let seed = script << 40 | at << 16 | variant;
            let crash = CRASHES[variant as usize % CRASHES.len()];
            let ended = aftermath(world.fork(seed), crash, seed);
            ended.map_err(|violation| format!("script {script}, operation {at}, variant {variant}: {violation}"))?;
            *budget = budget.saturating_sub(1);
            if *budget == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A number of schedules from the environment, for longer runs.
fn schedules(default: u64) -> u64 {
    let set = env::var("HEADWATER_CRASH_SCHEDULES").ok();
    set.map_or(default, |number| number.parse().expect("HEADWATER_CRASH_SCHEDULES is a number"))
}

#[test]
fn nothing_that_was_acknowledged_is_lost() {
    let started = Instant::now();
    let wanted = schedules(if cfg!(debug_assertions) { 2_000 } else { 100_000 });
    let (mut budget, mut scripts) = (wanted, 0);
    while budget > 0 {
        let ended = end_everywhere(End::Crash, scripts, 10, None, &mut budget);
        ended.unwrap_or_else(|violation| panic!("{violation}"));
        scripts += 1;
    }
    println!("{wanted} schedules of {scripts} scripts in {:.1} s, no violation", started.elapsed().as_secs_f64());
}

/// Linux marks pages clean whose sync has failed: they can be read, and no later sync writes them. A process that comes
/// after one that exited because of that must not take them for durable.
#[test]
fn a_disk_that_fails_ends_the_process_and_loses_nothing_that_was_acknowledged() {
    let mut budget = if cfg!(debug_assertions) { 1_000 } else { 10_000 };
    let mut script = 100;
    while budget > 0 {
        let ended = end_everywhere(End::DiskFails, script, 5, None, &mut budget);
        ended.unwrap_or_else(|violation| panic!("{violation}"));
        script += 1;
    }
}

/// Every sync that the log makes.
fn sites() -> BTreeSet<SyncSite> {
    let of = |role| move |step| SyncSite { role, step };
    let partitions = Role::PARTITIONED.into_iter().flat_map(|role| SyncStep::PARTITION.map(of(role)));
    let others = [
        of(Role::Root)(SyncStep::Identity),
        of(Role::Root)(SyncStep::Folders),
        of(Role::Queue)(SyncStep::Folders),
        FORGET,
        of(Role::Output)(SyncStep::Destroy),
    ];
    // Control records are never released; outputs begin a new set at each start, which syncs the folder.
    let never = [of(Role::Control)(SyncStep::LowWatermark), of(Role::Output)(SyncStep::ReopenEntries)];
    partitions.chain(others).filter(|site| !never.contains(site)).collect()
}

#[test]
fn a_log_that_leaves_out_one_sync_is_caught() {
    let reached = (0..50).flat_map(|script| {
        let whole = prepared(End::Crash, script, None);
        run(&whole, script, None).unwrap().1.done().unwrap();
        whole.sites()
    });
    assert_eq!(reached.collect::<BTreeSet<_>>(), sites(), "the scripts reach every site");
    for site in sites().into_iter().filter(|site| *site != FORGET) {
        caught(Broken::Sync(site));
    }
}

/// A tick happens with what is published of it, which therefore says what the tick took, and is kept for as long.
#[test]
fn a_log_that_breaks_the_order_of_ticks_and_outputs_is_caught() {
    caught(Broken::Steps);
    caught(Broken::Retention);
}

fn caught(broken: Broken) {
    let limit = 200_000;
    let (mut budget, mut script) = (limit, 0);
    while budget > 0 {
        if let Err(violation) = end_everywhere(End::Crash, script, 10, Some(broken), &mut budget) {
            return println!("{broken:?}: after {} schedules: {violation}", limit - budget);
        }
        script += 1;
    }
    panic!("{broken:?} is not noticed");
}

const FORGET: SyncSite = SyncSite { role: Role::Queue, step: SyncStep::Forget };

/// Commits that run out of space, and crashes right behind them.
fn refuse_and_crash(skip: Option<SyncSite>) -> Result<(), String> {
    for seed in 0..3_000 {
        let mut rng = Rng::new(seed);
        let fs = ModelFs::new(seed);
        if let Some(site) = skip {
            fs.skip(site);
        }
        let mut world = World::new(fs.clone(), seed, None);
        world.start_and_step(rng.below(20) as usize)?.done()?;
        fs.fail(fs.operations() + rng.below(6)..u64::MAX, Fault::Full);
        world.commit()?.done()?;
        world.crash(any_crash(&mut rng));
        world.open()?.done()?;
        world.check().map_err(|violation| format!("schedule {seed}: {violation}"))?;
    }
    Ok(())
}

/// A sender that sends records without ids again relies on it.
#[test]
fn what_was_refused_for_want_of_space_never_turns_up() {
    refuse_and_crash(None).unwrap();
    let caught = refuse_and_crash(Some(FORGET)).expect_err("the cut is not synced, and no check notices");
    println!("without {FORGET:?}: {caught}");
}

/// A medium that flips a bit: an error of opening or reading that names the file, or a bit that nothing depends on. Never
/// a record that is lost, or another one.
#[test]
fn a_flipped_bit_is_an_error_that_names_the_file() {
    let mut rng = Rng::new(1);
    let (mut caught, mut harmless) = (0, 0);
    for script in [200, 201] {
        let fs = ModelFs::new(script);
        let (mut world, ended) = run(&fs, script, None).unwrap();
        ended.done().unwrap();
        world.acknowledge_all().unwrap().done().unwrap();
        fs.crash(Crash::PowerKept);
        for (file, bytes) in fs.files() {
            let step = if cfg!(debug_assertions) { 29 } else { 1 };
            for byte in (0..bytes.len()).step_by(step) {
                let bit = rng.below(8) as u8;
                let mut world = world.fork(byte as u64);
                world.fs.flip(&file, byte, bit);
                let place = format!("script {script}, {}, byte {byte}, bit {bit}", file.display());
                match world.open().and_then(Ended::done).and_then(|()| world.check()) {
                    Ok(()) => harmless += 1,
                    Err(error) => {
                        let name = file.to_str().unwrap();
                        assert!(error.contains(&format!("`{name}` is damaged at byte")), "{place}: {error}");
                        caught += 1;
                    }
                }
            }
        }
    }
    println!("{caught} flips are errors, {harmless} harmless");
    assert!(caught > 10 * harmless);
}
