//! The promise: activities and funnels are functions of the set of step events and the clock. Whatever the arrival order, the
//! tick cuts and the number of workers, with events that come late, repeat or are deleted, after every tick they equal what
//! the letter of the definition gives. Operators that start from a snapshot go on like those that it was taken of.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod cost;
mod oracle;
mod posthog;
mod run;
mod window_funnel;

use dataflows::sequence::{Counts, Definition, FunnelKey, Repeat, State, StepEvent, Ties, Track};
use dataflows::{EventTime, UserKey};
use oracle::{Asked, Said};
use proptest::prelude::*;
use run::{Input, Seen, Way, add, run, so_far};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Times are few and lie this far apart. Four make a second, which deadlines lie on.
const UNIT: i64 = 250_000;
/// Of the first event; the epoch is amid the events.
const ORIGIN: i64 = -40 * UNIT;

fn asked() -> impl Strategy<Value = Asked> {
    let steps = (1usize..=8, any::<u8>()).prop_map(|(steps, optional)| {
        (0..steps).map(|step| step != 0 && step + 1 != steps && optional >> step & 1 == 1).collect::<Vec<_>>()
    });
    let steps = prop_oneof![1 => steps.clone(), 2 => steps.prop_filter("few", |steps| steps.len() <= 4)];
    let pair = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let excepts = prop_oneof![2 => Just(vec![]), 2 => prop::collection::vec(pair, 1..3)];
    let repeat = prop_oneof![3 => Just(Repeat::Tight), 1 => Just(Repeat::Overlap)];
    let ties = prop_oneof![2 => Just(Ties::Ordered), 1 => Just(Ties::Apart)];
    (steps, excepts, 1i64..25, -1i64..2, repeat, ties).prop_map(|(steps, pairs, within, off, repeat, ties)| {
        let required: Vec<usize> = (0..steps.len()).filter(|step| !steps[*step]).collect();
        let between = |(one, other): &(prop::sample::Index, prop::sample::Index)| {
            let (one, other) = (required[one.index(required.len())], required[other.index(required.len())]);
            (one != other).then(|| (one.min(other), one.max(other)))
        };
        let excepts = pairs.iter().filter_map(between).collect();
        Asked { within: within * UNIT + off, steps, excepts, repeat, ties }
    })
}

/// A change before it is known what is there.
#[derive(Clone, Debug)]
struct Raw {
    user: u8,
    sequence: prop::sample::Index,
    time: i64,
    steps: u8,
    breaks: u8,
    content: u8,
    by: Option<u8>,
    /// Takes an event of this track away, if there is one.
    gone: Option<prop::sample::Index>,
}

fn raw() -> impl Strategy<Value = Raw> {
    let off = prop_oneof![1 => Just(-1), 8 => Just(0), 1 => Just(1)];
    let time = (0i64..80, off).prop_map(|(unit, off)| ORIGIN + unit * UNIT + off);
    let steps = prop_oneof![6 => (0u8..8).prop_map(|bit| 1 << bit), 2 => any::<u8>(), 1 => Just(0)];
    let breaks = prop_oneof![6 => Just(0), 2 => 1u8..4];
    let by = prop_oneof![3 => Just(None), 1 => (0u8..2).prop_map(Some)];
    let gone = prop_oneof![4 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (0u8..2, any::<prop::sample::Index>(), time, steps, breaks, 0u8..2, by, gone).prop_map(
        |(user, sequence, time, steps, breaks, content, by, gone)| Raw {
            user,
            sequence,
            time,
            steps,
            breaks,
            content,
            by,
            gone,
        },
    )
}

/// The changes of a tick, and how far the clock goes on.
type Step = (Vec<Raw>, i64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let passed = prop_oneof![2 => Just(0), 6 => 0i64..4000, 1 => -2000i64..0];
    let step = move |size| (prop::collection::vec(raw(), size), passed.clone());
    // Single changes among many events are what goes wrong first.
    let size = prop_oneof![3 => 1usize..3, 1 => 0usize..20];
    let others = prop::collection::vec(size.prop_flat_map(move |size| step(size..=size)), 0..20);
    let first = prop_oneof![1 => 0usize..20, 2 => 60usize..150];
    let first = first.prop_flat_map(|size| prop::collection::vec(raw(), size));
    (first, others).prop_map(|(first, mut others)| {
        others.insert(0, (first, 0));
        others
    })
}

fn way() -> impl Strategy<Value = Way> {
    let sparse = prop_oneof![4 => 0usize..5, 1 => Just(64)];
    (1usize..=3, 1usize..=4, sparse).prop_map(|(workers, in_flight, sparse)| Way { workers, in_flight, sparse })
}

fn inputs(asked: &[Asked], steps: &[Step]) -> Vec<Input> {
    let mut there = BTreeMap::<Track, BTreeMap<StepEvent, isize>>::new();
    let mut now_ms = ORIGIN / 1000;
    let mut inputs = Vec::new();
    for (raws, passed) in steps {
        now_ms += passed;
        let mut changes = Vec::new();
        for raw in raws {
            let index = raw.sequence.index(asked.len());
            let track = Track { key: UserKey::of(&raw.user.to_string()), sequence: index as u16 };
            let there = there.entry(track).or_default();
            if let Some(gone) = raw.gone.filter(|_| !there.is_empty()) {
                let event = there.keys().nth(gone.index(there.len())).unwrap().clone();
                add(there, event.clone(), -1);
                changes.push(((track, event), -1));
                continue;
            }
            let bits = u8::MAX >> (8 - asked[index].steps.len());
            // Half of the events would be steps that there are not.
            let folded = raw.steps & bits | raw.steps >> asked[index].steps.len().min(7) & bits;
            let breaks = raw.breaks & ((1 << asked[index].excepts.len()) - 1) as u8;
            let by = raw.by.map(|by| Arc::new(vec![Some(Arc::from(by.to_string())), None]));
            let time = EventTime::from_micros(raw.time).unwrap();
            let event = StepEvent::new(time, folded, breaks, raw.content.into(), by);
            add(there, event.clone(), 1);
            changes.push(((track, event), 1));
        }
        inputs.push(Input { changes, now_ms, ended: Vec::new() });
    }
    inputs
}

/// What there has to be after each tick.
fn wanted(asked: &[Asked], inputs: &[Input]) -> Vec<Seen> {
    let (mut events, mut now) = (BTreeMap::new(), i64::MIN);
    let mut seen = Vec::new();
    for input in inputs {
        input.apply(&mut events);
        now = now.max(input.now_ms * 1000);
        let mut by_track = BTreeMap::<Track, Vec<StepEvent>>::new();
        for (track, event) in events.keys() {
            by_track.entry(*track).or_default().push(event.clone());
        }
        let (mut activities, mut counts) = (BTreeMap::new(), BTreeMap::<FunnelKey, Counts>::new());
        for (track, events) in by_track {
            let asked = &asked[usize::from(track.sequence)];
            for said in oracle::activities(&events, asked, now) {
                let key =
                    FunnelKey { sequence: track.sequence, hour: said.start.time.hour(), by: said.start.by.clone() };
                count(counts.entry(key).or_default(), &said);
                add(&mut activities, (track, said), 1);
            }
        }
        let funnels = counts.into_iter().map(|row| (row, 1)).collect();
        seen.push(Seen { activities, funnels, events: events.clone() });
    }
    seen
}

fn count(counts: &mut Counts, said: &Said) {
    counts.states[State::ALL.iter().position(|state| *state == said.state).unwrap()] += 1;
    if said.state == State::Broken {
        return;
    }
    for (step, time) in said.times.iter().enumerate() {
        counts.reached[step] += i64::from(time.is_some());
    }
    if said.state == State::Matched {
        let took = said.ended.unwrap() - said.start.time.micros();
        // All within 25 units of a quarter of a second.
        counts.took[usize::from(took > 1_000_000)] += 1;
        counts.took_us += i128::from(took);
    }
}

fn definitions(asked: &[Asked]) -> Vec<Definition> {
    asked.iter().map(Asked::definition).collect()
}

fn equal(wanted: &[Seen], seen: &[Seen]) -> Result<(), TestCaseError> {
    prop_assert_eq!(wanted.len(), seen.len());
    for (tick, (wanted, seen)) in wanted.iter().zip(seen).enumerate() {
        prop_assert_eq!(&wanted.activities, &seen.activities, "activities of tick {}", tick);
        prop_assert_eq!(wanted, seen, "tick {}", tick);
    }
    Ok(())
}

proptest! {
    // Timely checks each step of progress when debug assertions are on, which takes its time.
    #![proptest_config(ProptestConfig { cases: if cfg!(debug_assertions) { 150 } else { 1000 }, ..ProptestConfig::default() })]

    #[test]
    fn activities_and_funnels_equal_the_letter_of_the_definition_after_every_tick(
        asked in prop::collection::vec(asked(), 1..4),
        steps in steps(),
        way in way(),
    ) {
        let inputs = inputs(&asked, &steps);
        equal(&wanted(&asked, &inputs), &run(&definitions(&asked), &inputs, 0, way).seen)?;
    }

    #[test]
    fn what_is_restored_goes_on_like_what_never_stopped(
        asked in prop::collection::vec(asked(), 1..4),
        steps in steps(),
        way in way(),
        at in any::<prop::sample::Index>(),
    ) {
        let inputs = inputs(&asked, &steps);
        let at = at.index(inputs.len());
        let restored = run(&definitions(&asked), &inputs, at, way);
        equal(&wanted(&asked, &inputs)[at..], &restored.seen)?;
    }

    #[test]
    fn a_sequence_that_is_not_followed_any_more_takes_all_of_its_rows_back_and_no_others(
        asked in prop::collection::vec(asked(), 1..4),
        steps in steps(),
        way in way(),
        (of, at, from) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut inputs = inputs(&asked, &steps);
        let (ended, at) = (of.index(asked.len()) as u16, at.index(inputs.len()));
        inputs[at].ended.push(ended);
        inputs[at..].iter_mut().for_each(|input| input.changes.retain(|((track, _), _)| track.sequence != ended));
        let from = from.index(inputs.len());
        let seen = run(&definitions(&asked), &inputs, from, way).seen;
        prop_assert!(seen.last().unwrap().events.keys().all(|(track, _)| track.sequence != ended));
        equal(&wanted(&asked, &inputs)[from..], &seen)?;
    }

    #[test]
    fn arrival_order_and_tick_cuts_do_not_matter(
        asked in prop::collection::vec(asked(), 1..3),
        steps in steps(),
        ways in prop::collection::vec((way(), any::<u64>(), 1usize..6), 1..3),
    ) {
        let inputs = inputs(&asked, &steps);
        let now_ms = inputs.iter().map(|input| input.now_ms).max().unwrap();
        let all = so_far(&inputs);
        let once = [Input { changes: all.clone(), now_ms, ended: Vec::new() }];
        let wanted = wanted(&asked, &once).pop().unwrap();
        for (way, seed, cuts) in ways {
            let mut order: Vec<usize> = (0..all.len()).collect();
            order.sort_by_key(|at| (*at as u64 + 1).wrapping_mul(seed | 1).rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let pieces: Vec<Input> = (0..cuts)
                .map(|cut| {
                    let of_cut = order.iter().skip(cut).step_by(cuts).map(|at| all[*at].clone());
                    Input { changes: of_cut.collect(), now_ms, ended: Vec::new() }
                })
                .collect();
            let seen = run(&definitions(&asked), &pieces, 0, way).seen;
            prop_assert_eq!(Some(&wanted), seen.last());
        }
    }
}
