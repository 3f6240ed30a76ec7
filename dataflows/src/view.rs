//! Reading an arrangement: the rows of a view as of a frontier, in order.

use differential_dataflow::trace::TraceReader;
use differential_dataflow::trace::cursor::{Cursor, Navigable, cursor_list};
use timely::progress::frontier::AntichainRef;

/// Calls `row` with key, value and multiplicity of each row as of `upper`, ordered by key and value.
///
/// Panics if `upper` is not a frontier that the trace has passed and still keeps apart.
pub fn for_each<Tr>(
    trace: &mut Tr,
    upper: AntichainRef<Tr::Time>,
    mut row: impl FnMut(
        <<Tr::Batch as Navigable>::Cursor as Cursor>::Key<'_>,
        <<Tr::Batch as Navigable>::Cursor as Cursor>::Val<'_>,
        isize,
    ),
) where
    Tr: TraceReader,
    Tr::Batch: Navigable,
    <Tr::Batch as Navigable>::Cursor: Cursor<Diff = isize>,
{
    let batches = trace.batches_through(upper).expect("the trace has passed this frontier");
    let (mut cursor, storage) = cursor_list(batches);
    while let Some(key) = cursor.get_key(&storage) {
        while let Some(value) = cursor.get_val(&storage) {
            let mut total = 0;
            cursor
                .map_times(&storage, |_, diff| total += <<Tr::Batch as Navigable>::Cursor as Cursor>::owned_diff(diff));
            if total != 0 {
                row(key, value, total);
            }
            cursor.step_val(&storage);
        }
        cursor.step_key(&storage);
    }
}
