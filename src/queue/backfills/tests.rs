//! What the registry of backfills takes, and what it refuses.

use super::*;
use crate::queue::numbers::SourceNumber;
use headwater_log::vfs::model::Rng;

const ALL: Amount = Amount { records: 100, bytes: 1000 };

fn opening(name: &str, content: u64) -> Opening {
    Opening { name: name.into(), source: "web".into(), content: [content, 0], files: 2, all: ALL }
}

fn place(at: u64) -> BackfillPlace {
    BackfillPlace { file: (at / 500) as u32, offset: at % 500 }
}

fn chunk(after: u64, to: u64, last: bool) -> Advance {
    Advance { after: place(after), to: place(to), from: to % 500, records: (to - after) / 10, bytes: to - after, last }
}

/// Opens, and makes that durable.
fn open(backfills: &Arc<Backfills>, opening: &Opening) -> Result<String, Refused> {
    let (lease, asked) = backfills.open(opening, 7)?;
    if let Asked::Step(step) = asked {
        step.taken();
    }
    Ok(lease)
}

/// Clients send chunks of any length, send them again, and lose answers; steps do not become durable; the engine starts
/// again. What is durable goes on without a gap, and without anything twice.
#[test]
fn whatever_is_lost_chunks_that_are_durable_follow_each_other() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let mut durable = Cursors::default();
        let mut backfills = Backfills::new(&durable, 0);
        // What each client believes, and its lease.
        let mut clients = [(0, String::new()), (0, String::new())];
        let (mut reached, mut starts) = (0, 0);
        while reached < ALL.bytes {
            let client = rng.below(2) as usize;
            if rng.below(20) == 0 {
                starts += 1;
                backfills = Backfills::new(&durable, starts);
            }
            let (believed, lease) = clients[client].clone();
            let to = (believed + 10 * (1 + rng.below(8))).min(ALL.bytes);
            match backfills.advance("b", &lease, chunk(believed, to, to == ALL.bytes)) {
                Ok(Asked::Already) => clients[client].0 = to,
                Ok(Asked::Step(step)) => {
                    assert_eq!(reached, believed, "a chunk follows the one before it");
                    assert_eq!(step.cursor.done.bytes, to);
                    let is_stored = rng.below(4) > 0;
                    if is_stored {
                        durable.add(SourceNumber(3), Cursor::Backfill(Box::new(step.cursor.clone())));
                        reached = to;
                        // The engine may end before it knows.
                        if rng.below(10) == 0 {
                            starts += 1;
                            backfills = Backfills::new(&durable, starts);
                        } else {
                            step.taken();
                        }
                    }
                    // The answer may be lost.
                    if is_stored && rng.below(3) > 0 {
                        clients[client].0 = to;
                    }
                }
                Err(_) => {
                    let (lease, asked) = backfills.open(&opening("b", 1), 7).unwrap();
                    if let Asked::Step(step) = asked {
                        durable.add(SourceNumber(3), Cursor::Backfill(Box::new(step.cursor.clone())));
                        step.taken();
                    }
                    let report = backfills.report("b").unwrap();
                    let at = u64::from(report.file) * 500 + report.offset;
                    assert_eq!((at, report.bytes), (reached, reached));
                    clients[client] = (at, lease);
                }
            }
        }
        assert_eq!(Backfills::new(&durable, 99).report("b").unwrap().state, BackfillStage::Done, "{seed}");
    }
}

#[test]
fn a_name_and_a_content_are_of_one_backfill() {
    let backfills = Backfills::new(&Cursors::default(), 0);
    open(&backfills, &opening("one", 1)).unwrap();
    let refused = |opening: &Opening| open(&backfills, opening).unwrap_err();
    assert_eq!(refused(&opening("one", 2)), Refused::Other("one".into()));
    assert_eq!(refused(&Opening { files: 3, ..opening("one", 1) }), Refused::Other("one".into()));
    assert_eq!(refused(&opening("two", 1)), Refused::Same("one".into()));
    open(&backfills, &Opening { source: "app".into(), ..opening("two", 1) }).unwrap();
    for name in ["", "a b", "ü", "../x", &"n".repeat(65)] {
        assert_eq!(refused(&opening(name, 3)), Refused::Name, "{name}");
    }
    assert_eq!(backfills.reports().len(), 2);
}

/// A step that does not become durable leaves nothing behind.
#[test]
fn a_step_holds_others_up_until_it_is_durable_or_given_up() {
    let backfills = Backfills::new(&Cursors::default(), 0);
    let (_, begun) = backfills.open(&opening("b", 1), 7).unwrap();
    assert_eq!(backfills.open(&opening("b", 1), 7).unwrap_err(), Refused::Busy);
    assert_eq!(backfills.report("b"), None);
    drop(begun);
    assert_eq!(backfills.pause("b", true).unwrap_err(), Refused::Unknown("b".into()));
    let lease = open(&backfills, &opening("b", 1)).unwrap();
    let pausing = backfills.pause("b", true).unwrap();
    assert_eq!(backfills.advance("b", &lease, chunk(0, 10, false)).unwrap_err(), Refused::Busy);
    drop(pausing);
    let Asked::Step(pausing) = backfills.pause("b", true).unwrap() else { panic!("it was not paused") };
    pausing.taken();
    assert_eq!(backfills.advance("b", &lease, chunk(0, 10, false)).unwrap_err(), Refused::Paused("b".into()));
    assert!(matches!(backfills.pause("b", true), Ok(Asked::Already)));
    let Asked::Step(resuming) = backfills.pause("b", false).unwrap() else { panic!("it was not resumed") };
    resuming.taken();
    assert!(matches!(backfills.advance("b", &lease, chunk(0, 10, false)), Ok(Asked::Step(_))));
    let other = open(&backfills, &opening("b", 1)).unwrap();
    assert_eq!(backfills.advance("b", &lease, chunk(0, 10, false)).unwrap_err(), Refused::Lease("b".into()));
    // Neither backwards, nor nowhere, nor from elsewhere.
    for wrong in [chunk(10, 20, false), chunk(0, 0, false)] {
        assert_eq!(backfills.advance("b", &other, wrong).unwrap_err(), Refused::Place);
    }
}
