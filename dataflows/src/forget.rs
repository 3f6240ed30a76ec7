//! To forget a user: all that was made of the events of some ticks goes at a later one, in one step.
//!
//! ```text
//! tick P: note ──── the events of the user are noted from here on, and count as others do
//!    …              outside, the events of the ticks before P are read back and counted
//! tick T: forget ── all that is kept under the user goes, and these counts go from the sums;
//!                   the noted events come again, without being counted again
//! ```
//! So the views after T are those of all events but the user's before P. Between P and T no view changes for it. The
//! events before P are not in the graph, which keeps none: what rows do not know comes from outside, as numbers.

use crate::identity::UserKey;
use crate::record::{CountedBy, Event};
use crate::step::{StepRow, Track};
use crate::time::{Tick, TotalTime};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// A user who is forgotten at a tick, and what the user's events before were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Whose events go.
    pub user: Option<UserKey>,
    /// What they were counted by, and how many of them.
    pub sums: Vec<(CountedBy, u64)>,
    /// The sequences that follow users, by index: the user's track of each goes.
    pub sequences: Vec<u16>,
    /// What they were of sequences that follow other keys.
    pub steps: Vec<StepRow>,
    /// The states of users, by index: the user's entity of each goes.
    pub states: Vec<u16>,
}

/// What is taken from the sums of this worker, or comes again.
#[derive(Clone, Debug)]
pub enum Withdrawal {
    /// The number of events changes.
    Sum(CountedBy, isize),
    /// The noted events of this user come again.
    Again(UserKey),
}

/// What goes from sequences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Dropped {
    /// All events of a track.
    Track(Track),
    /// Some of them, as they came.
    Steps(StepRow),
}

impl Dropped {
    /// Returns the key by whose worker it is dropped.
    pub fn key(&self) -> UserKey {
        match self {
            Dropped::Track(track) | Dropped::Steps(((track, _), _)) => track.key,
        }
    }
}

/// The events of users who are about to be forgotten, of one worker.
#[derive(Debug)]
pub struct Notes<T: TotalTime = Tick> {
    /// By user, one after the other: what feeds the operators is ahead of them by some ticks, and may begin the next one while
    /// the first one is still to be taken.
    users: BTreeMap<UserKey, VecDeque<Noted<T>>>,
}

/// Notes that the operators of a worker share with what feeds them.
pub type SharedNotes<T = Tick> = Rc<RefCell<Notes<T>>>;

#[derive(Debug)]
struct Noted<T> {
    from: T,
    events: Vec<(T, Event)>,
}

impl<T: TotalTime> Default for Notes<T> {
    fn default() -> Notes<T> {
        Notes { users: BTreeMap::new() }
    }
}

impl<T: TotalTime> Notes<T> {
    /// Notes the events of a user from a tick on.
    pub fn begin(&mut self, user: UserKey, from: T) {
        self.users.entry(user).or_default().push_back(Noted { from, events: Vec::new() });
    }

    /// Drops what was noted of a user since it was last begun.
    pub fn end(&mut self, user: UserKey) {
        self.change(user, VecDeque::pop_back);
    }

    /// Returns whether no user is noted.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Notes an event of a tick, if it is of such a user.
    pub(crate) fn note(&mut self, tick: &T, event: &Event) {
        let noted = event.user.and_then(|user| self.users.get_mut(&user));
        for noted in noted.into_iter().flatten().filter(|noted| noted.from <= *tick) {
            // Actions have decided on it, and counts have counted it.
            noted.events.push((tick.clone(), Event { calls: None, counted: None, ..event.clone() }));
        }
    }

    /// Takes the events of a user that were noted first, of the ticks before one.
    pub(crate) fn take(&mut self, user: UserKey, before: &T) -> Vec<Event> {
        let noted = self.change(user, VecDeque::pop_front).map_or(Vec::new(), |noted| noted.events);
        noted.into_iter().filter(|(tick, _)| tick < before).map(|(_, event)| event).collect()
    }

    fn change(
        &mut self,
        user: UserKey,
        change: impl FnOnce(&mut VecDeque<Noted<T>>) -> Option<Noted<T>>,
    ) -> Option<Noted<T>> {
        let all = self.users.get_mut(&user)?;
        let noted = change(all);
        if all.is_empty() {
            self.users.remove(&user);
        }
        noted
    }
}
