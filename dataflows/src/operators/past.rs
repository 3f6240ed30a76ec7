//! What an operator's own trace holds of one key at a time, value by value.
//!
//! The cursors are merged by hand: in differential 0.26 the `seek_val` of `CursorList` also moves the cursors that
//! stand on other keys or past their last one.

use differential_dataflow::trace::cursor::{Cursor, Navigable};
use std::cmp::Ordering;

/// Reads the batches of a trace key by key. Keys have to come in order, as cursors only move forward; within a key,
/// values can be sought forward, and read again from the first.
pub struct Past<'b, B: Navigable, V> {
    batches: &'b [B],
    cursors: Vec<B::Cursor>,
    /// Those that hold the key.
    active: Vec<Active<'b, V>>,
    /// Indexes among these of the ones at the least row; empty if they have moved since.
    least: Vec<usize>,
}

struct Active<'b, V> {
    /// Index of its cursor.
    cursor: usize,
    /// The row at hand, as asking the cursor takes longer.
    row: Option<&'b V>,
}

impl<'b, B, V> Past<'b, B, V>
where
    B: Navigable,
    B::Cursor: for<'a> Cursor<Val<'a> = &'a V, DiffGat<'a> = &'a isize>,
    V: Ord,
{
    /// Begins to read all batches of [`crate::operators::Own::past`].
    pub fn new(batches: &'b [B]) -> Self {
        let cursors = batches.iter().map(Navigable::cursor).collect();
        Past { batches, cursors, active: Vec::new(), least: Vec::new() }
    }

    /// Goes to a key, which is not before the one at hand.
    pub fn key<'k>(&mut self, key: <B::Cursor as Cursor>::Key<'k>)
    where
        'b: 'k,
    {
        self.active.clear();
        self.least.clear();
        for (index, (cursor, batch)) in self.cursors.iter_mut().zip(self.batches).enumerate() {
            cursor.seek_key(batch, key);
            if cursor.get_key(batch) == Some(key) {
                self.active.push(Active { cursor: index, row: cursor.get_val(batch) });
            }
        }
    }

    /// Goes back to the first value of the key.
    pub fn rewind(&mut self) {
        self.go(|cursor, batch| cursor.rewind_vals(batch));
    }

    /// Skips the values below `least`, if that lies ahead of what was read.
    pub fn seek(&mut self, least: &V) {
        self.go(|cursor, batch| cursor.seek_val(batch, least));
    }

    /// Returns the value at hand: the next one whose multiplicities do not cancel.
    pub fn peek(&mut self) -> Option<&'b V> {
        self.counted().map(|(value, _)| value)
    }

    /// Returns the value at hand, and its multiplicity.
    pub fn counted(&mut self) -> Option<(&'b V, isize)> {
        // A row may be asserted in one batch and retracted in another: it must neither count nor stop the scan.
        while let Some(row) = self.least() {
            let mut total = 0;
            for index in &self.least {
                let cursor = self.active[*index].cursor;
                self.cursors[cursor].map_times(&self.batches[cursor], |_, diff| total += *diff);
            }
            if total != 0 {
                return Some((row, total));
            }
            self.pass();
        }
        None
    }

    /// Goes on behind the value at hand.
    pub fn step(&mut self) {
        if self.least().is_some() {
            self.pass();
        }
    }

    /// Moves every active cursor.
    fn go(&mut self, to: impl Fn(&mut B::Cursor, &B)) {
        self.least.clear();
        for active in &mut self.active {
            let (cursor, batch) = (&mut self.cursors[active.cursor], &self.batches[active.cursor]);
            to(cursor, batch);
            active.row = cursor.get_val(batch);
        }
    }

    /// The least row at hand, cancelled or not.
    fn least(&mut self) -> Option<&'b V> {
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
