//! The numbers of users that PostHog's own funnel tests expect at each step, typed again.
//!
//! From `posthog/queries/funnels/test/test_funnel.py` and `posthog/hogql_queries/insights/funnels/test/test_funnel_udf.py`
//! of PostHog/posthog; each case has the name of its test. PostHog counts a user once, by the furthest attempt, and leaves
//! a user out whom an exclusion meets.
//!
//! Not here: a funnel of ten steps (`test_events_same_timestamp_no_exclusions`), as a sequence has eight at most.

use super::oracle::{Asked, Said};
use super::run::{Input, Way, run};
use dataflows::sequence::{Repeat, State, StepEvent, Ties, Track};
use dataflows::{EventTime, UserKey};
use std::collections::BTreeMap;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 86_400_000_000;

/// A funnel over events that are named by letters.
struct Case {
    name: &'static str,
    /// The letters of each step; a step with `?` in front is optional.
    steps: &'static [&'static str],
    /// The letter, and the steps that it must not come between.
    except: Option<(char, usize, usize)>,
    within: i64,
    repeat: &'static [Repeat],
    /// The letters of each user's events, a minute apart; `.` is a minute without one, `+` joins the next one to the time of
    /// the one before.
    users: &'static [&'static str],
    /// The number of users at each step.
    expected: &'static [usize],
}

const BOTH: &[Repeat] = &[Repeat::Tight, Repeat::Overlap];

fn case(name: &'static str, steps: &'static [&'static str], users: &'static [&'static str]) -> Case {
    Case { name, steps, except: None, within: 14 * DAY, repeat: BOTH, users, expected: &[] }
}

/// Counts users by the steps that their furthest activity has, exclusions aside.
fn users_by_step(case: &Case, repeat: Repeat) -> Vec<usize> {
    let letters = |step: &str| step.trim_start_matches('?').to_owned();
    let asked = Asked {
        within: case.within,
        steps: case.steps.iter().map(|step| step.starts_with('?')).collect(),
        excepts: case.except.iter().map(|(_, from, to)| (*from, *to)).collect(),
        repeat,
        ties: Ties::Ordered,
    };
    let mut changes = Vec::new();
    for (user, events) in case.users.iter().enumerate() {
        let track = Track { key: UserKey::of(&user.to_string()), sequence: 0 };
        let mut minute = 0;
        for (place, letter) in events.chars().enumerate() {
            if letter == '+' {
                minute -= 1;
                continue;
            }
            let is = |step: &&str| letters(step).contains(letter);
            let steps = (0..).zip(case.steps).fold(0, |bits, (bit, step)| bits | u8::from(is(step)) << bit);
            let breaks = u8::from(case.except.is_some_and(|(except, ..)| except == letter));
            if steps != 0 || breaks != 0 {
                let time = EventTime::from_micros(minute * MINUTE).unwrap();
                changes.push(((track, StepEvent::new(time, steps, breaks, place as u32, None)), 1));
            }
            minute += 1;
        }
    }
    let input = Input { changes, now_ms: 0, ended: Vec::new() };
    let ran = run(&[asked.definition()], &[input], 0, Way { workers: 1, in_flight: 1, sparse: 64 });
    let mut by_user = BTreeMap::<UserKey, &Said>::new();
    for (track, said) in ran.seen[0].activities.keys().filter(|(_, said)| said.state != State::Broken) {
        let furthest = by_user.entry(track.key).or_insert(said);
        if said.reached > furthest.reached {
            *furthest = said;
        }
    }
    (0..case.steps.len()).map(|step| by_user.values().filter(|said| said.times[step].is_some()).count()).collect()
}

fn check(case: &Case) {
    for repeat in case.repeat {
        assert_eq!(users_by_step(case, *repeat), case.expected, "{} with {repeat:?}", case.name);
    }
}

/// s: user signed up, p: paid, m: watched movie.
#[test]
fn ordered() {
    let steps = &["s", "p", "m"];
    let users = &["s", "sp", "spm", "m", "psm"];
    check(&Case { expected: &[4, 2, 1], ..case("test_funnel_events", steps, users) });
    check(&Case { expected: &[1, 0, 0], ..case("test_funnel_skipped_step", steps, &["sm"]) });
    check(&Case { expected: &[2], ..case("test_funnel_with_single_step", &["s"], &["s", "s"]) });
    let two = &["s", "m"];
    let order = &["s", "s", "sm", "m", "ms"];
    check(&Case { expected: &[4, 1], ..case("test_funnel_with_messed_up_order", two, order) });
    check(&Case { expected: &[2, 1], ..case("test_funnel_with_actions", &["s", "s"], &["ss", "s"]) });
    let name = "test_funnel_with_different_actions_at_same_time_count_as_converted";
    check(&Case { expected: &[2, 1], ..case(name, &["s", "v"], &["s+v", "s"]) });
}

/// s: user signed up, v: page view, b: another event.
#[test]
fn repeated_steps() {
    let steps = &["s", "v", "v", "v", "v"];
    let users = &["s", "sv", "svbv", "svbvvb", "svvvv"];
    check(&Case { expected: &[5, 4, 3, 2, 1], ..case("test_advanced_funnel_with_repeat_steps", steps, users) });
    let users = &["vs", "sv", "vsbv", "bvbvsv", "svvbvv", "vbvvv"];
    let name = "test_advanced_funnel_with_repeat_steps_out_of_order_events";
    check(&Case { expected: &[5, 4, 1, 1, 1], ..case(name, steps, users) });
}

/// x: the exclusion.
#[test]
fn exclusions() {
    let users = &["sp", "sxp", "sp"];
    let name = "test_funnel_exclusions_full_window";
    check(&Case { except: Some(('x', 0, 1)), expected: &[2, 2], ..case(name, &["s", "p"], users) });
    let steps = &["s", "v", "i", "t", "w"];
    let users = &["svxixtxw", "svixtxw", "sxvitxw"];
    let between = [
        ((0, 1), [2, 2, 2, 2, 2]),
        ((1, 2), [2, 2, 2, 2, 2]),
        ((2, 3), [1, 1, 1, 1, 1]),
        ((3, 4), [0, 0, 0, 0, 0]),
        ((1, 3), [1, 1, 1, 1, 1]),
    ];
    for ((from, to), expected) in between {
        let name = "test_advanced_funnel_exclusions_between_steps";
        let case = Case { except: Some(('x', from, to)), ..case(name, steps, users) };
        BOTH.iter().for_each(|repeat| assert_eq!(users_by_step(&case, *repeat), expected, "{name} {from}..{to}"));
    }
    let late = case("test_excluded_after_time_expires", &["s", "p"], &["s..xp"]);
    check(&Case { except: Some(('x', 0, 1)), within: 2 * MINUTE, expected: &[1, 0], ..late });
}

#[test]
fn optional_steps() {
    let steps = &["1", "?2", "3", "?4", "5"];
    let users = &["", "1", "123", "1.3", "12345", "123.5", "1.34", "1.345", "1.3.5"];
    check(&Case { expected: &[8, 3, 7, 3, 4], ..case("test_funnel_with_optional_steps", steps, users) });
    check(&Case { expected: &[1, 0, 1], ..case("test_optional_funnel_step_actors_query", &["1", "?2", "3"], &["13"]) });
    // e: the event, u: the event with the URL. Of tightest attempts, the later one alone stays, which has no step 2.
    let (steps, users) = (&["eu", "?eu", "u", "eu"], &["", "e", "ee", "eee", "eue"]);
    let same = case("test_funnel_with_optional_steps_same_event", steps, users);
    check(&Case { repeat: &[Repeat::Overlap], expected: &[4, 2, 1, 1], ..same });
}
