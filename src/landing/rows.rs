//! The rows that wait for a commit, in memory: texts one after the other, and a fixed part for each row.

use headwater_decode::spec::Format;
use std::collections::HashMap;
use std::sync::Arc;

/// A text in [`Rows`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: usize,
    length: u32,
}

/// The fixed part of a row. Of a dead letter, `class` is the reason and `id` the message.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub class: u32,
    /// Days since 1970 until the queue took it.
    pub day: i32,
    pub user: Option<Span>,
    /// Microseconds since 1970, as `received`.
    pub time: Option<i64>,
    pub received: Option<i64>,
    pub shape: Option<u32>,
    pub id: Option<Span>,
    /// Where its fields begin.
    pub fields: usize,
    pub payload: Span,
    /// The payload is UTF-8.
    pub is_text: bool,
    /// Of an element of a record: what was before and after it.
    pub around: Option<(Span, Span)>,
    /// Bytes of the whole record. A dead letter may keep fewer.
    pub length: u64,
    pub source: u16,
    pub part: u32,
    pub offset: u64,
    /// Where in its file it begins, if it is of one.
    pub place: Option<u64>,
    pub tick: u64,
    pub format: Format,
    /// Of CSV: the header row, and how rows are written.
    pub header: Option<u32>,
    pub dialect: Option<u32>,
}

impl Row {
    /// Returns a row with nothing but its place.
    pub fn at(offset: u64) -> Row {
        Row {
            class: 0,
            day: 0,
            user: None,
            time: None,
            received: None,
            shape: None,
            id: None,
            fields: 0,
            payload: Span::default(),
            is_text: true,
            around: None,
            length: 0,
            source: 0,
            part: 0,
            offset,
            place: None,
            tick: 0,
            format: Format::Json,
            header: None,
            dialect: None,
        }
    }
}

/// Rows of one table.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    bytes: Vec<u8>,
    /// Of all rows, one for each field.
    fields: Vec<Option<Span>>,
    /// Classes, shapes, headers and dialects.
    pub names: Names,
}

/// The length of [`Rows`] at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    rows: usize,
    bytes: usize,
    fields: usize,
}

/// Texts that many rows share.
#[derive(Debug, Default)]
pub struct Names {
    all: Vec<Arc<[u8]>>,
    numbers: HashMap<Arc<[u8]>, u32>,
}

impl Names {
    pub fn number(&mut self, text: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let (text, number): (Arc<[u8]>, _) = (text.into(), self.all.len() as u32);
        self.all.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn bytes(&self, number: u32) -> &[u8] {
        &self.all[number as usize]
    }

    /// Returns a text that was put as one.
    pub fn text(&self, number: u32) -> &str {
        std::str::from_utf8(self.bytes(number)).unwrap_or_default()
    }
}

impl Rows {
    pub fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span { start, length: bytes.len() as u32 }
    }

    /// Adds the next field of the row that comes next.
    pub fn field(&mut self, value: Option<&str>) {
        let value = value.map(|value| self.put(value.as_bytes()));
        self.fields.push(value);
    }

    /// Returns where the fields of the row that comes next begin.
    pub fn next_field(&self) -> usize {
        self.fields.len()
    }

    pub fn get(&self, span: Span) -> &[u8] {
        &self.bytes[span.start..span.start + span.length as usize]
    }

    pub fn field_of(&self, row: &Row, field: usize) -> Option<&[u8]> {
        self.fields[row.fields + field].map(|span| self.get(span))
    }

    /// Returns the memory that the rows take.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Row>() + self.fields.len() * size_of::<Option<Span>>()
    }

    pub fn mark(&self) -> Mark {
        Mark { rows: self.rows.len(), bytes: self.bytes.len(), fields: self.fields.len() }
    }

    /// Forgets what came after the mark.
    pub fn back_to(&mut self, mark: Mark) {
        self.rows.truncate(mark.rows);
        self.bytes.truncate(mark.bytes);
        self.fields.truncate(mark.fields);
    }

    /// Forgets all rows; their memory is used again.
    pub fn clear(&mut self) {
        self.back_to(Mark { rows: 0, bytes: 0, fields: 0 });
        self.names = Names::default();
    }

    /// Returns the rows, by number, in the order in which they are written: by folder and day, then user and time, then as
    /// they came. `folders`: of each class.
    pub fn order(&self, folders: &[u32]) -> Vec<u32> {
        let key = |(number, row): (u32, &Row)| {
            let user = row.user.map(|span| self.get(span));
            Key {
                place: (folders[row.class as usize], row.day, user.is_none()),
                prefix: prefix(user.unwrap_or_default()),
                length: user.map_or(0, <[u8]>::len).min(PREFIX_BYTES + 1),
                time: row.time,
                number,
            }
        };
        let mut keys: Vec<Key> = (0..).zip(&self.rows).map(key).collect();
        keys.sort_unstable_by(|one, other| {
            let rest = || match one.length == other.length && one.length > PREFIX_BYTES {
                true => self.user(one.number).cmp(&self.user(other.number)),
                // The longer text begins with the other one.
                false => one.length.cmp(&other.length),
            };
            let time = || (one.time, one.number).cmp(&(other.time, other.number));
            (one.place, one.prefix).cmp(&(other.place, other.prefix)).then_with(rest).then_with(time)
        });
        keys.into_iter().map(|key| key.number).collect()
    }

    fn user(&self, number: u32) -> Option<&[u8]> {
        self.rows[number as usize].user.map(|span| self.get(span))
    }
}

/// What rows are sorted by. Keys are short and lie one after the other; rows and texts are far apart.
struct Key {
    /// The folder, the day, and whether there is no user.
    place: (u32, i32, bool),
    /// The first bytes of the user.
    prefix: u128,
    /// Bytes of the user, or one more than `prefix` has.
    length: usize,
    time: Option<i64>,
    number: u32,
}

/// Bytes of a user in a key.
const PREFIX_BYTES: usize = 16;

/// Returns the first bytes of a text, as a number that orders as they do.
fn prefix(text: &[u8]) -> u128 {
    let mut first = [0; PREFIX_BYTES];
    let length = text.len().min(PREFIX_BYTES);
    first[..length].copy_from_slice(&text[..length]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_log::vfs::model::Rng;

    /// The same by the whole of each key.
    #[test]
    fn rows_are_sorted_by_folder_day_user_and_time() {
        let mut rng = Rng::new(9);
        let mut rows = Rows::default();
        // With NULs at the end, and around the length of a prefix.
        let users =
            ["", "a", "a\0", "b", "0123456789abcdef", "0123456789abcde", "0123456789abcdef\0", "0123456789abcdefg"];
        for offset in 0..2000 {
            let user = users.get(rng.below(9) as usize).map(|user| rows.put(user.as_bytes()));
            let time = Some(rng.below(3) as i64).filter(|time| *time > 0);
            let class = rows.names.number(&[b'a' + rng.below(3) as u8]);
            let day = rng.below(2) as i32;
            rows.rows.push(Row { class, day, user, time, ..Row::at(offset) });
        }
        let folders = [1, 0, 0];
        let whole = |number: &u32| {
            let row = &rows.rows[*number as usize];
            let user = row.user.map(|span| rows.get(span));
            (folders[row.class as usize], row.day, user.is_none(), user, row.time, *number)
        };
        let mut expected: Vec<u32> = (0..2000).collect();
        expected.sort_by_key(|number| whole(number));
        assert_eq!(rows.order(&folders), expected);
    }
}
