//! Links -> [`Identity`]: which aliases are one person.
//!
//! # Definition
//!
//! The answer is a function of the *set* of links, each with the time of its first event. Neither the order of arrival nor
//! the cuts between ticks matter.
//!
//! - Of each alias, the first links by (time, other alias) are **considered**: [`Rules::considered`] of them. A link has to
//!   be considered at both ends. So an alias that all events share costs no more than others.
//! - The links that are considered are taken in the order of (time, aliases). One **joins** the persons of its ends, unless
//!   both have an alias of the same unique kind (it is **refused**), or together more aliases than the cap (it is
//!   **capped**, as are those that are not considered).
//! - The alias of a person that was seen first, in any link, stands for the person. Of several, it is the least.
//!
//! # Cost
//!
//! ```text
//! links of events ─▶ (exchange by link) ─▶ first time of each ─▶ (to one worker) ─▶ persons ─▶ (exchange by alias) ─▶ rows
//! ```
//!
//! Each link is known at the worker of its hash, and only a new link or an earlier time goes on. Persons may join across all
//! workers, so one worker keeps them. A change costs the persons that it touches: at most the cap times the number of links
//! that are considered, for each of them.
//!
//! State: the links. Snapshots have them; persons follow from them.
//!
//! Deliberately absent: the events of a link. What goes is all links of a user ([`Inputs::unlinked`]), of whom all events go.

mod join;

use crate::hashed::Hashed;
use crate::identity::UserKey;
use crate::link::{Alias, Link, Seen};
use crate::operators::{Capabilities, Fold, Keyed, Output, Own, Rows, Turn};
use crate::time::{EventTime, Tick, TotalTime};
use differential_dataflow::Hashable;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use join::{Change, Changed, Joined};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{Exchange, Pipeline};

/// What a person may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Aliases of a person, at most.
    pub cap: u32,
    /// A bit for each kind of which a person has one alias at most.
    pub unique: u64,
    /// The kind whose aliases are users, if there is one.
    pub user: Option<u8>,
}

impl Rules {
    /// Returns how many links of an alias are considered.
    pub fn considered(&self) -> usize {
        (self.cap as usize).saturating_mul(4)
    }
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Its ends are one person.
    Joined,
    /// The person would have too many aliases, or an end has too many links.
    Capped,
    /// The person would have two aliases of a unique kind.
    Refused,
}

impl State {
    const ALL: [State; 3] = [State::Joined, State::Capped, State::Refused];
}

/// What is known of one alias that has links.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// The alias.
    pub alias: Alias,
    /// The alias that stands for the person.
    pub of: Alias,
    /// Time of the first event that links the alias.
    pub first_seen: EventTime,
    /// Aliases of the person.
    pub aliases: u32,
    /// Links of the alias that are within the person.
    pub links: u32,
    /// Links of the alias that the cap keeps apart.
    pub capped: u32,
    /// Links of the alias that a unique kind keeps apart.
    pub refused: u32,
}

/// An alias that is of another person than before. One without links is a person of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moved {
    /// The alias.
    pub alias: Alias,
    /// What stood for its person.
    pub from: Alias,
    /// What stands for it now.
    pub to: Alias,
    /// Why.
    pub why: Why,
}

/// Why an alias is of another person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Two persons turned out to be one.
    Merged,
    /// A person turned out to be two.
    Split,
    /// The person is the same, and another alias was seen first.
    Renamed,
}

impl Why {
    /// Each reason.
    pub const ALL: [Why; 3] = [Why::Merged, Why::Split, Why::Renamed];

    /// Returns the stable name of this reason in outputs.
    pub fn code(self) -> &'static str {
        match self {
            Why::Merged => "merged",
            Why::Split => "split",
            Why::Renamed => "renamed",
        }
    }
}

/// A link with the time of its first event, as snapshots have it.
pub type LinkRow = (Link, EventTime);

/// Identities by the key of their alias's text.
pub type IdentitySpine<T = Tick> = ValSpine<UserKey, Identity, T, isize>;
/// Reads [`IdentitySpine`].
pub type IdentityTrace<T = Tick> = TraceAgent<IdentitySpine<T>>;

/// What enters [`stitch`].
pub struct Inputs<'s, T: TotalTime = Tick> {
    /// The links of events, whichever worker has read them.
    pub seen: Stream<'s, T, Vec<Seen>>,
    /// Users whose links go before the events of the tick count, on each worker. `None`: none ever do.
    pub unlinked: Option<Stream<'s, T, Vec<UserKey>>>,
    /// What a snapshot brings back, at a tick before all others.
    pub restored: Stream<'s, T, Vec<LinkRow>>,
}

/// What [`stitch`] gives.
pub struct Stitched<'s, T: TotalTime = Tick> {
    /// View: a row for each alias that has links, at the worker of its key.
    pub identities: Arranged<'s, IdentityTrace<T>>,
    /// Journal of aliases that are of another person.
    pub moved: Stream<'s, T, Vec<(Moved, T)>>,
    /// How the links change, for snapshots.
    pub links: Stream<'s, T, Vec<(LinkRow, T, isize)>>,
    /// Links that this worker has read to keep persons.
    pub read: Rc<Cell<u64>>,
}

/// Keeps which aliases are one person.
pub fn stitch<'s, T: TotalTime>(inputs: Inputs<'s, T>, rules: Rules) -> Stitched<'s, T> {
    let Inputs { seen, unlinked, restored } = inputs;
    let scope = seen.scope();
    let workers = scope.peers();
    let mut operator = Keyed::<T, Linking<T>>::new("Link", scope);
    let (changes, change_stream) = operator.output();
    let (links, link_stream) = operator.output();
    for seen in [seen, restored] {
        let by_link = Exchange::new(|(link, _): &Seen| link.hashed());
        operator.input(seen, by_link, |_, arrivals| {
            arrivals.each(|waiting, _, rows| waiting.seen.append(rows));
        });
    }
    if let Some(unlinked) = unlinked {
        operator.input(unlinked, Pipeline, |_, arrivals| {
            arrivals.each(|waiting, _, users| waiting.unlinked.append(users));
        });
    }
    operator.build(Linking { user: rules.user, firsts: Hashed::default(), changes, links });

    let read = Rc::<Cell<u64>>::default();
    let mut operator = Keyed::<T, Joining<T>>::new("Join", scope);
    let (rows, row_stream) = operator.output();
    let (moved, moved_stream) = operator.output();
    operator.input(change_stream, Exchange::new(|_: &LinkChange| 0), |_, arrivals| {
        arrivals.each(|waiting, _, rows| waiting.append(rows));
    });
    operator.build(Joining { joined: Joined::new(rules), rows, moved, read: Rc::clone(&read) });

    let mut operator = Keyed::<T, Arranging<T>>::new("Identities", scope);
    let (own, identities) = operator.arranged();
    let by_key = Exchange::new(move |((key, _), _): &((UserKey, Identity), isize)| key.worker(workers));
    operator.input(row_stream, by_key, |_, arrivals| {
        arrivals.each(|waiting, _, rows| waiting.append(rows));
    });
    operator.build(Arranging { own, rows: Rows::default() });
    Stitched { identities, moved: moved_stream, links: link_stream, read }
}

/// A link, and its first times before and after.
type LinkChange = (Link, Option<EventTime>, Option<EventTime>);

/// What has arrived for a tick that is not complete yet.
#[derive(Default)]
struct Waiting {
    seen: Vec<Seen>,
    unlinked: Vec<UserKey>,
}

/// The links of one worker.
struct Linking<T: TotalTime> {
    user: Option<u8>,
    firsts: Hashed<Link, Option<EventTime>>,
    changes: Output<T, LinkChange>,
    links: Output<T, (LinkRow, T, isize)>,
}

impl<T: TotalTime> Fold<T> for Linking<T> {
    type Waiting = Waiting;

    fn tick(&mut self, tick: &T, waiting: &mut Waiting, at: &Capabilities<T>) -> Turn {
        let Waiting { mut seen, unlinked } = std::mem::take(waiting);
        let mut before = BTreeMap::<Link, Option<EventTime>>::new();
        if !unlinked.is_empty() {
            let goes = |alias: &Alias| Some(alias.kind) == self.user && unlinked.contains(&alias.key());
            // Users are forgotten seldom: an index of their links would cost more.
            self.firsts.retain_in_no_order(|link, first| {
                let stays = !link.ends().iter().any(goes);
                if !stays {
                    before.insert(link.clone(), *first);
                }
                stays
            });
        }
        // The first one of each link comes first.
        seen.sort_unstable();
        seen.dedup_by(|one, other| one.0 == other.0);
        for (link, time) in seen {
            let known = self.firsts.or_default(link.clone());
            if known.is_none_or(|first| time < first) {
                before.entry(link).or_insert(*known);
                *known = Some(time);
            }
        }
        let mut changes = Vec::with_capacity(before.len());
        for (link, before) in before {
            let after = self.firsts.get(&link).copied().flatten();
            if after.is_none() {
                self.firsts.remove(&link);
            }
            if before != after {
                changes.push((link, before, after));
            }
        }
        let rows = changes.iter().flat_map(|(link, before, after)| {
            let row = |first: &Option<EventTime>, diff| first.map(|first| ((link.clone(), first), tick.clone(), diff));
            [row(before, -1), row(after, 1)].into_iter().flatten()
        });
        self.links.give(at, rows);
        self.changes.give(at, changes.iter().cloned());
        Turn::Done
    }
}

/// The persons, at one worker.
struct Joining<T: TotalTime> {
    joined: Joined,
    rows: Output<T, ((UserKey, Identity), isize)>,
    moved: Output<T, (Moved, T)>,
    read: Rc<Cell<u64>>,
}

impl<T: TotalTime> Fold<T> for Joining<T> {
    type Waiting = Vec<LinkChange>;

    fn tick(&mut self, tick: &T, waiting: &mut Self::Waiting, at: &Capabilities<T>) -> Turn {
        let mut changes: Vec<Change> =
            std::mem::take(waiting).into_iter().map(|(link, before, after)| Change { link, before, after }).collect();
        changes.sort_unstable_by(|one, other| one.link.cmp(&other.link));
        let changed = self.joined.change(&changes);
        self.read.set(self.joined.read);
        self.moved.give(at, moved(&changed).into_iter().map(|moved| (moved, tick.clone())));
        let rows = changed.into_iter().flat_map(|Changed { alias, before, after }| {
            let key = alias.key();
            let row = move |identity: Option<Identity>, diff| identity.map(|identity| ((key, identity), diff));
            [row(before, -1), row(after, 1)].into_iter().flatten()
        });
        self.rows.give(at, rows);
        Turn::Done
    }
}

/// Returns the aliases that are of another person, in order.
fn moved(changed: &[Changed]) -> Vec<Moved> {
    let of = |alias: &Alias, identity: &Option<Identity>| identity.as_ref().map_or(alias, |row| &row.of).clone();
    let find = |alias: &Alias| changed.binary_search_by(|one| one.alias.cmp(alias)).ok().map(|at| &changed[at]);
    let moved = changed.iter().filter_map(|Changed { alias, before, after }| {
        let (from, to) = (of(alias, before), of(alias, after));
        // An alias whose row is the same stands for its person, as it did.
        let to_of_from = find(&from).map_or_else(|| from.clone(), |one| of(&from, &one.after));
        let from_of_to = find(&to).map_or_else(|| to.clone(), |one| of(&to, &one.before));
        let why = match (to_of_from == to, from_of_to == from) {
            (true, true) => Why::Renamed,
            (true, false) => Why::Merged,
            (false, _) => Why::Split,
        };
        (from != to).then(|| Moved { alias: alias.clone(), from, to, why })
    });
    moved.collect()
}

/// The rows of one worker.
struct Arranging<T: TotalTime> {
    own: Own<IdentitySpine<T>>,
    rows: Rows<UserKey, Identity, T>,
}

impl<T: TotalTime> Fold<T> for Arranging<T> {
    type Waiting = Vec<((UserKey, Identity), isize)>;

    fn tick(&mut self, tick: &T, waiting: &mut Self::Waiting, _: &Capabilities<T>) -> Turn {
        let mut rows = std::mem::take(waiting);
        rows.sort_unstable();
        let mut builder = ValBuilder::default();
        self.rows.extend(&mut builder, rows.into_iter().map(|(row, diff)| (row, tick.clone(), diff)));
        self.own.write(self.rows.finish(builder).map(Rc::new));
        Turn::Done
    }
}
