//! Headwater: where the meaning of events (the `dataflows` crate) meets the world.

pub mod decode;
pub mod plan;
