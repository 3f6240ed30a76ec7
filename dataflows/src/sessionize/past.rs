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
use std::rc::Rc;

pub(super) struct Sessions<'b> {
    batches: &'b [Rc<SessionBatch>],
    cursors: Vec<<Rc<SessionBatch> as Navigable>::Cursor>,
    /// Indexes of the cursors that hold the user.
    active: Vec<usize>,
}

impl<'b> Sessions<'b> {
    pub fn new(batches: &'b [Rc<SessionBatch>]) -> Sessions<'b> {
        Sessions { batches, cursors: batches.iter().map(|batch| batch.cursor()).collect(), active: Vec::new() }
    }

    /// Goes to a user. Users have to come in order: cursors only move forward.
    pub fn user(&mut self, user: UserKey) {
        self.active.clear();
        for (index, (cursor, batch)) in self.cursors.iter_mut().zip(self.batches).enumerate() {
            cursor.seek_key(batch, &user);
            if cursor.get_key(batch) == Some(&user) {
                self.active.push(index);
            }
        }
    }

    /// The least row at hand, cancelled or not.
    fn least(&self) -> Option<&'b Session> {
        self.active.iter().filter_map(|&index| self.cursors[index].get_val(&self.batches[index])).min()
    }

    /// Moves every cursor that stands on `row`.
    fn pass(&mut self, row: &Session) {
        for &index in &self.active {
            let (cursor, batch) = (&mut self.cursors[index], &self.batches[index]);
            if cursor.get_val(batch) == Some(row) {
                cursor.step_val(batch);
            }
        }
    }
}

impl Past for Sessions<'_> {
    fn rewind(&mut self) {
        for &index in &self.active {
            self.cursors[index].rewind_vals(&self.batches[index]);
        }
    }

    fn seek(&mut self, end: EventTime) {
        if self.active.is_empty() {
            return;
        }
        let least = Session::ending_at(end);
        for &index in &self.active {
            self.cursors[index].seek_val(&self.batches[index], &least);
        }
    }

    fn peek(&mut self) -> Option<&Session> {
        // A row may be asserted in one batch and retracted in another: it must neither count nor stop the scan.
        while let Some(row) = self.least() {
            let mut total = 0;
            for &index in &self.active {
                let (cursor, batch) = (&mut self.cursors[index], &self.batches[index]);
                if cursor.get_val(batch) == Some(row) {
                    cursor.map_times(batch, |_, diff| total += *diff);
                }
            }
            if total != 0 {
                return Some(row);
            }
            self.pass(row);
        }
        None
    }

    fn step(&mut self) {
        if let Some(row) = self.least() {
            self.pass(row);
        }
    }
}
