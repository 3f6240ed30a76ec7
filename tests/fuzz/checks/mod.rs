//! The properties of the readers for any input: one check per target of `fuzz/`. A check panics if its property does
//! not hold.

#![allow(clippy::unwrap_used, reason = "a check says what it expects by failing")]

pub mod clf;
pub mod config;
pub mod content;
pub mod csv;
pub mod event;
pub mod framing;
pub mod json;
pub mod log;
pub mod path;
pub mod time;

/// The bytes of an input, taken one after the other to make choices; zeros behind its end.
pub struct Choices<'d>(pub &'d [u8]);

impl Choices<'_> {
    pub fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[usize::from(self.next()) % values.len()].clone()
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.next()) % limit
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
