//! Views as they were before a tick, read a part at a time while the graph goes on.
//!
//! A scan holds the batches of its arrangements as they were when it was begun. They are immutable, so what comes and is
//! compacted later does not change what it reads; they are freed with it.

use crate::describe::NameTrace;
use crate::identity::UserKey;
use crate::sequence::{Activity, ActivityTrace, Track};
use crate::sessionize::{Session, SessionTrace};
use crate::stitch::{Identity, IdentityTrace};
use crate::time::Tick;
use crate::users::{UserTotals, UserTrace};
use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::cursor::{Cursor, CursorList, Navigable, cursor_list};
use std::sync::Arc;
use timely::progress::Antichain;

/// The batches of an arrangement, and a place among them.
pub(crate) struct Reading<Tr: TraceReader>
where
    Tr::Batch: Navigable,
{
    pub cursor: CursorList<<Tr::Batch as Navigable>::Cursor>,
    pub storage: Vec<Tr::Batch>,
}

impl<Tr: TraceReader<Time = Tick>> Reading<Tr>
where
    Tr::Batch: Navigable,
    <Tr::Batch as Navigable>::Cursor: Cursor<Storage = Tr::Batch, Time = Tick, Diff = isize>,
{
    pub fn begin(trace: &mut Tr) -> Reading<Tr> {
        let mut upper = Antichain::new();
        trace.read_upper(&mut upper);
        let batches = trace.batches_through(upper.borrow()).expect("the trace has all batches up to its upper");
        let (cursor, storage) = cursor_list(batches);
        Reading { cursor, storage }
    }

    /// Calls back with key, value and multiplicity before `tick` of each row that is there.
    pub fn rows(
        &mut self,
        tick: Tick,
        mut row: impl FnMut(
            <<Tr::Batch as Navigable>::Cursor as Cursor>::Key<'_>,
            <<Tr::Batch as Navigable>::Cursor as Cursor>::Val<'_>,
            isize,
        ),
    ) {
        while self.key_rows(tick, &mut row) {}
    }

    /// Calls back with the rows of the next key that are there. `false`: there is no other key.
    pub fn key_rows(
        &mut self,
        tick: Tick,
        row: &mut impl FnMut(
            <<Tr::Batch as Navigable>::Cursor as Cursor>::Key<'_>,
            <<Tr::Batch as Navigable>::Cursor as Cursor>::Val<'_>,
            isize,
        ),
    ) -> bool {
        let Reading { cursor, storage } = self;
        let Some(key) = cursor.get_key(storage) else { return false };
        while let Some(value) = cursor.get_val(storage) {
            let mut total = 0;
            cursor.map_times(storage, |time, diff| {
                if <<Tr::Batch as Navigable>::Cursor as Cursor>::owned_time(time) < tick {
                    total += <<Tr::Batch as Navigable>::Cursor as Cursor>::owned_diff(diff);
                }
            });
            if total != 0 {
                row(key, value, total);
            }
            cursor.step_val(storage);
        }
        cursor.step_key(storage);
        true
    }
}

/// The names of users and of other entities, by key. Keys may only be asked for in order.
pub(crate) struct Names(Reading<NameTrace>);

impl Names {
    pub fn begin(names: &mut NameTrace) -> Names {
        Names(Reading::begin(names))
    }

    pub fn of(&mut self, key: UserKey) -> Arc<str> {
        let Reading { cursor, storage } = &mut self.0;
        cursor.seek_key(storage, &key);
        let named = cursor.get_key(storage) == Some(&key);
        // Readers send the name of a user in the tick of the user's first event, or before.
        cursor.get_val(storage).filter(|_| named).map(Arc::clone).unwrap_or_default()
    }
}

/// A view by user, of one worker and before a tick, with the names of the users.
struct Scan<Tr: TraceReader>
where
    Tr::Batch: Navigable,
{
    rows: Reading<Tr>,
    names: Names,
    before: Tick,
}

impl<Tr: TraceReader<Time = Tick>> Scan<Tr>
where
    Tr::Batch: Navigable,
    <Tr::Batch as Navigable>::Cursor:
        for<'a> Cursor<Storage = Tr::Batch, Key<'a> = &'a UserKey, Time = Tick, Diff = isize>,
{
    fn begin(rows: &mut Tr, names: &mut NameTrace, before: Tick) -> Scan<Tr> {
        Scan { rows: Reading::begin(rows), names: Names::begin(names), before }
    }

    fn seek(&mut self, user: UserKey) {
        self.rows.cursor.seek_key(&self.rows.storage, &user);
    }

    fn user(&self) -> Option<UserKey> {
        self.rows.cursor.get_key(&self.rows.storage).copied()
    }

    fn step(
        &mut self,
        mut row: impl FnMut(UserKey, &str, <<Tr::Batch as Navigable>::Cursor as Cursor>::Val<'_>),
    ) -> Option<UserKey> {
        let user = self.user()?;
        let name = self.names.of(user);
        self.rows.key_rows(self.before, &mut |user, value, _| row(*user, &name, value));
        Some(user)
    }
}

/// The sessions of one worker before a tick, with the names of their users.
pub struct SessionScan(Scan<SessionTrace>);

impl SessionScan {
    pub(crate) fn begin(sessions: &mut SessionTrace, names: &mut NameTrace, before: Tick) -> SessionScan {
        SessionScan(Scan::begin(sessions, names, before))
    }

    /// Goes on with this user, or the first one after. Users may only be asked for in order.
    pub fn seek(&mut self, user: UserKey) {
        self.0.seek(user);
    }

    /// The user that comes next.
    pub fn user(&self) -> Option<UserKey> {
        self.0.user()
    }

    /// Calls back with each session of the next user, in the order of time; `None` if there is no other one.
    pub fn step(&mut self, row: &mut dyn FnMut(UserKey, &str, &Session)) -> Option<UserKey> {
        self.0.step(row)
    }
}

/// The totals of one worker's users before a tick, with their names.
pub struct UserScan(Scan<UserTrace>);

impl UserScan {
    pub(crate) fn begin(users: &mut UserTrace, names: &mut NameTrace, before: Tick) -> UserScan {
        UserScan(Scan::begin(users, names, before))
    }

    /// Goes on with this user, or the first one after. Users may only be asked for in order.
    pub fn seek(&mut self, user: UserKey) {
        self.0.seek(user);
    }

    /// The user that comes next.
    pub fn user(&self) -> Option<UserKey> {
        self.0.user()
    }

    /// Calls back with the totals of the next user, if there are any at the tick; `None` if there is no other user.
    pub fn step(&mut self, row: &mut dyn FnMut(UserKey, &str, &UserTotals)) -> Option<UserKey> {
        self.0.step(row)
    }
}

/// The activities of one worker before a tick, with the strings behind their keys.
pub struct ActivityScan {
    rows: Reading<ActivityTrace>,
    names: Names,
    before: Tick,
}

impl ActivityScan {
    pub(crate) fn begin(activities: &mut ActivityTrace, names: &mut NameTrace, before: Tick) -> ActivityScan {
        ActivityScan { rows: Reading::begin(activities), names: Names::begin(names), before }
    }

    /// Goes on with this key, or the first one after. Keys may only be asked for in order.
    pub fn seek(&mut self, key: UserKey) {
        self.rows.cursor.seek_key(&self.rows.storage, &Track { key, sequence: 0 });
    }

    /// The key that comes next.
    pub fn key(&self) -> Option<UserKey> {
        self.rows.cursor.get_key(&self.rows.storage).map(|track| track.key)
    }

    /// Calls back with each activity of the next key, in the order of sequence and first event; `None` if there is no other
    /// one.
    pub fn step(&mut self, row: &mut dyn FnMut(Track, &str, &Activity)) -> Option<UserKey> {
        let key = self.key()?;
        let name = self.names.of(key);
        while self.key() == Some(key) {
            self.rows.key_rows(self.before, &mut |track, activity, _| row(*track, &name, activity));
        }
        Some(key)
    }
}

/// The identities of one worker before a tick.
pub struct IdentityScan {
    rows: Reading<IdentityTrace>,
    before: Tick,
}

impl IdentityScan {
    pub(crate) fn begin(identities: &mut IdentityTrace, before: Tick) -> IdentityScan {
        IdentityScan { rows: Reading::begin(identities), before }
    }

    /// Goes on with this key, or the first one after. Keys may only be asked for in order.
    pub fn seek(&mut self, key: UserKey) {
        self.rows.cursor.seek_key(&self.rows.storage, &key);
    }

    /// The key that comes next.
    pub fn key(&self) -> Option<UserKey> {
        self.rows.cursor.get_key(&self.rows.storage).copied()
    }

    /// Calls back with each identity of the next key, in the order of kinds; `None` if there is no other one.
    pub fn step(&mut self, row: &mut dyn FnMut(UserKey, &Identity)) -> Option<UserKey> {
        let key = self.key()?;
        self.rows.key_rows(self.before, &mut |key, identity, _| row(*key, identity));
        Some(key)
    }
}
