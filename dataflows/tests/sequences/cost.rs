//! What a change costs: events read and rows changed, whatever the length of the key's history.

use super::oracle::Asked;
use super::run::{Input, Way, run};
use dataflows::sequence::{Repeat, State, StepEvent, Ties, Track};
use dataflows::{EventTime, UserKey};

const MINUTE: i64 = 60_000_000;
const WITHIN: i64 = 60 * MINUTE;
/// Of the key that has them.
const EVENTS: i64 = 30_000;
/// Lone changes, each a tick.
const LONE: i64 = 60;

fn event(time: i64, steps: u8) -> StepEvent {
    StepEvent::new(EventTime::from_micros(time).unwrap(), steps, 0, 0, None)
}

/// Numbers that look random: SplitMix64 of G. Steele, D. Lea and C. Flood.
fn numbers() -> impl Iterator<Item = i64> {
    (1u64..).map(|n| {
        let mut mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 1) as i64
    })
}

/// Gives a key events every 2 seconds, 1,800 in `WITHIN`, with the steps that `of` says; then changes single ones. Returns the
/// most events read for one of these changes, and the most rows that one changed.
fn lone_changes(repeat: Repeat, of: impl Fn(i64) -> u8) -> (u64, usize) {
    let asked =
        Asked { within: WITHIN, steps: vec![false, true, false, false], excepts: vec![], repeat, ties: Ties::Ordered };
    let track = Track { key: UserKey::of("bot"), sequence: 0 };
    let all = numbers().zip(0..EVENTS).map(|(number, n)| ((track, event(n * 2_000_000, of(number))), 1));
    let mut inputs = vec![Input { changes: all.collect(), now_ms: 0, ended: Vec::new() }];
    for (number, n) in numbers().skip(7).zip(0..LONE) {
        let at = number % EVENTS * 2_000_000 + 1;
        inputs.push(Input { changes: vec![((track, event(at, of(number / 8))), 1)], now_ms: 0, ended: Vec::new() });
        if n % 2 == 1 {
            inputs.push(Input {
                changes: vec![((track, event(at, of(number / 8))), -1)],
                now_ms: 0,
                ended: Vec::new(),
            });
        }
    }
    let ran = run(&[asked.definition()], &inputs, 0, Way { workers: 1, in_flight: 1, sparse: 64 });
    assert!(ran.read[0] <= 2 * EVENTS as u64, "all at once: {} events read for {EVENTS}", ran.read[0]);
    let most = ran.read.windows(2).map(|ticks| ticks[1] - ticks[0]).max();
    (most.unwrap(), ran.updates[1..].iter().copied().max().unwrap())
}

/// A third, a fourth of them and so on: of random steps, states agree after some dozen events.
#[test]
fn a_lone_change_of_a_dense_key_reads_its_neighbourhood() {
    let (read, rows) = lone_changes(Repeat::Tight, |number| 1 << (number % 4));
    assert!(read <= 400, "{read} events were read for one change of 3,600 within reach");
    assert!(rows <= 18, "one change of a sequence of 3 required steps changed {rows} rows");
}

#[test]
fn a_key_that_never_completes_costs_as_little() {
    let (read, rows) = lone_changes(Repeat::Tight, |number| 1 << (number % 3));
    assert!(read <= 400, "{read} events were read for one change of 3,600 within reach");
    assert!(rows <= 18, "one change of a sequence of 3 required steps changed {rows} rows");
}

/// The worst: no attempt comes as far as the last level, so all of the two spans before a change may matter.
#[test]
fn a_key_that_only_begins_reads_two_spans_back_and_one_row_changes() {
    let (read, rows) = lone_changes(Repeat::Tight, |_| 1);
    assert!(read <= 3 * 3600 + 400, "{read} events were read for one change of 3,600 within reach");
    assert!(rows <= 4, "{rows} rows changed");
}

#[test]
fn with_overlap_as_many_rows_change_as_there_are_starts_in_reach() {
    let (read, rows) = lone_changes(Repeat::Overlap, |number| 1 << (number % 4));
    assert!(read <= 3700, "{read} events were read for one change of 3,600 within reach");
    assert!(rows <= 3600, "{rows} rows changed");
}

/// A clock that goes on by a day: other operators get their turns meanwhile.
#[test]
fn what_expires_at_once_does_so_in_turns() {
    let asked =
        Asked { within: WITHIN, steps: vec![false; 2], excepts: vec![], repeat: Repeat::Tight, ties: Ties::Ordered };
    let keys = (0..70_000).map(|key: i64| Track { key: UserKey::of(&key.to_string()), sequence: 0 });
    let changes = keys.map(|track| ((track, event(0, 1)), 1)).collect();
    let inputs = [
        Input { changes, now_ms: 0, ended: Vec::new() },
        Input { changes: vec![], now_ms: 86_400_000, ended: Vec::new() },
    ];
    let ran = run(&[asked.definition()], &inputs, 0, Way { workers: 1, in_flight: 1, sparse: 64 });
    assert_eq!(ran.updates, [70_000, 140_000]);
    assert!(ran.seen[1].activities.keys().all(|(_, said)| said.state == State::Expired));
    assert_eq!(ran.turns, 1);
}
