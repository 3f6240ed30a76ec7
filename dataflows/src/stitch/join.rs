//! Links -> persons, kept as links come, go and change their times.
//!
//! A change is computed again among the persons that it touches. The links of all their aliases are taken in order, as at
//! the beginning. A link to a person outside is tried too: the other person grows beside, by its own links. If such a link
//! joins now, that person is touched as well, and all is taken again. Other persons cannot change, as the answer to each of
//! their links is the same as before.

use super::{Identity, Rules, State};
use crate::hashed::Hashed;
use crate::link::{Alias, Link};
use crate::time::EventTime;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The number of an alias, as long as it has links. Which one it is depends on the order of arrival: it is in no output.
type Number = u32;

/// The place of a link among those of one of its ends: by time, and then by the other end.
type Place = (EventTime, Alias);

/// The aliases that have links, and the persons that they are of.
pub(super) struct Joined {
    rules: Rules,
    numbers: Hashed<Alias, Number>,
    nodes: Vec<Node>,
    /// Numbers that are free.
    free: Vec<Number>,
    /// The aliases of each, in no order that matters.
    persons: Vec<Vec<Number>>,
    free_persons: Vec<u32>,
    /// Links that were read.
    pub read: u64,
}

struct Node {
    alias: Alias,
    links: BTreeMap<Place, (Number, State)>,
    /// The last link that is considered; `None`: all are.
    limit: Option<Place>,
    /// Links by their state.
    counts: [u32; State::ALL.len()],
    person: u32,
}

impl Node {
    fn considers(&self, place: &Place) -> bool {
        self.limit.as_ref().is_none_or(|limit| place <= limit)
    }

    fn first(&self) -> Option<EventTime> {
        self.links.first_key_value().map(|((time, _), _)| *time)
    }
}

/// How the time of a link changes; `None`: it is not there.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub link: Link,
    pub before: Option<EventTime>,
    pub after: Option<EventTime>,
}

/// How the row of an alias changes; `None`: it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub alias: Alias,
    pub before: Option<Identity>,
    pub after: Option<Identity>,
}

/// A link that is taken: its time, its ends in order, and whether one of them is outside.
struct Taken {
    time: EventTime,
    ends: [Number; 2],
    outside: bool,
}

/// The rows that may have changed, as they were.
type Former = BTreeMap<Number, Option<Identity>>;

impl Joined {
    pub fn new(rules: Rules) -> Joined {
        Joined {
            rules,
            numbers: Hashed::default(),
            nodes: Vec::new(),
            free: Vec::new(),
            persons: Vec::new(),
            free_persons: Vec::new(),
            read: 0,
        }
    }

    /// Takes the changes of a tick, at most one of each link. Returns the rows that change, in the order of aliases.
    pub fn change(&mut self, changes: &[Change]) -> Vec<Changed> {
        let mut former = Former::new();
        let mut limits = BTreeMap::<Number, Option<Place>>::new();
        let mut ends = Vec::with_capacity(changes.len());
        for Change { link, before, after } in changes {
            let numbers = [self.number(&link.ends()[0]), self.number(&link.ends()[1])];
            ends.push(numbers);
            for end in 0..2 {
                let (number, other) = (numbers[end], numbers[1 - end]);
                // A time may change which alias of the person is the first.
                self.remember_all(self.node(number).person, &mut former);
                let of_other = &link.ends()[1 - end];
                let node = self.node_mut(number);
                limits.entry(number).or_insert_with(|| node.limit.clone());
                if let Some((_, state)) = before.and_then(|time| node.links.remove(&(time, of_other.clone()))) {
                    node.counts[state as usize] -= 1;
                }
                if let Some(time) = after {
                    node.links.insert((*time, of_other.clone()), (other, State::Capped));
                    node.counts[State::Capped as usize] += 1;
                }
            }
        }
        let mut touched = BTreeSet::new();
        for (number, before) in &limits {
            self.limit(*number, before.as_ref(), &mut touched, &mut former);
        }
        for (Change { link, before, after }, numbers) in changes.iter().zip(&ends) {
            let place = |time: EventTime, end: usize| (time, link.ends()[1 - end].clone());
            let is = |time| (0..2).all(|end| self.node(numbers[end]).considers(&place(time, end)));
            let within = |limit: &Option<Place>, place| limit.as_ref().is_none_or(|limit| place <= *limit);
            let was = |time| (0..2).all(|end| within(&limits[&numbers[end]], place(time, end)));
            if before.is_some_and(was) || after.is_some_and(is) {
                touched.extend(numbers);
            }
        }
        self.join(&touched, &mut former);
        self.finish(former, ends)
    }

    /// Sets how many links of an alias are considered. The ends of those that are now and were not, or the other way round,
    /// are touched.
    fn limit(&mut self, number: Number, before: Option<&Place>, touched: &mut BTreeSet<Number>, former: &mut Former) {
        let most = self.rules.considered();
        let node = self.node_mut(number);
        let limit = if node.links.len() > most { node.links.keys().nth(most - 1).cloned() } else { None };
        if limit.as_ref() == before {
            return;
        }
        let within = |place: &Place, limit: Option<&Place>| limit.is_none_or(|limit| place <= limit);
        let from = match (before, &limit) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other.as_ref()),
        };
        let from = from.cloned().map_or(Bound::Unbounded, Bound::Included);
        let mut gone = Vec::new();
        for (place, (other, _)) in node.links.range((from, Bound::Unbounded)) {
            let (was, is) = (within(place, before), within(place, limit.as_ref()));
            if !was && !is {
                break;
            }
            if was != is {
                touched.extend([number, *other]);
            }
            if was && !is {
                gone.push((place.0, *other));
            }
        }
        node.limit = limit;
        for (time, other) in gone {
            self.mark(time, [number, other], State::Capped, former);
        }
    }

    /// Makes the persons of these aliases again.
    fn join(&mut self, touched: &BTreeSet<Number>, former: &mut Former) {
        let mut persons: BTreeSet<u32> = touched.iter().map(|number| self.node(*number).person).collect();
        loop {
            let mut members: Vec<Number> =
                persons.iter().flat_map(|person| &self.persons[*person as usize]).copied().collect();
            members.sort_unstable();
            let (links, beside) = self.links(&members, &persons);
            let mut groups = Groups::new(members.iter().chain(&beside), self);
            let (mut states, mut met) = (Vec::with_capacity(links.len()), BTreeSet::new());
            for link in &links {
                let state = groups.join(link.ends, self.rules.cap);
                if link.outside && state == State::Joined {
                    met.extend(link.ends.map(|end| self.node(end).person));
                }
                states.push(state);
            }
            let before = persons.len();
            persons.extend(met);
            if persons.len() > before {
                continue;
            }
            persons.iter().for_each(|person| self.remember_all(*person, former));
            for (Taken { time, ends, .. }, state) in links.iter().zip(states) {
                self.mark(*time, *ends, state, former);
            }
            for person in persons {
                self.persons[person as usize].clear();
                self.free_persons.push(person);
            }
            for members in groups.of(&members) {
                self.found(members);
            }
            return;
        }
    }

    /// Returns the links of `members` that are considered, in order, and behind them in the same order those that have made
    /// the persons outside that they lead to; and the aliases of these persons.
    fn links(&mut self, members: &[Number], persons: &BTreeSet<u32>) -> (Vec<Taken>, Vec<Number>) {
        let (mut links, mut others, mut read) = (Vec::new(), BTreeSet::new(), 0);
        for number in members {
            let node = self.node(*number);
            for (place, (other, _)) in &node.links {
                read += 1;
                if !node.considers(place) {
                    break;
                }
                let end = self.node(*other);
                if !end.considers(&(place.0, node.alias.clone())) {
                    continue;
                }
                let outside = !persons.contains(&end.person);
                if outside {
                    others.insert(end.person);
                }
                let is_first = node.alias < end.alias;
                if outside || is_first {
                    let ends = if is_first { [*number, *other] } else { [*other, *number] };
                    links.push(Taken { time: place.0, ends, outside });
                }
            }
        }
        let mut beside = Vec::new();
        for number in others.iter().flat_map(|person| &self.persons[*person as usize]) {
            beside.push(*number);
            let node = self.node(*number);
            for (place, (other, state)) in &node.links {
                read += 1;
                if !node.considers(place) {
                    break;
                }
                if *state == State::Joined && node.alias < self.node(*other).alias {
                    links.push(Taken { time: place.0, ends: [*number, *other], outside: false });
                }
            }
        }
        self.read += read;
        links.sort_by(|one, other| {
            let end = |of: &Taken, end: usize| &self.node(of.ends[end]).alias;
            let by_ends = || end(one, 0).cmp(end(other, 0)).then_with(|| end(one, 1).cmp(end(other, 1)));
            one.time.cmp(&other.time).then_with(by_ends)
        });
        (links, beside)
    }

    /// Sets the state of a link at both ends.
    fn mark(&mut self, time: EventTime, ends: [Number; 2], state: State, former: &mut Former) {
        for (number, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let place = (time, self.node(other).alias.clone());
            if self.node(number).links.get(&place).is_some_and(|(_, before)| *before != state) {
                former.entry(number).or_insert_with(|| self.row(number));
                let node = self.node_mut(number);
                if let Some((_, known)) = node.links.get_mut(&place) {
                    node.counts[*known as usize] -= 1;
                    node.counts[state as usize] += 1;
                    *known = state;
                }
            }
        }
    }

    /// Returns the rows that have changed, and drops the aliases that have no links any more.
    fn finish(&mut self, former: Former, ends: Vec<[Number; 2]>) -> Vec<Changed> {
        let mut rows = Vec::new();
        let mut firsts = BTreeMap::new();
        for (number, before) in former {
            let person = self.node(number).person;
            let first = *firsts.entry(person).or_insert_with(|| self.first(person));
            let after = self.row_of(number, first);
            if before != after {
                rows.push(Changed { alias: self.node(number).alias.clone(), before, after });
            }
        }
        let gone: BTreeSet<Number> =
            ends.into_iter().flatten().filter(|number| self.node(*number).links.is_empty()).collect();
        for number in gone {
            let Node { alias, person, .. } = self.node(number);
            let (alias, person) = (alias.clone(), *person);
            debug_assert_eq!(self.persons[person as usize], [number], "an alias without links is a person of its own");
            self.persons[person as usize].clear();
            self.free_persons.push(person);
            self.numbers.remove(&alias);
            self.free.push(number);
        }
        rows.sort_unstable_by(|one, other| one.alias.cmp(&other.alias));
        rows
    }

    /// Remembers the rows of a person, before anything of them changes.
    fn remember_all(&self, person: u32, former: &mut Former) {
        let members = &self.persons[person as usize];
        if members.iter().all(|number| former.contains_key(number)) {
            return;
        }
        let first = self.first(person);
        for number in members {
            former.entry(*number).or_insert_with(|| self.row_of(*number, first));
        }
    }

    /// Returns the alias of a person that was seen first; of several, the least.
    fn first(&self, person: u32) -> Option<Number> {
        let members = self.persons[person as usize].iter().copied();
        members.min_by(|one, other| {
            let (one, other) = (self.node(*one), self.node(*other));
            one.first().cmp(&other.first()).then_with(|| one.alias.cmp(&other.alias))
        })
    }

    fn row(&self, number: Number) -> Option<Identity> {
        self.row_of(number, self.first(self.node(number).person))
    }

    fn row_of(&self, number: Number, first: Option<Number>) -> Option<Identity> {
        let node = self.node(number);
        let [links, capped, refused] = node.counts;
        Some(Identity {
            alias: node.alias.clone(),
            of: self.node(first?).alias.clone(),
            first_seen: node.first()?,
            aliases: self.persons[node.person as usize].len() as u32,
            links,
            capped,
            refused,
        })
    }

    /// Returns the number of an alias, which may be new.
    fn number(&mut self, alias: &Alias) -> Number {
        if let Some(number) = self.numbers.get(alias) {
            return *number;
        }
        let node = Node { alias: alias.clone(), links: BTreeMap::new(), limit: None, counts: [0; 3], person: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                *self.node_mut(number) = node;
                number
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as Number
            }
        };
        self.numbers.insert_new(alias.clone(), number);
        self.found(vec![number]);
        number
    }

    /// Makes a person of these aliases.
    fn found(&mut self, members: Vec<Number>) {
        let person = self.free_persons.pop().unwrap_or_else(|| {
            self.persons.push(Vec::new());
            (self.persons.len() - 1) as u32
        });
        members.iter().for_each(|number| self.node_mut(*number).person = person);
        self.persons[person as usize] = members;
    }

    fn node(&self, number: Number) -> &Node {
        &self.nodes[number as usize]
    }

    fn node_mut(&mut self, number: Number) -> &mut Node {
        &mut self.nodes[number as usize]
    }
}

/// Persons that grow link by link.
struct Groups {
    /// Sorted.
    numbers: Vec<Number>,
    /// By place in `numbers`: the place of the one above, which is the same at the top.
    above: Vec<u32>,
    /// At the top: how many there are, and a bit for each unique kind that one has.
    sizes: Vec<u32>,
    unique: Vec<u64>,
}

impl Groups {
    fn new<'n>(numbers: impl Iterator<Item = &'n Number>, joined: &Joined) -> Groups {
        let mut numbers: Vec<Number> = numbers.copied().collect();
        numbers.sort_unstable();
        let bit = |number: &Number| 1 << joined.node(*number).alias.kind & joined.rules.unique;
        Groups {
            above: (0..numbers.len() as u32).collect(),
            sizes: vec![1; numbers.len()],
            unique: numbers.iter().map(bit).collect(),
            numbers,
        }
    }

    fn top(&mut self, number: Number) -> usize {
        let mut at = self.numbers.binary_search(&number).expect("each end of a link that is taken has a group");
        while self.above[at] as usize != at {
            let next = self.above[at] as usize;
            self.above[at] = self.above[next];
            at = next;
        }
        at
    }

    /// Takes a link. Of its groups, the smaller one goes into the greater one.
    fn join(&mut self, ends: [Number; 2], cap: u32) -> State {
        let [one, other] = ends.map(|end| self.top(end));
        if one == other {
            return State::Joined;
        }
        if self.unique[one] & self.unique[other] != 0 {
            return State::Refused;
        }
        if self.sizes[one] + self.sizes[other] > cap {
            return State::Capped;
        }
        let (lesser, greater) = if self.sizes[one] < self.sizes[other] { (one, other) } else { (other, one) };
        self.above[lesser] = greater as u32;
        self.sizes[greater] += self.sizes[lesser];
        self.unique[greater] |= self.unique[lesser];
        State::Joined
    }

    /// Returns the groups of `members`, which have no others in them.
    fn of(&mut self, members: &[Number]) -> Vec<Vec<Number>> {
        let mut by_top: Vec<(usize, Number)> = members.iter().map(|member| (self.top(*member), *member)).collect();
        by_top.sort_unstable();
        let groups = by_top.chunk_by(|(one, _), (other, _)| one == other);
        groups.map(|group| group.iter().map(|(_, member)| *member).collect()).collect()
    }
}

#[cfg(test)]
mod tests;
