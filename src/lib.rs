//! Headwater: where the meaning of events (the `dataflows` crate) meets the world.

pub mod backfill;
pub mod cases;
pub mod cli;
pub mod cluster;
pub mod collections;
pub mod config;
pub mod ending;
pub mod error;
pub mod fingerprint;
pub mod forget;
pub mod generate;
pub mod inspect;
pub mod kafka;
pub mod landing;
#[cfg(test)]
#[cfg(feature = "models")]
mod models;
pub mod observe;
#[cfg(test)]
#[path = "../tests/patience.rs"]
mod patience;
pub mod plan;
pub mod queue;
pub mod read;
pub mod replay;
pub mod run;
pub mod server;
pub mod sink;
pub mod source;
pub mod sync;
pub mod tables;
pub mod text;
pub mod worker;
