//! Identities against the obvious answer: in any order of events, cut into any ticks, on any number of workers, with users who
//! are forgotten, and from a checkpoint.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod oracle;

use dataflows::changes::Changes;
use dataflows::engine::{Engine, Input, Roots};
use dataflows::forget::Forgotten;
use dataflows::link::{Alias, Link, Links};
use dataflows::pipeline::Settings;
use dataflows::stitch::{Identity, LinkRow, Moved, Rules, Why};
use dataflows::{Descriptor, Event, EventTime, NoTime, Record, ShapeId, Tick, UserKey};
use oracle::persons;
use proptest::prelude::*;
use std::collections::BTreeMap;

const USER: u8 = 1;

/// An event: a user, who is of kind [`USER`], and another id. It may say no time.
#[derive(Clone, Copy, Debug)]
struct Raw {
    tick: usize,
    user: u8,
    other: (u8, u8),
    time: Option<i64>,
}

/// A user who is noted at a tick, and forgotten some ticks later.
#[derive(Clone, Copy, Debug)]
struct Asked {
    user: u8,
    noted: usize,
    after: usize,
}

/// What is sent at a tick.
#[derive(Clone, Debug, Default)]
struct Sent {
    events: Vec<Raw>,
    noted: Vec<u8>,
    forgotten: Vec<u8>,
}

/// What a tick says.
#[derive(Clone, Debug, Default)]
struct Told {
    rows: Vec<(Identity, isize)>,
    moved: Vec<Moved>,
    links: Vec<(LinkRow, isize)>,
}

fn name(user: u8) -> String {
    format!("u{user}")
}

fn link(raw: &Raw) -> Link {
    let user = Alias { kind: USER, text: name(raw.user).into() };
    // A text may be an id of several kinds.
    let other = Alias { kind: raw.other.0 * 2, text: name(raw.other.1).into() };
    Link::new(user, other).unwrap()
}

fn time(raw: &Raw) -> Option<EventTime> {
    raw.time.and_then(EventTime::from_micros)
}

fn record(raw: &Raw) -> Record {
    let links: Links = [link(raw)].into_iter().collect();
    let event = Event {
        user: Some(UserKey::of(&name(raw.user))),
        time: time(raw).ok_or(NoTime::Absent),
        signature: descriptor().signature(),
        details: None,
        steps: None,
        contributions: None,
        calls: None,
        counted: None,
        links: Some(Box::new(links)),
    };
    Record { event, identity: None }
}

fn descriptor() -> Descriptor {
    Descriptor { shape: ShapeId(1), kind: None, answers: vec![] }
}

/// Runs the ticks from 1 on, behind what a checkpoint has brought back. Returns what each says, and the view after the last one.
fn run(sent: &[Sent], roots: &[LinkRow], rules: Rules, workers: usize) -> (Vec<Told>, Vec<Identity>) {
    let (ticks, roots) = (sent.to_vec(), roots.to_vec());
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index(), worker.peers());
        let settings = Settings { gap: 10, identities: Some(rules), clock: true, ..Settings::default() };
        let mut engine = Engine::new(worker, settings);
        engine.skip_restored();
        let mine = roots.iter().enumerate().filter(|(at, _)| at % peers == index);
        engine.restore(&mut Roots { links: mine.map(|(_, row)| row.clone()).collect(), ..Roots::default() });
        engine.advance_to(1);
        while engine.settled() < 1 {
            Engine::wait(worker);
        }
        engine.resume();
        for (tick, Sent { events, noted, forgotten }) in (1..).zip(&ticks) {
            engine.now(tick as i64);
            let key = |user: &u8| UserKey::of(&name(*user));
            let forgotten = forgotten.iter().map(|user| Forgotten { user: Some(key(user)), ..Forgotten::default() });
            let mut input =
                Input { noted: noted.iter().map(key).collect(), forgotten: forgotten.collect(), ..Input::default() };
            for raw in events.iter().enumerate().filter(|(at, _)| at % peers == index).map(|(_, raw)| raw) {
                input.signatures.push((descriptor().signature(), descriptor()));
                input.records.push(record(raw));
            }
            engine.send(&mut input);
            engine.advance_to(tick + 1);
        }
        let end = ticks.len() as Tick + 1;
        while engine.settled() < end {
            Engine::wait(worker);
        }
        let mut changes = engine.changes(end);
        let told = (1..end).map(|tick| {
            let Changes { identities, identity_changes, links, .. } = changes.remove(&tick).unwrap_or_default();
            Told { rows: identities, moved: identity_changes, links }
        });
        let told: Vec<Told> = told.collect();
        let mut held = Vec::new();
        engine.views().identities(&mut |row| held.push(row.clone()));
        (told, held)
    });
    let (mut all, mut held) = (vec![Told::default(); sent.len()], Vec::new());
    for worker in guards.unwrap().join() {
        let (told, view) = worker.unwrap();
        held.extend(view);
        for (all, Told { rows, moved, links }) in all.iter_mut().zip(told) {
            all.rows.extend(rows);
            all.moved.extend(moved);
            all.links.extend(links);
        }
    }
    held.sort();
    (all, held)
}

/// Cuts the events into ticks. Returns them, and the links that are there after each.
fn cut(raws: &[Raw], asked: &[Asked], many: usize) -> (Vec<Sent>, Vec<BTreeMap<Link, EventTime>>) {
    let mut sent = vec![Sent::default(); many];
    raws.iter().for_each(|raw| sent[raw.tick % many].events.push(*raw));
    // A user's forgets: one at a time.
    let (mut free, mut gone) = (BTreeMap::new(), Vec::new());
    for Asked { user, noted, after } in asked {
        let noted = noted % many;
        let at = noted + after;
        if at < many && free.get(user).is_none_or(|free| *free <= noted) {
            free.insert(*user, at + 1);
            sent[noted].noted.push(*user);
            sent[at].forgotten.push(*user);
            gone.push((*user, noted, at));
        }
    }
    let after = |tick: usize| {
        let mut links = BTreeMap::new();
        for raw in raws.iter().filter(|raw| raw.tick % many <= tick) {
            let of = raw.tick % many;
            let goes = gone.iter().any(|(user, noted, at)| raw.user == *user && of < *noted && *at <= tick);
            if let (false, Some(time)) = (goes, time(raw)) {
                let first = links.entry(link(raw)).or_insert(time);
                *first = time.min(*first);
            }
        }
        links
    };
    let links = (0..many).map(after).collect();
    (sent, links)
}

type Of = BTreeMap<Alias, Alias>;

fn of(rows: &BTreeMap<Alias, Identity>) -> Of {
    rows.iter().map(|(alias, row)| (alias.clone(), row.of.clone())).collect()
}

/// Checks what a journal says of a tick: exactly the aliases that are of another person, and why.
fn check_moved(moved: &[Moved], before: &Of, after: &Of) -> Result<(), TestCaseError> {
    let person = |of: &Of, alias: &Alias| of.get(alias).unwrap_or(alias).clone();
    let mut all: Vec<&Alias> = before.keys().chain(after.keys()).collect();
    all.sort();
    all.dedup();
    let wanted = all.into_iter().map(|alias| (alias, person(before, alias), person(after, alias)));
    let wanted = wanted.filter(|(_, from, to)| from != to).map(|(alias, from, to)| {
        let why = match (person(after, &from) == to, person(before, &to) == from) {
            (true, true) => Why::Renamed,
            (true, false) => Why::Merged,
            (false, _) => Why::Split,
        };
        Moved { alias: alias.clone(), from, to, why }
    });
    let wanted: Vec<Moved> = wanted.collect();
    prop_assert_eq!(moved, &wanted[..]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn each_tick_says_what_all_links_until_then_say(
        raws in prop::collection::vec(
            (0usize..100, 0u8..8, (0u8..2, 0u8..8), prop::option::weighted(0.9, 0i64..20))
                .prop_map(|(tick, user, other, time)| Raw { tick, user, other, time }),
            0..60,
        ),
        asked in prop::collection::vec(
            (0u8..8, 0usize..100, 1usize..4).prop_map(|(user, noted, after)| Asked { user, noted, after }),
            0..6,
        ),
        many in 1usize..12,
        checkpoint in 0usize..12,
        (cap, unique, workers) in (2u32..8, 0u64..8, 1usize..=3),
    ) {
        let rules = Rules { cap, unique, user: Some(USER) };
        let (sent, links) = cut(&raws, &asked, many);
        let (told, held) = run(&sent, &[], rules, workers);
        let (mut rows, mut kept) = (BTreeMap::<Identity, isize>::new(), BTreeMap::<LinkRow, isize>::new());
        let mut before = Of::new();
        for (tick, Told { rows: changes, moved, links: changed }) in told.iter().enumerate() {
            changes.iter().for_each(|(row, diff)| *rows.entry(row.clone()).or_insert(0) += diff);
            rows.retain(|_, diff| *diff != 0);
            let wanted = persons(&links[tick], rules);
            let view: BTreeMap<Alias, Identity> = rows.keys().map(|row| (row.alias.clone(), row.clone())).collect();
            prop_assert!(rows.values().all(|diff| *diff == 1));
            prop_assert_eq!(&view, &wanted);
            let after = of(&wanted);
            check_moved(moved, &before, &after)?;
            before = after;
            // What a checkpoint after this tick has.
            changed.iter().for_each(|(row, diff)| *kept.entry(row.clone()).or_insert(0) += diff);
            kept.retain(|_, diff| *diff != 0);
            let wanted: Vec<LinkRow> = links[tick].iter().map(|(link, time)| (link.clone(), *time)).collect();
            prop_assert_eq!(kept.keys().cloned().collect::<Vec<_>>(), wanted);
        }
        let mut wanted: Vec<Identity> = persons(&links[many - 1], rules).into_values().collect();
        wanted.sort();
        prop_assert_eq!(held, wanted.clone());
        // From a checkpoint the rest says the same. No user may be noted across it.
        let at = checkpoint % many;
        let noted = |ticks: &[Sent]| ticks.iter().map(|sent| sent.noted.len()).sum::<usize>();
        let forgotten = |ticks: &[Sent]| ticks.iter().map(|sent| sent.forgotten.len()).sum::<usize>();
        if noted(&sent[..at]) == forgotten(&sent[..at]) {
            let roots = at.checked_sub(1).map_or_else(Vec::new, |last| links[last].clone().into_iter().collect());
            let (rest, held) = run(&sent[at..], &roots, rules, 1 + (workers + 1) % 3);
            prop_assert_eq!(held, wanted);
            for (one, other) in told[at..].iter().zip(&rest) {
                prop_assert_eq!(&one.moved, &other.moved);
                let sorted = |rows: &[(Identity, isize)]| {
                    let mut rows = rows.to_vec();
                    rows.sort();
                    rows
                };
                prop_assert_eq!(sorted(&one.rows), sorted(&other.rows));
            }
        }
    }
}
