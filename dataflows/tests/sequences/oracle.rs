//! The activities of one key by the letter of the definition: each attempt is followed alone, and compared with all others.

use dataflows::EventTime;
use dataflows::sequence::{Activity, Definition, Repeat, State, StepEvent, Ties};

/// A definition as it is written down.
#[derive(Clone, Debug)]
pub struct Asked {
    pub within: i64,
    /// Whether each step is optional.
    pub steps: Vec<bool>,
    pub excepts: Vec<(usize, usize)>,
    pub repeat: Repeat,
    pub ties: Ties,
}

impl Asked {
    pub fn definition(&self) -> Definition {
        Definition::new(self.within, &self.steps, &self.excepts, self.repeat, self.ties).unwrap()
    }
}

/// What an activity says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    pub start: StepEvent,
    pub state: State,
    pub reached: usize,
    pub times: Vec<Option<i64>>,
    pub ended: Option<i64>,
}

impl Said {
    pub fn of(activity: &Activity, definition: &Definition) -> Said {
        Said {
            start: activity.start.clone(),
            state: activity.state,
            reached: activity.reached.into(),
            times: activity.times(definition).map(|time| time.map(EventTime::micros)).collect(),
            ended: activity.ended().map(EventTime::micros),
        }
    }
}

/// One attempt, followed alone.
struct Attempt {
    /// Events of its required steps.
    taken: Vec<usize>,
    /// Events of its optional steps, by step.
    optional: Vec<Option<usize>>,
    /// The event that completed or broke it.
    ended: Option<(State, usize)>,
    /// The first event that is too late for it, or the number of events.
    over: usize,
}

impl Attempt {
    fn complete(&self) -> Option<usize> {
        self.ended.filter(|(state, _)| *state == State::Matched).map(|(_, event)| event)
    }

    /// The first event that comes when it is over already, or breaks it.
    fn bound(&self) -> usize {
        self.ended.map_or(self.over, |(_, event)| event)
    }

    /// How many required steps it had before an event.
    fn level_before(&self, event: usize) -> usize {
        self.taken.iter().filter(|taken| **taken < event).count()
    }
}

/// `events` are sorted and without repeats. `now` is in microseconds.
pub fn activities(events: &[StepEvent], asked: &Asked, now: i64) -> Vec<Said> {
    let events = match asked.ties {
        Ties::Ordered => events.to_vec(),
        Ties::Apart => joined(events),
    };
    let starts: Vec<usize> = (0..events.len()).filter(|at| is(&events[*at], 0)).collect();
    let attempts: Vec<(usize, Attempt)> = starts.iter().map(|at| (*at, attempt(&events, *at, asked))).collect();
    let complete: Vec<(usize, usize)> =
        attempts.iter().filter_map(|(start, attempt)| Some((*start, attempt.complete()?))).collect();
    let tight =
        |one: &(usize, usize)| !complete.iter().any(|other| other != one && other.0 >= one.0 && other.1 <= one.1);
    let matches: Vec<(usize, usize)> = complete.iter().copied().filter(tight).collect();
    let counts = |(start, attempt): &(usize, Attempt)| match (asked.repeat, attempt.complete()) {
        (Repeat::Overlap, _) => true,
        (Repeat::Tight, Some(end)) => matches.contains(&(*start, end)),
        (Repeat::Tight, None) => {
            let bound = attempt.bound();
            let converted = matches.iter().any(|(_, end)| *end > *start && *end < bound);
            let later = attempts.iter().any(|(other, later)| {
                *other > *start && *other < bound && later.level_before(bound) >= attempt.level_before(bound)
            });
            !converted && !later
        }
    };
    let mut said: Vec<Said> = attempts
        .iter()
        .filter(|attempt| counts(attempt))
        .map(|(start, attempt)| say(&events, *start, attempt, asked, now))
        .collect();
    said.sort();
    said
}

/// Where events of one time are one, it is what any of them is, and the first of the first steps says the breakdown.
fn joined(events: &[StepEvent]) -> Vec<StepEvent> {
    let of_time = events.chunk_by(|one, other| one.time == other.time);
    let join = |events: &[StepEvent]| {
        let steps = events.iter().fold(0, |steps, event| steps | event.steps);
        let breaks = events.iter().fold(0, |breaks, event| breaks | event.breaks);
        let first = events.iter().find(|event| is(event, 0));
        let one = &events[0];
        StepEvent::new(one.time, steps, breaks, one.content, first.and_then(|first| first.by.clone()))
    };
    of_time.map(join).collect()
}

fn is(event: &StepEvent, step: usize) -> bool {
    event.steps >> step & 1 == 1
}

fn required(asked: &Asked) -> Vec<usize> {
    (0..asked.steps.len()).filter(|step| !asked.steps[*step]).collect()
}

fn attempt(events: &[StepEvent], start: usize, asked: &Asked) -> Attempt {
    let required = required(asked);
    let time = |event: usize| events[event].time.micros();
    let over = (start..events.len()).find(|event| time(*event) - time(start) > asked.within).unwrap_or(events.len());
    let (mut taken, mut ended) = (vec![start], None);
    for (at, event) in events.iter().enumerate().take(over).skip(start + 1) {
        if taken.len() == required.len() {
            break;
        }
        let next = is(event, required[taken.len()]);
        let breaks = asked.excepts.iter().enumerate().any(|(bit, (from, to))| {
            let level = |step: &usize| required.iter().position(|other| other == step).unwrap();
            let between = taken.len() > level(from) && taken.len() <= level(to);
            let is_second = next && required[taken.len()] == *to;
            event.breaks >> bit & 1 == 1 && between && !is_second
        });
        if breaks {
            ended = Some((State::Broken, at));
            break;
        }
        if next {
            taken.push(at);
        }
    }
    if taken.len() == required.len() {
        ended = Some((State::Matched, taken[taken.len() - 1]));
    }
    let last = ended.map_or(over, |(_, event)| event);
    let optional = (0..asked.steps.len()).map(|step| {
        let before = required.iter().filter(|other| **other < step).count();
        let from = *taken.get(before.checked_sub(1)?)?;
        let to = taken.get(before).copied().unwrap_or(last);
        (from + 1..to).find(|event| asked.steps[step] && is(&events[*event], step))
    });
    let optional = optional.collect();
    Attempt { taken, optional, ended, over }
}

fn say(events: &[StepEvent], start: usize, attempt: &Attempt, asked: &Asked, now: i64) -> Said {
    let required = required(asked);
    let time = |event: usize| events[event].time.micros();
    let of_step = |step: usize| {
        let level = required.iter().position(|other| *other == step);
        level.map_or(attempt.optional[step], |level| attempt.taken.get(level).copied()).map(time)
    };
    let deadline = ((time(start) + asked.within).div_euclid(1_000_000) + 1) * 1_000_000;
    let waiting = if deadline <= now { State::Expired } else { State::Open };
    Said {
        start: events[start].clone(),
        state: attempt.ended.map_or(waiting, |(state, _)| state),
        reached: attempt.taken.len(),
        times: (0..asked.steps.len()).map(of_step).collect(),
        ended: attempt.ended.map(|(_, event)| time(event)),
    }
}
