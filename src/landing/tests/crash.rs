//! A table survives the end of its process and the loss of power in every operation: what was committed stays, nothing is
//! in it twice, and what no commit has is removed.

use super::*;
use headwater_log::vfs::model::{Crash, Fault, Rng};

const CRASHES: [Crash; 4] = [Crash::Kill, Crash::PowerClean, Crash::PowerKept, Crash::PowerTorn];
/// More than one checkpoint.
const TICKS: u64 = 5;

/// What the world knows of a table: the queue was released up to there.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    made: bool,
    upto: Option<u64>,
}

/// Lands all ticks that are left. After an error, the process has ended.
fn land(fs: &ModelFs, known: &mut Known) -> Result<(), String> {
    let opened = open(fs, known.made);
    let mut table = match opened {
        Ok(table) => table,
        Err(Error::Files(_)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    known.made = true;
    if table.upto() < known.upto {
        return Err(format!("the table is at {:?}, and {:?} was released", table.upto(), known.upto));
    }
    check(fs, table.upto())?;
    // From here on it may be released.
    known.upto = table.upto();
    while table.upto() < Some(TICKS) {
        let to = table.upto().map_or(0, |upto| upto + 1);
        match commit(&mut table, to).map(|()| known.upto = Some(to)).and_then(|()| tidy(&mut table, to)) {
            Ok(()) => {}
            Err(Error::Files(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// Joins what there is of each class, and removes from disk what was joined before.
fn tidy(table: &mut Table, to: u64) -> Result<(), Error> {
    if to % 2 == 1 {
        for folder in ["class=a%252Fb/", "class=c/"] {
            join(table, folder, to as i64)?;
        }
    }
    table.vacuum(to as i64 - 1).map(drop)
}

/// Returns the number of operations without a crash.
fn operations() -> u64 {
    let fs = folder(0);
    let begin = fs.operations();
    land(&fs, &mut Known::default()).unwrap();
    fs.operations() - begin
}

/// Crashes in operation `at`, goes on, and crashes in operation `again` of that.
fn crashes(seed: u64, at: u64, again: Option<u64>, kinds: [Crash; 2], skip: Option<SyncStep>) -> Result<(), String> {
    let fs = folder(seed);
    if let Some(step) = skip {
        fs.skip(SyncSite { role: Role::Landing, step });
    }
    let mut known = Known::default();
    fs.crash_at(fs.operations() + at);
    land(&fs, &mut known)?;
    fs.crash(kinds[0]);
    if let Some(again) = again {
        fs.crash_at(fs.operations() + again);
        land(&fs, &mut known)?;
        fs.crash(kinds[1]);
    }
    land(&fs, &mut known)?;
    check(&fs, Some(TICKS))
}

#[test]
fn a_table_survives_a_crash_in_every_operation() {
    let operations = operations();
    for kind in CRASHES {
        for at in 0..operations {
            for seed in 0..2 {
                let outcome = crashes(seed * 1000 + at, at, None, [kind; 2], None);
                assert_eq!(outcome, Ok(()), "{kind:?} in operation {at}, seed {seed}");
            }
        }
    }
    let mut rng = Rng::new(17);
    for case in 0..1500 {
        let kinds = [0; 2].map(|_| CRASHES[rng.below(4) as usize]);
        let (at, again) = (rng.below(operations), rng.below(operations));
        let outcome = crashes(case, at, Some(again), kinds, None);
        assert_eq!(outcome, Ok(()), "case {case}: {kinds:?} in operations {at} and {again}");
    }
    eprintln!("{operations} operations");
}

/// Each sync is for something: without it, some crash loses a row or the table.
#[test]
fn without_any_of_its_syncs_a_table_does_not_survive() {
    let operations = operations();
    let steps = [
        SyncStep::Folders,
        SyncStep::Run,
        SyncStep::RunEntries,
        SyncStep::Manifest,
        SyncStep::Generation,
        SyncStep::ReopenEntries,
    ];
    for step in steps {
        let mut rng = Rng::new(3);
        let fails = |case| {
            let kinds = [0; 2].map(|_| CRASHES[rng.below(4) as usize]);
            let (at, again) = (rng.below(operations), rng.below(operations));
            crashes(case, at, Some(again), kinds, Some(step)).is_err()
        };
        assert!((0..20_000).any(fails), "{step:?} could be left out");
    }
}

#[test]
fn a_full_disk_and_a_broken_one_change_nothing_that_was_committed() {
    let operations = operations();
    for fault in [Fault::Full, Fault::Io] {
        for at in 0..operations {
            let fs = folder(at);
            let mut known = Known::default();
            fs.fail(fs.operations() + at..fs.operations() + at + 3, fault);
            for _ in 0..10 {
                land(&fs, &mut known).unwrap();
            }
            assert_eq!((known.upto, check(&fs, Some(TICKS))), (Some(TICKS), Ok(())), "{fault:?} in operation {at}");
        }
    }
}
