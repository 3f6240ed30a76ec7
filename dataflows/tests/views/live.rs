//! Runs the engine the way the live process does: takes the changes of settled ticks while others are in flight, and
//! asks for names and for the sessions of the past.

use super::groups::{Rows, counts};
use super::run::{Share, Way};
use super::seen::{Output, ResolvedSession, Said, Seen, Snapshot, sent_so_far};
use super::steps::Input;
use dataflows::close::Closing;
use dataflows::engine::{self, Engine, Roots};
use dataflows::pipeline::Settings;
use dataflows::resolve::{self, Row, TakeRows};
use dataflows::views::Views;
use dataflows::{Tick, UserKey};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};

/// What an engine said on its way, and what its views hold in the end.
pub struct Lived {
    pub said: Said,
    /// For each tick, the sessions that the engine gave for it when later ticks were there.
    pub sessions: BTreeMap<Tick, Vec<Output>>,
    /// Of the final views.
    pub views: Vec<Output>,
}

enum Told {
    Changed(Tick, Output),
    SessionAt(Tick, Output),
    Asked { tick: Tick, whole: bool, named: Vec<(UserKey, UserKey)>, answers: Vec<(UserKey, UserKey)> },
    View(Output),
}

/// `inputs` are those of all ticks, with no replacements. `lag`: ticks for which the past is kept.
pub fn live(start: Option<Snapshot>, inputs: &[Input], way: Way, lag: Tick) -> Lived {
    let (sender, receiver) = mpsc::channel();
    let (from, inputs) = (start.clone(), inputs.to_vec());
    let guards = timely::execute(timely::Config::process(way.workers), move |worker| {
        let mine = Share { index: worker.index(), peers: worker.peers() };
        let mut engine =
            Engine::with_groups(worker, Settings { counts: counts(), ..way.settings() }, Some(Arc::new(Rows)));
        let mut first = 0;
        if let Some(from) = &from {
            engine.restore(&mut roots(from, mine));
            let so_far = sent_so_far(&inputs[..=from.tick as usize]);
            engine.now(so_far.now_ms);
            engine.send(&mut share(&so_far, mine));
            first = from.tick + 1;
            engine.advance_to(first);
        }
        let mut teller = Teller { mine, sender: sender.clone(), taken: 0, asked: first };
        for (tick, input) in (0..).zip(&inputs).skip(first as usize) {
            engine.now(input.now_ms);
            engine.send(&mut share(input, mine));
            let next = tick + 1;
            engine.advance_to(next);
            while engine.settled() < next.saturating_sub(way.in_flight as Tick - 1) {
                Engine::wait(worker);
            }
            teller.tell(&mut engine, lag);
        }
        let end = inputs.len() as Tick;
        while engine.settled() < end {
            Engine::wait(worker);
        }
        teller.tell(&mut engine, 0);
        let (mut views, _) = engine.close(worker);
        teller.views(&mut views);
    })
    .unwrap();
    for worker in guards.join() {
        worker.unwrap();
    }
    let (mut outputs, mut views) = (Vec::new(), Vec::new());
    let mut sessions: BTreeMap<Tick, Vec<Output>> = BTreeMap::new();
    for told in receiver {
        match told {
            Told::Changed(tick, output) => outputs.push((tick, output)),
            Told::SessionAt(tick, output) => sessions.entry(tick).or_default().push(output),
            // Here, as a worker that fails leaves the others waiting.
            Told::Asked { tick, whole, named, answers } => {
                assert!(whole, "the changes of tick {tick} are whole and come once");
                assert_eq!(named, answers, "names at tick {tick}");
            }
            Told::View(output) => views.push(output),
        }
    }
    Lived { said: Said::new(start, way.workers, outputs), sessions, views }
}

impl Lived {
    /// The sessions after `tick`, as the engine gave them later.
    pub fn sessions_after(&self, tick: Tick) -> Seen {
        self.view(self.sessions.get(&(tick + 1)).cloned().unwrap_or_default())
    }

    pub fn views(&self) -> Seen {
        self.view(self.views.clone())
    }

    fn view(&self, outputs: Vec<Output>) -> Seen {
        let outputs = outputs.into_iter().map(|output| (0, output)).collect();
        Said::new(None, self.said.workers(), outputs).seen(0..1).remove(0)
    }
}

fn roots(from: &Snapshot, mine: Share) -> Roots {
    Roots {
        names: Vec::new(),
        sessions: mine.of(from.sessions.keys()).cloned().collect(),
        marks: mine.of(&from.marks).map(|((user, mark), times)| (*user, mark.clone(), *times)).collect(),
        entities: Vec::new(),
        steps: Vec::new(),
        links: Vec::new(),
        ids: mine.of(from.ids.keys()).copied().collect(),
        by_signature: mine.of(&from.by_signature).map(|(row, count)| (*row, *count)).collect(),
        groups: mine.of(from.groups.keys()).cloned().collect(),
        kept: Vec::new(),
        by_reason: mine.of(&from.by_reason).map(|(row, count)| (*row, *count)).collect(),
    }
}

fn share(input: &Input, mine: Share) -> engine::Input {
    engine::Input {
        records: mine.of(&input.records).cloned().collect(),
        names: mine.of(&input.names).cloned().collect(),
        signatures: mine.of(&input.signatures).cloned().collect(),
        shapes: mine.of(&input.shapes).cloned().collect(),
        rules: mine.of(&input.rules).filter(|(_, diff)| *diff > 0).map(|(rule, _)| rule.clone()).collect(),
        learns: if mine.index == 0 { input.learns } else { 0 },
        rules_gone: mine.of(&input.rules).filter(|(_, diff)| *diff < 0).map(|(rule, _)| rule.clone()).collect(),
        labels: mine.of(&input.labels).filter(|(_, diff)| *diff > 0).map(|(label, _)| label.clone()).collect(),
        labels_gone: mine.of(&input.labels).filter(|(_, diff)| *diff < 0).map(|(label, _)| label.clone()).collect(),
        ended: Vec::new(),
        noted: Vec::new(),
        kept: Vec::new(),
        forgotten: Vec::new(),
    }
}

/// Tells the resolved rows of a tick.
struct Resolving<'s> {
    tick: Tick,
    sender: &'s mpsc::Sender<Told>,
}

impl TakeRows for Resolving<'_> {
    fn row(&mut self, row: Row<'_>, diff: isize) -> ControlFlow<()> {
        let view = |row: String| Output::ResolvedOther(row, true, diff);
        let journal = |row: String| Output::ResolvedOther(row, false, diff);
        let output = match row {
            Row::Session(row) => Output::Resolved(ResolvedSession::of(row), diff),
            Row::Count((class, hour), events) => {
                view(format!("count {:?}", (class, hour.map(|hour| hour.micros()), events)))
            }
            Row::Shape(shape, totals) => view(format!("shape {:?}", (shape, totals))),
            Row::User(user, totals) => view(format!("user {:?}", (user, totals))),
            Row::Closing(user, Closing { end, start, events, .. }) => {
                view(format!("closing {:?}", (user, start.micros(), end.micros(), events)))
            }
            Row::Activity(track, key, activity) => view(format!("activity {:?}", (track, key, activity))),
            Row::Identity(identity) => view(format!("identity {identity:?}")),
            Row::Moved(moved) => journal(format!("moved {moved:?}")),
            Row::State(state, entity, values) => view(format!("state {:?}", (state, entity, values))),
            Row::Group(key, totals) => view(format!("group {:?}", (key, totals))),
            Row::Funnel(key, counts) => view(format!("funnel {:?}", (key, counts))),
            Row::Late(user, class, late) => {
                journal(format!("late {:?}", (user, late.time.micros(), class, late.session.micros())))
            }
            Row::Lineage(user, moved) => {
                journal(format!("lineage {:?}", (user, moved.old.micros(), moved.new.micros(), moved.reason)))
            }
        };
        self.sender.send(Told::Changed(self.tick, output)).unwrap();
        ControlFlow::Continue(())
    }
}

struct Teller {
    mine: Share,
    sender: mpsc::Sender<Told>,
    /// The changes before this tick have been taken.
    taken: Tick,
    /// The sessions before later ticks are still to be asked for.
    asked: Tick,
}

impl Teller {
    /// Tells what is settled, but of the past only what is `lag` ticks old.
    fn tell(&mut self, engine: &mut Engine, lag: Tick) {
        let settled = engine.settled();
        for (tick, changes) in engine.changes(settled) {
            let tell = |output| self.sender.send(Told::Changed(tick, output)).unwrap();
            let mut users: Vec<UserKey> = changes.sessions.iter().map(|((user, _), _)| *user).collect();
            users.sort();
            users.dedup();
            let named = users.iter().map(|user| (*user, *user)).collect();
            // Any of them may be absent from the names, the first and the last too.
            let absent = (0..8).map(|n| UserKey::of(&format!("absent {n}")));
            let mut asked: Vec<UserKey> = users.into_iter().chain(absent).collect();
            asked.sort();
            let mut answers = Vec::new();
            engine.views().names_of(asked, |user, name| answers.push((user, UserKey::of(name))));
            let whole = (self.taken..settled).contains(&tick);
            self.sender.send(Told::Asked { tick, whole, named, answers }).unwrap();
            changes.sessions.iter().cloned().for_each(|(row, diff)| tell(Output::Session(row, diff)));
            for ((signature, label), diff) in changes.classes.iter().cloned() {
                tell(Output::Class(self.mine.index, (signature, label.class.to_string()), diff));
            }
            changes.counts.iter().cloned().for_each(|(row, diff)| tell(Output::Count(row, diff)));
            changes.shapes.iter().cloned().for_each(|(row, diff)| tell(Output::Shape(row, diff)));
            changes.users.iter().copied().for_each(|(row, diff)| tell(Output::User(row, diff)));
            changes.closings.iter().copied().for_each(|(row, diff)| tell(Output::Closing(row, diff)));
            changes.groups.iter().cloned().for_each(|(row, diff)| tell(Output::Group(row, diff)));
            changes.late.iter().cloned().for_each(|row| tell(Output::Late(row)));
            changes.lineage.iter().cloned().for_each(|row| tell(Output::Lineage(row)));
            changes.verdicts.iter().copied().for_each(|row| tell(Output::Verdict(row)));
            changes.marks.iter().cloned().for_each(|(row, diff)| tell(Output::Mark(row, diff)));
            changes.ids.iter().copied().for_each(|(row, diff)| tell(Output::Id(row, diff)));
            changes.by_signature.iter().copied().for_each(|(row, diff)| tell(Output::BySignature(row, diff)));
            changes.by_reason.iter().copied().for_each(|(row, diff)| tell(Output::ByReason(row, diff)));
            let resolved = engine.resolve(tick, changes, &mut Resolving { tick, sender: &self.sender });
            assert_eq!(resolved, ControlFlow::Continue(()));
        }
        self.taken = settled;
        while self.asked + lag < settled {
            let tick = self.asked + 1;
            let tell = |output| self.sender.send(Told::SessionAt(tick, output)).unwrap();
            let sessions = &mut |user, session: &_| tell(Output::Session((user, Clone::clone(session)), 1));
            engine.views().sessions_before(tick, sessions);
            // The next question is for the sessions before the tick after, and no older one is asked. The next tick is
            // resolved by the sessions before it.
            engine.compact(tick.min(settled - 1));
            self.asked = tick;
        }
    }

    fn views(&self, views: &mut Views) {
        let tell = |output| self.sender.send(Told::View(output)).unwrap();
        views.sessions(&mut |user, session| tell(Output::Session((user, session.clone()), 1)));
        views.names(&mut |user, name| tell(Output::Name(user, name.to_string())));
        let here = self.mine.index;
        views.classes(&mut |signature, class| tell(Output::Class(here, (signature, class.to_string()), 1)));
        views.counts(&mut |class, hour, events| tell(Output::Count(((class.clone(), hour), events), 1)));
        views.shapes(&mut |shape, totals| tell(Output::Shape((shape, Arc::new(totals.clone())), 1)));
        resolve::rows(views, &mut |row| match row {
            Row::Session(row) => tell(Output::Resolved(ResolvedSession::of(row), 1)),
            Row::User(user, totals) => tell(Output::User((UserKey::of(user), *totals), 1)),
            row => panic!("{row:?} is not by user"),
        });
        if let Some(mut users) = views.scan_users(Tick::MAX) {
            while users
                .step(&mut |_, user, totals| {
                    tell(Output::ResolvedOther(format!("user {:?}", (user, totals)), true, 1));
                })
                .is_some()
            {}
        }
        for count in 0..counts().len() as u16 {
            views.groups_before(count, Tick::MAX, &mut |key, totals| {
                tell(Output::ResolvedOther(format!("group {:?}", (key, totals)), true, 1));
            });
        }
        views.sessionless(&mut |reason, events| tell(Output::Sessionless(reason, events)));
    }
}
