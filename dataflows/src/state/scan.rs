//! The rows of one state and worker as of a tick, read a part at a time while the graph goes on.

use super::{SharedTable, Value};
use crate::describe::NameTrace;
use crate::identity::UserKey;
use crate::scan::Names;
use crate::time::{EventTime, Tick};
use std::collections::VecDeque;

/// The rows of one state before a tick, with the names of the entities. The table keeps that tick while there is one.
pub struct StateScan {
    table: SharedTable,
    names: Names,
    before: Tick,
    now: EventTime,
    /// The next entities of a shard, once they are asked for.
    keys: VecDeque<UserKey>,
    /// The shard that comes behind these.
    shard: usize,
    /// Of that shard, entities before this one are not asked for.
    from: Option<UserKey>,
    /// Nor are those up to this one, which was read.
    behind: Option<UserKey>,
}

impl StateScan {
    pub(crate) fn begin(table: SharedTable, names: &mut NameTrace, before: Tick, now: EventTime) -> StateScan {
        table.borrow_mut().hold(before, now);
        StateScan {
            table,
            names: Names::begin(names),
            before,
            now,
            keys: VecDeque::new(),
            shard: 0,
            from: None,
            behind: None,
        }
    }

    /// Goes on with this entity, or the first one after. Entities may only be asked for in order.
    pub fn seek(&mut self, entity: UserKey) {
        self.keys.clear();
        self.shard = self.table.borrow().shard_from(entity);
        (self.from, self.behind) = (Some(entity), None);
    }

    /// Returns whether an entity has a row, or had one before later ticks.
    pub fn has(&self, entity: UserKey) -> bool {
        self.table.borrow().has(entity)
    }

    fn one(&mut self, entity: UserKey, row: &mut dyn FnMut(UserKey, &str, &[Value<'_>])) {
        let table = self.table.borrow();
        let names = &mut self.names;
        table.row(entity, &self.before, self.now, |values| row(entity, &names.of(entity), values));
    }

    /// Calls back with the row of the next entity, if there is one at the tick; `None` if there is no other entity.
    pub fn step(&mut self, row: &mut dyn FnMut(UserKey, &str, &[Value<'_>])) -> Option<UserKey> {
        // One that was sought is read at once: the others of its shard may not be asked for.
        if let Some(entity) = self.from.take_if(|from| self.table.borrow().has(*from)) {
            self.behind = Some(entity);
            self.one(entity, row);
            return Some(entity);
        }
        while self.keys.is_empty() {
            let (from, behind) = (self.from.take(), self.behind.take());
            let keys = self.table.borrow().keys(self.shard, &self.before)?;
            self.keys.extend(
                keys.into_iter()
                    .filter(|key| from.is_none_or(|from| *key >= from) && behind.is_none_or(|behind| *key > behind)),
            );
            self.shard += 1;
        }
        let entity = self.keys.pop_front()?;
        self.one(entity, row);
        Some(entity)
    }
}

impl Drop for StateScan {
    fn drop(&mut self) {
        self.table.borrow_mut().release(&self.before);
    }
}
