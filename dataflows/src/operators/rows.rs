//! Rows into batches, and batches into rows.

use differential_dataflow::trace::Builder;
use differential_dataflow::trace::cursor::{Cursor, Navigable};
use std::fmt::Debug;

/// The key of a batch's row.
pub type Key<'b, B> = <<B as Navigable>::Cursor as Cursor>::Key<'b>;
/// The value of a batch's row.
pub type Val<'b, B> = <<B as Navigable>::Cursor as Cursor>::Val<'b>;
/// The time of a batch's row.
pub type Time<B> = <<B as Navigable>::Cursor as Cursor>::Time;

/// Builds the batch of one tick from the rows of one key after the other. The pieces that it hands to the builder stay in
/// the cache.
pub struct Rows<K, V, T> {
    piece: Vec<((K, V), T, isize)>,
}

impl<K, V, T> Default for Rows<K, V, T> {
    fn default() -> Self {
        Rows { piece: Vec::new() }
    }
}

impl<K: Ord + Debug, V: Ord, T> Rows<K, V, T> {
    /// Rows of a piece.
    const PIECE: usize = 1 << 13;

    /// Adds the rows of one key, or of some, to a batch: in order, and behind those of all keys before.
    ///
    /// # Panics
    /// If the first row is not behind the last one before: a trace would lose rows out of order without a word. Only
    /// neighbours in one piece are compared, which takes no time that can be measured.
    pub fn extend<B>(&mut self, builder: &mut B, rows: impl IntoIterator<Item = ((K, V), T, isize)>)
    where
        B: Builder<Input = Vec<((K, V), T, isize)>>,
    {
        let before = self.piece.len();
        self.piece.extend(rows);
        if let [one, other, ..] = &self.piece[before.saturating_sub(1)..] {
            assert!(one.0 <= other.0, "rows of {:?} come behind those of {:?}", other.0.0, one.0.0);
        }
        if self.piece.len() >= Self::PIECE {
            self.push(builder);
        }
    }

    /// Finishes a batch; `None`: it has no rows.
    pub fn finish<B>(&mut self, mut builder: B) -> Option<B::Output>
    where
        B: Builder<Input = Vec<((K, V), T, isize)>>,
    {
        self.push(&mut builder);
        builder.done()
    }

    fn push<B>(&mut self, builder: &mut B)
    where
        B: Builder<Input = Vec<((K, V), T, isize)>>,
    {
        if !self.piece.is_empty() {
            builder.push(&mut self.piece);
            self.piece.clear();
        }
    }
}

/// Calls `row` with each key, value, time and multiplicity of a batch, in order.
pub fn each<B>(batch: &B, mut row: impl FnMut(Key<'_, B>, Val<'_, B>, Time<B>, isize))
where
    B: Navigable,
    B::Cursor: Cursor<Diff = isize>,
{
    let mut cursor = batch.cursor();
    while let Some(key) = cursor.get_key(batch) {
        while let Some(value) = cursor.get_val(batch) {
            cursor.map_times(batch, |time, diff| {
                row(key, value, B::Cursor::owned_time(time), B::Cursor::owned_diff(diff));
            });
            cursor.step_val(batch);
        }
        cursor.step_key(batch);
    }
}
