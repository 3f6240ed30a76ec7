//! What is around the elements of a record that explodes. An element is an event only together with it: its user may be
//! there. Before, the element, and after it are one record again, which explodes into that event.

use super::rows::{Rows, Span};
use crate::queue::delivery::Delivery;
use headwater_decode::messages;
use headwater_decode::spec::EventsPlan;

/// The records of a delivery that explode, by where they begin.
#[derive(Default)]
pub struct Around {
    records: Vec<Record>,
}

struct Record {
    /// Bytes of the delivery.
    start: usize,
    end: usize,
    before: Vec<u8>,
    after: Vec<u8>,
    /// Where these are, in the rows of events and of dead letters.
    spans: [Option<(Span, Span)>; 2],
}

impl Around {
    /// Returns that of a delivery.
    pub fn of(delivery: &Delivery<'_>, events: &EventsPlan) -> Around {
        let mut records = Vec::new();
        if events.explode.is_none() {
            return Around { records };
        }
        let mut add = |at: usize, bytes: &[u8]| {
            for (offset, record) in delivery.framing.records(bytes) {
                let elements = headwater_decode::events_of(events, record);
                let (Some(first), Some(last)) = (elements.first(), elements.last()) else { continue };
                if elements.len() > 1 || first.len() < record.len() {
                    let (before, after) = (record[..first.start].to_vec(), record[last.end..].to_vec());
                    let start = at + offset;
                    records.push(Record { start, end: start + record.len(), before, after, spans: [None; 2] });
                }
            }
        };
        match delivery.messages {
            false => add(0, delivery.events),
            true => {
                let messages = messages::read(delivery.events).unwrap_or_default();
                messages.iter().for_each(|(at, message)| add(*at, message.value));
            }
        }
        Around { records }
    }

    /// Returns what is before and after the element at this byte of the delivery, put into the rows of a table. `None` if
    /// it is a record by itself. `table`: 0 for events, 1 for dead letters.
    pub fn put(&mut self, table: usize, byte: usize, length: usize, rows: &mut Rows) -> Option<(Span, Span)> {
        let index = self.records.partition_point(|record| record.start <= byte).checked_sub(1)?;
        let record = &mut self.records[index];
        // Also a record that could not be taken apart is a row by itself.
        if byte >= record.end || length == record.end - record.start {
            return None;
        }
        Some(*record.spans[table].get_or_insert_with(|| (rows.put(&record.before), rows.put(&record.after))))
    }

    /// Forgets what was put: the rows may have gone back to before.
    pub fn forget(&mut self) {
        self.records.iter_mut().for_each(|record| record.spans = [None; 2]);
    }
}
