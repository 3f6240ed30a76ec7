//! The sessions of one user at a time, read from the operator's own batches.
//!
//! The cursors are merged by hand: in differential 0.26 the `seek_val` of `CursorList` also moves the cursors that
//! stand on other keys or past their last one.

use crate::identity::UserKey;
use crate::sessionize::SessionBatch;
use crate::sessionize::fold::Past;
use crate::sessionize::session::Session;
use crate::time::EventTime;
use differential_dataflow::trace::{Cursor, Navigable};
use std::cmp::Ordering;
use std::rc::Rc;

pub(super) struct Sessions<'b> {
    batches: &'b [Rc<SessionBatch>],
    cursors: Vec<<Rc<SessionBatch> as Navigable>::Cursor>,
    /// Those that hold the user.
    active: Vec<Active<'b>>,
    /// Indexes among these of the ones at the least row; empty if they have moved since.
    least: Vec<usize>,
}

struct Active<'b> {
    /// Index of its cursor.
    cursor: usize,
    /// The row at hand, as asking the cursor takes longer.
    row: Option<&'b Session>,
}

impl<'b> Sessions<'b> {
    pub fn new(batches: &'b [Rc<SessionBatch>]) -> Sessions<'b> {
        let cursors = batches.iter().map(|batch| batch.cursor()).collect();
        Sessions { batches, cursors, active: Vec::new(), least: Vec::new() }
    }

    /// Goes to a user. Users have to come in order: cursors only move forward.
    pub fn user(&mut self, user: UserKey) {
        self.active.clear();
        self.least.clear();
        for (index, (cursor, batch)) in self.cursors.iter_mut().zip(self.batches).enumerate() {
            cursor.seek_key(batch, &user);
            if cursor.get_key(batch) == Some(&user) {
                self.active.push(Active { cursor: index, row: cursor.get_val(batch) });
            }
        }
    }

    /// Moves every active cursor.
    fn go(&mut self, to: impl Fn(&mut <Rc<SessionBatch> as Navigable>::Cursor, &Rc<SessionBatch>)) {
        self.least.clear();
        for active in &mut self.active {
            let (cursor, batch) = (&mut self.cursors[active.cursor], &self.batches[active.cursor]);
            to(cursor, batch);
            active.row = cursor.get_val(batch);
        }
    }

    /// The least row at hand, cancelled or not.
    fn least(&mut self) -> Option<&'b Session> {
        if let Some(first) = self.least.first() {
            return self.active[*first].row;
        }
        let mut least = None;
        for (index, row) in self.active.iter().enumerate().filter_map(|(index, active)| Some((index, active.row?))) {
            let order = least.map_or(Ordering::Less, |least| row.cmp(least));
            if order.is_lt() {
                least = Some(row);
                self.least.clear();
            }
            if order.is_le() {
                self.least.push(index);
            }
        }
        least
    }

    /// Moves the cursors at the least row behind it.
    fn pass(&mut self) {
        for index in self.least.drain(..) {
            let active = &mut self.active[index];
            let (cursor, batch) = (&mut self.cursors[active.cursor], &self.batches[active.cursor]);
            cursor.step_val(batch);
            active.row = cursor.get_val(batch);
        }
    }
}

impl Past for Sessions<'_> {
    fn rewind(&mut self) {
        self.go(|cursor, batch| cursor.rewind_vals(batch));
    }

    fn seek(&mut self, end: EventTime) {
        let least = Session::ending_at(end);
        self.go(|cursor, batch| cursor.seek_val(batch, &least));
    }

    fn peek(&mut self) -> Option<&Session> {
        // A row may be asserted in one batch and retracted in another: it must neither count nor stop the scan.
        while let Some(row) = self.least() {
            let mut total = 0;
            for index in &self.least {
                let cursor = self.active[*index].cursor;
                self.cursors[cursor].map_times(&self.batches[cursor], |_, diff| total += *diff);
            }
            if total != 0 {
                return Some(row);
            }
            self.pass();
        }
        None
    }

    fn step(&mut self) {
        if self.least().is_some() {
            self.pass();
        }
    }
}
