//! Bytes -> [`dataflows::Record`] or [`dataflows::DeadLetter`]. Decoding knows nothing of transports.

pub mod path;
pub mod reading;
