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
    /// The first bytes of the user, for sorting.
    pub prefix: u128,
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
    /// Bytes of the whole record. A dead letter may keep fewer.
    pub length: u64,
    pub source: u16,
    pub part: u32,
    pub offset: u64,
    pub tick: u64,
    pub format: Format,
    /// Of CSV: the header row, and how rows are written.
    pub header: Option<u32>,
    pub dialect: Option<u32>,
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
        let mut order: Vec<u32> = (0..self.rows.len() as u32).collect();
        order.sort_unstable_by(|one, other| {
            let (a, b) = (&self.rows[*one as usize], &self.rows[*other as usize]);
            let place = |row: &Row| (folders[row.class as usize], row.day, row.user.is_none(), row.prefix);
            let user = |row: &Row| row.user.map(|span| self.get(span));
            place(a)
                .cmp(&place(b))
                .then_with(|| user(a).cmp(&user(b)))
                .then_with(|| (a.time, one).cmp(&(b.time, other)))
        });
        order
    }
}

/// Returns the first bytes of a text, as a number that orders as they do.
pub fn prefix(text: &[u8]) -> u128 {
    let mut first = [0; 16];
    let length = text.len().min(16);
    first[..length].copy_from_slice(&text[..length]);
    u128::from_be_bytes(first)
}
