//! Headwater: where the meaning of events (the `dataflows` crate) meets the world.

pub mod cli;
pub mod config;
pub mod decode;
pub mod error;
pub mod explain;
pub mod generate;
pub mod log;
pub mod outline;
pub mod plan;
pub mod progress;
pub mod replay;
pub mod sink;
pub mod source;
pub mod summary;
pub mod worker;
