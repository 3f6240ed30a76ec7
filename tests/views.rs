//! The promise: every view is a pure function of the set of inputs. Whatever the arrival order, the tick cuts and the
//! number of workers, after every tick the accumulated output of the graph equals what a slow, obvious oracle makes of
//! all inputs so far: sessions (with late events, ties, neighbours exactly at the gap, replacements), counts by class
//! (with rules that change), and the journals of duplicates and rejections.

mod oracle;
mod run;

use oracle::{Oracle, Raw, Step, Swap};
use proptest::prelude::*;

fn raw() -> impl Strategy<Value = Raw> {
    let user = prop_oneof![1 => Just(None), 12 => (0u8..3).prop_map(Some)];
    // The gap is 10: small multiples make neighbours at exactly the gap, and ties, frequent.
    let time = prop_oneof![1 => Just(None), 6 => (0i64..40).prop_map(|n| Some(n * 5)), 6 => (0i64..200).prop_map(Some)];
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
    (0u8..3, 0i64..200, 0i64..60, any::<u64>(), -15i64..15, stale)
        .prop_map(|(user, from, length, keep, shift, stale)| Swap { user, from, to: from + length, keep, shift, stale })
}

fn step() -> impl Strategy<Value = Step> {
    let swaps = prop_oneof![2 => Just(vec![]), 1 => prop::collection::vec(swap(), 1..3)];
    let rules = prop_oneof![4 => Just(None), 1 => (0u8..4).prop_map(Some)];
    (prop::collection::vec(raw(), 0..12), swaps, rules).prop_map(|(raws, swaps, rules)| Step { raws, swaps, rules })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_view_equals_the_oracle_after_every_tick(
        steps in prop::collection::vec(step(), 1..14),
        workers in 1usize..=3,
        in_flight in 1usize..=4,
        dedupe in any::<bool>(),
    ) {
        let mut oracle = Oracle::new(dedupe);
        let (inputs, wanted): (Vec<_>, Vec<_>) = steps.iter().map(|step| oracle.advance(step)).unzip();
        let seen = run::run(inputs, workers, in_flight, dedupe);
        for (tick, (wanted, seen)) in wanted.iter().zip(&seen).enumerate() {
            prop_assert_eq!(wanted, seen, "tick {}", tick);
        }
    }

    /// The final views of one set of events, in any order and any cuts, are the same.
    #[test]
    fn arrival_order_and_tick_cuts_do_not_matter(
        raws in prop::collection::vec(raw().prop_map(|raw| Raw { id: None, ..raw }), 1..60),
        shuffled in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        workers in 1usize..=3,
    ) {
        let all_at_once = vec![Step { raws: raws.clone(), swaps: vec![], rules: None }];
        let mut other = raws.clone();
        other.rotate_left(shuffled.index(raws.len()));
        other.reverse();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(raws.len())).chain([0, raws.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| Step { raws: other[cut[0]..cut[1]].to_vec(), swaps: vec![], rules: None });
        let last = |steps: Vec<Step>, workers| {
            let mut oracle = Oracle::new(false);
            let inputs = steps.iter().map(|step| oracle.advance(step).0).collect();
            run::run(inputs, workers, 2, false).pop().map(|seen| (seen.sessions, seen.counts))
        };
        prop_assert_eq!(last(all_at_once, 1), last(pieces.collect(), workers));
    }
}
