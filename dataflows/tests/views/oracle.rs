//! The slow, obvious answer: keep every event, and sort and split all of them again after every tick.

use super::groups::{counted, expected};
use super::policies::Asked;
use super::seen::{Resolved, ResolvedSession, Row, Seen};
use super::steps::{GAP, HORIZON, Input, ORIGIN, Raw, Step, Swap, key, name, rules, time};
use dataflows::classify::Layer;
use dataflows::identity::payload_hash;
use dataflows::ingest::Verdict;
use dataflows::learn::{Learning, Model, Taught, Tokens, step};
use dataflows::rules::UNCLASSIFIED;
use dataflows::sessionize::{EndedBy, Moved, Replacement};
use dataflows::shapes::{ClassTotals, ShapeTotals};
use dataflows::users::UserTotals;
use dataflows::{
    Event, EventId, EventTime, Identity, Measure, NoTime, Position, Record, SessionId, Sessionless, ShapeId,
    SignatureId, UserKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub struct Oracle {
    /// Ids that a shard remembers; `None` without de-duplication.
    remembered: Option<usize>,
    asked: Option<Asked>,
    /// All events that count.
    events: Vec<Raw>,
    /// Events that sessions are made of: replacements change these alone.
    visits: Vec<Raw>,
    /// By shard and id: what counts and is not forgotten.
    ids: BTreeMap<u8, Vec<(EventId, Raw)>>,
    /// By shard: events up to this time may be forgotten.
    forgotten: BTreeMap<u8, i64>,
    rules: u8,
    learning: Option<Learning>,
    learns: bool,
    labels: BTreeMap<ShapeId, &'static str>,
    /// The classes that are learned, of this tick.
    learned: BTreeMap<SignatureId, String>,
    /// All that ever came, counted or not.
    raws: Vec<Raw>,
    now_ms: i64,
    /// The latest that it ever was.
    latest_ms: i64,
}

impl Oracle {
    pub fn new(remembered: Option<usize>, asked: Option<Asked>, learning: Option<Learning>) -> Oracle {
        let now_ms = ORIGIN / 1000;
        Oracle {
            remembered,
            asked,
            events: Vec::new(),
            visits: Vec::new(),
            ids: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            rules: 0,
            learning,
            learns: false,
            labels: BTreeMap::new(),
            learned: BTreeMap::new(),
            raws: Vec::new(),
            now_ms,
            latest_ms: now_ms,
        }
    }

    /// The inputs of the next tick, and what is to be seen after it.
    pub fn advance(&mut self, step: &Step) -> (Input, Seen) {
        let (mut input, mut seen) = (Input::default(), Seen::default());
        if let Some(set) = step.rules {
            input.rules.extend(rules(self.rules).into_iter().map(|rule| (rule, -1)));
            input.rules.extend(rules(set).into_iter().map(|rule| (rule, 1)));
            self.rules = set;
        }
        if let Some(learns) = step.learns {
            input.learns = isize::from(learns) - isize::from(self.learns);
            self.learns = learns;
        }
        if let Some((shape, class)) = step.label {
            let row = |class: &str, diff| ((shape, Arc::from(class)), diff);
            input.labels.extend(self.labels.remove(&shape).map(|class| row(class, -1)));
            if let Some(class) = class {
                input.labels.push(row(class, 1));
                self.labels.insert(shape, class);
            }
        }
        self.now_ms += step.passed_ms;
        self.latest_ms = self.latest_ms.max(self.now_ms);
        input.now_ms = self.now_ms;
        let before = self.groups();
        self.swap(&step.swaps, &mut input, &mut seen);
        let arrived = self.ingest(&step.raws, &mut input, &mut seen);
        self.learned = self.learn();
        for user in (0..3).filter(|user| step.swaps.iter().all(|swap| swap.user != *user)) {
            journals(user, &before[&user], &self.groups()[&user], &arrived, &mut seen);
        }
        for user in 0..3 {
            let Split { groups, ended, outside } = split(&self.visits, user, self.asked);
            if outside > 0 {
                *seen.sessionless.entry(Sessionless::KeepAlive).or_insert(0) += outside as isize;
            }
            for (group, ended) in groups.iter().zip(ended) {
                let row = Row { ended_by: self.asked.map(|_| ended), ..row(user, group) };
                let reach = self.asked.map_or(row.end + GAP, |asked| asked.reach(group));
                // No event of a whole second that the clock has reached can extend it.
                if reach < self.latest_ms.div_euclid(1000) * 1_000_000 {
                    *seen.closings.entry((row.user, row.start, row.end, row.events)).or_insert(0) += 1;
                }
                *seen.sessions.entry(row).or_insert(0) += 1;
            }
        }
        seen.users = self.users().into_iter().map(|row| (row, 1)).collect();
        for raw in &self.raws {
            seen.names.extend(raw.user.map(|user| (key(user), name(user))));
            seen.classes.insert((raw.signature(), self.class(raw)), 1);
        }
        let mut counts: BTreeMap<(String, Option<i64>), u64> = BTreeMap::new();
        for event in &self.events {
            let hour = event.time.map(|time| time.div_euclid(3_600_000_000) * 3_600_000_000);
            *counts.entry((self.class(event), hour)).or_insert(0) += 1;
            match (event.user, event.time) {
                (None, _) => *seen.sessionless.entry(Sessionless::NoUser).or_insert(0) += 1,
                (Some(_), None) => *seen.sessionless.entry(Sessionless::NoTime).or_insert(0) += 1,
                (Some(_), Some(_)) => {}
            }
        }
        seen.counts = counts.into_iter().map(|((class, hour), events)| ((class, hour, events), 1)).collect();
        seen.shapes = self.shapes().into_iter().map(|row| (row, 1)).collect();
        seen.resolved = self.resolve(&seen);
        for row in expected(&self.events, &seen) {
            *seen.resolved.others.entry(format!("group {row:?}")).or_insert(0) += 1;
        }
        (input, seen)
    }

    fn class(&self, raw: &Raw) -> String {
        self.learned.get(&raw.signature()).cloned().unwrap_or_else(|| self.declared(raw).0)
    }

    fn layer(&self, raw: &Raw) -> Layer {
        if self.learned.contains_key(&raw.signature()) { Layer::Learned } else { self.declared(raw).1 }
    }

    /// The class without those that are learned, and what gives it.
    fn declared(&self, raw: &Raw) -> (String, Layer) {
        match (layer(raw, self.rules), self.labels.get(&raw.shape())) {
            (Layer::Nothing, Some(label)) => ((*label).to_owned(), Layer::Label),
            (layer, _) => (class(raw, self.rules), layer),
        }
    }

    /// The classes of signatures that have none, from all events at once.
    fn learn(&self) -> BTreeMap<SignatureId, String> {
        let Some(learning) = self.learning.filter(|_| self.learns) else { return BTreeMap::new() };
        let tokens = |raw: &Raw| Some(Tokens::of(&raw.descriptor(), &*raw.leaves()?));
        let has_class = |raw: &Raw| self.declared(raw).1 != Layer::Nothing;
        let mut events: BTreeMap<SignatureId, u64> = BTreeMap::new();
        self.events.iter().for_each(|raw| *events.entry(raw.signature()).or_insert(0) += 1);
        let taught: Vec<(Arc<str>, ShapeId, u64, Tokens)> = events
            .iter()
            .filter_map(|(signature, events)| {
                let raw = self.events.iter().find(|raw| raw.signature() == *signature)?;
                let class = self.declared(raw).0.into();
                Some((class, raw.shape(), step(*events), tokens(raw)?)).filter(|_| has_class(raw))
            })
            .collect();
        let taught = taught.iter();
        let taught = taught.map(|(class, shape, weight, tokens)| (class, *shape, *weight, tokens));
        let model = Model::of(taught.map(|(class, shape, weight, tokens)| Taught { class, shape, weight, tokens }));
        let learned = |raw: &Raw| Some(model.guess(&tokens(raw)?)?).filter(|guess| guess.holds(learning));
        let without = self.raws.iter().filter(|raw| !has_class(raw));
        without.filter_map(|raw| Some((raw.signature(), learned(raw)?.class.to_string()))).collect()
    }

    /// The totals of each shape, from all events.
    fn shapes(&self) -> Vec<(Option<ShapeId>, Arc<ShapeTotals>)> {
        let mut by_shape: BTreeMap<ShapeId, Vec<&Raw>> = BTreeMap::new();
        self.events.iter().for_each(|raw| by_shape.entry(raw.shape()).or_default().push(raw));
        let totals = by_shape.into_iter().map(|(shape, raws)| {
            let mut classes: BTreeMap<(Arc<str>, Layer), u64> = BTreeMap::new();
            for raw in &raws {
                *classes.entry((self.class(raw).into(), self.layer(raw))).or_insert(0) += 1;
            }
            let classes = classes.into_iter().map(|((class, layer), events)| ClassTotals { class, layer, events });
            let hours =
                || raws.iter().filter_map(|raw| Some(time(raw.time?.div_euclid(3_600_000_000) * 3_600_000_000)));
            let hours = hours().min().zip(hours().max());
            // Said with any event that came, whether it counts or not.
            let leaves = raws[0].leaves();
            (Some(shape), Arc::new(ShapeTotals { leaves, classes: classes.collect(), hours }))
        });
        totals.collect()
    }

    /// The totals of each user, from all visits.
    fn users(&self) -> Vec<(UserKey, UserTotals)> {
        let mut users = Vec::new();
        for (user, groups) in self.groups() {
            let times = || groups.iter().flatten().filter_map(|raw| raw.time).map(time);
            if let (Some(first_seen), Some(last_seen)) = (times().min(), times().max()) {
                let (sessions, events) = (groups.len() as u64, times().count() as u64);
                users.push((key(user), UserTotals { first_seen, last_seen, sessions, events }));
            }
        }
        users
    }

    /// What is seen, with names in the place of keys and signatures, by looking through all users and events.
    fn resolve(&self, seen: &Seen) -> Resolved {
        let user = |of: &UserKey| (0..3).find(|user| key(*user) == *of).map(name).unwrap();
        let class = |of: &SignatureId| {
            let raw = self.raws.iter().find(|raw| raw.signature() == *of);
            self.class(raw.unwrap())
        };
        let session = |(row, times): (&Row, &isize)| {
            let mut classes = BTreeMap::new();
            for (signature, events) in &row.signatures {
                *classes.entry(class(signature)).or_insert(0) += events;
            }
            let resolved = ResolvedSession {
                user: user(&row.user),
                start: row.start,
                end: row.end,
                events: row.events,
                classes: classes.into_iter().collect(),
                first_class: class(&row.first),
                last_class: class(&row.last),
                price: row.price,
                pages: row.pages.clone(),
                ended_by: row.ended_by,
            };
            (resolved, *times)
        };
        let mut others = BTreeMap::new();
        let mut add = |row: String| *others.entry(row).or_insert(0) += 1;
        seen.counts.keys().for_each(|row| add(format!("count {row:?}")));
        seen.shapes.keys().for_each(|row| add(format!("shape {row:?}")));
        seen.users.keys().for_each(|(of, totals)| add(format!("user {:?}", (user(of), totals))));
        seen.closings.keys().for_each(|(of, start, end, events)| {
            add(format!("closing {:?}", (user(of), start, end, events)));
        });
        seen.late.iter().for_each(|(of, time, signature, session)| {
            add(format!("late {:?}", (user(of), time, class(signature), session)));
        });
        seen.lineage.iter().for_each(|(of, old, new, reason)| {
            add(format!("lineage {:?}", (user(of), old, new, reason)));
        });
        Resolved { sessions: seen.sessions.iter().map(session).collect(), others }
    }

    /// Returns the events of the tick that count.
    fn ingest(&mut self, raws: &[Raw], input: &mut Input, seen: &mut Seen) -> Vec<Raw> {
        let mut arrivals = Vec::new();
        for raw in raws {
            // Positions of two parts interleave, so that within a tick arrival and log order differ.
            let offset = self.raws.len() as u64;
            let position = Position { source: 0, part: (offset % 2) as u32, offset };
            self.raws.push(raw.clone());
            let identity = raw.event_id().filter(|_| self.remembered.is_some()).map(|id| {
                let payload = payload_hash(format!("{raw:?}").as_bytes());
                Box::new(Identity { id, payload, position, horizon: HORIZON })
            });
            let event = Event {
                user: raw.user.map(key),
                time: raw.time.map(time).ok_or(NoTime::Absent),
                signature: raw.signature(),
                details: raw.details(self.asked),
                steps: None,
                contributions: None,
                calls: None,
                counted: counted(raw),
                links: None,
            };
            input.records.push(Record { event, identity });
            input.names.extend(raw.user.map(|user| (key(user), Arc::from(name(user)))));
            input.signatures.push((raw.signature(), raw.descriptor()));
            input.shapes.extend(raw.leaves().map(|leaves| (raw.shape(), leaves)));
            arrivals.push((position, raw.clone()));
        }
        arrivals.sort();
        let mut counted = Vec::new();
        for (position, raw) in arrivals {
            let verdict = self.admit(&raw, position);
            seen.verdicts.extend(verdict);
            if matches!(verdict, None | Some(Verdict::NotChecked(_))) {
                counted.push(raw);
            }
        }
        seen.verdicts.sort();
        self.forget();
        self.events.extend(counted.iter().cloned());
        self.visits.extend(counted.iter().cloned());
        counted
    }

    fn admit(&mut self, raw: &Raw, position: Position) -> Option<Verdict> {
        self.remembered?;
        let id = raw.event_id()?;
        let known = self.ids.entry(id.shard()).or_default();
        let near = |other: &Raw| match (other.time, raw.time) {
            (Some(one), Some(other)) => (one - other).abs() <= HORIZON,
            _ => true,
        };
        let near: Vec<_> = known.iter().filter(|(other, raw)| *other == id && near(raw)).map(|(_, raw)| raw).collect();
        if !near.is_empty() {
            let same = near.contains(&raw);
            return Some(if same { Verdict::Duplicate(position) } else { Verdict::Conflict(position) });
        }
        if raw.time.is_some() && raw.time <= self.forgotten.get(&id.shard()).copied() {
            return Some(Verdict::NotChecked(position));
        }
        known.push((id, raw.clone()));
        None
    }

    /// Of each shard with too many, what is not later than the middle one goes.
    fn forget(&mut self) {
        for (shard, known) in &mut self.ids {
            if self.remembered.is_some_and(|remembered| known.len() > remembered) {
                let mut times: Vec<_> = known.iter().map(|(_, raw)| raw.time).collect();
                times.sort();
                let cut = times[times.len() / 2];
                known.retain(|(_, raw)| raw.time > cut);
                if let Some(cut) = cut {
                    let forgotten = self.forgotten.entry(*shard).or_insert(cut);
                    *forgotten = cut.max(*forgotten);
                }
            }
        }
    }

    fn swap(&mut self, swaps: &[Swap], input: &mut Input, seen: &mut Seen) {
        // Resolved against the sessions before the tick; what one replacement takes the next does not see.
        let before = self.visits.clone();
        let mut resolved: Vec<(Replacement, Vec<SessionId>, Vec<Raw>, Vec<Raw>)> = Vec::new();
        for swap in swaps {
            let user = key(swap.user);
            let groups: Vec<Vec<Raw>> = groups(&before, swap.user, self.asked)
                .into_iter()
                .filter(|group| group[0].time <= Some(swap.to) && group.last().unwrap().time >= Some(swap.from))
                .collect();
            let id = |group: &Vec<Raw>| SessionId::of(user, time(group[0].time.unwrap()));
            let mut sessions: Vec<_> = groups.iter().map(id).collect();
            if swap.stale {
                sessions.push(SessionId::of(user, EventTime::MAX));
            }
            sessions.sort();
            let all: Vec<Raw> = groups.concat();
            let survivors: Vec<Raw> = (all.iter().enumerate())
                .filter(|(n, _)| swap.keep >> (n % 64) & 1 == 1)
                .map(|(n, raw)| Raw {
                    time: raw.time.map(|t| t + if n % 2 == 1 { swap.shift } else { 0 }),
                    ..raw.clone()
                })
                .collect();
            let visits = survivors.iter().filter_map(|raw| raw.visit(self.asked)).collect();
            let (from, to) = (time(swap.from), time(swap.to));
            let replacement = Replacement { user, from, to, sessions: Some(sessions.clone()), survivors: visits };
            input.replacements.push(replacement.clone());
            resolved.push((replacement, sessions, all, survivors));
        }
        // The operator applies those of one tick in their own order.
        resolved.sort();
        let mut taken: BTreeMap<UserKey, BTreeSet<SessionId>> = BTreeMap::new();
        for (replacement, sessions, all, survivors) in resolved {
            let user = (0..3).find(|user| key(*user) == replacement.user).unwrap();
            let taken = taken.entry(replacement.user).or_default();
            let mut found: Vec<_> = groups(&before, user, self.asked)
                .iter()
                .filter(|group| {
                    group[0].time.map(time) <= Some(replacement.to)
                        && group.last().unwrap().time.map(time) >= Some(replacement.from)
                })
                .map(|group| SessionId::of(replacement.user, time(group[0].time.unwrap())))
                .filter(|id| !taken.contains(id))
                .collect();
            found.sort();
            if found != sessions {
                seen.rejected.push((replacement.user, found));
                continue;
            }
            taken.extend(sessions);
            for raw in all {
                let index = self.visits.iter().position(|visit| *visit == raw).unwrap();
                self.visits.remove(index);
            }
            self.visits.extend(survivors);
        }
        seen.rejected.sort();
    }

    /// The sessions of each user, each as its visits.
    fn groups(&self) -> BTreeMap<u8, Vec<Vec<Raw>>> {
        (0..3).map(|user| (user, groups(&self.visits, user, self.asked))).collect()
    }
}

/// What the journals say of a user without replacements, whose sessions were `before` and are `after`.
fn journals(user: u8, before: &[Vec<Raw>], after: &[Vec<Raw>], arrived: &[Raw], seen: &mut Seen) {
    let start = |group: &Vec<Raw>| group[0].time.unwrap();
    let end = |group: &Vec<Raw>| group.last().unwrap().time.unwrap();
    let found = |time: i64| after.iter().find(|group| (start(group)..=end(group)).contains(&time));
    let now = |time: i64| found(time).unwrap();
    for raw in arrived.iter().filter(|raw| raw.user == Some(user)) {
        if let (Some(time), Some(last)) = (raw.time, before.last())
            && time < start(last)
            && let Some(session) = found(time)
        {
            seen.late.push((key(user), time, raw.signature(), start(session)));
        }
    }
    for (index, old) in before.iter().enumerate() {
        let new = now(start(old));
        if start(new) != start(old) {
            let first = before[..index].iter().all(|earlier| start(now(start(earlier))) != start(new));
            let reason = if first { Moved::Extended } else { Moved::Merged };
            seen.lineage.push((key(user), start(old), start(new), reason));
        }
    }
    seen.late.sort();
    seen.lineage.sort();
}

/// By hand, not by the graph's own rules: the highest priority, then the lowest order.
fn class(raw: &Raw, set: u8) -> String {
    let (price, page) = (raw.price.is_some(), raw.page.is_some());
    match set {
        3 if page => "paged".into(),
        3 if !price => "bare".into(),
        1..=3 if price => "priced".into(),
        2 => "paged or bare".into(),
        _ if raw.kind < 3 => format!("kind {}", raw.kind),
        _ => UNCLASSIFIED.into(),
    }
}

/// What gives that class.
fn layer(raw: &Raw, set: u8) -> Layer {
    let (price, page) = (raw.price.is_some(), raw.page.is_some());
    match set {
        3 if page => Layer::Rule(1),
        3 if !price => Layer::Rule(2),
        1..=3 if price => Layer::Rule(0),
        2 => Layer::Rule(1),
        _ if raw.kind < 3 => Layer::Kind,
        _ => Layer::Nothing,
    }
}

/// The sessions of a user, each as its visits.
fn groups(visits: &[Raw], user: u8, asked: Option<Asked>) -> Vec<Vec<Raw>> {
    split(visits, user, asked).groups
}

/// What becomes of the visits of a user.
#[derive(Default)]
struct Split {
    groups: Vec<Vec<Raw>>,
    /// Why each of them ended.
    ended: Vec<EndedBy>,
    /// Number of visits in none.
    outside: usize,
}

/// The visits of a user, sorted and split where a pause is too long, or where a policy says so. Those that start no session
/// are left out where there is none.
fn split(visits: &[Raw], user: u8, asked: Option<Asked>) -> Split {
    let mut visits: Vec<Raw> = visits.iter().filter(|v| v.user == Some(user) && v.time.is_some()).cloned().collect();
    visits.sort_by_key(|visit| visit.time);
    let mut split = Split::default();
    let mut open: Vec<Raw> = Vec::new();
    for instant in visits.chunk_by(|one, other| one.time == other.time) {
        let ends = match (open.last(), asked) {
            (None, _) => None,
            (Some(last), None) => (instant[0].time.unwrap() - last.time.unwrap() > GAP).then_some(EndedBy::Gap),
            (Some(_), Some(asked)) => asked.ends(&open, instant),
        };
        if let Some(reason) = ends {
            split.groups.push(std::mem::take(&mut open));
            split.ended.push(reason);
        }
        let starts = instant.iter().any(|raw| asked.is_none_or(|asked| !asked.keeps_alive(raw)));
        if open.is_empty() && !starts {
            split.outside += instant.len();
        } else {
            open.extend_from_slice(instant);
        }
    }
    if !open.is_empty() {
        split.ended.push(asked.map_or(EndedBy::Gap, |asked| asked.last(&open)));
        split.groups.push(open);
    }
    split
}

fn row(user: u8, group: &[Raw]) -> Row {
    let (start, end) = (group[0].time.unwrap(), group.last().unwrap().time.unwrap());
    let mut signatures = BTreeMap::new();
    let mut price = Measure::default();
    for raw in group {
        *signatures.entry(raw.signature()).or_insert(0) += 1;
        price.add(&raw.details(None).unwrap().sums[0]);
    }
    let at = |time| group.iter().filter(move |raw| raw.time == Some(time)).map(|raw| (raw.order(), raw.signature()));
    let mut pages: Vec<_> = group.iter().filter_map(|raw| Some((raw.time, raw.order(), raw.page?))).collect();
    pages.sort();
    Row {
        user: key(user),
        start,
        end,
        events: group.len() as u64,
        signatures: signatures.into_iter().collect(),
        first: at(start).min().unwrap().1,
        last: at(end).max().unwrap().1,
        price,
        pages: pages.first().map(|first| (format!("page {}", first.2), format!("page {}", pages.last().unwrap().2))),
        ended_by: None,
    }
}
