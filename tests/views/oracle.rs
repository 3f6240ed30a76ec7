//! The slow, obvious answer: keep every event, and sort and split all of them again after every tick.

use dataflows::identity::payload_hash;
use dataflows::ingest::Verdict;
use dataflows::rules::{Condition, Descriptor, Rule, UNCLASSIFIED};
use dataflows::sessionize::{Replacement, Visit};
use dataflows::{
    Details, Event, EventId, EventTime, Identity, Measure, NoTime, Position, Record, SessionId, ShapeId, SignatureId,
    UserKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const GAP: i64 = 10;
pub const HORIZON: i64 = 25;

/// One raw event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Raw {
    pub user: Option<u8>,
    pub time: Option<i64>,
    /// 3 stands for no type.
    pub kind: u8,
    pub id: Option<u8>,
    pub price: Option<i64>,
    pub page: Option<u8>,
}

/// A replacement to be resolved against the sessions before its tick.
#[derive(Clone, Debug)]
pub struct Swap {
    pub user: u8,
    pub from: i64,
    pub to: i64,
    /// Bit n: the n-th event of the sessions survives.
    pub keep: u64,
    /// Survivors with odd numbers are moved by this much.
    pub shift: i64,
    /// Names a session that is not there.
    pub stale: bool,
}

/// What arrives in one tick.
#[derive(Clone, Debug)]
pub struct Step {
    pub raws: Vec<Raw>,
    pub swaps: Vec<Swap>,
    /// Replaces all rules by the set of this number.
    pub rules: Option<u8>,
}

/// One tick of the graph's inputs.
#[derive(Clone, Debug, Default)]
pub struct Input {
    pub records: Vec<Record>,
    pub names: Vec<(UserKey, Arc<str>)>,
    pub signatures: Vec<(SignatureId, Descriptor)>,
    pub rules: Vec<(Rule, isize)>,
    pub replacements: Vec<Replacement>,
}

/// What all views hold after a tick, and what the journals gained in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub sessions: BTreeMap<Row, isize>,
    pub counts: BTreeMap<(String, Option<i64>), isize>,
    pub verdicts: Vec<Verdict>,
    pub rejected: Vec<(UserKey, Vec<SessionId>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub user: String,
    pub start: i64,
    pub end: i64,
    pub events: u64,
    pub signatures: Vec<(SignatureId, u64)>,
    pub first: SignatureId,
    pub last: SignatureId,
    pub price: Measure,
    pub pages: Option<(String, String)>,
}

#[derive(Default)]
pub struct Oracle {
    dedupe: bool,
    /// All events that count.
    events: Vec<Raw>,
    /// Events that sessions are made of: replacements change these alone.
    visits: Vec<Raw>,
    /// By user and event id: payload and time of what counts.
    ids: BTreeMap<(Option<u8>, u8), Vec<Raw>>,
    rules: u8,
    offset: u64,
}

pub fn name(user: u8) -> String {
    format!("user {user}")
}

fn key(user: u8) -> UserKey {
    UserKey::of(&name(user))
}

fn time(micros: i64) -> EventTime {
    EventTime::from_micros(micros).expect("small")
}

/// Rule sets 0 to 3; test 0 asks whether there is a price, test 1 whether there is a page.
fn rules(set: u8) -> Vec<Rule> {
    let rule = |name: &str, priority, order, when: &[(u32, bool)]| Rule {
        name: name.into(),
        priority,
        order,
        when: when.iter().map(|&(test, answer)| Condition { test, answer }).collect(),
    };
    match set {
        0 => vec![],
        1 => vec![rule("priced", 0, 0, &[(0, true)])],
        2 => vec![rule("priced", 0, 0, &[(0, true)]), rule("paged", 0, 1, &[(1, true)])],
        // The later one goes first, by its priority.
        _ => vec![
            rule("priced", 0, 0, &[(0, true)]),
            rule("paged", 1, 1, &[(1, true)]),
            rule("bare", 0, 2, &[(0, false), (1, false)]),
        ],
    }
}

impl Raw {
    fn descriptor(&self) -> Descriptor {
        let kind = (self.kind < 3).then(|| Arc::from(format!("kind {}", self.kind)));
        Descriptor { shape: ShapeId(1), kind, answers: vec![self.price.is_some(), self.page.is_some()] }
    }

    fn signature(&self) -> SignatureId {
        SignatureId::of(ShapeId(1), format!("{:?}", self.descriptor()).as_bytes())
    }

    fn details(&self) -> Option<Box<Details>> {
        let price = match self.price {
            Some(price) if price < 0 => Measure { millionths: 0, numbers: 0, others: 1 },
            Some(price) => Measure { millionths: price.into(), numbers: 1, others: 0 },
            None => Measure::default(),
        };
        let page = self.page.map(|page| Arc::from(format!("page {page}")));
        Some(Box::new(Details { sums: [price].into_iter().collect(), carried: [page].into_iter().collect() }))
    }

    fn visit(&self) -> Option<Visit> {
        let (user, at) = (key(self.user?), time(self.time?));
        Some(Visit { user, time: at, signature: self.signature(), details: self.details() })
    }

    /// By hand, not by the graph's own rules: the highest priority, then the lowest order.
    fn class(&self, set: u8) -> String {
        let (price, page) = (self.price.is_some(), self.page.is_some());
        match set {
            3 if page => "paged".into(),
            3 if !price => "bare".into(),
            1..=3 if price => "priced".into(),
            2 if page => "paged".into(),
            _ if self.kind < 3 => format!("kind {}", self.kind),
            _ => UNCLASSIFIED.into(),
        }
    }
}

impl Oracle {
    pub fn new(dedupe: bool) -> Oracle {
        Oracle { dedupe, ..Oracle::default() }
    }

    /// The inputs of the next tick, and what is to be seen after it.
    pub fn advance(&mut self, step: &Step) -> (Input, Seen) {
        let (mut input, mut seen) = (Input::default(), Seen::default());
        if let Some(set) = step.rules {
            input.rules.extend(rules(self.rules).into_iter().map(|rule| (rule, -1)));
            input.rules.extend(rules(set).into_iter().map(|rule| (rule, 1)));
            self.rules = set;
        }
        self.swap(&step.swaps, &mut input, &mut seen);
        self.ingest(&step.raws, &mut input, &mut seen);
        for row in self.sessions().into_values().flatten() {
            *seen.sessions.entry(row).or_insert(0) += 1;
        }
        for event in &self.events {
            let hour = event.time.map(|time| time.div_euclid(3_600_000_000) * 3_600_000_000);
            *seen.counts.entry((event.class(self.rules), hour)).or_insert(0) += 1;
        }
        (input, seen)
    }

    fn ingest(&mut self, raws: &[Raw], input: &mut Input, seen: &mut Seen) {
        let mut arrivals = Vec::new();
        for raw in raws {
            // Positions of two parts interleave, so that within a tick arrival and log order differ.
            let position = Position { source: 0, part: (self.offset % 2) as u32, offset: self.offset };
            self.offset += 1;
            let identity = raw.id.filter(|_| self.dedupe).map(|id| {
                Box::new(Identity {
                    id: EventId::of(raw.user.map(key), &id.to_string()),
                    payload: payload_hash(format!("{raw:?}").as_bytes()),
                    position,
                    horizon: HORIZON,
                })
            });
            let event = Event {
                user: raw.user.map(key),
                time: raw.time.map(time).ok_or(NoTime::Absent),
                signature: raw.signature(),
                details: raw.details(),
            };
            input.records.push(Record { event, identity });
            input.names.extend(raw.user.map(|user| (key(user), Arc::from(name(user)))));
            input.signatures.push((raw.signature(), raw.descriptor()));
            arrivals.push((position, raw.clone()));
        }
        arrivals.sort();
        for (position, raw) in arrivals {
            if let Some(id) = raw.id.filter(|_| self.dedupe) {
                let counted = self.ids.entry((raw.user, id)).or_default();
                let near = |other: &&Raw| match (other.time, raw.time) {
                    (Some(one), Some(other)) => (one - other).abs() <= HORIZON,
                    _ => true,
                };
                let near: Vec<_> = counted.iter().filter(near).collect();
                if !near.is_empty() {
                    let same = near.contains(&&raw);
                    seen.verdicts.push(if same { Verdict::Duplicate(position) } else { Verdict::Conflict(position) });
                    continue;
                }
                counted.push(raw.clone());
            }
            self.events.push(raw.clone());
            self.visits.push(raw);
        }
        seen.verdicts.sort();
    }

    fn swap(&mut self, swaps: &[Swap], input: &mut Input, seen: &mut Seen) {
        // Resolved against the sessions before the tick; what one replacement takes the next does not see.
        let before = self.visits.clone();
        let mut resolved: Vec<(Replacement, Vec<SessionId>, Vec<Raw>, Vec<Raw>)> = Vec::new();
        for swap in swaps {
            let user = key(swap.user);
            let groups: Vec<Vec<Raw>> = groups(&before, swap.user)
                .into_iter()
                .filter(|group| group[0].time <= Some(swap.to) && group.last().unwrap().time >= Some(swap.from))
                .collect();
            let id = |group: &Vec<Raw>| SessionId::of(user, time(group[0].time.unwrap()));
            let mut sessions: Vec<_> = groups.iter().map(id).collect();
            if swap.stale {
                sessions.push(SessionId::of(user, time(1_000_000)));
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
            let visits = survivors.iter().filter_map(Raw::visit).collect();
            let (from, to) = (time(swap.from), time(swap.to));
            let replacement = Replacement { user, from, to, sessions: sessions.clone(), survivors: visits };
            input.replacements.push(replacement.clone());
            resolved.push((replacement, sessions, all, survivors));
        }
        // The operator applies those of one tick in their own order.
        resolved.sort();
        let mut taken: BTreeMap<UserKey, BTreeSet<SessionId>> = BTreeMap::new();
        for (replacement, sessions, all, survivors) in resolved {
            let user = (0..3).find(|user| key(*user) == replacement.user).unwrap();
            let taken = taken.entry(replacement.user).or_default();
            let mut found: Vec<_> = groups(&before, user)
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

    fn sessions(&self) -> BTreeMap<u8, Vec<Row>> {
        (0..3).map(|user| (user, groups(&self.visits, user).iter().map(|group| row(user, group)).collect())).collect()
    }
}

/// The visits of a user, sorted and split where neighbours are more than the gap apart.
fn groups(visits: &[Raw], user: u8) -> Vec<Vec<Raw>> {
    let mut visits: Vec<Raw> = visits.iter().filter(|v| v.user == Some(user) && v.time.is_some()).cloned().collect();
    visits.sort_by_key(|visit| visit.time);
    let mut groups: Vec<Vec<Raw>> = Vec::new();
    for visit in visits {
        match groups.last_mut() {
            Some(group) if visit.time.unwrap() - group.last().unwrap().time.unwrap() <= GAP => group.push(visit),
            _ => groups.push(vec![visit]),
        }
    }
    groups
}

fn row(user: u8, group: &[Raw]) -> Row {
    let (start, end) = (group[0].time.unwrap(), group.last().unwrap().time.unwrap());
    let mut signatures = BTreeMap::new();
    let mut price = Measure::default();
    for raw in group {
        *signatures.entry(raw.signature()).or_insert(0) += 1;
        price.add(&raw.details().unwrap().sums[0]);
    }
    let at = |time| group.iter().filter(move |raw| raw.time == Some(time)).map(Raw::signature);
    let mut pages: Vec<_> = group.iter().filter_map(|raw| Some((raw.time, raw.page?))).collect();
    pages.sort();
    Row {
        user: name(user),
        start,
        end,
        events: group.len() as u64,
        signatures: signatures.into_iter().collect(),
        first: at(start).min().unwrap(),
        last: at(end).max().unwrap(),
        price,
        pages: pages.first().map(|first| (format!("page {}", first.1), format!("page {}", pages.last().unwrap().1))),
    }
}
