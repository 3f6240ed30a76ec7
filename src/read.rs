//! Reads of published ticks: rows by key, and changes as they come.

pub mod reads;
pub mod subscribe;
