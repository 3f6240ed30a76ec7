//! The promise: every view is a pure function of the set of inputs. Whatever the arrival order, the tick cuts and the
//! number of workers, after every tick the accumulated output of the graph equals what a slow, obvious oracle makes of
//! all inputs so far: sessions (with late events, ties, neighbours exactly at the gap, replacements, policies), counts by class
//! and by shape (with rules that change, with classes that people give, and with those that are learned), closed sessions,
//! counts by keys, and the journals of duplicates, rejections, late events and moved sessions.
//! A graph that starts from a snapshot goes on like the one that it was taken of, and so does the engine.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod groups;
mod live;
mod oracle;
mod policies;
mod run;
mod seen;
mod size;
mod steps;

use dataflows::ShapeId;
use dataflows::learn::{Learning, ONE};
use oracle::Oracle;
use policies::asked;
use proptest::prelude::*;
use run::Way;
use seen::{Resolved, Seen};
use steps::{Input, ORIGIN, Raw, Step, Swap, UNIT};

fn time() -> impl Strategy<Value = i64> {
    // The gap is 10: small multiples make neighbours at exactly the gap, and ties, frequent.
    let unit = prop_oneof![(0i64..40).prop_map(|n| n * 5), 0i64..200];
    let off = prop_oneof![1 => Just(-1), 8 => Just(0), 1 => Just(1)];
    (unit, off).prop_map(|(unit, off)| ORIGIN + unit * UNIT + off)
}

fn raw() -> impl Strategy<Value = Raw> {
    let user = prop_oneof![1 => Just(None), 12 => (0u8..3).prop_map(Some)];
    let time = prop_oneof![1 => Just(None), 12 => time().prop_map(Some)];
    let id = prop_oneof![3 => Just(None), 2 => (0u8..6).prop_map(Some)];
    let price = prop_oneof![2 => Just(None), 2 => (-5i64..100).prop_map(Some)];
    let page = prop_oneof![1 => Just(None), 2 => (0u8..4).prop_map(Some)];
    (user, time, 0u8..4, id, price, page).prop_map(|(user, time, kind, id, price, page)| Raw {
        user,
        time,
        kind,
        id,
        price,
        page,
    })
}

fn swap() -> impl Strategy<Value = Swap> {
    let stale = prop_oneof![4 => Just(false), 1 => Just(true)];
    (0u8..3, time(), 0i64..60, any::<u64>(), -15i64..15, stale).prop_map(|(user, from, length, keep, shift, stale)| {
        Swap { user, from, to: from + length * UNIT, keep, shift: shift * UNIT, stale }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let swaps = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(swap(), 1..3)];
    let rules = prop_oneof![4 => Just(None), 1 => (0u8..4).prop_map(Some)];
    // All events lie within 50 s.
    let passed_ms = prop_oneof![1 => Just(0), 1 => Just(1), 1 => Just(1000), 6 => 0i64..8000, 1 => -3000i64..0];
    let learns = prop_oneof![6 => Just(None), 2 => Just(Some(true)), 1 => Just(Some(false))];
    let classes = prop_oneof![Just(Some("given")), Just(Some("kind 1")), Just(None)];
    let label = (1u64..4, classes).prop_map(|(shape, class)| Some((ShapeId(shape), class)));
    let label = prop_oneof![2 => Just(None), 1 => label];
    (prop::collection::vec(raw(), 0..12), swaps, rules, (learns, label), passed_ms).prop_map(
        |(raws, swaps, rules, (learns, label), passed_ms)| Step { raws, swaps, rules, learns, label, passed_ms },
    )
}

/// What the engine can be fed with: no replacements.
fn plain_steps() -> impl Strategy<Value = Vec<Step>> {
    let plain = step().prop_map(|step| Step { swaps: vec![], ..step });
    prop::collection::vec(plain, 1..14)
}

/// Low, so that few events change classes.
fn learning() -> impl Strategy<Value = Option<Learning>> {
    let some = (0i64..2, 0u64..4).prop_map(|(bits, support)| Some(Learning { margin: bits * ONE, support }));
    prop_oneof![1 => Just(None), 2 => some]
}

fn way() -> impl Strategy<Value = Way> {
    // With 2 or 4 ids, most of those that repeat have been forgotten meanwhile.
    let remembered = prop_oneof![2 => Just(None), 2 => Just(Some(1 << 12)), 1 => Just(Some(2)), 1 => Just(Some(4))];
    let all = (1usize..=3, 1usize..=4, remembered, asked(), learning());
    all.prop_map(|(workers, in_flight, remembered, asked, learning)| Way {
        workers,
        in_flight,
        remembered,
        asked,
        learning,
    })
}

/// How a set of events arrives.
#[derive(Clone, Debug)]
struct Arrival {
    /// A permutation of the events.
    order: Vec<usize>,
    /// Between ticks.
    cuts: Vec<prop::sample::Index>,
    workers: usize,
}

/// Events without ids, and some ways in which they arrive.
fn arrivals() -> impl Strategy<Value = (Vec<Raw>, Vec<Arrival>)> {
    let raws = prop::collection::vec(raw().prop_map(|raw| Raw { id: None, ..raw }), 1..60);
    raws.prop_flat_map(|raws| {
        let order = Just((0..raws.len()).collect::<Vec<_>>()).prop_shuffle();
        let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..8);
        let arrival = (order, cuts, 1usize..=3);
        let arrival = arrival.prop_map(|(order, cuts, workers)| Arrival { order, cuts, workers });
        (Just(raws), prop::collection::vec(arrival, 1..4))
    })
}

/// Where to stop and start again, and with how many workers.
fn restarts() -> impl Strategy<Value = Vec<(prop::sample::Index, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1usize..=3), 1..4)
}

fn advance(steps: &[Step], way: Way) -> (Vec<Input>, Vec<Seen>) {
    let mut oracle = Oracle::new(way.remembered, way.asked, way.learning);
    steps.iter().map(|step| oracle.advance(step)).unzip()
}

fn equal(wanted: &[Seen], seen: &[Seen]) -> Result<(), TestCaseError> {
    prop_assert_eq!(wanted.len(), seen.len());
    for (tick, (wanted, seen)) in wanted.iter().zip(seen).enumerate() {
        prop_assert_eq!(wanted, seen, "tick {}", tick);
    }
    Ok(())
}

proptest! {
    // Timely checks each step of progress when debug assertions are on, which takes its time.
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 100 } else { 400 }, ..ProptestConfig::default() })]

    #[test]
    fn every_view_equals_the_oracle_after_every_tick(steps in prop::collection::vec(step(), 1..14), way in way()) {
        let (inputs, wanted) = advance(&steps, way);
        equal(&unresolved(&wanted), &run::run(None, &inputs, way).seen(0..steps.len() as u64))?;
    }

    /// The final views of one set of events are the same in any order, any cuts, and with any number of workers.
    ///
    /// Excepted is what is defined by arrival, so the events here have no ids, and nothing is compared but the final
    /// sessions, counts and shapes:
    /// - Of two events with one id the first to arrive counts; the other is a duplicate, or is rejected if it differs.
    ///   Which ids are remembered by then depends on the order, too.
    /// - The journals (duplicates, rejections, late events, moved sessions), closings, and the clock's `max_future`
    ///   speak of the moment of arrival.
    /// - A replacement is resolved against the sessions of its tick.
    ///
    /// Ties of time are not excepted: of events at one time the row says the same in any order.
    #[test]
    fn arrival_order_and_tick_cuts_do_not_matter(
        (raws, orders) in arrivals(),
        asked in asked(),
        learning in learning(),
    ) {
        let all_at_once = vec![Step { raws: raws.clone(), learns: Some(true), ..Step::default() }];
        let last = |steps: Vec<Step>, workers| {
            let way = Way { workers, in_flight: 2, remembered: None, asked, learning };
            let (inputs, _) = advance(&steps, way);
            let seen = run::run(None, &inputs, way).seen(0..steps.len() as u64).pop();
            seen.map(|seen| (seen.sessions, seen.counts, seen.shapes))
        };
        let wanted = last(all_at_once, 1);
        for Arrival { order, cuts, workers } in orders {
            let other: Vec<Raw> = order.iter().map(|at| raws[*at].clone()).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(raws.len())).chain([0, raws.len()]).collect();
            cuts.sort_unstable();
            let learns = Some(true);
            let pieces =
                cuts.windows(2).map(|cut| Step { raws: other[cut[0]..cut[1]].to_vec(), learns, ..Step::default() });
            prop_assert_eq!(&wanted, &last(pieces.collect(), workers), "order {:?}, cuts {:?}", order, cuts);
        }
    }

    /// Stopped at any ticks and started from a snapshot each time, with any number of workers, the graph goes on like
    /// the one that was never stopped: in what it says, and in the snapshots that are taken of it.
    #[test]
    fn a_restored_graph_goes_on_like_one_that_never_stopped(
        steps in prop::collection::vec(step(), 2..14),
        way in way(),
        restarts in restarts(),
    ) {
        let (inputs, wanted) = advance(&steps, way);
        let ticks = steps.len() as u64;
        let whole = run::run(None, &inputs, way);
        let wanted = unresolved(&wanted);
        equal(&wanted, &whole.seen(0..ticks))?;
        let mut restarts: Vec<_> = restarts.iter().map(|(at, workers)| (at.index(steps.len()) as u64, *workers)).collect();
        restarts.sort_unstable();
        restarts.dedup_by_key(|(tick, _)| *tick);
        let mut snapshot = whole.snapshot(restarts[0].0);
        for (index, (tick, workers)) in restarts.iter().enumerate() {
            let restored = run::run(Some(snapshot), &inputs, Way { workers: *workers, ..way });
            equal(&[views(&wanted[*tick as usize])], &restored.seen(*tick..*tick + 1))?;
            equal(&wanted[*tick as usize + 1..], &restored.seen(*tick + 1..ticks))?;
            let next = restarts.get(index + 1).map_or(ticks - 1, |(next, _)| *next);
            snapshot = restored.snapshot(next);
            prop_assert_eq!(&snapshot, &whole.snapshot(next));
        }
    }

    /// The changes of the engine add up to the same, and it answers for past ticks while later ones are in flight.
    #[test]
    fn the_changes_of_a_live_engine_add_up_to_its_views(
        steps in plain_steps(),
        way in way(),
        lag in 0u64..4,
        restart in (any::<prop::sample::Index>(), 1usize..=3),
    ) {
        let (inputs, wanted) = advance(&steps, way);
        let ticks = steps.len() as u64;
        let lived = live::live(None, &inputs, way, lag);
        check_live(&wanted, &lived, 0)?;
        let tick = restart.0.index(steps.len()) as u64;
        let snapshot = lived.said.snapshot(tick);
        let restored = live::live(Some(snapshot), &inputs, Way { workers: restart.1, ..way }, lag);
        check_live(&wanted, &restored, tick as usize + 1)?;
        prop_assert_eq!(restored.said.snapshot(ticks - 1), lived.said.snapshot(ticks - 1));
    }
}

/// Without the journals, which snapshots do not bring back.
fn views(seen: &Seen) -> Seen {
    Seen { verdicts: vec![], rejected: vec![], late: vec![], lineage: vec![], ..seen.clone() }
}

/// Without what the engine alone gives: resolved rows.
fn unresolved(seen: &[Seen]) -> Vec<Seen> {
    seen.iter().map(|seen| Seen { resolved: Resolved::default(), ..seen.clone() }).collect()
}

fn check_live(wanted: &[Seen], lived: &live::Lived, from: usize) -> Result<(), TestCaseError> {
    // Changes leave out rows that follow from the others, or that are read on request.
    let changed = |seen: &Seen| Seen { names: Default::default(), sessionless: Default::default(), ..seen.clone() };
    let wanted_changes: Vec<_> = wanted[from..].iter().map(changed).collect();
    equal(&wanted_changes, &lived.said.seen(from as u64..wanted.len() as u64))?;
    let sessions = |seen: &Seen| Seen { sessions: seen.sessions.clone(), ..Seen::default() };
    for (tick, wanted) in wanted.iter().enumerate().skip(from) {
        prop_assert_eq!(sessions(wanted), lived.sessions_after(tick as u64), "before tick {}", tick + 1);
    }
    if let Some(last) = wanted.last() {
        // Of the end, the engine is asked for what is by user, and for the groups of counts.
        let asked = |row: &str| ["user", "group"].iter().any(|kind| row.starts_with(kind));
        let others = last.resolved.others.iter().filter(|(row, _)| asked(row));
        let others = others.map(|(row, times)| (row.clone(), *times)).collect();
        let resolved = Resolved { others, ..last.resolved.clone() };
        prop_assert_eq!(Seen { closings: Default::default(), resolved, ..views(last) }, lived.views());
    }
    Ok(())
}
