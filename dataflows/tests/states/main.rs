//! The promise: a row of a state is a function of the set of its items and of the time of its reader. Whatever the arrival
//! order, the tick cuts, the deletions and the number of workers, each row as of each tick equals what a slow, obvious
//! oracle makes of all items so far. So it does after a restart from a snapshot, and for a reader of ticks of the past.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod engine;
mod oracle;
mod run;

use dataflows::record::Rank;
use dataflows::state::{Given, Item, Replacement};
use dataflows::{Decimal, EventTime, UserKey};
use oracle::{Oracle, close, rows};
use proptest::prelude::*;
use run::{Input, Way, run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SECOND: i64 = 1_000_000;
const STATES: u16 = 2;
const ENTITIES: u8 = 4;

pub fn entity(number: u8) -> UserKey {
    UserKey::of(&format!("entity {number}"))
}

pub fn time(micros: i64) -> EventTime {
    EventTime::from_micros(micros).unwrap()
}

/// A change of one entity, before it is known what the entity has.
#[derive(Clone, Debug)]
enum Change {
    Add(u16, u8, Item),
    /// Deletes the items whose bits are set, of at most 64. `stale`: the sender has seen another number of items.
    Delete {
        state: u16,
        entity: u8,
        gone: u64,
        stale: bool,
    },
}

#[derive(Clone, Debug)]
struct Step {
    changes: Vec<Change>,
    passed_ms: i64,
}

fn text() -> impl Strategy<Value = Given> {
    (0u8..9).prop_map(|page| Given::Text(Arc::from(format!("/{page}"))))
}

fn number() -> impl Strategy<Value = Given> {
    prop_oneof![1 => Just(Given::NotNumber), 6 => (-900i64..9000).prop_map(|cents| {
        Given::Number(Decimal::from_millionths(i128::from(cents) * 10_000))
    })]
}

/// Values for the aggregates of [`oracle::definition`], in their order.
fn given() -> impl Strategy<Value = Box<[(u8, Given)]>> {
    let event = || prop_oneof![1 => Just(None), 3 => Just(Some(Given::Event))];
    let number = || prop_oneof![1 => Just(None), 2 => number().prop_map(Some)];
    let text = || prop_oneof![1 => Just(None), 2 => text().prop_map(Some)];
    let all = (
        (event(), event()),
        (number(), number(), number(), number(), number()),
        (text(), text(), text(), text(), text(), text()),
    );
    all.prop_map(|((a, b), (c, d, e, f, g), (h, i, j, k, l, m))| {
        let all = [a, b, c, d, e, f, g, h, i, j, k, l, m];
        (0..).zip(all).filter_map(|(index, given)| Some((index, given?))).collect()
    })
}

fn item() -> impl Strategy<Value = Item> {
    // Ties, neighbours at the ends of hops, and times ahead of the clock.
    let at = prop_oneof![
        (0i64..80).prop_map(|half| half * SECOND / 2),
        0i64..40 * SECOND,
        (0i64..40).prop_map(|s| s * SECOND - 1)
    ];
    let rank =
        prop_oneof![2 => Just(Rank::default()), 1 => (0i64..3).prop_map(|order| Rank::new(Some(Some(order)), 0))];
    (at, rank, given()).prop_map(|(at, rank, given)| Item { time: time(at), rank, given })
}

fn change() -> impl Strategy<Value = Change> {
    let delete = (0..STATES, 0..ENTITIES, any::<u64>(), prop_oneof![4 => Just(false), 1 => Just(true)]);
    prop_oneof![
        8 => (0..STATES, 0..ENTITIES, item()).prop_map(|(state, entity, item)| Change::Add(state, entity, item)),
        1 => delete.prop_map(|(state, entity, gone, stale)| Change::Delete { state, entity, gone, stale }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let passed = prop_oneof![2 => Just(0), 1 => Just(1), 5 => 0i64..6000, 1 => 0i64..40_000, 1 => -3000i64..0];
    let step =
        (prop::collection::vec(change(), 0..12), passed).prop_map(|(changes, passed_ms)| Step { changes, passed_ms });
    prop::collection::vec(step, 1..14)
}

fn way() -> impl Strategy<Value = Way> {
    (1usize..=3, 1usize..=4, 0u64..4).prop_map(|(workers, in_flight, lag)| Way {
        workers,
        in_flight,
        lag,
        history: true,
    })
}

/// What enters at each tick, and the oracle after it.
fn advance(steps: &[Step]) -> (Vec<Input>, Vec<Oracle>) {
    let mut oracle = Oracle::default();
    let mut all = (Vec::new(), Vec::new());
    for step in steps {
        let mut input = Input::default();
        let before = oracle.clone();
        for change in &step.changes {
            let Change::Delete { state, entity: number, gone, stale } = change else { continue };
            let key = (*state, entity(*number));
            // Of the first one for each entity: the next ones have not seen it.
            let repeated = input.replacements.iter().any(|one: &Replacement| (one.state, one.entity) == key);
            if repeated {
                continue;
            }
            let known = before.items(key);
            let stays = |(index, _): &(usize, &Item)| *index >= 64 || gone >> index & 1 == 0;
            let survivors: Vec<Item> = known.iter().enumerate().filter(stays).map(|(_, item)| item.clone()).collect();
            let items = known.len() as u64 + u64::from(*stale);
            if !stale {
                oracle.replace(key, survivors.clone());
            }
            input.rejected += usize::from(*stale);
            input.replacements.push(Replacement { state: key.0, entity: key.1, items: Some(items), survivors });
        }
        for change in &step.changes {
            let Change::Add(state, number, item) = change else { continue };
            oracle.add((*state, entity(*number)), item.clone());
            input.items.push((*state, entity(*number), item.clone()));
        }
        oracle.pass(step.passed_ms);
        input.now_ms = oracle.now_ms;
        all.0.push(input);
        all.1.push(oracle.clone());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_the_oracle_at_every_tick(steps in steps(), way in way()) {
        let (inputs, oracles) = advance(&steps);
        let seen = run(&BTreeMap::new(), None, &inputs, way, &[]);
        prop_assert_eq!(seen.rejected, inputs.iter().map(|input| input.rejected).sum::<usize>());
        for (tick, oracle) in (0..).zip(&oracles) {
            close(&seen.rows[&tick], &rows(oracle))?;
        }
    }

    /// Deletions included: as if the items that are gone had never been there.
    #[test]
    fn rows_do_not_depend_on_what_came_before_or_when(steps in steps(), way in way(), history in any::<bool>()) {
        let (inputs, oracles) = advance(&steps);
        let seen = run(&BTreeMap::new(), None, &inputs, way, &[]);
        let last = oracles.last().unwrap();
        let whole = Input { items: last.all(), now_ms: last.now_ms, ..Input::default() };
        let at_once = run(&BTreeMap::new(), None, &[whole], Way { workers: 1, history, ..way }, &[]);
        let end = inputs.len() as u64 - 1;
        // Without a history, one reader comes at the end, with the latest time.
        if history || last.latest() <= last.now() {
            prop_assert_eq!(&seen.rows[&end], &at_once.rows[&0]);
        }
    }

    #[test]
    fn a_restart_goes_on_like_the_run_that_its_snapshots_are_of(
        steps in steps(),
        ways in (way(), way()),
        snapshots in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let (inputs, oracles) = advance(&steps);
        let ticks: BTreeSet<u64> = snapshots.iter().map(|index| index.index(inputs.len()) as u64).collect();
        let last = *ticks.iter().max().unwrap();
        let ticks: Vec<u64> = ticks.into_iter().collect();
        let first = run(&BTreeMap::new(), None, &inputs[..=last as usize], ways.0, &ticks);
        let second = run(&first.snapshot, Some(last), &inputs, ways.1, &[inputs.len() as u64 - 1]);
        for (tick, oracle) in (0..).zip(&oracles).skip(last as usize + 1) {
            close(&second.rows[&tick], &rows(oracle))?;
        }
        // Snapshots take what changed alone, and add up.
        let mut all = first.snapshot;
        for (row, diff) in second.snapshot {
            let times = all.entry(row.clone()).or_insert(0);
            *times += diff;
            if *times == 0 {
                all.remove(&row);
            }
        }
        let known: Vec<_> = all.iter().map(|((state, key, _), times)| ((*state, *key), *times)).collect();
        let expected: Vec<_> = oracles.last().unwrap().keys().map(|key| (key, 1)).collect();
        prop_assert_eq!(known, expected);
    }
}
