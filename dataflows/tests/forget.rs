//! Users are forgotten: afterwards the views are those of a graph that never saw what they did before, whatever the order of
//! events, the cuts of ticks, the workers, and the number of ticks between the note and the end.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use dataflows::changes::Changes;
use dataflows::counts::CountedBy;
use dataflows::engine::{Engine, Input, Roots};
use dataflows::forget::Forgotten;
use dataflows::learn::Learning;
use dataflows::pipeline::Settings;
use dataflows::record::{Contribution, Cue, Details, Given, Item, Rank};
use dataflows::sequence::{Definition, Repeat, Sequences, Ties};
use dataflows::sessionize::{Policies, Visit};
use dataflows::state::{self, Aggregate, Fold, Read, States};
use dataflows::step::{Step, StepEvent};
use dataflows::{Descriptor, Event, EventTime, NoTime, Record, ShapeId, SignatureId, Tick, UserKey};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

const GAP: i64 = 10;
const USERS: u64 = 4;

/// An event as it is drawn.
#[derive(Clone, Copy, Debug)]
struct Raw {
    tick: usize,
    user: u64,
    time: i64,
    signature: u64,
    timeless: bool,
}

/// A user who is noted at one tick and forgotten at a later one, or not after all.
#[derive(Clone, Copy, Debug)]
struct Asked {
    user: u64,
    noted: usize,
    at: usize,
    holds: bool,
}

#[derive(Clone, Copy, Debug)]
struct Way {
    workers: usize,
    policies: bool,
    ticks: usize,
}

fn key(user: u64) -> UserKey {
    UserKey::of(&name(user))
}

fn name(user: u64) -> String {
    format!("user {user}")
}

fn signature(number: u64) -> (SignatureId, Descriptor) {
    let kind = (number < 3).then(|| Arc::from(["a", "b", "c"][number as usize % 3]));
    let descriptor = Descriptor { shape: ShapeId(number % 2), kind, answers: vec![] };
    (descriptor.signature(), descriptor)
}

fn record(raw: &Raw) -> Record {
    let time = EventTime::from_micros(raw.time).unwrap();
    let (signature, _) = signature(raw.signature);
    let steps = (raw.signature < 2).then(|| {
        let event = StepEvent::new(time, 1 << raw.signature, 0, raw.time as u32, None);
        Box::new(vec![Step { sequence: 0, key: None, event }].into())
    });
    let given = vec![(0, Given::Event), (1, Given::Text(format!("v{}", raw.time % 3).into()))].into();
    let item = Item { time, rank: Rank::default(), given };
    let contributions = Some(Box::new(vec![Contribution { state: 0, entity: None, item }].into()));
    let details = Some(Box::new(Details { cue: Cue::default(), ..Details::default() }));
    let (steps, contributions) = if raw.timeless { (None, None) } else { (steps, contributions) };
    let time = if raw.timeless { Err(NoTime::Absent) } else { Ok(time) };
    let event = Event {
        user: Some(key(raw.user)),
        time,
        signature,
        details,
        steps,
        contributions,
        calls: None,
        counted: None,
        links: None,
    };
    Record { event, identity: None }
}

fn settings(way: Way) -> Settings {
    let definition = Definition::new(25, &[false, false], &[], Repeat::Tight, Ties::Ordered).unwrap();
    let aggregates =
        vec![Aggregate { fold: Fold::Count, window: None }, Aggregate { fold: Fold::Values { cap: 8 }, window: None }];
    let columns = vec![Read::Whole(0), Read::Top { aggregate: 1, k: 3 }];
    let states = States { definitions: vec![Arc::new(state::Definition { aggregates, columns })], now: None };
    let policies = way.policies.then(|| Policies { max_events: Some(3), ..Policies::default() });
    Settings {
        gap: GAP,
        policies,
        learning: Some(Learning::default()),
        sequences: Sequences::new(vec![definition]),
        states,
        clock: true,
        ..Settings::default()
    }
}

/// What is sent at a tick.
#[derive(Clone, Debug, Default)]
struct Sent {
    events: Vec<Raw>,
    noted: Vec<u64>,
    kept: Vec<u64>,
    forgotten: Vec<(u64, Vec<(CountedBy, u64)>)>,
}

/// Rows of all views, as text, and how often they are there.
type Rows = BTreeMap<String, isize>;

/// What follows a checkpoint.
#[derive(Clone, Debug, Default)]
struct Kept {
    rows: Vec<(String, isize)>,
    roots: Vec<(RootRow, isize)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RootRow {
    Session((UserKey, dataflows::sessionize::Session)),
    Mark((UserKey, dataflows::sessionize::Mark)),
    Step(dataflows::sequence::Track, StepEvent),
    Sum(dataflows::counts::SignatureHour),
    Name((UserKey, Arc<str>)),
}

fn add(kept: &mut Kept, changes: Changes) {
    let mut row = |row: String, diff| kept.rows.push((row, diff));
    changes.sessions.iter().for_each(|(one, diff)| row(format!("session {one:?}"), *diff));
    changes.counts.iter().for_each(|(one, diff)| row(format!("count {one:?}"), *diff));
    changes.shapes.iter().for_each(|(one, diff)| row(format!("shape {one:?}"), *diff));
    changes.users.iter().for_each(|(one, diff)| row(format!("user {one:?}"), *diff));
    changes.closings.iter().for_each(|(one, diff)| row(format!("closing {one:?}"), *diff));
    changes.activities.iter().for_each(|(one, diff)| row(format!("activity {one:?}"), *diff));
    changes.funnels.iter().for_each(|(one, diff)| row(format!("funnel {one:?}"), *diff));
    changes.by_reason.iter().for_each(|(one, diff)| row(format!("reason {one:?}"), *diff));
    let roots = &mut kept.roots;
    roots.extend(changes.sessions.into_iter().map(|(one, diff)| (RootRow::Session(one), diff)));
    roots.extend(changes.marks.into_iter().map(|(one, diff)| (RootRow::Mark(one), diff)));
    roots.extend(changes.steps.into_iter().map(|((track, event), diff)| (RootRow::Step(track, event), diff)));
    roots.extend(changes.by_signature.into_iter().map(|(one, diff)| (RootRow::Sum(one), diff)));
    roots.extend(changes.names_gone.into_iter().map(|(one, diff)| (RootRow::Name(one), diff)));
}

/// Runs all ticks. Returns the rows after the last one, and what a checkpoint has.
fn run(sent: &[Sent], way: Way) -> (Rows, BTreeMap<RootRow, isize>) {
    let (sender, receiver) = mpsc::channel();
    let sent = sent.to_vec();
    let guards = timely::execute(timely::Config::process(way.workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let mut engine = Engine::new(worker, settings(way));
        let mut kept = Kept::default();
        let mut said = std::collections::BTreeSet::new();
        for (tick, sent) in (0..).zip(&sent) {
            engine.now(tick as i64 * 5);
            let mut input = Input { learns: isize::from(index == 0 && tick == 0), ..Input::default() };
            input.noted = sent.noted.iter().map(|user| key(*user)).collect();
            input.kept = sent.kept.iter().map(|user| key(*user)).collect();
            let forgotten = sent.forgotten.iter().map(|(user, sums)| Forgotten {
                user: Some(key(*user)),
                sums: sums.clone(),
                sequences: vec![0],
                steps: Vec::new(),
                states: vec![0],
            });
            input.forgotten = forgotten.collect();
            // As decoders do that are made again.
            sent.noted.iter().for_each(|user| _ = said.remove(user));
            engine.send(&mut input);
            for raw in sent.events.iter().enumerate().filter(|(at, _)| at % peers == index).map(|(_, raw)| raw) {
                if said.insert(raw.user) {
                    input.names.push((key(raw.user), name(raw.user).into()));
                    kept.roots.push((RootRow::Name((key(raw.user), name(raw.user).into())), 1));
                }
                input.signatures.push(signature(raw.signature));
                input.records.push(record(raw));
            }
            engine.send(&mut input);
            engine.advance_to(tick + 1);
            while engine.settled() + 1 < tick {
                Engine::wait(worker);
            }
        }
        let end = sent.len() as Tick;
        while engine.settled() < end {
            Engine::wait(worker);
        }
        engine.changes(end).into_values().for_each(|changes| add(&mut kept, changes));
        for user in 0..USERS {
            if let Some(entity) = engine.views().entity(0, key(user), end - 1) {
                kept.rows.push((format!("state {user} {entity:?}"), 1));
            }
        }
        sender.send(kept).unwrap();
        drop(engine);
    })
    .unwrap();
    guards.join().into_iter().for_each(|worker| worker.unwrap());
    let (mut rows, mut roots) = (Rows::new(), BTreeMap::new());
    for kept in receiver {
        kept.rows.into_iter().for_each(|(row, diff)| *rows.entry(row).or_insert(0) += diff);
        kept.roots.into_iter().for_each(|(row, diff)| *roots.entry(row).or_insert(0) += diff);
    }
    rows.retain(|_, diff| *diff != 0);
    roots.retain(|_, diff| *diff != 0);
    (rows, roots)
}

/// The ticks, and those of a graph that never saw what goes.
fn ticks(raws: &[Raw], asked: &[Asked], way: Way) -> (Vec<Sent>, Vec<Sent>) {
    let mut sent = vec![Sent::default(); way.ticks + 1];
    raws.iter().for_each(|raw| sent[raw.tick % way.ticks].events.push(*raw));
    let mut left = raws.iter().map(|raw| Raw { tick: raw.tick % way.ticks, ..*raw }).collect::<Vec<_>>();
    // One after the other: each is noted when the one before is over.
    let mut free = 0;
    for one in asked {
        let noted = free.max(one.noted % way.ticks);
        let at = (noted + 1 + one.at % 3).min(way.ticks);
        if noted >= at {
            continue;
        }
        free = at;
        sent[noted].noted.push(one.user);
        if !one.holds {
            sent[at].kept.push(one.user);
            continue;
        }
        let mut sums = BTreeMap::new();
        left.retain(|raw| {
            let goes = raw.user == one.user && raw.tick < noted;
            if goes {
                let event = record(raw).event;
                let hour = event.at().map(EventTime::hour);
                *sums.entry(CountedBy::Signature((event.signature, hour))).or_insert(0) += 1;
                if let Err(reason) = Visit::of(event) {
                    *sums.entry(CountedBy::Reason(reason)).or_insert(0) += 1;
                }
            }
            !goes
        });
        sent[at].forgotten.push((one.user, sums.into_iter().collect()));
    }
    let mut never = vec![Sent::default(); way.ticks + 1];
    left.iter().for_each(|raw| never[raw.tick].events.push(*raw));
    (sent, never)
}

fn raws() -> impl Strategy<Value = Vec<Raw>> {
    let raw = (0usize..100, 0..USERS, 0i64..120, 0u64..4, prop::bool::weighted(0.1));
    let raw = raw.prop_map(|(tick, user, time, signature, timeless)| Raw { tick, user, time, signature, timeless });
    prop::collection::vec(raw, 0..60)
}

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let one = (0..USERS, 0usize..12, 0usize..3, prop::bool::weighted(0.8));
    let one = one.prop_map(|(user, noted, at, holds)| Asked { user, noted, at, holds });
    prop::collection::vec(one, 0..4)
}

fn way() -> impl Strategy<Value = Way> {
    (1usize..=3, any::<bool>(), 2usize..12).prop_map(|(workers, policies, ticks)| Way { workers, policies, ticks })
}

/// Names are kept for as long as events of their user may be there; those of before go.
fn without_names(roots: BTreeMap<RootRow, isize>) -> (BTreeMap<RootRow, isize>, Vec<Arc<str>>) {
    let (names, others): (Vec<_>, Vec<_>) = roots.into_iter().partition(|(row, _)| matches!(row, RootRow::Name(_)));
    let name = |(row, times): (RootRow, isize)| match row {
        RootRow::Name((_, name)) => {
            assert!(times > 0, "{name} is there {times} times");
            Some(name)
        }
        _ => None,
    };
    (others.into_iter().collect(), names.into_iter().filter_map(name).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn afterwards_the_views_are_those_of_a_graph_that_never_saw_the_user(
        raws in raws(),
        asked in asked(),
        way in way(),
    ) {
        let (sent, never) = ticks(&raws, &asked, way);
        let (rows, roots) = run(&sent, way);
        let (wanted, wanted_roots) = run(&never, Way { workers: 1, ..way });
        prop_assert_eq!(rows, wanted);
        // A checkpoint has the same, and no name of a user of whom nothing is left.
        let ((roots, names), (wanted_roots, wanted_names)) = (without_names(roots), without_names(wanted_roots));
        prop_assert_eq!(roots, wanted_roots);
        prop_assert_eq!(names, wanted_names);
    }
}

/// A checkpoint says how often a name was said, and a forgotten user's goes as often.
#[test]
fn a_name_that_came_back_with_a_checkpoint_goes() {
    timely::execute_directly(|worker| {
        let mut engine = Engine::new(worker, settings(Way { workers: 1, policies: false, ticks: 1 }));
        let mut roots = Roots { names: vec![((key(1), name(1).into()), 5)], ..Roots::default() };
        engine.restore(&mut roots);
        engine.advance_to(1);
        engine.send(&mut Input { noted: vec![key(1)], ..Input::default() });
        engine.advance_to(2);
        let forgotten = vec![Forgotten { user: Some(key(1)), ..Forgotten::default() }];
        engine.send(&mut Input { forgotten, ..Input::default() });
        engine.advance_to(3);
        while engine.settled() < 3 {
            Engine::wait(worker);
        }
        let gone: Vec<_> = engine.changes(3).into_values().flat_map(|changes| changes.names_gone).collect();
        assert_eq!(gone, [((key(1), name(1).into()), -5)]);
    });
}
