//! Headwater: where the meaning of events (the `dataflows` crate) meets the world.

pub mod backoff;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod decode;
pub mod definitions;
pub mod doctor;
pub mod durable;
pub mod epoch;
pub mod error;
pub mod explain;
pub mod filter;
pub mod fingerprint;
pub mod generate;
pub mod guard;
pub mod histories;
pub mod intake;
pub mod live;
pub mod log;
pub mod memory;
pub mod metrics;
#[cfg(test)]
#[cfg(feature = "models")]
mod models;
pub mod outbox;
pub mod outline;
#[cfg(test)]
#[path = "../tests/patience.rs"]
mod patience;
pub mod plan;
pub mod progress;
pub mod reads;
pub mod replay;
pub mod reserve;
pub mod roots;
pub mod rows;
pub mod run;
pub mod seal;
pub mod server;
pub mod sink;
pub mod source;
pub mod status;
pub mod subscribe;
pub mod summary;
pub mod supervise;
pub mod sync;
pub mod text;
pub mod worker;
