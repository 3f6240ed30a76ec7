//! The furthest level of each user is that of `windowFunnel` of ClickHouse in its default mode, by its documentation: the
//! longest chain of conditions, in their order, within a window that begins with the first condition.

use super::oracle::Asked;
use super::run::{Input, Way, run};
use dataflows::sequence::{Repeat, StepEvent, Ties, Track};
use dataflows::{EventTime, UserKey};
use proptest::prelude::*;

/// Tries all chains: `from` is the first event that may be the next condition.
fn longest(events: &[StepEvent], from: usize, level: usize, levels: usize, end: i64) -> usize {
    let next = (from..events.len()).filter(|at| level < levels && events[*at].steps >> level & 1 == 1);
    let next = next.filter(|at| events[*at].time.micros() <= end);
    next.map(|at| longest(events, at + 1, level + 1, levels, end)).max().unwrap_or(level)
}

fn window_funnel(events: &[StepEvent], levels: usize, window: i64) -> usize {
    let starts = (0..events.len()).filter(|at| events[*at].steps & 1 == 1);
    let from = |at: usize| longest(events, at + 1, 1, levels, events[at].time.micros() + window);
    starts.map(from).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_furthest_level_is_that_of_window_funnel(
        users in prop::collection::vec(prop::collection::vec((0i64..40, 1u8..16, 0u32..2), 0..14), 1..20),
        levels in 1usize..=4,
        within in 1i64..20,
    ) {
        for repeat in [Repeat::Tight, Repeat::Overlap] {
            let (steps, ties) = (vec![false; levels], Ties::Ordered);
            let asked = Asked { within, steps, excepts: vec![], repeat, ties };
            let of_user = |events: &Vec<(i64, u8, u32)>| {
                let bits = u8::MAX >> (8 - levels);
                let mut events: Vec<StepEvent> = events.iter().filter(|(_, steps, _)| steps & bits != 0).map(|(time, steps, content)| {
                    StepEvent::new(EventTime::from_micros(*time).unwrap(), steps & bits, 0, *content, None)
                }).collect();
                events.sort();
                events.dedup();
                events
            };
            let track = |user: usize| Track { key: UserKey::of(&user.to_string()), sequence: 0 };
            let events: Vec<Vec<StepEvent>> = users.iter().map(of_user).collect();
            let changes = events.iter().enumerate().flat_map(|(user, events)| {
                events.iter().map(move |event| ((track(user), event.clone()), 1))
            });
            let input = Input { changes: changes.collect(), now_ms: 0, ended: Vec::new() };
            let ran = run(&[asked.definition()], &[input], 0, Way { workers: 1, in_flight: 1, sparse: 64 });
            for (user, events) in events.iter().enumerate() {
                let of_user = ran.seen[0].activities.keys().filter(|(other, _)| *other == track(user));
                let furthest = of_user.map(|(_, said)| said.reached).max().unwrap_or(0);
                prop_assert_eq!(furthest, window_funnel(events, levels, within), "{:?}", repeat);
            }
        }
    }
}
