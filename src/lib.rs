//! Headwater: where the meaning of events (the `dataflows` crate) meets the world.

pub mod cli;
pub mod config;
pub mod decode;
pub mod error;
pub mod explain;
pub mod generate;
pub mod intake;
pub mod log;
pub mod metrics;
pub mod outline;
pub mod plan;
pub mod progress;
pub mod replay;
pub mod sink;
pub mod source;
pub mod status;
pub mod summary;
pub mod worker;
