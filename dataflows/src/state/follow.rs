//! The rows of a state that is followed: what of them each tick changes.
//!
//! A row depends on the entity's items and on the clock. So it changes in the ticks that bring items of the entity, and at
//! the times at which a hop of it leaves its window. These are kept, one for each entity, so a tick costs as much as it
//! changes, and nothing for the other entities.

use super::{Table, Value};
use crate::hashed::Hashed;
use crate::identity::UserKey;
use crate::time::{EventTime, Tick};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What one worker knows of a state that is followed.
pub struct Follow {
    /// When the clock changes the row of an entity next.
    due: BTreeSet<(EventTime, UserKey)>,
    times: Hashed<UserKey, EventTime>,
    /// The clock of the rows that were said last.
    now: EventTime,
}

impl Follow {
    /// Goes on from the rows before `tick` for a reader at `now`, which have been said.
    pub fn new(table: &Table<Tick>, tick: Tick, now: EventTime) -> Follow {
        let mut follow = Follow { due: BTreeSet::new(), times: Hashed::default(), now };
        let mut shard = 0;
        while let Some(entities) = table.keys(shard, &tick) {
            entities.into_iter().for_each(|entity| follow.schedule(table, entity, tick));
            shard += 1;
        }
        follow
    }

    /// Returns the first time at which the clock changes a row.
    pub fn next(&self) -> Option<EventTime> {
        self.due.first().map(|(time, _)| *time)
    }

    /// Gives the rows that a tick changes, in the order of entities: each as it was (-1) and as it is (1), with the name of the
    /// entity. `now` is the clock of the tick. `name` is asked in the order of entities.
    pub fn tick(
        &mut self,
        table: &Table<Tick>,
        name: &mut dyn FnMut(UserKey) -> Arc<str>,
        (tick, now): (Tick, EventTime),
        row: &mut dyn FnMut(&str, &[Value<'_>], isize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (before, now) = (self.now, now.max(self.now));
        let mut entities = table.touched(&tick);
        while let Some((_, entity)) = self.due.first().filter(|(time, _)| *time <= now).copied() {
            self.due.pop_first();
            self.times.remove(&entity);
            entities.push(entity);
        }
        self.now = now;
        entities.sort_unstable();
        entities.dedup();
        for entity in entities {
            table.both(entity, (&tick, before), (&(tick + 1), now), &mut |old, new| {
                if old == new {
                    return ControlFlow::Continue(());
                }
                let name = name(entity);
                if let Some(old) = old {
                    row(&name, old, -1)?;
                }
                if let Some(new) = new {
                    row(&name, new, 1)?;
                }
                ControlFlow::Continue(())
            })?;
            self.schedule(table, entity, tick + 1);
        }
        ControlFlow::Continue(())
    }

    /// Remembers when the clock changes the row of an entity next, as it is before `tick`.
    fn schedule(&mut self, table: &Table<Tick>, entity: UserKey, tick: Tick) {
        let next = table.expires(entity, &tick, self.now);
        if let Some(before) = self.times.get(&entity).copied() {
            self.due.remove(&(before, entity));
            self.times.remove(&entity);
        }
        if let Some(next) = next {
            self.due.insert((next, entity));
            self.times.insert_new(entity, next);
        }
    }
}
