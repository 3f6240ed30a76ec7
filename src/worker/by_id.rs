//! The users of session ids: an index that one worker keeps from the first read by id on.

use dataflows::changes::Changes;
use dataflows::engine::Engine;
use dataflows::sessionize::Session;
use dataflows::{EventTime, SessionId, Tick, UserKey};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Whose session an id is of: ids are hashes, which nothing can be read from.
pub(super) struct ById {
    /// By half of the id.
    users: HashMap<u64, UserKey, foldhash::fast::FixedState>,
    /// Those for which there was no place.
    others: Vec<(u64, UserKey)>,
    /// Sessions that are gone since this tick, before which they can still be asked for.
    gone: VecDeque<(Tick, u64, UserKey)>,
}

impl ById {
    /// Of the sessions before these ticks.
    pub fn new(engine: &mut Engine, ticks: [Tick; 2]) -> ById {
        let mut by_id = ById { users: HashMap::default(), others: Vec::new(), gone: VecDeque::new() };
        for tick in ticks {
            let mut rows = engine.views().scan(tick);
            while rows.step(&mut |user, _, session: &Session| by_id.add(session.id(user), user)).is_some() {}
        }
        by_id
    }

    pub fn users(&self, id: SessionId) -> Vec<UserKey> {
        let bits = id.bits();
        let others = self.others.iter().filter(|(other, _)| *other == bits).map(|(_, user)| *user);
        self.users.get(&bits).copied().into_iter().chain(others).collect()
    }

    fn add(&mut self, id: SessionId, user: UserKey) {
        let bits = id.bits();
        match self.users.get(&bits) {
            None => drop(self.users.insert(bits, user)),
            Some(known) if *known == user => self.gone.retain(|(_, gone, of)| (*gone, *of) != (bits, user)),
            Some(_) => self.others.push((bits, user)),
        }
    }

    pub fn tick(&mut self, tick: Tick, changes: &Changes) {
        let mut starts: BTreeMap<(UserKey, EventTime), isize> = BTreeMap::new();
        for ((user, session), diff) in &changes.sessions {
            *starts.entry((*user, session.start)).or_insert(0) += diff;
        }
        for ((user, start), diff) in starts {
            let id = SessionId::of(user, start);
            match diff {
                0 => {}
                1.. => self.add(id, user),
                ..0 => self.gone.push_back((tick, id.bits(), user)),
            }
        }
    }

    pub fn forget(&mut self, since: Tick) {
        while let Some((_, bits, user)) = self.gone.pop_front_if(|(tick, ..)| *tick < since) {
            if self.users.get(&bits) == Some(&user) {
                self.users.remove(&bits);
            }
            self.others.retain(|other| *other != (bits, user));
        }
    }
}
